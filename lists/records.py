"""`record`: a frozen dataclass with slots that is cheap to define.

Python 3.11's `dataclasses` writes six methods of each frozen class as source and compiles them one by one, whenever its module is
loaded: with the sixty such classes that sending loads, a tenth of the start of a command. Of a record only `__init__` is written;
comparing, hashing, showing and refusing to change are common to all, and go by the names of the fields. To `fields`, `replace`,
`asdict`, `copy` and `pickle` it is a dataclass like any other.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def record(given: type[T], /) -> type[T]: ...
@overload
def record(*, kw_only: bool) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(given: type[T] | None = None, /, *, kw_only: bool = False) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass with slots: `@record`, or `@record(kw_only=True)`. What it defines itself stands."""

    def make(cls: type[T]) -> type[T]:
        own = {name for name, value in vars(cls).items() if value is not None}
        made: Any = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
        every = fields(made)
        methods = {
            "__init__": _init(made, every),
            "__eq__": _equal(_values([one.name for one in every if one.compare])),
            "__hash__": _hash(_values([one.name for one in every if (one.compare if one.hash is None else one.hash)])),
            "__repr__": _repr([one.name for one in every if one.repr]),
            "__setattr__": _no_setting,
            "__delattr__": _no_deleting,
            "__getstate__": _state,
            "__setstate__": _set_state,
        }
        for name in methods.keys() - own:
            setattr(made, name, methods[name])
        done: type[T] = made
        return done

    return make if given is None else make(given)


def _init(cls: Any, every: Sequence[Field[Any]]) -> Callable[..., None]:
    """`__init__` as source, since it is called often: it is what is called often."""
    names: dict[str, Any] = {}
    places: list[str] = []
    by_name: list[str] = []
    lines: list[str] = []
    for one in every:
        parameter, value = one.name, one.name
        if one.default is not MISSING:
            names[f"_{one.name}_"] = one.default
            parameter += f"=_{one.name}_"
        elif one.default_factory is not MISSING:
            names[f"_{one.name}_"], names["_none"] = one.default_factory, MISSING
            parameter += "=_none"
            value = f"_{one.name}_() if {one.name} is _none else {one.name}"
        (by_name if one.kw_only else places).append(parameter)
        names[f"_put_{one.name}"] = getattr(
            cls, one.name
        ).__set__  # the slot itself: `object.__setattr__` takes twice as long
        lines.append(f" _put_{one.name}(self, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    given = ", ".join(["self", *places, *(["*", *by_name] if by_name else [])])
    exec("\n".join([f"def __init__({given}):", *(lines or [" pass"])]), names)  # noqa: S102 - names of fields, as `dataclasses` does
    made: Callable[..., None] = names["__init__"]
    made.__qualname__, made.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    return made


def _values(names: Sequence[str]) -> Callable[[Any], Any]:
    """Gives an instance's values of these fields."""
    return attrgetter(*names) if names else lambda _instance: ()


def _equal(values: Callable[[Any], Any]) -> Callable[[Any, Any], bool]:
    def __eq__(self: Any, other: Any) -> bool:  # noqa: N807 - named as what it becomes
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(values: Callable[[Any], Any]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:  # noqa: N807 - named as what it becomes
        return hash(values(self))

    return __hash__


def _repr(names: Sequence[str]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:  # noqa: N807 - named as what it becomes
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _no_setting(self: Any, name: str, value: Any) -> None:  # noqa: ARG001 - Python's own form
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _no_deleting(self: Any, name: str) -> None:  # noqa: ARG001 - Python's own form
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    """What is pickled and copied."""
    return [getattr(self, one.name) for one in fields(self)]


def _set_state(self: Any, state: Sequence[Any]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)

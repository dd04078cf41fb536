"""A record is a frozen dataclass with slots, whatever it costs less to define."""

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from lists.records import record


@record
class Point:
    """A place."""

    x: int
    y: int = 0
    seen: list[str] = dataclasses.field(default_factory=list, compare=False)
    secret: str = dataclasses.field(default="", repr=False)


@record
class Named(Point):
    """A place with a name."""

    name: str = "here"

    def __str__(self) -> str:
        return self.name


@record(kw_only=True)
class Asked:
    """Given by name only."""

    what: str
    often: int = 1


@record
class Checked:
    """Looks at what it is given."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("negative")


@dataclasses.dataclass(frozen=True, slots=True)
class Plain:
    """What `Point` would be without us."""

    x: int
    y: int = 0
    seen: list[str] = dataclasses.field(default_factory=list, compare=False)
    secret: str = dataclasses.field(default="", repr=False)


def test_record_is_like_a_dataclass() -> None:
    """It is made, compared, hashed and shown as the dataclass that it stands for."""
    given: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((1,), {}),
        ((1, 2), {}),
        ((1,), {"y": 2, "secret": "s"}),
        ((1, 2, ["a"]), {}),
    ]
    ours, theirs = [[kind(*a, **k) for a, k in given] for kind in (Point, Plain)]
    assert [repr(one).replace("Plain", "Point") for one in theirs] == [repr(one) for one in ours]
    assert [[a == b for b in ours] for a in ours] == [[a == b for b in theirs] for a in theirs]
    assert [hash(one) for one in ours] == [hash(one) for one in theirs]
    assert ours[0].seen == []
    assert ours[0].seen is not ours[1].seen, "each has a list of its own"
    assert Point(1) != Named(1), "another class is never equal"
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1, z=1)  # type: ignore[call-arg]


def test_record_is_frozen() -> None:
    """It can't be changed, and holds nothing but its fields."""
    one = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.other = 2  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.x
    assert not hasattr(one, "__dict__")
    assert one == Point(1)


def test_record_is_known_as_a_dataclass() -> None:
    """What Python does with dataclasses it does with records: fields, replace, asdict, pickle, copy, match."""
    one = Named(1, 2, ["a"], "s", "there")
    assert [each.name for each in dataclasses.fields(one)] == ["x", "y", "seen", "secret", "name"]
    assert dataclasses.replace(one, y=5) == Named(1, 5, ["a"], "s", "there")
    assert dataclasses.asdict(one) == {"x": 1, "y": 2, "seen": ["a"], "secret": "s", "name": "there"}
    for again in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):  # noqa: S301 - our own
        assert (again, again.seen) == (one, ["a"])
    assert str(one) == "there"
    match one:
        case Named(x, y):
            assert (x, y) == (1, 2)
        case _:
            pytest.fail("it has no places to match")


def test_record_by_name_and_checked() -> None:
    """Fields may be given by name only, and a record may look at what it is given."""
    assert Asked(what="x") == Asked(what="x", often=1)
    with pytest.raises(TypeError):
        Asked("x")  # type: ignore[misc]
    with pytest.raises(ValueError, match="negative"):
        Checked(-1)

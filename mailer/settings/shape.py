"""The shape of the settings: walking their values, and telling in plain words where a value does not fit. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from lists.records import record
from mailer.settings import Languages, Section, Settings, Text

Key = tuple[str, ...]
#: What environment variables that are settings begin with.
PREFIX = "CHANCERY_"
#: Stand-ins for what is missing or wrong, so that the other checks can still be made; never handed out.
STAND_INS = {"host": "localhost", "name": "-", "address": "nobody@stand-in.example"}
_LANGUAGES: tuple[str, ...] = get_args(get_args(Languages.model_fields["fall_back"].annotation)[0])


@record
class Problem:
    """Something wrong at one setting.

    Attributes:
        key: the setting's path, such as ("relays", "main", "port").
        what: what is wrong; never a secret's value.
        remedy: what to do.
        stops: False for a warning.
        where: the place, where it is not that of the key's value.
    """

    key: Key
    what: str
    remedy: str = ""
    stops: bool = True
    where: str = ""


def near(word: str, known: list[str]) -> str:
    """`did you mean host?`, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""


def shape_of(model: type[BaseModel]) -> dict[str, tuple[str, type[BaseModel] | None]]:
    """Field -> ("one", section), ("many", section) for named ones, or ("value", None)."""
    shape: dict[str, tuple[str, type[BaseModel] | None]] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        arguments = get_args(kind)
        if isinstance(kind, type) and issubclass(kind, Section):
            shape[name] = ("one", kind)
        elif get_origin(kind) is dict and isinstance(arguments[1], type) and issubclass(arguments[1], Section):
            shape[name] = ("many", arguments[1])
        else:
            shape[name] = ("value", None)
    return shape


def leaves(model: type[BaseModel], data: Any, above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Each value with its path; *data* is nested mappings, or the model itself. What does not fit the model is a value, too."""
    items: Iterable[tuple[str, Any]] = data.items() if isinstance(data, Mapping) else data
    shape = shape_of(model)
    for name, value in items:
        how, inner = shape.get(name, ("value", None))
        if inner is None or not isinstance(value, (Mapping, BaseModel)):
            yield (*above, name), value
        elif how == "one":
            yield from leaves(inner, value, (*above, name))
        else:
            for key, each in value.items() if isinstance(value, Mapping) else ():
                if isinstance(each, (Mapping, BaseModel)) and each:  # an empty section is there, too
                    yield from leaves(inner, each, (*above, name, key))
                else:
                    yield (*above, name, key), each


def problem_of_shape(key: Key, kind: str, context: Mapping[str, Any], location: tuple[int | str, ...]) -> Problem:
    """A problem of shape, in plain words."""
    if kind == "extra_forbidden":
        return Problem(key, "there is no such setting", _hint(key))
    if kind == "missing":
        example = {"host": '"smtp.example.org"', "address": '"circulars@example.org"'}.get(key[-1], '"..."')
        return Problem(key, "it is missing", f"add {key[-1]} = {example} under [{'.'.join(key[:-1])}]")
    if "dict[str,str]" in location or (kind == "dict_type" and len(key) > 1):
        return Problem(key, "it must be a text, or one text per language", 'write it as "x", or { en = "x", fr = "y" }')
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return Problem(
            key, "a section is needed here, not a value", f"write [{key[0]}.NAME] on a line of its own above it"
        )
    what = _SHAPES.get(kind, "it has a value that can't be used")
    try:
        what = what.format(**context)
    except LookupError:
        what = "it has a value that can't be used"
    return Problem(
        key, what, "correct it, or leave it out for the default" if key[-1] not in STAND_INS else "correct it"
    )


_SHAPES = {
    "string_type": "it must be a text in quotation marks",
    "int_type": "it must be a whole number, without quotation marks",
    "int_parsing": "it must be a whole number, without quotation marks",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number, without quotation marks",
    "float_parsing": "it must be a number, without quotation marks",
    "finite_number": "it must be a number",
    "bool_type": "it must be true or false, without quotation marks",
    "bool_parsing": "it must be true or false, without quotation marks",
    "string_too_short": "it must not be empty",
    "greater_than": "it must be more than {gt:g}",
    "greater_than_equal": "it must be at least {ge:g}",
    "less_than_equal": "it must be at most {le:g}",
    "enum": "it must be one of {expected}",
    "literal_error": "it must be one of {expected}",
    "list_type": 'it must be a list, such as ["one", "two"]',
    "time_type": "it must be a time such as 09:00:00, without quotation marks",
    "time_parsing": "it must be a time such as 09:00:00, without quotation marks",
}


def _hint(key: Key) -> str:
    """What an unknown name may have meant: one like it here, or the same in another section."""
    model: type[BaseModel] | None = Settings
    for part in key[:-1]:
        if model is None:
            break
        _, model = shape_of(model).get(part, ("", None)) if part in model.model_fields else ("", model)
    known = list(model.model_fields) if model is not None else []
    if hint := near(key[-1], known):
        return hint
    elsewhere = [
        f"[{section}{'.NAME' if how == 'many' else ''}]"
        for section, (how, inner) in shape_of(Settings).items()
        if inner is not None and key[-1] in inner.model_fields
    ]
    if elsewhere:
        return f"it belongs under {' or '.join(elsewhere)}"
    return f"known here: {', '.join(known)}" if known else ""


def text_problems(key: Key, text: Text) -> Iterator[Problem]:
    """What is wrong with a text that may differ by language."""
    if any("\0" in each for each in ([text] if isinstance(text, str) else text.values())):
        yield Problem(key, "it holds a NUL character", "take \\u0000 out of it")
    if isinstance(text, str):
        return
    if not text:
        yield Problem(key, "it has no language", 'write it as "x", or { en = "x", fr = "y" }')
    for language in text:
        if language not in _LANGUAGES:
            yield Problem(key, f"{language} is none of the languages {' '.join(_LANGUAGES)}", "use one of them")

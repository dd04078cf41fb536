"""What a letter is compiled from: a circular in one language and one form. All texts are already in that language."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from lists.kinds import Form


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who speaks: printed as letterhead, signature and address block. Empty parts are not printed."""

    name: str = ""
    capacity: str = ""
    letterhead: str = ""  #: Markdown
    address_block: str = ""  #: as many lines as needed


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A line of the list of enclosures.

    Attributes:
        title: as printed.
        note: what stands after it (`English only`, `to follow by 1 August 2006`), or nothing; `letters.wording` words it.
    """

    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a reader may ask."""

    name: str
    title: str = ""
    organization: str = ""
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A meeting.

    Attributes:
        start: local time in `timezone`, naive, as the letter prints it.
        end: the same, or None where none is given; then none is printed.
        timezone: IANA name.
    """

    title: str
    start: dt.datetime
    end: dt.datetime | None = None
    timezone: str = "Europe/Zurich"
    location: str = ""


@dataclass(frozen=True, slots=True)
class DateRange:
    """Days from `first` to `last`, both included."""

    first: dt.date
    last: dt.date


@dataclass(frozen=True, slots=True)
class Follows:
    """The earlier letter that this one refers to; `reference` is None where that letter is not in the account."""

    reference: str | None = None
    date: dt.date | None = None
    title: str = ""


#: A value of the circular's `[values]`.
Value = str | int | float | bool | dt.date | DateRange | list[Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A circular in one language and one form.

    Attributes:
        subject: may hold fields (`{{ organization }}`).
        body: Markdown with fields.
        body_where: the body's file name, for errors.
        reference: None where it is not printed.
        to_lines: the audiences as they are printed; `cc_lines` likewise.
        from_line: how a memo names the issuers; None: their names and capacities.
        letterhead: Markdown with fields; empty: the issuers' own.
        salutation: None: each organization's own (a letter field); empty: none is printed.
        values: the circular's own, by name.
    """

    language: str
    form: Form
    subject: str
    body: str
    date: dt.date
    body_where: str = "letter.md"
    reference: str | None = None
    place: str | None = None
    to_lines: tuple[str, ...] = ()
    cc_lines: tuple[str, ...] = ()
    from_line: str | None = None
    issuers: tuple[Issuer, ...] = ()
    letterhead: str = ""
    salutation: str | None = ""
    closing: str | None = None
    event: Event | None = None
    reply_by: dt.date | None = None
    contact_persons: tuple[Person, ...] = ()
    enclosures: tuple[Enclosure, ...] = ()
    follows: Follows | None = None
    values: Mapping[str, Value] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The source as plain JSON values; `from_json` reads it back unchanged."""
        return {f.name: to_json(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Source":
        """Read what `as_json` gave."""
        read = {name: of_json(value) for name, value in document.items()}
        for name in ("to_lines", "cc_lines", "issuers", "contact_persons", "enclosures"):
            read[name] = tuple(read.get(name, ()))
        return cls(**{**read, "form": Form(read["form"])})


_TAGGED = {kind.__name__: kind for kind in (Issuer, Enclosure, Person, Event, DateRange, Follows)}


def to_json(value: Any) -> Any:
    """Turn a value into JSON; what JSON lacks becomes `{"": kind, ...}` (no TOML key of ours is empty)."""
    if isinstance(value, dt.datetime):
        return {"": "datetime", "iso": value.isoformat()}
    if isinstance(value, dt.date):
        return {"": "date", "iso": value.isoformat()}
    if is_dataclass(value) and not isinstance(value, type):
        return {"": type(value).__name__, **{f.name: to_json(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value.value if isinstance(value, Form) else value


def of_json(value: Any) -> Any:
    """Turn back what `to_json` made; sequences come back as lists."""
    if isinstance(value, list):
        return [of_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("")
    if kind == "datetime":
        return dt.datetime.fromisoformat(value["iso"])
    if kind == "date":
        return dt.date.fromisoformat(value["iso"])
    read = {key: of_json(item) for key, item in value.items() if key}
    return _TAGGED[kind](**read) if kind in _TAGGED else read

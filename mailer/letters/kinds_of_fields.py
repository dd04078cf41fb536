"""The kinds of the fields that templates and texts see: what each holds, and what may be done with it."""

from enum import StrEnum
from typing import Any

from mailer.letters.clean import is_url
from mailer.letters.source import DateRange, Enclosure, Event, Follows, Issuer, Person


class Kind(StrEnum):
    """What a field holds; the value is how people are told."""

    TEXT = "text"
    URL = "url"  #: a whole link: https or mailto
    NUMBER = "number"
    YES_NO = "yes or no"
    DATE = "date"
    MOMENT = "day and hour"
    DAYS = "range of days"
    EVENT = "event"
    FOLLOWS = "earlier letter"
    ISSUER = "issuer"
    PERSON = "person"
    ENCLOSURE = "enclosure"
    ROW = "row"
    TEXTS = "list of texts"
    ISSUERS = "list of issuers"
    PERSONS = "list of persons"
    ENCLOSURES = "list of enclosures"
    ROWS = "list of rows"


#: What a list consists of.
ITEM = {
    Kind.TEXTS: Kind.TEXT,
    Kind.ISSUERS: Kind.ISSUER,
    Kind.PERSONS: Kind.PERSON,
    Kind.ENCLOSURES: Kind.ENCLOSURE,
    Kind.ROWS: Kind.ROW,
}

#: The parts of an object. A row's are whatever the circular's table gives it.
PARTS: dict[Kind, dict[str, Kind]] = {
    Kind.EVENT: {
        "title": Kind.TEXT,
        "start": Kind.MOMENT,
        "end": Kind.MOMENT,
        "timezone": Kind.TEXT,
        "location": Kind.TEXT,
    },
    Kind.FOLLOWS: {"reference": Kind.TEXT, "date": Kind.DATE, "title": Kind.TEXT},
    Kind.ISSUER: {"name": Kind.TEXT, "capacity": Kind.TEXT, "address_block": Kind.TEXT},
    Kind.PERSON: {
        "name": Kind.TEXT,
        "title": Kind.TEXT,
        "organization": Kind.TEXT,
        "phone": Kind.TEXT,
        "email": Kind.TEXT,
    },
    Kind.ENCLOSURE: {"title": Kind.TEXT, "note": Kind.TEXT},
    Kind.DAYS: {"first": Kind.DATE, "last": Kind.DATE},
}

#: Kinds that print without a filter.
PRINTABLE = frozenset({Kind.TEXT, Kind.URL, Kind.NUMBER, Kind.DATE, Kind.DAYS})
#: Kinds that JSON can hold as they are, so that a condition may compare them with a letter's own field.
FLAT = frozenset({Kind.TEXT, Kind.URL, Kind.NUMBER, Kind.YES_NO})

#: filter -> kinds that it takes.
FILTERS: dict[str, frozenset[Kind]] = {
    "block": frozenset({Kind.EVENT}),
    "date": frozenset({Kind.DATE, Kind.MOMENT}),
    "day": frozenset({Kind.DATE, Kind.MOMENT}),
    "time": frozenset({Kind.MOMENT}),
    "date_range": frozenset({Kind.DAYS}),
    "sentence": frozenset({Kind.PERSONS, Kind.TEXTS}),
    "bullets": frozenset({Kind.TEXTS, Kind.PERSONS, Kind.ENCLOSURES}),
    "table": frozenset({Kind.ROWS, Kind.PERSONS}),
    "lines": frozenset({Kind.TEXT, Kind.TEXTS}),
    "url": frozenset({Kind.URL}),
    "percent": frozenset({Kind.TEXT, Kind.URL, Kind.NUMBER}),
}
#: Filters whose result is a block (a set-off paragraph, a list, a table) and stands on lines of its own.
BLOCKS = frozenset({"block", "bullets", "table"})


def kind_of(value: Any) -> Kind:
    """The kind of a value that a circular gives."""
    if isinstance(value, str):
        return Kind.URL if is_url(value) else Kind.TEXT
    if isinstance(value, bool):
        return Kind.YES_NO
    if isinstance(value, (int, float)):
        return Kind.NUMBER
    if isinstance(value, DateRange):
        return Kind.DAYS
    if isinstance(value, (list, tuple)):
        return _kind_of_list(value)
    objects = {Event: Kind.EVENT, Follows: Kind.FOLLOWS, Issuer: Kind.ISSUER, Person: Kind.PERSON}
    for type_, kind in (*objects.items(), (Enclosure, Kind.ENCLOSURE)):
        if isinstance(value, type_):
            return kind
    if isinstance(value, dict):
        return Kind.ROW
    return Kind.MOMENT if hasattr(value, "hour") else Kind.DATE


def _kind_of_list(items: Any) -> Kind:
    kinds = {kind_of(item) for item in items}
    for kind, item in ITEM.items():
        if kinds == {item} and item is not Kind.ROW:
            return kind
    return Kind.ROWS if kinds & {Kind.ROW, Kind.TEXTS, Kind.ROWS} else Kind.TEXTS

"""Reading columns as they are stored: a value that was tampered with has to be named, and must not stop whoever names it."""

import datetime as dt
import json
from typing import Any

from sqlalchemy import ColumnElement, Text, type_coerce


def stored(column: Any) -> ColumnElement[Any]:
    """A column read without its type's conversion, under its own name."""
    return type_coerce(column, Text).label(column.key)


def moment(value: Any) -> Any:
    """A stored time as an aware one (SQLite stores UTC as text); what is none, as it is."""
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    return value


def plain(value: Any) -> Any:
    """A stored JSON value, parsed; what is none, as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value

"""How a report is printed: cells that are safe in a spreadsheet, JSON, CSV and HTML."""

import datetime as dt
from enum import Enum
from typing import Any

#: What makes a spreadsheet read a cell as a formula (OWASP, CSV Injection), full-width forms included.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 - the full-width forms are the point
_CONTROL = ("\t", "\r", "\n")


def safe_cell(value: Any) -> str | int | float:
    """*value* for a cell of a sheet: never a formula, whatever spreadsheet opens it.

    Numbers stay numbers; None is empty; times are ISO 8601. A text that a spreadsheet could take for a formula gets an
    apostrophe in front, which makes it a text.
    """
    if value is None:
        return ""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return value
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    text = str(value).replace("\x00", "")
    if text.startswith(_CONTROL) or text.lstrip().startswith(_FORMULA):
        return f"'{text}"
    return text

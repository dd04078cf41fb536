"""What a sheet is made of while it is read: rows, cells, and what is found wrong with them. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lists.findings import Finding
from lists.kinds import Severity

#: What a reader hands over for a cell: text, a number, a truth value, a date, or nothing.
Value = str | float | int | bool | dt.date | dt.datetime | dt.time | dt.timedelta | None


@dataclass(frozen=True, slots=True)
class Grid:
    """A sheet as read.

    Attributes:
        name: of the file, for messages.
        rows: (row as Excel counts it, its cells); blank rows are counted and left out.
        quoted: whether an apostrophe before `=`, `+`, `-`, `@` or a tab is a guard against formulas, to be taken off (CSV).
        notes: what the reader wants to be known, such as a guessed encoding.
    """

    name: str
    rows: Sequence[tuple[int, Sequence[Value]]]
    quoted: bool = False
    notes: tuple[Finding, ...] = ()


class Cell(NamedTuple):
    """One cell under a known heading; `heading` as the sheet spells it."""

    row: int
    column: str
    heading: str
    value: Value

    @property
    def where(self) -> str:
        """`row 14, column address`."""
        return f"row {self.row}, column {self.heading}"


class Row(NamedTuple):
    """One row: its number as Excel counts it, and its cells by column."""

    number: int
    cells: Mapping[str, Cell]


def error(code: str, where: str, what: str, remedy: str) -> Finding:
    """A finding that stops the import."""
    return Finding(code, Severity.ERROR, where, what, remedy, where)


def warning(code: str, where: str, what: str, remedy: str = "") -> Finding:
    """A finding that is told and does not stop."""
    return Finding(code, Severity.WARNING, where, what, remedy, where)

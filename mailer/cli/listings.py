"""A listing of any length, piece by piece, with the same bytes as if it had been laid out whole.

A table's columns are as wide as their widest cells, so its rows are gone through twice: the first time to see them, then to print them.
Two cells of a column decide on its width: the one with the longest line, and the one with the longest word. A table of those alone is
laid out by Rich, and its edge tells the widths. Of the others, a row whose cells fit needs no more than blanks; the rest are laid out by
Rich in columns of these widths.
"""

import csv
import io
import json
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mailer.cli import context
from mailer.cli.context import Format

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = Mapping[str, Any]
#: Goes through all rows, some hundreds at a time; each call, from the beginning.
Pieces = Callable[[], AsyncIterable[Sequence[Row]]]


async def show_pieces(
    pieces: Pieces, columns: Mapping[str, str], form: Format, *, title: str | None = None, head: Row | None = None
) -> None:
    """Print a listing as `context.show_rows` does, holding no more than a piece of it.

    Args:
        pieces: the rows; a table goes through them twice, json and csv once.
        columns: key -> heading, in order.
        form: table for people, json or csv for programs.
        title: above the table.
        head: with json, what stands before the rows in one object with them; None: the rows alone.
    """
    if form is Format.JSON:
        async for part in _json(pieces(), head):
            sys.stdout.write(part)
    elif form is Format.CSV:
        async for part in _csv(pieces(), columns):
            sys.stdout.write(part)
    else:
        table = TableListing(context.out, columns, title)
        async for some in pieces():
            table.look(some)
        table.begin()
        async for some in pieces():
            table.show(some)
        table.end()


async def _json(pieces: AsyncIterable[Sequence[Row]], head: Row | None) -> AsyncIterator[str]:
    """What `json.dumps` with an indent of 2 makes of the rows, or of an object with *head* and them."""
    opening, depth = "[", "  "
    if head is not None:
        opening, depth = json.dumps(head, ensure_ascii=False, indent=2)[:-2] + ',\n  "rows": [', "    "
    yield opening
    any_ = False
    async for some in pieces:
        for row in some:
            told = json.dumps(row, ensure_ascii=False, indent=2, default=str).replace("\n", f"\n{depth}")
            yield f"{',' if any_ else ''}\n{depth}{told}"
            any_ = True
    closing = f"\n{depth[2:]}]" if any_ else "]"
    yield f"{closing}\n" if head is None else f"{closing}\n}}\n"


async def _csv(pieces: AsyncIterable[Sequence[Row]], columns: Mapping[str, str]) -> AsyncIterator[str]:
    from mailer.reports.formats import safe_cell

    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns.values())
    async for some in pieces:
        writer.writerows([[safe_cell(row.get(key, "")) for key in columns] for row in some])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


class TableListing:
    """A table for people: all rows are looked at, then it is begun, all rows are shown, and it is ended.

    Args:
        console: where to.
        columns: key -> heading, in order.
        title: above the table.
    """

    def __init__(self, console: "Console", columns: Mapping[str, str], title: str | None = None) -> None:
        self._console, self._columns, self._title = console, columns, title
        self._widest = [_Widest() for _ in columns]
        self._widths: list[int] = []
        self._wall = ""

    def look(self, rows: Iterable[Row]) -> None:
        """Take note of the widths of these rows."""
        for row in rows:
            for key, widest in zip(self._columns, self._widest, strict=True):
                widest.look(_text(row.get(key)))

    def begin(self) -> None:
        """Print title and headings; all rows have been looked at."""
        from rich import box
        from rich.console import Console
        from rich.text import Text

        sample = self._table()
        sample.add_row(*(Text(widest.line) for widest in self._widest))
        sample.add_row(*(Text(widest.word) for widest in self._widest))
        # drawn for a reader of all letters, where each crossing in the edge is a letter of its own
        drawn = io.StringIO()
        Console(file=drawn, width=self._console.width, color_system=None, emoji=False).print(sample)
        edge = drawn.getvalue().partition("\n")[0].strip("┏┓")
        self._widths = [len(part) - 2 for part in edge.split("┳")]
        self._wall = box.HEAVY_HEAD.substitute(self._console.options).mid_vertical
        self._write(self._laid_out([], self._title)[:-1])

    def show(self, rows: Iterable[Row]) -> None:
        """Print these rows."""
        lines: list[str] = []
        odd: list[list[str]] = []
        for row in rows:
            cells = [_text(row.get(key)) for key in self._columns]
            line = self._line(cells)
            if line is None:
                odd.append(cells)
                continue
            lines += self._between(odd)
            odd = []
            lines.append(line)
        self._write(lines + self._between(odd))

    def end(self) -> None:
        """Print the lower edge."""
        self._write(self._laid_out([])[-1:])

    def _line(self, cells: Sequence[str]) -> str | None:
        """The row on one line; None where a cell does not fit, or has to be looked at closer."""
        parts = []
        for cell, width in zip(cells, self._widths, strict=True):
            if len(cell) > width or not (cell.isascii() and cell.isprintable()):
                return None
            parts.append(cell.ljust(width))
        return f"{self._wall} {f' {self._wall} '.join(parts)} {self._wall}\n"

    def _between(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """The rows as Rich lays them out, without the edges."""
        if not rows:
            return []
        above = len(self._laid_out([])) - 1
        return self._laid_out(rows)[above:-1]

    def _laid_out(self, rows: Sequence[Sequence[str]], title: str | None = None) -> list[str]:
        from rich.text import Text

        table = self._table(title, self._widths)
        for cells in rows:
            table.add_row(*map(Text, cells))
        with self._console.capture() as drawn:
            self._console.print(table)
        return drawn.get().splitlines(keepends=True)

    def _table(self, title: str | None = None, widths: Sequence[int] = ()) -> "Table":
        from rich.table import Table

        table = Table(title=title, title_justify="left", header_style="bold")
        for place, heading in enumerate(self._columns.values()):
            table.add_column(heading, overflow="fold", width=widths[place] if widths else None)
        return table

    def _write(self, lines: Sequence[str]) -> None:
        self._console.file.write("".join(lines))


class _Widest:
    """The cells of a column that decide on its width."""

    def __init__(self) -> None:
        self.line = self.word = ""
        self._line = self._word = 0

    def look(self, cell: str) -> None:
        """Keep the cell, if it has a longer line, or a longer word, than those before."""
        if len(cell) * 2 <= self._word:  # no letter takes more than two columns
            return
        from rich.cells import cell_len
        from rich.control import strip_control_codes

        seen = cell if cell.isprintable() else strip_control_codes(cell)
        line = max(map(cell_len, seen.splitlines()), default=0)
        if line > self._line:
            self._line, self.line = line, cell
        word = max(map(cell_len, seen.split()), default=line)
        if word > self._word:
            self._word, self.word = word, cell


def _text(value: Any) -> str:
    return "" if value is None else str(value)

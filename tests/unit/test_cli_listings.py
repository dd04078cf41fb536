"""Listings printed piece by piece."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mailer.cli.listings import TableListing

ODD = ["日本語日本", "é", "e\u0301", "🙂", "\u200b", "tab\there", "two\nlines", "x\x0by", "x\\", "[bold]x", ":smile:"]
WORDS = st.sampled_from(["a", "Mission", "averylongwordthatbreaks", "trail   ", "a  b", "", *ODD])
CELLS = st.lists(WORDS, max_size=6).map(" ".join) | st.none()
COLUMNS = {"a": "", "b": "organization", "c": "why"}
ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, CELLS)), max_size=8)


def _console(width: int, encoding: str, *, color: bool) -> tuple[Console, io.BytesIO]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="", write_through=True)
    system = "truecolor" if color else None
    return Console(file=file, width=width, color_system=system, force_terminal=color, emoji=False), raw


@given(
    rows=ROWS,
    width=st.sampled_from([20, 40, 80, 160]),
    encoding=st.sampled_from(["utf-8", "ascii"]),
    color=st.booleans(),
    title=st.sampled_from([None, "t", "organizations on a day: 3 of them " * 4]),
    together=st.integers(1, 5),
)
def test_a_table_in_pieces_is_the_table(rows, width, encoding, color, title, together):
    """Whatever the cells hold and however narrow the screen, a table printed in pieces has the bytes of one laid out whole."""
    one, whole = _console(width, encoding, color=color)
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in COLUMNS.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[key] or "") for key in COLUMNS))
    one.print(table)
    other, pieces = _console(width, encoding, color=color)
    listing = TableListing(other, COLUMNS, title)
    listing.look(rows)
    listing.begin()
    for start in range(0, len(rows), together):
        listing.show(rows[start : start + together])
    listing.end()
    assert pieces.getvalue() == whole.getvalue()

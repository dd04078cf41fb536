"""Large lists: how fast rows are written and read again, and in how much memory. Counted in the database and by the product's own check."""

# ruff: noqa: T201 - prints a table, as run.py does

import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import work
from peers import Cost, cost_of

_HERE = Path(__file__).resolve().parent
#: Rows of a sheet: an import takes no more at once.
SHEET = 100_000
ORGANIZATION = (
    "insert into organization (id, sheet_id, match_key, name, kind, languages) values (?, ?, ?, ?, 'ngo', '[\"en\"]')"
)
CONTACT = "insert into contact (id, organization_id, address, name, role) values (?, ?, ?, '', 'to')"


class Wrong(Exception):
    """The database does not hold what was claimed."""


def rows(folder: Path, letters: int) -> None:
    """An approval of so many letters, the register's check of them, and the report.

    Raises:
        Wrong: a row is missing.
    """
    home = work.begin(folder)
    _fill(home, letters)
    work.draft(home)
    print(
        f"\nrows: a circular of {letters:,} letters (organizations put into the database directly); start-up included in commands."
    )
    done = subprocess.run(
        [sys.executable, _HERE / "approving.py", home],
        capture_output=True,
        text=True,
        env=work.environment(),
        check=True,
    )
    phases = {name: Cost(*values) for name, values in json.loads(done.stdout).items()}
    _head()
    _line("resolved, composed, checked, planned", letters, phases["checked"])
    _line("written as rows, digests compared", letters, phases["written"])
    *counts, left = _counted(home, "letter", "recipient", "plan_batch")
    if counts != [letters, letters] or left:
        raise Wrong(f"{counts[0]} letters, {counts[1]} recipients, {left} batches left over, of {letters}")
    for words in (
        ("register", "verify"),
        ("report", "1"),
        ("report", "1", "--format", "json"),
        ("report", "1", "--format", "csv"),
    ):
        _line(f"chancery {' '.join(words)}", letters, _command(home, words))
    print(f"Counted in the database: {letters:,} letters and recipients; `register verify` found every digest right.")


def imports(folder: Path, count: int) -> None:
    """An import of so many organizations, in sheets of `SHEET`.

    Raises:
        Wrong: a row is missing.
    """
    home = work.begin(folder)
    print(f"\nimport: {count:,} organizations with a mailbox each, in sheets of at most {SHEET:,}; start-up included.")
    _head()
    for start in range(0, count, SHEET):
        here = range(start + 1, min(start + SHEET, count) + 1)
        sheet = folder / "contacts.csv"
        sheet.write_text(work.sheet(here), encoding="utf-8")
        _line(
            f"chancery contacts import, sheet {start // SHEET + 1}",
            len(here),
            _command(home, ("contacts", "import", sheet)),
        )
    found = _counted(home, "organization", "contact")
    if found != [count, count]:
        raise Wrong(f"{found[0]} organizations and {found[1]} mailboxes of {count}")
    _line("chancery register verify", count, _command(home, ("register", "verify")))
    print(f"Counted in the database: {count:,} organizations and mailboxes.")


def _counted(home: Path, *tables: str) -> list[int]:
    """How many rows each table has."""
    with sqlite3.connect(home / "chancery.sqlite3") as database:
        return [database.execute(f"select count(*) from {table}").fetchone()[0] for table in tables]  # noqa: S608 - names of ours


def _fill(home: Path, count: int) -> None:
    """Organizations as an import would store them, without the time that it takes."""
    with sqlite3.connect(home / "chancery.sqlite3") as database:
        numbers = range(1, count + 1)
        database.executemany(
            ORGANIZATION,
            ((no, f"organization-{no:07}", f"||ngo|organization {no:07}", f"Organization {no:07}") for no in numbers),
        )
        database.executemany(CONTACT, ((no, no, work.address(no)) for no in numbers))
        database.execute("insert into lists_revision (name, number) values ('lists', 1)")


def _command(home: Path, words: Sequence[str | Path]) -> Cost:
    return cost_of([work.CHANCERY, "--home", home, "--by", "anna", *words], " ".join(map(str, words)))


def _head() -> None:
    print(f"{'':<40}{'rows/s':>13}{'CPU s':>13}{'CPU us/row':>13}{'peak MB':>13}")


def _line(name: str, count: int, cost: Cost) -> None:
    cells = (f"{count / cost.wall:,.0f}", f"{cost.cpu:,.1f}", f"{1e6 * cost.cpu / count:,.1f}", f"{cost.memory:,.0f}")
    print(f"{name:<40}" + "".join(f"{cell:>13}" for cell in cells), flush=True)

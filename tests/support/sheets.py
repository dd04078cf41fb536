"""Sheets of contacts for tests: as csv text, imported into a real database."""

import datetime as dt
from pathlib import Path

from lists.changes import Change
from lists.importing import service
from lists.importing.checking import Checked, check
from lists.importing.reading import read
from lists.roll import Roll

TODAY = dt.date(2006, 7, 7)
ROLL = Roll.load()


def checked(folder: Path, text: str | bytes, name: str = "sheet.csv") -> Checked:
    """A sheet of this content, read and checked."""
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return check(read(file), ROLL)


async def planned(database, folder: Path, text: str, *, replace: str | None = None) -> service.Plan:
    """What importing the text would do."""
    async with database.read() as session:
        return await service.plan(session, checked(folder, text), today=TODAY, replace_list=replace)


async def imported(
    database, folder: Path, text: str, *, replace: str | None = None, today: dt.date = TODAY
) -> list[Change]:
    """Import the text; the changes."""
    async with database.write() as session:
        plan = await service.plan(session, checked(folder, text), today=today, replace_list=replace)
        return await service.apply(session, plan)


def lines(sheet: Checked | service.Plan) -> list[str]:
    """The findings of severity error, as a person sees them."""
    return [finding.line for finding in sheet.findings if finding.severity.value == "error"]

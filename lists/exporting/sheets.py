"""Contacts back into a sheet, csv or xlsx, such that importing it again changes nothing; and an empty sheet to begin with.

A csv is opened by spreadsheets, which run what begins with `=`, `+`, `-`, `@` or a tab: such a cell gets an apostrophe, which the
import takes off. An xlsx says of each cell that it is text, so nothing there runs. The only door to XlsxWriter in this package.
"""

import csv
import datetime as dt
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.address import shown
from lists.errors import BadInput, CannotDo
from lists.importing.cells import guarded
from lists.importing.columns import COLUMNS
from lists.kinds import OrganizationKind
from lists.models import Contact, Membership, NamedList, Organization
from lists.organizations import seat_words
from lists.roll import Roll, fold

#: The day that files written here carry, so that the same contacts make the same bytes.
_CREATED = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - a file's property has no zone
_WIDTHS = {
    "organization": 44,
    "address": 44,
    "state": 22,
    "salutation": 22,
    "name": 20,
    "kind": 13,
    "seat": 13,
    "lists": 20,
    "id": 22,
}
_FILL = (
    "One row per mailbox, or several addresses in one cell. Rows of one organization repeat its id, or its State, seat, kind and name.",
    "Headings may stand in any order and case. Rows that begin with # and a blank are comments.",
    "An import changes what the sheet says and adds what is new. It removes nothing, unless it is told to replace a list.",
)
_EXAMPLES: tuple[Mapping[str, str], ...] = (
    {
        "organization": "Permanent Mission of Norway",
        "kind": "mission",
        "state": "Norway",
        "seat": "Geneva",
        "languages": "en",
        "salutation": "Excellency,",
        "address": "mission@norway.example; Registry <registry@norway.example>",
        "role": "to",
    },
    {
        "organization": "An organization",
        "kind": "ngo",
        "languages": "fr en",
        "salutation": "Madam, Sir,",
        "address": "office@ngo.example",
        "role": "to",
        "from": "2026-01-01",
        "lists": "observers",
    },
)


async def rows(session: AsyncSession, roll: Roll) -> list[dict[str, str]]:
    """A row per mailbox of every organization that is not retired, by column; States first, by English name."""
    named = {row.id: row.name for row in await session.scalars(select(NamedList))}
    on: dict[int, list[str]] = {}
    for one in await session.scalars(select(Membership)):
        on.setdefault(one.organization_id, []).append(named[one.list_id])
    contacts: dict[int, list[Contact]] = {}
    for contact in await session.scalars(select(Contact).order_by(Contact.id)):
        contacts.setdefault(contact.organization_id, []).append(contact)
    found: list[dict[str, str]] = []
    organizations = await session.scalars(select(Organization).where(Organization.retired_on.is_(None)))
    for row in sorted(organizations, key=lambda one: _place(one, roll)):
        head = {
            "id": row.sheet_id or "",
            "organization": row.name,
            "kind": OrganizationKind(row.kind).value,
            "state": roll.state(row.state_iso3).name() if row.state_iso3 else "",
            "seat": seat_words(row.seat) if row.seat else "",
            "form": str(row.form or ""),
            "languages": " ".join(row.languages),
            "salutation": row.salutation or "",
            "lists": "; ".join(sorted(on.get(row.id, []))),
        }
        boxes = contacts.get(row.id, [])
        found.extend(head | _mailbox(contact) for contact in boxes)
        if not boxes:
            found.append(head)
    return found


def _mailbox(contact: Contact) -> dict[str, str]:
    return {
        "address": contact.address,
        "name": contact.name,
        "role": str(contact.role),
        "from": contact.valid_from.isoformat() if contact.valid_from else "",
        "until": contact.valid_until.isoformat() if contact.valid_until else "",
    }


def _place(row: Organization, roll: Roll) -> tuple[bool, str, str, int]:
    state = roll.state(row.state_iso3).name() if row.state_iso3 else ""
    return (row.state_iso3 is None, fold(state), fold(row.name), row.id)


def write(path: Path, table: Sequence[Mapping[str, str]]) -> None:
    """Write rows to a csv or xlsx, by the file's ending.

    Raises:
        BadInput: the ending is another, or the file is there already.
        CannotDo: it can't be written.
    """
    if path.suffix.lower() == ".csv":
        _put(path, _csv(table).encode("utf-8-sig"))
    elif path.suffix.lower() == ".xlsx":
        _put(path, workbook(table))
    else:
        raise _ending(path)


def starter(path: Path) -> None:
    """Write an empty sheet with headings, and how to fill it.

    Raises:
        BadInput: the file's ending is not csv or xlsx, or it is there already.
        CannotDo: it can't be written.
    """
    if path.suffix.lower() == ".csv":
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        writer.writerow(COLUMNS)
        writer.writerows([f"# {line}"] for line in _FILL)
        writer.writerows([f"# {column}: {what}"] for column, what in COLUMNS.items())
        _put(path, buffer.getvalue().encode("utf-8-sig"))
    elif path.suffix.lower() == ".xlsx":
        _put(path, workbook((), explained=True))
    else:
        raise _ending(path)


def _ending(path: Path) -> BadInput:
    return BadInput("sheets are written as csv or xlsx", where=shown(str(path)), remedy="end the name in .csv or .xlsx")


def _put(path: Path, data: bytes) -> None:
    """Write a new file; contacts are nobody else's business, so it is for its owner only."""
    try:
        with path.open("xb") as file:
            path.chmod(0o600)
            file.write(data)
    except FileExistsError as error:
        raise BadInput(
            "there is such a file already", where=str(path), remedy="give another name, or remove it"
        ) from error
    except OSError as error:
        raise CannotDo(f"it can't be written ({error.strerror})", where=str(path)) from error


def _csv(table: Iterable[Mapping[str, str]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    writer.writerows([guarded(row.get(column, "")) for column in COLUMNS] for row in table)
    return buffer.getvalue()


def workbook(table: Sequence[Mapping[str, str]], *, explained: bool = False) -> bytes:
    """The rows as an xlsx: every cell text, headings frozen; the same rows make the same bytes.

    Args:
        table: rows by column.
        explained: with a comment on each heading and a second sheet on how to fill it.
    """
    from xlsxwriter import Workbook  # it ships no types

    buffer = io.BytesIO()
    book = Workbook(buffer, {"in_memory": True})
    book.set_properties({"created": _CREATED, "title": "Contacts"})
    bold, wrapped = book.add_format({"bold": True}), book.add_format({"text_wrap": True, "valign": "top"})
    as_text = book.add_format({"num_format": "@"})
    sheet = book.add_worksheet("contacts")
    sheet.freeze_panes(1, 0)
    for place, (column, what) in enumerate(COLUMNS.items()):
        sheet.set_column(place, place, _WIDTHS.get(column, 12), as_text)
        sheet.write_string(0, place, column, bold)
        if explained:
            sheet.write_comment(0, place, what)
    for number, row in enumerate(table, start=1):
        for place, column in enumerate(COLUMNS):
            if value := row.get(column, ""):
                sheet.write_string(number, place, value)
    if table:
        sheet.autofilter(0, 0, len(table), len(COLUMNS) - 1)
    if explained:
        guide = book.add_worksheet("how to fill")
        guide.set_column(0, 0, 16)
        guide.set_column(1, len(COLUMNS), 60, wrapped)
        lines = [("", line) for line in _FILL] + [("column", "what it is for"), *COLUMNS.items()]
        for number, (left, right) in enumerate(lines):
            guide.write_string(number, 0, left, bold)
            guide.write_string(number, 1, right, wrapped)
        for number, (column, _) in enumerate(COLUMNS.items(), start=len(_FILL) + 1):
            for place, example in enumerate(_EXAMPLES, start=2):
                guide.write_string(number, place, example.get(column, ""), wrapped)
        for place in range(2, 2 + len(_EXAMPLES)):
            guide.write_string(len(_FILL), place, "example", bold)
    book.close()
    return buffer.getvalue()

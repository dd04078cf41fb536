"""What is stored, for people: a listing, one organization, and what may go wrong."""

import datetime as dt
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.address import doubt, same, shown
from lists.contacts import is_right
from lists.errors import NotFound
from lists.findings import Finding
from lists.kinds import Role, Severity
from lists.models import Contact, Membership, NamedList, Organization
from lists.near import near
from lists.organizations import find, particulars, problems, seat_words
from lists.roll import Roll, fold
from lists.words import day


async def _contacts(session: AsyncSession) -> dict[int, list[Contact]]:
    found: dict[int, list[Contact]] = {}
    for contact in await session.scalars(select(Contact).order_by(Contact.id)):
        found.setdefault(contact.organization_id, []).append(contact)
    return found


async def _lists(session: AsyncSession) -> tuple[dict[int, str], dict[int, list[str]]]:
    names = {row.id: row.name for row in await session.scalars(select(NamedList).order_by(NamedList.name))}
    on: dict[int, list[str]] = {}
    for one in await session.scalars(select(Membership)):
        on.setdefault(one.organization_id, []).append(names[one.list_id])
    return names, {key: sorted(of) for key, of in on.items()}


def _place(row: Organization, roll: Roll) -> tuple[bool, str, str, int]:
    state = roll.state(row.state_iso3).name() if row.state_iso3 else ""
    return (row.state_iso3 is None, fold(state), fold(row.name), row.id)


async def listing(
    session: AsyncSession, roll: Roll, *, on: dt.date, state_iso3: str | None = None, list_name: str | None = None
) -> list[dict[str, Any]]:
    """The organizations, by State and name, as rows for a table or JSON.

    Raises:
        NotFound: there is no such list.
    """
    contacts = await _contacts(session)
    names, members = await _lists(session)
    wanted = next((name for name in names.values() if list_name and fold(name) == fold(list_name)), None)
    if list_name and wanted is None:
        raise NotFound(f"there is no list {shown(list_name)}", remedy=near(list_name, names.values()) or "")
    found = []
    for row in sorted(await session.scalars(select(Organization)), key=lambda one: _place(one, roll)):
        if (state_iso3 and row.state_iso3 != state_iso3) or (wanted and wanted not in members.get(row.id, [])):
            continue
        right = sum(is_right(contact, on) for contact in contacts.get(row.id, []))
        found.append(_facts(row, roll, members.get(row.id, [])) | {"mailboxes": right})
    return found


def _facts(row: Organization, roll: Roll, lists: list[str]) -> dict[str, Any]:
    return {
        "number": row.id,
        "id": row.sheet_id,
        "organization": row.name,
        "kind": str(row.kind),
        "state": roll.state(row.state_iso3).name() if row.state_iso3 else None,
        "state_iso3": row.state_iso3,
        "seat": seat_words(row.seat) if row.seat else None,
        "form": str(row.form) if row.form else None,
        "languages": " ".join(row.languages),
        "salutation": row.salutation,
        "lists": "; ".join(lists),
        "retired_on": row.retired_on.isoformat() if row.retired_on else None,
    }


async def one(session: AsyncSession, roll: Roll, text: str, *, on: dt.date) -> dict[str, Any]:
    """One organization with its mailboxes.

    Raises:
        NotFound: there is none of this id or name.
    """
    row = await find(session, text, roll)
    on_it = select(Membership.list_id).where(Membership.organization_id == row.id)
    lists = sorted(await session.scalars(select(NamedList.name).where(NamedList.id.in_(on_it))))
    rows = await session.scalars(select(Contact).where(Contact.organization_id == row.id).order_by(Contact.id))
    boxes = [
        {
            "contact_id": contact.id,
            "address": contact.address,
            "name": contact.name,
            "role": str(contact.role),
            "from": contact.valid_from.isoformat() if contact.valid_from else None,
            "until": contact.valid_until.isoformat() if contact.valid_until else None,
            "today": "right" if is_right(contact, on) else "not now",
        }
        for contact in rows
    ]
    return _facts(row, roll, lists) | {"mailboxes": boxes}


async def check(session: AsyncSession, roll: Roll, *, on: dt.date) -> list[Finding]:
    """What may go wrong with the stored contacts on that day."""
    contacts = await _contacts(session)
    found: list[Finding] = []
    owners: dict[str, str] = {}
    represented: set[str] = set()
    rows = sorted(await session.scalars(select(Organization)), key=lambda row: _place(row, roll))
    for row in rows:
        if row.retired_on is not None and row.retired_on <= on:
            continue
        where = f"{row.name} ({row.sheet_id or row.id})"
        for column, what, remedy in problems(particulars(row)):
            found.append(Finding("does-not-fit", Severity.ERROR, f"{where}, {column}", what, remedy, str(row.id)))
        boxes = [contact for contact in contacts.get(row.id, []) if is_right(contact, on)]
        if not boxes:
            what = f"it has no mailbox that is right on {day(on)}"
            found.append(
                Finding("no-mailbox", Severity.WARNING, where, what, "add one, or correct its dates", str(row.id))
            )
        elif all(contact.role == Role.CC for contact in boxes):
            what = "all its mailboxes are cc"
            found.append(Finding("only-cc", Severity.WARNING, where, what, "give one the role to", str(row.id)))
        if boxes and row.state_iso3:
            represented.add(row.state_iso3)
        for contact in boxes:
            other = owners.setdefault(same(contact.address), row.name)
            if other != row.name:
                what = f"{contact.address} belongs to {other} too"
                found.append(Finding("shared-address", Severity.WARNING, where, what, "", str(row.id)))
            if (told := doubt(contact.address)) is not None:
                found.append(Finding("address-beyond-ascii", Severity.WARNING, where, *told, str(row.id)))
    if rows:
        found.extend(
            Finding(
                "state-without-mailbox",
                Severity.NOTE,
                f"{state.name()} ({state.iso3})",
                "no mission or ministry with a mailbox is known",
                "",
                state.iso3,
            )
            for state in roll.existing(on)
            if state.iso3 not in represented
        )
    return found

"""Importing a sheet: read and check it, plan, apply in the caller's transaction.

checked = check_file(path, roll)
async with database.write() as session:
    plan_ = await plan(session, checked, today=today)
    changes = await apply(session, plan_)      # refuses a plan with errors; every change goes to the register
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists import contacts as mailboxes
from lists.changes import Change, bump, plain
from lists.errors import BadInput
from lists.importing.checking import Checked, check
from lists.importing.planning import Plan, Step, Verdict, plan
from lists.importing.reading import read
from lists.models import Contact, Membership, NamedList, Organization
from lists.organizations import COLUMNS, difference, particulars, put
from lists.roll import Roll

__all__ = ["Checked", "Plan", "Step", "Verdict", "apply", "check_file", "plan"]

#: Rows sent to the database at a time.
_TOGETHER = 500


def check_file(path: Path, roll: Roll) -> Checked:
    """Read and check a sheet; a bad cell is a finding, not an error.

    Raises:
        BadInput: the file is missing, too large, or no sheet.
        CannotDo: it can't be read.
    """
    return check(read(path), roll)


async def apply(session: AsyncSession, plan_: Plan) -> list[Change]:
    """Do what the plan says, all of it in the caller's transaction; the changes, in the order of the sheet.

    Raises:
        BadInput: the plan has findings of severity error; nothing was done.
    """
    if plan_.errors:
        raise BadInput(plan_.errors[0].what, where=plan_.errors[0].where, remedy=plan_.errors[0].remedy)
    steps = [step for step in plan_.steps if step.verdict is not Verdict.LEAVE]
    if not steps:
        return []
    rows = await _organizations(session, steps)
    changes: list[Change] = []
    for step, row in zip(steps, rows, strict=True):
        changes.extend(_particulars(step, row))
        changes.extend(_standing(step, row, plan_.today))
    await session.flush()
    changes.extend(await _contacts(session, steps, rows))
    changes.extend(await _lists(session, steps, rows))
    await session.flush()
    await bump(session)
    place = {row.id: at for at, row in enumerate(rows)}
    return sorted(changes, key=lambda change: place[change.organization_id])


async def _organizations(session: AsyncSession, steps: Sequence[Step]) -> list[Organization]:
    """The rows of the steps; new ones are stored, changed ones freed of their unique columns, so that names may be swapped."""
    known = {row.id: row for row in await session.scalars(select(Organization))}
    for step in steps:
        if step.organization_id is not None and step.particulars is not None:
            row = known[step.organization_id]
            row.match_key = f"~{row.id}"
    await session.flush()
    rows = []
    for step in steps:
        if step.organization_id is not None:
            rows.append(known[step.organization_id])
            continue
        row = Organization(match_key="")
        if step.particulars is None:
            raise BadInput("a new organization needs its particulars", where=step.name)
        put(row, step.particulars)
        rows.append(row)
    return rows


def _particulars(step: Step, row: Organization) -> list[Change]:
    """Write the particulars of a changed one; what a new one has is told once it is stored."""
    if step.organization_id is None or step.particulars is None:
        return []
    before, after = difference(particulars(row), step.particulars)
    put(row, step.particulars)
    return [Change("organization-changed", row.id, row.name, before, after)]


def _standing(step: Step, row: Organization, today: dt.date) -> list[Change]:
    if step.revive and row.retired_on is not None:
        before = {"retired_on": row.retired_on.isoformat()}
        row.retired_on = None
        return [Change("organization-revived", row.id, row.name, before, {"retired_on": None})]
    if step.retire:
        row.retired_on = today
        return [
            Change("organization-retired", row.id, row.name, {"retired_on": None}, {"retired_on": today.isoformat()})
        ]
    return []


async def _contacts(session: AsyncSession, steps: Sequence[Step], rows: Sequence[Organization]) -> list[Change]:
    """Store new organizations and all mailboxes."""
    changes: list[Change] = []
    fresh = [row for step, row in zip(steps, rows, strict=True) if step.organization_id is None]
    session.add_all(fresh)
    await session.flush()
    for row in fresh:
        after = {column: plain(getattr(row, column)) for column in COLUMNS}
        changes.append(Change("organization-added", row.id, row.name, {}, after))
    new: list[tuple[Contact, Organization]] = []
    for step, row in zip(steps, rows, strict=True):
        for mail in step.add:
            values = {column: getattr(mail, column) for column in mailboxes.COLUMNS}
            new.append((Contact(organization_id=row.id, **values), row))
    session.add_all(contact for contact, _ in new)
    await session.flush()
    changes.extend(mailboxes.added(contact, row.name) for contact, row in new)
    wanted = {
        contact_id: (mail, row) for step, row in zip(steps, rows, strict=True) for contact_id, mail in step.change
    }
    ids = sorted(wanted)
    for start in range(0, len(ids), _TOGETHER):
        some = ids[start : start + _TOGETHER]
        for contact in await session.scalars(select(Contact).where(Contact.id.in_(some)).order_by(Contact.id)):
            mail, row = wanted[contact.id]
            if told := mailboxes.changed(contact, mail, row.name):
                changes.append(told)
    return changes


async def _lists(session: AsyncSession, steps: Sequence[Step], rows: Sequence[Organization]) -> list[Change]:
    known = {row.name: row for row in await session.scalars(select(NamedList))}
    changes: list[Change] = []
    for step, row in zip(steps, rows, strict=True):
        for name in step.join:
            named = known.get(name)
            if named is None:
                named = known[name] = NamedList(name=name)
                session.add(named)
                await session.flush()
            session.add(Membership(list_id=named.id, organization_id=row.id))
            changes.append(Change("list-joined", row.id, row.name, {}, {"list": name}))
        for name in step.leave:
            of_both = (Membership.list_id == known[name].id, Membership.organization_id == row.id)
            await session.execute(delete(Membership).where(*of_both))
            changes.append(Change("list-left", row.id, row.name, {"list": name}, {}))
    return changes

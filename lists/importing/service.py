"""Importing a sheet: read and check it, plan, apply in the caller's transaction.

checked = check_file(path, roll)
async with database.write() as session:
    plan_ = await plan(session, checked, today=today)
    changes = await apply(session, plan_)      # refuses a plan with errors; every change goes to the register
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists import contacts as mailboxes
from lists.changes import Change, bump, plain
from lists.errors import BadInput, CannotDo
from lists.importing.checking import Checked, check
from lists.importing.planning import Plan, Step, Verdict, plan
from lists.importing.reading import read
from lists.importing.stored import TOGETHER
from lists.models import Contact, Membership, NamedList, Organization
from lists.organizations import COLUMNS, columns_of, difference, particulars, put
from lists.roll import Roll

__all__ = ["Checked", "Plan", "Step", "Verdict", "apply", "check_file", "plan"]


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
    targets = await _targets(session, steps)
    changes: list[Change] = []
    for step, target in zip(steps, targets, strict=True):
        if target.row is not None:
            changes.extend(_particulars(step, target.row))
            changes.extend(_standing(step, target.row, plan_.today))
    await session.flush()
    changes.extend(await _contacts(session, steps, targets))
    changes.extend(await _lists(session, steps, targets))
    await session.flush()
    await bump(session)
    place = {target.id: at for at, target in enumerate(targets)}
    return sorted(changes, key=lambda change: place[change.organization_id])


@dataclass(slots=True)
class _Target:
    """The organization of a step: its name as the sheet has it; its id, 0 until it is stored; its row, where it was there before."""

    name: str
    id: int = 0
    row: Organization | None = None


async def _targets(session: AsyncSession, steps: Sequence[Step]) -> list[_Target]:
    """The organizations of the steps; changed ones are freed of their unique columns, so that names may be swapped."""
    known: dict[int, Organization] = {}
    ids = [step.organization_id for step in steps if step.organization_id is not None]
    for start in range(0, len(ids), TOGETHER):
        some = Organization.id.in_(ids[start : start + TOGETHER])
        known |= {row.id: row for row in await session.scalars(select(Organization).where(some))}
    targets = []
    for step in steps:
        row = known[step.organization_id] if step.organization_id is not None else None
        if row is None and step.particulars is None:
            raise BadInput("a new organization needs its particulars", where=step.name)
        if row is not None and step.particulars is not None:
            row.match_key = f"~{row.id}"
        name = step.particulars.name if step.particulars else row.name if row else step.name
        targets.append(_Target(name, row.id if row else 0, row))
    await session.flush()
    return targets


def _particulars(step: Step, row: Organization) -> list[Change]:
    """Write the particulars of a changed one; what a new one has is told once it is stored."""
    if step.particulars is None:
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


async def _store(
    session: AsyncSession, table: type[Organization | Contact], rows: Sequence[dict[str, Any]]
) -> list[int]:
    """Store new rows; their numbers, in order.

    The numbers are asked for afterwards, since handing them back row by row costs more than all the rest. The transaction is the only
    one that writes, and both databases count upwards.
    """
    if not rows:
        return []
    before = await session.scalar(select(func.max(table.id))) or 0
    for start in range(0, len(rows), TOGETHER):
        await session.execute(insert(table.__table__), rows[start : start + TOGETHER])  # type: ignore[arg-type]  # it is a Table
    ids = list(await session.scalars(select(table.id).where(table.id > before).order_by(table.id)))
    if len(ids) != len(rows):
        raise CannotDo("somebody else stores contacts at the same time", remedy="import it again")
    return ids


async def _contacts(session: AsyncSession, steps: Sequence[Step], targets: Sequence[_Target]) -> list[Change]:
    """Store new organizations and all mailboxes."""
    changes: list[Change] = []
    fresh = [
        (step.particulars, target)
        for step, target in zip(steps, targets, strict=True)
        if target.row is None and step.particulars is not None
    ]
    ids = await _store(session, Organization, [columns_of(one) for one, _ in fresh])
    for number, (one, target) in zip(ids, fresh, strict=True):
        target.id = number
        after = {column: plain(getattr(one, column)) for column in COLUMNS}
        changes.append(Change("organization-added", number, target.name, {}, after))
    new = [(mail, target) for step, target in zip(steps, targets, strict=True) for mail in step.add]
    ids = await _store(
        session,
        Contact,
        [{"organization_id": target.id, **mail._asdict()} for mail, target in new],
    )
    changes.extend(
        mailboxes.added(number, mail, target.id, target.name) for number, (mail, target) in zip(ids, new, strict=True)
    )
    wanted = {
        contact_id: (mail, target)
        for step, target in zip(steps, targets, strict=True)
        for contact_id, mail in step.change
    }
    ids = sorted(wanted)
    for start in range(0, len(ids), TOGETHER):
        some = ids[start : start + TOGETHER]
        for contact in await session.scalars(select(Contact).where(Contact.id.in_(some)).order_by(Contact.id)):
            mail, target = wanted[contact.id]
            if told := mailboxes.changed(contact, mail, target.name):
                changes.append(told)
    return changes


async def _lists(session: AsyncSession, steps: Sequence[Step], targets: Sequence[_Target]) -> list[Change]:
    known = {row.name: row for row in await session.scalars(select(NamedList))}
    changes: list[Change] = []
    joined: list[dict[str, int]] = []
    for step, row in zip(steps, targets, strict=True):
        for name in step.join:
            named = known.get(name)
            if named is None:
                named = known[name] = NamedList(name=name)
                session.add(named)
                await session.flush()
            joined.append({"list_id": named.id, "organization_id": row.id})
            changes.append(Change("list-joined", row.id, row.name, {}, {"list": name}))
        for name in step.leave:
            of_both = (Membership.list_id == known[name].id, Membership.organization_id == row.id)
            await session.execute(delete(Membership).where(*of_both))
            changes.append(Change("list-left", row.id, row.name, {"list": name}, {}))
    for start in range(0, len(joined), TOGETHER):
        await session.execute(insert(Membership.__table__), joined[start : start + TOGETHER])  # type: ignore[arg-type]  # it is a Table
    return changes

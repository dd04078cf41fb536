"""Schedules as rows: what is to happen when, and what a person may do about it. Firing them is in `schedule.firing`.

The functions take the caller's session, so that pausing a circular and holding its reminders are one transaction.
"""

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.records import record
from mailer.circulars.desk import refuse_held
from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState
from mailer.errors import BadInput, NotAllowedNow, NotFound
from mailer.register import chain
from mailer.schedule import rules
from mailer.schedule.models import LIVE, Schedule, ScheduleKind, ScheduleState
from mailer.settings import Calendar


@record
class ScheduleLine:
    """A schedule as people see it; times aware, in UTC.

    Attributes:
        name: the circular's reference, else its number.
        made: reference of the reminder that it made.
    """

    id: int
    circular_id: int
    name: str
    title: str
    kind: ScheduleKind
    ordinal: int
    state: ScheduleState
    due_at: dt.datetime
    next_at: dt.datetime
    rule: str
    zone: str
    fired_at: dt.datetime | None
    made_id: int | None
    made: str | None
    why: str | None

    @property
    def what(self) -> str:
        """`sending` or `reminder 1`."""
        return what(self.kind, self.ordinal)


def what(kind: ScheduleKind, ordinal: int) -> str:
    """What a schedule does, in words."""
    return "sending" if kind == ScheduleKind.SEND else f"reminder {ordinal}"


async def plan_reminders(
    session: AsyncSession, circular_id: int, calendar: Calendar, *, at: dt.datetime, by: str
) -> list[Schedule]:
    """Called when a circular starts sending: make the rows of its reminders; a sending still scheduled for it is closed.

    Safe to call again: what exists stays as it is. A reminder whose time has passed already is marked missed, and told.

    Args:
        session: from `database.write()`; the circular starts in the same transaction.
        circular_id: a reminder itself has no reminders.
        calendar: zone, hour and days off where the circular says nothing else.
        at: now.
        by: the coordinator.

    Returns:
        The new rows, in order.
    """
    circular = await session.get(Circular, circular_id)
    if circular is None or circular.parent_id is not None:
        return []
    await _close_sending(session, circular_id)
    made = await _missing_reminders(session, circular, calendar, at)
    session.add_all(made)
    await session.flush()
    if made:
        told = [{"ordinal": one.ordinal, "due_at": one.due_at.isoformat(), "state": one.state} for one in made]
        await _tell(session, circular_id, "reminders-planned", {"reminders": told}, by=by, at=at)
    return made


async def _missing_reminders(
    session: AsyncSession, circular: Circular, calendar: Calendar, at: dt.datetime
) -> list[Schedule]:
    if not circular.draft.get("reminders"):  # most have none; to read the whole takes a while
        return []
    from mailer.circulars.document import Document

    document = Document.from_json(circular.draft)
    reply_by = circular.reply_by or document.reply_by
    if reply_by is None:
        return []
    is_working_day = rules.working_days(calendar.country, calendar.subdivision)
    zone = document.event.timezone if document.event else calendar.timezone
    there = set(
        await session.scalars(
            select(Schedule.ordinal).where(Schedule.circular_id == circular.id, Schedule.kind == ScheduleKind.REMINDER)
        )
    )
    made = []
    for ordinal, spec in enumerate(document.reminders, start=1):
        if ordinal in there:
            continue
        due = rules.reminder_due(
            reply_by, spec.before, at=spec.at or calendar.at, zone=zone, is_working_day=is_working_day
        )
        late = due.at <= at
        made.append(
            Schedule(
                circular_id=circular.id,
                kind=ScheduleKind.REMINDER,
                ordinal=ordinal,
                state=ScheduleState.MISSED if late else ScheduleState.WAITING,
                due_at=due.at,
                next_at=due.at,
                rule=due.rule,
                zone=zone,
                why="its time had passed when the circular was sent" if late else None,
            )
        )
    return made


async def _close_sending(session: AsyncSession, circular_id: int) -> None:
    await session.execute(
        update(Schedule)
        .where(
            Schedule.circular_id == circular_id,
            Schedule.kind == ScheduleKind.SEND,
            Schedule.state.in_([ScheduleState.WAITING, ScheduleState.HELD]),
        )
        .values(state=ScheduleState.CANCELLED, why="the circular was sent before")
    )


async def schedule_send(
    session: AsyncSession, circular_id: int, moment: dt.datetime, *, zone: str, at: dt.datetime, by: str
) -> Schedule:
    """Have an approved circular start sending at *moment* (aware); an earlier plan for it is replaced.

    Raises:
        NotFound: no such circular.
        NotAllowedNow: it is not approved, or its sending has begun.
        BadInput: *moment* has passed.
    """
    circular = await session.get(Circular, circular_id)
    if circular is None:
        raise NotFound(f"there is no circular {circular_id}", remedy="`chancery circular list` lists them")
    name = circular.reference or str(circular.id)
    if CircularState(circular.state) is not CircularState.APPROVED:
        unapproved = circular.state in {CircularState.DRAFT, CircularState.FREEZING}
        remedy = f"approve it first: chancery circular approve {name}" if unapproved else None
        raise NotAllowedNow(
            f"only an approved circular can be scheduled, and it is {circular.state}", where=name, remedy=remedy
        )
    refuse_held(circular)
    if moment <= at:
        raise BadInput(f"{rules.local(moment, zone)} has passed", where="--at", remedy="name a time to come")
    row = await session.scalar(
        select(Schedule).where(Schedule.circular_id == circular_id, Schedule.kind == ScheduleKind.SEND)
    )
    if row is None:
        row = Schedule(circular_id=circular_id, kind=ScheduleKind.SEND, ordinal=0)
        session.add(row)
    elif ScheduleState(row.state) is ScheduleState.FIRING:
        raise NotAllowedNow("its sending is being started just now", where=name)
    row.state, row.due_at, row.next_at = ScheduleState.WAITING, moment, moment
    row.rule, row.zone, row.fired_at, row.why = f"at {rules.local(moment, zone)}, as {by} said", zone, None, None
    await session.flush()
    await _tell(session, circular_id, "sending-scheduled", {"due_at": moment.isoformat(), "zone": zone}, by=by, at=at)
    return row


async def hold(session: AsyncSession, circular_id: int, *, at: dt.datetime, by: str) -> int:
    """Called when a circular is paused: what waits is held. Returns how many."""
    return await _move(
        session, circular_id, {ScheduleState.WAITING}, ScheduleState.HELD, action="schedules-held", at=at, by=by
    )


async def release(session: AsyncSession, circular_id: int, *, at: dt.datetime, by: str) -> int:
    """Called when a circular is resumed: what was held waits again; what fell due meanwhile fires late or is told as missed."""
    return await _move(
        session, circular_id, {ScheduleState.HELD}, ScheduleState.WAITING, action="schedules-released", at=at, by=by
    )


async def cancel(session: AsyncSession, circular_id: int, *, at: dt.datetime, by: str) -> int:
    """Called when a circular is cancelled, or goes back to a draft: what waits or is held will not happen. Returns how many."""
    waiting = {ScheduleState.WAITING, ScheduleState.HELD}
    return await _move(
        session, circular_id, waiting, ScheduleState.CANCELLED, action="schedules-cancelled", at=at, by=by
    )


async def run_missed(session: AsyncSession, *, at: dt.datetime, by: str, circular_id: int | None = None) -> int:
    """At a person's word: what was missed (of one circular, or of all that are still sending or sent) is due now."""
    alive = select(Circular.id).where(
        Circular.state.in_([CircularState.SENDING, CircularState.SENT, CircularState.APPROVED])
    )
    rows = select(Schedule).where(Schedule.state == ScheduleState.MISSED, Schedule.circular_id.in_(alive))
    if circular_id is not None:
        rows = rows.where(Schedule.circular_id == circular_id)
    found = (await session.scalars(rows.order_by(Schedule.id))).all()
    for row in found:
        row.state, row.due_at, row.next_at, row.why = ScheduleState.WAITING, at, at, None
        row.rule += f"; missed, and run by {by}"
        said = {"what": what(row.kind, row.ordinal)}
        await _tell(session, row.circular_id, "missed-schedule-run", said, by=by, at=at)
    await session.flush()
    return len(found)


async def due(session: AsyncSession, now: dt.datetime) -> list[ScheduleLine]:
    """What a clock should take up now, earliest first: what is due, and what a dead clock has left half done."""
    return await listing(session, states=LIVE, by_then=now)


async def next_due(session: AsyncSession) -> dt.datetime | None:
    """When a clock should look next; None: nothing waits."""
    return await session.scalar(select(func.min(Schedule.next_at)).where(Schedule.state.in_(LIVE)))


async def listing(
    session: AsyncSession,
    *,
    states: Collection[ScheduleState] | None = None,
    circular_id: int | None = None,
    by_then: dt.datetime | None = None,
) -> list[ScheduleLine]:
    """Schedules in the order in which they fall due; of some *states*, of one circular, or due *by_then*, where given."""
    made = Circular.__table__.alias("made")
    query = (
        select(Schedule, Circular.reference, Circular.title, made.c.reference)
        .join(Circular, Circular.id == Schedule.circular_id)
        .outerjoin(made, made.c.id == Schedule.made_id)
        .order_by(Schedule.next_at, Schedule.id)
    )
    if states is not None:
        query = query.where(Schedule.state.in_(states))
    if circular_id is not None:
        query = query.where(Schedule.circular_id == circular_id)
    if by_then is not None:
        query = query.where(Schedule.next_at <= by_then)
    return [_line(*row) for row in await session.execute(query)]


def _line(row: Schedule, reference: str | None, title: str, made: str | None) -> ScheduleLine:
    return ScheduleLine(
        id=row.id,
        circular_id=row.circular_id,
        name=reference or str(row.circular_id),
        title=title,
        kind=ScheduleKind(row.kind),
        ordinal=row.ordinal,
        state=ScheduleState(row.state),
        due_at=row.due_at,
        next_at=row.next_at,
        rule=row.rule,
        zone=row.zone,
        fired_at=row.fired_at,
        made_id=row.made_id,
        made=made,
        why=row.why,
    )


async def _move(
    session: AsyncSession,
    circular_id: int,
    from_: Collection[ScheduleState],
    to: ScheduleState,
    *,
    action: str,
    at: dt.datetime,
    by: str,
) -> int:
    rows = (
        await session.scalars(
            select(Schedule).where(Schedule.circular_id == circular_id, Schedule.state.in_(from_)).order_by(Schedule.id)
        )
    ).all()
    for row in rows:
        row.state = to
    await session.flush()
    if rows:
        told = [what(row.kind, row.ordinal) for row in rows]
        await _tell(session, circular_id, action, {"schedules": told}, by=by, at=at)
    return len(rows)


async def _tell(
    session: AsyncSession, circular_id: int, action: str, said: Mapping[str, Any], *, by: str, at: dt.datetime
) -> None:
    await chain.append(session, chain.chain_of(circular_id), action, said, by=by, at=at)

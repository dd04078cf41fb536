"""What a restored home may still believe: what happened after its backup is in nobody's rows.

- A new epoch: journals of another time are not read.
- What was open at the time of the backup may have left since: it is in doubt until a person says otherwise, and its circular is paused.
- A circular of which nothing had left may have been sent since: it is held.
- Schedules that fell due since are missed; those to come are held, since answers may be missing.
- The reference that was used last must be told.
"""

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer import facts
from mailer.backup.manifest import Manifest
from mailer.circulars.desk import name_of
from mailer.circulars.models import Circular, Letter, Recipient
from mailer.circulars.states import BEFORE_SENDING, OPEN, CircularState, RecipientState
from mailer.delivery import account
from mailer.delivery.account import Change
from mailer.delivery.models import Attempt, Batch
from mailer.delivery.settling import settle_batch
from mailer.register import chain
from mailer.schedule import service as schedule
from mailer.schedule.models import LIVE, Schedule, ScheduleState

#: Changes of recipients written together.
_TOGETHER = 5000


@dataclass
class Begun:
    """What a person must look at in a restored home; circulars by name."""

    doubtful: dict[str, int] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


async def begin(session: AsyncSession, of: Manifest, *, now: dt.datetime, by: str) -> Begun:
    """Begin a new epoch in the rows of a backup, in the caller's transaction.

    Args:
        session: from `database.write()`.
        of: the backup's manifest.
        now: aware.
        by: who restores.
    """
    told = Begun()
    day = f"{of.made_at:%d %B %Y, %H:%M} UTC"
    why = f"the home was restored from a backup of {day}, and it may have been sent since"
    await facts.put(session, facts.EPOCH, secrets.token_hex(4))
    await facts.put(session, facts.ASKS_REFERENCE, day)
    await session.execute(update(Attempt).where(Attempt.ended_at.is_(None)).values(ended_at=now))
    await session.execute(update(Batch).values(owner=None, beat=None))
    await _miss(session, day, told, now=now, by=by)
    circulars = list(
        await session.scalars(select(Circular).where(Circular.state != CircularState.CANCELLED).order_by(Circular.id))
    )
    for circular in circulars:
        if circular.state in {CircularState.SENDING, CircularState.PAUSED}:
            told.doubtful[name_of(circular)] = await _doubt(session, circular, why, now=now, by=by)
            circular.state, circular.held_why = CircularState.PAUSED, None
            await chain.append(session, chain.chain_of(circular.id), "circular-paused", {"why": why}, by=by, at=now)
        elif circular.state in BEFORE_SENDING:
            circular.held_why = why
            told.held.append(name_of(circular))
            await chain.append(session, chain.chain_of(circular.id), "circular-held", {"why": why}, by=by, at=now)
        if await schedule.hold(session, circular.id, at=now, by=by):
            told.waiting.append(name_of(circular))
    said = {"made_at": of.made_at.isoformat(), "program": of.program, "heads": [list(head) for head in of.heads]}
    await chain.append(session, chain.HOME, "home-restored", said, by=by, at=now)
    return told


async def _doubt(session: AsyncSession, circular: Circular, why: str, *, now: dt.datetime, by: str) -> int:
    """Everything of the circular that was open becomes uncertain; returns the number of recipients."""
    found = await session.execute(
        select(Recipient, Attempt)
        .outerjoin(Attempt, Attempt.id == Recipient.attempt_id)
        .where(Recipient.circular_id == circular.id, Recipient.state.in_(OPEN))
        .order_by(Recipient.id)
    )
    changes = [_change(recipient, attempt, why, now) for recipient, attempt in found]
    for begin_at in range(0, len(changes), _TOGETHER):
        some = changes[begin_at : begin_at + _TOGETHER]
        await account.record(session, circular.id, some, by=by, at=now, action="home-restored")
        await _content_may_have_left(session, some, now)
    for batch in await session.scalars(select(Batch).where(Batch.circular_id == circular.id)):
        await settle_batch(session, batch, now)
    return len(changes)


def _change(recipient: Recipient, attempt: Attempt | None, why: str, now: dt.datetime) -> Change:
    under_way = attempt if recipient.state is RecipientState.SENDING else None
    return Change(
        recipient=recipient.id,
        letter=recipient.letter_id,
        address=recipient.address,
        state=RecipientState.UNCERTAIN,
        at=now,
        attempt=under_way.id if under_way else None,
        relay=under_way.relay if under_way else None,
        why=why,
        tries=recipient.tries,
    )


async def _content_may_have_left(session: AsyncSession, changes: Sequence[Change], now: dt.datetime) -> None:
    """What was fixed for these letters stays."""
    await session.execute(
        update(Letter)
        .where(Letter.id.in_({change.letter for change in changes}))
        .values(left_at=func.coalesce(Letter.left_at, now))
        .execution_options(synchronize_session=False)
    )


async def _miss(session: AsyncSession, day: str, told: Begun, *, now: dt.datetime, by: str) -> None:
    """Mark what fell due since the backup."""
    why = f"it fell due after the backup of {day} that the home was restored from, and may have been done"
    due = (
        select(Schedule, Circular)
        .join(Circular, Circular.id == Schedule.circular_id)
        .where(Schedule.state.in_([*LIVE, ScheduleState.HELD]), Schedule.due_at <= now)
        .order_by(Schedule.id)
    )
    for row, circular in await session.execute(due):
        row.state, row.why = ScheduleState.MISSED, why
        what = schedule.what(row.kind, row.ordinal)
        told.missed.append(f"{name_of(circular)}, {what}")
        said = {"schedule": what, "why": why}
        await chain.append(session, chain.chain_of(circular.id), "schedule-missed", said, by=by, at=now)
    await session.flush()

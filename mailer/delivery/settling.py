"""What follows from recipients' states for their batch and circular, and the changes that several rooms of delivery make alike."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import IS_OPEN, Circular, Recipient
from mailer.circulars.states import CircularState, RecipientState
from mailer.delivery.account import Change
from mailer.delivery.due import WAITING
from mailer.delivery.models import Attempt, Batch
from mailer.register import chain
from mailer.statements import Ready, Whole, Wire

_CANCELLED = "the circular was cancelled"


async def settle_batch(
    session: AsyncSession, row: Batch, now: dt.datetime, *, not_before: dt.datetime | None = None
) -> None:
    """Write when a batch falls due again, or that it is done."""
    at = func.coalesce(Recipient.next_at, bindparam("now", now, type_=Recipient.next_at.type))
    waiting = (
        await session.execute(
            select(func.count(), func.min(at)).where(
                Recipient.circular_id == row.circular_id,
                Recipient.batch == row.no,
                IS_OPEN,
            )
        )
    ).one()
    count, earliest = waiting
    row.done_at = None if count else now
    row.next_at = max(filter(None, (earliest, not_before)), default=None) if count else None


def under_way(wire: Wire, circular_id: int, batch: int) -> bool:
    """Whether anything of a batch is `sending`: as a rule nothing is, where a run begins or ends."""
    return bool(_UNDER_WAY.run(wire, circular=circular_id, batch=batch))


_UNDER_WAY = Ready(
    lambda _given: (
        select(Recipient.id)
        .where(
            Recipient.circular_id == bindparam("circular"),
            Recipient.batch == bindparam("batch"),
            IS_OPEN,
            Recipient.state == RecipientState.SENDING,
        )
        .limit(1)
    )
)


async def settle_circular(session: AsyncSession, circular_id: int, now: dt.datetime) -> None:
    """Call a circular `sent` once none of its batches has a recipient queued, sending or deferred; else let it go on."""
    await session.flush()
    left = await session.scalar(
        select(func.count()).select_from(Batch).where(Batch.circular_id == circular_id, Batch.done_at.is_(None))
    )
    circular = await session.get_one(Circular, circular_id)
    if left and circular.state == CircularState.SENT:
        circular.state, circular.finished_at = CircularState.SENDING, None
        await chain.append(session, chain.chain_of(circular_id), "circular-reopened", {}, by="engine", at=now)
    if not left and circular.state == CircularState.SENDING:
        circular.state, circular.finished_at = CircularState.SENT, now
        await chain.append(session, chain.chain_of(circular_id), "circular-sent", {}, by="engine", at=now)


async def is_cancelled(session: AsyncSession, circular_id: int) -> bool:
    """Whether nothing of the circular may wait for another try."""
    state = await session.scalar(select(Circular.state).where(Circular.id == circular_id))
    return state is CircularState.CANCELLED


def called_off(state: str, code: int | None, *, left: bool) -> RecipientState:
    """What becomes of a recipient that waits and is not written to any more; *left*: its letter's content has left.

    Deferred without a reply after that, its circular chose to send a doubtful letter again: they may have it, and a doubt stays one.
    """
    doubtful = left and state == RecipientState.DEFERRED and code is None
    return RecipientState.UNCERTAIN if doubtful else RecipientState.CANCELLED


def given_up(change: Change) -> Change:
    """What would wait for another try, of a circular that was cancelled meanwhile; a doubt stays one."""
    if change.state not in WAITING:
        return change
    doubtful = change.state is RecipientState.DEFERRED and change.reply is None and change.sha256 is not None
    state = RecipientState.UNCERTAIN if doubtful else RecipientState.CANCELLED
    return replace(change, state=state, why=change.why if doubtful else _CANCELLED, next_at=None)


def doubt(
    recipient: Recipient,
    attempt: Attempt,
    at: dt.datetime,
    why: str,
    *,
    again: dt.datetime | None = None,
    sha256: str | None = None,
) -> Change:
    """The change that makes a recipient uncertain; where its circular chose to send again, deferred until *again*."""
    return Change(
        recipient=recipient.id,
        letter=recipient.letter_id,
        address=recipient.address,
        state=RecipientState.UNCERTAIN if again is None else RecipientState.DEFERRED,
        at=at,
        attempt=attempt.id,
        relay=attempt.relay,
        why=why,
        tries=recipient.tries + 1,
        next_at=again,
        sha256=sha256 or attempt.sha256,
    )


def still_open(wire: Wire, changes: Sequence[Change]) -> list[Change]:
    """Of a late run's changes, those that its recipients still wait for: nobody has claimed or settled them since.

    A late "taken" also keeps a letter from leaving again that a person, or the circular's own choice, has put back in the queue.
    """
    rows = _STATES.read(wire, recipients=json.dumps([change.recipient for change in changes]))
    now = {(recipient, attempt): state for recipient, attempt, state in rows}

    def waits(change: Change) -> bool:
        state = now.get((change.recipient, change.attempt or ""))
        if state in {RecipientState.SENDING, RecipientState.UNCERTAIN}:
            return change.state is not RecipientState.UNCERTAIN or state == RecipientState.SENDING
        return state in WAITING and change.state is RecipientState.ACCEPTED

    return [change for change in changes if waits(change)]


_STATES = Whole(
    lambda given: select(Recipient.id, Recipient.attempt_id, Recipient.state).where(
        Recipient.id.in_(given.numbers("recipients"))
    )
)

"""Turns and the fence: the transactions between which letters fly.

- A turn is one transaction. It records what the letters of the turn before it met, renews the batch's beat, and claims the next ones.
- `sending`, the attempt and its owner are committed before any byte of a letter leaves.
- Taking a batch gives it a new run number. An older run fails its next turn with `Fenced`, having recorded what it knows.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Circular, Letter, Recipient
from mailer.circulars.states import CircularState, RecipientState
from mailer.database import Sessions
from mailer.delivery import account
from mailer.delivery.account import Change
from mailer.delivery.claims import WAITING, Claim, NoLongerDue, Run, claim, nothing_lapses
from mailer.delivery.models import Attempt, Batch
from mailer.register import chain
from mailer.wake import Call


class Fenced(Exception):
    """A newer run has the batch: record what is known and stop."""


@dataclass(frozen=True, slots=True)
class Told:
    """The end of an attempt: what became of its recipients, and what it did to its letter.

    Attributes:
        left: content began at this time; None: it did not.
        fruitless: it came back without content through no fault that the relay named.
    """

    claim: Claim
    changes: tuple[Change, ...]
    left: dt.datetime | None
    sha256: str | None
    fruitless: bool


class Batches:
    """The rows of one database, as runs see them."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        lease: dt.timedelta,
        zone: dt.tzinfo = dt.UTC,
        no_longer_due: NoLongerDue = nothing_lapses,
    ) -> None:
        """Look at the rows of *sessions*; *zone* says which day it is where the secretariat sits."""
        self._sessions = sessions
        self._lease, self._zone = lease, zone
        self._no_longer_due = no_longer_due

    # --- who may work at what -------------------------------------------------------------------------------------

    async def due(self, now: dt.datetime, limit: int, skip: Collection[str]) -> list[Call]:
        """Unfinished batches that nobody works at and that are due, oldest circular first."""
        stale = now - self._lease
        async with self._sessions.read() as session:
            rows = await session.execute(
                select(Batch.circular_id, Batch.no)
                .join(Circular, Circular.id == Batch.circular_id)
                .where(
                    Circular.state == CircularState.SENDING,
                    Circular.held_why.is_(None),
                    Batch.done_at.is_(None),
                    or_(Batch.beat.is_(None), Batch.beat < stale),
                    or_(Batch.next_at.is_(None), Batch.next_at <= now),
                )
                .order_by(Batch.circular_id, Batch.no)
                .limit(limit + len(skip))
            )
            calls = [call_for(circular, batch) for circular, batch in rows]
        return [call for call in calls if call.key not in skip][:limit]

    async def next_due(self) -> dt.datetime | None:
        """When the earliest waiting batch falls due."""
        async with self._sessions.read() as session:
            return await session.scalar(
                select(func.min(Batch.next_at))
                .join(Circular, Circular.id == Batch.circular_id)
                .where(Circular.state == CircularState.SENDING, Circular.held_why.is_(None), Batch.done_at.is_(None))
            )

    async def take(self, circular: int, batch: int, *, owner: str, boot: str, now: dt.datetime) -> Run | None:
        """Make this process's run the batch's run.

        Returns:
            The run; None: the batch is done or held, or another run shows signs of life.
        """
        async with self._sessions.write() as session:
            row = await session.get(Batch, (circular, batch), with_for_update=True)
            state = await session.scalar(select(Circular.state).where(Circular.id == circular))
            if row is None or row.done_at is not None or state != CircularState.SENDING:
                return None
            if row.beat is not None and row.beat >= now - self._lease:
                return None
            row.run, row.beat, row.owner = row.run + 1, now, owner
            run = Run(circular, batch, row.run, owner, boot)
            await self._doubt_older(session, run, now)
            return run

    async def _doubt_older(self, session: AsyncSession, run: Run, now: dt.datetime) -> None:
        """Rows that an older run left `sending` become uncertain, never queued; its own late results may still settle them."""
        rows = await session.execute(
            select(Recipient, Attempt)
            .join(Attempt, Attempt.id == Recipient.attempt_id)
            .where(
                Recipient.circular_id == run.circular,
                Recipient.batch == run.batch,
                Recipient.state == RecipientState.SENDING,
                Attempt.run < run.number,
            )
        )
        changes = [
            doubt(recipient, attempt, now, "the program that was sending it stopped answering")
            for recipient, attempt in rows
        ]
        await account.record(session, run.circular, changes, by="engine", at=now, action="run-fenced")

    # --- turns ----------------------------------------------------------------------------------------------------

    async def turn(self, run: Run, told: Sequence[Told], room: int, *, relay: str, now: dt.datetime) -> list[Claim]:
        """Record *told*, renew the beat, and claim at most *room* letters, in one transaction.

        Raises:
            Fenced: a newer run has the batch; *told* is recorded all the same.
        """
        async with self._sessions.write() as session:
            row = await session.get(Batch, (run.circular, run.batch), with_for_update=True)
            fenced = row is None or row.run != run.number
            await self._write_down(session, run, told, now, late=fenced)
            if row is None or fenced:
                claims: list[Claim] = []
            else:
                row.beat = now
                state = await session.scalar(select(Circular.state).where(Circular.id == run.circular))
                claims = (
                    await claim(
                        session,
                        run,
                        room,
                        relay=relay,
                        now=now,
                        today=now.astimezone(self._zone).date(),
                        no_longer_due=self._no_longer_due,
                    )
                    if room and state == CircularState.SENDING
                    else []
                )
        if fenced:
            raise Fenced
        return claims

    async def leave(
        self, run: Run, told: Sequence[Told], *, now: dt.datetime, not_before: dt.datetime | None = None
    ) -> None:
        """End a run: record *told* and let go of the batch, done or with the time at which it falls due again.

        *not_before* is the relay's word: it is closed, or its pace allows nothing, until then.
        """
        async with self._sessions.write() as session:
            row = await session.get(Batch, (run.circular, run.batch), with_for_update=True)
            fenced = row is None or row.run != run.number
            await self._write_down(session, run, told, now, late=fenced)
            if row is None or fenced:
                return
            row.beat, row.owner = None, None
            await settle_batch(session, row, now, not_before=not_before)
            await settle_circular(session, run.circular, now)

    async def _write_down(
        self, session: AsyncSession, run: Run, told: Sequence[Told], now: dt.datetime, *, late: bool
    ) -> None:
        if not told:
            return
        changes = [change for one in told for change in one.changes]
        if late:
            changes = await still_open(session, changes)
        if await session.scalar(select(Circular.state).where(Circular.id == run.circular)) is CircularState.CANCELLED:
            changes = [_given_up(change) for change in changes]
        await account.record(session, run.circular, changes, by="engine", at=now)
        connection = await session.connection()
        await connection.execute(
            _END_ATTEMPT, [{"b_id": one.claim.attempt, "b_at": now, "b_sha256": one.sha256} for one in told]
        )
        gone = [one for one in told if one.left]
        if gone:
            await connection.execute(
                _LETTER_LEFT, [{"b_id": one.claim.letter, "b_at": one.left, "b_sha256": one.sha256} for one in gone]
            )
        back = [one for one in told if not one.left]
        if back:
            await connection.execute(
                _LETTER_BACK, [{"b_id": one.claim.letter, "b_more": int(one.fruitless)} for one in back]
            )


def _given_up(change: Change) -> Change:
    """What would wait for another try, of a circular that was cancelled while the letter was on its way."""
    if change.state not in WAITING:
        return change
    return replace(change, state=RecipientState.CANCELLED, why="the circular was cancelled", next_at=None)


def call_for(circular: int, batch: int) -> Call:
    """The wake-up for a batch."""
    return Call("send", f"send/{circular}/{batch}", {"circular": circular, "batch": batch})


def doubt(recipient: Recipient, attempt: Attempt, at: dt.datetime, why: str) -> Change:
    """The change that makes a recipient uncertain."""
    return Change(
        recipient=recipient.id,
        letter=recipient.letter_id,
        address=recipient.address,
        state=RecipientState.UNCERTAIN,
        at=at,
        attempt=attempt.id,
        relay=attempt.relay,
        why=why,
        tries=recipient.tries + 1,
        sha256=attempt.sha256,
    )


async def still_open(session: AsyncSession, changes: Sequence[Change]) -> list[Change]:
    """Those whose recipient still waits for this very attempt: `sending`, or `uncertain` and not settled meanwhile."""
    rows = await session.execute(
        select(Recipient.id, Recipient.attempt_id, Recipient.state).where(
            Recipient.id.in_([change.recipient for change in changes])
        )
    )
    open_states = {RecipientState.SENDING, RecipientState.UNCERTAIN}
    ours = {(row.id, row.attempt_id) for row in rows if row.state in open_states}
    # A late result may settle a doubt; it may not put a doubtful letter back in the queue, for another run may have it.
    return [
        change
        for change in changes
        if (change.recipient, change.attempt) in ours
        and change.state not in {RecipientState.QUEUED, RecipientState.UNCERTAIN}
    ]


async def settle_batch(
    session: AsyncSession, row: Batch, now: dt.datetime, *, not_before: dt.datetime | None = None
) -> None:
    """Write when a batch falls due again, or that it is done."""
    waiting = (
        await session.execute(
            select(
                func.count(),
                func.min(func.coalesce(Recipient.next_at, bindparam("now", now, type_=Recipient.next_at.type))),
            ).where(
                Recipient.circular_id == row.circular_id,
                Recipient.batch == row.no,
                Recipient.state.in_((*WAITING, RecipientState.SENDING)),
            )
        )
    ).one()
    count, earliest = waiting
    row.done_at = None if count else now
    row.next_at = max(filter(None, (earliest, not_before)), default=None) if count else None


async def settle_circular(session: AsyncSession, circular_id: int, now: dt.datetime) -> None:
    """Call a circular `sent` once none of its batches has a recipient queued, sending or deferred."""
    await session.flush()
    left = await session.scalar(
        select(func.count()).select_from(Batch).where(Batch.circular_id == circular_id, Batch.done_at.is_(None))
    )
    circular = await session.get_one(Circular, circular_id)
    if left or circular.state != CircularState.SENDING:
        return
    circular.state, circular.finished_at = CircularState.SENT, now
    await chain.append(session, chain.chain_of(circular_id), "circular-sent", {}, by="engine", at=now)


_END_ATTEMPT = (
    update(Attempt.__table__)  # type: ignore[arg-type]  # a Table, as Core takes it; so below
    .where(Attempt.__table__.c.id == bindparam("b_id"))
    .values(ended_at=bindparam("b_at"), sha256=bindparam("b_sha256"))
)
_LETTER_LEFT = (
    update(Letter.__table__)  # type: ignore[arg-type]
    .where(Letter.__table__.c.id == bindparam("b_id"))
    .values(
        left_at=func.coalesce(Letter.__table__.c.left_at, bindparam("b_at")), sha256=bindparam("b_sha256"), fruitless=0
    )
)
_LETTER_BACK = (
    update(Letter.__table__)  # type: ignore[arg-type]
    .where(Letter.__table__.c.id == bindparam("b_id"))
    .values(fruitless=Letter.__table__.c.fruitless + bindparam("b_more"))
)

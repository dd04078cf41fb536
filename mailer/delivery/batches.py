"""Turns and the fence: the transactions between which letters fly.

- A turn is one transaction. It records what the letters of the turn before it met, renews the batch's beat, and claims the next ones.
- `sending`, the attempt and its owner are committed before any byte of a letter leaves.
- Taking a batch gives it a new run number, and who is taken for dead loses its batches. The run that lost one fails its next turn with
  `Fenced`, having recorded what it knows.
"""

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from sqlalchemy import Select, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Circular, Letter, Recipient
from mailer.circulars.states import CircularState, RecipientState
from mailer.database import Sessions, after_commit
from mailer.delivery import account, turns
from mailer.delivery.account import Change
from mailer.delivery.claims import Claim, NoLongerDue, Run, claim, nothing_lapses
from mailer.delivery.due import WAITING, Waiting, Wanted, waiting
from mailer.delivery.forecast import IN_TIME
from mailer.delivery.models import Attempt, Batch
from mailer.delivery.settling import doubt, given_up, is_cancelled, settle_batch, settle_circular
from mailer.delivery.turns import Told
from mailer.delivery.waking import Waking
from mailer.statements import Whole, moment, straight
from mailer.wake import Call


class Fenced(Exception):
    """The run has lost its batch, to a newer one or because its process was taken for dead: record what is known and stop."""


#: Told of attempts once the rows have what became of them: log lines, counters, a rehearsal. It must not wait for anything.
Watch = Callable[[Run, Sequence[Told]], None]


class Batches:
    """The rows of one database, as runs see them."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        lease: dt.timedelta,
        owner: str = "",
        zone: dt.tzinfo = dt.UTC,
        no_longer_due: NoLongerDue = nothing_lapses,
        watch: Sequence[Watch] = (),
        waking: Waking | None = None,
    ) -> None:
        """Look at the rows of *sessions* for *owner*.

        *zone* says which day it is where the secretariat sits; *waking* who must ask first.
        """
        self.sessions = self._sessions = sessions
        self._lease, self._owner, self._zone = lease, owner, zone
        #: the circular that had its turn last
        self._last = 0
        self._no_longer_due = no_longer_due
        self._watch, self._waking = watch, waking
        #: circulars whose letters are to have left by a time
        self._timed: set[int] = set()

    # --- who may work at what -------------------------------------------------------------------------------------

    async def due(self, now: dt.datetime, limit: int, skip: Collection[str]) -> list[Call]:
        """Unfinished batches that nobody works at and that are due; circulars take turns, so that none waits behind a large one.

        What is *owner*'s own and not in *skip* is worked at by nobody: a run of ours is over that could not let go of it.
        """
        async with self._sessions.read() as session:
            found = await straight(
                session,
                lambda wire: _WAITING.read(
                    wire, stale=now - self._lease, now=now, owner=self._owner, most=limit + len(skip)
                ),
            )
        calls: dict[int, list[Call]] = {}
        for _, circular, batch in sorted(found):
            if (call := call_for(circular, batch)).key not in skip:
                calls.setdefault(circular, []).append(call)
        if self._waking is not None:
            for one in await self._waking.asleep(list(calls), now):
                del calls[one]
        order = sorted(calls, key=lambda circular: (circular <= self._last, circular))
        ordered = [
            call for together in zip_longest(*(calls[circular] for circular in order)) for call in together if call
        ]
        if chosen := ordered[:limit]:
            self._last = int(chosen[-1].args["circular"])
        return chosen

    async def next_due(self) -> dt.datetime | None:
        """When the earliest batch that waits, and that nobody holds, falls due."""
        async with self._sessions.read() as session:
            ((earliest,),) = await straight(session, _NEXT.read)
        return moment(earliest)

    async def take(self, circular: int, batch: int, *, owner: str, boot: str, now: dt.datetime) -> Run | None:
        """Make this process's run the batch's run.

        Returns:
            The run; None: the batch is done or held, or a run of somebody else's shows signs of life.
        """
        async with self._sessions.write() as session:
            stale = now - self._lease
            made = await straight(
                session,
                partial(turns.take, circular=circular, batch=batch, owner=owner, boot=boot, now=now, stale=stale),
            )
            if made is None:
                return None
            if made.under_way:
                await self._doubt_older(session, made.run, now)
            (self._timed.add if made.timed else self._timed.discard)(circular)
            return made.run

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
        chose = await session.scalar(select(Circular.on_uncertain).where(Circular.id == run.circular))
        again = now + self._lease if chose == "resend" else None
        changes = [
            doubt(recipient, attempt, now, "the program that was sending it stopped answering", again=again)
            for recipient, attempt in rows
        ]
        await account.record(session, run.circular, changes, by="engine", at=now, action="run-fenced")
        await _end_attempts(session, changes, now)
        await session.execute(  # content may have left: what was fixed for these letters stays
            update(Letter)
            .where(Letter.id.in_({change.letter for change in changes}), Letter.left_at.is_(None))
            .values(left_at=now)
            .execution_options(synchronize_session=False)
        )

    # --- turns ----------------------------------------------------------------------------------------------------

    async def waiting(self, run: Run, now: dt.datetime) -> list[Waiting]:
        """The letters of the run's batch that are due, in order; looked at before they are claimed."""
        async with self._sessions.read() as session:
            return await waiting(session, run.circular, run.batch, now)

    async def turn(
        self, run: Run, told: Sequence[Told], wanted: Wanted, *, now: dt.datetime, again: bool = False
    ) -> list[Claim]:
        """Record *told*, renew the beat, and claim the letters that are *wanted* and due, in one transaction.

        *again*: it was tried before and failed, so that a part of *told* may be recorded: a server that is lost in the middle of a
        commit may have made it.

        The only transaction that runs beside others of its kind: it changes rows of its own batch, which it locks first, and then
        adds to its circular's chain.

        Raises:
            Fenced: it has lost the batch; *told* is recorded all the same.
        """
        async with self._sessions.write(alongside=True) as session:
            due = await straight(session, partial(turns.begin, run=run, told=told, wanted=wanted, now=now, late=again))
            if due is not None:
                self._tell(session, run, told)
                if not due:
                    return []
                asked = {letter.id: letter.organization for letter in due}
                lapsed = await self._no_longer_due(session, run.circular, asked)
                today = now.astimezone(self._zone).date()
                return await straight(
                    session,
                    partial(claim, run=run, wanted=wanted, due=due, lapsed=lapsed, now=now, today=today),
                )
        await self._tell_late(run, told, now)
        raise Fenced

    async def _tell_late(self, run: Run, told: Sequence[Told], now: dt.datetime) -> None:
        """Record what a run met that has lost its batch: it may be due again."""
        async with self._sessions.write() as session:
            row = await session.get(Batch, (run.circular, run.batch), with_for_update=True)
            await self._note(session, run, told, now)
            if row is not None and told:
                await settle_batch(session, row, now)
                await settle_circular(session, run.circular, now)

    async def leave(
        self,
        run: Run,
        told: Sequence[Told],
        *,
        now: dt.datetime,
        not_before: dt.datetime | None = None,
        everywhere: bool = True,
    ) -> None:
        """End a run: record *told* and let go of the batch, done or with the time at which it falls due again.

        What the run has claimed and does not tell of has not left: its claim was committed without our hearing of it. It goes back,
        also where a newer run has the batch by now and has called it doubtful.

        *not_before* is the relay's word: it is closed, or its pace allows nothing, until then; *everywhere*: for the whole circular.
        """
        async with self._sessions.write() as session:
            settled = await straight(session, partial(turns.leave, run=run, told=told, now=now, not_before=not_before))
            self._tell(session, run, told)
            if settled is None:
                return
            if not settled:
                row = await session.get_one(Batch, (run.circular, run.batch))
                await self._put_back(session, run, now, lost=row.run != run.number)
                await settle_batch(session, row, now, not_before=not_before)
                await settle_circular(session, run.circular, now)
            if not_before is not None and everywhere:  # what holds for this batch holds for those that nobody works at
                await session.execute(
                    update(Batch)
                    .where(
                        Batch.circular_id == run.circular,
                        Batch.done_at.is_(None),
                        Batch.owner.is_(None),
                        or_(Batch.next_at.is_(None), Batch.next_at < not_before),
                    )
                    .values(next_at=not_before)
                    .execution_options(synchronize_session=False)
                )

    async def spread(self, circular: int, now: dt.datetime) -> float | None:
        """The circular's own pace in letters a minute, where its letters are to be spread until a time; None: it has none.

        Of circulars whose batches were taken.
        """
        if circular not in self._timed:
            return None
        async with self._sessions.read() as session:
            until = await session.scalar(select(Circular.finish_by).where(Circular.id == circular))
            if until is None or until <= now:
                return None
            left = await session.scalar(
                select(func.count(Recipient.letter_id.distinct())).where(
                    Recipient.circular_id == circular, Recipient.state.in_((*WAITING, RecipientState.SENDING))
                )
            )
        return max(1, left or 0) / ((until - now) * IN_TIME).total_seconds() * 60

    @staticmethod
    async def _put_back(session: AsyncSession, run: Run, now: dt.datetime, *, lost: bool) -> None:
        """What is still under way for a run that ends goes back to the queue, no try counted; *lost*: a newer run has its batch."""
        unheard = (
            (Recipient.state == RecipientState.UNCERTAIN, Attempt.sha256.is_(None))  # of what began the digest is told
            if lost
            else (Recipient.state == RecipientState.SENDING,)
        )
        rows = await session.execute(
            select(Recipient, Attempt)
            .join(Attempt, Attempt.id == Recipient.attempt_id)
            .where(
                Recipient.circular_id == run.circular,
                Recipient.batch == run.batch,
                *unheard,
                Attempt.run == run.number,
                Attempt.owner == run.owner,
            )
        )
        changes = [
            Change(
                recipient=recipient.id,
                letter=recipient.letter_id,
                address=recipient.address,
                state=RecipientState.QUEUED,
                at=now,
                attempt=attempt.id,
                relay=attempt.relay,
                tries=max(recipient.tries - lost, 0),  # the doubt has counted one
            )
            for recipient, attempt in rows
        ]
        if await is_cancelled(session, run.circular):
            changes = [given_up(change) for change in changes]
        await account.record(session, run.circular, changes, by="engine", at=now, action="put-back")
        await _end_attempts(session, changes, now)

    def _tell(self, session: AsyncSession, run: Run, told: Sequence[Told]) -> None:
        """Tell those that watch, once the rows have what *told* says."""
        if told:
            for watch in self._watch:
                after_commit(session, partial(watch, run, told))

    async def _note(self, session: AsyncSession, run: Run, told: Sequence[Told], now: dt.datetime) -> None:
        """Record what a run met that has no batch any more, or whose turn failed: a part of it may have been told."""
        if told:
            cancelled = await is_cancelled(session, run.circular)
            await straight(
                session, partial(turns.write_down, run=run, told=told, now=now, late=True, cancelled=cancelled)
            )
            self._tell(session, run, told)


async def _end_attempts(session: AsyncSession, changes: Sequence[Change], now: dt.datetime) -> None:
    """Nobody will tell more of these attempts; whoever does all the same is heard."""
    ended = {change.attempt for change in changes}
    await session.execute(
        update(Attempt)
        .where(Attempt.id.in_(ended), Attempt.ended_at.is_(None))
        .values(ended_at=now)
        .execution_options(synchronize_session=False)
    )


_GOES_ON = (Circular.state == CircularState.SENDING, Circular.held_why.is_(None), Batch.done_at.is_(None))


def _waiting() -> Select[Any]:
    """Batches that wait: which of its circular's it is, from 1, its circular, and its number."""
    place = func.row_number().over(partition_by=Batch.circular_id, order_by=Batch.no).label("place")
    waiting = (
        select(place, Batch.circular_id, Batch.no)
        .join(Circular, Circular.id == Batch.circular_id)
        .where(
            *_GOES_ON,
            or_(Batch.beat.is_(None), Batch.beat < bindparam("stale"), Batch.owner == bindparam("owner")),
            or_(Batch.next_at.is_(None), Batch.next_at <= bindparam("now")),
        )
    ).subquery()
    return select(waiting).where(waiting.c.place <= bindparam("most"))


_WAITING = Whole(lambda _given: _waiting())
_NEXT = Whole(
    lambda _given: (
        select(func.min(Batch.next_at))
        .join(Circular, Circular.id == Batch.circular_id)
        # what others hold is not ours to wait for, and what we hold is worked at or due
        .where(*_GOES_ON, Batch.beat.is_(None))
    )
)


def call_for(circular: int, batch: int) -> Call:
    """The wake-up for a batch."""
    return Call("send", f"send/{circular}/{batch}", {"circular": circular, "batch": batch}, group=str(circular))

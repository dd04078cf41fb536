"""After a death: what the journals of dead processes say about the attempts they left open.

- No D line: no content left; back to `queued`. - An R line: the outcome. - D without R: those that RCPT had settled have their reply,
  the others are uncertain.
- The journal is not here, or the machine was started anew since (plain write() does not outlive a power cut): uncertain.
- A journal that turns up later without D may put its letters back, unless they were settled meanwhile.

A journal speaks only for attempts under its name, and its file goes only after the transaction that took it in. It is read before that
transaction, line by line, and asked only about attempts whose outcome the rows lack: the rest of it is not kept in memory.
"""

import datetime as dt
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.records import record
from mailer.circulars.models import IS_OPEN, Circular, Letter, Recipient
from mailer.circulars.states import RecipientState
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.delivery import account
from mailer.delivery.account import Change
from mailer.delivery.attempts import log_settled
from mailer.delivery.journal import Record
from mailer.delivery.models import Attempt, Batch, Obstacle
from mailer.delivery.relics import FATES, Flight, Relic, Said, alive, relics, reply_of
from mailer.delivery.retry import next_try
from mailer.delivery.settling import doubt, given_up, is_cancelled, settle_batch, settle_circular
from mailer.errors import DatabaseError
from mailer.settings import Delivery
from mailer.transport.base import Fate

_GONE = "the program was stopped while it was sending, and its flight journal is not here"
_CUT = "the machine stopped while the letter was being sent"
_DEAD = "the program was stopped after the letter had begun to leave, before the relay's answer was noted"
#: Recipients of whom a journal may have news.
_ASKED = Recipient.state.in_((RecipientState.SENDING, RecipientState.UNCERTAIN, RecipientState.QUEUED))


@record
class Recovered:
    """What a recovery found: attempts put back, settled by the journal, and left in doubt."""

    put_back: int = 0
    settled: int = 0
    uncertain: int = 0


async def leaves_open(sessions: Sessions, owner: str) -> bool:
    """Whether the next start has to be told about *owner*'s attempts, or can't be asked: then even an empty journal is a proof.

    It proves that of what still is `sending` no content has left; without it those letters would be in doubt.
    """
    open_ones = select(Attempt.id).join(Recipient, Recipient.attempt_id == Attempt.id)
    try:
        async with sessions.read() as session:
            found = await session.scalar(
                open_ones.where(IS_OPEN, Recipient.state == RecipientState.SENDING, Attempt.owner == owner).limit(1)
            )
    except DatabaseError:
        return True
    return found is not None


class Recovery:
    """Takes in what dead processes of this home left behind.

    Run it before anything is claimed; where several processes send from the same rows, also from time to time.
    """

    def __init__(
        self,
        *,
        sessions: Sessions,
        clock: Clock,
        settings: Delivery,
        folder: Path,
        epoch: str,
        boot: str,
        shared: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Look after the attempts of one home.

        *shared*: processes elsewhere may send from the same rows, so that a journal that is not here proves a death only once its
        owner has given no sign of life for a lease.
        """
        self._sessions, self._clock, self._settings = sessions, clock, settings
        self._folder, self._epoch, self._boot, self._chance = folder, epoch, boot, chance
        self._shared = shared

    async def run(self) -> Recovered:
        """Settle all that can be settled; what a dead process held is free again afterwards."""
        total = Recovered()
        for relic in relics(self._folder, self._epoch):
            taken = False
            try:
                total = _sum(total, await self._take_in(relic.name, relic))
                taken = True
            finally:
                relic.close(remove=taken)
        for owner in await self._owners():
            if not alive(self._folder, owner):
                total = _sum(total, await self._take_in(owner, None))
        await self._clear_obstacles()
        return total

    async def _clear_obstacles(self) -> None:
        """What kept back the letters of processes that are no more will be met anew."""
        silent = select(Obstacle.owner).distinct()
        if self._shared:
            fresh = self._clock.now() - dt.timedelta(seconds=self._settings.lease)
            silent = silent.where(or_(Obstacle.beat.is_(None), Obstacle.beat < fresh))
        async with self._sessions.read() as session:
            owners = list(await session.scalars(silent))
        if dead := [owner for owner in owners if not alive(self._folder, owner)]:
            async with self._sessions.write() as session:
                await session.execute(delete(Obstacle).where(Obstacle.owner.in_(dead)))

    async def _owners(self) -> list[str]:
        """Whose attempts are open, or whose batches are held."""
        async with self._sessions.read() as session:
            attempts = await session.scalars(
                select(Attempt.owner)
                .join(Recipient, Recipient.attempt_id == Attempt.id)
                .where(IS_OPEN, Recipient.state == RecipientState.SENDING)
                .distinct()
            )
            batches = select(Batch.owner).where(Batch.owner.is_not(None)).distinct()
            owners = {*attempts, *filter(None, await session.scalars(batches))}
            if self._shared:
                fresh = self._clock.now() - dt.timedelta(seconds=self._settings.lease)
                owners -= set(await session.scalars(batches.where(Batch.beat >= fresh)))
            return sorted(owners)

    async def _take_in(self, owner: str, relic: Relic | None) -> Recovered:
        now = self._clock.now()
        said = relic.said(await self._asked(owner)) if relic else None  # beforehand: it may take a while
        async with self._sessions.write() as session:
            open_ones = (
                select(Recipient, Attempt)
                .join(Attempt, Attempt.id == Recipient.attempt_id)
                .where(Attempt.owner == owner, _ASKED)
                .order_by(Attempt.circular_id, Recipient.id)
            )
            rows = (await session.execute(open_ones)).all()
            if relic and said and (attempts := {attempt.id for _, attempt in rows}) - said.asked:
                said = relic.said(attempts)  # a server may commit a claim a moment after its client's death
            changes: dict[int, list[Change]] = {}
            resend = await self._resending(session)
            for recipient, attempt in rows:
                change = self._judge(recipient, attempt, said, now, resend=attempt.circular_id in resend)
                if change is not None:
                    changes.setdefault(attempt.circular_id, []).append(change)
            for circular, found in changes.items():
                if await is_cancelled(session, circular):
                    found[:] = [given_up(change) for change in found]
                await account.record(session, circular, found, by="engine", at=now, action="recovered")
            await self._close_attempts(session, owner, [one for found in changes.values() for one in found], now)
            await self._free(session, owner, set(changes), now)
            await session.execute(delete(Obstacle).where(Obstacle.owner == owner))
            named = select(Circular.id, Circular.reference).where(Circular.id.in_(changes))
            names = (await session.execute(named)).all()
        for circular, name in names:
            log_settled(name or str(circular), changes[circular])
        every = [change for found in changes.values() for change in found]
        doubts = sum(change.state is RecipientState.UNCERTAIN for change in every)
        back = sum(change.state is RecipientState.QUEUED for change in every)
        return Recovered(back, len(every) - doubts - back, doubts)

    async def _asked(self, owner: str) -> set[str]:
        """The attempts of *owner* whose journal may have news."""
        found = select(Attempt.id).join(Recipient, Recipient.attempt_id == Attempt.id).where(Attempt.owner == owner)
        async with self._sessions.read() as session:
            return set(await session.scalars(found.where(_ASKED)))

    @staticmethod
    async def _resending(session: AsyncSession) -> set[int]:
        return set(await session.scalars(select(Circular.id).where(Circular.on_uncertain == "resend")))

    def _judge(
        self, recipient: Recipient, attempt: Attempt, said: Said | None, now: dt.datetime, *, resend: bool
    ) -> Change | None:
        """The change for one recipient; None: nothing new is known of it."""
        flying = recipient.state is RecipientState.SENDING
        again = self._choice(recipient, now) if resend else None
        if said is None or attempt.boot != self._boot:
            return doubt(recipient, attempt, now, _GONE if said is None else _CUT, again=again) if flying else None
        flight = said.flights.get(attempt.id)
        if flight is None:
            return self._unknown(recipient, attempt, now, again, proof=said.rules_out(attempt.id))
        records = {record[0]: record for record in (*flight.settled, *(flight.answered or ()))}
        record = records.get(recipient.id)
        if (
            recipient.state is RecipientState.QUEUED
        ):  # a person's word, or a choice, was quicker: only a "taken" is news
            taken = record is not None and record[1] == Fate.ACCEPTED.value
            return self._from_record(recipient, attempt, record, flight, now) if record and taken else None
        if record is not None:
            return self._from_record(recipient, attempt, record, flight, now)
        return doubt(recipient, attempt, now, _DEAD, again=again, sha256=flight.sha256) if flying else None

    def _unknown(
        self, recipient: Recipient, attempt: Attempt, now: dt.datetime, again: dt.datetime | None, *, proof: bool
    ) -> Change | None:
        """A journal that does not name the attempt: no content left, unless it is no *proof* of that, or has dropped it since."""
        flying = recipient.state is RecipientState.SENDING
        if not proof:
            return doubt(recipient, attempt, now, _GONE, again=again) if flying else None
        if flying:
            return self._change(recipient, attempt, RecipientState.QUEUED, now, tries=recipient.tries)
        if (
            recipient.state is RecipientState.UNCERTAIN and attempt.sha256 is None
        ):  # doubted before this journal turned up
            return self._change(recipient, attempt, RecipientState.QUEUED, now, tries=max(recipient.tries - 1, 0))
        return None

    def _choice(self, recipient: Recipient, now: dt.datetime) -> dt.datetime | None:
        """When a doubtful letter goes again by its circular's choice; None: the time for trying is over."""
        again = next_try(
            self._settings,
            tries=recipient.tries + 1,
            first_at=recipient.first_at or now,
            now=now,
            chance=self._chance,
        )
        return max(again, now + dt.timedelta(seconds=self._settings.lease)) if again else None

    def _from_record(
        self, recipient: Recipient, attempt: Attempt, record: Record, flight: Flight, now: dt.datetime
    ) -> Change:
        fate = FATES.get(record[1], Fate.UNCERTAIN)
        reply, why = reply_of(record), record[5] or None
        tries = recipient.tries + (recipient.state is RecipientState.SENDING)  # a doubt has counted its try
        if fate is Fate.DEFERRED:
            again = next_try(
                self._settings, tries=tries, first_at=recipient.first_at or now, now=now, chance=self._chance
            )
            state = RecipientState.DEFERRED if again else RecipientState.EXPIRED
            return self._change(
                recipient,
                attempt,
                state,
                flight.at,
                tries=tries,
                next_at=again,
                reply=reply,
                why=why,
                sha256=flight.sha256,
            )
        states = {
            Fate.ACCEPTED: RecipientState.ACCEPTED,
            Fate.REFUSED: RecipientState.REFUSED,
            Fate.UNCERTAIN: RecipientState.UNCERTAIN,
            Fate.NOT_TRIED: RecipientState.QUEUED,
        }
        counted = max(tries - 1, 0) if fate is Fate.NOT_TRIED else tries
        return self._change(
            recipient, attempt, states[fate], flight.at, tries=counted, reply=reply, why=why, sha256=flight.sha256
        )

    @staticmethod
    def _change(
        recipient: Recipient, attempt: Attempt, state: RecipientState, at: dt.datetime, *, tries: int, **more: Any
    ) -> Change:
        return Change(
            recipient=recipient.id,
            letter=recipient.letter_id,
            address=recipient.address,
            state=state,
            at=at,
            attempt=attempt.id,
            relay=attempt.relay,
            tries=tries,
            **more,
        )

    @staticmethod
    async def _close_attempts(session: AsyncSession, owner: str, changes: Sequence[Change], now: dt.datetime) -> None:
        """End the owner's open attempts; a letter whose content may have begun keeps what was fixed for it."""
        await session.execute(
            update(Attempt).where(Attempt.owner == owner, Attempt.ended_at.is_(None)).values(ended_at=now)
        )
        for change in changes:
            if change.state in {RecipientState.QUEUED, RecipientState.CANCELLED} and change.sha256 is None:
                continue
            letter = await session.get_one(Letter, change.letter)
            letter.left_at, letter.fruitless = letter.left_at or change.at, 0
            letter.sha256 = change.sha256 or letter.sha256
            attempt = await session.get_one(Attempt, change.attempt)
            attempt.sha256 = change.sha256

    @staticmethod
    async def _free(session: AsyncSession, owner: str, circulars: set[int], now: dt.datetime) -> None:
        """Let go of the owner's batches, and look again at those whose recipients changed."""
        held = await session.scalars(select(Batch).where(Batch.owner == owner))
        for batch in held:
            batch.owner, batch.beat = None, None
        await session.flush()
        for circular in sorted(circulars):
            for batch in await session.scalars(select(Batch).where(Batch.circular_id == circular)):
                await settle_batch(session, batch, now)
            await settle_circular(session, circular, now)


def _sum(one: Recovered, other: Recovered) -> Recovered:
    return Recovered(one.put_back + other.put_back, one.settled + other.settled, one.uncertain + other.uncertain)

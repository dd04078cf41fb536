"""The verbs of sending: start, pause, resume, cancel, resolve. Each is one transaction with its register entry."""

import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.counted import counted
from lists.records import record
from mailer.circulars.desk import refuse_held, refuse_idle, refuse_unsendable
from mailer.circulars.models import Circular, Letter, Recipient
from mailer.circulars.states import BEFORE_SENDING, CircularState, RecipientState, check_move
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.delivery import account, obstacles
from mailer.delivery.account import Change
from mailer.delivery.batches import call_for
from mailer.delivery.models import Batch
from mailer.delivery.progress import Progress
from mailer.delivery.settling import called_off, settle_batch, settle_circular
from mailer.delivery.waking import CONTINUED, waits_since
from mailer.errors import BadInput, NotAllowedNow, NotFound
from mailer.register import chain
from mailer.wake import Call

log = logging.getLogger(__name__)

#: What other rooms do in the same transaction (plan, hold, release, cancel reminders and a start at a time), and to how many.
Hook = Callable[[AsyncSession, Circular], Awaitable[int]]
HandOn = Callable[[Sequence[Call], AsyncSession], Awaitable[None]]


async def _nothing(_session: AsyncSession, _circular: Circular) -> int:
    return 0


async def _nobody(_calls: Sequence[Call], _session: AsyncSession) -> None:
    return None


@record
class Hooks:
    """What happens together with a circular's moves."""

    started: Hook = _nothing
    paused: Hook = _nothing
    resumed: Hook = _nothing
    cancelled: Hook = _nothing


#: Why a doubtful recipient waits in the queue.
_AGAIN = "a coordinator has it sent again"


class Delivery:
    """The verbs; each takes the coordinator who acts."""

    def __init__(
        self, *, sessions: Sessions, clock: Clock, hooks: Hooks | None = None, hand_on: HandOn = _nobody
    ) -> None:
        self._sessions, self._clock = sessions, clock
        self._hooks, self._hand_on = hooks or Hooks(), hand_on

    async def start(
        self, circular_id: int, *, by: str, expect: int | None = None, finish_by: dt.datetime | None = None
    ) -> int:
        """Let an approved circular go, or go on with one whose relay was held.

        Args:
            circular_id: which.
            by: who acts.
            expect: the number of letters that the coordinator has in mind.
            finish_by: spread its letters so that the last leaves by then; None: as it was.

        Returns:
            The number of letters.

        Raises:
            NotAllowedNow: it is not approved.
            BadInput: *expect* is another number than there are letters.
        """
        now = self._clock.now()
        async with self._sessions.write() as session:
            circular = await _get(session, circular_id)
            letters = await session.scalar(select(func.count()).where(Letter.circular_id == circular_id)) or 0
            name = _name(circular)
            refuse_unsendable(circular)
            if expect is not None and expect != letters:
                raise BadInput(
                    f"{counted(expect, 'letter')} {'was' if expect == 1 else 'were'} expected, and there {'is' if letters == 1 else 'are'} {letters}",
                    where=name,
                    remedy=f"look again with `chancery circular show {name}`, then send with --expect {letters}",
                )
            if circular.state == CircularState.SENDING:
                await self._continue(session, circular, by, now)
            else:
                refuse_held(circular)
                await self._begin(session, circular, letters, by, now)
            circular.finish_by = finish_by or circular.finish_by
            await self._wake(session, circular_id)
        return letters

    async def _wake(self, session: AsyncSession, circular_id: int) -> None:
        """Have its unfinished batches looked at, once the transaction has committed."""
        unfinished = select(Batch.no).where(Batch.circular_id == circular_id, Batch.done_at.is_(None))
        await self._hand_on([call_for(circular_id, no) for no in await session.scalars(unfinished)], session)

    async def _continue(self, session: AsyncSession, circular: Circular, by: str, now: dt.datetime) -> None:
        """A person lets one go on that has begun: what stood in its way is seen to."""
        await obstacles.lift(session)
        await self._lift(session, circular, now)
        await chain.append(session, chain.chain_of(circular.id), CONTINUED, {}, by=by, at=now)

    async def _lift(self, session: AsyncSession, circular: Circular, now: dt.datetime) -> None:
        """A person says that what held it is mended: what waited for the relay waits no longer."""
        if circular.held_why is None:
            return
        circular.held_why = None
        await session.execute(
            update(Recipient)
            .where(
                Recipient.circular_id == circular.id,
                Recipient.state == RecipientState.QUEUED,
                func.coalesce(Recipient.why, "") != _AGAIN,  # a second copy still waits out the lease
            )
            .values(next_at=None)
            .execution_options(synchronize_session=False)
        )
        held = select(Batch).where(Batch.circular_id == circular.id, Batch.done_at.is_(None))
        for batch in await session.scalars(held):
            await settle_batch(session, batch, now)

    async def _begin(self, session: AsyncSession, circular: Circular, letters: int, by: str, now: dt.datetime) -> None:
        check_move(circular.state, CircularState.SENDING, name=_name(circular))
        circular.state, circular.started_at, circular.held_why = CircularState.SENDING, now, None
        numbers = await session.scalars(select(Letter.batch).where(Letter.circular_id == circular.id).distinct())
        rows = [{"circular_id": circular.id, "no": no} for no in sorted(numbers)]
        if rows:
            await session.execute(insert(Batch), rows)
        await chain.append(
            session, chain.chain_of(circular.id), "circular-sending", {"letters": letters}, by=by, at=now
        )
        await self._hooks.started(session, circular)
        parent = await session.get(Circular, circular.parent_id) if circular.parent_id else None
        if parent is not None and parent.state == CircularState.PAUSED:
            circular.state = CircularState.PAUSED
            await chain.append(session, chain.chain_of(circular.id), "circular-paused", {}, by=by, at=now)
        elif parent is not None and parent.state == CircularState.CANCELLED:
            await self._cancel(session, circular, by, now)
        elif not rows:  # a reminder of which nobody is left to write to
            await settle_circular(session, circular.id, now)

    async def pause(self, circular_id: int, *, by: str) -> None:
        """Hold a circular, its reminders and its start at a time: no further content starts, nothing fires."""
        now = self._clock.now()
        async with self._sessions.write() as session:
            circular = await _get(session, circular_id)
            reminders = await _reminders(session, circular_id, {CircularState.SENDING})
            if circular.state == CircularState.SENDING:
                reminders.insert(0, circular)
            elif not await self._hooks.paused(session, circular) and not reminders:
                refuse_idle(circular, "hold")
            for one in reminders:
                one.state = CircularState.PAUSED
                await chain.append(session, chain.chain_of(one.id), "circular-paused", {}, by=by, at=now)
                await self._hooks.paused(session, one)

    async def resume(self, *circulars: int, by: str) -> None:
        """Let circulars go on, all or none: paused ones with their paused reminders, those that wait for a person or that a restore held."""
        now = self._clock.now()
        async with self._sessions.write() as session:
            for circular_id in circulars:
                await self._resume(session, await _get(session, circular_id), by, now)

    async def _resume(self, session: AsyncSession, circular: Circular, by: str, now: dt.datetime) -> None:
        paused = await _reminders(session, circular.id, {CircularState.PAUSED})
        if circular.state in BEFORE_SENDING and circular.held_why is not None:
            circular.held_why = None
            await chain.append(session, chain.chain_of(circular.id), "circular-resumed", {}, by=by, at=now)
            await self._hooks.resumed(session, circular)
        elif circular.state == CircularState.PAUSED:
            paused.insert(0, circular)
        elif circular.state == CircularState.SENDING and circular.held_why is not None:
            await self._continue(session, circular, by, now)
            await self._wake(session, circular.id)
        elif not await self._hooks.resumed(session, circular) and not paused:
            refuse_idle(circular, "let go")
        for one in paused:
            if one.held_why is not None:  # held, and then paused: resuming says both
                await obstacles.lift(session)
                await self._lift(session, one, now)
            one.state = CircularState.SENDING
            await chain.append(session, chain.chain_of(one.id), "circular-resumed", {}, by=by, at=now)
            await self._hooks.resumed(session, one)
            await self._wake(session, one.id)
            await session.flush()
            await settle_circular(session, one.id, now)

    async def cancel(self, circular_id: int, *, by: str) -> int:
        """Stop a circular and its reminders for good: what has not left stays here.

        Returns:
            How many recipients will not be written to.
        """
        now = self._clock.now()
        kept = 0
        moving = {CircularState.APPROVED, CircularState.SENDING, CircularState.PAUSED}
        async with self._sessions.write() as session:
            circular = await _get(session, circular_id)
            reminders = await _reminders(session, circular_id, moving)
            if circular.state == CircularState.SENT:  # what is left of it are its reminders
                if not await self._hooks.cancelled(session, circular) and not reminders:
                    refuse_idle(circular, "cancel")
            else:
                check_move(circular.state, CircularState.CANCELLED, name=_name(circular))
                reminders.insert(0, circular)
            for one in reminders:
                kept += await self._cancel(session, one, by, now)
        return kept

    async def _cancel(self, session: AsyncSession, circular: Circular, by: str, now: dt.datetime) -> int:
        circular.state, circular.finished_at = CircularState.CANCELLED, now
        waiting = await session.execute(
            select(Recipient, Letter.left_at)
            .join(Letter, Letter.id == Recipient.letter_id)
            .where(
                Recipient.circular_id == circular.id,
                Recipient.state.in_((RecipientState.QUEUED, RecipientState.DEFERRED)),
            )
        )
        changes = []
        for recipient, left_at in waiting:
            state = called_off(recipient.state, recipient.code, left=left_at is not None)
            changes.append(_by_hand(recipient, state, now, "the circular was cancelled"))
        await account.record(session, circular.id, changes, by=by, at=now, action="recipients-cancelled")
        await chain.append(session, chain.chain_of(circular.id), "circular-cancelled", {}, by=by, at=now)
        for batch in await session.scalars(select(Batch).where(Batch.circular_id == circular.id)):
            await settle_batch(session, batch, now)
        await self._hooks.cancelled(session, circular)
        return len(changes)

    async def resolve(self, circular_id: int, letter: int | None, *, sent: bool, by: str, lease: float) -> int:
        """Settle uncertain recipients by a person's word; only uncertain ones are touched.

        Args:
            circular_id: which.
            letter: the number of a letter; None: all of the circular.
            sent: they have it (True), or it goes to them again (False).
            by: who says so.
            lease: seconds for which a frozen process may still be finishing an open connection; a resend waits them out.

        Returns:
            The number of recipients settled.

        Raises:
            NotFound: there is no uncertain recipient there.
        """
        now = self._clock.now()
        async with self._sessions.write() as session:
            circular = await _get(session, circular_id)
            if not sent and circular.state == CircularState.CANCELLED:
                raise NotAllowedNow(
                    "it is cancelled, so nothing of it is sent again",
                    where=_name(circular),
                    remedy="say --sent, or leave it in doubt",
                )
            query = select(Recipient).where(
                Recipient.circular_id == circular_id, Recipient.state == RecipientState.UNCERTAIN
            )
            if letter is not None:
                query = query.where(Recipient.letter_id == letter)
            doubtful = list(await session.scalars(query.order_by(Recipient.id)))
            if not doubtful:
                where = f"{_name(circular)}, letter {letter}" if letter else _name(circular)
                raise NotFound("nothing there is in doubt", where=where)
            state = RecipientState.ACCEPTED if sent else RecipientState.QUEUED
            why = "a coordinator says that it was sent" if sent else _AGAIN
            again = None if sent else now + dt.timedelta(seconds=lease)
            changes = [_by_hand(recipient, state, now, why, again, tries=None if sent else 0) for recipient in doubtful]
            await account.record(session, circular_id, changes, by=by, at=now, action="recipients-resolved")
            if not sent:
                await self._reopen(session, circular, {recipient.batch for recipient in doubtful}, now)
        return len(changes)

    async def _reopen(self, session: AsyncSession, circular: Circular, numbers: set[int], now: dt.datetime) -> None:
        if circular.state == CircularState.SENT:
            circular.state, circular.finished_at = CircularState.SENDING, None
        for no in sorted(numbers):
            await settle_batch(session, await session.get_one(Batch, (circular.id, no)), now)
        await self._hand_on([call_for(circular.id, no) for no in sorted(numbers)], session)

    async def hold(self, circular_id: int, why: str) -> None:
        """Note why a circular can't go on without a person; said once."""
        now = self._clock.now()
        async with self._sessions.write() as session:
            circular = await _get(session, circular_id)
            if circular.held_why == why:
                return
            circular.held_why = why
            await chain.append(session, chain.chain_of(circular_id), "circular-held", {"why": why}, by="engine", at=now)
        log.warning("circular-held", extra={"circular": _name(circular), "why": why})

    async def note_relay(self, circular_id: int, relay: str, why: str) -> None:
        """Note in the circular's account that one of its relays waits for a person, while others stand in for it."""
        async with self._sessions.write() as session:
            subject = {"relay": relay, "why": why}
            head = chain.chain_of(circular_id)
            await chain.append(session, head, "relay-held", subject, by="engine", at=self._clock.now())
        log.warning("relay-held", extra={"circular": circular_id, "relay": relay, "why": why})

    async def waits_since(self, circular_id: int) -> dt.datetime | None:
        """Since when it could have gone on, with nobody at work; None: nothing of it waits."""
        async with self._sessions.read() as session:
            return await waits_since(session, circular_id)

    async def progress(self, circular_id: int) -> Progress:
        """Where it stands now."""
        async with self._sessions.read() as session:
            circular = await _get(session, circular_id)
            rows = await session.execute(
                select(Recipient.state, func.count())
                .where(Recipient.circular_id == circular_id)
                .group_by(Recipient.state)
            )
            letters = await session.scalar(select(func.count()).where(Letter.circular_id == circular_id)) or 0
            next_at = await session.scalar(
                select(func.min(Batch.next_at)).where(Batch.circular_id == circular_id, Batch.done_at.is_(None))
            )
            counts = {RecipientState(state): count for state, count in rows}
            return Progress(circular.state, _name(circular), circular.held_why, letters, counts, next_at)


async def _get(session: AsyncSession, circular_id: int) -> Circular:
    circular = await session.get(Circular, circular_id)
    if circular is None:
        raise NotFound("there is no such circular", where=str(circular_id), remedy="see `chancery circular list`")
    return circular


async def _reminders(session: AsyncSession, parent_id: int, states: Collection[CircularState]) -> list[Circular]:
    """The reminders of a circular that are in one of *states*."""
    found = await session.scalars(
        select(Circular).where(Circular.parent_id == parent_id, Circular.state.in_(states)).order_by(Circular.id)
    )
    return list(found)


def _name(circular: Circular) -> str:
    return circular.reference or str(circular.id)


def _by_hand(
    recipient: Recipient,
    state: RecipientState,
    at: dt.datetime,
    why: str,
    next_at: dt.datetime | None = None,
    *,
    tries: int | None = None,
) -> Change:
    return Change(
        recipient=recipient.id,
        letter=recipient.letter_id,
        address=recipient.address,
        state=state,
        at=at,
        why=why,
        tries=recipient.tries if tries is None else tries,
        next_at=next_at,
    )

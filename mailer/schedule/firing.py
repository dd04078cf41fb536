"""Firing a schedule exactly once, whatever dies on the way.

1. Claim: one transaction sets `next_at` from the value that was seen to the end of the claim, and the state to `firing`. One row
   changed, or another clock did it.
2. Act: `Actions` starts the circular, or freezes and starts the reminder. Both are idempotent (a reminder is one per parent and
   ordinal), and the claim is renewed while they work.
3. Finish: one transaction sets `fired` where the claim is still ours, with what came of it, and tells the register.

A clock that dies before 1 has changed nothing. One that dies after 1 leaves `firing`; when its claim ends another goes on at 2,
which finds what has been done and does the rest. What has begun is finished however late; what has not begun and is later than
`fire_late` is marked missed and told, never done unasked and never dropped in silence.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.errors import BadInput, ChanceryError
from mailer.register import chain
from mailer.schedule import rules
from mailer.schedule.models import Schedule, ScheduleKind, ScheduleState
from mailer.schedule.service import ScheduleLine
from mailer.schedule.targets import Targets, reminded, targets

log = logging.getLogger(__name__)

#: How long a claim lasts without being renewed.
CLAIM = dt.timedelta(seconds=120)
#: After an action that could not be done (disk full, database locked).
RETRY = dt.timedelta(seconds=60)
TICKER = "ticker"


class Actions(Protocol):
    """What schedules do; handed in by `app`. Each may be called again for what it has done, and then does nothing more."""

    async def start_sending(self, circular_id: int) -> None:
        """Move an approved circular to sending; one that is sending or sent stays as it is.

        Raises:
            BadInput: it may not be sent (no longer approved).
        """
        ...

    async def remind(self, parent_id: int, ordinal: int, organizations: Sequence[int]) -> int:
        """Freeze and start the reminder *ordinal* of a circular to *organizations*; returns the reminder's circular."""
        ...


class Result(StrEnum):
    """What came of a schedule that was due."""

    FIRED = "fired"
    MISSED = "missed"
    HELD = "held"
    CANCELLED = "cancelled"
    AGAIN = "will be tried again"
    TAKEN = "another clock has it"


@dataclass(frozen=True, slots=True)
class Firing:
    """A schedule that was due, and what came of it in words."""

    schedule: ScheduleLine
    result: Result
    why: str = ""
    made_id: int | None = None


@dataclass(frozen=True, slots=True)
class _Decision:
    result: Result | None  #: None: act
    why: str = ""


def decide(
    kind: ScheduleKind,
    circular: CircularState,
    *,
    taken_over: bool,
    begun: bool,
    late: dt.timedelta,
    fire_late: dt.timedelta,
) -> _Decision:
    """What to do with a schedule that is due. Pure.

    Args:
        kind: what it does.
        circular: state of its circular (of a reminder: the parent).
        taken_over: a clock that died had claimed it.
        begun: the reminder's circular exists; the circular is being sent, or was.
        late: how long ago it was due.
        fire_late: how late it may still be done unasked.
    """
    if circular is CircularState.CANCELLED:
        return _Decision(Result.CANCELLED, "the circular was cancelled")
    if kind is ScheduleKind.SEND and begun:
        return _Decision(Result.FIRED) if taken_over else _Decision(Result.CANCELLED, "the circular was sent before")
    if circular is CircularState.PAUSED:
        return _Decision(Result.HELD, "the circular is paused")
    if begun:
        return _Decision(None)
    wanted = {CircularState.APPROVED} if kind is ScheduleKind.SEND else {CircularState.SENDING, CircularState.SENT}
    if circular not in wanted:
        return _Decision(Result.MISSED, f"the circular is {circular.value}")
    if late > fire_late:
        return _Decision(Result.MISSED, "nothing ran when it was due, and it is too late to do it unasked")
    return _Decision(None)


@dataclass(slots=True)
class _Claim:
    """Our hold on a row.

    Attributes:
        until: its `next_at`, as we last set it.
        wanted: of a reminder: whom it goes to.
        made_id: the reminder's circular, where a clock that died had begun it.
    """

    schedule_id: int
    until: dt.datetime
    wanted: Targets | None
    made_id: int | None


async def fire(
    database: Sessions, clock: Clock, line: ScheduleLine, actions: Actions, *, fire_late: dt.timedelta
) -> Firing:
    """Do what *line*, which is due, is there for, unless another clock does it or it may not be done.

    Errors of the action are no errors of this function: they are in the result's words, in the row and in the log.
    """
    claim = await _claim(database, clock, line, fire_late)
    if isinstance(claim, Firing):
        return claim
    try:
        async with _renewed(database, clock, claim):
            made_id = await _act(line, actions, claim)
    except BadInput as error:
        return await _give_up(database, clock, line, claim, str(error))
    except Exception as error:
        unexpected = None if isinstance(error, ChanceryError) else error
        fields = {"schedule": line.id, "circular": line.circular_id}
        log.warning("schedule-failed", extra=fields, exc_info=unexpected)
        return await _put_back(database, clock, line, claim, _words(error))
    return await _finish(database, clock, line, claim, made_id)


async def _act(line: ScheduleLine, actions: Actions, claim: _Claim) -> int | None:
    if line.kind is ScheduleKind.SEND:
        await actions.start_sending(line.circular_id)
        return None
    organizations = claim.wanted.organizations if claim.wanted else ()
    if not organizations and claim.made_id is None:
        return None
    return await actions.remind(line.circular_id, line.ordinal, organizations)


async def _claim(database: Sessions, clock: Clock, line: ScheduleLine, fire_late: dt.timedelta) -> Firing | _Claim:
    """Take the row, or settle it where nothing is to be done."""
    async with database.write() as session:
        now = clock.now()
        made_id, decision = await _look(session, line, now, fire_late)
        if decision.result is not None:
            return await _settle(session, line, decision.result, decision.why, now)
        until = now + CLAIM
        if not await _swap(session, line.id, line.next_at, line.state, state=ScheduleState.FIRING, next_at=until):
            return Firing(line, Result.TAKEN)
        wanted = await targets(session, line.circular_id) if line.kind is ScheduleKind.REMINDER else None
        return _Claim(line.id, until, wanted, made_id)


async def _look(
    session: AsyncSession, line: ScheduleLine, now: dt.datetime, fire_late: dt.timedelta
) -> tuple[int | None, _Decision]:
    state = await session.scalar(select(Circular.state).where(Circular.id == line.circular_id))
    circular = CircularState(state or CircularState.CANCELLED)
    made_id = await _child(session, line) if line.kind is ScheduleKind.REMINDER else None
    started = circular in {CircularState.SENDING, CircularState.PAUSED, CircularState.SENT}
    decision = decide(
        line.kind,
        circular,
        taken_over=line.state is ScheduleState.FIRING,
        begun=made_id is not None if line.kind is ScheduleKind.REMINDER else started,
        late=now - line.due_at,
        fire_late=fire_late,
    )
    return made_id, decision


async def _child(session: AsyncSession, line: ScheduleLine) -> int | None:
    """The reminder's circular, if it was made."""
    return await session.scalar(
        select(Circular.id).where(Circular.parent_id == line.circular_id, Circular.ordinal == line.ordinal)
    )


async def _settle(session: AsyncSession, line: ScheduleLine, result: Result, why: str, now: dt.datetime) -> Firing:
    if result is Result.MISSED:
        why = f"{why}; it was due {rules.local(line.due_at, line.zone)}"
        why += f"; last error: {line.why}" if line.why else ""
    values: dict[str, Any] = {"state": ScheduleState(result.value), "why": why or None}
    if result is Result.FIRED:
        values["fired_at"] = now
    if not await _swap(session, line.id, line.next_at, line.state, **values):
        return Firing(line, Result.TAKEN)
    await _tell(session, line, f"schedule-{result.value}", {"why": why} if why else {}, now)
    return Firing(line, result, why)


async def _finish(database: Sessions, clock: Clock, line: ScheduleLine, claim: _Claim, made_id: int | None) -> Firing:
    async with database.write() as session:
        now = clock.now()
        done = claim.wanted
        if made_id is not None:
            done = await reminded(session, line.circular_id, made_id)
        why = done.in_words() if done else None
        values = {"state": ScheduleState.FIRED, "fired_at": now, "made_id": made_id, "why": why}
        if not await _swap(session, line.id, claim.until, ScheduleState.FIRING, **values):
            return Firing(line, Result.TAKEN)
        said: dict[str, Any] = {"reminder": made_id} if made_id is not None else {}
        if done:
            said |= {"reminded": len(done.organizations), "not_reminded": done.by_reason()}
        await _tell(session, line, "schedule-fired", said, now)
    return Firing(line, Result.FIRED, why or "", made_id)


async def _give_up(database: Sessions, clock: Clock, line: ScheduleLine, claim: _Claim, why: str) -> Firing:
    """The action was refused for good: missed, and told."""
    async with database.write() as session:
        if not await _swap(session, line.id, claim.until, ScheduleState.FIRING, state=ScheduleState.MISSED, why=why):
            return Firing(line, Result.TAKEN)
        await _tell(session, line, "schedule-missed", {"why": why}, clock.now())
    return Firing(line, Result.MISSED, why)


async def _put_back(database: Sessions, clock: Clock, line: ScheduleLine, claim: _Claim, why: str) -> Firing:
    """The action could not be done now: once more in a while, until it is too late for it."""
    async with database.write() as session:
        values = {"state": ScheduleState.WAITING, "next_at": clock.now() + RETRY, "why": why}
        if not await _swap(session, line.id, claim.until, ScheduleState.FIRING, **values):
            return Firing(line, Result.TAKEN)
    return Firing(line, Result.AGAIN, why)


async def _swap(
    session: AsyncSession, schedule_id: int, seen_at: dt.datetime, seen_state: ScheduleState, **values: Any
) -> bool:
    """Compare-and-set: whether the row still was as we saw it, and so is ours."""
    changed = await session.execute(
        update(Schedule)
        .where(Schedule.id == schedule_id, Schedule.next_at == seen_at, Schedule.state == seen_state)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", changed).rowcount == 1


@asynccontextmanager
async def _renewed(database: Sessions, clock: Clock, claim: _Claim) -> AsyncIterator[None]:
    """Keep the claim alive while the block works, however long freezing a large reminder takes."""
    done = asyncio.Event()

    async def renew() -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), CLAIM.total_seconds() / 3)
                return
            until = clock.now() + CLAIM
            try:
                async with database.write() as session:
                    if not await _swap(session, claim.schedule_id, claim.until, ScheduleState.FIRING, next_at=until):
                        log.warning("schedule-claim-lost", extra={"schedule": claim.schedule_id})
                        return
            except ChanceryError:
                log.exception("schedule-claim-not-renewed", extra={"schedule": claim.schedule_id})
            else:
                claim.until = until

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        done.set()  # not cancelled: a renewal under way must end, or we would not know what the row holds
        await task


async def _tell(session: AsyncSession, line: ScheduleLine, action: str, said: dict[str, Any], at: dt.datetime) -> None:
    subject = {"what": line.what, "due_at": line.due_at.isoformat(), **said}
    await chain.append(session, chain.chain_of(line.circular_id), action, subject, by=TICKER, at=at)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, ChanceryError) else f"{type(error).__name__}: {error}"

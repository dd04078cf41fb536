"""Runs that something of ours breaks off: what letters met is kept, what is not known is in doubt, and nothing waits for a lease."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mailer.app import App
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery import send as sending_of_batches
from mailer.delivery.batches import Batches
from mailer.delivery.claims import Claim, Run
from mailer.delivery.judging import Judge
from mailer.delivery.models import Batch
from mailer.delivery.obstacles import Obstacles
from mailer.delivery.turns import Told
from mailer.engine import embedded
from mailer.errors import DatabaseError
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import addresses, office, running, send, states
from tests.support.runs import copies, faults
from tests.support.stage import START, JumpingClock

ODD = "office002@org.example"
#: All tries of the turn that ends the run, and the first time that it is told again.
_FAILURES = sending_of_batches._TURN_TRIES + 1


class SlowRelay(MemoryTransport):
    """A relay that answers the end of each letter only when it is let."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.waiting = 0
        self.go = asyncio.Event()

    async def _answer(self, phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
        if phase is Phase.FINAL:
            self.waiting += 1
            await self.go.wait()


@asynccontextmanager
async def _in_flight(app: App, circular: int, count: int) -> AsyncIterator[None]:
    """A circular whose letters, so many, are all at a relay that is silent until the block is over; then its sending ends by itself."""
    relay = SlowRelay()
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        working = asyncio.create_task(made.work(until=lambda due: due is None))
        await _until(lambda: relay.waiting == count)
        yield
        relay.go.set()
        await asyncio.wait_for(working, 30)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - what is waited for rings no bell
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("database_fails", [False, True])
async def test_a_defect_in_one_letters_judgement_leaves_that_one_in_doubt(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_fails: bool
) -> None:
    """The others have what they met, even if the database fails just then; the odd one is in doubt, and nothing leaves twice."""
    app, circular = await office(database, clock, tmp_path, addresses(4))
    monkeypatch.setattr(sending_of_batches, "_TURN_WAIT", 0.0)
    monkeypatch.setattr(embedded, "_PENANCE", 0.0)
    judge, turn, failed = Judge.told, Batches.turn, 0

    def odd(self: Judge, claim: Claim, *more: Any, **named: Any) -> Told:
        if claim.targets[0].address == ODD:
            raise ZeroDivisionError
        return judge(self, claim, *more, **named)

    async def refused(self: Batches, run: Run, told: Sequence[Told], *more: Any, **named: Any) -> list[Claim]:
        nonlocal failed
        if database_fails and told and failed < _FAILURES:
            failed += 1
            raise DatabaseError("the disk is full", where="here")
        return await turn(self, run, told, *more, **named)

    monkeypatch.setattr(Judge, "told", odd)
    monkeypatch.setattr(Batches, "turn", refused)
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert failed == (_FAILURES if database_fails else 0)
    told = await states(database, circular)
    assert told.pop(ODD) == "uncertain"
    assert set(told.values()) == {"accepted"}
    assert set(copies(relay).values()) == {1}
    assert await faults(database) == []


async def test_a_beat_that_fails_for_any_reason_ends_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect between two signs of life: the letters that fly are waited for, and told of as they end."""
    clock = JumpingClock(START)
    app, circular = await office(database, clock, tmp_path, addresses(3))
    tell, armed = Obstacles.tell_held, False

    async def defect(self: Obstacles, *more: Any) -> None:
        if armed:
            raise ZeroDivisionError
        await tell(self, *more)

    monkeypatch.setattr(Obstacles, "tell_held", defect)
    async with _in_flight(app, circular, 3):
        armed = True
        clock.advance(dt.timedelta(seconds=app.settings.delivery.lease / 6))
        await _until(lambda: "beat-failed" in caplog.text)
        armed = False
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert await faults(database) == []


async def test_a_run_ends_though_its_beat_loses_a_cancellation(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called off in the middle of a statement that fails for it: that is no sign of life that is to be made good."""
    clock = JumpingClock(START)
    app, circular = await office(database, clock, tmp_path, addresses(1))
    tell, armed, met = Obstacles.tell_held, False, []

    async def deaf(self: Obstacles, *more: Any) -> None:
        nonlocal armed
        if not armed:
            await tell(self, *more)
            return
        armed = False
        met.append("called")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            met.append("called off")
            raise DatabaseError("the statement was cancelled", where="here") from None

    monkeypatch.setattr(Obstacles, "tell_held", deaf)
    async with _in_flight(app, circular, 1):
        armed = True
        clock.advance(dt.timedelta(seconds=app.settings.delivery.lease / 6))
        await _until(lambda: met == ["called"])
    assert met == ["called", "called off"]
    assert set((await states(database, circular)).values()) == {"accepted"}


async def test_a_defect_that_ends_the_beats_is_told_once_all_have_landed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A clock that fails ends the signs of life: the letters that fly have their outcomes all the same, and the defect is in the log."""
    clock = JumpingClock(START)
    app, circular = await office(database, clock, tmp_path, addresses(2))
    monkeypatch.setattr(embedded, "_PENANCE", 0.0)

    async def broken(_seconds: float) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(clock, "sleep", broken)
    async with _in_flight(app, circular, 2):
        pass
    assert set((await states(database, circular)).values()) == {"accepted"}
    (told,) = [one for one in caplog.records if one.message == "call-failed"]
    assert told.exc_info is not None
    assert told.exc_info[0] is ZeroDivisionError


async def test_a_wall_clock_set_back_does_not_stop_the_signs_of_life(database: Database, tmp_path: Path) -> None:
    """An hour back, and a sixth of the lease later: the batch has a beat of the new time."""
    clock = JumpingClock(START)
    app, circular = await office(database, clock, tmp_path, addresses(1))

    async def beat() -> dt.datetime | None:
        async with database.read() as session:
            return await session.scalar(select(Batch.beat))

    async with _in_flight(app, circular, 1):
        clock.set_wall(dt.timedelta(hours=-1))
        clock.advance(dt.timedelta(seconds=app.settings.delivery.lease / 6))
        async with asyncio.timeout(30):
            while await beat() != clock.now():  # noqa: ASYNC110 - a row rings no bell
                await asyncio.sleep(0.01)
    assert set((await states(database, circular)).values()) == {"accepted"}

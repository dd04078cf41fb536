"""Waking after days: what has waited too long with nothing at work asks before it goes on."""

import datetime as dt
from pathlib import Path

from sqlalchemy import func, select

from mailer.app import App
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.batches import Batches
from mailer.delivery.due import Wanted
from mailer.delivery.journal import boot_id
from mailer.dispatch import Sending
from mailer.register.models import Link
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import addresses, again, office, running, settings, states

DAYS = dt.timedelta(days=1)


def _greylist(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> str | None:
    return "451 4.7.1 later" if phase is Phase.RCPT else None


async def _held(app: App, circular: int) -> str | None:
    return (await app.delivery.progress(circular)).held_why


async def _begun(
    database: Database, clock: ManualClock, home: Path, **figures: float
) -> tuple[App, int, MemoryTransport]:
    """A circular of which one letter was put off on the first day."""
    app, circular = await office(database, clock, home, addresses(1), settings(ask_after=3 * 86400, **figures))
    relay = MemoryTransport(_greylist)
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        await _work(app, made)
    relay.script = lambda _phase, _envelope, _to: None
    return app, circular, relay


async def _work(app: App, made: Sending) -> None:
    await made.work(until=lambda due: due is None or due > app.clock.now())


async def test_after_days_off_nothing_leaves_until_a_person_says_so(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """The machine was off for four days: the circular is held and says since when; a person's `send` lets it go on, and it stays so."""
    app, circular, relay = await _begun(database, clock, tmp_path)
    clock.advance(4 * DAYS)
    await again(app, relay)
    assert relay.received == []
    assert "it has waited since 07 July 2006" in (await _held(app, circular) or "")
    await app.delivery.start(circular, by="dora")
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "accepted"}
    assert await _held(app, circular) is None


async def test_a_weekend_is_no_reason_to_ask(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Within the limit it goes on by itself."""
    app, circular, relay = await _begun(database, clock, tmp_path)
    clock.advance(2.5 * DAYS)
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "accepted"}


async def test_zero_never_asks(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """`ask_after = 0` goes on after any time."""
    app, circular = await office(database, clock, tmp_path, addresses(1), settings(ask_after=0))
    relay = MemoryTransport(_greylist)
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        await _work(app, made)
    relay.script = lambda _phase, _envelope, _to: None
    clock.advance(30 * DAYS)
    await again(app, relay)
    assert await _held(app, circular) is None


async def test_a_wait_that_was_meant_is_none(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """What had to wait for its next try for five days has slept no longer than since then."""
    week = 7 * 86400
    figures = {"first_retry": 5 * 86400, "longest_retry": 5 * 86400, "give_up_after": 4 * week}
    app, circular, relay = await _begun(database, clock, tmp_path, **figures)
    clock.advance(6.5 * DAYS)  # the jitter lengthens a wait by up to a fifth
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "accepted"}


async def test_a_process_that_slept_asks_too(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A laptop that was shut for days with `serve` running is no different from a machine that was off."""
    app, circular, relay = await _begun(database, clock, tmp_path)
    relay.script = _greylist
    async with running(app, relay) as made:
        clock.advance(DAYS)
        await _work(app, made)
        relay.script = lambda _phase, _envelope, _to: None
        clock.advance(4 * DAYS)
        await _work(app, made)
    assert relay.received == []
    assert "it has waited since 08 July 2006" in (await _held(app, circular) or "")


async def test_what_a_recovery_notes_is_no_activity(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A power cut in mid-flight and days later: the recovery's own entries do not hide how long it has been."""
    app, circular = await office(database, clock, tmp_path, addresses(2), settings(ask_after=3 * 86400))
    relay = MemoryTransport()
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
    batches = Batches(database, lease=dt.timedelta(minutes=2))
    run = await batches.take(circular, 1, owner="1-dead", boot=boot_id(), now=clock.now())
    assert run is not None
    assert len(await batches.turn(run, [], Wanted(1, "main"), now=clock.now())) == 1
    clock.advance(5 * DAYS)
    await again(app, relay)
    assert relay.received == []
    assert sorted((await states(database, circular)).values()) == ["queued", "uncertain"]
    assert "it has waited since 07 July 2006" in (await _held(app, circular) or "")


async def test_one_that_asks_can_be_cancelled(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Instead of going on it may be stopped for good."""
    app, circular, relay = await _begun(database, clock, tmp_path)
    clock.advance(4 * DAYS)
    await again(app, relay)
    await app.delivery.cancel(circular, by="dora")
    assert await states(database, circular) == {"office001@org.example": "cancelled"}


async def test_a_hold_is_written_once(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """However often it is looked at, the circular says once that it asks."""
    app, _, relay = await _begun(database, clock, tmp_path)
    clock.advance(4 * DAYS)
    for _ in range(3):
        await again(app, relay)
    async with database.read() as session:
        count = await session.scalar(select(func.count()).where(Link.action == "circular-held"))
    assert count == 1

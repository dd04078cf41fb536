"""Relays held for a person, pauses, and work that must not turn in circles."""

import asyncio
import datetime as dt
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from mailer.circulars.models import Letter, Recipient
from mailer.cli import running as commands
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.pace import Pace
from mailer.delivery.passage import AT_ONCE
from mailer.errors import ChanceryError, DatabaseError
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import (
    MINUTES,
    addresses,
    again,
    office,
    running,
    seen_by_the_watcher,
    send,
    settings,
    states,
)
from tests.support.runs import (
    REFUSED_SENDER,
    at_phase,
    circular_row,
    count_of_runs,
    well,
    with_reminder,
)

# --- held, and going on again -------------------------------------------------------------------------------------


async def test_a_mended_relay_goes_on_in_the_same_process(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """After a hold, a person's `circular send` lets `serve` try the relay again; nobody has to start it anew."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    relay = MemoryTransport(at_phase(Phase.MAIL, lambda: REFUSED_SENDER))
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
        assert (await circular_row(database, circular)).held_why
        relay.script = well
        clock.advance(dt.timedelta(days=1))
        await app.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
    assert set((await states(database, circular)).values()) == {"accepted"}


async def test_a_mended_relay_is_tried_at_once(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A person who has mended the relay and sends again does not wait for the back-off of the relay that was held."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    relay = MemoryTransport(at_phase(Phase.MAIL, lambda: REFUSED_SENDER))
    await send(app, circular, relay)
    relay.script = well
    clock.advance(MINUTES)
    await send(app, circular, relay)
    assert set((await states(database, circular)).values()) == {"accepted"}


async def test_a_relay_that_refuses_us_is_not_asked_by_every_letter_that_is_claimed(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """After the first "not as this sender" only letters already at the relay meet it: the others go back untried, and all leave later."""
    app, circular = await office(sqlite_database, clock, tmp_path, addresses(120))
    asked = 0

    def script(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> str | None:
        nonlocal asked
        refused = phase is Phase.MAIL and len(relay.received) >= 30
        asked += refused
        return REFUSED_SENDER if refused else None

    relay = MemoryTransport(script, lanes=2)
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
        assert (await circular_row(sqlite_database, circular)).held_why
        assert len(relay.received) < 40
        assert asked <= 2 * AT_ONCE
        relay.script = well
        await made.delivery.resume(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
    assert sorted(one.recipients[0].address for one in relay.received) == sorted(one for (one,) in addresses(120))


async def test_another_letters_success_does_not_lift_a_hold(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A refusal that a person has to mend is told, though a letter that was on its way beside it was taken."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    refused = asyncio.Event()

    async def script(phase: Phase, envelope: Envelope, _to: Rcpt | None) -> str | None:
        if phase is Phase.FINAL and envelope.recipients[0].address == "office001@org.example":
            refused.set()
            return "554 5.2.0 SendAsDenied; not allowed to send as"
        if phase is Phase.FINAL:
            await refused.wait()
            await asyncio.sleep(0.05)
        return None

    await send(app, circular, MemoryTransport(script))
    assert "SendAsDenied" in ((await circular_row(database, circular)).held_why or "")


async def test_a_moments_trouble_with_the_database_holds_no_circular(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A snapshot that could not be read this once is read again; it is not a reason for which a person is needed."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    async with running(app, MemoryTransport()) as made:
        load, failures = made._sender.load, iter([DatabaseError("the disk reports an error", where="here")])

        async def once(number: int) -> Any:
            for error in failures:
                raise error
            return await load(number)

        made._sender.load = once
        await made.delivery.start(circular, by="anna")
        async with asyncio.timeout(60):
            await made.work(until=lambda due: due is None or due > clock.now())
    assert (await circular_row(database, circular)).held_why is None
    assert await states(database, circular) == {"office001@org.example": "accepted"}


async def test_the_watcher_outlives_a_moments_trouble(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause is seen before the next content even if the rows could not be read once before."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    read, failed = Database.read, False

    def broken(self: Database) -> Any:
        nonlocal failed
        coroutine = getattr(asyncio.current_task(), "get_coro", lambda: None)()
        if not failed and getattr(coroutine, "__qualname__", "") == "Sending._watch":
            failed = True
            raise DatabaseError("the disk reports an error", where="here")
        return read(self)

    monkeypatch.setattr(Database, "read", broken)
    there, go = asyncio.Event(), asyncio.Event()

    async def script(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
        if phase is Phase.MAIL:
            there.set()
            await go.wait()

    relay = MemoryTransport(script)
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        working = asyncio.create_task(made.work(until=lambda due: due is None))
        await there.wait()
        assert failed
        await app.delivery.pause(circular, by="anna")
        await seen_by_the_watcher(made, circular)
        go.set()
        await working
    assert relay.received == []


# --- no turning in circles ----------------------------------------------------------------------------------------


async def test_an_unwritable_journal_is_no_reason_to_spin(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """While the journal can't be written nothing is claimed, and the batch is not taken up hundreds of times a second."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    async with running(app, MemoryTransport()) as made:
        made._sender.journal.broken = "the flight journal can't be written (disk full)"
        await made.delivery.start(circular, by="anna")
        working = asyncio.create_task(made.work(until=lambda due: due is None or due > clock.now()))
        await asyncio.sleep(1.0)
        made.stop()
        with suppress(ChanceryError):
            await working
    assert await count_of_runs(database) <= 5


async def test_the_next_token_is_in_the_future_after_a_trouble_that_is_over(clock: ManualClock) -> None:
    """With an empty bucket the next letter may go when a token is there, not at the past end of an old back-off."""
    pace = Pace(clock, per_minute=10)
    pace.failed("connection refused", hold=False)
    clock.advance(dt.timedelta(seconds=3))
    assert await pace.take(1) == 1
    assert await pace.take(1) == 0
    assert pace.next_token() > clock.now()


@pytest.mark.parametrize("per_minute", [11, 30, 37, 70])
async def test_at_the_time_of_the_next_token_there_is_one(clock: ManualClock, per_minute: int) -> None:
    """A clock that is moved to the time that the pace names finds a token; else one that stands there waits for ever."""
    pace = Pace(clock, per_minute=per_minute)
    await pace.take(1000)
    clock.move_to(pace.next_token())
    if not await pace.take(1):
        assert pace.next_token() > clock.now()


async def test_an_empty_bucket_is_not_asked_by_every_batch(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """While the pace allows nothing, the other batches of the circular wait with the one that was told so."""
    chosen = settings()
    slow = chosen.model_copy(update={"relays": {"main": chosen.relays["main"].model_copy(update={"per_minute": 10})}})
    app, circular = await office(database, clock, tmp_path, addresses(40), slow)
    async with database.write() as session:  # forty batches
        await session.execute(update(Letter).values(batch=Letter.position))
        for letter in await session.scalars(select(Letter)):
            await session.execute(update(Recipient).where(Recipient.letter_id == letter.id).values(batch=letter.batch))
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert len(relay.received) == 1
    assert await count_of_runs(database) <= 10


async def test_a_small_circular_does_not_wait_behind_a_large_one(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Batches of two circulars take turns at the slots; the one that was started later is not kept back until the other is done."""
    app, large = await office(database, clock, tmp_path, addresses(8), settings(slots=1))
    small, _organizations = await with_reminder(app, tmp_path)
    async with database.write() as session:  # eight batches of the first, one of the second
        await session.execute(update(Letter).where(Letter.circular_id == large).values(batch=Letter.position))
        for letter in await session.scalars(select(Letter)):
            await session.execute(update(Recipient).where(Recipient.letter_id == letter.id).values(batch=letter.batch))
        tokens = set(await session.scalars(select(Letter.token).where(Letter.circular_id == small)))
    relay = MemoryTransport()
    await app.delivery.start(large, by="anna")
    await app.delivery.start(small, by="anna")
    await again(app, relay)
    order = [one.envelope.envid in tokens for one in relay.received]
    assert len(order) == 16
    assert order.index(True) < 8


async def test_following_ends_when_nobody_sends(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A command that handed over to a process which has ended meanwhile does not wait for it for ever."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    async with asyncio.timeout(60):
        await commands.follow(app, circular)

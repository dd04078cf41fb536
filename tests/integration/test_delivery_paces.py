"""The pace of domains and of days, and circulars that share what there is: what relays took, and when."""

import asyncio
import datetime as dt
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select

from mailer.circulars.models import Circular, Letter
from mailer.cli import running
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.daily import Days
from mailer.delivery.models import Batch
from mailer.delivery.passage import AT_ONCE
from mailer.engine import embedded
from mailer.errors import DatabaseError
from mailer.reports.delivery import build
from mailer.reports.table import as_text
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import addresses, office, states
from tests.support.relays import another, chosen, obstacle, process, reached, send

SECOND = dt.timedelta(seconds=1)


def _to(domain: str, count: int) -> list[list[str]]:
    return [[f"office{number:03}@{domain}"] for number in range(1, count + 1)]


def _domains(relay: MemoryTransport) -> Counter[str]:
    return Counter(one.envelope.recipients[0].address.partition("@")[2] for one in relay.received if one.taken)


async def _runs(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.sum(Batch.run))) or 0


async def test_a_paced_domain_does_not_keep_back_the_others(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """With 6 letters a minute to one domain, letters to others of the same batch leave at once, and the domain's every 10 seconds."""
    settings = chosen(pace={"domains": {"slow.example": {"per_minute": 6}}})
    app, circular = await office(
        database, clock, tmp_path, [*_to("slow.example", 20), *_to("org.example", 60)], settings
    )
    relay = MemoryTransport()
    async with process(app, {"main": relay}) as made:
        await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
        assert _domains(relay) == {"slow.example": 1, "org.example": 60}
        assert await _runs(database) <= 4
        per_minute = []
        for _ in range(4):
            before = _domains(relay)["slow.example"]
            for _ in range(6):
                clock.advance(10 * SECOND + SECOND / 1000)
                await made.work(until=lambda due: due is None or due > clock.now())
            per_minute.append(_domains(relay)["slow.example"] - before)
    assert per_minute == [6, 6, 6, 1]
    assert await _runs(database) <= 30
    assert max(reached(relay).values()) == 1


async def test_letters_to_two_domains_wait_for_the_slower_and_waste_nothing(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter to a slow and to a quick domain takes tokens of both or of neither: what it does not use, letters behind it do."""
    pace = {"domains": {"slow.example": {"per_minute": 6}, "quick.example": {"per_minute": 60}}}
    both = [[f"a{number}@slow.example", f"a{number}@quick.example"] for number in range(3)]
    app, circular = await office(sqlite_database, clock, tmp_path, [*both, *_to("quick.example", 9)], chosen(pace=pace))
    relay = MemoryTransport()
    left = []
    async with process(app, {"main": relay}) as made:
        await made.delivery.start(circular, by="anna")
        for _ in range(3):
            await made.work(until=lambda due: due is None or due > clock.now())
            left.append((reached(relay).total(), len(relay.received)))
            clock.advance(10 * SECOND + SECOND / 1000)
    assert left == [(7, 6), (13, 11), (15, 12)]


async def test_any_domain_may_have_a_limit(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A limit for all domains holds for each of them apart; one that has its own goes by that."""
    settings = chosen(pace={"per_minute": 10, "domains": {"fast.example": {"per_minute": 600}}})
    mailboxes = [*_to("a.example", 4), *_to("b.example", 4), *_to("fast.example", 20)]
    app, circular = await office(database, clock, tmp_path, mailboxes, settings)
    relay = MemoryTransport()
    await send(app, circular, {"main": relay})
    assert _domains(relay) == {"a.example": 1, "b.example": 1, "fast.example": 20}


async def test_a_domain_gets_no_more_at_once_than_it_may(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """With two connections for a domain, never more than two of its letters are on the way, and all leave."""
    settings = chosen(pace={"domains": {"slow.example": {"connections": 2}}})
    app, circular = await office(
        database, clock, tmp_path, [*_to("slow.example", 12), *_to("org.example", 12)], settings
    )
    flying, most = Counter[str](), Counter[str]()

    async def script(phase: Phase, envelope: Envelope, _to: Rcpt | None) -> None:
        domain = envelope.recipients[0].address.partition("@")[2]
        if phase is Phase.MAIL:
            flying[domain] += 1
            most[domain] = max(most[domain], flying[domain])
            await asyncio.sleep(0.01)
        elif phase is Phase.FINAL:
            flying[domain] -= 1

    relay = MemoryTransport(script)
    await send(app, circular, {"main": relay})
    assert most["slow.example"] == 2
    assert most["org.example"] > 2
    assert _domains(relay) == {"slow.example": 12, "org.example": 12}


async def test_a_domain_that_asks_for_a_slower_pace_gets_it_and_recovers(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """4.7.x from one domain slows its letters and no others; the obstacle is told; as letters pass, the pace comes back."""
    app, circular = await office(
        database, clock, tmp_path, [*_to("wary.example", 30), *_to("org.example", 60)], chosen()
    )
    wary = True

    def script(phase: Phase, _envelope: Envelope, to: Rcpt | None) -> str | None:
        here = wary and phase is Phase.RCPT and to is not None and to.address.endswith("@wary.example")
        return "451 4.7.1 slow down" if here else None

    relay = MemoryTransport(script, lanes=2)
    async with process(app, {"main": relay}) as made:
        await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
        found = Counter((await states(database, circular)).values())
        assert _domains(relay) == {"org.example": 60}
        assert found["deferred"] < 10
        assert found["queued"] > 20
        async with database.read() as session:
            report = as_text(await build(session, circular, at=clock.now()))
        assert "letters wait for the pace of wary.example until 7 July 2006, 08:00" in " ".join(report.split())
        told = await obstacle(database, "domain:wary.example")
        assert told is not None
        assert "slow down" in told.why
        assert told.until is not None
        assert told.until > clock.now()
        wary = False
        clock.advance(7 * SECOND)
        await made.work(until=lambda due: due is None or due > clock.now())
        assert _domains(relay)["wary.example"] >= 1
        for _ in range(60):
            clock.advance(20 * SECOND)
            await made.work(until=lambda due: due is None or due > clock.now())
    assert _domains(relay) == {"org.example": 60, "wary.example": 30}
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert await obstacle(database, "domain:wary.example") is None


async def test_the_limit_of_a_day_outlives_a_restart(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """With 10 addresses a day, 24 leave in three days, however often the program is started anew."""
    settings = chosen(relays={"main": {"recipients_per_day": 10}})
    mailboxes = [[f"a{number}@org.example", f"b{number}@org.example"] for number in range(12)]
    app, circular = await office(database, clock, tmp_path, mailboxes, settings)
    relay = MemoryTransport()
    await send(app, circular, {"main": relay})
    days = []
    for _ in range(3):
        days.append(reached(relay).total())
        for _ in range(5):
            clock.advance(dt.timedelta(hours=5))
            await send(app, None, {"main": relay})
    assert days == [10, 20, 24]
    assert max(reached(relay).values()) == 1


async def test_a_day_that_is_over_turns_by_itself(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """One process that goes on, as `serve` does: what the limit of 24 hours keeps back leaves once they are over, with no hand's turn."""
    settings = chosen(relays={"main": {"recipients_per_day": 10}})
    app, circular = await office(database, clock, tmp_path, addresses(24), settings)
    relay, left = MemoryTransport(), []
    async with process(app, {"main": relay}) as made:
        await made.delivery.start(circular, by="anna")
        for _ in range(3):
            await made.work(until=lambda due: due is None or due > clock.now())
            standing = await made.delivery.progress(circular)
            left.append((reached(relay).total(), standing.held_why, standing.next_at))
            clock.move_to(standing.next_at or clock.now())
    hour = dt.datetime(2006, 7, 8, 9, 0, tzinfo=dt.UTC)  # that of the first ten, 8:00 to 9:00, ends 24 hours later
    assert left == [(10, None, hour), (20, None, hour + dt.timedelta(hours=25)), (24, None, None)]


async def test_a_command_that_waits_goes_on_when_the_day_turns(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """`circular send`, begun in the last half minute before the limit is free again, waits for it and sends the rest."""
    settings = chosen(relays={"main": {"recipients_per_day": 10}})
    app, circular = await office(sqlite_database, clock, tmp_path, addresses(14), settings)
    relay = MemoryTransport()
    await send(app, circular, {"main": relay})
    clock.move_to(dt.datetime(2006, 7, 8, 8, 59, 30, tzinfo=dt.UTC))
    async with process(app, {"main": relay}) as made:
        working = asyncio.create_task(made.work(until=lambda due: running.patient(app, due)))
        while not working.done():
            await asyncio.sleep(0.01)
            if clock.next_wake is not None:
                clock.move_to(clock.next_wake)
    assert reached(relay) == {one: 1 for (one,) in addresses(14)}


async def test_a_provider_whose_day_is_over_is_tried_again_by_and_by(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """It says so after 4 addresses: hour by hour one letter asks again, and all leave once it takes more, with no hand's turn."""
    app, circular = await office(sqlite_database, clock, tmp_path, addresses(9), chosen())
    begun, hours = clock.now(), dt.timedelta(hours=1)

    def script(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> str | None:
        allowed = 4 if clock.now() < begun + 5 * hours else 8 if clock.now() < begun + 9 * hours else 12
        full = phase is Phase.FINAL and len([one for one in relay.received if one.taken]) >= allowed
        return "550 5.4.5 Daily user sending limit exceeded" if full else None

    relay, left = MemoryTransport(script, lanes=2), []
    async with process(app, {"main": relay}) as made:
        await made.delivery.start(circular, by="anna")
        for hour in range(10):
            await made.work(until=lambda due: due is None or due > clock.now())
            left.append(reached(relay).total())
            standing = await made.delivery.progress(circular)
            if not hour:
                assert (standing.held_why, standing.next_at) == (None, begun + hours)
                assert "as many letters as our mail server allows in a day" in (made.trouble() or "")
            clock.advance(hours)
    assert left == [4] * 5 + [8] * 4 + [9]
    assert set((await states(sqlite_database, circular)).values()) == {"accepted"}
    # one an hour, and those on the way when the day was over
    assert sum(not one.taken for one in relay.received) <= 7 + 2 * AT_ONCE * relay.lanes


async def test_letters_that_did_not_leave_cost_nothing_of_the_day(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A relay that is down while letters are tried has its whole day's limit when it is back."""
    settings = chosen(relays={"main": {"recipients_per_day": 10}})
    app, circular = await office(database, clock, tmp_path, addresses(10), settings)
    relay = MemoryTransport(lambda phase, _e, _to: ConnectionRefusedError() if phase is Phase.CONNECT else None)
    await send(app, circular, {"main": relay})
    for _ in range(3):
        clock.advance(dt.timedelta(minutes=6))
        await send(app, None, {"main": relay})
    relay.script = lambda _phase, _envelope, _to: None
    clock.advance(dt.timedelta(minutes=6))
    await send(app, None, {"main": relay})
    assert reached(relay).total() == 10


async def test_a_small_circular_shares_the_pace_of_a_large_one(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """At 60 letters a minute five letters, started while a circular of hundreds is under way, leave with every second token."""
    settings = chosen(relays={"main": {"per_minute": 60}})
    app, small = await office(database, clock, tmp_path, addresses(5), settings)
    large = await another(app, tmp_path, [one for (one,) in _to("many.example", 300)], "large")
    async with database.read() as session:
        tokens = set(await session.scalars(select(Letter.token).where(Letter.circular_id == small)))
    relay = MemoryTransport()
    async with process(app, {"main": relay}) as made:
        await made.delivery.start(large, by="anna")
        for _ in range(20):
            await made.work(until=lambda due: due is None or due > clock.now())
            clock.advance(SECOND)
        begun = len(relay.received)
        await made.delivery.start(small, by="anna")
        for _ in range(20):
            await made.work(until=lambda due: due is None or due > clock.now())
            clock.advance(SECOND)
    assert 20 <= begun <= 27
    order = [one.envelope.envid in tokens for one in relay.received][begun:]
    assert sum(order[:14]) == 5
    assert 18 <= len(order) <= 22


async def test_a_small_circular_shares_the_connections_of_a_large_one(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Without a pace, on two connections and with one place for batches: five letters do not wait for the hundreds before them."""
    app, small = await office(database, clock, tmp_path, addresses(5), chosen(slots=1, slice=200))
    large = await another(app, tmp_path, [one for (one,) in _to("many.example", 400)], "large")
    async with database.read() as session:
        tokens = set(await session.scalars(select(Letter.token).where(Letter.circular_id == small)))
    begun = asyncio.Event()

    async def script(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
        if phase is Phase.MAIL:
            await asyncio.sleep(0.002)
            if len(relay.received) >= 20:
                begun.set()

    relay = MemoryTransport(script, lanes=2)
    async with process(app, {"main": relay}) as made:
        await made.delivery.start(large, by="anna")
        working = asyncio.create_task(made.work(until=lambda due: due is None))
        await begun.wait()
        await made.delivery.start(small, by="anna")
        at = len(relay.received)
        await working
    order = [one.envelope.envid in tokens for one in relay.received]
    assert len(order) == 410
    last = max(place for place, ours in enumerate(order) if ours)
    assert last - at < 300, "the small circular waited for the large one"


async def test_letters_are_spread_until_a_time(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Told to be ready in an hour, a hundred letters leave evenly over it, also where the program is started anew, and none after it."""
    app, circular = await office(database, clock, tmp_path, addresses(100), chosen())
    relay = MemoryTransport()
    start = clock.now()
    async with process(app, {"main": relay}) as made:
        async with database.write() as session:  # as `schedule --finish-by` leaves it
            (await session.get_one(Circular, circular)).finish_by = start + dt.timedelta(hours=1)
        await made.delivery.start(circular, by="ticker")
        await made.work(until=lambda due: due is None or due > clock.now())
        assert len(relay.received) == 1
    left = []
    for _ in range(4):
        async with process(app, {"main": relay}) as made:
            for _ in range(30):
                clock.advance(30 * SECOND)
                await made.work(until=lambda due: due is None or due > clock.now())
        left.append(len(relay.received))
    assert 15 <= left[0] <= 35
    assert 40 <= left[1] <= 65
    assert 65 <= left[2] <= 90
    assert left[3] == 100
    assert max(reached(relay).values()) == 1


async def test_a_turn_that_fails_before_it_claims_frees_the_places_of_its_domains(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database fails while a day's recipients are counted, the one letter that a domain may have at once is not lost for ever."""
    monkeypatch.setattr(embedded, "_PENANCE", 0.0)
    take, failures = Days.take, [DatabaseError("the disk is full", where="here")]

    async def failing(self: Days, relay: str, limit: int, wanted: int) -> int:
        if failures:
            raise failures.pop()
        return await take(self, relay, limit, wanted)

    monkeypatch.setattr(Days, "take", failing)
    settings = chosen(
        relays={"main": {"recipients_per_day": 100}}, pace={"domains": {"org.example": {"connections": 1}}}
    )
    app, circular = await office(database, clock, tmp_path, addresses(3), settings)
    relay = MemoryTransport()
    async with process(app, {"main": relay}) as made:
        await made.delivery.start(circular, by="anna")
        for _ in range(8):
            await made.work(until=lambda due: due is None or due > clock.now())
            clock.advance(2 * SECOND)
    assert not failures
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert max(reached(relay).values()) == 1

"""What keeps letters of several processes waiting: whose rows they are, who goes by them, and who takes them away."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, update

from mailer.app import App
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery import obstacles
from mailer.delivery.batches import call_for
from mailer.delivery.journal import SUFFIX, Journal
from mailer.delivery.models import Batch, Obstacle
from mailer.dispatch import Sending
from mailer.errors import DatabaseError
from mailer.migrations import runner
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import addresses, office
from tests.support.postgres import Server
from tests.support.relays import another, chosen, process
from tests.support.runs import REFUSED_SENDER, at_phase, circular_row, well

MAIN = "relay:main"
TWO = chosen(["main", "second"], relays={"main": {}, "second": {}})


@pytest.fixture
async def shared(postgres: Server) -> AsyncIterator[Database]:
    """Rows from which any number of processes may send."""
    name = await postgres.upgraded()
    opened = Database(postgres.url(name))
    await runner.upgrade(opened)
    yield opened
    await opened.close()
    postgres.drop(name)


async def _rows(database: Database, key: str = MAIN) -> list[Obstacle]:
    async with database.read() as session:
        return list(await session.scalars(select(Obstacle).where(Obstacle.key == key).order_by(Obstacle.owner)))


async def _put(database: Database, clock: ManualClock, owner: str, minutes: float | None, key: str = MAIN) -> None:
    """A row of a process that has just shown a sign of life; *minutes*: until it tries again, None: it waits for a person."""
    now = clock.now()
    until = None if minutes is None else now + dt.timedelta(minutes=minutes)
    async with database.write() as session:
        session.add(Obstacle(key=key, owner=owner, why=f"said to {owner}", until=until, since=now, beat=now))


async def _work(made: Sending) -> None:
    await made.work(until=lambda due: due is None or due > made.app.clock.now())


@contextmanager
def _living(app: App) -> Iterator[str]:
    """A process of this machine that lives; its name."""
    journal = Journal(app.home / app.settings.delivery.journal, "1")
    try:
        yield journal.name
    finally:
        journal.close(remove=True)


async def test_people_read_one_line_for_what_several_processes_met(database: Database, clock: ManualClock) -> None:
    """Of one relay the line that waits for a person is told, else the longest wait; so for a domain."""
    for owner, minutes in (("a", 5), ("b", None), ("c", 60)):
        await _put(database, clock, owner, minutes)
    for owner, minutes in (("a", 1), ("b", 7), ("c", 3)):
        await _put(database, clock, owner, minutes, "domain:wary.example")
    async with database.read() as session:
        told = await obstacles.listing(session)
    assert [(one.relay, one.domain, one.why) for one in told] == [
        ("main", None, "said to b"),
        (None, "wary.example", "said to b"),
    ]


async def test_a_person_lifts_what_every_process_holds(database: Database, clock: ManualClock) -> None:
    """All rows of relays that wait for a person go, whoever's they are; back-offs and domains stay."""
    for owner, minutes in (("a", None), ("b", None), ("c", 60)):
        await _put(database, clock, owner, minutes)
    await _put(database, clock, "a", 3, "domain:wary.example")
    async with database.write() as session:
        await obstacles.lift(session)
    assert [row.owner for row in await _rows(database)] == ["c"]
    assert len(await _rows(database, "domain:wary.example")) == 1


async def test_rows_of_the_dead_go_and_those_of_the_living_stay(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A start clears what dead and ended processes left; a living one's row stays, and so does, on PostgreSQL, one that beats elsewhere."""
    app, _circular = await office(database, clock, tmp_path, addresses(1))
    await _put(database, clock, "1-dead", None)
    dead = tmp_path / app.settings.delivery.journal / f"1-dead{SUFFIX}"
    dead.parent.mkdir()
    dead.touch()  # its journal, whose lock is free
    await _put(database, clock, "1-ended", None)
    async with database.write() as session:
        await session.execute(update(Obstacle).where(Obstacle.owner == "1-ended").values(beat=None))
    await _put(database, clock, "1-elsewhere", 5)
    with _living(app) as living:
        await _put(database, clock, living, None)
        async with process(app, {"main": MemoryTransport()}):
            pass
        elsewhere = [] if database.sqlite else ["1-elsewhere"]
        assert sorted(row.owner for row in await _rows(database)) == sorted([living, *elsewhere])
        clock.advance(dt.timedelta(minutes=10))
        async with process(app, {"main": MemoryTransport()}):
            pass
        assert [row.owner for row in await _rows(database)] == [living]


async def test_a_process_that_works_again_keeps_its_rows(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A relay held for a person is not tried again because the same process goes on working at something."""
    app, circular = await office(database, clock, tmp_path, addresses(3), TWO)
    asked = 0

    def refused() -> str:
        nonlocal asked
        asked += 1
        return REFUSED_SENDER

    relays = {"main": MemoryTransport(at_phase(Phase.MAIL, refused), lanes=1), "second": MemoryTransport(lanes=1)}
    async with process(app, relays) as made:
        await made.delivery.start(circular, by="anna")
        await _work(made)
        before = asked
        other = await another(app, tmp_path, ["more@org.example"], "second")
        await made.delivery.start(other, by="anna")
        await _work(made)
        assert asked == before
        assert [row.until for row in await _rows(database)] == [None]
    assert len(relays["second"].received) == 7


async def test_a_circular_that_was_held_and_then_paused_goes_on_by_one_word(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """`resume` of a paused circular says too that its relay is mended: its letters leave at once."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    relay = MemoryTransport(at_phase(Phase.MAIL, lambda: REFUSED_SENDER))
    async with process(app, {"main": relay}) as made:
        await made.delivery.start(circular, by="anna")
        await _work(made)
        await app.delivery.pause(circular, by="anna")
        relay.script = well
        await app.delivery.resume(circular, by="anna")
        assert await _rows(database) == []
        await made.work(until=lambda due: due is None)
    assert len(relay.received) == 3


async def test_a_batch_is_free_at_once_when_the_rows_can_not_be_read(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A moment's trouble at the look at what others hold: whoever comes next may take the batch, and need not wait out a lease."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    relay = MemoryTransport()
    async with process(app, {"main": relay}) as made:

        async def fail(_lines: object) -> None:
            raise DatabaseError("the server has closed the connection", where="here")

        made._sender.obstacles.look = fail
        await made.delivery.start(circular, by="anna")
        with pytest.raises(DatabaseError):
            await made._sender(call_for(circular, 1))
        async with database.read() as session:
            batch = await session.get_one(Batch, (circular, 1))
        assert (batch.owner, batch.beat) == (None, None)
    async with process(app, {"main": relay}) as made:
        await _work(made)
    assert len(relay.received) == 2


# --- several processes --------------------------------------------------------------------------------------------


async def test_a_relay_that_one_process_holds_is_not_tried_by_another(
    shared: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """The second process sees the hold before its first letter; once a person lifts it in either's circular, both try again."""
    app, circular = await office(shared, clock, tmp_path, addresses(3))
    other = await another(app, tmp_path, ["more@org.example"], "second")
    first, second = MemoryTransport(at_phase(Phase.MAIL, lambda: REFUSED_SENDER)), MemoryTransport()
    async with process(app, {"main": first}) as one, process(app, {"main": second}) as two:
        await one.delivery.start(circular, by="anna")
        await _work(one)
        await two.delivery.start(other, by="anna")
        await _work(two)
        assert not second.received
        held = (await circular_row(shared, other)).held_why
        assert held is not None
        assert "send as this sender" in held
        assert len(await _rows(shared)) == 1  # it is the first one's alone
        first.script = well
        await app.delivery.resume(other, by="anna")
        await _work(two)
        assert len(second.received) == 4
        await app.delivery.resume(circular, by="anna")
        await _work(one)
    assert len(first.received) + len(second.received) == 7
    assert await _rows(shared) == []


async def test_a_process_goes_on_once_the_one_that_held_its_relay_has_ended(
    shared: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """While a substitute stands in, the held relay is tried again when nobody who lives says that it waits for a person."""
    app, circular = await office(shared, clock, tmp_path, addresses(2), TWO)
    mine, theirs = MemoryTransport(), MemoryTransport(at_phase(Phase.MAIL, lambda: REFUSED_SENDER))
    relays = {"main": mine, "second": MemoryTransport()}
    async with process(app, relays) as one:
        async with process(app, {"main": theirs, "second": MemoryTransport()}) as two:
            await two.delivery.start(circular, by="anna")
            await _work(two)
            other = await another(app, tmp_path, ["more@org.example"], "second")
            await one.delivery.start(other, by="anna")
            await _work(one)
            assert not mine.received
            assert len(relays["second"].received) == 3
        assert [row.beat for row in await _rows(shared)] == [None]  # it is still told
        third = await another(app, tmp_path, ["third@org.example"], "third")
        await one.delivery.start(third, by="anna")
        await _work(one)
        assert len(mine.received) == 4


async def test_two_processes_that_held_a_relay_both_learn_that_it_is_mended(
    shared: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Each met the refusal itself and has its row; one word of a person takes both away, and neither brings it back."""
    app, circular = await office(shared, clock, tmp_path, addresses(2), chosen(slots=1))
    other = await another(app, tmp_path, ["more@org.example"], "second")
    asking, both = set[int](), asyncio.Event()

    async def refused(place: int) -> str:
        asking.add(place)
        if len(asking) == 2:
            both.set()
        await both.wait()
        return REFUSED_SENDER

    relays = [MemoryTransport(at_phase(Phase.MAIL, lambda place=place: refused(place))) for place in (0, 1)]
    async with process(app, {"main": relays[0]}) as one, process(app, {"main": relays[1]}) as two:
        await one.delivery.start(circular, by="anna")
        await two.delivery.start(other, by="anna")
        async with asyncio.timeout(30):
            await asyncio.gather(_work(one), _work(two))
        assert len(await _rows(shared)) == 2
        for relay in relays:
            relay.script = well
        await app.delivery.resume(circular, by="anna")
        assert await _rows(shared) == []
        third = await another(app, tmp_path, ["third@org.example"], "third")
        await two.delivery.start(third, by="anna")
        await _work(two)
        await _work(one)
        assert (await circular_row(shared, other)).held_why  # it has not been spoken of
        assert [len(relay.received) for relay in relays] == [0, 2 + 4]
    assert await _rows(shared) == []

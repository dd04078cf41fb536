"""Taking in what a dead process left: from its journal's locked file, in little memory, and while servers still commit for the dead."""

import datetime as dt
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer import facts
from mailer.app import App
from mailer.circulars.models import Recipient
from mailer.circulars.states import RecipientState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.batches import Fenced
from mailer.delivery.due import NOTHING, Wanted
from mailer.delivery.journal import Journal, boot_id
from mailer.delivery.models import Attempt, Batch
from mailer.delivery.recover import Recovered, Recovery
from mailer.delivery.relics import alive
from mailer.dispatch import sending
from mailer.errors import DatabaseError
from mailer.transport.base import Fate, Reply, Result
from mailer.transport.memory import MemoryTransport
from tests.support.approved import Visit, addresses, again, office, running, send, states
from tests.support.flights import attempt
from tests.support.runs import begin, faults, told_of
from tests.support.stress_parts import Faulty


class _Late:
    """Rows in which something is committed a moment after they were first read."""

    def __init__(self, database: Database, late: Callable[[], Awaitable[object]]) -> None:
        self._database, self._late = database, [late]

    def write(self, *, alongside: bool = False) -> AbstractAsyncContextManager[AsyncSession]:
        return self._database.write(alongside=alongside)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with self._database.read() as session:
            yield session
        while self._late:
            await self._late.pop()()


async def _recovery(app: App, sessions: Database | _Late) -> Recovery:
    async with app.database.read() as session:
        epoch = await facts.epoch(session)
    return Recovery(
        sessions=sessions,
        clock=app.clock,
        settings=app.settings.delivery,
        folder=app.home / app.settings.delivery.journal,
        epoch=epoch,
        boot=boot_id(),
    )


async def test_a_claim_that_is_committed_after_its_client_died_is_put_back(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A server commits a dead process's claim after the journal was asked: it is asked again, and puts back what never left."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    await app.delivery.start(circular, by="anna")
    dead = Journal(tmp_path / "journal", "1")
    dead.close(remove=False)
    recovery = await _recovery(app, _Late(database, lambda: begin(app, circular, dead.name)))
    assert await recovery.run() == Recovered(put_back=3)
    assert set((await states(database, circular)).values()) == {"queued"}
    assert list((tmp_path / "journal").iterdir()) == []


async def test_a_long_journal_is_taken_in_with_little_memory(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Of seven megabytes about letters that were recorded, what is needed for three open ones is found, in a fraction of that memory."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    await app.delivery.start(circular, by="anna")
    dead = Journal(tmp_path / "journal", "1")
    _, _, (answered, cut, _) = await begin(app, circular, dead.name)
    said = Result(answered.targets[0].id, Fate.ACCEPTED, reply=Reply(250, "2.0.0", "2.0.0 Ok"))
    for number in range(20_000):
        dead.begun(attempt(number), clock.now(), [], "0" * 64)
        dead.answered(attempt(number), clock.now(), [said])
        if number == 10_000:
            dead.begun(answered.attempt, clock.now(), [], "1" * 64)
            dead.begun(cut.attempt, clock.now(), [], "2" * 64)
            dead.answered(answered.attempt, clock.now(), [said])
    assert dead.size > 5_000_000
    dead.close(remove=False)
    recovery = await _recovery(app, database)
    tracemalloc.start()
    try:
        found = await recovery.run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == Recovered(put_back=1, settled=1, uncertain=1)
    assert await states(database, circular) == {
        "office001@org.example": "accepted",
        "office002@org.example": "uncertain",
        "office003@org.example": "queued",
    }
    assert peak < 2_000_000


async def test_a_doubt_that_another_had_noted_first_is_no_proof_that_nothing_left(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A process that was taken for dead tells of a doubt that is noted already; its journal, which then drops it, must not put it back."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    await app.delivery.start(circular, by="anna")
    batches, run, claims = await begin(app, circular, "1-asleep")
    assert await (await _recovery(app, database)).run() == Recovered(uncertain=2)
    assert await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now()) is None, (
        "nothing is open"
    )
    async with database.write() as session:
        await session.execute(update(Batch).values(run=run.number + 1))
    doubts = [told_of(claim, RecipientState.UNCERTAIN, clock.now()) for claim in claims]
    with pytest.raises(Fenced):
        await batches.turn(run, doubts, NOTHING, now=clock.now())
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "1-asleep.flight").write_bytes(b"")
    await (await _recovery(app, database)).run()
    assert set((await states(database, circular)).values()) == {"uncertain"}
    assert not [fault for fault in await faults(database) if "ended at another time" in fault]


async def test_a_run_that_was_taken_for_dead_is_fenced_though_nobody_took_its_batch(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Its letters were called doubtful and its batch done; what it then says has not left is not forgotten in a batch that is done."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    await app.delivery.start(circular, by="anna")
    batches, run, claims = await begin(app, circular, "1-asleep")
    assert await (await _recovery(app, database)).run() == Recovered(uncertain=2)
    told = [told_of(claim, RecipientState.QUEUED, clock.now(), left=False) for claim in claims]
    with pytest.raises(Fenced):
        await batches.turn(run, told, Wanted(50, "main"), now=clock.now())
    assert set((await states(database, circular)).values()) == {"queued"}
    await again(app, transport := MemoryTransport())
    assert len(transport.received) == 2
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert await faults(database) == []


async def test_a_start_that_fails_leaves_no_journal(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Whichever look at the rows fails as sending is put together: no journal is left, and none is held as if its process lived."""
    app, circular = await office(sqlite_database, clock, tmp_path, addresses(2))
    failed = 0
    database = Faulty(f"sqlite:///{sqlite_database.file}")
    app.database = database
    for look in range(50):
        database.reads.extend([*[False] * look, True])
        try:
            async with sending(app, what="test", make_transport=lambda _relay: MemoryTransport()):
                break
        except DatabaseError:
            failed += 1
            assert list((tmp_path / "journal").glob("*")) == []
    database.calm()
    assert failed >= 3
    await send(app, circular, transport := MemoryTransport())
    assert len(transport.received) == 2
    await database.close()


class _Rude(Visit):
    """Connections that can't be closed in good order."""

    async def close(self) -> None:
        raise RuntimeError("cut short")


async def test_an_end_that_is_cut_short_holds_no_journal(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Where saying goodbye to a relay fails, the journal's lock falls all the same: whoever looks next sees that its sender has ended."""
    app, circular = await office(sqlite_database, clock, tmp_path, addresses(2))
    with pytest.raises(RuntimeError, match="cut short"):
        async with sending(app, what="test", make_transport=lambda _relay: _Rude(MemoryTransport())) as made:
            await made.delivery.start(circular, by="anna")
            await made.work(until=lambda due: due is None)
    (left,) = (tmp_path / "journal").iterdir()
    assert not alive(left.parent, left.stem)
    async with sending(app, what="test"):
        assert not left.exists()


async def test_a_run_that_lost_its_batch_says_which_of_its_claims_never_left(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Its claims were committed unheard, a newer run called them doubtful: at its end it puts them back, but what it knows to have left."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    await app.delivery.start(circular, by="anna")
    batches, run, claims = await begin(app, circular)
    clock.advance(dt.timedelta(seconds=2 * app.settings.delivery.lease))
    newer = await batches.take(circular, 1, owner="1-newer", boot=boot_id(), now=clock.now())
    assert newer is not None
    assert list((await states(database, circular)).values()) == ["uncertain"] * 3
    async with database.read() as session:
        assert all(one.ended_at is not None for one in await session.scalars(select(Attempt)))
    lost = told_of(claims[0], RecipientState.UNCERTAIN, clock.now())
    await batches.leave(run, [lost], now=clock.now())
    assert list((await states(database, circular)).values()) == ["uncertain", "queued", "queued"]
    async with database.read() as session:
        assert list(await session.scalars(select(Recipient.tries).order_by(Recipient.id))) == [1, 0, 0]
        assert (await session.get_one(Batch, (circular, 1))).owner == "1-newer"
    again = await batches.turn(newer, [], Wanted(50, "main"), now=clock.now())
    assert [one.letter for one in again] == [one.letter for one in claims[1:]]
    assert await faults(database) == []


async def test_what_a_run_could_not_say_at_its_end_is_said_though_a_newer_run_has_its_batch(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Its end was refused by the rows and is kept; meanwhile its batch was taken: what it never heard that it had claimed goes back."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    await app.delivery.start(circular, by="anna")
    async with running(app, MemoryTransport()) as made:
        sender = made._sender
        batches, run, claims = await begin(app, circular, sender.journal.name)
        clock.advance(dt.timedelta(seconds=2 * app.settings.delivery.lease))
        await batches.take(circular, 1, owner="1-newer", boot=boot_id(), now=clock.now())
        assert list((await states(database, circular)).values()) == ["uncertain"] * 2
        sender.keep(run, [told_of(claims[0], RecipientState.UNCERTAIN, clock.now())])
        await sender._tell_kept()
        assert list((await states(database, circular)).values()) == ["uncertain", "queued"]
    assert await faults(database) == []

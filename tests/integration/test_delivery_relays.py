"""Several relays: by sender, by domain, standing in for each other, and never at the price of a second copy."""

import datetime as dt
from pathlib import Path

from sqlalchemy import func, select

from mailer.circulars.models import Circular
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.models import Attempt
from mailer.register.models import Link
from mailer.reports.delivery import build
from mailer.reports.table import as_text
from mailer.settings import Route
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Gone, Phase
from tests.support.approved import MINUTES, addresses, office, states
from tests.support.relays import chosen, obstacle, process, reached, send

TWO = chosen(["main", "second"], relays={"main": {}, "second": {}})


def _down(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> Exception | None:
    return ConnectionRefusedError() if phase is Phase.CONNECT else None


def _sender_refused(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> str | None:
    return "550 5.7.60 not as this sender" if phase is Phase.MAIL else None


async def _by_relay(database: Database) -> dict[str, int]:
    async with database.read() as session:
        rows = await session.execute(
            select(Attempt.relay, func.count()).where(Attempt.sha256.is_not(None)).group_by(Attempt.relay)
        )
        return dict(rows.all())


async def test_the_second_relay_takes_over_while_the_first_is_closed(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Nobody answers at the first relay: all letters leave by the second, each once, and the attempts say so."""
    app, circular = await office(database, clock, tmp_path, addresses(40), TWO)
    relays = {"main": MemoryTransport(_down), "second": MemoryTransport()}
    await send(app, circular, relays)
    assert reached(*relays.values()) == {one: 1 for (one,) in addresses(40)}
    assert len(relays["second"].received) == 40
    assert await _by_relay(database) == {"second": 40}


async def test_letters_go_back_to_the_first_relay_once_it_is_open(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """What is due after the first relay's back-off goes by the first relay again."""
    app, circular = await office(database, clock, tmp_path, addresses(3), TWO)
    later = {"office003@org.example"}
    relays = {"main": MemoryTransport(_down), "second": MemoryTransport()}
    relays["second"].script = lambda phase, _e, to: (
        "451 4.3.0 later" if phase is Phase.RCPT and to and to.address in later else None
    )
    await send(app, circular, relays)
    assert (await states(database, circular))["office003@org.example"] == "deferred"
    later.clear()
    relays["main"].script = lambda _phase, _envelope, _to: None
    clock.advance(20 * MINUTES)
    await send(app, None, relays)
    assert len(relays["second"].received) == 3  # put off there, so it stays there: a greylist knows us by address
    assert reached(*relays.values()) == {one: 1 for (one,) in addresses(3)}


async def test_a_held_relay_with_a_substitute_is_told_once(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """The first relay refuses our sender: letters go on by the second, the account says so once, and nothing is held."""
    app, circular = await office(database, clock, tmp_path, addresses(60), TWO)
    relays = {"main": MemoryTransport(_sender_refused), "second": MemoryTransport()}
    await send(app, circular, relays)
    assert reached(*relays.values()) == {one: 1 for (one,) in addresses(60)}
    async with database.read() as session:
        told = list(await session.scalars(select(Link).where(Link.action == "relay-held")))
        row = await session.get_one(Circular, circular)
    assert len(told) == 1
    assert told[0].subject["relay"] == "main"
    assert row.held_why is None
    found = await obstacle(database, "relay:main")
    assert found is not None
    assert "5.7.60" in found.why
    assert found.until is None


async def test_where_all_relays_wait_for_a_person_the_circular_does(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Both relays refuse our sender: the circular is held; sent again by a person, its letters leave."""
    app, circular = await office(database, clock, tmp_path, addresses(5), TWO)
    relays = {"main": MemoryTransport(_sender_refused), "second": MemoryTransport(_sender_refused)}
    await send(app, circular, relays)
    clock.advance(dt.timedelta(days=1))
    await send(app, None, relays)
    async with database.read() as session:
        held = (await session.get_one(Circular, circular)).held_why
    assert held is not None
    assert set((await states(database, circular)).values()) == {"queued"}
    for relay in relays.values():
        relay.script = lambda _phase, _envelope, _to: None
    await send(app, circular, relays)
    assert reached(*relays.values()) == {one: 1 for (one,) in addresses(5)}


async def test_a_person_lifts_a_held_relay_of_a_running_process(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """While a process sends by the substitute, `circular send` says that the held relay is mended, and it is used again."""
    app, circular = await office(database, clock, tmp_path, addresses(4), TWO)
    relays = {"main": MemoryTransport(_sender_refused), "second": MemoryTransport()}
    relays["second"].script = lambda phase, envelope, _to: (
        "451 4.3.0 later" if phase is Phase.FINAL and envelope.recipients[0].address.startswith("office001") else None
    )
    async with process(app, relays) as made:
        await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
        relays["main"].script = relays["second"].script = lambda _phase, _envelope, _to: None
        await app.delivery.start(circular, by="anna")  # another process
        clock.advance(20 * MINUTES)
        await made.work(until=lambda due: due is None or due > clock.now())
        assert not made._lines["main"].pace.held
    assert await obstacle(database, "relay:main") is None


async def test_what_is_in_doubt_goes_to_no_other_relay(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A circular that sends doubtful letters again sends them to the same relay only, however long that one is closed."""
    app, circular = await office(database, clock, tmp_path, addresses(3), TWO, on_uncertain="resend")
    relays = {
        "main": MemoryTransport(lambda phase, _e, _to: Gone() if phase is Phase.FINAL else None),
        "second": MemoryTransport(),
    }
    await send(app, circular, relays)
    assert len(relays["main"].received) == 3
    relays["main"].script = _down
    for _ in range(12):
        clock.advance(dt.timedelta(hours=2))
        await send(app, None, relays)
    assert not relays["second"].received
    assert len(relays["main"].received) == 3
    relays["main"].script = lambda _phase, _envelope, _to: None
    clock.advance(dt.timedelta(hours=5))
    await send(app, None, relays)
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert not relays["second"].received


async def test_what_a_relay_put_off_stays_with_it_until_it_is_closed_for_long(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A greylisted letter waits for the relay that put it off; once that one has been closed for an hour, another takes it."""
    app, circular = await office(database, clock, tmp_path, addresses(2), TWO)
    relays = {
        "main": MemoryTransport(lambda phase, _e, _to: "450 4.2.0 greylisted" if phase is Phase.RCPT else None),
        "second": MemoryTransport(),
    }
    async with process(app, relays) as made:
        await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
        relays["main"].script = _down
        for _ in range(2):
            clock.advance(16 * MINUTES)
            await made.work(until=lambda due: due is None or due > clock.now())
        assert not relays["second"].received
        for _ in range(20):
            clock.advance(5 * MINUTES)
            await made.work(until=lambda due: due is None or due > clock.now())
    assert reached(*relays.values()) == {one: 1 for (one,) in addresses(2)}
    assert len(relays["second"].received) == 2


async def test_a_route_takes_a_domain_by_another_relay(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Letters go by the route of their first address, by the sender's own relay where there is none."""
    settings = chosen(
        relays={"main": {}, "gateway": {}, "partners": {}},
        routes={
            "one": Route(domains=["un.example"], relay="gateway"),
            "below": Route(domains=["*.partners.example"], relay=["partners", "main"]),
        },
    )
    mailboxes = [
        ["a@un.example", "b@org.example"],
        ["c@org.example", "d@un.example"],
        ["e@eu.partners.example"],
        ["f@partners.example"],
    ]
    app, circular = await office(database, clock, tmp_path, mailboxes, settings)
    relays = {name: MemoryTransport() for name in ("main", "gateway", "partners")}
    await send(app, circular, relays)
    by_relay = {name: sorted(reached(relay)) for name, relay in relays.items()}
    assert by_relay == {
        "gateway": ["a@un.example", "b@org.example"],
        "main": ["c@org.example", "d@un.example", "f@partners.example"],
        "partners": ["e@eu.partners.example"],
    }


async def test_a_closed_route_does_not_keep_back_the_others(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A relay of one domain waits for a person: letters to others leave, and the circular is not held."""
    settings = chosen(
        relays={"main": {}, "gateway": {}}, routes={"one": Route(domains=["un.example"], relay="gateway")}
    )
    app, circular = await office(database, clock, tmp_path, [["a@un.example"], *addresses(20)], settings)
    relays = {"main": MemoryTransport(), "gateway": MemoryTransport(_sender_refused)}
    async with process(app, relays) as made:
        await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
        assert len(relays["main"].received) == 20
        assert (await states(database, circular))["a@un.example"] == "queued"
        async with database.read() as session:
            assert (await session.get_one(Circular, circular)).held_why is None
            report = " ".join(as_text(await build(session, circular, at=clock.now())).split())
        assert "nothing more leaves by our mail server gateway" in report
        assert "not as this sender" in report
        relays["gateway"].script = lambda _phase, _envelope, _to: None
        await app.delivery.start(circular, by="anna")
        clock.advance(6 * MINUTES)
        await made.work(until=lambda due: due is None or due > clock.now())
    assert reached(relays["gateway"]) == {"a@un.example": 1}

"""Addresses beyond ASCII where several relays stand in for each other, and not all of them take such addresses."""

import datetime as dt
from pathlib import Path

import pytest

from mailer.clock import ManualClock
from mailer.database import Database
from mailer.settings import Route
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Gone, Phase
from tests.support import office as real
from tests.support.approved import MINUTES, office, states
from tests.support.relays import chosen, process, reached, send
from tests.support.rig import relay_process, taken

MAILBOXES = (("registry@first.example", "zoë@first.example"), ("正@second.example",), ("plain@third.example",))
WIDE, PLAIN = {"zoë@first.example", "正@second.example"}, {"registry@first.example", "plain@third.example"}
TWO = chosen(["main", "second"], relays={"main": {}, "second": {}})
HOUR = dt.timedelta(hours=1)


def relays(*, main: bool, second: bool) -> dict[str, MemoryTransport]:
    """Two relays, that take addresses beyond ASCII or not."""
    made = {"main": MemoryTransport(), "second": MemoryTransport()}
    made["main"].utf8, made["second"].utf8 = main, second
    return made


def _down(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> Exception | None:
    return ConnectionRefusedError() if phase is Phase.CONNECT else None


def _well(_phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
    return None


async def test_another_relay_of_the_road_takes_what_the_first_can_not(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Such addresses have their letter by the relay that takes them, each once; their colleagues by the first, as always."""
    app, circular = await office(database, clock, tmp_path, MAILBOXES, TWO)
    both = relays(main=False, second=True)
    await send(app, circular, both)
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert reached(both["main"]) == dict.fromkeys(PLAIN, 1)
    assert reached(both["second"]) == dict.fromkeys(WIDE, 1)


async def test_where_no_relay_takes_them_they_are_refused(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Each relay is asked once at the most, and then the address is refused, with what to do."""
    app, circular = await office(database, clock, tmp_path, MAILBOXES, TWO)
    both = relays(main=False, second=False)
    await send(app, circular, both)
    found = await states(database, circular)
    assert {address for address, state in found.items() if state == "refused"} == WIDE
    assert reached(*both.values()) == dict.fromkeys(PLAIN, 1)


async def test_a_relay_of_another_route_is_none_of_theirs(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Only the relays of the address's own route may have its letter."""
    settings = chosen(
        relays={"main": {}, "second": {}}, routes={"one": Route(domains=["other.example"], relay="second")}
    )
    app, circular = await office(sqlite_database, clock, tmp_path, MAILBOXES, settings)
    both = relays(main=False, second=True)
    await send(app, circular, both)
    found = await states(sqlite_database, circular)
    assert {address for address, state in found.items() if state == "refused"} == WIDE
    assert not both["second"].received


async def test_they_wait_for_a_relay_that_is_closed_for_a_while(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Nobody answers at the relay that may take them: they wait, in this process and the next, and leave once it is back."""
    app, circular = await office(database, clock, tmp_path, MAILBOXES, TWO)
    both = relays(main=False, second=True)
    both["second"].script = _down
    await send(app, circular, both)
    for _ in range(3):
        clock.advance(HOUR)
        await send(app, None, both)
    found = await states(database, circular)
    assert {address for address, state in found.items() if state == "queued"} == WIDE
    assert {address for address, state in found.items() if state == "accepted"} == PLAIN
    both["second"].script = _well
    clock.advance(HOUR)
    await send(app, None, both)
    assert reached(both["second"]) == dict.fromkeys(WIDE, 1)


@pytest.mark.parametrize("anew", [True, False], ids=["processes", "one-process"])
async def test_they_do_not_wait_for_it_for_ever(
    database: Database, clock: ManualClock, tmp_path: Path, anew: bool
) -> None:
    """A relay that stays down, or that nobody mends, keeps them no longer than letters are tried: then they are refused."""
    app, circular = await office(database, clock, tmp_path, MAILBOXES, TWO)
    both = relays(main=False, second=True)
    both["second"].script = lambda phase, _e, _to: "550 5.7.60 not you" if phase is Phase.MAIL else None
    if anew:
        both["second"].script = _down
    rounds = [dt.timedelta(hours=5)] * 22

    def open_ones(found: dict[str, str]) -> set[str]:
        return {address for address, state in found.items() if state == "queued"}

    if anew:
        await send(app, circular, both)
        for step in rounds[:-3]:
            clock.advance(step)
            await send(app, None, both)
        assert open_ones(await states(database, circular)) == WIDE
        for step in rounds[-3:]:
            clock.advance(step)
            await send(app, None, both)
    else:
        async with process(app, both) as made:
            await made.delivery.start(circular, by="anna")
            for step in [dt.timedelta(0), *rounds]:
                clock.advance(step)
                await made.work(until=lambda due: due is None or due > clock.now())
    found = await states(database, circular)
    assert {address for address, state in found.items() if state == "refused"} == WIDE
    assert not both["second"].received


async def test_what_may_have_left_by_one_relay_goes_by_no_other(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A relay takes such a letter and breaks off, and then offers SMTPUTF8 no more: no second copy leaves by another."""
    app, circular = await office(database, clock, tmp_path, MAILBOXES[1:2], TWO, on_uncertain="resend")
    both = relays(main=True, second=True)
    both["main"].script = lambda phase, _e, _to: Gone() if phase is Phase.FINAL else None
    await send(app, circular, both)
    assert len(both["main"].received) == 1
    both["main"].script, both["main"].utf8 = _well, False
    for _ in range(30):
        clock.advance(dt.timedelta(hours=5))
        await send(app, None, both)
    assert not both["second"].received
    assert (await states(database, circular))["正@second.example"] == "refused"


async def test_a_letter_that_the_other_relay_put_off_stays_with_it(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """The one that takes such addresses greylists them: they come back to it, also from a new process."""
    app, circular = await office(database, clock, tmp_path, MAILBOXES, TWO)
    both = relays(main=False, second=True)
    both["second"].script = lambda phase, _e, _to: "450 4.2.0 greylisted" if phase is Phase.RCPT else None
    await send(app, circular, both)
    both["second"].script = _well
    clock.advance(45 * MINUTES)
    await send(app, None, both)
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert reached(both["second"]) == dict.fromkeys(WIDE, 1)


def test_over_smtp(tmp_path: Path) -> None:
    """Two real servers, of which the first offers no SMTPUTF8: `circular send` hands every letter over, and the report names the relay."""
    hide = '[[fault]]\nat = "ehlo"\nhide = ["SMTPUTF8"]\n'
    with relay_process(tmp_path, "one", hide) as one, relay_process(tmp_path, "two") as two:
        second = f'[relays.second]\nhost = "127.0.0.1"\nport = {two.port}\ntls = "none"\n'
        sender = (
            '[senders.secretariat]\nname = "Secretariat"\naddress = "circulars@secretariat.example"\n'
            'relay = ["main", "second"]\nbounces = "bounces@secretariat.example"\n'
        )
        home = real.make(tmp_path / "office", 3, addresses=MAILBOXES, settings=f"{second}\n{sender}")
        home.use(one)
        done = home.run("circular", "send", "TEST/2006/001", "--expect", "3")
        assert "4 handed to our mail server" in done.stdout
        assert taken(one) == dict.fromkeys(PLAIN, 1)
        assert taken(two) == dict.fromkeys(WIDE, 1)
        shown = home.run("letter", "show", "TEST/2006/001", "Organization 002").stdout
        assert "second" in shown
        home.run("register", "verify")

"""Connections of a relay: how many, how long, and what happens to waiting letters when they fail."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailer.clock import ManualClock
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from mailer.transport.pool import LONGEST, SmtpTransport
from tests.support.transport_kit import HASTY, Account, envelope, fates, payload, relay_to


@contextlib.asynccontextmanager
async def open_pool(
    home: Path,
    clock: ManualClock,
    rules: Sequence[dict[str, Any]] = (),
    options: Options | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[SmtpTransport, Server]]:
    """A server with its faults, and a transport to it."""
    async with Server(options or Options(record_all=True), Faults.from_rules(rules)) as server:
        transport = SmtpTransport("main", relay_to(server, **settings), home=home, clock=clock)
        yield transport, server
        await transport.close()


async def send(transport: SmtpTransport, number: int) -> list[list[str]]:
    """Send so many letters at once; their fates."""
    sends = [transport.send(envelope(f"m{n}@x.test", attempt=str(n)), payload(), Account()) for n in range(number)]
    return [fates(each) for each in await asyncio.gather(*sends)]


def opened(server: Server) -> int:
    """How many connections were made since the start."""
    return len([each for each in server.events if each["kind"] == "connection"])


def addresses(server: Server) -> list[str]:
    """The recipients of all letters that the server has, in order."""
    return [address for each in server.taken for address in each.accepted]


async def test_many_letters_share_few_connections(tmp_path, clock):
    """Two hundred letters go over five connections, each once."""
    async with open_pool(tmp_path, clock, connections=5, letters_per_connection=0) as (transport, server):
        assert transport.lanes == 5
        assert await send(transport, 200) == [["accepted recipient"]] * 200
        assert sorted(addresses(server)) == sorted(f"m{n}@x.test" for n in range(200))
        assert opened(server) == server.peak_connections == 5


async def test_letters_leave_in_their_order(tmp_path, clock):
    """Over one connection letters leave in the order in which they were sent off."""
    async with open_pool(tmp_path, clock, connections=1) as (transport, server):
        await send(transport, 20)
        assert addresses(server) == [f"m{n}@x.test" for n in range(20)]


async def test_a_connection_ends_after_its_letters(tmp_path, clock):
    """After `letters_per_connection` letters a new connection takes over; none is lost at the change."""
    async with open_pool(tmp_path, clock, connections=1, letters_per_connection=3) as (transport, server):
        assert await send(transport, 8) == [["accepted recipient"]] * 8
        assert [each.connection for each in server.taken] == [1, 1, 1, 2, 2, 2, 3, 3]


async def test_an_old_connection_is_not_used_on(tmp_path, clock):
    """After ten minutes by the clock a connection is given up for a new one."""
    async with open_pool(tmp_path, clock, connections=1) as (transport, server):
        await send(transport, 1)
        clock.advance(dt.timedelta(minutes=11))
        await send(transport, 2)
        assert [each.connection for each in server.taken] == [1, 1, 2]


async def test_the_age_of_connections_can_be_set(tmp_path, clock):
    """A relay whose `max_age` is a minute gets a new connection after a minute."""
    async with open_pool(tmp_path, clock, connections=1, max_age=60) as (transport, server):
        await send(transport, 1)
        clock.advance(dt.timedelta(seconds=59))
        await send(transport, 1)
        clock.advance(dt.timedelta(seconds=2))
        await send(transport, 2)
        assert [each.connection for each in server.taken] == [1, 1, 1, 2]


async def test_goodbye_is_said(tmp_path, clock):
    """Closing says QUIT on every idle connection."""
    async with open_pool(tmp_path, clock, connections=3, options=Options()) as (transport, server):
        await send(transport, 9)
        await transport.close()
        assert server.record.phases["quit"] == server.peak_connections


async def test_a_wrong_password_costs_one_attempt(tmp_path, clock):
    """A hundred letters and a wrong password: one login, all letters on hold, nothing tried again until the back-off has passed."""
    options = Options(tls=TlsMode.STARTTLS, user="u", password="right", record_all=True)
    async with open_pool(tmp_path, clock, options=options, password="wrong") as (transport, server):
        assert await send(transport, 100) == [["not-tried hold"]] * 100
        assert await send(transport, 100) == [["not-tried hold"]] * 100
        assert opened(server) == 1
        assert transport.rest == LONGEST
        clock.advance(dt.timedelta(seconds=LONGEST))
        assert transport.rest == 0.0
        assert await send(transport, 100) == [["not-tried hold"]] * 100
        assert opened(server) == 2
        assert server.received == []


async def test_a_dead_relay_is_asked_ever_more_seldom(tmp_path, clock):
    """While nothing answers, the waiting letters are told at once, and the pauses between attempts double."""
    async with open_pool(tmp_path, clock) as (transport, server):
        await server.stop()
        pauses = []
        for _ in range(8):
            assert await send(transport, 20) == [["not-tried relay"]] * 20
            pauses.append(transport.rest)
            clock.advance(dt.timedelta(seconds=transport.rest))
        assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


async def test_the_first_success_ends_the_back_off(tmp_path, clock):
    """A relay that comes back is used at once and fully."""
    rules = [{"at": "connect", "reply": "421 4.3.2 Not now", "times": 2}]
    async with open_pool(tmp_path, clock, rules, connections=4) as (transport, server):
        for _ in range(2):
            assert await send(transport, 10) == [["not-tried relay"]] * 10
            clock.advance(dt.timedelta(seconds=transport.rest))
        assert await send(transport, 40) == [["accepted recipient"]] * 40
        assert transport.rest == 0.0
        assert len({each.connection for each in server.taken}) == 4


async def test_a_relay_that_takes_fewer_connections_gets_fewer(tmp_path, clock):
    """If the relay turns further connections away, the ones it has let in carry everything; no letter is told of it."""
    options = Options(max_connections=2, record_all=True)
    async with open_pool(tmp_path, clock, options=options, connections=8) as (transport, server):
        assert await send(transport, 60) == [["accepted recipient"]] * 60
        assert len(server.taken) == 60
        assert opened(server) <= 8


async def test_a_relay_that_wants_few_connections_and_short_ones_is_no_failure(tmp_path, clock):
    """Turned away beside two that work, and those two worn out: they are replaced at once, and every letter goes."""
    options = Options(max_connections=2)
    async with open_pool(tmp_path, clock, options=options, connections=8, letters_per_connection=3) as (
        transport,
        server,
    ):
        for _ in range(3):
            assert await send(transport, 30) == [["accepted recipient"]] * 30
        assert len(server.taken) == 90


@pytest.mark.parametrize("how", [{"reply": "421 4.4.2 Idle too long"}, {"do": "drop"}, {"do": "reset"}])
async def test_a_dead_idle_connection_is_nobodys_failure(tmp_path, clock, how):
    """A kept connection that turns out to be dead at the next letter's MAIL is replaced; the letter goes, once."""
    async with open_pool(tmp_path, clock, [{"at": "mail", "nth": 2, **how}], connections=1) as (transport, server):
        assert await send(transport, 1) == [["accepted recipient"]]
        assert await send(transport, 2) == [["accepted recipient"]] * 2
        assert [each.connection for each in server.taken] == [1, 2, 2]


async def test_a_restarted_relay_costs_no_letter(tmp_path, clock):
    """All idle connections dead at once (the relay was restarted): the next letters go over new ones."""
    async with Server(Options(record_all=True)) as first:
        transport = SmtpTransport("main", relay_to(first, connections=4), home=tmp_path, clock=clock)
        assert await send(transport, 20) == [["accepted recipient"]] * 20
        port = first.port
    async with Server(Options(port=port)) as second:
        assert await send(transport, 20) == [["accepted recipient"]] * 20
        assert len(second.taken) == 20
        await transport.close()


async def test_421_on_a_fresh_connection_is_the_relays_back_off(tmp_path, clock):
    """A storm of 421 at MAIL: one letter asks, the others are told, and nobody hammers."""
    rules = [{"at": "mail", "reply": "421 4.7.0 Too much"}]
    async with open_pool(tmp_path, clock, rules, connections=8) as (transport, server):
        assert {each[0] for each in await send(transport, 50)} == {"not-tried relay"}
        assert opened(server) <= 8
        before = opened(server)
        assert await send(transport, 50) == [["not-tried relay"]] * 50
        assert opened(server) == before
        assert server.received == []


async def test_a_break_in_one_letter_does_not_touch_the_others(tmp_path, clock):
    """One connection broken after the dot: that letter is uncertain and not sent again; the others arrive once."""
    rules = [{"at": "reply", "do": "drop", "to": "m7@x.test"}, {"at": "dot", "do": "drop", "to": "m9@x.test"}]
    async with open_pool(tmp_path, clock, rules, connections=3) as (transport, server):
        results = await send(transport, 30)
        assert [n for n, each in enumerate(results) if each == ["uncertain letter"]] == [7, 9]
        assert sorted(addresses(server)) == sorted(f"m{n}@x.test" for n in range(30) if n != 9)


async def test_nothing_is_both_accepted_and_tried_again(tmp_path, clock):
    """Three hundred letters through a bad day of the relay, the not-tried and deferred ones sent again: none lost, none twice."""
    rules = [
        {"at": "connect", "do": "drop", "nth": [3, 5]},
        {"at": "connect", "reply": "421 4.3.2 Full", "nth": [7]},
        {"at": "mail", "reply": "421 4.3.2 Closing", "every": 17},
        {"at": "mail", "do": "drop", "every": 23},
        {"at": "rcpt", "do": "garbage", "every": 29},
        {"at": "rcpt", "reply": "451 4.7.1 Later", "every": 13},
        {"at": "data", "do": "reset", "every": 31},
        {"at": "content", "do": "drop", "every": 37},
        {"at": "dot", "reply": "451 4.3.0 Later", "every": 19},
        {"at": "dot", "do": "drop", "every": 41},
        {"at": "reply", "do": "drop", "every": 43},
        {"at": "reply", "do": "stall", "every": 97},
    ]
    done: dict[int, str] = {}
    async with open_pool(tmp_path, clock, rules, connections=6, timeouts=HASTY) as (transport, server):
        for _ in range(60):
            left = [n for n in range(300) if n not in done]
            sends = [transport.send(envelope(f"m{n}@x.test", attempt=str(n)), payload(), Account()) for n in left]
            for n, results in zip(left, await asyncio.gather(*sends), strict=True):
                if results[0].fate in {"accepted", "uncertain"}:
                    done[n] = results[0].fate
            clock.advance(dt.timedelta(seconds=LONGEST))
        taken = addresses(server)
        assert len(done) == 300
        assert len(set(taken)) == len(taken)
        accepted = {f"m{n}@x.test" for n, fate in done.items() if fate == "accepted"}
        assert accepted <= set(taken)
        assert set(taken) - accepted <= {f"m{n}@x.test" for n, fate in done.items() if fate == "uncertain"}
        assert len(accepted) > 200


async def test_letters_called_back_leave_the_queue(tmp_path, clock):
    """Sends cancelled while they wait for a connection are never tried, and the others are not disturbed."""
    async with open_pool(tmp_path, clock, [{"at": "dot", "do": "stall", "times": 1}], connections=1) as (
        transport,
        server,
    ):
        first = asyncio.create_task(transport.send(envelope("first@x.test"), payload(), Account()))
        await server.reached("dot")
        waiting = [
            asyncio.create_task(transport.send(envelope(f"m{n}@x.test"), payload(), Account())) for n in range(5)
        ]
        await asyncio.sleep(0)
        for task in waiting[1:]:
            task.cancel()
        first.cancel()
        await asyncio.sleep(0)
        first.cancel()
        assert fates(await first) == ["uncertain letter"]
        assert fates(await waiting[0]) == ["accepted recipient"]
        assert all(
            isinstance(each, asyncio.CancelledError)
            for each in await asyncio.gather(*waiting[1:], return_exceptions=True)
        )
        assert addresses(server) == ["m0@x.test"]

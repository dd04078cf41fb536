"""Envelopes written at once, and behind the end of the letter before: what must hold whatever the relay answers."""

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailer.clock import ManualClock
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options
from mailer.rehearsal.server import Server
from mailer.transport.base import Envelope, Payload, Result, Transport
from mailer.transport.pool import STEPS, SmtpTransport
from tests.support.transport_kit import HASTY, HEAD, Account, envelope, fates, payload, relay_to


@contextlib.asynccontextmanager
async def lane(
    home: Path, clock: ManualClock, rules: Sequence[dict[str, Any]] = (), *, pipelining: bool = True, **settings: Any
) -> AsyncIterator[tuple[SmtpTransport, Server]]:
    """One connection at a time to a server with faults."""
    options = Options(record_all=True, keep_data=True, pipelining=pipelining)
    async with Server(options, Faults.from_rules(rules), clock=clock) as server:
        given = {"connections": 1, "letters_per_connection": 0} | settings
        transport = SmtpTransport("main", relay_to(server, **given), home=home, clock=clock)
        yield transport, server
        await transport.close()


def letters(number: int, *more: str) -> list[Envelope]:
    """So many letters, each to an address of its own and to *more*."""
    return [envelope(f"m{n}@x.test", *more, attempt=str(n)) for n in range(number)]


async def send_all(transport: Transport, envelopes: Sequence[Envelope], gate: Account) -> list[Sequence[Result]]:
    """Send them off together; their results in order."""
    return await asyncio.gather(*(transport.send(each, payload(), gate) for each in envelopes))


async def test_the_next_envelope_leaves_with_the_end_of_a_letter(tmp_path, clock):
    """While the first letter's last word is held back, the second's envelope is at the relay already; its content is not."""
    async with lane(tmp_path, clock, [{"at": "dot", "nth": 1, "do": "stall", "seconds": 60}]) as (transport, server):
        gate = Account()
        task = asyncio.create_task(send_all(transport, letters(3), gate))
        await server.reached("dot")
        ahead = next(iter(transport._carrying.values())).ahead
        assert ahead is not None
        assert ahead.envelope.attempt == "1"
        assert [attempt for attempt, _ in gate.begun] == ["0"]
        clock.advance(dt.timedelta(seconds=60))
        assert [fates(each) for each in await task] == [["accepted recipient"]] * 3


async def test_letters_ahead_are_each_sent_once_and_in_order(tmp_path, clock):
    """Fifty letters of two recipients over one connection: each once, whole, in order."""
    async with lane(tmp_path, clock) as (transport, server):
        told = await send_all(transport, letters(50, "also@x.test"), Account())
        assert [fates(each) for each in told] == [["accepted recipient"] * 2] * 50
        assert [each.accepted for each in server.taken] == [(f"m{n}@x.test", "also@x.test") for n in range(50)]
        assert {each.data for each in server.taken} == {HEAD}
        assert {each.connection for each in server.taken} == {1}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([{"at": "mail", "nth": 2, "reply": "552 5.3.4 Too large"}], ["refused letter"]),
        ([{"at": "rcpt", "nth": 2, "reply": "550 5.1.1 No"}], ["refused recipient"]),
        ([{"at": "rcpt", "nth": 2, "reply": "451 4.2.0 Later"}], ["deferred recipient"]),
        ([{"at": "data", "nth": 2, "reply": "451 4.3.0 Later"}], ["deferred letter"]),
        ([{"at": "dot", "nth": 2, "reply": "554 5.6.0 Bad"}], ["refused letter"]),
    ],
)
async def test_a_no_to_the_letter_ahead_is_its_own(tmp_path, clock, rules, expected):
    """Whatever phase refuses the second letter, the first and the third arrive, over the same connection."""
    async with lane(tmp_path, clock, rules) as (transport, server):
        told = [fates(each) for each in await send_all(transport, letters(3), Account())]
        assert told == [["accepted recipient"], expected, ["accepted recipient"]]
        assert [each.accepted for each in server.taken] == [("m0@x.test",), ("m2@x.test",)]
        assert {each.connection for each in server.taken} == {1}


async def test_a_go_ahead_for_nobody_ends_the_connection(tmp_path, clock):
    """The relay refuses the only recipient and says 354 all the same: no content leaves, and the next letter goes over a new connection."""
    rules = [
        {"at": "rcpt", "to": "m1@*", "reply": "550 5.1.1 No"},
        {"at": "data", "nth": 2, "do": "garbage", "bytes": "354 Go ahead\r\n", "times": 1},
    ]
    async with lane(tmp_path, clock, rules) as (transport, server):
        told = [fates(each) for each in await send_all(transport, letters(3), Account())]
        assert told == [["accepted recipient"], ["refused recipient"], ["accepted recipient"]]
        assert [(each.accepted, each.connection) for each in server.taken] == [(("m0@x.test",), 1), (("m2@x.test",), 2)]


@pytest.mark.parametrize("end", [{"do": "drop"}, {"do": "reset"}, {"reply": "421 4.3.2 Going down"}])
@pytest.mark.parametrize("at", ["dot", "reply"])
async def test_the_letter_ahead_survives_the_end_of_its_connection(tmp_path, clock, at, end):
    """The connection ends at the first letter's last word: the second, whose envelope had left, goes once over a new one."""
    async with lane(tmp_path, clock, [{"at": at, "nth": 1, **end}]) as (transport, server):
        gate = Account()
        told = [fates(each) for each in await send_all(transport, letters(2), gate)]
        assert told[1] == ["accepted recipient"]
        assert told[0] != ["accepted recipient"] or at == "reply"
        assert Counter(address for each in server.taken for address in each.accepted)["m1@x.test"] == 1
        assert [attempt for attempt, _ in gate.begun] == ["0", "1"]


class HoldsFrom(Account):
    """A gate that holds everything from one attempt on."""

    def before_content(self, attempt: str, replies: Sequence[Result]) -> None:
        self.held = "the circular is paused" if int(attempt) >= 2 else ""
        super().before_content(attempt, replies)


async def test_a_pause_stops_the_letter_ahead(tmp_path, clock):
    """Held at the gate after its 354, a letter does not leave; the one before it has its last word all the same."""
    async with lane(tmp_path, clock) as (transport, server):
        told = [fates(each) for each in await send_all(transport, letters(4), HoldsFrom())]
        assert told == [["accepted recipient"]] * 2 + [["not-tried recipient"]] * 2
        assert len(server.received) == 2


async def test_the_letter_ahead_can_be_called_back(tmp_path, clock):
    """Cancelled while its envelope waits behind another letter, it raises, never leaves, and the third goes."""
    rules = [{"at": "reply", "nth": 1, "do": "stall", "seconds": 5}]
    async with lane(tmp_path, clock, rules) as (transport, server):
        tasks = [asyncio.create_task(transport.send(each, payload(), Account())) for each in letters(3)]
        await server.reached("taken")
        connection = next(iter(transport._carrying.values()))
        assert connection.ahead is not None
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        clock.advance(dt.timedelta(seconds=5))
        assert fates(await tasks[0]) == ["accepted recipient"]
        assert fates(await tasks[2]) == ["accepted recipient"]
        assert [each.accepted for each in server.taken] == [("m0@x.test",), ("m2@x.test",)]


async def test_a_lie_about_pipelining_is_found_out(tmp_path, clock):
    """A relay that drops what comes along with a command costs one time-out; then it is asked step by step, and every letter goes."""
    rules = [{"at": "ehlo", "do": "lie"}]
    async with lane(tmp_path, clock, rules, pipelining=False, timeouts=HASTY) as (transport, server):
        first = [fates(each) for each in await send_all(transport, letters(1), Account())]
        assert first == [["not-tried relay"]]
        clock.advance(dt.timedelta(seconds=transport.rest))
        told = [fates(each) for each in await send_all(transport, letters(5), Account())]
        assert told == [["accepted recipient"]] * 5
        assert len(server.taken) == 5


async def test_pipelining_is_tried_again_after_a_silence(tmp_path, clock):
    """A relay that was silent once over an envelope is asked step by step for a hundred letters; then envelopes go ahead again."""
    rules = [
        {"at": "mail", "nth": 1, "do": "stall", "seconds": 1_000_000},
        {"at": "dot", "nth": [STEPS[0], STEPS[0] + 2], "do": "stall", "seconds": 60},
    ]
    async with lane(tmp_path, clock, rules, timeouts=HASTY | {"final": 20}) as (transport, server):
        assert [fates(each) for each in await send_all(transport, letters(1), Account())] == [["not-tried relay"]]
        clock.advance(dt.timedelta(seconds=transport.rest))
        task = asyncio.create_task(send_all(transport, letters(STEPS[0] + 3), Account()))
        await server.reached("dot", STEPS[0])
        assert next(iter(transport._carrying.values())).ahead is None  # the hundredth
        clock.advance(dt.timedelta(seconds=60))
        await server.reached("dot", STEPS[0] + 2)
        assert next(iter(transport._carrying.values())).ahead is not None
        clock.advance(dt.timedelta(seconds=60))
        assert [fates(each) for each in await task] == [["accepted recipient"]] * (STEPS[0] + 3)


async def test_answers_out_of_step_end_pipelining(tmp_path, clock):
    """A relay that says yes where leave to send was asked is asked step by step, however many letters pass."""
    rules = [
        {"at": "data", "nth": 1, "do": "garbage", "bytes": "250 2.0.0 Yes\r\n"},
        {"at": "dot", "nth": STEPS[0] + 1, "do": "stall", "seconds": 60},
    ]
    async with lane(tmp_path, clock, rules) as (transport, server):
        assert [fates(each) for each in await send_all(transport, letters(1), Account())] == [["not-tried relay"]]
        clock.advance(dt.timedelta(seconds=transport.rest))
        task = asyncio.create_task(send_all(transport, letters(STEPS[0] + 2), Account()))
        await server.reached("dot", STEPS[0] + 1)
        assert next(iter(transport._carrying.values())).ahead is None
        clock.advance(dt.timedelta(seconds=60))
        assert [fates(each) for each in await task] == [["accepted recipient"]] * (STEPS[0] + 2)


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("at", ["mail", "rcpt"])
async def test_a_command_that_is_not_known_there_ends_the_connection(tmp_path, clock, at, pipelining):
    """A relay that calls MAIL or RCPT a bad sequence is not where we think: the next letter goes over a new connection."""
    rules = [{"at": at, "nth": 2, "reply": "503 5.5.1 Bad sequence"}]
    async with lane(tmp_path, clock, rules, pipelining=pipelining) as (transport, server):
        told = [fates(each) for each in await send_all(transport, letters(3), Account())]
        assert [each[0].split()[0] for each in told] == ["accepted", "not-tried", "accepted"]
        assert [(each.accepted, each.connection) for each in server.taken] == [(("m0@x.test",), 1), (("m2@x.test",), 2)]


async def test_a_connection_takes_no_letter_beyond_its_number(tmp_path, clock):
    """With three letters a connection, no fourth envelope is written behind the third's end."""
    async with lane(tmp_path, clock, letters_per_connection=3) as (transport, server):
        await send_all(transport, letters(9), Account())
        assert [each.connection for each in server.taken] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
        assert server.record.phases["mail"] == 9


async def test_enclosures_and_the_next_envelope(tmp_path, clock):
    """A letter of a megabyte and the envelope behind it arrive whole."""
    tail = b"x" * 75 + b"\r\n"
    big = Payload(HEAD, (memoryview(tail * 20_000),))
    async with lane(tmp_path, clock) as (transport, server):
        await asyncio.gather(*(transport.send(each, big, Account()) for each in letters(4)))
        assert [each.data for each in server.taken] == [HEAD + tail * 20_000] * 4

"""The rules of `transport.base`, over the real transport and the in-memory one alike."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mailer.clock import SystemClock
from mailer.errors import Defect
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from mailer.transport.base import Envelope, Payload, Rcpt, Transport
from mailer.transport.memory import MemoryTransport
from mailer.transport.pool import SmtpTransport
from mailer.transport.verdict import Gone, Phase
from tests.support.transport_kit import HASTY, HEAD, Account, envelope, fates, payload, relay_to


class OverSmtp:
    """The real transport, and a server that plays faults."""

    def __init__(self, home: Path) -> None:
        self.home, self.rules, self.settings = home, [], {}
        self.stalls, self.pipelining = False, True

    def reply(self, at: str, said: str, to: str = "*") -> None:
        how = {"do": "garbage", "bytes": said + "\r\n"} if (at, said[0]) == ("data", "2") else {"reply": said}
        self.rules.append({"at": at, **how, **({"to": to} if to != "*" else {})})

    def take_no_utf8(self) -> None:
        self.rules.append({"at": "ehlo", "hide": ["8BITMIME"] if self.pipelining else ["SMTPUTF8"]})

    def drop(self, at: str) -> None:
        self.rules.append({"at": at, "do": "drop"})

    def stall(self, at: str) -> None:
        self.rules.append({"at": at, "do": "stall"})

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Transport]:
        options = Options(tls=TlsMode.STARTTLS, user="u", password="p", keep_data=True, pipelining=self.pipelining)
        async with Server(options, Faults.from_rules(self.rules)) as self.server:
            transport = SmtpTransport(
                "main", relay_to(self.server, **self.settings), home=self.home, clock=SystemClock()
            )
            yield transport
            await transport.close()

    async def reached(self, at: str) -> None:
        await self.server.reached(at)

    def taken(self) -> list[tuple[tuple[str, ...], bytes]]:
        return [(each.accepted, each.data or b"") for each in self.server.taken]

    def whole(self) -> int:
        return len(self.server.received)


class StepByStep(OverSmtp):
    """The same to a server that wants each command alone."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.pipelining = False


class InMemory:
    """The transport without a network, and a script."""

    def __init__(self, _home: Path) -> None:
        self.answers: list[tuple[str, str, Any]] = []
        self.utf8 = True
        self.seen = asyncio.Event()
        self.settings: dict[str, Any] = {}

    def take_no_utf8(self) -> None:
        self.utf8 = False

    def reply(self, at: str, said: str, to: str = "*") -> None:
        self.answers.append((at, to, said))

    def drop(self, at: str) -> None:
        self.answers.append((at, "*", Gone("dropped")))

    def stall(self, at: str) -> None:
        self.answers.append((at, "*", "stall"))

    def _script(self, phase: Phase, _envelope: Envelope, recipient: Rcpt | None) -> Any:
        names = {"content": "content", "final": "dot"}
        for at, to, said in self.answers:
            if at == names.get(phase, str(phase)) and to in {"*", recipient.address if recipient else "*"}:
                return self._wait() if said == "stall" else said
        return None

    async def _wait(self) -> Exception:
        self.seen.set()
        if "timeouts" in self.settings:
            return TimeoutError()
        await asyncio.Event().wait()
        raise AssertionError

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Transport]:
        self.memory = MemoryTransport(self._script)
        self.memory.utf8 = self.utf8
        yield self.memory
        await self.memory.close()

    async def reached(self, _at: str) -> None:
        await self.seen.wait()

    def taken(self) -> list[tuple[tuple[str, ...], bytes]]:
        return [(tuple(r.address for r in each.recipients), each.data) for each in self.memory.received if each.taken]

    def whole(self) -> int:
        return len(self.memory.received)


@pytest.fixture(params=[OverSmtp, StepByStep, InMemory], ids=["smtp", "smtp-step-by-step", "memory"])
async def relay(request, tmp_path):
    """A relay of either kind."""
    return request.param(tmp_path)


async def test_a_letter_arrives_as_it_was_given(relay):
    """Head and tail arrive byte by byte, in their order, and every recipient is accepted with the relay's reply."""
    gate = Account()
    tail = b"--b\r\nX: y\r\n\r\n" + b"QUJD" * 19 + b"\r\n--b--\r\n"
    head = b"Subject: x\r\n\r\n.one\r\n..two\r\n.\r\n"
    async with relay.open() as transport:
        results = await transport.send(envelope("a@x.test", "b@x.test"), Payload(head, (tail, memoryview(tail))), gate)
    assert fates(results) == ["accepted recipient", "accepted recipient"]
    assert [each.recipient for each in results] == [1, 2]
    assert all(each.reply is not None and each.reply.code == 250 for each in results)
    assert relay.taken() == [(("a@x.test", "b@x.test"), head + tail + tail)]
    assert gate.begun == [("a1", ())]
    assert gate.told == [("a1", tuple(results))]


async def test_what_is_posted_is_told_once(relay):
    """A letter that nobody waits for: its results, or what its gate raised, are told once; closing tells of the rest."""
    relay.stall("dot")
    told: list[Any] = []
    async with relay.open() as transport:
        transport.post(envelope("a@x.test"), payload(), Account(error=OSError("disk full")), told.append)
        while not told:  # noqa: ASYNC110 - it is what `send` is for
            await asyncio.sleep(0)
        transport.post(envelope("b@x.test"), payload(), Account(), told.append)
        await relay.reached("dot")
        transport.post(envelope("c@x.test"), payload(), Account(held="paused"), told.append)
        with pytest.raises(Defect):
            transport.post(envelope(), payload(b"bare\n"), Account(), told.append)
        await transport.close()
        transport.post(envelope("d@x.test"), payload(), Account(), told.append)
    error, *results = told
    assert isinstance(error, OSError)
    assert sorted(fates(each)[0] for each in results) == ["not-tried recipient"] * 2 + ["uncertain letter"]


async def test_each_recipient_has_its_own_fate(relay):
    """A dead address and a full mailbox beside a good one: each its own, and the gate hears of them before content."""
    relay.reply("rcpt", "550 5.1.1 No such mailbox", to="dead@x.test")
    relay.reply("rcpt", "452 4.2.2 Mailbox full", to="full@x.test")
    gate = Account()
    async with relay.open() as transport:
        results = await transport.send(envelope("dead@x.test", "good@x.test", "full@x.test"), payload(), gate)
    assert fates(results) == ["refused recipient", "accepted recipient", "deferred recipient"]
    assert [each.recipient for each in gate.begun[0][1]] == [1, 3]
    assert relay.taken() == [(("good@x.test",), HEAD)]


async def test_nobody_left_means_no_content(relay):
    """If RCPT accepts nobody, no content is sent, the gate is not asked, and the next letter goes through."""
    relay.reply("rcpt", "550 5.1.1 No such mailbox", to="dead@x.test")
    gate = Account()
    async with relay.open() as transport:
        results = await transport.send(envelope("dead@x.test"), payload(), gate)
        assert fates(results) == ["refused recipient"]
        assert (gate.begun, gate.told, relay.whole()) == ([], [], 0)
        assert fates(await transport.send(envelope("good@x.test"), payload(), gate)) == ["accepted recipient"]


async def test_what_the_gate_holds_does_not_leave(relay):
    """Held by the gate: no content, nobody tried, the gate's words; and the transport works on."""
    relay.reply("rcpt", "550 5.1.1 No such mailbox", to="dead@x.test")
    async with relay.open() as transport:
        results = await transport.send(envelope("a@x.test", "dead@x.test"), payload(), Account(held="paused"))
        assert fates(results) == ["not-tried recipient", "not-tried recipient"]
        assert {each.why for each in results} == {"paused"}
        assert relay.whole() == 0
        assert fates(await transport.send(envelope(), payload(), Account())) == ["accepted recipient"]


async def test_a_gate_that_fails_stops_the_letter(relay):
    """Another error of the gate is raised from send, and no content has left."""
    async with relay.open() as transport:
        with pytest.raises(OSError, match="disk"):
            await transport.send(envelope(), payload(), Account(error=OSError("disk full")))
        assert relay.whole() == 0
        assert fates(await transport.send(envelope(), payload(), Account())) == ["accepted recipient"]


async def test_the_relays_word_outlives_the_gates_failure(relay, caplog):
    """If the gate fails after the final reply, the results are returned all the same and the failure is logged."""

    def fail() -> None:
        raise OSError("disk full")

    with caplog.at_level(logging.ERROR):
        async with relay.open() as transport:
            assert fates(await transport.send(envelope(), payload(), Account(after=fail))) == ["accepted recipient"]
    assert "gate-failed-after-reply" in caplog.text


@pytest.mark.parametrize(
    ("at", "said", "meant"),
    [
        ("mail", "550 5.1.8 Sender unknown", "not-tried hold"),
        ("mail", "452 4.3.1 No space", "not-tried relay"),
        ("mail", "552 5.3.4 Too large", "refused letter"),
        ("rcpt", "451 4.7.1 Greylisted", "deferred domain"),
        ("rcpt", "421 4.7.0 Slow down", "deferred domain"),
        ("data", "451 4.3.0 Later", "deferred letter"),
        ("data", "250 2.0.0 Yes", "not-tried relay"),
        ("dot", "451 4.3.0 Later", "deferred letter"),
        ("dot", "554 5.6.0 Bad content", "refused letter"),
        ("dot", "554 5.2.0 STOREDRV SendAsDenied", "not-tried hold"),
    ],
)
async def test_a_no_in_any_phase_is_judged_by_the_table(relay, at, said, meant):
    """A refusal in any phase is what the table says, and the relay does not have the letter."""
    relay.reply(at, said)
    async with relay.open() as transport:
        results = await transport.send(envelope("a@x.test"), payload(), Account())
        assert fates(results) == [meant]
        assert results[0].reply is not None
        assert results[0].reply.code == int(said[:3])
        assert results[0].why
        assert relay.taken() == []


@pytest.mark.parametrize(
    ("at", "meant", "asked"),
    [
        ("connect", "not-tried relay", False),
        ("mail", "not-tried relay", False),
        ("rcpt", "not-tried relay", False),
        ("data", "not-tried relay", False),
        ("content", "uncertain letter", True),
        ("dot", "uncertain letter", True),
    ],
)
async def test_a_broken_connection_is_uncertain_from_the_first_byte_on(relay, at, meant, asked):
    """A break before content tries nobody; after the first byte it is uncertain; the gate hears of no reply."""
    relay.drop(at)
    gate = Account()
    async with relay.open() as transport:
        results = await transport.send(envelope(), payload(), gate)
    assert fates(results) == [meant]
    assert results[0].why
    assert bool(gate.begun) == asked
    assert gate.told == []


async def test_silence_after_the_content_is_uncertain(relay):
    """No final reply in time: uncertain."""
    relay.stall("dot")
    relay.settings = {"timeouts": HASTY}
    async with relay.open() as transport:
        assert fates(await transport.send(envelope(), payload(), Account())) == ["uncertain letter"]


async def test_cancelled_before_content_raises_and_nothing_leaves(relay):
    """A cancelled send whose content has not begun raises, and its content never starts."""
    relay.stall("data")
    gate = Account()
    async with relay.open() as transport:
        task = asyncio.create_task(transport.send(envelope(), payload(), gate))
        await relay.reached("data")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.begun == []
    assert relay.whole() == 0


async def test_cancelled_twice_in_content_is_uncertain(relay):
    """Once content has begun, a first cancellation waits for the reply, a second one ends it as uncertain."""
    relay.stall("dot")
    async with relay.open() as transport:
        task = asyncio.create_task(transport.send(envelope(), payload(), Account()))
        await relay.reached("dot")
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        assert fates(await task) == ["uncertain letter"]


async def test_closing_answers_everybody(relay):
    """Closing while letters wait and one is in content leaves no send without an answer; closing again is harmless."""
    relay.stall("dot")
    async with relay.open() as transport:
        tasks = [asyncio.create_task(transport.send(envelope(), payload(), Account())) for _ in range(30)]
        await relay.reached("dot")
        await transport.close()
        await transport.close()
        answers = [fates(each) for each in await asyncio.gather(*tasks)]
        assert ["uncertain letter"] in answers
        assert {each[0] for each in answers} <= {"uncertain letter", "not-tried recipient"}
        assert fates(await transport.send(envelope(), payload(), Account())) == ["not-tried recipient"]


async def test_an_address_beyond_ascii_fails_alone_where_the_relay_takes_none(relay):
    """An address that needs SMTPUTF8 is refused by us at once; the others are not delayed."""
    relay.take_no_utf8()
    async with relay.open() as transport:
        results = await transport.send(envelope("müller@x.test", "good@x.test"), payload(), Account())
        alone = await transport.send(envelope("müller@x.test"), payload(), Account())
    assert fates(results) == ["refused recipient", "accepted recipient"]
    assert fates(alone) == ["refused recipient"]
    assert results[0].reply is None
    assert "5.6.7" in results[0].why
    assert [accepted for accepted, _ in relay.taken()] == [("good@x.test",)]


async def test_an_address_beyond_ascii_has_the_letter_where_the_relay_takes_it(relay):
    """Beside others, and with such addresses in the letter's head."""
    head = "To: müller@x.test\r\n\r\nA letter.\r\n".encode()
    async with relay.open() as transport:
        for octets in (payload(), payload(head)):
            results = await transport.send(envelope("müller@x.test", "good@x.test"), octets, Account())
            assert fates(results) == ["accepted recipient"] * 2
    assert relay.taken() == [(("müller@x.test", "good@x.test"), each.head) for each in (payload(), payload(head))]


@pytest.mark.parametrize(
    ("given", "bytes_given"),
    [
        (Envelope("a1", "s@x.test", ()), payload()),
        (Envelope("a1", "s@x.test", (Rcpt(1, "a@x.test"), Rcpt(1, "b@x.test"))), payload()),
        (envelope(), payload(b"Subject: x\n\nbare\n")),
        (envelope(), payload(b"Subject: x\r\n\r\na\r.\r\n")),
        (envelope(), payload(b"Subject: x\r\n\r\nno end", b"tail\r\n")),
    ],
)
async def test_our_own_defects_are_raised_before_anything_is_sent(relay, given, bytes_given):
    """No recipients, one twice, or line ends that could hide an end of content: refused at once."""
    async with relay.open() as transport:
        with pytest.raises(Defect):
            await transport.send(given, bytes_given, Account())
        assert relay.whole() == 0

"""A relay, or whoever stands in its place, that breaks the rules of time and order: no lane hangs, and no word is taken for another."""

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from mailer.clock import SystemClock
from mailer.settings import Relay
from mailer.transport.base import Payload
from mailer.transport.pool import SmtpTransport
from mailer.transport.wire import take_over
from tests.support.drawn import sockets
from tests.support.odd_relay import OFFER, SOON, Talk, odd_relay, sent
from tests.support.transport_kit import HASTY, HEAD, Account, envelope, fates, payload

#: more than the kernel takes of a relay that does not read
LARGE = Payload(HEAD, (memoryview((b"x" * 75 + b"\r\n") * 400_000),))
SMALL = Payload(HEAD, (memoryview((b"y" * 75 + b"\r\n") * 20),))
Talks = Callable[[Talk], Awaitable[None]]


# The end of a connection in the moment in which it is taken over


@pytest.mark.parametrize("known", [True, False], ids=["after", "in-the-same-turn"])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_connection_that_ended_before_it_was_taken_over_is_known_to_have_ended(tls, known):
    """Whoever waits for its end waits for nothing: the protocol before may have been the one that heard of it."""

    async def talk(_talk: Talk) -> None:
        return

    async with odd_relay(talk, tls=tls) as relay:
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context(cafile=relay.ca_file) if tls else None
        gone = asyncio.Event()

        class Before(asyncio.Protocol):
            def connection_lost(self, _reason: Exception | None) -> None:
                gone.set()

        transport, _ = await loop.create_connection(Before, relay.host, relay.port, ssl=context)
        transport.abort()
        if known:
            await gone.wait()
        wire = take_over(transport)
        await wire.closed(2)
        assert not wire.open
        for _ in range(5):
            await asyncio.sleep(0)  # what asyncio says afterwards changes nothing


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("end", ["close", "reset", "cut"])
async def test_a_relay_that_ends_with_its_last_word_before_a_letter_hangs_nothing(tmp_path, tls, end):
    """Answer to EHLO and end of the connection in one: letters are not tried, the transport closes, time after time."""

    async def talk(talk: Talk) -> None:
        await talk.open()
        match end:
            case "close":
                talk.writer.close()
            case "reset":
                talk.reset()
            case _:
                talk.raw.close()  # under TLS without its own end

    async with odd_relay(talk, tls=tls) as relay:
        for _ in range(15):
            (results,) = await sent(tmp_path, relay, payload())
            assert fates(results) == ["not-tried relay"]


# Words before their time


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("half", "rest", "fate"),
    [
        (b"250 2.0", b".0 Taken\r\n", "uncertain letter"),
        (b"250-2.0.0 Taken\r\n", b"250 2.0.0 Taken\r\n", "uncertain letter"),
        (b"552 5.3.4 Too ", b"large\r\n", "refused letter"),
        (b"2", b"", "uncertain letter"),
    ],
)
async def test_half_a_word_before_the_final_dot_is_no_answer_to_it(tmp_path, tls, half, rest, fate):
    """The final dot is not said once a word has begun: a no that is whole in the end counts, a yes can't be about the letter."""
    heard = b""

    async def talk(talk: Talk) -> None:
        nonlocal heard
        await talk.open()
        await talk.envelope()
        await talk.hear(b"\r\n\r\n")
        talk.say(half)
        await asyncio.sleep(0.1)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while octets := await talk.reader.read(1 << 20):
                    heard = (heard + octets)[-5:]
        talk.say(rest)

    async with odd_relay(talk, tls=tls) as relay:
        (results,) = await sent(tmp_path, relay, LARGE)
    assert fates(results) == [fate]
    assert heard != b"\r\n.\r\n"


async def test_a_yes_that_lies_in_the_kernel_is_no_answer_to_the_final_dot(tmp_path):
    """What came while the gate, or the writing of a small enclosure, kept us from reading is looked at before the final dot."""
    heard, listener = b"", socket.create_server(("127.0.0.1", 0))

    def relay() -> None:
        nonlocal heard
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            for answer in (b"220 odd.test\r\n", OFFER):
                connection.sendall(answer)
                connection.recv(65536)
            connection.sendall(b"250 Ok\r\n250 Ok\r\n354 Go\r\n")
            time.sleep(0.1)
            connection.sendall(b"250 2.0.0 Taken\r\n")  # unasked
            while octets := connection.recv(65536):
                heard += octets

    class Slow(Account):
        def before_content(self, attempt: str, replies: Any) -> None:
            super().before_content(attempt, replies)
            time.sleep(0.2)  # the journal's disk; the loop reads nothing meanwhile

    thread = threading.Thread(target=relay)
    thread.start()
    settings = Relay(host="127.0.0.1", port=listener.getsockname()[1], tls="none", timeouts=HASTY)
    try:
        (results,) = await sent(tmp_path, settings, SMALL, gate=Slow())
    finally:
        listener.close()
        thread.join()
    assert fates(results) == ["uncertain letter"]
    assert not heard.endswith(b"\r\n.\r\n")


@pytest.mark.parametrize("offer", [OFFER, b"250 odd.test\r\n"], ids=["at-once", "alone"])
async def test_garbage_behind_leave_to_send_costs_no_doubt(tmp_path, offer):
    """A relay that says 354 and, with it, what is no reply, is not given the letter: it is not tried, and no journal was opened for it."""

    async def talk(talk: Talk) -> None:
        await talk.open(offer)
        if offer is OFFER:
            await talk.hear(b"DATA\r\n")
            talk.say(b"250 Ok\r\n250 Ok\r\n354 Go on\r\nhello\r\n")
            return
        for answer in (b"250 Ok\r\n", b"250 Ok\r\n", b"354 Go on\r\nhello\r\n"):
            await talk.hear()
            talk.say(answer)

    gate = Account()
    async with odd_relay(talk) as relay:
        (results,) = await sent(tmp_path, relay, payload(), gate=gate)
    assert fates(results) == ["not-tried relay"]
    assert gate.begun == []


# Time


def _until(phase: str) -> Talks:
    """A relay that goes along up to *phase*, and then says octet after octet of a reply without end."""

    async def talk(talk: Talk) -> None:
        step = OFFER.replace(b"250-PIPELINING\r\n", b"") if phase.endswith("alone") else OFFER
        if phase == "greeting":
            await talk.trickle(b"220-x\r\n" * 100)
        elif phase == "hello":
            talk.say(b"220 odd.test\r\n")
            await talk.trickle(b"250-x\r\n" * 100)
        await talk.open(step)
        if phase.startswith("mail"):
            await talk.hear()
            await talk.trickle(b"250-x\r\n" * 100)
        await talk.envelope()
        if phase == "content":
            await talk.hear(b"\r\n\r\n")
            talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await talk.trickle(b"250-x\r\n" * 100)
        await talk.hear(b"\r\n.\r\n")
        await talk.trickle(b"250-x\r\n" * 100)

    return talk


@pytest.mark.parametrize(
    ("phase", "fate"),
    [
        ("greeting", "not-tried relay"),
        ("hello", "not-tried relay"),
        ("mail", "not-tried relay"),
        ("mail-alone", "not-tried relay"),
        ("content", "uncertain letter"),
        ("final", "uncertain letter"),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
async def test_octets_now_and_then_hold_no_connection(tmp_path, tls, phase, fate):
    """A reply has its time as a whole: a relay that trickles is given up as soon as one that is silent."""
    async with odd_relay(_until(phase), tls=tls) as relay:
        begun = time.monotonic()
        (results,) = await sent(tmp_path, relay, LARGE if phase == "content" else payload())
        assert fates(results) == [fate]
        assert time.monotonic() - begun < 20  # the trickle lasts 35 s


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("phase", ["greeting", "hello", "mail", "final"])
async def test_a_relay_that_is_given_up_keeps_no_socket(tmp_path, tls, phase):
    """One that neither speaks nor reads any more, not even TLS's own goodbye, has no socket of ours once its letter has its result."""

    async def talk(talk: Talk) -> None:
        if phase != "greeting":
            talk.say(b"220 odd.test\r\n")
            await talk.hear()
        if phase in {"mail", "final"}:
            talk.say(OFFER)
            await talk.hear(b"DATA\r\n")
        if phase == "final":
            talk.say(b"250 Ok\r\n250 Ok\r\n354 Go on\r\n")
            await talk.hear(b"\r\n.\r\n")
        talk.raw.pause_reading()
        await asyncio.Event().wait()

    before = sockets()
    async with odd_relay(talk, tls=tls) as relay:
        listening = len(sockets() - before)
        await sent(tmp_path, relay, payload())
        async with asyncio.timeout(20):  # asyncio itself would wait 30 s for TLS's goodbye
            while len(sockets() - before) > listening + 1:  # noqa: ASYNC110 - the relay's own side; the kernel tells nobody
                await asyncio.sleep(0.01)


# Who is told


async def test_whoever_is_told_may_fail_and_strands_nobody(tmp_path, caplog):
    """All letters have their end, each once, those ahead and those that wait included; the failures are logged."""
    told: list[str] = []
    over = asyncio.Event()

    def landed(name: str) -> Callable[[object], None]:
        def tell(_outcome: object) -> None:
            told.append(name)
            if len(told) == 30:
                over.set()
            raise RuntimeError("whoever was told failed")

        return tell

    async def talk(talk: Talk) -> None:
        await talk.open()
        await talk.envelope()
        for _ in range(5):  # the next envelope comes with the end of the letter
            await talk.hear(b"\r\n.\r\n")
            talk.say(b"250 2.0.0 Taken\r\n")
            await talk.envelope()
        await talk.hear(b"\r\n.\r\n")
        talk.writer.close()

    async with odd_relay(talk, connections=2) as relay:
        transport = SmtpTransport("odd", relay, home=tmp_path, clock=SystemClock())
        for number in range(30):
            transport.post(envelope(attempt=str(number)), payload(), Account(), landed(str(number)))
        async with asyncio.timeout(SOON):
            await over.wait()
            await transport.close()
    assert sorted(told, key=int) == [str(number) for number in range(30)]
    assert sum(each.message == "landed-failed" and each.levelno == logging.ERROR for each in caplog.records) == 30


async def test_whoever_is_told_that_there_is_no_relay_may_fail_too(tmp_path):
    """Where no connection is to be had, every letter that waits is told so, though telling the first of them fails."""
    told: list[int] = []
    over = asyncio.Event()

    def landed(_outcome: object) -> None:
        told.append(1)
        if len(told) == 10:
            over.set()
        raise RuntimeError("whoever was told failed")

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    transport = SmtpTransport("odd", Relay(host="127.0.0.1", port=port, tls="none"), home=tmp_path, clock=SystemClock())
    for number in range(10):
        transport.post(envelope(attempt=str(number)), payload(), Account(), landed)
    async with asyncio.timeout(SOON):
        await over.wait()
        await transport.close()
    assert len(told) == 10

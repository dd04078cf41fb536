"""Strange replies, floods of them, and octets below TLS: read as what they are, kept in bounds, and never taken for a yes."""

import asyncio
from pathlib import Path

import pytest

from mailer.clock import SystemClock
from mailer.settings import Relay
from mailer.transport.base import Fate, Result
from mailer.transport.pool import SmtpTransport
from tests.support.odd_relay import OFFER, SOON, Talk, odd_relay, sent
from tests.support.transport_kit import Account, envelope, fates, payload


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("said", "fate", "text"),
    [
        (b"250-2.0.0 Taken\r\n421 4.3.2 Closing\r\n", "uncertain letter", None),
        (b"421-4.3.2 Closing\r\n250 2.0.0 Taken\r\n", "uncertain letter", None),
        (b"550-5.7.1 No\r\n421 4.3.2 Closing\r\n", "uncertain letter", None),
        (b"421-4.3.2 Closing\r\n421 4.3.2 Bye\r\n", "deferred relay", "4.3.2 Closing 4.3.2 Bye"),
        (b"250 2.0.0 Taken\r\n421 4.3.2 Closing\r\n", "accepted recipient", "2.0.0 Taken"),
        (b"250 2.0.0 a\x00b\xff\xe9\x1b[1m\r\n", "accepted recipient", "2.0.0 a b\ufffd\ufffd [1m"),
        (b"250 2.0.0 " + b"x" * 4000 + b"\r\n", "accepted recipient", "2.0.0 " + "x" * 4000),
        (b"250 2.0.0 " + b"x" * 100_000 + b"\r\n", "uncertain letter", None),
        (b"250 2.0.0 Ta", "uncertain letter", None),
    ],
)
async def test_strange_answers_to_a_letter(tmp_path, tls, said, fate, text):
    """Two codes in one reply are none; what is one is read, odd octets and all; over TLS a connection may end without TLS's own end."""

    async def talk(talk: Talk) -> None:
        await talk.open()
        await talk.envelope()
        await talk.hear(b"\r\n.\r\n")
        talk.say(said)
        await talk.writer.drain()
        talk.raw.close()

    async with odd_relay(talk, tls=tls) as relay:
        (results,) = await sent(tmp_path, relay, payload())
    assert fates(results) == [fate]
    assert (results[0].reply and results[0].reply.text) == text


@pytest.mark.parametrize(
    "said", [b"250-2.1.0 Ok\r\n421 4.3.2 Closing\r\n", b"421-4.3.2 Closing\r\n250 2.1.0 Ok\r\n"], ids=["in", "first"]
)
@pytest.mark.parametrize("phase", ["hello", "mail", "rcpt", "data"])
async def test_a_421_within_a_reply_before_the_content_is_nobodys_letter(tmp_path, phase, said):
    """Whatever it was to say, the letter was not tried, and is tried again later."""

    async def talk(talk: Talk) -> None:
        talk.say(b"220 odd.test\r\n")
        await talk.hear()
        talk.say(said if phase == "hello" else OFFER)
        await talk.hear(b"DATA\r\n")
        before = {"mail": 0, "rcpt": 1, "data": 2}[phase]
        talk.say(b"250 Ok\r\n" * before + said)
        talk.writer.close()

    async with odd_relay(talk) as relay:
        (results,) = await sent(tmp_path, relay, payload())
    assert fates(results) == ["not-tried relay"]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "line", [b"250-x\r\n", b"x" * 1000, b"250 2.0.0 Ok\r\n", b"\x00"], ids=["lines", "line", "yes", "nul"]
)
@pytest.mark.parametrize("phase", ["greeting", "hello", "mail", "final"])
async def test_a_flood_is_not_kept(tmp_path, phase, line, tls):
    """A relay that says far more than a reply is cut off before it has said much; nothing of it is kept beyond a reply's length."""
    said = 0
    flood = line * (65536 // len(line))

    async def talk(talk: Talk) -> None:
        nonlocal said
        if phase != "greeting":
            talk.say(b"220 odd.test\r\n")
            await talk.hear()
        if phase in {"mail", "final"}:
            talk.say(OFFER)
        if phase == "final":
            await talk.envelope()
            await talk.hear(b"\r\n.\r\n")
        if phase == "mail":
            await talk.hear(b"DATA\r\n")
        while said < 400_000_000 and not talk.gone:
            talk.say(flood)
            said += len(flood)
            await talk.writer.drain()

    async with odd_relay(talk, tls=tls) as relay:
        (results,) = await sent(tmp_path, relay, payload())
    assert results[0].fate in ({Fate.UNCERTAIN} if phase == "final" else {Fate.NOT_TRIED})
    assert said < 100_000_000


@pytest.mark.parametrize("phase", ["mail", "final"])
async def test_octets_that_are_no_tls_end_the_connection(tmp_path, phase):
    """Someone who pushes octets in below TLS, or a late alert of it, breaks the connection and says nothing that counts."""
    for octets in (b"250 2.0.0 Taken\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"\x17\x03\x03\x00\x10" + b"x" * 16):

        async def talk(talk: Talk, octets: bytes = octets) -> None:
            await talk.open()
            if phase == "final":
                await talk.envelope()
                await talk.hear(b"\r\n.\r\n")
            else:
                await talk.hear(b"DATA\r\n")
            talk.raw.write(octets)

        async with odd_relay(talk, tls=True) as relay:
            (results,) = await sent(tmp_path, relay, payload())
        assert fates(results) == ["uncertain letter" if phase == "final" else "not-tried relay"]


async def test_answers_before_all_was_asked_are_out_of_step(tmp_path):
    """A relay that answers faster than it is asked is given up before the content, and from then on asked command by command."""
    connections = 0

    async def talk(talk: Talk) -> None:
        nonlocal connections
        connections += 1
        await talk.open()
        if connections == 1:
            talk.say(b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go on\r\n250 2.0.0 Taken\r\n")
            await talk.hear(b"nothing else")
        for answer in (b"250 Ok\r\n", b"250 Ok\r\n", b"354 Go on\r\n"):
            assert (await talk.hear()).count(b"\r\n") == 1
            assert not talk.reader._buffer  # type: ignore[attr-defined] # not another command with it
            talk.say(answer)
        await talk.hear(b"\r\n.\r\n")
        talk.say(b"250 2.0.0 Taken\r\n")

    async with odd_relay(talk) as relay:
        first, second = await _twice(tmp_path, relay)
    assert fates(first) == ["not-tried relay"]
    assert fates(second) == ["accepted recipient"]


async def _twice(home: Path, relay: Relay) -> tuple[list[Result], list[Result]]:
    """Two letters over one transport, the back-off between them waived."""
    transport = SmtpTransport("odd", relay, home=home, clock=SystemClock())
    async with asyncio.timeout(SOON):
        first = list(await transport.send(envelope(), payload(), Account()))
        transport.reopen()
        second = list(await transport.send(envelope(), payload(), Account()))
        await transport.close()
    return first, second

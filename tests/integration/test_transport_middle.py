"""Someone between us and the relay: what is said in the clear before TLS can neither strip it nor reach beyond it."""

import ssl
from pathlib import Path

import pytest

from mailer.clock import SystemClock
from mailer.errors import RelayError
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from mailer.transport import smtp
from mailer.transport.pool import SmtpTransport
from mailer.transport.probe import probe
from tests.support.middle import Change, middle
from tests.support.transport_kit import Account, envelope, fates, left_alone, payload, relay_to

OPTIONS = Options(tls=TlsMode.STARTTLS, user="u", password="secret-word", record_all=True)
INJECTED = b"250-evil\r\n250-AUTH LOGIN\r\n250 SIZE 7\r\n"


def after(line: bytes, more: bytes) -> Change:
    """Put *more* behind a reply that begins with *line*, in the same write."""
    return lambda said: said + more if said.startswith(line) else said


def instead(line: bytes, other: bytes) -> Change:
    """Say *other* in the place of a reply that begins with *line*."""
    return lambda said: other if said.startswith(line) else said


def without(word: bytes) -> Change:
    """Strike *word* out."""
    return lambda said: said.replace(word, b"X" * len(word))


async def sent(home: Path, change: Change) -> tuple[list[str], str, bytes, Server]:
    """Send a letter past someone in the middle: its fate, why, what was said in the clear, and the relay."""
    async with Server(OPTIONS) as server, middle(server.port, change) as between:
        transport = SmtpTransport("main", relay_to(server, port=between.port), home=home, clock=SystemClock())
        try:
            results = await transport.send(envelope(), payload(), Account())
        finally:
            await transport.close()
            await left_alone(server)
    return fates(results), results[0].why, between.heard, server


@pytest.mark.parametrize(
    ("change", "meant", "why"),
    [
        (without(b"STARTTLS"), "not-tried hold", "does not encrypt the connection, and the settings require it"),
        (instead(b"220 2.0.0", b"502 5.5.1 No such command\r\n"), "not-tried hold", "does not encrypt"),
        (instead(b"220 2.0.0", b"454 4.7.0 Not now\r\n"), "not-tried relay", "can't encrypt the connection just now"),
        (instead(b"220 2.0.0", b"250 2.0.0 Fine\r\n"), "not-tried relay", "does not fit the question"),
        (after(b"220 relay", b"250-evil\r\n250 AUTH PLAIN LOGIN\r\n"), "", ""),
        (after(b"220 relay", b"250-evil\r\n250 STARTTLS\r\n220 Go\r\n"), "", ""),
    ],
    ids=["stripped", "refused", "later", "wrong-yes", "hello-ahead", "all-ahead"],
)
async def test_no_trick_in_the_clear_gets_a_password_or_a_letter(tmp_path, change, meant, why):
    """Stripped, refused or answered ahead: neither login nor letter is said in the clear, whatever becomes of the connection."""
    told, reason, heard, server = await sent(tmp_path, change)
    assert told[0].startswith(meant)
    assert why in reason
    assert not any(word in heard.upper() for word in (b"AUTH", b"MAIL", b"RCPT", b"DATA"))
    if meant:
        assert server.received == []
        assert not any(each["kind"] == "auth" for each in server.events)
    assert all(each.tls for each in server.received)


@pytest.mark.parametrize("more", [INJECTED, b"220 again\r\n", b"535 5.7.8 Wrong\r\n", b"\x16\x03\x03"])
async def test_what_is_pushed_in_behind_the_220_is_not_heard_after_tls(tmp_path, more):
    """Plain text pipelined behind the answer to STARTTLS is dropped, or ends the connection; it never counts as the relay's word."""
    told, _, heard, server = await sent(tmp_path, after(b"220 2.0.0", more))
    assert told in (["accepted recipient"], ["not-tried relay"])
    assert b"AUTH" not in heard.upper()
    assert all(each["right"] for each in server.events if each["kind"] == "auth")


async def test_the_offers_are_those_made_after_tls(tmp_path):
    """Neither what was offered in the clear nor what was pushed in behind the 220 is believed."""

    def change(said: bytes) -> bytes:
        offered = said.replace(b"250-PIPELINING", b"250-XCLEAR\r\n250-PIPELINING")
        return after(b"220 2.0.0", INJECTED)(offered)

    async with Server(OPTIONS) as server, middle(server.port, change) as between:
        relay = relay_to(server, port=between.port)
        session = await smtp.open_session("main", relay, tmp_path)
        assert b"STARTTLS" in between.heard
        assert "xclear" not in session.extensions
        assert session.extensions["size"] == str(OPTIONS.size_limit)
        assert isinstance(session.wire.info("ssl_object"), ssl.SSLObject)
        session.wire.abort()
        await session.wire.closed()
        await left_alone(server)


async def test_clear_text_where_tls_is_due_from_the_first_byte_on(tmp_path):
    """A relay of tls = "implicit" that speaks clear text is told as such, and hears nothing."""
    async with Server(Options(user="u", password="p", record_all=True)) as server:
        relay = relay_to(server, tls="implicit")
        with pytest.raises(RelayError, match="no encrypted connection could be agreed") as caught:
            await probe("main", relay, tmp_path)
        assert "starttls" in (caught.value.remedy or "")
        assert not any(each["kind"] in {"auth", "letter"} for each in server.events)
        await left_alone(server)

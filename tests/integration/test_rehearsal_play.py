import asyncio
import datetime as dt
import ssl

import pytest

from mailer.clock import ManualClock
from mailer.rehearsal.faults import GARBAGE, Faults
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from tests.support.raw_smtp import LETTER, Raw

LATER = "451 4.3.0 Later"


def playing(*rules: dict, **options) -> Server:
    """A server that plays these rules and notes everything."""
    return Server(Options(record_all=True, **options), Faults.from_rules(rules))


async def test_greylisting_on_a_moved_clock(clock: ManualClock):
    """An address hears 451 until fifteen minutes after its first try, and 250 from then on; a neighbour is not touched."""
    faults = Faults.from_rules([{"at": "rcpt", "to": "*@slow.example", "reply": "451 4.7.1 Greylisted", "for": "15m"}])
    async with Server(faults=faults, clock=clock) as server, Raw(server.port) as raw:
        await raw.hello()
        heard = []
        for _ in range(3):
            heard.append([reply[:3] for reply in await raw.envelope("a@slow.example", "b@y.example")])
            await raw.ask(".")
            clock.advance(dt.timedelta(minutes=8))
    assert heard == [["250", "451", "250", "354"], ["250", "451", "250", "354"], ["250", "250", "250", "354"]]
    assert [received.accepted for received in server.taken] == [
        ("b@y.example",),
        ("b@y.example",),
        ("a@slow.example", "b@y.example"),
    ]
    assert [(refused.address, refused.reply, refused.text) for refused in server.refused] == [
        ("a@slow.example", 451, "4.7.1 Greylisted")
    ] * 2


async def test_a_dead_address_and_a_full_mailbox_beside_a_good_one():
    """Each recipient of a letter has its own reply, and the letter goes to those that were accepted."""
    rules = (
        {"at": "rcpt", "to": "dead@*", "reply": "550 5.1.1 No such mailbox"},
        {"at": "rcpt", "to": "full@*", "reply": "452 4.2.2 Mailbox full"},
    )
    async with playing(*rules) as server, Raw(server.port) as raw:
        await raw.hello()
        assert await raw.envelope("dead@y.example", "good@y.example", "full@y.example") == [
            "250 2.1.0 Ok",
            "550 5.1.1 No such mailbox",
            "250 2.1.5 Ok",
            "452 4.2.2 Mailbox full",
            "354 End data with <CR><LF>.<CR><LF>",
        ]
        assert (await raw.ask(LETTER + b".")).startswith("250")
        assert (await raw.envelope("dead@y.example"))[-1].startswith("554 5.5.1")
    assert server.received[0].rcpts == (("dead@y.example", 550), ("good@y.example", 250), ("full@y.example", 452))
    assert server.received[0].accepted == ("good@y.example",)


@pytest.mark.parametrize(
    ("phase", "taken"),
    [("mail", 0), ("rcpt", 0), ("data", 0), ("content", 0), ("dot", 0), ("reply", 1)],
)
@pytest.mark.parametrize("do", ["drop", "reset"])
async def test_a_connection_may_break_at_any_phase(phase, taken, do):
    """Broken before the letter is taken, it is not ours; broken at the reply, it is, though the client never hears so."""
    async with playing({"at": phase, "do": do, "times": 1}) as server:
        async with Raw(server.port) as raw:
            await raw.hello()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await raw.letter("a@y.example")
        assert len(server.taken) == taken
        assert len(server.received) == (1 if phase in {"dot", "reply"} else 0)
        assert server.faults.played(0) == 1
        async with Raw(server.port) as raw:
            await raw.hello()
            assert (await raw.letter("a@y.example")).startswith("250")
        assert len(server.taken) == taken + 1


@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail", "rcpt", "data", "dot", "reply", "rset", "noop", "quit"])
@pytest.mark.parametrize("reply", ["421 4.3.2 Going down", LATER, "554 5.3.0 No"])
async def test_any_phase_may_be_refused(phase, reply):
    """The reply of the rule is heard where it is due; 421 closes; only `reply` leaves the letter taken."""
    async with playing({"at": phase, "reply": reply}) as server, Raw(server.port) as raw:
        conversation = [
            ("connect", ""),
            ("ehlo", "EHLO client.example"),
            ("noop", "NOOP"),
            ("rset", "RSET"),
            ("mail", "MAIL FROM:<us@x.example>"),
            ("rcpt", "RCPT TO:<a@y.example>"),
            ("data", "DATA"),
            ("dot" if phase == "dot" else "reply", LETTER.decode() + "."),
            ("quit", "QUIT"),
        ]
        for at, line in conversation:
            heard = await raw.ask(line) if line else await raw.reply()
            if at == phase:
                break
        assert heard == reply
        if reply.startswith("421") or phase in {"connect", "quit"}:
            assert await raw.is_closed()
        assert len(server.taken) == (1 if phase in {"reply", "quit"} else 0)


async def test_a_stall_lasts_until_the_clock_says_so(clock: ManualClock):
    """A stall of a minute ends when the clock has moved by a minute, and the conversation goes on."""
    rule = {"at": "mail", "do": "stall", "seconds": "1m"}
    async with Server(faults=Faults.from_rules([rule]), clock=clock) as server, Raw(server.port) as raw:
        await raw.hello()
        raw.write(b"MAIL FROM:<us@x.example>\r\nRCPT TO:<a@y.example>\r\n")
        await server.reached("mail")
        clock.advance(dt.timedelta(seconds=59))
        assert server.record.phases["rcpt"] == 0
        clock.advance(dt.timedelta(seconds=1))
        assert [reply[:3] for reply in await raw.replies(2)] == ["250", "250"]


@pytest.mark.parametrize(("phase", "taken"), [("dot", 0), ("reply", 1)])
async def test_a_client_that_does_not_wait_out_a_stall(phase, taken):
    """Gone before the letter was taken, nothing is taken; gone while the reply was late, it stays taken."""
    async with playing({"at": phase, "do": "stall"}) as server:
        async with Raw(server.port) as raw:
            await raw.hello()
            await raw.envelope("a@y.example")
            raw.write(LETTER + b".\r\n")
            await server.reached("dot")
        assert len(server.taken) == taken


async def test_content_may_stop_being_read(clock: ManualClock):
    """A stall in the content leaves the client's octets in its own hands; later the letter arrives whole."""
    rule = {"at": "content", "do": "stall", "seconds": 30, "after_bytes": 1000}
    letter = LETTER + (b"x" * 76 + b"\r\n") * 60000
    async with Server(faults=Faults.from_rules([rule]), clock=clock) as server, Raw(server.port) as raw:
        await raw.hello()
        await raw.envelope("a@y.example")
        raw.write(letter + b".\r\n")
        drained = asyncio.ensure_future(raw.writer.drain())
        await server.reached("content")
        assert not drained.done()
        clock.advance(dt.timedelta(seconds=30))
        assert (await raw.reply()).startswith("250")
        await drained
    assert server.received[0].size == len(letter)


async def test_replies_out_of_shape():
    """Garbage, half a reply, single octets, an overlong line and a reply of many lines come as the rules say."""
    rules = (
        {"at": "noop", "do": "garbage", "nth": 1},
        {"at": "noop", "do": "split", "reply": "250 2.0.0 In octets", "nth": 1},
        {"at": "noop", "do": "overlong", "size": 9000, "nth": 1},
        {"at": "noop", "do": "multiline", "lines": 3, "nth": 1},
        {"at": "noop", "reply": ["250 one", "250 two"], "nth": 1},
        {"at": "noop", "do": "half", "nth": 1},
    )
    async with playing(*rules) as server, Raw(server.port) as raw:
        await raw.hello()
        raw.write(b"NOOP\r\n")
        assert await raw.reader.readexactly(len(GARBAGE)) == GARBAGE
        assert await raw.ask("NOOP") == "250 2.0.0 In octets"
        overlong = await raw.ask("NOOP")
        assert (len(overlong), overlong[:12]) == (8998, "250 2.0.0 Ok")
        assert await raw.ask("NOOP") == "250-2.0.0 Ok\n250-2.0.0 Ok\n250 2.0.0 Ok"
        assert await raw.ask("NOOP") == "250-one\n250 two"
        raw.write(b"NOOP\r\n")
        assert await raw.rest() == b"250 2."


async def test_answers_before_their_time():
    """`early` gives the next answer at once and not again; at content, the final reply comes before the end; a no there is kept."""
    rules = (
        {"at": "mail", "do": "early", "then": "250 2.1.5 Early", "letter": 1},
        {"at": "content", "do": "early", "reply": "250 2.0.0 Early", "letter": 2},
        {"at": "content", "do": "early", "reply": "554 5.7.1 No more of this", "letter": 3},
    )
    async with playing(*rules) as server, Raw(server.port) as raw:
        await raw.hello()
        assert await raw.ask("MAIL FROM:<us@x.example>") == "250 2.1.0 Ok"
        assert await raw.reply() == "250 2.1.5 Early"
        raw.write(b"RCPT TO:<a@y.example>\r\n")
        assert (await raw.ask("DATA")).startswith("354")
        assert (await raw.ask(LETTER + b".")).startswith("250 2.0.0 Taken")
        await raw.envelope("b@y.example")
        assert await raw.ask("Subject: x") == "250 2.0.0 Early"
        assert not server.received[1:]
        raw.write(b".\r\n")
        assert (await raw.ask("NOOP")).startswith("250")
        await raw.envelope("c@y.example")
        assert await raw.ask("Subject: x") == "554 5.7.1 No more of this"
        raw.write(b".\r\n")
        assert (await raw.ask("NOOP")).startswith("250")
    assert [received.accepted for received in server.taken] == [("a@y.example",), ("b@y.example",)]
    assert [received.reply for received in server.received] == [250, 250, 554]


async def test_an_unasked_421_follows_a_reply():
    """`then` says goodbye right behind a good reply: the letter is taken, the connection ends."""
    async with playing({"at": "reply", "then": "421 4.3.2 Going down"}) as server, Raw(server.port) as raw:
        await raw.hello()
        assert (await raw.letter("a@y.example")).startswith("250")
        assert (await raw.reply()).startswith("421")
        assert await raw.is_closed()
    assert len(server.taken) == 1


async def test_a_refusal_in_the_middle_of_the_content_ends_the_connection():
    """552 while the letter still comes in: it is not taken, and what follows is not read as commands."""
    rule = {"at": "content", "reply": "552 5.3.4 Too large", "after_bytes": 10}
    async with playing(rule) as server, Raw(server.port) as raw:
        await raw.hello()
        await raw.envelope("a@y.example")
        assert await raw.ask(b"Subject: a circular that is too large") == "552 5.3.4 Too large"
        assert await raw.is_closed()
    assert not server.received


async def test_offers_may_be_taken_away_or_added():
    """What `hide` takes from EHLO is not accepted either; `offer` adds lines."""
    rule = {"at": "ehlo", "hide": ["PIPELINING", "dsn", "SMTPUTF8"], "offer": "CHUNKING"}
    async with playing(rule) as server, Raw(server.port) as raw:
        offer = await raw.hello()
        assert "CHUNKING" in offer
        assert not any(word in offer for word in ("PIPELINING", "DSN", "SMTPUTF8"))
        assert (await raw.ask("MAIL FROM:<us@x.example> RET=HDRS")).startswith("555")
        assert (await raw.ask("MAIL FROM:<us@x.example> SMTPUTF8")).startswith("555")


async def test_a_lie_about_pipelining_loses_what_was_sent_along():
    """The server offers PIPELINING and answers the first command of each read only."""
    async with playing({"at": "ehlo", "do": "lie"}, pipelining=False) as server, Raw(server.port, patience=0.2) as raw:
        assert "PIPELINING" in await raw.hello()
        raw.write(b"MAIL FROM:<us@x.example>\r\nRCPT TO:<a@y.example>\r\nDATA\r\n")
        assert (await raw.reply()).startswith("250 2.1.0")
        with pytest.raises(TimeoutError):
            await raw.reply()
    assert not server.received


async def test_stripped_starttls_leaves_a_server_in_clear():
    """As a man in the middle would: no STARTTLS in the offer, 502 for the command, and mail taken in clear."""
    rule = {"at": "ehlo", "hide": "STARTTLS"}
    async with playing(rule, tls=TlsMode.STARTTLS) as server, Raw(server.port) as raw:
        assert "STARTTLS" not in await raw.hello()
        assert (await raw.ask("STARTTLS")).startswith("502")
        assert (await raw.letter("a@y.example")).startswith("250")
    assert not server.received[0].tls


@pytest.mark.parametrize("flaw", ["other-name", "unknown-ca", "expired"])
@pytest.mark.parametrize("tls", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
async def test_wrong_certificates_are_seen_by_a_careful_client(flaw, tls):
    """Each flaw fails verification; the next connection meets the right certificate."""
    at = "connect" if tls is TlsMode.IMPLICIT else "starttls"
    async with playing({"at": at, "do": "certificate", "flaw": flaw, "times": 1}, tls=tls) as server:
        context = ssl.create_default_context(cafile=server.ca_file)
        if tls is TlsMode.IMPLICIT:
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
            writer.transport.abort()
            return
        async with Raw(server.port) as raw:
            await raw.hello()
            with pytest.raises(ssl.SSLCertVerificationError):
                await raw.starttls(server.ca_file)
        async with Raw(server.port) as raw:
            await raw.hello()
            await raw.starttls(server.ca_file)
            assert (await raw.ask("EHLO client.example")).startswith("250")


@pytest.mark.parametrize(
    ("rule", "heard"),
    [
        ({"at": "starttls", "reply": "454 4.7.0 Not now"}, "454 4.7.0 Not now"),
        ({"at": "starttls", "close": True}, "220 2.0.0 Go ahead"),
    ],
)
async def test_starttls_may_fail_before_the_handshake(rule, heard):
    """A refusal leaves the connection in clear and usable; 220 and a close leaves nothing."""
    async with playing(rule, tls=TlsMode.STARTTLS) as server, Raw(server.port) as raw:
        await raw.hello()
        assert await raw.ask("STARTTLS") == heard
        if "close" in rule:
            assert await raw.is_closed()
        else:
            assert (await raw.ask("NOOP")).startswith("250")


async def test_a_login_may_be_refused_for_a_while():
    """454 at AUTH, once: the second try is let in."""
    rule = {"at": "auth", "reply": "454 4.7.0 Try later", "times": 1}
    async with playing(rule, user="u", password="p") as server, Raw(server.port) as raw:
        await raw.hello()
        assert (await raw.ask("AUTH PLAIN AHUAcA==")).startswith("454")
        assert (await raw.ask("MAIL FROM:<us@x.example>")).startswith("530")
        assert (await raw.ask("AUTH PLAIN AHUAcA==")).startswith("235")


async def test_a_relay_that_lies_about_the_end_is_known_in_the_record():
    """A 451 for a letter that was taken: the record says taken, with the code the client heard."""
    async with playing({"at": "reply", "reply": LATER}) as server, Raw(server.port) as raw:
        await raw.hello()
        assert await raw.letter("a@y.example") == LATER
    assert (server.received[0].taken, server.received[0].reply) == (True, 451)


async def test_events_tell_which_fault_was_played_on_which_letter():
    """With record_all, each play is an event: phase, number of the rule, number of the letter."""
    async with playing({"at": "rcpt", "to": "dead@*", "reply": "550 5.1.1 No"}) as server, Raw(server.port) as raw:
        await raw.hello()
        await raw.letter("a@y.example")
        await raw.letter("dead@y.example")
    played = [event for event in server.events if event["kind"] == "fault"]
    assert [(event["phase"], event["rule"], event["letter"]) for event in played] == [("rcpt", 0, 2)]

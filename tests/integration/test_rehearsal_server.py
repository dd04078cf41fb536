import asyncio
import base64
import hashlib
import json
import os
import smtplib
import ssl
import stat
from pathlib import Path

import aiosmtplib
import pytest

from mailer.errors import BadInput, CannotDo
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from tests.support.raw_smtp import LETTER, Raw


def _corpus(name: str) -> list[dict]:
    root = Path(os.environ.get("CHANCERY_SHARED", Path(__file__).parents[3] / "shared"))
    file = root / "corpora" / "hostile" / "manifest.json"
    return json.loads(file.read_text())[name] if file.exists() else []


@pytest.mark.parametrize("tls", list(TlsMode))
async def test_aiosmtplib_sends_through_every_mode_of_tls(tls):
    """An independent client verifies our certificate, logs in and hands over a letter that arrives octet for octet."""
    async with Server(Options(tls=tls, user="u", password="p", keep_data=True)) as server:
        context = ssl.create_default_context(cafile=server.ca_file) if server.ca_file else None
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=server.port,
            use_tls=tls is TlsMode.IMPLICIT,
            start_tls=tls is TlsMode.STARTTLS,
            tls_context=context,
            username="u",
            password="p",
            local_hostname="client.example",
        )
        async with client:
            letter = LETTER + b".a dot\r\n..two\r\n"
            await client.sendmail("us@x.example", ["a@y.example", "b@y.example"], letter)
            await client.sendmail("us@x.example", ["c@y.example"], LETTER)
    first, second = server.received
    assert first.data == letter
    assert first.sha256 == hashlib.sha256(letter).hexdigest()
    assert (first.tls, first.user) == (tls is not TlsMode.NONE, "u")
    assert first.rcpts == (("a@y.example", 250), ("b@y.example", 250))
    assert (first.message_id, first.letter, first.taken, first.reply) == ("<one@x.example>", "17", True, 250)
    assert (second.seq, second.connection, second.accepted) == (2, 1, ("c@y.example",))


@pytest.mark.parametrize("tls", list(TlsMode))
async def test_smtplib_sends_through_every_mode_of_tls(tls):
    """The standard library's client, in its thread, agrees with aiosmtplib."""
    async with Server(Options(tls=tls, user="u", password="p", keep_data=True)) as server:

        def send() -> dict:
            context = ssl.create_default_context(cafile=server.ca_file) if server.ca_file else None
            if tls is TlsMode.IMPLICIT:
                client = smtplib.SMTP_SSL("127.0.0.1", server.port, "client.example", context=context)
            else:
                client = smtplib.SMTP("127.0.0.1", server.port, "client.example")
            with client:
                if tls is TlsMode.STARTTLS:
                    client.starttls(context=context)
                client.login("u", "p")
                return client.sendmail("us@x.example", ["a@y.example"], "Subject: x\n\n.line\n", ["body=8bitmime"])

        assert await asyncio.to_thread(send) == {}
    assert server.received[0].data == b"Subject: x\r\n\r\n.line\r\n"
    assert dict(server.received[0].params) == {"SIZE": "21", "BODY": "8bitmime"}


async def test_a_stranger_does_not_trust_the_certificate():
    """Only who is given the ca_file trusts this server; its key is not in that file."""
    async with Server(Options(tls=TlsMode.IMPLICIT)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=ssl.create_default_context())
        assert b"PRIVATE" not in server.ca_file.read_bytes()
        assert server.ca_file.read_bytes().count(b"BEGIN CERTIFICATE") == 1
    assert not server.ca_file.exists()


async def test_wrong_passwords_are_refused_and_mail_waits_for_the_right_one():
    """535 for a wrong password, 530 for MAIL without login, by PLAIN, LOGIN and XOAUTH2."""

    def secret(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    async with Server(Options(user="u", password="p", token="t")) as server, Raw(server.port) as raw:
        assert "AUTH PLAIN LOGIN XOAUTH2" in await raw.hello()
        assert (await raw.ask("MAIL FROM:<us@x.example>")).startswith("530 5.7.0")
        assert (await raw.ask("AUTH PLAIN " + secret("\0u\0wrong"))).startswith("535 5.7.8")
        assert (await raw.ask("AUTH PLAIN nonsense!")).startswith("501")
        assert (await raw.ask("AUTH CRAM-MD5")).startswith("504")
        assert await raw.ask("AUTH PLAIN") == "334 "
        assert (await raw.ask("*")).startswith("501")
        assert await raw.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert await raw.ask(secret("u")) == "334 UGFzc3dvcmQ6"
        assert (await raw.ask(secret("wrong"))).startswith("535")
        challenge = await raw.ask("AUTH XOAUTH2 " + secret("user=u\1auth=Bearer p\1\1"))
        assert json.loads(base64.b64decode(challenge.removeprefix("334 ")))["status"] == "401"
        assert (await raw.ask("")).startswith("535 5.7.8")
        assert (await raw.ask("AUTH XOAUTH2 " + secret("user=u\1auth=Bearer t\1\1"))).startswith("235")
        assert (await raw.ask("AUTH PLAIN " + secret("\0u\0p"))).startswith("503")
        assert (await raw.letter("a@y.example")).startswith("250")
    assert server.received[0].user == "u"


async def test_nothing_is_said_in_clear_that_tls_should_cover():
    """With STARTTLS, neither AUTH nor MAIL is taken before it, and AUTH is not offered."""
    async with Server(Options(tls=TlsMode.STARTTLS, user="u", password="p")) as server, Raw(server.port) as raw:
        assert "AUTH" not in await raw.hello()
        assert (await raw.ask("AUTH PLAIN AHUAcA==")).startswith("538")
        assert (await raw.ask("MAIL FROM:<us@x.example>")).startswith("530")
        await raw.starttls(server.ca_file)
        assert (await raw.ask("MAIL FROM:<us@x.example>")).startswith("503")  # EHLO is wanted again
        offer = await raw.ask("EHLO client.example")
        assert "AUTH PLAIN LOGIN" in offer
        assert "STARTTLS" not in offer
        assert (await raw.ask("STARTTLS")).startswith("503")


async def test_commands_smuggled_in_clear_behind_starttls_are_thrown_away():
    """What a man in the middle puts behind STARTTLS is never obeyed."""
    async with Server(Options(tls=TlsMode.STARTTLS, record_all=True)) as server, Raw(server.port) as raw:
        await raw.hello()
        raw.write(b"STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@x.example>\r\n")
        assert (await raw.reply()).startswith("220")
        await raw.writer.start_tls(ssl.create_default_context(cafile=server.ca_file), server_hostname="127.0.0.1")
        assert (await raw.ask("RCPT TO:<a@y.example>")).startswith("503")
        assert (await raw.ask("MAIL FROM:<us@x.example>")).startswith("503")
    assert [event["octets"] for event in server.events if event["kind"] == "smuggled"] == [47]


async def test_a_group_of_commands_is_answered_in_order():
    """PIPELINING: content, the next envelope and DATA go in one write; the replies come in order, DATA last."""
    envelope = b"MAIL FROM:<us@x.example>\r\nRCPT TO:<%s@y.example>\r\nRCPT TO:<%s@z.example>\r\nDATA\r\n"
    async with Server() as server, Raw(server.port) as raw:
        assert "PIPELINING" in await raw.hello()
        raw.write(envelope % (b"a", b"b"))
        assert [reply[:3] for reply in await raw.replies(4)] == ["250", "250", "250", "354"]
        raw.write(LETTER + b".\r\n" + envelope % (b"c", b"d"))
        assert [reply[:3] for reply in await raw.replies(5)] == ["250", "250", "250", "250", "354"]
        raw.write(LETTER + b".\r\nRSET\r\nNOOP\r\nQUIT\r\n")
        assert [reply[:3] for reply in await raw.replies(4)] == ["250", "250", "250", "221"]
        assert await raw.is_closed()
    assert [received.accepted for received in server.taken] == [
        ("a@y.example", "b@z.example"),
        ("c@y.example", "d@z.example"),
    ]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7])
async def test_octets_may_come_in_pieces_of_any_size(step):
    """Commands, content and the end of data are found wherever reads are cut."""
    async with Server(Options(keep_data=True)) as server, Raw(server.port) as raw:
        await raw.hello()
        whole = b"MAIL FROM:<us@x.example>\r\nRCPT TO:<a@y.example>\r\nDATA\r\n"
        raw.writer.get_extra_info("socket").setsockopt(6, 1, 1)  # no delay: each piece is a segment
        for start in range(0, len(whole), step):
            raw.write(whole[start : start + step])
            await asyncio.sleep(0)
        assert [reply[:3] for reply in await raw.replies(3)] == ["250", "250", "354"]
        content = b"A: b\r\n\r\n..\r\n.\r"
        for start in range(0, len(content), step):
            raw.write(content[start : start + step])
            await asyncio.sleep(0)
        raw.write(b"\n")
        assert (await raw.reply()).startswith("250")
    assert server.received[0].data == b"A: b\r\n\r\n.\r\n"


@pytest.mark.parametrize("content", [b"", b".\r\n", b"..\r\n", b"no line end before the dot\r\n"])
async def test_short_contents_end_where_they_end(content):
    """A letter may be empty, or begin with stuffed dots."""
    stuffed = b"." + content if content.startswith(b".") else content
    async with Server(Options(keep_data=True)) as server, Raw(server.port) as raw:
        await raw.hello()
        assert (await raw.letter("a@y.example", content=stuffed)).startswith("250")
        assert (await raw.ask("NOOP")).startswith("250")
    assert server.received[0].data == content


async def test_size_is_held_at_mail_and_at_the_end():
    """SIZE= above the limit is refused before content; a letter that grows beyond it, after; the connection lives on."""
    async with Server(Options(size_limit=2000)) as server, Raw(server.port) as raw:
        assert "SIZE 2000" in await raw.hello()
        assert (await raw.ask("MAIL FROM:<us@x.example> SIZE=2001")).startswith("552 5.3.4")
        large = LETTER + (b"x" * 76 + b"\r\n") * 5000
        assert (await raw.letter("a@y.example", content=large)).startswith("552 5.3.4")
        assert (await raw.letter("a@y.example")).startswith("250")
    assert [(received.taken, received.reply) for received in server.received] == [(False, 552), (True, 250)]


async def test_dsn_parameters_are_recorded_as_they_came():
    """ENVID, RET, NOTIFY and ORCPT are in the record octet for octet."""
    async with Server() as server, Raw(server.port) as raw:
        assert "DSN" in await raw.hello()
        await raw.ask("MAIL FROM:<us@x.example> RET=HDRS ENVID=Abc+2BDef")
        await raw.ask("RCPT TO:<A@y.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;A+2BB@y.example")
        await raw.ask("DATA")
        assert (await raw.ask(LETTER + b".")).startswith("250")
    received = server.received[0]
    assert received.envid == "Abc+2BDef"
    assert received.params["RET"] == "HDRS"
    assert received.rcpt_params == ({"NOTIFY": "FAILURE,DELAY", "ORCPT": "rfc822;A+2BB@y.example"},)


async def test_what_is_not_offered_is_not_taken():
    """Without DSN and PIPELINING in the options, neither is said by EHLO nor accepted."""
    async with Server(Options(dsn=False, pipelining=False)) as server:
        async with Raw(server.port) as raw:
            offer = await raw.hello()
            assert "DSN" not in offer
            assert "PIPELINING" not in offer
            assert (await raw.ask("MAIL FROM:<us@x.example> RET=HDRS")).startswith("555")
            raw.write(b"MAIL FROM:<us@x.example>\r\nRCPT TO:<a@y.example>\r\n")
            assert (await raw.reply()).startswith("503 5.5.0")
            assert await raw.is_closed()
        async with Raw(server.port) as raw:
            await raw.hello()
            await raw.envelope("a@y.example")
            raw.write(LETTER + b".\r\nMAIL FROM:<us@x.example>\r\n")
            assert (await raw.reply()).startswith("503 5.5.0")
    assert not server.taken


async def test_commands_out_of_sequence_are_refused():
    """RFC 5321's order is held, and DATA without an accepted recipient never opens content."""
    async with Server() as server, Raw(server.port) as raw:
        assert (await raw.reply()).startswith("220")
        for early in ("MAIL FROM:<us@x.example>", "RCPT TO:<a@y.example>", "DATA"):
            assert (await raw.ask(early)).startswith("503")
        assert (await raw.ask("EHLO not_a name")).startswith("501")
        assert (await raw.ask("HELO client.example")) == "250 relay.rehearsal.test"
        assert (await raw.ask("MAIL FROM:<us@x.example> SIZE=10")).startswith("555")  # HELO offers nothing
        assert (await raw.ask("EHLO [127.0.0.1]")).startswith("250-")
        assert (await raw.ask("DATA")).startswith("503")
        assert (await raw.ask("MAIL FROM:<us@x.example>")).startswith("250")
        assert (await raw.ask("MAIL FROM:<us@x.example>")).startswith("503")
        assert (await raw.ask("DATA")).startswith("503")
        assert (await raw.ask("RSET")).startswith("250")
        assert (await raw.ask("RCPT TO:<a@y.example>")).startswith("503")
        assert (await raw.ask("STARTTLS")).startswith("502")
        assert (await raw.ask("AUTH PLAIN AHUAcA==")).startswith("502")
        assert (await raw.ask("VRFY someone")).startswith("252")
        assert (await raw.ask("HELP")).startswith("214")
        assert (await raw.ask("TURN")).startswith("500")
        assert (await raw.ask("NOOP anything")).startswith("250")
        assert (await raw.ask("QUIT now")).startswith("501")


@pytest.mark.parametrize(
    "octets",
    [b"NOOP\n", b"NOOP\nNOOP\r\n", b"NOOP\rNOOP\r\n", b"\n", b"MAIL FROM:<a@x.example>\nRCPT TO:<b@x.example>\r\n"],
)
async def test_bare_line_ends_in_commands_end_the_conversation(octets):
    """A line that does not end with CR LF is refused, and nothing after it is obeyed."""
    async with Server() as server, Raw(server.port) as raw:
        await raw.hello()
        raw.write(octets)
        assert (await raw.reply()).startswith("500 5.5.2")
        assert await raw.is_closed()


async def test_lines_have_their_limits():
    """512 octets for a command, 2048 for MAIL and RCPT; endless lines are cut off."""
    async with Server() as server:
        async with Raw(server.port) as raw:
            await raw.hello()
            assert (await raw.ask("NOOP " + "x" * 505)).startswith("250")
            assert (await raw.ask("NOOP " + "x" * 506)).startswith("500")
            assert (await raw.ask("MAIL FROM:<us@x.example> AUTH=" + "x" * 2030)).startswith("500")
        async with Raw(server.port) as raw:
            await raw.hello()
            raw.write(b"x" * 20000)
            assert (await raw.reply()).startswith("500")
            assert await raw.is_closed()


async def test_content_sent_before_354_is_not_taken_for_commands():
    """A client that sends the letter along with DATA is cut off: its text is neither letter nor commands."""
    async with Server() as server, Raw(server.port) as raw:
        await raw.hello()
        raw.write(b"MAIL FROM:<us@x.example>\r\nRCPT TO:<a@y.example>\r\nDATA\r\nRSET\r\n.\r\n")
        assert [reply[:3] for reply in await raw.replies(3)] == ["250", "250", "503"]
        assert await raw.is_closed()
    assert not server.received


async def test_limits_on_connections_letters_and_recipients():
    """One connection too many, one letter too many, one recipient too many: 421, 421, 452."""
    options = Options(max_connections=1, letters_per_connection=2, rcpt_limit=1)
    async with Server(options) as server, Raw(server.port) as raw:
        await raw.hello()
        async with Raw(server.port) as second:
            assert (await second.reply()).startswith("421 4.7.0")
            assert await second.is_closed()
        assert await raw.envelope("a@y.example", "b@y.example") == [
            "250 2.1.0 Ok",
            "250 2.1.5 Ok",
            "452 4.5.3 Too many recipients",
            "354 End data with <CR><LF>.<CR><LF>",
        ]
        await raw.ask(LETTER + b".")
        await raw.letter("a@y.example")
        assert (await raw.ask("MAIL FROM:<us@x.example>")).startswith("421 4.7.0")
        assert await raw.is_closed()
    assert server.peak_connections == 2
    assert server.received[0].rcpts == (("a@y.example", 250), ("b@y.example", 452))
    assert [(refused.address, refused.reply) for refused in server.refused] == [("b@y.example", 452)]


async def test_replies_wait_as_long_as_asked_and_a_group_waits_once():
    """reply_ms and end_ms are a round trip's latency, not a cost per command."""
    loop = asyncio.get_running_loop()
    async with Server(Options(reply_ms=300, end_ms=60)) as server, Raw(server.port) as raw:
        await raw.hello()
        start = loop.time()
        raw.write(b"MAIL FROM:<us@x.example>\r\n" + b"RCPT TO:<a@y.example>\r\n" * 20 + b"DATA\r\n")
        await raw.replies(22)
        assert 0.29 < loop.time() - start < 22 * 0.3 / 2
        raw.write(LETTER + b".\r\n")
        await server.reached("taken")
        assert server.record.phases["replied"] == 0
        assert (await raw.reply()).startswith("250")
        assert loop.time() - start > 0.35


async def test_stop_cuts_every_connection_and_may_be_called_twice():
    """Idle, half-said, mid-letter and mid-handshake connections all end."""
    async with Server(Options(tls=TlsMode.STARTTLS)) as server:
        async with Raw(server.port) as idle, Raw(server.port) as talking, Raw(server.port) as shaking:
            await idle.hello()
            await talking.hello()
            talking.write(b"NOO")
            await shaking.hello()
            await shaking.ask("STARTTLS")
            await server.stop()
            assert server.connections == 0
            for raw in (idle, talking, shaking):
                assert await raw.is_closed()
        await server.stop()
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", server.port)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "localhost", "::"])  # noqa: S104 - that it is refused is the point
async def test_only_loopback_is_listened_on(host):
    """A rehearsal is never open to the network."""
    with pytest.raises(BadInput, match="loopback only"):
        await Server(Options(host=host)).start()


async def test_a_taken_port_is_told():
    """Two servers can't share a port, and the error says so."""
    async with Server() as server:
        with pytest.raises(CannotDo, match=str(server.port)):
            await Server(Options(port=server.port)).start()


async def test_the_record_is_written_before_the_reply_and_readable_by_its_owner_only(tmp_path: Path):
    """When a client hears 250, the line is in the file."""
    file = tmp_path / "record"
    async with Server(record=file) as server, Raw(server.port) as raw:
        await raw.hello()
        await raw.letter("a@y.example")
        (line,) = [json.loads(each) for each in file.read_text().splitlines()]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        await raw.letter("b@y.example", content=b"Subject: x\r\nMessage-ID:\r\n <folded@x.example>\r\n\r\na\nb\r\n")
    assert (line["taken"], line["rcpts"], line["letter"], line["sha256"]) == (
        True,
        [["a@y.example", 250]],
        "17",
        hashlib.sha256(LETTER).hexdigest(),
    )
    refused = json.loads(file.read_text().splitlines()[1])
    assert (refused["taken"], refused["reply"], refused["message_id"]) == (False, 550, "<folded@x.example>")


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\n\0.\r\n", b"\r\n.\0\r\n"]
)
async def test_a_false_end_of_data_does_not_end_the_letter(end):
    """What is not CR LF dot CR LF is content, so nothing behind it is ever taken for commands; and it is refused."""
    inner = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@y.example>\r\nDATA\r\ninner\r\n.\r\n"
    async with Server() as server, Raw(server.port) as raw:
        await raw.hello()
        await raw.envelope("a@y.example")
        raw.write(b"outer" + end + inner)
        assert (await raw.reply()).startswith("550 5.6.11")
        assert (await raw.ask("NOOP")).startswith("250")
    assert [received.mail_from for received in server.received] == ["us@x.example"]
    assert not server.taken


@pytest.mark.corpora
@pytest.mark.parametrize("case", _corpus("smuggling") or [None], ids=lambda case: case["id"] if case else "absent")
async def test_smuggling_of_the_corpus_brings_no_second_letter(case):
    """None of the known tricks makes two letters of one."""
    if case is None:
        pytest.skip("third-party corpus absent: hostile")
    async with Server() as server, Raw(server.port) as raw:
        await raw.hello()
        await raw.envelope("a@y.example")
        raw.write(bytes.fromhex(case["data_hex"]))
        await raw.reply()
        raw.write(b"QUIT\r\n")
        await raw.rest()
    assert len(server.taken) <= (2 if case["control"] else 1)
    assert case["control"] or all(received.mail_from == "us@x.example" for received in server.received)

"""The real transport against the rehearsal server: TLS, login, faults in every phase; the server's record is the truth."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mailer.clock import SystemClock
from mailer.errors import SettingsError
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from mailer.transport.base import Envelope, Payload, Result
from mailer.transport.pool import SmtpTransport
from mailer.transport.wire import HIGH, SLICE
from tests.support.transport_kit import HASTY, HEAD, Account, envelope, fates, left_alone, payload, relay_to


async def one(
    home: Path,
    rules: Sequence[dict[str, Any]] = (),
    *,
    given: Envelope | None = None,
    letter: Payload | None = None,
    gate: Account | None = None,
    settings: dict[str, Any] | None = None,
    options: Options | None = None,
) -> tuple[list[Result], Server]:
    """Send one letter to a new server; the results, and the server with its record."""
    async with Server(options or Options(keep_data=True), Faults.from_rules(rules)) as server:
        transport = SmtpTransport("main", relay_to(server, **(settings or {})), home=home, clock=SystemClock())
        try:
            results = await transport.send(given or envelope(), letter or payload(), gate or Account())
        finally:
            await transport.close()
            await left_alone(server)
    return list(results), server


@pytest.mark.parametrize("tls", list(TlsMode))
async def test_each_tls_mode_delivers_and_logs_in(tmp_path, tls):
    """Clear text on loopback, STARTTLS and implicit TLS all deliver, logged in, encrypted where they should be."""
    results, server = await one(tmp_path, options=Options(tls=tls, user="ü", password="pässword", keep_data=True))
    assert fates(results) == ["accepted recipient"]
    (taken,) = server.taken
    assert (taken.tls, taken.user, taken.data) == (tls is not TlsMode.NONE, "ü", HEAD)


async def test_the_password_is_read_from_its_file_each_time(tmp_path):
    """The password file is looked for in the home, and a mended one is used at the next connection."""
    file = tmp_path / "relay.password"
    file.write_text("wrong\n")
    file.chmod(0o600)
    options = Options(tls=TlsMode.STARTTLS, user="u", password="right", record_all=True)
    async with Server(options) as server:
        relay = relay_to(server, password=None, password_file="relay.password")
        first = SmtpTransport("main", relay, home=tmp_path, clock=SystemClock())
        results = await first.send(envelope(), payload(), Account())
        await first.close()
        assert fates(results) == ["not-tried hold"]
        assert "password" in results[0].why
        assert results[0].reply is not None
        assert results[0].reply.code == 535
        file.write_text("right\n")
        second = SmtpTransport("main", relay, home=tmp_path, clock=SystemClock())
        assert fates(await second.send(envelope(), payload(), Account())) == ["accepted recipient"]
        await second.close()
        assert len([each for each in server.events if each["kind"] == "auth"]) == 2


async def test_a_missing_password_file_holds_the_relay(tmp_path):
    """Without its password the relay is on hold, with the file's name in the words."""
    options = Options(tls=TlsMode.STARTTLS, user="u", password="p")
    settings = {"password": None, "password_file": "gone"}
    results, _ = await one(tmp_path, settings=settings, options=options)
    assert fates(results) == ["not-tried hold"]
    assert "gone" in results[0].why


@pytest.mark.parametrize("flaw", ["other-name", "unknown-ca", "expired"])
@pytest.mark.parametrize("tls", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_a_wrong_certificate_holds_the_relay(tmp_path, tls, flaw):
    """A certificate for another name, of an unknown authority or out of date: no letter, no password, a person is needed."""
    at = "starttls" if tls is TlsMode.STARTTLS else "connect"
    options = Options(tls=tls, user="u", password="p", record_all=True)
    results, server = await one(tmp_path, [{"at": at, "do": "certificate", "flaw": flaw}], options=options)
    assert fates(results) == ["not-tried hold"]
    assert "certificate" in results[0].why
    assert server.received == []
    assert not any(each["kind"] == "auth" for each in server.events)


@pytest.mark.parametrize("tls", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_tls_older_than_1_2_is_none(tmp_path, tls):
    """A relay that knows TLS 1.1 at the most gets neither letter nor password."""
    async with Server(Options(tls=tls, user="u", password="p", record_all=True)) as server:
        old = server.context(None)
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        transport = SmtpTransport("main", relay_to(server), home=tmp_path, clock=SystemClock())
        results = await transport.send(envelope(), payload(), Account())
        await transport.close()
        await left_alone(server)
    assert fates(results) == ["not-tried relay"]
    assert any(event["kind"] == "tls" and event["error"] for event in server.events)
    assert not any(event["kind"] == "auth" for event in server.events)


async def test_stripped_starttls_is_a_failure_not_clear_text(tmp_path):
    """If STARTTLS is not on offer, nothing is sent in the clear: neither letter nor password."""
    rules = [{"at": "ehlo", "hide": ["STARTTLS"]}]
    options = Options(tls=TlsMode.STARTTLS, user="u", password="p", record_all=True)
    results, server = await one(tmp_path, rules, options=options)
    assert fates(results) == ["not-tried hold"]
    assert "encrypt" in results[0].why
    assert server.received == []
    verbs = {str(each.get("line", each.get("verb", ""))).split(" ")[0].upper() for each in server.events}
    assert not verbs & {"AUTH", "MAIL"}


async def test_clear_text_to_another_machine_is_refused_at_once(tmp_path):
    """No TLS with a host that is not loopback does not even make a transport."""
    async with Server() as server:
        relay = relay_to(server, host="mail.example")
        with pytest.raises(SettingsError, match="clear"):
            SmtpTransport("main", relay, home=tmp_path, clock=SystemClock())


async def test_dsn_parameters_and_size_follow_the_offer(tmp_path):
    """Where DSN is offered the relay gets ENVID, NOTIFY and ORCPT as given; where not, none of them."""
    given = envelope("o'neill+x@x.test", envid="token+1")
    _, server = await one(tmp_path, given=given)
    (taken,) = server.taken
    assert taken.envid == "token+2B1"
    assert taken.params["RET"].upper() == "HDRS"
    assert taken.params["SIZE"] == str(len(HEAD))
    assert taken.rcpt_params[0]["NOTIFY"].upper() == "FAILURE,DELAY"
    assert taken.rcpt_params[0]["ORCPT"] == "rfc822;o'neill+2Bx@x.test"
    _, server = await one(tmp_path, given=given, options=Options(dsn=False))
    assert server.taken[0].envid is None
    assert not server.taken[0].rcpt_params[0]


async def test_a_letter_over_the_relays_size_is_refused_before_it_is_sent(tmp_path):
    """A letter larger than the relay takes is refused in plain words, and the relay is not asked."""
    results, server = await one(tmp_path, letter=payload(HEAD, b"x" * 3000), options=Options(size_limit=2000))
    assert fates(results) == ["refused letter"]
    assert "MB" in results[0].why
    assert server.received == []


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (b".\r\n", ()),
        (b".", ()),
        (b"..\r\n.x\r\n\r\n.", ()),
        (b"", (b"tail\r\n",)),
        (b"x\r\n", (b"", b"tail\r\n", b"")),
        (b"no line end", ()),
        (b"x\r\n", (b"no line end",)),
        (b"x\r\n.\r\nMAIL FROM:<a@evil.test>\r\n", ()),
    ],
)
async def test_dots_and_ends_arrive_as_given(tmp_path, head, tail):
    """Lines of dots, empty parts and a missing last line end neither end the letter early nor change it."""
    results, server = await one(tmp_path, letter=Payload(head, tail))
    assert fates(results) == ["accepted recipient"]
    (taken,) = server.taken
    whole = head + b"".join(tail)
    assert taken.data == (whole if whole.endswith(b"\r\n") else whole + b"\r\n")


async def test_a_large_letter_waits_for_the_socket(tmp_path):
    """Twenty letters of 2 MB that share their enclosures, by TLS and in the clear, arrive whole."""
    line = b"QUJD" * 19 + b"\r\n"
    tail = memoryview(line * (2_000_000 // len(line)))
    for tls in (TlsMode.NONE, TlsMode.STARTTLS):
        async with Server(Options(tls=tls)) as server:
            transport = SmtpTransport("main", relay_to(server, connections=4), home=tmp_path, clock=SystemClock())
            sends = [transport.send(envelope(attempt=str(n)), Payload(HEAD, (tail,)), Account()) for n in range(20)]
            results = await asyncio.gather(*sends)
            await transport.close()
        assert {fates(each)[0] for each in results} == {"accepted recipient"}
        assert {each.size for each in server.taken} == {len(HEAD) + len(tail)}
        assert len({each.sha256 for each in server.taken}) == 1


@pytest.mark.parametrize("tls", [TlsMode.NONE, TlsMode.STARTTLS])
async def test_a_relay_that_reads_slowly_costs_no_memory(tmp_path, tls):
    """Of a letter of 32 MB to a relay that has stopped reading, no more than a few slices are ever buffered."""
    tail = memoryview(bytes(32_000_000))
    rules = [{"at": "content", "do": "stall", "after_bytes": 100_000}]
    async with Server(Options(tls=tls), Faults.from_rules(rules)) as server:
        patience = dict.fromkeys(HASTY, 10_000) | {"block": 0.6}  # the others' patience does not matter
        transport = SmtpTransport("main", relay_to(server, timeouts=patience), home=tmp_path, clock=SystemClock())
        task = asyncio.create_task(transport.send(envelope(), Payload(HEAD, (tail,)), Account()))
        await server.reached("content")
        wire = next(iter(transport._carrying.values()))._wire
        most = 0
        while not task.done():
            most = max(most, wire._transport.get_write_buffer_size())
            await asyncio.wait([task], timeout=0.01)
        assert fates(task.result()) == ["uncertain letter"]
        assert 0 < most <= HIGH + 2 * SLICE
        await transport.close()


#: phase, fault, and what is to become of the letter; whether the relay has it is read from its record
FAULTS = [
    *[("connect", do, "not-tried relay") for do in ("drop", "reset", "stall", "garbage", "half")],
    *[("ehlo", do, "not-tried relay") for do in ("drop", "reset", "stall", "garbage", "half")],
    *[("auth", do, "not-tried relay") for do in ("drop", "reset", "stall", "garbage", "half")],
    *[("mail", do, "not-tried relay") for do in ("drop", "reset", "stall", "garbage", "half", "overlong")],
    *[("rcpt", do, "not-tried relay") for do in ("drop", "reset", "stall", "garbage", "half", "overlong")],
    *[("data", do, "not-tried relay") for do in ("drop", "reset", "stall", "garbage", "half", "overlong")],
    *[("content", do, "uncertain letter") for do in ("drop", "reset")],
    *[("dot", do, "uncertain letter") for do in ("drop", "reset", "stall", "garbage", "half", "overlong")],
    *[("reply", do, "uncertain letter") for do in ("drop", "reset", "stall", "garbage", "half", "overlong")],
]


@pytest.mark.parametrize(("at", "do", "meant"), FAULTS, ids=[f"{at}-{do}" for at, do, _ in FAULTS])
async def test_a_fault_in_any_phase_is_told_truthfully(tmp_path, at, do, meant):
    """Drop, reset, silence, garbage, half and overlong replies in each phase: never accepted, never "not tried" if the relay has it."""
    gate = Account()
    options = Options(user="u", password="p")
    settings = {"timeouts": HASTY} if do == "stall" else {}
    results, server = await one(tmp_path, [{"at": at, "do": do}], gate=gate, settings=settings, options=options)
    assert fates(results) == [meant]
    assert results[0].why
    assert gate.told == []
    assert len(gate.begun) == (meant.startswith("uncertain"))
    assert len(server.taken) <= (at == "reply" or do == "overlong")
    assert len(server.received) <= (at in {"dot", "reply"})


@pytest.mark.parametrize(
    ("phase", "at", "meant"),
    [
        ("greeting", "connect", "not-tried relay"),
        ("command", "ehlo", "not-tried relay"),
        ("command", "mail", "not-tried relay"),
        ("command", "rcpt", "not-tried relay"),
        ("data", "data", "not-tried relay"),
        ("final", "dot", "uncertain letter"),
    ],
)
async def test_each_phase_has_a_patience_of_its_own(tmp_path, phase, at, meant):
    """Its own setting ends the wait, however patient the others are; after the last dot the letter is in doubt, and no second copy leaves."""
    settings = {"timeouts": dict.fromkeys(HASTY, 10_000) | {phase: 0.3}}
    async with asyncio.timeout(60):
        results, server = await one(tmp_path, [{"at": at, "do": "stall"}], settings=settings)
    assert fates(results) == [meant]
    assert server.record.phases["mail"] <= 1
    assert len(server.taken) == 0


async def test_our_name_is_the_one_of_the_settings_or_our_address(tmp_path):
    """Before and after TLS, and after the login, EHLO has a full name or an address in brackets."""
    options = Options(tls=TlsMode.STARTTLS, user="u", password="p", record_all=True)
    for settings, name in (({}, "[127.0.0.1]"), ({"helo": "circulars.office.example"}, "circulars.office.example")):
        _, server = await one(tmp_path, settings=settings, options=options)
        said = [
            event["line"] for event in server.events if event["kind"] == "command" and "HLO" in event["line"].upper()
        ]
        assert said == [f"EHLO {name}"] * 3


@pytest.mark.parametrize(
    ("at", "do"),
    [(at, do) for at in ("connect", "auth", "mail", "rcpt", "data", "dot", "reply") for do in ("split", "multiline")]
    + [("ehlo", "split"), ("quit", "split")],
)
async def test_odd_but_lawful_replies_are_understood(tmp_path, at, do):
    """Replies in single octets and over many lines are replies."""
    options = Options(user="u", password="p")
    results, server = await one(tmp_path, [{"at": at, "do": do}], options=options)
    assert fates(results) == ["accepted recipient"]
    assert len(server.taken) == 1


async def test_a_refusal_in_mid_content_is_believed(tmp_path):
    """A no that comes before the end of the content is a no: the rest is not sent, and the relay does not have the letter."""
    rules = [{"at": "content", "do": "early", "reply": "552 5.3.4 Too large"}]
    gate = Account()
    results, server = await one(tmp_path, rules, letter=payload(HEAD, b"QUJDREVG\r\n" * 1_000_000), gate=gate)
    assert fates(results) == ["refused letter"]
    assert [each for _, each in gate.told] == [tuple(results)]
    assert server.received == []


async def test_a_yes_in_mid_content_is_not_believed(tmp_path):
    """A yes that comes before the end of the content can't be about the whole letter: uncertain."""
    rules = [{"at": "content", "do": "early", "reply": "250 2.0.0 Taken"}]
    results, server = await one(tmp_path, rules, letter=payload(HEAD, b"QUJDREVG\r\n" * 1_000_000))
    assert fates(results) == ["uncertain letter"]
    assert server.received == []


@pytest.mark.parametrize("at", ["mail", "rcpt", "data"])
async def test_an_answer_to_what_was_not_asked_ends_the_conversation(tmp_path, at):
    """A second answer before the content means that yes and no can be mixed up: no content is sent."""
    results, server = await one(tmp_path, [{"at": at, "then": "250 2.0.0 Taken"}])
    assert fates(results) == ["not-tried relay"]
    assert server.received == []


@pytest.mark.parametrize(
    ("then", "meant"),
    [
        ("451 4.3.0 No", "uncertain letter"),
        ("hello", "accepted recipient"),
        ("421 4.3.2 Closing", "accepted recipient"),
    ],
)
async def test_two_answers_to_one_letter_are_none(tmp_path, then, meant):
    """Yes and at once another answer is uncertain; noise behind the yes, or the word that the relay closes, does not undo it."""
    results, _ = await one(tmp_path, [{"at": "reply", "do": "garbage", "bytes": f"250 2.0.0 Taken\r\n{then}\r\n"}])
    assert fates(results) == [meant]


async def test_421_at_rcpt_leaves_the_others_untried(tmp_path):
    """421 over one recipient defers it and closes: the others are neither refused nor counted."""
    results, server = await one(
        tmp_path,
        [{"at": "rcpt", "to": "slow@x.test", "reply": "421 4.7.0 Slow down"}],
        given=envelope("a@x.test", "slow@x.test", "b@x.test"),
    )
    assert fates(results) == ["not-tried recipient", "deferred domain", "not-tried recipient"]
    assert server.received == []


async def test_hostile_addresses_never_reach_the_relay(tmp_path):
    """Addresses with line ends, brackets or parameters are refused by us; the good one beside them gets its letter."""
    bad = [
        "a@x.test\r\nRSET",
        "a@x.test> NOTIFY=NEVER",
        "a@x.test><b@evil.test",
        "a@x.test\x00",
        "-x@x.test",
        "a b@x.test",
    ]
    results, server = await one(tmp_path, given=envelope(*bad, "good@x.test"), options=Options(record_all=True))
    assert fates(results) == ["refused recipient"] * len(bad) + ["accepted recipient"]
    assert server.taken[0].rcpts == (("good@x.test", 250),)
    assert server.refused == []


async def test_a_sender_that_can_t_be_one_holds_the_relay(tmp_path):
    """A sender's address that can't stand in an envelope is told as such and never sent."""
    results, server = await one(tmp_path, given=envelope(sender="a@x.test\r\nRSET"))
    assert fates(results) == ["not-tried hold"]
    assert server.received == []


@pytest.mark.parametrize(
    ("at", "said"), [("connect", "250 Fine"), ("starttls", "250 Fine"), ("auth", "250 Fine"), ("auth", "220 Fine")]
)
async def test_a_yes_before_there_was_a_letter_is_no_yes_to_it(tmp_path, at, said):
    """A good code where another was due (250 to STARTTLS or AUTH) never counts as having taken the letters that wait."""
    options = Options(tls=TlsMode.STARTTLS, user="u", password="p")
    results, server = await one(tmp_path, [{"at": at, "reply": said}], options=options)
    assert fates(results) == ["not-tried relay"]
    assert "does not fit the question" in results[0].why
    assert server.received == []

"""Addresses with characters beyond ASCII before the @ (RFC 6531, 6532, 6533), all the way from the rows to a relay and back into the report."""

import asyncio
import datetime as dt
import email
import email.policy
import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from mailer.circulars import letter_files
from mailer.circulars.models import Blob
from mailer.circulars.states import RecipientState
from mailer.clock import ManualClock, SystemClock
from mailer.database import Database
from mailer.delivery.due import Wanted
from mailer.rehearsal.record import Received
from mailer.reports import formats
from mailer.reports.delivery import build
from mailer.reports.letter import bytes_again
from mailer.settings import Dkim, Relay, Tls
from mailer.transport.memory import MemoryTransport
from mailer.transport.pool import SmtpTransport
from tests.support import relays
from tests.support.approved import SETTINGS, letters, office, send, settings, states
from tests.support.dkim_kit import SELECTOR, dkimpy_verifies, opendkim_verifies, pem, signer
from tests.support.mail_samples import letter
from tests.support.postfix import sink
from tests.support.runs import begin, told_of
from tests.support.stage import Stage, open_stage, prepare
from tests.support.transport_kit import Account, envelope, fates, payload

#: The domain of the last one is beyond ASCII, as contacts keep it.
MAILBOXES = (
    ("registry@first.example", "zoë@first.example"),
    ("正@second.example",),
    ("plain@third.example",),
    ("office@xn--bcher-kva.example",),
)
WIDE = ("zoë", "正")
OFFERS: list[Any] = [True, False]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home with its approved circular."""
    folder = tmp_path_factory.mktemp("utf8") / "home"
    asyncio.run(prepare(folder, MAILBOXES))
    return folder


def sent_to(stage: Stage, name: str) -> Received:
    """The one letter that the relay took for a mailbox."""
    (found,) = [one for one in stage.server.taken if any(each.startswith(f"{name}@") for each in one.accepted)]
    return found


def head_of(one: Received) -> bytes:
    """Its header."""
    return (one.data or b"").partition(b"\r\n\r\n")[0]


async def agree(stage: Stage) -> None:
    """The account makes every letter again as the relay has it, and nothing in it contradicts anything."""
    assert await stage.faults_of_the_register() == []
    relay = {hashlib.sha256(one.data or b"").hexdigest() for one in stage.server.received}
    async with stage.app.database.read() as session:
        async for letter in letter_files.read(session, stage.circular, now=stage.ours.now(), keys=stage.app.keys):
            assert letter.as_sent in {True, None}
            assert letter.as_sent is None or hashlib.sha256(letter.data).hexdigest() in relay


@pytest.mark.parametrize("pipelining", [True, False], ids=["at-once", "step-by-step"])
async def test_only_letters_that_need_it_ask_for_smtputf8(prepared: Path, tmp_path: Path, pipelining: bool) -> None:
    """Each address has one letter; those beyond ASCII stand in theirs as they are, and their colleagues' letters are 7-bit."""
    row = {"relay": {"keep_data": True}}
    async with open_stage(prepared, tmp_path / "home", row, pipelining=pipelining, connections=1) as stage:
        await stage.first()
        await stage.to_the_end()
        assert set((await stage.states()).values()) == {"accepted"}
        assert stage.copies() == dict.fromkeys(("registry", "zoë", "正", "plain", "office"), 1)
        for name in ("registry", "plain", "office"):
            one = sent_to(stage, name)
            assert not {"SMTPUTF8", "BODY"} & one.params.keys()
            assert (one.data or b"").isascii()
            assert all(each["ORCPT"].startswith("rfc822;") for each in one.rcpt_params)
        for name, said in (("zoë", r"utf-8;zo\x{EB}@first.example"), ("正", r"utf-8;\x{6B63}@second.example")):
            one = sent_to(stage, name)
            assert one.params["BODY"] == "8BITMIME"
            assert "SMTPUTF8" in one.params
            assert [each["ORCPT"] for each in one.rcpt_params] == [said]
        assert "\r\nTo: registry@first.example\r\nCc: zoë@first.example\r\n".encode() in head_of(sent_to(stage, "zoë"))
        colleague = email.message_from_bytes(head_of(sent_to(stage, "registry")), policy=email.policy.default)
        assert [(one.display_name, one.addresses) for one in colleague["Cc"].groups] == [("zoë@first.example", ())]
        assert (
            head_of(sent_to(stage, "zoë")).count(b"Message-ID: " + sent_to(stage, "registry").message_id.encode()) == 1
        )
        assert b"\r\nTo: office@xn--bcher-kva.example\r\n" in head_of(sent_to(stage, "office"))
        async with stage.app.database.read() as session:
            told = await build(session, stage.circular, at=stage.ours.now(), zone="Europe/Zurich")
        assert "zoë@first.example" in "".join(formats.as_csv(told))
        await agree(stage)


@pytest.mark.parametrize("pipelining", [True, False], ids=["at-once", "step-by-step"])
@pytest.mark.parametrize("hidden", ["SMTPUTF8", "8BITMIME"])
async def test_a_relay_without_it_has_every_other_letter(
    prepared: Path, tmp_path: Path, pipelining: bool, hidden: str
) -> None:
    """Addresses that need it are refused alone, before MAIL, with what to do; a letter to nobody else is not shown to the relay."""
    row = {"relay": {"keep_data": True}, "faults": [{"at": "ehlo", "hide": [hidden]}]}
    async with open_stage(prepared, tmp_path / "home", row, pipelining=pipelining, connections=1) as stage:
        await stage.first()
        await stage.to_the_end()
        assert await stage.states() == dict.fromkeys(("registry", "plain", "office"), "accepted") | dict.fromkeys(
            WIDE, "refused"
        )
        assert stage.copies() == dict.fromkeys(("registry", "plain", "office"), 1)
        said = [event["line"] for event in stage.server.events if event["kind"] == "command"]
        assert len([line for line in said if line.startswith("MAIL")]) == 3
        assert "".join(said).isascii()
        assert all((one.data or b"").isascii() for one in stage.server.taken)
        report = await stage.report()
        assert "our mail server takes no address with characters beyond a to z before the @" in report
        assert "Ask for the right address" in report
        await agree(stage)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"at": "rcpt", "to": "zoë*", "reply": "553 5.6.7 Not this address"}, "Not this address"),
        ({"at": "dot", "to": "zoë*", "reply": "554 5.6.9 Can't be handed on"}, "Can't be handed on"),
    ],
)
async def test_a_server_further_on_that_does_not_take_it_costs_nobody_else_the_letter(
    prepared: Path, tmp_path: Path, rule: dict[str, Any], words: str
) -> None:
    """What is said of such an address or letter is about it alone: colleague, other letters and relay are as before."""
    row = {"relay": {"keep_data": True}, "faults": [rule]}
    async with open_stage(prepared, tmp_path / "home", row, pipelining=True, connections=2) as stage:
        await stage.first()
        await stage.to_the_end()
        others = ("registry", "正", "plain", "office")
        assert await stage.states() == dict.fromkeys(others, "accepted") | {"zoë": "refused"}
        assert stage.copies() == dict.fromkeys(others, 1)
        assert await stage.held() is None
        assert words in await stage.report()
        await agree(stage)


async def test_a_relay_that_goes_back_on_its_offer_is_not_held_for_it(prepared: Path, tmp_path: Path) -> None:
    """SMTPUTF8 offered and then not known at MAIL: the two letters that asked for it are refused, and the others pass."""
    faults = [
        {"at": "mail", "letter": number, "reply": "555 5.5.4 Unsupported option: SMTPUTF8"} for number in (2, 3)
    ]  # the first is to the colleague of the second
    async with open_stage(prepared, tmp_path / "home", {"faults": faults}, pipelining=False, connections=1) as stage:
        await stage.first()
        await stage.to_the_end()
        assert {name for name, state in (await stage.states()).items() if state == "refused"} == set(WIDE)
        assert await stage.held() is None


@pytest.mark.parametrize("offered", OFFERS, ids=["offered", "not-offered"])
async def test_a_sender_beyond_ascii_needs_a_relay_that_takes_it(tmp_path: Path, offered: bool) -> None:
    """From, Reply-To and the address for bounces, token and all, go as they are; else the relay waits for a person, and no letter is lost."""
    sender = SETTINGS.senders["secretariat"].model_copy(
        update={"address": "büro@x.example", "reply_to": "réponse@x.example", "bounces": "rückläufer@x.example"}
    )
    chosen = SETTINGS.model_copy(update={"senders": {"secretariat": sender}})
    await prepare(tmp_path / "prepared", MAILBOXES[2:], chosen)
    row = {"relay": {"keep_data": True, "smtputf8": offered}}
    async with open_stage(
        tmp_path / "prepared", tmp_path / "home", row, pipelining=True, connections=1, chosen=chosen
    ) as stage:
        await stage.first()
        if not offered:
            assert set((await stage.states()).values()) == {"queued"}
            assert "the sender's address, or the one for replies or bounces" in (await stage.held() or "")
            assert stage.copies() == {}
            return
        assert stage.copies() == {"plain": 1, "office": 1}
        for one in stage.server.taken:
            assert "SMTPUTF8" in one.params
            assert one.mail_from == f"rückläufer+{one.letter}@x.example"
            assert "\r\nReply-To: réponse@x.example\r\n".encode() in (one.data or b"")
            assert "<büro@x.example>\r\n".encode() in (one.data or b"")
        await agree(stage)


@pytest.mark.parametrize("pipelining", [True, False], ids=["at-once", "step-by-step"])
@pytest.mark.parametrize("reply", ["553 5.6.7 Not in this address", "555 5.5.4 Unsupported option: SMTPUTF8"])
async def test_a_relay_that_refuses_the_sender_for_its_characters_is_held(
    tmp_path: Path, pipelining: bool, reply: str
) -> None:
    """SMTPUTF8 offered, and the sender refused for it at MAIL: a person is told, no letter is refused, and all leave once it is mended."""
    sender = SETTINGS.senders["secretariat"].model_copy(update={"address": "büro@x.example"})
    for bounces in ("rückläufer@x.example", "plain@x.example"):  # the second: From alone needs it
        home = tmp_path / bounces.partition("@")[0]
        chosen = SETTINGS.model_copy(
            update={"senders": {"secretariat": sender.model_copy(update={"bounces": bounces})}}
        )
        await prepare(home, MAILBOXES[3:], chosen)
        row = {"faults": [{"at": "mail", "reply": reply, "times": 1}]}
        async with open_stage(
            home, tmp_path / f"{home.name}-home", row, pipelining=pipelining, connections=1, chosen=chosen
        ) as stage:
            await stage.first()
            assert set((await stage.states()).values()) == {"queued"}
            assert "the sender's address, or the one for replies or bounces" in (await stage.held() or "")
            assert stage.copies() == {}
            await stage.mended()
            await stage.to_the_end()
            assert stage.copies() == {"office": 1}


async def test_signatures_hold_over_addresses_beyond_ascii(tmp_path: Path) -> None:
    """Both versions of a letter are signed, each over its own header; dkimpy and OpenDKIM say so."""
    home, key = tmp_path / "prepared", tmp_path / "dkim.key"
    key.touch(mode=0o600)
    key.write_bytes(pem())
    dkim = Dkim(selector=SELECTOR, key_file=str(key))
    sender = SETTINGS.senders["secretariat"].model_copy(update={"dkim": dkim})
    chosen = SETTINGS.model_copy(update={"senders": {"secretariat": sender}})
    await prepare(home, MAILBOXES[:1], chosen)
    row = {"relay": {"keep_data": True}}
    async with open_stage(home, tmp_path / "home", row, pipelining=True, connections=1, chosen=chosen) as stage:
        await stage.first()
        await stage.to_the_end()
        octets = [one.data or b"" for one in stage.server.taken]
        assert sorted(each.isascii() for each in octets) == [False, True]
        record = signer().record
        assert all(dkimpy_verifies(each, record) for each in octets)
        assert opendkim_verifies(tmp_path, record, *octets) == [True, True]
        await agree(stage)


@pytest.mark.parametrize("offered", OFFERS, ids=["offered", "not-offered"])
async def test_another_server_reads_what_we_send(tmp_path: Path, offered: bool) -> None:
    """aiosmtpd, a second opinion: address and header in UTF-8 where it offers SMTPUTF8; else the other recipient's letter alone."""
    addresses = ("zoë@x.example", "registry@x.example")
    octets = letter(to=tuple(("", address) for address in addresses), raw=offered)
    with sink({}, utf8=offered) as end:
        relay = Relay(host="127.0.0.1", port=end.port, tls=Tls.NONE)
        transport = SmtpTransport("main", relay, home=tmp_path, clock=SystemClock())
        told = await transport.send(envelope(*addresses), payload(octets), Account())
        await transport.close()
        (arrived,) = end.wait_for(1, to="x.example")
    assert fates(told) == ["accepted recipient" if offered else "refused recipient", "accepted recipient"]
    assert arrived.recipients == list(addresses if offered else addresses[1:])
    assert arrived.data == octets
    assert (b"zo\xc3\xab@" in octets) is offered


async def test_a_letter_is_on_its_way_once_at_a_time(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Its other recipients are claimed once the first attempt is told, with the mailboxes and the date that were fixed then."""
    app, circular = await office(database, clock, tmp_path, MAILBOXES[:1])
    await app.delivery.start(circular, by="anna")
    batches, run, (first,) = await begin(app, circular)
    assert [target.address for target in first.targets] == ["registry@first.example"]
    assert first.partial
    clock.advance(dt.timedelta(seconds=5))
    assert await batches.turn(run, [], Wanted(50, "main"), now=clock.now()) == []
    told = told_of(first, RecipientState.ACCEPTED, clock.now())
    (second,) = await batches.turn(run, [told], Wanted(50, "main"), now=clock.now())
    assert [target.address for target in second.targets] == ["zoë@first.example"]
    assert not second.partial
    assert (second.dated, second.to, second.cc) == (first.dated, first.to, first.cc)
    assert (first.row.raw, second.row.raw) == (False, True)


async def test_an_address_counts_once_for_the_day(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A relay that allows six addresses a day has three letters to two addresses each, whichever way they are split."""
    mailboxes = [[f"a{number}@x.example", f"é{number}@x.example"] for number in range(3)]
    chosen = relays.chosen(relays={"main": {"recipients_per_day": 6}})
    app, circular = await office(sqlite_database, clock, tmp_path, mailboxes, chosen)
    relay = MemoryTransport()
    await relays.send(app, circular, {"main": relay})
    assert set((await states(sqlite_database, circular)).values()) == {"accepted"}
    assert [len(one.recipients) for one in relay.received] == [1] * 6


async def test_both_versions_of_a_letter_are_kept(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """With `delivery.archive`, whichever version left last is shown octet for octet, and a letter that has one is kept once."""

    async def blobs() -> int:
        async with sqlite_database.read() as session:
            return await session.scalar(select(func.count()).select_from(Blob)) or 0

    app, circular = await office(sqlite_database, clock, tmp_path, MAILBOXES, settings(archive=True))
    before = await blobs()
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert set((await states(sqlite_database, circular)).values()) == {"accepted"}
    sent = {one.recipients[0].address: one.data for one in relay.received}
    assert len(sent) == 5
    assert await blobs() - before == 6  # of the letter to 正 alone, the version for colleagues too
    first, second, *_ = await letters(sqlite_database, circular)
    async with sqlite_database.read() as session:
        for letter, address in ((first, "zoë@first.example"), (second, "正@second.example")):
            found = await bytes_again(session, letter.id, now=clock.now())
            assert (found.as_sent, found.eml) == (True, sent[address])

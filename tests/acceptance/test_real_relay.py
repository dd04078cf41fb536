"""A circular through a real Postfix: the bytes that arrive, what is refused on the way, and the reports that come back."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import office
from tests.support.dkim_kit import SELECTOR, dkimpy_verifies, opendkim_verifies, pem, signer
from tests.support.postfix import Arrived, Sink, postfix, sink
from tests.support.rig import Home

REFERENCE = "TEST/2006/001"
#: octets of the largest letter that our Postfix takes
LARGEST = 400_000
REFUSALS = {
    "gone": "550 5.1.1 no such mailbox",
    "full": "452 4.2.2 mailbox full",
    "zoë-weg": "550 5.1.1 no such mailbox",
}
CIRCULAR = """template = "letter"
subject = { en = "Réunion  préparatoire des États parties — اجتماع تحضيري للدول الأطراف في الاتفاقية" }
issuers = ["chair"]
salutation = { en = "Dear friends," }
closing = { en = "Yours sincerely," }
sender = "secretariat"
date = 2006-07-07
to = ["organizations"]
languages = ["en"]

[issuer.chair]
name = "The Chair"
capacity = { en = "Chair of the Meeting" }
"""
ENCLOSED = '\n[[enclosures]]\ntitle = { en = "Paper" }\nfile = "paper.pdf"\n'
TEXT = f"""The Chair invites {{{{ organization }}}} to a meeting.

.A line that begins with a dot, and one of it alone:

.

From the Chair: la présidente désignée a l'honneur d'inviter les États parties à une réunion préparatoire à Genève.

تدعو الرئيسة المعينة الدول الأطراف إلى اجتماع تحضيري في جنيف.

{"A long line that nobody broke, " * 60}and its end.

    a  block   with    blanks\x20\x20
    .and a dot
"""


@pytest.fixture(scope="module")
def end() -> Iterator[Sink]:
    """Where letters end."""
    with sink(REFUSALS) as made:
        yield made


@pytest.fixture(scope="module")
def relay(end: Sink) -> Iterator[int]:
    """A Postfix that knows two domains, both of which are the sink."""
    there = f"smtp:[127.0.0.1]:{end.port}"
    with postfix({"org.example": there, "secretariat.example": there}, size=LARGEST) as port:
        yield port


def home_of(folder: Path, relay: int, addresses: list[list[str]], *, enclosure: int = 0, signed: bool = False) -> Home:
    """A home that sends by *relay*; with *signed*, the test's key is in it."""
    sender = ""
    (folder / "dkim.key").touch(mode=0o600)
    (folder / "dkim.key").write_bytes(pem())
    if signed:
        sender = f'[senders.secretariat.dkim]\nselector = "{SELECTOR}"\nkey_file = "{folder / "dkim.key"}"\n'
    settings = f'[relays.main]\npreset = "postfix"\nhost = "127.0.0.1"\nport = {relay}\ntls = "none"\n{sender}'
    text = f"{TEXT}\nA paper is enclosed.\n" if enclosure else TEXT
    return office.make(
        folder / "home",
        len(addresses),
        addresses=addresses,
        settings=settings,
        enclosure=enclosure,
        texts={"circular.toml": CIRCULAR + (ENCLOSED if enclosure else ""), "letter.en.md": text},
    )


def again(home: Home, organization: str, folder: Path) -> bytes:
    """The letter's bytes as the account makes them, which must call them those that were sent."""
    file = folder / "again.eml"
    file.unlink(missing_ok=True)
    done = home.run("letter", "show", REFERENCE, organization, "--as", "eml", "--out", str(file))
    assert "those that were sent: yes" in done.stderr
    return file.read_bytes()


def recipients(home: Home) -> dict[str, dict[str, Any]]:
    """Every address of the report."""
    return {each["address"]: each for letter in home.report(REFERENCE)["letters"] for each in letter["recipients"]}


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_every_byte_arrives(tmp_path: Path, end: Sink, relay: int, signed: bool):
    """What Postfix hands on is what the account shows, byte for byte; a signature still holds, for dkimpy and for OpenDKIM."""
    mark = "signed" if signed else "plain"
    addresses = [[f"{mark}{number}@org.example", f"{mark}{number}-copy@org.example"] for number in range(6)]
    home = home_of(tmp_path, relay, addresses, enclosure=200_000, signed=signed)
    checked = home.run("doctor").stdout
    for offer in ("(DSN)", "(PIPELINING)"):
        assert f"{offer}" in checked
    assert (signer().record in checked) is signed
    home.run("circular", "send", REFERENCE, "--expect", "6")
    arrived: dict[str, Arrived] = {}
    for one in end.wait_for(6, to=mark):
        arrived.setdefault(one.recipients[0].partition("@")[0].removesuffix("-copy"), one)
    assert len(arrived) == 6
    for number, pair in enumerate(addresses, 1):
        letter = arrived[pair[0].partition("@")[0]]
        assert letter.own == again(home, f"Organization {number:03}", tmp_path)
        assert letter.data.startswith(b"Received: ")
        assert sorted(letter.recipients) == sorted(pair)
        assert letter.own.startswith(b"DKIM-Signature: ") is signed
    if signed:
        letters = [one.data for one in arrived.values()]
        assert all(dkimpy_verifies(each, signer().record) for each in letters)
        assert opendkim_verifies(tmp_path, signer().record, *letters) == [True] * 6
    assert {each["state"] for each in recipients(home).values()} == {"accepted"}
    home.run("register", "verify")


def test_what_postfix_says_of_an_address_comes_back_to_its_letter(tmp_path: Path, end: Sink, relay: int):
    """An address refused at once is the report's; one that bounces or waits later brings a report to the letter's own address."""
    addresses = [
        ["well@org.example", "nobody@unknown.test"],
        ["gone@org.example", "beside@org.example"],
        ["full@org.example"],
    ]
    home = home_of(tmp_path, relay, addresses)
    home.run("circular", "send", REFERENCE, "--expect", "3", expect=1)
    told = recipients(home)
    assert told["nobody@unknown.test"]["state"] == "refused"
    assert "5.1.2" in told["nobody@unknown.test"]["reply"]
    assert {told[each]["state"] for each in ("well@org.example", "gone@org.example", "full@org.example")} == {
        "accepted"
    }
    end.wait_for(1, to="well@")
    end.wait_for(1, to="beside@")
    tokens = {
        each["address"]: letter["message_id"].strip("<>").partition("@")[0]
        for letter in home.report(REFERENCE)["letters"]
        for each in letter["recipients"]
    }
    for address, action, status in (("gone@org.example", "failed", "5.1.1"), ("full@org.example", "delayed", "4.2.2")):
        token = tokens[address]
        report = end.wait_for(1, to=f"bounces+{token}@secretariat.example")[0]
        assert report.sender in {"", "<>", None}
        fields = report.data.decode("ascii")
        assert f"Original-Envelope-Id: {token}" in fields
        assert re.search(rf"^Original-Recipient: rfc822;\s?{re.escape(address)}", fields, re.MULTILINE)
        assert re.search(rf"^Action: {action}", fields, re.MULTILINE)
        assert f"Status: {status}" in fields
        kinds = [part.get_content_type() for part in report.parsed.walk()]
        assert "message/rfc822" not in kinds  # RET=HDRS: the content does not come back
        assert "text/rfc822-headers" in kinds


def test_an_address_beyond_ascii_passes_postfix(tmp_path: Path, end: Sink, relay: int):
    """Postfix takes it (SMTPUTF8) as we wrote it, signed, and its report names it; the colleague's letter is 7-bit all the way."""
    home = home_of(tmp_path, relay, [["utf@org.example", "zoë@org.example"], ["zoë-weg@org.example"]], signed=True)
    assert "(SMTPUTF8)" in home.run("doctor").stdout
    home.run("circular", "send", REFERENCE, "--expect", "2")
    (plain,), (wide,) = end.wait_for(1, to="utf@"), end.wait_for(1, to="zoë@")
    assert (plain.recipients, wide.recipients) == (["utf@org.example"], ["zoë@org.example"])
    assert plain.own.isascii()
    assert "\r\nCc: zoë@org.example\r\n".encode() in wide.own
    assert wide.own == again(home, "Organization 001", tmp_path)
    assert all(dkimpy_verifies(each.data, signer().record) for each in (plain, wide))
    assert opendkim_verifies(tmp_path, signer().record, plain.data, wide.data) == [True, True]
    letter = home.report(REFERENCE)["letters"][1]
    report = end.wait_for(1, to=f"bounces+{letter['message_id'].strip('<>').partition('@')[0]}@secretariat.example")[0]
    fields = report.data.decode()
    assert re.search(r"^Original-Recipient: utf-8;\s?zoë-weg@org.example", fields, re.MULTILINE)
    assert "Status: 5.1.1" in fields
    home.run("register", "verify")


def test_a_letter_that_is_too_large_is_refused_and_told(tmp_path: Path, end: Sink, relay: int):
    """Postfix tells its limit; a letter above it leaves nothing behind but words in the report."""
    home = home_of(tmp_path, relay, [["large@org.example"]], enclosure=LARGEST)
    home.run("circular", "send", REFERENCE, "--expect", "1", expect=1)
    letter = home.report(REFERENCE)["letters"][0]
    assert letter["state"] == "refused"
    assert "our mail server takes at most 0.4 MB" in letter["why"]
    assert not end._of("large@")

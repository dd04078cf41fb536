"""Addresses and commands: nothing but what was checked reaches the wire."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadInput
from mailer.rehearsal import grammar
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.commands import mail, rcpt, size_limit, why_not, xtext

DSN = {"dsn": "", "size": "1000"}


@pytest.mark.parametrize(
    "address",
    [
        "a@x.test",
        "first.last+tag@sub.x-y.test",
        "o'neill@x.test",
        '"first last"@x.test',
        r'"a\"b"@x.test',
        "a@[127.0.0.1]",
        "a%b@x.test",
        "bounces+abc234@x.test",
        "a@xn--mller-kva.test",
        "a" * 64 + "@x.test",
    ],
)
def test_addresses_of_one_mailbox_pass(address):
    """What RFC 5321 calls a mailbox, in ASCII, is taken as it is."""
    assert why_not(address) is None
    assert rcpt(Rcpt(1, address), {}) == f"RCPT TO:<{address}>\r\n".encode()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "@x.test",
        "a@",
        "a@x.test\r\nRSET",
        "a@x.test\nRCPT TO:<b@evil.test>",
        "a@x.test> NOTIFY=NEVER",
        "a@x.test><b@evil.test",
        "a b@x.test",
        "a@x.test, b@evil.test",
        "a@x.test;b@evil.test",
        "a@x.test (comment)",
        "<a@x.test>",
        "Name <a@x.test>",
        "a@x.test\x00",
        '"a\r\nb"@x.test',
        '"a\tb"@x.test',
        "a@x.test SMTPUTF8",
        "@relay.test:a@x.test",
        "-oQ/tmp/x@x.test",
        "|/bin/sh@x.test",
        "a@x.test.",
        "a@.x.test",
        "a..b@x.test",
        ".a@x.test",
        "a@-x.test",
        "a" * 65 + "@x.test",
        "a@" + "x" * 250 + ".test",
        "müller@x.test",  # right, and not for a relay that does not offer SMTPUTF8
        "a@müller.test",
        "a@x.test\u2028",
        "a@x.test\x7f",
        "a@x.test\n",
    ],
)
def test_anything_else_never_becomes_a_command(address):
    """A hostile or malformed address has a reason, and makes no command as recipient or as sender."""
    assert why_not(address)
    with pytest.raises(BadInput):
        rcpt(Rcpt(1, address), DSN)
    if address:
        with pytest.raises(BadInput):
            mail(Envelope("a", address, (Rcpt(1, "a@x.test"),)), 1, DSN)


@pytest.mark.corpora
def test_the_hostile_envelopes_make_at_most_their_own_command():
    """The corpus of hostile envelopes: refused, or exactly one RCPT of that address and nothing more."""
    shared = Path(os.environ.get("CHANCERY_SHARED", Path(__file__).parents[3] / "shared"))
    manifest = shared / "corpora" / "hostile" / "manifest.json"
    if not manifest.is_file():
        pytest.skip("third-party corpus absent: hostile")
    for address in json.loads(manifest.read_text())["envelope"]:
        if why_not(address) is None:
            assert rcpt(Rcpt(1, address), {}) == f"RCPT TO:<{address}>\r\n".encode("ascii")
            assert not set(address) & set("\r\n\0<> ,;()")


@given(st.text())
def test_no_text_smuggles_a_line_or_a_parameter(text):
    """Whatever the text, the command is one line, and what stands between the brackets is the text."""
    for address in (text, f"{text}@x.test", f"é{text}@x.test", f"a@{text}"):
        if why_not(address, utf8=True) is None:
            command = rcpt(Rcpt(1, address), {} if address.isascii() else {"smtputf8": "", "8bitmime": ""})
            assert command == b"RCPT TO:<" + address.encode() + b">\r\n"
            assert command.count(b"\r") == command.count(b"\n") == 1
            assert (why_not(address) is None) is address.isascii()


def test_parameters_go_only_to_relays_that_offer_them():
    """SIZE, RET, ENVID, NOTIFY and ORCPT are sent where SIZE and DSN are offered, in xtext, and else not at all."""
    envelope = Envelope("a", "s@x.test", (Rcpt(1, "a+b=c@x.test"),), "tok+en")
    assert mail(envelope, 7, {}) == b"MAIL FROM:<s@x.test>\r\n"
    assert mail(envelope, 7, DSN) == b"MAIL FROM:<s@x.test> SIZE=7 RET=HDRS ENVID=tok+2Ben\r\n"
    assert rcpt(envelope.recipients[0], {}) == b"RCPT TO:<a+b=c@x.test>\r\n"
    assert (
        rcpt(envelope.recipients[0], DSN)
        == b"RCPT TO:<a+b=c@x.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb+3Dc@x.test\r\n"
    )
    assert mail(Envelope("a", "", envelope.recipients), 7, {}) == b"MAIL FROM:<>\r\n"
    assert b"ENVID" not in mail(Envelope("a", "", envelope.recipients, "x" * 101), 7, DSN)


UTF8 = {"smtputf8": "", "8bitmime": "", "dsn": ""}


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("müller@x.test", r"utf-8;m\x{FC}ller@x.test"),
        ("用户+a=b@xn--fsq.test", r"utf-8;\x{7528}\x{6237}\x{2B}a\x{3D}b@xn--fsq.test"),
        ("\U0001f4ee.post@x.test", r"utf-8;\x{1F4EE}.post@x.test"),
    ],
)
def test_an_address_beyond_ascii_is_named_to_a_relay_that_takes_it(address, named):
    """In UTF-8, and in RFC 6533's 7-bit form for reports; SMTPUTF8 without 8BITMIME, which belongs to it, is no offer."""
    assert why_not(address, utf8=True) is None
    command = rcpt(Rcpt(1, address), UTF8)
    assert command == f"RCPT TO:<{address}> NOTIFY=FAILURE,DELAY ORCPT={named}\r\n".encode()
    assert grammar.rcpt(command[:-2], grammar.Offer(frozenset({"DSN", "SMTPUTF8"})), utf8=True).address == address
    envelope = Envelope("a", address, (Rcpt(1, address),))
    assert mail(envelope, 7, UTF8, utf8=True) == f"MAIL FROM:<{address}> SMTPUTF8 RET=HDRS\r\n".encode()
    assert b" BODY=8BITMIME SMTPUTF8 " in mail(envelope, 7, UTF8, utf8=True, eight_bit=True)
    assert "5.6.7" in (why_not(address) or "")
    for poor in ({}, {"smtputf8": ""}, {"8bitmime": ""}):
        with pytest.raises(BadInput):
            rcpt(Rcpt(1, address), poor)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "é\u202e@x.test",
            "é é@x.test",
            "é\u3000e@x.test",
            "é\r\nRSET@x.test",
            '"é a"@x.test',
            "-é@x.test",
            "é@x.test> X",
        ),
        *("é" * 33 + "@x.test", "é@é.test", "é\ud800@x.test", "é@[127.0.0.1]", "é..e@x.test", "é@x.test\x85"),
    ],
)
def test_what_is_no_address_beyond_ascii_never_becomes_a_command(address):
    """Separators, controls, half characters, too many octets: refused on any relay, and not as a matter of its offer."""
    assert "5.6.7" not in (why_not(address) or "5.6.7")
    assert why_not(address, utf8=True)
    with pytest.raises(BadInput):
        rcpt(Rcpt(1, address), UTF8)


def test_the_longest_commands_are_short_enough():
    """512 octets, and what the parameters may add: 26 for SIZE, 17 for BODY, 10 for SMTPUTF8, 107 for RET and ENVID, 527 for NOTIFY and ORCPT."""
    for address in ("+" * 64 + "@" + ".".join(["x" * 46] * 4), "é" * 32 + "@" + ".".join(["x" * 46] * 4)):
        assert len(address.encode()) == 252
        envelope = Envelope("a", address, (Rcpt(1, address),), "+" * 33)
        said = mail(envelope, 10**12, UTF8 | DSN, utf8=not address.isascii(), eight_bit=True)
        assert len(said) <= 512 + 26 + 17 + 10 + 107
        assert len(rcpt(Rcpt(1, address), UTF8)) <= 512 + 527


def test_xtext_hides_what_could_end_a_parameter():
    """Spaces, line ends, plus and equals signs and octets outside ASCII are written in hexadecimal."""
    assert xtext("a b\r\n+=é~!") == "a+20b+0D+0A+2B+3D+C3+A9~!"


def test_the_size_limit_is_read_with_care():
    """A number above 0 is a limit; nothing, 0 and nonsense are none."""
    read = {said: size_limit({"size": said}) for said in ("1000", "", "0", "many", "²", "99 more")}
    assert read == {"1000": 1000, "": None, "0": None, "many": None, "²": None, "99 more": 99}
    assert size_limit({}) is None

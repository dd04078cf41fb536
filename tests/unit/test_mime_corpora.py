"""The hostile strings of the shared corpora, where they are present."""

import json
import os
from pathlib import Path

import pytest

from lists.errors import BadInput
from mailer.mime import headers
from mailer.mime.limits import media_type_of
from mailer.mime.parts import Attachment, encode_shared
from tests.support.mail_oracle import assert_wire, read
from tests.support.mail_samples import BOUNDARY, letter

pytestmark = pytest.mark.corpora
SHARED = Path(os.environ.get("CHANCERY_SHARED") or Path(__file__).parents[2].parent / "shared")
ADDRESS = "mission@norland.example"
USUAL = [name for name, _ in read(letter()).headers]


@pytest.fixture(scope="module")
def hostile():
    """The manifest of the hostile strings."""
    path = SHARED / "corpora" / "hostile" / "manifest.json"
    if not path.is_file():
        pytest.skip("third-party corpus absent: hostile")
    return json.loads(path.read_text(encoding="utf-8"))


def made(**changes):
    """The letter with changes, or None where it is refused."""
    enclosures = changes.pop("enclosures", None)
    try:
        octets = letter(encode_shared(enclosures, BOUNDARY) if enclosures else None, **changes)
    except BadInput:
        return None
    assert_wire(octets)
    return octets


def test_header_injection_is_refused_or_harmless(hostile):
    """As subject, name, file name or field, each string is refused or stays a value; the body is the same."""
    passed = 0
    for value in hostile["header_injection"]:
        for changes in (
            {"subject": value},
            {"sender_name": value},
            {"to": ((value, ADDRESS),)},
            {"extra": (("X-Note", value),)},
            {"enclosures": [Attachment(value, "application/pdf", b"1")]},
            {"text": f"Dear {value},"},
        ):
            octets = made(**dict(changes))
            if octets is None:
                continue
            seen = read(octets)
            assert [name for name, _ in seen.headers if name != "X-Note"] == USUAL
            assert seen.parts[1].text == "<p>Excellency,</p>"
            passed += 1
            if "subject" in changes:
                assert seen.text_of("Subject") == value
    assert passed > 20


def test_display_names_are_read_as_written(hostile):
    """Each name is in From, To and Reply-To's kin as exactly one mailbox with that name; none is refused."""
    for name in hostile["display_names"]:
        octets = made(sender_name=name, to=((name, ADDRESS),), cc=((name, ADDRESS),))
        assert octets is not None, name
        for header in ("From", "To", "Cc"):
            ((display, address),) = read(octets).mailboxes(header)
            assert display == " ".join(name.split())
            assert address == (ADDRESS if header != "From" else "circulars@secretariat.example")


def test_file_names_are_refused_or_read_as_written(hostile):
    """A dangerous name is refused; any other is read as it was written."""
    kept = []
    for name in hostile["filenames"]:
        octets = made(enclosures=[Attachment(name, media_type_of(name), b"1")])
        if octets is not None:
            assert read(octets).parts[-1].filename == name
            kept.append(name)
    assert len(kept) == 12, (
        kept
    )  # refused: three with paths, two with control characters, .htaccess, con.pdf, a bidi override


def test_urls_stand_verbatim(hostile):
    """Each URL stands whole between its angle brackets."""
    for url in hostile["unsubscribe_urls"]:
        line = headers.verbatim("List-Unsubscribe", f"<{url}>")
        assert line.replace(b"\r\n", b"") == f"List-Unsubscribe: <{url}>".encode()
        assert max(map(len, line.split(b"\r\n"))) <= 998


def test_envelope_addresses_reach_no_header(hostile):
    """Whatever is more than one plain address is refused in the headers too."""
    taken = [address for address in hostile["envelope"] if made(to=(("", address),)) is not None]
    assert taken == [
        "a%b@x.test",
        "a!b@x.test",
        "-oQ/tmp/x@x.test",
        "|/bin/sh@x.test",
    ]  # dot-atoms: `lists.address` judges them


def test_bodies_are_read_as_written(hostile):
    """The text that the reader's side decodes is the text, line ends apart."""
    for case in hostile["bodies"]:
        octets = made(text=case["text"], html=case["text"])
        expected = case["text"].replace("\r\n", "\n").replace("\r", "\n")
        assert [part.text for part in read(octets).parts] == [expected, expected], case["id"]


def test_no_foreign_end_of_data_is_written(hostile):
    """A text with any sequence that some server took for the end of data holds none on the wire."""
    for case in hostile["smuggling"]:
        octets = made(text=bytes.fromhex(case["data_hex"]).decode("latin-1"))
        assert bytes.fromhex(case["end_of_data_hex"]) not in octets
        assert b"\r\n.\r\n" not in octets

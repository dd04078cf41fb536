# ruff: noqa: RUF001 - letters of other scripts are the point
import os

import pytest

from lists.errors import BadInput
from lists.findings import stops
from lists.kinds import Severity
from mailer.mime import limits
from mailer.mime.parts import Attachment, base64_lines, encode_shared
from tests.support.mail_oracle import read
from tests.support.mail_samples import BOUNDARY, letter

GOOD = [
    "agenda.pdf",
    "Ordre du jour – réunion préparatoire (rév. 2).pdf",
    "Нота вербальная № 12 о созыве конференции послов и постоянных представителей в Женеве, часть первая.pdf",
    "大使館からのお知らせ.docx",
    "two  blanks.pdf",
    " leading.pdf",
    "semi;colon=equals.pdf",
    "per%cent'quote.pdf",
    "=?utf-8?q?a?=.pdf",
    "noending",
    "e" * 251 + ".pdf",
    "é" * 125 + ".pdf",
    "clip \U0001f4ce.pdf",
    "می\u200cخواهم.pdf",
    "con tents.pdf",
    "com.pdf",
    "a..b.pdf",
    "utf-8''x.pdf",
]
BAD = [
    ("", "empty"),
    ("..", "empty"),
    (" ", "empty"),
    ("../../etc/passwd", "path"),
    ("/etc/passwd", "path"),
    ("C:\\Users\\x\\note.pdf", "path"),
    ("note.pdf:stream", "path"),
    ('a"b\\c.pdf', "path"),
    (".htaccess", "starts with a dot"),
    ("note.exe.", "ends with a dot"),
    ("note.pdf ", "ends with a dot or a blank"),
    ("a\r\nBcc: x@else.example.pdf", "control"),
    ("note.pdf\x00.exe", "control"),
    ("a\tb.pdf", "control"),
    ("a\x85b.pdf", "control"),
    ("a\u2028b.pdf", "control"),
    ("a\ud83d.pdf", "control"),
    ("\u202efdp.exe", "invisible"),
    ("a\u2066b.pdf", "invisible"),
    ("\ufeffa.pdf", "invisible"),
    ("a\u200b.pdf", "invisible"),
    ("con.pdf", "device"),
    ("NUL", "device"),
    ("Com1.tar.gz", "device"),
    ("lpt\u00b9.txt", "device"),
    ("aux .pdf", "device"),
    ("é" * 126 + ".pdf", "255 octets"),
]


@pytest.mark.parametrize("name", GOOD)
def test_a_harmless_file_name_reaches_the_reader_unchanged(name):
    """The reader sees the very name that the sender's file has."""
    shared = encode_shared([Attachment(name, limits.media_type_of(name), b"1")], BOUNDARY)
    assert read(letter(shared)).parts[-1].filename == name
    assert not stops(limits.enclosure_findings(name, "enclosure 1"))
    assert not [
        line for line in shared.data.split(b"\r\n") if len(line) > 78 and not line.startswith(b"Content-Type: app")
    ]


@pytest.mark.parametrize(("name", "why"), BAD)
def test_a_dangerous_file_name_is_refused_in_plain_words(name, why):
    """Paths, hidden endings, devices and control characters stop the letter, at the check as a finding."""
    with pytest.raises(BadInput, match=why):
        encode_shared([Attachment(name, "application/pdf", b"1")], BOUNDARY)
    (finding,) = limits.enclosure_findings(name, "enclosure 1")
    assert finding.severity is Severity.ERROR
    assert why in finding.what
    finding.line.encode()


def test_the_kind_of_a_file_is_told_by_our_own_table():
    """Known endings have their type in any case; others are octets."""
    assert limits.media_type_of("Agenda.PDF") == "application/pdf"
    assert limits.media_type_of("a.b.docx").endswith("wordprocessingml.document")
    assert limits.media_type_of("invite.ics") == "text/calendar; charset=utf-8"
    assert limits.media_type_of("README") == limits.media_type_of("x.unknown") == "application/octet-stream"
    for media_type in limits.MEDIA_TYPES.values():
        encode_shared([Attachment("a", media_type, b"")], BOUNDARY)


@pytest.mark.parametrize(
    ("name", "code", "severity"),
    [
        ("setup.exe", "enclosure-program", Severity.ERROR),
        ("agenda.pdf.JS", "enclosure-program", Severity.ERROR),
        ("list.xlsm", "enclosure-macros", Severity.WARNING),
        ("list.qqq", "enclosure-kind", Severity.WARNING),
        ("what?.pdf", "file-name-windows", Severity.WARNING),
    ],
)
def test_an_enclosure_that_will_not_arrive_is_found_before_it_is_sent(name, code, severity):
    """Programs stop the letter; macros, unknown kinds and names that Windows alters are told."""
    (finding,) = limits.enclosure_findings(name, "enclosure 2")
    assert (finding.code, finding.severity, finding.subject) == (code, severity, name)


@pytest.mark.parametrize("octets", [0, 1, 2, 3, 56, 57, 58, 114, 115, 1000])
def test_the_size_in_a_letter_is_known_before_encoding(octets):
    """The computed size is the size of the encoded lines."""
    assert limits.encoded_size(octets) == len(base64_lines(os.urandom(octets)))


def test_a_letter_over_the_limit_is_found_before_it_is_sent():
    """Over the limit stops, near it warns, no limit says nothing; sizes are in words."""
    assert limits.size_findings(900, 1000, "letter") == []
    assert limits.size_findings(10**9, 0, "letter") == []
    (near,) = limits.size_findings(950, 1000, "letter")
    assert near.severity is Severity.WARNING
    (over,) = limits.size_findings(26_300_000, 25_000_000, "letter in French")
    assert over.severity is Severity.ERROR
    assert "26.3 MB" in over.what
    assert "25.0 MB" in over.what


def test_html_that_gmail_cuts_is_told():
    """A formatted text over 102 KB warns."""
    assert limits.html_findings("é" * 50_000, "letter.fr.md") == []
    (finding,) = limits.html_findings("é" * 60_000, "letter.fr.md")
    assert "117 KB" in finding.what

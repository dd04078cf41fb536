import datetime as dt
import hashlib
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from mailer.mime.body import Body, text_part
from mailer.mime.message import Message, Stationery, digest, head
from mailer.mime.parts import Attachment, boundary_for, encode_shared
from tests.support.mail_oracle import assert_wire, read
from tests.support.mail_samples import BODIES, BOUNDARY, PLAIN, letter

ENCLOSURES = (
    Attachment("agenda.pdf", "application/pdf", b"%PDF-1.7\r\n\x00\xff" * 500),
    Attachment("Ordre du jour \u2014 réunion.docx", "application/octet-stream", bytes(range(256))),
    Attachment("empty.txt", "text/plain; charset=utf-8", b""),
)
SHARED = encode_shared(ENCLOSURES, BOUNDARY)


def normal(text: str) -> str:
    """The text with its line ends as readers see them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("shared", [None, SHARED], ids=["alone", "enclosures"])
def test_a_body_is_read_as_it_was_written(body, shared):
    """Whatever a text holds, both parts are read as that text, lines have at most 76 columns, and nothing looks like an end of data."""
    octets = letter(shared, text=body, html=f"<p>{body}</p>")
    assert_wire(octets)
    plain, html, *rest = read(octets).parts
    assert plain.text == normal(body)
    assert html.text == f"<p>{normal(body)}</p>"
    assert [part.content for part in rest] == ([a.data for a in ENCLOSURES] if shared else [])
    body_lines = octets.split(b"\r\n\r\n", 1)[1].split(b"\r\n")
    assert max(len(line) for line in body_lines if not line.startswith((b"Content-", b" "))) <= 76
    assert not any(line.endswith((b" ", b"\t")) for line in octets.split(b"\r\n"))


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(list("\r\n .=\tFrom -_é会")), max_size=400),
    st.lists(
        st.sampled_from(["\r", "\n", "\r\n", ".", "From ", " ", "=", "x" * 37, "é", "--", "=_", "\x00"]), max_size=60
    ).map("".join),
)
def test_any_text_comes_back(text, html):
    """Any Unicode text with any line ends comes back in both parts, on a clean wire."""
    octets = letter(text=text, html=html)
    assert_wire(octets)
    plain, formatted = read(octets).parts
    assert plain.text == normal(text)
    assert formatted.text == normal(html)


PASSAGES = st.lists(
    st.sampled_from(
        [
            "\n",
            "\n",
            "\n\n",
            "\r\n",
            "\r",
            ".",
            "From ",
            " ",
            "=",
            "x" * 37,
            "word " * 9,
            "é",
            "会议" * 3,
            "\ud83d",
            "a",
            "",
        ]
    ),
    max_size=12,
).map("".join)


@settings(deadline=None)
@given(st.lists(PASSAGES, max_size=6), st.data())
def test_a_text_in_pieces_is_the_text(common, data):
    """Wherever a text is cut, and whichever of its pieces were encoded beforehand, the part is that of the whole text, or the same refusal."""
    body = Body("html", common)
    for _ in range(3):
        pieces = data.draw(st.lists(st.sampled_from(common) | PASSAGES if common else PASSAGES, max_size=8))
        try:
            whole = text_part("html", "".join(pieces))
        except BadInput as refused:
            with pytest.raises(BadInput, match=refused.what):
                body.part(pieces)
        else:
            assert body.part(pieces) == whole


def test_a_letter_on_common_stationery_is_the_letter_by_itself():
    """What letters have in common is written once, and what one has for itself, its date's zone and hour included, never gets into the next."""
    page = ["<p>\n", "Norland", "</p>\n<p>é = all\n</p>"]
    twice = dt.datetime(2006, 10, 29, 2, 30, tzinfo=ZoneInfo("Europe/Zurich"))
    letters = [
        {},
        {"subject": "Réunion", "to": (), "cc": (("Å, B", "c@d.example"),)},
        {"date": PLAIN.date.astimezone(dt.UTC)},
        {"date": PLAIN.date.astimezone(dt.UTC), "in_reply_to": "<6@secretariat.example>"},
        {"date": twice, "references": ("<5@secretariat.example>",)},
        {"date": twice.replace(fold=1), "extra": (("X-Chancery-Letter", "a =? b"),)},
        {"html": "".join((*page, "é" * 900)), "extra": (("X-Chancery-Letter", "k3v9"),)},
        {},
    ]
    stationery = Stationery(
        sender_name=PLAIN.sender_name,
        sender_address=PLAIN.sender_address,
        reply_to=PLAIN.reply_to,
        language=PLAIN.language,
        boundary=BOUNDARY,
        mixed=True,
        html=page,
        text=[PLAIN.text],
        extra=["X-Chancery-Letter"],
    )
    for changes in letters:
        message = replace(PLAIN, **{"html": "".join(page), "extra": (("X-Chancery-Letter", "abc"),), **changes})
        pieces = [*page, message.html.removeprefix("".join(page))]
        assert _written(stationery, message, pieces) == _or_refusal(lambda one=message: head(one, BOUNDARY, SHARED))


def _written(stationery: Stationery, message: Message, html: list[str]):
    return _or_refusal(
        lambda: stationery.head(
            to=message.to,
            cc=message.cc,
            subject=message.subject,
            date=message.date,
            message_id=message.message_id,
            html=html,
            text=(message.text,),
            in_reply_to=message.in_reply_to,
            references=message.references,
            extra=[value for _, value in message.extra],
        )
    )


def _or_refusal(make):
    try:
        return make()
    except BadInput as refused:
        return str(refused)


FILE_NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"], exclude_characters="/\\:"), min_size=1, max_size=60
).map(lambda name: f"a{name}.pdf")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            Attachment,
            FILE_NAMES,
            st.sampled_from(["application/pdf", "text/plain; charset=utf-8", "image/png"]),
            st.binary(max_size=500),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_enclosures_come_back(enclosures):
    """Names and octets of any enclosures come back unchanged."""
    shared = encode_shared(enclosures, BOUNDARY)
    octets = letter(shared)
    assert_wire(octets)
    _, _, *parts = read(octets).parts
    assert [(part.filename, part.content, part.disposition) for part in parts] == [
        (a.filename, a.data, "attachment") for a in enclosures
    ]
    assert [part.media_type for part in parts] == [a.media_type.split(";")[0] for a in enclosures]


def test_the_plain_text_comes_before_the_html_and_both_before_the_enclosures():
    """The order is the one by which readers choose the best form that they can show."""
    assert read(letter()).shape == "alternative(plain html)"
    assert read(letter(SHARED)).shape == "mixed(alternative(plain html) pdf octet-stream plain)"


def test_the_headers_stand_once_and_in_order():
    """Every header stands once; none is there that betrays others or belongs to a relay."""
    seen = read(
        letter(
            cc=(("", "other@norland.example"),),
            submitter=("Desk", "desk@secretariat.example"),
            in_reply_to="<6@secretariat.example>",
            references=("<5@secretariat.example>", "<6@secretariat.example>"),
            extra=(("X-Chancery-Letter", "k3v9"),),
        )
    )
    assert " ".join(name for name, _ in seen.headers) == (
        "From Sender Reply-To To Cc Subject Date Message-ID In-Reply-To References MIME-Version Content-Language Precedence "
        "X-Auto-Response-Suppress X-Chancery-Letter Content-Type"
    )
    assert seen.raw("Precedence") == "bulk"
    assert seen.raw("X-Auto-Response-Suppress") == "All"
    assert seen.raw("X-Chancery-Letter") == "k3v9"
    assert seen.raw("Content-Language") == "en"
    assert seen.raw("References") == "<5@secretariat.example> <6@secretariat.example>"
    assert seen.raw("Message-ID") == PLAIN.message_id


def test_the_sender_is_named_only_where_it_differs():
    """Sender is left out where it says no more than From."""
    names = [name for name, _ in read(letter(submitter=("Other name", PLAIN.sender_address), reply_to=None)).headers]
    assert "Sender" not in names
    assert "Reply-To" not in names


def test_a_follow_up_threads_by_its_parent_alone():
    """Where only the parent is known, it is the whole thread; brackets may be left off."""
    seen = read(letter(in_reply_to="6@secretariat.example", message_id="7@secretariat.example"))
    assert seen.raw("In-Reply-To") == seen.raw("References") == "<6@secretariat.example>"
    assert seen.raw("Message-ID") == "<7@secretariat.example>"


@pytest.mark.parametrize(
    "name",
    [
        "Bcc",
        "to",
        "FROM",
        "Return-Path",
        "Received",
        "Content-Type",
        "Resent-To",
        "Precedence",
        "X-A:b",
        "X A",
        "",
        "X-\u00e9",
        "X-A\r\nBcc",
    ],
)
def test_no_extra_header_doubles_one_of_ours_or_a_relay_s(name):
    """Extra headers can't change what a letter says of itself."""
    with pytest.raises(BadInput):
        letter(extra=((name, "1"),))


def test_an_extra_header_stands_once():
    """The same extra header twice, in any case, is refused."""
    with pytest.raises(BadInput, match="X-a"):
        letter(extra=(("X-A", "1"), ("X-a", "2")))


def test_a_letter_needs_an_address():
    """A letter to nobody is refused; one with only Cc is written without To."""
    with pytest.raises(BadInput, match="no address"):
        letter(to=())
    assert "To" not in dict(read(letter(to=(), cc=PLAIN.to)).headers)


@pytest.mark.parametrize("field", ["text", "html"])
def test_half_a_character_in_a_text_is_refused(field):
    """A lone surrogate can't be written in UTF-8; the error says which text."""
    with pytest.raises(BadInput, match="half a character"):
        letter(**{field: "a\ud83d"})


@pytest.mark.parametrize("boundary", ["", "abc", "=_", "=_ a", "=_" + "x" * 80, "=_\u00e9", '=_"a', "=_a\n"])
def test_a_boundary_is_one_that_no_body_can_hold(boundary):
    """Only boundaries with =_ part a letter."""
    with pytest.raises(BadInput):
        head(PLAIN, boundary, None)
    with pytest.raises(BadInput):
        encode_shared(ENCLOSURES, boundary)


def test_the_same_letter_gives_the_same_bytes():
    """Bytes are a function of the letter: made twice, and after many others, they are the same."""
    first = letter(SHARED)
    for number in range(3000):
        letter(text=f"other {number}")
    assert letter(SHARED) == first
    assert boundary_for("7/en") == BOUNDARY != boundary_for("7/fr")
    assert encode_shared(ENCLOSURES, BOUNDARY) == SHARED


def test_equal_moments_in_two_zones_are_two_dates():
    """The date's zone is the letter's own, even if another letter of the same moment went before."""
    assert "10:00:05 +0200" in read(letter()).raw("Date")
    assert "08:00:05 +0000" in read(letter(date=PLAIN.date.astimezone(dt.UTC))).raw("Date")


def test_the_digest_is_of_the_head_and_of_the_enclosures_own():
    """The digest covers every octet of the letter, the shared ones by their sha256."""
    alone = letter()
    assert digest(alone, None) == hashlib.sha256(alone).hexdigest()
    with_enclosures = head(PLAIN, BOUNDARY, SHARED)
    assert SHARED.size == len(SHARED.data)
    assert hashlib.sha256(SHARED.data).hexdigest() == SHARED.sha256
    assert (
        digest(with_enclosures, SHARED)
        == hashlib.sha256(with_enclosures + hashlib.sha256(SHARED.data).digest()).hexdigest()
    )


def test_the_shared_part_needs_no_dot_stuffing():
    """It begins at the start of a line and no line of it begins with a dot, so it is sent as it is."""
    assert SHARED.data.startswith(b"--" + BOUNDARY.encode())
    assert not any(line.startswith(b".") for line in SHARED.data.split(b"\r\n"))
    assert head(PLAIN, BOUNDARY, SHARED).endswith(b"--\r\n")


def test_scripts_beyond_latin_travel_in_base64():
    """French stays readable on the wire, Arabic, Chinese and Russian take the shorter way."""
    assert b"Content-Transfer-Encoding: base64" not in letter(text="Réunion préparatoire à Genève " * 20)
    for text in ("Приглашение", "大使馆", "البعثة الدائمة"):
        assert letter(text=text, html=text).count(b"Content-Transfer-Encoding: base64") == 2


def test_without_enclosures_there_is_no_shared_part():
    """An empty list of enclosures is a mistake of the caller."""
    with pytest.raises(BadInput):
        encode_shared([], BOUNDARY)

import datetime as dt
import email
import email.policy

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from mailer.mime import headers
from tests.support.mail_oracle import assert_wire, decoded, read
from tests.support.mail_samples import ODD_NAMES, ODD_VALUES, PLAIN, REFUSED_VALUES, letter

ADDRESS = "mission@norland.example"
#: any text but what no header may hold
TEXTS = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]) | st.sampled_from(' =?_"\\,;:<>()@.é—公'),
    min_size=1,
    max_size=300,
)


def names_of(octets: bytes) -> list[str]:
    """The names of the letter's headers."""
    return [name for name, _ in read(octets).headers]


def squeezed(name: str) -> str:
    """The name as readers compare it."""
    return " ".join(word for word in name.split(" ") if word)


@pytest.mark.parametrize("value", REFUSED_VALUES.values(), ids=REFUSED_VALUES)
def test_no_header_takes_a_value_that_could_become_another_header(value):
    """A line break, control character or half a character in any value stops the letter, and the error names the header."""
    for name, changes in {
        "Subject": {"subject": value},
        "From": {"sender_name": value},
        "To": {"to": ((value, ADDRESS),)},
        "Cc": {"cc": ((value, ADDRESS),)},
        "Sender": {"submitter": (value, ADDRESS)},
        "X-Note": {"extra": (("X-Note", value),)},
        "Message-ID": {"message_id": f"<{value}@a.example>"},
        "In-Reply-To": {"in_reply_to": value},
        "References": {"references": (value,)},
        "Reply-To": {"reply_to": f"{value}@a.example"},
        "Content-Language": {"language": value},
    }.items():
        with pytest.raises(BadInput) as refused:
            letter(**changes)
        assert refused.value.where == f"header {name}"
        str(refused.value).encode()


@pytest.mark.parametrize(
    "address",
    [
        *("", "@x.example", "a@", "a@b@c.example", "@r.example:a@x.example", "a@[127.0.0.1]", '"a b"@x.example'),
        *("a@x..example", "a@x.example.", "a@-x.example", "a@x_y.example", ".a@x.example", "a..b@x.example"),
        *("a@x\u00e9.example", "\u00e9@x\u00e9.example", "a" * 65 + "@x.example", "a@" + "x" * 260),
        *("\u00e9" * 33 + "@x.example", "\u00e9\u3000e@x.example", "\u202e\u00e9@x.example", "\u00e9..e@x.example"),
    ],
)
def test_what_is_no_mailbox_on_every_relay_is_refused(address):
    """Only dot-atom mailboxes of legal length, in octets, with a domain in ASCII, are written."""
    with pytest.raises(BadInput):
        headers.mailbox("", address)


WIDE = (("Zoë  Müller", "zoë@x.example"), ("", "正@x.example"), ("Registry, A", "registry@x.example"))


def test_an_address_beyond_ascii_stands_as_it_is_where_servers_take_it():
    """RFC 6532: the address in UTF-8, its name encoded as ever; a domain stays in ASCII, and From and Reply-To are never hidden."""
    octets = letter(to=WIDE, cc=WIDE[:1], raw=True)
    octets = octets.replace(b"\r\n ", b" ")
    assert '\r\nTo: =?utf-8?b?Wm/DqyBNw7xsbGVy?= <zoë@x.example>, 正@x.example, "Reg'.encode() in octets
    assert "\r\nCc: =?utf-8?b?Wm/DqyBNw7xsbGVy?= <zoë@x.example>\r\n".encode() in octets
    assert octets.partition(b"\r\n\r\n")[2].isascii()
    for raw in (True, False):
        octets = letter(sender_address="büro@x.example", reply_to="réponse@x.example", raw=raw)
        assert "<büro@x.example>\r\nReply-To: réponse@x.example\r\n".encode() in octets


def test_where_servers_may_not_take_it_an_address_is_the_name_of_a_group_without_members():
    """RFC 6857: all is 7-bit, the reader sees name and address, and no program finds an address that it can't write to."""
    octets = letter(to=WIDE, cc=WIDE[:1])
    assert_wire(octets)
    seen = email.message_from_bytes(octets, policy=email.policy.default)
    assert not seen["To"].defects
    assert [(one.display_name, len(one.addresses)) for one in seen["To"].groups] == [
        ("Zoë Müller <zoë@x.example>", 0),
        ("正@x.example", 0),
        (None, 1),
    ]
    assert [one.addr_spec for one in seen["To"].addresses] == ["registry@x.example"]
    assert [one.display_name for one in seen["Cc"].groups] == ["Zoë Müller <zoë@x.example>"]


@pytest.mark.parametrize("value", ODD_VALUES.values(), ids=ODD_VALUES)
def test_a_subject_is_read_as_it_was_written(value):
    """Whatever a subject looks like, the reader sees that text, and the letter has no other headers than usual."""
    octets = letter(subject=value)
    assert_wire(octets)
    assert read(octets).text_of("Subject") == value
    assert names_of(octets) == names_of(letter())
    assert max(map(len, headers.unstructured("Subject", value).split(b"\r\n"))) <= 78


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
def test_a_display_name_is_read_as_it_was_written(name):
    """Whatever a name looks like, each header shows that name with its one address."""
    octets = letter(sender_name=name, to=((name, ADDRESS), ("B, C", "b@c.example")), cc=((name, ADDRESS),))
    assert_wire(octets)
    seen = read(octets)
    assert seen.mailboxes("From") == [(squeezed(name), PLAIN.sender_address)]
    assert seen.mailboxes("To") == [(squeezed(name), ADDRESS), ("B, C", "b@c.example")]
    assert seen.mailboxes("Cc") == [(squeezed(name), ADDRESS)]
    assert max(map(len, octets.split(b"\r\n\r\n")[0].split(b"\r\n"))) <= 78


@settings(deadline=None)
@given(TEXTS)
def test_any_subject_comes_back(subject):
    """Any Unicode subject comes back, folded within 78 columns."""
    line = headers.unstructured("Subject", subject)
    assert line.isascii()
    assert max(map(len, line.split(b"\r\n"))) <= 78
    assert read(letter(subject=subject)).text_of("Subject") == subject


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_any_display_name_comes_back(one, two):
    """Any Unicode names come back with their own addresses, blanks squeezed."""
    assume(squeezed(one) and squeezed(two))
    octets = letter(to=((one, ADDRESS), (two, "b@c.example")))
    assert_wire(octets)
    assert read(octets).mailboxes("To") == [(squeezed(one), ADDRESS), (squeezed(two), "b@c.example")]


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_at_all_is_refused_or_comes_back(text):
    """There is no third way: no crash, no other text."""
    try:
        octets = letter(subject=text, sender_name=text)
    except BadInput:
        assert any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in text)
        return
    assert_wire(octets)
    assert read(octets).text_of("Subject") == text
    assert names_of(octets) == names_of(letter())


def test_encoded_words_hold_whole_characters():
    """Each encoded-word decodes by itself."""
    for text in ("\U0001f4ce" * 100, "\u00e9" * 200, "a\u4f1a" * 90):
        words = headers.unstructured("Subject", text).decode().split(" ", 1)[1].split()
        assert len(words) > 1
        assert "".join(decoded(word) for word in words) == text
        assert max(map(len, words)) <= 75


def test_plain_names_stay_readable_on_the_wire():
    """What needs no encoding is not encoded, a comma takes quotation marks, and the shorter encoding is chosen."""
    assert headers.mailbox("Anna Lind", "a@b.example") == b"Anna Lind <a@b.example>"
    assert headers.mailbox("Lind, Anna", "a@b.example") == b'"Lind, Anna" <a@b.example>'
    assert headers.mailbox("", "a@b.example") == b"a@b.example"
    assert headers.mailbox("  ", "a@b.example") == b"a@b.example"
    assert headers.mailbox("Genève", "a@b.example") == b"=?utf-8?q?Gen=C3=A8ve?= <a@b.example>"
    assert headers.mailbox("会議", "a@b.example") == b"=?utf-8?b?5Lya6K2w?= <a@b.example>"
    assert headers.unstructured("Subject", "") == b"Subject:\r\n"


def test_message_ids_fold_and_are_never_encoded():
    """A long thread is folded between its ids, with or without their brackets."""
    ids = [f"<{'x' * 40}.{n}@secretariat.example>" for n in range(30)]
    line = headers.message_ids("References", [*ids[:15], *(one.strip("<>") for one in ids[15:])])
    assert line.decode().replace("\r\n", "").split()[1:] == ids
    assert max(map(len, line.split(b"\r\n"))) <= 78
    for wrong in ("", "no-domain", "<a@b> <c@d>", "<a@b", "a@b>", "a@\u00e9", "<a@b@c>"):
        with pytest.raises(BadInput, match="message id"):
            headers.message_ids("References", [wrong])


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (dt.datetime(2006, 7, 7, 9, 5, 1, tzinfo=dt.UTC), "Fri, 7 Jul 2006 09:05:01 +0000"),
        (
            dt.datetime(2002, 6, 19, 23, 59, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
            "Wed, 19 Jun 2002 23:59:00 -0330",
        ),
        (
            dt.datetime(2026, 2, 28, 0, 0, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45))),
            "Sat, 28 Feb 2026 00:00:00 +0545",
        ),
        (
            dt.datetime(1900, 1, 1, 12, 0, tzinfo=dt.timezone(dt.timedelta(minutes=29, seconds=46))),
            "Mon, 1 Jan 1900 11:30:14 +0000",
        ),
    ],
)
def test_a_date_keeps_its_zone(moment, expected):
    """The zone is written as given, in whole minutes; else the moment is told in UTC."""
    assert headers.date("Date", moment) == f"Date: {expected}\r\n".encode()
    assert headers.date("Date", moment) == f"Date: {expected}\r\n".encode()


@settings(deadline=None)
@given(st.datetimes(min_value=dt.datetime(1900, 1, 2), timezones=st.timezones()))  # noqa: DTZ001 - hypothesis adds the zone
def test_any_date_is_the_same_moment_when_read(moment):
    """A date is read as the moment that was given, to the second."""
    from email.utils import parsedate_to_datetime

    read_back = parsedate_to_datetime(headers.date("Date", moment).decode()[6:-2])
    assert abs(read_back - moment) < dt.timedelta(seconds=1)


def test_a_naive_date_is_refused():
    """A time without a zone is no moment."""
    with pytest.raises(BadInput, match="no zone"):
        headers.date("Date", dt.datetime(2006, 7, 7))  # noqa: DTZ001 - the point


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=300))
def test_any_parameter_comes_back(value):
    """Any Unicode parameter comes back by RFC 2231, in lines of at most 78 columns."""
    import email
    from email.utils import collapse_rfc2231_value

    line = headers.with_parameters("Content-Disposition", "attachment", (("filename", value), ("size", "1")))
    assert line.isascii()
    assert max(map(len, line.split(b"\r\n"))) <= 78
    assert b"=?" not in line
    message = email.message_from_bytes(line + b"\r\n")
    assert collapse_rfc2231_value(message.get_param("filename", header="content-disposition")) == value
    assert message.get_param("size", header="content-disposition") == "1"


def test_values_for_programs_are_never_encoded():
    """A long URL stays whole and verbatim; what would need encoding is refused, and so is what no line can hold."""
    for length in (10, 100, 900):
        url = f"<https://lists.secretariat.example/u?a=1&b=2;c=3,d{'x' * length}>"
        line = headers.verbatim("List-Unsubscribe", f"{url}, <mailto:leave@secretariat.example>").decode()
        assert line.replace("\r\n", "") == f"List-Unsubscribe: {url}, <mailto:leave@secretariat.example>"
    for wrong in ("\u00e9", "=?utf-8?q?a?=", "x" * 1000):
        with pytest.raises(BadInput):
            headers.verbatim("List-Unsubscribe", wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "pdf",
        "application/",
        "a/b; c",
        "a/b;c=d\r\nX: y",
        "multipart/mixed",
        "message/rfc822",
        'a/b; c="d',
        "a/b c",
        "é/a",
    ],
)
def test_a_media_type_is_one_that_can_be_encoded(wrong):
    """What is no media type, or may not be in base64, is refused."""
    with pytest.raises(BadInput):
        headers.media_type(wrong, "agenda.pdf")


def test_a_media_type_keeps_its_parameters():
    """Parameters of a media type are read, quoted or not."""
    assert headers.media_type('Text/Calendar; charset=utf-8;method=PUBLISH ; name="a b.ics"', "x") == (
        "text/calendar",
        (("charset", "utf-8"), ("method", "PUBLISH"), ("name", "a b.ics")),
    )

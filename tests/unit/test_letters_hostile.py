"""Data is never code and never markup, whatever it holds and wherever it is merged."""
# ruff: noqa: DTZ001 - events have local times

import datetime as dt
import html.parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import LetterError
from mailer.letters import clean
from mailer.letters.render import Renderer
from mailer.letters.source import Enclosure, Event, Issuer, Person
from tests.support import letters_kit

HOSTILE = [
    "{{ 7*7 }}",
    "{% for x in y %}",
    "{# gone #}",
    "{{ organization.__class__ }}",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--chancery:0-->",
    "**bold** _it_ `code`",
    "](javascript:alert(1))",
    "[x](https://evil.example)",
    "| a | b |",
    "&lt;b&gt; &amp; &#60;",
    "</p></div></body></html>",
    "# heading",
    "=?UTF-8?Q?=0A?=",
    "plain",
]
TEXT = (
    'To {{ organization }} of {{ state }}, "{{ word }}" and *{{ word }}*.\n\n- {{ word }}\n\n| a |\n|---|\n| {{ organization }} |\n\n'
    "{{ words | bullets }}\n\n{{ contact_persons | sentence }}\n\n[x](https://x.example/{{ organization }})\n\n{{ event | block }}\n"
)


class _Reader(html.parser.HTMLParser):
    """The elements of a page, and its words."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.words.append(data)


def _read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader


def _letter(value: str):
    return letters_kit.rendered(
        TEXT,
        {"organization": value, "state": value, "salutation": value},
        salutation=None,
        subject="On {{ organization }}",
        values={"word": value, "words": [value, value]},
        event=Event("x", dt.datetime(2006, 7, 17, 15), location=value),
        contact_persons=(Person(value, value, value, value, value),),
        enclosures=(Enclosure(value, value),),
        issuers=(Issuer(value, value, "", value),),
        to_lines=(value,),
        place=value,
        closing=value,
    )


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_are_words(value):
    """A value in every field of a letter adds no element, no attribute and no code, and stands in both forms as it is."""
    plain, hostile = _letter("plain"), _letter(value)
    expected, found = _read(plain.html), _read(hostile.html)
    assert found.tags == expected.tags
    assert found.attributes == expected.attributes
    assert value in "".join(found.words)
    assert value in " ".join(hostile.text.split())
    assert hostile.subject == f"On {value}"
    assert "49" not in hostile.html.replace(value, "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\r\nBcc: x@y.example", "a Bcc: x@y.example"),
        ("a\nb\u2028c\u2029d\x85e", "a b c d e"),
        ("a\x00b\x1b[31mc\x7f", "ab[31mc"),
        ("a\u202eb\u2066c\ufeff", "abc"),
        ("a\U000f0000b\U00100001c", "abc"),
        ("a\tb", "a b"),
        ("\u200fעa", "\u200fעa"),
    ],
)
def test_controls_and_bidi_are_made_harmless(value, expected):
    """Line breaks in a field become a space; controls, bidi overrides and our own marks go; the marks of direction stay."""
    assert clean.line(value) == expected
    out = letters_kit.rendered("X {{ organization }} X", {"organization": value})
    assert f"X {expected} X" in out.text
    assert f"X {expected} X" in out.html


@given(value=st.text(max_size=60))
def test_any_text_is_words(value):
    """Any text whatever in a letter's own fields leaves the page's elements as they are."""
    renderer = _renderer()
    page = renderer.render({"organization": value, "state": value, "salutation": f"X{value}"})
    assert _read(page.html).tags == _read(renderer.render(letters_kit.MISSION).html).tags
    assert "\r" not in page.text
    assert "\n" not in page.subject


_CACHE: list[Renderer] = []


def _renderer() -> Renderer:
    if not _CACHE:
        _CACHE.append(
            Renderer(
                letters_kit.compiled("To {{ organization }}, {{ state }}.", subject="{{ state }}", salutation=None)
            )
        )
    return _CACHE[0]


def test_an_author_can_not_smuggle_marks():
    """A text that holds the characters this program keeps for itself is refused, not misread."""
    with pytest.raises(LetterError, match="private plane"):
        letters_kit.compiled("a \U000f0000 b")
    with pytest.raises(LetterError, match="private plane"):
        letters_kit.compiled("a", subject="x \U00100000")

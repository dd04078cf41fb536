"""What data may bring into a letter: characters, never structure. Escaping for HTML is done where a value is written."""

import re
from typing import Any
from urllib.parse import quote

#: Characters above the ones that hold an expression's place while Markdown and CSS are worked on; no text may have them.
HOLDERS = 0xF0000
_PRIVATE = "\U000f0000-\U0010ffff"
_BREAKS = re.compile(r"[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
#: Controls; bidi embeddings, overrides and isolates (the marks U+200E and U+200F stay); byte-order mark; lone surrogates.
_UNWANTED = re.compile(rf"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff{_PRIVATE}]")
_ANY = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff{_PRIVATE}]")
_MARKS = re.compile(rf"[{_PRIVATE}]")


class Laid(str):
    """Text for the text form that is laid out already: its line breaks stay, and it is not cleaned again."""

    __slots__ = ()


def line(value: Any) -> str:
    """*value* as one line: line breaks and tabs become a space, controls and bidi overrides go."""
    text = value if isinstance(value, str) else str(value)
    if text.isprintable() or _ANY.search(text) is None:  # printable text has none of them; most values end here
        return text
    return _UNWANTED.sub("", _BREAKS.sub(" ", text))


def has_marks(text: str) -> bool:
    """Whether a text of an author holds characters of the private planes, which this program needs for itself."""
    return _MARKS.search(text) is not None


def percent(value: Any) -> str:
    """*value* as a part of a link, percent-encoded; `@` stays, since an address in `mailto:` needs it."""
    return quote(line(value), safe="@-._~")


def is_url(value: str) -> bool:
    """Whether *value* may be a whole link target: https or mailto, and no blank or control in it."""
    return (
        re.fullmatch(r"(?:https://|mailto:)[^\s\x00-\x20\x7f<>\"'`{}\\]+", value) is not None and line(value) == value
    )

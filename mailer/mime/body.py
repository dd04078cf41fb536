"""Texts as MIME parts, so that no relay on the way has a reason to change a byte.

- Every part is 7-bit: quoted-printable or base64, CRLF line ends, at most 76 columns.
- No line of a body begins with a dot (end of data, dot-stuffing) or with "From " (mailbox files), and none ends in a blank.
"""

import binascii
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lists.errors import BadInput
from mailer.mime.parts import COLUMNS, base64_lines

#: what a hop may change at the start of a line
_ALTERED = (b".", b"From ")
_ALTERED_LATER = re.compile(rb"\n(?:\.|From )")
_HEADS = {
    (
        kind,
        encoding,
    ): f"Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    for kind in ("plain", "html")
    for encoding in ("quoted-printable", "base64")
}


def text_part(kind: str, text: str) -> bytes:
    """A text as a part, from its Content-Type to the CRLF that belongs to the boundary after it.

    Any line ends become CRLF; the decoded part has no line end at its end that *text* lacks.

    Args:
        kind: `plain` or `html`.
        text: any Unicode text; control characters travel encoded.

    Raises:
        BadInput: it holds half a character (a lone surrogate).
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        octets = text.encode()
        if _is_dense(len(text), len(octets) - len(text)):
            return _HEADS[kind, "base64"] + base64_lines(octets.replace(b"\n", b"\r\n"))
    except UnicodeEncodeError as error:
        raise BadInput(
            "the text holds half a character", where=f"the {kind} text", remedy="Type that passage anew"
        ) from error
    return b"".join((_HEADS[kind, "quoted-printable"], _quoted(text), b"\r\n"))


class _Known(NamedTuple):
    """A passage of several lines that stands in every letter.

    Attributes:
        first: its first line.
        whole: all its lines but the last, encoded, with their ends.
        rest: the same without the first line, whose end comes first: to follow a first line that began before the passage.
        last: its last line, which goes on after the passage.
        beyond: see `_beyond`.
    """

    first: str
    whole: bytes
    rest: bytes
    last: str
    beyond: int


class Body:
    """Makes a text part for one letter after the other, from its pieces; what the letters have in common is encoded once.

    A line ends where a piece says so, not where the piece ends, so only lines that a letter has for itself are encoded for it.
    """

    def __init__(self, kind: str, common: Iterable[str] = ()) -> None:
        """Know the *common* pieces; others may come, and these need not. *kind*: see `text_part`."""
        self._kind = kind
        self._head = _HEADS[kind, "quoted-printable"]
        self._known = {piece: known for piece in common if (known := _known(piece)) is not None}
        #: as far as the common pieces tell
        self._dense = _is_dense(sum(map(len, self._known)), sum(known.beyond for known in self._known.values()))

    def part(self, pieces: Sequence[str]) -> bytes:
        """What `text_part` gives for the *pieces* joined.

        Raises:
            BadInput: as `text_part`.
        """
        if self._dense:
            return text_part(self._kind, "".join(pieces))
        out = [self._head]
        own: list[str] = []  # from the start of a line, and not yet encoded
        more = 0
        for piece in pieces:
            known = self._known.get(piece)
            if known is None:
                beyond = 0 if piece.isascii() else _beyond(piece)
                if beyond < 0 or "\r" in piece:
                    return text_part(self._kind, "".join(pieces))
                own.append(piece)
                more += beyond
                continue
            first, whole, rest, last, beyond = known
            if own:
                own.append(first)
                out += (_quoted("".join(own)), rest)
                own.clear()
            else:
                out.append(whole)
            if last:
                own.append(last)
            more += beyond
        if more and _is_dense(sum(map(len, pieces)), more):
            return text_part(self._kind, "".join(pieces))
        out += (_quoted("".join(own)), b"\r\n")
        return b"".join(out)


def _known(piece: str) -> _Known | None:
    """None: it is not worth knowing, or needs what `text_part` does with it."""
    beyond = _beyond(piece)
    if "\n" not in piece or "\r" in piece or beyond < 0:
        return None
    first, *whole, last = piece.split("\n")
    rest = b"\r\n".join((b"", *map(_quote, whole), b""))
    return _Known(first, _quoted(first) + rest, rest, last, beyond)


def _is_dense(characters: int, beyond: int) -> bool:
    """Whether a text of so many characters, and so many more octets than that, is shorter in base64.

    In scripts other than Latin, quoted-printable takes 6 to 9 columns a letter, and base64 3 to 4; Latin stays readable. The octets
    beyond the characters count the letters beyond ASCII without a look at each; dense French has one in ten.
    """
    return 6 * beyond > characters + beyond


def _beyond(text: str) -> int:
    """How many more octets *text* has than characters; -1 where it holds half a character."""
    try:
        return len(text.encode()) - len(text)
    except UnicodeEncodeError:
        return -1


def _quoted(text: str) -> bytes:
    """Lines in quoted-printable, parted by CRLF."""
    return b"\r\n".join(map(_quote, text.split("\n"))) if "\n" in text else _quote(text)


def _quote(line: str) -> bytes:
    """One line (without its end) in quoted-printable, itself perhaps of several lines.

    binascii does the work; what it leaves undone (dots, "From ", 77 columns before a blank) is mended after it.
    """
    if len(line) <= COLUMNS and "=" not in line and line.isascii() and line.isprintable() and not line.endswith(" "):
        encoded = line.encode()
    else:
        encoded = binascii.b2a_qp(line.encode() + b"\r\n")[:-2]  # the line end tells it to break long lines by CRLF
    if len(encoded) <= COLUMNS:
        if not encoded.startswith(_ALTERED):
            return encoded
    elif (  # binascii keeps all but the last line within the columns
        len(encoded) - encoded.rfind(b"\n") - 1 <= COLUMNS
        and not encoded.startswith(_ALTERED)
        and not _ALTERED_LATER.search(encoded)
    ):
        return encoded
    return b"\r\n".join(map(_tame, encoded.split(b"\r\n")))


def _tame(encoded: bytes) -> bytes:
    """An encoded line, if it begins with what a hop would alter or is too long, with its first octet encoded and broken in two."""
    if encoded.startswith(_ALTERED):
        encoded = b"=%02X%s" % (encoded[0], encoded[1:])
    if len(encoded) <= COLUMNS:
        return encoded
    cut = COLUMNS - 6
    while b"=" in encoded[cut - 2 : cut]:  # not within =XX
        cut -= 1
    return encoded[:cut] + b"=\r\n" + _tame(encoded[cut:])

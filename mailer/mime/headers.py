"""Header lines as bytes: 7-bit but for what the last rule says, folded at spaces, CRLF included.

Rules, and where they come from:

- A value with a control character, a line or paragraph separator or half a surrogate pair is refused, never mended: whoever
  put it there wanted something else than text (header injection), or a mistake upstream would be hidden.
- "=?" in a value never reaches the wire as it is: a receiver would decode it. Such a value is encoded as a whole, so that decoding
  gives the same text back.
- Encoded-words (RFC 2047) are UTF-8, at most 75 columns, hold whole characters, and stand only in free text and in display
  names: never in an address, a quoted string, a message id, a parameter or a List-* value.
- Lines are at most 78 columns where there is a space to fold at (RFC 5322 section 2.1.1), and never more than 998.
- A domain beyond ASCII is refused: it comes here as A-labels. An address with characters beyond ASCII before its @ stands in UTF-8
  as it is (RFC 6532) where every server on the way takes that (SMTPUTF8); elsewhere it is printed as the name of a group that has
  no members, as RFC 6857 does it: `=?utf-8?q?...?= :;`. Who has the letter sees it, and no program takes it for an address.
"""

import binascii
import datetime as dt
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from lists.errors import BadInput

WIDTH = 78
LONGEST = 998

#: columns of one encoded-word (RFC 2047 section 2)
_WORD = 75
#: columns of an encoded-word in a display name: fits the first line of any address header, with a comma
_NAME_WORD = 62
#: what "=?utf-8?q?" and "?=" take
_WRAP = 12

_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}")
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_ATOMS = re.compile(rf"{_ATEXT}+(?: {_ATEXT}+)*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_ADDRESS = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*@{_DOMAIN}")
_WIDE_ATEXT = rf"(?:{_ATEXT}|[^\x00-\x7f])"
_WIDE_ADDRESS = re.compile(rf"({_WIDE_ATEXT}+(?:\.{_WIDE_ATEXT}+)*)@{_DOMAIN}")
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")
_TOKEN = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}")
_MEDIA_PARAMETER = re.compile(r"""\s*;\s*([A-Za-z0-9_-]+)=(?:"([^"\\]*)"|([!#$%&'*+.0-9A-Z^_`a-z{|}~-]+))""")

#: what stands for itself in every encoded-word, display names included (RFC 2047 section 5 rule 3)
_Q_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
#: what stands for itself in an extended parameter (RFC 2231 section 7), less what a careless reader may take for syntax
_ATTRIBUTE_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class _Escapes(dict[int, str]):
    """For str.translate: code point -> what stands for it; filled as characters come up."""

    def __init__(self, safe: frozenset[str], mark: str) -> None:
        super().__init__((ord(c), c) for c in safe)
        self._mark = mark

    def __missing__(self, code: int) -> str:
        escaped = self[code] = "".join(f"{self._mark}{octet:02X}" for octet in chr(code).encode())
        return escaped


_QUOTED = _Escapes(_Q_SAFE, "=")
_QUOTED[ord(" ")] = "_"
_PERCENT = _Escapes(_ATTRIBUTE_SAFE, "%")

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def check(name: str, value: str) -> None:
    """Refuse a *value* that may not stand in the header *name*.

    Raises:
        BadInput: it holds a control character, a line separator or half a character.
    """
    if value.isprintable():  # printable text has none of them; most values end here
        return
    if found := _REFUSED.search(value):
        code = ord(found.group())
        what = {
            0: "a NUL",
            9: "a tab",
            10: "a line break",
            13: "a line break",
            0x2028: "a line break",
            0x2029: "a line break",
        }
        kind = "half a character" if 0xD800 <= code <= 0xDFFF else what.get(code, "a control character")  # noqa: PLR2004 - the surrogates' range
        raise BadInput(f"it holds {kind} (U+{code:04X})", where=f"header {name}", remedy="Take it out of the value")


def unstructured(name: str, value: str) -> bytes:
    """A header of free text (Subject): as it is where that is safe, else as encoded-words."""
    check(name, value)
    first = WIDTH - len(name) - 2
    return _fold(name, value.split(" ") if _is_plain(value, first) else _encoded_words(value, min(first, _WORD), _WORD))


def verbatim(name: str, value: str) -> bytes:
    """A header that programs read (List-*, tokens): ASCII, folded at its spaces, never encoded.

    Raises:
        BadInput: it can't be written without encoding.
    """
    check(name, value)
    if not value.isascii() or "=?" in value:
        raise BadInput(
            "it can be written in plain ASCII only",
            where=f"header {name}",
            remedy="Write it without accents and without =?",
        )
    return _fold(name, value.split())


def mailbox(name: str, address: str) -> bytes:
    """One mailbox as it stands in From or To, unfolded: `Jane Doe <jane@x.example>`; the bare address where *name* is empty."""
    return " ".join(_mailbox("mailbox", name, address)).encode()


def mailboxes(name: str, boxes: Sequence[tuple[str, str]], *, raw: bool = True) -> bytes:
    """A header of mailboxes (From, To, Cc, Reply-To) from pairs of display name and address.

    Blanks around and repeated within a display name are dropped.

    Args:
        name: of the header.
        boxes: at least one.
        raw: addresses beyond ASCII are written as they are; else as empty groups.
    """
    if not boxes:
        raise BadInput("it needs at least one address", where=f"header {name}")
    tokens: list[str] = []
    for display, address in boxes:
        tokens += _mailbox(name, display, address, raw=raw)
        tokens[-1] += ","
    tokens[-1] = tokens[-1][:-1]
    return _fold(name, tokens, "utf-8")


def message_ids(name: str, ids: Iterable[str]) -> bytes:
    """A header of message ids (Message-ID, In-Reply-To, References), each with or without its angle brackets."""
    tokens = []
    for one in ids:
        bracketed = one if one.startswith("<") else f"<{one}>"
        if not _MESSAGE_ID.fullmatch(bracketed):
            check(name, one)
            raise BadInput(
                f"{one!r} is not a message id",
                where=f"header {name}",
                remedy="It looks like <letters-and-digits@our.domain>",
            )
        tokens.append(bracketed)
    return _fold(name, tokens)


def date(name: str, moment: dt.datetime) -> bytes:
    """A date with the zone it is given in (RFC 5322 section 3.3).

    Raises:
        BadInput: it has no zone.
    """
    offset = moment.utcoffset()
    if offset is None:
        raise BadInput("the time has no zone", where=f"header {name}", remedy="Give the time zone with it")
    minutes, odd = divmod(offset.days * 86400 + offset.seconds, 60)
    if odd or offset.microseconds:  # a zone's local mean time; the format has whole minutes only
        moment, minutes = moment.astimezone(dt.UTC), 0
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    return (
        f"{name}: {_DAYS[moment.weekday()]}, {moment.day} {_MONTHS[moment.month - 1]} {moment.year:04}"
        f" {moment.hour:02}:{moment.minute:02}:{moment.second:02} {sign}{hours:02}{rest:02}\r\n"
    ).encode("ascii")


def with_parameters(name: str, value: str, parameters: Iterable[tuple[str, str]]) -> bytes:
    """Content-Type or Content-Disposition: *value*, then its parameters, by RFC 2231 where they are not plain or too long."""
    check(name, value)
    tokens = [value]
    for key, text in parameters:
        check(name, text)
        tokens += _parameter(key, text)
    return _fold(name, [f"{token};" for token in tokens[:-1]] + tokens[-1:])


@lru_cache(maxsize=256)  # the same few types over and over
def media_type(text: str, where: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The type and the parameters of `text/calendar; charset=utf-8; method=PUBLISH`.

    Raises:
        BadInput: it is no media type, or one that can't be encoded (multipart, message).
    """
    found = _MEDIA_TYPE.match(text)
    at, parameters = found.end() if found else 0, []
    while found and at < len(text) and (parameter := _MEDIA_PARAMETER.match(text, at)):
        parameters.append((parameter[1].lower(), parameter[2] if parameter[2] is not None else parameter[3]))
        at = parameter.end()
    if not found or at < len(text) or not text.isprintable():
        raise BadInput(f"{text!r} is not a media type", where=where, remedy="It looks like application/pdf")
    kind = found.group().lower()
    if kind.startswith(("multipart/", "message/")):  # RFC 2046: these may not be in base64
        raise BadInput(f"a document can't travel as {kind}", where=where, remedy="Use application/octet-stream")
    return kind, tuple(parameters)


def language(code: str) -> str:
    """*code*, if it is a language tag such as `fr`.

    Raises:
        BadInput: it is none.
    """
    if not _LANGUAGE.fullmatch(code):
        raise BadInput(f"{code!r} is not a language", where="header Content-Language", remedy="Give a code such as fr")
    return code


def field_name(name: str) -> str:
    """*name*, if it can be the name of a header of ours.

    Raises:
        BadInput: it can't.
    """
    if not _FIELD.fullmatch(name):
        raise BadInput(f"{name!r} can't be the name of a header", remedy="Use letters, digits and hyphens")
    return name


def _fold(name: str, tokens: Sequence[str], charset: str = "ascii") -> bytes:
    """The header with as many tokens on each line as fit; the first always stands beside the name."""
    line = f"{name}: {' '.join(tokens)}"
    if len(line) <= WIDTH:  # most headers
        return f"{line.rstrip()}\r\n".encode(charset)
    lines: list[str] = []
    line = f"{name}:"
    for number, token in enumerate(tokens):
        if number and len(line) + 1 + len(token) > WIDTH:
            lines.append(line)
            line = ""
        line += f" {token}"
    lines.append(line.rstrip())
    if max(map(len, lines)) > LONGEST:
        raise BadInput(
            "a piece of it is too long for one line of a message", where=f"header {name}", remedy="Shorten it"
        )
    return "\r\n".join([*lines, ""]).encode(charset)


def _is_plain(value: str, first: int) -> bool:
    """Whether free text may stand as it is, its first word within *first* columns."""
    if not value.isascii() or "=?" in value or "  " in value or value != value.strip():
        return False
    words = value.split(" ")
    return len(words[0]) <= first and max(map(len, words)) < WIDTH


def _encoded_words(text: str, first: int, rest: int) -> list[str]:
    """*text* as encoded-words, in Q or B, whichever is shorter; the first has *first* columns, the others *rest*."""
    quoted = text.translate(_QUOTED)
    if len(quoted) <= (len(text.encode()) + 2) // 3 * 4:
        if len(quoted) <= first - _WRAP:
            return [f"=?utf-8?q?{quoted}?="]
        packed = _pack([(_QUOTED[ord(c)], len(_QUOTED[ord(c)])) for c in text], first - _WRAP, rest - _WRAP)
        return [f"=?utf-8?q?{word}?=" for word in packed]
    packed = _pack([(c, len(c.encode())) for c in text], (first - _WRAP) // 4 * 3, (rest - _WRAP) // 4 * 3)
    return [f"=?utf-8?b?{binascii.b2a_base64(word.encode(), newline=False).decode()}?=" for word in packed]


def _pack(pieces: Iterable[tuple[str, int]], first: int, rest: int) -> list[str]:
    """The pieces (text, its size) joined into words of at most *first*, then *rest*; a piece is never split."""
    words: list[str] = []
    word: list[str] = []
    size, room = 0, first
    for piece, length in pieces:
        if word and size + length > room:
            words.append("".join(word))
            word, size, room = [], 0, rest
        word.append(piece)
        size += length
    return [*words, "".join(word)]


def _mailbox(header: str, name: str, address: str, *, raw: bool = True) -> list[str]:
    """One mailbox as tokens between which a line may be folded."""
    if not _ADDRESS.fullmatch(address) or len(address) > 254 or address.index("@") > 64:  # noqa: PLR2004 - RFC 5321 section 4.5.3.1
        _check_wide(header, address)
        if not raw:
            check(header, name)
            shown = f"{' '.join(word for word in name.split(' ') if word)} <{address}>" if name.strip(" ") else address
            return [*_encoded_words(shown, _NAME_WORD, _NAME_WORD), ":;"]
    if not name:
        return [address]
    check(header, name)
    words = [word for word in name.split(" ") if word]
    if not words:
        return [address]
    squeezed = " ".join(words)
    if not _ATOMS.fullmatch(squeezed):
        escaped = squeezed.replace("\\", "\\\\").replace('"', '\\"')
        words = f'"{escaped}"'.split(" ")
    if not squeezed.isascii() or "=?" in squeezed or max(map(len, words)) > _NAME_WORD:
        words = _encoded_words(squeezed, _NAME_WORD, _NAME_WORD)
    return [*words, f"<{address}>"]


def _check_wide(header: str, address: str) -> None:
    """Refuse what is no address with characters beyond ASCII before its @; its length counts in octets of UTF-8 (RFC 6531, 3.3)."""
    check(header, address)
    found = _WIDE_ADDRESS.fullmatch(address)
    if address.isascii() or found is None or not address.isprintable() or len(address.encode()) > 254:  # noqa: PLR2004 - as above
        remedy = "Correct the address" if address.isascii() else "Write a domain beyond ASCII as xn--"
    elif len(found[1].encode()) > 64:  # noqa: PLR2004 - as above
        remedy = "At most 64 octets may stand before the @"
    else:
        return
    raise BadInput(f"{address!r} is not an address that mail can be sent to", where=f"header {header}", remedy=remedy)


def _parameter(key: str, text: str) -> list[str]:
    """A parameter as one token, or as the numbered tokens of RFC 2231."""
    room = WIDTH - 2  # a blank before, a semicolon after
    if (
        _TOKEN.fullmatch(text)
        and len(key) + 1 + len(text) <= room
        and "=?" not in text
        and not set("%'*") & set(text)  # RFC 2231 gives these a meaning, and some readers see it where there is none
    ):
        return [f"{key}={text}"]
    plain = (
        text.isascii()
        and "=?" not in text
        and "  " not in text
        and text == text.strip()
        and not set('"\\%') & set(text)
    )
    if plain and len(key) + 3 + len(text) <= room:
        return [f'{key}="{text}"']
    pieces = [_PERCENT[ord(c)] for c in text]
    whole = f"{key}*=utf-8''{''.join(pieces)}"
    if len(whole) <= room:
        return [whole]
    space = room - len(key) - len("*00*=utf-8''")
    packed = _pack([(piece, len(piece)) for piece in pieces], space, space)
    packed[0] = f"utf-8''{packed[0]}"
    return [f"{key}*{number}*={piece}" for number, piece in enumerate(packed)]

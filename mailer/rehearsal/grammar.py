"""What clients may say (RFC 5321, 1870, 3461, 4954, 6152, 6531), strictly: pure functions from a line to its parts or a refusal."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: Longest command line in octets, CRLF counted: RFC 5321 4.5.3.1.4; MAIL and RCPT have the allowance of their extensions; AUTH: RFC 4954.
LINE_LIMIT = 512
LONG_LINE_LIMIT = 2048
AUTH_LINE_LIMIT = 12288
#: Longest line of a letter, CRLF not counted: RFC 5322 2.1.1.
TEXT_LINE_LIMIT = 998

#: From this size on, contents are looked through by faster roads.
LARGE = 32768

_END = b"\r\n.\r\n"
_PATH = rb'<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>'
_MAIL = re.compile(rb"(?is)MAIL FROM:" + _PATH + rb"(?: (.+))?")
_RCPT = re.compile(rb"(?is)RCPT TO:" + _PATH + rb"(?: (.+))?")
_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]+"
_LABEL = rb"[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff-]*[A-Za-z0-9\x80-\xff])?"
_QUOTED = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*"'
_ADDRESS = re.compile(
    rb"(" + _ATOM + rb"(?:\." + _ATOM + rb")*|" + _QUOTED + rb")"
    rb"@(" + _LABEL + rb"(?:\." + _LABEL + rb")*|\[[\x21-\x5a\x5e-\x7e]+\])"
)
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]+))?")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
#: ORCPT: RFC 3461, 4.2; of kind utf-8 RFC 6533, 3, where characters beyond ASCII may stand as they are too.
_ORCPT = re.compile(r"(?!(?i:utf-8;))[A-Za-z0-9-]+;(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_HEXPOINT = r"(?:[01][1-9]|10|20|2B|3D|7F|5C|[89A-F][0-9A-F]|[1-9A-F][0-9A-F]{2}|[1-9A-CEF][0-9A-F]{3}|D[0-7][0-9A-F]{2}|[1-9A-F][0-9A-F]{4}|10[0-9A-F]{4})"
_UTF8_ORCPT = re.compile(rf"(?i:utf-8;)(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]|\\x\{{{_HEXPOINT}\}})+")
_NOTIFY = re.compile(r"(?i)NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*")
_HELO = re.compile(
    rb"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?|\[[\x21-\x5a\x5e-\x7e]+\])"
)


class Refusal(Exception):
    """The line is not accepted; `reply` is what the client hears."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        super().__init__(reply)


@dataclass(frozen=True, slots=True)
class Offer:
    """What this connection has been offered, as far as parameters need it.

    Attributes:
        words: EHLO's keywords in capitals; empty after HELO.
        size: the largest letter in octets; 0: no limit.
    """

    words: frozenset[str] = frozenset()
    size: int = 0


@dataclass(frozen=True, slots=True)
class Path:
    """An address with its parameters: keys in capitals, values exactly as they came ("" where there was no "=")."""

    address: str
    params: Mapping[str, str]


_NONE: Mapping[str, str] = {}


def mail(line: bytes, offer: Offer) -> Path:
    """The parts of a MAIL command; address "" is the null sender.

    Raises:
        Refusal: 501, 552, 553 or 555 with the reason.
    """
    match = _MAIL.fullmatch(line)
    if match is None:
        raise Refusal("501 5.5.4 Syntax: MAIL FROM:<address> [parameters]")
    params = _parameters(match[2])
    for key, value in params.items():
        _check_mail_parameter(key, value, offer)
    address = _address(match[1], utf8="SMTPUTF8" in params, code="5.1.7") if match[1] else ""
    return Path(address, params)


def rcpt(line: bytes, offer: Offer, *, utf8: bool) -> Path:
    """The parts of a RCPT command; *utf8*: the letter's MAIL asked for SMTPUTF8.

    Raises:
        Refusal: 501, 553 or 555 with the reason.
    """
    match = _RCPT.fullmatch(line)
    if match is None:
        raise Refusal("501 5.5.4 Syntax: RCPT TO:<address> [parameters]")
    params = _parameters(match[2])
    for key, value in params.items():
        if key not in {"NOTIFY", "ORCPT"} or "DSN" not in offer.words:
            raise Refusal(f"555 5.5.4 Parameter {key} is not known")
        if key == "NOTIFY" and not _NOTIFY.fullmatch(value):
            raise Refusal("501 5.5.4 NOTIFY is NEVER alone, or SUCCESS, FAILURE, DELAY")
        if key == "ORCPT" and not _is_orcpt(value, utf8="SMTPUTF8" in offer.words):
            raise Refusal("501 5.5.4 ORCPT is TYPE;ADDRESS of at most 500 characters, the address in xtext")
    if match[1].lower() == b"postmaster":
        return Path(match[1].decode(), params)
    return Path(_address(match[1], utf8=utf8, code="5.1.3"), params)


def _is_orcpt(value: str, *, utf8: bool) -> bool:
    """Whether *value* names an original recipient; *utf8*: SMTPUTF8 was offered."""
    if len(value) > 500 or not (utf8 or value.isascii()):  # noqa: PLR2004 - RFC 3461, 4.2
        return False
    return (_ORCPT.fullmatch(value) or _UTF8_ORCPT.fullmatch(value)) is not None


def helo(argument: bytes) -> str:
    """The name that a client gives itself.

    Raises:
        Refusal: 501, where it is no domain and no address literal.
    """
    if not _HELO.fullmatch(argument):
        raise Refusal("501 5.5.4 A domain name or an address literal is wanted")
    return argument.decode("ascii")


def find_end(buffer: bytearray, start: int) -> int:
    """Where in *buffer*, at or after *start*, CR LF dot CR LF begins; -1 where it does not.

    Base64 has no dots, so in long inputs looking for dots is twenty times faster than looking for the whole.
    """
    if len(buffer) - start < LARGE:
        return buffer.find(_END, start)
    dot = start + 1
    while (dot := buffer.find(b".", dot + 1)) >= 0:
        if buffer[dot - 2 : dot + 3] == _END:
            return dot - 2
    return -1


def unstuff(content: bytes) -> bytes:
    """Take the extra dots away (RFC 5321, 4.5.2); *content* holds no line that is a dot alone."""
    last = content.rfind(b".") + 1
    dotted, rest = (content[:last], content[last:]) if len(content) - last > LARGE else (content, b"")
    if dotted.startswith(b"."):
        dotted = dotted[1:]
    dotted = dotted.replace(b"\r\n.", b"\r\n")
    return dotted + rest if rest else dotted


def fault_of_content(content: bytes, *, eight_bit: bool, utf8: bool = False) -> str | None:
    """Why a letter's bytes are refused, as a reply; None where they are well formed.

    *eight_bit*: its MAIL said BODY=8BITMIME, which is for bodies; *utf8*: it said SMTPUTF8, which is for heads (RFC 6531, 3.6).
    """
    ends = content.count(b"\r\n")
    if content.count(b"\n") != ends or content.count(b"\r") != ends:
        return "550 5.6.11 Bare CR or LF in the letter"
    if b"\0" in content:
        return "550 5.6.11 NUL in the letter"
    if not content.isascii() and (refusal := _fault_of_octets(content, eight_bit=eight_bit, utf8=utf8)) is not None:
        return refusal
    start, last = 0, len(content)
    while last - start > TEXT_LINE_LIMIT + 2:  # a jump from line end to line end: a thousand octets a step
        end = content.rfind(b"\n", start, start + TEXT_LINE_LIMIT + 2)
        if end < 0:
            return "550 5.6.0 A line of the letter is longer than 998 octets"
        start = end + 1
    return None


def _fault_of_octets(content: bytes, *, eight_bit: bool, utf8: bool) -> str | None:
    """The same for octets beyond ASCII."""
    head, end, body = content.partition(b"\r\n\r\n")
    if content.startswith(b"\r\n") or (not end and b":" not in head):
        head, body = b"", content
    if not body.isascii() and not eight_bit:
        return "554 5.6.1 8-bit content without BODY=8BITMIME"
    if not head.isascii():
        if not utf8:
            return "554 5.6.9 A header beyond ASCII without SMTPUTF8"
        try:
            head.decode()
        except UnicodeDecodeError:
            return "554 5.6.0 A header that is not UTF-8"
    return None


class ContentReader:
    """Takes the dots away and judges contents; remembers the last large one's end.

    Letters of one circular end in the same enclosures: one comparison spares the scan of megabytes.
    """

    def __init__(self) -> None:
        self._known = (
            b"\0"  # a whole number of well-formed ASCII lines, none beginning with a dot; at first, no letter's end
        )

    def read(self, content: bytes, *, eight_bit: bool, utf8: bool = False) -> tuple[bytes, str | None]:
        """The letter itself, and why it is refused, if it is; as `fault_of_content`."""
        if content.endswith(self._known) and content[-len(self._known) - 1 : -len(self._known)] == b"\n":
            head = unstuff(content[: -len(self._known)])
            return head + self._known, fault_of_content(head, eight_bit=eight_bit, utf8=utf8)
        letter = unstuff(content)
        refusal = fault_of_content(letter, eight_bit=eight_bit, utf8=utf8)
        if refusal is None and len(content) > 2 * LARGE and content.isascii():
            tail = content[content.index(b"\n", LARGE) + 1 :]
            if not tail.startswith(b".") and b"\r\n." not in tail:
                self._known = tail or self._known
        return letter, refusal


def _parameters(text: bytes | None) -> Mapping[str, str]:
    if text is None:
        return _NONE
    found: dict[str, str] = {}
    for word in text.split(b" "):
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise Refusal("501 5.5.4 Parameters are KEY or KEY=VALUE, with one space between them")
        key = match[1].decode().upper()
        if key in found:
            raise Refusal(f"501 5.5.4 Parameter {key} is given twice")
        found[key] = (match[2] or b"").decode("utf-8", "replace")
    return found


def _check_mail_parameter(key: str, value: str, offer: Offer) -> None:
    right: bool
    match key:
        case "SIZE" if "SIZE" in offer.words:
            right = value.isascii() and value.isdigit() and len(value) <= 20  # noqa: PLR2004 - RFC 1870, 3
            if right and offer.size and int(value) > offer.size:
                raise Refusal(f"552 5.3.4 The letter is larger than {offer.size} octets")
        case "BODY" if "8BITMIME" in offer.words:
            right = value.upper() in {"7BIT", "8BITMIME"}
        case "SMTPUTF8" if "SMTPUTF8" in offer.words:
            right = not value
        case "RET" if "DSN" in offer.words:
            right = value.upper() in {"FULL", "HDRS"}
        case "ENVID" if "DSN" in offer.words:
            right = 0 < len(value) <= 100 and _XTEXT.fullmatch(value) is not None  # noqa: PLR2004 - RFC 3461, 4.4
        case "AUTH" if "AUTH" in offer.words:
            right = bool(value)
        case _:
            raise Refusal(f"555 5.5.4 Parameter {key} is not known")
    if not right:
        raise Refusal(f"501 5.5.4 {key}={value[:40]} is not right")


def _address(raw: bytes, *, utf8: bool, code: str) -> str:
    match = _ADDRESS.fullmatch(raw)
    if match is None:
        raise Refusal(f"501 {code} This is not an address")
    if len(raw) > 254 or len(match[1]) > 64 or len(match[2]) > 255:  # noqa: PLR2004 - RFC 5321, 4.5.3.1.1 to .3
        raise Refusal(f"501 {code} The address is too long")
    if raw.isascii():
        return raw.decode("ascii")
    if not utf8:
        raise Refusal("553 5.6.7 An address beyond ASCII needs SMTPUTF8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(f"501 {code} The address is not UTF-8") from None

"""The envelope as SMTP commands: bytes from checked values, and nothing else reaches the wire.

An address is taken as it is or not at all: local part (dot-atom or quoted string of printable ASCII) of at most 64 octets, "@", a
domain of letters, digits and hyphens or a bracketed address literal. Refused are spaces, controls, "<>", comments, routes, lists,
a trailing dot, and a leading "-" or "|" (both would be read as more than an address further on).

Printable characters beyond ASCII may stand in a local part (a dot-atom, in UTF-8) where the relay offers SMTPUTF8 (RFC 6531); in a
domain they may not, since it comes here as A-labels.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from lists.errors import BadInput
from mailer.transport.base import Envelope, Rcpt

#: RFC 3461 4.4, 4.2: longest ENVID and ORCPT
ENVID_MAX, ORCPT_MAX = 100, 500
_PATH_MAX = 254  # 256 with the angle brackets

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = re.compile(
    rf"(?![-|])(?P<local>{_ATOM}(?:\.{_ATOM})*|\"(?:[ !#-\[\]-~]|\\[ -~])*\")"
    r"@(?P<domain>[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[A-Za-z0-9:.]+\])"
)
_WIDE_ATOM = rf"(?:{_ATOM[:-1]}|[^\x00-\x7f])+"
_WIDE_ADDRESS = re.compile(
    rf"(?![-|])(?P<local>{_WIDE_ATOM}(?:\.{_WIDE_ATOM})*)"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_LOCAL_MAX = 64
_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b"+=")
_ALL_PLAIN = re.compile(r"[!-*,-<>-~]*")

#: why an address that is right can't be shown to a relay (X.6.7 of RFC 6531, 3.5, which such a relay would not say by itself)
NEEDS_UTF8 = "our mail server takes no address with characters beyond a to z before the @, such as an accent (5.6.7)"
_NO_ADDRESS = "this can't be an address of one mailbox, so it was not shown to our mail server"


def takes_utf8(extensions: Mapping[str, str]) -> bool:
    """Whether a relay takes addresses beyond ASCII, and letters with such addresses in their head.

    Who offers SMTPUTF8 has to offer 8BITMIME too (RFC 6531, 3.1): one without the other can't be relied upon.
    """
    return "smtputf8" in extensions and "8bitmime" in extensions


def why_not(address: str, *, utf8: bool = False) -> str | None:
    """Why *address* can't stand in an envelope, for a person; None if it can. *utf8*: of a relay that `takes_utf8`."""
    if address.isascii():
        found = _ADDRESS.fullmatch(address)
        right = found is not None and len(found["local"]) <= _LOCAL_MAX and len(address) <= _PATH_MAX
        return None if right else _NO_ADDRESS
    found = _WIDE_ADDRESS.fullmatch(address)
    if found is None or not address.isprintable() or len(address.encode()) > _PATH_MAX:
        return _NO_ADDRESS
    if len(found["local"].encode()) > _LOCAL_MAX:
        return _NO_ADDRESS
    return None if utf8 else NEEDS_UTF8


def xtext(text: str) -> str:
    """*text* in the xtext of RFC 3461 (section 4): ``+``, ``=`` and what is not visible ASCII as ``+XX``."""
    if _ALL_PLAIN.fullmatch(text):
        return text
    return "".join(chr(octet) if octet in _PLAIN else f"+{octet:02X}" for octet in text.encode())


def original(address: str) -> str:
    """*address* as ORCPT names it: its kind, and RFC 3461's xtext, or RFC 6533's own 7-bit form (section 3) for one beyond ASCII."""
    if address.isascii():
        return f"rfc822;{xtext(address)}"
    return "utf-8;" + "".join(
        char if ord(char) in _PLAIN and char != "\\" else f"\\x{{{ord(char):02X}}}" for char in address
    )


def mail(
    envelope: Envelope, size: int, extensions: Mapping[str, str], *, utf8: bool = False, eight_bit: bool = False
) -> bytes:
    """The MAIL command, with SIZE, RET and ENVID where the relay offers them.

    Args:
        envelope: whose sender is "" or an address that `why_not` passes.
        size: octets of the payload.
        extensions: what the relay offers, by keyword in small letters.
        utf8: an address of the envelope, or one in the letter's head, is beyond ASCII; the relay `takes_utf8`.
        eight_bit: the letter has octets beyond ASCII (in its head: bodies of ours never have).

    Raises:
        BadInput: the sender's address can't stand in an envelope.
    """
    if envelope.sender and (why := why_not(envelope.sender, utf8=utf8)):
        raise BadInput(why, where=repr(envelope.sender), remedy="Correct the sender's address in the settings")
    line = f"MAIL FROM:<{envelope.sender}>"
    if "size" in extensions:
        line += f" SIZE={size}"
    if eight_bit:
        line += " BODY=8BITMIME"
    if utf8:
        line += " SMTPUTF8"
    if "dsn" in extensions:
        line += " RET=HDRS"
        if envelope.envid and len(envid := xtext(envelope.envid)) <= ENVID_MAX:
            line += f" ENVID={envid}"
    return _line(line, utf8=utf8)


def rcpt(recipient: Rcpt, extensions: Mapping[str, str]) -> bytes:
    """The RCPT command, with NOTIFY and ORCPT where the relay offers DSN.

    Raises:
        BadInput: the address can't stand in an envelope.
    """
    utf8 = takes_utf8(extensions)
    if why := why_not(recipient.address, utf8=utf8):
        raise BadInput(why, where=repr(recipient.address))
    line = f"RCPT TO:<{recipient.address}>"
    if "dsn" in extensions:
        line += " NOTIFY=FAILURE,DELAY"
        if len(named := original(recipient.address)) <= ORCPT_MAX:
            line += f" ORCPT={named}"
    return _line(line, utf8=utf8)


@lru_cache(maxsize=16)
def _limit(said: str) -> int | None:
    number = said.split(" ", 1)[0]
    return int(number) if number.isascii() and number.isdecimal() and int(number) > 0 else None


def size_limit(extensions: Mapping[str, str]) -> int | None:
    """The largest message the relay takes, in octets; None where it sets no limit."""
    return _limit(extensions.get("size", ""))


def _line(text: str, *, utf8: bool) -> bytes:
    """A command line; the last look before the wire."""
    if not text.isprintable() or not (utf8 or text.isascii()):
        raise BadInput("a command would hold a control character", where=repr(text))
    return text.encode() + b"\r\n"

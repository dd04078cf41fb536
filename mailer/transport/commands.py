"""The envelope as SMTP commands: bytes from checked values, and nothing else reaches the wire.

An address is taken as it is or not at all: local part (dot-atom or quoted string of printable ASCII) of at most 64 octets, "@", a
domain of letters, digits and hyphens or a bracketed address literal. Refused are spaces, controls, "<>", comments, routes, lists,
a trailing dot, a leading "-" or "|" (both would be read as more than an address further on), and everything outside ASCII:
what needs SMTPUTF8 is not sent here.
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
_LOCAL_MAX = 64
_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b"+=")
_ALL_PLAIN = re.compile(r"[!-*,-<>-~]*")


def why_not(address: str) -> str | None:
    """Why *address* can't stand in an envelope, for a person; None if it can."""
    if not address.isascii():
        return "the address has characters outside ASCII, which mail servers on the way may not take (5.6.7)"
    found = _ADDRESS.fullmatch(address)
    if found is None or len(found["local"]) > _LOCAL_MAX or len(address) > _PATH_MAX:
        return "this can't be an address of one mailbox, so it was not shown to our mail server"
    return None


def xtext(text: str) -> str:
    """*text* in the xtext of RFC 3461 (section 4): ``+``, ``=`` and what is not visible ASCII as ``+XX``."""
    if _ALL_PLAIN.fullmatch(text):
        return text
    return "".join(chr(octet) if octet in _PLAIN else f"+{octet:02X}" for octet in text.encode())


def mail(envelope: Envelope, size: int, extensions: Mapping[str, str]) -> bytes:
    """The MAIL command, with SIZE, RET and ENVID where the relay offers them.

    Args:
        envelope: whose sender is "" or an address that `why_not` passes.
        size: octets of the payload.
        extensions: what the relay offers, by keyword in small letters.

    Raises:
        BadInput: the sender's address can't stand in an envelope.
    """
    if envelope.sender and (why := why_not(envelope.sender)):
        raise BadInput(why, where=repr(envelope.sender), remedy="Correct the sender's address in the settings")
    line = f"MAIL FROM:<{envelope.sender}>"
    if "size" in extensions:
        line += f" SIZE={size}"
    if "dsn" in extensions:
        line += " RET=HDRS"
        if envelope.envid and len(envid := xtext(envelope.envid)) <= ENVID_MAX:
            line += f" ENVID={envid}"
    return _line(line)


def rcpt(recipient: Rcpt, extensions: Mapping[str, str]) -> bytes:
    """The RCPT command, with NOTIFY and ORCPT where the relay offers DSN.

    Raises:
        BadInput: the address can't stand in an envelope.
    """
    if why := why_not(recipient.address):
        raise BadInput(why, where=repr(recipient.address))
    line = f"RCPT TO:<{recipient.address}>"
    if "dsn" in extensions:
        line += " NOTIFY=FAILURE,DELAY"
        if len(original := f"rfc822;{xtext(recipient.address)}") <= ORCPT_MAX:
            line += f" ORCPT={original}"
    return _line(line)


@lru_cache(maxsize=16)
def _limit(said: str) -> int | None:
    number = said.split(" ", 1)[0]
    return int(number) if number.isascii() and number.isdecimal() and int(number) > 0 else None


def size_limit(extensions: Mapping[str, str]) -> int | None:
    """The largest message the relay takes, in octets; None where it sets no limit."""
    return _limit(extensions.get("size", ""))


def _line(text: str) -> bytes:
    """A command line; the last look before the wire."""
    if not text.isascii() or not text.isprintable():
        raise BadInput("a command would hold a control character", where=repr(text))
    return text.encode("ascii") + b"\r\n"

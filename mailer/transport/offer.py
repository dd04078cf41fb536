"""A letter's envelope as commands, or why this relay can't be offered it: what is known before a word is said.

SMTPUTF8 is asked for only where an address of the envelope or of the letter's head is beyond ASCII, and only of a relay that offers it;
else the recipients that need it are refused alone, and the others have their letter. BODY=8BITMIME goes with it where the head itself
is not 7-bit, and is never needed otherwise: bodies are quoted-printable or base64, so that no server on the way has to change them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lists.errors import BadInput
from mailer.transport import commands
from mailer.transport.base import Fate, Payload, Rcpt, Reply, Result, Scope
from mailer.transport.flight import Flight
from mailer.transport.verdict import WIDE_SENDER, Verdict

DATA = b"DATA\r\n"
_MEGABYTE = 1_000_000
_SENDER = Verdict(
    Fate.NOT_TRIED, Scope.HOLD, "the sender's address in the settings can't be used as the sender of a letter"
)


class Ended(Exception):
    """The transaction is over without a final reply to content; carries what is known."""

    def __init__(self, verdict: Verdict, said: Reply | None = None) -> None:
        self.verdict, self.said = verdict, said
        super().__init__(verdict.why)


class Offer(NamedTuple):
    """A letter's envelope as commands.

    Attributes:
        rcpts: the recipients that it names, with the command of each; at least one.
        wide_sender: it asks for SMTPUTF8 for the sender's sake, so that every letter would.
    """

    flight: Flight
    mail: bytes
    rcpts: Sequence[tuple[Rcpt, bytes]]
    wide_sender: bool = False

    @property
    def octets(self) -> bytes:
        """All of it, with DATA."""
        return b"".join((self.mail, *[command for _, command in self.rcpts], DATA))

    @property
    def replies(self) -> int:
        """How many replies it asks for."""
        return len(self.rcpts) + 2


def stuffed(payload: Payload) -> tuple[bytes, bytes]:
    """The letter's head with its dots stuffed, and what ends the content behind the tail."""
    head = payload.head.replace(b"\r\n.", b"\r\n..")
    if head.startswith(b"."):
        head = b"." + head
    last = next((part for part in (*reversed(payload.tail), head) if len(part)), b"\r\n")
    return head, b".\r\n" if bytes(last[-2:]) == b"\r\n" else b"\r\n.\r\n"


def prepare(flight: Flight, extensions: Mapping[str, str]) -> Offer | None:
    """The letter's envelope for a relay that offers *extensions*; None: no recipient of it can be named to a relay.

    Raises:
        Ended: this relay can't be offered the letter.
    """
    envelope, size = flight.envelope, flight.payload.size
    rcpts = []
    for each in envelope.recipients:
        try:
            rcpts.append((each, commands.rcpt(each, extensions)))
        except BadInput as error:
            flight.settled[each.id] = Result(each.id, Fate.REFUSED, Scope.RECIPIENT, None, error.what)
    if not rcpts:
        return None
    wide_head = not flight.payload.head.isascii()
    plain = all(each.address.isascii() for each, _ in rcpts)  # then the head names no recipient beyond ASCII either
    utf8 = wide_head or not (envelope.sender.isascii() and plain)
    if utf8 and not commands.takes_utf8(extensions):
        raise Ended(WIDE_SENDER)
    try:
        mail = commands.mail(envelope, size, extensions, utf8=utf8, eight_bit=wide_head)
    except BadInput as error:
        raise Ended(_SENDER) from error
    if (most := commands.size_limit(extensions)) is not None and size > most:
        raise Ended(_too_large(size, most))
    return Offer(flight, mail, rcpts, wide_sender=utf8 and (plain or not envelope.sender.isascii()))


def _too_large(size: int, most: int) -> Verdict:
    """The letter that our own mail server would not take."""
    why = f"the letter has {size / _MEGABYTE:.1f} MB, and our mail server takes at most {most / _MEGABYTE:.1f} MB"
    return Verdict(Fate.REFUSED, Scope.LETTER, why)

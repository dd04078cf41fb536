"""A letter's envelope as commands, or why this relay can't be offered it: what is known before a word is said."""

from collections.abc import Mapping
from dataclasses import dataclass

from mailer.transport import commands
from mailer.transport.base import Fate, Rcpt, Reply, Result, Scope
from mailer.transport.flight import Flight
from mailer.transport.verdict import Verdict

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


@dataclass(frozen=True, slots=True)
class Offer:
    """A letter's envelope as commands.

    Attributes:
        rcpts: the recipients that it names, with the command of each; at least one.
    """

    flight: Flight
    mail: bytes
    rcpts: tuple[tuple[Rcpt, bytes], ...]

    @property
    def octets(self) -> bytes:
        """All of it, with DATA."""
        return b"".join((self.mail, *(command for _, command in self.rcpts), DATA))

    @property
    def replies(self) -> int:
        """How many replies it asks for."""
        return len(self.rcpts) + 2


def prepare(flight: Flight, extensions: Mapping[str, str]) -> Offer | None:
    """The letter's envelope for a relay that offers *extensions*; None: no recipient of it can be named to a relay.

    Raises:
        Ended: this relay can't be offered the letter.
    """
    envelope, payload = flight.envelope, flight.payload
    rcpts = []
    for each in envelope.recipients:
        if why := commands.why_not(each.address):
            flight.settled[each.id] = Result(each.id, Fate.REFUSED, Scope.RECIPIENT, None, why)
        else:
            rcpts.append((each, commands.rcpt(each, extensions)))
    if not rcpts:
        return None
    if envelope.sender and commands.why_not(envelope.sender):
        raise Ended(_SENDER)
    if (most := commands.size_limit(extensions)) is not None and payload.size > most:
        raise Ended(_too_large(payload.size, most))
    return Offer(flight, commands.mail(envelope, payload.size, extensions), tuple(rcpts))


def _too_large(size: int, most: int) -> Verdict:
    """The letter that our own mail server would not take."""
    why = f"the letter has {size / _MEGABYTE:.1f} MB, and our mail server takes at most {most / _MEGABYTE:.1f} MB"
    return Verdict(Fate.REFUSED, Scope.LETTER, why)

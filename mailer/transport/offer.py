"""A letter's envelope as commands, or why this relay can't be offered it: what is known before a word is said."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lists.errors import BadInput
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


class Offer(NamedTuple):
    """A letter's envelope as commands.

    Attributes:
        rcpts: the recipients that it names, with the command of each; at least one.
    """

    flight: Flight
    mail: bytes
    rcpts: Sequence[tuple[Rcpt, bytes]]

    @property
    def octets(self) -> bytes:
        """All of it, with DATA."""
        return b"".join((self.mail, *[command for _, command in self.rcpts], DATA))

    @property
    def replies(self) -> int:
        """How many replies it asks for."""
        return len(self.rcpts) + 2


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
    try:
        mail = commands.mail(envelope, size, extensions)
    except BadInput as error:
        raise Ended(_SENDER) from error
    if (most := commands.size_limit(extensions)) is not None and size > most:
        raise Ended(_too_large(size, most))
    return Offer(flight, mail, rcpts)


def _too_large(size: int, most: int) -> Verdict:
    """The letter that our own mail server would not take."""
    why = f"the letter has {size / _MEGABYTE:.1f} MB, and our mail server takes at most {most / _MEGABYTE:.1f} MB"
    return Verdict(Fate.REFUSED, Scope.LETTER, why)

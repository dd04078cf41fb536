"""The transport port: bytes in an envelope go to a relay, and each recipient's fate comes back.

Rules for both sides:

- A transport sees an envelope and a payload, never a circular.
- `send` may be called many times at once; the transport decides how many connections it uses, and may let the end of one
  letter and the envelope of the next leave in one write.
- Before the first byte of content the transport calls `gate.before_content` with the recipients' replies so far. If that raises,
  no content leaves and the letter's recipients are NOT_TRIED. It is a plain function: it must not wait for the network or the database.
- After the final reply to the content the transport calls `gate.after_reply` with every recipient's result, before anything else.
  Where no final reply comes (UNCERTAIN), or no content was sent, it is not called.
- `send` returns one result per recipient and raises nothing for what a relay, a network or a time-out does. It raises
  `asyncio.CancelledError` only when no content has begun; once content has begun it finishes, or reports UNCERTAIN: a first
  cancellation lets the letter finish, a second one cuts the connection. An envelope without recipients, and a payload with a bare
  CR or LF in its head, are defects and raise before anything is sent. What else the gate raises is raised from `send` too, after
  the connection was cut; what `after_reply` raises is logged, and the results are returned.
- `post` is `send` without a task that waits: what `send` would return or raise is handed to a function, once, perhaps before `post`
  itself returns. What is posted can't be called back; `close` answers it. The function must not wait; what it raises is logged.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol


class Rcpt(NamedTuple):
    """A recipient in an envelope: our number for it, and the address as it goes on the wire."""

    id: int
    address: str


class Envelope(NamedTuple):
    """What the relay is told before the content.

    Attributes:
        attempt: our number for this try, for the gate.
        sender: reverse path; "" is the null sender.
        recipients: at least one.
        envid: DSN envelope id (xtext-safe), used where the relay offers DSN.
    """

    attempt: str
    sender: str
    recipients: tuple[Rcpt, ...]
    envid: str | None = None


class Payload(NamedTuple):
    """The message, CRLF line ends, in buffers that follow each other.

    Attributes:
        head: personal part; the transport stuffs dots in it.
        tail: shared parts that begin at the start of a line and hold no line beginning with a dot; sent as they are, never copied.
    """

    head: bytes
    tail: tuple[bytes | memoryview, ...] = ()

    @property
    def size(self) -> int:
        """Octets, before dot-stuffing: what SIZE= declares."""
        return len(self.head) + sum(len(part) for part in self.tail)


class Reply(NamedTuple):
    """A relay's own words: `code` 250, `enhanced` "2.1.5" or None, `text` with lines joined by spaces and the enhanced code left in."""

    code: int
    enhanced: str | None
    text: str


class Fate(StrEnum):
    """What is known of one recipient after a try."""

    ACCEPTED = "accepted"  #: the relay has it
    DEFERRED = "deferred"  #: try again later; counts as a try
    REFUSED = "refused"  #: no, for good
    UNCERTAIN = "uncertain"  #: content began and no final reply came
    #: the relay does not have it, and that is not this letter's fault: no try is counted. As a rule content did not begin; after
    #: the content only where a provider's final reply is about our account (`SendAsDenied` and the like: scope HOLD or DAY)
    NOT_TRIED = "not-tried"


class Scope(StrEnum):
    """Whose failure it is."""

    RECIPIENT = "recipient"
    LETTER = "letter"  #: all recipients of this letter (too large, refused content)
    DOMAIN = "domain"  #: the recipient's domain wants a slower pace
    RELAY = "relay"  #: back off from this relay for a while (connect, 421, 452)
    DAY = "day"  #: our account has sent what its provider allows in a day: try again by and by, nobody has to act
    HOLD = "hold"  #: stop this relay and tell a person (535, wrong certificate, sender refused)


class Result(NamedTuple):
    """What became of one recipient in one try.

    Attributes:
        recipient: `Rcpt.id`.
        fate: see `Fate`.
        scope: whose failure it is, where it is one.
        reply: the relay's reply that decided it; None where none came.
        why: one plain sentence for a person, where the reply does not say it all ("the connection broke after the letter was sent").
        place: number of the connection that carried the letter, and its how-manieth letter this was, both from 1; None: none did.
    """

    recipient: int
    fate: Fate
    scope: Scope = Scope.RECIPIENT
    reply: Reply | None = None
    why: str = ""
    place: tuple[int, int] | None = None


class Gate(Protocol):
    """Delivery's hand on the letter while the transport has it."""

    def before_content(self, attempt: str, replies: Sequence[Result]) -> None:
        """Called after 354, before the first byte of content.

        *replies* are the recipients that RCPT settled (REFUSED, DEFERRED); those not in it were accepted by RCPT.

        Raises:
            Held: no content may start.
        """
        ...

    def after_reply(self, attempt: str, results: Sequence[Result]) -> None:
        """Called once the final reply to the content is judged; *results* has every recipient."""
        ...


#: Told once what became of a letter: its results, in the envelope's order, or what its gate raised.
Landed = Callable[[Sequence[Result] | Exception], None]


class Held(Exception):
    """The gate does not let content start: pause, fence, or an unwritable journal. The text says which."""


class Transport(Protocol):
    """Hands letters to one relay."""

    #: how many letters it can have on the way at once
    lanes: int

    async def send(self, envelope: Envelope, payload: Payload, gate: Gate) -> Sequence[Result]:
        """Try to hand over one letter; one result per recipient, in the envelope's order."""
        ...

    def reopen(self) -> None:
        """A person has mended the relay: forget what it last failed at, and try at once."""
        ...

    def post(self, envelope: Envelope, payload: Payload, gate: Gate, landed: Landed) -> None:
        """As `send`; *landed* is told."""
        ...

    async def close(self) -> None:
        """Say goodbye on idle connections and close all; safe to call twice."""
        ...

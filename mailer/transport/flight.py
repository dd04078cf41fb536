"""A letter on its way through a transport, and the wait for what becomes of it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mailer.errors import Defect
from mailer.transport.base import Envelope, Gate, Landed, Payload, Reply, Result
from mailer.transport.verdict import Phase, Verdict, judge_error

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Flight:
    """One letter, from `post` to its results.

    Attributes:
        landed: who is told of its end, by `end` only.
        over: it has been told.
        begun: the first byte of content may have left.
        abandoned: who asked for it has gone; no content may start.
        untouched: the relay said nothing about this letter, or only that it closes.
        settled: results that stand already, by recipient.
        place: as in `base.Result`, of the connection that has it, or had it last.
    """

    envelope: Envelope
    payload: Payload
    gate: Gate
    landed: Landed
    over: bool = False
    begun: bool = False
    abandoned: bool = False
    untouched: bool = True
    settled: dict[int, Result] = field(default_factory=dict)
    place: tuple[int, int] | None = None

    def end(self, outcome: Sequence[Result] | Exception) -> None:
        """Tell what became of it; a second end is not told. A failure of who is told is logged: others wait for their own end."""
        if self.over:
            return
        self.over = True
        try:
            self.landed(outcome)
        except Exception:  # noqa: BLE001 - whatever it is, see above
            _log.exception("landed-failed", extra={"attempt": self.envelope.attempt})

    def results(self, verdict: Verdict, said: Reply | None = None) -> list[Result]:
        """One result per recipient: those already settled as they are, the others by *verdict*."""
        fate, scope, why = verdict
        place, settled = self.place, self.settled
        if not settled:
            return [Result(each.id, fate, scope, said, why, place) for each in self.envelope.recipients]
        return [
            settled.get(each.id) or Result(each.id, fate, scope, said, why, place) for each in self.envelope.recipients
        ]

    def lost(self, error: BaseException) -> list[Result]:
        """The results when *error* ends it now."""
        return self.results(judge_error(error, Phase.CONTENT if self.begun else Phase.MAIL))


class Awaited:
    """A letter that a task waits for, under the rule of cancellation in `base`."""

    def __init__(self, envelope: Envelope, payload: Payload, gate: Gate) -> None:
        self._done: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self.flight = Flight(envelope, payload, gate, self._landed)

    def _landed(self, outcome: Sequence[Result] | Exception) -> None:
        if isinstance(outcome, Exception):
            self._done.set_exception(outcome)
        else:
            self._done.set_result(outcome)

    async def outcome(self, forget: Callable[[], None], cut: Callable[[], None]) -> Sequence[Result]:
        """Wait for the results.

        Args:
            forget: take it out of whatever queue it stands in.
            cut: end the connection that carries it.

        Raises:
            asyncio.CancelledError: we were cancelled, and no content of it has begun or will.
            Exception: what the gate raised.
        """
        calls, flight = 0, self.flight
        while True:
            try:
                return await asyncio.shield(self._done)
            except asyncio.CancelledError:
                calls += 1
                if not flight.begun:
                    flight.abandoned = flight.over = True
                    forget()
                    if self._done.done():
                        self._done.exception()  # has been seen
                    raise
                if calls > 1 and not flight.over:
                    cut()


def tell(flight: Flight, results: Sequence[Result]) -> None:
    """Tell the gate what the final reply means. Its failure is logged: the relay's word must reach the caller all the same."""
    try:
        flight.gate.after_reply(flight.envelope.attempt, results)
    except Exception:  # noqa: BLE001 - whatever the gate does, see above
        _log.exception("gate-failed-after-reply", extra={"attempt": flight.envelope.attempt})


def inspect(envelope: Envelope, payload: Payload) -> None:
    """Look for what must not happen, before anything is sent.

    Raises:
        Defect: no recipient, two with one number, or a head whose lines do not end in CRLF (an end of content could hide there).
    """
    recipients = envelope.recipients
    if len(recipients) != 1 and (not recipients or len({each.id for each in recipients}) != len(recipients)):
        raise Defect("a letter was sent off without recipients, or with one twice", where=envelope.attempt)
    head = payload.head
    # each CR LF is one end of line and two octets of those; any other CR or LF is an end of line by itself
    ends = len(head.splitlines()) - (head[-1:] not in _ENDS)
    if 2 * ends != len(head) - len(head.translate(None, b"\r\n")) or (
        head and payload.tail and not head.endswith(b"\r\n")
    ):
        raise Defect("a letter has a line that does not end as lines of mail do", where=envelope.attempt)


#: what a head ends with that ends in a whole line
_ENDS = (b"\n", b"\r", b"")

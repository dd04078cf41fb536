"""A letter on its way through a transport, and the wait for what becomes of it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mailer.errors import Defect
from mailer.transport.base import Envelope, Gate, Payload, Reply, Result
from mailer.transport.verdict import Phase, Verdict, judge_error

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Flight:
    """One letter, from `send` to its results.

    Attributes:
        begun: the first byte of content may have left.
        abandoned: who asked for it has gone; no content may start.
        untouched: the relay said nothing about this letter, or only that it closes.
        settled: results that stand already, by recipient.
        place: as in `base.Result`, of the connection that has it, or had it last.
        done: the results, or what the gate raised.
    """

    envelope: Envelope
    payload: Payload
    gate: Gate
    done: "asyncio.Future[Sequence[Result]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    begun: bool = False
    abandoned: bool = False
    untouched: bool = True
    settled: dict[int, Result] = field(default_factory=dict)
    place: tuple[int, int] | None = None

    def results(self, verdict: Verdict, said: Reply | None = None) -> list[Result]:
        """One result per recipient: those already settled as they are, the others by *verdict*."""
        fate, scope, why = verdict
        return [
            self.settled.get(each.id) or Result(each.id, fate, scope, said, why, self.place)
            for each in self.envelope.recipients
        ]

    def lost(self, error: BaseException) -> list[Result]:
        """The results when *error* ends it now."""
        return self.results(judge_error(error, Phase.CONTENT if self.begun else Phase.MAIL))

    async def outcome(self, forget: Callable[[], None], cut: Callable[[], None]) -> Sequence[Result]:
        """Wait for the results under the rule of cancellation in `base`.

        Args:
            forget: take it out of whatever queue it stands in.
            cut: end the connection that carries it.

        Raises:
            asyncio.CancelledError: we were cancelled, and no content of it has begun or will.
            Exception: what the gate raised.
        """
        calls = 0
        while True:
            try:
                return await asyncio.shield(self.done)
            except asyncio.CancelledError:
                calls += 1
                if not self.begun:
                    self.abandoned = True
                    forget()
                    if not self.done.cancel() and not self.done.cancelled():
                        self.done.exception()  # has been seen
                    raise
                if calls > 1 and not self.done.done():
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
    if not envelope.recipients or len({each.id for each in envelope.recipients}) != len(envelope.recipients):
        raise Defect("a letter was sent off without recipients, or with one twice", where=envelope.attempt)
    head = payload.head
    lines = head.count(b"\r\n")
    if (
        head.count(b"\n") != lines
        or head.count(b"\r") != lines
        or (head and payload.tail and not head.endswith(b"\r\n"))
    ):
        raise Defect("a letter has a line that does not end as lines of mail do", where=envelope.attempt)

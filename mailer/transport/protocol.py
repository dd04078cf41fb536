"""One letter after another over an open connection: MAIL, RCPT, DATA, content, each with its own time-out.

The rules of `base` are kept here. `Connection.deliver` never raises for what the relay does; it says by `usable` whether the
connection may carry another letter, and by `Flight` how far the letter came, which is all that the pool needs.

This version waits for each reply (three round trips and one per recipient). The pipelined one may take the next flight from the
pool while this one's content is on its way, and write its MAIL, RCPT and DATA behind the final dot.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailer.errors import Defect
from mailer.settings import Timeouts
from mailer.transport import commands
from mailer.transport.base import Envelope, Fate, Gate, Held, Payload, Rcpt, Reply, Result, Scope
from mailer.transport.verdict import (
    GO_AHEAD,
    BadReply,
    Phase,
    Verdict,
    judge_data,
    judge_error,
    judge_final,
    judge_mail,
    judge_rcpt,
)
from mailer.transport.wire import SLICE, Wire

_log = logging.getLogger(__name__)

#: seconds to wait for a goodbye
_QUIT = 5.0
_CLOSING = 421


@dataclass(slots=True, eq=False)
class Flight:
    """A letter on its way through the transport.

    Attributes:
        begun: the first byte of content may have left.
        abandoned: who asked for it has gone; no content may start.
        again: it was put back once, because an idle connection turned out to be dead.
        untouched: the relay said nothing about this letter before the connection failed.
        done: the results, or what the gate raised.
    """

    envelope: Envelope
    payload: Payload
    gate: Gate
    done: "asyncio.Future[Sequence[Result]]"
    begun: bool = False
    abandoned: bool = False
    again: bool = False
    untouched: bool = False
    settled: dict[int, Result] = field(default_factory=dict)

    def results(self, verdict: Verdict, said: Reply | None = None) -> list[Result]:
        """One result per recipient: those already settled as they are, the others by *verdict*."""
        fate, scope, why = verdict
        return [
            self.settled.get(each.id) or Result(each.id, fate, scope, said, why) for each in self.envelope.recipients
        ]

    def lost(self, error: BaseException, phase: Phase = Phase.CONTENT) -> list[Result]:
        """The results when *error* ended it, now."""
        return self.results(judge_error(error, phase if self.begun else Phase.MAIL))


class _Ended(Exception):
    """The transaction is over without a final reply to content; carries what is known."""

    def __init__(self, verdict: Verdict, said: Reply | None = None) -> None:
        self.verdict, self.said = verdict, said
        super().__init__(verdict.why)


class Connection:
    """An SMTP session, logged in, that takes letters one at a time.

    Attributes:
        extensions: what the relay offers after login, by keyword in small letters.
        carried: letters handed to it so far.
    """

    def __init__(self, wire: Wire, extensions: Mapping[str, str], timeouts: Timeouts) -> None:
        self._wire = wire
        self.extensions = dict(extensions)
        self._timeouts = timeouts
        self._fit = True
        self.carried = 0

    @property
    def usable(self) -> bool:
        """Whether it may carry another letter."""
        return self._fit and self._wire.open and self._wire.quiet

    async def deliver(self, flight: Flight) -> list[Result]:
        """Try to hand over one letter; one result per recipient, in the envelope's order.

        Raises:
            Exception: what the gate raised before the content, other than Held; no content has left then.
        """
        self.carried += 1
        flight.untouched = True
        phase = Phase.MAIL
        try:
            accepted = await self._offer(flight)
            if accepted:
                phase = Phase.DATA
                await self._ask_leave(flight)
                phase = Phase.CONTENT
                await self._content(flight.payload)
                phase = Phase.FINAL
            return await self._conclude(flight) if accepted else flight.results(_NOBODY_LEFT)
        except _Ended as ended:
            return flight.results(ended.verdict, ended.said)
        except Held as held:
            await self.cut()
            flight.settled.clear()
            return flight.results(Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, str(held)))
        except (OSError, BadReply) as error:
            await self.cut()
            return flight.results(judge_error(error, phase))
        except BaseException:
            self._wire.abort()
            self._fit = False
            raise

    async def _offer(self, flight: Flight) -> bool:
        """MAIL and the RCPTs; whether at least one recipient may have the letter."""
        envelope, payload = flight.envelope, flight.payload
        for each in envelope.recipients:
            if why := commands.why_not(each.address):
                flight.settled[each.id] = Result(each.id, Fate.REFUSED, Scope.RECIPIENT, None, why)
        if len(flight.settled) == len(envelope.recipients):
            return False
        if envelope.sender and commands.why_not(envelope.sender):
            raise _Ended(_SENDER)
        if (most := commands.size_limit(self.extensions)) is not None and payload.size > most:
            raise _Ended(_too_large(payload.size, most))
        said = await self._ask(commands.mail(envelope, payload.size, self.extensions))
        flight.untouched = said.code == _CLOSING
        verdict = judge_mail(said)
        if verdict.fate is not Fate.ACCEPTED:
            await self._end(verdict, said)
        accepted = 0
        for each in envelope.recipients:
            if each.id not in flight.settled:
                accepted += await self._offer_one(flight, each)
        if not accepted:
            await self._reset()
        return accepted > 0

    async def _offer_one(self, flight: Flight, recipient: Rcpt) -> bool:
        """One RCPT; whether it was accepted."""
        said = await self._ask(commands.rcpt(recipient, self.extensions))
        fate, scope, why = judge_rcpt(said)
        if fate is Fate.ACCEPTED:
            return True
        if scope in {Scope.RELAY, Scope.HOLD}:
            await self._end(Verdict(fate, scope, why), said)
        flight.settled[recipient.id] = Result(recipient.id, fate, scope, said, why)
        if said.code == _CLOSING:
            await self.cut()
            raise _Ended(_CLOSED_BY_OTHER)
        return False

    async def _ask_leave(self, flight: Flight) -> None:
        """DATA, and the gate: returns once content may start, at once."""
        said = await self._ask(b"DATA\r\n", self._timeouts.data)
        verdict = judge_data(said)
        if verdict.fate is not Fate.ACCEPTED:
            if said.code < GO_AHEAD:
                self._fit = False  # a yes to a question that was not asked: out of step
            await self._end(verdict, said)
        if not self._wire.quiet:
            raise BadReply("the relay spoke before the content")
        if flight.abandoned:
            raise Held("it was called back before it was sent")
        flight.gate.before_content(flight.envelope.attempt, tuple(flight.settled.values()))
        flight.begun = True

    async def _content(self, payload: Payload) -> None:
        """The content, dots stuffed in the head, and the final dot. Nothing waits between the gate and the first write."""
        wire, seconds = self._wire, self._timeouts.block
        head = payload.head.replace(b"\r\n.", b"\r\n..")
        if head.startswith(b"."):
            head = b"." + head
        wire.write(head)
        await wire.drain(seconds)
        for part in payload.tail:
            view = memoryview(part)
            for start in range(0, len(view), SLICE):
                if wire.early is not None:
                    return
                wire.write(view[start : start + SLICE])
                await wire.drain(seconds)
        if wire.early is None:
            last = payload.tail[-1] if payload.tail else payload.head
            wire.write(b".\r\n" if bytes(last[-2:]) == b"\r\n" else b"\r\n.\r\n")

    async def _conclude(self, flight: Flight) -> list[Result]:
        """The final reply, judged and told to the gate."""
        said = self._wire.early
        if said is not None:
            # before the final dot: a no may be believed, a yes can't be about this letter
            self._fit = False
            if judge_final(said).fate is Fate.ACCEPTED:
                raise BadReply("the relay answered before the end of the content")
        said = await self._wire.reply(self._timeouts.final)
        verdict = judge_final(said)
        results = flight.results(verdict, said)
        if verdict.fate is not Fate.UNCERTAIN:
            try:
                flight.gate.after_reply(flight.envelope.attempt, results)
            except Exception:
                _log.exception("transport.after_reply_failed", extra={"attempt": flight.envelope.attempt})
        if said.code == _CLOSING or verdict.fate is Fate.UNCERTAIN or not self._fit:
            await self.cut()
        return results

    async def _ask(self, command: bytes, seconds: float | None = None) -> Reply:
        """Send *command* and return its reply; a 421 that was there before is the reply."""
        wire = self._wire
        if wire.early is not None and wire.early.code == _CLOSING:
            return await wire.reply(0)
        if not wire.quiet:
            raise BadReply("the relay spoke out of turn")
        wire.write(command)
        return await wire.reply(self._timeouts.command if seconds is None else seconds)

    async def _end(self, verdict: Verdict, said: Reply) -> None:
        """Give up this transaction, and the connection with it where it is out of step or closing."""
        if said.code == _CLOSING or said.code < _FIRST_NO or not self._fit or str(said.code).startswith("50"):
            await self.cut()
        else:
            await self._reset()
        raise _Ended(verdict, said)

    async def _reset(self) -> None:
        """RSET after a refusal; if that fails, the connection is not used again. The results stand."""
        try:
            said = await self._ask(b"RSET\r\n")
        except (OSError, BadReply):
            await self.cut()
        else:
            if judge_mail(said).fate is not Fate.ACCEPTED:
                await self.cut()

    async def cut(self) -> None:
        """Close without goodbye."""
        self._fit = False
        self._wire.abort()
        await self._wire.closed()

    async def quit(self) -> None:
        """Say goodbye, if the relay still listens, and close."""
        if self.usable:
            try:
                self._wire.write(b"QUIT\r\n")
                await self._wire.reply(min(_QUIT, self._timeouts.command))
            except (OSError, BadReply):
                pass
        await self.cut()


_FIRST_NO = 400
_MEGABYTE = 1_000_000
_NOBODY_LEFT = Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, "")
_SENDER = Verdict(
    Fate.NOT_TRIED, Scope.HOLD, "the sender's address in the settings can't be used as the sender of a letter"
)
_CLOSED_BY_OTHER = Verdict(
    Fate.NOT_TRIED, Scope.RECIPIENT, "our mail server closed the connection over another recipient of this letter"
)


def _too_large(size: int, most: int) -> Verdict:
    """The letter that our own mail server would not take."""
    why = f"the letter has {size / _MEGABYTE:.1f} MB, and our mail server takes at most {most / _MEGABYTE:.1f} MB"
    return Verdict(Fate.REFUSED, Scope.LETTER, why)


def inspect(envelope: Envelope, payload: Payload) -> None:
    """Look for what must not happen, before anything is sent.

    Raises:
        Defect: no recipient, two with one number, or a head whose lines do not end in CRLF (an end of content could hide there).
    """
    if not envelope.recipients or len({each.id for each in envelope.recipients}) != len(envelope.recipients):
        raise Defect("a letter was sent off without recipients, or with one twice", where=envelope.attempt)
    head = payload.head
    lines = head.count(b"\r\n")
    if head.count(b"\n") != lines or head.count(b"\r") != lines or (payload.tail and not head.endswith(b"\r\n")):
        raise Defect("a letter has a line that does not end as lines of mail do", where=envelope.attempt)

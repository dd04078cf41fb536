"""One letter after another over an open connection: MAIL, RCPT, DATA, content, each with its own time-out.

The rules of `base` are kept here. `Connection.deliver` never raises for what the relay does; it says by `usable` whether the
connection may carry another letter, and by `Flight` how far the letter came, which is all that the pool needs.

This version waits for each reply (three round trips and one per recipient). The pipelined one may take the next flight from the
pool while this one's content is on its way, and write its MAIL, RCPT and DATA behind the final dot.
"""

import asyncio
from collections.abc import Mapping

from mailer.settings import Timeouts
from mailer.transport import commands
from mailer.transport.base import Fate, Held, Payload, Rcpt, Reply, Result, Scope
from mailer.transport.flight import Flight, tell
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

#: seconds to wait for a goodbye, and for the relay to close
_QUIT = 2.0
_CLOSING = 421


class _Ended(Exception):
    """The transaction is over without a final reply to content; carries what is known."""

    def __init__(self, verdict: Verdict, said: Reply | None = None) -> None:
        self.verdict, self.said = verdict, said
        super().__init__(verdict.why)


class _GateFailed(Exception):
    """The gate raised something else than Held."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


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
        except _GateFailed as failed:
            await self.cut()
            raise failed.error from None
        except BaseException:
            self.abort()
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
        if flight.abandoned:
            await self._reset()
            raise _Ended(_CALLED_BACK)
        said = await self._ask(b"DATA\r\n", self._timeouts.data)
        verdict = judge_data(said)
        if verdict.fate is not Fate.ACCEPTED:
            if said.code < GO_AHEAD:
                self._fit = False  # a yes to a question that was not asked: out of step
            await self._end(verdict, said)
        if not self._wire.quiet:
            raise BadReply("the relay spoke before the content")
        if flight.abandoned:
            raise Held(_CALLED_BACK.why)
        try:
            flight.gate.before_content(flight.envelope.attempt, tuple(flight.settled.values()))
        except Held:
            raise
        except Exception as error:  # not to be taken for an error of the connection
            raise _GateFailed(error) from error
        flight.begun = True

    async def _content(self, payload: Payload) -> None:
        """The content, dots stuffed in the head, and the final dot. Nothing waits between the gate and the first write."""
        wire, seconds = self._wire, self._timeouts.block
        head = payload.head.replace(b"\r\n.", b"\r\n..")
        if head.startswith(b"."):
            head = b"." + head
        last = next((part for part in (*reversed(payload.tail), head) if len(part)), b"\r\n")
        end = b".\r\n" if bytes(last[-2:]) == b"\r\n" else b"\r\n.\r\n"
        if not payload.tail:
            wire.write(head + end)  # one packet for a letter without enclosures
            return
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
            wire.write(end)

    async def _conclude(self, flight: Flight) -> list[Result]:
        """The final reply, judged and told to the gate."""
        said = self._wire.early
        if said is not None:
            # before the final dot: a no may be believed, a yes can't be about this letter
            self._fit = False
            if judge_final(said).fate is Fate.ACCEPTED:
                raise BadReply("the relay answered before the end of the content")
        said = await self._wire.reply(self._timeouts.final)
        if not self._wire.quiet and (self._wire.early is None or self._wire.early.code != _CLOSING):
            raise BadReply("two answers to one letter")
        verdict = judge_final(said)
        results = flight.results(verdict, said)
        if verdict.fate is not Fate.UNCERTAIN:
            tell(flight, results)
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
        """Close without goodbye, and wait until the socket is released."""
        self.abort()
        await self._wire.closed()

    def abort(self) -> None:
        """Close without goodbye; what is on its way ends as if the relay had gone."""
        self._fit = False
        self._wire.abort()

    async def quit(self) -> None:
        """Say goodbye, if the relay still listens, and close."""
        if self.usable:
            try:
                self._wire.write(b"QUIT\r\n")
                async with asyncio.timeout(min(_QUIT, self._timeouts.command)):
                    await self._wire.reply(_QUIT)
                    await self._wire.closed()  # by the relay: only then does it not count us among its connections
            except (OSError, BadReply):
                pass
        await self.cut()


_FIRST_NO = 400
_MEGABYTE = 1_000_000
_NOBODY_LEFT = Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, "")
_SENDER = Verdict(
    Fate.NOT_TRIED, Scope.HOLD, "the sender's address in the settings can't be used as the sender of a letter"
)
_CALLED_BACK = Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, "the letter was called back before it was sent")
_CLOSED_BY_OTHER = Verdict(
    Fate.NOT_TRIED, Scope.RECIPIENT, "our mail server closed the connection over another recipient of this letter"
)


def _too_large(size: int, most: int) -> Verdict:
    """The letter that our own mail server would not take."""
    why = f"the letter has {size / _MEGABYTE:.1f} MB, and our mail server takes at most {most / _MEGABYTE:.1f} MB"
    return Verdict(Fate.REFUSED, Scope.LETTER, why)

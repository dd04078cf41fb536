"""One letter after another over an open connection: MAIL, RCPT, DATA, content, each reply with its own time-out.

The rules of `base` are kept here. `Connection.deliver` never raises for what the relay does; it says by `usable` whether the
connection may carry another letter, and by `Flight` how far the letter came, which is all that the pool needs.

- Where the relay offers PIPELINING, a letter's MAIL, RCPTs and DATA leave in one write, and behind the end of the letter before it
  (RFC 2920): one round trip a letter. Their replies come in order, so the earlier letter's last word is read first. Content leaves
  only after 354, as ever, so at most one letter of a connection is in doubt.
- A letter whose envelope went ahead is still nobody's until its content begins: if the connection ends, it goes back untouched.
- Once DATA is on its way, a 354 may come for a letter that must not go (no recipient accepted, called back, held): then there is no
  way but to cut the connection.
- Without PIPELINING each command waits for its reply (three round trips and one per recipient). Where an envelope was written at once,
  a relay that gets out of step is `confused`, and one that is silent or garbles its words may be: the pool draws its conclusions.
"""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from mailer.settings import Timeouts
from mailer.transport.base import Fate, Held, Payload, Rcpt, Reply, Result, Scope
from mailer.transport.flight import Flight, tell
from mailer.transport.offer import DATA, Ended, Offer, prepare, stuffed
from mailer.transport.verdict import (
    GO_AHEAD,
    BadReply,
    OutOfStep,
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
#: seconds to wait for the release of a socket that was cut: a matter of two turns of the loop
_RELEASE = 5.0
_CLOSING = 421


class _GateFailed(Exception):
    """The gate raised something else than Held."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


#: Gives the letter that the connection carries next, if it may and there is one.
Following = Callable[[], Flight | None]


class Connection:
    """An SMTP session, logged in, that takes letters one after the other.

    Attributes:
        extensions: what the relay offers after login, by keyword in small letters.
        number: which connection to its relay it is, from 1; 0: nobody counts.
        carried: letters handed to it so far.
        step_by_step: write no envelope at once, though the relay offers it.
        upcoming: the letter that `deliver` was given for the next time.
        fluent: a letter had its last word whose envelope had gone with the end of another.
        doubtful: an envelope that was written at once met silence, or words that were none.
        confused: it met answers that were out of step.
    """

    def __init__(self, wire: Wire, extensions: Mapping[str, str], timeouts: Timeouts) -> None:
        """Use the session on *wire*."""
        self._wire = wire
        self.extensions = dict(extensions)
        self._timeouts = timeouts
        self._offered = "pipelining" in self.extensions
        self._ahead: Offer | None = None
        self._fit = True
        self.number = 0
        self.carried = 0
        self.step_by_step = False
        self.upcoming: Flight | None = None
        self.fluent = self.doubtful = self.confused = False

    @property
    def usable(self) -> bool:
        """Whether it may carry another letter."""
        return self._fit and self._wire.open and (self._ahead is not None or self._wire.quiet)

    @property
    def ahead(self) -> Flight | None:
        """The letter whose envelope has left; it has to be delivered next, or the connection cut."""
        return None if self._ahead is None else self._ahead.flight

    async def drive(self, conversation: Coroutine[Any, Any, None]) -> None:
        """Have *conversation*, which waits for nothing but this connection, go on as the relay speaks; see `Wire.drive`."""
        await self._wire.drive(conversation)

    async def rest(self, seconds: float) -> bool:
        """Wait for `rouse`, or for the relay to say something; False: neither came in *seconds*."""
        try:
            await self._wire.news(seconds)
        except TimeoutError:
            return False
        return True

    def rouse(self) -> None:
        """End a `rest`."""
        self._wire.rouse()

    async def deliver(self, flight: Flight, following: Following | None = None) -> list[Result]:
        """Try to hand over one letter; one result per recipient, in the envelope's order.

        Args:
            flight: the letter; where one is `ahead`, that one.
            following: asked, once this letter's content has left, for the one whose envelope may go with its end.

        Raises:
            Exception: what the gate raised before the content, other than Held; no content has left then.
        """
        self.carried += 1
        flight.place = (self.number, self.carried) if self.number else None
        flight.untouched = True
        phase = Phase.MAIL
        offer, self._ahead, self.upcoming = self._ahead, None, None
        ahead = offer is not None
        at_once = ahead or (self._offered and not self.step_by_step)
        try:
            if offer is None:
                offer = prepare(flight, self.extensions)
            if offer is None:
                return flight.results(_NOBODY_LEFT)
            if at_once:
                if not ahead:
                    self._at_once(offer.octets)
                phase = await self._heard(offer)
            elif await self._asked(offer):
                phase = Phase.DATA
                await self._ask_leave(flight)
            if phase is Phase.MAIL:
                return flight.results(_NOBODY_LEFT)
            self._pass_gate(flight)
            phase = Phase.CONTENT
            whole = await self._content(flight.payload, following if self._offered and not self.step_by_step else None)
            phase = Phase.FINAL
            results = await self._conclude(flight, whole=whole)
        except Ended as ended:
            return flight.results(ended.verdict, ended.said)
        except Held as held:
            await self.cut()
            flight.settled.clear()
            return flight.results(Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, str(held)))
        except (OSError, BadReply) as error:
            if at_once and phase is Phase.MAIL:
                self.confused = self.confused or isinstance(error, OutOfStep)
                self.doubtful = isinstance(error, (TimeoutError, BadReply))
            await self.cut()
            return flight.results(judge_error(error, phase))
        except _GateFailed as failed:
            await self.cut()
            raise failed.error from None
        except BaseException:
            self.abort()
            raise
        self.fluent = self.fluent or ahead
        return results

    async def _asked(self, offer: Offer) -> bool:
        """MAIL and the RCPTs, each with its reply; whether at least one recipient may have the letter."""
        said = await self._ask(offer.mail)
        offer.flight.untouched = said.code == _CLOSING
        verdict = judge_mail(said, wide_sender=offer.wide_sender)
        if verdict.fate is not Fate.ACCEPTED:
            await self._end(verdict, said)
        accepted = 0
        for recipient, command in offer.rcpts:
            said = await self._ask(command)
            verdict = judge_rcpt(said)
            if verdict.fate is Fate.ACCEPTED:
                accepted += 1
                continue
            if verdict.scope in _NOT_ITS_OWN:
                await self._end(verdict, said)
            await self._settle(offer.flight, recipient, verdict, said)
        if not accepted:
            await self._reset()
        return accepted > 0

    async def _settle(self, flight: Flight, recipient: Rcpt, verdict: Verdict, said: Reply) -> None:
        """A recipient that RCPT refused; where the relay closes over it, the others are not tried."""
        fate, scope, why = verdict
        flight.settled[recipient.id] = Result(recipient.id, fate, scope, said, why, flight.place)
        if said.code == _CLOSING:
            await self.cut()
            raise Ended(_CLOSED_BY_OTHER)

    async def _ask_leave(self, flight: Flight) -> None:
        """DATA, after the recipients' replies: returns if the relay says to go ahead."""
        if flight.abandoned:
            await self._reset()
            raise Ended(_CALLED_BACK)
        said = await self._ask(DATA, self._timeouts.data)
        verdict = judge_data(said)
        if verdict.fate is not Fate.ACCEPTED:
            if said.code < GO_AHEAD:
                self._fit = False  # a yes to a question that was not asked: out of step
            await self._end(verdict, said)

    def _at_once(self, octets: bytes) -> None:
        """Write a whole envelope, unless the relay spoke before it was asked."""
        wire = self._wire
        if wire.early is None:
            if not wire.quiet:
                raise OutOfStep("the relay spoke out of turn")
            wire.write(octets)
        elif wire.early.code != _CLOSING:
            raise OutOfStep("the relay spoke out of turn")

    async def _heard(self, offer: Offer) -> Phase:
        """The replies to an envelope that was written at once.

        Returns:
            DATA: content may leave; MAIL: no recipient may have the letter.

        Raises:
            Ended: the letter is not to go for another reason.
        """
        flight, wire = offer.flight, self._wire
        replies, seconds = wire.replies, self._timeouts.command
        said = replies.popleft() if replies else await wire.reply(seconds)
        flight.untouched = said.code == _CLOSING
        verdict = judge_mail(said, wide_sender=offer.wide_sender)
        ended = None if verdict.fate is Fate.ACCEPTED else Ended(verdict, said)
        opened, accepted = ended is None, 0
        if said.code == _CLOSING:
            await self._end(verdict, said)
        for recipient, _ in offer.rcpts:
            said = replies.popleft() if replies else await wire.reply(seconds)
            if not opened and said.code != _CLOSING:
                continue  # there is no transaction: "bad sequence", and no word about the recipient
            verdict = judge_rcpt(said)
            if verdict.fate is Fate.ACCEPTED:
                accepted += 1
            elif verdict.scope in _NOT_ITS_OWN:
                ended = ended or Ended(verdict, said)
                if said.code == _CLOSING:
                    await self.cut()
                    raise ended
            else:
                await self._settle(flight, recipient, verdict, said)
        said = replies.popleft() if replies else await wire.reply(self._timeouts.data)
        verdict = judge_data(said)
        if not wire.quiet:
            raise OutOfStep("the relay gave more answers than it was asked questions")
        if accepted and ended is None:
            if verdict.fate is Fate.ACCEPTED:
                return Phase.DATA
            if said.code < GO_AHEAD:
                self._fit, self.confused = False, True
            await self._end(verdict, said)
        if said.code == _CLOSING or said.code <= GO_AHEAD or (ended is not None and _lost_step(ended.said)):
            await self.cut()  # it may wait for a letter that must not come
        elif opened:
            await self._reset()
        if ended is not None:
            raise ended
        return Phase.MAIL

    def _pass_gate(self, flight: Flight) -> None:
        """Returns once content may start, at once."""
        if not self._wire.quiet:
            raise BadReply("the relay spoke before the content")
        self._wire.check()
        if flight.abandoned:
            raise Held(_CALLED_BACK.why)
        try:
            flight.gate.before_content(flight.envelope.attempt, tuple(flight.settled.values()))
        except Held:
            raise
        except Exception as error:  # not to be taken for an error of the connection
            raise _GateFailed(error) from error
        flight.begun = True

    def _envelope_of(self, following: Following | None) -> bytes:
        """The envelope that leaves with the end of this letter; empty where none does."""
        flight = self.upcoming = following() if following is not None else None
        if flight is None:
            return b""
        try:
            self._ahead = prepare(flight, self.extensions)
        except Ended:
            self._ahead = None  # is told in its own turn
        return b"" if self._ahead is None else self._ahead.octets

    async def _content(self, payload: Payload, following: Following | None) -> bool:
        """The content, dots stuffed in the head, and the final dot. Nothing waits between the gate and the first write.

        Returns:
            Whether all of it has gone; not the final dot, once the relay has said a word, or half of one: its answer would not be known
            from that word, or from the rest of it.
        """
        wire, seconds = self._wire, self._timeouts.block
        head, end = stuffed(payload)
        if not payload.tail:  # one packet for a letter without enclosures
            wire.write(b"".join((head, end, self._envelope_of(following))))
            return True
        wire.write(head)
        await wire.drain(seconds)
        for part in payload.tail:
            view = memoryview(part)
            for start in range(0, len(view), SLICE):
                if not wire.calm:
                    return False
                wire.write(view[start : start + SLICE])
                await wire.drain(seconds)
        await wire.listen()
        if not wire.calm:
            return False
        wire.write(end + self._envelope_of(following))
        return True

    async def _conclude(self, flight: Flight, *, whole: bool) -> list[Result]:
        """The final reply, judged and told to the gate; *whole*: the final dot has gone."""
        wire = self._wire
        said = await wire.reply(self._timeouts.final)
        if not whole:  # a no may be believed, a yes can't be about this letter
            self._fit = False
            if judge_final(said).fate is Fate.ACCEPTED:
                raise BadReply("the relay answered before the end of the content")
        if self._too_many() and (wire.early is None or wire.early.code != _CLOSING):
            raise BadReply("two answers to one letter")
        verdict = judge_final(said)
        results = flight.results(verdict, said)
        if verdict.fate is not Fate.UNCERTAIN:
            tell(flight, results)
        if said.code == _CLOSING or verdict.fate is Fate.UNCERTAIN or not self._fit:
            await self.cut()
        return results

    def _too_many(self) -> bool:
        """Whether the relay said more than it was asked."""
        return not self._wire.quiet if self._ahead is None else self._wire.waiting > self._ahead.replies

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
        if said.code == _CLOSING or _lost_step(said) or not self._fit:
            await self.cut()
        else:
            await self._reset()
        raise Ended(verdict, said)

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
        """Close without goodbye, and wait until the socket is released; not long, since nothing more depends on it."""
        self.abort()
        with suppress(TimeoutError):
            await self._wire.closed(_RELEASE)

    def abort(self) -> None:
        """Close without goodbye; what is on its way ends as if the relay had gone."""
        self._fit = False
        self._wire.abort()

    async def quit(self) -> None:
        """Say goodbye, if the relay still listens and waits for no letter, and close."""
        if self.usable and self._ahead is None:
            with suppress(OSError):
                self._wire.write(b"QUIT\r\n")
                # by the relay: only then does it not count us among its connections
                await self._wire.closed(min(_QUIT, self._timeouts.command))
        await self.cut()


def _lost_step(said: Reply | None) -> bool:
    """Whether an answer that is no yes shows that the relay is not where we think: neither yes nor no, or a command not known there."""
    return said is not None and (said.code < _FIRST_NO or said.code in _NOT_A_COMMAND)


_NOT_A_COMMAND = range(500, 510)
_NOT_ITS_OWN = frozenset((Scope.RELAY, Scope.DAY, Scope.HOLD))
_FIRST_NO = 400
_NOBODY_LEFT = Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, "")
_CALLED_BACK = Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, "the letter was called back before it was sent")
_CLOSED_BY_OTHER = Verdict(
    Fate.NOT_TRIED, Scope.RECIPIENT, "our mail server closed the connection over another recipient of this letter"
)

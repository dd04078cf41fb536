"""A transport without a network, for tests and trials: a script plays the relay, and what was "sent" is kept.

It obeys the rules of `base` and judges by the same table as the real one (the same contract tests run over both).
"""

import asyncio
import inspect as python
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mailer.transport import commands
from mailer.transport.base import Envelope, Fate, Gate, Held, Landed, Payload, Rcpt, Reply, Result, Scope
from mailer.transport.flight import Awaited, Flight, inspect, tell
from mailer.transport.verdict import (
    GO_AHEAD,
    Gone,
    Phase,
    Verdict,
    judge,
    judge_data,
    judge_error,
    judge_final,
    judge_mail,
    judge_rcpt,
    parse,
)

#: "550 5.1.1 no such user" is said; an exception happens to the connection; None: all is well
Answer = str | Exception | None
#: asked at CONNECT, MAIL, RCPT (with the recipient), DATA, CONTENT and FINAL of each letter; may be a coroutine that waits
Script = Callable[[Phase, Envelope, Rcpt | None], Answer | Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Received:
    """A whole message that arrived.

    Attributes:
        envelope: as it was sent, with all recipients.
        recipients: those that RCPT accepted.
        data: head and tail.
        taken: whether it was accepted at the end; None: no intelligible final reply was given.
    """

    envelope: Envelope
    recipients: tuple[Rcpt, ...]
    data: bytes
    taken: bool | None


class MemoryTransport:
    """Plays a relay; implements `base.Transport`.

    Attributes:
        lanes: how many letters it takes at once.
        script: what the relay says; may be exchanged at any time.
        received: every message whose content arrived, in order.
        utf8: whether the relay takes addresses beyond ASCII.
        rest: always 0.0; as in `pool.SmtpTransport`.
    """

    rest = 0.0

    def __init__(self, script: Script | None = None, *, lanes: int = 10) -> None:
        self.lanes, self.utf8 = lanes, True
        self.script: Script = script or (lambda _phase, _envelope, _recipient: None)
        self.received: list[Received] = []
        self._slots = asyncio.Semaphore(lanes)
        self._tasks: dict[asyncio.Task[None], Flight] = {}
        self._stopped = False

    async def send(self, envelope: Envelope, payload: Payload, gate: Gate) -> Sequence[Result]:
        """Play one letter, as `base.Transport` says."""
        inspect(envelope, payload)
        awaited = Awaited(envelope, payload, gate)
        task = self._start(awaited.flight)

        def stop() -> None:
            if task is not None:
                task.cancel()

        return await awaited.outcome(stop, stop)

    def post(self, envelope: Envelope, payload: Payload, gate: Gate, landed: Landed) -> None:
        """The same, and *landed* is told."""
        inspect(envelope, payload)
        self._start(Flight(envelope, payload, gate, landed))

    def _start(self, flight: Flight) -> asyncio.Task[None] | None:
        if self._stopped:
            flight.end(flight.results(_STOPPING))
            return None
        task = asyncio.create_task(self._run(flight))
        self._tasks[task] = flight
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        flight = self._tasks.pop(task)
        flight.end(flight.results(_STOPPING))  # is told only if the task had not yet begun

    def reopen(self) -> None:
        """Nothing is remembered of failures."""

    async def close(self) -> None:
        """End what is under way, as if the connections were cut."""
        self._stopped = True
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(list(self._tasks))

    async def _run(self, flight: Flight) -> None:
        try:
            async with self._slots:
                results = await self._play(flight)
        except asyncio.CancelledError:
            results = flight.results(_STOPPING) if self._stopped and not flight.begun else flight.lost(Gone())
        except Exception as error:  # noqa: BLE001 - the gate's own; raised from `send`
            flight.end(error)
            return
        flight.end(results)

    async def _play(self, flight: Flight) -> list[Result]:
        """One transaction with the script."""
        envelope = flight.envelope
        said = await self._say(Phase.CONNECT, envelope)
        if isinstance(said, Exception):
            return flight.results(judge_error(said, Phase.CONNECT))
        if said is not None:
            return flight.results(judge(Phase.GREETING, said), said)
        for each in envelope.recipients:
            if why := commands.why_not(each.address, utf8=self.utf8):
                flight.settled[each.id] = Result(each.id, Fate.REFUSED, Scope.RECIPIENT, None, why)
        said = await self._say(Phase.MAIL, envelope)
        if isinstance(said, Exception):
            return flight.results(judge_error(said, Phase.MAIL))
        if (
            said is not None
            and (verdict := judge_mail(said, wide_sender=not envelope.sender.isascii())).fate is not Fate.ACCEPTED
        ):
            return flight.results(verdict, said)
        for each in envelope.recipients:
            if each.id not in flight.settled and (ended := await self._recipient(flight, each)) is not None:
                return ended
        if len(flight.settled) == len(envelope.recipients):
            return [flight.settled[each.id] for each in envelope.recipients]
        return await self._content(flight)

    async def _recipient(self, flight: Flight, each: Rcpt) -> list[Result] | None:
        """One RCPT; the results where it ends the transaction."""
        said = await self._say(Phase.RCPT, flight.envelope, each)
        if isinstance(said, Exception):
            return flight.results(judge_error(said, Phase.RCPT))
        if said is None:
            return None
        verdict = judge_rcpt(said)
        if verdict.scope in {Scope.RELAY, Scope.DAY, Scope.HOLD}:
            return flight.results(verdict, said)
        if verdict.fate is not Fate.ACCEPTED:
            flight.settled[each.id] = Result(each.id, verdict.fate, verdict.scope, said, verdict.why)
        return None

    async def _content(self, flight: Flight) -> list[Result]:
        """From DATA to the final reply."""
        envelope = flight.envelope
        said = await self._say(Phase.DATA, envelope)
        if isinstance(said, Exception):
            return flight.results(judge_error(said, Phase.DATA))
        verdict = judge_data(said or Reply(GO_AHEAD, None, "go ahead"))
        if verdict.fate is not Fate.ACCEPTED:
            return flight.results(verdict, said)
        try:
            flight.gate.before_content(envelope.attempt, tuple(flight.settled.values()))
        except Held as held:
            flight.settled.clear()
            return flight.results(Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, str(held)))
        flight.begun = True
        broke = await self._say(Phase.CONTENT, envelope)
        if isinstance(broke, Exception):
            return flight.results(judge_error(broke, Phase.CONTENT))
        said = await self._say(Phase.FINAL, envelope)
        if isinstance(said, Exception):
            self._receive(flight, None)
            return flight.results(judge_error(said, Phase.FINAL))
        said = said or Reply(250, "2.0.0", "2.0.0 Ok: kept in memory")
        verdict = judge_final(said)
        results = flight.results(verdict, said)
        self._receive(flight, None if verdict.fate is Fate.UNCERTAIN else verdict.fate is Fate.ACCEPTED)
        if verdict.fate is not Fate.UNCERTAIN:
            tell(flight, results)
        return results

    def _receive(self, flight: Flight, taken: bool | None) -> None:
        accepted = tuple(each for each in flight.envelope.recipients if each.id not in flight.settled)
        data = flight.payload.head + b"".join(flight.payload.tail)
        self.received.append(Received(flight.envelope, accepted, data, taken))

    async def _say(self, phase: Phase, envelope: Envelope, recipient: Rcpt | None = None) -> Reply | Exception | None:
        answer = self.script(phase, envelope, recipient)
        said = await answer if python.isawaitable(answer) else answer
        return parse(said) if isinstance(said, str) else said


_STOPPING = Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, "sending was stopped before this letter's turn")

"""Connections to one relay, and the queue of letters that wait for one.

`post` only puts a letter into the queue; lanes (a connection each) take letters out of it, oldest first. So the lane decides when it
takes the next letter: where the relay allows pipelining, as the present one's content leaves. A letter goes to a lane that rests
before one that works may look ahead for it. A task opens a lane's connection; from
then on the lane goes on as its relay speaks (`Wire.drive`), without a task's way through the event loop for each letter.

- A lane is one connection, made when there is a letter for it, up to `relay.connections`. It ends after `letters_per_connection`
  letters, after `relay.max_age`, after `IDLE` without work, or when the connection fails; a new one takes its place when letters wait.
- Until a connection has succeeded, one is tried at a time: a wrong password costs one attempt, not one per lane.
- After a failure no connection is tried until a back-off has passed (`FIRST` seconds by the clock, doubled up to `LONGEST`; a
  failure that a person has to mend, the longest at once). While other lanes live, they carry the queue (a relay may want fewer
  connections than the settings allow). Right after letters that went well, a connection is looked for a few times more: a relay
  counts one that we have closed for a moment longer. Where none is to be had, every letter that waits, and every one that comes
  before the back-off has passed, is answered NOT_TRIED with the failure's words.
- An idle connection that turns out to be dead before the relay said anything about the letter is nobody's failure: the letter
  goes back to the head of the queue, until it has met a fresh connection; what that one does, counts. So does a letter whose
  envelope went ahead behind one with which the connection ended.
- A relay that offers pipelining and then gets out of step is spoken to command by command from then on. One that was silent, or garbled
  its words, over an envelope that was written at once may only have been slow: after `STEPS` letters step by step pipelining is tried
  again, and given up where that happens once more for each of them before a letter went through behind another.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mailer.clock import Clock
from mailer.errors import SettingsError
from mailer.settings import Relay
from mailer.transport import access, smtp
from mailer.transport.base import Envelope, Fate, Gate, Landed, Payload, Reply, Result, Scope
from mailer.transport.flight import Awaited, Flight, inspect
from mailer.transport.login import Login
from mailer.transport.protocol import Connection, Following
from mailer.transport.verdict import Gone, Verdict

_log = logging.getLogger(__name__)

#: seconds: back-off after the first failure, and the longest
FIRST, LONGEST = 2.0, 60.0
#: real seconds before each further look for a connection, where letters went well until the failure
LOOKS = (0.05, 0.3, 1.0)
#: letters that go step by step before pipelining is tried again, after the first doubt about it, the second, ...
STEPS = (100, 1_000, 10_000)
#: seconds that a connection is kept without work (below Postfix's limit of 300 and Exchange's of 600)
IDLE = 30.0

_STOPPING = Verdict(Fate.NOT_TRIED, Scope.RECIPIENT, "sending was stopped before this letter's turn")


@dataclass(slots=True, eq=False)
class _Rest:
    """A lane without work, and the letter that it is given."""

    connection: Connection
    flight: Flight | None = None


class SmtpTransport:
    """A relay's pool; implements `base.Transport`.

    Attributes:
        name: the relay's name in the settings.
        lanes: how many letters it can have on the way at once.
    """

    def __init__(self, name: str, relay: Relay, *, home: Path, clock: Clock) -> None:
        """Make a pool without connections yet.

        Args:
            name: the relay's name in the settings.
            relay: its settings.
            home: what paths in the settings are relative to.
            clock: for the back-off and for the age of connections; time-outs are real seconds.

        Raises:
            SettingsError: the settings ask for what must not be done (clear text to another machine).
        """
        access.check(name, relay)
        self.name = name
        self.lanes = relay.connections
        self._relay, self._home, self._clock = relay, home, clock
        self._login = Login(name, relay, home, clock)
        self._queue: deque[Flight] = deque()
        self._tasks: dict[asyncio.Task[None], Connection | None] = {}
        #: letters for which lanes are made that have not begun
        self._firsts: dict[asyncio.Task[None], Flight] = {}
        self._resting: list[_Rest] = []
        self._carrying: dict[Flight, Connection] = {}
        self._proven = False
        self._failure: tuple[Verdict, Reply | None] | None = None
        self._failures = 0
        #: looks still allowed: the last failure met us while other connections worked, so the relay wants fewer or is slow to count
        self._looks = 0
        #: letters still to go step by step, and how often there was reason for it since pipelining worked
        self._steps: float = 0
        self._doubts = 0
        #: a letter had its final reply since the last failure
        self._passed = False
        #: connections over which one had, while they last
        self._proved: set[Connection] = set()
        self._pause = 0.0
        self._again_at = 0.0
        self._stopped = False
        #: connections that were made in this process
        self._made = 0

    @property
    def rest(self) -> float:
        """Seconds, by the clock, until a connection is tried again after a failure; 0.0: now."""
        return max(0.0, self._again_at - self._clock.running()) if self._failure else 0.0

    async def send(self, envelope: Envelope, payload: Payload, gate: Gate) -> Sequence[Result]:
        """Try to hand over one letter, as `base.Transport` says."""
        inspect(envelope, payload)
        awaited = Awaited(envelope, payload, gate)
        flight = awaited.flight
        self._queue.append(flight)
        self._pump()
        return await awaited.outcome(lambda: self._forget(flight), lambda: self._cut(flight))

    def post(self, envelope: Envelope, payload: Payload, gate: Gate, landed: Landed) -> None:
        """The same, and *landed* is told."""
        inspect(envelope, payload)
        self._queue.append(Flight(envelope, payload, gate, landed))
        self._pump()

    def _forget(self, flight: Flight) -> None:
        if flight in self._queue:
            self._queue.remove(flight)

    def _cut(self, flight: Flight) -> None:
        if flight in self._carrying:
            self._carrying[flight].abort()

    def reopen(self) -> None:
        """A person has mended the relay: no back-off any more."""
        self._failure, self._pause, self._again_at = None, 0.0, 0.0

    async def close(self) -> None:
        """Say goodbye on idle connections and cut the others: their letters are NOT_TRIED, or UNCERTAIN once content has begun."""
        self._stopped = True
        self._answer_all(_STOPPING, None)
        for rest in self._resting:
            rest.connection.rouse()
        for connection in list(self._carrying.values()):
            connection.abort()
        for task, made in self._tasks.items():
            if made is None:
                task.cancel()
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    # Who takes the next letter

    def _pump(self) -> None:
        """Give waiting letters to resting lanes, then to new ones, or answer them where there can be none."""
        if self._stopped:
            self._answer_all(_STOPPING, None)
        while self._queue:
            if self._resting:
                rest = self._resting.pop()
                rest.flight = self._queue.popleft()
                rest.connection.rouse()
            elif not self._open_lane():
                return

    def _open_lane(self) -> bool:
        """Start a lane with the oldest letter, or answer all; False: the letters have to wait."""
        if len(self._tasks) >= self.lanes:
            return False
        if not self._proven and any(connection is None for connection in self._tasks.values()):
            return False
        if self._failure is not None and self.rest > 0:
            if self._tasks:
                return False
            if not self._looks and not self._passed:
                self._answer_all(*self._failure)
                return True
        first = self._queue.popleft()
        task = asyncio.create_task(self._lane(first), name=f"relay {self.name}")
        self._tasks[task], self._firsts[task] = None, first
        task.add_done_callback(self._lane_ended)
        return True

    def _lane_ended(self, task: "asyncio.Task[None]") -> None:
        if (connection := self._tasks.pop(task, None)) is not None:
            self._proved.discard(connection)
        if (first := self._firsts.pop(task, None)) is not None:
            self._answer(first, first.lost(Gone("stopped")))
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("lane-failed", exc_info=error, extra={"relay": self.name})
        self._pump()

    def _answer_all(self, verdict: Verdict, said: Reply | None) -> None:
        while self._queue:
            flight = self._queue.popleft()
            self._answer(flight, flight.results(verdict, said))

    # A lane

    async def _lane(self, first: Flight) -> None:
        """Connect, then carry letters, from *first* on, until the connection has had its day."""
        connection: Connection | None = None
        this = cast("asyncio.Task[None]", asyncio.current_task())
        del self._firsts[this]
        try:
            connection = await self._connect(first)
            if connection is None:
                return
            self._tasks[this] = connection
        finally:
            if connection is None and first not in self._queue:
                self._answer(first, first.lost(Gone("stopped")))
        self._pump()
        await connection.drive(self._carry_on(connection, first))

    async def _carry_on(self, connection: Connection, first: Flight) -> None:
        """The life of a connection; waits for nothing but that."""
        flight: Flight | None = first
        born = self._clock.running()

        def following() -> Flight | None:
            return self._queue.popleft() if self._queue and not self._worn(connection, born) else None

        try:
            # asked each time: asyncio.wait_for may swallow the cancellation of a lane that was connecting
            while flight is not None and not self._stopped:
                flight = await self._carry(connection, flight, following)
                if flight is None and connection.usable and not self._worn(connection, born):
                    flight = await self._next(connection)
            await connection.quit()
        finally:
            connection.abort()
            if flight is not None:
                self._answer(flight, flight.lost(Gone("stopped")))

    def _worn(self, connection: Connection, born: float) -> bool:
        limit = self._relay.letters_per_connection
        return self._stopped or (0 < limit <= connection.carried) or self._clock.running() - born > self._relay.max_age

    async def _connect(self, flight: Flight) -> Connection | None:
        """A connection; None: there is none to be had, and *flight* is back in the queue or answered."""
        if self._looks and self.rest > 0 and not self._working():
            await asyncio.sleep(LOOKS[-self._looks])
        failures, beside = self._failures, self._working()
        try:
            connection = await smtp.connect(self.name, self._relay, self._home, self._login)
        except smtp.Unavailable as error:
            self._fail(flight, error.verdict, error.said, beside=beside, again=failures == self._failures)
            return None
        except SettingsError as error:
            verdict = Verdict(Fate.NOT_TRIED, Scope.HOLD, str(error))
            self._fail(flight, verdict, None, beside=beside, again=failures == self._failures)
            return None
        self._made += 1
        connection.number = self._made
        if failures == self._failures:  # else one that began later has failed, and that is the newer news
            self._proven, self._failure, self._pause = True, None, 0.0
        return connection

    def _working(self, but: Connection | None = None) -> bool:
        """Whether some connection (*but* one) works now: a letter has had its answer over it. A fresh one may be about to be refused."""
        return any(each is not but and each in self._proved and each.usable for each in self._tasks.values() if each)

    def _fail(self, flight: Flight, verdict: Verdict, said: Reply | None, *, beside: bool, again: bool) -> None:
        """No connection: back off; *flight* waits for another lane, or is answered with the rest by `_lane_ended`.

        *again*: it was tried after all the failures that we know of, not beside one of them.
        """
        self._back_off(verdict, said, beside=beside or self._working(), again=again)
        if not flight.over:
            self._queue.appendleft(flight)

    def _back_off(self, verdict: Verdict, said: Reply | None, *, beside: bool, again: bool = True) -> None:
        """Try no connection for a while; *beside*: others worked meanwhile. Failures that come together count as one.

        After letters that went well, a few looks come before the waiting letters are told; one, where a person has to mend it.
        """
        first = self.rest == 0.0
        if first:
            self._pause = min(self._pause * 2 or FIRST, LONGEST)
        lasting = verdict.scope in {Scope.DAY, Scope.HOLD}
        if lasting:
            self._pause = LONGEST
        self._failures += 1
        if beside or self._passed:
            self._looks = 1 if lasting else len(LOOKS)
        elif again:
            self._looks = max(0, self._looks - 1)
        self._passed = False
        self._proven, self._failure = False, (verdict, said)
        self._again_at = self._clock.running() + self._pause
        if first:
            _log.warning("relay-failed", extra={"relay": self.name, "why": verdict.why, "again_in": self._pause})

    async def _carry(self, connection: Connection, flight: Flight, following: Following) -> Flight | None:
        """One letter over the connection, and its results to who waits for them.

        Returns:
            The letter that the connection has to carry next: the one that *following* gave, and for which it was fit.
        """
        if flight.over:
            if connection.ahead is flight:
                connection.abort()  # its envelope has left, and nobody waits for it any more
            return None
        connection.step_by_step = self._steps > 0
        self._carrying[flight] = connection
        try:
            results = await connection.deliver(flight, following)
        except Exception as error:  # noqa: BLE001 - the gate's own; raised from `send`
            flight.end(error)
        else:
            self._conclude(connection, flight, results)
        finally:
            del self._carrying[flight]
            upcoming = connection.upcoming
            if upcoming is not None and not connection.usable:
                self._back(upcoming)
                upcoming = None
        return upcoming

    def _conclude(self, connection: Connection, flight: Flight, results: Sequence[Result]) -> None:
        """Answer a letter that was carried, or put it back where the connection was to blame."""
        self._learn(connection, flight)
        blame = next((each for each in results if each.fate is Fate.NOT_TRIED), None)
        if flight.untouched and blame is not None and not connection.usable and not self._stopped:
            if connection.carried > 1:
                self._back(flight)
                return
            # as bad as no connection
            self._back_off(Verdict(blame.fate, blame.scope, blame.why), blame.reply, beside=self._working(connection))
        if flight.begun and connection.usable:
            self._passed = True
            self._proved.add(connection)
        self._answer(flight, results)

    def _learn(self, connection: Connection, flight: Flight) -> None:
        """Whether letters may be pipelined, from how one was carried."""
        if connection.confused:
            self._steps = math.inf
        elif self._steps:
            self._steps -= connection.step_by_step and flight.begun
        elif connection.fluent:
            self._doubts = 0
            connection.fluent = False  # has been told
        elif connection.doubtful:
            self._steps = STEPS[self._doubts] if self._doubts < len(STEPS) else math.inf
            self._doubts += 1

    def _back(self, flight: Flight) -> None:
        """Put a letter back to the head of the queue: the relay knows nothing of it."""
        if not flight.over:
            flight.settled.clear()
            flight.place = None
            self._queue.appendleft(flight)

    def _answer(self, flight: Flight, results: Sequence[Result]) -> None:
        if not flight.over:
            stopped = self._stopped and not flight.begun
            flight.end(flight.results(_STOPPING) if stopped else results)

    async def _next(self, connection: Connection) -> Flight | None:
        """The next letter for this lane; None: there was none for a while, or we are closing, or the connection has ended."""
        if self._queue:
            return self._queue.popleft()
        rest = _Rest(connection)
        self._resting.append(rest)
        while rest.flight is None and not self._stopped and connection.usable:
            if not await connection.rest(IDLE):
                break
        if rest.flight is None:
            self._resting.remove(rest)
        return rest.flight

"""Sending a batch: claim, compose, hand to the transport, judge, record; until nothing of the batch is due.

- The database session of a turn is closed before any letter flies.
- No content starts while its circular is paused, while the process stops, while the journal can't be written, or once the wall clock or
  CLOCK_BOOTTIME, whichever says more, is past the last beat plus half the lease.
- What a letter met is told to the next turn or to the beat, whichever comes first. If that turn fails, it is kept and told again; if the
  process dies with it untold, the flight journal tells it.
"""

import asyncio
import datetime as dt
import logging
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mailer.circulars.compose import Composed, compose, merge, sign
from mailer.circulars.frozen import Frozen
from mailer.clock import Clock
from mailer.delivery.allot import Allotment, Line, Ways
from mailer.delivery.batches import Batches, Fenced, Told
from mailer.delivery.claims import Claim, Run
from mailer.delivery.due import NOTHING, Wanted
from mailer.delivery.journal import Journal
from mailer.delivery.judging import Judges
from mailer.delivery.obstacles import Obstacles
from mailer.errors import ChanceryError, DatabaseError, JournalError
from mailer.settings import Delivery
from mailer.transport.base import Envelope, Fate, Held, Rcpt, Result, Scope
from mailer.wake import Call

log = logging.getLogger(__name__)

#: How often a turn that the database refused is tried again, and how long we wait between, in seconds.
_TURN_TRIES, _TURN_WAIT = 5, 1.0
#: Seconds for which a turn waits for more letters to land, once one has.
_STRAGGLERS = 0.5


@dataclass
class Brakes:
    """What stops content from starting, looked at before each content."""

    stopping: bool = False
    held: set[int] = field(default_factory=set)

    def reason(self, circular: int) -> str | None:
        """Why nothing of *circular* may start now."""
        if self.stopping:
            return "the program is stopping"
        if circular in self.held:
            return "the circular is paused"
        return None


class Sender:
    """The handler of `send` calls: works at one batch until nothing of it is due."""

    def __init__(
        self,
        *,
        batches: Batches,
        clock: Clock,
        settings: Delivery,
        journal: Journal,
        boot: str,
        brakes: Brakes,
        load: Callable[[int], Awaitable[Frozen]],
        ways: Callable[[Frozen, float | None], Ways],
        hold: Callable[[int, str], Awaitable[None]],
        obstacles: Obstacles,
        crowded: Callable[[str], bool] = lambda _key: False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Make a sender.

        *load* gives a circular's frozen snapshot and may keep it, *ways* the relays that it goes to, spread over time where it has a
        pace of its own. *hold* is called with circular and reason once no relay may be tried again without a person. *crowded* says
        that the work of a call's key should make room for others'. *chance* is for the jitter of retries.
        """
        self.batches, self.clock, self.settings, self.journal = batches, clock, settings, journal
        self.boot, self.brakes, self.hold, self.chance = boot, brakes, hold, chance
        self.obstacles, self.crowded = obstacles, crowded
        self.load, self._ways = load, ways
        #: threads that sign letters; none is started before there is one to sign
        self.signing = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="signing")
        #: attempts whose content began and whose outcome is not yet in the database
        self.unrecorded: set[str] = set()
        #: per relay: letters whose content did not start, with how many had passed on it then
        self.strikes: dict[str, dict[int, int]] = {}
        #: circulars whose relays wait for a person
        self._holding: set[int] = set()
        #: what letters met and the database would not take, with the run that met it
        self._kept: list[tuple[Run, Sequence[Told]]] = []
        self._telling = asyncio.Lock()

    async def __call__(self, call: Call) -> None:
        """Work at the batch that *call* names; a call for finished or foreign work does nothing.

        Raises:
            JournalError: no line can be written, so nothing may leave.
            DatabaseError: the rows can't be read or written.
        """
        circular, batch = int(call.args["circular"]), int(call.args["batch"])
        self.journal.heal()
        await self._tell_kept()
        run = await self.batches.take(circular, batch, owner=self.journal.name, boot=self.boot, now=self.clock.now())
        if run is None:
            return
        try:
            frozen = await self.load(circular)
            ways = self._ways(frozen, await self.batches.spread(circular, self.clock.now()))
        except ChanceryError as error:
            await self.batches.leave(run, [], now=self.clock.now())
            if isinstance(error, DatabaseError):
                raise
            await self.hold(circular, str(error))
            return
        if circular in self._holding:  # it is due again: a person has lifted the hold
            self._holding.discard(circular)
            for line in ways.lines:
                line.reopen()
        await self.obstacles.reopen(ways.lines)
        await _BatchRun(self, run, frozen, ways, call.key).fly()

    async def held(self, circular: int, why: str) -> None:
        """A relay must not be tried again for *circular* without a person."""
        self._holding.add(circular)
        await self.hold(circular, why)

    def keep(self, run: Run, told: Sequence[Told]) -> None:
        """Keep what could not be written, to tell it before anything else is done."""
        if told:
            self._kept.append((run, told))

    async def _tell_kept(self) -> None:
        async with self._telling:  # several batches are worked at; each entry is told by one of them
            while self._kept:
                run, told = self._kept[0]
                with suppress(Fenced):  # recorded all the same
                    await self.batches.turn(run, told, NOTHING, now=self.clock.now(), again=True)
                    await self.batches.leave(run, [], now=self.clock.now())
                self._kept.pop(0)
                self.recorded(told)

    def recorded(self, told: Sequence[Told]) -> None:
        """*told* is in the database: the journal need not remember it."""
        self.unrecorded.difference_update(one.claim.attempt for one in told)
        if not self.unrecorded:
            self.journal.forget()


class _BatchRun:
    """One run of one batch; also the gate through which its letters' contents pass."""

    def __init__(self, sender: Sender, run: Run, frozen: Frozen, ways: Ways, key: str) -> None:
        self._of, self._run, self._frozen, self._ways, self._key = sender, run, frozen, ways, key
        self._lease = dt.timedelta(seconds=sender.settings.lease)
        self._judges = Judges(
            clock=sender.clock,
            settings=sender.settings,
            ways=ways,
            resend=frozen.document["on_uncertain"] == "resend",
            strikes=sender.strikes,
            chance=sender.chance,
        )
        self._flying: set[asyncio.Task[Told]] = set()
        self._told: list[Told] = []
        self._begun: dict[str, dt.datetime] = {}
        #: seconds from the start of the content to the relay's last word, of attempts that are not yet told
        self._took: dict[str, float] = {}
        self._held: set[str] = set()
        self._digests: dict[str, str] = {}
        self._claimed = 0
        #: the last claim found nothing more that is due, or the work of others waits for our place
        self._exhausted = False
        #: what the last claim met: until when a pace, or a closed relay, allows nothing
        self._allotted = Allotment()
        self._pace_of_run: tuple[int, float] = (0, 0.0)
        self._turns = asyncio.Lock()
        self._beat()

    # --- the gate -------------------------------------------------------------------------------------------------

    def before_content(self, attempt: str, replies: Sequence[Result]) -> None:
        """Let content start, or raise `Held`."""
        now = self._of.clock.now()
        reason = self._of.brakes.reason(self._run.circular)
        if reason is None and (now > self._fence_wall or self._of.clock.running() > self._fence_running):
            reason = "this run has shown no sign of life for too long"
        if reason is None:
            self._of.unrecorded.add(attempt)
            try:
                self._of.journal.begun(attempt, now, replies, self._digests.get(attempt))
            except JournalError as error:
                self._of.unrecorded.discard(attempt)
                reason = str(error)
        if reason is not None:
            self._held.add(attempt)
            raise Held(reason)
        self._begun[attempt] = now

    def after_reply(self, attempt: str, results: Sequence[Result]) -> None:
        """Note the relay's last word."""
        now = self._of.clock.now()
        self._of.journal.answered(attempt, now, results)
        if (begun := self._begun.get(attempt)) is not None:
            self._took[attempt] = (now - begun).total_seconds()

    def _beat(self) -> None:
        half = self._lease / 2
        self._fence_wall = self._of.clock.now() + half
        self._fence_running = self._of.clock.running() + half.total_seconds()

    # --- turns ----------------------------------------------------------------------------------------------------

    async def fly(self) -> None:
        """Work until nothing of the batch is due; then let go of it."""
        beat = asyncio.create_task(self._beats())
        try:
            while True:
                claims = await self._turn(self._room())
                self._flying |= {asyncio.create_task(self._send(claim)) for claim in claims}
                if not self._flying:
                    break
                await self._land()
        except Fenced:
            log.info("run-fenced", extra={"circular": self._run.circular, "batch": self._run.batch})
        finally:
            beat.cancel()
            with suppress(asyncio.CancelledError):
                await beat
            while self._flying:  # content that has begun is finished, whatever happened to us
                await self._land()
            await self._leave()

    def _room(self) -> int:
        """How many letters may be claimed now."""
        if self._claimed and self._of.crowded(self._key):  # not before a slice has left: else nobody would get anywhere
            self._exhausted = True
        blocked = self._exhausted or self._of.brakes.reason(self._run.circular) or self._of.journal.broken
        if blocked:
            return 0
        most = max(self._ways.lanes, min(self._of.settings.slice, self._fits()))
        return max(0, most - len(self._flying))

    def _fits(self) -> int:
        """Letters that fit in a quarter of the lease at the measured pace; before any is measured, one per connection."""
        landed, since = self._pace_of_run
        if not landed:
            return self._ways.lanes
        seconds = max(self._of.clock.running() - since, 0.001)
        return int(landed / seconds * self._lease.total_seconds() / 4)

    async def _turn(self, room: int) -> list[Claim]:
        async with self._turns:
            made = await self._allot(room)
            told, self._told = self._told, []
            fence = (self._of.clock.now(), self._of.clock.running())
            claims: list[Claim] = []
            try:
                claims = await self._insist(told, made.wanted, fence[0])
            except Fenced:
                self._of.recorded(told)
                self._exhausted = True
                raise
            except BaseException:
                self._told = told + self._told
                self._exhausted = True
                raise
            finally:
                await self._ways.settle(made, self._run, claims)
            self._of.recorded(told)
            half = self._lease / 2
            self._fence_wall, self._fence_running = fence[0] + half, fence[1] + half.total_seconds()
            self._claimed += len(claims)
            if room:
                self._allotted = made
                self._exhausted = made.done or (made.wanted.letters is None and len(claims) < made.wanted.room)
            return claims

    async def _allot(self, room: int) -> Allotment:
        """Tokens for a turn, before it claims."""
        if not room:
            return Allotment()
        run = self._run
        return await self._ways.allot(run, room, lambda: self._of.batches.waiting(run, self._of.clock.now()))

    async def _insist(self, told: Sequence[Told], wanted: Wanted, now: dt.datetime) -> list[Claim]:
        """A turn, tried again while the database refuses it: what letters met must not be lost to a moment's lock."""
        for again in range(_TURN_TRIES):
            try:
                return await self._of.batches.turn(
                    self._run, told, NOTHING if again else wanted, now=now, again=again > 0
                )
            except DatabaseError:
                if again == _TURN_TRIES - 1:
                    raise
                await asyncio.sleep(_TURN_WAIT * (again + 1))
        raise AssertionError  # pragma: no cover - the loop returns or raises

    async def _leave(self) -> None:
        made = Allotment()
        shut = self._ways.shut(made)
        if not shut:
            made = self._allotted
        told, self._told = self._told, []
        try:
            await self._of.batches.leave(
                self._run, told, now=self._of.clock.now(), not_before=made.until, everywhere=made.everywhere
            )
        except BaseException:
            self._of.keep(self._run, told)
            raise
        self._of.recorded(told)
        await self._ways.close()
        if shut and made.held is not None:
            await self._of.held(self._run.circular, made.held)
        await self._of.obstacles.tell(self._run.circular, self._ways.lines, self._ways.domains)

    async def _beats(self) -> None:
        """Renew the beat apart from slices, so that a slow relay does not look like a dead process."""
        while True:
            await self._of.clock.sleep_until(self._of.clock.now() + self._lease / 6)
            try:
                await self._turn(0)
            except Fenced:
                return
            except DatabaseError as error:
                log.warning("beat-failed", extra={"reason": str(error)})

    async def _land(self) -> None:
        """Wait until enough letters have landed for a turn to be worth while."""
        lanes = self._ways.lanes
        enough = max(1, min(self._of.settings.slice // 2, len(self._flying) - lanes // 2))
        landed = 0
        while self._flying and landed < enough:
            patience = _STRAGGLERS if landed else None
            done, self._flying = await asyncio.wait(self._flying, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            ended = [task.result() for task in done]
            self._told += ended
            if any(told.claim.partial for told in ended):
                self._exhausted = False  # its other recipients' turn
            landed += len(done)
        count, since = self._pace_of_run
        self._pace_of_run = (count + landed, since or self._of.clock.running())

    # --- one letter -----------------------------------------------------------------------------------------------

    async def _send(self, claim: Claim) -> Told:
        line = self._ways.line(claim.relay)
        await line.turnstile.enter(self._run.circular, 2 * line.transport.lanes)
        try:
            rest = self._ways.rests(claim)
            told = self._judges.of(line.name).not_now(claim, rest) if rest else await self._hand_over(claim, line)
        finally:
            line.turnstile.leave()
            self._ways.landed(claim)
        self._ways.spent(claim, left=told.left is not None)
        return told

    async def _hand_over(self, claim: Claim, line: Line) -> Told:
        try:
            composed = await self._compose(claim)
        except Exception as error:  # one letter that can't be made must not stop the others; it is told, by name
            log.exception("compose-failed", extra={"letter": claim.letter})
            return self._judges.of(line.name).not_composed(claim, error)
        envelope = Envelope(
            attempt=claim.attempt,
            sender=line.reverse_path(self._frozen, claim.token),
            recipients=tuple(Rcpt(target.id, target.address) for target in claim.targets),
            envid=claim.token,
        )
        self._digests[claim.attempt] = composed.sha256
        try:
            results = await line.transport.send(envelope, composed.payload, self)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a defect of ours: whether the relay has the letter is unknown once content began
            log.exception("transport-failed", extra={"letter": claim.letter})
            fate = Fate.UNCERTAIN if claim.attempt in self._begun else Fate.NOT_TRIED
            results = [
                Result(target.id, fate, Scope.LETTER, None, f"our program failed ({error})") for target in claim.targets
            ]
        held = claim.attempt in self._held
        self._held.discard(claim.attempt)
        del self._digests[claim.attempt]
        left = self._begun.pop(claim.attempt, None)
        told = self._judges.of(line.name).told(claim, results, left=left, sha256=composed.sha256, held=held)
        return replace(told, size=composed.size, seconds=self._took.pop(claim.attempt, None))

    async def _compose(self, claim: Claim) -> Composed:
        """The letter; a signature is made in a thread, so that other letters need not wait for it."""
        signer = self._frozen.signer
        if signer is None:
            return compose(self._frozen, claim.row)
        merged = merge(self._frozen, claim.row)
        return await asyncio.get_running_loop().run_in_executor(self._of.signing, sign, merged, signer)

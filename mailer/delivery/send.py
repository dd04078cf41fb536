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

from mailer.circulars.frozen import Frozen
from mailer.clock import Clock
from mailer.delivery.allot import Allotment, Ways
from mailer.delivery.batches import Batches, Fenced
from mailer.delivery.claims import Claim, Run
from mailer.delivery.due import NOTHING, Waiting, Wanted
from mailer.delivery.journal import Journal
from mailer.delivery.judging import Judges
from mailer.delivery.obstacles import Obstacles
from mailer.delivery.passage import Desk, Passages
from mailer.delivery.turns import Told
from mailer.errors import ChanceryError, DatabaseError
from mailer.settings import Delivery
from mailer.wake import Call

log = logging.getLogger(__name__)

#: Letters that another version has to send are looked at again after this.
_LOOK_AGAIN = dt.timedelta(minutes=15)
#: How often a turn that the database refused is tried again, and how long we wait between, in seconds.
_TURN_TRIES, _TURN_WAIT = 5, 1.0


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
        #: letters a second of the last run to have measured it, by the relays that it went to
        self.speeds: dict[tuple[str, ...], float] = {}
        #: circulars whose relays wait for a person
        self._holding: set[int] = set()
        #: runs that are over and that the database did not hear of, with what their letters met, and whether the rest had not left
        self._kept: list[tuple[Run, Sequence[Told], bool]] = []
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
            if circular in self._holding:  # it is due again: a person has lifted the hold
                self._holding.discard(circular)
                for line in ways.lines:
                    line.reopen()
            await self.obstacles.look(ways.lines)
        except ChanceryError as error:
            await self.batches.leave(run, [], now=self.clock.now())
            if isinstance(error, DatabaseError):
                raise
            await self.hold(circular, str(error))
            return
        await _BatchRun(self, run, frozen, ways, call.key).fly()
        if frozen.foreign is not None:
            await self._after_kept_bytes(circular, frozen.foreign)

    async def _after_kept_bytes(self, circular: int, why: ChanceryError) -> None:
        """Hold a circular of another version, once none of its letters waits whose bytes were kept."""
        from mailer.delivery.archive import left_to_send

        some, others = await left_to_send(self.batches.sessions, circular)
        if others and not some:
            await self.hold(circular, str(why))

    async def held(self, circular: int, why: str) -> None:
        """A relay must not be tried again for *circular* without a person."""
        self._holding.add(circular)
        await self.hold(circular, why)

    def keep(self, run: Run, told: Sequence[Told], *, all_known: bool = True) -> None:
        """Keep the end of a run that could not be written, to tell it before anything else is done.

        *all_known*: what the run has claimed and *told* does not tell of has not left; else it is in doubt when the next run begins.
        """
        self._kept.append((run, told, all_known))

    async def _tell_kept(self) -> None:
        async with self._telling:  # several batches are worked at; each entry is told by one of them
            while self._kept:
                run, told, all_known = self._kept[0]
                if all_known:
                    await self.batches.leave(run, told, now=self.clock.now())
                else:
                    with suppress(Fenced):  # recorded all the same
                        await self.batches.turn(run, told, NOTHING, now=self.clock.now(), again=True)
                self._kept.pop(0)
                self.recorded(told)

    def recorded(self, told: Sequence[Told]) -> None:
        """*told* is in the database: the journal need not remember it."""
        self.unrecorded.difference_update(one.claim.attempt for one in told)
        self.journal.forget(self.unrecorded)


class _BatchRun:
    """One run of one batch."""

    def __init__(self, sender: Sender, run: Run, frozen: Frozen, ways: Ways, key: str) -> None:
        self._of, self._run, self._ways, self._key = sender, run, ways, key
        self._lease = dt.timedelta(seconds=sender.settings.lease)
        judges = Judges(
            clock=sender.clock,
            settings=sender.settings,
            ways=ways,
            resend=frozen.document["on_uncertain"] == "resend",
            strikes=sender.strikes,
            chance=sender.chance,
        )
        self._passages = Passages(
            Desk(
                circular=run.circular,
                frozen=frozen,
                ways=ways,
                judges=judges,
                clock=sender.clock,
                journal=sender.journal,
                hindrance=self._hindrance,
                unrecorded=sender.unrecorded,
                signing=sender.signing,
            )
        )
        self._claimed = 0
        #: the last claim found nothing more that is due, or the work of others waits for our place
        self._exhausted = False
        #: what the last claim met: until when a pace, or a closed relay, allows nothing
        self._allotted = Allotment()
        self._since = sender.clock.running()
        self._turns = asyncio.Lock()
        #: no sign of life is wanted any more
        self._over = False
        self._beat()

    def _hindrance(self, now: dt.datetime) -> str | None:
        """Why no content may start."""
        reason = self._of.brakes.reason(self._run.circular)
        if reason is None and (now > self._fence_wall or self._of.clock.running() > self._fence_running):
            return "this run has shown no sign of life for too long"
        return reason

    def _beat(self) -> None:
        half = self._lease / 2
        self._fence_wall = self._of.clock.now() + half
        self._fence_running = self._of.clock.running() + half.total_seconds()

    # --- turns ----------------------------------------------------------------------------------------------------

    async def fly(self) -> None:
        """Work until nothing of the batch is due; then let go of it."""
        beat = asyncio.create_task(self._beats())
        passages = self._passages
        try:
            while True:
                landed = passages.landed
                passages.begin(await self._turn(self._room()))
                await self._tell_held()
                nothing = not passages.flying
                if not nothing:
                    await self._land(landed)
                if passages.partial:  # its other recipients' turn
                    passages.partial = self._exhausted = False
                elif nothing or (self._exhausted and not passages.flying):
                    break  # leaving tells of the last ones
        except Fenced:
            log.info("run-fenced", extra={"circular": self._run.circular, "batch": self._run.batch})
        finally:
            self._over = True
            beat.cancel()
            await asyncio.wait([beat])
            while passages.flying:  # content that has begun is finished, whatever happened to us
                await passages.wait(0, passages.landed)
            await (self._leave() if passages.failure is None else self._leave_in_doubt())
        if passages.failure is not None:
            raise passages.failure
        if not beat.cancelled():
            beat.result()  # a defect that ended it is told once nothing flies any more

    def _room(self) -> int:
        """How many letters may be claimed now."""
        if self._claimed and self._of.crowded(self._key):  # not before a slice has left: else nobody would get anywhere
            self._exhausted = True
        blocked = self._exhausted or self._of.brakes.reason(self._run.circular) or self._of.journal.broken
        if blocked or self._passages.failure is not None:
            return 0
        return max(0, self._most() - self._passages.flying)

    def _most(self) -> int:
        """How many letters may be claimed and not have landed."""
        return max(self._ways.lanes, min(self._of.settings.slice, self._fits()))

    def _fits(self) -> int:
        """Letters that fit in a quarter of the lease at the measured pace; before any is measured, one per connection."""
        speed = self._of.speeds.get(self._ways.road.names)
        return self._ways.lanes if speed is None else int(speed * self._lease.total_seconds() / 4)

    async def _turn(self, room: int) -> list[Claim]:
        async with self._turns:
            made = await self._allot(room)
            told, self._passages.told = self._passages.told, []
            fence = (self._of.clock.now(), self._of.clock.running())
            claims: list[Claim] = []
            try:
                claims = await self._insist(told, made.wanted, fence[0])
                self._of.recorded(told)
            except Fenced:
                self._of.recorded(told)
                self._exhausted = True
                raise
            except BaseException:
                self._passages.told = told + self._passages.told
                self._exhausted = True
                raise
            finally:
                await self._ways.settle(made, self._run, claims)
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
        run, frozen, later = self._run, self._passages.desk.frozen, dict[int, dt.datetime]()

        async def due() -> Sequence[Waiting]:
            now = self._of.clock.now()
            waiting = await self._of.batches.waiting(run, now)
            if frozen.foreign is None:
                return waiting
            from mailer.delivery.archive import ready

            sendable = await ready(self._of.batches.sessions, frozen, [one.letter for one in waiting])
            later.update({one.letter: now + _LOOK_AGAIN for one in waiting if one.letter not in sendable})
            return [one for one in waiting if one.letter in sendable]

        made = await self._ways.allot(run, room, due, choose=frozen.foreign is not None)
        if later:  # what can't be made here stands back for what can be sent from its kept bytes
            made.wanted = replace(made.wanted, letters=made.wanted.letters or {}, later={**made.wanted.later, **later})
        return made

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
        told, self._passages.told = self._passages.told, []
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

    async def _leave_in_doubt(self) -> None:
        """End a run that does not know what some letter met: tell of the others, and put nothing back; the next run has it in doubt."""
        try:
            with suppress(Fenced):
                await self._turn(0)
        except DatabaseError as error:
            self._of.keep(self._run, self._passages.told, all_known=False)
            log.warning(
                "run-not-ended", extra={"circular": self._run.circular, "batch": self._run.batch, "reason": str(error)}
            )

    async def _tell_held(self) -> None:
        await self._of.obstacles.tell_held(self._run.circular, self._ways.lines, self._ways.domains)

    async def _beats(self) -> None:
        """Renew the beat apart from slices, so that a slow relay does not look like a dead process."""
        while not self._over:  # a cancellation may be lost where it meets a failing database
            # not until a time of the wall clock: set back, that would be long
            await self._of.clock.sleep(self._lease.total_seconds() / 6)
            try:
                await self._turn(0)
                await self._tell_held()
            except Fenced:
                return
            except DatabaseError as error:
                log.warning("beat-failed", extra={"reason": str(error)})
            except Exception:  # the letters that fly still need its signs of life
                log.exception("beat-failed")

    async def _land(self, since: int) -> None:
        """Wait until enough letters have landed for a turn to be worth while; *since*: how many had at the last one.

        Where there is nothing more to claim, the end of the run tells of the last ones, unless some let us wait.
        """
        half, flying = self._of.settings.slice // 2, self._passages.flying
        few = 0 if self._exhausted else max(self._ways.lanes // 2, flying - half, self._most() - half)
        await self._passages.wait(few, since)
        seconds = max(self._of.clock.running() - self._since, 0.001)
        self._of.speeds[self._ways.road.names] = self._passages.landed / seconds

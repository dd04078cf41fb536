"""The clock hand: looks at what is due and fires it. The only door to APScheduler.

APScheduler serves as a clock and nothing else: a memory store, in each process. Its stores fire twice with two nodes, and its
default grace of one second drops what fell due while nothing ran (seen: 5 jobs fired 6 times; 0 of 5 ran after a restart). What
is due stands in our rows; a tick too many is harmless.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from mailer.clock import Clock, ManualClock
from mailer.database import Sessions
from mailer.schedule import service
from mailer.schedule.firing import Actions, Firing, Result, fire

log = logging.getLogger(__name__)

#: How often the rows are looked at, in seconds; what another process adds is seen by then.
EVERY = 2
#: How often `reconcile` is called, in seconds.
RECONCILE_EVERY = 60
#: How far ahead a schedule gets a moment of its own, so that it fires to the second.
AHEAD = dt.timedelta(seconds=60)

Reconcile = Callable[[], Awaitable[None]]


class Ticker:
    """Fires what is due, on the machine's clock or on one moved by hand."""

    def __init__(
        self,
        database: Sessions,
        clock: Clock,
        actions: Actions,
        *,
        fire_late: dt.timedelta,
        reconcile: Reconcile | None = None,
        told: Callable[[Firing], None] | None = None,
    ) -> None:
        """Make a ticker; it does nothing before `tick` or `run`.

        Args:
            database: where the schedules are.
            clock: real time, or moved by hand.
            actions: what schedules do.
            fire_late: how late a schedule may still be done unasked.
            reconcile: called each minute while running (with a clock moved by hand: after each move).
            told: called with whatever came of a schedule, to tell a person.
        """
        self._database = database
        self._clock = clock
        self._actions = actions
        self._fire_late = fire_late
        self._reconcile = reconcile
        self._told = told
        self._one_at_a_time = asyncio.Lock()
        self._wake = asyncio.Event()
        self._listens = False

    async def tick(self) -> list[Firing]:
        """Fire all that is due now; also what becomes due by it. Returns what came of each, earliest first.

        Raises:
            DatabaseError: the rows can't be read or written.
        """
        done: list[Firing] = []
        seen: set[int] = set()
        async with self._one_at_a_time:
            while lines := [line for line in await self._due() if line.id not in seen]:
                for line in lines:
                    seen.add(line.id)
                    firing = await fire(self._database, self._clock, line, self._actions, fire_late=self._fire_late)
                    self._say(firing)
                    done.append(firing)
        return done

    async def _due(self) -> list[service.ScheduleLine]:
        async with self._database.read() as session:
            return await service.due(session, self._clock.now())

    async def next_due(self) -> dt.datetime | None:
        """When the next schedule falls due; None: none waits."""
        async with self._database.read() as session:
            return await service.next_due(session)

    def look(self) -> None:
        """Have `run` look at the rows at once: a schedule was added or changed in this process."""
        self._wake.set()

    async def run(self) -> None:
        """Fire what falls due until cancelled; a schedule being fired then is finished first."""
        self._wake.set()
        if isinstance(self._clock, ManualClock):
            if not self._listens:
                self._clock.on_move(self._wake.set)
                self._listens = True
            await self._turns(None)
            return
        scheduler = self._scheduler()
        scheduler.start()
        try:
            await self._turns(scheduler)
        finally:
            scheduler.shutdown(wait=False)
            await asyncio.sleep(0)  # its shutdown is a callback of the loop

    def _scheduler(self) -> Any:
        from apscheduler.schedulers.asyncio import AsyncIOScheduler  # what only sends need not load it

        scheduler = AsyncIOScheduler(
            timezone=dt.UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        scheduler.add_job(self._poke, "interval", seconds=EVERY, id="tick")
        if self._reconcile is not None:
            now = self._clock.now()
            scheduler.add_job(
                self._call_reconcile, "interval", seconds=RECONCILE_EVERY, id="reconcile", next_run_time=now
            )
        return scheduler

    async def _poke(self) -> None:
        self._wake.set()

    async def _turns(self, scheduler: Any) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            turn = asyncio.ensure_future(self._turn(scheduler))
            try:
                await asyncio.shield(turn)
            except asyncio.CancelledError:
                await turn
                raise

    async def _turn(self, scheduler: Any) -> None:
        """One look at the rows. What goes wrong is logged: the next look comes anyway."""
        try:
            await self.tick()
            if scheduler is not None:
                await self._set_moments(scheduler)
            else:
                await self._call_reconcile()
        except Exception:
            log.exception("tick-failed")

    async def _set_moments(self, scheduler: Any) -> None:
        """Give each schedule that is due soon a moment of its own; one that moved since is merely an idle look."""
        async with self._database.read() as session:
            soon = await service.due(session, self._clock.now() + AHEAD)
        for line in soon:
            scheduler.add_job(
                self._poke, "date", run_date=line.next_at, id=f"schedule/{line.id}", replace_existing=True
            )

    async def _call_reconcile(self) -> None:
        if self._reconcile is None:
            return
        try:
            await self._reconcile()
        except Exception:
            log.exception("reconcile-failed")

    def _say(self, firing: Firing) -> None:
        if firing.result is Result.TAKEN:
            return
        line = firing.schedule
        level = logging.INFO if firing.result is Result.FIRED else logging.WARNING
        fields = {"schedule": line.id, "circular": line.circular_id, "result": firing.result.value}
        log.log(level, "schedule-done", extra=fields)
        if self._told is not None:
            self._told(firing)

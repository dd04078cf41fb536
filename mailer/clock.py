"""Time as a thing that is handed in: a real clock, and one that is moved by hand (demonstration, rehearsal, tests)."""

import asyncio
import datetime as dt
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """What rooms may ask of time."""

    def now(self) -> dt.datetime:
        """The wall clock, aware, in UTC."""
        ...

    def running(self) -> float:
        """Seconds that never go back and that count suspended time too (CLOCK_BOOTTIME); only differences mean anything."""
        ...

    async def sleep_until(self, moment: dt.datetime) -> None:
        """Return once `now()` is at or past *moment*."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once so many seconds have run, whatever becomes of the wall clock meanwhile."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> dt.datetime:
        """The wall clock, aware, in UTC."""
        return dt.datetime.now(dt.UTC)

    def running(self) -> float:
        """Seconds since boot, suspended time included; where the kernel has no such clock, the monotonic one."""
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        return time.clock_gettime(boottime) if boottime is not None else time.monotonic()

    async def sleep_until(self, moment: dt.datetime) -> None:
        """Sleep in steps of at most a minute, so that a wall clock set anew is noticed."""
        while (left := (moment - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - the wall clock can be set anew; no event tells it
            await asyncio.sleep(min(left, 60.0))

    async def sleep(self, seconds: float) -> None:
        """Sleep by the event loop's clock, which is never set anew."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is moved; sleepers wake in the order of their times."""

    def __init__(self, start: dt.datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("the clock needs an aware time")
        self._now = start.astimezone(dt.UTC)
        self._running = 1000.0
        self._order = itertools.count()
        #: until a time of the wall clock, and until a time of the one that runs
        self._sleepers: list[tuple[dt.datetime, int, asyncio.Future[None]]] = []
        self._resting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> dt.datetime:
        """The time last set, in UTC."""
        return self._now

    def running(self) -> float:
        """Seconds that the clock was moved forward, plus a constant."""
        return self._running

    def on_move(self, listener: Callable[[], None]) -> None:
        """Have *listener* called after each move; a ticker fires what has become due."""
        self._listeners.append(listener)

    def advance(self, step: dt.timedelta) -> None:
        """Move forward by *step* and wake those whose time has come."""
        self.move_to(self._now + step)

    def move_to(self, moment: dt.datetime) -> None:
        """Move forward to *moment*; backwards is refused."""
        if moment < self._now:
            raise ValueError("this clock only goes forward")
        self._running += (moment - self._now).total_seconds()
        self._now = moment.astimezone(dt.UTC)
        self._wake_sleepers()
        while self._resting and self._resting[0][0] <= self._running:
            _wake(heapq.heappop(self._resting)[2])
        for listener in self._listeners:
            listener()

    def _wake_sleepers(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _wake(heapq.heappop(self._sleepers)[2])

    @property
    def next_wake(self) -> dt.datetime | None:
        """When the first of those who sleep wakes; None: nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():  # it was cancelled
            heapq.heappop(self._sleepers)
        while self._resting and self._resting[0][2].done():
            heapq.heappop(self._resting)
        times = [one[0] for one in self._sleepers[:1]]
        times += [self._now + dt.timedelta(seconds=one[0] - self._running) for one in self._resting[:1]]
        return min(times, default=None)

    async def sleep_until(self, moment: dt.datetime) -> None:
        """Wait until the clock is moved to or past *moment*."""
        if moment <= self._now:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (moment, next(self._order), future))
        await future

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved forward by so much."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._resting, (self._running + seconds, next(self._order), future))
        await future


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():  # it may have been cancelled
        future.set_result(None)

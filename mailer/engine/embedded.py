"""The engine of one machine: no queue. The rows already say what is unfinished, and each kind of work brings the query that finds it.

One process sends from a home, so there is no competition and no lease between consumers; a bell wakes the loop, and a slow poll finds
what other processes (a coordinator's `circular send`, a reply) have changed.
"""

import asyncio
import datetime as dt
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from sqlalchemy.ext.asyncio import AsyncSession

from mailer.clock import Clock
from mailer.database import after_commit
from mailer.errors import ChanceryError, DatabaseError
from mailer.wake import Call, DueSource, Handler, Standing

log = logging.getLogger(__name__)

#: Seconds between looks at rows that another process may have changed.
_POLL = 1.0
#: So many groups at the least are seen to wait for a place.
_GROUPS = 16
#: A call or a look that failed is left alone for this long; after this many failures in a row its error ends the work.
_PENANCE, _FAILURES = 5.0, 3


class Embedded:
    """Runs handlers for what is due, in this process."""

    def __init__(self, sources: Sequence[DueSource], clock: Clock, *, poll: float = _POLL) -> None:
        self._sources, self._clock, self._poll = sources, clock, poll
        self._bell = asyncio.Event()
        #: what runs: key -> group
        self._busy: dict[str, str] = {}
        #: how many places others wait for, and the keys whose work makes room for them
        self._awaited = 0
        #: group -> which turn was its last
        self._served: dict[str, int] = {}
        self._turn = 0
        self._yielding: set[str] = set()
        self._failed: dict[str, int] = {}
        #: looks at the rows that failed, in a row
        self._blind = 0
        self._stopped = asyncio.Event()
        self._error: BaseException | None = None

    def ring(self) -> None:
        """Have the loop look again at once."""
        self._bell.set()

    def stop(self) -> None:
        """Start nothing more; `work` returns when what runs has ended."""
        self._stopped.set()
        self._bell.set()

    async def hand_on(self, calls: Sequence[Call], transaction: AsyncSession) -> None:
        """Ring once *transaction* has committed: the rows say the rest."""
        if calls:
            after_commit(transaction, self.ring)

    async def work(
        self,
        handlers: Mapping[str, Handler],
        slots: int,
        *,
        until: Callable[[dt.datetime | None], bool] | None = None,
    ) -> None:
        """Run handlers, at most *slots* at once, until stopped.

        Args:
            handlers: by kind of call.
            slots: how many run at once.
            until: asked whenever nothing is due and nothing runs, with the time at which something falls due next; True ends the work.

        Raises:
            Exception: what a handler raised, if it did so three times in a row for the same call.
            DatabaseError: the rows could not be looked at, three times in a row.
        """
        running: set[asyncio.Task[None]] = set()
        try:
            while not self._stopped.is_set() and self._error is None:
                self._bell.clear()  # before looking, so that no ring is lost
                try:
                    calls = await self._fair(slots - len(running), slots)
                    next_due = None if calls else await self._next_due()
                    self._blind = 0
                except DatabaseError as error:
                    await self._blinded(error)
                    continue
                for call in calls:
                    self._busy[call.key] = call.group
                    task = asyncio.create_task(self._one(call, handlers))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    task.add_done_callback(lambda _done: self._bell.set())
                if calls:
                    continue
                if not running and until is not None and until(next_due) and not self._bell.is_set():
                    return
                await self._rest(next_due)
        finally:
            if running:
                await asyncio.wait(running)
        if self._error is not None:
            raise self._error

    async def _blinded(self, error: DatabaseError) -> None:
        """The rows can't be looked at: wait a little, or end the work."""
        self._blind += 1
        log.warning("look-failed", extra={"count": self._blind, "reason": str(error)})
        if self._blind >= _FAILURES:
            self._error = error
        else:
            await _wait(self._stopped, _PENANCE)

    def crowded(self, key: str) -> bool:
        """Whether the work of *key* should end soon and be taken up again later: another group waits for a place.

        Of a group that has several places, one after the other makes room; where each has but one, they take turns.
        """
        if key in self._yielding:
            return True
        groups = Counter(group for each, group in self._busy.items() if each not in self._yielding)
        if self._awaited <= len(self._yielding) or groups[self._busy.get(key, "")] < max(groups.values(), default=1):
            return False
        self._yielding.add(key)
        return True

    async def _fair(self, room: int, slots: int) -> list[Call]:
        """What is due and has a place: groups with the fewest places first, then who had none for longest. Note who waits."""
        due = await self._due(slots + _GROUPS)
        places = Counter(self._busy.values())
        chosen: list[Call] = []
        while due and len(chosen) < room:
            call = min(due, key=lambda one: (-one.urgency, places[one.group], self._served.get(one.group, 0)))
            due.remove(call)
            chosen.append(call)
            places[call.group] += 1
            self._turn += 1
            self._served[call.group] = self._turn
        self._awaited = len({call.group for call in due if not places[call.group]})
        return chosen

    async def standing(self) -> Standing:
        """What waits and runs now."""
        waiting = await self._due(10_000)
        return Standing(len(waiting), len(self._busy), await self._next_due())

    async def _due(self, limit: int) -> list[Call]:
        now = self._clock.now()
        busy = frozenset(self._busy)  # as it was before the look: what ends meanwhile rings
        calls = [call for source in self._sources for call in await source.due(now, limit, busy)]
        return sorted(calls, key=lambda call: -call.urgency)[:limit]

    async def _next_due(self) -> dt.datetime | None:
        times = [await source.next_due() for source in self._sources]
        return min((time for time in times if time is not None), default=None)

    async def _rest(self, next_due: dt.datetime | None) -> None:
        """Wait for the bell, for the next thing to fall due, or for the poll."""
        sleeper = None
        if next_due is not None and next_due > self._clock.now():
            sleeper = asyncio.create_task(self._clock.sleep_until(next_due))
            sleeper.add_done_callback(lambda _done: self._bell.set())
        try:
            await _wait(self._bell, self._poll)
        finally:
            if sleeper is not None:
                sleeper.cancel()
                with suppress(asyncio.CancelledError):
                    await sleeper

    async def _one(self, call: Call, handlers: Mapping[str, Handler]) -> None:
        try:
            await handlers[call.kind](call)
        except (
            Exception
        ) as error:  # a handler's failure must not stop the others at once; the third in a row ends the work
            count = self._failed[call.key] = self._failed.get(call.key, 0) + 1
            told = isinstance(error, ChanceryError)  # it says what is wrong by itself: a full disk needs no traceback
            fields = {"call": call.key, "count": count, "reason": str(error)}
            log.exception("call-failed", exc_info=None if told else error, extra=fields)
            if count >= _FAILURES:
                self._error = error
            else:
                await asyncio.sleep(_PENANCE)
        else:
            self._failed.pop(call.key, None)
        finally:
            self._busy.pop(call.key, None)
            self._yielding.discard(call.key)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()

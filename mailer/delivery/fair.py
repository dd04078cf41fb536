"""Fair between circulars: a small one never waits behind a large one, neither for tokens nor for a connection."""

import asyncio
from collections import deque
from dataclasses import dataclass

from mailer.clock import Clock
from mailer.delivery.tokens import GRAIN, Ask, Tokens

#: Seconds for which a share is kept for a circular that does not come for it (it was paused, or has no letter left).
_GRACE = 5.0


@dataclass(slots=True)
class _Share:
    """What waits for a circular: *credit* tokens, of the *wants* that it had, until *until* of the running clock."""

    credit: float = 0.0
    wants: int = 0
    until: float = 0.0


class Shares:
    """Divides the tokens of one key among the circulars that wait for them: each gets the same part of what comes in."""

    def __init__(self, clock: Clock, tokens: Tokens, key: str) -> None:
        self._clock, self._tokens, self._key = clock, tokens, key
        self._waiting: dict[int, _Share] = {}

    async def take(self, circular: int, wanted: int, per_minute: float) -> tuple[int, float]:
        """Take up to *wanted* tokens for a circular.

        Returns:
            Tokens, and in how many seconds more are worth asking for: the next one, or a second's worth where they come faster.
        """
        await self._forget_absent(per_minute)
        own = self._waiting.setdefault(circular, _Share())
        own.wants, own.until = wanted, self._clock.running() + _GRACE
        missing = {one: max(0.0, share.wants - share.credit) for one, share in self._waiting.items()}
        ask = Ask(int(sum(missing.values()) + 1 - GRAIN), per_minute)
        got = (await self._tokens.take({self._key: ask}))[self._key]
        self._divide(got.tokens)
        given = min(wanted, int(own.credit + GRAIN))
        own.credit = max(0.0, own.credit - given)
        if given == wanted:
            await self._leave(circular, per_minute)
            return given, 0.0
        own.wants = wanted - given
        wait = self._wait(own, got.left, per_minute)
        own.until = self._clock.running() + wait + _GRACE
        self._waiting[circular] = own
        return given, wait

    def _divide(self, fresh: float) -> None:
        """New tokens in equal parts to those that wait, to none more than it wants."""
        hungry = [share for share in self._waiting.values() if share.wants - share.credit > GRAIN]
        while fresh > GRAIN and hungry:
            part = min(fresh / len(hungry), *(share.wants - share.credit for share in hungry))
            for share in hungry:
                share.credit += part
            fresh -= part * len(hungry)
            hungry = [share for share in hungry if share.wants - share.credit > GRAIN]

    def _wait(self, own: _Share, left: float, per_minute: float) -> float:
        unit = max(1.0, min(float(own.wants), per_minute / 60))
        others = sum(1 for share in self._waiting.values() if share is not own and share.wants - share.credit > GRAIN)
        missing = max(0.0, (unit - own.credit) * (1 + others) - left)
        return missing * 60 / per_minute

    async def give_back(self, circular: int, count: int, per_minute: float) -> None:
        """Return tokens for which the circular had no letter: it waits for none."""
        if count > 0:
            await self._leave(circular, per_minute, count)

    async def _leave(self, circular: int, per_minute: float, count: float = 0.0) -> None:
        share = self._waiting.pop(circular, None)
        back = count + (share.credit if share else 0.0)
        if back > GRAIN:
            await self._tokens.give_back(self._key, back, per_minute)

    async def _forget_absent(self, per_minute: float) -> None:
        now = self._clock.running()
        for absent in [one for one, share in self._waiting.items() if share.until < now]:
            await self._leave(absent, per_minute)


class Turnstile:
    """Lets so many letters at once to a transport; circulars take turns at it."""

    def __init__(self) -> None:
        self._inside = 0
        #: circular -> its letters that wait; the first circular is next
        self._queues: dict[int, deque[asyncio.Future[None]]] = {}

    async def enter(self, circular: int, most: int) -> None:
        """Wait for a place; *most* letters are inside at once."""
        if self._inside < most and not self._queues:
            self._inside += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(circular, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to the next circular's next letter."""
        while self._queues:
            circular = next(iter(self._queues))
            queue = self._queues.pop(circular)
            place = queue.popleft()
            if queue:
                self._queues[circular] = queue  # behind the others
            if not place.done():
                place.set_result(None)
                return
        self._inside -= 1

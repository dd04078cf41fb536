"""Fair between circulars: a small one never waits behind a large one, neither for tokens nor for a connection."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailer.clock import Clock
from mailer.delivery.tokens import GRAIN, Ask, Got, Tokens

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
        self._clock, self._tokens, self.key = clock, tokens, key
        self._waiting: dict[int, _Share] = {}
        #: tokens of circulars that came no more for them
        self._unclaimed = 0.0

    async def take(self, circular: int, wanted: int, per_minute: float) -> tuple[int, float]:
        """Take up to *wanted* tokens for a circular.

        Returns:
            Tokens, and in how many seconds more are worth asking for: the next one, or a second's worth where they come faster.
        """
        (found,) = await take_together(self._tokens, circular, [(self, wanted, per_minute)])
        return found

    def ask(self, circular: int, wanted: int, per_minute: float) -> Ask:
        """What to ask the bucket for: what all that wait are short of, with a circular that wants so many."""
        now = self._clock.running()
        self._unclaimed += sum(
            self.leave(one) for one in [one for one, each in self._waiting.items() if each.until < now]
        )
        own = self._waiting.setdefault(circular, _Share())
        own.wants, own.until = wanted, now + _GRACE
        missing = sum(max(0.0, share.wants - share.credit) for share in self._waiting.values()) - self._unclaimed
        return Ask(int(max(0.0, missing) + 1 - GRAIN), per_minute)

    def divide(self, circular: int, wanted: int, got: Got, per_minute: float) -> tuple[int, float, float]:
        """Divide what the bucket gave, and what circulars have left that came no more, among those that wait.

        Returns:
            The circular's tokens, in how many seconds more are worth asking for, and what goes back to the bucket.
        """
        own = self._waiting.setdefault(circular, _Share(wants=wanted))  # another batch of it may have left meanwhile
        back = self._divide(got.tokens + self._unclaimed)
        self._unclaimed = 0.0
        given = min(wanted, int(own.credit + GRAIN))
        own.credit = max(0.0, own.credit - given)
        if given == wanted:
            return given, 0.0, back + self.leave(circular)
        own.wants = wanted - given
        wait = self._wait(own, got.left, per_minute)
        own.until = self._clock.running() + wait + _GRACE
        return given, wait, back

    def _divide(self, fresh: float) -> float:
        """Tokens in equal parts to those that wait, to none more than it wants; what is left over."""
        hungry = [share for share in self._waiting.values() if share.wants - share.credit > GRAIN]
        while fresh > GRAIN and hungry:
            part = min(fresh / len(hungry), *(share.wants - share.credit for share in hungry))
            for share in hungry:
                share.credit += part
            fresh -= part * len(hungry)
            hungry = [share for share in hungry if share.wants - share.credit > GRAIN]
        return max(0.0, fresh)

    def _wait(self, own: _Share, left: float, per_minute: float) -> float:
        unit = max(1.0, min(float(own.wants), per_minute / 60))
        others = sum(1 for share in self._waiting.values() if share is not own and share.wants - share.credit > GRAIN)
        missing = max(0.0, (unit - own.credit) * (1 + others) - left)
        return missing * 60 / per_minute

    async def give_back(self, circular: int, count: int, per_minute: float) -> None:
        """Return tokens for which the circular had no letter: it waits for none."""
        if count > 0 and (back := count + self.leave(circular)) > GRAIN:
            await self._tokens.give_back({self.key: (back, per_minute)})

    def leave(self, circular: int) -> float:
        """The circular waits for nothing; what was kept for it, which goes back to the bucket."""
        share = self._waiting.pop(circular, None)
        return share.credit if share else 0.0


async def take_together(
    tokens: Tokens, circular: int, wishes: Sequence[tuple[Shares, int, float]]
) -> list[tuple[int, float]]:
    """Take of several keys at once, by one question to the buckets; for each, what `Shares.take` gives.

    Args:
        tokens: the buckets.
        circular: for which.
        wishes: shares of a key, how many tokens, and how many a minute there are.
    """
    got = await tokens.take(
        {shares.key: shares.ask(circular, wanted, per_minute) for shares, wanted, per_minute in wishes}
    )
    found, back = [], {}
    for shares, wanted, per_minute in wishes:
        given, wait, rest = shares.divide(circular, wanted, got[shares.key], per_minute)
        found.append((given, wait))
        if rest > GRAIN:
            back[shares.key] = (rest, per_minute)
    if back:
        await tokens.give_back(back)
    return found


class Turnstile:
    """Lets so many letters at once to a transport; circulars take turns at it."""

    def __init__(self) -> None:
        self._inside = 0
        #: circular -> its letters that wait, each as what to call; the first circular is next
        self._queues: dict[int, deque[Callable[[], None]]] = {}

    def enter(self, circular: int, most: int, go: Callable[[], None]) -> None:
        """Call *go* once there is a place, now or as others leave; *most* letters are inside at once."""
        if self._inside < most and not self._queues:
            self._inside += 1
            go()
        else:
            self._queues.setdefault(circular, deque()).append(go)

    def leave(self) -> None:
        """Give the place to the next circular's next letter."""
        if not self._queues:
            self._inside -= 1
            return
        circular = next(iter(self._queues))
        queue = self._queues[circular]
        go = queue.popleft()
        if not queue:
            del self._queues[circular]
        elif len(self._queues) > 1:
            self._queues[circular] = self._queues.pop(circular)  # behind the others
        go()

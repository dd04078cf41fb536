"""The port through which a pace asks for tokens, one per letter, and the buckets of one process.

A key is what is limited: `relay:main`, `domain:example.org`, `circular:7`. Tokens are asked for before letters are claimed; those for
which there was no letter are given back. `token_rows` keeps the same buckets as rows, for the processes that share a PostgreSQL.
"""

from collections.abc import Mapping
from typing import Protocol

from lists.records import record
from mailer.clock import Clock

#: Tokens that are missing to this little are there: a clock has microseconds.
GRAIN = 1e-6


@record
class Ask:
    """How many tokens are wanted, and how fast they come: *per_minute*, more than 0."""

    wanted: int
    per_minute: float

    @property
    def most(self) -> float:
        """What a bucket holds: a tenth of a minute's letters, so that letters are spread over the minute."""
        return max(1.0, self.per_minute / 10)


@record
class Got:
    """How many tokens were given, and what is left in the bucket: less than one where more were wanted."""

    tokens: int
    left: float


class Tokens(Protocol):
    """Buckets that fill by the clock."""

    async def take(self, asks: Mapping[str, Ask]) -> Mapping[str, Got]:
        """Take up to as many tokens as are wanted of each key, all at once."""
        ...

    async def give_back(self, counts: Mapping[str, tuple[float, float]]) -> None:
        """Return tokens for which there was no letter: by key, how many, and how many a minute its bucket gets."""
        ...


def fill(tokens: float, seconds: float, ask: Ask) -> float:
    """What a bucket holds after some *seconds*; a clock that went back adds nothing."""
    return min(ask.most, tokens + max(0.0, seconds) * ask.per_minute / 60)


def draw(tokens: float, ask: Ask) -> Got:
    """Whole tokens out of a bucket."""
    given = max(0, min(ask.wanted, int(tokens + GRAIN)))
    return Got(given, max(0.0, tokens - given))


class Buckets:
    """The buckets of one process, full at first; implements `Tokens` by the clock that counts suspended time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: key -> tokens, and when that was so
        self._held: dict[str, tuple[float, float]] = {}

    async def take(self, asks: Mapping[str, Ask]) -> Mapping[str, Got]:
        """As `Tokens` says; never waits."""
        now = self._clock.running()
        found = {}
        for key, ask in asks.items():
            tokens, since = self._held.get(key, (ask.most, now))
            found[key] = draw(fill(tokens, now - since, ask), ask)
            self._held[key] = (found[key].left, now)
        return found

    async def give_back(self, counts: Mapping[str, tuple[float, float]]) -> None:
        """As `Tokens` says."""
        for key, (count, per_minute) in counts.items():
            if key in self._held:
                tokens, since = self._held[key]
                self._held[key] = (min(Ask(0, per_minute).most, tokens + count), since)

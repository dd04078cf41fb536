"""How fast letters may go to a relay, and whether they may go at all. Tokens are asked for before letters are claimed."""

import datetime as dt

from lists.records import record
from mailer.clock import Clock
from mailer.delivery.fair import Shares
from mailer.delivery.tokens import Buckets, Tokens

_FIRST_WAIT = dt.timedelta(seconds=2)
_LONGEST_WAIT = dt.timedelta(minutes=5)
#: A relay that has been closed for this long is closed for long: a letter that it had put off may go by another.
_LONG = dt.timedelta(minutes=30)
#: Between looks at a relay whose provider says that our day is over. Providers count any 24 hours (Microsoft 365, Google) or calendar days:
#: either way some of the limit is free again at an hour that only they know.
_DAY_LOOK = dt.timedelta(hours=1)
#: Not a moment too early, and never in no time at all.
_TICK = dt.timedelta(microseconds=1)


@record
class Closed:
    """Why nothing may go to a relay now.

    Attributes:
        why: in a person's words.
        until: when it is tried again; None: a person has to act first.
        since: when the trouble began.
    """

    why: str
    until: dt.datetime | None
    since: dt.datetime


class Pace:
    """The pace of one relay in this process: tokens, shared fairly between circulars, and a circuit breaker with back-off."""

    def __init__(
        self, clock: Clock, *, per_minute: float, tokens: Tokens | None = None, key: str = "relay:main"
    ) -> None:
        """Make a pace; *per_minute* 0: no limit. *tokens*: where its bucket *key* is kept; default: in this process."""
        self._clock = clock
        self._per_minute = per_minute
        self._shares = Shares(clock, tokens or Buckets(clock), key)
        #: circular -> when more tokens are worth asking for
        self._next: dict[int, dt.datetime] = {}
        self._closed: Closed | None = None
        self._failures = 0
        #: it is closed since its provider takes no more of us in these 24 hours
        self._day_over = False
        #: letters that the relay took or judged since this process started
        self.passed = 0

    async def take(self, wanted: int, circular: int = 0) -> int:
        """Take up to *wanted* tokens; 0 while the relay is closed or the bucket is empty."""
        if self.closed is not None or wanted <= 0:
            return 0
        if self._day_over and self._closed is not None:
            wanted = 1  # one letter asks whether its provider takes us again
        if not self._per_minute:
            return wanted
        got, wait = await self._shares.take(circular, wanted, self._per_minute)
        self._next[circular] = self._clock.now() + dt.timedelta(seconds=wait) + _TICK
        return got

    async def give_back(self, count: int, circular: int = 0) -> None:
        """Return tokens for which there was no letter."""
        if self._per_minute:
            await self._shares.give_back(circular, count, self._per_minute)
            if count > 0:
                self._next.pop(circular, None)

    def next_token(self, circular: int = 0) -> dt.datetime:
        """When the next letter of a circular may go, as far as is known now."""
        now = self._clock.now()
        if self._closed is not None and (self._closed.until is None or self._closed.until > now):
            return self._closed.until or now + _LONGEST_WAIT
        return max(now, self._next.get(circular, now))

    @property
    def closed(self) -> Closed | None:
        """Why the relay is closed now; None: it is open, or worth one more try."""
        if self._closed and self._closed.until is not None and self._clock.now() >= self._closed.until:
            return None
        return self._closed

    @property
    def held(self) -> bool:
        """Whether it waits for a person."""
        return self._closed is not None and self._closed.until is None

    @property
    def refuses(self) -> bool:
        """Whether any letter would meet the same no now: it waits for a person, or its provider's day is over."""
        return self.closed is not None and (self.held or self._day_over)

    @property
    def long_closed(self) -> bool:
        """Whether what it has put off may go by another: it waits for a person, or has been in trouble for long."""
        return self._closed is not None and (self.held or self._clock.now() - self._closed.since >= _LONG)

    @property
    def trouble(self) -> Closed | None:
        """The last reason, even when its time is over and nothing has succeeded since."""
        return self._closed

    def went_well(self) -> None:
        """The relay answered about a letter: what was wrong with it is over."""
        self.passed += 1
        # what a person has to mend is not mended by a letter, nor is a day over sooner for one that was on the way
        if not self.held and not (self._day_over and self.closed is not None):
            self._failures, self._closed = 0, None

    def reopen(self) -> None:
        """A person has mended it, or says so: try again."""
        self._failures, self._closed = 0, None

    def failed(self, why: str, *, hold: bool = False, day: bool = False) -> None:
        """The relay itself failed.

        Args:
            why: in a person's words.
            hold: trying again by ourselves would be wrong (a refused password, an untrusted certificate).
            day: its provider takes no more of us for some hours.
        """
        now = self._clock.now()
        since = self._closed.since if self._closed else now
        if self._closed is not None and (self._closed.until is None or now < self._closed.until):
            if self._closed.until is not None and (hold or day):
                self._closed = Closed(why, None if hold else now + _DAY_LOOK, since)
                self._day_over = day
            return  # the other connections fell with the first: one failure, not ten
        self._failures += 1
        wait = _DAY_LOOK if day else min(_FIRST_WAIT * 2 ** min(self._failures - 1, 16), _LONGEST_WAIT)
        self._closed = Closed(why, None if hold else now + wait, since)
        self._day_over = day

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

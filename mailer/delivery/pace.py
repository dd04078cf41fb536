"""How fast letters may go to a relay, and whether they may go at all. Tokens are asked for before letters are claimed."""

import datetime as dt
from dataclasses import dataclass

from mailer.clock import Clock

_FIRST_WAIT = dt.timedelta(seconds=2)
_LONGEST_WAIT = dt.timedelta(minutes=5)
#: Tokens that are missing to this little are there: a clock has microseconds.
_GRAIN = 1e-6


@dataclass(frozen=True, slots=True)
class Closed:
    """Why nothing may go to a relay now.

    Attributes:
        why: in a person's words.
        until: when it is tried again; None: a person has to act first.
    """

    why: str
    until: dt.datetime | None


class Pace:
    """The pace of one relay in this process: a bucket of tokens, and a circuit breaker with back-off.

    Letters sent one after the other are spread evenly over the minute; the bucket holds at most a tenth of a minute's letters.
    """

    def __init__(self, clock: Clock, *, per_minute: int) -> None:
        """Make a pace; *per_minute* 0: no limit."""
        self._clock = clock
        self._per_second = per_minute / 60
        self._most = max(1.0, per_minute / 10)
        self._tokens = self._most
        self._filled = clock.running()
        self._closed: Closed | None = None
        self._failures = 0
        #: letters that the relay took or judged since this process started
        self.passed = 0

    def take(self, wanted: int) -> int:
        """Take up to *wanted* tokens; 0 while the relay is closed or the bucket is empty."""
        if self.closed is not None or wanted <= 0:
            return 0
        if not self._per_second:
            return wanted
        now = self._clock.running()
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self._per_second)
        self._filled = now
        got = min(wanted, int(self._tokens + _GRAIN))
        self._tokens -= got
        return got

    def give_back(self, count: int) -> None:
        """Return tokens for which there was no letter."""
        if self._per_second:
            self._tokens = min(self._most, self._tokens + count)

    def next_token(self) -> dt.datetime:
        """When the next letter may go, as far as is known now."""
        now = self._clock.now()
        if self._closed is not None and (self._closed.until is None or self._closed.until > now):
            return self._closed.until or now + _LONGEST_WAIT
        missing = max(0.0, 1.0 - self._tokens)
        if not missing or not self._per_second:
            return now
        return now + dt.timedelta(seconds=missing / self._per_second, microseconds=1)  # not a moment too early

    @property
    def closed(self) -> Closed | None:
        """Why the relay is closed now; None: it is open, or worth one more try."""
        if self._closed and self._closed.until is not None and self._clock.now() >= self._closed.until:
            return None
        return self._closed

    @property
    def trouble(self) -> Closed | None:
        """The last reason, even when its time is over and nothing has succeeded since."""
        return self._closed

    def went_well(self) -> None:
        """The relay answered about a letter: what was wrong with it is over."""
        self.passed += 1
        if (
            self._closed is None or self._closed.until is not None
        ):  # what a person has to mend is not mended by a letter
            self._failures, self._closed = 0, None

    def reopen(self) -> None:
        """A person has mended it, or says so: try again."""
        self._failures, self._closed = 0, None

    def failed(self, why: str, *, hold: bool) -> None:
        """The relay itself failed; *hold*: trying again by ourselves would be wrong (a refused password, an untrusted certificate)."""
        now = self._clock.now()
        if self._closed is not None and (self._closed.until is None or now < self._closed.until):
            if hold and self._closed.until is not None:
                self._closed = Closed(why, None)
            return  # the other connections fell with the first: one failure, not ten
        self._failures += 1
        wait = min(_FIRST_WAIT * 2 ** min(self._failures - 1, 16), _LONGEST_WAIT)
        self._closed = Closed(why, None if hold else now + wait)

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

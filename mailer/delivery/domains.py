"""How fast letters go to one domain of recipients: limits of the settings, and what a domain itself asks for.

- A domain that answers 4.7.x several times, and takes no letter in between, gets a slower pace: one letter at a time, and a few a
  minute, half as many each time that it asks again. Letters that it put off together count as one asking. Others go on.
  (One such answer alone, and each to a further try, may be a greylist's, which looks at each letter apart: that letter waits for its own
  next try.)
- It recovers step by step: so many letters that pass make one step. One that nobody has written to for a while is forgotten.
- The slower pace is this process's own, as are places on the way; the tokens are those of all processes (`tokens`).
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mailer.clock import Clock
from mailer.delivery.fair import Shares, take_together
from mailer.delivery.tokens import Tokens
from mailer.settings import DomainPace, Pace

#: Letters a minute after the first asking; halved at each further one, as often as `_STEPS` at the most.
_SLOWED, _STEPS = 60.0, 6
#: So many answers of 4.7.x in a row are an asking.
_STREAK = 3
#: Letters that pass make one step back.
_ENOUGH = 3
#: A slowed domain is forgotten after this.
_FORGOTTEN = dt.timedelta(hours=2)


def domain_of(address: str) -> str:
    """What stands after the last @, in lower case."""
    return address.rpartition("@")[2].lower()


@dataclass(slots=True)
class Slowed:
    """A domain that asked for a slower pace.

    Attributes:
        step: how often it has asked.
        until: asking again before this counts as one with the last.
        why: its words.
        last: when it last said anything.
        passed: letters that passed since the last step.
    """

    step: int
    until: dt.datetime
    why: str
    last: dt.datetime
    passed: int = 0


class Domains:
    """The pace of all domains of recipients in this process."""

    def __init__(self, clock: Clock, settings: Pace, tokens: Tokens) -> None:
        self._clock, self._settings, self._tokens = clock, settings, tokens
        self._own = {domain.lower(): limits for domain, limits in settings.domains.items()}
        self._shares: dict[str, Shares] = {}
        self._slowed: dict[str, Slowed] = {}
        #: domain -> its answers of 4.7.x since a letter passed
        self._streaks: Counter[str] = Counter()
        #: domain -> its letters on the way
        self._flying: Counter[str] = Counter()
        #: (domain, circular) -> when more tokens are worth asking for
        self._next: dict[tuple[str, int], dt.datetime] = {}

    # --- limits ---------------------------------------------------------------------------------------------------

    @property
    def any_limit(self) -> bool:
        """Whether letters have to be looked at one by one."""
        self._forget()
        every = (self._settings, *self._own.values())
        return bool(self._slowed) or any(one.per_minute or one.connections for one in every)

    def limits(self, domain: str) -> tuple[float, int]:
        """Letters a minute and letters at once; 0: no limit."""
        set_: DomainPace = self._own.get(domain, self._settings)
        slowed = self._slowed.get(domain)
        if slowed is None:
            return set_.per_minute, set_.connections
        slow = _SLOWED / 2 ** (slowed.step - 1)
        return min(slow, set_.per_minute or slow), 1

    def slower(self, domain: str, why: str, *, first: bool = True) -> None:
        """The domain answered 4.7.x; *first*: to the first try of a letter."""
        now = self._clock.now()
        slowed = self._slowed.get(domain)
        self._streaks[domain] += first
        if slowed is None and self._streaks[domain] < _STREAK:
            return
        if slowed is not None and now < slowed.until:
            slowed.why, slowed.passed = why, 0
            return  # it was asked before it knew that we have understood
        step = min(slowed.step + 1, _STEPS) if slowed else 1
        made = self._slowed[domain] = Slowed(step, now, why, now)
        made.until = now + self.interval(domain)

    def interval(self, domain: str) -> dt.timedelta:
        """The time between two letters at the domain's pace."""
        per_minute, _ = self.limits(domain)
        return dt.timedelta(seconds=60 / per_minute) if per_minute else dt.timedelta()

    def went_well(self, domain: str) -> None:
        """A letter to the domain passed."""
        self._streaks.pop(domain, None)
        slowed = self._slowed.get(domain)
        if slowed is None:
            return
        slowed.passed, slowed.last = slowed.passed + 1, self._clock.now()
        if slowed.passed >= _ENOUGH:
            slowed.step, slowed.passed = slowed.step - 1, 0
            if not slowed.step:
                del self._slowed[domain]

    def _forget(self) -> None:
        now = self._clock.now()
        for domain in [one for one, slowed in self._slowed.items() if now - slowed.last > _FORGOTTEN]:
            del self._slowed[domain]

    @property
    def calm(self) -> bool:
        """No domain asks for a slower pace, or has lately."""
        return not (self._slowed or self._streaks)

    def rests(self, domain: str) -> dt.datetime | None:
        """Until when a domain that has just asked for a slower pace gets no letter, claimed or not; None: it may get one."""
        slowed = self._slowed.get(domain)
        return slowed.until if slowed is not None and slowed.until > self._clock.now() else None

    def slowed(self) -> Iterator[tuple[str, dt.datetime, str]]:
        """Domains that asked for a slower pace: name, when the next letter may go, and their words."""
        for domain, slowed in self._slowed.items():
            told = [at for (one, _), at in self._next.items() if one == domain]
            yield domain, max([slowed.until, *told]), slowed.why

    # --- letters --------------------------------------------------------------------------------------------------

    def left(self, domains: Iterable[str]) -> None:
        """A letter to these domains is on the way."""
        self._flying.update(set(domains))

    def landed(self, domains: Iterable[str]) -> None:
        """It is so no longer."""
        for domain in set(domains):
            self._flying[domain] -= 1
            if self._flying[domain] <= 0:
                del self._flying[domain]

    def barred(self, domain: str, circular: int) -> dt.datetime | None:
        """Until when a letter to the domain is not worth asking for, as far as is known without asking; None: ask."""
        now = self._clock.now()
        slowed = self._slowed.get(domain)
        known = [at for at in (self._next.get((domain, circular)), slowed and slowed.until) if at and at > now]
        return max(known, default=None)

    def busy(self, domain: str, more: int = 0) -> bool:
        """Whether letters on the way, and *more* that are to be, take up all that the domain may have at once."""
        _, connections = self.limits(domain)
        return bool(connections) and self._flying[domain] + more >= connections

    async def take(self, wanted: Mapping[str, int], circular: int) -> Counter[str]:
        """Take so many tokens of each domain, all at once; where there are fewer, `barred` says until when."""
        got = Counter(wanted)
        paced = {domain: per_minute for domain in wanted if (per_minute := self.limits(domain)[0])}
        for domain in wanted:
            self._next.pop((domain, circular), None)
        wishes = [(self._share(domain), wanted[domain], per_minute) for domain, per_minute in paced.items()]
        found = await take_together(self._tokens, circular, wishes) if wishes else []
        for domain, (given, wait) in zip(paced, found, strict=True):
            if given < wanted[domain]:
                got[domain] = given
                self._next[domain, circular] = self._clock.now() + dt.timedelta(seconds=wait, microseconds=1)
        return got

    async def give_back(self, counts: Mapping[str, int], circular: int) -> None:
        """Return tokens of letters that did not leave."""
        back: dict[str, tuple[float, float]] = {}
        for domain, count in counts.items():
            per_minute, _ = self.limits(domain)
            if per_minute and count > 0:
                self._next.pop((domain, circular), None)
                share = self._share(domain)
                back[share.key] = (count + share.leave(circular), per_minute)
        if back:
            await self._tokens.give_back(back)

    def _share(self, domain: str) -> Shares:
        if domain not in self._shares:
            self._shares[domain] = Shares(self._clock, self._tokens, f"domain:{domain}")
        return self._shares[domain]

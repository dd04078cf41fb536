"""Which letters a turn may claim, and by which relay each goes: tokens are taken first, of whatever limits them.

- Where one relay has no more than a pace, a turn claims as many letters as there are tokens, whichever are due first.
- Where relays may stand in for each other, a relay has a limit a day, or some domain has a pace, the letters that are due are looked
  at one by one. A letter of a paced domain is left for later, and others go; one whose domains differ waits for the slowest.
- What was taken and not used is given back.
"""

import datetime as dt
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from mailer.clock import Clock
from mailer.delivery.claims import Claim, Run
from mailer.delivery.daily import Days
from mailer.delivery.domains import Domains, domain_of
from mailer.delivery.due import NOTHING, Waiting, Wanted
from mailer.delivery.line import Line
from mailer.delivery.pace import Closed
from mailer.delivery.routes import Road, order
from mailer.delivery.tokens import Ask, Tokens
from mailer.errors import DatabaseError

log = logging.getLogger(__name__)

#: What waits for a relay that a person has to see to, while others work, is looked at again after this.
_LOOK_AGAIN = dt.timedelta(minutes=5)
#: Where letters on the way take up all that a domain may have at once, the next is looked for after this.
_SOON = dt.timedelta(seconds=1)
_DAY_FULL = "it was given as many addresses as its provider allows in a day"


@dataclass
class Allotment:
    """What one turn may claim, and what was taken for it.

    Attributes:
        until: nothing more may be claimed before, whatever is due; None: nothing was in the way.
        everywhere: `until` holds for all batches of the circular.
        held: why nothing can leave before a person acts.
        done: all that is due in the batch is claimed, or left for later.
    """

    wanted: Wanted = NOTHING
    until: dt.datetime | None = None
    everywhere: bool = False
    held: str | None = None
    done: bool = False
    spread: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    chosen: dict[int, Waiting] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)

    def wait(self, until: dt.datetime, *, everywhere: bool = False) -> None:
        """Something is in the way until then."""
        self.until = until if self.until is None else min(self.until, until)
        self.everywhere = everywhere


class Ways:
    """The relays of one circular, and what limits them."""

    def __init__(
        self,
        *,
        road: Road,
        line: Callable[[str], Line],
        domains: Domains,
        days: Days,
        tokens: Tokens,
        clock: Clock,
        patience: dt.timedelta,
        spread: float | None = None,
    ) -> None:
        """Make them; *line* gives a relay by its name, *spread* is the circular's own pace in letters a minute, where it has one.

        *patience*: for so long an address beyond ASCII waits for a closed relay that may take it.
        """
        self._patience = patience
        #: letters to addresses beyond ASCII that their relay may have: they go by no other
        self._bound: set[int] = set()
        self.road, self.domains = road, domains
        self._line, self._days, self._tokens, self._clock, self._spread = line, days, tokens, clock, spread
        #: relay -> recipients that were counted and to whom no content went
        self._unspent: Counter[str] = Counter()

    def line(self, name: str) -> Line:
        """One of the relays."""
        return self._line(name)

    @property
    def lines(self) -> list[Line]:
        """All of them, in order."""
        return [self._line(name) for name in self.road.names]

    @property
    def lanes(self) -> int:
        """How many letters those that are open can have on the way at once."""
        now = self._clock.now()
        every = [line.transport.lanes for line in self.lines if line.closed(now) is None]
        return sum(every) or self.line(self.road.own[0]).transport.lanes

    async def allot(
        self, run: Run, room: int, due: Callable[[], Awaitable[Sequence[Waiting]]], *, choose: bool = False
    ) -> Allotment:
        """Take tokens for at most *room* letters; *due* reads those that may be claimed, *choose*: these alone."""
        made = Allotment()
        try:
            await self._allot(made, run, room, due, choose=choose)
        except BaseException:
            self._let_go(made)  # nobody settles what was not made
            raise
        return made

    async def _allot(
        self, made: Allotment, run: Run, room: int, due: Callable[[], Awaitable[Sequence[Waiting]]], *, choose: bool
    ) -> None:
        if self.shut(made):
            return
        room = await self._spread_out(made, run.circular, room)
        if not room:
            return
        (only, *others) = self.lines
        if choose or others or only.per_day or self.domains.any_limit:
            await self._one_by_one(made, run, room, await due())
            return
        got = await only.pace.take(room, run.circular)
        made.tokens[only.name] = got
        made.wanted = Wanted(got, only.name)
        if not got:
            made.wait(only.pace.next_token(run.circular), everywhere=True)

    def shut(self, made: Allotment) -> bool:
        """Whether every relay is closed; then *made* says until when, or why a person has to act first."""
        now = self._clock.now()
        closed = [line.closed(now) for line in self.lines]
        whys = [one for one in closed if one is not None]
        if len(whys) < len(closed):
            return False
        times = [one.until for one in whys if one.until is not None]
        made.wait(min(times, default=now + _LOOK_AGAIN), everywhere=True)
        made.held = None if times else "; ".join(dict.fromkeys(one.why for one in whys))
        return True

    def after_failure(self, claim: Claim) -> dt.datetime | None:
        """When a letter that its relay has not taken, through the relay's own fault, is due again; None: at once, by another."""
        now = self._clock.now()
        names = self.road.relays(domain_of(claim.targets[0].address))
        if any(self.line(name).closed(now) is None for name in names if name != claim.relay):
            return None
        return self.line(claim.relay).pace.next_token()

    def elsewhere(self, claim: Claim) -> bool:
        """Whether another relay of its route may take a letter whose addresses beyond ASCII its own can't be told."""
        now = self._clock.now()
        self.line(claim.relay).takes_no_utf8(now)
        if claim.letter in self._bound:
            return False
        narrow, target = self._narrow(now), claim.targets[0]
        others = [self.line(name) for name in self.road.relays(domain_of(target.address)) if name not in narrow]
        waits = bool(others) and now - target.first_at < self._patience
        return waits or any(line.closed(now) is None for line in others)

    def _narrow(self, now: dt.datetime) -> list[str]:
        """Relays that take no addresses beyond ASCII, as far as is known."""
        return [line.name for line in self.lines if line.narrow is not None and now < line.narrow]

    async def _spread_out(self, made: Allotment, circular: int, room: int) -> int:
        """The circular's own pace."""
        if self._spread is None:
            return room
        key = f"circular:{circular}"
        got = (await self._tokens.take({key: Ask(room, self._spread)}))[key]
        made.spread = got.tokens
        if not got.tokens:
            wait = dt.timedelta(minutes=(1 - got.left) / self._spread, microseconds=1)
            made.wait(self._clock.now() + wait, everywhere=True)
        return got.tokens

    async def _one_by_one(self, made: Allotment, run: Run, room: int, due: Sequence[Waiting]) -> None:
        later: dict[int, dt.datetime] = {}
        planned = list(self._by_relay(made, run.circular, due, later))
        for name, count in Counter(name for _, name in planned).items():
            pace = self.line(name).pace
            made.tokens[name] = await pace.take(min(room, count), run.circular)
            if made.tokens[name] < min(room, count):
                made.wait(pace.next_token(run.circular), everywhere=len(self.road.names) == 1)
        passed_over = made.until is not None
        letters, waiting = await self._choose(made, run.circular, room, planned, later)
        await self._count(made, letters)
        made.wanted = Wanted(len(letters), letters=letters, later=later)
        made.done = not (passed_over or waiting)

    async def _choose(
        self,
        made: Allotment,
        circular: int,
        room: int,
        planned: Sequence[tuple[Waiting, str]],
        later: dict[int, dt.datetime],
    ) -> tuple[dict[int, str], bool]:
        """The letters for which there are tokens, with their relays, and whether others have to be looked at again.

        The domains' tokens are asked for all at once. Where that leaves places free, those that come behind are looked at.
        """
        letters: dict[int, str] = {}
        left = Counter(made.tokens)
        rest, busy = list(planned), False
        while rest and len(letters) < room:
            picked, rest, full = self._pick(rest, room - len(letters), left, circular, later)
            busy |= full
            if not picked:
                break
            every = [(letter, name, self._domains(letter)) for letter, name in picked]
            got = await self.domains.take(Counter(one for _, _, domains in every for one in domains), circular)
            for letter, name, domains in every:
                if all(got[one] > 0 for one in domains):
                    got.subtract(domains)
                    self.domains.left(domains)  # a place among the letters on the way is its own at once
                    left[name] -= 1
                    letters[letter.letter] = name
                    made.chosen[letter.letter] = letter
                elif barred := self._barred(letter, circular):
                    later[letter.letter] = barred
                else:
                    busy = True
            await self.domains.give_back(got, circular)
        if busy:
            made.wait(self._clock.now() + _SOON)
        return letters, busy or bool(rest)

    def _pick(
        self,
        planned: Sequence[tuple[Waiting, str]],
        room: int,
        left: Counter[str],
        circular: int,
        later: dict[int, dt.datetime],
    ) -> tuple[list[tuple[Waiting, str]], list[tuple[Waiting, str]], bool]:
        """The first letters that may leave if their domains have tokens; those behind them; and whether a domain was busy."""
        picked: list[tuple[Waiting, str]] = []
        rest: list[tuple[Waiting, str]] = []
        names, flying, busy = Counter(left), Counter[str](), False
        for letter, name in planned:
            domains = self._domains(letter)
            if len(picked) == room or names[name] <= 0:
                rest.append((letter, name))
            elif barred := self._barred(letter, circular):
                later[letter.letter] = barred
            elif any(self.domains.busy(one) for one in domains):
                busy = True
            elif any(self.domains.busy(one, flying[one]) for one in domains):
                rest.append((letter, name))  # unless those before it get no token
            else:
                picked.append((letter, name))
                names[name] -= 1
                flying.update(domains)
        return picked, rest, busy

    def _barred(self, letter: Waiting, circular: int) -> dt.datetime | None:
        """Until when tokens of the letter's domains are not worth asking for."""
        known = [at for one in self._domains(letter) if (at := self.domains.barred(one, circular)) is not None]
        return max(known, default=None)

    def _by_relay(
        self, made: Allotment, circular: int, due: Sequence[Waiting], later: dict[int, dt.datetime]
    ) -> list[tuple[Waiting, str]]:
        """The letters that may leave now as far as can be told without tokens, each with its relay; others go to *later*."""
        now = self._clock.now()
        closed = {line.name: line.closed(now) for line in self.lines}
        long_closed = [line.name for line in self.lines if line.pace.long_closed]
        narrow = self._narrow(now)
        planned = []
        for letter in due:
            wide = letter.wide
            if wide and letter.doubtful:
                self._bound.add(letter.letter)
            last = letter.last if letter.last in closed else None  # a relay that is no longer in the settings
            domain = domain_of(letter.addresses[0])
            names = order(
                self.road,
                domain,
                last,
                doubtful=letter.doubtful,
                long_closed=long_closed,
                narrow=narrow if wide else (),
            )
            name = next((one for one in names if closed[one] is None), None)
            if name is None and wide and not letter.doubtful and now - (letter.first_at or now) >= self._patience:
                told = (one for one in self.road.relays(domain) if one in narrow and closed[one] is None)
                name = next(told, None)  # it is not shown to that one either: it is refused
            if name is None:
                times = [one.until for each in names if (one := closed[each]) is not None and one.until is not None]
                later[letter.letter] = min(times, default=now + _LOOK_AGAIN)
                continue
            if barred := self._barred(letter, circular):
                later[letter.letter] = barred
            elif any(self.domains.busy(one) for one in self._domains(letter)):
                made.wait(now + _SOON)
            else:
                planned.append((letter, name))
        return planned

    @staticmethod
    def _domains(letter: Waiting) -> list[str]:
        return list(dict.fromkeys(domain_of(address) for address in letter.addresses))

    async def _count(self, made: Allotment, letters: dict[int, str]) -> None:
        """Count recipients for relays that have a limit a day; letters beyond it wait, or go by another."""
        for line in self.lines:
            if not line.per_day:
                continue
            await self._days.give_back(line.name, self._unspent.pop(line.name, 0))
            mine = [letter for letter, name in letters.items() if name == line.name]
            weights = {letter: self._weight(made.chosen[letter], line) for letter in mine}
            if not mine:
                continue
            given = left = await self._days.take(line.name, line.per_day, sum(weights.values()))
            for letter, weight in weights.items():
                if weight <= left:
                    left -= weight
                    continue
                if line.full is None or line.closed(self._clock.now()) is None:
                    log.warning("relay-day-over", extra={"relay": line.name, "why": _DAY_FULL})
                line.full = Closed(_DAY_FULL, await self._days.next_at(line.name), self._clock.now())
                del letters[letter]
                made.wait(self._clock.now() + _SOON)  # another relay may have it, or all wait until then
            made.counted[line.name] = given - left
            await self._days.give_back(line.name, left)

    @staticmethod
    def _weight(letter: Waiting, line: Line) -> int:
        """A letter to more addresses than a whole day allows goes on a day of its own."""
        return min(len(letter.addresses), line.per_day)

    async def settle(self, made: Allotment, run: Run, claims: Sequence[Claim]) -> None:
        """Give back what was taken and not claimed; what can't be given back comes in anew with time."""
        claimed = {claim.letter for claim in claims}
        unused = self._let_go(made, but=claimed)
        for claim in claims:  # counted on the way even where nothing limits them: a limit may begin while they fly
            self.domains.left(domain_of(target.address) for target in claim.targets)
        for name, count in made.counted.items():
            spent = sum(
                self._weight(made.chosen[claim.letter], self.line(name)) for claim in claims if claim.relay == name
            )
            self._unspent[name] += count - spent
        used = Counter(claim.relay for claim in claims)
        try:
            for name, count in made.tokens.items():
                await self.line(name).pace.give_back(count - used[name], run.circular)
            if made.spread > len(claims):
                back = made.spread - len(claims)
                await self._tokens.give_back({f"circular:{run.circular}": (back, self._spread or 1)})
            await self.domains.give_back(unused, run.circular)
        except DatabaseError as error:  # the letters that are claimed must fly all the same
            log.warning("tokens-kept", extra={"reason": str(error)})

    def _let_go(self, made: Allotment, *, but: Collection[int] = ()) -> Counter[str]:
        """Free the places that were taken for letters; the domains of those that were not claimed (*but* are)."""
        unused = Counter[str]()
        for number, letter in made.chosen.items():
            self.domains.landed(self._domains(letter))
            if number not in but:
                unused.update(self._domains(letter))
        return unused

    def rests(self, claim: Claim) -> dt.datetime | None:
        """Until when a letter that is claimed has to wait all the same: its relay, or a domain of it, has just said no to others."""
        if self.line(claim.relay).pace.refuses:
            return self.after_failure(claim) or self._clock.now()
        if self.domains.calm:
            return None
        known = [self.domains.rests(domain_of(target.address)) for target in claim.targets]
        return max(filter(None, known), default=None)

    def landed(self, claim: Claim) -> None:
        """An attempt has ended."""
        self.domains.landed(domain_of(target.address) for target in claim.targets)

    def spent(self, claim: Claim, *, left: bool) -> None:
        """An attempt has ended; *left*: with content, so that it counts for the day."""
        if not left and (per_day := self.line(claim.relay).per_day):
            self._unspent[claim.relay] += min(len(claim.targets), per_day)

    async def close(self) -> None:
        """Take recipients to whom no content went off the day's count."""
        while self._unspent:
            name, count = self._unspent.popitem()
            await self._days.give_back(name, count)

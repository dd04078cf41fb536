"""How long a circular will take, told before it is sent: the paces and limits of the settings, played forward. Pure.

- A relay's letters a minute, and those of a domain: the bucket is full at first (`tokens`), then it fills by the clock.
- A relay's addresses a day, as `daily` counts them: by the hour, each hour free again when its end is 24 hours ago.
- A relay that is closed, or whose day is used up, is passed over where another stands in for it (`routes`).
- Circulars that are being sent at the same time get equal parts of each pace, none more than it has letters.
- What the network and a mail server's own speed take comes on top, and so do further tries.

`foreseen` reads what this needs.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from lists.counted import counted
from lists.records import record
from mailer.delivery.tokens import Ask

_SECOND, _MINUTE, _HOUR, _DAY = (dt.timedelta(seconds=n) for n in (1, 60, 3600, 86400))
#: Looking further ahead than this says nothing to anybody.
_FAR = 1000 * _DAY
#: Less than a letter.
_GRAIN = 1e-6
#: Letters that are to have left by a time are spread over this part of what is left until then: some will take longer.
IN_TIME = 0.95


@record
class Way:
    """What limits a relay.

    Attributes:
        per_minute, per_day: letters, and addresses; 0: no limit.
        used: addresses that it was given, by hour (aware, its beginning), as far as they count for its day.
        opens: nothing leaves by it before; None: it is open.
        held: it waits for a person.
    """

    name: str
    connections: int = 1
    per_minute: int = 0
    per_day: int = 0
    used: Mapping[dt.datetime, int] = field(default_factory=dict)
    opens: dt.datetime | None = None
    held: bool = False


@record
class Load:
    """Letters that are to leave.

    Attributes:
        letters, addresses: how many.
        by_road: relays in order of preference -> letters and addresses that go by them.
        by_domain: domains that have a pace -> letters to them.
    """

    letters: int
    addresses: int
    by_road: Mapping[tuple[str, ...], tuple[int, int]]
    by_domain: Mapping[str, int] = field(default_factory=dict)


@record
class Forecast:
    """What is foreseen.

    Attributes:
        takes: from the beginning to the last letter, by paces and limits; None: none is set.
        why: which limit decides, in words.
        connections: of the relays together: what decides where no limit does.
        beside: circulars that are being sent at the same time and share what decides.
        held: relays that wait for a person, where no other stands in for them: nothing leaves before.
        spread: its letters are spread until a time, which is what takes long.
        closed: a relay that is not used before a time, and that time, where letters wait for it.
    """

    letters: int
    takes: dt.timedelta | None
    why: str
    connections: int = 1
    beside: int = 0
    held: tuple[str, ...] = ()
    spread: bool = False
    closed: tuple[str, dt.datetime] | None = None

    def ready(self, begin: dt.datetime) -> dt.datetime | None:
        """When the last letter leaves; None: nobody can tell."""
        return None if self.takes is None else begin + self.takes

    def too_late(self, begin: dt.datetime, zone: dt.tzinfo, reply_by: dt.date | None) -> str | None:
        """That the last letter leaves when replies are due, or later, in words; None: it does not, as far as can be told."""
        ready = self.ready(begin) or begin
        if reply_by is None or not self.letters or ready.astimezone(zone).date() < reply_by:
            return None
        by = f"{reply_by.day} {reply_by:%B %Y}"
        return f"the last letter would leave on {in_words(ready, zone)}, and replies are asked for by {by}"

    def words(self, begin: dt.datetime, zone: dt.tzinfo) -> str:
        """The forecast as a sentence: `170 letters, about 6 minutes at 30 a minute; ready at about 10:20.`."""
        if self.held:
            names = " and ".join(self.held)
            return f"{counted(self.letters, 'letter')}; {names} must be seen to before {'it leaves' if self.letters == 1 else 'they leave'} (chancery doctor)."
        if self.takes is None:
            over = f"{self.connections} connection{'s' if self.connections != 1 else ''}"
            return f"{counted(self.letters, 'letter')}, as fast as the mail server takes them over {over}."
        when = in_words(begin + self.takes, zone, unless=begin)
        if self.spread:
            return f"{counted(self.letters, 'letter')}, spread over {length(self.takes)}; ready at about {when}."
        also = ""
        if self.beside:
            also = ", shared with " + ("another circular" if self.beside == 1 else f"{self.beside} other circulars")
        at = f" at {self.why}" if self.why else ""
        if self.closed is not None:
            also += (
                f" (our mail server {self.closed[0]} is not used before {in_words(self.closed[1], zone, unless=begin)})"
            )
        return f"{counted(self.letters, 'letter')}, {length(self.takes)}{at}{also}; ready at about {when}."


def in_words(moment: dt.datetime, zone: dt.tzinfo, *, unless: dt.datetime | None = None) -> str:
    """`7 July 2006, 10:20`; on the day of *unless*, the hour alone."""
    there = moment.astimezone(zone)
    if unless is not None and there.date() == unless.astimezone(zone).date():
        return f"{there:%H:%M}"
    return f"{there.day} {there:%B %Y, %H:%M}"


def forecast(
    load: Load,
    ways: Mapping[str, Way],
    *,
    begin: dt.datetime,
    domains: Mapping[str, float] | None = None,
    beside: Sequence[Load] = (),
    finish_by: dt.datetime | None = None,
) -> Forecast:
    """How long *load* will take from *begin* on.

    Args:
        load: what is to leave.
        ways: the relays, by name.
        begin: when the first letter may leave.
        domains: letters a minute of those that have a pace.
        beside: what other circulars still have to send at that time.
        finish_by: the letters are spread until then; None: they leave as fast as they may.
    """
    open_ways = {name for name, way in ways.items() if not way.held}
    stuck = [names for names in load.by_road if not open_ways.intersection(names)]
    connections = sum(ways[name].connections for name in {names[0] for names in load.by_road}) or 1
    if stuck:
        held = tuple(dict.fromkeys(name for names in stuck for name in names))
        return Forecast(load.letters, None, "", connections, held=held)
    limits = [*_by_relays(load, ways, begin, beside), *_by_domains(load, domains or {}, beside)]
    if finish_by is not None and finish_by > begin and load.letters > 1:
        limits.append(_Limit((finish_by - begin) * IN_TIME, "", spread=True))
    decisive = max(limits, key=lambda one: one.takes, default=None)
    if decisive is None:
        return Forecast(load.letters, None, "", connections)
    return Forecast(
        load.letters,
        decisive.takes,
        decisive.why,
        connections,
        beside=decisive.beside,
        spread=decisive.spread,
        closed=decisive.closed,
    )


@record
class _Limit:
    """One of the things that may take longest."""

    takes: dt.timedelta
    why: str
    beside: int = 0
    spread: bool = False
    closed: tuple[str, dt.datetime] | None = None


def _with_others(own: float, others: Iterable[float]) -> tuple[float, int]:
    """How much passes until *own* has, shared equally with *others*; and how many of them there are."""
    shares = [min(own, one) for one in others if one > 0]
    return own + sum(shares), len(shares)


def _full(per_minute: float) -> float:
    return Ask(0, per_minute).most


def _by_domains(load: Load, domains: Mapping[str, float], beside: Sequence[Load]) -> Iterable[_Limit]:
    for domain, letters in load.by_domain.items():
        per_minute = domains.get(domain, 0)
        if letters and per_minute:
            every, others = _with_others(letters, (one.by_domain.get(domain, 0) for one in beside))
            takes = _MINUTE * max(0.0, every - _full(per_minute)) / per_minute
            yield _Limit(takes, f"{per_minute:g} a minute to {domain}", others)


def _by_relays(load: Load, ways: Mapping[str, Way], begin: dt.datetime, beside: Sequence[Load]) -> Iterable[_Limit]:
    played = {name: _Played(way, begin) for name, way in ways.items()}
    for names, (letters, addresses) in load.by_road.items():
        if not letters:
            continue
        others = [_of_first(one, names[0]) for one in beside]
        every, sharing = _with_others(letters, (count for count, _ in others))
        to, _ = _with_others(addresses, (count for _, count in others))
        road = [played[name] for name in names if not ways[name].held]
        end, last, over_days = _play(road, every, to / every, begin)
        if end > begin or last.way.per_minute:
            opens = last.way.opens
            closed = (last.way.name, opens) if opens is not None and opens > begin else None
            by = next((one for one in road if one.way.per_day), last) if over_days else last
            yield _Limit(end - begin, by.says(begin, over_days=over_days), sharing, closed=closed)


def _of_first(load: Load, relay: str) -> tuple[int, int]:
    """Letters and addresses of *load* that go by *relay* where nothing is in the way."""
    found = [count for names, count in load.by_road.items() if names[0] == relay]
    return sum(letters for letters, _ in found), sum(addresses for _, addresses in found)


class _Played:
    """A relay as the letters are played to it."""

    def __init__(self, way: Way, begin: dt.datetime) -> None:
        self.way = way
        self.used: dict[dt.datetime, float] = dict(way.used)
        self.tokens = _full(way.per_minute) if way.per_minute else math.inf
        #: what it has taken so far has left by then
        self.at = begin if way.opens is None else max(begin, way.opens)

    def free(self, moment: dt.datetime) -> float:
        """Addresses that its day still allows."""
        if not self.way.per_day:
            return math.inf
        return max(0.0, self.way.per_day - sum(n for hour, n in self.used.items() if hour > moment - _DAY - _HOUR))

    def take(self, letters: float, addresses_each: float, end: dt.datetime | None) -> float:
        """Letters that leave by it until *end*; None: all of them, whenever that is."""
        start, rate = self.at, self.way.per_minute
        given = min(letters, self.free(start) / addresses_each)
        if rate and end is not None:
            given = min(given, self.tokens + rate * ((end - start) / _MINUTE))
        took = _MINUTE * max(0.0, given - self.tokens) / rate if rate else dt.timedelta()
        if rate:
            self.tokens = min(_full(rate), max(0.0, self.tokens - given))
        self.at = start + took
        if self.way.per_day:
            hour = _hour(start)
            self.used[hour] = self.used.get(hour, 0) + given * addresses_each
            for old in [one for one in self.used if one <= hour - _DAY - _HOUR]:
                del self.used[old]
        return given

    def says(self, begin: dt.datetime, *, over_days: bool) -> str:
        """What limits it, in words."""
        way = self.way
        if over_days:
            used = sum(n for hour, n in way.used.items() if hour > begin - _DAY - _HOUR)
            before = f" ({used:,.0f} of them used)" if used else ""
            return f"{way.per_day:,} address{'es' if way.per_day > 1 else ''} a day{before}"
        return f"{way.per_minute} a minute" if way.per_minute else ""


def _hour(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def _play(
    road: Sequence[_Played], letters: float, addresses_each: float, begin: dt.datetime
) -> tuple[dt.datetime, _Played, bool]:
    """Hand *letters* over, hour by hour: when the last leaves, by which relay, and whether a limit a day kept it back."""
    hour = _hour(begin)
    bounded = any(one.way.per_day for one in road) or len(road) > 1
    over_days = False
    while hour < begin + _FAR:
        end = hour + _HOUR if bounded else None
        for one in road:
            one.at = max(one.at, hour) if hour > begin else one.at
            if end is not None and one.at >= end:
                if one.way.opens is not None and one.way.opens >= end:
                    continue  # closed for all of this hour: the next one stands in for it
                break  # what it was given before takes until then
            letters -= one.take(letters, addresses_each, end)
            if letters <= _GRAIN:
                return one.at, one, over_days
            if one.free(one.at) >= addresses_each:
                break  # its pace keeps the rest back, and no other stands in for that
        else:
            over_days = over_days or any(one.way.per_day and one.free(hour) < addresses_each for one in road)
        hour += _HOUR
        for one in road:  # the bucket fills while its day is over
            if one.way.per_minute and one.at < hour:
                one.tokens = min(
                    _full(one.way.per_minute), one.tokens + one.way.per_minute * ((hour - one.at) / _MINUTE)
                )
    return begin + _FAR, road[0], over_days


def length(takes: dt.timedelta) -> str:
    """`about 6 minutes`; minutes and days are rounded up, but for a second that is too much."""
    if takes >= 2 * _DAY:
        return f"about {math.ceil((takes - _SECOND) / _DAY)} days"
    if takes >= 2 * _HOUR:
        return f"about {round(takes / _HOUR)} hours"
    minutes = math.ceil((takes - _SECOND) / _MINUTE)
    return "less than a minute" if minutes <= 1 else f"about {minutes} minutes"

"""What a forecast needs of the rows: who waits, what else is being sent, what of the day is used, which relays are closed."""

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Circular, Recipient
from mailer.circulars.states import CircularState
from mailer.delivery import obstacles
from mailer.delivery.domains import domain_of
from mailer.delivery.due import WAITING
from mailer.delivery.forecast import Forecast, Load, Way, forecast
from mailer.delivery.models import RelayUse
from mailer.delivery.routes import Road, road_of
from mailer.errors import SettingsError
from mailer.settings import Settings

_COUNTED = dt.timedelta(hours=25)


async def of_circular(
    session: AsyncSession,
    settings: Settings,
    circular: Circular,
    *,
    now: dt.datetime,
    begin: dt.datetime | None = None,
    finish_by: dt.datetime | None = None,
    lifted: bool = False,
    others: AsyncSession | None = None,
) -> Forecast:
    """How long what still waits of an approved circular will take.

    Args:
        session: reads.
        settings: with the relays and paces.
        circular: which.
        now: the time.
        begin: when it starts; None: now.
        finish_by: its letters are spread until then.
        lifted: a person lets it go now, so that relays which waited for one are tried.
        others: where circulars that are being sent at the same time are looked up; None: in *session*.

    Raises:
        SettingsError: its sender, or a relay, is no longer in the settings.
    """
    road = road_of(settings, circular.sender)
    load = await _waiting(session, settings, road, circular.id)
    ways = await _ways(session, settings, road, now, lifted=lifted)
    begin = begin or now
    domains = {domain: _per_minute(settings, domain) for domain in load.by_domain}
    beside = await _beside(others or session, settings, ways, domains, circular.id, begin - now)
    return forecast(load, ways, begin=begin, domains=domains, beside=beside, finish_by=finish_by)


async def of_letters(
    session: AsyncSession, settings: Settings, sender: str, letters: AsyncIterable[Sequence[str]], *, now: dt.datetime
) -> Forecast:
    """The same for letters that are not written yet, each given by its addresses, if they left now.

    Raises:
        SettingsError: as `of_circular`.
    """
    road = road_of(settings, sender)
    counting = _Counting(road)
    async for addresses in letters:
        counting.take(addresses)
    load = counting.load(settings)
    ways = await _ways(session, settings, road, now)
    domains = {domain: _per_minute(settings, domain) for domain in load.by_domain}
    beside = await _beside(session, settings, ways, domains, None, dt.timedelta())
    return forecast(load, ways, begin=now, domains=domains, beside=beside)


def _per_minute(settings: Settings, domain: str) -> float:
    own = {name.lower(): limits for name, limits in settings.pace.domains.items()}
    return own.get(domain, settings.pace).per_minute


def _by_address(settings: Settings, road: Road) -> bool:
    """Whether it matters to whom letters go."""
    paces = (settings.pace, *settings.pace.domains.values())
    return bool(road.by_domain) or any(one.per_minute for one in paces)


class _Counting:
    """Counts letters by their road and their domains."""

    def __init__(self, road: Road) -> None:
        self._road = road
        self._by_road: dict[tuple[str, ...], list[int]] = {}
        self._by_domain: Counter[str] = Counter()

    def take(self, addresses: Sequence[str]) -> None:
        """One letter."""
        if not addresses:
            return
        group = self._by_road.setdefault(self._road.relays(domain_of(addresses[0])), [0, 0])
        group[0] += 1
        group[1] += len(addresses)
        self._by_domain.update({domain_of(address) for address in addresses})

    def load(self, settings: Settings) -> Load:
        """What they come to."""
        count, total = (sum(group[place] for group in self._by_road.values()) for place in (0, 1))
        paced = {domain: letters for domain, letters in self._by_domain.items() if _per_minute(settings, domain)}
        return Load(count, total, {names: (some, to) for names, (some, to) in self._by_road.items()}, paced)


def _load(settings: Settings, road: Road, letters: Iterable[Sequence[str]]) -> Load:
    counting = _Counting(road)
    for addresses in letters:
        counting.take(addresses)
    return counting.load(settings)


async def _waiting(session: AsyncSession, settings: Settings, road: Road, circular: int) -> Load:
    """What still waits of a circular."""
    of = (Recipient.circular_id == circular, Recipient.state.in_(WAITING))
    if _by_address(settings, road):
        rows = await session.execute(
            select(Recipient.letter_id, Recipient.address).where(*of).order_by(Recipient.letter_id, Recipient.id)
        )
        return _load(settings, road, _letters(rows))
    counted = await session.execute(select(func.count(Recipient.letter_id.distinct()), func.count()).where(*of))
    letters, addresses = counted.one()
    return Load(letters, addresses, {road.own: (letters, addresses)} if letters else {})


def _letters(rows: Iterable[Any]) -> Iterator[list[str]]:
    for _, group in groupby(rows, key=lambda row: row[0]):
        yield [address for _, address in group]


async def _beside(
    session: AsyncSession,
    settings: Settings,
    ways: Mapping[str, Way],
    domains: Mapping[str, float],
    own: int | None,
    later: dt.timedelta,
) -> list[Load]:
    """What other circulars that are being sent will still have to send some time *later*, by their first relay's pace."""
    found: list[Load] = []
    if not domains and not any(way.per_minute or way.per_day for way in ways.values()):
        return found  # there is nothing that could be shared
    sending = select(Circular.id, Circular.sender).where(
        Circular.state == CircularState.SENDING, Circular.held_why.is_(None), Circular.id != (own or 0)
    )
    for number, sender in (await session.execute(sending)).all():
        try:
            road = road_of(settings, sender)
        except SettingsError:
            continue  # nothing of it leaves
        load = await _waiting(session, settings, road, number)
        gone = settings.relays[road.own[0]].per_minute * (later / dt.timedelta(minutes=1))
        if load.letters > gone:
            found.append(load if gone <= 0 else _less(load, 1 - gone / load.letters))
    return found


def _less(load: Load, part: float) -> Load:
    """A part of *load*."""
    return Load(
        round(load.letters * part),
        round(load.addresses * part),
        {names: (round(letters * part), round(to * part)) for names, (letters, to) in load.by_road.items()},
        {domain: round(letters * part) for domain, letters in load.by_domain.items()},
    )


async def _ways(
    session: AsyncSession, settings: Settings, road: Road, now: dt.datetime, *, lifted: bool = False
) -> Mapping[str, Way]:
    """The relays of a road, with what stands in their way."""
    closed = {one.relay: one for one in await obstacles.listing(session) if one.relay is not None}
    found = {}
    for name in road.names:
        relay, obstacle = settings.relays[name], closed.get(name)
        used = {}
        if relay.recipients_per_day:
            rows = await session.execute(
                select(RelayUse.hour, RelayUse.recipients).where(
                    RelayUse.relay == name, RelayUse.hour > now - _COUNTED, RelayUse.recipients > 0
                )
            )
            used = dict(rows.all())
        until = obstacle.until if obstacle is not None else None
        found[name] = Way(
            name,
            connections=relay.connections,
            per_minute=relay.per_minute,
            per_day=relay.recipients_per_day,
            used=used,
            opens=until if until is not None and until > now else None,
            held=obstacle is not None and until is None and not lifted,
        )
    return found

"""When a reminder is due: pure rules over days, hours and zones.

- A reminder is due so many days before the last day for replies, at an hour of the event's zone.
- On a day off (weekend or public holiday of the home's country) it is due on the working day before.
- An hour that the change to summer time skips becomes the first minute that exists after it; an hour that comes twice in autumn
  means its first pass. The hour is applied to a day by ourselves: APScheduler 3.11's CronTrigger adds its steps in UTC across the
  change, so that a daily 00:00 skips a day in 7 of 10 zones in 2026, and 02:30 fires twice (measured; its issues #606, #529, #120).
"""

import datetime as dt
from collections.abc import Callable
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lists.records import record
from mailer.errors import BadInput, SettingsError

#: Whether a day is a working day.
WorkingDay = Callable[[dt.date], bool]

#: No country has this many days off in a row; a rule that finds more is wrong.
_LONGEST_REST = 60
_MINUTE = dt.timedelta(minutes=1)
_DAY = dt.timedelta(days=1)


@record
class Due:
    """When something is due: `at` aware and in UTC, `rule` how that was found, in words."""

    at: dt.datetime
    rule: str


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that IANA name.

    Raises:
        BadInput: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, such as "Europe"
        raise BadInput(f"{name!r} is no time zone", remedy='write it as in "Europe/Zurich"') from None


def moment(day: dt.date, at: dt.time, zone: ZoneInfo) -> dt.datetime:
    """The instant, in UTC, of a wall-clock time *at* (no zone of its own) on *day* in *zone*.

    A time that is skipped gives the first minute that exists after it; one that comes twice, its first pass.
    """
    wall = dt.datetime.combine(day, at.replace(tzinfo=None, fold=0))
    while not _exists(wall, zone):
        wall = wall.replace(second=0, microsecond=0) + _MINUTE
    return wall.replace(tzinfo=zone).astimezone(dt.UTC)


def _exists(wall: dt.datetime, zone: ZoneInfo) -> bool:
    """Whether clocks in *zone* ever show *wall*: a skipped time does not survive the way to UTC and back."""
    there = wall.replace(tzinfo=zone).astimezone(dt.UTC)
    return there.astimezone(zone).replace(tzinfo=None) == wall


def working_days(country: str, subdivision: str | None) -> WorkingDay:
    """The working days of a country (ISO 3166-1 alpha-2; "" has weekends only) and of one of its parts.

    Raises:
        SettingsError: the holidays of that country or part are not known.
    """
    if not country:
        return lambda day: day.weekday() < 5  # noqa: PLR2004 - Saturday and Sunday
    return _working_days(country, subdivision)


@lru_cache(maxsize=8)
def _working_days(country: str, subdivision: str | None) -> WorkingDay:
    import holidays

    try:
        calendar = holidays.country_holidays(country, subdiv=subdivision or None)
    except NotImplementedError:
        part = f", {subdivision}" if subdivision else ""
        raise SettingsError(
            f"no public holidays are known for {country}{part}",
            where="[calendar] country, subdivision",
            remedy='use codes such as country = "CH" and subdivision = "GE", or leave country empty',
        ) from None
    return calendar.is_working_day


def last_working_day(day: dt.date, is_working_day: WorkingDay) -> dt.date:
    """*day*, or on a day off the working day before it."""
    for back in range(_LONGEST_REST):
        if is_working_day(day - back * _DAY):
            return day - back * _DAY
    return day


def reminder_due(reply_by: dt.date, days_before: int, *, at: dt.time, zone: str, is_working_day: WorkingDay) -> Due:
    """When a reminder is due.

    Args:
        reply_by: the last day for replies.
        days_before: how many days before it, 0 being that day.
        at: time of the day in *zone*.
        zone: IANA name.
        is_working_day: see `working_days`.

    Raises:
        BadInput: no such zone.
    """
    wanted = reply_by - days_before * _DAY
    day = last_working_day(wanted, is_working_day)
    count = "on the last day for replies," if not days_before else f"{days_before} day{'s'[: days_before > 1]} before"
    words = f"{count} {in_words(reply_by)}"
    if day != wanted:
        words += f", a day off, so on {in_words(day)}"
    return Due(moment(day, at, zone_of(zone)), f"{words}, at {at:%H:%M} ({zone})")


def parse_moment(text: str, *, zone: str, at: dt.time, where: str = "--at") -> dt.datetime:
    """A moment as a person writes it, in UTC: `2006-07-10 09:00` in *zone*, `2006-07-10` at *at*, or with an offset of its own.

    Raises:
        BadInput: it is no moment, or lies where the calendar ends; *where* it was given is said.
    """
    given = text.strip()
    try:
        if len(given) == len("2006-07-10"):
            given = f"{given}T{at.isoformat()}"
        read = dt.datetime.fromisoformat(given)
        _ = read + dt.timedelta(days=366)  # where the calendar ends, nothing can be counted from it
        if read.tzinfo is not None:
            return read.astimezone(dt.UTC)
        return moment(read.date(), read.time(), zone_of(zone))
    except (ValueError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{text!r} is no day and hour", where=where, remedy="write it as 2006-07-10T09:00") from None


def in_words(day: dt.date) -> str:
    """`Friday 14 July 2006`."""
    return f"{day:%A} {day.day} {day:%B %Y}"


def local(at: dt.datetime, zone: str) -> str:
    """An instant as people of *zone* write it: `Tue 11 July 2006, 09:00 (Europe/Zurich)`."""
    there = at.astimezone(zone_of(zone))
    return f"{there:%a} {there.day} {there:%B %Y, %H:%M} ({zone})"

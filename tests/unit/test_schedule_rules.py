"""When reminders are due."""

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import pytest

from mailer.errors import BadInput, SettingsError
from mailer.schedule import rules

GENEVA = rules.working_days("CH", "GE")
NINE = dt.time(9, 0)


def due(reply_by: dt.date, before: int, zone: str = "Europe/Zurich", at: dt.time = NINE) -> rules.Due:
    """A reminder's time by the calendar of Geneva."""
    return rules.reminder_due(reply_by, before, at=at, zone=zone, is_working_day=GENEVA)


def test_three_days_before_is_nine_in_the_zone_of_the_event():
    """A reminder three days before Friday 14 July 2006 is due on the Tuesday at 09:00 in Geneva, 07:00 UTC."""
    found = due(dt.date(2006, 7, 14), 3)
    assert found.at == dt.datetime(2006, 7, 11, 7, 0, tzinfo=dt.UTC)
    assert found.rule == "3 days before Friday 14 July 2006, at 09:00 (Europe/Zurich)"


def test_another_zone_and_hour_move_the_instant_not_the_day():
    """The hour is that of the event's own zone."""
    assert (
        due(dt.date(2006, 7, 14), 3, "America/New_York", dt.time(8, 30)).at.isoformat() == "2006-07-11T12:30:00+00:00"
    )


def test_a_weekend_gives_the_friday_before():
    """Five days before a Friday is a Sunday, so the reminder goes on the Friday before, and says so."""
    found = due(dt.date(2006, 7, 14), 5)
    assert found.at.date() == dt.date(2006, 7, 7)
    assert "a day off, so on Friday 7 July 2006" in found.rule


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (dt.date(2006, 8, 1), dt.date(2006, 7, 31)),  # National Day, a Tuesday
        (dt.date(2006, 9, 7), dt.date(2006, 9, 6)),  # Genevan Fast, a Thursday, of the canton only
        (dt.date(2006, 4, 17), dt.date(2006, 4, 13)),  # Easter Monday: over the weekend and Good Friday to Thursday
        (dt.date(2006, 12, 31), dt.date(2006, 12, 29)),
    ],
)
def test_a_public_holiday_gives_the_working_day_before(day, expected):
    """Holidays of the country and of its part are days off."""
    assert rules.last_working_day(day, GENEVA) == expected


def test_no_country_knows_weekends_only():
    """A home without a country still writes on no weekend."""
    plain = rules.working_days("", None)
    assert plain(dt.date(2006, 8, 1))
    assert not plain(dt.date(2006, 7, 8))


def test_an_unknown_country_is_told_as_a_setting():
    """A wrong country or part is one line that names the setting."""
    for country, part in (("XX", None), ("CH", "ZZ")):
        with pytest.raises(SettingsError, match=r"\[calendar\] country"):
            rules.working_days(country, part)


@pytest.mark.parametrize("name", ["Europe/Genf", "Europe", "", "../etc/passwd"])
def test_an_unknown_zone_is_bad_input(name):
    """A zone that does not exist is refused with an example."""
    with pytest.raises(BadInput, match="is no time zone"):
        rules.zone_of(name)


def test_an_hour_that_is_skipped_is_the_first_minute_that_exists():
    """02:30 on the morning of the change to summer time becomes 03:00, the first minute there is."""
    zone = ZoneInfo("Europe/Berlin")
    assert rules.moment(dt.date(2026, 3, 29), dt.time(2, 30), zone) == dt.datetime(2026, 3, 29, 1, 0, tzinfo=dt.UTC)


def test_an_hour_that_comes_twice_means_its_first_pass():
    """02:30 on the morning of the change to winter time is the first of the two."""
    zone = ZoneInfo("Europe/Berlin")
    assert rules.moment(dt.date(2026, 10, 25), dt.time(2, 30), zone) == dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC)


def test_a_day_that_never_was_gives_its_next_minute():
    """Samoa had no 30 December 2011; the first minute after it counts."""
    zone = ZoneInfo("Pacific/Apia")
    there = rules.moment(dt.date(2011, 12, 30), NINE, zone).astimezone(zone)
    assert there.replace(tzinfo=None) == dt.datetime(2011, 12, 31)  # noqa: DTZ001 - what the wall clock shows


@pytest.mark.parametrize("zone", ["Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "America/Havana"])
def test_no_day_of_a_year_is_lost_or_doubled(zone):
    """Every hour of every day of 2026 gives one instant of that day, never before the one of the day before."""
    place = ZoneInfo(zone)
    for hour in range(24):
        days = [dt.date(2026, 1, 1) + dt.timedelta(days=number) for number in range(365)]
        instants = [rules.moment(day, dt.time(hour), place) for day in days]
        assert [instant.astimezone(place).date() for instant in instants] == days
        gaps = {(b - a).total_seconds() / 3600 for a, b in itertools.pairwise(instants)}
        assert gaps <= {23.0, 23.5, 24.0, 24.5, 25.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2006-07-10", "2006-07-10T07:00:00+00:00"),
        ("2006-07-10 14:30", "2006-07-10T12:30:00+00:00"),
        ("2006-07-10T14:30+05:00", "2006-07-10T09:30:00+00:00"),
        ("2026-03-29T02:30", "2026-03-29T01:00:00+00:00"),
    ],
)
def test_a_moment_is_read_as_people_write_it(text, expected):
    """A day alone means the home's hour, a day and hour the home's zone, and an offset of its own is kept."""
    assert rules.parse_moment(text, zone="Europe/Zurich", at=NINE).isoformat() == expected


@pytest.mark.parametrize("text", ["tomorrow", "2006-13-01", "10.07.2006", ""])
def test_what_is_no_moment_is_refused_with_an_example(text):
    """A moment that can't be read is one line with an example."""
    with pytest.raises(BadInput, match="2006-07-10T09:00"):
        rules.parse_moment(text, zone="Europe/Zurich", at=NINE)

"""How long a circular will take, in words."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mailer.delivery.forecast import Load, Way, forecast

BEGIN = dt.datetime(2006, 7, 7, 8, 14, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
ZURICH = ZoneInfo("Europe/Zurich")


def load(letters: int, addresses: int = 0, *relays: str, **by_domain: int) -> Load:
    """Letters to so many addresses (default: one each) by these relays (default: main)."""
    to = addresses or letters
    return Load(
        letters, to, {relays or ("main",): (letters, to)}, {f"{key}.example": n for key, n in by_domain.items()}
    )


def said(what: Load, *ways: Way, **more: Any) -> str:
    """The forecast in words."""
    return forecast(what, {way.name: way for way in ways}, begin=BEGIN, **more).words(BEGIN, ZURICH)


@pytest.mark.parametrize(
    ("letters", "addresses", "limits", "words"),
    [
        (170, 292, {"per_minute": 30}, "170 letters, about 6 minutes at 30 a minute; ready at about 10:19."),
        (20, 20, {"per_minute": 30}, "20 letters, less than a minute at 30 a minute; ready at about 10:14."),
        (3, 3, {"per_minute": 30}, "3 letters, less than a minute at 30 a minute; ready at about 10:14."),
        (7200, 7200, {"per_minute": 30}, "7200 letters, about 4 hours at 30 a minute; ready at about 14:13."),
        (
            25_000,
            25_000,
            {"per_minute": 30, "per_day": 10_000},
            "25000 letters, about 3 days at 10,000 addresses a day; ready at about 9 July 2006, 15:00.",
        ),
        (
            170,
            292,
            {"per_day": 10_000, "connections": 3},
            "170 letters, as fast as the mail server takes them over 3 connections.",
        ),
        (170, 292, {}, "170 letters, as fast as the mail server takes them over 1 connection."),
    ],
)
def test_the_duration_is_foretold(letters: int, addresses: int, limits: dict[str, int], words: str) -> None:
    """By the pace, or by the limit of a day where that is what takes longest."""
    assert said(load(letters, addresses), Way("main", **limits)) == words


def test_what_the_day_has_used_counts() -> None:
    """Of 100 addresses a day 70 went out at 6 o'clock: 50 more wait until 7 o'clock of the next day, when that hour is 24 hours over."""
    way = Way("main", per_day=100, used={BEGIN.replace(hour=6, minute=0): 70})
    words = "50 letters, about 23 hours at 100 addresses a day (70 of them used); ready at about 8 July 2006, 09:00."
    assert said(load(50), way) == words
    assert said(load(30), way) == "30 letters, as fast as the mail server takes them over 1 connection."


def test_other_circulars_share_the_pace() -> None:
    """Beside one of thousands a small one takes twice as long; beside a smaller one, as long as both."""
    way = Way("main", per_minute=30)
    large, small = load(5000), load(20)
    assert said(load(100), way, beside=[large]) == (
        "100 letters, about 7 minutes at 30 a minute, shared with another circular; ready at about 10:20."
    )
    assert "about 8 minutes at 30 a minute, shared with 2 other circulars" in said(
        load(100), way, beside=[large, small]
    )


def test_the_slowest_domain_decides() -> None:
    """A domain's own pace is told where its letters take longest."""
    what = load(100, slow=40, fast=60)
    words = "100 letters, about 7 minutes at 6 a minute to slow.example; ready at about 10:20."
    assert said(what, Way("main", per_minute=30), domains={"slow.example": 6, "fast.example": 600}) == words


def test_one_relay_stands_in_for_another() -> None:
    """While the first waits for a person, or its day is over, letters go by the second; where none is left, nothing leaves."""
    held, second = Way("main", per_minute=600, held=True), Way("second", per_minute=10)
    both = load(101, 101, "main", "second")
    assert "about 10 minutes at 10 a minute" in said(both, held, second)
    assert said(load(101), held) == "101 letters; main must be seen to before they leave (chancery doctor)."
    assert said(load(1), held) == "1 letter; main must be seen to before it leaves (chancery doctor)."
    assert "about 5 minutes at 10 a minute" in said(both, Way("main", per_day=50), second)
    opens = Way("main", per_minute=10, opens=BEGIN + HOUR)
    words = "11 letters, about 61 minutes at 10 a minute (our mail server main is not used before 11:14); ready at about 11:15."
    assert said(load(11), opens) == words


def test_letters_that_are_spread_take_as_long_as_they_are_given() -> None:
    """Until the time asked for, a little before it; or longer, where a pace does not allow that."""
    way = Way("main", per_minute=30)
    until = BEGIN + 10 * HOUR
    assert said(load(300), way, finish_by=until) == "300 letters, spread over about 10 hours; ready at about 19:44."
    assert "at 30 a minute" in said(load(30_000), way, finish_by=until)


def test_what_comes_too_late_for_replies_is_told() -> None:
    """When the last letter leaves on the day on which replies are due, or after it."""
    seen = forecast(load(3000), {"main": Way("main", per_minute=1)}, begin=BEGIN)
    late = seen.too_late(BEGIN, ZURICH, dt.date(2006, 7, 9))
    assert late == "the last letter would leave on 9 July 2006, 12:13, and replies are asked for by 9 July 2006"
    assert seen.too_late(BEGIN, ZURICH, dt.date(2006, 7, 10)) is None
    assert seen.too_late(BEGIN, ZURICH, None) is None
    unpaced = forecast(load(3), {"main": Way("main")}, begin=BEGIN)
    assert unpaced.too_late(BEGIN, ZURICH, dt.date(2006, 7, 7)) is not None
    assert unpaced.too_late(BEGIN, ZURICH, dt.date(2006, 7, 8)) is None

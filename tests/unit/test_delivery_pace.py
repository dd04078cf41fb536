"""The pace of a relay, and when a deferred recipient is tried again."""

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.clock import ManualClock
from mailer.delivery.pace import Pace
from mailer.delivery.retry import next_try
from mailer.settings import Delivery

MINUTE = dt.timedelta(minutes=1)


async def test_no_limit_gives_what_is_asked(clock: ManualClock) -> None:
    """Without a limit a claim gets as many tokens as it asks for."""
    assert await Pace(clock, per_minute=0).take(500) == 500


async def test_a_minute_holds_no_more_than_its_letters(clock: ManualClock) -> None:
    """Whatever is asked, 30 a minute stays 30 a minute, after a first bucket of a tenth."""
    pace = Pace(clock, per_minute=30)
    first = await pace.take(100)
    got = 0
    for _ in range(600):
        clock.advance(dt.timedelta(seconds=1))
        got += await pace.take(100)
    assert first == 3
    assert 299 <= got <= 301


async def test_tokens_come_back(clock: ManualClock) -> None:
    """Tokens for which there was no letter are not lost."""
    pace = Pace(clock, per_minute=60)
    got = await pace.take(6)
    await pace.give_back(got)
    assert await pace.take(6) == got


async def test_the_next_token_is_foretold(clock: ManualClock) -> None:
    """The time that a pace names is the time at which a letter may go."""
    pace = Pace(clock, per_minute=30)
    assert await pace.take(100) == 3
    clock.move_to(pace.next_token())
    assert await pace.take(1) == 1


async def test_a_relay_that_fails_is_left_alone_longer_and_longer(clock: ManualClock) -> None:
    """Back-off doubles from two seconds, and ends with the first success."""
    pace = Pace(clock, per_minute=0)
    waits = []
    for _ in range(4):
        pace.failed("connection refused", hold=False)
        closed = pace.closed
        assert closed is not None
        assert closed.until is not None
        waits.append((closed.until - clock.now()).total_seconds())
        assert await pace.take(10) == 0
        clock.move_to(closed.until)
        assert pace.closed is None
        assert await pace.take(1) == 1
    assert waits == [2, 4, 8, 16]
    pace.went_well()
    assert pace.trouble is None


async def test_ten_connections_that_fall_together_are_one_failure(clock: ManualClock) -> None:
    """The other connections' failures do not lengthen the wait of the first."""
    pace = Pace(clock, per_minute=0)
    for _ in range(10):
        pace.failed("connection refused", hold=False)
    assert pace.failures == 1


async def test_a_hold_ends_by_no_clock(clock: ManualClock) -> None:
    """A refused password closes the relay until a person acts, even while it is already closed for a moment."""
    pace = Pace(clock, per_minute=0)
    pace.failed("connection lost", hold=False)
    pace.failed("the password was refused", hold=True)
    clock.advance(dt.timedelta(days=1))
    assert pace.closed is not None
    assert pace.closed.until is None
    assert await pace.take(1) == 0


@given(tries=st.integers(1, 60), chance=st.floats(0, 1, exclude_max=True))
def test_waits_grow_and_stay_within_bounds(tries: int, chance: float) -> None:
    """A wait is the first wait doubled per try and at most a fifth more, never past the longest, never past the end of trying."""
    settings = Delivery()
    start = dt.datetime(2006, 7, 7, tzinfo=dt.UTC)
    again = next_try(settings, tries=tries, first_at=start, now=start, chance=lambda: chance)
    assert again is not None
    planned = min(settings.first_retry * 2 ** (tries - 1), settings.longest_retry)
    assert planned <= (again - start).total_seconds() <= planned * 1.2


def test_the_schedule_of_tries_is_that_of_a_mail_server() -> None:
    """Without settings: the first new try after a quarter of an hour at least, each wait twice the last, up to hours, for four to five days."""
    start, settings = dt.datetime(2006, 7, 7, tzinfo=dt.UTC), Delivery()
    times, tries = [start], 1
    while again := next_try(settings, tries=tries, first_at=start, now=times[-1], chance=lambda: 0.0):
        times.append(again)
        tries += 1
    waits = [(later - earlier) / dt.timedelta(minutes=1) for earlier, later in itertools.pairwise(times)]
    assert waits[:6] == [15, 30, 60, 120, 240, 240]
    assert dt.timedelta(days=4) <= times[-1] - start <= dt.timedelta(days=5)
    assert 20 <= len(times) <= 40


@pytest.mark.parametrize(("days", "expired"), [(3.9, False), (4, True), (9, True)])
def test_there_is_an_end_to_trying(days: float, expired: bool) -> None:
    """After `give_up_after` there is no next try; before it, the last one is not later than it."""
    settings = Delivery()
    start = dt.datetime(2006, 7, 7, tzinfo=dt.UTC)
    now = start + dt.timedelta(days=days)
    again = next_try(settings, tries=9, first_at=start, now=now, chance=lambda: 0.5)
    assert (again is None) is expired
    if again is not None:
        assert again <= start + dt.timedelta(seconds=settings.give_up_after)

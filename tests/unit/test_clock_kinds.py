"""Both clocks keep the same promises; the one moved by hand wakes sleepers in the order of their times."""

import asyncio
import datetime as dt

import pytest

from mailer.clock import ManualClock, SystemClock

START = dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock(START)], ids=["system", "manual"])
async def test_both_clocks(clock):
    """The time is aware and in UTC, `running` never goes back, and sleeping until a past moment returns at once."""
    assert clock.now().utcoffset() == dt.timedelta(0)
    first = clock.running()
    await clock.sleep_until(clock.now() - MINUTE)
    assert clock.running() >= first


async def test_the_systems_clock_wakes_at_the_moment():
    """A sleep of the machine's clock ends at or after its moment, not before."""
    clock = SystemClock()
    moment = clock.now() + dt.timedelta(milliseconds=20)
    await clock.sleep_until(moment)
    assert clock.now() >= moment


async def test_sleepers_wake_in_order():
    """Sleepers wake in the order of their times, and those of one time in the order in which they lay down."""
    clock = ManualClock(START)
    woken: list[str] = []

    async def sleeper(name: str, minutes: int) -> None:
        await clock.sleep_until(START + minutes * MINUTE)
        woken.append(name)

    tasks = [asyncio.create_task(sleeper(name, minutes)) for name, minutes in [("c", 3), ("a", 1), ("b", 2), ("b2", 2)]]
    await asyncio.sleep(0)
    clock.advance(2 * MINUTE)
    await asyncio.sleep(0)
    assert woken == ["a", "b", "b2"]
    clock.advance(MINUTE)
    await asyncio.gather(*tasks)
    assert woken == ["a", "b", "b2", "c"]


async def test_a_sleeper_may_go_away():
    """A sleeper that was cancelled is passed over."""
    clock = ManualClock(START)
    task = asyncio.create_task(clock.sleep_until(START + MINUTE))
    await asyncio.sleep(0)
    task.cancel()
    clock.advance(2 * MINUTE)
    with pytest.raises(asyncio.CancelledError):
        await task


def test_moving_tells_listeners():
    """Each move is told to those who listen, with the clock already at its new time; `running` grows by as much."""
    clock = ManualClock(START)
    heard = []
    clock.on_move(lambda: heard.append((clock.now(), clock.running())))
    before = clock.running()
    clock.advance(MINUTE)
    clock.move_to(START + 3 * MINUTE)
    assert heard == [(START + MINUTE, before + 60), (START + 3 * MINUTE, before + 180)]


def test_time_does_not_go_back():
    """A clock moved by hand refuses to go back, and to start from a time without a zone."""
    with pytest.raises(ValueError, match="only goes forward"):
        ManualClock(START).move_to(START - MINUTE)
    with pytest.raises(ValueError, match="aware"):
        ManualClock(START.replace(tzinfo=None))

"""What is foreseen is what sending takes: the forecast from the rows, beside the sending itself on a clock that is moved."""

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mailer.app import App
from mailer.circulars.models import Circular
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.claims import Run
from mailer.delivery.forecast import Forecast
from mailer.delivery.foreseen import of_circular
from mailer.delivery.models import Obstacle, RelayUse
from mailer.delivery.turns import Told
from mailer.settings import Route
from mailer.transport.memory import MemoryTransport
from tests.support.approved import addresses, office
from tests.support.relays import another, chosen, process, reached
from tests.support.stage import open_stage, prepare

SECOND, HOUR = dt.timedelta(seconds=1), dt.timedelta(hours=1)
TWO = {"relay": ["main", "second"], "relays": {"main": {"recipients_per_day": 10}, "second": {"per_minute": 6}}}
PAIRS = [[f"a{number}@org.example", f"b{number}@org.example"] for number in range(5)]
MIXED = [[f"office{number}@{'slow' if number % 3 else 'org'}.example"] for number in range(18)]
ROUTED = Route(domains=["slow.example"], relay="second")


@pytest.mark.parametrize(
    ("settings", "mailboxes", "used", "spread", "words"),
    [
        ({"relays": {"main": {"per_minute": 6}}}, addresses(9), {}, None, "about 2 minutes at 6 a minute"),
        ({"relays": {"main": {"recipients_per_day": 4}}}, PAIRS, {}, None, "about 3 days at 4 addresses a day"),
        (
            {"relays": {"main": {"recipients_per_day": 20, "per_minute": 600}}},
            addresses(30),
            {3: 8, 5: 5},
            None,
            "about 45 hours at 20 addresses a day (13 of them used)",
        ),
        ({"pace": {"domains": {"slow.example": {"per_minute": 6}}}}, MIXED, {}, None, "at 6 a minute to slow.example"),
        (TWO, addresses(26), {}, None, "about 3 minutes at 6 a minute"),
        (
            {"relays": {"main": {"per_minute": 60}, "second": {"per_minute": 4}}, "routes": {"slow": ROUTED}},
            MIXED,
            {},
            None,
            "about 3 minutes at 4 a minute",
        ),
        ({}, addresses(12), {}, 2 * HOUR, "spread over about 114 minutes"),
    ],
    ids=["minute", "day", "day, partly used", "domain", "stand-in", "route", "spread"],
)
async def test_the_forecast_is_what_sending_takes(
    sqlite_database: Database,
    clock: ManualClock,
    tmp_path: Path,
    settings: dict[str, Any],
    mailboxes: Sequence[Sequence[str]],
    used: dict[int, int],
    spread: dt.timedelta | None,
    words: str,
) -> None:
    """Within ten seconds, or a twentieth, of when the last letter leaves, whatever limits it."""
    app, circular = await office(sqlite_database, clock, tmp_path, mailboxes, chosen(**settings))
    begun = clock.now()
    async with sqlite_database.write() as session:
        session.add_all(
            RelayUse(relay="main", hour=begun.replace(hour=hour), recipients=count) for hour, count in used.items()
        )
    until = begun + spread if spread else None
    seen = await _foreseen(app, circular, until)
    assert words in seen.words(begun, dt.UTC)
    relays = {name: MemoryTransport() for name in app.settings.relays}
    took = await _send(app, clock, relays, circular, until, letters=len(mailboxes))
    assert reached(*relays.values()).total() == sum(map(len, mailboxes))
    assert seen.takes is not None
    assert abs(took - seen.takes) <= max(10 * SECOND, took / 20)


async def test_beside_another_circular_too(sqlite_database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """The small one of two that share a pace is foreseen to take twice as long as alone, and does."""
    app, small = await office(
        sqlite_database, clock, tmp_path, addresses(18), chosen(relays={"main": {"per_minute": 60}})
    )
    large = await another(app, tmp_path, [f"office{number}@many.example" for number in range(30)], "large")
    alone = await _foreseen(app, small)
    await app.delivery.start(large, by="anna")
    seen = await _foreseen(app, small)
    assert alone.takes == 12 * SECOND
    assert seen.takes == 30 * SECOND
    assert "less than a minute at 60 a minute, shared with another circular" in seen.words(clock.now(), dt.UTC)
    took = await _send(app, clock, {"main": MemoryTransport()}, small, letters=18)
    assert abs(took - seen.takes) <= 10 * SECOND


async def test_closed_relays_are_told(sqlite_database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """One that rests is waited for, one that waits for a person is told, unless that person lets it go now."""
    app, circular = await office(sqlite_database, clock, tmp_path, addresses(3), chosen())
    async with sqlite_database.write() as session:
        row = {"key": "relay:main", "owner": "1-elsewhere", "why": "its day is over", "since": clock.now()}
        session.add(Obstacle(**row, until=clock.now() + HOUR))
    assert "about 60 minutes (our mail server main is not used before 09:00)" in (
        (await _foreseen(app, circular)).words(clock.now(), dt.UTC)
    )
    async with sqlite_database.write() as session:
        (await session.get_one(Obstacle, ("relay:main", "1-elsewhere"))).until = None
    assert "main must be seen to" in (await _foreseen(app, circular)).words(clock.now(), dt.UTC)
    async with sqlite_database.read() as session:
        row = await session.get_one(Circular, circular)
        seen = await of_circular(session, app.settings, row, now=clock.now(), lifted=True)
    assert "as fast as the mail server takes them" in seen.words(clock.now(), dt.UTC)


async def test_letters_are_spread_by_the_mail_servers_own_record(tmp_path: Path) -> None:
    """Through real SMTP: three letters that have an hour leave some 20 minutes apart, as the server saw them, and none too late."""
    await prepare(tmp_path / "prepared")
    async with open_stage(tmp_path / "prepared", tmp_path / "home", {}, pipelining=True, connections=2) as stage:
        async with stage.running() as made:
            until = stage.ours.now() + HOUR
            await made.delivery.start(stage.circular, by="anna", finish_by=until)
            while (await made.delivery.progress(stage.circular)).next_at or not stage.server.taken:
                await stage.work(made)
                standing = await made.delivery.progress(stage.circular)
                stage.pass_time(max((standing.next_at or stage.ours.now()) - stage.ours.now(), dt.timedelta(0)))
        times = [one.at for one in stage.server.taken]
        assert stage.copies() == {"one": 1, "two": 1, "cc": 1, "three": 1}
    assert [18 <= (later - earlier) / (60 * SECOND) <= 22 for earlier, later in pairwise(times)] == [True, True]
    assert times[-1] < until


async def _foreseen(app: App, circular: int, until: dt.datetime | None = None) -> Forecast:
    async with app.database.read() as session:
        row = await session.get_one(Circular, circular)
        return await of_circular(session, app.settings, row, now=app.clock.now(), finish_by=until)


async def _send(
    app: App,
    clock: ManualClock,
    relays: dict[str, MemoryTransport],
    circular: int,
    until: dt.datetime | None = None,
    *,
    letters: int,
) -> dt.timedelta:
    """Send a circular, beside what else is under way: from the beginning to the last of its *letters*."""
    begun = clock.now()
    left: list[dt.timedelta] = []

    def watch(run: Run, told: Sequence[Told]) -> None:
        left.extend(clock.now() - begun for one in told if run.circular == circular and one.left is not None)

    def next_thing(due: dt.datetime | None) -> bool:
        if due is None or len(left) == letters:
            return True
        clock.move_to(max(due, clock.now() + dt.timedelta(milliseconds=1)))
        made.engine.ring()
        return False

    async with process(app, relays, watch=[watch]) as made:
        await made.delivery.start(circular, by="anna", finish_by=until)
        await made.work(until=next_thing)
    assert len(left) == letters
    return left[-1]

"""The engine of one machine, and the lock of the home."""

import asyncio
import datetime as dt
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from mailer.clock import ManualClock
from mailer.database import Database
from mailer.engine import embedded
from mailer.engine.embedded import Embedded
from mailer.engine.lock import HomeLock
from mailer.errors import DatabaseError, HomeBusy
from mailer.wake import Call


class Rows:
    """Unfinished work: key -> due time."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.left: dict[str, dt.datetime] = {}
        self.done: list[str] = []
        self.at_once = self.most = 0
        #: the engine has found nothing to do, and asks how long it may rest
        self.asked = asyncio.Event()

    async def due(self, now: dt.datetime, limit: int, skip: Collection[str]) -> Sequence[Call]:
        found = [key for key, due in self.left.items() if due <= now and key not in skip]
        return [Call("work", key) for key in found[:limit]]

    async def next_due(self) -> dt.datetime | None:
        self.asked.set()
        return min(self.left.values(), default=None)

    async def __call__(self, call: Call) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        self.left.pop(call.key, None)
        self.done.append(call.key)


async def test_unfinished_work_is_found_without_any_call(clock: ManualClock) -> None:
    """Rows that are due are worked at, each once, never more at a time than there are slots."""
    rows = Rows(clock)
    rows.left = {f"{number}": clock.now() for number in range(20)}
    await Embedded([rows], clock).work({"work": rows}, 3, until=lambda due: due is None)
    assert sorted(rows.done, key=int) == [str(number) for number in range(20)]
    assert rows.most == 3


async def test_what_falls_due_later_waits_for_the_clock(clock: ManualClock) -> None:
    """A row that is due in an hour is worked at once the clock is there, and not before."""
    rows = Rows(clock)
    rows.left = {"later": clock.now() + dt.timedelta(hours=1)}
    engine = Embedded([rows], clock)
    working = asyncio.create_task(engine.work({"work": rows}, 2, until=lambda due: due is None))
    for _ in range(20):
        await asyncio.sleep(0)
    assert rows.done == []
    clock.advance(dt.timedelta(hours=1))
    await asyncio.wait_for(working, 60)
    assert rows.done == ["later"]


@pytest.mark.parametrize("failures", [2, 3])
async def test_a_moment_without_a_database_ends_no_work(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """A look at the rows that fails is made again after a while; three in a row end the work with that error."""
    monkeypatch.setattr(embedded, "_PENANCE", 0.01)

    class Blind(Rows):
        looks = 0

        async def due(self, now: dt.datetime, limit: int, skip: Collection[str]) -> Sequence[Call]:
            self.looks += 1
            if 2 <= self.looks < 2 + failures:
                raise DatabaseError("the server went away", where="database")
            return await super().due(now, limit, skip)

    rows = Blind(clock)
    rows.left = {"one": clock.now()}
    engine = Embedded([rows], clock, poll=0.01)
    working = engine.work({"work": rows}, 1, until=lambda _due: rows.looks > 5)
    if failures < 3:
        await asyncio.wait_for(working, 60)
        assert rows.looks > 5
    else:
        with pytest.raises(DatabaseError, match="went away"):
            await asyncio.wait_for(working, 60)
    assert rows.done == ["one"]


async def test_a_call_is_heard_only_after_the_commit(clock: ManualClock, database: Database) -> None:
    """The bell rings when the transaction that wrote the rows has committed; rolled back, it does not ring."""
    rows = Rows(clock)
    engine = Embedded([rows], clock, poll=60)
    working = asyncio.create_task(engine.work({"work": rows}, 2))
    await rows.asked.wait()
    with pytest.raises(RuntimeError):
        async with database.write() as session:
            await engine.hand_on([Call("work", "lost")], session)
            raise RuntimeError
    async with database.write() as session:
        rows.left["kept"] = clock.now()
        await engine.hand_on([Call("work", "kept")], session)
        assert rows.done == []
    while not rows.done:  # noqa: ASYNC110 - the row is what the engine works at, and it rings no bell
        await asyncio.sleep(0)
    assert rows.done == ["kept"]
    engine.stop()
    await working


async def test_stopping_waits_for_what_runs(clock: ManualClock) -> None:
    """`stop` lets a running handler end and starts no other."""
    rows = Rows(clock)
    rows.left = {"one": clock.now(), "two": clock.now()}
    started, go = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> None:
        started.set()
        await go.wait()
        await rows(call)

    engine = Embedded([rows], clock)
    working = asyncio.create_task(engine.work({"work": slow}, 1))
    await started.wait()
    engine.stop()
    go.set()
    await asyncio.wait_for(working, 60)
    assert rows.done == ["one"]


def test_a_home_has_one_sender(tmp_path: Path) -> None:
    """A second process is told who sends; when the first is killed the home is free at once."""
    program = (
        "import sys, time; from pathlib import Path; from mailer.engine.lock import HomeLock\n"
        "HomeLock(Path(sys.argv[1])).acquire(what='serve', since='noon', by='anna'); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        own = HomeLock(tmp_path)
        with pytest.raises(HomeBusy, match=f"process {other.pid} \\(`serve`, since noon\\) sends"):
            own.acquire(what="send", since="now", by="bert")
        other.kill()
        other.wait()
        own.acquire(what="send", since="now", by="bert")
        own.release()
        own.release()

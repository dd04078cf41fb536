"""The database under several writers, readers, cancellation and clashes; real processes, real files."""

import asyncio
import datetime as dt
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, event, insert, select, text, update
from sqlalchemy.exc import OperationalError

from lists.db import UtcDateTime
from mailer.database import Database, _undisturbed, after_commit
from mailer.errors import DatabaseError

TABLES = MetaData()
COUNTER = Table("counter", TABLES, Column("id", Integer, primary_key=True), Column("value", Integer, nullable=False))
MOMENT = Table(
    "moment", TABLES, Column("id", Integer, primary_key=True), Column("at", UtcDateTime()), Column("note", String(20))
)

INCREMENT = """
import asyncio, sys
from sqlalchemy import text
from mailer.database import Database

async def main(url, times):
    database = Database(url)
    for _ in range(times):
        async with database.write() as session:
            value = (await session.execute(text("SELECT value FROM counter WHERE id = 1"))).scalar_one()
            await session.execute(text("UPDATE counter SET value = :value WHERE id = 1"), {"value": value + 1})
    await database.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def _filled(url: str) -> Database:
    opened = Database(url)
    async with opened.write() as session:
        await (await session.connection()).run_sync(TABLES.create_all)
        await session.execute(insert(COUNTER).values(id=1, value=0))
    return opened


@pytest.fixture
async def sqlite_scratch(tmp_path: Path):
    """A SQLite database with a counter at 0 and a table of moments."""
    opened = await _filled(f"sqlite:///{tmp_path / 'scratch.sqlite3'}")
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def scratch(request: pytest.FixtureRequest, tmp_path: Path):
    """A database with a counter at 0 and a table of moments, of each kind."""
    if request.param == "sqlite":
        opened = await _filled(f"sqlite:///{tmp_path / 'scratch.sqlite3'}")
        yield opened
        await opened.close()
        return
    server = request.getfixturevalue("postgres")
    name = server.new()
    opened = await _filled(server.url(name))
    yield opened
    await opened.close()
    server.drop(name)


async def value_of(database: Database) -> int:
    """What the counter stands at."""
    async with database.read() as session:
        return (await session.execute(select(COUNTER.c.value))).scalar_one()


async def test_four_processes_lose_no_update(scratch: Database):
    """Four processes that each read and then update a row 30 times leave it at 120."""
    url = scratch.writer.url.render_as_string(hide_password=False)
    root = Path(__file__).resolve().parents[2]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", INCREMENT, url, "30", cwd=root, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    ends = [(await process.communicate(), process.returncode) for process in processes]
    assert [(error, code) for (_, error), code in ends] == [(b"", 0)] * 4
    assert await value_of(scratch) == 120


async def test_forty_tasks_lose_no_update(scratch: Database):
    """Tasks of one process queue up: forty read-then-update transactions at once leave the row at 40."""

    async def increment() -> None:
        async with scratch.write() as session:
            value = (await session.execute(select(COUNTER.c.value))).scalar_one()
            await asyncio.sleep(0)
            await session.execute(update(COUNTER).values(value=value + 1))

    await asyncio.gather(*(increment() for _ in range(40)))
    assert await value_of(scratch) == 40


async def test_a_reader_cannot_write(scratch: Database):
    """What tries to write through `read()` is refused in plain words, and nothing changes."""
    with pytest.raises(DatabaseError, match="only reading is allowed"):
        async with scratch.read() as session:
            await session.execute(update(COUNTER).values(value=5))
    assert await value_of(scratch) == 0


async def test_a_reader_sees_one_moment(scratch: Database):
    """A reader's view does not change under it, and a writer does not wait for the reader."""
    async with scratch.read() as session:
        before = (await session.execute(select(COUNTER.c.value))).scalar_one()
        async with scratch.write() as writer:
            await writer.execute(update(COUNTER).values(value=7))
        assert (await session.execute(select(COUNTER.c.value))).scalar_one() == before
    assert await value_of(scratch) == 7


async def test_an_error_rolls_back(scratch: Database):
    """An error in the block undoes all of it and comes out as it was."""
    with pytest.raises(KeyError):
        async with scratch.write() as session:
            await session.execute(update(COUNTER).values(value=9))
            raise KeyError
    assert await value_of(scratch) == 0


async def test_calls_wait_for_the_commit(sqlite_scratch: Database):
    """`after_commit` calls run once the rows can be seen by others, and never after a roll-back."""
    seen: list[int] = []

    def look() -> None:
        with sqlite3.connect(sqlite_scratch.file) as other:
            seen.append(other.execute("SELECT value FROM counter").fetchone()[0])
        other.close()

    async with sqlite_scratch.write() as session:
        after_commit(session, look)
        await session.execute(update(COUNTER).values(value=3))
        assert seen == []
    assert seen == [3]
    with pytest.raises(KeyError):
        async with sqlite_scratch.write() as session:
            after_commit(session, look)
            raise KeyError
    assert seen == [3]


async def test_a_failing_call_does_not_undo_the_belief_in_the_commit(scratch: Database, caplog):
    """A call that fails after the commit is logged, the others still run, and the writer hears of no error."""
    ran = []

    def fail() -> None:
        raise RuntimeError("a listener's own trouble")

    async with scratch.write() as session:
        await session.execute(update(COUNTER).values(value=4))
        after_commit(session, fail)
        after_commit(session, lambda: ran.append(1))
    assert (await value_of(scratch), ran, caplog.messages) == (4, [1], ["after-commit-failed"])


async def test_a_cancelled_transaction_leaves_nothing(scratch: Database):
    """A task cancelled within its transaction changes nothing and holds up nobody."""
    inside = asyncio.Event()

    async def hang() -> None:
        async with scratch.write() as session:
            await session.execute(update(COUNTER).values(value=99))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with scratch.write() as session:
        await session.execute(update(COUNTER).values(value=COUNTER.c.value + 1))
    assert await value_of(scratch) == 1


async def test_a_task_cancelled_in_a_statement_leaves_nothing(scratch: Database):
    """A task cancelled while a statement of its runs changes nothing; the next writer finds the database free."""
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) UPDATE counter SET value = (SELECT max(i) FROM n)"

    async def work(begun: asyncio.Event) -> None:
        async with scratch.write() as session:
            begun.set()
            await session.execute(text(slow))

    for _ in range(3):
        begun = asyncio.Event()
        task = asyncio.create_task(work(begun))
        await begun.wait()
        await asyncio.sleep(0)  # let the statement reach the driver's thread
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with scratch.write() as session:
        await session.execute(update(COUNTER).values(value=COUNTER.c.value + 1))
    assert await value_of(scratch) == 1


async def test_a_commit_is_finished_even_when_cancelled(scratch: Database):
    """A task cancelled during its commit still commits, makes its calls, and is then cancelled."""
    told: list[str] = []

    async def work() -> None:
        async with scratch.write() as session:
            await session.execute(update(COUNTER).values(value=6))
            after_commit(session, lambda: told.append("committed"))
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())
    assert (await value_of(scratch), told) == (6, ["committed"])


async def test_who_is_cancelled_while_the_end_fails_is_cancelled():
    """A commit that fails while its task is cancelled is no reason to go on: a loop that outlives failures would never end."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def commit() -> None:
        begun.set()
        await go.wait()
        raise OperationalError("COMMIT", None, Exception("gone"))

    task = asyncio.create_task(_undisturbed(commit()))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_reader_that_is_cancelled_at_its_end_says_nothing(scratch: Database, caplog: pytest.LogCaptureFixture):
    """A task cancelled while its reading is being ended is cancelled, without a traceback in the log; the connection serves on."""
    first = await value_of(scratch)
    reading = asyncio.create_task(value_of(scratch))
    event.listen(scratch._reader.sync_engine, "reset", lambda *_: reading.cancel())
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert await value_of(scratch) == first


async def test_waiting_for_another_process_can_be_cancelled(sqlite_scratch: Database):
    """While another process writes, a waiting writer can be cancelled, and writes once the other has ended."""
    other = sqlite3.connect(sqlite_scratch.file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    async def increment() -> None:
        async with sqlite_scratch.write() as session:
            await session.execute(update(COUNTER).values(value=COUNTER.c.value + 1))

    waiting = asyncio.create_task(increment())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    patient = asyncio.create_task(increment())
    release = threading.Timer(0.7, lambda: (other.execute("COMMIT"), other.close()))  # longer than one turn of waiting
    release.start()
    await patient
    release.join()
    assert await value_of(sqlite_scratch) == 1


async def test_times_come_back_aware(scratch: Database):
    """A time of any zone comes back as the same moment in UTC, and None stays None."""
    moment = dt.datetime(2006, 7, 17, 15, 0, 0, 123456, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    async with scratch.write() as session:
        await session.execute(insert(MOMENT), [{"id": 1, "at": moment}, {"id": 2, "at": None}])
    async with scratch.read() as session:
        found = (await session.execute(select(MOMENT.c.at).order_by(MOMENT.c.id))).scalars().all()
        later = (
            (await session.execute(select(MOMENT.c.id).where(MOMENT.c.at > moment - dt.timedelta(seconds=1))))
            .scalars()
            .all()
        )
    assert found == [moment, None]
    assert found[0].utcoffset() == dt.timedelta(0)
    assert later == [1]


async def test_a_naive_time_is_refused(scratch: Database):
    """A time without a zone does not reach the database."""
    with pytest.raises(DatabaseError, match="naive time"):
        async with scratch.write() as session:
            await session.execute(insert(MOMENT).values(id=1, at=dt.datetime(2006, 7, 17)))  # noqa: DTZ001 - the wrong thing is the point


async def test_closing_takes_the_log_into_the_file(tmp_path: Path):
    """After `close()` the file alone holds everything: no log beside it, no thread left, and closing again is harmless."""
    threads = set(threading.enumerate())
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    async with database.write() as session:
        await (await session.connection()).run_sync(TABLES.create_all)
        await session.execute(insert(COUNTER).values(id=1, value=5))
    assert await value_of(database) == 5
    await database.close()
    await database.close()
    assert [path.name for path in tmp_path.iterdir()] == ["x.sqlite3"]
    assert not [thread for thread in threading.enumerate() if thread not in threads and "asyncio" not in thread.name]


async def test_a_new_file_is_its_owners_only(tmp_path: Path):
    """The file and its log can be read by their owner only, whatever the umask says."""
    before = os.umask(0)
    try:
        database = Database(f"sqlite:///{tmp_path / 'x.sqlite3'}")
        async with database.write() as session:
            await (await session.connection()).run_sync(TABLES.create_all)
            await session.execute(insert(COUNTER).values(id=1, value=0))
        rights = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
        await database.close()
    finally:
        os.umask(before)
    assert "x.sqlite3-wal" in rights
    assert set(rights.values()) == {"0o600"}

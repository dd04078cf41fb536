"""What befalls our own machine in the fault matrix. Each takes the place of the first sending, and leaves the home ready for the next.

Full disks are the kernel's own refusals: `/dev/full` in place of the journal, and RLIMIT_FSIZE, at which no file of this process can
grow (Python ignores SIGXFSZ, so that the write fails, and a write across the limit is cut short as on a full disk).
"""

import asyncio
import datetime as dt
import os
import resource
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from mailer import database
from mailer.delivery import send
from mailer.delivery.journal import Journal
from mailer.dispatch import Sending
from mailer.engine import embedded
from mailer.errors import ChanceryError, DatabaseError, JournalError
from tests.support.stage import Stage

#: Faults that troubles need so that something is on its way when they strike; released by `_let_go`.
HELD_AT: dict[str, str] = {
    "locked_for_a_moment": "mail",
    "locked_for_long": "dot",
    "no_room_for_rows": "dot",
    "no_room_at_all": "mail",
    "no_room_for_the_journal": "mail",
    "no_room_for_the_answer": "dot",
    "asleep_before_content": "data",
    "asleep_before_the_answer": "reply",
    "a_day_ahead": "data",
    "a_day_back": "data",
    "stopped": "dot",
    "paused": "dot",
}
_HELD_FOR = dt.timedelta(seconds=30)


def faults_of(trouble: str) -> list[dict[str, Any]]:
    """The rule that holds the first letter where the trouble strikes."""
    at = HELD_AT.get(trouble)
    return [{"at": at, "do": "stall", "seconds": _HELD_FOR.total_seconds(), "times": 1}] if at else []


def _let_go(stage: Stage) -> None:
    stage.theirs.advance(_HELD_FOR)


async def _begin(stage: Stage, made: Sending, at: str) -> "asyncio.Task[None]":
    """Send until the relay holds a letter at this phase."""
    await made.delivery.start(stage.circular, by="anna")
    working = asyncio.create_task(stage.work(made))
    await stage.server.reached(at)
    return working


@contextmanager
def _impatient() -> Iterator[None]:
    """Waiting for a database takes moments in place of minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_PATIENCE", 0.0)
        patch.setattr(send, "_TURN_WAIT", 0.01)
        patch.setattr(embedded, "_PENANCE", 0.05)
        yield


@contextmanager
def _no_growth(size: int) -> Iterator[None]:
    """No file may grow beyond *size* octets."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def full(journal: Journal) -> Iterator[None]:
    """The journal's file is on a disk without room."""
    kept, full = os.dup(journal._fd), os.open("/dev/full", os.O_RDWR)
    os.dup2(full, journal._fd, inheritable=False)
    try:
        yield
    finally:
        os.dup2(kept, journal._fd, inheritable=False)
        os.close(kept)
        os.close(full)


def _lock(stage: Stage) -> sqlite3.Connection:
    """Another program that writes to the database."""
    assert stage.app.database.file is not None
    other = sqlite3.connect(stage.app.database.file, isolation_level=None, timeout=30, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


async def locked_for_a_moment(stage: Stage) -> None:
    """Another program writes for most of a second while answers come in."""
    async with stage.running() as made:
        working = await _begin(stage, made, "mail")
        with closing(await asyncio.to_thread(_lock, stage)):
            _let_go(stage)
            await asyncio.sleep(0.8)
        await working


async def locked_for_long(stage: Stage) -> None:
    """Another program writes for so long that we give up; what was heard meanwhile is in the journal."""
    async with stage.running() as made:
        working = await _begin(stage, made, "dot")
        with _impatient(), closing(await asyncio.to_thread(_lock, stage)):
            _let_go(stage)
            with suppress(DatabaseError):
                await working


async def no_room_for_rows(stage: Stage) -> None:
    """The write-ahead log can't grow; the journal, which is smaller, can."""
    file = stage.app.database.file
    assert file is not None
    async with stage.running() as made:
        working = await _begin(stage, made, "dot")
        with _impatient(), _no_growth(file.with_name(f"{file.name}-wal").stat().st_size):
            _let_go(stage)
            with suppress(ChanceryError):
                await working


async def no_room_at_all(stage: Stage) -> None:
    """Nothing can grow, and the first line of the journal is cut after thirty octets."""
    async with stage.running() as made:
        working = await _begin(stage, made, "mail")
        with _impatient(), _no_growth(30):
            _let_go(stage)
            with suppress(ChanceryError):
                await working
    assert stage.server.taken == []


async def no_room_for_the_journal(stage: Stage) -> None:
    """The journal can't be written when content is to start: nothing leaves."""
    async with stage.running() as made:
        working = await _begin(stage, made, "mail")
        with _impatient(), full(made._sender.journal):
            _let_go(stage)
            with suppress(JournalError):
                await working
    assert stage.server.taken == []


async def no_room_for_the_answer(stage: Stage) -> None:
    """The journal can't be written when the answer comes; we know it all the same."""
    async with stage.running() as made:
        working = await _begin(stage, made, "dot")
        with _impatient(), full(made._sender.journal):
            _let_go(stage)
            with suppress(JournalError):
                await working


async def no_journal_folder(stage: Stage) -> None:
    """Where the journal's folder should be there is a file: nothing is begun."""
    in_the_way = stage.app.home / "journal"
    in_the_way.write_text("", encoding="utf-8")
    await stage.app.delivery.start(stage.circular, by="anna")
    with pytest.raises(JournalError):
        async with stage.running():
            pass
    in_the_way.unlink()


async def _jump(stage: Stage, at: str, jump: Callable[[], None]) -> None:
    async with stage.running() as made:
        working = await _begin(stage, made, at)
        jump()
        await asyncio.sleep(0)
        _let_go(stage)
        await working


async def asleep_before_content(stage: Stage) -> None:
    """The machine sleeps while leave to send is asked for."""
    await _jump(stage, "data", lambda: stage.pass_time(dt.timedelta(hours=10)))


async def asleep_before_the_answer(stage: Stage) -> None:
    """The machine sleeps while the answer is due; connection and relay have lived on."""
    await _jump(stage, "taken", lambda: stage.ours.advance(dt.timedelta(hours=10)))


async def a_day_ahead(stage: Stage) -> None:
    """A time server sets the clock a day ahead."""
    await _jump(stage, "data", lambda: stage.ours.set_wall(dt.timedelta(days=1)))


async def a_day_back(stage: Stage) -> None:
    """A time server sets the clock a day back."""
    await _jump(stage, "data", lambda: stage.ours.set_wall(-dt.timedelta(days=1)))


async def stopped(stage: Stage) -> None:
    """SIGTERM's effect: what is on the way ends, nothing more starts."""
    async with stage.running() as made:
        working = await _begin(stage, made, "dot")
        made.stop()
        _let_go(stage)
        await working
    assert "uncertain" not in (await stage.states()).values()


async def paused(stage: Stage) -> None:
    """Another process pauses the circular, and resumes it."""
    async with stage.running() as made:
        working = await _begin(stage, made, "dot")
        await stage.app.delivery.pause(stage.circular, by="anna")
        made._brakes.held = {stage.circular}
        _let_go(stage)
        await working
    assert set((await stage.states()).values()) <= {"accepted", "queued"}
    await stage.app.delivery.resume(stage.circular, by="anna")


TROUBLES: dict[str, Callable[[Stage], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        locked_for_a_moment,
        locked_for_long,
        no_room_for_rows,
        no_room_at_all,
        no_room_for_the_journal,
        no_room_for_the_answer,
        no_journal_folder,
        asleep_before_content,
        asleep_before_the_answer,
        a_day_ahead,
        a_day_back,
        stopped,
        paused,
    )
}

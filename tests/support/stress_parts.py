"""What a stress of delivery is made of: a clock that runs fast, a database that fails on order, and senders as one process holds them.

All of it is one process, so that moments are drawn finely: a sender here is what a process has of its own (its connections to the
database, its journal, its relays, its tasks), put together by `dispatch.sending`, and ended as a process ends it.
"""

import asyncio
import contextlib
import contextvars
import datetime as dt
import sqlite3
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from mailer import database as rows
from mailer import dispatch
from mailer.app import App
from mailer.circulars import planning
from mailer.circulars import rows as letter_rows
from mailer.clock import Clock
from mailer.database import Database
from mailer.delivery import proof, send
from mailer.dispatch import Sending, sending
from mailer.engine import embedded
from mailer.errors import ChanceryError, DatabaseError
from mailer.settings import Settings
from tests.support.postgres import Server as Postgres

START = dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC)
#: How much faster its clock runs; the lease on that clock, and the letters of a batch.
SPEED, LEASE, BATCH = 60.0, 30.0, 8
#: Seconds after which whatever has not ended hangs.
LONGEST = 30.0


class FastClock(Clock):
    """The machine's clock, faster; `leap` is what a suspended machine's does."""

    def __init__(self) -> None:
        self._since, self._leapt = time.monotonic(), 0.0

    def running(self) -> float:
        """Seconds, leaps included."""
        return (time.monotonic() - self._since) * SPEED + self._leapt

    def now(self) -> dt.datetime:
        """The time of day."""
        return START + dt.timedelta(seconds=self.running())

    def leap(self, step: dt.timedelta) -> None:
        """Go forward at once."""
        self._leapt += max(step.total_seconds(), 0.0)

    async def sleep_until(self, moment: dt.datetime) -> None:
        """As `Clock` says; a leap is seen within a moment."""
        while (left := (moment - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - it leaps, and no event tells it
            await asyncio.sleep(min(left / SPEED, 0.05))

    async def sleep(self, seconds: float) -> None:
        """As `Clock` says: a machine that is suspended does not get through it."""
        await asyncio.sleep(seconds / SPEED)


@contextmanager
def brisk() -> Iterator[None]:
    """Waits of whole seconds take a twentieth of them, and a batch is small enough for a circular to have several."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (planning, letter_rows, proof):
            patch.setattr(module, "BATCH", BATCH)
        patch.setattr(send, "_TURN_WAIT", 0.03)
        patch.setattr(embedded, "_PENANCE", 0.1)
        patch.setitem(embedded.Embedded.__init__.__kwdefaults__, "poll", 0.05)
        patch.setattr(dispatch, "_WATCH", 0.02)
        patch.setattr(dispatch, "_LOOK_FOR_THE_DEAD", 0.1)
        yield


class Faulty(Database):
    """A real database that fails where it is told to.

    What may befall a transaction that writes: "statement" (one in its middle: SQLite's own refusal, or PostgreSQL ends the session),
    "before" (its commit is not made), "after" (its commit is made, and nobody hears of it). One that reads fails as it begins.
    """

    def __init__(self, url: str, postgres: Postgres | None = None) -> None:
        super().__init__(url)
        self._postgres = postgres
        self.reads: deque[bool] = deque()
        self.writes: deque[tuple[str, int] | None] = deque()
        self._left = 0
        self.struck = 0
        if postgres is not None:
            event.listen(self.writer.sync_engine, "before_cursor_execute", self._statement)

    def calm(self) -> None:
        """Nothing more befalls it."""
        self.reads.clear()
        self.writes.clear()
        self._left = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """As in `Database`."""
        if self.reads and self.reads.popleft():
            self.struck += 1
            raise DatabaseError("the connection to it was lost (drawn)", where=self.name)
        async with super().read() as session:
            yield session

    @asynccontextmanager
    async def write(self, *, alongside: bool = False) -> AsyncIterator[AsyncSession]:
        """As in `Database`."""
        fate = self.writes.popleft() if self.writes else None
        how, where = fate or ("", 0)
        async with super().write(alongside=alongside) as session:
            if how == "statement":
                await self._arm(session, where)
            try:
                yield session
            finally:
                self._left = 0
            if how == "before":
                await self._cut(session)
            if how == "after":
                session.info.pop(rows._AFTER_COMMIT, None)
        if how == "after":
            self.struck += 1
            raise DatabaseError("the connection to it was lost as it committed (drawn)", where=self.name)

    async def _cut(self, session: AsyncSession) -> None:
        """Keep a transaction from being committed."""
        self.struck += 1
        if self._postgres is None:
            raise OperationalError("COMMIT", None, sqlite3.OperationalError("drawn"))
        driver: Any = (await (await session.connection()).get_raw_connection()).driver_connection
        self._end(driver.info.backend_pid)

    async def _arm(self, session: AsyncSession, where: int) -> None:
        """Have the *where*-th statement from here fail."""
        self._left = where
        if self._postgres is None:
            driver: Any = (await (await session.connection()).get_raw_connection()).driver_connection
            await driver._execute(driver._conn.set_authorizer, self._authorize)

    def _authorize(self, action: int, *_: object) -> int:
        """SQLite asks it while it prepares a statement."""
        if action in {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE} and self._counted():
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def _statement(self, connection: Any, *_: object) -> None:
        """SQLAlchemy says that a statement goes to PostgreSQL."""
        if self._counted():
            self._end(connection.connection.driver_connection.info.backend_pid)

    def _counted(self) -> bool:
        if not self._left:
            return False
        self._left -= 1
        self.struck += not self._left
        return not self._left

    def _end(self, pid: int) -> None:
        assert self._postgres is not None
        self._postgres.run(f"SELECT pg_terminate_backend({pid}, 2000)")


_ROOT: contextvars.ContextVar["Root | None"] = contextvars.ContextVar("root", default=None)


def whose_tasks(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> "asyncio.Task[Any]":
    """A task factory that notes which sender a task belongs to: the end of a process is the end of its tasks."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **more)
    root = _ROOT.get()
    if root is not None:
        root.tasks.add(task)
        task.add_done_callback(root.tasks.discard)
    return task


def _name(task: "asyncio.Task[Any]") -> str:
    return getattr(task.get_coro(), "__qualname__", "")


@dataclass(eq=False)
class Root:
    """A sender, as a process would hold it.

    Attributes:
        wrong: what it did that no sender may do.
        compacts: its journal is compacted from so many octets on; 0: as everywhere.
    """

    home: Path
    settings: Settings
    database: Faulty
    clock: FastClock
    wrong: list[object]
    compacts: int = 0
    made: Sending | None = None
    tasks: "set[asyncio.Task[Any]]" = field(default_factory=set)
    #: what is being done to it; over before it ends
    troubles: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _task: "asyncio.Task[None] | None" = None

    def start(self) -> None:
        """Begin to send, until told to end."""
        context = contextvars.copy_context()
        context.run(_ROOT.set, self)
        self._task = asyncio.get_running_loop().create_task(self._main(), context=context, name="root")

    async def _main(self) -> None:
        app = App(home=self.home, settings=self.settings, database=self.database, clock=self.clock, by="anna")
        async with sending(app, what="send") as made:
            self.made = made
            if self.compacts:
                journal = made._sender.journal
                journal._compact_at = journal._enough = self.compacts
            try:
                await made.work()
            finally:
                self.troubles.close()
                self.made = None

    @property
    def over(self) -> bool:
        """Whether it has ended by itself, as a sender does that its database or journal keeps from working."""
        return self._task is not None and self._task.done()

    def batches(self) -> "Sequence[asyncio.Task[Any]]":
        """The tasks that work at a batch."""
        return [one for one in self.tasks if _name(one) == "Embedded._one"]

    async def end(self, how: str, wait: float) -> None:
        """End it: "stop" (in good order), "cancel", or "twice" (cancelled again after *wait* seconds); nothing of it is left."""
        task = self._task
        assert task is not None
        if how == "stop" and self.made is not None:
            self.made.stop()
        else:
            task.cancel()
            if how == "twice":
                await asyncio.sleep(wait)
                task.cancel()
        await asyncio.wait([task], timeout=LONGEST)
        if not task.done():
            self.wrong.append(("a sender that does not end", how, [repr(one) for one in self.tasks]))
        for _ in range(3):  # as `asyncio.run` does with what is left; a commit that has begun outlives one
            left = [one for one in self.tasks if not one.done()]
            for one in left:
                if not _name(one).startswith(
                    "AsyncSession."
                ):  # a process would be gone before its connections complain
                    one.cancel()
            if left:
                await asyncio.wait(left, timeout=LONGEST)
        if any(not one.done() for one in self.tasks):
            self.wrong.append(("tasks that do not end", how, [repr(one) for one in self.tasks]))
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is not None and not isinstance(error, ChanceryError):
            self.wrong.append(("a sender ended by", repr(error), traceback.format_exception(error)))
        await self.database.close()

"""The database: `write()` is the only way to write, `read()` can't.

With the defaults of SQLAlchemy and aiosqlite, 87 of 120 concurrent read-then-update transactions were lost without an error: the
driver begins late and deferred. So the driver is put in autocommit and we begin ourselves: BEGIN IMMEDIATE for a writer, a plain
BEGIN with `query_only` for a reader. Writers of one process queue at a lock, so that none waits in SQLite's busy loop.
WAL with `synchronous=FULL`: NORMAL loses the last commits at a power cut, and a lost claim is a letter sent twice.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from mailer.errors import DatabaseError

#: How long a writer waits for another process's write, in milliseconds.
_BUSY_MS = 30_000
_AFTER_COMMIT = "chancery.after_commit"


class Sessions(Protocol):
    """What services are handed: where to read and to write."""

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction that may write; commits at the end of the block, rolls back on an error."""
        ...

    def read(self) -> AbstractAsyncContextManager[AsyncSession]:
        """One consistent view that can't write."""
        ...


def after_commit(session: AsyncSession, call: Callable[[], None]) -> None:
    """Have *call* run once *session*, from `write()`, has committed; rolled back, it never runs."""
    session.info.setdefault(_AFTER_COMMIT, []).append(call)


class Database:
    """An open database; `close()` it."""

    def __init__(self, url: str | URL) -> None:
        """Open *url* (`sqlite:///path`, `postgresql://...`); connections are made when first needed."""
        parsed = make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self.file = Path(parsed.database) if self.sqlite and parsed.database else None
        self._lock = asyncio.Lock()
        if self.sqlite:
            parsed = parsed.set(drivername="sqlite+aiosqlite")
            self._writer = self._sqlite_engine(parsed, begin="BEGIN IMMEDIATE", read_only=False, size=1)
            self._reader = self._sqlite_engine(parsed, begin="BEGIN", read_only=True, size=4)
        else:
            parsed = parsed.set(drivername="postgresql+psycopg")
            self._writer = create_async_engine(parsed, pool_size=5, pool_pre_ping=True)
            self._reader = create_async_engine(
                parsed, pool_size=5, pool_pre_ping=True, isolation_level="REPEATABLE READ"
            ).execution_options(postgresql_readonly=True)

    @staticmethod
    def _sqlite_engine(url: URL, *, begin: str, read_only: bool, size: int) -> AsyncEngine:
        engine = create_async_engine(
            url,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=size,
            max_overflow=0,
            connect_args={"timeout": _BUSY_MS / 1000, "isolation_level": None},
        )

        @event.listens_for(engine.sync_engine, "connect")
        def _pragmas(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            cursor.execute("PRAGMA foreign_keys=ON")
            if read_only:
                cursor.execute("PRAGMA query_only=ON")
            else:
                cursor.execute("PRAGMA journal_mode=WAL")
                cursor.execute("PRAGMA synchronous=FULL")
            cursor.close()

        @event.listens_for(engine.sync_engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql(begin)

        return engine

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that may write; commits at the end of the block, rolls back on an error.

        Raises:
            DatabaseError: the database is locked, full, read-only or gone.
        """
        async with self._queue(), AsyncSession(self._writer, expire_on_commit=False) as session:
            try:
                async with session.begin():
                    yield session
            except SQLAlchemyError as error:
                raise _plain(error, self.file) from error
        for call in session.info.pop(_AFTER_COMMIT, ()):
            call()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """One consistent view that can't write.

        Raises:
            DatabaseError: the database can't be read, or something tried to write.
        """
        async with AsyncSession(self._reader, expire_on_commit=False) as session:
            try:
                async with session.begin():
                    yield session
            except SQLAlchemyError as error:
                raise _plain(error, self.file) from error

    @asynccontextmanager
    async def _queue(self) -> AsyncIterator[None]:
        if not self.sqlite:
            yield
            return
        async with self._lock:
            yield

    @property
    def writer(self) -> AsyncEngine:
        """The writing engine, for migrations only."""
        return self._writer

    async def close(self) -> None:
        """Close all connections."""
        await self._writer.dispose()
        await self._reader.dispose()


def _plain(error: SQLAlchemyError, file: Path | None) -> DatabaseError:
    """The error in a person's words."""
    words = str(error.orig) if isinstance(error, DBAPIError) and error.orig else str(error)
    where = str(file) if file else "the database"
    low = words.lower()
    if "readonly" in low or "read-only" in low or "query_only" in low:
        return DatabaseError("it can't be written to", where=where, remedy="check the owner and the rights of the home")
    if "unable to open" in low:
        return DatabaseError("it can't be opened", where=where, remedy="check that the folder exists and is yours")
    if "locked" in low:
        return DatabaseError("another process holds it", where=where, remedy="wait for it to end, then try again")
    if "full" in low:
        return DatabaseError("the disk is full", where=where, remedy="make room; nothing was lost")
    if "not a database" in low or "malformed" in low:
        return DatabaseError("it is damaged, or no database", where=where, remedy="restore it from a backup")
    if "no such table" in low:
        return DatabaseError("it has no tables yet", where=where, remedy="run `chancery db upgrade`")
    return DatabaseError(words.splitlines()[0], where=where)

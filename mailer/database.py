"""The database: `write()` is the only way to write, `read()` can't.

With the defaults of SQLAlchemy and aiosqlite, 87 of 120 concurrent read-then-update transactions were lost without an error: the
driver begins late and deferred. So the driver is put in autocommit and we begin ourselves: BEGIN IMMEDIATE for a writer, a plain
BEGIN with `query_only` for a reader. Writers of one process queue at a lock, so that none waits in SQLite's busy loop; for another
process's write we wait in short turns, because a thread inside SQLite can't be interrupted and would hold up the end of the program.
WAL with `synchronous=FULL`: NORMAL loses the last commits at a power cut, and a lost claim is a letter sent twice.
A commit once begun is finished even if its task is cancelled, so that its caller's `after_commit` calls tell the truth.
"""

import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from mailer.errors import DatabaseError

#: How long one turn of waiting for another process's write may be, in milliseconds, and all turns together, in seconds.
_TURN_MS = 500
_PATIENCE = 30.0
_AFTER_COMMIT = "chancery.after_commit"
_log = logging.getLogger(__name__)


class Sessions(Protocol):
    """What services are handed: where to read and to write."""

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction that may write; commits at the end of the block, rolls back on an error."""
        ...

    def read(self) -> AbstractAsyncContextManager[AsyncSession]:
        """One consistent view that can't write."""
        ...


def after_commit(session: AsyncSession, call: Callable[[], None]) -> None:
    """Have *call* run once *session*, from `write()`, has committed; rolled back, it never runs.

    What *call* raises is logged and goes no further: the transaction is done, and its caller must not believe otherwise.
    """
    session.info.setdefault(_AFTER_COMMIT, []).append(call)


class Database:
    """An open database; `close()` it."""

    def __init__(self, url: str | URL) -> None:
        """Open *url* (`sqlite:///path`, `postgresql://...`); connections are made when first needed.

        A SQLite file is made, readable by its owner only, when something is first written.

        Raises:
            DatabaseError: it is no URL of a database, or its driver is not installed.
        """
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise DatabaseError("it names no database", where="database.url") from error
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self.file = Path(parsed.database) if self.sqlite and parsed.database else None
        self._lock = asyncio.Lock()
        self._threads: set[threading.Thread] = set()
        if self.sqlite:
            parsed = parsed.set(drivername="sqlite+aiosqlite")
            self._writer = _sqlite_engine(parsed, self.file, self._threads, writer=True)
            self._reader = _sqlite_engine(parsed, self.file, self._threads, writer=False)
            return
        parsed = parsed.set(drivername="postgresql+psycopg")
        try:
            self._writer = create_async_engine(parsed, pool_size=5, pool_pre_ping=True)
            self._reader = create_async_engine(
                parsed, pool_size=5, pool_pre_ping=True, isolation_level="REPEATABLE READ"
            ).execution_options(postgresql_readonly=True)
        except ImportError as error:
            raise DatabaseError(
                "the driver for PostgreSQL is not installed", where="database.url", remedy="use SQLite for now"
            ) from error

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that may write, begun at once; commits at the end of the block, rolls back on an error.

        Raises:
            DatabaseError: the database is locked, full, read-only or gone.
        """
        async with self._queue(), AsyncSession(self._writer, expire_on_commit=False) as session:
            try:
                await self._begin(session)
                yield session
                await _to_the_end(session)
            except SQLAlchemyError as error:
                raise _plain(error, self.file) from error

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
                raise _plain(error, self.file, reading=True) from error

    @asynccontextmanager
    async def _queue(self) -> AsyncIterator[None]:
        if not self.sqlite:
            yield
            return
        async with self._lock:
            yield

    @staticmethod
    async def _begin(session: AsyncSession) -> None:
        """Begin, waiting in turns while another process writes."""
        until = time.monotonic() + _PATIENCE  # how long a person waits, not a time that anything depends on
        while True:
            try:
                await session.connection()
            except OperationalError as error:
                if not _code(error).startswith("SQLITE_BUSY") or time.monotonic() > until:
                    raise
                await session.rollback()
            else:
                return

    @property
    def writer(self) -> AsyncEngine:
        """The writing engine, for migrations only."""
        return self._writer

    async def close(self) -> None:
        """Close all connections; the writer's last, so that it takes the write-ahead log into the file."""
        await self._reader.dispose()
        await self._writer.dispose()
        while self._threads:  # one that a cancelled task left in SQLite must not outlive the event loop
            await asyncio.to_thread(self._threads.pop().join, 2 * _TURN_MS / 1000)


def _sqlite_engine(url: URL, file: Path | None, threads: set[threading.Thread], *, writer: bool) -> AsyncEngine:
    """One writing connection, or up to eight reading ones."""
    engine = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1 if writer else 8,
        max_overflow=0,
        connect_args={"timeout": _TURN_MS / 1000, "isolation_level": None},
    )
    pragmas = ["foreign_keys=ON", *(["journal_mode=WAL", "synchronous=FULL"] if writer else ["query_only=ON"])]

    @event.listens_for(engine.sync_engine, "do_connect")
    def _prepare(_dialect: Any, _record: Any, _arguments: Any, _options: Any) -> None:
        if file is not None and not str(file).startswith("file:"):
            _look_at(file, writer=writer)

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        if (thread := getattr(connection.driver_connection, "_thread", None)) is not None:
            threads.add(thread)
        cursor = connection.cursor()
        try:
            for pragma in (f"busy_timeout={_TURN_MS}", *pragmas):
                cursor.execute(f"PRAGMA {pragma}")
                if pragma == "journal_mode=WAL":
                    _require_wal(cursor.fetchone()[0])
        except BaseException:
            connection.close()  # the pool never sees it, so nobody else would
            raise
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


def _look_at(file: Path, *, writer: bool) -> None:
    """Say plainly why *file* could not be opened, and make it, closed to others, where a writer finds none.

    A connection that SQLite refuses to open leaves a thread behind that may outlive the event loop and then complains; so the
    common reasons are looked for first. The file itself must not be opened here once it is in use: closing it again would drop
    the locks that SQLite holds on it (fcntl locks belong to the process).

    Raises:
        DatabaseError: it is not there, or not ours to read or write.
    """
    if file.exists():
        if not os.access(file, os.R_OK):
            raise DatabaseError("it can't be opened", where=str(file), remedy=_PLAIN["SQLITE_CANTOPEN"][1])
        if writer and not os.access(file, os.W_OK):
            raise DatabaseError("it can't be written to", where=str(file), remedy=_PLAIN["SQLITE_READONLY"][1])
        return
    if not file.parent.is_dir():
        raise DatabaseError("it can't be opened", where=str(file), remedy=_PLAIN["SQLITE_CANTOPEN"][1])
    if not writer:
        raise DatabaseError(
            "there is no database yet",
            where=str(file),
            remedy="run `chancery db upgrade`; if there was one, restore it from a backup instead",
        )
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass  # another process was quicker
    except OSError as error:
        raise DatabaseError(
            f"it can't be made ({error.strerror})", where=str(file), remedy=_PLAIN["SQLITE_CANTOPEN"][1]
        ) from error


def _require_wal(mode: str) -> None:
    if mode != "wal":
        raise sqlite3.OperationalError(f"the file system of the home can't hold a write-ahead log (it gave {mode})")


async def _to_the_end(session: AsyncSession) -> None:
    """Commit, whatever cancels us meanwhile, and make the calls that waited for it."""
    commit = asyncio.ensure_future(session.commit())
    cancelled: asyncio.CancelledError | None = None
    while not commit.done():
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError as error:
            cancelled = error
        except SQLAlchemyError:
            break  # told by `result()` below
    commit.result()
    for call in session.info.pop(_AFTER_COMMIT, ()):
        try:
            call()
        except Exception:  # noqa: BLE001 - the transaction stands, whatever a listener does
            _log.exception("after-commit-failed")
    if cancelled is not None:
        raise cancelled


def _code(error: SQLAlchemyError) -> str:
    """SQLite's own name of an error, such as SQLITE_BUSY; "" for any other."""
    return str(getattr(getattr(error, "orig", None), "sqlite_errorname", ""))


#: SQLite's name of an error begins with -> what it means, what to do.
_PLAIN = {
    "SQLITE_READONLY": ("it can't be written to", "check the owner and the rights of the home"),
    "SQLITE_CANTOPEN": ("it can't be opened", "check that the folder exists and is yours"),
    "SQLITE_PERM": ("it can't be opened", "check that the folder exists and is yours"),
    "SQLITE_AUTH": ("it can't be opened", "check that the folder exists and is yours"),
    "SQLITE_BUSY": ("another process is writing to it", "wait for it to end, then try again"),
    "SQLITE_LOCKED": ("another process is writing to it", "wait for it to end, then try again"),
    "SQLITE_FULL": ("the disk is full", "make room and try again; what was not written was not begun"),
    "SQLITE_IOERR": ("the disk reports an error", "check the disk, and that there is room on it"),
    "SQLITE_NOTADB": ("it is damaged, or no database", "restore it from a backup"),
    "SQLITE_CORRUPT": ("it is damaged, or no database", "restore it from a backup"),
}


def _plain(error: SQLAlchemyError, file: Path | None, *, reading: bool = False) -> DatabaseError:
    """The error in a person's words."""
    where = str(file) if file else "the database"
    code = _code(error)
    words = str(error.orig) if isinstance(error, StatementError) and error.orig else str(error)
    if reading and code == "SQLITE_READONLY":
        return DatabaseError(
            "something tried to write where only reading is allowed", where=where, remedy="report this"
        )
    for beginning, (what, remedy) in _PLAIN.items():
        if code.startswith(beginning):
            return DatabaseError(what, where=where, remedy=remedy)
    if "no such table" in words:
        return DatabaseError("it has no tables yet", where=where, remedy="run `chancery db upgrade`")
    return DatabaseError(words.splitlines()[0] if words else type(error).__name__, where=where)

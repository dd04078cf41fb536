"""The database: `write()` is the only way to write, `read()` can't.

With the defaults of SQLAlchemy and aiosqlite, 87 of 120 concurrent read-then-update transactions were lost without an error: the
driver begins late and deferred. So the driver is put in autocommit and we begin ourselves: BEGIN IMMEDIATE for a writer, a plain
BEGIN with `query_only` for a reader. Writers of one process queue at a lock, so that none waits in SQLite's busy loop; for another
process's write we wait in short turns, because a thread inside SQLite can't be interrupted and would hold up the end of the program.
WAL with `synchronous=FULL`: NORMAL loses the last commits at a power cut, and a lost claim is a letter sent twice.

On PostgreSQL a writer first takes one lock of the database (an advisory one, held to the end of its transaction), so that there too
one transaction writes at a time and each reads what the one before it left: numbers, approvals, answers and the register's chains
need no reasoning of their own. `write(alongside=True)` shares that lock with others that say the same; it is for the turns of
batches, of which many run at once, and each locks the rows that it changes: its batch first, then its circular's chain.
`synchronous_commit` is never less than `on`. A process that stops in the middle of a transaction is thrown out by the server.

A commit once begun is finished even if its task is cancelled, so that its caller's `after_commit` calls tell the truth.
"""

import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from mailer.database_words import code_of, plain
from mailer.errors import DatabaseError

#: How long one turn of waiting for another process's write may be, in milliseconds, and all turns together, in seconds.
_TURN_MS = 500
_PATIENCE = 30.0
#: PostgreSQL: how long a connection may take to be made, and a transaction may do nothing before the server ends it.
_CONNECT_SECONDS, _STUCK_SECONDS = 10, 120
#: What each connection to PostgreSQL is told: whatever the server, the database or the user has set, a commit is on the disk.
_SET_UP = """
SELECT set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
       set_config('timezone', 'UTC', false),
       set_config('lock_timeout', %(patience)s, false),
       set_config('idle_in_transaction_session_timeout', %(stuck)s, false)
"""
_KEY = int.from_bytes(b"CHANCERY", "big")
_ALONE = text(f"SELECT pg_advisory_xact_lock({_KEY})")
_ALONGSIDE = text(f"SELECT pg_advisory_xact_lock_shared({_KEY})")
#: The first that changes rows from others (`statements`); what an older one says to that tells nobody anything.
_SQLITE = (3, 33)
_AFTER_COMMIT = "chancery.after_commit"
_log = logging.getLogger(__name__)


class Sessions(Protocol):
    """What services are handed: where to read and to write."""

    def write(self, *, alongside: bool = False) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction that may write; commits at the end of the block, rolls back on an error.

        *alongside* lets others that say so run at the same time, where the database can; each then locks the rows that it changes.
        """
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
        #: how errors name it: the file, or host, port and name; never a password
        self.name = (
            str(self.file) if self.file else f"{parsed.host or 'localhost'}:{parsed.port or 5432}/{parsed.database}"
        )
        self._lock = asyncio.Lock()
        self._threads: set[threading.Thread] = set()
        if self.sqlite:
            if sqlite3.sqlite_version_info < _SQLITE:
                raise DatabaseError(
                    f"this Python has SQLite {'.'.join(map(str, sqlite3.sqlite_version_info))}, which is too old",
                    where=self.name,
                    remedy=f"use one with {'.'.join(map(str, _SQLITE))} or newer, or PostgreSQL",
                )
            parsed = parsed.set(drivername="sqlite+aiosqlite")
            self._writer = _sqlite_engine(parsed, self.file, self._threads, writer=True)
            self._reader = _sqlite_engine(parsed, self.file, self._threads, writer=False)
            return
        if parsed.get_backend_name() != "postgresql":
            raise DatabaseError(
                f"{parsed.get_backend_name()} is not a database that this program knows",
                where="database.url",
                remedy="name a file (sqlite:///FILE) or a PostgreSQL server (postgresql://USER@HOST/NAME)",
            )
        parsed = parsed.set(drivername="postgresql+psycopg")
        try:
            self._writer = _postgres_engine(parsed, writer=True)
            self._reader = _postgres_engine(parsed, writer=False)
        except ImportError as error:
            raise DatabaseError(
                "the driver for PostgreSQL is not installed",
                where="database.url",
                remedy='install it (pip install "chancery-mail[postgres]"), or use SQLite',
            ) from error

    @asynccontextmanager
    async def write(self, *, alongside: bool = False) -> AsyncIterator[AsyncSession]:
        """A transaction that may write, begun at once; commits at the end of the block, rolls back on an error.

        On PostgreSQL, transactions that say *alongside* run at the same time as each other (never beside one that does not).

        Raises:
            DatabaseError: the database is locked, full, read-only or gone.
        """
        async with self._queue(alongside=alongside):
            try:
                async with AsyncSession(self._writer, expire_on_commit=False) as session:
                    await self._begin(session, alongside=alongside)
                    yield session
                    await _to_the_end(session)
            except SQLAlchemyError as error:
                raise plain(error, self.name) from error

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """One consistent view that can't write.

        Raises:
            DatabaseError: the database can't be read, or something tried to write.
        """
        session = AsyncSession(self._reader, expire_on_commit=False)
        try:
            try:
                yield session
            finally:  # cut off, SQLAlchemy would give up the connection and write a traceback into the log
                if (cancelled := await _undisturbed(session.close())) is not None:
                    raise cancelled
        except SQLAlchemyError as error:
            raise plain(error, self.name, reading=True) from error

    @asynccontextmanager
    async def _queue(self, *, alongside: bool) -> AsyncIterator[None]:
        if alongside and not self.sqlite:
            yield
            return
        async with self._lock:
            yield

    async def _begin(self, session: AsyncSession, *, alongside: bool) -> None:
        """Begin, waiting in turns while another process writes."""
        if not self.sqlite:
            await session.execute(_ALONGSIDE if alongside else _ALONE)
            return
        until = time.monotonic() + _PATIENCE  # how long a person waits, not a time that anything depends on
        while True:
            try:
                await session.connection()
            except OperationalError as error:
                if not code_of(error).startswith("SQLITE_BUSY") or time.monotonic() > until:
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
        begin = "BEGIN IMMEDIATE" if writer else "BEGIN"
        try:  # by one call into SQLite's thread; a cursor of SQLAlchemy's takes three
            connection.connection.dbapi_connection.run_async(lambda driver: driver.execute_fetchall(begin))
        except sqlite3.Error as error:
            raise DBAPIError.instance(begin, None, error, sqlite3.Error) from error

    return engine


def _postgres_engine(url: URL, *, writer: bool) -> AsyncEngine:
    """Connections to PostgreSQL, each told what we rely on."""
    engine = create_async_engine(
        url,
        pool_size=5,
        max_overflow=15,
        pool_timeout=_PATIENCE,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED" if writer else "REPEATABLE READ",
        connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "chancery"},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(_SET_UP, {"patience": f"{int(_PATIENCE * 1000)}ms", "stuck": f"{_STUCK_SECONDS}s"})
        cursor.close()
        connection.commit()

    return engine if writer else engine.execution_options(postgresql_readonly=True)


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
            raise DatabaseError(
                "it can't be opened", where=str(file), remedy="check that the folder exists and is yours"
            )
        if writer and not os.access(file, os.W_OK):
            raise DatabaseError(
                "it can't be written to", where=str(file), remedy="check the owner and the rights of the home"
            )
        return
    if not file.parent.is_dir():
        raise DatabaseError("it can't be opened", where=str(file), remedy="check that the folder exists and is yours")
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
            f"it can't be made ({error.strerror})", where=str(file), remedy="check that the folder exists and is yours"
        ) from error


def _require_wal(mode: str) -> None:
    if mode != "wal":
        raise sqlite3.OperationalError(f"the file system of the home can't hold a write-ahead log (it gave {mode})")


async def _undisturbed(work: Coroutine[Any, Any, None]) -> asyncio.CancelledError | None:
    """Bring *work* to its end, whatever cancels us meanwhile; that cancellation, for the caller to raise.

    Where the work fails as well, the cancellation is raised: whoever goes on after a failure must not go on for ever.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except SQLAlchemyError:
            break  # told by `result()` below
    try:
        task.result()
    except SQLAlchemyError as error:
        if cancelled is not None:
            raise cancelled from error
        raise
    return cancelled


async def _to_the_end(session: AsyncSession) -> None:
    """Commit, whatever cancels us meanwhile, and make the calls that waited for it."""
    cancelled = await _undisturbed(session.commit())
    for call in session.info.pop(_AFTER_COMMIT, ()):
        try:
            call()
        except Exception:  # noqa: BLE001 - the transaction stands, whatever a listener does
            _log.exception("after-commit-failed")
    if cancelled is not None:
        raise cancelled

"""A scratch home: a folder that lives as long as the block, with a copy of the rows that one circular needs.

Whatever happens in it, the real home is only read. A process that dies leaves its folder behind; the next one that makes a scratch
home finds its lock free and clears it away.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.document import Document
from mailer.circulars.models import Circular, Letter, Snapshot
from mailer.database import Database, Sessions
from mailer.errors import CannotDo
from mailer.homes import DATABASE_FILE
from mailer.migrations import runner
from mailer.migrations.tables import metadata
from mailer.register.chain import chain_of

_PREFIX = "chancery-scratch-"
_LOCK = "scratch.lock"
#: Rows copied at a time.
_PAGE = 1000
#: What is needed of a circular that another one follows: its thread.
_OF_FOLLOWED = frozenset({"circular", "snapshot", "letter", "recipient"})


@contextmanager
def folder() -> Iterator[Path]:
    """A folder of our own (0700) in the system's folder for such things; gone at the end of the block.

    Raises:
        CannotDo: there is no room for it.
    """
    _clear_away()
    try:
        made = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(made / "lock.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (made / "lock.new").rename(made / _LOCK)  # locked before anybody can find it
    except OSError as error:
        raise CannotDo(
            f"no scratch folder can be made ({error.strerror})",
            where=tempfile.gettempdir(),
            remedy="make room there, or name another folder in the variable TMPDIR",
        ) from error
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _clear_away() -> None:
    """Remove the folders of processes that have died; those of living ones are locked, those of other users not ours to touch."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            found = left.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            lock = os.open(left / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


@asynccontextmanager
async def database(home: Path, source: Sessions, circular_id: int) -> AsyncIterator[Database]:
    """A database in *home* with what a circular needs to be approved, sent and reported; closed at the end of the block.

    Raises:
        DatabaseError: *source* can't be read, or the copy can't be written.
    """
    made = Database(f"sqlite:///{home / DATABASE_FILE}")
    try:
        await runner.upgrade(made)
        async with source.read() as session, made.write() as copy:
            wanted = await _Wanted.of(session, circular_id)
            for table in metadata.sorted_tables:
                await _copy(session, copy, table, wanted)
        yield made
    finally:
        await made.close()


@dataclass(frozen=True)
class _Wanted:
    """Which rows are needed: those of *circulars*, the thread of *followed*, the files *blobs*; and all that belongs to none."""

    circulars: tuple[int, ...]
    followed: tuple[int, ...]
    blobs: tuple[str, ...]

    @classmethod
    async def of(cls, session: AsyncSession, circular_id: int) -> "_Wanted":
        """Look it up."""
        line: list[Circular] = []
        number: int | None = circular_id
        while number is not None:
            line.append(await session.get_one(Circular, number))
            number = line[-1].parent_id
        document = Document.from_json(line[0].draft)
        followed = document.follows.reference if document.follows else None
        numbers = await session.scalars(select(Circular.id).where(Circular.reference == followed)) if followed else ()
        blobs = set(document.files)
        frozen = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == circular_id))
        for enclosed in frozen["enclosures"].values() if frozen else ():
            blobs |= {file["sha256"] for file in enclosed["files"]}
        return cls(tuple(one.id for one in line), tuple(numbers), tuple(blobs))

    def where(self, table: Table) -> ColumnElement[bool] | None:
        """What is wanted of *table*; None: all of it."""
        columns = table.c
        circulars = self.circulars + (self.followed if table.name in _OF_FOLLOWED else ())
        if table.name == "circular":
            return columns.id.in_(circulars)
        if table.name == "blob":
            return columns.sha256.in_(self.blobs)
        if "circular_id" in columns:
            return columns.circular_id.in_(circulars)
        if "letter_id" in columns:
            return columns.letter_id.in_(select(Letter.id).where(Letter.circular_id.in_(circulars)))
        if "chain" in columns:
            return columns.chain.in_([chain_of(number) for number in circulars])
        return None


async def _copy(source: AsyncSession, target: AsyncSession, table: Table, wanted: _Wanted) -> None:
    query = select(table).order_by(*table.primary_key)  # a parent stands before its reminders
    if (condition := wanted.where(table)) is not None:
        query = query.where(condition)
    connection = await target.connection()
    result = await source.stream(query.execution_options(yield_per=_PAGE))
    async for rows in result.partitions():
        await connection.execute(insert(table), [dict(row._mapping) for row in rows])  # noqa: SLF001 - SQLAlchemy's public name for it

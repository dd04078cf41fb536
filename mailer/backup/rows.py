"""All rows of a home, from one database into another, of whatever kind; counted, and held against the register."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Integer, Table, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.backup import manifest
from mailer.backup.manifest import Manifest
from mailer.database import Database
from mailer.delivery.proof import chain_disagreements, chain_lines, chains
from mailer.errors import BadInput, DatabaseError, SchemaMismatch
from mailer.migrations import runner, schema
from mailer.migrations.tables import metadata
from mailer.register.verify import heads, verify

#: Rows copied at a time.
_PAGE = 1000
_REMEDY = "take another backup"
T = TypeVar("T")


async def to_file(source: Database, file: Path) -> None:
    """Write all rows as they are at one moment to a new SQLite file, while others go on writing.

    Raises:
        DatabaseError: *source* can't be read, or *file* can't be written.
    """
    if source.file is not None:
        await asyncio.to_thread(_copy_pages, source.file, file)
        return
    made = Database(f"sqlite:///{file}")
    try:
        await runner.upgrade(made)
        async with source.read() as reading, made.write() as writing:
            await _copy_rows(reading, writing)
    finally:
        await made.close()


def _copy_pages(source: Path, file: Path) -> None:
    """SQLite's own way of copying a database in use; in one step, so that writers neither wait nor make it begin again."""
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(file, isolation_level=None)) as new,
        ):
            file.chmod(0o600)
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_IOERR"))
        what = "the disk is full, or reports an error" if full else f"it can't be copied ({error})"
        raise DatabaseError(what, where=str(file), remedy="make room and try again") from error


async def from_file(
    file: Path,
    target: Database,
    then: Callable[[AsyncSession], Awaitable[T]],
    again: Callable[[AsyncSession], Awaitable[T | None]],
) -> T:
    """Write all rows of a backup's file into an empty database, and do *then*, all in one transaction.

    Where the database holds rows, *again* says whether they are these very ones; then nothing is written.

    Raises:
        BadInput: the database holds other rows.
        DatabaseError: it can't be written.
    """
    await runner.upgrade(target)
    source = Database(f"sqlite:///{file}")
    try:
        async with source.read() as reading, target.write() as writing:
            if any((await counts(writing)).values()):
                if (done := await again(writing)) is not None:
                    return done
                raise BadInput(
                    "this database holds a home already",
                    where=target.name,
                    remedy="name an empty one with --database",
                )
            await _copy_rows(reading, writing)
            if not target.sqlite:
                await _go_on_counting(writing)
            return await then(writing)
    finally:
        await source.close()


async def _copy_rows(source: AsyncSession, target: AsyncSession) -> None:
    connection = await target.connection()
    for table in metadata.sorted_tables:
        query = select(table).order_by(*table.primary_key)  # a parent stands before its reminders
        found = await source.stream(query.execution_options(yield_per=_PAGE))
        async for rows in found.partitions():
            await connection.execute(insert(table), [dict(row._mapping) for row in rows])  # noqa: SLF001 - SQLAlchemy's public name for it


async def _go_on_counting(session: AsyncSession) -> None:
    """PostgreSQL's counters know nothing of the numbers that were written: have each go on after the last."""
    for table in metadata.sorted_tables:
        if (counted := _counted(table)) is not None:
            await session.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', '{counted}'), max(\"{counted}\"))"  # noqa: S608 - names of our own tables
                    f' FROM "{table.name}" HAVING count(*) > 0'
                )
            )


def _counted(table: Table) -> str | None:
    """The column of a table that its database numbers."""
    column = table.autoincrement_column
    return column.name if column is not None and isinstance(column.type, Integer) else None


async def counts(session: AsyncSession) -> dict[str, int]:
    """How many rows each table has."""
    return {
        table.name: await session.scalar(select(func.count()).select_from(table)) or 0
        for table in metadata.sorted_tables
    }


async def last_links(session: AsyncSession) -> tuple[tuple[str, int, str], ...]:
    """The head of every chain."""
    return tuple((head.chain, head.seq, head.hash) for head in await heads(session))


async def check(folder: Path, said: Manifest) -> None:
    """Look at the rows of a backup: whole, of a schema that we know, as many as its manifest says, and true to the register.

    Raises:
        SchemaMismatch: a newer version of the program made it, or an older one.
        BadInput: something does not fit.
    """
    file = folder / manifest.ROWS
    if said.schema != schema.latest():
        newer = said.schema not in schema.known()
        raise SchemaMismatch(
            f"its schema {said.schema} is {'newer' if newer else 'older'} than this program",
            where=str(folder),
            remedy=f"restore it with chancery-mail {said.program}" + ("" if newer else ", then upgrade"),
        )
    database = Database(f"sqlite:///{file}")
    try:
        async with database.read() as session:
            await refuse_damaged(session, file)
            revision = await (await session.connection()).run_sync(schema.revision_of)
            told = (said.schema, dict(said.counts), said.heads)
            if (revision, await counts(session), await last_links(session)) != told:
                raise BadInput("its rows are not those that its manifest tells of", where=str(file), remedy=_REMEDY)
            found = await faults(session)
    finally:
        await database.close()
    if new := [fault for fault in found if fault not in said.faults]:
        more = f" and {len(new) - 1} more" if len(new) > 1 else ""
        raise BadInput(f"its register does not fit: {new[0]}{more}", where=str(file), remedy=_REMEDY)


async def refuse_damaged(session: AsyncSession, file: Path) -> None:
    """Have SQLite look at every page and every reference of the rows in *file*.

    Raises:
        BadInput: something is damaged.
    """
    whole = list(await session.scalars(text("PRAGMA integrity_check")))
    loose = (await session.execute(text("PRAGMA foreign_key_check"))).first()
    if whole != ["ok"] or loose is not None:
        raise BadInput("its rows are damaged", where=str(file), remedy=_REMEDY)


async def faults(session: AsyncSession) -> tuple[str, ...]:
    """What does not fit in the register; it may have been so in the home."""
    found = await verify(session, lines=chain_lines, disagreements=chain_disagreements, chains=chains)
    return tuple(map(str, found.faults))

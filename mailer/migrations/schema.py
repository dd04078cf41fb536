"""Which schema a database has, and whether it is this version's. Needs no Alembic, so that opening a home stays quick.

The files in `versions/` are one line of history, each named by its revision (a test holds Alembic's own view against this).
"""

from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from mailer.database import Database
from mailer.errors import SchemaMismatch

VERSION_TABLE = "alembic_version"
_VERSIONS = Path(__file__).resolve().parent / "versions"


def known() -> list[str]:
    """All revisions of this version of the program, oldest first."""
    return sorted(path.stem.split("_", 1)[0] for path in _VERSIONS.glob("[0-9]*_*.py"))


def latest() -> str:
    """The revision that this version of the program works with."""
    return known()[-1]


def revision_of(connection: Connection) -> str | None:
    """The revision of an open database; None: it has no tables of ours."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()


async def current(database: Database) -> str | None:
    """The revision a database has; None: it has no tables of ours.

    Raises:
        DatabaseError: it can't be read.
    """
    async with database.read() as session:
        return await (await session.connection()).run_sync(revision_of)


async def check(database: Database) -> None:
    """Make sure that *database* has this version's schema.

    Raises:
        SchemaMismatch: it is older (upgrade it) or newer (upgrade the program).
        DatabaseError: it can't be read.
    """
    found = await current(database)
    if found == latest():
        return
    if found is not None:
        refuse_newer(found, database)
    raise SchemaMismatch(
        "its schema is older than this program" if found else "it has no tables yet",
        where=where(database),
        remedy="run `chancery db upgrade`",
    )


def refuse_newer(found: str, database: Database) -> None:
    """Stop at a schema that this version does not know.

    Raises:
        SchemaMismatch: always the case for a revision that is not among `known()`.
    """
    if found not in known():
        raise SchemaMismatch(
            f"its schema {found} is newer than this program",
            where=where(database),
            remedy="install the version it was made with",
        )


def where(database: Database) -> str:
    """The database, as errors name it."""
    return database.name

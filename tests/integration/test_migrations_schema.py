"""The schema that migrations make is the schema that the models describe, whoever runs them, and however many at once."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from mailer.database import Database
from mailer.errors import DatabaseError, SchemaMismatch
from mailer.migrations import runner, schema
from mailer.migrations.tables import metadata
from tests.support.postgres import Server

ROOT = Path(__file__).resolve().parents[2]
UPGRADE = """
import asyncio, sys
from mailer.database import Database
from mailer.migrations import runner

async def main(url):
    database = Database(url)
    print(*await runner.upgrade(database))
    await database.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An open database without tables, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        opened = Database(f"sqlite:///{tmp_path / 'x.sqlite3'}")
        yield opened
        await opened.close()
        return
    server: Server = request.getfixturevalue("postgres")
    name = server.new()
    opened = Database(server.url(name))
    yield opened
    await opened.close()
    server.drop(name)


async def test_models_are_what_migrations_make(database: Database):
    """Nothing differs between the tables of the models and those that the migrations made."""

    def differences(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, metadata)

    async with database.read() as session:
        assert await (await session.connection()).run_sync(differences) == []


def test_our_view_of_history_is_alembics():
    """The files of `versions/` in their order are Alembic's one line of history."""
    scripts = ScriptDirectory(str(ROOT / "mailer" / "migrations"))
    assert schema.known() == [script.revision for script in scripts.walk_revisions()][::-1]
    assert schema.latest() == scripts.get_current_head()


async def test_two_processes_upgrade_at_once(tmp_path: Path):
    """Of several processes that upgrade a new database at once one does it, and the others find it done."""
    url = f"sqlite:///{tmp_path / 'x.sqlite3'}"
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", UPGRADE, url, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    ends = [await process.communicate() for process in processes]
    assert [error for _, error in ends] == [b""] * 3
    latest = schema.latest()
    assert sorted(said.decode().split() for said, _ in ends) == [[latest, latest], [latest, latest], ["None", latest]]


async def test_four_connections_upgrade_at_once(empty: Database):
    """Of several programs' connections to one database one makes the tables, and the others, which wait for it, find them made."""
    others = [Database(empty.writer.url) for _ in range(3)]
    latest = schema.latest()
    found = await asyncio.gather(*(runner.upgrade(one) for one in (empty, *others)))
    assert sorted(found, key=str) == [(latest, latest)] * 3 + [(None, latest)]
    await asyncio.gather(*(schema.check(one) for one in others))
    await asyncio.gather(*(one.close() for one in others))


async def test_upgrading_again_changes_nothing(database: Database):
    """A database that is up to date stays as it is."""
    assert await runner.upgrade(database) == (schema.latest(), schema.latest())
    await schema.check(database)


async def test_a_new_database_has_to_be_upgraded(empty: Database):
    """A database without tables is refused with the command that mends it."""
    async with empty.write() as session:
        await session.execute(text("CREATE TABLE other (x INTEGER)"))
    with pytest.raises(SchemaMismatch, match=r"no tables yet\. Run `chancery db upgrade`"):
        await schema.check(empty)


@pytest.mark.parametrize("verb", [schema.check, runner.upgrade])
async def test_a_newer_schema_is_left_alone(database: Database, verb):
    """The database of a newer version is neither used nor changed."""
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match="newer"):
        await verb(database)
    assert await schema.current(database) == "9999"


async def test_an_upgrade_that_fails_leaves_nothing(empty: Database):
    """An upgrade that a foreign table of the same name stops half-way leaves the database as it was."""
    async with empty.write() as session:
        await session.execute(text(f"CREATE TABLE {list(metadata.tables)[-1]} (x INTEGER)"))
    with pytest.raises(DatabaseError, match="already exists"):
        await runner.upgrade(empty)
    async with empty.read() as session:
        names = await (await session.connection()).run_sync(lambda connection: inspect(connection).get_table_names())
    assert names == [list(metadata.tables)[-1]]

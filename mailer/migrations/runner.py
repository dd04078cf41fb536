"""Alembic, run from code: upgrade under a lock, and the check that a database has this version's schema."""

from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from mailer.database import Database
from mailer.errors import SchemaMismatch
from mailer.migrations.tables import metadata

_SCRIPTS = Path(__file__).resolve().parent


def _scripts() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    return config, ScriptDirectory.from_config(config)


def latest() -> str:
    """The revision that this version of the program works with."""
    head = _scripts()[1].get_current_head()
    assert head is not None, "the migrations ship with the program"
    return head


async def current(database: Database) -> str | None:
    """The revision a database has; None: it has no tables of ours."""
    async with database.read() as session:
        connection = await session.connection()
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


async def check(database: Database) -> None:
    """Make sure that *database* has this version's schema.

    Raises:
        SchemaMismatch: it is older (upgrade it) or newer (upgrade the program).
    """
    found = await current(database)
    if found == latest():
        return
    where = str(database.file) if database.file else "the database"
    known = {script.revision for script in _scripts()[1].walk_revisions()}
    if found is not None and found not in known:
        raise SchemaMismatch(
            f"its schema {found} is newer than this program", where=where, remedy="install the version it was made with"
        )
    raise SchemaMismatch(
        "its schema is older than this program" if found else "it has no tables yet",
        where=where,
        remedy="run `chancery db upgrade`",
    )


async def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring the schema up to date in one transaction; the writer's lock keeps a second process waiting.

    Returns:
        The revision before and after.
    """
    before = await current(database)

    def run(connection: Connection) -> None:
        config, scripts = _scripts()
        with EnvironmentContext(
            config,
            scripts,
            fn=lambda revision, _context: scripts._upgrade_revs("head", revision),  # type: ignore[arg-type]  # noqa: SLF001 - Alembic's documented recipe for running from code
        ) as environment:
            environment.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
            environment.run_migrations()

    async with database.write() as session:
        connection = await session.connection()
        await connection.run_sync(run)
    return before, latest()

"""Alembic, run from code: upgrade under a lock."""

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from mailer.database import Database
from mailer.migrations.schema import check, current, latest, refuse_newer, revision_of
from mailer.migrations.tables import metadata

__all__ = ["check", "current", "latest", "upgrade"]

_SCRIPTS = Path(__file__).resolve().parent


async def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring the schema up to date in one transaction; the writer's lock keeps a second process waiting.

    Returns:
        The revision before and after.

    Raises:
        SchemaMismatch: a newer version of the program made it.
        DatabaseError: it can't be written.
    """

    def run(connection: Connection) -> str | None:
        before = revision_of(connection)
        if before is not None:
            refuse_newer(before, database)
        if before != latest():
            _run_scripts(connection)
        return before

    async with database.write() as session:
        before = await (await session.connection()).run_sync(run)
    return before, latest()


def _run_scripts(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    with EnvironmentContext(
        config,
        scripts,
        fn=lambda revision, _context: scripts._upgrade_revs("head", revision),  # noqa: SLF001 - Alembic's documented recipe for running from code
    ) as environment:
        environment.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        environment.run_migrations()

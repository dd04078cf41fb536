"""The database's schema."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from mailer.cli.context import find_home, run_to_end

if TYPE_CHECKING:
    from mailer.database import Database

T = TypeVar("T")

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Bring the database's tables up to this version; safe to run twice."""
    from mailer.migrations import runner

    before, after = _with(runner.upgrade)
    if before == after:
        print(f"The database has schema {after} already; nothing was changed.")
    else:
        print(f"The database now has schema {after}" + (f" (before: {before})." if before else " (it is new)."))


@app.command()
def check() -> None:
    """Say whether the database has this version's schema."""
    from mailer.migrations import schema

    _with(schema.check)
    print(f"The database has schema {schema.latest()}, as this version needs it.")


def _with(work: "Callable[[Database], Awaitable[T]]") -> T:
    """Run *work* with the home's database, whatever its schema is."""
    from mailer.database import Database
    from mailer.homes import database_url
    from mailer.settings.loader import load

    home = find_home()
    database_of = database_url(home, load(home).settings)

    async def run() -> T:
        database = Database(database_of)
        try:
            return await work(database)
        finally:
            await database.close()

    return run_to_end(run())

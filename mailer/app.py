"""The composition root: the only place that builds things. Everything else is handed settings, sessions and a clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lists.roll import Roll
from mailer.clock import Clock, SystemClock
from mailer.database import Database
from mailer.settings import Settings

DATABASE_FILE = "chancery.sqlite3"


@dataclass
class App:
    """An open home. Attributes are what commands hand to services."""

    home: Path
    settings: Settings
    database: Database
    clock: Clock
    #: who acts (`coordinators.acting`)
    by: str

    @cached_property
    def roll(self) -> Roll:
        """The shipped roll with the home's own events."""
        return Roll.load(self.home / self.settings.roll.events)

    @property
    def template_folders(self) -> list[Path]:
        """Where letter templates are looked for: the home's first, then the shipped ones."""
        from mailer import shipped

        return [folder for folder in (self.home / "templates", shipped.folder("templates")) if folder.is_dir()]


@asynccontextmanager
async def open_app(
    home: Path, settings: Settings, *, by: str, clock: Clock | None = None, check_schema: bool = True
) -> AsyncIterator[App]:
    """Open the home; its database is closed at the end of the block.

    Raises:
        DatabaseError: it can't be opened, or has another version's schema (`check_schema`).
    """
    secret = settings.database.url
    database = Database(secret.get_secret_value() if secret else f"sqlite:///{home / DATABASE_FILE}")
    try:
        if check_schema:
            from mailer.migrations import runner

            await runner.check(database)
        yield App(home=home, settings=settings, database=database, clock=clock or SystemClock(), by=by)
    finally:
        await database.close()

"""The composition root: `app` and `dispatch` are the only places that build things. All else is handed settings, sessions and a clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mailer.clock import Clock, SystemClock
from mailer.database import Database
from mailer.homes import database_url, refuse_network
from mailer.migrations import schema as tables
from mailer.settings import Settings

if TYPE_CHECKING:  # loaded by whoever asks for it: a listing needs neither letters nor relays
    from sqlalchemy.ext.asyncio import AsyncSession

    from lists.roll import Roll
    from mailer.circulars.desk import Desk
    from mailer.circulars.keys import Keys
    from mailer.circulars.models import Circular
    from mailer.delivery.service import Delivery, Hooks


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
    def roll(self) -> "Roll":
        """The shipped roll with the home's own events."""
        from lists.roll import Roll

        return Roll.load(self.home / self.settings.roll.events)

    @property
    def template_folders(self) -> list[Path]:
        """Where letter templates are looked for: the home's first, then the shipped ones."""
        from mailer import shipped

        return [folder for folder in (self.home / "templates", shipped.folder("templates")) if folder.is_dir()]

    @cached_property
    def keys(self) -> "Keys":
        """What letters are signed with."""
        from mailer.circulars.keys import Keys

        return Keys(self.settings, self.home)

    @property
    def desk(self) -> "Desk":
        """Where circulars are worked at."""
        from mailer.circulars.desk import Desk
        from mailer.schedule import rules

        calendar = self.settings.calendar
        return Desk(
            database=self.database,
            clock=self.clock,
            settings=self.settings,
            roll=self.roll,
            templates=self.template_folders,
            is_working_day=rules.working_days(calendar.country, calendar.subdivision),
            keys=self.keys,
            home=self.home,
        )

    @cached_property
    def delivery(self) -> "Delivery":
        """The verbs of sending, for a process that does not send itself."""
        from mailer.delivery.service import Delivery

        return Delivery(sessions=self.database, clock=self.clock, hooks=self.hooks)

    @property
    def hooks(self) -> "Hooks":
        """What reminders do when their circular moves."""
        from mailer.delivery.service import Hooks

        async def started(session: "AsyncSession", circular: "Circular") -> int:
            from mailer.schedule import service as schedule

            made = await schedule.plan_reminders(
                session, circular.id, self.settings.calendar, by=self.by, at=self.clock.now()
            )
            return len(made)

        async def paused(session: "AsyncSession", circular: "Circular") -> int:
            from mailer.schedule import service as schedule

            return await schedule.hold(session, circular.id, by=self.by, at=self.clock.now())

        async def resumed(session: "AsyncSession", circular: "Circular") -> int:
            from mailer.schedule import service as schedule

            return await schedule.release(session, circular.id, by=self.by, at=self.clock.now())

        async def cancelled(session: "AsyncSession", circular: "Circular") -> int:
            from mailer.schedule import service as schedule

            return await schedule.cancel(session, circular.id, by=self.by, at=self.clock.now())

        return Hooks(started, paused, resumed, cancelled)


@asynccontextmanager
async def open_app(
    home: Path,
    settings: Settings,
    *,
    by: str,
    clock: Clock | None = None,
    check_schema: bool = True,
    mounts: str | None = None,
) -> AsyncIterator[App]:
    """Open the home; its database is closed at the end of the block. *mounts*: see `homes.network_file_system`.

    Raises:
        CannotDo: its SQLite file is on a network drive.
        DatabaseError: it can't be opened, or has another version's schema (`check_schema`).
    """
    database = Database(database_url(home, settings))
    try:
        if database.file:
            refuse_network(database.file.parent, "the home", mounts)
        if check_schema:
            await tables.check(database)
        yield App(home=home, settings=settings, database=database, clock=clock or SystemClock(), by=by)
    finally:
        await database.close()

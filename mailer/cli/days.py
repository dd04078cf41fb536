"""Days as commands take them, and what is planned for one."""

import datetime as dt
from typing import TYPE_CHECKING

from mailer.errors import BadInput

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from mailer.app import App


def day_of(text: str | None, option: str) -> dt.date | None:
    """A day given as 2006-07-07; None stays None.

    Raises:
        BadInput: it is no such day.
    """
    if text is None:
        return None
    try:
        if len(text) == len("2006-07-07"):
            return dt.date.fromisoformat(text)
    except ValueError:
        pass
    raise BadInput(f"{text!r} is not a day", where=option, remedy="write it as 2006-07-07")


def today(app: "App") -> dt.date:
    """Today in the home's time zone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    name = app.settings.calendar.timezone
    try:
        return app.clock.now().astimezone(ZoneInfo(name)).date()
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BadInput(
            f"unknown time zone {name!r}", where="calendar.timezone", remedy="write it as Europe/Zurich"
        ) from error


async def planned(session: "AsyncSession", circular_id: int) -> list[str]:
    """A line for each thing that a circular's schedules still have before them."""
    from mailer.schedule import rules, service
    from mailer.schedule.models import LIVE, ScheduleState

    waiting = await service.listing(session, states={*LIVE, ScheduleState.HELD}, circular_id=circular_id)
    return [
        f"  {one.what}: {rules.local(one.due_at, one.zone)}"
        + (", held" if one.state is ScheduleState.HELD else ", if `chancery serve` runs then")
        for one in waiting
    ]

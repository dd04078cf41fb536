"""Days as commands take them."""

import datetime as dt
from typing import TYPE_CHECKING

from mailer.errors import BadInput

if TYPE_CHECKING:
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

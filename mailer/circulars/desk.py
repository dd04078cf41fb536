"""What the verbs on circulars are handed, and how a circular is found."""

import datetime as dt
import zoneinfo
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.keys import Keys
from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.errors import NotAllowedNow, NotFound
from mailer.settings import Settings

if TYPE_CHECKING:  # sending finds a circular, too
    from lists.roll import Roll

#: Digits from which on a number is no draft's: both databases count to some two thousand million.
_LONGEST_NUMBER = 10


@dataclass(frozen=True)
class Desk:
    """Where circulars are worked at.

    Attributes:
        templates: folders of letter templates, the home's first.
        is_working_day: says on which day a reminder will be dated (`schedule.rules.working_days`); default: every day is one.
        keys: what letters are signed with; None: no sender signs.
        home: a folder in it is known by its place there, so that it is found again where the home has moved or was restored.
        unschedule: called in the transaction that makes a draft of an approved circular; says how many scheduled sendings it closed.
    """

    database: Sessions
    clock: Clock
    settings: Settings
    roll: "Roll"
    templates: Sequence[Path]
    is_working_day: Callable[[dt.date], bool] = lambda _: True
    unschedule: Callable[[AsyncSession, int], Awaitable[int]] | None = None
    keys: Keys | None = None
    home: Path | None = None

    def reminder_day(self, reply_by: dt.date, before: int) -> dt.date:
        """The day on which a reminder falls due: so many days before *reply_by*, on a day off the working day before."""
        day = reply_by - dt.timedelta(days=before)
        back = next((back for back in range(60) if self.is_working_day(day - dt.timedelta(days=back))), 0)
        return day - dt.timedelta(days=back)

    def place_of(self, folder: Path) -> str:
        """How a circular's folder is noted: within the home, from there; elsewhere, the whole path."""
        whole = folder.resolve()
        inside = self.home is not None and whole.is_relative_to(self.home.resolve())
        return str(whole.relative_to(self.home.resolve()) if self.home and inside else whole)

    def folder_of(self, circular: Circular) -> Path:
        """Where a circular's folder is."""
        return (self.home or Path()) / circular.folder

    @property
    def today(self) -> dt.date:
        """The day it is where the secretariat sits."""
        return today(self.clock, self.settings)


def today(clock: Clock, settings: Settings) -> dt.date:
    """The day it is in the calendar's zone."""
    return clock.now().astimezone(zoneinfo.ZoneInfo(settings.calendar.timezone)).date()


def name_of(circular: Circular) -> str:
    """How a circular is called on screen: its reference, else the number of its draft."""
    return circular.reference or f"draft {circular.id}"


def refuse_unapproved(circular: Circular) -> None:
    """Nothing of a circular may leave before it is approved.

    Raises:
        NotAllowedNow: it is not.
    """
    if circular.state in {CircularState.DRAFT, CircularState.FREEZING}:
        name = name_of(circular)
        raise NotAllowedNow("it is not approved", where=name, remedy=f"`chancery circular approve {name}`")


def refuse_unsendable(circular: Circular) -> None:
    """Only what is approved, or is being sent, can be sent.

    Raises:
        NotAllowedNow: it is not.
    """
    refuse_unapproved(circular)
    name = name_of(circular)
    if circular.state == CircularState.PAUSED:
        raise NotAllowedNow("it is paused", where=name, remedy=f"`chancery circular resume {name}`")
    if circular.state not in {CircularState.APPROVED, CircularState.SENDING}:
        raise NotAllowedNow(f"it is {circular.state} already", where=name, remedy=f"`chancery report {name}`")


def refuse_idle(circular: Circular, verb: str) -> None:
    """Nothing of a circular is there to *verb* ("hold", "let go", "cancel").

    Raises:
        NotAllowedNow: always, with what can be done instead.
    """
    refuse_unapproved(circular)
    name = name_of(circular)
    if circular.state == CircularState.APPROVED:
        remedy = f"send it with chancery circular send {name}, or give it up with chancery circular cancel {name}"
    elif circular.state == CircularState.PAUSED:
        remedy = f"go on with: chancery circular resume {name}"
    else:
        remedy = f"what became of it: chancery report {name}; what is planned: chancery reminders list"
    raise NotAllowedNow(f"it is {circular.state}, and there is nothing of it to {verb}", where=name, remedy=remedy)


def refuse_held(circular: Circular) -> None:
    """Stop at a circular that a restore has held before it was sent.

    Raises:
        NotAllowedNow: it is.
    """
    if circular.held_why is not None:
        name = circular.reference or circular.id
        raise NotAllowedNow(
            f"it is held: {circular.held_why}",
            where=name_of(circular),
            remedy=f"if it was not, let it go on (chancery circular resume {name}); if it was, chancery circular cancel {name}",
        )


async def find(session: AsyncSession, id_text: str | int) -> Circular:
    """The circular with this number or reference; capitals don't matter.

    Raises:
        NotFound: with near references.
    """
    text = str(id_text).strip()
    if (
        text.isdecimal()
        and len(text) < _LONGEST_NUMBER
        and (found := await session.get(Circular, int(text))) is not None
    ):
        return found
    same = await session.scalars(select(Circular).where(func.lower(Circular.reference) == text.lower()))
    if (one := same.first()) is not None:
        return one
    known = [
        reference
        for reference in await session.scalars(select(Circular.reference).order_by(Circular.id.desc()).limit(500))
        if reference
    ]
    import difflib

    near = difflib.get_close_matches(text, known, n=2, cutoff=0.6)
    raise NotFound(
        "there is no such circular",
        where=text or "an empty ID",
        remedy=f"did you mean {' or '.join(near)}" if near else "see them all: chancery circular list",
    )

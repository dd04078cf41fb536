"""What commands say of how long a circular will take, before it leaves."""

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from lists.errors import as_sentence
from lists.findings import Finding
from lists.kinds import Severity
from mailer.app import App
from mailer.circulars.models import Circular
from mailer.cli import context
from mailer.delivery.forecast import Forecast
from mailer.delivery.foreseen import of_circular, of_letters
from mailer.errors import BadInput, SettingsError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from mailer.circulars.service import Checked

#: A time beyond this is a slip of the pen: letters that are spread until then would be out of date before they left.
_FARTHEST = dt.timedelta(days=366)
_REMEDY = (
    "let it leave sooner, ask for replies later, or give the mail server a faster pace if its provider allows that"
)


def zone_of(app: App) -> ZoneInfo:
    """The home's zone, in which people are told times."""
    return ZoneInfo(app.settings.calendar.timezone)


async def of_draft(app: App, session: "AsyncSession", checked: "Checked") -> "tuple[Checked, str | None]":
    """A check with what is wrong with the time that the letters would take if they left now; that time, where a pace is set."""
    document = checked.prepared.document
    now, zone = app.clock.now(), zone_of(app)
    try:
        addresses = (
            [box.address for box in letter.mailboxes]
            async for _, letters in checked.prepared.pieces(session)
            for letter in letters
        )
        seen = await of_letters(session, app.settings, document.sender, addresses, now=now)
    except SettingsError:
        return checked, None  # the check has told it
    past = document.reply_by is not None and document.reply_by < now.astimezone(zone).date()  # the check tells that
    if not past and (late := seen.too_late(now, zone, document.reply_by)) is not None:
        where = document.where("reply_by" if "reply_by" in document.lines else "event.reply_by")
        found = Finding("leaves-too-late", Severity.WARNING, where, late, _REMEDY)
        order = list(Severity)
        every = sorted([*checked.findings, found], key=lambda one: order.index(one.severity))
        checked = replace(checked, findings=every)
    return checked, _worth_saying(seen, now, zone)


async def of_approved(app: App, circular_id: int, *, begin: dt.datetime | None = None) -> list[str]:
    """What to say of an approved circular: how long it will take from *begin* (default: now), and whether that is too late."""
    now, zone = app.clock.now(), zone_of(app)
    async with app.database.read() as session:
        circular = await session.get_one(Circular, circular_id)
        seen = await of_circular(session, app.settings, circular, now=now, begin=begin, finish_by=circular.finish_by)
    return _lines(seen, circular, begin or now, zone)


async def before_sending(app: App, circular_id: int, finish_by: str | None, *, told: bool = True) -> dt.datetime | None:
    """The same for one that a person lets go now, as it would be spread until *finish_by*; that time. It is said where *told*.

    Raises:
        BadInput: it is no time, or it is over, or more than a year ahead, or by then it can't be ready.
    """
    now, zone = app.clock.now(), zone_of(app)
    async with app.database.read() as session:
        circular = await session.get_one(Circular, circular_id)
        until = await _until(app, session, circular, finish_by, begin=now, lifted=True)
        seen = await of_circular(
            session, app.settings, circular, now=now, finish_by=until or circular.finish_by, lifted=True
        )
    for line in _lines(seen, circular, now, zone) if told else ():
        context.err.print(line, markup=False, highlight=False, soft_wrap=True)
    return until


async def spread_until(
    app: App, session: "AsyncSession", circular: Circular, finish_by: str | None, *, begin: dt.datetime
) -> dt.datetime | None:
    """The time that `--finish-by` means for a circular that starts at *begin*; None: it was not given.

    Raises:
        BadInput: as `before_sending`.
    """
    return await _until(app, session, circular, finish_by, begin=begin, lifted=False)


async def _until(
    app: App, session: "AsyncSession", circular: Circular, finish_by: str | None, *, begin: dt.datetime, lifted: bool
) -> dt.datetime | None:
    if finish_by is None:
        return None
    from mailer.schedule import rules

    calendar, zone, where = app.settings.calendar, zone_of(app), f"--finish-by {finish_by}"
    until: dt.datetime = rules.parse_moment(finish_by, zone=calendar.timezone, at=calendar.at, where="--finish-by")
    if until <= app.clock.now():
        raise BadInput("that time is over", where=where, remedy="give a later one, or none")
    if until <= begin:
        raise BadInput("that is before it starts", where=where, remedy="give a later time, or none")
    if until - begin > _FARTHEST:
        raise BadInput("that is more than a year after it starts", where=where, remedy="give an earlier time, or none")
    seen = await of_circular(session, app.settings, circular, now=app.clock.now(), begin=begin, lifted=lifted)
    ready = seen.ready(begin)
    if ready is not None and ready > until:
        raise BadInput(
            f"by then it can't be ready: {seen.words(begin, zone).rstrip('.')}",
            where=where,
            remedy=f"give {(ready + dt.timedelta(minutes=1)).astimezone(zone):%Y-%m-%dT%H:%M} or later, or leave --finish-by out",
        )
    return until


def _worth_saying(seen: Forecast, begin: dt.datetime, zone: dt.tzinfo) -> str | None:
    return seen.words(begin, zone) if seen.takes is not None or seen.held else None


def _lines(seen: Forecast, circular: Circular, begin: dt.datetime, zone: dt.tzinfo) -> list[str]:
    late = seen.too_late(begin, zone, circular.reply_by)
    lines = [_worth_saying(seen, begin, zone), f"Look at that: {late}. {as_sentence(_REMEDY)}" if late else None]
    return [line for line in lines if line]

"""Waking after days: a circular that has waited too long, with nobody at work, asks before it goes on.

A machine that was off for a week must not send an invitation to a meeting that is over. What counts is since when the circular could have
gone on: its last activity (a try, a start, a person's word), or the time until which it had to wait, whichever is later. What a recovery
notes about the dead is no activity. The circular is then held: it is told, and goes on by `circular send`, or is cancelled.
"""

import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Recipient
from mailer.database import Sessions
from mailer.delivery.due import WAITING
from mailer.register.chain import chain_of
from mailer.register.models import Link

log = logging.getLogger(__name__)

#: Entry of a person who lets a circular go on.
CONTINUED = "circular-continued"
#: Entries that are activity: something was tried, or a person let it go.
_ACTIVE = (
    "circular-sending",
    "circular-resumed",
    CONTINUED,
    "outcomes",
    "recipients-resolved",
    "recipients-resent",
)


async def waits_since(session: AsyncSession, circular_id: int) -> dt.datetime | None:
    """Since when a circular could have gone on; None: nothing of it waits."""
    last: dt.datetime | None = await session.scalar(
        select(func.max(Link.at)).where(Link.chain == chain_of(circular_id), Link.action.in_(_ACTIVE))
    )
    waiting = (Recipient.circular_id == circular_id, Recipient.state.in_(WAITING))
    if last is None or not await session.scalar(select(exists().where(*waiting))):
        return None
    if await session.scalar(select(exists().where(*waiting, Recipient.next_at.is_(None)))):
        return last
    earliest: dt.datetime | None = await session.scalar(select(func.min(Recipient.next_at)).where(*waiting))
    return max(last, earliest or last)


class Waking:
    """Looks at circulars before work at them is handed out."""

    def __init__(self, sessions: Sessions, *, limit: dt.timedelta, hold: Callable[[int, str], Awaitable[None]]) -> None:
        """*limit*: longer waits ask; zero: none does. *hold* is given circular and reason."""
        self._sessions, self._limit, self._hold = sessions, limit, hold
        #: when each was last seen to be at work
        self._seen: dict[int, dt.datetime] = {}

    async def asleep(self, circulars: Iterable[int], now: dt.datetime) -> set[int]:
        """Of circulars with work that is due, those that have slept too long; they are held, and told."""
        if not self._limit:
            return set()
        return {one for one in circulars if not await self._awake(one, now)}

    async def _awake(self, circular: int, now: dt.datetime) -> bool:
        seen = self._seen.get(circular)
        if seen is None or now - seen > self._limit:
            async with self._sessions.read() as session:
                since = await waits_since(session, circular)
            if since is not None and now - since > self._limit:
                self._seen.pop(circular, None)
                why = asks(since)
                await self._hold(circular, why)
                log.warning("circular-asks", extra={"circular": circular, "reason": why})
                return False
        self._seen[circular] = now
        return True


def asks(since: dt.datetime) -> str:
    """Why it is held."""
    return f"it has waited since {since.astimezone(dt.UTC):%d %B %Y %H:%M} UTC; say whether it should still go, or cancel it"

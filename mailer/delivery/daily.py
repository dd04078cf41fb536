"""How many recipients a relay was given in the last 24 hours, as rows: the count survives a restart and is one for all processes.

Counted by the hour, at the claim, before any byte leaves; what came back without content is taken off again. An hour counts until
its end is 24 hours ago, so the limit is kept for any 24 hours, not only from midnight to midnight.
"""

import datetime as dt

from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.db import UtcDateTime
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.delivery.models import RelayUse

_DAY, _HOUR = dt.timedelta(hours=24), dt.timedelta(hours=1)


def _hour(at: dt.datetime) -> dt.datetime:
    return at.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


async def used(session: AsyncSession, relay: str, now: dt.datetime) -> int:
    """Recipients of the last 24 hours."""
    since = now - _DAY - _HOUR
    query = select(func.coalesce(func.sum(RelayUse.recipients), 0)).where(
        RelayUse.relay == relay, RelayUse.hour > since
    )
    return int(await session.scalar(query) or 0)


_OPEN = text(
    "INSERT INTO relay_use (relay, hour, recipients) VALUES (:relay, :hour, 0) ON CONFLICT DO NOTHING"
).bindparams(bindparam("hour", type_=UtcDateTime()))


class Days:
    """The daily limits of relays."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions, self._clock = sessions, clock

    async def take(self, relay: str, limit: int, wanted: int) -> int:
        """Count up to *wanted* recipients for a relay, as far as its *limit* a day allows; how many were counted."""
        now = self._clock.now()
        hour = _hour(now)
        async with self._sessions.write() as session:
            await self._open(session, relay, hour)
            given = max(0, min(wanted, limit - await used(session, relay, now)))
            await self._add(session, relay, hour, given)
            await session.execute(
                delete(RelayUse).where(RelayUse.relay == relay, RelayUse.hour <= now - _DAY - 2 * _HOUR)
            )
        return given

    @staticmethod
    async def _open(session: AsyncSession, relay: str, hour: dt.datetime) -> None:
        """Make the hour's row and lock it: claims of other processes wait for this one's count."""
        await session.execute(_OPEN, {"relay": relay, "hour": hour})
        await session.execute(
            select(RelayUse.recipients).where(RelayUse.relay == relay, RelayUse.hour == hour).with_for_update()
        )

    @staticmethod
    async def _add(session: AsyncSession, relay: str, hour: dt.datetime, count: int) -> None:
        if count:
            await session.execute(
                update(RelayUse)
                .where(RelayUse.relay == relay, RelayUse.hour == hour)
                .values(recipients=RelayUse.recipients + count)
            )

    async def give_back(self, relay: str, count: int) -> None:
        """Take off recipients to whom no content went; of the hour in which they were counted, or of this one."""
        if count <= 0:
            return
        now = self._clock.now()
        async with self._sessions.write() as session:
            rows = list(
                await session.scalars(
                    select(RelayUse)
                    .where(RelayUse.relay == relay, RelayUse.hour > now - 2 * _HOUR)
                    .order_by(RelayUse.hour.desc())
                    .with_for_update()
                )
            )
            for row in rows:
                off = min(count, row.recipients)
                row.recipients -= off
                count -= off

    async def next_at(self, relay: str) -> dt.datetime:
        """When some of the limit will be free again: the end of the oldest hour that counts."""
        now = self._clock.now()
        async with self._sessions.read() as session:
            oldest = await session.scalar(
                select(func.min(RelayUse.hour)).where(
                    RelayUse.relay == relay, RelayUse.hour > now - _DAY - _HOUR, RelayUse.recipients > 0
                )
            )
        return (oldest or _hour(now)) + _DAY + _HOUR

"""The buckets of `tokens` as rows of PostgreSQL, so that all processes that send from one database share a pace.

- A taking is one statement for each bucket, which locks its row: two processes never get the same token. All buckets of a turn are
  taken in one transaction, in the order of their keys, so that none waits for another in a circle.
- Time is the server's: processes whose clocks differ fill no bucket twice, and none starves because another's clock is ahead. (The
  clock of a test or of a demonstration, which is moved by hand, counts in the server's stead.) A server's clock that is set back adds
  nothing, and holds up for no longer than a minute.
- What a killed process has taken is nobody's any more, and comes in anew at the pace: nothing is lent, so nothing has to be returned.
"""

import datetime as dt
from collections.abc import Mapping

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from lists.db import UtcDateTime
from mailer.clock import Clock, SystemClock
from mailer.database import Sessions
from mailer.delivery.tokens import GRAIN, Ask, Got

_NOW = bindparam("now", type_=UtcDateTime())
_TAKE = text(
    """
    WITH clock AS (SELECT coalesce(CAST(:now AS timestamptz), clock_timestamp()) AS now),
    held AS (SELECT key, tokens, at FROM token_bucket WHERE key = :key FOR UPDATE),
    filled AS (
        SELECT key, now,
               CASE WHEN at - now > interval '1 minute' THEN now ELSE greatest(at, now) END AS at,
               least(CAST(:most AS float8),
                     tokens + greatest(0, extract(epoch FROM now - at)) * CAST(:per_minute AS float8) / 60) AS tokens
        FROM held, clock
    ),
    drawn AS (
        SELECT key, at, tokens, least(CAST(:wanted AS float8), floor(tokens + CAST(:grain AS float8))) AS given FROM filled
    )
    UPDATE token_bucket SET tokens = greatest(0, drawn.tokens - drawn.given), at = drawn.at
    FROM drawn WHERE token_bucket.key = drawn.key
    RETURNING CAST(drawn.given AS integer), token_bucket.tokens
    """
).bindparams(_NOW)
_OPEN = text(
    """
    INSERT INTO token_bucket (key, tokens, at) VALUES (:key, :most, coalesce(CAST(:now AS timestamptz), clock_timestamp()))
    ON CONFLICT DO NOTHING
    """
).bindparams(_NOW)
#: Buckets that have been full for long are as good as none; one that somebody takes from just now is left alone.
_FORGET = text(
    """
    DELETE FROM token_bucket WHERE key IN (
        SELECT key FROM token_bucket
        WHERE at < coalesce(CAST(:now AS timestamptz), clock_timestamp()) - interval '30 days' FOR UPDATE SKIP LOCKED
    )
    """
).bindparams(_NOW)
_GIVE = text("UPDATE token_bucket SET tokens = least(CAST(:most AS float8), tokens + :count) WHERE key = :key")


class TokenRows:
    """The buckets of all processes, full at first; implements `Tokens`."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        """Keep them in *sessions*, which is PostgreSQL; *clock* counts where it is not the machine's."""
        self._sessions = sessions
        self._clock = None if isinstance(clock, SystemClock) else clock

    async def take(self, asks: Mapping[str, Ask]) -> Mapping[str, Got]:
        """As `Tokens` says.

        Raises:
            DatabaseError: the rows can't be written; nothing was taken.
        """
        found, opened = {}, False
        async with self._sessions.write(alongside=True) as session:
            for key in sorted(asks):
                got = await self._take(session, key, asks[key])
                while got is None:
                    opened = True
                    await session.execute(_OPEN, {"key": key, "now": self._now, "most": asks[key].most})
                    got = await self._take(session, key, asks[key])
                found[key] = got
            if opened:
                await session.execute(_FORGET, {"now": self._now})  # last: it waits for nobody
        return found

    async def _take(self, session: AsyncSession, key: str, ask: Ask) -> Got | None:
        given = {
            "key": key,
            "now": self._now,
            "most": ask.most,
            "per_minute": ask.per_minute,
            "wanted": max(0, ask.wanted),
            "grain": GRAIN,
        }
        row = (await session.execute(_TAKE, given)).first()
        return Got(row[0], row[1]) if row is not None else None

    async def give_back(self, counts: Mapping[str, tuple[float, float]]) -> None:
        """As `Tokens` says.

        Raises:
            DatabaseError: the rows can't be written; nothing was given back.
        """
        async with self._sessions.write(alongside=True) as session:
            for key in sorted(counts):
                count, per_minute = counts[key]
                await session.execute(_GIVE, {"key": key, "count": count, "most": Ask(0, per_minute).most})

    @property
    def _now(self) -> dt.datetime | None:
        return self._clock.now() if self._clock is not None else None

"""What keeps letters waiting just now, as rows that people read: closed relays, and domains that asked for a slower pace.

They are written where they changed, after the letters' own rows. A person lifts a relay that waits for one by taking its row away
(`lift`); the process that sends sees that at its next look. A relay that waits for a person while others stand in for it is told to
each circular once.
"""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from lists.db import UtcDateTime
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.delivery.models import Obstacle
from mailer.errors import DatabaseError

if TYPE_CHECKING:  # `lift` and `listing` are for commands that send nothing
    from mailer.delivery.allot import Line
    from mailer.delivery.domains import Domains

_RELAY, _DOMAIN = "relay:", "domain:"


@dataclass(frozen=True, slots=True)
class InTheWay:
    """Something that keeps letters waiting.

    Attributes:
        relay, domain: one of them.
        until: when it will be tried again; None: a person has to act first.
    """

    relay: str | None
    domain: str | None
    why: str
    until: dt.datetime | None
    since: dt.datetime


async def listing(session: AsyncSession) -> list[InTheWay]:
    """All obstacles, relays first."""
    rows = await session.scalars(select(Obstacle).order_by(Obstacle.key.desc()))
    return [
        InTheWay(
            row.key.removeprefix(_RELAY) if row.key.startswith(_RELAY) else None,
            row.key.removeprefix(_DOMAIN) if row.key.startswith(_DOMAIN) else None,
            row.why,
            row.until,
            row.since,
        )
        for row in rows
    ]


async def lift(session: AsyncSession) -> None:
    """A person has seen to the relays that waited for one: they are tried again."""
    await session.execute(delete(Obstacle).where(Obstacle.key.startswith(_RELAY), Obstacle.until.is_(None)))


_PUT = text(
    "INSERT INTO obstacle (key, why, until, since) VALUES (:key, :why, :until, :since)"
    " ON CONFLICT (key) DO UPDATE SET why = excluded.why, until = excluded.until, since = excluded.since"
).bindparams(bindparam("until", type_=UtcDateTime()), bindparam("since", type_=UtcDateTime()))


class Obstacles:
    """Writes them for one process."""

    def __init__(self, sessions: Sessions, clock: Clock, note: Callable[[int, str, str], Awaitable[None]]) -> None:
        """Write to *sessions*; *note* is called with circular, relay and reason, once, where others stand in for a relay."""
        self._sessions, self._clock, self._note = sessions, clock, note
        #: (circular, relay) that were told
        self._noted: set[tuple[int, str]] = set()
        #: key -> why and until, as they were last written
        self._written: dict[str, tuple[str, dt.datetime | None]] = {}

    async def begin(self) -> None:
        """Forget what a process that is no more has left: what it met will be met anew."""
        with suppress(DatabaseError):  # they are there to be read: no letter waits for them; so below
            async with self._sessions.write() as session:
                await session.execute(delete(Obstacle))

    async def tell(self, circular: int, lines: "Sequence[Line]", domains: "Domains") -> None:
        """Write what is in the way of a circular now, and take away what is no longer."""
        now = self._clock.now()
        held = [line for line in lines if line.pace.held]
        for line in held if any(line.closed(now) is None for line in lines) else ():
            if (circular, line.name) not in self._noted and line.pace.closed is not None:
                self._noted.add((circular, line.name))
                await self._note(circular, line.name, line.pace.closed.why)
        found: dict[str, tuple[str, dt.datetime | None]] = {}
        for line in lines:
            closed = line.closed(now) or line.pace.trouble
            if closed is not None:
                found[f"{_RELAY}{line.name}"] = (closed.why, closed.until)
        for domain, until, why in domains.slowed():
            found[f"{_DOMAIN}{domain}"] = (why, until)
        ours = {f"{_RELAY}{line.name}" for line in lines} | {key for key in self._written if key.startswith(_DOMAIN)}
        gone = [key for key in ours & self._written.keys() if key not in found]
        changed = [key for key, value in found.items() if self._written.get(key) != value]
        if not gone and not changed:
            return
        try:
            async with self._sessions.write() as session:
                await session.execute(delete(Obstacle).where(Obstacle.key.in_(gone)))
                if changed:
                    rows = [{"key": key, "why": found[key][0], "until": found[key][1], "since": now} for key in changed]
                    await session.execute(_PUT, rows)
        except DatabaseError:
            return
        for key in gone:
            del self._written[key]
        self._written |= {key: found[key] for key in changed}

    async def reopen(self, lines: "Sequence[Line]") -> None:
        """Try relays again that waited for a person and that a person has lifted."""
        held = {f"{_RELAY}{line.name}": line for line in lines if line.pace.held}
        told = held.keys() & self._written.keys()
        if not told:
            return
        async with self._sessions.read() as session:
            there = set(await session.scalars(select(Obstacle.key).where(Obstacle.key.in_(told))))
        for key in told - there:
            del self._written[key]
            held[key].reopen()
            self._noted = {one for one in self._noted if one[1] != held[key].name}

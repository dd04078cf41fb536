"""What keeps letters waiting just now, as rows that people read: closed relays, and domains that asked for a slower pace.

- Each process writes rows of its own, where they changed and after the letters' own rows. Those of the dead go with what else they
  left (`recover`); those of one that has ended stay until then, to be read, and bind nobody.
- A person lifts relays that wait for one by taking away all their rows, whoever's they are (`lift`). A process whose own row is gone
  tries its relay again at its next look, which is whenever it takes a batch.
- A relay that waits for a person in one living process is not tried by another of the same rows: what was refused would be refused
  again. The other takes the hold over at its next look, without a row of its own, so that no process can bring back what a person
  has lifted. Once the row that it goes by is no more, lifted or gone with its process, it tries the relay again.
- Other closures are each process's own: a back-off, and a provider's day, cost the next process one letter or one connection, and
  end by themselves. So is a domain's slower pace: another process learns it by a few answers, and the tokens are common (`domains`).
- A relay that waits for a person while others stand in for it is told to each circular once.
"""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.db import UtcDateTime
from lists.records import record
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.delivery.models import Obstacle
from mailer.errors import DatabaseError

if TYPE_CHECKING:  # `lift` and `listing` are for commands that send nothing
    from mailer.delivery.domains import Domains
    from mailer.delivery.line import Line

_RELAY, _DOMAIN = "relay:", "domain:"


@record
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
    """All obstacles, relays first; of what several processes met, that which waits for a person, else the longest."""
    worst: dict[str, Obstacle] = {}
    for row in await session.scalars(select(Obstacle).order_by(Obstacle.key.desc(), Obstacle.owner)):
        other = worst.get(row.key)
        if other is None or (other.until is not None and (row.until is None or row.until > other.until)):
            worst[row.key] = row
    return [
        InTheWay(
            row.key.removeprefix(_RELAY) if row.key.startswith(_RELAY) else None,
            row.key.removeprefix(_DOMAIN) if row.key.startswith(_DOMAIN) else None,
            row.why,
            row.until,
            row.since,
        )
        for row in worst.values()
    ]


async def lift(session: AsyncSession) -> None:
    """A person has seen to the relays that waited for one: every process tries them again."""
    await session.execute(delete(Obstacle).where(Obstacle.key.startswith(_RELAY), Obstacle.until.is_(None)))


_PUT = text(
    "INSERT INTO obstacle (key, owner, why, until, since, beat) VALUES (:key, :owner, :why, :until, :since, :since)"
    " ON CONFLICT (key, owner) DO UPDATE"
    " SET why = excluded.why, until = excluded.until, since = excluded.since, beat = excluded.beat"
).bindparams(bindparam("until", type_=UtcDateTime()), bindparam("since", type_=UtcDateTime()))


class Obstacles:
    """Writes and reads them for one process."""

    def __init__(
        self,
        sessions: Sessions,
        clock: Clock,
        note: Callable[[int, str, str], Awaitable[None]],
        *,
        owner: str,
        lease: dt.timedelta,
        shared: bool,
    ) -> None:
        """Write to *sessions* as *owner*.

        *note* is called with circular, relay and reason, once, where others stand in for a relay. *shared*: other processes may send
        from the same rows; one that has given no sign of life for *lease* binds nobody.
        """
        self._sessions, self._clock, self._note = sessions, clock, note
        self._owner, self._lease, self._shared = owner, lease, shared
        #: (circular, relay) that were told
        self._noted: set[tuple[int, str]] = set()
        #: key -> why and until, as they were last written
        self._written: dict[str, tuple[str, dt.datetime | None]] = {}
        #: relays that another process holds
        self._taken_over: set[str] = set()
        self._beat = clock.now()

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
            if closed is not None and not (line.name in self._taken_over and line.pace.held):
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
                await session.execute(delete(Obstacle).where(Obstacle.owner == self._owner, Obstacle.key.in_(gone)))
                if changed:
                    rows = [
                        {"key": key, "owner": self._owner, "why": found[key][0], "until": found[key][1], "since": now}
                        for key in changed
                    ]
                    await session.execute(_PUT, rows)
        except DatabaseError:  # they are there to be read: no letter waits for them; so below
            return
        for key in gone:
            self._written.pop(key, None)  # several runs tell
        self._written |= {key: found[key] for key in changed}

    async def tell_held(self, circular: int, lines: "Sequence[Line]", domains: "Domains") -> None:
        """`tell` at once, where a relay waits for a person and no row says so yet: others may be about to try it."""
        held = [line for line in lines if line.pace.held and line.name not in self._taken_over]
        if not all(self._says_held(f"{_RELAY}{line.name}") for line in held):
            await self.tell(circular, lines, domains)

    async def look(self, lines: "Sequence[Line]") -> None:
        """See what a person has lifted, and what other processes hold.

        Raises:
            DatabaseError: the rows can't be read.
        """
        by_key = {f"{_RELAY}{line.name}": line for line in lines}
        said = {key for key, line in by_key.items() if line.pace.held and self._says_held(key)}  # before we read
        if not said and not self._shared:
            return
        query = select(Obstacle).where(Obstacle.key.in_(by_key), Obstacle.until.is_(None))
        async with self._sessions.read() as session:
            rows = list(await session.scalars(query))
        mine = {row.key for row in rows if row.owner == self._owner}
        fresh = self._clock.now() - self._lease
        others = {row.key: row.why for row in rows if row.owner != self._owner and row.beat and row.beat >= fresh}
        for key, line in by_key.items():
            self._look_at(key, line, gone=key in said - mine, elsewhere=others.get(key))

    def _look_at(self, key: str, line: "Line", *, gone: bool, elsewhere: str | None) -> None:
        """Reopen a relay whose hold is gone, or take over one; *gone*: our row is, *elsewhere*: why another process holds it."""
        if line.pace.held:
            lifted = line.name in self._taken_over and elsewhere is None
            if gone:
                self._written.pop(key, None)
                lifted = True
            if lifted:
                line.reopen()
                self._noted = {one for one in self._noted if one[1] != line.name}
        if not line.pace.held:
            self._taken_over.discard(line.name)
            if elsewhere is not None:
                line.pace.failed(elsewhere, hold=True)
                self._taken_over.add(line.name)

    def _says_held(self, key: str) -> bool:
        """Whether the row that we wrote last says that the relay waits for a person."""
        return key in self._written and self._written[key][1] is None

    async def beat(self) -> None:
        """Show that we live, where other processes go by our rows; now and then is enough."""
        now = self._clock.now()
        if not self._written or now - self._beat < self._lease / 6:
            return
        with suppress(DatabaseError):
            async with self._sessions.write() as session:
                await session.execute(update(Obstacle).where(Obstacle.owner == self._owner).values(beat=now))
            self._beat = now

    async def end(self) -> None:
        """We work no more: our rows stay to be read, and bind nobody."""
        if self._shared and self._written:
            with suppress(DatabaseError):
                async with self._sessions.write() as session:
                    await session.execute(update(Obstacle).where(Obstacle.owner == self._owner).values(beat=None))

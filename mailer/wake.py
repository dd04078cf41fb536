"""The engine port: who wakes up, when. A call says "look at batch 8812/17"; it is never a fact, so losing or doubling one is harmless."""

import datetime as dt
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from lists.records import record


@record
class Call:
    """A wake-up.

    Attributes:
        kind: which handler: `send`, `remind`.
        key: unique among calls for the same work, such as `send/8812/17`.
        args: small numbers or words for the handler.
        at: not before this time; None: now.
        urgency: higher goes first.
        group: whose work it is; groups share what can run at once.
    """

    kind: str
    key: str
    args: Mapping[str, int | str] = field(default_factory=dict)
    at: dt.datetime | None = None
    urgency: int = 0
    group: str = ""


@record
class Standing:
    """What an engine can say of itself: calls waiting and running now, and when the next one falls due."""

    waiting: int
    running: int
    next_due: dt.datetime | None


Handler = Callable[[Call], Awaitable[None]]


class DueSource(Protocol):
    """The reconciler's own query, which a kind of work brings along."""

    async def due(self, now: dt.datetime, limit: int, skip: Collection[str]) -> Sequence[Call]:
        """Up to *limit* calls for unfinished work that is due at *now*, the keys in *skip* left out."""
        ...

    async def next_due(self) -> dt.datetime | None:
        """When the earliest unfinished work falls due; None: there is none."""
        ...


class Engine(Protocol):
    """Wakes handlers. Each call is handed on at least once while its work is unfinished; never rely on exactly once."""

    async def hand_on(self, calls: Sequence[Call], transaction: AsyncSession) -> None:
        """Have *calls* looked at once *transaction* has committed; rolled back, nothing happens."""
        ...

    async def work(self, handlers: Mapping[str, Handler], slots: int) -> None:
        """Run handlers, at most *slots* at once, until cancelled; running ones are waited for."""
        ...

    async def standing(self) -> Standing:
        """What waits and runs now."""
        ...

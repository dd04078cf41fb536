"""Changes of contacts and lists in the home's chain, and the history of an organization read back from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.changes import Change
from mailer.register.chain import HOME, append
from mailer.register.models import Link

ACTION = "contacts-changed"
#: Changes in one link: an import of thousands of rows makes few links, each still readable.
_TOGETHER = 200
#: Links read together.
_READ = 20


async def record(
    session: AsyncSession, changes: Sequence[Change], *, by: str, at: datetime, source: str | None = None
) -> None:
    """Append *changes* to the home's chain, in the transaction that makes them.

    Args:
        session: from `database.write()`.
        changes: as `lists` returned them; none append nothing.
        by: the coordinator.
        at: when; aware.
        source: what they came from, such as a sheet's name and sha256.
    """
    for start in range(0, len(changes), _TOGETHER):
        some = changes[start : start + _TOGETHER]
        subject: dict[str, Any] = {"changes": [change.as_dict() for change in some]}
        if source is not None:
            subject["source"] = source
        await append(session, HOME, ACTION, subject, by=by, at=at)


@dataclass(frozen=True, slots=True)
class Told:
    """One change of an organization as the register tells it."""

    at: datetime
    by: str
    change: Change
    source: str | None


async def history(session: AsyncSession, organization_id: int) -> list[Told]:
    """All changes of an organization, its mailboxes and lists, the oldest first."""
    links = await session.stream(
        select(Link.at, Link.by, Link.subject).where(Link.chain == HOME, Link.action == ACTION).order_by(Link.seq),
        execution_options={"yield_per": _READ},
    )
    return [
        Told(at, by, Change(**one), subject.get("source"))
        async for at, by, subject in links
        for one in subject["changes"]
        if one["organization_id"] == organization_id
    ]

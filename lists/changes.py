"""What a change of contacts or lists was, for the register; and the revision that every change moves on."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.models import Revision

_REVISION = "lists"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an organization, of one of its contacts, or of a list it is on.

    Attributes:
        action: `organization-added`, `-changed`, `-retired`, `-revived`; `contact-added`, `-changed`, `-corrected`, `-ended`;
            `list-joined`, `list-left`.
        organization_id: whose; 0 until the organization is stored.
        organization: its name, for people.
        before: the columns that changed, as they were; empty where a thing is new.
        after: the same columns as they are now, JSON values; a contact's `contact_id` and `address` are always among them.
    """

    action: str
    organization_id: int
    organization: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The change as the register stores it."""
        return {
            "action": self.action,
            "organization_id": self.organization_id,
            "organization": self.organization,
            "before": dict(self.before),
            "after": dict(self.after),
        }

    @property
    def words(self) -> str:
        """What changed, in a line for people: `role: cc -> to`."""
        parts = []
        for key in dict.fromkeys(("address", *self.before, *self.after)):
            if key not in self.after and key not in self.before:
                continue
            old, new = self.before.get(key), self.after.get(key)
            if key == "contact_id" or old == new:
                continue
            parts.append(f"{key}: {_said(old)} -> {_said(new)}" if key in self.before else f"{key}: {_said(new)}")
        return "; ".join(parts)


def plain(value: Any) -> Any:
    """A column's value as JSON has it."""
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return list(value) if isinstance(value, (list, tuple)) else value


def _said(value: Any) -> str:
    if value is None or value in ("", []):
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


async def revision(session: AsyncSession) -> int:
    """How often contacts or lists were changed; equal numbers mean the same contacts and lists."""
    number = await session.scalar(select(Revision.number).where(Revision.name == _REVISION))
    return number or 0


async def bump(session: AsyncSession) -> None:
    """Count a change, in the transaction that makes it."""
    moved = await session.execute(update(Revision).where(Revision.name == _REVISION).values(number=Revision.number + 1))
    if not moved.rowcount:  # type: ignore[attr-defined]  # an UPDATE's result has it; the stubs promise only Result
        await session.execute(insert(Revision).values(name=_REVISION, number=1))

"""What is stored already of what a sheet speaks of. Only that is read: the sheet may be one of many, and the lists of any size."""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.address import shown
from lists.contacts import Mail
from lists.errors import NotFound
from lists.kinds import Form, OrganizationKind, Role
from lists.models import Contact, Membership, NamedList, Organization
from lists.near import near
from lists.organizations import Particulars
from lists.roll import fold

#: Rows asked for at a time.
TOGETHER = 500


class StoredOrganization(NamedTuple):
    """An organization's row."""

    id: int
    sheet_id: str | None
    match_key: str
    name: str
    kind: OrganizationKind
    state_iso3: str | None
    seat: str | None
    form: Form | None
    languages: list[str]
    salutation: str | None
    retired_on: dt.date | None

    @property
    def particulars(self) -> Particulars:
        """As `lists.organizations.particulars` has them."""
        return Particulars(
            self.name,
            self.kind,
            self.state_iso3,
            self.seat,
            self.form,
            tuple(self.languages),
            self.salutation,
            self.sheet_id,
        )


class StoredContact(NamedTuple):
    """A contact's row."""

    id: int
    organization_id: int
    address: str
    name: str
    role: Role
    valid_from: dt.date | None
    valid_until: dt.date | None

    @property
    def mail(self) -> Mail:
        """As `lists.contacts.mail_of` has it."""
        return Mail(self.address, self.name, self.role, self.valid_from, self.valid_until)


@dataclass(slots=True)
class Stored:
    """What is stored.

    Attributes:
        whole: the name of the list that the sheet replaces.
        lists: folded name -> name as first spelled.
        taken: ids that a new organization may not be given.
        asked: ids and keys whose organizations are all here.
    """

    organizations: dict[int, StoredOrganization] = field(default_factory=dict)
    by_id: dict[str, StoredOrganization] = field(default_factory=dict)
    by_key: dict[str, StoredOrganization] = field(default_factory=dict)
    contacts: dict[int, list[StoredContact]] = field(default_factory=dict)
    memberships: dict[int, set[str]] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    whole: str | None = None


async def read_stored(
    session: AsyncSession,
    *,
    sheet_ids: Collection[str],
    keys: Collection[str],
    replace_list: str | None,
) -> Stored:
    """The organizations with one of these ids or keys, and those of the list that is replaced.

    Raises:
        NotFound: there is no such list; near names are in the message.
    """
    names = {number: name for number, name in await session.execute(select(NamedList.id, NamedList.name))}  # noqa: C416 - typed rows
    stored = Stored(lists={fold(name): name for name in names.values()}, asked={*sheet_ids, *keys})
    if replace_list:
        stored.whole = _list_called(stored, replace_list)
        number = next(number for number, name in names.items() if name == stored.whole)
        members = select(Membership.organization_id).where(Membership.list_id == number)
        for row in await _organizations(session, Organization.id.in_(members)):
            stored.organizations[row.id] = row
    for row in await organizations_by(session, sheet_ids=sheet_ids, keys=keys):
        stored.organizations.setdefault(row.id, row)
    for row in stored.organizations.values():
        stored.by_key[row.match_key] = row
        if row.sheet_id:
            stored.by_id[row.sheet_id] = row
    for some in _pieces(list(stored.organizations)):
        found = await session.execute(
            select(*(getattr(Contact, name) for name in StoredContact._fields))
            .where(Contact.organization_id.in_(some))
            .order_by(Contact.id)
        )
        for values in found:
            contact = StoredContact._make(values)
            stored.contacts.setdefault(contact.organization_id, []).append(contact)
        on = select(Membership.organization_id, Membership.list_id).where(Membership.organization_id.in_(some))
        for organization, number in await session.execute(on):
            stored.memberships.setdefault(organization, set()).add(names[number])
    return stored


async def ids_near(session: AsyncSession, wanted: Iterable[str]) -> set[str]:
    """The ids that one has to know to give new organizations some that are free; *wanted* are those that they would like best."""
    for some in _pieces(list(dict.fromkeys(wanted))):
        if await session.scalar(select(Organization.sheet_id).where(Organization.sheet_id.in_(some)).limit(1)):
            every = await session.scalars(select(Organization.sheet_id).where(Organization.sheet_id.is_not(None)))
            return {one for one in every if one}
    return set()


def _list_called(stored: Stored, name: str) -> str:
    found = stored.lists.get(fold(name))
    if found is None:
        remedy = near(name, stored.lists.values()) or "name it in the column `lists` of a sheet first"
        raise NotFound(f"there is no list {shown(name)} to replace", remedy=remedy)
    return found


async def organizations_by(
    session: AsyncSession, *, sheet_ids: Iterable[str], keys: Iterable[str]
) -> list[StoredOrganization]:
    """The organizations with one of these ids or keys, each once."""
    found: dict[int, StoredOrganization] = {}
    for column, values in ((Organization.sheet_id, sheet_ids), (Organization.match_key, keys)):
        for some in _pieces(list(dict.fromkeys(values))):
            for row in await _organizations(session, column.in_(some)):
                found.setdefault(row.id, row)
    return list(found.values())


async def _organizations(session: AsyncSession, condition: ColumnElement[bool]) -> list[StoredOrganization]:
    columns = (getattr(Organization, name) for name in StoredOrganization._fields)
    rows = await session.execute(select(*columns).where(condition).order_by(Organization.id))
    return [StoredOrganization._make(row) for row in rows]


def _pieces(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), TOGETHER):
        yield values[start : start + TOGETHER]

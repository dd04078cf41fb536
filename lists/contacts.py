"""Contacts: mailboxes of an organization, with the dates on which they are right. Every verb returns the change, for the register."""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists import address as addresses
from lists.changes import Change, bump, plain
from lists.errors import BadInput, NotFound
from lists.kinds import Role
from lists.models import Contact, Organization
from lists.organizations import get as get_organization


class Mail(NamedTuple):
    """What is known of a mailbox: normalised address, name (may be empty), role, first and last day on which it is right."""

    address: str
    name: str = ""
    role: Role = Role.TO
    valid_from: dt.date | None = None
    valid_until: dt.date | None = None


COLUMNS = ("address", "name", "role", "valid_from", "valid_until")


def is_right(contact: Contact | Mail, on: dt.date) -> bool:
    """Whether the mailbox is right on that day; both ends are inclusive."""
    return (contact.valid_from is None or contact.valid_from <= on) and (
        contact.valid_until is None or on <= contact.valid_until
    )


def assert_dates(valid_from: dt.date | None, valid_until: dt.date | None, where: str) -> None:
    """Refuse an end before the beginning.

    Raises:
        BadInput: it is so.
    """
    if valid_from is not None and valid_until is not None and valid_until < valid_from:
        raise BadInput(f"it ends on {valid_until}, before it begins on {valid_from}", where=where)


def mail_of(row: Contact) -> Mail:
    """The stored mailbox as a value."""
    return Mail(row.address, row.name, Role(row.role), row.valid_from, row.valid_until)


def changed(row: Contact, new: Mail, organization: str, action: str = "contact-changed") -> Change | None:
    """Give the mailbox these values; None if they are its own already. Does not count the change (see `changes.bump`)."""
    old = mail_of(row)
    columns = [column for column in COLUMNS if getattr(old, column) != getattr(new, column)]
    if not columns:
        return None
    for column in columns:
        setattr(row, column, getattr(new, column))
    told = {"contact_id": row.id, "address": new.address}
    before = {column: plain(getattr(old, column)) for column in columns}
    after = told | {column: plain(getattr(new, column)) for column in columns}
    return Change(action, row.organization_id, organization, before, after)


def added(number: int, mail: Mail, organization_id: int, organization: str) -> Change:
    """The change that a new mailbox is, once it is stored under *number*."""
    after = {"contact_id": number} | {column: plain(getattr(mail, column)) for column in COLUMNS}
    return Change("contact-added", organization_id, organization, {}, after)


async def _of(session: AsyncSession, organization_id: int) -> Sequence[Contact]:
    rows = await session.scalars(select(Contact).where(Contact.organization_id == organization_id).order_by(Contact.id))
    return rows.all()


async def _get(session: AsyncSession, contact_id: int) -> tuple[Contact, Organization]:
    row = await session.get(Contact, contact_id)
    if row is None:
        raise NotFound(f"there is no contact {contact_id}", remedy="`chancery contacts show ORG` shows them")
    return row, await get_organization(session, row.organization_id)


async def add(session: AsyncSession, organization_id: int, mail: Mail) -> tuple[Contact, Change]:
    """Add a mailbox; its address is normalised.

    Raises:
        BadInput: the address or the dates are wrong, or the organization has this address already.
        NotFound: there is no such organization.
    """
    organization = await get_organization(session, organization_id)
    address = addresses.normalise(mail.address)
    assert_dates(mail.valid_from, mail.valid_until, address)
    if any(addresses.same(row.address) == addresses.same(address) for row in await _of(session, organization_id)):
        raise BadInput("it has this address already", where=f"{organization.name}, {address}", remedy="change that one")
    row = Contact(
        organization_id=organization_id,
        address=address,
        name=addresses.display_name(mail.name),
        role=mail.role,
        valid_from=mail.valid_from,
        valid_until=mail.valid_until,
    )
    session.add(row)
    await session.flush()
    await bump(session)
    return row, added(row.id, mail_of(row), organization_id, organization.name)


async def correct(session: AsyncSession, contact_id: int, address: str) -> Change | None:
    """Correct the address of a mailbox: it stays the same contact, so letters not yet sent go to the new one.

    Raises:
        BadInput: the address is wrong, or another mailbox of the organization has it.
        NotFound: there is no such contact.
    """
    row, organization = await _get(session, contact_id)
    new = addresses.normalise(address)
    for other in await _of(session, row.organization_id):
        if other.id != row.id and addresses.same(other.address) == addresses.same(new):
            raise BadInput("another of its mailboxes has this address", where=f"{organization.name}, {new}")
    old = mail_of(row)
    return await _changed(
        session, row, Mail(new, old.name, old.role, old.valid_from, old.valid_until), "contact-corrected"
    )


async def change(
    session: AsyncSession,
    contact_id: int,
    *,
    name: str | None = None,
    role: Role | None = None,
    valid_from: dt.date | None = None,
) -> Change | None:
    """Change name, role or first day of a mailbox; None leaves a thing as it is.

    Raises:
        BadInput: the name or the dates are wrong.
        NotFound: there is no such contact.
    """
    row, _ = await _get(session, contact_id)
    old = mail_of(row)
    new = Mail(
        old.address,
        old.name if name is None else addresses.display_name(name),
        role or old.role,
        valid_from or old.valid_from,
        old.valid_until,
    )
    assert_dates(new.valid_from, new.valid_until, new.address)
    return await _changed(session, row, new, "contact-changed")


async def end(session: AsyncSession, contact_id: int, last_day: dt.date) -> Change | None:
    """Let a mailbox end: *last_day* is the last on which it is written to.

    Raises:
        BadInput: it begins later than that.
        NotFound: there is no such contact.
    """
    row, _ = await _get(session, contact_id)
    old = mail_of(row)
    assert_dates(old.valid_from, last_day, old.address)
    return await _changed(
        session, row, Mail(old.address, old.name, old.role, old.valid_from, last_day), "contact-ended"
    )


async def _changed(session: AsyncSession, row: Contact, new: Mail, action: str) -> Change | None:
    organization = await get_organization(session, row.organization_id)
    change_ = changed(row, new, organization.name, action)
    if change_ is not None:
        await session.flush()
        await bump(session)
    return change_

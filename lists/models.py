"""Tables: organizations, their contacts, lists, and the revision that says whether any of them changed."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from lists.db import Base, EnumText
from lists.kinds import Form, ListKind, OrganizationKind, Role


class Organization(Base):
    """A body that gets letters."""

    __tablename__ = "organization"
    __table_args__ = (UniqueConstraint("match_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    #: the sheet's own id, if it had one
    sheet_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    #: state | seat | kind | normalised name: finds the row of a sheet without an id
    match_key: Mapped[str] = mapped_column(String(400))
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[OrganizationKind] = mapped_column(EnumText(OrganizationKind))
    state_iso3: Mapped[str | None] = mapped_column(String(3), index=True)
    #: lower case, hyphens: geneva, new-york; None where it does not matter
    seat: Mapped[str | None] = mapped_column(String(40))
    #: its own choice of form; None: the circular's
    form: Mapped[Form | None] = mapped_column(EnumText(Form))
    #: languages in its order of preference
    languages: Mapped[list[Any]] = mapped_column(default=list)
    #: how its letters begin, where a circular asks for each one's own
    salutation: Mapped[str | None] = mapped_column(Text)
    retired_on: Mapped[dt.date | None]
    contacts: Mapped[list["Contact"]] = relationship(back_populates="organization", order_by="Contact.id")


class Contact(Base):
    """One mailbox of an organization, right from `valid_from` to `valid_until`, both inclusive, None being open."""

    __tablename__ = "contact"
    __table_args__ = (Index(None, "organization_id", "address"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organization.id"), index=True)
    #: normalised: domain in lower case and A-labels, local part as given
    address: Mapped[str] = mapped_column(String(320), index=True)
    name: Mapped[str] = mapped_column(Text, default="")
    role: Mapped[Role] = mapped_column(EnumText(Role), default=Role.TO)
    valid_from: Mapped[dt.date | None]
    valid_until: Mapped[dt.date | None]
    organization: Mapped[Organization] = relationship(back_populates="contacts")


class NamedList(Base):
    """A named set of organizations."""

    __tablename__ = "list"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    kind: Mapped[ListKind] = mapped_column(EnumText(ListKind), default=ListKind.OFFICIAL)


class Membership(Base):
    """An organization on a list."""

    __tablename__ = "list_membership"

    list_id: Mapped[int] = mapped_column(ForeignKey("list.id"), primary_key=True)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organization.id"), primary_key=True, index=True)


class Revision(Base):
    """Counts the changes of contacts and lists; an approval compares it to know whether its audience still holds."""

    __tablename__ = "lists_revision"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    number: Mapped[int] = mapped_column(default=0)

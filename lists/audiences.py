"""Audiences: from rules and a date to organizations and mailboxes, each with the reason, and the States nobody answers for.

Rules of resolving.
- A rule selects States (`states-parties`, `states-not-parties`, `NOR`) and then their missions and ministries, or organizations
  that speak for no State (`organizations`), or a list (`list:NAME`). `@geneva` asks for that seat; `else new-york` is where to
  look for a State that has nobody at the first.
- Who is a Party is asked for the day `as_of`; which mailboxes are right, and which organizations are retired, for the day `on`.
- An organization gets one letter: the first rule that finds it has it, `to` before `cc`.
- An organization without a mailbox is not addressed, and is named. A State of the audience for which nobody is addressed
  is named, unless `except` took it out. A State that only stands under CC is still without addressee under To.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from lists.kinds import Counting, Form, OrganizationKind, Role
from lists.roll import Roll


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A contact that is right on the day: normalised address, name (may be empty), `to` or `cc` of the mail header."""

    contact_id: int
    address: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Addressee:
    """An organization that gets a letter.

    Attributes:
        audience: the rule that found it, without its `else` (`states-parties@geneva`).
        role: whether it stands under To or CC.
        why: the reason in words (`State Party since 1 March 1999; mission in Geneva`).
        mailboxes: at least one; those for To first.
    """

    organization_id: int
    organization: str
    kind: OrganizationKind
    state_iso3: str | None
    seat: str | None
    form: Form | None
    languages: tuple[str, ...]
    salutation: str | None
    audience: str
    role: Role
    why: str
    mailboxes: tuple[Mailbox, ...]


@dataclass(frozen=True, slots=True)
class Unaddressed:
    """A State of the audience for which nobody is addressed."""

    state_iso3: str
    state: str
    audience: str
    why: str


@dataclass(frozen=True, slots=True)
class Excluded:
    """An organization of the audience that gets no letter, and why."""

    organization_id: int
    organization: str
    why: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the rules of a circular come to.

    Attributes:
        addressees: in order: To before CC, then rule, State by English name, organization by name; one per organization.
        unaddressed: States without addressee, in the order of their rules and names.
        excluded: organizations that a rule found and that get no letter: no mailbox, or taken out by `except`.
        not_chosen: organizations of the audience's States that the rule passes over: another seat, or retired.
        revision: of the contacts and lists that were read.
        to_keys: keys of `[wording]` printed under To, in order (`states-parties`); `cc_keys` likewise.
    """

    addressees: tuple[Addressee, ...]
    unaddressed: tuple[Unaddressed, ...]
    excluded: tuple[Excluded, ...]
    not_chosen: tuple[Excluded, ...]
    revision: int
    to_keys: tuple[str, ...]
    cc_keys: tuple[str, ...]


async def resolve(
    session: AsyncSession,
    roll: Roll,
    *,
    to: Sequence[str],
    cc: Sequence[str] = (),
    except_: Sequence[str] = (),
    as_of: dt.date,
    on: dt.date,
    counting: Counting = Counting.IN_FORCE,
) -> Resolved:
    """Who gets the letter, and who does not, and why (rules: above).

    Raises:
        BadInput: a rule can't be read, or names an unknown State or list; near names are in the message.
    """
    raise NotImplementedError


async def current_mailboxes(session: AsyncSession, organization_id: int, on: dt.date) -> tuple[Mailbox, ...]:
    """The mailboxes of an organization that are right on that day: those for To first, each in the order of entry."""
    raise NotImplementedError

"""Audiences: from rules and a date to organizations and mailboxes, each with the reason, and the States nobody answers for.

Rules of resolving.
- A rule selects States (`states-parties`, `states-not-parties`, `NOR`) and then their missions and ministries, or organizations
  that speak for no State (`organizations`), or a list (`list:NAME`). `@geneva` asks for that seat; `else new-york` is where to
  look for a State that has nobody at the first.
- Who is a Party is asked for the day `as_of`; which mailboxes are right, and which organizations are retired, for the day `on`.
- An organization gets one letter: the first rule that finds it has it, `to` before `cc`.
- An organization without a mailbox is not addressed, and is named. A State of the audience for which nobody is addressed
  is named, unless `except` took it out. A State that only stands under CC is still without addressee under To.

`choose` keeps some ten octets of each organization and reads the rest piece by piece (`Chosen.pieces`), whatever the size of the list;
`resolve` is for whoever wants all of it at hand.
"""

import datetime as dt
import json
from array import array
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import String, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from lists.changes import revision
from lists.choosing import Chooser, Excluded, Reason, Unaddressed, right_on
from lists.kinds import Counting, Form, OrganizationKind, Role
from lists.models import Contact, Organization
from lists.roll import Roll
from lists.rules import Rule, parse, wording_key

__all__ = [
    "Addressee",
    "Chosen",
    "Excluded",
    "Mailbox",
    "Resolved",
    "Unaddressed",
    "choose",
    "current_mailboxes",
    "mailboxes_of",
    "resolve",
    "wording_key",
]

#: Organizations that are read together.
PIECE = 1000


class Mailbox(NamedTuple):
    """A contact that is right on the day: normalised address, name (may be empty), `to` or `cc` of the mail header.

    `contact_id` is None for an address that a person gave for one letter.
    """

    contact_id: int | None
    address: str
    name: str
    role: Role


class Addressee(NamedTuple):
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
class Chosen:
    """What the rules of a circular come to, without the addressees themselves.

    Attributes:
        ids: of the addressees, in order: To before CC, then rule, State by English name, organization by name; one per organization.
        reasons: of each, the place of its reason in *said*.
        kinds: their kinds, each with the form that it asks for, as first met.
        unaddressed: States without addressee, in the order of their rules and names.
        excluded: organizations that a rule found and that get no letter: no mailbox, or taken out by `except`.
        not_chosen: organizations of the audience's States that the rule passes over: another seat, or retired.
        revision: of the contacts and lists that were read.
        to_keys: keys of `[wording]` printed under To, in order (`states-parties`); `cc_keys` likewise.
        on: the day whose mailboxes are meant.
    """

    ids: "array[int]"
    reasons: "array[int]"
    said: tuple[Reason, ...]
    kinds: tuple[tuple[OrganizationKind, Form | None], ...]
    unaddressed: tuple[Unaddressed, ...]
    excluded: tuple[Excluded, ...]
    not_chosen: tuple[Excluded, ...]
    revision: int
    to_keys: tuple[str, ...]
    cc_keys: tuple[str, ...]
    on: dt.date

    def __len__(self) -> int:
        return len(self.ids)

    async def pieces(self, session: AsyncSession) -> AsyncIterator[list[Addressee]]:
        """The addressees, `PIECE` at a time; *session* has to see what `choose` saw."""
        for start in range(0, len(self.ids), PIECE):
            ids = self.ids[start : start + PIECE]
            found = await _organizations(session, ids)
            boxes = await mailboxes_of(session, ids, self.on)
            yield [
                Addressee._make((number, *found[number], *self.said[reason], boxes[number]))
                for number, reason in zip(ids, self.reasons[start : start + PIECE], strict=True)
            ]


@dataclass(frozen=True, slots=True)
class Resolved:
    """`Chosen` with all its addressees."""

    addressees: tuple[Addressee, ...]
    unaddressed: tuple[Unaddressed, ...]
    excluded: tuple[Excluded, ...]
    not_chosen: tuple[Excluded, ...]
    revision: int
    to_keys: tuple[str, ...]
    cc_keys: tuple[str, ...]


async def choose(
    session: AsyncSession,
    roll: Roll,
    *,
    to: Sequence[str],
    cc: Sequence[str] = (),
    except_: Sequence[str] = (),
    as_of: dt.date,
    on: dt.date,
    counting: Counting = Counting.IN_FORCE,
) -> Chosen:
    """Who gets the letter, and who does not, and why (rules: above).

    Raises:
        BadInput: a rule can't be read, or names an unknown State or list; near names are in the message.
    """
    rules = [(parse(text, roll), role) for role, texts in ((Role.TO, to), (Role.CC, cc)) for text in texts]
    without = [parse(text, roll) for text in except_]
    work = Chooser(session, roll, as_of, on, counting)
    await work.begin(without, {rule.list_name for rule in [r for r, _ in rules] + without if rule.list_name})
    for rule, role in rules:
        await work.take(rule, role)
    return Chosen(
        ids=work.ids,
        reasons=work.reasons,
        said=tuple(work.said),
        kinds=tuple(work.kinds),
        unaddressed=work.unaddressed(),
        excluded=tuple(work.excluded.values()),
        not_chosen=work.not_chosen(),
        revision=await revision(session),
        to_keys=_keys(rules, Role.TO),
        cc_keys=_keys(rules, Role.CC),
        on=on,
    )


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
    """`choose`, with all addressees at hand.

    Raises:
        BadInput: as there.
    """
    found = await choose(session, roll, to=to, cc=cc, except_=except_, as_of=as_of, on=on, counting=counting)
    return Resolved(
        addressees=tuple([one async for piece in found.pieces(session) for one in piece]),
        unaddressed=found.unaddressed,
        excluded=found.excluded,
        not_chosen=found.not_chosen,
        revision=found.revision,
        to_keys=found.to_keys,
        cc_keys=found.cc_keys,
    )


async def current_mailboxes(session: AsyncSession, organization_id: int, on: dt.date) -> tuple[Mailbox, ...]:
    """The mailboxes of an organization that are right on that day: those for To first, each in the order of entry."""
    return (await mailboxes_of(session, [organization_id], on))[organization_id]


async def mailboxes_of(
    session: AsyncSession, organization_ids: Collection[int], on: dt.date
) -> dict[int, tuple[Mailbox, ...]]:
    """`current_mailboxes` of each of some organizations (a thousand or so)."""
    found = await session.execute(
        select(Contact.organization_id, Contact.id, Contact.address, Contact.name, type_coerce(Contact.role, String))
        .where(Contact.organization_id.in_(organization_ids), *right_on(on))
        .order_by(Contact.organization_id, Contact.id)
    )
    boxes: dict[int, tuple[Mailbox, ...]] = dict.fromkeys(organization_ids, ())
    mixed = set()
    for owner, number, address, name, role in found:
        if role != Role.TO:
            mixed.add(owner)
        boxes[owner] += (Mailbox(number, address, name, _ROLES[role]),)
    for owner in mixed:
        boxes[owner] = tuple(sorted(boxes[owner], key=lambda box: (box.role is Role.CC, box.contact_id or 0)))
    return boxes


_ROLES = {role.value: role for role in Role}
_KINDS = {kind.value: kind for kind in OrganizationKind}
_FORMS: dict[str | None, Form | None] = {None: None} | {form.value: form for form in Form}


async def _organizations(session: AsyncSession, ids: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """By id: what an `Addressee` has of an organization beside its id, as far as the salutation."""
    rows = await session.execute(
        select(
            Organization.id,
            Organization.name,
            type_coerce(Organization.kind, String),
            Organization.state_iso3,
            Organization.seat,
            type_coerce(Organization.form, String),
            type_coerce(Organization.languages, String),
            Organization.salutation,
        ).where(Organization.id.in_(ids))
    )
    spoken: dict[str, tuple[str, ...]] = {}
    found = {}
    stored: Any
    for number, name, kind, state, seat, form, stored, salutation in rows:
        if (order := spoken.get(key := str(stored))) is None:
            # the driver of PostgreSQL parses JSON by itself
            order = spoken[key] = tuple(json.loads(stored) if isinstance(stored, str) else stored)
        found[number] = (name, _KINDS[kind], state, seat, _FORMS[form], order, salutation)
    return found


def _keys(rules: Sequence[tuple[Rule, Role]], role: Role) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule.key for rule, of in rules if of is role))

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.address import shown
from lists.changes import revision
from lists.errors import BadInput, NotFound
from lists.kinds import Counting, Form, OrganizationKind, Role
from lists.models import Contact, Membership, NamedList, Organization
from lists.near import near
from lists.organizations import seat_words
from lists.roll import Roll, State, fold
from lists.rules import Rule, Selects, parse, wording_key
from lists.words import KIND_WORDS, at, day, standing

__all__ = [
    "Addressee",
    "Excluded",
    "Mailbox",
    "Resolved",
    "Unaddressed",
    "current_mailboxes",
    "resolve",
    "wording_key",
]


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A contact that is right on the day: normalised address, name (may be empty), `to` or `cc` of the mail header.

    `contact_id` is None for an address that a person gave for one letter.
    """

    contact_id: int | None
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
    rules = [(parse(text, roll), role) for role, texts in ((Role.TO, to), (Role.CC, cc)) for text in texts]
    without = [parse(text, roll) for text in except_]
    book = await _read(session, on, {rule.list_name for rule in [r for r, _ in rules] + without if rule.list_name})
    work = _Resolver(roll, book, as_of, on, counting, without)
    for rule, role in rules:
        work.take(rule, role)
    return Resolved(
        addressees=tuple(work.addressees),
        unaddressed=work.unaddressed(),
        excluded=tuple(work.excluded.values()),
        not_chosen=work.not_chosen(),
        revision=await revision(session),
        to_keys=_keys(rules, Role.TO),
        cc_keys=_keys(rules, Role.CC),
    )


async def current_mailboxes(session: AsyncSession, organization_id: int, on: dt.date) -> tuple[Mailbox, ...]:
    """The mailboxes of an organization that are right on that day: those for To first, each in the order of entry."""
    rows = await session.scalars(
        select(Contact).where(Contact.organization_id == organization_id, *_right_on(on)).order_by(Contact.id)
    )
    return _in_order([_mailbox(row) for row in rows])


def _keys(rules: Sequence[tuple[Rule, Role]], role: Role) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule.key for rule, of in rules if of is role))


def _right_on(on: dt.date) -> tuple[ColumnElement[bool], ...]:
    return (
        or_(Contact.valid_from.is_(None), Contact.valid_from <= on),
        or_(Contact.valid_until.is_(None), Contact.valid_until >= on),
    )


def _mailbox(row: Contact) -> Mailbox:
    return Mailbox(row.id, row.address, row.name, Role(row.role))


def _in_order(boxes: Iterable[Mailbox]) -> tuple[Mailbox, ...]:
    return tuple(sorted(boxes, key=lambda box: (box.role is Role.CC, box.contact_id or 0)))


@dataclass(frozen=True, slots=True)
class _Book:
    """What was read: organizations, their mailboxes of the day, lists."""

    organizations: tuple[Organization, ...]
    mailboxes: Mapping[int, tuple[Mailbox, ...]]
    lists: Mapping[str, frozenset[int]]


async def _read(session: AsyncSession, on: dt.date, list_names: set[str]) -> _Book:
    organizations = tuple(await session.scalars(select(Organization).order_by(Organization.id)))
    boxes: dict[int, list[Mailbox]] = {}
    for row in await session.scalars(select(Contact).where(*_right_on(on)).order_by(Contact.id)):
        boxes.setdefault(row.organization_id, []).append(_mailbox(row))
    known = {row.name: row.id for row in await session.scalars(select(NamedList))}
    members: dict[str, frozenset[int]] = {}
    for name in sorted(list_names):
        of_name = next((known[k] for k in known if fold(k) == fold(name)), None)
        if of_name is None:
            raise NotFound(f"there is no list {shown(name)}", remedy=near(name, known) or _no_lists(known))
        ids = await session.scalars(select(Membership.organization_id).where(Membership.list_id == of_name))
        members[name] = frozenset(ids)
    return _Book(organizations, {key: _in_order(found) for key, found in boxes.items()}, members)


def _no_lists(known: Mapping[str, int]) -> str:
    if known:
        return f"the lists are {', '.join(sorted(known))}"
    return "there are no lists yet; name them in the column `lists` of the sheet"


class _Resolver:
    """Takes rule after rule; see the module's rules."""

    def __init__(
        self, roll: Roll, book: _Book, as_of: dt.date, on: dt.date, counting: Counting, without: Sequence[Rule]
    ) -> None:
        self.roll, self.book, self.as_of, self.on, self.counting = roll, book, as_of, on, counting
        self.addressees: list[Addressee] = []
        self.excluded: dict[int, Excluded] = {}
        self._taken: dict[int, Role] = {}
        self._seen: dict[int, str] = {}
        self._answered: set[tuple[str, Role]] = set()
        self._nobody: list[tuple[Unaddressed, Role]] = []
        self._of_state: dict[str, list[Organization]] = {}
        for row in book.organizations:
            if row.state_iso3 and not self._retired(row):
                self._of_state.setdefault(row.state_iso3, []).append(row)
        self._out_states, self._out = self._taken_out(without)

    def _retired(self, row: Organization) -> bool:
        return row.retired_on is not None and row.retired_on <= self.on

    def _states(self, rule: Rule) -> tuple[State, ...]:
        if rule.state is not None:
            if not rule.state.exists(self.as_of):
                since = day(rule.state.exists_from) if rule.state.exists_from else ""
                raise BadInput(f"{rule.state.name()} is a State only since {since}", where=f"rule {rule.text!r}")
            return (rule.state,)
        if rule.selects is Selects.PARTIES:
            return self.roll.parties(self.as_of, self.counting)
        return self.roll.not_parties(self.as_of, self.counting)

    def _listed(self, rule: Rule) -> list[Organization]:
        """The organizations that a rule other than one of States selects, whatever their seat."""
        if rule.selects is Selects.LIST:
            members = self.book.lists[rule.list_name]
            rows = [row for row in self.book.organizations if row.id in members]
        else:
            rows = [row for row in self.book.organizations if not OrganizationKind(row.kind).of_a_state]
        return sorted((row for row in rows if not self._retired(row)), key=self._place)

    def _place(self, row: Organization) -> tuple[bool, str, str, int]:
        state = self.roll.state(row.state_iso3).name() if row.state_iso3 else ""
        return (row.state_iso3 is None, fold(state), fold(row.name), row.id)

    def _taken_out(self, without: Sequence[Rule]) -> tuple[set[str], dict[int, str]]:
        """States, and organizations with the rule, that `except` takes out."""
        states: set[str] = set()
        rows: dict[int, str] = {}
        for rule in without:
            chosen = self._listed(rule) if not rule.selects.states else []
            if rule.selects.states:
                codes = {state.iso3 for state in self._states(rule)}
                states |= codes if not rule.seats else set()
                chosen = [row for code in sorted(codes) for row in self._of_state.get(code, [])]
            for row in chosen:
                if not rule.seats or row.seat in rule.seats:
                    rows.setdefault(row.id, rule.text)
        return states, rows

    def take(self, rule: Rule, role: Role) -> None:
        """Let *rule* select, for To or CC."""
        if rule.selects.states:
            for state in self._states(rule):
                why = standing(self.roll, state.iso3, self.as_of, self.counting)
                rows = sorted(self._of_state.get(state.iso3, []), key=self._place)
                self._take_state(rule, role, state, rows, why)
            return
        rows = self._listed(rule)
        why = f"on the list {rule.list_name}" if rule.selects is Selects.LIST else ""
        by_state: dict[str, list[Organization]] = {}
        for row in rows:
            if row.state_iso3:
                by_state.setdefault(row.state_iso3, []).append(row)
        for code, of_state in by_state.items():
            self._take_state(rule, role, self.roll.state(code), of_state, why)
        for row in rows:
            if row.state_iso3 is None:
                self._take_other(rule, role, row, why)

    def _take_other(self, rule: Rule, role: Role, row: Organization, why: str) -> None:
        if rule.seats and row.seat not in rule.seats:
            self._seen.setdefault(row.id, f"its seat is {_seat(row.seat)}; {rule.text} asks for another")
            return
        reason = why or KIND_WORDS[OrganizationKind(row.kind)]
        self._give(rule, role, row, f"{reason}; seat{at(row.seat)}" if rule.seats else reason)

    def _take_state(self, rule: Rule, role: Role, state: State, rows: list[Organization], why: str) -> None:
        answered = False
        missing: list[str] = []  # seats where it has nobody
        empty: list[str] = []  # those there without a mailbox
        for seat in rule.seats or (None,):
            here = [row for row in rows if seat is None or row.seat == seat]
            for row in here:
                kind = KIND_WORDS[OrganizationKind(row.kind)]
                instead = f", as {missed}" if (missed := _missed(missing, empty)) else ""
                answered |= self._give(rule, role, row, f"{why}; {kind}{at(row.seat)}{instead}")
            if answered:
                break
            if here:
                empty.append(f"its {KIND_WORDS[OrganizationKind(here[0].kind)]}{at(seat)}")
            else:
                missing.append(at(seat))
        for row in rows:
            self._seen.setdefault(row.id, f"its seat is {_seat(row.seat)}; {rule.text} takes another")
        if answered or state.iso3 in self._out_states:
            self._answered.add((state.iso3, role))
        else:
            elsewhere = sorted({_seat(row.seat) for row in rows if rule.seats and row.seat not in rule.seats})
            other = f"; there is one in {', '.join(elsewhere)}" if elsewhere else ""
            reason = f"{_missed(missing, empty, self.on)}{other}"
            self._nobody.append((Unaddressed(state.iso3, state.name(), rule.audience, reason), role))

    def _give(self, rule: Rule, role: Role, row: Organization, why: str) -> bool:
        """Address the organization, unless it is taken, out, or has no mailbox; whether its State is answered for."""
        if row.id in self._taken:
            return self._taken[row.id] is Role.TO or role is Role.CC
        if row.id in self._out:
            self.excluded.setdefault(row.id, Excluded(row.id, row.name, f"taken out by except {self._out[row.id]}"))
            return True
        boxes = self.book.mailboxes.get(row.id, ())
        if not boxes:
            self.excluded.setdefault(row.id, Excluded(row.id, row.name, f"it has no mailbox on {day(self.on)}"))
            return False
        self._taken[row.id] = role
        self.addressees.append(
            Addressee(
                organization_id=row.id,
                organization=row.name,
                kind=OrganizationKind(row.kind),
                state_iso3=row.state_iso3,
                seat=row.seat,
                form=Form(row.form) if row.form else None,
                languages=tuple(row.languages),
                salutation=row.salutation,
                audience=rule.audience,
                role=role,
                why=why,
                mailboxes=boxes,
            )
        )
        return True

    def unaddressed(self) -> tuple[Unaddressed, ...]:
        """The States without addressee, each once; one that stands under CC only still lacks one under To."""
        found: dict[str, Unaddressed] = {}
        for one, role in self._nobody:
            under = {Role.TO} if role is Role.TO else {Role.TO, Role.CC}
            if not any((one.state_iso3, part) in self._answered for part in under):
                found.setdefault(one.state_iso3, one)
        return tuple(found.values())

    def not_chosen(self) -> tuple[Excluded, ...]:
        """The organizations that a rule saw and passed over."""
        names = {row.id: row.name for row in self.book.organizations}
        return tuple(
            Excluded(key, names[key], why)
            for key, why in self._seen.items()
            if key not in self._taken and key not in self.excluded
        )


def _missed(missing: Sequence[str], empty: Sequence[str], on: dt.date | None = None) -> str:
    """Why a State has nobody at the seats: `no mission in Geneva or in New York is known`."""
    parts = []
    if missing:
        what = "mission" if any(missing) else "mission or ministry"
        parts.append(f"no {what}{' or'.join(missing)} is known")
    if empty:
        when = f" on {day(on)}" if on else ""
        parts.append(f"{' and '.join(empty)} {'has' if len(empty) == 1 else 'have'} no mailbox{when}")
    return " and ".join(parts)


def _seat(seat: str | None) -> str:
    return seat_words(seat) if seat else "not known"

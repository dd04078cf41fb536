"""Rule after rule: which organizations are chosen, in order, and which States nobody answers for. `lists.audiences` has the rules.

Missions and ministries are held in memory, for there are only so many States. Of others there may be millions: they are read in
their order, one after the other, and what is kept of each is its number, its reason's number and a mark.
"""

import datetime as dt
from array import array
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, exists, func, or_, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from lists.address import shown
from lists.errors import BadInput, NotFound
from lists.kinds import Counting, Form, OrganizationKind, Role
from lists.models import Contact, Membership, NamedList, Organization
from lists.near import near
from lists.organizations import seat_words
from lists.roll import Roll, State, fold
from lists.rules import Rule, Selects
from lists.words import KIND_WORDS, at, day, standing

#: Rows read at a time.
_TOGETHER = 1000
_MARKS = {Role.TO: 1, Role.CC: 2}


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


class Reason(NamedTuple):
    """By which rule (without its `else`) and under what an organization stands, and why, in words."""

    audience: str
    role: Role
    why: str


class _Row(NamedTuple):
    """What choosing asks of an organization; `reached`: it has a mailbox on the day."""

    id: int
    name: str
    kind: OrganizationKind
    state_iso3: str | None
    seat: str | None
    form: Form | None
    reached: bool


_ID, _SEAT, _KEY = Organization.id, Organization.seat, Organization.match_key
#: The folded name, by which those who speak for no State stand in order: the end of `organizations.match_key`.
_BY_NAME = func.substr(
    _KEY, func.length(func.coalesce(_SEAT, "")) + func.length(type_coerce(Organization.kind, String)) + len("|||") + 1
)


def right_on(on: dt.date) -> tuple[ColumnElement[bool], ...]:
    """Of contacts: those that are right on that day."""
    return (
        or_(Contact.valid_from.is_(None), Contact.valid_from <= on),
        or_(Contact.valid_until.is_(None), Contact.valid_until >= on),
    )


class Chooser:
    """Takes rule after rule.

    Attributes:
        ids: of the organizations that get a letter, in order; `reasons` has the number of each one's reason in `said`.
        kinds: the kinds of those organizations, each with the form that it asks for, as first met.
        excluded: by id, those that a rule found and that get no letter.
    """

    def __init__(self, session: AsyncSession, roll: Roll, as_of: dt.date, on: dt.date, counting: Counting) -> None:
        self._session, self.roll, self.as_of, self.on, self.counting = session, roll, as_of, on, counting
        self.ids, self.reasons = array("q"), array("L")
        self.said: dict[Reason, int] = {}
        self.kinds: dict[tuple[OrganizationKind, Form | None], None] = {}
        self.excluded: dict[int, Excluded] = {}
        self._marks, self._out = bytearray(), array("H")
        self._out_rules: list[str] = []
        self._out_states: set[str] = set()
        self._seen: dict[int, tuple[str, str]] = {}
        self._answered: set[tuple[str, Role]] = set()
        self._nobody: list[tuple[Unaddressed, Role]] = []
        self._of_state: dict[str, list[_Row]] = {}
        self._lists: dict[str, int] = {}

    async def begin(self, without: Sequence[Rule], list_names: Iterable[str]) -> None:
        """Read what has to be known beforehand; *without* is taken out.

        Raises:
            NotFound: there is no list of that name; near names are in the message.
        """
        most = await self._session.scalar(select(func.max(_ID))) or 0
        self._marks, self._out = bytearray(most + 1), array("H", bytes(2 * (most + 1)))
        await self._find_lists(list_names)
        of_states = self._rows(Organization.state_iso3.is_not(None)).order_by(_ID)
        async for row in self._read(of_states):
            self._of_state.setdefault(row.state_iso3 or "", []).append(row)
        for rule in without:
            await self._take_out(rule)

    async def _find_lists(self, names: Iterable[str]) -> None:
        known = {name: number for name, number in await self._session.execute(select(NamedList.name, NamedList.id))}  # noqa: C416 - typed rows
        for name in sorted(names):
            number = next((known[one] for one in known if fold(one) == fold(name)), None)
            if number is None:
                listed = f"the lists are {', '.join(sorted(known))}" if known else _NO_LISTS
                raise NotFound(f"there is no list {shown(name)}", remedy=near(name, known) or listed)
            self._lists[name] = number

    def _rows(self, *conditions: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
        """Organizations that are not retired on the day."""
        reached = exists().where(Contact.organization_id == _ID, *right_on(self.on))
        columns = (_ID, Organization.name, Organization.kind, Organization.state_iso3, _SEAT, Organization.form)
        kept = or_(Organization.retired_on.is_(None), Organization.retired_on > self.on)
        return select(*columns, reached.label("reached")).where(kept, *conditions)

    async def _read(self, query: Select[*tuple[Any, ...]]) -> AsyncIterator[_Row]:
        found = await self._session.stream(query)
        async for some in found.partitions(_TOGETHER):
            for row in some:
                yield _Row(*row)

    def _members(self, rule: Rule) -> tuple[ColumnElement[bool], ...]:
        """What holds of the organizations of a rule that selects no States."""
        if rule.selects is not Selects.LIST:
            return ()
        of_list = Membership.list_id == self._lists[rule.list_name]
        return (_ID.in_(select(Membership.organization_id).where(of_list)),)

    async def _others(self, rule: Rule, *, ordered: bool = True) -> AsyncIterator[_Row]:
        """The organizations of the rule that speak for no State."""
        query = self._rows(Organization.state_iso3.is_(None), *self._members(rule))
        by_name = _BY_NAME if self._session.get_bind().dialect.name == "sqlite" else _BY_NAME.collate("C")
        async for row in self._read(query.order_by(by_name, _ID) if ordered else query):
            yield row

    async def _listed_of_states(self, rule: Rule) -> dict[str, list[_Row]]:
        """By State, in the order of their names, the missions and ministries that a rule other than one of States selects."""
        if rule.selects is not Selects.LIST:
            return {}
        on_it = set(
            await self._session.scalars(select(_ID).where(Organization.state_iso3.is_not(None), *self._members(rule)))
        )
        found = {
            code: sorted((row for row in rows if row.id in on_it), key=_place)
            for code, rows in sorted(self._of_state.items(), key=lambda item: fold(self.roll.state(item[0]).name()))
        }
        return {code: rows for code, rows in found.items() if rows}

    def _states(self, rule: Rule) -> tuple[State, ...]:
        if rule.state is not None:
            if not rule.state.exists(self.as_of):
                since = day(rule.state.exists_from) if rule.state.exists_from else ""
                raise BadInput(f"{rule.state.name()} is a State only since {since}", where=f"rule {rule.text!r}")
            return (rule.state,)
        if rule.selects is Selects.PARTIES:
            return self.roll.parties(self.as_of, self.counting)
        return self.roll.not_parties(self.as_of, self.counting)

    async def _take_out(self, rule: Rule) -> None:
        """Mark what `except` takes out: States, and organizations with the rule."""
        self._out_rules.append(rule.text)
        number = len(self._out_rules)

        def mark(row: _Row) -> None:
            if not self._out[row.id] and (not rule.seats or row.seat in rule.seats):
                self._out[row.id] = number

        if rule.selects.states:
            codes = {state.iso3 for state in self._states(rule)}
            self._out_states |= codes if not rule.seats else set()
            for code in codes:
                for row in self._of_state.get(code, []):
                    mark(row)
            return
        for rows in (await self._listed_of_states(rule)).values():
            for row in rows:
                mark(row)
        async for row in self._others(rule, ordered=False):
            mark(row)

    async def take(self, rule: Rule, role: Role) -> None:
        """Let *rule* select, for To or CC."""
        if rule.selects.states:
            for state in self._states(rule):
                why = standing(self.roll, state.iso3, self.as_of, self.counting)
                self._take_state(rule, role, state, sorted(self._of_state.get(state.iso3, []), key=_place), why)
            return
        why = f"on the list {rule.list_name}" if rule.selects is Selects.LIST else ""
        for code, rows in (await self._listed_of_states(rule)).items():
            self._take_state(rule, role, self.roll.state(code), rows, why)
        async for row in self._others(rule):
            self._take_other(rule, role, row, why)

    def _take_other(self, rule: Rule, role: Role, row: _Row, why: str) -> None:
        if rule.seats and row.seat not in rule.seats:
            reason = f"its seat is {_seat(row.seat)}; {rule.text} asks for another"
            self._seen.setdefault(row.id, (row.name, reason))
            return
        reason = why or KIND_WORDS[row.kind]
        self._give(rule, role, row, f"{reason}; seat{at(row.seat)}" if rule.seats else reason)

    def _take_state(self, rule: Rule, role: Role, state: State, rows: list[_Row], why: str) -> None:
        answered = False
        missing: list[str] = []  # seats where it has nobody
        empty: list[str] = []  # those there without a mailbox
        for seat in rule.seats or (None,):
            here = [row for row in rows if seat is None or row.seat == seat]
            for row in here:
                instead = f", as {missed}" if (missed := _missed(missing, empty)) else ""
                answered |= self._give(rule, role, row, f"{why}; {KIND_WORDS[row.kind]}{at(row.seat)}{instead}")
            if answered:
                break
            if here:
                empty.append(f"its {KIND_WORDS[here[0].kind]}{at(seat)}")
            else:
                missing.append(at(seat))
        for row in rows:
            self._seen.setdefault(row.id, (row.name, f"its seat is {_seat(row.seat)}; {rule.text} takes another"))
        if answered or state.iso3 in self._out_states:
            self._answered.add((state.iso3, role))
        else:
            elsewhere = sorted({_seat(row.seat) for row in rows if rule.seats and row.seat not in rule.seats})
            other = f"; there is one in {', '.join(elsewhere)}" if elsewhere else ""
            reason = f"{_missed(missing, empty, self.on)}{other}"
            self._nobody.append((Unaddressed(state.iso3, state.name(), rule.audience, reason), role))

    def _give(self, rule: Rule, role: Role, row: _Row, why: str) -> bool:
        """Address the organization, unless it is taken, out, or has no mailbox; whether its State is answered for."""
        if taken := self._marks[row.id]:
            return taken == _MARKS[Role.TO] or role is Role.CC
        if out := self._out[row.id]:
            reason = f"taken out by except {self._out_rules[out - 1]}"
            self.excluded.setdefault(row.id, Excluded(row.id, row.name, reason))
            return True
        if not row.reached:
            self.excluded.setdefault(row.id, Excluded(row.id, row.name, f"it has no mailbox on {day(self.on)}"))
            return False
        self._marks[row.id] = _MARKS[role]
        self.kinds.setdefault((row.kind, row.form))
        self.ids.append(row.id)
        self.reasons.append(self.said.setdefault(Reason(rule.audience, role, why), len(self.said)))
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
        return tuple(
            Excluded(key, name, why)
            for key, (name, why) in self._seen.items()
            if not self._marks[key] and key not in self.excluded
        )


_NO_LISTS = "there are no lists yet; name them in the column `lists` of the sheet"


def _place(row: _Row) -> tuple[str, int]:
    return fold(row.name), row.id


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

"""Which organization of a circular is meant by what a person typed.

A number is the organization's id; else its name, whole or in part; else a State (name in six languages, or ISO code) with or
without a seat: `FRA`, `France geneva`, `FRA@new-york`. Case and accents do not matter. Only organizations that the circular has
a letter for are found: an answer of another would hang in the air.
"""

import difflib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.models import Organization
from lists.roll import Roll, fold
from mailer.circulars.models import Letter
from mailer.errors import BadInput, NotFound

#: How many choices an error names.
_SHOWN = 8
#: Organizations read at a time.
_TOGETHER = 1000


@dataclass(frozen=True, slots=True)
class Addressed:
    """An organization that a circular has a letter for; its name is that of the letter."""

    organization_id: int
    organization: str
    state_iso3: str | None
    seat: str | None
    letter_id: int

    @property
    def label(self) -> str:
        """What tells it from others: `Permanent Mission of France, geneva (12)`."""
        seat = f", {self.seat}" if self.seat else ""
        return f"{self.organization}{seat} ({self.organization_id})"


async def addressed(session: AsyncSession, circular_id: int) -> AsyncIterator[Sequence[Addressed]]:
    """The organizations of a circular, in the order of its letters, some hundreds at a time."""
    rows = await session.stream(
        select(Letter.organization_id, Letter.organization, Letter.state_iso3, Organization.seat, Letter.id)
        .join(Organization, Organization.id == Letter.organization_id)
        .where(Letter.circular_id == circular_id)
        .order_by(Letter.position, Letter.id)
    )
    async for some in rows.partitions(_TOGETHER):
        yield [Addressed(*row) for row in some]


async def pick(
    choices: Callable[[], AsyncIterator[Sequence[Addressed]]],
    text: str,
    roll: Roll | None,
    *,
    circular: str,
    listed_by: str | None = None,
) -> Addressed:
    """The one of *choices* that *text* means; they are looked at one after the other, and none but those that fit are kept.

    Args:
        choices: goes through all of them; see `addressed`.
        text: as typed.
        roll: for names of States; None: codes and organizations' names only.
        circular: its reference, for errors.
        listed_by: the command that lists the choices; default: `chancery replies list`, which knows letters that are written.

    Raises:
        NotFound: none is meant; near names are in the message.
        BadInput: several are; they are named.
    """
    wanted = text.strip()
    if not wanted:
        raise BadInput("no organization is named", remedy="give its number, its name, or its State and seat")
    meant = _Meant(wanted, roll)
    async for some in choices():
        for one in some:
            meant.look(one)
    for fit in meant.in_order():
        if fit.count == 1:
            return fit.first[0]
        named = "; ".join(one.label for one in fit.first)
        more = f"; and {fit.count - _SHOWN} more" if fit.count > _SHOWN else ""
        raise BadInput(f"{wanted!r} may be {named}{more}", where=circular, remedy="give the number in brackets")
    raise NotFound(
        f"it has no letter to {wanted!r}",
        where=circular,
        remedy=await _near(choices(), wanted, listed_by or f"chancery replies list {circular}"),
    )


@dataclass(slots=True)
class _Fit:
    """Those that one reading of the text fits: how many, and the first of them."""

    count: int = 0
    first: list[Addressed] = field(default_factory=list)

    def take(self, one: Addressed) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            self.first.append(one)


class _Meant:
    """What a text may mean, by each rule."""

    def __init__(self, wanted: str, roll: Roll | None) -> None:
        self._wanted, self._folded, self._roll = wanted, fold(wanted), roll
        self._words = set(self._folded.split())
        self._spoken = fold(wanted.replace("@", " ").replace("-", " "))
        self._iso3 = _state(roll, wanted)
        self._of_seat: dict[str, str | None] = {}
        self._by_number, self._by_name, self._by_part = _Fit(), _Fit(), _Fit()
        #: by the seat that the text ends with, if it does; "": none
        self._by_state: dict[str, _Fit] = {}

    def look(self, one: Addressed) -> None:
        """Take one that fits."""
        name = fold(one.organization)
        seat = fold((one.seat or "").replace("-", " "))
        if str(one.organization_id) == self._wanted:
            self._by_number.take(one)
        if self._folded and name == self._folded:
            self._by_name.take(one)
        if self._words and self._words <= {*name.split(), *seat.split()}:
            self._by_part.take(one)
        if one.state_iso3:
            if one.state_iso3 == self._iso3:
                self._by_state.setdefault("", _Fit()).take(one)
            if seat and one.state_iso3 == self._before(seat):
                self._by_state.setdefault(seat, _Fit()).take(one)

    def _before(self, seat: str) -> str | None:
        """The State that stands before this seat in the text."""
        if seat not in self._of_seat:
            ends = self._spoken.endswith(f" {seat}")
            self._of_seat[seat] = _state(self._roll, self._spoken.removesuffix(f" {seat}")) if ends else None
        return self._of_seat[seat]

    def in_order(self) -> Iterator[_Fit]:
        """What was found: by number, name, State, part of a name."""
        of_states = [fit for _, fit in sorted(self._by_state.items())]
        return (fit for fit in (self._by_number, self._by_name, *of_states[:1], self._by_part) if fit.count)


def _state(roll: Roll | None, name: str) -> str | None:
    if roll is None:
        code = name.strip().upper()
        return code if len(code) == 3 else None  # noqa: PLR2004 - ISO 3166-1 alpha-3
    try:
        return roll.find(name).iso3
    except NotFound:
        return None


async def _near(choices: AsyncIterator[Sequence[Addressed]], wanted: str, listed_by: str) -> str:
    names: dict[str, Addressed] = {}
    alike: list[str] = []
    async for some in choices:
        names |= {fold(one.organization): one for one in some}
        # the best of those before and of these are the best of all
        alike = difflib.get_close_matches(fold(wanted), names, n=3, cutoff=0.6)
        names = {name: names[name] for name in alike}
    if not alike:
        return f"`{listed_by}` lists those it has"
    return "perhaps " + " or ".join(names[name].label for name in alike) + " is meant"

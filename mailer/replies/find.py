"""Which organization of a circular is meant by what a person typed.

A number is the organization's id; else its name, whole or in part; else a State (name in six languages, or ISO code) with or
without a seat: `FRA`, `France geneva`, `FRA@new-york`. Case and accents do not matter. Only organizations that the circular has
a letter for are found: an answer of another would hang in the air.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.models import Organization
from lists.roll import Roll, fold
from mailer.circulars.models import Letter
from mailer.errors import BadInput, NotFound

#: How many choices an error names.
_SHOWN = 8


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


async def addressed(session: AsyncSession, circular_id: int) -> list[Addressed]:
    """The organizations of a circular, in the order of its letters."""
    rows = await session.execute(
        select(Letter.organization_id, Letter.organization, Letter.state_iso3, Organization.seat, Letter.id)
        .join(Organization, Organization.id == Letter.organization_id)
        .where(Letter.circular_id == circular_id)
        .order_by(Letter.position, Letter.id)
    )
    return [Addressed(*row) for row in rows]


def pick(
    choices: Sequence[Addressed], text: str, roll: Roll | None, *, circular: str, listed_by: str | None = None
) -> Addressed:
    """The one of *choices* that *text* means.

    Args:
        choices: see `addressed`.
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
    for rule in (_by_number, _by_name, _by_state(roll), _by_part):
        found = rule(choices, wanted)
        if len(found) == 1:
            return found[0]
        if found:
            named = "; ".join(one.label for one in found[:_SHOWN])
            more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise BadInput(f"{wanted!r} may be {named}{more}", where=circular, remedy="give the number in brackets")
    raise NotFound(
        f"it has no letter to {wanted!r}",
        where=circular,
        remedy=_near(choices, wanted, listed_by or f"chancery replies list {circular}"),
    )


def _by_number(choices: Sequence[Addressed], wanted: str) -> list[Addressed]:
    return [one for one in choices if str(one.organization_id) == wanted]


def _by_name(choices: Sequence[Addressed], wanted: str) -> list[Addressed]:
    folded = fold(wanted)
    return [one for one in choices if folded and fold(one.organization) == folded]


def _by_part(choices: Sequence[Addressed], wanted: str) -> list[Addressed]:
    words = set(fold(wanted).split())
    return [one for one in choices if words and words <= {*fold(one.organization).split(), *_seat_words(one)}]


def _seat_words(one: Addressed) -> list[str]:
    return fold((one.seat or "").replace("-", " ")).split()


def _by_state(roll: Roll | None) -> Callable[[Sequence[Addressed], str], list[Addressed]]:
    def rule(choices: Sequence[Addressed], wanted: str) -> list[Addressed]:
        seats = {fold(one.seat.replace("-", " ")) for one in choices if one.seat}
        folded = fold(wanted.replace("@", " ").replace("-", " "))
        readings: list[tuple[str, str | None]] = [(wanted, None)]
        readings += [(folded.removesuffix(f" {seat}"), seat) for seat in sorted(seats) if folded.endswith(f" {seat}")]
        for name, seat in readings:
            iso3 = _state(roll, name)
            found = [
                one
                for one in choices
                if iso3 and one.state_iso3 == iso3 and (seat is None or " ".join(_seat_words(one)) == seat)
            ]
            if found:
                return found
        return []

    return rule


def _state(roll: Roll | None, name: str) -> str | None:
    if roll is None:
        code = name.strip().upper()
        return code if len(code) == 3 else None  # noqa: PLR2004 - ISO 3166-1 alpha-3
    try:
        return roll.find(name).iso3
    except NotFound:
        return None


def _near(choices: Sequence[Addressed], wanted: str, listed_by: str) -> str:
    names = {fold(one.organization): one for one in choices}
    alike = difflib.get_close_matches(fold(wanted), names, n=3, cutoff=0.6)
    if not alike:
        return f"`{listed_by}` lists those it has"
    return "perhaps " + " or ".join(names[name].label for name in alike) + " is meant"

"""The rules of audiences as they are written: `states-parties@geneva else new-york`, `list:recused`, `NOR`. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from lists.address import shown
from lists.errors import BadInput, NotFound
from lists.near import near
from lists.organizations import seat_key
from lists.roll import Roll, State, fold


class Selects(StrEnum):
    """What a rule selects."""

    PARTIES = "states-parties"
    NOT_PARTIES = "states-not-parties"
    ORGANIZATIONS = "organizations"
    LIST = "list"
    STATE = "state"

    @property
    def states(self) -> bool:
        """Whether it selects States, and only through them organizations."""
        return self in {Selects.PARTIES, Selects.NOT_PARTIES, Selects.STATE}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was read.

    Attributes:
        selects: what.
        seats: where to look, in order (`geneva`, then `new-york`); empty: everywhere.
        list_name: of `list:NAME`.
        state: of a rule that names a State.
    """

    selects: Selects
    seats: tuple[str, ...] = ()
    list_name: str = ""
    state: State | None = None

    @property
    def key(self) -> str:
        """The rule without its seat; the key under `[wording]`."""
        if self.selects is Selects.LIST:
            return f"list:{self.list_name}"
        return self.state.iso3 if self.state else self.selects.value

    @property
    def audience(self) -> str:
        """The rule without its `else`: what letters and reports call the audience."""
        return f"{self.key}@{self.seats[0]}" if self.seats else self.key

    @property
    def text(self) -> str:
        """The whole rule."""
        return " else ".join((self.audience, *self.seats[1:]))


def wording_key(audience: str) -> str:
    """The key under `[wording]` of an audience: `states-parties@geneva` -> `states-parties`."""
    return audience.partition("@")[0].partition(" else ")[0].strip()


def parse(text: str, roll: Roll) -> Rule:
    """Read a rule.

    Raises:
        BadInput: it is no rule; near ones are in the message.
        NotFound: it names a State that is not on the roll.
    """
    where = f"rule {shown(text)}"
    head, *others = [part.strip() for part in f" {' '.join(text.split())} ".split(" else ")]
    name, at, seat = head.partition("@")
    name = name.strip()
    if at and not seat.strip():
        raise BadInput("no seat stands after the @", where=where, remedy="write it such as states-parties@geneva")
    if others and not at:
        raise BadInput(
            "`else` needs a seat before it", where=where, remedy="write it such as states-parties@geneva else new-york"
        )
    seats = tuple(seat_key(part) or "" for part in ([seat] if at else []) + others)
    if any(not part for part in seats) or len(set(seats)) < len(seats):
        raise BadInput(
            "a seat is empty or stands there twice",
            where=where,
            remedy="write it such as states-parties@geneva else new-york",
        )
    if not name:
        raise BadInput("the rule is empty", where=where, remedy=_FORMS)
    return _named(name, seats, roll, where)


_FORMS = "a rule is states-parties, states-not-parties, organizations, list:NAME or a State's code such as NOR, and may end with @seat"


def _named(name: str, seats: tuple[str, ...], roll: Roll, where: str) -> Rule:
    low = fold(name).replace(" ", "-")
    for kind in (Selects.PARTIES, Selects.NOT_PARTIES, Selects.ORGANIZATIONS):
        if low == kind.value:
            return Rule(kind, seats)
    prefix, colon, list_name = name.partition(":")
    if colon:
        if prefix.strip().casefold() != "list" or not list_name.strip():
            raise BadInput("unknown rule", where=where, remedy=_FORMS)
        return Rule(Selects.LIST, seats, list_name=" ".join(list_name.split()))
    try:
        return Rule(Selects.STATE, seats, state=roll.find(name))
    except NotFound as error:
        words = [Selects.PARTIES.value, Selects.NOT_PARTIES.value, Selects.ORGANIZATIONS.value]
        remedy = near(name, words)
        if remedy:
            raise BadInput("unknown rule", where=where, remedy=remedy) from error
        if "-" not in name and error.remedy and "perhaps" in error.remedy:
            raise NotFound(error.what, where=where, remedy=error.remedy) from error
        raise BadInput("unknown rule or State", where=where, remedy=_FORMS) from error

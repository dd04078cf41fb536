"""The roll: what each State is to the treaty on any date, from events with sources.

Rules. A State is what its events up to and including the date make it. It is a Party from the day of its entry into force
(or of its deposit, where deposits are counted) until the day its withdrawal takes effect, and on that day no longer. A later
deposit or entry into force makes it a Party again. A State not yet in existence is neither a Party nor not one.
"""

import datetime as dt
import difflib
from collections.abc import Iterable
from pathlib import Path

from lists.address import shown
from lists.errors import BadInput, Defect, NotFound
from lists.findings import Finding
from lists.kinds import LANGUAGES, Counting, Standing
from lists.roll import data_files
from lists.roll.data_files import Event, EventKind
from lists.roll.states import State, fold, sorted_by_name, state_of

#: The day for which the shipped events are complete (lists/roll/data/README.md).
AS_AT = dt.date(2026, 2, 20)

_ORDER = {kind: place for place, kind in enumerate(EventKind)}
_STATE_COLUMNS = ("iso3", "iso2", *LANGUAGES, "formal_en", "exists_from")
_NAME_COLUMNS = ("iso3", "name", "observed_from", "observed_to", "source")
#: How alike a name must be to be offered as what was meant.
_NEAR = 0.7


class Roll:
    """The States and the treaty's events; immutable once made."""

    def __init__(
        self, states: Iterable[State], events: Iterable[Event], other_names: Iterable[tuple[str, str]]
    ) -> None:
        """Make a roll; `Roll.load` reads the shipped one.

        Args:
            states: all States.
            events: all events, in any order.
            other_names: (iso3, name) pairs for `find`.
        """
        self.as_at = AS_AT
        self.states = tuple(sorted_by_name(states))
        self._by_iso3 = {state.iso3: state for state in self.states}
        self._events: dict[str, list[Event]] = {state.iso3: [] for state in self.states}
        for event in sorted(events, key=lambda one: (one.iso3, one.date, _ORDER[one.kind])):
            self._events[event.iso3].append(event)
        self._index = self._names(other_names)

    @classmethod
    def load(cls, extra: Path | None = None) -> "Roll":
        """The shipped roll, with the events of the file *extra* if there is one.

        Raises:
            BadInput: a row of *extra* is wrong; file and line are named.
            Defect: the installation is damaged.
        """
        states = [state_of(row) for row in data_files.shipped_rows("states.csv", _STATE_COLUMNS, _STATE_COLUMNS)]
        known = {state.iso3: state for state in states}
        names = [
            (row["iso3"], row["name"]) for row in data_files.shipped_rows("names.csv", _NAME_COLUMNS, _NAME_COLUMNS)
        ]
        try:
            shipped = data_files.events(data_files.SHIPPED / "events.csv", known)
        except BadInput as error:
            raise Defect(f"the shipped roll is damaged ({error})", remedy="install chancery-mail again") from error
        added = data_files.events(extra, known) if extra is not None and extra.is_file() else []
        return cls(states, _merged(shipped, added), names)

    def _names(self, other_names: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
        index: dict[str, set[str]] = {}
        pairs = [(state.iso3, name) for state in self.states for name in (*state.names.values(), state.formal_en)]
        for iso3, name in [*pairs, *other_names]:
            index.setdefault(fold(name), set()).add(iso3)
        return index

    def state(self, iso3: str) -> State:
        """The State with this ISO code of three letters.

        Raises:
            NotFound: there is none.
        """
        try:
            return self._by_iso3[iso3.upper()]
        except KeyError:
            raise NotFound(
                f"no State has the code {shown(iso3)}", remedy="`chancery roll show` lists the codes"
            ) from None

    def find(self, text: str) -> State:
        """The State of this name (in any of six languages, a former or common one) or ISO code, case and accents aside.

        Raises:
            NotFound: no State, or more than one, is called so; near names are in the message.
        """
        code = text.strip().upper()
        if code in self._by_iso3:
            return self._by_iso3[code]
        if found := next((state for state in self.states if state.iso2 == code), None):
            return found
        wanted = fold(text)
        hits = self._index.get(wanted, set())
        if len(hits) == 1:
            return self._by_iso3[next(iter(hits))]
        if hits:
            both = ", ".join(f"{self._by_iso3[iso3].name()} ({iso3})" for iso3 in sorted(hits))
            raise NotFound(
                f"more than one State is called {shown(text)}: {both}", remedy="use the code of three letters"
            )
        raise NotFound(f"no State is called {shown(text)}", remedy=self._near(wanted))

    def _near(self, wanted: str) -> str:
        alike = difflib.get_close_matches(wanted[:200], self._index, n=6, cutoff=_NEAR) if wanted else []
        codes = list(dict.fromkeys(iso3 for name in alike for iso3 in sorted(self._index[name])))[:3]
        if not codes:
            return "`chancery roll show` lists the States with their codes"
        return "perhaps " + " or ".join(f"{self._by_iso3[iso3].name()} ({iso3})" for iso3 in codes) + " is meant"

    def events(self, iso3: str) -> tuple[Event, ...]:
        """The treaty's events for a State, in the order of their dates."""
        return tuple(self._events[self.state(iso3).iso3])

    def standing(self, iso3: str, on: dt.date, counting: Counting = Counting.IN_FORCE) -> Standing:
        """What the State is to the treaty on that day (see the rules above)."""
        standing = Standing.NOT_PARTY
        party = Standing.PARTY if counting is Counting.DEPOSITED else Standing.NOT_IN_FORCE
        for event in self.events(iso3):
            if event.date > on:
                break
            if event.kind is EventKind.WITHDREW:
                standing = Standing.WITHDRAWN
            elif event.kind is EventKind.SIGNED and standing is Standing.NOT_PARTY:
                standing = Standing.SIGNATORY
            elif event.kind is EventKind.DEPOSITED and standing is not Standing.PARTY:
                standing = party
            elif event.kind is EventKind.IN_FORCE and counting is Counting.IN_FORCE:
                standing = Standing.PARTY
        return standing

    def since(self, iso3: str, on: dt.date, counting: Counting = Counting.IN_FORCE) -> Event | None:
        """The event that made the State what it is on that day; None where nothing did."""
        last: Event | None = None
        before = Standing.NOT_PARTY
        for event in self.events(iso3):
            if event.date > on:
                break
            after = self.standing(iso3, event.date, counting)
            if after is not before:
                last, before = event, after
        return last

    def existing(self, on: dt.date) -> tuple[State, ...]:
        """The States that exist on that day, by English name."""
        return tuple(state for state in self.states if state.exists(on))

    def parties(self, on: dt.date, counting: Counting = Counting.IN_FORCE) -> tuple[State, ...]:
        """The States Parties on that day, by English name."""
        return tuple(s for s in self.existing(on) if self.standing(s.iso3, on, counting) is Standing.PARTY)

    def not_parties(self, on: dt.date, counting: Counting = Counting.IN_FORCE) -> tuple[State, ...]:
        """Every other State that exists on that day, by English name."""
        return tuple(s for s in self.existing(on) if self.standing(s.iso3, on, counting) is not Standing.PARTY)

    def check(self) -> list[Finding]:
        """What does not fit in the events: an order that can't be, or a date that is not Article 17's."""
        from lists.roll.checking import findings

        return findings(self)


def _merged(shipped: list[Event], added: list[Event]) -> list[Event]:
    """Shipped and added events; an added one replaces its like, unless it is later than the State's withdrawal."""
    withdrawn = {event.iso3: event.date for event in shipped if event.kind is EventKind.WITHDREW}
    replaced: set[tuple[str, EventKind]] = set()
    for event in added:
        comes_back = event.kind is not EventKind.WITHDREW and event.date > withdrawn.get(event.iso3, dt.date.max)
        if not comes_back:
            replaced.add((event.iso3, event.kind))
    return [event for event in shipped if (event.iso3, event.kind) not in replaced] + added

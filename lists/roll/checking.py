"""Does the roll fit together? Article 17 and the order of events, State by State."""

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lists.findings import Finding
from lists.kinds import Severity
from lists.roll.data_files import Event, EventKind

if TYPE_CHECKING:
    from lists.roll.table import Roll

#: Article 17(1): the fortieth instrument, and when the Convention came into force for those forty.
FORTIETH = dt.date(1998, 9, 16)
FIRST_IN_FORCE = dt.date(1999, 3, 1)
#: Article 17(2) and Article 20(3).
_MONTHS = 6


def in_force_by_rule(deposited: dt.date) -> dt.date:
    """The day on which the Convention enters into force after a deposit (Article 17)."""
    if deposited <= FORTIETH:
        return FIRST_IN_FORCE
    return _months_later(deposited.replace(day=1), _MONTHS)


def _months_later(day: dt.date, months: int) -> dt.date:
    count = day.year * 12 + day.month - 1 + months
    year, month = divmod(count, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return dt.date(year, month + 1, last)
        except ValueError:
            continue
    raise AssertionError


def findings(roll: "Roll") -> list[Finding]:
    """All findings, by English name of the State."""
    return [finding for state in roll.states for finding in _of(roll, state.iso3)]


def _of(roll: "Roll", iso3: str) -> Iterator[Finding]:
    state, dates = roll.state(iso3), {event.kind: event for event in roll.events(iso3)}
    where = f"{state.name()} ({iso3})"
    deposited, in_force = dates.get(EventKind.DEPOSITED), dates.get(EventKind.IN_FORCE)
    if in_force and not deposited:
        yield _finding(
            Severity.ERROR,
            "in-force-without-deposit",
            where,
            iso3,
            "in force, but nothing deposited",
            "add the deposit",
        )
    if deposited and not in_force:
        rule = in_force_by_rule(deposited.date)
        yield _finding(
            Severity.WARNING,
            "deposit-without-in-force",
            where,
            iso3,
            f"deposited on {deposited.date}, but no entry into force",
            f"add it; by Article 17 it is {rule}",
        )
    if deposited and in_force and in_force.date != (rule := in_force_by_rule(deposited.date)):
        told = deposited.instrument == "succession"
        yield _finding(
            Severity.NOTE if told else Severity.WARNING,
            "not-by-article-17",
            where,
            iso3,
            f"in force on {in_force.date}; by Article 17 it would be {rule}",
            f"known from {in_force.source} ({in_force.basis})" if told else "check the date with the depositary",
        )
    yield from _withdrawal(where, iso3, dates)
    for event in dates.values():
        if event.confidence in {"medium", "low"}:
            why = event.note or event.basis or event.source
            what = f"{event.kind} on {event.date} is of {event.confidence} confidence"
            yield _finding(Severity.NOTE, "uncertain-date", where, iso3, what, why)
        if not state.exists(event.date):
            yield _finding(
                Severity.ERROR,
                "before-it-existed",
                where,
                iso3,
                f"{event.kind} on {event.date}, before it was a State",
                "correct the date",
            )


def _withdrawal(where: str, iso3: str, dates: dict[EventKind, Event]) -> Iterator[Finding]:
    withdrew, notified, in_force = (dates.get(k) for k in (EventKind.WITHDREW, EventKind.NOTIFIED, EventKind.IN_FORCE))
    if withdrew is None:
        if notified is not None:
            yield _finding(
                Severity.WARNING,
                "withdrawal-open",
                where,
                iso3,
                f"withdrawal notified on {notified.date}, no day of effect",
                f"add `withdrew`; by Article 20 not before {_months_later(notified.date, _MONTHS)}",
            )
        return
    if in_force is None:
        yield _finding(
            Severity.ERROR,
            "withdrew-without-in-force",
            where,
            iso3,
            "withdrew from what was not in force for it",
            "correct the events",
        )
    if notified is not None and withdrew.date < _months_later(notified.date, _MONTHS):
        yield _finding(
            Severity.WARNING,
            "withdrew-early",
            where,
            iso3,
            f"withdrew on {withdrew.date}, less than six months after its notice of {notified.date}",
            "check both dates with the depositary",
        )


def _finding(severity: Severity, code: str, where: str, iso3: str, what: str, remedy: str) -> Finding:
    return Finding(code, severity, where, what, remedy, iso3)

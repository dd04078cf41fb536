"""Reasons in words, for reports and commands (English; letters have their own words)."""

import datetime as dt

from lists.kinds import Counting, OrganizationKind, Standing
from lists.organizations import seat_words
from lists.roll import EventKind, Roll

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
KIND_WORDS = {
    OrganizationKind.MISSION: "mission",
    OrganizationKind.MINISTRY: "ministry",
    OrganizationKind.INTERNATIONAL: "international organization",
    OrganizationKind.NGO: "non-governmental organization",
}


def day(date: dt.date) -> str:
    """`7 July 2006`."""
    return f"{date.day} {_MONTHS[date.month - 1]} {date.year}"


def at(seat: str | None) -> str:
    """` in Geneva`, or nothing."""
    return f" in {seat_words(seat)}" if seat else ""


def standing(roll: Roll, iso3: str, on: dt.date, counting: Counting) -> str:
    """What a State is to the treaty on that day, and since when: `State Party since 1 March 1999`."""
    what = roll.standing(iso3, on, counting)
    since = roll.since(iso3, on, counting)
    when = day(since.date) if since else ""
    if what is Standing.PARTY:
        return f"State Party since {when}" + (" (instrument deposited)" if counting is Counting.DEPOSITED else "")
    if what is Standing.WITHDRAWN:
        return f"State not Party: withdrew with effect from {when}"
    if what is Standing.SIGNATORY:
        return f"State not Party: signed on {when}, not bound"
    if what is Standing.NOT_IN_FORCE:
        later = [e.date for e in roll.events(iso3) if e.kind is EventKind.IN_FORCE and e.date > on]
        coming = f", in force from {day(later[0])}" if later else ", not yet in force"
        return f"State not Party: deposited on {when}{coming}"
    return "State not Party"

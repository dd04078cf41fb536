"""Organizations: what makes one right, and adding, changing, retiring. Every verb returns the change, for the register."""

import datetime as dt
import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.address import assert_clean, shown
from lists.changes import Change, bump, plain, revision
from lists.errors import BadInput, NotAllowedNow, NotFound
from lists.kinds import LANGUAGES, Form, OrganizationKind
from lists.models import Organization
from lists.roll import Roll, fold

__all__ = [
    "Particulars",
    "add",
    "change",
    "find",
    "make_id",
    "match_key",
    "problems",
    "retire",
    "revision",
    "revive",
    "seat_key",
    "seat_words",
]

_LONGEST_NAME = 300
_LONGEST_KEY = 400
_LONGEST_ID = 64
_LONGEST_SALUTATION = 300
_LONGEST_SEAT = 40
#: Other spellings of the seats that missions have.
_SEATS = {
    "geneve": "geneva",
    "genf": "geneva",
    "ginebra": "geneva",
    "ginevra": "geneva",
    "gva": "geneva",
    "new-york-city": "new-york",
    "newyork": "new-york",
    "nueva-york": "new-york",
    "nyc": "new-york",
    "ny": "new-york",
    "vienne": "vienna",
    "wien": "vienna",
    "viena": "vienna",
    "haye": "hague",
    "den-haag": "hague",
    "the-hague": "hague",
    "rom": "rome",
    "roma": "rome",
    "bruxelles": "brussels",
}
_SEAT_WORDS = {"hague": "The Hague"}


@dataclass(frozen=True, slots=True)
class Particulars:
    """What is known of an organization beside its contacts; columns as in `lists.models.Organization`."""

    name: str
    kind: OrganizationKind
    state_iso3: str | None = None
    seat: str | None = None
    form: Form | None = None
    languages: tuple[str, ...] = ()
    salutation: str | None = None
    sheet_id: str | None = None


#: Columns that a change may touch.
COLUMNS = ("name", "kind", "state_iso3", "seat", "form", "languages", "salutation", "sheet_id")


def seat_key(text: str | None) -> str | None:
    """A seat as it is stored and asked for: `New York` -> `new-york`, `Genève` -> `geneva`; empty -> None."""
    key = re.sub(r" +", "-", fold(text or ""))
    return _SEATS.get(key, key) or None


def seat_words(seat: str) -> str:
    """A seat for people: `new-york` -> `New York`."""
    return _SEAT_WORDS.get(seat) or seat.replace("-", " ").title()


def tidy(text: str) -> str:
    """A name in Unicode form NFC with single blanks."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def match_key(one: Particulars) -> str:
    """What finds the organization of a row without an id: State, seat, kind, normalised name."""
    key = "|".join((one.state_iso3 or "", one.seat or "", one.kind, fold(one.name)))
    if len(key) <= _LONGEST_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: _LONGEST_KEY - 65]}|{digest}"


def make_id(one: Particulars, taken: set[str]) -> str:
    """An id for the sheet, made of what the organization is, so that it is the same in every home: `fra-geneva-mission`."""
    # composed again after folding, for that is how a sheet's cells are read back
    words = (
        [one.state_iso3, one.seat, one.kind] if one.kind.of_a_state else [unicodedata.normalize("NFC", fold(one.name))]
    )
    stem = re.sub(r"[^\w]+", "-", "-".join(word for word in words if word).lower()).strip("-")[:56] or "organization"
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}-{count}"
    return name


def problems(one: Particulars) -> list[tuple[str, str, str]]:
    """What is wrong, as (column of the sheet, what, how to mend)."""
    wrong: list[tuple[str, str, str]] = []
    if not one.name:
        wrong.append(
            ("organization", "the name is missing", "write the organization's name as letters should print it")
        )
    elif len(one.name) > _LONGEST_NAME:
        wrong.append(("organization", "the name is too long", f"at most {_LONGEST_NAME} characters"))
    elif not _clean(one.name):
        wrong.append(("organization", "the name has a control character", "type it again"))
    if one.kind.of_a_state and not one.state_iso3:
        wrong.append(("state", f"a {one.kind} needs its State", "write the State's name or code, such as FRA"))
    if not one.kind.of_a_state and one.state_iso3:
        wrong.append(
            (
                "state",
                f"an organization of kind {one.kind} speaks for no State",
                "leave the cell empty, or correct the kind",
            )
        )
    if one.kind is OrganizationKind.MISSION and not one.seat:
        wrong.append(("seat", "a mission needs its seat", "write where it is, such as Geneva"))
    if one.seat and len(one.seat) > _LONGEST_SEAT:
        wrong.append(("seat", "the seat is too long", f"at most {_LONGEST_SEAT} characters"))
    if one.form is Form.NOTE_VERBALE and not one.kind.of_a_state:
        wrong.append(
            ("form", "a note verbale goes only to a mission or a ministry", "write letter, or leave the cell empty")
        )
    if bad := [code for code in one.languages if code not in LANGUAGES]:
        wrong.append(("languages", f"unknown language {bad[0]!r}", f"the languages are {' '.join(LANGUAGES)}"))
    if one.salutation and (len(one.salutation) > _LONGEST_SALUTATION or not _clean(one.salutation)):
        wrong.append(("salutation", "the salutation is too long or has a control character", "write one short line"))
    if one.sheet_id is not None and not (0 < len(one.sheet_id) <= _LONGEST_ID and one.sheet_id.isprintable()):
        wrong.append(("id", "an id is 1 to 64 printable characters", "write a shorter one, or leave the cell empty"))
    return wrong


def _clean(text: str) -> bool:
    try:
        assert_clean(text)
    except BadInput:
        return False
    return True


def _assert_right(one: Particulars) -> None:
    for column, what, remedy in problems(one):
        raise BadInput(what, where=f"{one.name or 'organization'}, {column}", remedy=remedy)


def particulars(row: Organization) -> Particulars:
    """The particulars of a stored organization."""
    # The column type hands back plain text.
    kind, form = OrganizationKind(row.kind), Form(row.form) if row.form else None
    return Particulars(
        row.name, kind, row.state_iso3, row.seat, form, tuple(row.languages), row.salutation, row.sheet_id
    )


def columns_of(one: Particulars) -> dict[str, Any]:
    """The columns of an organization's row that its particulars make."""
    made = {column: getattr(one, column) for column in COLUMNS}
    return made | {"languages": list(one.languages), "match_key": match_key(one)}


def put(row: Organization, one: Particulars) -> None:
    """Write the particulars into the row."""
    for column, value in columns_of(one).items():
        setattr(row, column, value)


def difference(old: Particulars, new: Particulars) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns that differ, before and after, as JSON values."""
    changed = [column for column in COLUMNS if getattr(old, column) != getattr(new, column)]
    return (
        {column: plain(getattr(old, column)) for column in changed},
        {column: plain(getattr(new, column)) for column in changed},
    )


async def find(session: AsyncSession, text: str, roll: Roll | None = None) -> Organization:
    """The organization of this id (the sheet's or ours), name, State (with *roll*) or words of its name, accents and case aside.

    Raises:
        NotFound: there is none, or more than one; near names are in the message.
    """
    text = text.strip()
    numbered = Organization.id == int(text) if text.isdecimal() and len(text) < 10 else None  # noqa: PLR2004 - an id fits in nine digits
    ids = [Organization.sheet_id == text] + ([numbered] if numbered is not None else [])
    hits = (await session.scalars(select(Organization).where(or_(*ids)).order_by(Organization.sheet_id != text))).all()
    if hits:
        return hits[0]
    from lists.near import near

    known = (await session.scalars(select(Organization).order_by(Organization.id))).all()
    wanted, iso3 = fold(text), _state(text, roll)
    words = set(wanted.split())
    meant = (
        [one for one in known if fold(one.name) == wanted],
        [one for one in known if iso3 and one.state_iso3 == iso3],
        [one for one in known if words and words <= set(fold(one.name).split())],
    )
    for same in meant:
        if len(same) == 1:
            return same[0]
        if same:
            ids_of = " or ".join(str(one.sheet_id or one.id) for one in same[:5]) + (" ..." if len(same) > 5 else "")  # noqa: PLR2004 - a line's worth
            raise NotFound(f"{shown(text)} may be one of {len(same)} organizations", remedy=f"use its id: {ids_of}")
    raise NotFound(
        f"no organization is called {shown(text)}",
        remedy=near(text, [one.name for one in known]) or "`chancery contacts list` shows all",
    )


def _state(text: str, roll: Roll | None) -> str | None:
    try:
        return roll.find(text).iso3 if roll else None
    except NotFound:
        return None


async def get(session: AsyncSession, organization_id: int) -> Organization:
    """The organization with this number.

    Raises:
        NotFound: there is none.
    """
    row = await session.get(Organization, organization_id)
    if row is None:
        raise NotFound(f"there is no organization {organization_id}", remedy="`chancery contacts list` shows all")
    return row


async def _assert_free(session: AsyncSession, one: Particulars, own_id: int | None) -> None:
    taken = [Organization.match_key == match_key(one)]
    if one.sheet_id:
        taken.append(Organization.sheet_id == one.sheet_id)
    other = await session.scalar(select(Organization).where(or_(*taken), Organization.id != (own_id or 0)))
    if other is not None:
        raise BadInput(
            f"there is already {other.name} with this {'id' if other.sheet_id == one.sheet_id else 'State, seat, kind and name'}",
            remedy="change that one, or give this one another name",
        )


async def add(session: AsyncSession, one: Particulars) -> tuple[Organization, Change]:
    """Add an organization.

    Raises:
        BadInput: the particulars are not right, or there is one like it.
    """
    _assert_right(one)
    await _assert_free(session, one, None)
    row = Organization(match_key="")
    put(row, one)
    if row.sheet_id is None:
        taken = set(await session.scalars(select(Organization.sheet_id).where(Organization.sheet_id.is_not(None))))
        row.sheet_id = make_id(one, {name for name in taken if name})
    session.add(row)
    await session.flush()
    await bump(session)
    after = {column: plain(getattr(row, column)) for column in COLUMNS}
    return row, Change("organization-added", row.id, row.name, {}, after)


async def change(session: AsyncSession, organization_id: int, new: Particulars) -> Change | None:
    """Give an organization these particulars; None if they are its own already.

    Raises:
        BadInput: the particulars are not right, or are another's.
        NotFound: there is no such organization.
    """
    row = await get(session, organization_id)
    _assert_right(new)
    before, after = difference(particulars(row), new)
    if not before:
        return None
    await _assert_free(session, new, row.id)
    put(row, new)
    await session.flush()
    await bump(session)
    return Change("organization-changed", row.id, row.name, before, after)


async def retire(session: AsyncSession, organization_id: int, on: dt.date) -> Change:
    """Write to it no more from that day on.

    Raises:
        NotFound: there is no such organization.
        NotAllowedNow: it is retired already.
    """
    row = await get(session, organization_id)
    if row.retired_on is not None:
        raise NotAllowedNow(f"it was retired on {row.retired_on}", where=row.name)
    row.retired_on = on
    await session.flush()
    await bump(session)
    return Change("organization-retired", row.id, row.name, {"retired_on": None}, {"retired_on": on.isoformat()})


async def revive(session: AsyncSession, organization_id: int) -> Change:
    """Write again to a retired organization.

    Raises:
        NotFound: there is no such organization.
        NotAllowedNow: it is not retired.
    """
    row = await get(session, organization_id)
    if row.retired_on is None:
        raise NotAllowedNow("it is not retired", where=row.name)
    before = {"retired_on": row.retired_on.isoformat()}
    row.retired_on = None
    await session.flush()
    await bump(session)
    return Change("organization-revived", row.id, row.name, before, {"retired_on": None})

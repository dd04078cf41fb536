"""References: a pattern with the year and a number. A number is reserved when a draft is made and never given again."""

import datetime as dt
import re
import string

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer import facts
from mailer.circulars.models import Counter
from mailer.errors import BadInput, NotAllowedNow, SettingsError
from mailer.register import chain

_WHERE = "approval.reference"
_LONGEST = 80
#: What one says where no reference was used.
_NONE = "none"
_NUMBER_FORMAT = re.compile(r"0?\d?d?")


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that can't give references.

    Raises:
        SettingsError: it lacks {number}, has other fields, could give a bare number, or is too long.
    """
    example = 'write, for example, "AUS/{year}/{number:03}"'
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        raise SettingsError(
            f"the pattern {pattern!r} has a brace too many or too few", where=_WHERE, remedy=example
        ) from None
    names = [name for _, name, _, _ in parts if name is not None]
    literal = "".join(text for text, _, _, _ in parts)
    formats = [form or "" for _, name, form, _ in parts if name is not None]
    if set(names) - {"year", "number"} or "number" not in names or not all(map(_NUMBER_FORMAT.fullmatch, formats)):
        raise SettingsError(
            f"the pattern {pattern!r} has to hold {{number}}, and may hold {{year}}", where=_WHERE, remedy=example
        )
    if not any(not character.isdigit() and not character.isspace() for character in literal):
        raise SettingsError(
            f"the pattern {pattern!r} would give bare numbers, which are the numbers of drafts",
            where=_WHERE,
            remedy=example,
        )
    if len(pattern) > _LONGEST or not literal.isprintable():
        raise SettingsError(
            f"the pattern {pattern!r} is too long, or holds what can't be printed", where=_WHERE, remedy=example
        )


def worded(pattern: str, year: int, number: int) -> str:
    """The reference: `worded("AUS/{year}/{number:03}", 2006, 11)` is `AUS/2006/011`."""
    return pattern.format(year=year, number=number)


def of_reminder(reference: str, ordinal: int) -> str:
    """The reference of a circular's reminder: `AUS/2006/011/R1`."""
    return f"{reference}/R{ordinal}"


async def told_last(session: AsyncSession, pattern: str, last: str, *, by: str, at: dt.datetime) -> None:
    """Go on after *last*, the reference that was used last before the home was restored; "none": no other than those we know.

    Raises:
        SettingsError: the pattern can't give references.
        BadInput: *last* is no reference of the pattern.
    """
    check_pattern(pattern)
    if last.strip().casefold() != _NONE:
        year, number = _read(pattern, last.strip())
        here = (Counter.pattern == pattern) & (Counter.year == year)
        known = await session.scalar(select(Counter.number).where(here).with_for_update())
        if known is None:
            await session.execute(insert(Counter).values(pattern=pattern, year=year, number=number))
        elif known < number:
            await session.execute(update(Counter).where(here).values(number=number))
    await facts.drop(session, facts.ASKS_REFERENCE)
    await chain.append(session, chain.HOME, "last-reference-told", {"reference": last.strip()}, by=by, at=at)


def _read(pattern: str, reference: str) -> tuple[int, int]:
    """Year (0 where the pattern has none) and number of a reference."""
    expression, seen = "", set()
    for text, name, _, _ in string.Formatter().parse(pattern):
        expression += re.escape(text)
        if name is not None:
            expression += f"(?P={name})" if name in seen else rf"(?P<{name}>\d{{1,9}})"
            seen.add(name)
    found = re.fullmatch(expression, reference, re.IGNORECASE)
    if found is None:
        raise BadInput(
            f"{reference!r} is no reference of this home, which are like {worded(pattern, 2026, 14)}",
            where="--last-reference",
            remedy="give the last one that was used, or the word none",
        )
    groups = found.groupdict()
    return int(groups.get("year") or 0), int(groups["number"])


async def reserve(session: AsyncSession, pattern: str, year: int) -> str:
    """The next reference of *pattern* in *year*; taken for good, in the caller's transaction.

    Raises:
        SettingsError: the pattern can't give references.
        NotAllowedNow: the home was restored, and nobody has said yet which reference was used last.
    """
    check_pattern(pattern)
    if (day := await facts.get(session, facts.ASKS_REFERENCE)) is not None:
        raise NotAllowedNow(
            f"the home was restored from a backup of {day}, and which references were given since then is not known",
            remedy="say the last one, once: chancery circular new FOLDER --last-reference REFERENCE "
            f"(such as {worded(pattern, year, 14)}, or none)",
        )
    here = (Counter.pattern == pattern) & (Counter.year == (year if "{year" in pattern else 0))
    last = await session.scalar(select(Counter.number).where(here).with_for_update())
    if last is None:
        await session.execute(insert(Counter).values(pattern=pattern, year=year if "{year" in pattern else 0, number=1))
        return worded(pattern, year, 1)
    await session.execute(update(Counter).where(here).values(number=last + 1))
    return worded(pattern, year, last + 1)

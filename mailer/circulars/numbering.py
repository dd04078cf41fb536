"""References: a pattern with the year and a number. A number is reserved when a draft is made and never given again."""

import re
import string

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Counter
from mailer.errors import SettingsError

_WHERE = "approval.reference"
_LONGEST = 80
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


async def reserve(session: AsyncSession, pattern: str, year: int) -> str:
    """The next reference of *pattern* in *year*; taken for good, in the caller's transaction.

    Raises:
        SettingsError: the pattern can't give references.
    """
    check_pattern(pattern)
    here = (Counter.pattern == pattern) & (Counter.year == (year if "{year" in pattern else 0))
    last = await session.scalar(select(Counter.number).where(here).with_for_update())
    if last is None:
        await session.execute(insert(Counter).values(pattern=pattern, year=year if "{year" in pattern else 0, number=1))
        return worded(pattern, year, 1)
    await session.execute(update(Counter).where(here).values(number=last + 1))
    return worded(pattern, year, last + 1)

"""The letters of a report are the same, however many there are and however often they are looked at."""

import dataclasses
import datetime as dt

from lists.kinds import Form, Role
from mailer.circulars.states import LetterState, RecipientState
from mailer.reports.lines import LetterLine, RecipientLine
from mailer.reports.spool import Letters

AT = dt.datetime(2006, 7, 7, 9, tzinfo=dt.UTC)


def _line(number: int) -> LetterLine:
    boxes = tuple(
        RecipientLine(
            f"a{number}@x.example", "A", Role.TO, RecipientState.REFUSED, "550 no", 550, "5.1.1", None, AT, None, 1
        )
        for _ in range(number % 3)
    )
    line = LetterLine(
        number, number, f"O {number}", None, "organizations", Role.TO, Form.LETTER, "en", "<m@x.example>",
        LetterState.REFUSED, "chosen", 1, "0" * 64, AT, boxes, 0, None,
    )  # fmt: skip
    return dataclasses.replace(line, answer="yes") if number % 7 == 0 else line


def test_many_letters_come_back_as_they_were() -> None:
    """Beyond what stays at hand, lines are kept in a file; several may go through them at once."""
    wanted = [_line(number) for number in range(7300)]
    kept = Letters()
    for start in range(0, len(wanted), 900):
        kept.extend(wanted[start : start + 900])
    assert len(kept) == 7300
    assert list(kept) == wanted
    assert all(one == other == line for one, other, line in zip(kept, kept, wanted, strict=True))
    assert wanted[7000] in kept


def test_no_letters_are_none() -> None:
    """A report without letters says so."""
    assert not Letters()
    assert list(Letters()) == []

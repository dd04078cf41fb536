"""References from a pattern."""

import pytest

from mailer.circulars import numbering
from mailer.circulars.states import CircularState, check_move
from mailer.errors import NotAllowedNow, SettingsError


def test_pattern_gives_references():
    """Year and number stand where the pattern says; reminders are counted below."""
    numbering.check_pattern("AUS/{year}/{number:03}")
    assert numbering.worded("AUS/{year}/{number:03}", 2006, 11) == "AUS/2006/011"
    assert numbering.worded("N-{number}", 2006, 1234) == "N-1234"
    assert numbering.of_reminder("AUS/2006/011", 2) == "AUS/2006/011/R2"


@pytest.mark.parametrize(
    "pattern",
    [
        "{number}",
        "{year}{number:03}",
        "AUS/{year}",
        "AUS/{number",
        "AUS/{day}/{number}",
        "A{number:>9999999}",
        "A{number!r}{0}",
    ],
)
def test_patterns_that_fail_are_refused_with_an_example(pattern: str):
    """A pattern without a number, with other fields, or that gives bare numbers is refused."""
    with pytest.raises(SettingsError, match=r"approval\.reference"):
        numbering.check_pattern(pattern)


def test_moves_of_a_circular():
    """A draft can't be sent, and a cancelled circular stays so."""
    check_move(CircularState.DRAFT, CircularState.FREEZING, name="X")
    for now, to in ((CircularState.DRAFT, CircularState.SENDING), (CircularState.CANCELLED, CircularState.DRAFT)):
        with pytest.raises(NotAllowedNow):
            check_move(now, to, name="X")

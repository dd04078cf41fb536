"""A number and what it counts: one letter is not `1 letters`."""

import pytest

from lists.counted import counted


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (1, "letter", "1 letter"),
        (0, "letter", "0 letters"),
        (2, "address", "2 addresses"),
        (1, "withheld address", "1 withheld address"),
        (3, "new mailbox", "3 new mailboxes"),
    ],
)
def test_one_is_singular_and_all_else_plural(number: int, noun: str, words: str) -> None:
    """What a person reads of one letter is in the singular."""
    assert counted(number, noun) == words

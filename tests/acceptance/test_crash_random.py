"""Real commands struck at random moments; `make crash` strikes ten times as often and prints the table.

The seed of the moments is shown where a test fails, and can be set: CRASH_SEED=1234.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import crash, crash_in_making
from tests.support.crash import Count, Field
from tests.support.postgres import Server

SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """A relay and a home to copy, for all tests of this file."""
    with crash.field_of(tmp_path_factory.mktemp("struck"), SEED) as made:
        yield made


def _moments() -> random.Random:
    return random.Random(SEED)  # noqa: S311 - moments, not secrets


def _well(count: Count) -> None:
    assert count.wrong == [], f"CRASH_SEED={SEED}"
    assert (count.lost, count.twice) == (0, 0), f"CRASH_SEED={SEED}"


@pytest.mark.parametrize(
    ("kind", "strikes"),
    [
        ("kill -9 while letters leave", 9),
        ("kill -9 at any moment from the start", 7),
        ("kill -9, and again in the recovery", 4),
        ("SIGSTOP beyond the lease, then kill -9", 2),
    ],
)
def test_killed_at_random_nothing_is_lost_and_nothing_sent_twice(ground: Field, kind: str, strikes: int) -> None:
    """Killed again and again on one home: none lost, none twice, and a strike leaves at most the open connections in doubt."""
    count = crash.sending(ground, kind, strikes)
    _well(count)
    assert count.worst <= crash.OPEN


def test_killed_while_the_journal_is_compacted_nothing_is_lost_and_nothing_sent_twice(ground: Field) -> None:
    """With a journal that is compacted at nearly every turn a kill leaves no more lines than of what is claimed, and they suffice."""
    count = crash.sending(ground, crash.COMPACTING, 4)
    _well(count)
    assert count.worst <= crash.OPEN
    assert 0 < count.journal < 400 * 80  # all lines of a sending that was not struck: 170,000 octets


def test_a_power_cut_leaves_doubt_and_no_second_copy(ground: Field) -> None:
    """With the end of the journals lost and the machine started anew, all that was claimed is in doubt, and nothing leaves again."""
    _well(crash.sending(ground, "power cut: journals torn, another boot", 2))


def test_sigterm_leaves_no_doubt(ground: Field) -> None:
    """Asked to stop while letters leave, it ends in order each time: nothing in doubt, and the next start sends the rest."""
    count = crash.sending(ground, "SIGTERM", 2)
    _well(count)
    assert count.uncertain == 0


def test_a_second_sigterm_leaves_the_open_letters_in_doubt(ground: Field) -> None:
    """Stopped at once, what was open is in doubt, at most a letter per connection, and nothing leaves twice."""
    count = crash.sending(ground, "SIGTERM twice", 2)
    _well(count)
    assert count.worst <= crash.OPEN


@pytest.mark.parametrize(("kind", "strikes"), [(crash.KILLED_BESIDE, 3), (crash.FROZEN_BESIDE, 1)])
def test_beside_another_sender_nothing_is_lost_and_nothing_sent_twice(
    ground: Field, postgres: Server, kind: str, strikes: int
) -> None:
    """Of two processes that send from one PostgreSQL one is struck; the other takes over what it held: none lost, none twice."""
    count = crash.together(ground, postgres, kind, strikes)
    _well(count)
    assert count.worst <= crash.OPEN


def test_an_approval_that_is_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    """Killed while its rows are written, an approval goes on where it was: each organization has one letter, under the same digest."""
    _well(crash_in_making.approving(tmp_path, _moments(), 3))


def test_an_upgrade_of_the_tables_that_is_killed_leaves_all_or_nothing(tmp_path: Path) -> None:
    """Killed while tables are made, `db upgrade` leaves what the next one makes whole."""
    _well(crash_in_making.migrating(tmp_path, _moments(), 4))

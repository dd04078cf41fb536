"""kill -9 in every phase of sending, with ten letters open; what was lost or sent twice is counted from the relay's own files."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import office
from tests.support.rig import Home, Relay, relay_process, taken, wait_for

LETTERS, OPEN = 24, 10
REFERENCE = "TEST/2006/001"
ADDRESSES = [f"office{number:03}@org.example" for number in range(1, LETTERS + 1)]
#: Three letters are answered, the others wait for the answer to their final dot.
_THREE_ANSWERED = """
[[fault]]
at = "dot"
to = ["office004@*", "office005@*", "office006@*", "office007@*", "office008@*", "office009@*", "office01*@*"]
do = "stall"
"""


def _stall(phase: str, more: str = "") -> str:
    return f'[[fault]]\nat = "{phase}"\ndo = "stall"\n{more}\n'


def _claimed(home: Home, _relay: Relay) -> bool:
    with closing(sqlite3.connect(f"file:{home.folder / 'chancery.sqlite3'}?mode=ro", uri=True)) as database:
        return database.execute("SELECT count(*) FROM attempt").fetchone()[0] >= OPEN


def _phase(name: str) -> Callable[[Home, Relay], bool]:
    return lambda _home, relay: relay.phases(name) >= OPEN


def _journal(kind: str, count: int) -> Callable[[Home, Relay], bool]:
    return lambda home, _relay: sum(line[0] == kind for line in home.journal_lines()) >= count


@dataclass(frozen=True)
class Moment:
    """When to strike.

    Attributes:
        faults: what the relay plays to hold ten letters there.
        reached: whether they are there.
        uncertain: how many letters nobody can know about then.
    """

    faults: str
    reached: Callable[[Home, Relay], bool]
    uncertain: int


MOMENTS = {
    "claimed": Moment(_stall("connect", "connection = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]"), _claimed, 0),
    "after MAIL": Moment(_stall("rcpt"), _phase("rcpt"), 0),
    "after the journal's D": Moment(_stall("content", "after_bytes = 1"), _journal("D", OPEN), OPEN),
    "in content": Moment(_stall("content", "after_bytes = 100000"), _phase("content"), OPEN),
    "after the dot, before it is taken": Moment(_stall("dot"), _phase("dot"), OPEN),
    "after the dot, when it is taken": Moment(_stall("reply"), lambda _home, relay: len(relay.letters()) >= OPEN, OPEN),
    "after R, before the outcome is stored": Moment(_THREE_ANSWERED, _journal("R", 3), OPEN - 3),
}


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an approved circular, to be copied."""
    folder = tmp_path_factory.mktemp("crash") / "home"
    office.make(folder, LETTERS, enclosure=300 * 1024)
    return folder


@pytest.mark.parametrize("name", MOMENTS)
def test_kill_9_loses_nothing_and_sends_nothing_twice(name: str, approved: Path, tmp_path: Path) -> None:
    """Killed at this moment with ten letters open, the second start sends the rest: none lost, none twice, doubt where it is due."""
    moment = MOMENTS[name]
    home = Home(tmp_path / "home")
    shutil.copytree(approved, home.folder)
    with relay_process(tmp_path, "first", moment.faults) as first:
        home.use(first)
        with home.start("circular", "send", REFERENCE, "--expect", str(LETTERS)) as sender:
            wait_for(lambda: moment.reached(home, first) or sender.poll() is not None, name)
            assert sender.poll() is None, sender.communicate()
            sender.kill()
        begun = {line[1] for line in home.journal_lines() if line[0] == "D"}
    with relay_process(tmp_path, "second") as second:
        home.use(second)
        home.run("circular", "send", REFERENCE, expect=1 if moment.uncertain else 0)
    report = home.report(REFERENCE)
    told = {one["address"]: one["state"] for letter in report["letters"] for one in letter["recipients"]}
    count = taken(first, second)
    uncertain = {address for address, state in told.items() if state == "uncertain"}
    assert sorted(told) == ADDRESSES
    twice = {address for address in ADDRESSES if count[address] > 1}
    lost = {address for address in ADDRESSES if count[address] == 0 and address not in uncertain}
    assert (lost, twice) == (set(), set())
    assert set(told.values()) <= {"accepted", "uncertain"}
    assert len(uncertain) == moment.uncertain
    assert len(begun) <= OPEN
    assert not list((home.folder / "journal").glob("*.flight"))
    home.run("register", "verify")

"""Reading a dead process's journal: line by line, and only what was asked for."""

import errno
import resource
import tracemalloc
from pathlib import Path

import pytest

from mailer.delivery.journal import Journal
from mailer.delivery.relics import _lock, alive, relics
from tests.support.flights import NOON, TAKEN, attempt, saying

_WHOLE = b'["D","%b","2006-07-07T12:00:00+00:00",[],null]\n'


def test_a_long_journal_is_read_in_little_memory(tmp_path: Path) -> None:
    """Of a journal of ten megabytes an answer about three attempts takes less than half of one."""
    own = Journal(tmp_path, "1")
    (path,) = tmp_path.iterdir()
    own.begun(attempt(0), NOON, [], "0" * 64)
    own.answered(attempt(0), NOON, [TAKEN])
    own.begun(attempt(1), NOON, [TAKEN], None)
    lines = path.read_bytes()
    with path.open("ab") as file:
        for number in range(2, 10_000_000 // len(lines)):
            file.write(lines.replace(attempt(0).encode(), attempt(number).encode()))
    assert path.stat().st_size > 9_000_000
    own.close(remove=False)
    (relic,) = relics(tmp_path, "1")
    tracemalloc.start()
    try:
        said = relic.said({attempt(0), attempt(1), attempt(10**9)})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    relic.close(remove=True)
    assert peak < 500_000
    assert set(said.flights) == {attempt(0), attempt(1)}
    assert said.flights[attempt(0)].answered is not None
    assert said.rules_out(attempt(10**9))


def test_who_can_open_no_file_takes_nobody_for_dead(tmp_path: Path) -> None:
    """With no room for another open file nothing is known of a journal, dead or alive: its letters are not called doubtful."""
    living, dead = Journal(tmp_path, "1"), Journal(tmp_path, "1")
    dead.close(remove=False)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    every = sorted(tmp_path.iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, most[1]))
    try:
        seen = [alive(tmp_path, one.name) for one in (living, dead)]
        locked = [_locked(path) for path in every]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert seen == [True, True]
    assert locked == [errno.EMFILE, errno.EMFILE]
    assert [alive(tmp_path, one.name) for one in (living, dead)] == [True, False]
    living.close(remove=True)


def _locked(path: Path) -> int | None:
    try:
        _lock(path)
    except OSError as error:
        return error.errno
    return None


def test_silence_about_what_was_not_asked_proves_nothing(tmp_path: Path) -> None:
    """An attempt that the journal was not asked about is not ruled out, whether it is in it or not."""
    path = tmp_path / "one"
    path.write_bytes(_WHOLE % attempt(1).encode())
    said = saying(path, {attempt(2)})
    assert said.rules_out(attempt(2))
    assert not said.rules_out(attempt(1))
    assert not said.rules_out(attempt(3))


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"{}\n",
        b"7\n",
        b'["D"]\n',
        b'["D","a","no time",[],null]\n',
        b'["D",["a"],"2006-07-07T12:00:00+00:00",[],null]\n',
        b"[" * 100_000 + b"\n",
        b'["D","' + b"0" * 9_000_000 + b"\n",
        b"\0" * 9_000_000 + b"\n",
        b" " * 4_000_000 + _WHOLE % attempt(3).encode(),
    ],
    ids=lambda line: repr(line[:20]),
)
def test_a_line_that_says_nothing_makes_silence_no_proof(line: bytes, tmp_path: Path) -> None:
    """Whatever stands in a line that is no line of ours, the others are read, and the journal is damaged."""
    path = tmp_path / "one"
    path.write_bytes(_WHOLE % attempt(1).encode() + line + _WHOLE % attempt(2).encode())
    said = saying(path, {attempt(1), attempt(2), attempt(3)})
    assert set(said.flights) == {attempt(1), attempt(2)}
    assert said.damaged
    assert not said.rules_out(attempt(3))


@pytest.mark.parametrize("size", [1, 40, 3_999_999, 4_000_000, 4_000_001, 9_000_000])
def test_a_torn_end_is_dropped_however_long(size: int, tmp_path: Path) -> None:
    """What has no line end is what the death has torn; it damages nothing."""
    path = tmp_path / "one"
    path.write_bytes(_WHOLE % attempt(1).encode() + b"[" * size)
    said = saying(path, {attempt(1), attempt(2)})
    assert set(said.flights) == {attempt(1)}
    assert said.rules_out(attempt(2))

"""The flight journal: what outlives a death, and what it may say."""

import datetime as dt
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mailer.delivery.journal import Journal
from mailer.delivery.relics import alive, relics, reply_of
from mailer.errors import JournalError
from mailer.transport.base import Fate, Reply, Result, Scope
from tests.support.flights import saying

NOON = dt.datetime(2006, 7, 7, 12, 0, tzinfo=dt.UTC)
REFUSED = Result(
    7, Fate.REFUSED, Scope.RECIPIENT, Reply(550, "5.1.1", "5.1.1 no such user"), "the mailbox does not exist"
)
TAKEN = Result(8, Fate.ACCEPTED, Scope.RECIPIENT, Reply(250, "2.0.0", "2.0.0 queued as 1"))


def _only_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """A D line and an R line come back as one flight with both recipients' records and the digest."""
    own = Journal(tmp_path, "1")
    own.begun("a" * 32, NOON, [REFUSED], "f" * 64)
    own.answered("a" * 32, NOON, [REFUSED, TAKEN])
    said = saying(_only_file(tmp_path), {"a" * 32})
    flight = said.flights["a" * 32]
    assert not said.damaged
    assert flight.sha256 == "f" * 64
    assert [record[0] for record in flight.settled] == [7]
    assert flight.answered is not None
    assert reply_of(flight.answered[1]) == TAKEN.reply
    own.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    """A torn D at the end means that no content left: its attempt is not in the journal, and the file is not called damaged."""
    own = Journal(tmp_path, "1")
    own.begun("a" * 32, NOON, [], None)
    path = _only_file(tmp_path)
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole.replace(b"a" * 32, b"b" * 32)[:cut])
        said = saying(path, {"a" * 32, "b" * 32})
        assert (set(said.flights), said.damaged) == ({"a" * 32}, False)
        assert said.rules_out("b" * 32)
    own.close(remove=True)


def test_a_damaged_line_inside_is_told(tmp_path: Path) -> None:
    """A line that can't be read, with others behind it, makes the journal no proof of what it does not name."""
    own = Journal(tmp_path, "1")
    own.begun("a" * 32, NOON, [], None)
    path = _only_file(tmp_path)
    path.write_bytes(b'["D", "bbbb\n' + path.read_bytes())
    said = saying(path, {"a" * 32, "b" * 32})
    assert said.damaged
    assert set(said.flights) == {"a" * 32}
    assert not said.rules_out("b" * 32)
    own.close(remove=True)


def test_a_living_owner_is_left_alone(tmp_path: Path) -> None:
    """While its process lives a journal is nobody else's; of another epoch it is not read at all."""
    own = Journal(tmp_path, "1")
    assert alive(tmp_path, own.name)
    assert list(relics(tmp_path, "1")) == []
    own.close(remove=False)
    assert not alive(tmp_path, own.name)
    (found,) = relics(tmp_path, "1")
    assert found.name == own.name
    found.close(remove=False)
    assert list(relics(tmp_path, "2")) == []


def test_kill_9_leaves_whole_lines(tmp_path: Path) -> None:
    """What a process had written when it was killed is there, without fsync, and its lock is free."""
    program = textwrap.dedent("""
        import datetime as dt, os, signal, sys
        from pathlib import Path
        from mailer.delivery.journal import Journal
        own = Journal(Path(sys.argv[1]), "1")
        for number in range(50):
            own.begun(f"{number:032d}", dt.datetime.now(dt.UTC), [], "0" * 64)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=False, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == -signal.SIGKILL
    (found,) = relics(tmp_path, "1")
    assert len(found.said({f"{number:032d}" for number in range(60)}).flights) == 50
    found.close(remove=True)


def test_a_line_that_does_not_fit_stops_all_content(tmp_path: Path) -> None:
    """On a full disk the D line is refused, the file keeps its whole lines, and nothing more is written."""
    own = Journal(tmp_path, "1")
    own.begun("a" * 32, NOON, [], "0" * 64)
    path = _only_file(tmp_path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, hard))  # the disk takes 40 octets more
        with pytest.raises(JournalError, match="can't be written"):
            own.begun("b" * 32, NOON, [], "0" * 64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert own.broken
    with pytest.raises(JournalError):
        own.begun("c" * 32, NOON, [], "0" * 64)
    own.answered("a" * 32, NOON, [TAKEN])  # must not raise: the outcome is in memory still
    own.close(remove=True)


def test_healing_cuts_off_what_a_failed_write_has_left(tmp_path: Path) -> None:
    """Where even cutting the torn line off had failed, it is cut off before the next line, and the journal stays a proof."""
    own = Journal(tmp_path, "1")
    own.begun("a" * 32, NOON, [], "0" * 64)
    path = _only_file(tmp_path)
    with path.open("ab") as file:
        file.write(b'["D","bbbb')
    own.broken = "the flight journal can't be written (disk full)"
    own.heal()
    own.begun("c" * 32, NOON, [], "0" * 64)
    said = saying(path, {"a" * 32, "b" * 32, "c" * 32})
    assert (set(said.flights), said.damaged) == ({"a" * 32, "c" * 32}, False)
    own.close(remove=True)


def test_an_unwritable_folder_is_told_in_one_line(tmp_path: Path) -> None:
    """A journal that can't be made is one clear line with the folder's name."""
    (tmp_path / "journal").write_text("a file stands where the folder should be")
    with pytest.raises(JournalError, match="nothing is sent"):
        Journal(tmp_path / "journal", "1")


def test_forgetting_empties_the_file(tmp_path: Path) -> None:
    """Once all is recorded the journal says nothing, and goes on from there."""
    own = Journal(tmp_path, "1")
    own.begun("a" * 32, NOON, [], None)
    own.forget()
    own.begun("b" * 32, NOON, [], None)
    assert set(saying(_only_file(tmp_path), {"a" * 32, "b" * 32}).flights) == {"b" * 32}
    own.close(remove=True)


def test_a_journal_that_was_closed_touches_no_file(tmp_path: Path) -> None:
    """Whoever still holds a closed journal can't write: its number may be another file's by now, which must stay as it is."""
    own = Journal(tmp_path / "journal", "1")
    own.begun("a" * 32, NOON, [], "f" * 64)
    own.close(remove=True)
    other = tmp_path / "other"
    with other.open("w+b", buffering=0) as taker:  # the number that has just fallen free
        taker.write(b"not a journal")
        with pytest.raises(JournalError):
            own.begun("b" * 32, NOON, [], "f" * 64)
        own.answered("b" * 32, NOON, [TAKEN])
        with pytest.raises(JournalError):
            own.heal()
        own.forget({"b" * 32})
        own.forget()
        assert other.read_bytes() == b"not a journal"

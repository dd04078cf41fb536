"""The flight journal is compacted: what it keeps, when it is left as it is, and what others see of it in the very moment."""

import fcntl
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailer.delivery.journal import Journal
from mailer.delivery.relics import alive, relics
from mailer.errors import JournalError
from tests.support import flights
from tests.support.flights import NOON, TAKEN, attempt, saying

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.flights"])

#: Done once, at the next attempt to lock a file, before it is locked.
_before_the_lock: list[Callable[[], object]] = []


def _hook(event: str, _arguments: tuple[object, ...]) -> None:
    if event == "fcntl.flock" and _before_the_lock:
        _before_the_lock.pop()()


sys.addaudithook(_hook)


def _path(folder: Path, own: Journal) -> Path:
    return folder / f"{own.name}.flight"


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def _fly(own: Journal, first: int, last: int) -> None:
    """Letters that are begun and answered."""
    for number in range(first, last):
        own.begun(attempt(number), NOON, [], "0" * 64)
        own.answered(attempt(number), NOON, [TAKEN])


@contextmanager
def _room(octets: int) -> Iterator[None]:
    """No file may grow beyond so many octets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


# --- what is kept, and when ---------------------------------------------------------------------------------------


def test_the_lines_of_what_is_unrecorded_are_kept_and_no_others(tmp_path: Path) -> None:
    """A content without an answer, and an answer that is not recorded yet, stay to the octet and in order; the rest goes."""
    own = Journal(tmp_path, "1", compact_at=1000)
    path = _path(tmp_path, own)
    own.begun(attempt(0), NOON, [], None)
    _fly(own, 1, 20)
    own.begun(attempt(20), NOON, [TAKEN], "0" * 64)
    before = _lines(path)
    old = os.open(path, os.O_RDONLY)
    own.forget({attempt(0), attempt(7), attempt(20)})
    fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nothing holds it open any more
    os.close(old)
    assert _lines(path) == [before[0], *before[13:15], before[-1]]
    assert own.size == path.stat().st_size
    own.answered(attempt(0), NOON, [TAKEN])
    own.begun(attempt(21), NOON, [], None)
    said = saying(path, {attempt(number) for number in range(30)})
    assert set(said.flights) == {attempt(0), attempt(7), attempt(20), attempt(21)}
    assert {one for one, flight in said.flights.items() if flight.answered} == {attempt(0), attempt(7)}
    assert said.rules_out(attempt(1))
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    own.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_it_is_compacted_only_when_that_is_worth_while(tmp_path: Path) -> None:
    """Below the threshold, and below twice what the last compaction left, the file stays; with nothing unrecorded it is emptied at once."""
    own = Journal(tmp_path, "1", compact_at=1000)
    path = _path(tmp_path, own)
    _fly(own, 0, 3)
    first = path.stat()
    assert first.st_size < 1000
    own.forget({attempt(0)})
    assert os.path.samestat(path.stat(), first)
    _fly(own, 3, 20)
    unrecorded = {attempt(number) for number in range(2, 20)}
    own.forget(unrecorded)
    second = path.stat()
    left = own.size
    assert not os.path.samestat(second, first)
    assert left > 1000
    number = 20
    while own.size <= 2 * left:
        own.forget(unrecorded)
        assert os.path.samestat(path.stat(), second)
        _fly(own, number, number + 1)
        number += 1
    own.forget(unrecorded)
    assert not os.path.samestat(path.stat(), second)
    assert own.size == left
    own.forget()
    assert own.size == path.stat().st_size == 0
    own.close(remove=True)


def test_a_broken_journal_is_not_compacted_and_a_healed_one_is(tmp_path: Path) -> None:
    """While no line can be written the file stays as it is; once it can, torn end and trial line go with the rest."""
    own = Journal(tmp_path, "1", compact_at=1000)
    path = _path(tmp_path, own)
    _fly(own, 0, 20)
    before = path.read_bytes()
    with _room(len(before) + 40), pytest.raises(JournalError):
        own.begun(attempt(20), NOON, [], "0" * 64)
    with path.open("ab") as file:
        file.write(b'["D","torn, and it could not be cut off')
    own.forget({attempt(3)})
    assert path.read_bytes().startswith(before)
    own.heal()
    assert _lines(path)[-1] == b'["P",""]'
    own.forget({attempt(3)})
    assert _lines(path) == before.splitlines()[6:8]
    own.begun(attempt(21), NOON, [], None)
    said = saying(path, {attempt(3), attempt(21)})
    assert (set(said.flights), said.damaged) == ({attempt(3), attempt(21)}, False)
    own.close(remove=True)


# --- where it fails -----------------------------------------------------------------------------------------------


def _no_room(_path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _no_new_name(path: Path) -> None:
    path.with_suffix(".new").mkdir()


def _no_name(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _another_wrote(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"a line of somebody else's\n")


def _a_line_is_garbled(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8)
        file.write(b"zzzz")


@pytest.mark.parametrize("trouble", [_no_room, _no_new_name, _no_name, _another_wrote, _a_line_is_garbled])
def test_where_no_new_file_can_be_made_the_old_one_stays_in_use(
    trouble: Callable[[Path], None], tmp_path: Path
) -> None:
    """Without room or a name, or with lines that are not ours: nothing is lost, no half file stays, further lines go where the lock is."""
    own = Journal(tmp_path, "1", compact_at=1000)
    path = _path(tmp_path, own)
    _fly(own, 0, 20)
    kept = tmp_path / "kept"
    os.link(path, kept)
    with _room(resource.RLIM_INFINITY):
        trouble(path)
        before = kept.read_bytes()
        own.forget({attempt(number) for number in range(10)})
        own.forget({attempt(number) for number in range(10)})
    assert kept.read_bytes() == before
    assert not path.with_suffix(".new").is_file()
    own.answered(attempt(9), NOON, [TAKEN])
    assert kept.read_bytes().startswith(before)
    assert kept.stat().st_size > len(before)
    if path.is_file():
        assert os.path.samestat(path.stat(), kept.stat())
        assert alive(tmp_path, own.name)


def test_after_a_failure_it_is_tried_again_once_the_file_has_doubled(tmp_path: Path) -> None:
    """What kept it from being compacted costs not every turn a reading of the file, and is not for ever."""
    own = Journal(tmp_path, "1", compact_at=1000)
    path = _path(tmp_path, own)
    _fly(own, 0, 20)
    in_the_way = path.with_suffix(".new")
    in_the_way.mkdir()
    failed = own.size
    own.forget({attempt(0)})
    in_the_way.rmdir()
    own.forget({attempt(0)})
    assert own.size == failed
    _fly(own, 20, 50)
    own.forget({attempt(0)})
    assert len(_lines(path)) == 2
    _fly(own, 50, 70)
    in_the_way.mkdir()
    own.forget({attempt(0)})
    in_the_way.rmdir()
    own.forget()  # with an empty file all begins anew
    _fly(own, 70, 76)
    own.forget({attempt(70)})
    assert len(_lines(path)) == 2
    own.close(remove=True)


# --- who looks in the very moment ---------------------------------------------------------------------------------


def test_who_opened_the_old_file_does_not_take_its_free_lock_for_a_death(tmp_path: Path) -> None:
    """The journal is compacted between another's opening it and locking it: its owner lives, and it is nobody's relic."""
    own = Journal(tmp_path, "1", compact_at=100)
    for look in (lambda: alive(tmp_path, own.name), lambda: not list(relics(tmp_path, "1"))):
        _fly(own, 0, 3)
        before = _path(tmp_path, own).stat()
        _before_the_lock[:] = [lambda: own.forget({attempt(0)})]
        assert look()
        assert _before_the_lock == []
        assert not os.path.samestat(_path(tmp_path, own).stat(), before)
    own.close(remove=True)


def test_a_journal_that_another_took_in_meanwhile_is_no_relic(tmp_path: Path) -> None:
    """It goes between our opening it and locking it: there is nothing to take in, and nobody lives."""
    own = Journal(tmp_path, "1")
    path = _path(tmp_path, own)
    _fly(own, 0, 1)
    own.close(remove=False)
    _before_the_lock[:] = [path.unlink]
    assert list(relics(tmp_path, "1")) == []
    path.touch()
    _before_the_lock[:] = [path.unlink]
    assert not alive(tmp_path, own.name)


def test_what_is_read_is_the_file_that_is_locked(tmp_path: Path) -> None:
    """A name that is another file's by the time of the lock is looked at again; what is read then is what is locked, whatever has the name."""
    own = Journal(tmp_path, "1")
    path = _path(tmp_path, own)
    _fly(own, 0, 1)
    own.close(remove=False)

    def replaced(old: int, new: int) -> None:
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes().replace(attempt(old).encode(), attempt(new).encode()))
        other.rename(path)

    _before_the_lock[:] = [lambda: replaced(0, 1)]
    (found,) = relics(tmp_path, "1")
    replaced(1, 2)
    assert set(found.said({attempt(0), attempt(1), attempt(2)}).flights) == {attempt(1)}
    found.close(remove=False)


def test_beside_a_process_that_compacts_all_the_time_nobody_sees_a_death(tmp_path: Path) -> None:
    """While a process compacts its journal five hundred times, two others look all the time: always alive, never a relic."""
    folder, end = tmp_path / "journal", tmp_path / "end"
    own = Journal(folder, "1", compact_at=1)
    found = [tmp_path / f"found{number}" for number in range(2)]
    lookers = [
        _CONTEXT.Process(target=flights.look, args=(str(folder), own.name, str(file), str(end))) for file in found
    ]
    for one in lookers:
        one.start()
    compacted = number = 0
    while compacted < 500:
        before = own.size
        _fly(own, number, number + 2)
        own.forget({attempt(number)})
        compacted += own.size <= before
        number += 2
    end.touch()
    for one in lookers:
        one.join()
    told = [[int(word) for word in file.read_text().split()] for file in found]
    assert all(looks > 100 for looks, _, _ in told)
    assert [(dead, taken) for _, dead, taken in told] == [(0, 0), (0, 0)]
    own.close(remove=True)
    assert list(folder.iterdir()) == []


# --- a death at any moment ----------------------------------------------------------------------------------------


def test_killed_at_any_moment_the_journal_has_all_that_is_unrecorded(tmp_path: Path) -> None:
    """Killed while it writes and compacts all the time: each begun and unrecorded attempt is there, with its answer if it had one."""
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    dropped = 0
    for strike in range(40):
        folder, truth = tmp_path / f"journal{strike}", tmp_path / f"truth{strike}"
        process = _CONTEXT.Process(target=flights.fly, args=(str(folder), str(truth), seed + strike, 2000))
        process.start()
        while not truth.exists():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.join()
        told: dict[str, set[str]] = {"begun": set(), "answered": set(), "recorded": set()}
        for line in truth.read_text().splitlines():
            kind, one = line.split()
            told[kind].add(one)
        (relic,) = relics(folder, "1")
        said = relic.said(told["begun"])
        assert not said.damaged, seed
        assert set(said.flights) >= told["begun"] - told["recorded"], seed
        unanswered = {one for one, flight in said.flights.items() if flight.answered is None}
        assert unanswered.isdisjoint(told["answered"]), seed
        dropped += len(told["begun"] - set(said.flights))
        relic.close(remove=True)
        assert list(folder.iterdir()) == [], seed
    assert dropped > 100

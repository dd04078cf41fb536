"""Where log lines go: what fails there never fails a sending, and is told once."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer import logs
from mailer.checkup import Light, watched
from mailer.log_places import LogFile, SystemLog
from mailer.settings import Log, LogForm, LogPlace, Metrics, Settings
from tests.unit.test_home_logs import restored

__all__ = ["restored"]
log = logging.getLogger("mailer.test")


@pytest.fixture(autouse=True)
def taken_down(restored: None) -> Iterator[None]:
    """Logging as it was, afterwards."""
    yield
    logs.unset()


def to_file(home: Path, name: str = "chancery.log", form: LogForm = LogForm.TEXT) -> Path:
    """Set up logging to a file of the home; where it is."""
    logs.set_up(Log(to=LogPlace.FILE, file=name, format=form), home)
    return home / name


def actions(path: Path) -> list[str]:
    """The names in a file of text lines."""
    return [line.split(" ")[2] for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_file_is_its_owner_s(tmp_path: Path) -> None:
    """It is made with 0600, and added to by the next process."""
    path = to_file(tmp_path)
    log.info("first-line")
    to_file(tmp_path)
    log.info("second-line")
    assert path.stat().st_mode & 0o777 == 0o600
    assert actions(path) == ["first-line", "second-line"]


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    """A file that was moved away or deleted gets no further line; the new one is made."""
    path = to_file(tmp_path)
    log.info("before-it")
    path.rename(tmp_path / "chancery.log.1")
    log.info("after-it")
    path.unlink()
    log.info("at-last")
    assert actions(tmp_path / "chancery.log.1") == ["before-it"]
    assert actions(path) == ["at-last"]


def test_a_full_disk_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is raised; standard error has one line, and the first line that goes through again says how many are missing."""
    path = to_file(tmp_path)
    path.symlink_to("/dev/full")
    for _ in range(3):
        log.info("lost-line")
    path.unlink()
    log.info("found-line")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "No space left on device" in told[0]
    assert actions(path) == ["log-lost", "found-line"]
    assert "lines=3" in path.read_text()


def test_a_line_that_was_cut_short_ends_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a disk that filled in the middle of a line, the next one begins on a line of its own."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    place = LogFile(Path(f"/proc/self/fd/{writing}"), lambda count: (f"lost {count}", "warning"))
    place.write([("x" * 100_000, "info")])  # more than a pipe holds
    assert len(os.read(reading, 200_000)) < 100_000
    place.write([("whole", "info")])
    assert os.read(reading, 1000) == b"\nlost 1\nwhole\n"
    place.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("name", ["", "no/such/folder/chancery.log", "folder"])
def test_a_file_that_can_not_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A missing folder or one that stands in its place is told once; nothing is raised."""
    (tmp_path / "folder").mkdir()
    logs.configure(place=lambda lost: LogFile(tmp_path / name, lost))
    log.info("lost-line")
    log.info("lost-line")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_can_not_be_written_is_told_beforehand(tmp_path: Path) -> None:
    """The doctor says why, where lines would be lost or counters stop `serve`."""
    settings = Settings(
        log=Log(to=LogPlace.FILE, file="no/chancery.log"), metrics=Metrics(file=str(tmp_path / "chancery.prom"))
    )
    log_line, counters = watched(settings, tmp_path)
    assert (log_line.light, counters.light) == (Light.YELLOW, Light.GREEN)
    assert str(tmp_path / "no") in log_line.what
    (line,) = watched(Settings(log=Log(to=LogPlace.SYSLOG, socket=str(tmp_path / "none"))), tmp_path)
    assert (line.name, line.light) == ("log", Light.YELLOW)
    (line,) = watched(Settings(metrics=Metrics(file="no/chancery.prom")), tmp_path)
    assert (line.name, line.light) == ("counters", Light.RED)
    assert not list(watched(Settings(), tmp_path))


def test_a_pipe_that_nobody_reads_holds_up_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Opening it does not wait for a reader."""
    os.mkfifo(tmp_path / "chancery.log")
    to_file(tmp_path)
    log.info("lost-line")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_system_s_log_gets_a_datagram_per_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has its severity; while nobody listens, that is told once, and once somebody does, how many lines are missing."""
    path = tmp_path / "log"
    logs.set_up(Log(to=LogPlace.SYSLOG, socket=str(path)), tmp_path)
    log.info("unheard-line")
    log.info("unheard-line")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(10)
        try:
            int("x")
        except ValueError:
            log.exception("odd-thing", extra={"reply": "250 ok\n<24>kernel: forged"})
        heard = [listening.recv(10_000).decode() for _ in range(2)]
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert heard[0].startswith("<28>chancery[")
    assert heard[0].endswith(" log-lost lines=2")
    assert heard[1].startswith("<27>chancery[")
    assert "\n" not in heard[1]
    assert "ValueError" in heard[1]


def test_a_line_too_long_for_a_datagram_is_cut(tmp_path: Path) -> None:
    """What the system's log could not take is cut, not lost."""
    path = tmp_path / "log"
    place = SystemLog(path, lambda count: (str(count), "warning"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        place.write([("é" * 1_000_000, "info")])
        assert len(listening.recv(1_000_000)) == 8000
    place.close()

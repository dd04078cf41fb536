"""`backup` and `restore` struck down at any moment, and without room or rights: whole or nothing, and what was there before stays."""

import asyncio
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailer.backup.restoring import restore
from mailer.clock import SystemClock
from tests.support import office
from tests.support.postgres import Server
from tests.support.readonly import read_only
from tests.support.rig import Home

REFERENCE = "TEST/2006/001"
LETTERS = 12


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a home with an approved circular."""
    folder = tmp_path_factory.mktemp("kept")
    office.make(folder / "home", LETTERS).run("backup", str(folder / "backup"))
    return folder / "backup"


@pytest.fixture(params=["in the home", "elsewhere", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | None]:
    """Where the rows go: as `--database`."""
    if request.param != "postgresql":
        yield None if request.param == "in the home" else f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}"
        return
    server: Server = request.getfixturevalue("postgres")
    name = server.new()
    yield server.url(name)
    server.drop(name)


def _struck(strike: Callable[[], None], *arguments: Any, **options: Any) -> int:
    """Restore in a process of its own, in which *strike* sees to its death; the signal that it died of, or 0 at its end."""
    return _dies(strike, lambda: asyncio.run(restore(*arguments, clock=SystemClock(), by="anna", **options)))


def _dies(strike: Callable[[], None], work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            strike()
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def _at(event: str, path: Path, number: int = 1, *, holds: str = "") -> Callable[[], None]:
    """Death when Python is about to do *event*, for the so-manieth time, with a name that begins with *path* and holds a word.

    Python tells of it by its audit events, of which a rename names its target second.
    """

    def strike() -> None:
        seen = 0

        def hook(what: str, given: tuple[Any, ...]) -> None:
            nonlocal seen
            if what != event:
                return
            name = str(given[1 if event == "os.rename" else 0])
            if name.startswith(str(path)) and holds in name:
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)

    return strike


def _in(seconds: float) -> Callable[[], None]:
    """Death after so many seconds."""

    def strike() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    return strike


def _whole(home: Home) -> None:
    """The home tells the same report as ever, and its register fits."""
    assert home.report(REFERENCE)["counts"]["letters"] == LETTERS
    home.run("register", "verify")
    home.run("circular", "resume", REFERENCE, expect=4)  # it was held


def _again(kept: Path, home: Home, database: str | None, strike: Callable[[], None]) -> int:
    """Strike a restore; then there is a whole home, or none, and to restore again makes one."""
    died = _struck(strike, kept, home.folder, database=database)
    if not home.folder.exists():
        for half in home.folder.parent.glob(".*.part"):
            Home(half).run("circular", "list", expect=2)  # what is left is no home
        given = ("--database", database) if database else ()
        told = home.run("restore", str(kept), str(home.folder), *given, expect=1)
        assert f"{REFERENCE} was not sent then" in told.stdout
    _whole(home)
    assert not list(home.folder.parent.glob(".*.part"))
    return died


def test_a_restore_killed_before_the_home_has_its_name_is_run_again(
    kept: Path, database: str | None, tmp_path: Path
) -> None:
    """Its rows are committed, its folder has no name yet, and it dies: to run it again makes the home, from those rows."""
    home = Home(tmp_path / "restored")
    assert _again(kept, home, database, _at("os.rename", home.folder)) == signal.SIGKILL


def test_another_restore_does_not_take_the_rows_of_one_that_died(kept: Path, postgres: Server, tmp_path: Path) -> None:
    """Rows without a home are given to the folder that they were for and to no other; the line says so."""
    name = postgres.new()
    url = postgres.url(name)
    home = Home(tmp_path / "restored")
    assert _struck(_at("os.rename", home.folder), kept, home.folder, database=url) == signal.SIGKILL
    refused = home.run("restore", str(kept), str(tmp_path / "other"), "--database", url, expect=2)
    assert f"a restore to {home.folder} was broken off when its rows were here already" in refused.stderr
    assert refused.stderr.count("\n") == 1
    home.run("restore", str(kept), str(home.folder), "--database", url, expect=1)
    refused = home.run("restore", str(kept), str(tmp_path / "other"), "--database", url, expect=2)
    assert "this database holds a home already" in refused.stderr
    postgres.drop(name)


@pytest.mark.parametrize("database", ["in the home", "postgresql"], indirect=True)
def test_a_restore_killed_at_any_moment(kept: Path, database: str | None, tmp_path: Path) -> None:
    """Killed while files are copied, while rows are, or between: never half a home, and to run it again makes a whole one."""
    began = time.monotonic()
    assert _again(kept, Home(tmp_path / "first"), None, lambda: None) == 0
    took = time.monotonic() - began
    home = Home(tmp_path / "restored")
    _struck(_at("open", home.folder.parent / ".restored", 3), kept, home.folder, database=database)
    for _ in range(2):
        _struck(_in(random.uniform(0.001, took)), kept, home.folder, database=database)  # noqa: S311 - a moment
        if home.folder.exists():
            break
    _again(kept, home, database, lambda: None)


def test_a_backup_killed_before_it_is_whole_is_none(kept: Path, tmp_path: Path) -> None:
    """Killed before its manifest is there, it has no name, and what it has left is refused; the next one clears that away."""
    home = Home(tmp_path / "home")
    home.run("restore", str(kept), str(home.folder), expect=1)
    strike = _at("open", tmp_path / ".again", holds="manifest")
    assert _dies(strike, lambda: home.run("backup", str(tmp_path / "again"))) == signal.SIGKILL
    assert not (tmp_path / "again").exists()
    (half,) = tmp_path.glob(".again.*.part")
    refused = home.run("restore", str(half), str(tmp_path / "new"), expect=2)
    assert "it is no backup, or one that was broken off" in refused.stderr
    home.run("backup", str(tmp_path / "again"))
    assert not list(tmp_path.glob(".*.part"))
    home.run("restore", str(tmp_path / "again"), str(tmp_path / "new"), expect=1)


# --- no room, no rights ---------------------------------------------------------------------------------------------


@contextmanager
def _no_file_above(octets: int) -> Iterator[None]:
    """No file of this process can grow beyond so many octets: a full disk (see `troubles`)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("octets", [3000, 60_000])
def test_no_room_for_a_backup_or_a_restore(kept: Path, octets: int, tmp_path: Path) -> None:
    """One line, nothing under the name that was asked for, nothing beside it; and with room again it works."""
    home = Home(tmp_path / "restored")
    with _no_file_above(octets):
        refused = home.run("restore", str(kept), str(home.folder), expect=3)
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert list(tmp_path.iterdir()) == []
    home.run("restore", str(kept), str(home.folder), expect=1)
    with _no_file_above(octets):
        refused = home.run("backup", str(tmp_path / "again"), expect=3)
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert list(tmp_path.iterdir()) == [home.folder]
    home.run("backup", str(tmp_path / "again"))


def test_no_room_in_postgresql_for_a_restore(kept: Path, postgres: Server, tmp_path: Path) -> None:
    """A server without room says so in a line; no row stays, no folder, and with room again it works."""
    name = postgres.new()
    url, home = postgres.url(name), Home(tmp_path / "restored")
    with psycopg.connect(url, autocommit=True) as server:
        trigger = (
            "BEGIN IF TG_TAG = 'CREATE INDEX' THEN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END IF; END"
        )
        server.execute(f"CREATE FUNCTION no_room() RETURNS event_trigger LANGUAGE plpgsql AS $$ {trigger} $$")
        server.execute("CREATE EVENT TRIGGER fills ON ddl_command_end EXECUTE FUNCTION no_room()")
        refused = home.run("restore", str(kept), str(home.folder), "--database", url, expect=3)
        assert "the disk is full" in refused.stderr
        assert list(tmp_path.iterdir()) == []
        server.execute("DROP EVENT TRIGGER fills")
    home.run("restore", str(kept), str(home.folder), "--database", url, expect=1)
    _whole(home)
    postgres.drop(name)


def test_no_rights_for_a_backup_or_a_restore(kept: Path, tmp_path: Path) -> None:
    """A folder that can't be written to is one line, and an older backup in it is what it was."""
    home = Home(tmp_path / "restored")
    home.run("restore", str(kept), str(home.folder), expect=1)
    (tmp_path / "closed").mkdir()
    home.run("backup", str(tmp_path / "closed" / "old"))
    with read_only(tmp_path / "closed"):
        for verb in (["backup"], ["restore", str(kept)]):
            refused = home.run(*verb, str(tmp_path / "closed" / "new"), expect=3)
            assert "closed/new: it can't be written" in refused.stderr
            assert refused.stderr.count("\n") == 1
    home.run("restore", str(tmp_path / "closed" / "old"), str(tmp_path / "third"), expect=1)

"""`backup` and `restore` as an administrator runs them: whole or refused, and after a restore nothing is sent twice."""

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import office
from tests.support.postgres import Server
from tests.support.rig import PATIENCE, Home, relay_process, taken, wait_for

REFERENCE = "TEST/2006/001"
LETTERS = 30
#: Little is claimed at a time, so that a backup meets letters in every state.
SETTINGS = "\n[delivery]\nslice = 10\n"


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an approved circular, to be copied."""
    folder = tmp_path_factory.mktemp("backup") / "home"
    office.make(folder, LETTERS, settings=SETTINGS)
    return folder


@pytest.fixture
def home(approved: Path, tmp_path: Path) -> Home:
    """A copy of it for one test."""
    shutil.copytree(approved, tmp_path / "home")
    return Home(tmp_path / "home")


def counts(home: Home) -> dict[str, int]:
    """The letters of the report, by state, those that there are."""
    return {state: count for state, count in home.report(REFERENCE)["counts"].items() if count}


def test_a_backup_in_mid_send_restored_elsewhere_sends_nothing_twice(home: Home, tmp_path: Path) -> None:
    """Backed up while letters leave, sent to the end, restored: what was open is in doubt, and only a person's word moves it."""
    with relay_process(tmp_path, "relay", "", "--end-ms", "150") as relay:
        home.use(relay)
        with home.start("circular", "send", REFERENCE, "--expect", str(LETTERS)) as sending:
            wait_for(lambda: len(relay.letters()) >= 12, "a dozen letters")
            made = home.run("backup", str(tmp_path / "kept"))
            assert "It was read back and checked." in made.stdout
            assert sending.wait(PATIENCE) == 0
        assert len(taken(relay)) == LETTERS

        restored = Home(tmp_path / "restored", home.variables)
        told = home.run("restore", str(tmp_path / "kept"), str(restored.folder), expect=1)
        assert f"{REFERENCE} was being sent. It is paused" in told.stdout
        first = counts(restored)
        assert set(first) <= {"letters", "accepted", "uncertain"}
        assert first["accepted"] + first["uncertain"] == LETTERS
        assert first["uncertain"] >= 1
        restored.run("register", "verify")
        assert "in doubt" in restored.run("circular", "resume", REFERENCE, expect=1).stdout
        restored.run("circular", "send", REFERENCE, "--expect", str(LETTERS), expect=None)
        assert counts(restored) == first
        restored.run("circular", "resolve", REFERENCE, "--all", "--sent")
        restored.run("register", "verify")
        assert counts(restored) == {"letters": LETTERS, "accepted": LETTERS}
        assert set(taken(relay).values()) == {1}


def test_what_was_approved_or_drafted_waits_for_a_person(home: Home, tmp_path: Path) -> None:
    """A circular that was not sent at the time of the backup is held: it leaves only once a person has let it go on."""
    home.run("backup", str(tmp_path / "kept"))
    restored = Home(tmp_path / "restored")
    told = home.run("restore", str(tmp_path / "kept"), str(restored.folder), expect=1)
    assert f"{REFERENCE} was not sent then" in told.stdout
    with relay_process(tmp_path, "relay") as relay:
        restored.use(relay)
        refused = restored.run("circular", "send", REFERENCE, "--expect", str(LETTERS), expect=2)
        assert "it is held" in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert not relay.letters()
        restored.run("circular", "resume", REFERENCE, expect=4)
        restored.run("circular", "send", REFERENCE, "--expect", str(LETTERS))
        assert len(taken(relay)) == LETTERS


def test_references_go_on_after_the_last_that_was_used(home: Home, tmp_path: Path) -> None:
    """A restored home does not give a reference anew: it asks once for the last one."""
    home.run("backup", str(tmp_path / "kept"))
    restored = Home(tmp_path / "restored")
    home.run("restore", str(tmp_path / "kept"), str(restored.folder), expect=1)
    draft = restored.folder / "circulars" / "another"
    shutil.copytree(next(path.parent for path in restored.folder.rglob("circular.toml")), draft)
    asked = restored.run("circular", "new", str(draft), expect=2)
    assert "--last-reference" in asked.stderr
    wrong = restored.run("circular", "new", str(draft), "--last-reference", "7", expect=2)
    assert "'7' is no reference of this home" in wrong.stderr
    assert "TEST/2006/008" in restored.run("circular", "new", str(draft), "--last-reference", "TEST/2006/007").stdout


def test_secrets_and_files_come_back_as_they_were(home: Home, tmp_path: Path) -> None:
    """Passwords, templates and folders of circulars are in a backup, readable by their owner only, there and after a restore."""
    (home.folder / "relay.password").write_text("geheim\n", "utf-8")
    (home.folder / "relay.password").chmod(0o600)
    before = {
        path.relative_to(home.folder): path.read_bytes()
        for path in home.folder.rglob("*")
        if path.is_file() and not path.name.startswith("chancery.") and "journal" not in path.parts
    }
    home.run("backup", str(tmp_path / "kept"))
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "kept").rglob("*")} == {0}
    home.run("restore", str(tmp_path / "kept"), str(tmp_path / "restored"), expect=1)
    after = {name: (tmp_path / "restored" / name).read_bytes() for name in before}
    assert after == before
    assert stat.S_IMODE((tmp_path / "restored" / "relay.password").stat().st_mode) == 0o600


def _cut(kept: Path) -> None:
    rows = kept / "rows.sqlite3"
    rows.write_bytes(rows.read_bytes()[:-4096])


def _flip(kept: Path) -> None:
    file = kept / "home" / "chancery.toml"
    file.write_bytes(file.read_bytes().replace(b"Secretariat", b"Secretariot"))


def _add(kept: Path) -> None:
    (kept / "home" / "more.txt").write_text("not of the backup", "utf-8")


def _newer(kept: Path) -> None:
    file = kept / "manifest.json"
    said = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(said | {"schema": "9999"}), "utf-8")


def _climb(kept: Path) -> None:
    file = kept / "manifest.json"
    said = json.loads(file.read_text("utf-8"))
    said["files"]["home/../../escaped"] = said["files"]["home/chancery.toml"]
    (kept.parent / "escaped").write_bytes((kept / "home" / "chancery.toml").read_bytes())
    file.write_text(json.dumps(said), "utf-8")


def _strip(kept: Path) -> None:
    (kept / "manifest.json").unlink()


def _garble(kept: Path) -> None:
    (kept / "manifest.json").write_text('{"format": 1, "files": []}', "utf-8")


@pytest.mark.parametrize("harm", [_cut, _flip, _add, _newer, _climb, _strip, _garble])
def test_a_backup_that_was_touched_is_refused(home: Home, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """Cut, changed, added to, of another schema, climbing out, without or with a damaged manifest: one line, and nothing is made."""
    home.run("backup", str(tmp_path / "kept"))
    harm(tmp_path / "kept")
    refused = home.run("restore", str(tmp_path / "kept"), str(tmp_path / "restored"), expect=None)
    assert refused.returncode in {2, 3}, refused.stdout
    assert refused.stderr.count("\n") == 1
    assert "kept" in refused.stderr
    assert not (tmp_path / "restored").exists()
    assert not list(tmp_path.glob(".*.part"))


def test_no_backup_over_something_else(home: Home, tmp_path: Path) -> None:
    """A folder that holds something, one in the home, and a home that is there already are refused; nothing in them changes."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").touch()
    assert "the folder holds other things" in home.run("backup", str(full), expect=2).stderr
    assert "it is in the home" in home.run("backup", str(home.folder / "kept"), expect=2).stderr
    home.run("backup", str(tmp_path / "kept"))
    assert "holds other things" in home.run("restore", str(tmp_path / "kept"), str(home.folder), expect=2).stderr
    assert [path.name for path in full.iterdir()] == ["mine"]
    inside = home.run("restore", str(tmp_path / "kept"), str(tmp_path / "kept" / "home2"), expect=2)
    assert "it is in the backup" in inside.stderr
    assert not (tmp_path / "kept" / "home2").exists()
    assert "there is no backup" in home.run("restore", str(tmp_path / "none"), str(tmp_path / "new"), expect=2).stderr


def test_from_one_database_to_the_other_and_back(postgres: Server, home: Home, tmp_path: Path) -> None:
    """A home of SQLite restored to PostgreSQL, and from there to SQLite, tells the same report, and its register fits."""
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run("circular", "send", REFERENCE, "--expect", str(LETTERS))
    told = home.report(REFERENCE)
    home.run("backup", str(tmp_path / "kept"))
    name = postgres.new()
    on_postgres, back = Home(tmp_path / "pg"), Home(tmp_path / "back")
    home.run("restore", str(tmp_path / "kept"), str(on_postgres.folder), "--database", postgres.url(name))
    assert on_postgres.report(REFERENCE) == told
    on_postgres.run("register", "verify")
    on_postgres.run("backup", str(tmp_path / "again"))
    given = ("--database", "sqlite:///chancery.sqlite3")
    on_postgres.run("restore", str(tmp_path / "again"), str(back.folder), *given)
    assert back.report(REFERENCE) == told
    back.run("register", "verify")
    occupied = home.run(
        "restore", str(tmp_path / "kept"), str(tmp_path / "x"), "--database", postgres.url(name), expect=2
    )
    assert "holds a home already" in occupied.stderr
    postgres.drop(name)

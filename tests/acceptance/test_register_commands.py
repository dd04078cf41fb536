"""`chancery register head` and `register verify`, run as a person runs them."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import chancery

SHEET = "organization,kind,state,seat,address\nOffice,ngo,,,a@x.example\nBureau,ngo,,,b@x.example\n"


def _run(home: Path, *arguments: str | Path, code: int = 0) -> str:
    done = chancery(*arguments, cwd=home)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code == 2 else done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose register has two entries, and `heads.json`, its heads as they were saved."""
    folder = tmp_path_factory.mktemp("made") / "home"
    assert chancery("init", folder, cwd=folder.parent).returncode == 0
    for rows in (SHEET, SHEET.replace("a@x", "c@x")):
        (folder / "sheet.csv").write_text(rows, encoding="utf-8")
        _run(folder, "contacts", "import", "sheet.csv")
    (folder / "heads.json").write_text(_run(folder, "register", "head", "--format", "json"), encoding="utf-8")
    return folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to tamper with."""
    return Path(shutil.copytree(made, tmp_path / "home"))


def _tamper(home: Path, *statements: str) -> None:
    (file,) = home.glob("*.sqlite3")
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_saved_head_proves_a_register_that_goes_on(home: Path) -> None:
    """An untouched register fits the heads that were saved, also once it has grown, and says so in one line."""
    assert json.loads((home / "heads.json").read_text())[0]["chain"] == "home"
    assert "all as they were written" in _run(home, "register", "verify", "--against", "heads.json")
    (home / "sheet.csv").write_text(SHEET + "Third,ngo,,,d@x.example\n", encoding="utf-8")
    _run(home, "contacts", "import", "sheet.csv")
    assert "all as they were written" in _run(home, "register", "verify", "--against", "heads.json")
    assert json.loads(_run(home, "register", "verify", "--format", "json")) == []


def test_a_cut_tail_is_found_against_the_saved_heads(home: Path) -> None:
    """A tail cut together with its head passes by itself; against the saved heads the command names it and says 1."""
    _tamper(
        home,
        "DELETE FROM register_link WHERE seq = (SELECT max(seq) FROM register_link)",
        "UPDATE register_head SET (seq, hash) = (SELECT seq, hash FROM register_link ORDER BY seq DESC LIMIT 1)",
    )
    assert "all as they were written" in _run(home, "register", "verify")
    said = _run(home, "register", "verify", "--against", "heads.json", code=1)
    assert "home link 2: the saved head speaks of link 2, and the last link is 1: its tail was cut" in said
    (found,) = json.loads(_run(home, "register", "verify", "--against", "heads.json", "--format", "json", code=1))
    assert (found["chain"], found["link"]) == ("home", 2)


def test_a_changed_entry_is_named(home: Path) -> None:
    """An entry that was changed is named by its number, without any saved heads."""
    _tamper(home, "UPDATE register_link SET by = 'somebody else' WHERE seq = 1")
    assert "home link 1: its content (contacts-changed) was changed" in _run(home, "register", "verify", code=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read"),
        (b"", "holds no saved heads"),
        (b"{", "holds no saved heads"),
        (b"\xff\xfe", "holds no saved heads"),
        (b"{}", "holds no saved heads"),
        (b"[]", "holds no saved heads"),
        (b'"home"', "holds no saved heads"),
        (b'[{"chain": "home"}]', "holds no saved heads"),
        (b'[{"chain": "home", "seq": "x", "hash": "y"}]', "holds no saved heads"),
        (b'[{"chain": ["home"], "seq": 1, "hash": "y"}]', "holds no saved heads"),
        (b'[{"chain": "home", "seq": 1, "hash": 5}]', "holds no saved heads"),
    ],
)
def test_a_file_that_holds_no_heads_is_refused(made: Path, tmp_path: Path, content: bytes | None, said: str) -> None:
    """A missing or wrong file of heads is one line with the remedy, and never a proof of anything."""
    if content is not None:
        (tmp_path / "wrong.json").write_bytes(content)
    told = _run(made, "register", "verify", "--against", tmp_path / "wrong.json", code=2)
    assert said in told
    assert "wrong.json" in told
    assert len(told.splitlines()) == 1

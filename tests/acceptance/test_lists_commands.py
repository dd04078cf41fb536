"""The commands for contacts, roll and audiences, run as a person runs them."""

import json
from pathlib import Path

import pytest

from mailer.cli import main
from mailer.demo.make_sheet import SHEET
from tests.support.processes import chancery

BAD = "organization,kind,state,seat,address\nMission,mission,Norwey,Geneva,a@x\nOffice,ngo,,,b@x.example\n"
GOOD = BAD.replace("Norwey", "Norway").replace("a@x", "a@x.example")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home made by `init`."""
    folder = tmp_path / "home"
    assert chancery("init", folder, cwd=tmp_path).returncode == 0
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A home that no test changes."""
    folder = tmp_path_factory.mktemp("made") / "home"
    assert chancery("init", folder, cwd=folder.parent).returncode == 0
    return folder


def _run(home: Path, *arguments: str | Path, code: int = 0) -> str:
    done = chancery(*arguments, cwd=home)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def test_from_an_empty_sheet_to_a_history(home: Path):
    """A sheet is started, filled, tried, imported, listed, exported, and its import is in the register."""
    _run(home, "contacts", "starter", "s.xlsx")
    assert "no rows under its headings" in _run(home, "contacts", "import", "s.xlsx")
    (home / "s.csv").write_text(BAD, encoding="utf-8")
    said = _run(home, "contacts", "import", "s.csv", code=2)
    assert "row 2, column state: no State is called 'Norwey'. Perhaps Norway (NOR) is meant." in said
    assert "row 2, column address: 'a@x' is not an e-mail address" in said
    assert said.splitlines()[-1] == (
        "chancery: s.csv: 2 things are to mend; nothing was stored. Mend them in the sheet, then import it again."
    )
    assert json.loads(_run(home, "contacts", "list", "--format", "json")) == []
    (home / "s.csv").write_text(GOOD, encoding="utf-8")
    assert "2 added" in _run(home, "contacts", "import", "s.csv", "--dry-run")
    assert json.loads(_run(home, "contacts", "list", "--format", "json")) == []
    assert "Done: 2 added" in _run(home, "--by", "A. Clerk", "contacts", "import", "s.csv")
    told = json.loads(_run(home, "contacts", "import", "s.csv", "--format", "json"))
    assert (told["counts"]["left alone"], told["stored"]) == (2, True)
    shown = json.loads(_run(home, "contacts", "show", "mission", "--format", "json"))
    assert [box["address"] for box in shown["mailboxes"]] == ["a@x.example"]
    history = json.loads(_run(home, "contacts", "history", shown["id"], "--format", "json"))
    assert [(one["what"], one["by"]) for one in history] == [
        ("organization-added", "A. Clerk"),
        ("contact-added", "A. Clerk"),
    ]
    _run(home, "contacts", "export", "e.xlsx")
    assert "2 left alone" in _run(home, "contacts", "import", "e.xlsx")
    assert "already" in _run(home, "contacts", "export", "e.xlsx", code=2)
    _run(home, "contacts", "check")
    assert (home / "e.xlsx").stat().st_mode & 0o077 == 0
    _run(home, "register", "verify")


def test_roll_and_audience(home: Path):
    """The roll counts by both ways, the home's own events change it, and an audience says who, why, and who has nobody."""
    _run(home, "contacts", "import", SHEET)
    counts = json.loads(_run(home, "roll", "count", "--as-of", "2006-07-07", "--format", "json"))
    assert [(one["parties"], one["not_parties"]) for one in counts] == [(148, 48), (151, 45)]
    rule = "states-parties@geneva else new-york"
    rows = json.loads(_run(home, "audience", "show", rule, "--as-of", "2006-07-07", "--format", "json"))["rows"]
    assert {what: sum(row["what"] == what for row in rows) for what in ("in", "no addressee")} == {
        "in": 144,
        "no addressee": 4,
    }
    (home / "roll-events.csv").write_text(
        "iso3,event,date,source\nUSA,deposited,2000-01-05,ours\nUSA,in-force,2000-07-01,ours\n", encoding="utf-8"
    )
    rows = json.loads(_run(home, "audience", "show", rule, "--as-of", "2006-07-07", "--format", "json"))["rows"]
    assert "State Party since 1 July 2000; mission in Geneva" in {row["why"] for row in rows if row["state"] == "USA"}
    differing = json.loads(
        _run(
            home,
            "audience",
            "show",
            "states-parties@geneva",
            "--as-of",
            "2006-07-07",
            "--diff",
            "2002-06-19",
            "--format",
            "json",
        )
    )["rows"]
    assert "in on 2006-07-07" in {row["what"] for row in differing}
    assert len(json.loads(_run(home, "roll", "show", "--format", "json"))) == 197
    assert "Poland" in _run(home, "roll", "show", "--state", "poland")
    _run(home, "roll", "check")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("contacts", "import", "none.xlsx"), "none.xlsx: there is no such file"),
        (("contacts", "import", "chancery.toml"), "chancery.toml: "),
        (("contacts", "import", "circulars"), "circulars: it is a folder"),
        (("contacts", "show", "Nobody"), "no organization is called 'Nobody'"),
        (("contacts", "list", "--state", "Atlantis"), "no State is called 'Atlantis'"),
        (("contacts", "list", "--list", "friends"), "there is no list 'friends'"),
        (("contacts", "export", "x.pdf"), "sheets are written as csv or xlsx"),
        (("contacts", "starter", "x"), "sheets are written as csv or xlsx"),
        (("roll", "count", "--as-of", "7.7.2006"), "'7.7.2006' is not a day"),
        (("audience", "show", "list:friends"), "there is no list 'friends'"),
        (("audience", "show", "parties"), "rule 'parties'"),
    ],
)
def test_wrong_input_is_one_line(made: Path, capsys, monkeypatch, arguments: tuple[str, ...], said: str):
    """Wrong input of every kind is refused with exit code 2, and the last line says what, where and what to do."""
    monkeypatch.chdir(made)
    assert main(list(arguments)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("chancery: ")
    assert said in last


def test_names_are_printed_as_they_stand(home: Path):
    """Nothing in a name is taken for an emoji or for markup; States without a mailbox are told in one finding."""
    name = "Friends :smile: [bold]x[/] :x:"
    (home / "s.csv").write_text(f"organization,kind,address\n{name},ngo,a@x.example\n", encoding="utf-8")
    _run(home, "contacts", "import", "s.csv")
    assert name in _run(home, "contacts", "list")
    checked = _run(home, "contacts", "check")
    assert "197 States" in checked
    assert checked.count("no mission or ministry with a mailbox is known") == 1
    assert len(json.loads(_run(home, "contacts", "check", "--format", "json"))) == 197


def test_a_bad_roll_of_the_home_is_named(home: Path):
    """A wrong row of the home's events stops every command that needs the roll, with file and line."""
    (home / "roll-events.csv").write_text("iso3,event,date,source\nFRA,joined,2000-01-01,x\n", encoding="utf-8")
    assert "roll-events.csv line 2: unknown event 'joined'" in _run(home, "roll", "check", code=2)

"""`chancery circular rehearse`: the report that would come, every letter's bytes, and nothing of it in the real home."""

import email
import email.policy
import json
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mailer.engine.lock import HomeLock
from mailer.rehearse import MARK
from tests.support import office
from tests.support.processes import environment
from tests.support.readonly import read_only
from tests.support.rig import Home, relay_process, wait_for

REFERENCE = "TEST/2006/001"
LETTERS = 12
FAULTS = """
[[fault]]                      # a dead mailbox
at = "rcpt"
to = "office001@*"
reply = "550 5.1.1 No such mailbox"

[[fault]]                      # "later" for two hours
at = "rcpt"
to = "office002@*"
reply = "451 4.7.1 Come back later"
for = "2h"

[[fault]]                      # taken, and the connection breaks before we hear so
at = "reply"
to = "office003@*"
do = "drop"
"""
SILENT = '[[fault]]\nat = "rcpt"\nto = "office004@*"\ndo = "stall"\n'
DRAFT = {"reference": "TEST/2006/002", "folder": "second"}


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an approved circular and a draft, to be copied."""
    folder = tmp_path_factory.mktemp("rehearse") / "home"
    home = office.make(folder, LETTERS, settings="[calendar]\ntimezone = 'UTC'")
    draft = folder / "circulars" / DRAFT["folder"]
    shutil.copytree(folder / "circulars" / "meeting", draft)
    home.run("circular", "new", str(draft))
    return folder


@pytest.fixture
def home(approved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of it for one test, with a folder of its own for scratch."""
    shutil.copytree(approved, tmp_path / "home")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    return Home(tmp_path / "home", {"TMPDIR": str(tmp_path / "scratch")})


def scratch(home: Home) -> list[Path]:
    """What is left in the folder for scratch."""
    return list(Path(home.variables["TMPDIR"]).iterdir())


def rows(home: Home) -> list[str]:
    """Every row of the database, as SQL."""
    connection = sqlite3.connect(home.folder / "chancery.sqlite3")
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def faults(tmp_path: Path, text: str = FAULTS) -> list[str]:
    """The options that name a file of faults."""
    file = tmp_path / "faults.toml"
    file.write_text(text, encoding="utf-8")
    return ["--faults", str(file)]


def states(report: dict[str, Any]) -> dict[str, str]:
    """The state of each address in a report."""
    return {one["address"]: one["state"] for letter in report["letters"] for one in letter["recipients"]}


@pytest.mark.parametrize("ident", [REFERENCE, DRAFT["reference"]], ids=["approved", "draft"])
def test_nothing_of_it_touches_the_real_home(home: Home, tmp_path: Path, ident: str) -> None:
    """Rows, journal, references and files of the home are as they were; only the letters' folder is new, and no scratch is left."""
    before = rows(home)
    files = {path.name for path in home.folder.iterdir()}
    done = home.run("circular", "rehearse", ident, *faults(tmp_path), expect=1)
    assert rows(home) == before
    assert {path.name for path in home.folder.iterdir()} - files == {"rehearsals"}
    assert scratch(home) == []
    assert "no letter has left" in done.stdout
    home.run("register", "verify")


def test_the_report_is_the_one_that_comes(home: Home, tmp_path: Path) -> None:
    """With the same faults, the sending in earnest comes to what the rehearsal foretold; waits that it went through are settled."""
    foretold = json.loads(
        home.run("circular", "rehearse", REFERENCE, *faults(tmp_path), "--format", "json", expect=1).stdout
    )
    with relay_process(tmp_path, "relay", FAULTS) as relay:
        home.use(relay)
        home.run("circular", "send", REFERENCE, "--expect", str(LETTERS), expect=4)
    real = home.report(REFERENCE)
    deferred = {address for address, state in states(real).items() if state == "deferred"}
    assert deferred == {"office002@org.example"}
    assert states(foretold) == states(real) | dict.fromkeys(deferred, "accepted")
    assert foretold["title"] == f"{MARK}{real['title']}"
    assert foretold["counts"]["refused"] == foretold["counts"]["uncertain"] == 1
    (put_off,) = [letter for letter in foretold["letters"] if letter["recipients"][0]["address"] in deferred]
    assert put_off["attempts"] > 2


def test_every_letter_is_left_as_it_would_leave(home: Home, tmp_path: Path) -> None:
    """One .eml per letter, readable by its owner only; those of an approved circular have the Message-IDs of its account."""
    home.run("circular", "rehearse", REFERENCE, *faults(tmp_path), expect=1)
    files = sorted((home.folder / "rehearsals" / "TEST-2006-001").iterdir())
    ids = []
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        assert not message.defects
        ids.append(message["Message-ID"])
    assert ids == [letter["message_id"] for letter in home.report(REFERENCE)["letters"]]


def test_no_folder_is_written_over(home: Home, tmp_path: Path) -> None:
    """A second rehearsal takes another name; a folder named with --out that holds something is refused before anything is done."""
    for _ in range(2):
        home.run("circular", "rehearse", REFERENCE)
    names = {path.name for path in (home.folder / "rehearsals").iterdir()}
    assert names == {"TEST-2006-001", "TEST-2006-001-2"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    done = home.run("circular", "rehearse", REFERENCE, "--out", str(tmp_path / "mine"), expect=2)
    assert "mine" in done.stderr
    assert "--out" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    home.run("circular", "rehearse", REFERENCE, "--out", str(tmp_path / "new" / "one"))
    assert len(list((tmp_path / "new" / "one").iterdir())) == LETTERS


@pytest.mark.parametrize(
    ("per_minute", "words"),
    [
        ("0", "set no pace"),
        ("6", "about 2 minutes at 6 a minute"),
        ("1", "about 11 minutes at 1 a minute"),
        ("600", "less than a minute at 600 a minute"),
    ],
)
def test_the_duration_is_that_of_the_pace(home: Home, per_minute: str, words: str) -> None:
    """Twelve letters take as long as the relay's limit makes them, on a clock that runs fast; the check of a draft says the same."""
    home.variables["CHANCERY_RELAYS__MAIN__PER_MINUTE"] = per_minute
    assert words in home.run("circular", "rehearse", REFERENCE).stdout
    checked = home.run("circular", "check", DRAFT["reference"]).stdout
    assert (f"If they left now: 12 letters, {words}; ready at about" in checked) is (per_minute != "0")


def test_what_stops_an_approval_stops_the_rehearsal(home: Home) -> None:
    """A draft with a fault is not rehearsed: the same lines as the approval has, exit 1, and no folder."""
    draft = home.folder / "circulars" / DRAFT["folder"] / "letter.en.md"
    draft.write_text("Dear {{ nobody_knows }}.\n")
    home.run("circular", "update", DRAFT["reference"], "--folder", str(home.folder / "circulars" / DRAFT["folder"]))
    approval = home.run("circular", "approve", DRAFT["reference"], by="bert", expect=1)
    done = home.run("circular", "rehearse", DRAFT["reference"], expect=1)
    assert "nobody_knows" in done.stdout
    assert done.stdout.splitlines()[:-1] == approval.stdout.splitlines()[:-1]
    assert not (home.folder / "rehearsals").exists()


def test_a_waivable_finding_can_be_set_aside_for_a_rehearsal(home: Home) -> None:
    """What a person would waive at the approval stops a rehearsal too; --waive sets it aside there alone."""
    file = home.folder / "circulars" / DRAFT["folder"] / "circular.toml"
    file.write_text(file.read_text().replace('["organizations"]', '["organizations", "FRA@geneva"]'))
    home.run("circular", "update", DRAFT["reference"], "--folder", str(home.folder / "circulars" / DRAFT["folder"]))
    stopped = home.run("circular", "rehearse", DRAFT["reference"], expect=1)
    assert "approve --waive" in stopped.stdout
    before = rows(home)
    home.run(*stopped.stdout.splitlines()[-1].split("chancery ")[1].split())
    assert rows(home) == before
    assert "no-such" in home.run("circular", "rehearse", DRAFT["reference"], "--waive", "no-such", expect=2).stderr


def test_it_works_while_another_process_sends(home: Home) -> None:
    """The lock of the home is not asked for."""
    lock = HomeLock(home.folder)
    lock.acquire(what="serve", since="2026-01-01T00:00:00", by="anna")
    try:
        home.run("circular", "rehearse", REFERENCE)
    finally:
        lock.release()


def test_a_folder_that_can_not_be_made(home: Home, tmp_path: Path) -> None:
    """Told in one line before anything is rehearsed; a folder elsewhere does."""
    home.run("circular", "rehearse", REFERENCE)
    with read_only(home.folder / "rehearsals"):
        done = home.run("circular", "rehearse", REFERENCE, expect=3)
        assert "--out" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        home.run("circular", "rehearse", REFERENCE, "--out", str(tmp_path / "letters"))
    assert len(list((tmp_path / "letters").iterdir())) == LETTERS
    assert scratch(home) == []


def test_only_what_has_not_left_is_rehearsed(home: Home, tmp_path: Path) -> None:
    """A circular that is sent is refused in one line; so is one that does not exist."""
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run("circular", "send", REFERENCE, "--expect", str(LETTERS))
    done = home.run("circular", "rehearse", REFERENCE, expect=2)
    assert "it is sent already" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    home.run("circular", "rehearse", "TEST/2006/999", expect=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[fault]]\nat = "rctp"\nreply = "550 no"', ["faults.toml line 1, fault 1", "rctp"]),
        ("[[fault]\n", ["faults.toml line 1"]),
        ("\x00", ["faults.toml"]),
    ],
)
def test_a_wrong_file_of_faults(home: Home, tmp_path: Path, text: str, words: list[str]) -> None:
    """Told in one line with its place; nothing is rehearsed."""
    done = home.run("circular", "rehearse", REFERENCE, *faults(tmp_path, text), expect=2)
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr
    assert not (home.folder / "rehearsals").exists()


def test_a_relay_that_is_not_to_be_trusted(home: Home, tmp_path: Path) -> None:
    """A wrong certificate ends the rehearsal as it would hold the sending: exit 3, and the words say which."""
    home.variables |= {"CHANCERY_RELAYS__MAIN__TLS": "starttls", "CHANCERY_RELAYS__MAIN__USERNAME": "circulars"}
    home.variables["CHANCERY_RELAYS__MAIN__PASSWORD_FILE"] = "not-there"
    home.run("circular", "rehearse", REFERENCE)  # the real password is not needed, nor looked at
    flaw = '[[fault]]\nat = "starttls"\ndo = "certificate"\nflaw = "expired"\n'
    done = home.run("circular", "rehearse", REFERENCE, *faults(tmp_path, flaw), expect=3)
    assert "Nothing more would leave: " in done.stderr
    assert "certificate" in done.stderr


def test_a_relay_that_never_comes_back(home: Home, tmp_path: Path) -> None:
    """Where waiting is no use it ends by itself: exit 4, and all letters as not yet sent."""
    home.variables |= {f"CHANCERY_DELIVERY__{name}": "3600" for name in ("LONGEST_RETRY", "GIVE_UP_AFTER")}
    done = home.run(
        "circular",
        "rehearse",
        REFERENCE,
        *faults(tmp_path, '[[fault]]\nat = "connect"\nreply = "421 4.3.2 Closed"\n'),
        expect=4,
    )
    assert f"{LETTERS} addresses would still wait" in done.stderr
    assert len(list((home.folder / "rehearsals" / "TEST-2006-001").iterdir())) == LETTERS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_nothing(home: Home, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it at once with 130; scratch and letters are gone."""
    before = rows(home)
    with _under_way(home, tmp_path) as process:
        process.send_signal(number)
        _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert "Traceback" not in words
    assert scratch(home) == []
    assert not (home.folder / "rehearsals").exists()
    assert rows(home) == before


def test_killed_it_leaves_a_folder_that_the_next_one_clears_away(home: Home, tmp_path: Path) -> None:
    """After kill -9 the home is as it was, and what is left in scratch goes with the next rehearsal."""
    before = rows(home)
    with _under_way(home, tmp_path) as process:
        process.kill()
        process.communicate(timeout=60)
    assert rows(home) == before
    assert len(scratch(home)) == 1
    home.run("circular", "rehearse", REFERENCE)
    assert scratch(home) == []


def _under_way(home: Home, tmp_path: Path) -> "subprocess.Popen[str]":
    """A rehearsal in a process of its own, come to the letter at which its relay falls silent."""
    process = subprocess.Popen(
        home.command("circular", "rehearse", REFERENCE, *faults(tmp_path, SILENT)),
        env=environment(**home.variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def begun() -> bool:
        assert process.poll() is None, process.communicate()
        return any(record.stat().st_size for each in scratch(home) for record in each.glob("taken.jsonl"))

    wait_for(begun, "the first letter")
    return process

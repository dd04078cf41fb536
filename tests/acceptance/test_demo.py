"""`chancery demo`: two circulars and a reminder through real SMTP, and a report that says truly what became of each letter."""

import email
import email.policy
import hashlib
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.postgres import PASSWORD, Server
from tests.support.processes import chancery

MEMO, LETTER, REMINDER = "APM-2002-001", "APM-2006-001", "APM-2006-001-R1"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder that the demonstration leaves, and what it printed."""
    place = tmp_path_factory.mktemp("demo")
    return place / "demo", chancery("demo", cwd=place)


def _report(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "reports" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _taken(folder: Path) -> list[dict[str, Any]]:
    """What the relay took, from its own record."""
    lines = [json.loads(line) for line in (folder / "relay.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == "letter" and line["taken"]]


def _states(report: dict[str, Any], role: str) -> Counter[str]:
    return Counter(
        letter["state_iso3"] for letter in report["letters"] if letter["role"] == role and letter["state_iso3"]
    )


def test_it_ends_well_and_says_where_to_look(played: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """It exits 0 and its last three lines say where to look and what to try next; what they name works."""
    folder, done = played
    assert (done.returncode, done.stderr) == (0, "")
    where, closer, own = done.stdout.rstrip().splitlines()[-3:]
    assert "reports/*.html" in where
    assert "chancery init" in own
    first, second = (line.strip() for line in closer.removeprefix("Look closer:").split(";"))
    for command in (first, second):
        looked = chancery(*command.split()[1:], cwd=folder.parent)
        assert (looked.returncode, looked.stderr) == (0, ""), command
        assert looked.stdout


@pytest.mark.parametrize(("name", "parties", "others"), [(MEMO, 122, 73), (LETTER, 148, None)])
def test_who_gets_them_is_computed(
    played: tuple[Path, subprocess.CompletedProcess[str]], name: str, parties: int, others: int | None
) -> None:
    """Every State Party of the day, and every other State of circular A, has one letter or is named as having no addressee."""
    report = _report(played[0], name)
    missing = Counter(one["audience"] for one in report["not_addressed"])
    to, cc = _states(report, "to"), _states(report, "cc")
    assert len(to) + missing["states-parties@geneva"] == parties
    assert set(to.values()) == {1}
    if others is not None:
        assert len(cc) + missing["states-not-parties@geneva"] == others
    assert not set(to) & set(cc)
    assert not {one["state_iso3"] for one in report["not_addressed"]} & (set(to) | set(cc))


def test_each_fault_is_told_truly(played: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Greylisted: taken at the second try. Dead beside good: one refused, one taken. Full: taken in the end. Dropped: in doubt."""
    letters = {letter["state_iso3"]: letter for letter in _report(played[0], MEMO)["letters"] if letter["state_iso3"]}

    def told(iso3: str) -> dict[str, str]:
        return {one["address"].split(".")[0]: one["state"] for one in letters[iso3]["recipients"]}

    for iso3 in ("KEN", "JPN", "PER", "NOR"):
        assert set(told(iso3).values()) == {"accepted"}
        assert letters[iso3]["attempts"] == 2
    assert (told("BRA"), letters["BRA"]["state"]) == ({"mission": "accepted", "disarmament": "refused"}, "partly")
    (dead,) = [one for one in letters["BRA"]["recipients"] if one["state"] == "refused"]
    assert dead["reply"] == "550 5.1.1 No such mailbox here"
    assert letters["FJI"]["state"] == "refused"
    assert letters["ZMB"]["state"] == "accepted"
    assert letters["ZMB"]["attempts"] > 3
    assert letters["CRI"]["state"] == "uncertain"


def test_the_account_is_what_the_relay_has(played: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """No address has a circular twice; every address called accepted is in the relay's record, with that letter's Message-ID."""
    taken = _taken(played[0])
    having = Counter((line["message_id"], address) for line in taken for address, code in line["rcpts"] if code == 250)
    assert set(having.values()) == {1}
    for name in (MEMO, LETTER, REMINDER):
        for letter in _report(played[0], name)["letters"]:
            for one in letter["recipients"]:
                there = having[letter["message_id"], one["address"]] == 1
                if one["state"] == "accepted":
                    assert there
                elif one["state"] != "uncertain":
                    assert not there


def test_every_letter_is_left_as_it_was_sent(played: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The .eml of each letter is octet for octet what the relay has, and any mail program reads it."""
    folder = played[0]
    have = {line["sha256"] for line in _taken(folder)}
    files = sorted((folder / "letters").rglob("*.eml"))
    sent = sum(
        letter["sent_at"] is not None
        for name in (MEMO, LETTER, REMINDER)
        for letter in _report(folder, name)["letters"]
    )
    assert len(files) >= sent > 400
    for file in files:
        data = file.read_bytes()
        assert hashlib.sha256(data).hexdigest() in have
        message = email.message_from_bytes(data, policy=email.policy.default)
        body = message.get_body(("plain",))
        assert not message.defects
        assert body is not None
        assert body.get_content().strip()
    names = [part.get_filename() for part in message.iter_attachments()]  # type: ignore[attr-defined]
    assert names == [] or len(names) >= 1


def test_the_reminder_goes_to_exactly_those_who_have_not_answered(
    played: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """Those who have the letter and have not answered are reminded, nobody else; the text names the organization and its State."""
    folder = played[0]
    letters = _report(folder, LETTER)["letters"]
    due = {one["organization"] for one in letters if one["answer"] is None and one["state"] in {"accepted", "partly"}}
    answered = {one["organization"] for one in letters if one["answer"]}
    reminded = {one["organization"] for one in _report(folder, REMINDER)["letters"]}
    assert reminded == due
    assert len(answered) > 30
    assert not reminded & answered
    english = min((folder / "letters" / REMINDER).glob("*-AUS-en.eml"))
    body = email.message_from_bytes(english.read_bytes(), policy=email.policy.default).get_body(("plain",))
    assert body is not None
    words = " ".join(body.get_content().split())
    assert words.count("Permanent Mission of Australia") >= 1
    assert words.replace("Permanent Mission of Australia", "").count("Australia") >= 1


def test_on_postgresql_it_is_the_same(
    played: tuple[Path, subprocess.CompletedProcess[str]], postgres: Server, tmp_path: Path
) -> None:
    """With its rows in PostgreSQL it tells the same of every letter; its password is in a file apart; used, the database is refused."""

    def told(folder: Path) -> dict[str, Any]:
        return {
            name: [
                (
                    one["organization"],
                    one["state"],
                    one["answer"],
                    [(to["address"], to["state"]) for to in one["recipients"]],
                )
                for one in _report(folder, name)["letters"]
            ]
            for name in (MEMO, LETTER, REMINDER)
        }

    name = postgres.new()
    given = ("demo", "--database", postgres.url(name, login=f"guarded:{quote(PASSWORD)}"))
    done = chancery(*given, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert told(tmp_path / "demo") == told(played[0])
    assert not list((tmp_path / "demo").glob("*.sqlite3*"))
    assert (tmp_path / "demo" / "database.password").read_text("utf-8") == f"{PASSWORD}\n"
    assert quote(PASSWORD) not in (tmp_path / "demo" / "chancery.toml").read_text("utf-8")
    again = chancery(*given, cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "it holds a home already" in again.stderr
    assert (tmp_path / "demo" / "reports").is_dir()
    postgres.drop(name)


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds something else is refused in one line, and nothing in it is touched."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("mine")
    done = chancery("demo", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["mine.txt"]

"""`chancery circular` as a coordinator types it: from a folder to an approved circular, and every way it can go wrong."""

import asyncio
import email
import email.policy
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mailer.database import Database
from mailer.homes import DATABASE_FILE
from tests.support.drafting_desk import Folder, seed
from tests.support.processes import chancery

SETTINGS = """\
[relays.main]
host = "127.0.0.1"
port = 2525
tls = "none"

[senders.secretariat]
name = { en = "The Secretariat", fr = "Le Secrétariat" }
address = "circulars@secretariat.example"

[issuers.president]
name = "Ann Example"

[approval]
reference = "AUS/{year}/{number:03}"
"""


async def _seed(home: Path) -> None:
    database = Database(f"sqlite:///{home / DATABASE_FILE}")
    await seed(database)
    await database.close()


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with contacts, and a circular's folder beside it; tests get copies."""
    tmp_path = tmp_path_factory.mktemp("circulars")
    made = tmp_path / "home"
    made.mkdir(mode=0o700)
    (made / "chancery.toml").write_text(SETTINGS, "utf-8")
    (made / "chancery.toml").chmod(0o600)
    done = chancery("db", "upgrade", cwd=made)
    assert done.returncode == 0, done.stderr
    asyncio.run(_seed(made))
    folder = Folder(tmp_path / "circular")
    folder.toml = re.sub(r"date = 2006-07-07", "date = 2099-07-07", folder.toml)
    folder.toml = folder.toml.replace("2006", "2099")
    folder.write()
    return tmp_path


@pytest.fixture
def home(pattern: Path, tmp_path: Path) -> Path:
    """A copy of the pattern."""
    shutil.copytree(pattern, tmp_path, dirs_exist_ok=True)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def drafted(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a draft, for what must not change anything."""
    tmp_path = tmp_path_factory.mktemp("drafted")
    shutil.copytree(pattern, tmp_path, dirs_exist_ok=True)
    assert circular(tmp_path / "home", "new", "../circular").returncode == 0
    return tmp_path / "home"


def circular(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One `chancery circular` command in the home."""
    return chancery("--by", "ann", "circular", *arguments, cwd=home)


def test_road_of_a_coordinator(home: Path):
    """new, list, check, preview, show, update and approve, in the order in which they are typed."""
    made = circular(home, "new", "../circular")
    assert made.returncode == 0, made.stderr
    assert "AUS/2099/001" in made.stdout
    listed = json.loads(circular(home, "list", "--format", "json").stdout)
    assert [(row["reference"], row["state"], row["letters"]) for row in listed] == [("AUS/2099/001", "draft", 0)]

    checked = circular(home, "check", "1")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "4 letters made" in checked.stdout

    text = circular(home, "preview", "AUS/2099/001", "--for", "France")
    assert text.returncode == 0, text.stderr
    assert "Réunion informelle" not in text.stdout.splitlines()[0]
    assert "du 18 au 22 septembre 2099" in text.stdout
    eml = circular(home, "preview", "1", "--for", "Campaign <Mines> & Co", "--as", "eml", "--out", "letter.eml")
    assert eml.returncode == 0, eml.stderr
    read = email.message_from_bytes((home / "letter.eml").read_bytes(), policy=email.policy.default)
    assert "Campaign &lt;Mines&gt; &amp; Co" in read.get_body(("html",)).get_content()

    approved = circular(home, "approve", "1")
    assert approved.returncode == 0, approved.stderr
    assert "4 letters to 5 addresses" in approved.stdout
    assert "chancery circular send AUS/2099/001 --expect 4" in approved.stdout
    shown = json.loads(circular(home, "show", "AUS/2099/001", "--format", "json").stdout)
    assert (shown["state"], shown["letters"], shown["approved_by"]) == ("approved", 4, "ann")
    page = circular(home, "show", "1").stdout
    assert "approved, not yet sent" in page
    frozen = circular(home, "preview", "1", "--for", "NOR")
    assert "Seventh Meeting" in frozen.stdout

    toml = home.parent / "circular" / "circular.toml"
    toml.write_text(toml.read_text("utf-8").replace("Salle A", "Salle B"), "utf-8")
    updated = circular(home, "update", "1")
    assert updated.returncode == 0, updated.stderr
    assert "This voids the approval of ann; it is a draft again." in updated.stdout


def test_findings_stop_and_are_told(home: Path):
    """A State without addressee stops approval with exit code 1 and a remedy; the waiver that it names lets it pass."""
    toml = home.parent / "circular" / "circular.toml"
    toml.write_text(toml.read_text("utf-8").replace('cc = ["PER"]', 'cc = ["PER", "JPN"]'), "utf-8")
    circular(home, "new", "../circular")
    assert circular(home, "check", "1").returncode == 1  # it stops the approval, so a person must look
    stopped = circular(home, "approve", "1")
    assert stopped.returncode == 1
    assert "[state-without-addressee:JPN]" in stopped.stdout
    passed = circular(home, "approve", "1", "--waive", "state-without-addressee:JPN", "--why", "no mission known")
    assert passed.returncode == 0, passed.stderr
    assert "not addressed: Japan" in passed.stdout
    assert "no mission known" in circular(home, "show", "1").stdout


def test_many_findings_of_one_kind_are_one_line(home: Path):
    """States without addressee are named in one line with the waiver for all of them, save whom another seat has; json has each."""
    toml = home.parent / "circular" / "circular.toml"
    toml.write_text(toml.read_text("utf-8").replace('cc = ["PER"]', 'cc = ["states-parties@vienna"]'), "utf-8")
    circular(home, "new", "../circular")
    told = [line for line in circular(home, "check", "1").stdout.splitlines() if "nobody is addressed" in line]
    rows = json.loads(circular(home, "check", "1", "--format", "json").stdout)
    missing = [row["where"] for row in rows if row["code"] == "state-without-addressee"]
    assert len(missing) > 100
    assert len(told) == 2
    assert told[0].endswith("[state-without-addressee]")
    assert "there is one in Geneva" in told[1]
    assert all(where in "".join(told) for where in missing)


def test_an_update_voids_the_time_of_sending(home: Path):
    """A circular that is a draft again does not leave at the time that was set for what had been approved."""
    circular(home, "new", "../circular")
    assert circular(home, "approve", "1").returncode == 0
    assert circular(home, "schedule", "1", "--at", "2099-07-07T09:00").returncode == 4
    toml = home.parent / "circular" / "circular.toml"
    toml.write_text(toml.read_text("utf-8").replace("Salle A", "Salle B"), "utf-8")
    assert "This voids the time at which it was to be sent." in circular(home, "update", "1").stdout
    assert circular(home, "approve", "1").returncode == 0
    listed = json.loads(chancery("reminders", "list", "--format", "json", cwd=home).stdout)
    assert [row["state"] for row in listed] == ["cancelled"]


def test_errors_in_the_text_end_a_check_with_one(home: Path):
    """`check` of a draft with an error exits 1, and json names it."""
    (home.parent / "circular" / "letter.fr.md").unlink()
    circular(home, "new", "../circular")
    checked = circular(home, "check", "1", "--format", "json")
    assert checked.returncode == 1
    assert "text-missing:letter.fr.md" in {row["name"] for row in json.loads(checked.stdout)}
    shown = circular(home, "preview", "1", "--for", "NOR")
    assert shown.returncode == 2
    assert "chancery circular check" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("new", "nowhere"), "there is no such folder"),
        (("check", "AUS/2099/044"), "there is no such circular"),
        (("show", "9"), "there is no such circular"),
        (("show", "9" * 30), "there is no such circular"),
        (("approve", "1", "--waive", "x"), "a reason is needed"),
        (("preview", "1", "--for", "Atlantis"), "Atlantis"),
        (("start", "../circular"), "it holds a circular already"),
        (("start", "x", "--template", "lettre"), "there is no template lettre"),
        (("start", "x", "--from", "AUS/1"), "there is no such circular"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(drafted: Path, arguments: tuple[str, ...], told: str):
    """Each mistake gives one line on standard error, exit code 2, and nothing half done."""
    done = circular(drafted, *arguments)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (drafted / "x").exists()


def test_started_folder_is_read(home: Path):
    """`start` makes a folder that `new` reads at once."""
    assert circular(home, "start", "mine", "--template", "memo").returncode == 0
    made = circular(home, "new", "mine")
    assert made.returncode == 0, made.stderr

"""`init`, `settings`, `doctor` and `db` as processes: what a newcomer meets first, and every way it can go wrong."""

import json
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import chancery, rehearsal_server
from tests.support.readonly import read_only

LOGIN = ("--tls", "starttls", "--user", "circulars", "--password", "a pass-word")


@pytest.fixture(scope="session")
def pattern_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that `init` made; tests get copies."""
    folder = tmp_path_factory.mktemp("pattern")
    done = chancery("init", "home", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "home"


@pytest.fixture
def home(pattern_home: Path, tmp_path: Path) -> Path:
    """A home as `init` makes it."""
    return Path(shutil.copytree(pattern_home, tmp_path / "home"))


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The only line on standard error of a command that had to end with *code* and no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def doctor(home: Path, **variables: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The doctor's exit code and lines; of several for one thing the worst."""
    done = chancery("doctor", "--format", "json", cwd=home, variables=variables)
    assert done.stderr == ""
    order = ["green", "yellow", "red"]
    return done.returncode, {
        row["name"]: row for row in sorted(json.loads(done.stdout), key=lambda row: order.index(row["state"]))
    }


def test_init_makes_a_home_that_only_its_owner_can_read(home: Path):
    """A new home is closed to others, its settings load, its database is of this version."""
    rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [home, *home.iterdir()]}
    assert rights == {
        "home": 0o700,
        "chancery.toml": 0o600,
        "chancery.sqlite3": 0o600,
        "templates": 0o700,
        "circulars": 0o700,
    }
    assert chancery("db", "check", cwd=home).returncode == 0
    settings = json.loads(chancery("settings", "--format", "json", cwd=home).stdout)
    assert {"key": "relays.main.host", "value": "smtp.example.org", "origin": "chancery.toml line 6"} in settings


def test_init_twice_changes_nothing(home: Path):
    """A second `init` leaves the home as it is and says so; a broken-off one is completed."""
    text = (home / "chancery.toml").read_text() + "# my own remark\n"
    (home / "chancery.toml").write_text(text)
    again = chancery("init", "home", "--host", "other.example", cwd=home.parent)
    assert (again.returncode, "nothing was changed" in again.stdout) == (0, True)
    assert (home / "chancery.toml").read_text() == text
    (home / "chancery.toml").unlink()
    completed = chancery("init", cwd=home)
    assert completed.returncode == 0
    assert (home / "chancery.toml").is_file()


def test_init_takes_what_it_is_told(tmp_path: Path):
    """Options go into the settings, whatever characters they hold."""
    done = chancery(
        *("init", "h", "--preset", "google", "--username", 'me"\\ü', "--sender", "a@b.example", "--port", "465"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    rows = {
        row["key"]: row["value"]
        for row in json.loads(chancery("--home", "h", "settings", "--format", "json", cwd=tmp_path).stdout)
    }
    assert rows["relays.main.username"] == 'me"\\ü'
    assert rows["relays.main.host"] == "smtp.gmail.com"
    assert (rows["relays.main.port"], rows["senders.secretariat.address"]) == ("465", "a@b.example")


def test_init_for_microsoft_shows_both_logins(tmp_path: Path):
    """The password's file is set, and the section for an access token is there to be uncommented in its place."""
    done = chancery("init", "h", "--preset", "microsoft365", "--username", "me@office.example", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "h" / "chancery.toml"
    lines = file.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("# [relays.main.oauth]"))
    lines[start : start + 4] = [line.removeprefix("# ") for line in lines[start : start + 4]]
    file.write_text("\n".join(line for line in lines if not line.startswith("password_file")))
    rows = {
        row["key"]: row["value"]
        for row in json.loads(chancery("settings", "--format", "json", cwd=tmp_path / "h").stdout)
    }
    assert rows["relays.main.oauth.client_secret_file"] == "relay.secret"
    assert rows["relays.main.oauth.scope"] == "https://outlook.office365.com/.default"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["init", "full"], 2, "holds other things (minutes.txt)"),
        (["init", "full/minutes.txt"], 2, "this is a file"),
        (["init", "full/minutes.txt/home"], 3, "can't be"),
        (["init", "/proc/home"], 3, "it can't be written to"),
        (["init", "new", "--preset", "posfix"], 2, "Did you mean postfix?"),
        (["init", "new", "--port", "99999"], 2, "at most 65535"),
        (["init", "new", "--port", "many"], 2, "--port"),
        (["init", "new", "--host", "https://x"], 2, "it is a web address"),
        (["init", "new", "--sender", "nobody"], 2, "senders.secretariat.address"),
        (["init", "new", "--colour", "red"], 2, "--colour"),
        (["doctor"], 2, "no home is named"),
        (["--home", "full", "settings"], 2, "it holds no chancery.toml"),
        (["--home", "nowhere", "db", "check"], 2, "it holds no chancery.toml"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_wrong_use_gives_one_line_and_makes_nothing(tmp_path: Path, arguments: list[str], code: int, said: str):
    """Wrong input gives one clear line and the right exit code, and leaves nothing behind."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "minutes.txt").write_text("x")
    assert said in one_line(chancery(*arguments, cwd=tmp_path), code)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["full", "full/minutes.txt"]


def test_settings_say_each_mistake_in_a_line(home: Path):
    """A typo in the file is one line with its number; a file saved by Windows with a byte-order mark is read."""
    good = (home / "chancery.toml").read_text()
    (home / "chancery.toml").write_text(good.replace('preset = "postfix"', 'preset = "postfix'))
    assert "chancery.toml line 5: a quotation mark is missing" in one_line(chancery("settings", cwd=home), 2)
    (home / "chancery.toml").write_text(good.replace("host =", "hots =").replace("[senders.", "[sender."))
    done = chancery("settings", cwd=home)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 3)
    (home / "chancery.toml").write_bytes(b"\xef\xbb\xbf" + good.replace("\n", "\r\n").encode())
    assert chancery("settings", cwd=home).returncode == 0


def test_settings_hide_secrets(home: Path):
    """A password is shown as asterisks, with where it came from; a variable that sets nothing is named."""
    done = chancery(
        "settings", cwd=home, variables={"CHANCERY_RELAYS__MAIN__PASSWORD": "hunter-two", "CHANCERY_RELAY": "x"}
    )
    assert "hunter-two" not in done.stdout + done.stderr
    assert "******" in done.stdout
    assert "environment variable CHANCERY_RELAY: no setting has this name" in one_line(done, 0)


def test_doctor_is_green_with_a_relay_that_answers(tmp_path: Path):
    """With a relay that takes TLS and the login every line is green; with a wrong password the relay's is red and has the mend."""
    with rehearsal_server(tmp_path / "relay", *LOGIN) as relay:
        options = (
            "--host",
            "localhost",
            "--port",
            str(relay.port),
            "--username",
            "circulars",
            "--ca-file",
            relay.ca_file,
        )
        assert chancery("init", "home", *options, cwd=tmp_path).returncode == 0
        home = tmp_path / "home"
        (home / "relay.password").touch(0o600)
        (home / "relay.password").write_text("a pass-word\n")
        code, lines = doctor(home)
        assert code == 0, lines
        assert {line["state"] for line in lines.values()} <= {"green", "yellow"}
        assert lines["relay main"]["state"] == "green", lines
        assert "TLSv1" in lines["relay main"]["what"]
        assert "logged in as circulars" in lines["relay main"]["what"]
        done = chancery("doctor", "--send-test", "me@office.example", cwd=home)
        assert done.returncode == 0, done.stdout
        assert "test letter secretariat: by main to me@office.example: handed to our mail server" in done.stdout
        assert "'nobody' is not an e-mail address" in one_line(chancery("doctor", "--send-test", "nobody", cwd=home), 2)
        (home / "relay.password").write_text("another\n")
        code, lines = doctor(home)
        assert (code, lines["relay main"]["state"], lines["database"]["state"]) == (1, "red", "green")
        assert lines["relay main"]["mend"]
        assert "another" not in str(lines)
        (home / "chancery.toml").write_text((home / "chancery.toml").read_text().replace("\nca_file", "\n# ca_file"))
        code, lines = doctor(home)
        assert (code, "certificate" in lines["relay main"]["what"]) == (1, True)
    code, lines = doctor(home)
    assert (code, "nothing answers" in lines["relay main"]["what"]) == (1, True)


@pytest.mark.parametrize(
    ("break_it", "name", "what", "mend"),
    [
        (lambda home: home.chmod(0o755), "home", "others can look into", "chmod 700"),
        (lambda home: (home / "chancery.toml").chmod(0o644), "home", "others can read chancery.toml", "chmod 600"),
        (
            lambda home: (home / "chancery.sqlite3").unlink(),
            "database",
            "there is no database yet",
            "chancery db upgrade",
        ),
        (lambda home: (home / "chancery.sqlite3").write_text("minutes" * 999), "database", "no database", "restore it"),
        (lambda home: home.touch(), "relay main", "relay.password is not there", "chmod 600"),
        (lambda home: (home / "chancery.toml").write_text("[relays.main]\n"), "settings", "it is missing", "add host"),
    ],
    ids=["home", "file", "no-database", "damaged", "no-password", "settings"],
)
def test_doctor_says_how_to_mend(home: Path, break_it, name: str, what: str, mend: str):
    """Each thing that is wrong is a red line with what to do, and the exit code says that a person must look."""
    break_it(home)
    code, lines = doctor(home)
    assert (code, lines[name]["state"]) == (1, "red")
    assert what in lines[name]["what"]
    assert mend in lines[name]["mend"]


def test_doctor_changes_nothing(home: Path):
    """Looking leaves every file as it was."""
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    doctor(home)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_db_upgrade_and_check(home: Path):
    """`db upgrade` makes the tables once; `db check` names a database of an older or a newer version with the mend."""
    assert "nothing was changed" in chancery("db", "upgrade", cwd=home).stdout
    with sqlite3.connect(home / "chancery.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "9999 is newer than this program" in one_line(chancery("db", "check", cwd=home), 3)
    assert "9999 is newer than this program" in one_line(chancery("db", "upgrade", cwd=home), 3)
    (home / "chancery.sqlite3").unlink()
    assert "chancery db upgrade" in one_line(chancery("db", "check", cwd=home), 3)
    assert "it is new" in chancery("db", "upgrade", cwd=home).stdout
    assert chancery("db", "check", cwd=home).returncode == 0


def test_a_database_elsewhere(home: Path):
    """A SQLite file named in the settings is looked for in the home, whatever folder one stands in."""
    with (home / "chancery.toml").open("a") as file:
        file.write('\n[database]\nurl = "sqlite:///other.sqlite3"\n')
    assert chancery("--home", home, "db", "upgrade", cwd=home.parent).returncode == 0
    assert (home / "other.sqlite3").is_file()


def test_a_read_only_home(home: Path):
    """In a home that can't be written the doctor says so, and `db upgrade` gives one line."""
    (home / "chancery.sqlite3").unlink()
    with read_only(home):
        code, lines = doctor(home)
        assert (code, lines["home"]["state"]) == (1, "red")
        assert "can't be made" in one_line(chancery("db", "upgrade", cwd=home), 3)

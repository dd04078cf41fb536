"""A home whose rows are in PostgreSQL: the same commands, the same words; and several processes that send at once."""

import json
import shutil
import stat
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.support import office
from tests.support.postgres import PASSWORD, Server
from tests.support.rig import PATIENCE, Home, Relay, relay_process, taken, wait_for

REFERENCE = "TEST/2006/001"


@pytest.fixture
def empty(postgres: Server):
    """The URL of a database without tables."""
    name = postgres.new()
    yield postgres.url(name)
    postgres.drop(name)


def counts(home: Home) -> dict[str, int]:
    """The letters of the report, by state, those that there are."""
    return {state: count for state, count in home.report(REFERENCE)["counts"].items() if count}


def test_a_home_with_its_password_apart(postgres: Server, tmp_path: Path) -> None:
    """`init --database` keeps a password out of chancery.toml, in a file of its own; doctor is content, and nobody prints it."""
    name = postgres.new()
    home = Home(tmp_path / "office")
    url = postgres.url(name, login=f"guarded:{quote(PASSWORD)}")
    made = home.run("init", str(home.folder), "--database", url)
    assert "the database" in made.stdout
    text = (home.folder / "chancery.toml").read_text("utf-8")
    assert f'url = "{postgres.url(name, login="guarded")}"' in text
    file = home.folder / "database.password"
    assert file.read_text("utf-8") == f"{PASSWORD}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(home.folder.glob("*.sqlite3*"))
    doctor = home.run("doctor", "--format", "json", expect=None)
    (line,) = [one for one in json.loads(doctor.stdout) if one["name"] == "database"]
    assert (line["state"], line["what"][:7]) == ("green", "schema ")
    assert "nothing was changed" in home.run("db", "upgrade").stdout
    file.write_text("wrong\n", "utf-8")
    refused = home.run("circular", "list", expect=3)
    said = [made.stdout, text, doctor.stdout, home.run("settings").stdout, refused.stderr]
    assert not [one for one in said if PASSWORD in one or quote(PASSWORD) in one]
    assert refused.stderr.count("\n") == 1
    assert f"127.0.0.1:{postgres.port}/{name}: the password is wrong" in refused.stderr
    file.unlink()
    (home.folder / "chancery.toml").write_text(text.replace('password_file = "database', '# password_file = "database'))
    assert "the server asks for a password" in home.run("circular", "list", expect=3).stderr
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:*:*:guarded:{PASSWORD}\n", "utf-8")
    passwords.chmod(0o600)
    home.variables["PGPASSFILE"] = str(passwords)
    home.run("circular", "list")
    postgres.drop(name)


def test_a_circular_by_every_verb(empty: str, tmp_path: Path) -> None:
    """Import, draft, approve, send, answer, report, verify: all over PostgreSQL, every letter once, and the register fits."""
    home = office.make(tmp_path / "office", 12, database=empty)
    assert not list(home.folder.glob("*.sqlite3*"))
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        sent = home.run("circular", "send", REFERENCE, "--expect", "12")
    assert "12 handed to our mail server" in sent.stdout
    assert set(taken(relay).values()) == {1}
    assert counts(home) == {"letters": 12, "accepted": 12}
    home.run("replies", "record", REFERENCE, "Organization 003", "attending")
    assert "attending" in home.run("replies", "list", REFERENCE).stdout
    assert "250" in home.run("letter", "show", REFERENCE, "Organization 003").stdout
    home.run("register", "verify")
    assert not list((home.folder / "journal").iterdir())
    refused = home.run("circular", "show", "99999999999", expect=2)
    assert "no such circular" in refused.stderr


#: A letter of the first batch is answered late: whoever has that batch is held by it, and the others fall to the other process.
_ONE_IS_SLOW = '[[fault]]\nat = "dot"\nto = ["office001@*"]\ndo = "stall"\nseconds = 10\n'
#: Ten letters of the first batch, one for each connection, are never answered.
_TEN_STALL = '[[fault]]\nat = "dot"\nto = ["office01*@*"]\ndo = "stall"\n'


def _fleet(home: Home, relay: Relay) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Two processes that send the circular at once, one batch each at a time."""
    home.use(relay)
    home.variables["CHANCERY_DELIVERY__SLOTS"] = "1"
    first = home.start("circular", "send", REFERENCE, "--expect", "1300")
    wait_for(relay.letters, "the first letter")
    return first, home.start("circular", "send", REFERENCE)


#: The first letter is never answered, so that whoever sent it lives on; from the fifth on our sender is refused.
_HELD = (
    '[[fault]]\nat = "dot"\nto = ["office001@*"]\ndo = "stall"\n'
    '[[fault]]\nat = "mail"\nnth = [5, 6, 7, 8, 9, 10]\nreply = "550 5.7.60 SendAsDenied; not as this sender"\n'
)


def _owners(url: str) -> int:
    """How many processes have tried to send a letter."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT count(DISTINCT owner) FROM attempt").fetchone()[0]


def test_two_processes_send_one_circular(empty: str, tmp_path: Path) -> None:
    """Two processes that send from one PostgreSQL share the work: nothing is lost, nothing goes twice, and both took part."""
    home = office.make(tmp_path / "office", 1300, database=empty)
    home.variables |= {
        "CHANCERY_DELIVERY__SLOTS": "1",
        "CHANCERY_LOG__TO": "file",
    }  # nobody reads their pipes meanwhile
    with relay_process(tmp_path, "relay", _ONE_IS_SLOW) as relay:
        home.use(relay)
        serving = home.start("serve")
        assert "Serving" in serving.stderr.readline()
        sending = home.start("circular", "send", REFERENCE, "--expect", "1300")
        said = sending.communicate(timeout=PATIENCE)
        serving.terminate()
        serving.communicate(timeout=PATIENCE)
    assert (sending.returncode, serving.returncode, said[1]) == (0, 0, "")
    assert counts(home) == {"letters": 1300, "accepted": 1300}
    once = taken(relay)
    assert (len(once), set(once.values())) == (1300, {1})
    assert _owners(empty) == 2
    home.run("register", "verify")


def test_one_of_two_processes_is_killed(empty: str, tmp_path: Path) -> None:
    """One of two senders is killed in the middle: the other takes in its journal and sends the rest; in doubt is what it had open."""
    home = office.make(tmp_path / "office", 1300, database=empty)
    with relay_process(tmp_path, "relay", _TEN_STALL) as relay:
        first, second = _fleet(home, relay)
        wait_for(lambda: relay.phases("dot") >= 10 and _owners(empty) == 2, "ten letters to be open")
        first.kill()
        first.communicate()
        said = second.communicate(timeout=PATIENCE)
    assert second.returncode == 1, said
    assert counts(home) == {"letters": 1300, "accepted": 1290, "uncertain": 10}
    once = taken(relay)
    assert (len(once), set(once.values())) == (1290, {1})
    assert not list((home.folder / "journal").iterdir())
    home.run("register", "verify")


def test_a_relay_that_one_process_holds_is_left_alone_by_another(empty: str, tmp_path: Path) -> None:
    """One process met a refusal that a person has to mend: another sends nothing by that relay, says why, and goes on once it is lifted."""
    home = office.make(tmp_path / "office", 12, database=empty)
    second = "TEST/2006/002"
    shutil.copytree(home.folder / "circulars" / "meeting", home.folder / "circulars" / "other")
    home.run("circular", "new", str(home.folder / "circulars" / "other"))
    home.run("circular", "approve", second, by="bert")
    home.variables |= {"CHANCERY_RELAYS__MAIN__CONNECTIONS": "2", "CHANCERY_LOG__TO": "file"}
    home.variables["CHANCERY_DELIVERY__SLOTS"] = "1"  # the first process has its hands full

    def held() -> int:
        with psycopg.connect(empty) as connection:
            return connection.execute("SELECT count(*) FROM obstacle WHERE until IS NULL").fetchone()[0]

    with relay_process(tmp_path, "refusing", _HELD) as refusing, relay_process(tmp_path, "other") as other:
        home.use(refusing)
        first = home.start("circular", "send", REFERENCE, "--expect", "12")
        wait_for(held, "the hold to be told")
        home.use(other)  # to see what the second process does with that relay
        kept = home.run("circular", "send", second, "--expect", "12", expect=3)
        assert "SendAsDenied" in kept.stderr
        assert (other.phases("mail"), len(other.letters()), held()) == (0, 0, 1)
        home.run("circular", "resume", second, expect=4)
        assert held() == 0
        assert "12 handed to our mail server" in home.run("circular", "send", second).stdout
        assert first.poll() is None
        first.kill()
        first.communicate()
        assert taken(other) == {f"office{number:03}@org.example": 1 for number in range(1, 13)}
        assert not set(taken(refusing).values()) - {1}
    home.run("register", "verify")

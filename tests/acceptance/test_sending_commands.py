"""The commands that send, their exit codes, and that what could not be done leaves nothing half done."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import office
from tests.support.processes import environment, rehearsal_server
from tests.support.rig import Home, relay_process, taken

REFERENCE = "TEST/2006/001"
LETTERS = 3
SEND = ("circular", "send", REFERENCE, "--expect", str(LETTERS))
REFUSED = '[[fault]]\nat = "rcpt"\nto = "office001@*"\nreply = "550 5.1.1 No such mailbox"\n'
PUT_OFF = '[[fault]]\nat = "rcpt"\nto = "office002@*"\nreply = "451 4.7.1 Later"\n'
IN_DOUBT = '[[fault]]\nat = "reply"\nto = "office003@*"\ndo = "drop"\n'

#: Runs what follows without the rights by which root passes over the modes of files (capabilities 1, 2 and 3).
_AS_A_USER = """
import ctypes, os, sys
for capability in (1, 2, 3):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
#: Runs what follows with no room for files to grow: any write that would end beyond so many octets fails.
_NO_ROOM = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an approved circular, to be copied."""
    folder = tmp_path_factory.mktemp("commands") / "home"
    office.make(folder, LETTERS)
    return folder


@pytest.fixture
def home(approved: Path, tmp_path: Path) -> Home:
    """A copy of it for one test."""
    shutil.copytree(approved, tmp_path / "home")
    return Home(tmp_path / "home")


def setting(home: Home, **more: object) -> None:
    """Settings of the relay, by environment variables."""
    home.variables |= {f"CHANCERY_RELAYS__MAIN__{name.upper()}": str(value) for name, value in more.items()}


def assert_nothing_happened(home: Home) -> None:
    """The circular is approved, and none of its letters has been touched."""
    report = home.report(REFERENCE)
    assert report["state"] == "approved"
    assert {one["state"] for letter in report["letters"] for one in letter["recipients"]} == {"queued"}
    assert {letter["attempts"] for letter in report["letters"]} == {0}
    assert not (home.folder / "chancery.lock").exists() or not (home.folder / "chancery.lock").read_bytes()


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One plain line on standard error, with these words in it."""
    assert done.stderr.startswith("chancery: "), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "not foreseen" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("faults", "code", "words"),
    [
        ("", 0, "3 handed to our mail server."),
        (REFUSED, 1, "2 handed to our mail server, 1 refused."),
        (IN_DOUBT, 1, "2 handed to our mail server, 1 in doubt."),
        (PUT_OFF, 4, "2 handed to our mail server, 1 will be tried again."),
        (REFUSED + PUT_OFF, 4, "1 handed to our mail server, 1 will be tried again, 1 refused."),
    ],
    ids=["accepted", "refused", "in doubt", "deferred", "refused and deferred"],
)
def test_the_exit_code_of_send_says_what_came_of_it(
    home: Home, tmp_path: Path, faults: str, code: int, words: str
) -> None:
    """0 all handed over, 1 a person must look, 4 more to come; the line on the screen says the same in words."""
    with relay_process(tmp_path, "relay", faults) as relay:
        home.use(relay)
        done = home.run(*SEND, expect=code)
    assert done.stdout.startswith(f"{REFERENCE}: 3 letters to 3 addresses: {words}")
    assert "Traceback" not in done.stderr


def test_what_was_sent_is_not_sent_again(home: Home, tmp_path: Path) -> None:
    """`send` of a circular that was sent is wrong use, told in one line, and no letter leaves."""
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run(*SEND)
        one_line(home.run(*SEND, expect=2), "it is sent already")
    assert sorted(taken(relay).values()) == [1] * LETTERS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("circular", "send", REFERENCE, "--expect", "4"), "4 letters were expected, and there are 3"),
        (("circular", "send", REFERENCE), "--expect 3"),
        (("circular", "send", "TEST/2006/999", "--expect", "3"), "TEST/2006/999"),
        (("circular", "pause", "TEST/2006/999"), "TEST/2006/999"),
        (("circular", "pause", REFERENCE), REFERENCE),
        (("circular", "resume", REFERENCE), "nothing of it to let go"),
        (("circular", "resolve", REFERENCE, "--all", "--sent"), "nothing there is in doubt"),
        (("circular", "resolve", REFERENCE, "--all"), "--sent or --resend"),
        (("circular", "schedule", REFERENCE, "--at", "tomorrow"), "2006-07-10T09:00"),
        (("circular", "schedule", REFERENCE, "--at", "2006-07-10"), "has passed"),
        (("report", "TEST/2006/999"), "TEST/2006/999"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_changes_nothing(home: Home, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """Exit code 2, one line that says what was wrong, and everything as it was."""
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        one_line(home.run(*arguments, expect=2), words)
    assert_nothing_happened(home)
    assert not relay.letters()


def _down(home: Home, _folder: Path) -> None:
    setting(home, host="127.0.0.1", port=9)


def _locked(home: Home, _folder: Path) -> None:
    setting(home, tls="starttls", ca_file="relay-ca.pem", username="circulars", password="wrong")


def _untrusted(home: Home, _folder: Path) -> None:
    setting(home, tls="starttls", username="circulars", password="right")


def _no_ca_file(home: Home, _folder: Path) -> None:
    setting(home, tls="starttls", ca_file="gone.pem", username="circulars", password="right")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (_down, "nothing answers on this port"),
        (_locked, "it does not accept the user name and password"),
        (_untrusted, "its certificate is not trusted"),
        (_no_ca_file, "gone.pem"),
    ],
    ids=["down", "wrong password", "untrusted certificate", "no such file of authorities"],
)
def test_a_relay_that_can_not_be_used(
    home: Home, tmp_path: Path, wrong: Callable[[Home, Path], None], words: str
) -> None:
    """Nothing is started: one line with the mend, the circular stays approved, and the mended settings send it."""
    options = ("--tls", "starttls", "--user", "circulars", "--password", "right")
    with rehearsal_server(tmp_path / "relay", *options) as relay:
        shutil.copy(relay.ca_file, home.folder / "relay-ca.pem")
        setting(home, host="localhost", port=relay.port)
        wrong(home, tmp_path)
        done = home.run(*SEND, expect=2 if wrong is _no_ca_file else 3)
        one_line(done, words, "relays.main")
        assert "wrong" not in done.stderr
        assert_nothing_happened(home)
        home.variables.clear()
        setting(home, host="localhost", port=relay.port, tls="starttls", ca_file="relay-ca.pem")
        setting(home, username="circulars", password="right")
        home.run(*SEND)


def test_letters_never_go_in_the_clear_where_tls_was_asked_for(home: Home, tmp_path: Path) -> None:
    """A relay that offers no TLS is not used: 3, one line, still approved."""
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        setting(home, tls="starttls")
        one_line(home.run(*SEND, expect=3), "STARTTLS", "relays.main")
        assert_nothing_happened(home)
        assert not relay.letters()


def limited(home: Home, wrapper: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command under a wrapper's limits; *arguments* may begin with the wrapper's own."""
    own, command = (arguments[:1], arguments[1:]) if arguments[0].isdigit() else ((), arguments)
    return subprocess.run(
        [sys.executable, "-c", wrapper, *own, *home.command("--by", "anna", *command)],
        env=environment(**home.variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def sealed(home: Home) -> Home:
    """A home in which nothing can be written; its modes are put back at the end."""
    paths = [home.folder, *home.folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(modes[path] & ~0o222)
    yield home
    for path, mode in modes.items():
        path.chmod(mode)


@pytest.mark.parametrize(
    "arguments",
    [
        SEND,
        ("serve",),
        ("circular", "cancel", REFERENCE),
        ("replies", "record", REFERENCE, "Organization 001", "attends"),
    ],
    ids=["send", "serve", "cancel", "replies record"],
)
def test_a_home_that_can_not_be_written_to(sealed: Home, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """One line that names the file, no traceback, nothing sent; once the rights are back, all is as it was."""
    with relay_process(tmp_path, "relay") as relay:
        sealed.use(relay)
        done = limited(sealed, _AS_A_USER, *arguments)
        assert done.returncode == 3, done.stderr
        one_line(done, str(sealed.folder))
        assert not relay.letters()
    for path in (sealed.folder, *sealed.folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    assert_nothing_happened(sealed)


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    """Naming a file as home, or making a home where a file stands, is told in one line."""
    (tmp_path / "file").write_text("x")
    for arguments in (SEND, ("serve",)):
        one_line(Home(tmp_path / "file").run(*arguments, expect=2), "file", "chancery init")
    one_line(Home(tmp_path / "file").run("init", str(tmp_path / "file"), expect=None), "file")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("room", ["0", "4096"])
def test_no_room_on_the_disk(home: Home, tmp_path: Path, room: str) -> None:
    """Without room for the journal or the database nothing leaves that is not accounted for, and no letter is lost or sent twice."""
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        done = limited(home, _NO_ROOM, room, *SEND)
        assert done.returncode == 3, done.stderr
        assert "Traceback" not in done.stderr
        assert "not foreseen" not in done.stderr
        assert done.stderr.count("chancery: ") == 1
        assert_nothing_happened(home)
        home.run(*SEND)
    assert sorted(taken(relay).values()) == [1] * LETTERS


@pytest.mark.parametrize("room", [20_000, 70_000, 95_000])
def test_the_disk_fills_while_letters_leave(approved: Path, tmp_path: Path, room: int) -> None:
    """Whatever had left when there was no more room is known at the next start: no letter twice, none lost, none in doubt."""
    home = Home(tmp_path / "home")
    shutil.copytree(approved, home.folder)
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        done = limited(home, _NO_ROOM, str(room), *SEND)
        assert done.returncode in {0, 3, 4}, done.stderr
        assert "Traceback" not in done.stderr
        assert "not foreseen" not in done.stderr
        assert len(done.stderr.splitlines()) <= 1
        if home.report(REFERENCE)["state"] != "sent":
            home.run(*SEND)
    assert sorted(taken(relay).items()) == [(f"office{number:03}@org.example", 1) for number in range(1, LETTERS + 1)]
    home.run("register", "verify")

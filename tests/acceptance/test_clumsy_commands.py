"""What a hurried person types: verbs in the wrong order, twice, or with a word that does not exist. One line that says what to do."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import office
from tests.support.processes import environment
from tests.support.rig import PATIENCE, Home, relay_process, taken

REFERENCE = "TEST/2006/001"
LETTERS = 2
SEND = ("circular", "send", REFERENCE, "--expect", str(LETTERS))
REMINDED = 'reply_by = 2098-07-14\n[[reminders]]\nbefore = "P3D"\ntext = "reminder"\n'


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an approved circular, to be copied."""
    folder = tmp_path_factory.mktemp("clumsy") / "home"
    office.make(folder, LETTERS, more=REMINDED, texts={"reminder.en.md": "Please answer.\n"})
    return folder


@pytest.fixture
def home(approved: Path, tmp_path: Path) -> Home:
    """A copy of it for one test."""
    shutil.copytree(approved, tmp_path / "home")
    return Home(tmp_path / "home")


def refused(home: Home, *arguments: str) -> str:
    """The one line by which a command is refused as wrong use."""
    done = home.run(*arguments, expect=2)
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1), done
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [
        (("letter", "show", REFERENCE, "1", "--as", "pdf"), "'text', 'eml'"),
        (("report", REFERENCE, "--format", "docx"), "'table', 'json', 'csv', 'html'"),
        (("circular", "preview", REFERENCE, "--for", "1", "--as", "pdf"), "'text', 'html', 'eml'"),
    ],
)
def test_a_choice_that_does_not_exist_names_those_that_do(home: Home, arguments: tuple[str, ...], choices: str) -> None:
    """The line names option, word and choices, and speaks no programmer's words."""
    line = refused(home, *arguments)
    assert f"'{arguments[-1]}' is not one of {choices}." in line
    assert arguments[-2] in line
    assert "alue error" not in line


def test_pausing_what_does_not_run_says_what_can_be_done(home: Home, tmp_path: Path) -> None:
    """Before it is sent, after all of it and its reminders are dealt with, and twice: each time the next step is named."""
    assert f"chancery circular send {REFERENCE}" in refused(home, "circular", "pause", REFERENCE)
    assert f"chancery circular send {REFERENCE}" in refused(home, "circular", "resume", REFERENCE)
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run(*SEND)
    line = refused(home, "circular", "resume", REFERENCE)
    assert "it is sent" in line
    assert f"chancery report {REFERENCE}" in line
    told = home.run("circular", "pause", REFERENCE, expect=4).stdout
    assert "reminder" in told
    assert "addresses" not in told
    assert "nothing of it to hold" in refused(home, "circular", "pause", REFERENCE)
    told = home.run("circular", "resume", REFERENCE, expect=4).stdout
    assert "reminder" in told
    assert "circular send" not in told
    assert "reminder" in home.run("circular", "cancel", REFERENCE).stdout
    assert '"state": "cancelled"' in home.run("reminders", "list", "--format", "json").stdout
    for verb in ("pause", "resume", "cancel"):
        line = refused(home, "circular", verb, REFERENCE)
        assert "it is sent" in line
        assert f"chancery report {REFERENCE}" in line
    home.run("register", "verify")
    assert home.report(REFERENCE)["counts"]["accepted"] == LETTERS


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("--at", "9999-12-31T23:59"), "--at"),
        (("--at", "0001-01-01T00:00+14:00"), "--at"),
        (("--at", "2027-02-30"), "--at"),
        (("--at", "2098-01-04", "--finish-by", "Friday"), "--finish-by"),
    ],
)
def test_a_time_that_can_not_be_is_named_with_its_option(home: Home, arguments: tuple[str, ...], where: str) -> None:
    """Beyond the calendar, no day of it, or no time at all: one line that names the option and an example."""
    line = refused(home, "circular", "schedule", REFERENCE, *arguments)
    assert line.startswith(f"chancery: {where}: ")
    assert "2006-07-10T09:00" in line


def test_what_is_cancelled_is_not_to_be_approved(home: Home) -> None:
    """Scheduling a cancelled circular does not advise to approve it: it can't be."""
    home.run("circular", "cancel", REFERENCE)
    line = refused(home, "circular", "schedule", REFERENCE, "--at", "2098-01-04")
    assert "it is cancelled" in line
    assert "approve it" not in line


def test_what_can_not_be_sent_is_told_before_the_number_of_letters_is_asked_for(home: Home, tmp_path: Path) -> None:
    """`send` of what is paused, sent or cancelled says so at once: a script is not sent to fetch a number that helps nothing."""
    faults = '[[fault]]\nat = "rcpt"\nreply = "451 4.7.1 Later"\n'
    with relay_process(tmp_path, "relay", faults) as relay:
        home.use(relay)
        home.run(*SEND, expect=4)
        home.run("circular", "pause", REFERENCE, expect=4)
        line = refused(home, "circular", "send", REFERENCE)
        assert f"it is paused. `chancery circular resume {REFERENCE}`" in line
        home.run("circular", "cancel", REFERENCE)
        assert f"it is cancelled already. `chancery report {REFERENCE}`" in refused(home, "circular", "send", REFERENCE)
    assert not taken(relay)


def test_a_scheduled_start_is_held_and_let_go(home: Home) -> None:
    """`pause` of a circular that is to start at a time holds the start, `resume` lets it be; the circular stays approved."""
    home.run("circular", "schedule", REFERENCE, "--at", "2098-07-10T09:00", expect=4)
    assert "sending: Thu 10 July 2098, 09:00" in home.run("circular", "show", REFERENCE).stdout
    assert "does not start by itself" in home.run("circular", "pause", REFERENCE, expect=4).stdout
    assert '"state": "held"' in home.run("reminders", "list", "--format", "json").stdout
    assert home.report(REFERENCE)["state"] == "approved"
    assert "nothing of it to hold" in refused(home, "circular", "pause", REFERENCE)
    assert "10 July 2098" in home.run("circular", "resume", REFERENCE, expect=4).stdout
    assert '"state": "waiting"' in home.run("reminders", "list", "--format", "json").stdout
    home.run("register", "verify")


def test_a_folder_that_was_sent_is_not_taken_again_unseen(home: Home, tmp_path: Path) -> None:
    """`new` of a folder whose circular is sent makes a further one only when told so, and names the earlier one."""
    folder = str(home.folder / "circulars" / "meeting")
    assert f"chancery circular update {REFERENCE}" in refused(home, "circular", "new", folder)
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run(*SEND)
        line = refused(home, "circular", "new", folder)
        assert REFERENCE in line
        assert "--again" in line
        assert len(home.run("circular", "list", "--format", "csv").stdout.splitlines()) == 2
        assert "TEST/2006/002" in home.run("circular", "new", folder, "--again").stdout
        home.run("circular", "cancel", "TEST/2006/002")
        assert REFERENCE in refused(home, "circular", "new", folder)
    assert sorted(taken(relay).values()) == [1] * LETTERS


def _printing_into(home: Home, out: int, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard output is *out*, and what it said on standard error."""
    return subprocess.run(
        home.command(*arguments),
        env=environment(**home.variables, **variables),
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "arguments", [("report", REFERENCE), ("report", REFERENCE, "--format", "csv"), ("circular", "show", REFERENCE)]
)
def test_a_reader_that_has_gone_is_no_failure(home: Home, arguments: tuple[str, ...]) -> None:
    """`chancery report | head`: a reading verb ends with 0 and complains of nothing, tables too."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = _printing_into(home, writer, *arguments)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_no_room_for_what_is_printed(home: Home, form: str) -> None:
    """Into a file on a full disk: 3, and one line that says so."""
    with Path("/dev/full").open("wb") as full:
        done = _printing_into(home, full.fileno(), "report", REFERENCE, "--format", form)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "No space left" in done.stderr
    assert "not foreseen" not in done.stderr


def test_a_terminal_of_no_columns_is_printed_to(home: Home) -> None:
    """Some terminals say that they have 0 columns: a report is there all the same."""
    home.variables["COLUMNS"] = "0"
    done = _printing_into(home, subprocess.PIPE, "report", REFERENCE)
    assert "Of 7 July 2006: approved" in done.stdout


@pytest.mark.parametrize("way", ["ctrl-c", "ctrl-d"])
def test_a_question_is_ended_by_one_key(home: Home, way: str) -> None:
    """Ctrl-C or Ctrl-D at the number of letters ends the command at once, in one line, and nothing was sent."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        home.command("--by", "anna", "circular", "send", "TEST/2006/001"),
        env=environment(**home.variables),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
    ) as asking:
        os.close(theirs)
        shown = b""
        while b"Type their number" not in shown:
            shown += os.read(ours, 4096)
        _until_it_reads(asking.pid)
        if way == "ctrl-c":
            asking.send_signal(signal.SIGINT)
        else:
            os.write(ours, b"\x04")
        try:
            _, said = asking.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            asking.kill()  # else the end of this block would wait for it
            raise
    os.close(ours)
    assert asking.returncode == 130
    assert said.strip() == "chancery: Nothing was done."
    assert "approved" in home.run("circular", "show", "TEST/2006/001").stdout


def _until_it_reads(pid: int) -> None:
    """Wait until a process sleeps for a while: a signal in the moment before it begins to read would not wake it."""
    asleep = 0
    while asleep < 20:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(0.02)

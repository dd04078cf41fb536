"""`chancery serve` as a process on real time, with coordinators at work in other processes."""

import datetime as dt
import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lists.counted import counted
from tests.support import office
from tests.support.processes import ROOT, environment
from tests.support.rig import Home, Relay, relay_process, taken, wait_for

REFERENCE = "TEST/2006/001"
LETTERS = 30
ADDRESSES = [f"office{number:03}@org.example" for number in range(1, LETTERS + 1)]

SETTINGS = """
[delivery]
first_retry = 2
longest_retry = 2
"""
REMINDER = """reply_by = 2006-07-14

[[reminders]]
before = "P3D"
text = "reminder"
"""
SLOW = ("--end-ms", "300")


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an approved circular that has a reminder, to be copied."""
    folder = tmp_path_factory.mktemp("serve") / "home"
    office.make(
        folder,
        LETTERS,
        settings=SETTINGS,
        more=REMINDER,
        texts={"reminder.en.md": "The Chair has not heard from {{ organization }}.\n"},
    )
    return folder


@pytest.fixture
def home(approved: Path, tmp_path: Path) -> Home:
    """A copy of it for one test."""
    shutil.copytree(approved, tmp_path / "home")
    return Home(tmp_path / "home")


@contextmanager
def running(home: Home, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command beside the test; killed at the end if it still runs then."""
    with home.start(*arguments) as process:
        try:
            yield process
        finally:
            process.kill()


@dataclass
class Serve:
    """A running `chancery serve`, and what it says on standard error."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """All of it so far."""
        return self.log.read_text(encoding="utf-8")

    def signal(self, number: signal.Signals, words: str) -> None:
        """Send a signal and wait until it is answered by *words*."""
        self.process.send_signal(number)
        wait_for(lambda: words in self.said or self.process.poll() is not None, words)

    def ended(self, code: int) -> str:
        """Wait for the end that it must come to; what it said."""
        self.process.wait(60)
        assert self.process.returncode == code, self.said
        assert "Traceback" not in self.said
        return self.said

    def stop(self) -> str:
        """SIGTERM, and the good end that it must come to; what it said."""
        self.process.terminate()
        return self.ended(0)


@contextmanager
def serving(home: Home, relay: Relay) -> Iterator[Serve]:
    """`chancery serve`, from the moment at which it says so; killed at the end if it still runs then."""
    home.use(relay)
    log = relay.record.with_suffix(".serve")
    with log.open("wb") as file:
        process = subprocess.Popen(home.command("serve"), env=environment(**home.variables), stdout=file, stderr=file)
    serve = Serve(process, log)
    try:
        wait_for(lambda: "Serving" in serve.said or process.poll() is not None, "serve to begin")
        assert process.poll() is None, serve.said
        yield serve
    finally:
        process.kill()
        process.wait()


def states(home: Home, reference: str = REFERENCE) -> dict[str, str]:
    """Address -> state, from the report."""
    return {
        one["address"]: one["state"] for letter in home.report(reference)["letters"] for one in letter["recipients"]
    }


def schedule(home: Home) -> dt.datetime:
    """Have the circular start in two seconds, or as soon as this machine can say so beforehand; when that is."""
    for ahead in (2, 4, 8, 16, 32):
        moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=ahead)
        done = home.run("circular", "schedule", REFERENCE, "--at", moment.isoformat(), expect=None)
        if done.returncode == 4:
            return moment
        assert (done.returncode, "has passed" in done.stderr) == (2, True), done.stderr
    raise AssertionError("this machine is too slow to schedule anything")


def test_it_fires_what_another_process_schedules_and_tries_again(home: Home, tmp_path: Path) -> None:
    """A sending scheduled from elsewhere for a moment ahead starts then; a greylisted letter is tried again until it is taken."""
    greylisted = '[[fault]]\nat = "rcpt"\nto = "office007@*"\nreply = "451 4.7.1 Greylisted"\nfor = "3s"\n'
    with relay_process(tmp_path, "relay", greylisted, "--record-all") as relay, serving(home, relay) as serve:
        moment = schedule(home)
        wait_for(lambda: len(relay.letters()) == LETTERS, "all letters")
        serve.stop()
        first = min(dt.datetime.fromisoformat(letter["at"]) for letter in relay.letters())
        assert moment <= first < moment + dt.timedelta(seconds=20)
        refused = [line["address"] for line in relay.lines() if line["kind"] == "rcpt"]
    assert set(refused) == {"office007@org.example"}
    assert sorted(taken(relay).items()) == [(address, 1) for address in ADDRESSES]
    assert set(states(home).values()) == {"accepted"}
    letters = {letter["organization"]: letter["attempts"] for letter in home.report(REFERENCE)["letters"]}
    assert letters["Organization 007"] == len(refused) + 1
    listed = json.loads(home.run("reminders", "list", "--format", "json").stdout)
    assert {line["what"]: line["state"] for line in listed} == {"sending": "fired", "reminder 1": "missed"}


def test_whoever_has_answered_is_not_reminded(home: Home, tmp_path: Path) -> None:
    """A reply before the reminder leaves one out; a reply while its letter waits to be claimed again stops that letter."""
    later = f'[[fault]]\nat = "rcpt"\nto = "office002@*"\nreply = "451 4.7.1 Later"\nnth = {list(range(2, 60))}\n'
    with relay_process(tmp_path, "relay", later, "--record-all") as relay, serving(home, relay) as serve:
        sent = home.run("circular", "send", REFERENCE, "--expect", str(LETTERS))
        assert "Handed over" in sent.stderr
        home.run("replies", "record", REFERENCE, "Organization 001", "attends")
        home.run("reminders", "run", "--missed", expect=4)
        wait_for(lambda: len(relay.letters()) == 2 * LETTERS - 2, "the reminders of those who can be reached")
        assert states(home, f"{REFERENCE}/R1")["office002@org.example"] in {"deferred", "sending"}
        home.run("replies", "record", REFERENCE, "Organization 002", "declines")
        wait_for(lambda: states(home, f"{REFERENCE}/R1")["office002@org.example"] == "cancelled", "the claim")
        serve.stop()
    reminded = states(home, f"{REFERENCE}/R1")
    assert sorted(reminded) == ADDRESSES[1:]
    assert {address for address, state in reminded.items() if state != "accepted"} == {"office002@org.example"}
    twice = {address for address, count in taken(relay).items() if count == 2}
    assert (sorted(twice), set(taken(relay).values())) == (ADDRESSES[2:], {1, 2})
    home.run("register", "verify")


def test_sigterm_lets_what_is_on_the_way_arrive(home: Home, tmp_path: Path) -> None:
    """Stopped in full flight it ends well: what has left is accounted for, the rest waits, nothing is in doubt."""
    home.variables["CHANCERY_RELAYS__MAIN__CONNECTIONS"] = "5"
    with relay_process(tmp_path, "relay", "", *SLOW) as relay:
        with (
            serving(home, relay) as serve,
            running(home, "circular", "send", REFERENCE, "--expect", str(LETTERS)) as send,
        ):
            wait_for(lambda: relay.phases("content") > 5, "letters on the way")
            said = serve.stop()
            assert "Finishing what is on the way" in said
            printed, told = send.communicate(timeout=60)
            assert send.returncode == 4, told
        gone = taken(relay)
        assert 5 <= sum(gone.values()) < LETTERS
        found = states(home)
        assert {address for address, state in found.items() if state == "accepted"} == set(gone)
        assert {state for address, state in found.items() if address not in gone} == {"queued"}
        assert f"{len(gone)} handed to our mail server" in printed
        home.run("circular", "send", REFERENCE)
    assert sorted(taken(relay).items()) == [(address, 1) for address in ADDRESSES]
    home.run("register", "verify")


def test_sigterm_with_nothing_to_do_ends_at_once(home: Home, tmp_path: Path) -> None:
    """An idle `serve` ends with 0, lets go of the home and leaves no journal behind."""
    with relay_process(tmp_path, "relay") as relay, serving(home, relay) as serve:
        serve.stop()
    assert not (home.folder / "chancery.lock").read_bytes()
    assert not list((home.folder / "journal").glob("*"))


def test_a_second_signal_stops_at_once(home: Home, tmp_path: Path) -> None:
    """After the second Ctrl-C the open letters, and no others, are in doubt at the next start; the rest then leaves, none twice."""
    silent = '[[fault]]\nat = "reply"\ndo = "stall"\n'
    with (
        relay_process(tmp_path, "silent", silent) as silent_relay,
        serving(home, silent_relay) as serve,
        running(home, "circular", "send", REFERENCE, "--expect", str(LETTERS)) as send,
    ):
        wait_for(lambda: len(silent_relay.letters()) == 10, "ten letters without an answer")
        serve.signal(signal.SIGINT, "once more to stop at once")
        assert serve.process.poll() is None
        serve.process.send_signal(signal.SIGINT)
        serve.ended(130)
        assert "wait" in send.communicate(timeout=60)[0]
        assert send.returncode == 4
    with relay_process(tmp_path, "relay") as relay, serving(home, relay) as serve:
        wait_for(lambda: len(relay.letters()) == LETTERS - 10, "the other letters")
        assert "10 in doubt" in serve.stop()
    assert sorted(taken(silent_relay, relay).items()) == [(address, 1) for address in ADDRESSES]
    found = states(home)
    assert {address for address, state in found.items() if state == "uncertain"} == set(taken(silent_relay))
    assert set(found.values()) == {"accepted", "uncertain"}
    home.run("register", "verify")


def test_another_process_hands_over_and_hears_the_result(home: Home, tmp_path: Path) -> None:
    """While `serve` holds the home, `circular send` says who sends, waits for the result and ends with the code that fits it."""
    dead = '[[fault]]\nat = "rcpt"\nto = "office003@*"\nreply = "550 5.1.1 No such mailbox"\n'
    with relay_process(tmp_path, "relay", dead) as relay, serving(home, relay) as serve:
        wrong = home.run("circular", "send", REFERENCE, "--expect", "7", expect=2)
        assert len(wrong.stderr.splitlines()) == 1
        sent = home.run("circular", "send", REFERENCE, "--expect", str(LETTERS), expect=1)
        assert f"process {serve.process.pid} (`serve`" in sent.stderr
        assert f"{LETTERS - 1} handed to our mail server, 1 refused" in sent.stdout
        busy = home.run("serve", expect=3)
        assert (len(busy.stderr.splitlines()), f"process {serve.process.pid}" in busy.stderr) == (1, True)
        serve.stop()
    assert len(relay.letters()) == LETTERS - 1


def test_pause_from_another_process_stops_content_and_resume_goes_on(home: Home, tmp_path: Path) -> None:
    """After `pause` has returned nothing more leaves; after `resume` the rest does, each letter once."""
    home.variables["CHANCERY_RELAYS__MAIN__CONNECTIONS"] = "1"
    with relay_process(tmp_path, "relay", "", *SLOW) as relay, serving(home, relay) as serve:
        with running(home, "circular", "send", REFERENCE, "--expect", str(LETTERS)) as send:
            wait_for(relay.letters, "the first letter")
            paused = home.run("circular", "pause", REFERENCE, expect=4)
            gone = len(relay.letters())
            assert 0 < gone < LETTERS
            assert f"{counted(gone, 'address')} handed to our mail server, {LETTERS - gone} wait" in paused.stdout
            printed, _ = send.communicate(timeout=60)
            assert (send.returncode, "It is paused" in printed) == (4, True)
        assert sorted(states(home).values()) == ["accepted"] * gone + ["queued"] * (LETTERS - gone)
        assert len(relay.letters()) == gone
        home.run("circular", "resume", REFERENCE, expect=4)
        wait_for(lambda: len(relay.letters()) == LETTERS, "the other letters")
        serve.stop()
    assert sorted(taken(relay).items()) == [(address, 1) for address in ADDRESSES]
    assert set(states(home).values()) == {"accepted"}


def test_what_waits_for_a_person_goes_on_under_serve_once_told(home: Home, tmp_path: Path) -> None:
    """The login is refused: the circular is held and stays so; `resume`, once that is mended, has the same `serve` send it at once."""
    options = ("--user", "circulars", "--password", "right", "--tls", "starttls", "--ca-file", str(tmp_path / "ca.pem"))
    home.variables |= {
        f"CHANCERY_RELAYS__MAIN__{key}": value
        for key, value in {
            "HOST": "localhost",
            "TLS": "starttls",
            "CA_FILE": str(tmp_path / "ca.pem"),
            "USERNAME": "circulars",
            "PASSWORD_FILE": "relay.password",
        }.items()
    }
    secret = home.folder / "relay.password"
    secret.write_text("wrong", encoding="utf-8")
    secret.chmod(0o600)
    with relay_process(tmp_path, "relay", "", *options) as relay, serving(home, relay) as serve:
        home.run("circular", "send", REFERENCE, "--expect", str(LETTERS), expect=None)
        wait_for(
            lambda: "does not accept our login" in home.run("circular", "show", REFERENCE).stdout,
            "the word that it is held",
        )
        secret.write_text("right", encoding="utf-8")
        assert not relay.letters()
        home.run("circular", "resume", REFERENCE, expect=4)
        wait_for(lambda: len(relay.letters()) == LETTERS, "the letters")
        serve.stop()
    assert set(states(home).values()) == {"accepted"}
    assert home.report(REFERENCE)["counts"]["accepted"] == LETTERS


def test_who_lets_one_circular_go_on_is_told_which_others_wait_for_the_same(home: Home, tmp_path: Path) -> None:
    """Three circulars wait for one mail server: `resume` of the first names the two others, and the command that lets both go on at once."""
    others = ["TEST/2006/002", "TEST/2006/003"]
    for reference in others:
        folder = home.folder / "circulars" / reference[-3:]
        shutil.copytree(home.folder / "circulars" / "meeting", folder)
        home.run("circular", "new", str(folder))
        home.run("circular", "approve", reference, by="bert")
    shutil.copytree(home.folder / "circulars" / "meeting", home.folder / "circulars" / "draft")
    home.run("circular", "new", str(home.folder / "circulars" / "draft"))  # TEST/2006/004
    faults = '[[fault]]\nat = "mail"\nreply = "550 5.7.60 SendAsDenied; not as this sender"\n'
    with relay_process(tmp_path, "refusing", faults) as relay:
        home.use(relay)
        for reference in [REFERENCE, *others]:
            home.run("circular", "send", reference, "--expect", str(LETTERS), expect=3)
        assert not relay.letters()
    with relay_process(tmp_path, "relay") as relay, serving(home, relay) as serve:
        told = home.run("circular", "resume", REFERENCE, expect=4).stdout
        assert "TEST/2006/002, TEST/2006/003 wait for the same" in told
        assert "chancery circular resume TEST/2006/002 TEST/2006/003" in told
        wait_for(lambda: len(relay.letters()) == LETTERS, "the letters of the first")
        assert home.run("circular", "resume", *others, "TEST/2006/004", expect=2).stdout == ""  # all of them or none
        assert "nothing more leaves" in home.run("report", others[0]).stdout
        told = home.run("circular", "resume", *others, expect=4).stdout
        assert "wait for the same" not in told
        wait_for(lambda: len(relay.letters()) == 3 * LETTERS, "the letters of the others")
        serve.stop()
    assert set(taken(relay).values()) == {3}


def test_send_names_the_others_too(home: Home, tmp_path: Path) -> None:
    """A circular that waited is sent in place once its mail server is mended: the other that waits for it is named; one held otherwise is not."""
    other = "TEST/2006/002"
    shutil.copytree(home.folder / "circulars" / "meeting", home.folder / "circulars" / "other")
    home.run("circular", "new", str(home.folder / "circulars" / "other"))
    home.run("circular", "approve", other, by="bert")
    faults = '[[fault]]\nat = "mail"\nreply = "550 5.7.60 SendAsDenied; not as this sender"\n'
    banned = '[[fault]]\nat = "mail"\nreply = "550 5.7.501 Access denied, spam abuse detected"\n'
    with relay_process(tmp_path, "refusing", faults) as relay:
        home.use(relay)
        for reference in (REFERENCE, other):
            said = home.run("circular", "send", reference, "--expect", str(LETTERS), expect=3)
            assert "wait" not in said.stdout  # it was told when the first one was held
    with relay_process(tmp_path, "banning", banned) as relay:
        home.use(relay)
        said = home.run("circular", "send", REFERENCE, expect=3)
        assert f"{other} waits for the same. If it should go on too: chancery circular resume {other}" in said.stdout
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        said = home.run("circular", "send", REFERENCE)  # they wait for two different things now
        assert "for the same" not in said.stdout
        assert set(taken(relay).values()) == {1}


def counters(text: str) -> dict[str, float]:
    """Name with labels -> value, of Prometheus' text."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_log_and_counters_say_the_same(home: Home, tmp_path: Path) -> None:
    """A line per attempt in the file, counters on the same names at the port and in a file; neither names an address."""
    refused = '[[fault]]\nat = "rcpt"\nto = "office007@*"\nreply = "550 5.1.1 No office007@org.example"\n'
    prom = tmp_path / "chancery.prom"
    home.variables |= {
        "CHANCERY_LOG__TO": "file",
        "CHANCERY_LOG__FORMAT": "json",
        "CHANCERY_METRICS__PORT": "0",
        "CHANCERY_METRICS__FILE": str(prom),
    }

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (home.folder / "chancery.log").read_text("ascii").splitlines()]

    with relay_process(tmp_path, "relay", refused) as relay, serving(home, relay) as serve:
        home.run("circular", "send", REFERENCE, "--expect", str(LETTERS), expect=None)
        wait_for(lambda: sum(line["action"].startswith("letter-") for line in lines()) == LETTERS, "all lines")
        (port,) = [line["port"] for line in lines() if line["action"] == "metrics-served"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            served = counters(answer.read().decode())
        serve.stop()
    written = counters(prom.read_text(encoding="utf-8"))
    assert prom.stat().st_mode & 0o777 == 0o644  # for node_exporter, which is another user
    for found in (served, written):
        assert found['chancery_letters_total{action="letter-accepted",relay="main"}'] == LETTERS - 1
        assert found['chancery_letters_total{action="letter-refused",relay="main"}'] == 1
        assert found['chancery_recipients_total{relay="main",state="accepted"}'] == LETTERS - 1
        assert found['chancery_reply_seconds_count{relay="main"}'] == LETTERS - 1
        assert found['chancery_events_total{action="serve-started",level="info"}'] == 1
    assert written['chancery_recipients_open{state="queued"}'] == 0
    assert written['chancery_circulars{state="sent"}'] == 1
    assert written['chancery_circulars{state="held"}'] == 0
    names = {line["action"] for line in lines()}
    assert names == {"letter-accepted", "letter-refused", "metrics-served", "serve-started", "serve-stopped"}
    assert "office0" not in (home.folder / "chancery.log").read_text() + prom.read_text()
    page = (ROOT / "config" / "README.md").read_text(encoding="utf-8").split("## Counters")[1]
    for family in re.findall(r"^# TYPE (\w+)", prom.read_text(), re.MULTILINE):
        assert f"`{family}`" in page or family.endswith("_created"), family


def test_a_port_that_is_taken_is_told(home: Home, tmp_path: Path) -> None:
    """Counters that can't be served stop `serve` before it begins: one line, exit 3."""
    with socket.create_server(("127.0.0.1", 0)) as taken_port:
        home.variables["CHANCERY_METRICS__PORT"] = str(taken_port.getsockname()[1])
        done = home.run("serve", expect=3)
    assert "metrics.port" in done.stderr
    assert len(done.stderr.splitlines()) == 1

"""The crash harness: real commands in processes of their own, struck at random moments; the count is the relay's own file.

A strike is a SIGKILL, a SIGSTOP beyond the lease, a power cut or a SIGTERM at a moment that a seeded generator draws. After each the
command is started anew, on the same home, until all of the circular is settled. What is then compared: the addresses of the sheet,
what the relay has noted in its own file, and what the rows say.

Starting Python and importing the house takes longer than what we strike at, so that processes are forked from one that has imported it
(`multiprocessing`'s fork server, which has no thread, no event loop and no open file of a home). Each is a process in every other respect.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from tests.support import office
from tests.support.postgres import Server
from tests.support.rig import PATIENCE, Home, Relay, relay_process, wait_for

REFERENCE = "TEST/2006/001"
LETTERS, OPEN = 400, 10
#: Milliseconds from the end of a letter to the relay's answer: long enough that ten letters are open at nearly every moment.
ANSWER_MS = 40
#: Seconds without a sign of life after which others may take over; short, so that a stop beyond it is short.
LEASE = 1.0

_URL = "CHANCERY_DATABASE__URL"
#: Octets from which the flight journal is compacted, where it is not those of the program.
COMPACT_AT = "CRASH_COMPACT_AT"

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([
    *("mailer.cli", "mailer.cli.sending", "mailer.cli.running", "mailer.dispatch", "mailer.transport.probe", "mailer.transport.pool"),
    *("mailer.app", "mailer.settings.loader", "mailer.circulars.service", "mailer.migrations.runner", "mailer.reports.delivery", "lists.roll"),
])  # fmt: skip


def _command(arguments: list[str], variables: Mapping[str, str], out: str, boot: str | None) -> None:
    """One command to its end, in a process that is ours; *boot*: the name of this run of the machine, if it was started anew since."""
    for key in [key for key in os.environ if key.startswith("CHANCERY_")]:
        del os.environ[key]
    os.environ |= variables
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from mailer import dispatch
    from mailer.cli import main
    from mailer.delivery.journal import Journal

    if boot is not None:
        dispatch.boot_id = lambda: boot  # type: ignore[attr-defined]
    if octets := variables.get(COMPACT_AT):
        dispatch.Journal = partial(Journal, compact_at=int(octets))  # type: ignore[attr-defined]
    os._exit(main(arguments))


@dataclass
class Running:
    """A command that runs."""

    process: Any
    out: Path

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return not self.process.is_alive()

    def strike(self, number: signal.Signals) -> None:
        """Send a signal; to one that has ended it does nothing."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def end(self) -> int:
        """Wait for its end; its exit code, negative for a signal."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, f"it does not end: {self.said}"
        code: int = self.process.exitcode
        self.process.close()
        return code

    @property
    def said(self) -> str:
        """All that this home's commands have printed."""
        return self.out.read_text(encoding="utf-8") if self.out.exists() else ""


def start(home: Home, *arguments: str, boot: str | None = None) -> Running:
    """Start one command in *home*."""
    out = home.folder.with_suffix(".said")
    words = ["--home", str(home.folder), "--by", "anna", *arguments]
    process = _CONTEXT.Process(target=_command, args=(words, dict(home.variables), str(out), boot), daemon=True)
    process.start()
    return Running(process, out)


# --- counting -----------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """What strikes of one kind came to.

    Attributes:
        strikes: how many there were.
        letters: of the circulars that were struck.
        lost: addresses that neither have their letter nor are in doubt.
        twice: addresses that the relay noted more than once.
        uncertain: addresses in doubt in the end.
        worst: most that a single strike left in doubt: of what one process had claimed.
        starts: processes that were started.
        journal: octets of the largest flight journal that a strike left.
    """

    kind: str
    strikes: int = 0
    letters: int = 0
    lost: int = 0
    twice: int = 0
    uncertain: int = 0
    worst: int = 0
    starts: int = 0
    journal: int = 0
    wrong: list[str] = field(default_factory=list)


def rows(home: Home, question: str) -> list[tuple[Any, ...]]:
    """Ask the rows beside whoever writes them."""
    if url := home.variables.get(_URL):
        with psycopg.connect(url) as connection:
            return connection.execute(question.encode()).fetchall()
    with closing(sqlite3.connect(f"file:{home.folder / 'chancery.sqlite3'}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(question).fetchall()


def in_doubt(home: Home) -> int:
    """Addresses that are in doubt now."""
    return int(rows(home, "SELECT count(*) FROM recipient WHERE state = 'uncertain'")[0][0])


def most_in_doubt(home: Home) -> int:
    """Most addresses that are in doubt by one process's end: by whom they were claimed, for it may be a later start that finds out."""
    found = rows(
        home,
        "SELECT count(*) FROM recipient JOIN attempt ON attempt.id = recipient.attempt_id"
        " WHERE recipient.state = 'uncertain' GROUP BY attempt.owner",
    )
    return max((int(number) for (number,) in found), default=0)


def _taken(noted: bytes) -> Counter[str]:
    """How often the relay took each address's letter, by a part of its file."""
    lines = [json.loads(line) for line in noted.split(b"\n")[:-1]]
    return Counter(
        address
        for line in lines
        if line["kind"] == "letter" and line["taken"]
        for address, code in line["rcpts"]
        if code < 300
    )


def audit(home: Home, noted: bytes, count: Count) -> None:
    """Hold the rows against what the relay has noted, address by address, and have the register verified."""
    taken = _taken(noted)
    told = dict(rows(home, "SELECT address, state FROM recipient"))
    wanted = {f"office{number:03}@org.example" for number in range(1, LETTERS + 1)}
    count.letters += len(wanted)
    count.lost += sum(not taken[one] and told.get(one) != "uncertain" for one in wanted)
    count.twice += sum(number > 1 for number in taken.values())
    count.uncertain += sum(state == "uncertain" for state in told.values())
    if set(told) != wanted or set(taken) - wanted:
        count.wrong.append("the addresses are not those of the sheet")
    for address, state in told.items():
        if (state, taken[address]) not in {("accepted", 1), ("uncertain", 0), ("uncertain", 1)}:
            count.wrong.append(f"{address} is {state}, and the relay has it {taken[address]} times")
    home.run("register", "verify")
    left = list((home.folder / "journal").glob("*"))
    if left:
        count.wrong.append(f"journals are left: {left}")


# --- striking while letters leave ---------------------------------------------------------------------------------


@dataclass
class Field:
    """Where circulars are struck: one relay, and homes that are copies of one with an approved circular."""

    folder: Path
    relay: Relay
    chance: random.Random
    prepared: Path
    homes: int = 0

    def home(self) -> Home:
        """A new home."""
        self.homes += 1
        home = Home(self.folder / f"home{self.homes}")
        shutil.copytree(self.prepared, home.folder)
        home.use(self.relay)
        home.variables |= {
            "CHANCERY_DELIVERY__LEASE": str(LEASE),
            "CHANCERY_DELIVERY__SLICE": "20",
            "CHANCERY_RELAYS__MAIN__CONNECTIONS": str(OPEN),
        }
        return home

    @property
    def size(self) -> int:
        """Octets of the relay's file."""
        return self.relay.record.stat().st_size if self.relay.record.exists() else 0

    def since(self, size: int) -> bytes:
        """What the relay has noted since its file had this size."""
        if not self.relay.record.exists():
            return b""
        with self.relay.record.open("rb") as file:
            file.seek(size)
            return file.read()


@contextlib.contextmanager
def field_of(folder: Path, seed: int) -> Iterator[Field]:
    """A relay and a prepared home; both end with the block."""
    prepared = folder / "prepared"
    office.make(prepared, LETTERS)
    with relay_process(folder, "relay", "", "--end-ms", str(ANSWER_MS), "--no-hash") as relay:
        yield Field(folder, relay, random.Random(seed), prepared)  # noqa: S311 - moments, not secrets


COMPACTING = "kill -9, the journal compacted all the time"
KILLED_BESIDE = "two on PostgreSQL: kill -9 of one"
FROZEN_BESIDE = "two on PostgreSQL: SIGSTOP of one beyond the lease"

#: Strikes at a running command: gives the name of the machine's run for the next start, if that has changed.
Strike = Callable[[Field, Home, Running], str | None]


def _letters_leave(ground: Field, running: Running) -> None:
    """Wait until the relay takes a letter; a greeting is none yet."""
    before = ground.size
    wait_for(lambda: b'"taken"' in ground.since(before) or running.ended, "letters to leave")


def kill_in_flight(ground: Field, _home: Home, running: Running) -> None:
    """SIGKILL while letters leave."""
    _letters_leave(ground, running)
    time.sleep(ground.chance.uniform(0, 0.2))
    running.strike(signal.SIGKILL)


def kill_at_any_moment(ground: Field, _home: Home, running: Running) -> None:
    """SIGKILL at any moment from the start on: imports, lock, recovery, claims, letters."""
    time.sleep(ground.chance.uniform(0, 0.6))
    running.strike(signal.SIGKILL)


def kill_in_recovery(ground: Field, home: Home, running: Running) -> None:
    """SIGKILL while letters leave, and SIGKILL again while the next start takes in the journals."""
    kill_in_flight(ground, home, running)
    running.process.join()
    again = start(home, "circular", "send", REFERENCE, "--expect", str(LETTERS))
    lock = home.folder / "chancery.lock"
    mine = f'"pid": {again.process.pid},'.encode()
    end = time.monotonic() + PATIENCE
    while not again.ended and mine not in lock.read_bytes() and time.monotonic() < end:
        pass  # the moment is a few milliseconds long
    time.sleep(ground.chance.uniform(0, 0.015))
    again.strike(signal.SIGKILL)
    again.end()


def kill_while_compacting(ground: Field, _home: Home, running: Running) -> None:
    """SIGKILL while letters leave, early or late, where a journal is compacted at nearly every turn."""
    _letters_leave(ground, running)
    time.sleep(ground.chance.uniform(0, 1.2))
    running.strike(signal.SIGKILL)


def freeze(ground: Field, _home: Home, running: Running) -> None:
    """SIGSTOP beyond the lease, SIGCONT, and SIGKILL a moment later."""
    _letters_leave(ground, running)
    time.sleep(ground.chance.uniform(0, 0.1))
    running.strike(signal.SIGSTOP)
    time.sleep(LEASE * ground.chance.uniform(1.1, 1.5))
    running.strike(signal.SIGCONT)
    time.sleep(ground.chance.uniform(0, 0.2))
    running.strike(signal.SIGKILL)


def power_cut(ground: Field, home: Home, running: Running) -> str:
    """SIGKILL, and what the journals' pages held is lost from a random place on; the machine starts anew."""
    kill_in_flight(ground, home, running)
    running.process.join()
    for path in (home.folder / "journal").glob("*.flight"):
        os.truncate(path, ground.chance.randint(0, path.stat().st_size))
        if ground.chance.random() < 0.3:
            path.unlink()
    return f"another boot {ground.chance.random()}"


def ask_to_stop(ground: Field, _home: Home, running: Running) -> None:
    """SIGTERM while letters leave: an orderly end."""
    _letters_leave(ground, running)
    time.sleep(ground.chance.uniform(0, 0.2))
    running.strike(signal.SIGTERM)


def stop_at_once(ground: Field, home: Home, running: Running) -> None:
    """SIGTERM, and a second one at once."""
    ask_to_stop(ground, home, running)
    time.sleep(ground.chance.uniform(0, 0.02))
    running.strike(signal.SIGTERM)


STRIKES: dict[str, Strike] = {
    "kill -9 while letters leave": kill_in_flight,
    "kill -9 at any moment from the start": kill_at_any_moment,
    "kill -9, and again in the recovery": kill_in_recovery,
    COMPACTING: kill_while_compacting,
    "SIGSTOP beyond the lease, then kill -9": freeze,
    "power cut: journals torn, another boot": power_cut,
    "SIGTERM": ask_to_stop,
    "SIGTERM twice": stop_at_once,
}


def sending(ground: Field, kind: str, strikes: int) -> Count:
    """Strike so often while circulars are sent, at most ten times each; then let each end, and count."""
    count = Count(kind)
    boot: str | None = None
    while count.strikes < strikes:
        home, since = ground.home(), ground.size
        if kind == COMPACTING:
            home.variables[COMPACT_AT] = "1000"
        for _ in range(min(10, strikes - count.strikes)):
            running = start(home, "circular", "send", REFERENCE, "--expect", str(LETTERS), boot=boot)
            boot = STRIKES[kind](ground, home, running) or boot
            count.strikes, count.starts = count.strikes + 1, count.starts + 1
            running.end()
            sizes = [path.stat().st_size for path in (home.folder / "journal").glob("*.flight")]
            count.journal = max([count.journal, *sizes])
            if _is_sent(home):
                break
        _finish(home, count, boot)
        _bury(home, count, boot)
        audit(home, ground.since(since), count)
    return count


def _is_sent(home: Home) -> bool:
    return bool(rows(home, "SELECT state FROM circular")[0][0] == "sent")


def _finish(home: Home, count: Count, boot: str | None) -> None:
    """A last start, without a strike, that has to end well; and what the strikes have left in doubt."""
    if not _is_sent(home):
        last = start(home, "circular", "send", REFERENCE, "--expect", str(LETTERS), boot=boot)
        count.starts += 1
        code = last.end()
        if code != (1 if in_doubt(home) else 0):
            count.wrong.append(f"the last start ends with {code}: {last.said[-2000:]}")
    count.worst = max(count.worst, most_in_doubt(home))


def together(ground: Field, server: Server, kind: str, strikes: int) -> Count:
    """Two processes send from one home on PostgreSQL; strike at one of them, start another in its place; then let them end, and count.

    A frozen one is woken when the other has had time to take over what it held.
    """
    count = Count(kind)
    number: signal.Signals = signal.SIGSTOP if kind == FROZEN_BESIDE else signal.SIGKILL
    template = asyncio.run(server.upgraded())
    office.make(ground.folder / f"shared{number}", LETTERS, settings=f'[database]\nurl = "{server.url(template)}"')
    while count.strikes < strikes:
        home, since = ground.home(), ground.size
        home.variables[_URL] = server.url(server.new(template))
        pair = [start(home, "circular", "send", REFERENCE, "--expect", str(LETTERS))]
        _letters_leave(ground, pair[0])
        for _ in range(min(5, strikes - count.strikes)):
            pair.append(start(home, "circular", "send", REFERENCE))
            _letters_leave(ground, pair[0])
            time.sleep(ground.chance.uniform(0, 0.3))
            victim = pair.pop(ground.chance.randrange(2))
            victim.strike(number)
            if number is signal.SIGSTOP:
                time.sleep(LEASE * ground.chance.uniform(1.5, 2.5))
                victim.strike(signal.SIGCONT)
            count.strikes, count.starts = count.strikes + 1, count.starts + 1
            victim.end()
            if _is_sent(home):
                break
        pair[0].end()
        count.starts += 1
        _finish(home, count, None)
        _bury(home, count, None)
        audit(home, ground.since(since), count)
    return count


def _bury(home: Home, count: Count, boot: str | None) -> None:
    """A start that takes in the journal of a victim that was struck when all was settled, or after the other had looked for the dead."""
    left = list((home.folder / "journal").glob("*.flight"))
    if left:
        last = start(home, "serve", boot=boot)
        count.starts += 1
        wait_for(lambda: last.ended or f"Serving {home.folder}" in last.said, "the journals to be taken in")
        last.strike(signal.SIGTERM)
        if code := last.end():
            count.wrong.append(f"the start that buries ends with {code}: {last.said[-2000:]}")

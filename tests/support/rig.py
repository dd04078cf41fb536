"""A home and a relay as real processes that a test may kill, and counting from the relay's own file."""

import io
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailer.cli import main
from tests.support.processes import environment

#: Seconds after which a test gives up waiting for another process.
PATIENCE = 60.0


def wait_for(look: Callable[[], Any], what: str) -> Any:
    """Ask again and again, a hundred times a second, until *look* says something true; its answer."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}")


@dataclass
class Relay:
    """The rehearsal server as a process of its own, and the file in which it notes what it took."""

    port: int
    record: Path

    def lines(self) -> list[dict[str, Any]]:
        """Every whole line of its record."""
        if not self.record.exists():
            return []
        return [json.loads(line) for line in self.record.read_bytes().split(b"\n")[:-1]]

    def letters(self) -> list[dict[str, Any]]:
        """The letters that it took, in order."""
        return [line for line in self.lines() if line["kind"] == "letter" and line["taken"]]

    def phases(self, phase: str) -> int:
        """How many letters have been seen to reach a phase."""
        return sum(line["kind"] == "phase" and line["phase"] == phase for line in self.lines())


def taken(*relays: Relay) -> Counter[str]:
    """How often each address was sent its letter, over all relays, from their own files."""
    letters = [letter for relay in relays for letter in relay.letters()]
    return Counter(address for letter in letters for address, code in letter["rcpts"] if code < 300)


@contextmanager
def relay_process(folder: Path, name: str, faults: str = "", *options: str) -> Iterator[Relay]:
    """Run the rehearsal server without TLS until the block ends; *faults* is its script."""
    port_file, record = folder / f"{name}.port", folder / f"{name}.jsonl"
    arguments = ["--port-file", str(port_file), "--record", str(record), "--phases", *options]
    if faults:
        script = folder / f"{name}.toml"
        script.write_text(faults, encoding="utf-8")
        arguments += ["--faults", str(script)]
    with subprocess.Popen([sys.executable, "-m", "mailer.rehearsal", *arguments], env=environment()) as process:
        try:
            wait_for(lambda: port_file.exists() or process.poll() is not None, "the relay")
            yield Relay(int(port_file.read_text()), record)
        finally:
            process.terminate()
            process.wait()


@dataclass
class Home:
    """A home and the commands in it."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        """The command line for *arguments*."""
        return [sys.executable, "-m", "mailer", "--home", str(self.folder), *arguments]

    def use(self, relay: Relay) -> None:
        """Send to this relay from now on."""
        self.variables["CHANCERY_RELAYS__MAIN__PORT"] = str(relay.port)

    def run(self, *arguments: str, expect: int | None = 0, by: str = "anna") -> subprocess.CompletedProcess[str]:
        """Run one command to its end; its exit code must be *expect*, if given.

        It runs in this process, by the same `main` as on a terminal: starting Python anew for each step costs more than the step.
        `start` makes a process of its own, for what a test wants to signal or kill.
        """
        command = ["--home", str(self.folder), "--by", by, *arguments]
        out, err = io.StringIO(), io.StringIO()
        ours = {key for key in os.environ if key.startswith("CHANCERY_")} - {"CHANCERY_SHARED"}
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for key in ours:
                patch.delenv(key)
            for key, value in {"COLUMNS": "160", "NO_COLOR": "1", **self.variables}.items():
                patch.setenv(key, value)
            code = main(command)
        done = subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
        assert "an error that was not foreseen" not in done.stderr, (
            f"{arguments}: {done.stderr}"
        )  # ends with 3, as others do
        if expect is not None:
            assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one command and go on."""
        return subprocess.Popen(
            self.command(*arguments),
            env=environment(**self.variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def report(self, reference: str) -> dict[str, Any]:
        """The report as JSON."""
        found: dict[str, Any] = json.loads(self.run("report", reference, "--format", "json").stdout)
        return found

    def journal_lines(self) -> list[list[Any]]:
        """Every whole line of the flight journals that are there."""
        folder = self.folder / "journal"
        return [
            json.loads(line)
            for path in (folder.glob("*.flight") if folder.is_dir() else ())
            for line in path.read_bytes().split(b"\n")[:-1]
        ]

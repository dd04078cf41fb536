"""Where the letters of a benchmark go: our C sink as a process of its own, or, without a C compiler, the rehearsal server."""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_HERE = Path(__file__).resolve().parent


@dataclass
class Took:
    """What a sink took, complete once it has ended.

    Attributes:
        seconds: from the first MAIL to the last reply to a letter.
        letters_to: how many letters each address was sent.
        digests: sha256 of the letter that each address was sent, where the sink was asked for it.
    """

    port: int
    letters: int = 0
    octets: int = 0
    seconds: float = 0.0
    letters_to: Counter[str] = field(default_factory=Counter)
    digests: dict[str, str] = field(default_factory=dict)


def build(folder: Path) -> Path | None:
    """Compile the sink; None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    made = folder / "sink"
    subprocess.run([compiler, "-O2", "-pthread", "-o", made, _HERE / "sink.c"], check=True)
    return made


@contextmanager
def sink(program: Path | None, folder: Path, slow: tuple[int, int] | None = None) -> Iterator[Took]:
    """Run a sink until the block ends; what it took is known after it.

    *slow*: milliseconds that our C sink waits at the end of a letter, and before other replies.
    """
    told = folder / "sink.txt"
    told.unlink(missing_ok=True)
    if program is None:
        with rehearsal(folder) as took:
            yield took
        return
    with subprocess.Popen([program, told, *map(str, slow or ())], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            took = Took(int(process.stdout.readline()))
            yield took
        finally:
            process.terminate()
            process.wait()
    first, *addresses = told.read_text().splitlines()
    letters, octets, seconds = first.split()
    took.letters, took.octets, took.seconds = int(letters), int(octets), float(seconds)
    took.letters_to.update(addresses)


@contextmanager
def rehearsal(folder: Path, *, hashes: bool = False) -> Iterator[Took]:
    """The rehearsal server as a sink; *hashes*: it digests each letter, which takes it longer than most senders need."""
    port_file, record = folder / "port", folder / "record.jsonl"
    for file in (port_file, record):
        file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "mailer.rehearsal", "--port-file", port_file, "--record", record]
    command += [] if hashes else ["--no-hash"]
    with subprocess.Popen(command) as process:
        try:
            while not (port_file.exists() and port_file.read_text().strip()):
                if process.poll() is not None:
                    raise RuntimeError("the rehearsal server ended")
                time.sleep(0.02)
            took = Took(int(port_file.read_text()))
            yield took
        finally:
            process.terminate()
            process.wait()
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    for line in (line for line in lines if line["kind"] == "letter" and line["taken"]):
        took.letters += 1
        took.octets += line["size"]
        took.letters_to.update(address for address, code in line["rcpts"] if code == 250)
        took.digests.update((address, line["sha256"]) for address, code in line["rcpts"] if code == 250)

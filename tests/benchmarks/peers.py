"""The senders that are compared: ours, the floor, and the peers that this machine has. Each is one command, run to its end."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import work
from sinks import Took

_HERE = Path(__file__).resolve().parent
#: Runs a command from a small process, and says what it cost: Linux counts as a program's peak what the process held that started it.
_LAUNCHER = """
import os, sys, time
start = time.perf_counter()
_, status, used = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ), 0)
cost = f"{time.perf_counter() - start} {used.ru_utime + used.ru_stime} {used.ru_maxrss / 1024}"
os.write(int(sys.argv[1]), cost.encode())
sys.exit(os.waitstatus_to_exitcode(status) and 1)
"""


@dataclass(frozen=True)
class Cost:
    """What one run cost: seconds on the wall, seconds of CPU, peak resident memory in MB."""

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Peer:
    """A sender.

    Attributes:
        command: gives its command line for a run to a port; may prepare files.
        share: what part of the letters it sends; the slow ones send fewer.
    """

    name: str
    command: Callable[[int, int], Sequence[str | Path]]
    share: float = 1.0
    variables: tuple[tuple[str, str], ...] = ()

    def run(self, letters: int, took: Took) -> Cost:
        """Send *letters* to a sink.

        Raises:
            RuntimeError: the command failed.
        """
        command = [str(part) for part in self.command(letters, took.port)]
        return cost_of(command, self.name, dict(self.variables))


def cost_of(command: Sequence[str | Path], name: str, variables: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed.
    """
    told, tells = os.pipe()
    with os.fdopen(told) as cost:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(tells), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=work.environment(**(variables or {})),
                pass_fds=[tells],
                check=False,
            )
        finally:
            os.close(tells)
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr.decode(errors='replace')[-500:]}")
        return Cost(*(float(number) for number in cost.read().split()))


def ours(prepared: work.Prepared, folder: Path, connections: int, name: str = "chancery circular send") -> Peer:
    """The installed `chancery circular send` on a copy of the home."""

    def command(letters: int, port: int) -> Sequence[str | Path]:
        home = work.copy_of(prepared, folder, port, connections)
        send = ("circular", "send", work.REFERENCE, "--expect", str(letters))
        return [work.CHANCERY, "--home", home, "--by", "anna", *send]

    return Peer(name, command)


def floor(sample: Path, share: float) -> Peer:
    """`aiosmtplib.send(EmailMessage)`, one by one."""
    return Peer(
        "aiosmtplib.send, one by one",
        lambda letters, port: [sys.executable, _HERE / "plain_aiosmtplib.py", str(port), str(letters), sample],
        share,
    )


def others(letter: Path, sample: Path, connections: int, share: float) -> tuple[list[Peer], list[str]]:
    """Postfix's smtp-source and nodemailer, where they are at hand; and what is missing, with the remedy."""
    found, missing = [], []
    source = os.environ.get("BENCH_SMTP_SOURCE") or shutil.which("smtp-source", path=f"{os.environ['PATH']}:/usr/sbin")
    if source:
        given = [
            "-d",
            "-s",
            str(connections),
            "-M",
            "bench.test",
            "-f",
            "a@example.test",
            "-t",
            "b@example1.test",
            "-F",
            letter,
        ]
        found.append(
            Peer(
                "smtp-source (C, no account)",
                lambda letters, port: [source, *given, "-m", str(letters), f"127.0.0.1:{port}"],
            )
        )
    else:
        missing.append("smtp-source: not found (apt install postfix, or name it in BENCH_SMTP_SOURCE)")
    node, modules = shutil.which("node"), os.environ.get("BENCH_NODE_MODULES", "")
    if node and all((Path(modules) / each).is_dir() for each in ("nodemailer", "nunjucks")):
        found.append(
            Peer(
                "nodemailer's pool (no account)",
                lambda letters, port: [
                    *(node, _HERE / "pool_nodemailer.js", str(port), str(letters), sample, str(connections))
                ],
                share,
                variables=(("NODE_PATH", modules),),
            )
        )
    else:
        missing.append(
            "nodemailer: not found (npm i nodemailer nunjucks, and name its node_modules in BENCH_NODE_MODULES)"
        )
    return found, missing

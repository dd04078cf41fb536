"""Our own commands as separate processes, as a person or a service would start them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of ours, with Python's warnings as errors."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CHANCERY_", "PYTEST_"))}
    return {**kept, "PYTHONWARNINGS": "error", "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "160", **more}


def chancery(
    *arguments: str | Path, cwd: Path, variables: Mapping[str, str] | None = None, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; the caller looks at its exit code and at what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "mailer", *map(str, arguments)],
        cwd=cwd,
        env=environment(**(variables or {})),
        input=given,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@dataclass(frozen=True)
class Relay:
    """A rehearsal server that runs as a process of its own."""

    port: int
    ca_file: Path
    record: Path


@contextmanager
def rehearsal_server(folder: Path, *options: str) -> Iterator[Relay]:
    """A rehearsal server with TLS; its files are in *folder*. It is stopped at the end of the block."""
    folder.mkdir(exist_ok=True)
    relay_files = {name: folder / name for name in ("port", "ca.pem", "record.jsonl")}
    command = [
        sys.executable,
        "-m",
        "mailer.rehearsal",
        "--port-file",
        relay_files["port"],
        "--ca-file",
        relay_files["ca.pem"],
    ]
    command += ["--record", relay_files["record.jsonl"], *options]
    process = subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield Relay(_port(process, relay_files["port"]), relay_files["ca.pem"], relay_files["record.jsonl"])
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _port(process: subprocess.Popen[bytes], file: Path) -> int:
    """The server's port, once it has written it; its own words if it ends before."""
    while not (file.is_file() and file.read_text().strip()):
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        _, words = process.communicate()
        raise AssertionError(f"the rehearsal server ended: {words.decode()}")
    return int(file.read_text())

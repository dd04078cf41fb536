"""A PostgreSQL server of the tests' own: Debian's programs, a free loopback port, a folder that goes with it.

It runs with fsync off: what a power cut leaves is PostgreSQL's promise, not ours, and a test on a busy machine must not wait for disks.
As root we start it as the user `postgres`, which the package makes, because it refuses to run as root.
Two roles: `chancery`, which needs no password, and `guarded`, whose password is `PASSWORD`.
"""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "sésame & 100%"
#: What the server may take to start, on a machine however busy.
_PATIENCE = 120.0
_TEMPLATE = "template_chancery"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "lc_messages": "C",
}


def programs() -> Path:
    """The folder of PostgreSQL's newest programs.

    Raises:
        AssertionError: the package is not installed.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert found, (
        "PostgreSQL is not here: as root, apt-get install --no-install-recommends postgresql (or `make packages`)"
    )
    return found[-1].parent


def _whose() -> dict[str, Any]:
    """What makes a process another user's, where we are root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


#: What a benchmark wants of it: commits that a power cut can't take back.
_DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB", "autovacuum": "on"}


class Server:
    """A running server; `pg_server` makes one."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder, self.data, self.port = folder, folder / "data", 0
        self._settings = _SETTINGS | (_DURABLE if durable else {})
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._template = False

    def initialise(self) -> None:
        """Make the cluster's files, and who may come in how."""
        whose = _whose()
        if whose:
            os.chown(self.folder, whose["user"], whose["group"])
        command = [programs() / "initdb", "-D", self.data, "-U", "chancery", "-A", "trust", "-E", "UTF8", "--locale=C"]
        command += [
            "--locale-provider=icu",
            "--icu-locale=en",
        ]  # words sort as for people: no code may rely on byte order
        done = subprocess.run(
            [*map(str, command), "--no-sync"], capture_output=True, text=True, cwd=self.folder, check=False, **whose
        )
        assert done.returncode == 0, f"initdb: {done.stdout}{done.stderr}"
        (self.data / "pg_hba.conf").write_text(
            "host all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n", encoding="ascii"
        )

    def start(self, port: int = 0) -> None:
        """Start it, on *port* or on a free one, and wait until it answers."""
        for _ in range(5):  # another program may take the free port before the server does
            self.port = port or _free_port()
            options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
            command = [str(programs() / "postgres"), "-D", str(self.data), "-p", str(self.port), *options]
            if death := shutil.which("setpriv"):  # it must not outlive a test run that is killed
                command = [death, "--pdeathsig", "INT", *command]
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **_whose())
            if self._answers(self._process):
                return
        raise AssertionError(f"PostgreSQL does not start:\n{(self.folder / 'log').read_text('utf-8')[-2000:]}")

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        end = time.monotonic() + _PATIENCE
        while process.poll() is None and time.monotonic() < end:
            try:
                psycopg.connect(self.conninfo("postgres")).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False

    def stop(self) -> None:
        """Stop it at once, as an administrator would who is in a hurry; its data stay."""
        if self._process is not None:
            self._process.send_signal(2)
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def conninfo(self, database: str) -> str:
        """How libpq finds a database."""
        return f"host=127.0.0.1 port={self.port} user=chancery dbname={database} connect_timeout=30"

    def url(self, database: str, *, login: str = "chancery") -> str:
        """How settings name a database."""
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements, each on its own."""
        with psycopg.connect(self.conninfo(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def new(self, template: str = "template0") -> str:
        """Make a database; its name."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still in it."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def upgraded(self) -> str:
        """Make a database with this version's tables, as a copy of one that was made once; its name."""
        if not self._template:
            from mailer.database import Database
            from mailer.migrations import runner

            self.run(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
            made = Database(self.url(_TEMPLATE))
            await runner.upgrade(made)
            await made.close()
            self._template = True
        return self.new(_TEMPLATE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def pg_server(*, durable: bool = False) -> Iterator[Server]:
    """A server that runs until the block ends; *durable*: with fsync, for benchmarks."""
    folder = Path(tempfile.mkdtemp(prefix="chancery-postgres-"))  # pytest's own folders are closed to the server's user
    server = Server(folder, durable=durable)
    try:
        server.initialise()
        server.start()
        password = PASSWORD.replace("'", "''")
        server.run(f"CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '{password}'")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

"""A real Postfix on a free loopback port, all of it in a folder that goes with it, and a sink that its letters end in.

Postfix can be started by root only; its daemons then drop to the user `postfix`, whom Debian's package makes. Nothing of the system's
own is touched. It looks nothing up in the DNS: where mail goes is a table, and what the table lacks is refused.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

#: Seconds that a test waits for Postfix, on a machine however busy.
PATIENCE = 120.0
#: How often another port is tried, where somebody was quicker.
_PORTS = 5

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_bind_address = 127.0.0.1
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
myhostname = {name}
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
transport_maps = texthash:{folder}/etc/transport
default_transport = error:5.1.2 no such domain
notify_classes =
message_size_limit = {size}
delay_warning_time = 2s
minimal_backoff_time = 2s
maximal_backoff_time = 3s
queue_run_delay = 2s
maximal_queue_lifetime = 1h
bounce_queue_lifetime = 1h
"""
#: service, its kind, whether private, how often it wakes, how many at most, the program
_SERVICES = """\
pickup unix n 60 1
cleanup unix n - 0
qmgr unix n 300 1
rewrite unix - - - trivial-rewrite
bounce unix - - 0
defer unix - - 0 bounce
trace unix - - 0 bounce
verify unix - - 1
flush unix n 1000? 0
proxymap unix - - -
smtp unix - - -
showq unix n - -
error unix - - -
retry unix - - - error
anvil unix - - 1
scache unix - - 1
postlog unix-dgram n - 1 postlogd
"""


@dataclass
class Arrived:
    """A letter at the sink: its envelope and its octets, dots unstuffed."""

    sender: str
    recipients: list[str]
    data: bytes

    @property
    def own(self) -> bytes:
        """What the letter was before Postfix put its Received in front."""
        data = self.data
        while data.startswith((b"Received:", b"Return-Path:")):
            end = data.index(b"\r\n") + 2
            while data[end : end + 1] in {b" ", b"\t"}:
                end = data.index(b"\r\n", end) + 2
            data = data[end:]
        return data

    @property
    def parsed(self) -> Message:
        """As the standard library reads it."""
        return message_from_bytes(self.data)


@dataclass
class Sink:
    """What receives: aiosmtpd in a thread of its own. `refusals`: local part -> what is said at RCPT."""

    refusals: Mapping[str, str]
    port: int = 0
    _arrived: list[Arrived] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's name for it
        """Refuse or take an address."""
        if refused := self.refusals.get(address.partition("@")[0]):
            return refused
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - as above
        """Keep a letter."""
        with self._news:
            self._arrived.append(Arrived(envelope.mail_from, list(envelope.rcpt_tos), bytes(envelope.content)))
            self._news.notify_all()
        return "250 2.0.0 Ok"

    def wait_for(self, count: int, *, to: str) -> list[Arrived]:
        """The letters of which an address begins or ends with *to*, once there are *count*."""
        with self._news:
            there = self._news.wait_for(lambda: len(self._of(to)) >= count, PATIENCE)
            found = self._of(to)
        assert there, f"waited {PATIENCE:g} s in vain for {count} letters to {to}: {len(found)} came"
        return found

    def _of(self, to: str) -> list[Arrived]:
        return [
            one for one in self._arrived if any(each.startswith(to) or each.endswith(to) for each in one.recipients)
        ]


class _OnAnyPort(Controller):
    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        super()._trigger_server()


@contextmanager
def sink(refusals: Mapping[str, str], *, utf8: bool = True) -> Iterator[Sink]:
    """A sink on a free port until the block ends; *utf8*: it offers SMTPUTF8."""
    made = Sink(refusals)
    controller = _OnAnyPort(made, hostname="127.0.0.1", port=0, enable_SMTPUTF8=utf8)
    controller.start()
    try:
        made.port = controller.port
        yield made
    finally:
        controller.stop()


@contextmanager
def postfix(routes: Mapping[str, str], *, size: int) -> Iterator[int]:
    """The port of a Postfix that takes all mail of this machine for the domains of *routes* (domain -> transport).

    Args:
        routes: where mail for a domain goes, such as `smtp:[127.0.0.1]:2525`.
        size: octets of the largest letter that it takes.

    Raises:
        AssertionError: Postfix is not installed, we are not root, or it does not start.
    """
    program = shutil.which("postfix", path="/usr/sbin:/usr/bin")
    assert program, "Postfix is not here: as root, apt-get install --no-install-recommends postfix (or `make packages`)"
    assert os.geteuid() == 0, "Postfix can be started by root only: run the tests as root"
    # not in pytest's folder, which is closed to other users
    with tempfile.TemporaryDirectory(prefix="chancery-postfix-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for inner in ("etc", "spool", "data", "log"):
            (folder / inner).mkdir(mode=0o755)
        shutil.chown(folder / "data", "postfix")
        lines = "".join(f"{domain} {transport}\n" for domain, transport in routes.items())
        (folder / "etc" / "transport").write_text(lines, encoding="ascii")
        for attempt in range(1, _PORTS + 1):
            port, ours = _free_port(), f"relay-{uuid.uuid4().hex[:12]}.test"
            (folder / "etc" / "main.cf").write_text(_MAIN.format(folder=folder, name=ours, size=size), encoding="ascii")
            (folder / "etc" / "master.cf").write_text(_master(port), encoding="ascii")
            with _running(program, folder) as process:
                if _answers(process, port, ours):
                    yield port
                    return
            log = folder / "log" / "mail.log"
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else "it wrote no log"
            assert attempt < _PORTS, f"Postfix does not start: {said}"


@contextmanager
def _running(program: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [program, "-c", str(folder / "etc")]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    with subprocess.Popen([*command, "start-fg"], start_new_session=True, **quiet) as process:
        try:
            yield process
        finally:
            subprocess.run([*command, "stop"], check=False, timeout=PATIENCE, **quiet)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()


def _answers(process: subprocess.Popen[bytes], port: int, ours: str) -> bool:
    """Whether it greets us by the name that only it has."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.settimeout(PATIENCE)
            return ours.encode() in connection.recv(1000)
        time.sleep(0.05)
    return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _master(port: int) -> str:
    lines = [f"127.0.0.1:{port} inet n - n - - smtpd"]
    for line in _SERVICES.splitlines():
        service, kind, private, wakes, most, *program = line.split()
        lines.append(f"{service} {kind} {private} - n {wakes} {most} {program[0] if program else service}")
    return "\n".join([*lines, ""])

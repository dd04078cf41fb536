import asyncio
import contextlib
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailer.rehearsal import record
from tests.support.raw_smtp import LETTER, Raw


@contextlib.asynccontextmanager
async def process(folder: Path, *more: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """The server as a process of its own, with its port."""
    port_file = folder / "port"
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mailer.rehearsal", "--port-file", str(port_file), *more),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            while not port_file.exists():
                assert started.returncode is None, await started.stderr.read()
                await asyncio.sleep(0.01)  # another process: nothing to wait on but its file
        yield started, int(port_file.read_text())
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def test_the_record_outlives_kill_9(tmp_path: Path):
    """Every letter for which a client heard 250 is in the file of a server that was killed the moment after."""
    async with process(tmp_path, "--record", str(tmp_path / "record")) as (server, port), Raw(port) as raw:
        await raw.hello()
        for number in range(20):
            assert (await raw.letter(f"a{number}@y.example")).startswith("250")
        await raw.envelope("never@y.example")
        raw.write(LETTER)
        server.send_signal(signal.SIGKILL)
        assert await server.wait() == -signal.SIGKILL
    letters = record.read(tmp_path / "record")
    assert [line["rcpts"] for line in letters] == [[[f"a{number}@y.example", 250]] for number in range(20)]
    assert all(line["taken"] for line in letters)


async def test_phases_can_be_followed_from_outside(tmp_path: Path):
    """A crash driver reads the phases from the file, and knows by them whether the reply had left."""
    rules = tmp_path / "faults.toml"
    rules.write_text('[[fault]]\nat = "reply"\ndo = "stall"\nletter = 2\n')
    more = ("--record", str(tmp_path / "record"), "--phases", "--faults", str(rules))
    async with process(tmp_path, *more) as (_, port), Raw(port) as raw:
        await raw.hello()
        await raw.letter("a@y.example")
        await raw.envelope("b@y.example")
        raw.write(LETTER + b".\r\n")
        async with asyncio.timeout(30):
            while True:
                if [line.get("phase") for line in record.read(tmp_path / "record")].count("taken") == 2:
                    break
                await asyncio.sleep(0.01)  # as above
        lines = record.read(tmp_path / "record")
    assert [line.get("phase", line["kind"]) for line in lines] == [
        *("connect", "ehlo", "mail", "rcpt", "data", "content", "dot", "letter", "taken", "replied"),
        *("mail", "rcpt", "data", "content", "dot", "letter", "taken"),
    ]


async def test_sigterm_ends_it_well(tmp_path: Path):
    """SIGTERM closes connections and ends the process with 0; TLS and login worked until then."""
    ca_file = tmp_path / "ca.pem"
    more = ("--tls", "implicit", "--ca-file", str(ca_file), "--user", "u", "--password", "p")
    async with process(tmp_path, *more) as (server, port):
        context = ssl.create_default_context(cafile=ca_file)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        assert (await reader.readline()).startswith(b"220 ")
        server.terminate()
        assert await asyncio.wait_for(server.wait(), 20) == 0
        writer.transport.abort()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--faults", "missing.toml"), "missing.toml"),
        (("--host", "0.0.0.0"), "loopback only"),  # noqa: S104 - that it is refused is the point
    ],
)
async def test_what_can_not_be_played_ends_in_one_line(tmp_path: Path, more: tuple[str, ...], words: str):
    """Wrong use: one line on standard error, exit code 2."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mailer.rehearsal", *more), stderr=asyncio.subprocess.PIPE
    )
    _, told = await started.communicate()
    assert started.returncode == 2
    assert words in told.decode()
    assert told.decode().count("\n") == 1

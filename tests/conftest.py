"""Fixtures and guards for all tests."""

import datetime as dt
import ipaddress
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from mailer.clock import ManualClock
from mailer.database import Database
from tests.support.postgres import Server, pg_server

# A test depends on nothing that this machine or an earlier run has left: no setting of the developer's own home, no examples
# that hypothesis remembers, no time limit that a busy machine would break.
for _name in [name for name in os.environ if name.startswith("CHANCERY_") and name != "CHANCERY_SHARED"]:
    del os.environ[_name]
_MEMORY, _ROOM = Path("/dev/shm"), 6 * 2**30  # noqa: S108 - each run makes a folder of its own in it


def _in_memory() -> bool:
    """Whether files can lie in memory: there is room, and programs may be run from there."""
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return False
    return (
        found.f_bavail * found.f_frsize >= _ROOM
        and not found.f_flag & os.ST_NOEXEC
        and os.access(_MEMORY, os.W_OK | os.X_OK)
    )


# Thousands of homes are made, and each of their commits waits for the disk (a third of the time of all tests, on some machines).
if "TMPDIR" not in os.environ and _in_memory():
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None
hypothesis.settings.register_profile(
    "chancery", deadline=None, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("chancery")


def _loopback_only(event: str, arguments: tuple) -> None:
    """Refuse any connection that would leave this machine."""
    if event != "socket.connect":
        return
    address = arguments[1]
    if not isinstance(address, tuple):
        return  # a Unix socket
    try:
        local = ipaddress.ip_address(str(address[0]).split("%", maxsplit=1)[0]).is_loopback
    except ValueError:
        local = address[0] == "localhost"
    if not local:
        raise AssertionError(f"a test wanted to connect to {address[0]}")


sys.addaudithook(_loopback_only)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at 7 July 2006, 10:00 in Geneva."""
    return ManualClock(dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of this test process's own; without Debian's package whoever asks for it fails, and says so."""
    with pg_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An open database with this version's tables: each test runs on SQLite and on PostgreSQL."""
    from mailer.migrations import runner

    if request.param == "sqlite":
        opened = Database(f"sqlite:///{tmp_path / 'chancery.sqlite3'}")
        await runner.upgrade(opened)
        yield opened
        await opened.close()
        return
    server: Server = request.getfixturevalue("postgres")
    name = await server.upgraded()
    opened = Database(server.url(name))
    yield opened
    await opened.close()
    server.drop(name)


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    """As `database`, on SQLite only: for what is SQLite's own, or does not depend on where rows are kept."""
    from mailer.migrations import runner

    opened = Database(f"sqlite:///{tmp_path / 'chancery.sqlite3'}")
    await runner.upgrade(opened)
    yield opened
    await opened.close()

"""A stage for the fault matrix: an approved circular of three letters, the real sender, and the rehearsal server that it sends to.

All in one process and on a clock that is moved by hand, so that days of retrying take a moment: real SMTP over loopback, a real
SQLite file with `synchronous=FULL`, a real flight journal. Ours and the relay's clock are two, for ours may jump.
"""

import datetime as dt
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from mailer.app import App
from mailer.circulars.models import Circular, Recipient
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.proof import chain_disagreements, chain_lines, chains
from mailer.dispatch import Sending, sending
from mailer.migrations import runner
from mailer.register.verify import verify
from mailer.rehearsal.server import Options, Server, TlsMode
from mailer.reports import table
from mailer.reports.delivery import build
from mailer.settings import Relay, Settings
from tests.support.approved import SETTINGS, office

START = dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC)
#: On the first letter one mailbox, on the second two, on the third one.
MAILBOXES = (("one@first.example",), ("two@second.example", "cc@second.example"), ("three@third.example",))
_DATABASE = "chancery.sqlite3"
#: Rounds of waiting for what falls due next; giving up after four days takes some thirty.
_ROUNDS = 200


class JumpingClock(ManualClock):
    """A clock whose wall time can be set, as an administrator or a time server sets it."""

    def set_wall(self, step: dt.timedelta) -> None:
        """Move the wall clock alone, forward or back; sleepers notice as those of the system's clock do: now."""
        self._now += step
        self._wake_sleepers()


async def prepare(folder: Path, mailboxes: Sequence[Sequence[str]] = MAILBOXES, chosen: Settings = SETTINGS) -> None:
    """Make the home with its approved circular, to be copied for each row."""
    folder.mkdir()
    database = Database(f"sqlite:///{folder / _DATABASE}")
    try:
        await runner.upgrade(database)
        await office(database, ManualClock(START), folder, mailboxes, chosen)
    finally:
        await database.close()


def _name(address: str) -> str:
    return address.partition("@")[0]


@dataclass
class Stage:
    """What a row plays on; `open_stage` sets it up."""

    app: App
    server: Server
    ours: JumpingClock
    theirs: ManualClock
    circular: int = 1
    #: kept by troubles that have to look at it
    notes: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Sending]:
        """A process's worth of sending: lock, recovery, journal, connections; to the end of the block."""
        async with sending(self.app, what="test") as made:
            yield made

    async def work(self, made: Sending) -> None:
        """Send what is due now."""
        await made.work(until=lambda due: due is None or due > self.ours.now())

    async def first(self) -> None:
        """Start the circular and send what is due now."""
        async with self.running() as made:
            await made.delivery.start(self.circular, by="anna")
            await self.work(made)

    async def to_the_end(self) -> None:
        """Go on, as time passes, until the circular is sent."""
        async with self.running() as made:
            for _ in range(_ROUNDS):
                await self.work(made)
                standing = await made.delivery.progress(self.circular)
                if standing.next_at is None or standing.held_why:
                    return
                self.pass_time(max(standing.next_at - self.ours.now(), dt.timedelta(0)))
        raise AssertionError("it is never sent")

    def pass_time(self, step: dt.timedelta) -> None:
        """Let time pass, here and at the relay."""
        self.theirs.advance(step)
        self.ours.advance(step)

    async def mended(self) -> None:
        """A person has mended what the circular was held for, and sends again."""
        await self.app.delivery.start(self.circular, by="anna")

    async def held(self) -> str | None:
        """Why the circular waits for a person."""
        async with self.app.database.read() as session:
            return (await session.get_one(Circular, self.circular)).held_why

    async def states(self) -> dict[str, str]:
        """Mailbox -> state."""
        async with self.app.database.read() as session:
            rows = await session.execute(select(Recipient.address, Recipient.state))
            return {_name(address): state.value for address, state in rows}

    async def tries(self) -> dict[str, int]:
        """Mailbox -> tries counted."""
        async with self.app.database.read() as session:
            rows = await session.execute(select(Recipient.address, Recipient.tries))
            return {_name(address): count for address, count in rows}

    def copies(self) -> Counter[str]:
        """Mailbox -> copies that the relay has, by its own record."""
        return Counter(_name(address) for letter in self.server.taken for address, code in letter.rcpts if code < 300)

    async def report(self) -> str:
        """The report as a terminal shows it."""
        async with self.app.database.read() as session:
            made = await build(session, self.circular, at=self.ours.now(), zone="Europe/Zurich")
        return table.as_text(made, width=400)

    async def faults_of_the_register(self) -> list[str]:
        """What does not fit in the account."""
        async with self.app.database.read() as session:
            found = await verify(session, lines=chain_lines, disagreements=chain_disagreements, chains=chains, saved={})
        return [str(fault) for fault in found.faults]


@asynccontextmanager
async def open_stage(
    prepared: Path,
    home: Path,
    row: Mapping[str, Any],
    *,
    pipelining: bool,
    connections: int,
    chosen: Settings = SETTINGS,
) -> AsyncIterator[Stage]:
    """Copy the home, start the relay that the row wants, and open the home with the settings that fit it."""
    from mailer.rehearsal.faults import Faults

    shutil.copytree(prepared, home)
    ours, theirs = JumpingClock(START), ManualClock(START)
    given = dict(row.get("relay", {}))
    tls = TlsMode(given.pop("tls", "none"))
    options = Options(tls=tls, pipelining=pipelining, record_all=True, **given)
    async with Server(
        options, Faults.from_rules(row.get("faults", ())), clock=theirs, ca_file=home / "ca.pem"
    ) as server:
        more: dict[str, Any] = {"connections": connections, **row.get("ours", {})}
        if tls is not TlsMode.NONE:
            more["ca_file"] = str(server.ca_file)
        relay = Relay.model_validate({"host": "127.0.0.1", "port": server.port, "tls": tls.value, **more})
        settings = chosen.model_copy(update={"relays": {"main": relay}})
        database = Database(f"sqlite:///{home / _DATABASE}")
        try:
            yield Stage(
                App(home=home, settings=settings, database=database, clock=ours, by="anna"), server, ours, theirs
            )
        finally:
            await database.close()

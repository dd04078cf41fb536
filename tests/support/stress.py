"""A stress of the whole engine, drawn by a seed: what befalls senders, rows, journal and relay while letters leave; and the comparison.

`play` is one such sending: two circulars of small batches go to a real server on loopback that keeps its own record, by one sender on
SQLite, by up to three beside each other on PostgreSQL. Then all that troubles it ends, what is paused or held is let go, and a last
sender works till nothing is left; `stress_audit` compares. Real processes are killed elsewhere (`crash`): here moments are drawn finely.

The seed draws what is done, not what comes of it: sockets, disks and threads have their own time.
"""

import asyncio
import datetime as dt
import logging
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from mailer.app import App
from mailer.circulars import service as circulars
from mailer.circulars.models import IS_OPEN, Circular, Recipient
from mailer.circulars.states import CircularState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.models import Batch
from mailer.dispatch import sending
from mailer.errors import ChanceryError
from mailer.migrations import runner
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options
from mailer.rehearsal.server import Server
from mailer.settings import Delivery, Relay, Settings, Tls
from tests.support import approved
from tests.support.drawn import DOMAINS, drawn, wider
from tests.support.office import CIRCULAR, TEXT
from tests.support.postgres import Server as Postgres
from tests.support.stress_audit import PERSON, Found, audit
from tests.support.stress_parts import LEASE, LONGEST, SPEED, START, FastClock, Faulty, Root, brisk, whose_tasks
from tests.support.transport_kit import BRIEF
from tests.support.troubles import full

#: Letters of each circular, and circulars.
LETTERS, CIRCULARS = 20, (1, 2)
#: Real seconds for which a relay may be silent.
SILENCE = 0.25
#: Rounds of the last sender: each leaps to what falls due next.
_ROUNDS = 300
_FILE = "chancery.sqlite3"


def mailboxes() -> list[list[str]]:
    """One to three addresses for each organization; every ninth has characters beyond ASCII beside plain ones."""
    found = []
    for number in range(1, LETTERS + 1):
        names = [f"office{number:03}@{domain}" for domain in DOMAINS[: 1 + number % 3]]
        if number % 9 == 0:
            names[-1] = names[-1].replace("office", "officé")
        found.append(names)
    return found


async def prepare(database: Database, home: Path) -> None:
    """Two approved circulars, to be copied for each sending."""
    app, _ = await approved.office(database, ManualClock(START), home, mailboxes())
    folder = home / "second"
    folder.mkdir()
    (folder / "circular.toml").write_text(CIRCULAR.replace("Informal", "Another"), encoding="utf-8")
    (folder / "letter.en.md").write_text(TEXT, encoding="utf-8")
    drafted = await circulars.new(app.desk, folder, by="anna")
    done = await circulars.approve(app.desk, drafted.id, by="bert")
    assert not done.stopped, [finding.line for finding in done.stopped]


@dataclass
class Ground:
    """Databases with the approved circulars, made once and copied; on SQLite where *postgres* is None."""

    folder: Path
    postgres: Postgres | None = None
    _template: str = ""

    async def ready(self) -> None:
        """Make what is copied."""
        home = self.folder / "prepared"
        home.mkdir()
        if self.postgres is not None:
            self._template = await self.postgres.upgraded()
        url = self.postgres.url(self._template) if self.postgres else f"sqlite:///{home / _FILE}"
        database = Database(url)
        try:
            await runner.upgrade(database)
            await prepare(database, home)
        finally:
            await database.close()

    @asynccontextmanager
    async def copy(self, home: Path) -> AsyncIterator[str]:
        """The URL of a database of one's own."""
        home.mkdir()
        if self.postgres is None:
            shutil.copy(self.folder / "prepared" / _FILE, home / _FILE)
            yield f"sqlite:///{home / _FILE}"
            return
        name = self.postgres.new(self._template)
        try:
            yield self.postgres.url(name)
        finally:
            self.postgres.drop(name)


def rule(chance: random.Random) -> dict[str, Any]:
    """A fault of the relay. It may be silent about a letter that it has taken; it does not say that it has not."""
    made = wider(chance) if chance.random() < 0.3 else drawn(chance)
    if made["at"] == "reply" and "reply" in made:
        made = {key: value for key, value in made.items() if key not in {"reply", "then", "close"}}
        made["do"] = chance.choice(["drop", "reset"])
    return made


@dataclass
class Stress:
    """One sending, and what is done to it."""

    ground: Ground
    home: Path
    url: str
    server: Server
    chance: random.Random
    clock: FastClock
    found: Found
    settings: Settings
    person: App
    folders: list[Path]
    most: int
    roots: list[Root] = field(default_factory=list)

    # --- senders --------------------------------------------------------------------------------------------------

    def add(self) -> None:
        """One more sender."""
        taken = {root.home for root in self.roots}
        home = next((one for one in self.folders if one not in taken), self.folders[0])
        root = Root(home, self.settings, Faulty(self.url, self.ground.postgres), self.clock, self.found.wrong)
        root.compacts = self.chance.choice([0, 300, 2000])
        self.roots.append(root)
        root.start()

    async def end(self, root: Root, how: str) -> None:
        """One less."""
        self.roots.remove(root)
        await root.end(how, self.chance.uniform(0, 0.05))
        self.found.done["faults of the database"] += root.database.struck

    async def _end_one(self) -> None:
        await self.end(self._any(), self.chance.choice(["stop", "stop", "cancel", "twice"]))

    def _any(self) -> Root:
        return self.chance.choice(self.roots)

    async def _one_more(self) -> None:
        if len(self.roots) < self.most:
            self.add()

    # --- what befalls them ----------------------------------------------------------------------------------------

    async def _pause(self) -> None:
        """Now and then it is the sender that is asked, as where `serve` shows a page; else another process."""
        made = self._any().made
        delivery = made.delivery if made and self.chance.random() < 0.3 else self.person.delivery
        await delivery.pause(self.chance.choice(CIRCULARS), by=PERSON)

    async def _resume(self) -> None:
        made = self._any().made
        delivery = made.delivery if made and self.chance.random() < 0.3 else self.person.delivery
        await delivery.resume(self.chance.choice(CIRCULARS), by=PERSON)

    async def _cancel(self) -> None:
        await self.person.delivery.cancel(CIRCULARS[-1], by=PERSON)

    async def _resolve(self) -> None:
        await self.person.delivery.resolve(self.chance.choice(CIRCULARS), None, sent=True, by=PERSON, lease=LEASE)

    async def _rows_fail(self) -> None:
        """Some of the next transactions of a sender fail."""
        chance, database = self.chance, self._any().database
        several = chance.choice([1, 1, 1, 2, 6])
        database.writes.extend([None] * chance.randint(0, 8))
        for _ in range(several):
            database.writes.append((chance.choice(["statement", "before", "after"]), chance.randint(1, 12)))

    async def _reads_fail(self) -> None:
        chance = self.chance
        self._any().database.reads.extend([*[False] * chance.randint(0, 20), *[True] * chance.choice([1, 1, 3])])

    async def _call_back(self) -> None:
        """A batch's task is cancelled, once or twice."""
        if tasks := self._any().batches():
            task = self.chance.choice(tasks)
            task.cancel()
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.uniform(0, 0.02))
                task.cancel()

    async def _no_room(self) -> None:
        """The journal can't be written for a moment."""
        root = self._any()
        if root.made is not None:
            root.troubles.enter_context(full(root.made._sender.journal))
            await asyncio.sleep(self.chance.uniform(0, 0.15))
            root.troubles.close()

    async def _suspend(self) -> None:
        """The machine sleeps, beyond the lease or not so long."""
        self.clock.leap(dt.timedelta(seconds=LEASE * self.chance.choice([0.3, 0.6, 1.2, 20])))

    async def disturb(self) -> None:
        """Do one thing that is drawn."""
        deeds: dict[Callable[[], Awaitable[None]], float] = {
            self._pause: 2,
            self._resume: 4,
            self._cancel: 0.15,
            self._resolve: 0.7,
            self._rows_fail: 5,
            self._reads_fail: 1,
            self._call_back: 2,
            self._no_room: 1,
            self._suspend: 1,
            self._end_one: 1.5,
            self._one_more: 2,
        }
        deed = self.chance.choices(list(deeds), list(deeds.values()))[0]
        self.found.done[deed.__name__.strip("_").replace("_", " ")] += 1
        with suppress(ChanceryError):  # it is not paused, nothing is in doubt, the rows failed just then
            await deed()

    async def moment(self) -> None:
        """Until the next of them."""
        chance = self.chance
        kind = chance.random()
        if kind < 0.2:
            for _ in range(chance.randint(0, 40)):
                await asyncio.sleep(0)
        elif kind < 0.6:
            phase = chance.choice(["mail", "rcpt", "data", "content", "dot", "taken", "replied"])
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self.server.reached(phase, self.server.record.phases[phase] + chance.randint(1, 5))
        else:
            await asyncio.sleep(chance.uniform(0, 0.08))

    async def keep(self) -> None:
        """A sender that has ended by itself is started anew, as systemd does."""
        for root in [one for one in self.roots if one.over]:
            await self.end(root, "stop")
        if not self.roots:
            self.add()

    # --- the end --------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Undisturbed: end the senders, let go what is held, and send what is left; each folder has its last sender in turn."""
        while self.roots:
            await self.end(self.roots[0], self.chance.choice(["stop", "stop", "cancel", "twice"]))
        self.server.faults.rules, self.server.faults._phases = (), {}
        for _ in range(min(2, len(self.folders))):  # a journal elsewhere may put back what was in doubt here
            for folder in self.folders:
                await self._last(folder)
        async with self.person.database.read() as session:
            left = await session.scalar(select(func.count()).select_from(Recipient).where(IS_OPEN))
        if left:
            self.found.wrong.append(("nothing more is sent, and open are", left))

    async def _last(self, folder: Path) -> None:
        app = App(folder, self.settings, self.person.database, self.clock, by="anna")
        async with sending(app, what="send") as made:
            for _ in range(_ROUNDS):
                await self._let_go()
                await made.work(until=lambda due: due is None or due > self.clock.now())
                await made.bury()
                async with app.database.read() as session:
                    waiting = list(
                        await session.execute(select(Batch.next_at, Batch.beat).where(Batch.done_at.is_(None)))
                    )
                if not waiting:
                    return
                # one whose run is gone is taken up once its lease is over
                lease = dt.timedelta(seconds=LEASE)
                times = [beat + lease if beat else next_at or self.clock.now() for next_at, beat in waiting]
                self.clock.leap(min(times) - self.clock.now())

    async def _let_go(self) -> None:
        async with self.person.database.read() as session:
            held = await session.scalars(
                select(Circular.id).where(
                    (Circular.state == CircularState.PAUSED) | Circular.held_why.is_not(None),
                    Circular.state.in_((CircularState.PAUSED, CircularState.SENDING)),
                )
            )
            numbers = list(held)
        for number in numbers:
            await self.person.delivery.resume(number, by=PERSON)


async def play(ground: Ground, home: Path, seed: int) -> Found:
    """One sending.

    Args:
        ground: made ready.
        home: a folder that is not there yet.
        seed: draws all of it.
    """
    chance, found, clock = random.Random(seed), Found(), FastClock()  # noqa: S311 - a test's
    asyncio.get_running_loop().set_task_factory(whose_tasks)
    faults = Faults.from_rules([rule(chance) for _ in range(chance.choice([0, 1, 2, 4]))])
    options = Options(
        pipelining=chance.random() < 0.8,
        record_all=True,
        reply_ms=chance.choice([0, 0, 3]),
        end_ms=chance.choice([0, 5, 20]),
    )
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(ground.copy(home))
        server = await stack.enter_async_context(Server(options, faults, clock=clock))
        database = Database(url)
        stack.push_async_callback(database.close)
        most = chance.choice([1, 2, 3]) if ground.postgres else 1
        apart = most > 1 and chance.random() < 0.4
        folders = [home / f"office{number}" for number in range(most)] if apart else [home]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        stress = Stress(
            ground, home, url, server, chance, clock, found, _settings(server, chance),
            App(home, approved.SETTINGS, database, clock, by=PERSON), folders, most,
        )  # fmt: skip
        try:
            async with asyncio.timeout(4 * LONGEST):
                await _played(stress)
        except TimeoutError:
            found.wrong.append(("it hangs", [repr(one) for one in asyncio.all_tasks()]))
            return found
        await audit(database, server.received, [folder / "journal" for folder in folders], found)
    return found


async def _played(stress: Stress) -> None:
    for number in CIRCULARS:
        await stress.person.delivery.start(number, by=PERSON)
    for _ in range(stress.most):
        stress.add()
    for _ in range(stress.chance.randint(3, 25)):
        await stress.moment()
        await stress.keep()
        await stress.disturb()
        await stress.keep()
    await stress.settle()


def _settings(server: Server, chance: random.Random) -> Settings:
    relay = Relay.model_validate(
        {
            "host": "127.0.0.1",
            "port": server.port,
            "tls": Tls.NONE,
            "connections": chance.choice([1, 2, 3]),
            "letters_per_connection": chance.choice([0, 0, 1, 4]),
            "timeouts": dict.fromkeys(BRIEF, SILENCE),
        }
    )
    delivery = Delivery(
        lease=LEASE,
        slice=chance.choice([1, 3, 200]),
        slots=chance.choice([1, 2, 4]),
        first_retry=SPEED / 10,
        longest_retry=SPEED,
        ask_after=0,
    )
    return approved.SETTINGS.model_copy(update={"relays": {"main": relay}, "delivery": delivery})


def quiet() -> None:
    """The log says what is done to it, at length."""
    logging.disable(logging.CRITICAL)


__all__ = ["Ground", "brisk", "play", "quiet"]

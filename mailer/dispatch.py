"""The composition root of sending: lock, recovery, journal, relays, engine and ticker, put together for one process.

Apart from `app`, so that a command that only looks at rows need not load SMTP, APScheduler and the letters' compilers.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select

from mailer import facts
from mailer.actions import Actions
from mailer.app import App
from mailer.circulars.frozen import Frozen
from mailer.circulars.loading import load_frozen
from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState
from mailer.delivery.allot import Ways
from mailer.delivery.attempts import AttemptLog
from mailer.delivery.batches import Batches, Watch
from mailer.delivery.daily import Days
from mailer.delivery.domains import Domains
from mailer.delivery.journal import Journal, boot_id
from mailer.delivery.line import Line
from mailer.delivery.models import Batch
from mailer.delivery.obstacles import Obstacles
from mailer.delivery.pace import Pace
from mailer.delivery.recover import Recovered, Recovery, leaves_open
from mailer.delivery.routes import road_of
from mailer.delivery.send import Brakes, Sender
from mailer.delivery.service import Delivery
from mailer.delivery.token_rows import TokenRows
from mailer.delivery.tokens import Buckets, Tokens
from mailer.delivery.waking import Waking
from mailer.engine.embedded import Embedded
from mailer.engine.lock import HomeLock
from mailer.errors import DatabaseError
from mailer.homes import refuse_network
from mailer.replies.since import NoLongerDue
from mailer.settings import Bounces, Settings
from mailer.statements import Whole, straight
from mailer.transport import access
from mailer.transport.base import Transport
from mailer.transport.pool import SmtpTransport
from mailer.wake import Call

if TYPE_CHECKING:  # loaded where they are made: most sendings have neither schedules nor answers
    from mailer.schedule.firing import Firing
    from mailer.schedule.ticker import Ticker

log = logging.getLogger(__name__)

#: Seconds between looks for processes that died beside us.
_LOOK_FOR_THE_DEAD = 2.0
#: Seconds between looks at whether another process has paused a circular.
_WATCH = 0.25
#: Snapshots kept in memory with their encoded enclosures.
_KEPT = 4

_HELD = Whole(
    lambda _given: select(Circular.id).where(
        or_(Circular.state == CircularState.PAUSED, Circular.state == CircularState.CANCELLED),
        Circular.started_at.is_not(None),
    )
)

#: Makes the transport of a relay; rehearsals and tests hand in their own.
MakeTransport = Callable[[str], Transport]


def home_lock(app: App) -> HomeLock | None:
    """The lock of what a home sends from, beside its SQLite file, for two homes may name one file; None: on PostgreSQL any number send."""
    return HomeLock(app.database.file.parent) if app.database.file else None


async def others_at_work(app: App, circular_id: int) -> bool:
    """Whether a living process sends from this home, or, on PostgreSQL, works at this circular."""
    lock = home_lock(app)
    if lock is not None:
        return lock.in_use()
    fresh = app.clock.now() - dt.timedelta(seconds=app.settings.delivery.lease)
    held = select(Batch.no).where(Batch.circular_id == circular_id, Batch.owner.is_not(None), Batch.beat >= fresh)
    async with app.database.read() as session:
        return await session.scalar(held.limit(1)) is not None


def relay_of(settings: Settings, frozen: Frozen) -> str:
    """The name of the relay that a circular goes to, where nothing is in the way.

    Raises:
        SettingsError: its sender, or that one's relay, is no longer in the settings.
    """
    return road_of(settings, frozen.document["sender"]["key"]).own[0]


def smtp_transport(app: App, relay: str) -> Transport:
    """A transport to a relay of the settings."""
    return SmtpTransport(relay, app.settings.relays[relay], home=app.home, clock=app.clock)


def reverse_path(kind: Bounces, frozen: Frozen, token: str) -> str:
    """The envelope's sender for a letter: an address of its own, the bounce address, or the null sender."""
    sender = frozen.document["sender"]
    return access.reverse_path(kind, sender["bounces"] or sender["address"], token)


@dataclass
class Sending:
    """What sends, put together for one process; made by `sending`."""

    app: App
    engine: Embedded
    delivery: Delivery
    _sender: Sender
    _brakes: Brakes
    _recovery: Recovery
    _obstacles: Obstacles
    #: circulars whose letters' bytes are kept
    _archiving: set[int]
    _make_ticker: "Callable[[], Ticker]"
    _lines: dict[str, Line] = field(default_factory=dict)
    #: what the processes that died before us had left
    recovered: Recovered = field(default_factory=Recovered)

    @cached_property
    def ticker(self) -> "Ticker":
        """What fires schedules; not running yet."""
        return self._make_ticker()

    def stop(self) -> None:
        """Claim nothing more, start no further content, finish what is on the way."""
        self._brakes.stopping = True
        self.engine.stop()

    async def work(self, *, until: Callable[[dt.datetime | None], bool] | None = None) -> None:
        """Send until stopped, or until *until* says that it is enough (see `Embedded.work`)."""
        watchers = [asyncio.create_task(self._watch())]
        if not self.app.database.sqlite:
            watchers.append(asyncio.create_task(self._look_for_the_dead()))
        try:
            await self.engine.work({"send": self._send}, self.app.settings.delivery.slots, until=until)
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)

    async def _send(self, call: Call) -> None:
        await self._sender(call)
        if (circular := int(call.args["circular"])) in self._archiving:
            from mailer.delivery import archive

            await archive.keep(self.app.database, circular, self._sender.load)

    def trouble(self) -> str | None:
        """What the relays' last failures were, if nothing has gone well since."""
        told = [(line.name, line.closed(self.app.clock.now()) or line.pace.trouble) for line in self._lines.values()]
        return "; ".join(f"{name}: {one.why}" for name, one in told if one is not None) or None

    async def _watch(self) -> None:
        """See circulars that another process has paused or cancelled before their next content starts."""
        while True:
            try:
                async with self.app.database.read() as session:
                    self._brakes.held = {circular for (circular,) in await straight(session, _HELD.read)}
            except DatabaseError as error:  # a moment's trouble must not leave pauses unseen from then on
                log.warning("watch-failed", extra={"reason": str(error)})
            await asyncio.sleep(_WATCH)

    async def bury(self) -> None:
        """Take in what processes left behind that died while we work.

        Raises:
            DatabaseError: the rows can't be read or written.
            OSError: a journal can't be read.
        """
        try:
            found = await self._recovery.run()
        except (DatabaseError, OSError) as error:
            log.warning("recovery-failed", extra={"reason": str(error)})
            raise
        if found != Recovered():
            log.info("recovered", extra=asdict(found))

    async def _look_for_the_dead(self) -> None:
        """Take in the journals of processes that died beside us: they know what did not leave, and we need not wait out their lease."""
        while True:
            await asyncio.sleep(_LOOK_FOR_THE_DEAD)
            await self._obstacles.beat()
            with suppress(DatabaseError, OSError):  # logged
                await self.bury()

    async def close(self) -> None:
        """Say goodbye to the relays, and to the other processes."""
        try:
            await self._obstacles.end()
        finally:
            for line in self._lines.values():
                await line.transport.close()
            self._sender.signing.shutdown(wait=False)


@asynccontextmanager
async def sending(
    app: App,
    *,
    what: str,
    make_transport: MakeTransport | None = None,
    told: "Callable[[Firing], None] | None" = None,
    watch: Sequence[Watch] = (),
    mounts: str | None = None,
) -> AsyncIterator[Sending]:
    """Take the home's lock where it has one, take in what a death left behind, and put together what sends.

    Args:
        app: the open home.
        what: `serve` or `send`, for whoever finds the home busy.
        make_transport: default: SMTP, by the settings.
        told: called with what came of each schedule.
        watch: told of every attempt, once its outcome is in the rows.
        mounts: see `homes.network_file_system`.

    Raises:
        CannotDo: the folder of the flight journals is on a network drive.
        HomeBusy: another process sends from this home.
        JournalError: the flight journal can't be made.
    """
    folder = app.home / app.settings.delivery.journal
    refuse_network(folder, "the flight journal", mounts)
    with _home_held(app, what):
        async with app.database.read() as session:
            this_epoch = await facts.epoch(session)
        recovery = Recovery(
            sessions=app.database,
            clock=app.clock,
            settings=app.settings.delivery,
            folder=folder,
            epoch=this_epoch,
            boot=boot_id(),
            shared=not app.database.sqlite,
        )
        recovered = await recovery.run()
        journal = Journal(folder, this_epoch)
        spoken = False  # nothing is claimed under its name before there is one who claims
        try:
            built = _build(
                app, journal, recovery, make_transport or (lambda relay: smtp_transport(app, relay)), told, watch
            )
            built.recovered = recovered
            if app.settings.delivery.archive or await _some_archive(app):
                from mailer.delivery import archive

                load = built._sender.load  # noqa: SLF001 - the root that built it
                await archive.keep_all(app.database, load, default=app.settings.delivery.archive)
            spoken = True
            try:
                yield built
            finally:
                await built.close()
                spoken = bool(built._sender.unrecorded) or await leaves_open(app.database, journal.name)  # noqa: SLF001 - the root that built it
        finally:  # whatever failed or was cut short: a lock that outlives its sender would say that it lives
            journal.close(remove=not spoken)


@contextmanager
def _home_held(app: App, what: str) -> Iterator[None]:
    """The home's lock, where it has one, for as long as the block runs."""
    lock = home_lock(app)
    if lock is not None:
        lock.acquire(what=what, since=app.clock.now().isoformat(timespec="seconds"), by=app.by)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


async def _some_archive(app: App) -> bool:
    """Whether any circular asks for its bytes to be kept."""
    async with app.database.read() as session:
        return await session.scalar(select(Circular.id).where(Circular.archive.is_(True)).limit(1)) is not None


def _build(
    app: App,
    journal: Journal,
    recovery: Recovery,
    make_transport: MakeTransport,
    told: "Callable[[Firing], None] | None",
    watch: Sequence[Watch],
) -> Sending:
    lease = dt.timedelta(seconds=app.settings.delivery.lease)
    references: dict[int, str] = {}
    batches = Batches(
        app.database,
        lease=lease,
        owner=journal.name,
        zone=ZoneInfo(app.settings.calendar.timezone),
        no_longer_due=NoLongerDue(),
        watch=(AttemptLog(references), *watch),
        waking=Waking(
            app.database, limit=dt.timedelta(seconds=app.settings.delivery.ask_after), hold=app.delivery.hold
        ),
    )
    engine = Embedded([batches], app.clock)
    tokens: Tokens = Buckets(app.clock) if app.database.sqlite else TokenRows(app.database, app.clock)
    domains, days = Domains(app.clock, app.settings.pace, tokens), Days(app.database, app.clock)
    delivery = Delivery(sessions=app.database, clock=app.clock, hooks=app.hooks, hand_on=engine.hand_on)
    obstacles = Obstacles(
        app.database,
        app.clock,
        delivery.note_relay,
        owner=journal.name,
        lease=lease,
        shared=not app.database.sqlite,
    )
    brakes = Brakes()
    lines: dict[str, Line] = {}
    kept: dict[int, Frozen] = {}
    archiving: set[int] = set()

    async def load(circular_id: int) -> Frozen:
        if circular_id not in kept:
            async with app.database.read() as session:
                frozen = await load_frozen(session, circular_id, app.keys, foreign=True)
            _ = frozen.signer  # without its key nothing of it may leave
            if frozen.document.get("archive", app.settings.delivery.archive) and frozen.foreign is None:
                archiving.add(circular_id)
            references[circular_id] = frozen.document["reference"]
            while len(kept) >= _KEPT:
                kept.pop(next(iter(kept)))
            kept[circular_id] = frozen
        return kept[circular_id]

    def line(name: str) -> Line:
        if name not in lines:
            relay = app.settings.relays[name]
            lines[name] = Line(
                name,
                make_transport(name),
                Pace(app.clock, per_minute=relay.per_minute, tokens=tokens, key=f"relay:{name}"),
                lambda made, token: reverse_path(relay.bounces, made, token),
                per_day=relay.recipients_per_day,
            )
        return lines[name]

    def ways(frozen: Frozen, spread: float | None) -> Ways:
        road = road_of(app.settings, frozen.document["sender"]["key"])
        return Ways(
            road=road,
            line=line,
            domains=domains,
            days=days,
            tokens=tokens,
            clock=app.clock,
            patience=dt.timedelta(seconds=app.settings.delivery.give_up_after),
            spread=spread,
        )

    handler = Sender(
        batches=batches,
        clock=app.clock,
        settings=app.settings.delivery,
        journal=journal,
        boot=boot_id(),
        brakes=brakes,
        load=load,
        ways=ways,
        hold=delivery.hold,
        obstacles=obstacles,
        crowded=engine.crowded,
    )

    async def reconcile() -> None:
        engine.ring()

    def make_ticker() -> "Ticker":
        from mailer.schedule.ticker import Ticker

        return Ticker(
            app.database,
            app.clock,
            Actions(app, delivery),
            fire_late=dt.timedelta(seconds=app.settings.calendar.fire_late),
            reconcile=reconcile,
            told=told,
        )

    return Sending(app, engine, delivery, handler, brakes, recovery, obstacles, archiving, make_ticker, lines)

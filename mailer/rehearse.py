"""The composition root of a rehearsal: a circular runs through the sending code, in a scratch home, to the relay that we play.

- The real home is only read. A draft is approved in the scratch home, as approval would freeze it today.
- Time is moved by hand: whenever nothing is due, on to the next thing that is (a token of the relay's pace, a retry). So days of
  retries take seconds, and what the clock shows at the end is how long the real sending would take, as far as pace and waits decide.
- A relay that is asked to fall silent does so on that clock too. Where it never speaks again, we wait a few real seconds, not minutes.
"""

import asyncio
import datetime as dt
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from lists.findings import Finding
from mailer import scratch
from mailer.app import App
from mailer.circulars import letter_files
from mailer.circulars import service as circulars
from mailer.circulars.desk import name_of
from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState, RecipientState
from mailer.clock import ManualClock
from mailer.delivery.claims import Run
from mailer.delivery.forecast import Forecast
from mailer.delivery.foreseen import of_circular
from mailer.delivery.progress import Progress
from mailer.delivery.routes import road_of
from mailer.delivery.service import Delivery
from mailer.delivery.turns import Told
from mailer.dispatch import Sending, sending
from mailer.errors import CannotDo, Defect, NotAllowedNow
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.rules import Manner, Rule
from mailer.rehearsal.server import Options, Server, TlsMode
from mailer.reports import delivery as reports
from mailer.reports.lines import Report
from mailer.settings import Delivery as Delivering
from mailer.settings import Relay, Settings, Timeouts, Tls

#: What a report of a rehearsal has before its title, so that nobody takes it for the account of a sending.
MARK = "REHEARSAL, nothing was sent: "
_USER = "rehearsal"
_CA_FILE, _RECORD = "relay-ca.pem", "taken.jsonl"
#: Settings of a relay that say where it is and how we log in; all others (pace, connections, limits) are rehearsed.
_REACHING = {
    "preset",
    "host",
    "port",
    "tls",
    "allow_clear_text",
    "allow_clear_password",
    "ca_file",
    "username",
    "auth",
    "password",
    "password_file",
    "token_command",
    "oauth",
}
#: A relay that is away for so long is not waited for.
HOPELESS = dt.timedelta(days=1)
#: Real seconds: how long a relay that never speaks again is waited for; silence of all after which the clock is moved on under way.
PATIENCE, _QUIET, _LOOK = 10.0, 0.3, 0.1
#: So many times that patience without any letter being tried is enough.
_ENOUGH = 3
#: The time-out of the phase in which a relay falls silent; a longer silence is as good as one for ever.
_TIMEOUT_OF = {"connect": "greeting", "data": "data", "content": "final", "dot": "final", "reply": "final"}
_SILENT = {Manner.STALL, Manner.EARLY, Manner.LIE, Manner.GARBAGE}
_REHEARSABLE = (CircularState.DRAFT, CircularState.FREEZING, CircularState.APPROVED)


class ShowProgress(Protocol):
    """Shows how far a circular is, for as long as the block lasts."""

    def __call__(self, delivery: Delivery, circular_id: int) -> AbstractAsyncContextManager[None]:
        """Begin."""
        ...


@dataclass(frozen=True, slots=True)
class Duration:
    """How long it would take by the relay's pace and the waits between tries; what the network takes comes on top.

    Attributes:
        first: until each letter had been tried once.
        all: until nothing was left to be tried.
        foreseen: what the settings' paces and limits come to, beside what is being sent from the real home just now.
    """

    first: dt.timedelta
    all: dt.timedelta
    foreseen: Forecast


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a rehearsal came to.

    Attributes:
        name: the circular's reference, or what it is called without one.
        stopped: findings that would stop the approval; where there is one, nothing was rehearsed and the rest is empty.
        report: as `chancery report` would show it, marked in its title.
        trouble: what the relay's last failure was, if nothing has gone well since.
        letters: how many files were written to *folder*.
        unwritten: why they could not be written; the rest stands all the same.
    """

    name: str
    stopped: Sequence[Finding] = ()
    report: Report | None = None
    standing: Progress | None = None
    duration: Duration | None = None
    trouble: str | None = None
    letters: int = 0
    folder: Path | None = None
    unwritten: CannotDo | None = None


async def rehearse(
    app: App,
    ident: str,
    *,
    faults: Faults | None = None,
    out: Path | None = None,
    waive: Sequence[str] = (),
    show: ShowProgress = lambda _delivery, _number: nullcontext(),
    patience: float = PATIENCE,
    hopeless: dt.timedelta = HOPELESS,
) -> Rehearsed:
    """Run a circular, draft or approved, through the sending code and say what would come of it.

    Args:
        app: the open home; it is only read.
        ident: number or reference.
        faults: what the relay does; default: it takes every letter.
        out: where each letter is left as a file; must be new or empty. Default: a new folder in `rehearsals` of the home.
        waive: findings set aside for the rehearsal, by name or code.
        show: shows the progress.
        patience: real seconds for which a relay that never speaks again is waited for.
        hopeless: simulated time without any letter being tried after which it is no use to wait for the relay.

    Raises:
        NotFound: there is no such circular.
        NotAllowedNow: it has been sent, or is being sent.
        BadInput: *out* holds something; a waiver names no finding.
        CannotDo: nothing can be written to *out*; or there is no room for a scratch home.
    """
    async with app.database.read() as session:
        circular = await circulars.find(session, ident)
    if circular.state not in _REHEARSABLE:
        raise NotAllowedNow(
            f"it is {circular.state.value} already; drafts and approved circulars are rehearsed",
            where=name_of(circular),
        )
    place = letter_files.new_folder(out, app.home / "rehearsals", name_of(circular))
    clock = ManualClock(app.clock.now())
    with scratch.folder() as home:
        async with scratch.database(home, app.database, circular.id) as database:
            settings = _harmless(app.settings)
            stage = App(home=home, settings=settings, database=database, clock=clock, by=app.by)
            stage.keys = app.keys  # their files are in the real home
            if stopped := await _approve(app, stage, circular, waive):
                return Rehearsed(name_of(circular), stopped)
            relay = _relay_of(settings, circular)
            async with stage.database.read() as session, app.database.read() as real:
                row = await circulars.find(session, str(circular.id))
                seen = await of_circular(session, settings, row, now=clock.now(), lifted=True, others=real)
            script = _playable(faults or Faults(), relay.timeouts)
            options = _options(relay)
            async with Server(options, script, home / _RECORD, clock=clock, ca_file=home / _CA_FILE) as server:
                limits = _Limits(_leap(relay), hopeless, patience if _goes_silent(script) else None)
                stage.settings = _settings(settings, server, limits.patience)
                run = _Rehearsal(stage, server, clock, circular.id, limits)
                trouble = await run.play(show)
            return await _outcome(stage, run, circular, place, seen, trouble)


def _options(relay: Relay) -> Options:
    """The rehearsal server, as near to *relay* as it need be."""
    return Options(
        tls=TlsMode(relay.tls.value),
        user=_USER if relay.username is not None else None,
        password=secrets.token_hex(8),
        keep_received=False,
    )


def _relay_of(settings: Settings, circular: Circular) -> Relay:
    return settings.relays[road_of(settings, circular.sender).own[0]]


def _harmless(real: Settings) -> Settings:
    """The settings without what would reach out of the scratch home, or ask for a second person.

    A journal folder with a full path would be the real one: its relics would be taken in here, and lost there.
    """
    approval = real.approval.model_copy(update={"two_people": False})
    delivery = real.delivery.model_copy(
        update={"journal": Delivering.model_fields["journal"].default, "archive": False}
    )
    return real.model_copy(update={"approval": approval, "delivery": delivery})


def _leap(relay: Relay) -> dt.timedelta:
    """How far the clock may be moved at once without a token of the pace being lost: its bucket holds a tenth of a minute's."""
    return dt.timedelta(seconds=max(0.0, 6 - 60 / relay.per_minute) if relay.per_minute else 0)


def _settings(real: Settings, server: Server, patience: float | None) -> Settings:
    """The settings with every relay played by *server*; *patience*: seconds, the longest time-out."""
    relays = {}
    for name, relay in real.relays.items():
        kept = {field: value for field, value in relay if field not in _REACHING}
        if patience is not None:
            kept["timeouts"] = Timeouts(**{field: min(value, patience) for field, value in relay.timeouts})
        login: dict[str, Any] = (
            {"username": _USER, "password": SecretStr(server.options.password)} if server.options.user else {}
        )
        relays[name] = Relay(
            host=server.options.host,
            port=server.port,
            tls=Tls(server.options.tls.value),
            ca_file=_CA_FILE,
            **login,
            **kept,
        )
    return real.model_copy(update={"relays": relays})


def _playable(faults: Faults, timeouts: Timeouts) -> Faults:
    """The rules anew, uncounted; a silence longer than we would wait is one for ever."""

    def bounded(rule: Rule) -> Rule:
        longest = getattr(timeouts, _TIMEOUT_OF.get(rule.at, "command"))
        return replace(rule, seconds=None) if rule.seconds is not None and rule.seconds >= longest else rule

    return Faults(tuple(bounded(rule) for rule in faults.rules))


def _goes_silent(faults: Faults) -> bool:
    """Whether a reply may never come: by intent, or because a fault has put question and answer out of step."""
    return any(rule.do in _SILENT and not (rule.do is Manner.STALL and rule.seconds) for rule in faults.rules)


async def _approve(app: App, stage: App, circular: Circular, waive: Sequence[str]) -> Sequence[Finding]:
    """Approve a draft in the scratch home; what stops it."""
    if circular.state is CircularState.APPROVED:
        return ()
    # templates and roll are those of the home
    desk = replace(app.desk, database=stage.database, clock=stage.clock, settings=stage.settings)
    done = await circulars.approve(desk, circular.id, by=app.by, waive=waive, why="for a rehearsal" if waive else None)
    return done.stopped


@dataclass(frozen=True, slots=True)
class _Limits:
    """How far the clock may leap, and how long nothing may be tried: by the clock, and in real seconds where a relay may be silent."""

    leap: dt.timedelta
    hopeless: dt.timedelta
    patience: float | None


class _Rehearsal:
    """One circular on its way to the rehearsal server, on a clock that is moved whenever nothing is due."""

    def __init__(self, stage: App, server: Server, clock: ManualClock, circular_id: int, limits: "_Limits") -> None:
        self._limits = limits
        self._stage, self._server, self._clock, self._id = stage, server, clock, circular_id
        self.began = self.last_try = self.last_first_try = clock.now()
        self._last_real = time.monotonic()
        self._seen: set[int] = set()
        self._events = 0

    def watch(self, _run: Run, told: Sequence[Told]) -> None:
        """Note when letters were tried."""
        for one in told:
            if any(change.state is not RecipientState.QUEUED for change in one.changes):
                self.last_try, self._last_real = self._clock.now(), time.monotonic()
                if one.claim.letter not in self._seen:
                    self._seen.add(one.claim.letter)
                    self.last_first_try = self.last_try

    async def play(self, show: ShowProgress) -> str | None:
        """Send until nothing is left to be tried; the relay's trouble, if that ended it.

        Cancelled, it cuts all connections first, so that no run waits for a relay.
        """
        async with sending(self._stage, what="rehearse", watch=[self.watch]) as made:
            await made.delivery.start(self._id, by=self._stage.by)
            async with show(made.delivery, self._id), self._hurrying():
                work = asyncio.create_task(made.work(until=lambda due: self._go_on(made, due)))
                try:
                    await asyncio.shield(work)
                except asyncio.CancelledError:
                    made.stop()
                    await self._server.stop()
                    await asyncio.wait({work})
                    raise
            return made.trouble()

    def _go_on(self, made: Sending, due: dt.datetime | None) -> bool:
        """Nothing is due: move the clock to what is next; True: there is nothing, or nothing to hope for."""
        if due is None or self._clock.now() - self.last_try > self._longest or self._waited_enough:
            return True
        now = self._clock.now()
        self._clock.move_to(max(due if due > now else now + dt.timedelta(seconds=1), now + self._limits.leap))
        made.engine.ring()
        return False

    @property
    def _waited_enough(self) -> bool:
        """Whether a relay that does not answer has cost a person enough of real time."""
        patience = self._limits.patience
        return patience is not None and time.monotonic() - self._last_real > _ENOUGH * patience

    @property
    def _longest(self) -> dt.timedelta:
        """How long nothing at all may be tried."""
        delivery = self._stage.settings.delivery
        return min(self._limits.hopeless, dt.timedelta(seconds=delivery.give_up_after)) + dt.timedelta(
            seconds=delivery.longest_retry
        )

    @asynccontextmanager
    async def _hurrying(self) -> AsyncIterator[None]:
        """Move the clock on while the relay is silent for a time, and nothing else happens."""
        if not any(rule.seconds for rule in self._server.faults.rules):
            yield
            return
        hurry = asyncio.create_task(self._hurry())
        try:
            yield
        finally:
            hurry.cancel()
            with suppress(asyncio.CancelledError):
                await hurry

    async def _hurry(self) -> None:
        quiet = 0.0
        while True:
            await asyncio.sleep(_LOOK)
            events = self._server.record.phases.total()
            quiet = quiet + _LOOK if events == self._events and self._server.connections else 0.0
            self._events = events
            wake = self._clock.next_wake
            if quiet >= _QUIET and wake is not None:
                self._clock.move_to(max(wake, self._clock.now()))
                quiet = 0.0


async def _outcome(
    stage: App, run: _Rehearsal, circular: Circular, place: Path, seen: Forecast, trouble: str | None
) -> Rehearsed:
    async with stage.database.read() as session:
        report = await reports.build(session, circular.id, at=stage.clock.now(), zone=stage.settings.calendar.timezone)
    report = replace(report, title=f"{MARK}{report.title}")
    count, unwritten = 0, None
    try:
        count = await letter_files.leave(
            stage.database, circular.id, place, _taken(stage.home / _RECORD), now=stage.clock.now(), keys=stage.keys
        )
    except Defect:
        raise
    except CannotDo as error:
        unwritten = error
    return Rehearsed(
        report.reference,
        report=report,
        standing=await stage.delivery.progress(circular.id),
        duration=Duration(run.last_first_try - run.began, run.last_try - run.began, seen),
        trouble=trouble,
        letters=count,
        folder=place,
        unwritten=unwritten,
    )


def _taken(record: Path) -> set[bytes]:
    """Sha256 of every letter that the server took."""
    with record.open(encoding="utf-8") as file:
        lines = (json.loads(line) for line in file)
        return {bytes.fromhex(line["sha256"]) for line in lines if line["taken"]}

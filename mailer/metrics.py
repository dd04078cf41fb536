"""Counters for Prometheus, on the names that log lines have. Loaded only where the settings ask for them.

    chancery_letters_total{action,relay}      attempts, by what they came to: letter-accepted, letter-deferred, ...
    chancery_recipients_total{state,relay}    addresses, by what became of them in an attempt
    chancery_reply_seconds{relay}             histogram: from the start of a letter's content to the relay's last word on it
    chancery_events_total{action,level}       every other log line of ours
    chancery_recipients_open{state}           gauge: addresses that still wait, by state (queued, sending, deferred, uncertain)
    chancery_circulars{state}                 gauge: circulars, by state; `held` are those that a person must see to
    chancery_rows_seen_timestamp_seconds      gauge: when the rows behind the gauges were last looked at

The gauges are looked up in the rows every few seconds, never by whoever asks. Serving them is a thread of prometheus-client's.
"""

import asyncio
import logging
import os
import time
from collections import Counter as Tally
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from sqlalchemy import func, select, text

from mailer.circulars.models import Circular, Recipient
from mailer.circulars.states import CircularState, RecipientState
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.delivery.attempts import action_of
from mailer.delivery.claims import Run
from mailer.delivery.turns import Told
from mailer.errors import CannotDo, DatabaseError
from mailer.logs import ROOTS
from mailer.settings import Metrics

log = logging.getLogger(__name__)

#: Seconds between looks at the rows; a look that takes long is followed by a rest twenty times as long.
_REST, _SHARE = 10.0, 20
_OPEN = (RecipientState.QUEUED, RecipientState.SENDING, RecipientState.DEFERRED)
#: In the very words of the index that holds these rows only: with parameters, SQLite would read the whole table.
_OPEN_SQL = text("recipient.state IN ('queued', 'sending', 'deferred')")
#: A loopback relay answers in a millisecond; the longest wait is ten minutes.
_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Counters(logging.Handler):
    """All of them, in a registry of their own; a `batches.Watch`, and a handler that counts log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = CollectorRegistry()
        self._letters = Counter(
            "chancery_letters", "Attempts by what they came to", ("action", "relay"), registry=self.registry
        )
        self._recipients = Counter(
            "chancery_recipients", "Addresses by what became of them", ("state", "relay"), registry=self.registry
        )
        self._seconds = Histogram(
            "chancery_reply_seconds", "Content to last word", ("relay",), buckets=_BUCKETS, registry=self.registry
        )
        self._events = Counter(
            "chancery_events", "Log lines that are not about a letter", ("action", "level"), registry=self.registry
        )
        self._open = Gauge("chancery_recipients_open", "Addresses that wait", ("state",), registry=self.registry)
        self._circulars = Gauge("chancery_circulars", "Circulars by state", ("state",), registry=self.registry)
        self._seen = Gauge(
            "chancery_rows_seen_timestamp_seconds", "When the rows were last looked at", registry=self.registry
        )

    def __call__(self, _run: Run, told: Sequence[Told]) -> None:
        """Count a slice."""
        letters: Tally[tuple[str, str]] = Tally()
        recipients: Tally[tuple[str, str]] = Tally()
        for one in told:
            if not one.changes:
                continue
            relay = one.changes[0].relay or ""
            letters[action_of(one.changes), relay] += 1
            for change in one.changes:
                recipients[change.state.value, relay] += 1
            if one.seconds is not None:
                self._seconds.labels(relay).observe(max(0.0, one.seconds))
        for labels, count in letters.items():
            self._letters.labels(*labels).inc(count)
        for labels, count in recipients.items():
            self._recipients.labels(*labels).inc(count)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a log line of ours; what others say has no stable name."""
        ours = record.name.partition(".")[0] in ROOTS
        action = record.getMessage() if ours else "library-message"
        self._events.labels(action, record.levelname.lower()).inc()

    async def look(self, database: Sessions, clock: Clock) -> None:
        """Set the gauges from the rows.

        Raises:
            DatabaseError: they can't be read.
        """
        waiting = select(Recipient.state, func.count()).where(_OPEN_SQL).group_by(Recipient.state)
        doubtful = select(func.count()).where(Recipient.state == RecipientState.UNCERTAIN)
        states = select(Circular.state, func.count()).group_by(Circular.state)
        held = select(func.count()).where(Circular.held_why.is_not(None), Circular.state == CircularState.SENDING)
        async with database.read() as session:
            found = {state.value: count for state, count in await session.execute(waiting)}
            found[RecipientState.UNCERTAIN.value] = await session.scalar(doubtful) or 0
            circulars = {state.value: count for state, count in await session.execute(states)}
            circulars["held"] = await session.scalar(held) or 0
        for state in (*_OPEN, RecipientState.UNCERTAIN):
            self._open.labels(state.value).set(found.get(state.value, 0))
        for name in (*CircularState, "held"):
            self._circulars.labels(str(name)).set(circulars.get(str(name), 0))
        self._seen.set(clock.now().timestamp())


@asynccontextmanager
async def kept(settings: Metrics, home: Path, database: Sessions, clock: Clock) -> AsyncIterator[Counters]:
    """Counters that are served or written, as the settings say, until the block ends.

    Raises:
        CannotDo: the port is taken, or the file can't be written.
    """
    counters = Counters()
    file = None if settings.file is None else home / settings.file
    await counters.look(database, clock)
    _write(counters, file)
    server = None
    if settings.port is not None:
        try:
            server, _ = start_http_server(settings.port, "127.0.0.1", counters.registry)
        except OSError as error:
            raise CannotDo(
                f"this port can't be used ({error.strerror})",
                where=f"metrics.port {settings.port}",
                remedy="choose another one, or stop what uses it",
            ) from None
        log.info("metrics-served", extra={"port": server.server_port})
    root = logging.getLogger()
    root.addHandler(counters)
    looking = asyncio.create_task(_go_on(counters, file, database, clock))
    try:
        yield counters
    finally:
        root.removeHandler(counters)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await _look(counters, file, database, clock)
        if server is not None:
            await asyncio.to_thread(server.shutdown)
            server.server_close()


def _write(counters: Counters, file: Path | None) -> None:
    if file is None:
        return
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_bytes(generate_latest(counters.registry))
        beside.chmod(0o644)  # another user's program reads it, whatever our umask; it names no address
        beside.replace(file)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise CannotDo(
            f"it can't be written ({error.strerror})",
            where=str(file),
            remedy="correct metrics.file, or make its folder",
        ) from None


async def _look(counters: Counters, file: Path | None, database: Sessions, clock: Clock) -> None:
    """Look, and write the file; a moment's trouble is only told: the next look may go well."""
    try:
        await counters.look(database, clock)
        _write(counters, file)
    except (DatabaseError, CannotDo) as error:
        log.warning("metrics-failed", extra={"reason": str(error)})


async def _go_on(counters: Counters, file: Path | None, database: Sessions, clock: Clock) -> None:
    while True:
        began = time.monotonic()
        await _look(counters, file, database, clock)
        took = time.monotonic() - began
        await clock.sleep(max(_REST, _SHARE * took))

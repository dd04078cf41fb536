"""What `doctor` looks at: the home, its settings, its database, its disk, its relays.

Looking changes nothing, and sends nothing unless a test letter is asked for. Every line that is not green says how to mend
it.
"""

import datetime as dt
import importlib.metadata
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from sqlalchemy import ColumnClause, column, select, table, update

from mailer import log_places, shipped, testletter
from mailer.clock import Clock
from mailer.database import Database
from mailer.errors import ChanceryError
from mailer.homes import DATABASE_FILE, database_url, network_file_system
from mailer.migrations import schema
from mailer.settings import LogPlace, Relay, Settings, loader

#: Bytes free below which a line is red, and below which a person should look. A send of 400 letters needs some megabytes;
#: the write-ahead log of a large one some hundred.
_TOO_LITTLE, _LITTLE = 100_000_000, 1_000_000_000
#: The year of this version: a clock before it was never set.
_YEAR = 2026
#: A certificate that ends this soon is worth a word.
_SOON = dt.timedelta(days=21)
#: What a relay may offer: keyword, what is told of it, and what where it is not offered.
_OFFERS = (
    ("dsn", "reports of delivery on demand (DSN)", "no reports of delivery on demand (DSN)"),
    ("pipelining", "several commands at once (PIPELINING)", "one command at a time (no PIPELINING)"),
    ("smtputf8", "addresses beyond ASCII (SMTPUTF8)", "no addresses beyond ASCII (no SMTPUTF8)"),
)


class Light(StrEnum):
    """How a line stands."""

    GREEN = "green"  #: well
    YELLOW = "yellow"  #: works, but a person should know
    RED = "red"  #: will not work


@dataclass(frozen=True, slots=True)
class Line:
    """One thing looked at: its name, how it stands, what was seen, and the mend where it is not well."""

    name: str
    light: Light
    what: str
    mend: str = ""


async def look(
    home: Path,
    clock: Clock,
    environment: Mapping[str, str] | None = None,
    *,
    send_test: str | None = None,
    by: str = "",
) -> AsyncIterator[Line]:
    """Look at everything, in the order in which it should be mended.

    Args:
        home: the home.
        clock: the time.
        environment: default: that of the process.
        send_test: an address that a test letter is sent to, by each relay that answers, of senders and of routes.
        by: who asks for that.

    Raises:
        BadInput: *send_test* can't be written to; nothing has been looked at.
    """
    address = None if send_test is None else testletter.recipient(send_test)
    for line in (*program(), *rights(home), *disk(home)):
        yield line
    yield time(clock)
    try:
        loaded = loader.load(home, environment)
    except ChanceryError as error:
        for one in getattr(error, "errors", [error]):
            yield _red("settings", one)
        yield Line("database, relays", Light.YELLOW, "not looked at", "correct the settings first")
        return
    yield Line("settings", Light.GREEN, _names(loaded.settings))
    for warning in loaded.warnings:
        yield Line("settings", Light.YELLOW, warning, "see config/default.toml")
    if kind := network_file_system(home / loaded.settings.delivery.journal):
        yield Line(
            "journal",
            Light.RED,
            f"the flight journal is on a network drive ({kind})",
            "name a folder of this machine under delivery.journal",
        )
    for line in watched(loaded.settings, home):
        yield line
    line = await database(home, loaded.settings)
    yield line
    if line.light is Light.GREEN:
        async for one in server(home, loaded.settings, clock):
            yield one
        async for one in held(home, loaded.settings):
            yield one
    if not loaded.settings.relays:
        yield Line(
            "relays",
            Light.YELLOW,
            "there is none, so nothing can be sent",
            "add a section [relays.main] to chancery.toml",
        )
    for line in signatures(loaded.settings, home):
        yield line
    dead: set[str] = set()
    for name, relay in loaded.settings.relays.items():
        lines = list(secrets(name, relay, home))
        for line in lines or [await reach(name, relay, home, clock.now())]:
            if line.light is Light.RED:
                dead.add(name)
            yield line
    if address is not None:
        async for line in trial_letters(loaded.settings, home, clock, address, by=by, dead=dead):
            yield line


def watched(settings: Settings, home: Path) -> Iterator[Line]:
    """Whether log lines and counters can be written where the settings want them; nothing where they keep to standard error."""
    log, metrics = settings.log, settings.metrics
    if log.to is LogPlace.FILE:
        wrong = log_places.unwritable(home / log.file)
        mend = "correct log.file, or make its folder; nothing else waits for it"
        yield Line(
            "log", Light.YELLOW if wrong else Light.GREEN, wrong or f"to {home / log.file}", mend if wrong else ""
        )
    if log.to is LogPlace.SYSLOG:
        there = Path(log.socket).is_socket()
        what = "to the system's log" if there else f"no system's log listens at {log.socket}"
        yield Line(
            "log",
            Light.GREEN if there else Light.YELLOW,
            what,
            "" if there else 'correct log.socket, or set to = "file"',
        )
    if metrics.file is not None:
        wrong = log_places.unwritable(home / metrics.file)
        mend = "correct metrics.file, or make its folder: `chancery serve` does not start without it"
        yield Line(
            "counters", Light.RED if wrong else Light.GREEN, wrong or f"in {home / metrics.file}", mend if wrong else ""
        )


async def trial_letters(
    settings: Settings, home: Path, clock: Clock, address: str, *, by: str, dead: Collection[str]
) -> AsyncIterator[Line]:
    """A line for each sender and relay: what became of a test letter; *dead*: relays that do not answer."""
    ways = testletter.ways(settings)
    if not ways:
        yield Line("test letter", Light.RED, "there is no sender to send one", "add a section [senders.NAME]")
    for sender, relay in ways:
        if relay in dead:
            yield Line(
                f"test letter {sender}", Light.RED, f"not sent: relay {relay} can't be used", "mend the relay first"
            )
    async for tried in testletter.send(settings, home, clock, address, by=by, but=dead):
        light = Light.GREEN if tried.well else Light.RED
        yield Line(f"test letter {tried.sender}", light, f"by {tried.relay} to {address}: {tried.what}", tried.mend)


def _names(settings: Settings) -> str:
    return "; ".join(
        f"{section} {', '.join(getattr(settings, section)) or 'none'}" for section in ("relays", "senders", "issuers")
    )


def program() -> Iterator[Line]:
    """Whether another distribution has put its files over ours."""
    owners = importlib.metadata.packages_distributions()
    for package in ("mailer", "lists"):
        others = sorted({name for name in owners.get(package, ()) if name.lower().replace("_", "-") != "chancery-mail"})
        if others:
            yield Line(
                "program",
                Light.RED,
                f"the package {package} also belongs to {', '.join(others)}, whose files may have replaced ours",
                "install chancery-mail again, in an environment of its own",
            )
            return
    yield Line("program", Light.GREEN, f"chancery-mail {importlib.metadata.version('chancery-mail')}")


def rights(home: Path) -> Iterator[Line]:
    """Whether the home is ours and closed to others, and on a disk of this machine."""
    if kind := network_file_system(home):
        yield Line("home", Light.RED, f"{home} is on a network drive ({kind})", "move it to a disk of this machine")
    seen = home.stat()
    if seen.st_uid != os.geteuid() and os.geteuid() != 0:
        yield Line("home", Light.RED, f"{home} belongs to another user", "run the command as its owner")
    elif stat.S_IMODE(seen.st_mode) & 0o077:
        yield Line("home", Light.RED, f"others can look into {home}", f"chmod 700 {home}")
    else:
        yield Line("home", Light.GREEN, str(home))
    open_files = [path.name for path in _private(home) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_files:
        yield Line(
            "home",
            Light.RED,
            f"others can read {', '.join(open_files)}",
            f"cd {home} && chmod 600 {' '.join(open_files)}",
        )
    try:
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Line(
            "home", Light.RED, f"it can't be written to ({error.strerror})", "check its owner, its rights and its disk"
        )


def _private(home: Path) -> Iterator[Path]:
    for pattern in (loader.FILE, f"{DATABASE_FILE}*", "*.password", "*.secret"):
        yield from (path for path in sorted(home.glob(pattern)) if path.is_file())


def disk(home: Path) -> Iterator[Line]:
    """Whether there is room."""
    free = shutil.disk_usage(home).free
    words = f"{free / 1e9:.1f} GB free"
    if free < _TOO_LITTLE:
        yield Line("disk", Light.RED, words, "make room: without it nothing is sent")
    elif free < _LITTLE:
        yield Line("disk", Light.YELLOW, words, "make room soon")
    else:
        yield Line("disk", Light.GREEN, words)


def time(clock: Clock) -> Line:
    """Whether the clock was ever set."""
    now = clock.now()
    made = dt.datetime.fromtimestamp((shipped.folder("config") / "default.toml").stat().st_mtime, dt.UTC)
    if now.year < _YEAR or now < made - dt.timedelta(days=2):
        return Line(
            "clock",
            Light.RED,
            f"it says {now:%Y-%m-%d %H:%M} UTC, before this program was made",
            "set the clock (timedatectl)",
        )
    return Line("clock", Light.GREEN, f"{now:%Y-%m-%d %H:%M} UTC")


class _Undo(Exception):
    """Rolls back."""


async def database(home: Path, settings: Settings) -> Line:
    """Whether the database is there, of this version, and can be written; the writing is undone."""
    try:
        opened = Database(database_url(home, settings))
        try:
            await schema.check(opened)
            version: ColumnClause[str] = column("version_num")
            async with opened.write() as session:
                await session.execute(update(table(schema.VERSION_TABLE, version)).values(version_num=version))
                raise _Undo
        finally:
            await opened.close()
    except _Undo:
        return Line("database", Light.GREEN, f"schema {schema.latest()}, can be written")
    except ChanceryError as error:
        return _red("database", error)


async def server(home: Path, settings: Settings, clock: Clock) -> AsyncIterator[Line]:
    """What is to be said of the server that keeps the database, where there is one."""
    opened = Database(database_url(home, settings))
    try:
        if not opened.sqlite:
            from mailer import database_checkup

            async for line in database_checkup.server(opened, clock, dt.timedelta(seconds=settings.delivery.lease)):
                yield line
    finally:
        await opened.close()


async def held(home: Path, settings: Settings) -> AsyncIterator[Line]:
    """Circulars of which nothing leaves until a person has seen to them."""
    from mailer.circulars.models import Circular
    from mailer.circulars.states import CircularState

    opened = Database(database_url(home, settings))
    try:
        async with opened.read() as session:
            rows = await session.execute(
                select(Circular.reference, Circular.id, Circular.held_why)
                .where(Circular.held_why.is_not(None), Circular.state == CircularState.SENDING)
                .order_by(Circular.id)
            )
            found = rows.all()
    finally:
        await opened.close()
    for reference, number, why in found:
        name = reference or str(number)
        yield Line(f"circular {name}", Light.YELLOW, why or "", f"once that is seen to: chancery circular send {name}")


def secrets(name: str, relay: Relay, home: Path) -> Iterator[Line]:
    """Whether a relay's files of secrets are there and closed to others."""
    for file, what in ((relay.password_file, "password"), (relay.oauth.client_secret_file, "client secret")):
        if file is None:
            continue
        path = home / file
        if not path.is_file():
            yield Line(
                f"relay {name}",
                Light.RED,
                f"its {what} file {path} is not there",
                f"write the {what} into it, then: chmod 600 {path}",
            )
        elif stat.S_IMODE(path.stat().st_mode) & 0o077 and path not in _private(
            home
        ):  # else told with the home's files
            yield Line(f"relay {name}", Light.RED, f"others can read {path}", f"chmod 600 {path}")


def signatures(settings: Settings, home: Path) -> Iterator[Line]:
    """A line for each sender whose letters are signed: whether its keys can be used, and what the DNS has to say."""
    from mailer.circulars.keys import Keys
    from mailer.mime.signing import ADVISED

    keys = Keys(settings, home)
    for name in settings.senders:
        title = f"signature {name}"
        try:
            signer = keys.signer(name)
        except ChanceryError as error:
            yield _red(title, error)
            continue
        for unread in keys.unreadable(name):
            yield replace(_red(title, unread), light=Light.YELLOW)
        if signer is None:
            continue
        path = home / (settings.senders[name].dkim.key_file or "")
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Line(title, Light.RED, f"others can read {path}", f"chmod 600 {path}")
        what = f"DKIM by {signer.domain}, RSA {signer.key.bits} bits. The DNS must have this record: {signer.record}"
        if signer.key.bits < ADVISED:
            mend = f"make a key of {ADVISED} bits, under another selector: openssl genrsa -out FILE {ADVISED}"
            yield Line(title, Light.YELLOW, what, mend)
        else:
            yield Line(title, Light.GREEN, what)


async def reach(name: str, relay: Relay, home: Path, now: dt.datetime) -> Line:
    """Whether the relay answers, with TLS and the login, and what it offers."""
    from mailer.transport import probe

    try:
        answer = await probe.probe(name, relay, home)
    except ChanceryError as error:
        return _red(f"relay {name}", error)
    words = [f"{answer.host} port {answer.port}", answer.tls or "in clear text"]
    words.append(f"logged in as {relay.username} ({answer.login})" if answer.login else "no login")
    words.append(
        f"takes letters up to {answer.size_limit / 1e6:.0f} MB" if answer.size_limit else "tells no limit of size"
    )
    words += [told if word in answer.extensions else without for word, told, without in _OFFERS]
    if answer.until is None:
        return Line(f"relay {name}", Light.GREEN, ", ".join(words))
    ends = f"{answer.until:%Y-%m-%d}"
    if answer.until - now < _SOON:
        days = max(0, (answer.until - now).days)
        what = f"{', '.join(words)}; its certificate ends on {ends}, in {days} days"
        return Line(f"relay {name}", Light.YELLOW, what, "tell whoever runs it: after that day nothing can be sent")
    return Line(f"relay {name}", Light.GREEN, f"{', '.join(words)}, certificate good until {ends}")


def _red(name: str, error: ChanceryError) -> Line:
    words = f"{error.where}: {error.what}" if error.where else error.what
    return Line(name, Light.RED, words, error.remedy or "see the documentation")

"""The settings: their shapes and limits. `loader` reads them; nothing here opens a file."""

import datetime as dt
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from lists.kinds import Counting

#: A text, or one per language: `"x"` or `{ en = "x", fr = "y" }`.
Text = str | dict[str, str]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


def as_names(value: str | list[str]) -> tuple[str, ...]:
    """One name, or several in order."""
    return (value,) if isinstance(value, str) else tuple(value)


class Section(BaseModel):
    """A frozen part of the settings; unknown keys are errors."""

    # Values are kept out of errors: one of them may be a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Tls(StrEnum):
    """How the connection to a relay is protected."""

    IMPLICIT = "implicit"  #: from the first byte (port 465)
    STARTTLS = "starttls"  #: required; never skipped where a relay does not offer it
    NONE = "none"  #: loopback only, unless `allow_clear_text`; with a login, unless `allow_clear_password` too


class Bounces(StrEnum):
    """What the envelope's sender is."""

    TOKEN = "token"  # noqa: S105 - a word, no password. An address per letter (VERP): bounces+TOKEN@domain
    PLAIN = "plain"  #: the sender's own bounce address, or its mailbox
    NONE = "none"  #: the null sender


class Auth(StrEnum):
    """How we log in to a relay."""

    PLAIN = "plain"
    LOGIN = "login"
    XOAUTH2 = "xoauth2"  #: by an access token, which a command or an OAuth endpoint gives


class OAuth(Section):
    """Where an access token is had for client credentials (RFC 6749, 4.4)."""

    token_url: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    client_secret_file: str | None = None
    scope: str | None = None
    ca_file: str | None = None

    @property
    def begun(self) -> bool:
        """Whether anything but the scope, which a preset may bring, is set."""
        return any((self.token_url, self.client_id, self.client_secret, self.client_secret_file))


class Timeouts(Section):
    """Seconds per phase (RFC 5321, 4.5.3.2)."""

    connect: Seconds = 30
    greeting: Seconds = 300
    command: Seconds = 300
    data: Seconds = 120
    block: Seconds = 180
    final: Seconds = 600


class Relay(Section):
    """An SMTP server that takes our mail."""

    preset: str | None = None
    host: str
    port: Port = 587
    tls: Tls = Tls.STARTTLS
    allow_clear_text: bool = False
    allow_clear_password: bool = False
    ca_file: str | None = None
    username: str | None = None
    auth: Auth | None = None
    password: SecretStr | None = None
    password_file: str | None = None
    token_command: list[str] | None = None
    connections: Annotated[int, Field(ge=1, le=500)] = 10
    per_minute: Annotated[int, Field(ge=0)] = 0
    recipients_per_day: Annotated[int, Field(ge=0)] = 0
    letters_per_connection: Annotated[int, Field(ge=0)] = 100
    max_age: Seconds = 600
    bounces: Bounces = Bounces.TOKEN
    helo: str | None = None
    oauth: OAuth = OAuth()
    timeouts: Timeouts = Timeouts()

    @property
    def by_token(self) -> bool:
        """Whether the login is by an access token."""
        return self.auth is Auth.XOAUTH2 or (self.auth is None and (self.token_command is not None or self.oauth.begun))


class Dkim(Section):
    """How a sender's letters are signed; without selector and key_file they are not."""

    domain: str | None = None
    selector: str | None = None
    key_file: str | None = None
    former_key_files: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether signing is wanted; keys of former letters may be there without it."""
        return any(each is not None for each in (self.domain, self.selector, self.key_file))


class Sender(Section):
    """The mailbox a circular leaves from."""

    name: Text
    address: str
    reply_to: str | None = None
    relay: str | list[str] = "main"
    bounces: str | None = None
    dkim: Dkim = Dkim()

    @property
    def relays(self) -> tuple[str, ...]:
        """The relays that take its mail, in order of preference."""
        return as_names(self.relay)


class Route(Section):
    """Recipients whose letters go by other relays than the sender's own."""

    domains: list[str] = []
    relay: str | list[str] = "main"

    @property
    def relays(self) -> tuple[str, ...]:
        """The relays, in order of preference."""
        return as_names(self.relay)


class DomainPace(Section):
    """How fast letters go to one domain of recipients; 0: no limit."""

    per_minute: Annotated[int, Field(ge=0)] = 0
    connections: Annotated[int, Field(ge=0, le=500)] = 0


class Pace(DomainPace):
    """How fast letters go to any one domain of recipients, and to some of them."""

    domains: dict[str, DomainPace] = {}


class Issuer(Section):
    """Who speaks in a circular."""

    name: Text = ""
    capacity: Text = ""
    letterhead: Text = ""
    address_block: Text = ""


class Approval(Section):
    """Who may clear a circular, and how it is numbered."""

    two_people: bool = False
    reference: str = "CIRC/{year}/{number:03}"


class Delivery(Section):
    """How letters leave. Durations in seconds."""

    lease: Seconds = 120
    slice: Annotated[int, Field(ge=1, le=500)] = 200
    first_retry: Seconds = 900
    longest_retry: Seconds = 4 * 3600
    give_up_after: Seconds = 4 * 86400
    ask_after: Annotated[float, Field(ge=0)] = 3 * 86400
    archive: bool = False
    stop_wait: Seconds = 660
    slots: Annotated[int, Field(ge=1, le=64)] = 4
    journal: str = "journal"


class Roll(Section):
    """Which States are States Parties, and what the home adds to the shipped events."""

    counting: Counting = Counting.IN_FORCE
    events: str = "roll-events.csv"


class Calendar(Section):
    """Working days and hours, for reminders."""

    timezone: str = "Europe/Zurich"
    country: str = "CH"
    subdivision: str | None = "GE"
    at: dt.time = dt.time(9, 0)
    fire_late: Seconds = 12 * 3600


class Database(Section):
    """Where the rows are; empty: `chancery.sqlite3` in the home."""

    url: SecretStr | None = None
    password_file: str | None = None


class Languages(Section):
    """The order in which a letter's language is looked for, after the organization's own order."""

    fall_back: list[Literal["en", "fr", "es", "ar", "zh", "ru"]] = ["en", "fr"]


class LogPlace(StrEnum):
    """Where log lines go."""

    STDERR = "stderr"  #: of `chancery serve`; other commands say what matters themselves
    FILE = "file"
    SYSLOG = "syslog"


class LogForm(StrEnum):
    """For whom log lines are."""

    TEXT = "text"  #: people
    JSON = "json"  #: machines


class LogLevel(StrEnum):
    """The least that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Log(Section):
    """Log lines: one per attempt, and what else happens."""

    to: LogPlace = LogPlace.STDERR
    file: Annotated[str, Field(min_length=1)] = "chancery.log"
    socket: Annotated[str, Field(min_length=1)] = "/dev/log"
    format: LogForm = LogForm.TEXT
    level: LogLevel = LogLevel.INFO
    addresses: bool = False


class Metrics(Section):
    """Counters for Prometheus, of `chancery serve`; neither is set: there are none."""

    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    file: Annotated[str, Field(min_length=1)] | None = None


class Settings(Section):
    """All settings of a home."""

    relays: dict[str, Relay] = {}
    senders: dict[str, Sender] = {}
    routes: dict[str, Route] = {}
    issuers: dict[str, Issuer] = {}
    approval: Approval = Approval()
    pace: Pace = Pace()
    delivery: Delivery = Delivery()
    roll: Roll = Roll()
    calendar: Calendar = Calendar()
    database: Database = Database()
    languages: Languages = Languages()
    log: Log = Log()
    metrics: Metrics = Metrics()

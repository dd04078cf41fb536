"""What must be true of settings beyond the shape of each value: names that refer to others, addresses, TLS, secrets. Pure."""

import ipaddress
import re
import string
from collections.abc import Iterator
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from mailer.settings import Relay, Settings, Tls, senders
from mailer.settings.shape import Key, Problem, text_problems

_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
#: What we may call ourselves: a domain of at least two labels, or an address in brackets (RFC 5321, 4.1.4).
_HELO = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+"
    r"|\[(?:[0-9.]{7,15}|IPv6:[0-9A-Fa-f:.]{2,45})\]"
)
#: Port 465 is TLS from the first byte (RFC 8314, 3.3); 587 and 25 begin in clear text.
_PORTS = {465: Tls.IMPLICIT, 587: Tls.STARTTLS, 25: Tls.STARTTLS}


def problems(settings: Settings) -> Iterator[Problem]:
    """All that is wrong, in the order of the sections."""
    for section in ("relays", "senders", "routes", "issuers"):
        for name in getattr(settings, section):
            if not _NAME.fullmatch(name):
                yield Problem(
                    (section, name), f"{name!r} is no name for one of the {section}", "use letters, digits, - and _"
                )
    for name, relay in settings.relays.items():
        yield from _relay(("relays", name), relay)
    yield from senders.problems(settings)
    for name, issuer in settings.issuers.items():
        for field, text in issuer:
            yield from text_problems(("issuers", name, field), text)
    yield from _reference(settings.approval.reference)
    yield from _durations(settings)
    yield from _calendar(settings)
    url = settings.database.url.get_secret_value() if settings.database.url else None
    if url is not None and not re.match(r"sqlite:///.|postgresql://.", url):
        yield Problem(
            ("database", "url"), "it names no database", "write it as sqlite:///path or postgresql://user@host/name"
        )
    elif settings.database.password_file is not None and not (url or "").startswith("postgresql://"):
        yield Problem(
            ("database", "password_file"), "only PostgreSQL asks for a password", "leave it out, or set database.url"
        )
    elif settings.database.password_file is not None and re.match(r"postgresql://[^/@]*:[^/@]*@", url or ""):
        yield Problem(("database", "password_file"), "the url holds a password already", "take it out of the url")


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine by its very name or number; nothing is looked up."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _relay(key: Key, relay: Relay) -> Iterator[Problem]:
    host = (*key, "host")
    if "://" in relay.host or "/" in relay.host:
        yield Problem(host, "it is a web address", "give only the server's name, such as smtp.example.org")
    elif re.fullmatch(r"[^:\[\]]+:\d+", relay.host):
        yield Problem(host, "it holds a port", "give the port as port = ...")
    elif (
        not re.fullmatch(r"[A-Za-z0-9._:\[\]%-]{1,253}", relay.host)
        and not relay.host.replace(".", "").replace("-", "").isalnum()
    ):
        yield Problem(host, "it is no name of a server", "write it such as smtp.example.org, without blanks")
    if relay.tls is Tls.NONE and not relay.allow_clear_text and not is_loopback(relay.host):
        yield Problem(
            (*key, "tls"),
            f"letters and password would go to {relay.host} in clear text",
            'set tls = "starttls" or "implicit"; or, on a network that you trust, allow_clear_text = true',
        )
    elif relay.tls is Tls.NONE and relay.username is not None and not is_loopback(relay.host):
        forced = relay.allow_clear_password
        yield Problem(
            (*key, "username"),
            f"the password {'goes' if forced else 'would go'} to {relay.host} in clear text, for everybody on the way to read",
            'set tls = "starttls" or "implicit", or do without a login'
            + ("" if forced else "; where it must be, allow_clear_password = true"),
            stops=not forced,
        )
    expected = _PORTS.get(relay.port)
    if expected and relay.tls not in {expected, Tls.NONE}:
        yield Problem(
            (*key, "tls"),
            f'port {relay.port} usually goes with tls = "{expected.value}", not "{relay.tls.value}"',
            "correct one of the two if the relay does not answer",
            stops=False,
        )
    named = [((*key, field), getattr(relay, field)) for field in ("username", "helo", "ca_file", "password_file")]
    named += [((*key, "oauth", field), getattr(relay.oauth, field)) for field in ("client_secret_file", "ca_file")]
    for place, value in named:
        if value is not None and (not value.strip() or not value.isprintable()):
            yield Problem(
                place,
                "it is empty, or holds characters that can't be seen",
                "write it again, or delete the line",
            )
    if relay.helo is not None and relay.helo.strip() and relay.helo.isprintable() and not _HELO.fullmatch(relay.helo):
        yield Problem(
            (*key, "helo"),
            f"{relay.helo!r} is no full name of a machine, and mail servers may turn us away for it",
            "write it such as circulars.example.org, or delete the line",
        )
    yield from (_token if relay.by_token else _password)(key, relay)


def _password(key: Key, relay: Relay) -> Iterator[Problem]:
    """What is wrong with a login by password, or without one."""
    secret = relay.password is not None or relay.password_file is not None
    if relay.password is not None and relay.password_file is not None:
        yield Problem((*key, "password"), "both password and password_file are given", "keep one of them")
    elif relay.password is not None:
        yield from _secret((*key, "password"), relay.password)
    if relay.username is not None and not secret:
        yield Problem(
            (*key, "username"),
            "there is a username but no password",
            'add password_file = "relay.password"; for an access token see auth in config/default.toml',
        )
    if relay.username is None and secret:
        yield Problem((*key, "username"), "there is a password but no username", 'add username = "..."')
    if relay.username is None and relay.auth is not None and not secret:
        yield Problem((*key, "auth"), "there is no username to log in with", 'add username = "...", or delete auth')
    for field, given in (("token_command", relay.token_command is not None), ("oauth", relay.oauth.begun)):
        if given:
            yield Problem(
                (*key, field),
                f'it gives an access token, and auth = "{relay.auth}" wants a password',
                'set auth = "xoauth2", or delete it',
            )


def _token(key: Key, relay: Relay) -> Iterator[Problem]:
    """What is wrong with a login by access token."""
    oauth = relay.oauth
    if relay.username is None:
        yield Problem(
            (*key, "username"), "an access token is for a mailbox, and none is named", 'add username = "its address"'
        )
    for field in ("password", "password_file"):
        if getattr(relay, field) is not None:
            yield Problem(
                (*key, field), "the login is by access token and needs no password", "keep one of the two ways"
            )
    if relay.token_command is not None:
        if oauth.begun:
            yield Problem(
                (*key, "token_command"), "the access token would come from here and from oauth", "keep one of them"
            )
        if not relay.token_command or not relay.token_command[0].strip() or "\0" in "".join(relay.token_command):
            yield Problem(
                (*key, "token_command"), "it names no program", 'write it as ["/path/of/program", "argument"]'
            )
        return
    where = (*key, "oauth")
    if not oauth.begun:
        yield Problem(
            (*key, "auth"),
            "it does not say where the access token comes from",
            f"add token_command, or a section [{'.'.join(where)}] with token_url, client_id and client_secret_file",
        )
        return
    if oauth.token_url is None:
        yield Problem((*where, "token_url"), "it is missing", 'add token_url = "https://..."')
    elif (why := _no_token_url(oauth.token_url)) is not None:
        yield Problem((*where, "token_url"), why, 'write it as "https://login.example.org/token"')
    if oauth.client_id is None:
        yield Problem((*where, "client_id"), "it is missing", 'add client_id = "..."')
    for field in ("client_id", "scope"):
        value = getattr(oauth, field)
        if value is not None and (not value.strip() or not value.isprintable()):
            yield Problem((*where, field), "it is empty, or holds characters that can't be seen", "write it again")
    if oauth.client_secret is not None and oauth.client_secret_file is not None:
        yield Problem(
            (*where, "client_secret"), "both client_secret and client_secret_file are given", "keep one of them"
        )
    elif oauth.client_secret is not None:
        yield from _secret((*where, "client_secret"), oauth.client_secret)
    elif oauth.client_secret_file is None:
        yield Problem((*where, "client_secret_file"), "it is missing", 'add client_secret_file = "relay.secret"')


def _secret(key: Key, secret: SecretStr) -> Iterator[Problem]:
    if why := no_secret(secret.get_secret_value()):
        yield Problem(key, why, "write it again")


def no_secret(text: str) -> str | None:
    """Why *text* can't be a password or a secret; None: it can."""
    if not text:
        return "it is empty"
    if any(character < " " or character == "\x7f" for character in text):
        return "it holds a line break or another control character"
    return None


def _no_token_url(url: str) -> str | None:
    """Why *url* can't be asked for a token; None: it can."""
    if not (url.isascii() and url.isprintable() and " " not in url):
        return "it holds a blank, or characters that no web address has"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is no web address"
    if parts.scheme not in {"https", "http"} or not host or "@" in parts.netloc or parts.fragment:
        return "it is no web address of a token endpoint"
    if parts.scheme == "http" and not is_loopback(host):
        return "the secret would go there in clear text"
    return None


def _reference(pattern: str) -> Iterator[Problem]:
    key = ("approval", "reference")
    remedy = 'write it such as "AUS/{year}/{number:03}"'
    try:
        parts = list(string.Formatter().parse(pattern))
        pattern.format(year=2006, number=7)
    except (ValueError, LookupError, AttributeError) as error:
        yield Problem(key, f"the pattern does not work ({error})", remedy)
        return
    fields = [field for _, field, _, _ in parts if field is not None]
    if "number" not in fields or set(fields) - {"number", "year"}:
        yield Problem(key, "the pattern needs {number}, and knows only {year} besides", remedy)
    elif not any(not character.isdigit() and not character.isspace() for literal, *_ in parts for character in literal):
        yield Problem(key, "the pattern holds only digits, as a draft's number does", remedy)
    elif not pattern.isprintable() or len(pattern) > 60:  # noqa: PLR2004 - a subject line has to hold it
        yield Problem(key, "the pattern is too long, or holds characters that can't be seen", remedy)


def _durations(settings: Settings) -> Iterator[Problem]:
    given = settings.delivery
    if given.first_retry > given.longest_retry:
        yield Problem(("delivery", "first_retry"), "it is longer than longest_retry", "make it the shorter of the two")
    if given.longest_retry > given.give_up_after:
        yield Problem(
            ("delivery", "longest_retry"), "it is longer than give_up_after", "make it the shorter of the two"
        )
    for name, relay in settings.relays.items():
        if given.stop_wait < relay.timeouts.final:
            yield Problem(
                ("delivery", "stop_wait"),
                f"it is shorter than the final time-out of relay {name}: a stop could leave letters in doubt",
                f"make it at least {relay.timeouts.final + 60:g}",
                stops=False,
            )


def _calendar(settings: Settings) -> Iterator[Problem]:
    zone = settings.calendar.timezone
    try:
        ZoneInfo(zone)
    except (LookupError, ValueError, OSError):
        yield Problem(("calendar", "timezone"), f"there is no time zone {zone!r}", 'write it such as "Europe/Zurich"')
    if settings.calendar.at.tzinfo is not None:
        yield Problem(("calendar", "at"), "the time has a zone of its own", "write it such as 09:00:00")

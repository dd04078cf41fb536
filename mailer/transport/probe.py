"""A look at a relay for `doctor`: reach it, encrypt, log in, see what it offers, send nothing."""

import datetime as dt
import socket
import ssl
from pathlib import Path
from typing import cast

from lists.records import record
from mailer.errors import RelayError
from mailer.settings import Relay, Tls
from mailer.transport import commands, smtp
from mailer.transport.base import Scope
from mailer.transport.login import NoWay
from mailer.transport.oauth import NoToken
from mailer.transport.protocol import Connection
from mailer.transport.verdict import Phase, judge, parse

_WRONG = 535
#: the table's own words for a login that is refused without more words
_UNTOLD = judge(Phase.LOGIN, parse(f"{_WRONG} 5.7.8 No")).why


@record
class Probe:
    """What a relay showed.

    Attributes:
        host: of the settings.
        port: of the settings.
        tls: version as in "TLSv1.3"; None: clear text.
        names: for which the certificate is good.
        until: when the certificate ends; None: clear text.
        login: mechanism that we logged in with; None: no login was asked for.
        extensions: keyword and parameters, as offered after the login.
        size_limit: largest letter in octets; None: no limit is told.
    """

    host: str
    port: int
    tls: str | None
    names: tuple[str, ...]
    until: dt.datetime | None
    login: str | None
    extensions: dict[str, str]
    size_limit: int | None


async def probe(name: str, relay: Relay, home: Path) -> Probe:
    """Connect as for sending, and say goodbye.

    Args:
        name: the relay's name in the settings.
        relay: its settings.
        home: what paths in the settings are relative to.

    Raises:
        RelayError: it can't be used; says why and what to do.
        SettingsError: its settings ask for what can't or must not be done.
    """
    try:
        session = await smtp.open_session(name, relay, home)
    except smtp.Unavailable as error:
        raise _explained(name, relay, error) from error
    tls, names, until = _certificate(session.wire.info("ssl_object"))
    await Connection(session.wire, session.extensions, relay.timeouts).quit()
    limit = commands.size_limit(session.extensions)
    return Probe(relay.host, relay.port, tls, names, until, session.mechanism, session.extensions, limit)


def _certificate(tls: object) -> tuple[str | None, tuple[str, ...], dt.datetime | None]:
    """Version, names and end of the certificate of an asyncio transport's TLS object."""
    if tls is None:
        return None, (), None
    seen = cast("ssl.SSLObject", tls)
    shown = seen.getpeercert() or {}
    names = tuple(str(value) for _, value in cast("tuple[tuple[str, str], ...]", shown.get("subjectAltName", ())))
    ends = shown.get("notAfter")
    until = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(ends)), dt.UTC) if ends else None
    return seen.version(), names, until


def _explained(name: str, relay: Relay, error: smtp.Unavailable) -> RelayError:
    """The failure in plain words, with what to do about it."""
    where = f"relays.{name} ({relay.host}, port {relay.port})"
    said = f" (it said: {error.said.code} {error.said.text})" if error.said else ""
    what, remedy = _why(name, relay, error)
    return RelayError(what + said, where=where, remedy=remedy)


def _why(name: str, relay: Relay, error: smtp.Unavailable) -> tuple[str, str]:
    cause = _cause(error)
    at = f"relays.{name}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = (cause.verify_message or str(cause)).rstrip(".")
        return (
            f"its certificate is not trusted, or is for another name ({reason})",
            f"Check {at}.host; if your office has an authority of its own, name its certificate file in {at}.ca_file",
        )
    if isinstance(cause, ssl.SSLError):
        other = "starttls" if relay.tls is Tls.IMPLICIT else "implicit"
        return (
            f"no encrypted connection could be agreed ({cause.reason or 'no TLS'})",
            f'Try {at}.tls = "{other}" (implicit: mostly port 465; starttls: mostly 587); TLS 1.2 or later is needed',
        )
    if isinstance(cause, socket.gaierror):
        return "this name was not found", f"Check {at}.host, and that this machine can look up names"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing answers on this port", f"Check {at}.port, and that the mail server is running"
    if isinstance(cause, TimeoutError):
        waited = "to connect" if error.phase is Phase.CONNECT else "for an answer"
        return (
            f"it took too long {waited}",
            f"Check {at}.host and port, and whether a firewall stands between; an implicit TLS port says nothing to starttls",
        )
    if error.phase is Phase.TLS and error.said is None:
        return (
            "it does not offer to encrypt the connection (STARTTLS)",
            f'Check {at}.port (587 or 465 with tls = "implicit"); letters are not sent in the clear',
        )
    if isinstance(cause, NoToken):
        return cause.why, cause.remedy
    if isinstance(cause, NoWay):
        return cause.why, cause.remedy or f"Check {at}.port, or remove {at}.username if no login is needed"
    if error.phase is Phase.LOGIN and error.verdict.scope is Scope.HOLD:
        return _refused(at, relay, error)
    return error.verdict.why, "Ask whoever runs the mail server, and show them this line"


def _refused(at: str, relay: Relay, error: smtp.Unavailable) -> tuple[str, str]:
    """A login that the relay did not take, and what to do about it."""
    if error.said is not None and error.said.code == _WRONG and relay.by_token:
        return (
            "it does not accept the access token for this mailbox",
            f"Check {at}.username, and that the registered program may send for it; the scope has to be the mail server's",
        )
    if error.verdict.why != _UNTOLD:
        return error.verdict.why, f"Ask whoever runs the mail server, and show them this line; see auth of {at}"
    return (
        "it does not accept the user name and password",
        f"Check {at}.username and the password; some providers want a password made for programs",
    )


def _cause(error: BaseException) -> BaseException:
    """The most telling error of the chain that *error* was raised from."""
    telling = (NoToken, NoWay, ssl.SSLError, socket.gaierror, ConnectionRefusedError, TimeoutError)
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, telling):
            return link
        link = link.__cause__
    return error

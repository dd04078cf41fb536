"""Opens a connection to a relay: socket, greeting, TLS, login, by aiosmtplib; then our own protocol takes it over.

- TLS is what the settings say and never less: `starttls` without STARTTLS on offer is a failure, not clear text.
- One AUTH attempt per connection (see `login`); an access token that was kept and is refused is worth one more connection.
- The extensions are those of an EHLO after the login, since aiosmtplib forgets them at STARTTLS and relays change them at AUTH.
- Each phase has its own time-out; each failure becomes an `Unavailable` with the verdict for the letters that wait.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import aiosmtplib

from lists.records import record
from mailer.clock import SystemClock
from mailer.errors import SettingsError
from mailer.settings import Relay, Tls
from mailer.transport import access
from mailer.transport.base import Fate, Reply, Scope
from mailer.transport.login import Login, NoWay, Secret, perform
from mailer.transport.oauth import NoToken
from mailer.transport.protocol import Connection
from mailer.transport.verdict import BadReply, Gone, Phase, Verdict, judge, judge_error, reply
from mailer.transport.wire import Wire, take_over


class Unavailable(Exception):
    """No connection; what it means for letters, and what the relay said, if it said something."""

    def __init__(self, phase: Phase, verdict: Verdict, said: Reply | None = None) -> None:
        self.phase, self.verdict, self.said = phase, verdict, said
        super().__init__(verdict.why)


@record
class Session:
    """An open session before letters: for `Connection`, and for `probe`.

    Attributes:
        wire: our protocol on it.
        extensions: offered after the login, by keyword in small letters.
        mechanism: how we logged in; None: we did not.
    """

    wire: Wire
    extensions: dict[str, str]
    mechanism: str | None


async def connect(
    name: str,
    relay: Relay,
    home: Path,
    login: Login | None = None,
) -> Connection:
    """A connection that is ready for letters.

    Args:
        name: the relay's name in the settings.
        relay: its settings.
        home: what paths in the settings are relative to.
        login: keeps the access token between connections; default: one for this connection.

    Raises:
        Unavailable: the relay, the network or the login did not allow it.
        SettingsError: the password or the authorities can't be had, or clear text would leave this machine.
    """
    session = await open_session(name, relay, home, login)
    return Connection(session.wire, session.extensions, relay.timeouts)


async def open_session(name: str, relay: Relay, home: Path, login: Login | None = None) -> Session:
    """As `connect`, for those who want to look at the session."""
    access.check(name, relay)
    login = login or Login(name, relay, home, SystemClock())
    secret = await _secret(login)
    try:
        return await _open(name, relay, home, secret)
    except Unavailable as error:
        if secret is None or error.phase is not Phase.LOGIN or error.verdict.scope is not Scope.HOLD:
            raise
        login.forget(secret)
        if not secret.kept:
            raise
    return await _open(name, relay, home, await _secret(login))


async def _secret(login: Login) -> Secret | None:
    try:
        return await login.secret()
    except NoToken as error:
        raise Unavailable(Phase.LOGIN, Verdict(Fate.NOT_TRIED, error.scope, error.why)) from error


async def _open(name: str, relay: Relay, home: Path, secret: Secret | None) -> Session:
    """One connection, up to the EHLO after the login."""
    making = None
    if relay.tls is not Tls.NONE:  # the first time it takes a while: meanwhile the relay is reached
        making = asyncio.get_running_loop().run_in_executor(None, access.context, name, relay, home)
        making.add_done_callback(lambda made: made.cancelled() or made.exception())  # nobody may ask for it any more
    try:
        sock = await _reach(relay)
    except OSError as error:
        raise Unavailable(Phase.CONNECT, judge_error(error, Phase.CONNECT)) from error
    try:
        context = await making if making is not None else None
    except BaseException:
        sock.close()
        raise
    client = aiosmtplib.SMTP(
        hostname=relay.host,
        sock=sock,
        local_hostname=access.our_name(relay, sock.getsockname()[0]),
        use_tls=relay.tls is Tls.IMPLICIT,
        start_tls=False,
        tls_context=context,
        timeout=relay.timeouts.command,
    )
    held: list[asyncio.BaseTransport] = []
    try:
        transport, mechanism = await _greet(client, relay, secret, held)
        return Session(take_over(transport), dict(client.esmtp_extensions), mechanism)
    except BaseException:
        # aiosmtplib's own close may wait half a minute for the other side's end of TLS
        client.close()
        for each in held:
            cast("asyncio.Transport", each).abort()
        with suppress(OSError):  # before the greeting is through there is no transport to be had
            sock.shutdown(socket.SHUT_RDWR)
        raise


async def _greet(
    client: aiosmtplib.SMTP, relay: Relay, secret: Secret | None, held: list[asyncio.BaseTransport]
) -> tuple[asyncio.BaseTransport, str | None]:
    """From the greeting to the EHLO after the login: the transport, and how we logged in. *held* gets all transports on the way."""

    async def step(phase: Phase, act: Callable[[], Awaitable[object]]) -> None:
        try:
            await _step(phase, act)
        finally:
            if client.transport is not None:
                held.append(client.transport)

    await step(Phase.GREETING, lambda: client.connect(timeout=relay.timeouts.greeting))
    mechanism: str | None = None

    async def log_in(given: Secret) -> None:
        nonlocal mechanism
        mechanism = await perform(client, relay, given)

    if relay.tls is Tls.STARTTLS:
        await step(Phase.HELLO, client.ehlo)
        if not client.supports_extension("starttls"):
            raise Unavailable(Phase.TLS, _NO_TLS)
        await step(Phase.TLS, lambda: client.starttls(timeout=relay.timeouts.command))
    if secret is not None:
        await step(Phase.HELLO, client.ehlo)
        await step(Phase.LOGIN, lambda: log_in(secret))
    await step(Phase.HELLO, client.ehlo)
    if client.transport is None:
        raise Unavailable(Phase.HELLO, judge_error(Gone(), Phase.HELLO))
    return client.transport, mechanism


async def _reach(relay: Relay) -> socket.socket:
    """A connected socket, to the first of the host's addresses that answers.

    Raises:
        OSError: none does; the last one's reason.
        SettingsError: clear text is allowed to loopback only, and this is not.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(relay.timeouts.connect):
        found = await loop.getaddrinfo(relay.host, relay.port, type=socket.SOCK_STREAM)
        problem: OSError = socket.gaierror(f"{relay.host} has no address")
        for family, kind, protocol, _, address in found:
            if not _loopback(address[0]) and (missing := access.clear_text(relay)):
                raise SettingsError(
                    f"{relay.host} is not this machine, and {missing.what} would go there in the clear",
                    remedy='Set tls = "starttls" or "implicit"',
                )
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)  # noqa: FBT003 - the library's only spelling
                await loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
    raise problem


def _loopback(address: str | int) -> bool:
    return ipaddress.ip_address(str(address).split("%", 1)[0]).is_loopback


async def _step(phase: Phase, act: Callable[[], Awaitable[object]]) -> None:
    """Do one step with aiosmtplib and turn its errors into ours."""
    try:
        await act()
    except NoWay as error:
        raise Unavailable(phase, Verdict(Fate.NOT_TRIED, Scope.HOLD, error.why)) from error
    except aiosmtplib.SMTPResponseException as error:
        if error.code in range(200, 600):
            said = reply(error.code, error.message.splitlines() or [""])
            raise Unavailable(phase, judge(phase, said), said) from error
        raise Unavailable(phase, judge_error(BadReply(error.message), phase)) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise Unavailable(phase, judge_error(error, phase)) from error


_NO_TLS = Verdict(
    Fate.NOT_TRIED, Scope.HOLD, "our mail server does not encrypt the connection, and the settings require it"
)

"""A relay that says, octet by octet, what a test wants, and when; no rules of SMTP hold for it."""

import asyncio
import contextlib
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailer.clock import SystemClock
from mailer.rehearsal import certificate
from mailer.settings import Relay
from mailer.transport.base import Payload, Result
from mailer.transport.pool import SmtpTransport
from tests.support.transport_kit import HASTY, Account, envelope

#: seconds within which all of a test's letters have their results, whatever the relay does
SOON = 15
OFFER = b"250-odd.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"


@dataclass
class Talk:
    """The relay's side of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, octets: bytes) -> None:
        """Say it."""
        self.writer.write(octets)

    async def hear(self, until: bytes = b"\r\n") -> bytes:
        """All that the client says, up to *until*."""
        return await self.reader.readuntil(until)

    async def open(self, offer: bytes = OFFER) -> None:
        """Greet, and answer the EHLO."""
        self.say(b"220 odd.test\r\n")
        await self.hear()
        self.say(offer)

    async def envelope(self, recipients: int = 1) -> None:
        """A yes to MAIL, the RCPTs and DATA."""
        await self.hear(b"DATA\r\n")
        self.say(b"250 2.1.0 Ok\r\n" + b"250 2.1.5 Ok\r\n" * recipients + b"354 Go on\r\n")

    async def letter(self) -> None:
        """A yes to a whole letter."""
        await self.envelope()
        await self.hear(b"\r\n.\r\n")
        self.say(b"250 2.0.0 Taken\r\n")

    async def trickle(self, octets: bytes) -> None:
        """Say it octet by octet, slowly, as long as somebody listens."""
        for place in range(len(octets)):
            self.say(octets[place : place + 1])
            await self.writer.drain()
            await asyncio.sleep(0.05)

    @property
    def raw(self) -> Any:
        """The transport below TLS, or the only one."""
        protocol = getattr(self.writer.transport, "_ssl_protocol", None)
        return self.writer.transport if protocol is None else protocol._transport

    @property
    def gone(self) -> bool:
        """Whether the connection has ended; under TLS asyncio's streams do not tell."""
        return self.raw is None or self.raw.is_closing()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.abort()


@asynccontextmanager
async def odd_relay(
    talk: Callable[[Talk], Awaitable[None]], *, tls: bool = False, **settings: Any
) -> AsyncIterator[Relay]:
    """The settings of a relay of which *talk* is each connection; with *tls*, from the first octet on."""
    under_way: set[asyncio.Task[Any]] = set()
    wrong: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        under_way.add(this)
        try:
            await talk(Talk(reader, writer))
            await reader.read()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        except BaseException as error:  # noqa: BLE001 - what a test asserts in its talk
            wrong.append(error)
        finally:
            writer.transport.abort()
            under_way.discard(this)

    with tempfile.TemporaryDirectory() as folder:
        made = certificate.Authority.make() if tls else None
        ca_file = Path(folder, "ca.pem")
        context: ssl.SSLContext | None = None
        if made is not None:
            certificate.write_public(ca_file, made.pem)
            context = made.context()
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, limit=1 << 26)
        given: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": server.sockets[0].getsockname()[1],
            "tls": "implicit" if tls else "none",
            "ca_file": str(ca_file) if tls else None,
            "timeouts": HASTY,
            "connections": 1,
        }
        try:
            yield Relay(**(given | settings))
        finally:
            server.close()
            for each in list(under_way):
                each.cancel()
            with contextlib.suppress(OSError):
                await asyncio.gather(*under_way)
            await server.wait_closed()
    if wrong:
        raise wrong[0]


async def sent(home: Path, relay: Relay, *letters: Payload, gate: Account | None = None) -> list[list[Result]]:
    """Send letters to *relay*, one after the other; their results, in good time."""
    transport = SmtpTransport("odd", relay, home=home, clock=SystemClock())
    async with asyncio.timeout(SOON):
        try:
            return [list(await transport.send(envelope(), each, gate or Account())) for each in letters]
        finally:
            await transport.close()

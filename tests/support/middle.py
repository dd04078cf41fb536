"""Someone between us and a relay, who hears what is said in the clear and changes what the relay answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

#: what the relay says -> what the client gets, in the clear only
Change = Callable[[bytes], bytes]


@dataclass
class Middle:
    """Passes octets on.

    Attributes:
        change: applied to the relay's octets until the client begins TLS.
        heard: what the client said in the clear.
    """

    target: int
    change: Change
    port: int = 0
    heard: bytes = b""
    _tls: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there, on = await asyncio.open_connection("127.0.0.1", self.target)

        async def out() -> None:
            while octets := await reader.read(65536):
                self._tls = self._tls or octets.startswith(b"\x16")
                if not self._tls:
                    self.heard += octets
                on.write(octets)
                await on.drain()
            on.close()

        async def back() -> None:
            while octets := await there.read(65536):
                writer.write(octets if self._tls else self.change(octets))
                await writer.drain()
            writer.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(out(), back())
        on.transport.abort()
        writer.transport.abort()


@asynccontextmanager
async def middle(target: int, change: Change) -> AsyncIterator[Middle]:
    """Stand before the relay at port *target*."""
    made = Middle(target, change)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()

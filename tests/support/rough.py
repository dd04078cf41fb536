"""A bad road to a relay: what either side says goes on in other pieces, late, damaged, or no further, as a seed has it."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

#: seconds that a road which holds up does so
HELD = 0.2
#: octets after which a road has shown what its pieces do
PIECES = 4000


@dataclass(frozen=True, slots=True)
class Plan:
    """What befalls one connection in one direction.

    Attributes:
        piece: octets that go on at once, at most, until `PIECES` octets have: a letter of megabytes in octets would only take long.
        after: so many octets have gone on when `how` happens; None: nothing does.
        how: "end" (both sides see the end), "reset" (the client gets a reset), "half" (only whoever listens in this direction sees
            the end), "hold" (nothing goes on for a while), "damage" (an octet is another; for TLS, which sees that).
    """

    piece: int
    after: int | None
    how: str


@dataclass
class Road:
    """Leads to the port *target*; drawn by *chance*."""

    target: int
    chance: random.Random
    tls: bool
    share: float
    port: int = 0
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    def _plan(self) -> Plan:
        kinds = ["end", "reset", "half", "hold", *(["damage"] if self.tls else [])]
        after = int(10 ** self.chance.uniform(0.5, 5.5)) if self.chance.random() < self.share else None
        return Plan(self.chance.choice([1, 7, 100, 5000, 65536, 65536]), after, self.chance.choice(kinds))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        this = asyncio.current_task()
        assert this is not None
        self._under_way.add(this)
        try:
            with contextlib.suppress(OSError):
                there, on = await asyncio.open_connection("127.0.0.1", self.target)
                try:
                    await self._both((reader, writer), (there, on))
                finally:
                    on.transport.abort()
        except asyncio.CancelledError:
            pass  # the road is closed
        finally:
            writer.transport.abort()
            self._under_way.discard(this)

    async def _both(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        relay: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        ways = [
            asyncio.create_task(self._way(client[0], relay[1], client[1], self._plan())),
            asyncio.create_task(self._way(relay[0], client[1], client[1], self._plan())),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _way(
        self, reader: asyncio.StreamReader, on: asyncio.StreamWriter, client: asyncio.StreamWriter, plan: Plan
    ) -> None:
        """One direction, to its end.

        Raises:
            ConnectionError: both directions are over.
        """
        gone, due = 0, plan.after
        while octets := await reader.read(plan.piece if gone < PIECES else 65536):
            if due is not None and gone + len(octets) >= due:
                due = None
                if plan.how == "hold":
                    await asyncio.sleep(HELD)
                elif plan.how == "damage":
                    octets = bytes([octets[0] ^ 0x55]) + octets[1:]
                elif plan.how == "half":
                    on.write_eof()
                    return
                else:
                    if plan.how == "reset":
                        raw: socket.socket = client.get_extra_info("socket")
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    raise ConnectionResetError
            gone += len(octets)
            on.write(octets)
            await on.drain()
        if on.can_write_eof():
            on.write_eof()

    async def close(self) -> None:
        """End what is under way."""
        for each in self._under_way:
            each.cancel()
        await asyncio.gather(*self._under_way)


@asynccontextmanager
async def rough(target: int, chance: random.Random, *, tls: bool, share: float) -> AsyncIterator[Road]:
    """A road to *target*; in that *share* of all connections' directions something happens."""
    road = Road(target, chance, tls, share)
    server = await asyncio.start_server(road.serve, "127.0.0.1", 0)
    road.port = server.sockets[0].getsockname()[1]
    try:
        yield road
    finally:
        server.close()
        await road.close()
        await server.wait_closed()

"""Stopping the rehearsal server while a client is in, or has vanished from, a TLS handshake."""

import asyncio
import socket
from contextlib import AsyncExitStack, suppress

import pytest

from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from tests.support.raw_smtp import Raw

#: The first octets of a ClientHello: a handshake that began and does not go on.
_HALF_HELLO = bytes.fromhex("1603010200010001fc0303")
#: Seconds; a stop that has lost count of a connection takes longer than this.
_SOON = 3.0


async def _stop(server: Server) -> None:
    """Stop; fails where that is not soon, or where a connection is still counted."""
    async with asyncio.timeout(_SOON):
        await server.stop()
    assert server.connections == 0


@pytest.mark.parametrize("said", [b"", _HALF_HELLO])
@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_stop_does_not_wait_for_a_handshake(mode: TlsMode, said: bytes) -> None:
    """A client that asked for TLS and then says nothing, or half of its hello, does not hold up the stop."""
    server = Server(Options(tls=mode))
    await server.start()
    async with Raw(server.port) as client:
        if mode is TlsMode.STARTTLS:
            await client.hello()
            assert (await client.ask("STARTTLS")).startswith("220 ")
        client.write(said)
        await server.reached("connect")
        await _stop(server)


async def test_stop_before_the_handshake_has_begun() -> None:
    """A stop in the very turn in which the client asks for TLS counts that connection as closed."""
    server = Server(Options(tls=TlsMode.STARTTLS))
    await server.start()
    async with Raw(server.port) as client:
        await client.hello()
        client.write(b"STARTTLS\r\n")
        await server.reached("starttls")
        await _stop(server)


@pytest.mark.parametrize("said", [b"", _HALF_HELLO, b"no hello at all\r\n" * 20])
@pytest.mark.parametrize("how", ["end", "reset", "half-close"])
async def test_a_client_that_vanishes_in_the_handshake_is_counted_as_gone(how: str, said: bytes) -> None:
    """However a client leaves in mid-handshake, its connection ends in the record once, and the stop is soon."""
    server = Server(Options(tls=TlsMode.STARTTLS, record_all=True))
    await server.start()
    client = Raw(server.port)
    async with client:
        await client.hello()
        assert (await client.ask("STARTTLS")).startswith("220 ")
        client.write(said)
        if how == "half-close":
            client.writer.write_eof()
        elif how == "end":
            client.writer.close()
        else:
            client.writer.transport.abort()
        # Another client is served meanwhile: by its end the server has seen the first one go.
        async with Raw(server.port) as other:
            await other.hello()
            await other.starttls(server.ca_file)
            assert (await other.ask("EHLO again.example")).startswith("250")
            await other.ask("QUIT")
            assert await other.is_closed()
        await _stop(server)
    assert [event["connection"] for event in server.events if event["kind"] == "closed"].count(1) == 1


async def test_stop_with_many_connections_in_every_stage() -> None:
    """Connections in clear, in handshakes and under TLS are all cut by one stop, and those just accepted too."""
    server = Server(Options(tls=TlsMode.STARTTLS))
    await server.start()
    clients = [Raw(server.port) for _ in range(12)]
    async with AsyncExitStack() as stack:
        for number, client in enumerate(clients):
            await stack.enter_async_context(client)
            await client.hello()
            if number % 3 == 1:
                client.write(b"STARTTLS\r\n" + _HALF_HELLO * (number % 2))
            elif number % 3 == 2:
                await client.starttls(server.ca_file)
        await server.reached("starttls", 8)
        assert server.connections == 12
        await _stop(server)
        for client in clients:
            with suppress(OSError):  # a cut within TLS, or a reset
                assert b"250" not in await client.rest()


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_comes_with_the_stop_is_cut(turns: int) -> None:
    """However far asyncio had come with accepting a client when the stop came, that client sees its connection end."""
    server = Server(Options())
    await server.start()
    with socket.create_connection(("127.0.0.1", server.port)) as late:
        for _ in range(turns):
            await asyncio.sleep(0)  # one turn of the loop, not a wait
        await _stop(server)
        late.settimeout(_SOON)
        with suppress(ConnectionResetError):
            while await asyncio.to_thread(late.recv, 1000):
                pass
    assert server.connections == 0

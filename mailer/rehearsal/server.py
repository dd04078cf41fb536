"""The relay that we play: an SMTP server on loopback whose record is the truth, and which misbehaves on order.

    async with Server(Options(tls=TlsMode.STARTTLS, user="u", password="p"), Faults.from_rules([...])) as server:
        ... send to 127.0.0.1, server.port, trusting server.ca_file ...
        server.received

It keeps to the rules of RFC 5321 and of what it offers, and is strict with clients: CRLF only, sequence, parameters, line lengths, content
only after 354. Rehearsals and tests send through it as through any relay.
"""

import asyncio
import contextlib
import ipaddress
import ssl
import tempfile
from pathlib import Path
from typing import Any, Self

from mailer.clock import Clock, SystemClock
from mailer.errors import BadInput, CannotDo
from mailer.rehearsal import certificate
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.grammar import ContentReader
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.record import Received, Record, RefusedRcpt
from mailer.rehearsal.session import Session

__all__ = ["Options", "Received", "RefusedRcpt", "Server", "TlsMode"]

#: Seconds that a stop waits for sockets it has cut; a defect of ours must not hang whoever stops us.
_LONGEST_CLOSE = 5.0
#: Turns of the loop until a connection that asyncio has accepted is ours to cut; closing the listener before would leak its socket.
_ACCEPTING = 3


class Server:
    """A rehearsal server; start it, or use it as an async context manager."""

    def __init__(
        self,
        options: Options | None = None,
        faults: Faults | None = None,
        record: Path | None = None,
        *,
        clock: Clock | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """Make a server that does not listen yet.

        Args:
            options: how it behaves; default: plain, no login.
            faults: what it plays; one object belongs to one server.
            record: the file that the record is written to as well.
            clock: the time of stalls, greylisting and records.
            ca_file: where the authority's certificate is written at start; default: a temporary file, removed at stop.
        """
        self.options = options or Options()
        self.faults = faults or Faults()
        self.clock: Clock = clock or SystemClock()
        self.record = Record(record, everything=self.options.record_all, phases=self.options.phases)
        self.reader = ContentReader()
        self.ca_file = ca_file
        self.port = 0
        self.peak_connections = 0
        self._connections = 0
        self._letters = 0
        #: set by `stop`: a connection that the kernel had accepted before is cut as it begins
        self.stopping = False
        self._sessions: set[Session] = set()
        self._empty: asyncio.Event | None = None
        self._listener: asyncio.Server | None = None
        self._contexts: dict[certificate.Flaw | None, ssl.SSLContext] = {}
        self._authority: certificate.Authority | None = None
        self._cleanup = contextlib.ExitStack()

    @property
    def received(self) -> list[Received]:
        """Every letter whose end of data was seen, taken or not, in order."""
        return self.record.received

    @property
    def taken(self) -> list[Received]:
        """The letters that the server has."""
        return [received for received in self.record.received if received.taken]

    @property
    def refused(self) -> list[RefusedRcpt]:
        """Every recipient that RCPT refused, in order."""
        return self.record.refused

    @property
    def events(self) -> list[dict[str, Any]]:
        """With `record_all`: connections, commands, refused recipients and played faults, as in the file."""
        return self.record.events

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._sessions)

    async def start(self) -> None:
        """Listen.

        Raises:
            BadInput: the host is not a loopback address.
            CannotDo: the port is taken.
        """
        host = self.options.host
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise BadInput("the rehearsal server listens on loopback only", where=host, remedy="Use 127.0.0.1 or ::1")
        if self.options.tls is not TlsMode.NONE:
            self._authority = certificate.Authority.make()
            self._contexts[None] = self._authority.context()
            if self.ca_file is None:
                folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="chancery-"))
                self.ca_file = Path(folder, "ca.pem")
            certificate.write_public(self.ca_file, self._authority.pem)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._accept, host, self.options.port, backlog=512
            )
        except OSError as error:
            self._cleanup.close()
            raise CannotDo(
                f"can't listen: {error.strerror}", where=f"{host} port {self.options.port}", remedy="Use port 0"
            ) from error
        self.stopping = False
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut all connections; safe to call twice."""
        if self._listener is not None:
            self.stopping = True
            loop = asyncio.get_running_loop()
            for listening in self._listener.sockets:
                loop.remove_reader(listening.fileno())
            for _ in range(_ACCEPTING):
                await asyncio.sleep(0)
            self._listener.close()
            for session in list(self._sessions):
                session.cut()
            await self._listener.wait_closed()
            if self._sessions:  # they are cut already; this lets their sockets close
                self._empty = asyncio.Event()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._empty.wait(), _LONGEST_CLOSE)
            self._listener = None
        self.record.close()
        self._cleanup.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def reached(self, phase: str, times: int = 1) -> None:
        """Wait until *phase* has been seen *times* times since the start.

        Phases are those of the faults, and: "taken" (a letter was written down as ours), "replied" (its reply was given).
        """
        await self.record.reached(phase, times)

    # --- for sessions --------------------------------------------------------------------------------------------------

    def _accept(self) -> Session:
        self._connections += 1
        return Session(self, self._connections)

    def opened(self, session: Session) -> None:
        """A connection begins."""
        self._sessions.add(session)
        self.peak_connections = max(self.peak_connections, len(self._sessions))

    def closed(self, session: Session) -> bool:
        """A connection has ended; False if that was known."""
        known = session in self._sessions
        self._sessions.discard(session)
        if self._empty is not None and not self._sessions:
            self._empty.set()
        return known

    @property
    def is_full(self) -> bool:
        """Whether the connection just opened is one too many."""
        return 0 < self.options.max_connections < len(self._sessions)

    def next_letter(self) -> int:
        """The number of the next MAIL command."""
        self._letters += 1
        return self._letters

    def context(self, flaw: certificate.Flaw | None) -> ssl.SSLContext:
        """The TLS context to show, made when first asked for."""
        assert self._authority is not None  # noqa: S101 - sessions ask where TLS is on
        if flaw not in self._contexts:
            self._contexts[flaw] = self._authority.context(flaw)
        return self._contexts[flaw]

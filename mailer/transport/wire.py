"""One connection as an asyncio protocol: complete replies in, bytes out with flow control, one timer.

aiosmtplib connects, starts TLS and logs in; then `take_over` puts this protocol on its asyncio transport, since aiosmtplib's own
drops what arrives out of turn, pairs a reply that came too early with the next command, and never waits for a full socket.

Rules:

- A reply is one or more lines ``NNN-text`` and a last ``NNN text``, all with one code from 200 to 599, in at most `LINE` and
  `REPLY` octets; anything else is `BadReply`, and no later word of the relay is believed.
- Replies are kept in the order they came. Who writes a command looks first whether one is there already (`early`).
- Writing: the asyncio transport calls `pause_writing` above `HIGH` octets that the kernel has not taken, and `drain` waits until
  it is below a quarter of that. So a letter of any size costs at most `HIGH` plus one slice per connection.
"""

import asyncio
import re
from collections import deque
from typing import cast

from mailer.transport.base import Reply
from mailer.transport.verdict import BadReply, Gone, reply

LINE = 4096
REPLY = 32 * 1024
HIGH = 256 * 1024
SLICE = 256 * 1024
_MOST_WAITING = 100

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\r\n]*))?")


class Wire(asyncio.Protocol):
    """Reads replies and writes bytes; used by one task at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._code = 0
        self._texts: list[str] = []
        self._octets = 0
        self._replies: deque[Reply] = deque()
        self._fault: Exception | None = None
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = loop.create_future()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start on *transport*."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH, low=HIGH // 4)

    def data_received(self, data: bytes) -> None:
        """Take in what the relay says."""
        if self._fault is not None:
            return
        self._buffer += data
        try:
            while (end := self._buffer.find(b"\n")) >= 0:
                line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
                self._take(line)
        except BadReply as error:
            self._fault = error
        if len(self._buffer) > LINE:
            self._fault = self._fault or BadReply("a line of the reply is too long")
        self._wake()

    def _take(self, line: bytes) -> None:
        """Add a line to the reply that is being read."""
        self._octets += len(line)
        if len(line) > LINE or self._octets > REPLY or len(self._replies) >= _MOST_WAITING:
            raise BadReply("the reply is too long")
        found = _LINE.fullmatch(line.rstrip(b"\r\n"))
        if found is None or (self._texts and int(found[1]) != self._code):
            raise BadReply(f"not a reply: {line[:80]!r}")
        self._code = int(found[1])
        self._texts.append((found[3] or b"").decode("utf-8", "replace"))
        if found[2] != b"-":
            self._replies.append(reply(self._code, self._texts))
            self._texts, self._octets = [], 0

    def eof_received(self) -> None:
        """The relay says no more: the connection is of no use."""
        self._fault = self._fault or Gone("the relay closed the connection")
        self._wake()

    def pause_writing(self) -> None:
        """More is buffered than we like."""
        self._paused = True

    def resume_writing(self) -> None:
        """The buffer has emptied."""
        self._paused = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; whoever waits learns it."""
        if self._fault is None:
            self._fault = Gone("the connection broke")
            self._fault.__cause__ = exc
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()
        if not self._closed.done():
            self._closed.set_result(None)

    # What a conversation calls

    @property
    def open(self) -> bool:
        """Whether, as far as we know, the relay still listens."""
        return self._fault is None and self._transport is not None and not self._transport.is_closing()

    @property
    def early(self) -> Reply | None:
        """The next reply, if it is here before it was waited for."""
        return self._replies[0] if self._replies else None

    @property
    def waiting(self) -> int:
        """How many replies are here that nobody has read."""
        return len(self._replies)

    @property
    def quiet(self) -> bool:
        """Whether nothing was said that has not been read, not even half a reply."""
        return not (self._replies or self._buffer or self._texts)

    async def reply(self, seconds: float) -> Reply:
        """The relay's next reply.

        Raises:
            TimeoutError: none came in *seconds*.
            Gone: the connection ended first.
            BadReply: it is no SMTP reply.
        """
        while not self._replies:
            if self._fault is not None:
                raise self._fault
            await self._wait(seconds)
        return self._replies.popleft()

    def write(self, data: bytes | memoryview) -> None:
        """Hand *data* to the socket, or to its buffer.

        Raises:
            Gone: the connection has ended.
        """
        if self._transport is None or self._transport.is_closing():
            raise Gone("the connection is closed") from self._fault
        self._transport.write(data)

    async def drain(self, seconds: float) -> None:
        """Wait until the buffer is low again, or the relay has said something.

        Raises:
            TimeoutError: the relay took nothing for *seconds*.
            Gone: the connection ended.
            BadReply: the relay spoke, and it is no SMTP reply.
        """
        while self._paused and not self._replies:
            if self._fault is not None:
                raise self._fault
            await self._wait(seconds)

    def info(self, name: str) -> object:
        """What asyncio's transport tells of itself (`ssl_object`, `peername`)."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    def abort(self) -> None:
        """Cut the connection; what is still buffered is not sent."""
        self._fault = self._fault or Gone("we closed the connection")
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    async def closed(self) -> None:
        """Return once the connection is cut and the socket released."""
        await asyncio.shield(self._closed)

    # The one timer: it is rarely moved; when it rings too early it is set again

    async def _wait(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._ring)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = self._deadline = None

    def _ring(self) -> None:
        self._timer = None
        if self._deadline is None or self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
        else:
            self._waiter.set_exception(TimeoutError("the relay was silent"))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def take_over(transport: asyncio.BaseTransport) -> Wire:
    """Put a new `Wire` on *transport* in place of the protocol that it had."""
    wire = Wire(asyncio.get_running_loop())
    wire.connection_made(transport)
    transport.set_protocol(wire)
    return wire

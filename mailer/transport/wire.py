"""One connection as an asyncio protocol: complete replies in, bytes out with flow control, one timer.

aiosmtplib connects, starts TLS and logs in; then `take_over` puts this protocol on its asyncio transport, since aiosmtplib's own
drops what arrives out of turn, pairs a reply that came too early with the next command, and never waits for a full socket.

Rules:

- A reply is one or more lines ``NNN-text`` and a last ``NNN text``, all with one code from 200 to 599, in at most `LINE` and
  `REPLY` octets; anything else is `BadReply`, and no later word of the relay is believed.
- A time-out is for a whole reply, not for a piece of it: who sends an octet now and then holds no connection longer than who is silent.
- Replies are kept in the order they came. Who writes a command looks first whether one is there already (`early`).
- A conversation that waits for nothing but this wire is driven by it (`drive`): what the relay says takes it on at once, without a
  task's way through the event loop. Others wait as tasks do.
- Writing: the asyncio transport calls `pause_writing` above `HIGH` octets that the kernel has not taken, and `drain` waits until
  it is below a quarter of that. So a letter of any size costs at most `HIGH` plus one slice per connection.
"""

import asyncio
import re
import select
import types
from asyncio.trsock import TransportSocket
from collections import deque
from collections.abc import Coroutine, Generator
from functools import lru_cache
from typing import Any, cast

from mailer.transport.base import Reply
from mailer.transport.verdict import BadReply, Gone, reply

LINE = 4096
REPLY = 32 * 1024
HIGH = 256 * 1024
SLICE = 256 * 1024
_MOST_WAITING = 100
_ROOM = 8 * 1024

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\r\n]*))?")


@lru_cache(maxsize=64)  # a relay says few things, and says them with every letter
def _whole(line: bytes) -> Reply | None:
    """The reply that is this one line, without its end; None: it is not the whole of one."""
    found = _LINE.fullmatch(line)
    if found is None or found[2] == b"-":
        return None
    return reply(int(found[1]), [(found[3] or b"").decode("utf-8", "replace")])


@types.coroutine
def _pause() -> Generator[None, None, None]:
    """Give way to the wire that drives us."""
    yield


class Wire(asyncio.BufferedProtocol):
    """Reads replies and writes bytes; used by one task, or driven conversation, at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._room = memoryview(bytearray(_ROOM))
        self._buffer = b""
        self._code = 0
        self._texts: list[str] = []
        self._octets = 0
        #: what was said and not yet read
        self.replies: deque[Reply] = deque()
        self._fault: Exception | None = None
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._driven: Coroutine[Any, Any, None] | None = None
        self._ended: asyncio.Future[None] = loop.create_future()
        #: somebody waits; it became too late for that
        self._waiting = self._late = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._released = False

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start on *transport*."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH, low=HIGH // 4)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's own
        """Where to put what the relay says: asyncio would take fresh memory of 256 KB for each reply, and that costs more than the reply."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """So many octets are there."""
        self.data_received(bytes(self._room[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take in what the relay says."""
        if self._fault is not None:
            return
        if self._take_whole(data):
            self._wake()
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

    def _take_whole(self, data: bytes) -> bool:
        """Take in *data* if it is whole replies of one line each, as nearly always."""
        if self._buffer or self._texts or len(data) > LINE or data[-2:] != b"\r\n":
            return False
        found = [_whole(line) for line in data[:-2].split(b"\r\n")]
        if None in found or len(found) + len(self.replies) > _MOST_WAITING:
            return False
        self.replies += cast("list[Reply]", found)
        return True

    def _take(self, line: bytes) -> None:
        """Add a line to the reply that is being read."""
        self._octets += len(line)
        if len(line) > LINE or self._octets > REPLY or len(self.replies) >= _MOST_WAITING:
            raise BadReply("the reply is too long")
        found = _LINE.fullmatch(line.rstrip(b"\r\n"))
        if found is None or (self._texts and int(found[1]) != self._code):
            raise BadReply(f"not a reply: {line[:80]!r}")
        self._code = int(found[1])
        self._texts.append((found[3] or b"").decode("utf-8", "replace"))
        if found[2] != b"-":
            self.replies.append(reply(self._code, self._texts))
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
        self._released = True
        self._wake()

    # What a conversation calls

    @property
    def open(self) -> bool:
        """Whether, as far as we know, the relay still listens."""
        return self._fault is None and self._transport is not None and not self._transport.is_closing()

    @property
    def early(self) -> Reply | None:
        """The next reply, if it is here before it was waited for."""
        return self.replies[0] if self.replies else None

    @property
    def waiting(self) -> int:
        """How many replies are here that nobody has read."""
        return len(self.replies)

    @property
    def quiet(self) -> bool:
        """Whether nothing was said that has not been read, not even half a reply."""
        return not (self.replies or self._buffer or self._texts)

    @property
    def calm(self) -> bool:
        """Whether it is quiet, and the connection is whole."""
        return self._fault is None and self.quiet

    async def listen(self) -> None:
        """Hear what the relay has said up to now: what lies in the kernel, since whoever writes a letter at once lets nobody read."""
        raw = self.info("socket")
        if not isinstance(raw, TransportSocket) or raw.fileno() < 0:
            return
        waiting = select.poll()
        waiting.register(raw.fileno(), select.POLLIN)
        if waiting.poll(0):
            self._loop.call_soon(self.rouse)  # behind the reading, should that bring nothing
            await self.news(None)

    def check(self) -> None:
        """Look whether the connection is whole.

        Raises:
            Gone: it has ended.
            BadReply: the relay said what is no SMTP reply.
        """
        if self._fault is not None:
            raise self._fault

    async def reply(self, seconds: float) -> Reply:
        """The relay's next reply.

        Raises:
            TimeoutError: none came in *seconds*.
            Gone: the connection ended first.
            BadReply: it is no SMTP reply.
        """
        until = self._loop.time() + seconds
        while not self.replies:
            if self._fault is not None:
                raise self._fault
            await self.news(until - self._loop.time())
        return self.replies.popleft()

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
            TimeoutError: the buffer was not low in *seconds*.
            Gone: the connection ended.
            BadReply: the relay spoke, and it is no SMTP reply.
        """
        until = self._loop.time() + seconds
        while self._paused and not self.replies:
            if self._fault is not None:
                raise self._fault
            await self.news(until - self._loop.time())

    def info(self, name: str) -> object:
        """What asyncio's transport tells of itself (`ssl_object`, `peername`)."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    def abort(self) -> None:
        """Cut the connection; what is still buffered is not sent."""
        self._fault = self._fault or Gone("we closed the connection")
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    async def closed(self, seconds: float | None = None) -> None:
        """Return once the connection has ended and the socket is released.

        Raises:
            TimeoutError: it has not in *seconds*.
        """
        until = None if seconds is None else self._loop.time() + seconds
        while not self._released:
            await self.news(None if until is None else max(0.0, until - self._loop.time()))

    # Who waits, and the one timer: it is rarely moved; when it rings too early it is set again

    async def drive(self, conversation: Coroutine[Any, Any, None]) -> None:
        """Have *conversation* go on with each piece of news, to its end; it may wait for nothing but this wire.

        Cancelled, we cut the connection, and raise when the conversation has ended over it.

        Raises:
            Exception: what it raised.
        """
        self._driven, self._waiting = conversation, True
        self._wake()
        try:
            await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            self.abort()
            await asyncio.shield(self._ended)
            raise

    async def news(self, seconds: float | None) -> None:
        """Wait until something happens on the wire, or somebody calls `rouse`; there need be no cause to see.

        Raises:
            TimeoutError: nothing did in *seconds*.
        """
        self._late = False
        if seconds is not None:
            self._deadline = deadline = self._loop.time() + seconds
            if self._timer is None or self._timer.when() > deadline:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._loop.call_at(deadline, self._ring)
        self._waiting = True
        try:
            if self._driven is not None:
                await _pause()
            else:
                self._waiter = self._loop.create_future()
                await self._waiter
        finally:
            self._waiting, self._waiter, self._deadline = False, None, None
        if self._late:
            raise TimeoutError("the relay was silent")

    def rouse(self) -> None:
        """Have whoever waits look again, soon."""
        self._loop.call_soon(self._wake)

    def _ring(self) -> None:
        self._timer = None
        if self._deadline is None or not self._waiting or (self._waiter is not None and self._waiter.done()):
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
        else:
            self._late = True
            self._wake()

    def _wake(self) -> None:
        if not self._waiting:
            return
        if self._driven is None:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
            return
        self._waiting = False
        try:
            self._driven.send(None)
        except StopIteration:
            self._ended.set_result(None)
        except BaseException as error:
            self._ended.set_exception(error)
            if not isinstance(error, Exception):
                raise


def take_over(transport: asyncio.BaseTransport) -> Wire:
    """Put a new `Wire` on *transport* in place of the protocol that it had.

    Where it has begun to close, the protocol that it had may be the one that heard of the end; ours is told here.
    """
    wire = Wire(asyncio.get_running_loop())
    wire.connection_made(transport)
    transport.set_protocol(wire)
    if transport.is_closing():
        wire.abort()
        wire.connection_lost(None)
    return wire

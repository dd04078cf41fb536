"""A connection's lower half: octets in, lines and contents out; replies, said as they should be or as a fault wants them.

Commands are answered by plain function calls from `data_received`, and what a read brought is answered by one write: that is what
PIPELINING (RFC 2920) asks of a server, and it keeps ours well ahead of any client in Python. Only a connection that has to wait
(a stall, a delay, a TLS handshake) holds, and goes on where it stopped.
"""

import asyncio
import datetime as dt
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from mailer.clock import Clock
from mailer.rehearsal.faults import Manner, Rule
from mailer.rehearsal.grammar import AUTH_LINE_LIMIT, find_end

_END = b"\r\n.\r\n"


def wire_form(lines: tuple[str, ...]) -> bytes:
    """A reply as it goes over the wire; all lines have the code of the first."""
    *first, last = lines
    return b"".join(f"{line[:3]}-{line[4:]}\r\n".encode() for line in first) + f"{last}\r\n".encode()


class Wire(asyncio.Protocol):
    """Reads commands and contents, writes replies. `on_line`, `on_content` and the other hooks are the upper half."""

    def __init__(self, clock: Clock, size_limit: int) -> None:
        self.clock = clock
        self.gone = False
        self.transport: asyncio.Transport
        self._size_limit = size_limit
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._held = False
        self._in_content = False
        self._scanned = 0
        self._oversize = False
        self._unasked = 0
        self._ignoring = False
        self._arrived = 0.0
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- the upper half ------------------------------------------------------------------------------------------------

    def on_line(self, line: bytes) -> None:
        """A line without its CRLF."""
        raise NotImplementedError

    def on_content(self, content: bytes, *, oversize: bool) -> None:
        """A letter, dots still stuffed; of one that is far too large only the end."""
        raise NotImplementedError

    def on_more_content(self, size: int) -> None:
        """Content is coming in; *size* octets so far."""

    def on_broken_line(self, reply: str) -> None:
        """A line that is none: *reply* says why."""
        raise NotImplementedError

    # --- in ------------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what came and answer it, unless this connection holds."""
        if self.gone or self._ignoring:
            return
        self._buffer += data
        self._arrived = self._loop.time()
        if not self._held:
            self._run()

    def connection_lost(self, _reason: Exception | None) -> None:
        """Give up all that waits."""
        self.gone = True
        for task in self._tasks:
            task.cancel()

    def expect_content(self) -> None:
        """What comes next is a letter."""
        self._in_content, self._scanned, self._oversize = True, 0, False

    @property
    def waiting_input(self) -> int:
        """Octets that came with the line just handed over."""
        return len(self._buffer)

    def forget_input(self) -> None:
        """Throw away what came with the line just handed over."""
        self._buffer.clear()

    def _run(self) -> None:
        while not self._held and not self.gone:
            if self._in_content:
                if not self._find_content():
                    break
            elif not self._find_line():
                break
        self.flush()

    def _find_line(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\n")
        if end < 0:
            if len(buffer) > AUTH_LINE_LIMIT:
                self.on_broken_line("500 5.5.6 Line too long")
            return False
        line = bytes(buffer[: end - 1]) if end else b""
        if not end or buffer[end - 1] != 13 or b"\r" in line:  # noqa: PLR2004 - CR
            self.on_broken_line("500 5.5.2 Lines end with CR LF, and hold neither by itself")
            return False
        del buffer[: end + 1]
        self.on_line(line)
        return True

    def _find_content(self) -> bool:
        buffer = self._buffer
        if not buffer:
            return False
        self.on_more_content(len(buffer))
        if self.gone or self._held:
            return False
        if self._scanned == 0 and not self._oversize and buffer.startswith(_END[2:]):
            content = b""
            del buffer[:3]
        else:
            end = find_end(buffer, max(0, self._scanned - len(_END) + 1))
            if end < 0:
                self._keep_reading()
                return False
            content = bytes(memoryview(buffer)[: end + 2])
            del buffer[: end + len(_END)]
        self._in_content = False
        self.on_content(content, oversize=self._oversize)
        return True

    def _keep_reading(self) -> None:
        buffer = self._buffer
        if self._size_limit and len(buffer) > 2 * self._size_limit + 65536:
            self._oversize = True  # dots could have doubled it at most: no need to keep it
            del buffer[: -len(_END)]
        self._scanned = len(buffer)

    # --- out -----------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write the replies that are due."""
        if self._out and not self.gone:
            self.transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
            self._out.clear()

    def close(self) -> None:
        """Say what is due, then close."""
        if not self.gone:
            self.flush()
            self.gone = True
            self.transport.close()

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self.gone = True
        for task in self._tasks:
            task.cancel()
        self.transport.abort()

    def reset(self) -> None:
        """Close with a TCP reset."""
        if not self.gone:
            self.flush()
            self.gone = True
            raw = self.transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def say(
        self, reply: bytes, rule: Rule | None = None, *, delay: float = 0.0, done: Callable[[], None] | None = None
    ) -> None:
        """Give a reply, as *rule* wants it if there is one.

        Args:
            reply: in wire form.
            rule: the fault to play.
            delay: seconds after the arrival of what is answered, in real time.
            done: what follows once the reply is out.
        """
        if self._unasked:  # said before its time
            self._unasked -= 1
            if done is not None:
                done()
        elif rule is not None and rule.do is Manner.STALL:
            self.stall(rule.seconds, lambda: self._emit(reply, rule, done))
        elif delay and (left := self._arrived + delay - self._loop.time()) > 0:
            self._hold()
            self._loop.call_later(left, self._go_on, lambda: self._emit(reply, rule, done))
        elif rule is None:
            self._out.append(reply)
            if done is not None:
                done()
        else:
            self._emit(reply, rule, done)

    def stall(self, seconds: float | None, then: Callable[[], None]) -> None:
        """Be silent for *seconds* of the clock, or for good."""
        self._hold()
        if seconds is None:
            return

        until = self.clock.now() + dt.timedelta(seconds=seconds)  # now, not when the task gets its turn

        async def wait() -> None:
            await self.clock.sleep_until(until)
            self._go_on(then)

        self._start(wait())

    def say_ahead(self, reply: bytes) -> None:
        """Say the answer to something that has not been asked yet; it will not be given again."""
        self._out.append(reply)
        self._unasked += 1
        self.flush()

    def _emit(self, reply: bytes, rule: Rule | None, done: Callable[[], None] | None) -> None:
        if self.gone:
            return
        more = wire_form(rule.then) if rule is not None and rule.then else b""
        match None if rule is None else rule.do:
            case Manner.DROP:
                self.close()
                return
            case Manner.RESET:
                self.reset()
                return
            case Manner.HALF:
                self._out.append(reply[: (len(reply) - 2) // 2])
                self.close()
                return
            case Manner.SPLIT:
                self._split(reply + more, rule, done)
                return
            case Manner.EARLY:
                self._unasked += 1
            case _:
                pass
        self._out.append(_in_manner(reply, rule) + more)
        self._after(rule, reply, more, done)

    def _after(self, rule: Rule | None, reply: bytes, more: bytes, done: Callable[[], None] | None) -> None:
        if done is not None:
            done()
        if rule is not None and (rule.close or reply.startswith(b"421") or more.startswith(b"421")):
            self.close()

    def _split(self, reply: bytes, rule: Rule | None, done: Callable[[], None] | None) -> None:
        self._hold()

        async def drip() -> None:
            for place in range(len(reply)):
                self.transport.write(reply[place : place + 1])
                await asyncio.sleep(0)  # lets each octet leave as a segment of its own
            self._go_on(lambda: self._after(rule, reply, b"", done))

        self._start(drip())

    # --- holding -------------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        self.flush()
        self._held = True

    def _go_on(self, then: Callable[[], None]) -> None:
        if self.gone:
            return
        self._held = False
        then()
        if not self._held:
            self._run()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def encrypt(self, context: ssl.SSLContext, done: Callable[[Exception | None], None]) -> None:
        """Go over to TLS; what came in clear after the command that asked for it is thrown away (RFC 3207, 6).

        *done* hears None, or why the handshake failed; after a failure the connection is closed.
        """
        self._hold()
        self._buffer.clear()
        self._ignoring = True

        async def shake_hands() -> None:
            # This runs before the loop reads again, and start_tls takes over at once: from here on all comes through TLS.
            self._ignoring = False
            secured: asyncio.Transport | None = None
            lost: OSError | None = None
            try:
                secured = await self._loop.start_tls(self.transport, self, context, server_side=True)
            except OSError as error:
                lost = error
                done(error)
            finally:  # also where a stop cancels this, and where asyncio gives no transport: the client vanished quietly
                if secured is None or self.gone:
                    self._lost_in_handshake(lost)
            if secured is not None and not self.gone:
                self.transport = secured
                done(None)
                self._go_on(lambda: None)

        self._start(shake_hands())

    def _lost_in_handshake(self, error: Exception | None) -> None:
        self.gone = True
        self.transport.abort()
        self.connection_lost(error)  # asyncio tells the TLS layer only


def _in_manner(reply: bytes, rule: Rule | None) -> bytes:
    match None if rule is None else rule.do:
        case Manner.GARBAGE:
            assert rule is not None  # noqa: S101 - for the type checker
            return rule.bytes
        case Manner.OVERLONG:
            assert rule is not None  # noqa: S101 - for the type checker
            return reply[:-2] + b" " + b"x" * max(0, rule.size - len(reply) - 1) + b"\r\n"
        case Manner.MULTILINE:
            assert rule is not None  # noqa: S101 - for the type checker
            return (reply[:3] + b"-" + reply[4:]) * (rule.lines - 1) + reply
        case _:
            return reply

"""Where log lines go: a stream, a file, the system's log. A place that fails never stops, slows or fails a sending.

Lines that could not be written are counted. The first failure is told once on standard error; once lines go through again, one more
says how many are missing.
"""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TextIO

#: Octets of a datagram; what reads the system's log cuts there or before.
_DATAGRAM = 8000
#: Facility "daemon" and the severities of RFC 5424, by our levels.
_FACILITY = 3
_SEVERITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}

#: A line and its level.
Line = tuple[str, str]
#: Makes the line that says how many are missing.
TellLost = Callable[[int], Line]


class Place(Protocol):
    """Takes lines and raises nothing."""

    def write(self, lines: Sequence[Line]) -> None:
        """Write *lines*."""
        ...

    def close(self) -> None:
        """Let go of it; safe to call twice."""
        ...


def unwritable(path: Path) -> str | None:
    """Why a file can't be made or added to there, in words; None: it can."""
    place = path if path.exists() else path.parent
    if path.is_dir():
        return f"{path} is a folder"
    if not place.exists():
        return f"there is no folder {place}"
    return None if os.access(place, os.W_OK) else f"{place} can't be written to"


class Stream:
    """A stream that somebody else opened and closes, such as standard error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, lines: Sequence[Line]) -> None:
        """Write them at once; a stream that is gone or full loses them."""
        with suppress(OSError, ValueError):
            self._stream.write("".join(f"{line}\n" for line, _ in lines))
            self._stream.flush()

    def close(self) -> None:
        """Leave it open."""


class _Losing:
    """Counts what is lost, and tells of it once."""

    def __init__(self, name: str, tell: TellLost) -> None:
        self._name, self._tell, self._lost = name, tell, 0

    def lose(self, count: int, why: str) -> None:
        """*count* lines could not be written."""
        if not self._lost and count:
            with suppress(OSError, ValueError):
                sys.stderr.write(f"chancery: {self._name}: log lines can't be written ({why}). Sending goes on.\n")
        self._lost += count

    def before(self, lines: Sequence[Line]) -> Sequence[Line]:
        """*lines*, after the one that says what is missing, if something is."""
        return [self._tell(self._lost), *lines] if self._lost else lines

    def told(self) -> None:
        """That line was written."""
        self._lost = 0


class LogFile:
    """A file that is added to (0600). It is opened anew where another stands in its place, as after a rotation."""

    def __init__(self, path: Path, tell: TellLost) -> None:
        """Nothing is opened before the first line."""
        self._path, self._fd, self._is = path, -1, (0, 0)
        self._losing = _Losing(str(path), tell)
        #: the last line was cut short by a full disk
        self._torn = False

    def write(self, lines: Sequence[Line]) -> None:
        """Add *lines* in one write."""
        try:
            self._open()
            told = "".join(f"{line}\n" for line, _ in self._losing.before(lines))
            octets = (b"\n" if self._torn else b"") + told.encode("utf-8", "backslashreplace")
            written = os.write(self._fd, octets)
        except OSError as error:
            self._losing.lose(len(lines), error.strerror or str(error))
            return
        self._torn = written < len(octets)
        if not self._torn:
            self._losing.told()
        else:
            self._losing.lose(octets.count(b"\n", written), "there is no room")

    def _open(self) -> None:
        if self._fd >= 0:
            with suppress(FileNotFoundError):
                found = self._path.stat()
                if (found.st_dev, found.st_ino) == self._is:
                    return
            self.close()
        # non-blocking: a pipe that nobody reads must not hold up a sending
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o600)
        found = os.fstat(fd)
        self._fd, self._is, self._torn = fd, (found.st_dev, found.st_ino), False

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SystemLog:
    """The system's log (syslog, the journal), by datagrams to its socket; looked for anew after each failure."""

    def __init__(self, path: Path, tell: TellLost) -> None:
        """Nothing is opened before the first line."""
        self._path = path
        self._socket: socket.socket | None = None
        self._losing = _Losing(str(path), tell)

    def write(self, lines: Sequence[Line]) -> None:
        """Send *lines*, a datagram each."""
        left = list(self._losing.before(lines))
        while left:
            line, level = left[0]
            # a datagram is a line: what follows a line end in it would be a line that we never wrote
            text = f"<{_FACILITY * 8 + _SEVERITY[level]}>chancery[{os.getpid()}]: {line}".replace("\n", "\\n")
            try:
                self._open().send(text.encode("utf-8", "backslashreplace")[:_DATAGRAM])
            except OSError as error:
                self.close()
                self._losing.lose(min(len(left), len(lines)), error.strerror or str(error))
                return
            self._losing.told()
            left.pop(0)

    def _open(self) -> socket.socket:
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                made.setblocking(False)  # noqa: FBT003 - the library's only spelling
                made.connect(str(self._path))
            except OSError:
                made.close()
                raise
            self._socket = made
        return self._socket

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

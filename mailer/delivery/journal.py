"""The flight journal: what was on the wire when the process died.

One append-only file per process, its flock held as long as the process lives: the kernel's own proof of death. One JSON line a fact:

    ["D", attempt, time, [recipient, ...], sha256]   before the content, with what RCPT already settled
    ["R", attempt, [recipient, ...], time]           after the final reply

where a recipient is [id, fate, code, enhanced, text, why].

Lines are written by one plain write() without fsync: they outlive kill -9, not a power cut (then the boot id differs, and every
open attempt is uncertain). If a D line can't be written whole, no content may leave and the file is cut back to its last whole
line. A torn last line is dropped: a torn D means that no content left. A file goes only after the transaction that took it in.
"""

import datetime as dt
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lists.records import record
from mailer.errors import JournalError
from mailer.transport.base import Fate, Reply, Result

SUFFIX = ".flight"
_ROOM = "make room on the disk, then send again"
#: A record of a recipient: id, fate, code, enhanced, text, why.
Record = tuple[int, str, int | None, str | None, str, str]


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def boot_id() -> str:
    """What names this run of the machine; where the kernel has no such name, the time of boot to the minute."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    import time

    return f"boot-{int((time.time() - time.monotonic()) // 60)}"


def _record(result: Result) -> Record:
    reply = result.reply
    return (
        result.recipient,
        result.fate.value,
        reply.code if reply else None,
        reply.enhanced if reply else None,
        reply.text if reply else "",
        result.why,
    )


def reply_of(record: Record) -> Reply | None:
    """The relay's reply in a record; None where there was none."""
    _, _, code, enhanced, text, _ = record
    return Reply(code, enhanced, text) if code is not None else None


@record
class Flight:
    """What a journal knows of one attempt.

    Attributes:
        settled: recipients that RCPT settled before the content.
        answered: every recipient after the final reply; None: no reply is known.
        at: when the content began, or the reply came.
    """

    settled: tuple[Record, ...]
    answered: tuple[Record, ...] | None
    at: dt.datetime
    #: `mime` digest of the bytes that began to leave
    sha256: str | None


class Journal:
    """This process's journal; the file is made with the first D line and removed when it says nothing any more."""

    def __init__(self, folder: Path, epoch: str) -> None:
        self.name = f"{epoch}-{secrets.token_hex(8)}"
        self._path = folder / f"{self.name}{SUFFIX}"
        #: why no line can be written any more; None: all is well
        self.broken: str | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            unnamed = self._path.with_suffix(
                ".new"
            )  # named only once it is locked: an unlocked one is a dead process's
            self._fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(self._path)
        except OSError as error:
            raise JournalError(
                f"the flight journal can't be made ({error.strerror})",
                where=str(folder),
                remedy="make the folder writable; without it nothing is sent",
            ) from error
        self._whole = 0

    def begun(self, attempt: str, at: dt.datetime, settled: Sequence[Result], sha256: str | None) -> None:
        """Note that the content of *attempt* is about to leave.

        Raises:
            JournalError: the line could not be written whole; no content may leave.
        """
        told = _encode([_record(result) for result in settled]) if settled else "[]"
        digest = f'"{sha256}"' if sha256 else "null"
        self._write(f'["D","{attempt}","{at.isoformat()}",{told},{digest}]\n')

    def answered(self, attempt: str, at: dt.datetime, results: Sequence[Result]) -> None:
        """Note the final reply; a failure is kept in `broken`, for the outcome itself is in memory still."""
        with suppress(JournalError):
            told = _encode([_record(result) for result in results])
            self._write(f'["R","{attempt}",{told},"{at.isoformat()}"]\n')

    def _write(self, line: str) -> None:
        if self.broken:
            raise JournalError(self.broken)
        data = line.encode()
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            written, cause = 0, error.strerror or "error"
        else:
            cause = "disk full"
        if written == len(data):
            self._whole += written
            return
        self.broken = f"the flight journal can't be written ({cause})"
        with suppress(OSError):
            os.ftruncate(self._fd, self._whole)
        raise JournalError(self.broken, where=str(self._path), remedy=_ROOM)

    def heal(self) -> None:
        """Try whether lines can be written again, after one could not.

        Raises:
            JournalError: they can't.
        """
        if self.broken:
            try:
                os.ftruncate(self._fd, self._whole)  # a torn line that could not be cut off then would garble this one
            except OSError as error:
                raise JournalError(self.broken, where=str(self._path), remedy=_ROOM) from error
            self.broken = None
            self._write('["P",""]\n')

    def forget(self) -> None:
        """Empty it: every attempt that it speaks of is recorded and none is on the way."""
        if self._whole:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
                self._whole = 0

    @property
    def size(self) -> int:
        """Octets of whole lines."""
        return self._whole

    def close(self, *, remove: bool) -> None:
        """Let go of the file; *remove* it only when all it says is recorded."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


@record
class Relic:
    """A dead process's journal, held by us while it is taken in."""

    name: str
    path: Path
    flights: dict[str, Flight]
    #: a line inside it can't be read: then "not in it" proves nothing
    damaged: bool
    fd: int

    def close(self, *, remove: bool) -> None:
        """Let go; *remove* after the transaction that took it in."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self.fd)


def alive(folder: Path, name: str) -> bool:
    """Whether the process that owns this journal lives: its file is here and its lock is taken."""
    try:
        fd = os.open(folder / f"{name}{SUFFIX}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def relics(folder: Path, epoch: str) -> Iterator[Relic]:
    """The journals of this epoch whose processes are dead. Those of another epoch belong to a home that was restored since."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob(f"{epoch}-*{SUFFIX}")):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        flights, damaged = read(path)
        yield Relic(path.name.removesuffix(SUFFIX), path, flights, damaged, fd)


def read(path: Path) -> tuple[dict[str, Flight], bool]:
    """What a journal says, by attempt, and whether a line inside it is damaged.

    Whatever follows the last whole line is dropped: it was torn by the death that we read about.
    """
    flights: dict[str, Flight] = {}
    damaged = False
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            fact = json.loads(line)
            kind, attempt = fact[0], fact[1]
            if kind == "D":
                began = dt.datetime.fromisoformat(fact[2])
                flights[attempt] = Flight(tuple(map(tuple, fact[3])), None, began, fact[4])
            elif kind == "R" and attempt in flights:
                replied = dt.datetime.fromisoformat(fact[3])
                flights[attempt] = replace(flights[attempt], answered=tuple(map(tuple, fact[2])), at=replied)
        except (ValueError, LookupError, TypeError):
            damaged = True
    return flights, damaged


#: What a fate in a journal is worth after the process died.
FATES = {fate.value: fate for fate in Fate}

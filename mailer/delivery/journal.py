"""The flight journal: what was on the wire when the process died.

One append-only file per process, its flock held as long as the process lives: the kernel's own proof of death. One JSON line a fact:

    ["D", attempt, time, [recipient, ...], sha256]   before the content, with what RCPT already settled
    ["R", attempt, [recipient, ...], time]           after the final reply

where a recipient is [id, fate, code, enhanced, text, why]. `relics` reads what a dead process left.

- Lines are written by one plain write() without fsync: they outlive kill -9, not a power cut (then the boot id differs, and every open
  attempt is uncertain). If a D line can't be written whole, no content may leave and the file is cut back to its last whole line. A torn
  last line is dropped: a torn D means that no content left.
- What is recorded in the database is dropped, and nothing else is, so that "not in the journal" always means that no content left. With
  nothing unrecorded the file is emptied. Else, once it has grown beyond `COMPACT_AT` and twice what the last compaction left, the lines
  of what is unrecorded go to a new file that takes the old one's name: the file stays small however many letters a process sends.
- No file of that name is ever without its lock while its process lives: a new one is locked before it is named. Another
  process that had opened the old one gets that one's lock, sees that the name is another file's, and looks again.
- Where a compaction fails, or the old file does not hold a D line for each that is unrecorded, the old one stays in use as it is.
"""

import datetime as dt
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from mailer.errors import JournalError
from mailer.transport.base import Result

SUFFIX = ".flight"
#: What a file is called until it is locked.
UNNAMED = ".new"
#: Octets from which a compaction is worth while: those of some 15,000 letters. Nothing else happens while it lasts: 5 ms of a processor
#: were measured, a third of a microsecond for each of the letters.
COMPACT_AT = 4_000_000
#: Where a line has its attempt, of which each is 32 octets long, and how a D line begins.
_ATTEMPT, _D = slice(6, 38), b'["D","'
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


class Journal:
    """This process's journal; removed at the end when it says nothing any more."""

    def __init__(self, folder: Path, epoch: str, *, compact_at: int = COMPACT_AT) -> None:
        self.name = f"{epoch}-{secrets.token_hex(8)}"
        self._path = folder / f"{self.name}{SUFFIX}"
        #: why no line can be written any more; None: all is well
        self.broken: str | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = _named(self._path)
        except OSError as error:
            raise JournalError(
                f"the flight journal can't be made ({error.strerror})",
                where=str(folder),
                remedy="make the folder writable; without it nothing is sent",
            ) from error
        self._whole = 0
        #: octets below which it is not compacted: always, and at this time
        self._compact_at = self._enough = compact_at

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

    def forget(self, unrecorded: Collection[str] = ()) -> None:
        """Drop what is recorded, at once where nothing is *unrecorded*, else when it is worth while.

        Args:
            unrecorded: every attempt whose content began and whose outcome is not committed in the database.
        """
        if not unrecorded:
            if self._whole:
                with suppress(OSError):
                    os.ftruncate(self._fd, 0)
                    self._whole, self._enough = 0, self._compact_at
        elif self._whole > self._enough and not self.broken:
            self._enough = 2 * self._whole  # where it fails, not every turn tries
            with suppress(OSError):
                self._compact(unrecorded)

    def _compact(self, unrecorded: Collection[str]) -> None:
        """Go on with a new file that holds the lines of *unrecorded* alone.

        Raises:
            OSError: there is no new file; the old one stays in use.
        """
        if os.fstat(self._fd).st_size != self._whole:
            return
        wanted = {attempt.encode() for attempt in unrecorded}
        with open(self._fd, "rb", 1 << 16, closefd=False) as file:  # the file that is locked, whatever has its name
            file.seek(0)
            kept = [line for line in file if line[_ATTEMPT] in wanted]
        if {line[_ATTEMPT] for line in kept if line.startswith(_D)} != wanted:
            return  # somebody has written in it: a line that we can't tell may be one that is needed
        lines = b"".join(kept)
        old, self._fd = self._fd, _named(self._path, lines)
        self._whole, self._enough = len(lines), max(self._compact_at, 2 * len(lines))
        os.close(old)

    @property
    def size(self) -> int:
        """Octets of whole lines."""
        return self._whole

    def close(self, *, remove: bool) -> None:
        """Let go of the file; *remove* it only when all it says is recorded."""
        if remove:
            self._path.unlink(missing_ok=True)
        fd, self._fd = self._fd, -1  # its number may be another file's in a moment
        os.close(fd)


def _named(path: Path, lines: bytes = b"") -> int:
    """A new file with these lines, which had its lock before it took its name, perhaps from an older one.

    Raises:
        OSError: there is none; whatever had the name has it still.
    """
    unnamed = path.with_suffix(UNNAMED)
    fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        whole = not lines or os.write(fd, lines) == len(lines)
        if whole:
            unnamed.rename(path)
    except BaseException:
        _drop(fd, unnamed)
        raise
    if not whole:
        _drop(fd, unnamed)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return fd


def _drop(fd: int, path: Path) -> None:
    with suppress(OSError):
        path.unlink()
    os.close(fd)

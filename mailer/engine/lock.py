"""One home, one sender: a lock file beside the SQLite file that names its holder. Only sending needs it.

Where the rows are in PostgreSQL there is none: any number of processes may send, and the fence of each batch keeps them apart.
"""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from lists.records import record
from mailer.errors import CannotDo, HomeBusy

LOCK_FILE = "chancery.lock"


@record
class Holder:
    """Who sends from a home: process number, what it is (`serve`, `send`), since when (ISO time), and the coordinator."""

    pid: int
    what: str
    since: str
    by: str


class HomeLock:
    """Held from `acquire` to `release`; the kernel lets go of it when the process dies, however it dies."""

    def __init__(self, home: Path) -> None:
        self._path = home / LOCK_FILE
        self._fd: int | None = None

    def acquire(self, *, what: str, since: str, by: str) -> None:
        """Take the lock.

        Raises:
            HomeBusy: another process has it; the error names it.
            CannotDo: the file can't be made.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotDo(
                f"the lock file can't be made ({error.strerror})",
                where=str(self._path),
                remedy="check the owner and the rights of the home",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            holder = self.holder()
            named = f"process {holder.pid} (`{holder.what}`, since {holder.since})" if holder else "another process"
            raise HomeBusy(f"{named} sends from this home", where=str(self._path.parent)) from None
        os.ftruncate(fd, 0)
        os.write(fd, json.dumps(asdict(Holder(os.getpid(), what, since, by))).encode())
        self._fd = fd

    def holder(self) -> Holder | None:
        """Who wrote the file last; only meaningful while the lock is taken."""
        with suppress(OSError, ValueError, TypeError):
            return Holder(**json.loads(self._path.read_text(encoding="utf-8")))
        return None

    def in_use(self) -> bool:
        """Whether a living process sends from this home, as far as can be seen without taking the lock from it."""
        holder = self.holder()
        if holder is None:
            return False
        try:
            os.kill(holder.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it lives, and is another user's
            return True
        return True

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

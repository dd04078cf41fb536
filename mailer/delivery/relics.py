"""What dead processes left: their flight journals, taken by their locks and read line by line.

- Who gets the lock of a journal that has a name has the proof that its process is dead. The name may have gone to another file between
  the look and the lock (its process has compacted it, or somebody else has taken it in): then the proof is worth nothing, and we look again.
- It is read from the file that is locked, never by its name, and only what is asked for is kept: a start after a death takes no more
  memory for a long journal than for a short one.
- Whatever follows the last whole line was torn by the death, and is dropped.
"""

import datetime as dt
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from lists.records import record
from mailer.delivery.journal import SUFFIX, UNNAMED, Record
from mailer.transport.base import Fate, Reply

#: Octets beyond which a line is none of ours: a letter would have tens of thousands of recipients.
_LONGEST = 4_000_000
#: Too many open files, of ours or of the machine, or no memory for one: an opening that may succeed a moment later.
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
#: What a fate in a journal is worth after the process died.
FATES = {fate.value: fate for fate in Fate}


def reply_of(told: Record) -> Reply | None:
    """The relay's reply in a record; None where there was none."""
    _, _, code, enhanced, text, _ = told
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


@record
class Said:
    """What a journal says of the attempts that it was asked about.

    Attributes:
        flights: what it knows, by attempt.
        damaged: a line inside it can't be read: then "not in it" proves nothing.
    """

    asked: AbstractSet[str]
    flights: dict[str, Flight]
    damaged: bool

    def rules_out(self, attempt: str) -> bool:
        """Whether it proves that no content of *attempt* left."""
        return attempt in self.asked and attempt not in self.flights and not self.damaged


@record
class Relic:
    """A dead process's journal, held by us while it is taken in."""

    name: str
    path: Path
    fd: int

    def said(self, asked: AbstractSet[str]) -> Said:
        """What it says of these attempts.

        Raises:
            OSError: the file can't be read.
        """
        return read(self.fd, asked)

    def close(self, *, remove: bool) -> None:
        """Let go; *remove* after the transaction that took it in."""
        if remove:
            self.path.with_suffix(UNNAMED).unlink(missing_ok=True)  # what a death in a compaction left of it
            self.path.unlink(missing_ok=True)
        os.close(self.fd)


def alive(folder: Path, name: str) -> bool:
    """Whether the process that owns this journal lives: its file is here and its lock is taken; or we can't look just now."""
    try:
        fd = _lock(folder / f"{name}{SUFFIX}")
    except OSError:
        return True
    if fd is not None:
        os.close(fd)
    return False


def relics(folder: Path, epoch: str) -> Iterator[Relic]:
    """The journals of this epoch whose processes are dead. Those of another epoch belong to a home that was restored since."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob(f"{epoch}-*{SUFFIX}")):
        try:
            fd = _lock(path)
        except OSError:
            continue
        if fd is not None:
            yield Relic(path.name.removesuffix(SUFFIX), path, fd)


def _lock(path: Path) -> int | None:
    """The file that has this name, now ours; None: there is none.

    Raises:
        BlockingIOError: its process lives.
        OSError: we ourselves have no room for another file: nothing is known of it.
    """
    while True:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def read(fd: int, asked: AbstractSet[str]) -> Said:
    """What a journal says of these attempts, from the beginning of its open file."""
    flights: dict[str, Flight] = {}
    damaged = False
    with open(fd, "rb", closefd=False) as file:  # its name may be another file's by now
        file.seek(0)
        for line in _lines(file):
            try:
                _note(json.loads(line or b""), asked, flights)
            except (ValueError, LookupError, TypeError, RecursionError):
                damaged = True
    return Said(asked, flights, damaged)


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Every line that has an end; None for one that is too long."""
    cut = False
    while piece := file.readline(_LONGEST):
        if piece.endswith(b"\n"):
            yield None if cut else piece
            cut = False
        else:
            cut = True


def _note(fact: Any, asked: AbstractSet[str], flights: dict[str, Flight]) -> None:
    """Add what a line says."""
    kind, attempt = fact[0], fact[1]
    if kind == "D":
        began, settled, sha256 = dt.datetime.fromisoformat(fact[2]), tuple(map(tuple, fact[3])), fact[4]
        if attempt in asked:
            flights[attempt] = Flight(settled, None, began, sha256)
    elif kind == "R" and attempt in flights:
        replied = dt.datetime.fromisoformat(fact[3])
        flights[attempt] = replace(flights[attempt], answered=tuple(map(tuple, fact[2])), at=replied)

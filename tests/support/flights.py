"""Flight journals in tests: asking one, and a process that writes in one until it is killed."""

import datetime as dt
import os
import random
from collections.abc import Collection
from pathlib import Path

from mailer.delivery.journal import Journal
from mailer.delivery.relics import Said, alive, read, relics
from mailer.transport.base import Fate, Reply, Result, Scope

NOON = dt.datetime(2006, 7, 7, 12, 0, tzinfo=dt.UTC)
TAKEN = Result(8, Fate.ACCEPTED, Scope.RECIPIENT, Reply(250, "2.0.0", "2.0.0 queued as 1"))


def attempt(number: int) -> str:
    """The name of an attempt."""
    return f"{number:032x}"


def saying(path: Path, asked: Collection[str]) -> Said:
    """What a journal's file says of these attempts."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return read(fd, set(asked))
    finally:
        os.close(fd)


def fly(folder: str, truth: str, seed: int, compact_at: int) -> None:
    """Write in a journal as a sending process does, until killed; *truth* has what must outlive the death.

    Each of its lines is a word and an attempt: `begun` and `answered` once the journal has it, `recorded` before it may drop it.
    """
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    own = Journal(Path(folder), "1", compact_at=compact_at)
    file = os.open(truth, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    unrecorded: set[str] = set()
    answered: list[str] = []
    number = 0
    while True:
        for _ in range(chance.randint(1, 8)):
            number += 1
            unrecorded.add(attempt(number))
            own.begun(attempt(number), NOON, [], "0" * 64)
            os.write(file, b"begun %b\n" % attempt(number).encode())
        waiting = sorted(unrecorded.difference(answered))
        for one in chance.sample(waiting, chance.randint(0, len(waiting))):
            own.answered(one, NOON, [TAKEN])
            os.write(file, b"answered %b\n" % one.encode())
            answered.append(one)
        if chance.random() < 0.7:
            told = chance.sample(answered, chance.randint(0, len(answered)))
            for one in told:
                os.write(file, b"recorded %b\n" % one.encode())
            answered = [one for one in answered if one not in told]
            unrecorded.difference_update(told)
            own.forget(unrecorded)


def look(folder: str, name: str, found: str, end: str) -> None:
    """Look whether a journal's owner lives, and for journals of the dead, until the file *end* is there.

    The file *found* tells how often it was looked, how often the owner seemed dead, and how many journals seemed a dead one's.
    """
    looks = dead = taken = 0
    while not Path(end).exists():
        looks += 1
        dead += not alive(Path(folder), name)
        for relic in relics(Path(folder), "1"):
            taken += 1
            relic.close(remove=False)
    Path(found).write_text(f"{looks} {dead} {taken}", encoding="ascii")

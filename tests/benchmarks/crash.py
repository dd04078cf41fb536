"""`make crash`: real commands struck at random moments, and what became of the letters, by the relay's own file.

CRASH_KILLS  how many kills (200); the other strikes in proportion
CRASH_SEED   of the moments; printed, so that a run can be made again (as far as a machine repeats itself)
"""

# ruff: noqa: T201 - a command of its own that prints a table

import os
import platform
import random
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import crash, crash_in_making
from tests.support.crash import Count
from tests.support.postgres import pg_server

#: Kind -> its part of the kills; those that are no kill come on top.
_KILLS = {
    "kill -9 while letters leave": 0.2,
    "kill -9 at any moment from the start": 0.25,
    "kill -9, and again in the recovery": 0.1,
    crash.COMPACTING: 0.1,
    "power cut: journals torn, another boot": 0.1,
}
_APPROVING, _MIGRATING = 0.1, 0.1
_BESIDE = {crash.KILLED_BESIDE: 0.05, crash.FROZEN_BESIDE: 0.025}
_OTHERS = {"SIGSTOP beyond the lease, then kill -9": 0.05, "SIGTERM": 0.05, "SIGTERM twice": 0.05}

#: What other programs do where they are killed while they send: our reading of their code and of what their users report.
PEERS: dict[str, tuple[str, str]] = {
    "listmonk": (
        "moves its place in the list when a batch (1,000 by default) is read, not when it is sent: after a kill all that was read and unsent is passed over and the campaign is called finished; who got it is not recorded",
        "queries/campaigns.sql and internal/manager at 911e0b77; its issues 3022, 2278, 934",
    ),
    "GOV.UK Notify": (
        "looks for a day for rows that are missing and makes most of them good; sends an e-mail twice where it is killed between the provider's yes and its own commit, as nothing says that the hand-over had begun",
        "app/delivery/send_to_providers.py and app/celery at 8ea23660",
    ),
    "Mailman 3": (
        "notes no progress within a message: after a kill all of the list's recipients get it again",
        "mailman/core/switchboard.py and mailman/mta/bulk.py of 3.3.3",
    ),
    "Sympa": (
        "works through packets of up to 25 addresses: the packet that was under way is sent again",
        "ProcessOutgoing.pm at 1d59e9a4; its issue 565",
    ),
    "phpList 3": (
        "marks an address before it sends and never looks again: one that was marked and not yet sent gets nothing",
        "processqueue.php at 72dd0d6f",
    ),
    "Keila": ("has the job run anew after ten minutes: one letter is sent twice", "delivery_worker.ex at 14f1a12"),
    "django-post_office": (
        "writes its outcomes after a batch of 100: the whole batch is sent again",
        "mail.py at 16def3b; its issues 326 and 330",
    ),
    "mailmerge": (
        "keeps no account: a person says from which row on it shall go on, as read from the terminal",
        "__main__.py at ec6b39e",
    ),
}


def _part(kills: int, share: float) -> int:
    return max(1, round(kills * share))


def work(folder: Path, kills: int, seed: int) -> list[Count]:
    """All strikes; each line is printed as it is known."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    found: list[Count] = []

    def note(make: Callable[[], Count]) -> None:
        begun = time.monotonic()
        found.append(make())
        _line(found[-1], time.monotonic() - begun)

    with crash.field_of(folder, seed) as ground:
        for kind, share in (_KILLS | _OTHERS).items():
            note(lambda kind=kind, share=share: crash.sending(ground, kind, _part(kills, share)))  # type: ignore[misc]  # bound now
        with pg_server() as server:
            for kind, share in _BESIDE.items():
                note(lambda kind=kind, share=share: crash.together(ground, server, kind, _part(kills, share)))  # type: ignore[misc]  # bound now
    note(lambda: crash_in_making.approving(folder, chance, _part(kills, _APPROVING)))
    note(lambda: crash_in_making.migrating(folder, chance, _part(kills, _MIGRATING)))
    return found


_HEADINGS = ("strikes", "letters", "lost", "twice", "in doubt", "at most", "starts")


def _line(count: Count, seconds: float | None = None) -> None:
    numbers = (
        *(count.strikes, count.letters, count.lost, count.twice, count.uncertain, count.worst),
        count.starts,
    )
    took = f"{seconds:>8.0f} s" if seconds is not None else ""
    print(f"{count.kind:<50}" + "".join(f"{number:>10,}" for number in numbers) + took, flush=True)
    for each in count.wrong:
        print(f"    WRONG: {each}", flush=True)


def main() -> int:
    """Strike, print, compare; 1 where a letter was lost, sent twice, or told as what it is not."""
    kills = int(os.environ.get("CRASH_KILLS") or 200)
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))
    print(
        f"{kills} kills and other strikes; CRASH_SEED={seed}. Circulars of {crash.LETTERS} letters over {crash.OPEN} connections,"
    )
    print(f"a relay that answers after {crash.ANSWER_MS} ms; every letter is counted in the relay's own file.")
    print(f"Machine: {os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}.\n")
    print(f"{'strike':<50}" + "".join(f"{heading:>10}" for heading in _HEADINGS))
    with tempfile.TemporaryDirectory(prefix="chancery-crash-") as name:
        found = work(Path(name), kills, seed)
    total = Count("all")
    for count in found:
        for column in ("strikes", "letters", "lost", "twice", "uncertain", "starts"):
            setattr(total, column, getattr(total, column) + getattr(count, column))
        total.worst = max(total.worst, count.worst)
    _line(total)
    print('\n"in doubt": addresses that wait for a person\'s word or for proof. "at most": after a single strike.\n')
    print("What others do when they are killed while they send (read in their code; not run here):")
    for peer, (what, source) in PEERS.items():
        print(textwrap.fill(f"{peer}: {what} ({source}).", 118, initial_indent="  ", subsequent_indent="      "))
    bad = any(count.wrong or count.lost or count.twice for count in found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

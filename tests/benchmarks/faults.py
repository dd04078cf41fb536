"""Sendings drawn by seeds, one after the other: what the transport says of each letter against the relay's own record.

    python -m tests.benchmarks.faults [SECONDS [FIRST]]

SECONDS  how long (1200)
FIRST    the first seed (0); each is played with and without pipelining, in clear text and over TLS in turn
"""

# ruff: noqa: T201 - a command of its own that prints what it found

import asyncio
import datetime as dt
import itertools
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

from mailer.clock import ManualClock
from mailer.rehearsal.options import TlsMode
from tests.support.drawn import play

#: one line so often
_TOLD = 50


def main() -> int:
    """Play until the time is over; 1 where something was wrong."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1200.0
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")
    failed: list[str] = []
    sys.unraisablehook = lambda found: failed.append(f"unraisable: {found.exc_value!r} in {found.object!r}")
    end, played = time.monotonic() + seconds, 0
    for seed in itertools.count(first):
        if time.monotonic() > end:
            break
        failed += _one(seed)
        played += 1
        if failed or played % _TOLD == 0:
            print(f"{played} seeds from {first}, {len(failed)} wrong", flush=True)
        for each in failed[-3:]:
            print(each[:4000], flush=True)
        if len(failed) > 20:
            break
    print(f"{played} seeds from {first} to {first + played - 1}: {len(failed)} wrong")
    return 1 if failed else 0


def _one(seed: int) -> list[str]:
    tls = list(TlsMode)[seed % 3]
    pipelining = seed // 3 % 2 == 0
    clock = ManualClock(dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC))
    try:
        with tempfile.TemporaryDirectory() as home:
            wrong, how = asyncio.run(play(Path(home), seed, clock, pipelining=pipelining, tls=tls, wide=True))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return [f"seed {seed} ({tls}, pipelining {pipelining}): {error!r}"]
    return [f"seed {seed} ({tls}, pipelining {pipelining}): {wrong} played {how}"] if wrong else []


if __name__ == "__main__":
    sys.exit(main())

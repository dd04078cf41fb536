"""Stresses of the whole engine drawn by seeds, one after the other, on SQLite and on PostgreSQL in turn: the rows against the server's record.

    python -m tests.benchmarks.stress [SECONDS [FIRST_SEED]]

SECONDS     how long (600)
FIRST_SEED  the first seed (0); each is played on both databases
"""

# ruff: noqa: T201 - a command of its own that prints what it found

import asyncio
import gc
import itertools
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.postgres import pg_server
from tests.support.stress import Ground, brisk, play, quiet

#: One line so often; so many wrong ones are enough.
_TOLD, _ENOUGH = 25, 20


@dataclass
class Sum:
    """What came of all seeds on one database."""

    name: str
    ground: Ground
    seeds: int = 0
    wrong: int = 0
    lost: int = 0
    twice: int = 0
    states: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)

    def play(self, seed: int, home: Path, unraisable: Sequence[str]) -> None:
        """One seed; what was wrong with it is printed."""
        before = len(unraisable)
        try:
            found = asyncio.run(play(self.ground, home, seed))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            wrong: list[object] = [repr(error)]
        else:
            wrong = found.wrong
            self.states += found.states
            self.doubts += found.doubts
            self.done += found.done
            self.lost, self.twice = self.lost + found.lost, self.twice + found.twice
        gc.collect()
        wrong = [*wrong, *unraisable[before:]]
        self.seeds += 1
        if wrong:
            self.wrong += 1
            print(f"seed {seed} on {self.name}:", flush=True)
            for one in wrong:
                print(f"    {str(one)[:2000]}", flush=True)

    @property
    def line(self) -> str:
        """The sum."""
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(self.states.items()))
        return f"{self.name}: {self.seeds} seeds, {self.wrong} wrong, {self.lost} lost, {self.twice} twice; addresses: {states}"


def main() -> int:
    """Play until the time is over; 1 where something was wrong."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    quiet()
    warnings.simplefilter("error")
    unraisable: list[str] = []
    sys.unraisablehook = lambda found: unraisable.append(f"unraisable: {found.exc_value!r} in {found.object!r}")
    end = time.monotonic() + seconds
    with pg_server() as server, tempfile.TemporaryDirectory() as folder, brisk():
        sums = []
        for name, postgres in (("SQLite", None), ("PostgreSQL", server)):
            (Path(folder) / name).mkdir()
            sums.append(Sum(name, Ground(Path(folder) / name, postgres)))
            asyncio.run(sums[-1].ground.ready())
        for seed in itertools.count(first):
            if time.monotonic() > end or sum(one.wrong for one in sums) > _ENOUGH:
                break
            for one in sums:
                one.play(seed, Path(folder) / one.name / str(seed), unraisable)
            if (seed - first + 1) % _TOLD == 0:
                print("\n".join(one.line for one in sums), flush=True)
    for one in sums:
        print(one.line)
        print(f"    done: {dict(one.done)}\n    in doubt: {dict(one.doubts)}")
    return 1 if any(one.wrong for one in sums) else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: what a circular costs, beside other senders of the same letters, in turn, several rounds, in one run.

Figures of one machine on one day; the ratios within a round are what can be compared. Every sender's claim is counted at the sink; ours
is also hashed, in one more sending that no figure counts, since a digest of each letter would make the sink the slowest of all.

    BENCH_WORKS        which of the works (S M L slow postgres rows import); see `WORKS` and `LARGE`
    BENCH_SCALE        which part of their letters (1)
    BENCH_ROUNDS       how many rounds (3)
    BENCH_SMTP_SOURCE  Postfix's smtp-source, where it is not on the PATH
    BENCH_NODE_MODULES a node_modules that holds nodemailer and nunjucks
"""

# ruff: noqa: T201 - a command of its own that prints a table

import asyncio
import contextlib
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import large
import work
from peers import Cost, Peer, floor, others, ours
from sinks import Took, build, rehearsal, sink

from tests.support.postgres import pg_server


@dataclass(frozen=True)
class Work:
    """What is sent.

    Attributes:
        floor, node: which part of the letters the slow peers send.
        slow: milliseconds that the relay takes at the end of a letter, and before other replies.
    """

    says: str
    letters: int
    enclosed: tuple[str, ...] = ()
    floor: float = 0.02
    node: float = 0.3
    connections: int = 10
    slow: tuple[int, int] | None = None
    postgres: bool = False


WORKS = {
    "S": Work("personal letters", 10_000),
    "M": Work("letters with one enclosure of 300 KB", 2_000, ("agenda.pdf",), 0.05, 0.2),
    "L": Work("letters with enclosures of 300 KB and 1 MB", 500, ("agenda.pdf", "report.pdf"), 0.05, 0.2),
    "slow": Work(
        "personal letters to a relay that takes 20 ms a letter", 10_000, floor=0, connections=50, slow=(20, 5)
    ),
    "postgres": Work("personal letters, the account on PostgreSQL with fsync", 10_000, floor=0, postgres=True),
}


#: What is done to large lists, and of how many; once, whatever the rounds.
LARGE: dict[str, tuple[Callable[[Path, int], None], int]] = {
    "rows": (large.rows, 1_000_000),
    "import": (large.imports, 100_000),
}


@dataclass
class Runs:
    """The rounds of one sender: letters sent, what each cost, and seconds between first and last letter at the sink."""

    letters: int
    costs: list[Cost] = field(default_factory=list)
    sunk: list[float] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Letters a second of each round, over the whole command."""
        return [self.letters / cost.wall for cost in self.costs]


class Miscounted(Exception):
    """A sender claimed what the sink does not have."""


def one_round(
    task: Work, peers: list[Peer], prepared: work.Prepared, folder: Path, program: Path | None, runs: dict[str, Runs]
) -> None:
    """Each sender once, each to a sink of its own."""
    for peer in peers:
        letters = max(1, round(prepared.letters * peer.share))
        with sink(program, folder, task.slow) as took:
            cost = peer.run(letters, took)
        if took.letters != letters:
            raise Miscounted(f"{peer.name}: {letters} letters were claimed, {took.letters} came")
        if peer is peers[0]:
            _count(took, prepared, folder)
        made = runs.setdefault(peer.name, Runs(letters))
        made.costs.append(cost)
        made.sunk.append(took.seconds)


def _count(took: Took, prepared: work.Prepared, folder: Path) -> None:
    """Our own claim, address by address."""
    wanted = {work.address(number) for number in range(1, prepared.letters + 1)}
    if set(took.letters_to) != wanted or set(took.letters_to.values()) != {1}:
        raise Miscounted("an address was left out, or had its letter twice")
    claimed = work.claimed(folder / "round")
    if claimed != took.letters:
        raise Miscounted(f"the report says {claimed}, the sink has {took.letters}")


def _hash(mine: Peer, prepared: work.Prepared, folder: Path) -> None:
    """One more sending, to a server that digests what it is sent: the account's letters are those octets."""
    with rehearsal(folder, hashes=True) as took:
        mine.run(prepared.letters, took)
    again = asyncio.run(work.made_again(folder / "round"))
    if len(took.digests) != prepared.letters or sorted(took.digests.values()) != sorted(again):
        raise Miscounted("the account names other octets than the relay was sent")


def show(runs: dict[str, Runs]) -> None:
    """The table."""
    own = next(iter(runs.values()))
    heads = ("letters", "letters/s", "(least-most)", "at sink/s", "CPU s/1000", "peak MB", "ours/it")
    print(f"{'sender':<32}" + "".join(f"{head:>13}" for head in heads))
    for name, made in runs.items():
        rates, middle = made.rates, statistics.median
        ratio = middle(mine / theirs for mine, theirs in zip(own.rates, rates, strict=True))
        cells = (
            f"{made.letters:,}",
            f"{middle(rates):,.0f}",
            f"({min(rates):,.0f}-{max(rates):,.0f})",
            f"{middle(made.letters / seconds if seconds else 0.0 for seconds in made.sunk):,.0f}",
            f"{middle(1000 * cost.cpu / made.letters for cost in made.costs):.2f}",
            f"{max(cost.memory for cost in made.costs):.0f}",
            f"{ratio:.2f}",
        )
        print(f"{name:<32}" + "".join(f"{cell:>13}" for cell in cells))


def measure(name: str, task: Work, folder: Path, program: Path | None, rounds: int, scale: float) -> list[str]:
    """One work: prepare, run the rounds, print; what could not be measured.

    Raises:
        Miscounted: a sender claimed what the sink does not have.
    """
    letters = max(10, round(task.letters * scale))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(pg_server(durable=True)) if task.postgres else None
        prepared = work.prepare(folder, letters, task.enclosed, server)
        sample = folder / "letter.json"
        more, missing = others(folder / "letter.eml", sample, task.connections, task.node)
        peers = [ours(prepared, folder, task.connections)]
        if task.floor:
            peers.append(floor(sample, task.floor))
        peers += more
        print(f"\n{name}: {letters:,} {task.says}, {len(prepared.eml):,} octets each; {task.connections} connections.")
        print(
            f"Preparing: contacts imported {letters / prepared.imported:,.0f}/s ({prepared.imported:.1f} s), "
            f"letters checked and frozen {letters / prepared.approved:,.0f}/s ({prepared.approved:.1f} s)."
        )
        runs: dict[str, Runs] = {}
        for _ in range(rounds):
            one_round(task, peers, prepared, folder, program, runs)
        show(runs)
        _hash(peers[0], prepared, folder)
        if name == "S":  # does memory grow with the list?
            few = work.prepare(folder / "tenth", max(10, letters // 10))
            with sink(program, folder) as took:
                tenth = ours(few, folder / "tenth", task.connections).run(few.letters, took)
            most = max(cost.memory for cost in runs[peers[0].name].costs)
            print(f"Peak memory: {tenth.memory:.0f} MB for {few.letters:,} letters, {most:.0f} MB for {letters:,}.")
    print(f"Counted at the sink: every letter of ours, once, in {rounds} of {rounds} rounds; the report says the same.")
    print("Hashed in a sending of its own: each letter that came has the sha256 of the one in the account, made again.")
    return missing


def main() -> int:
    """Run the works; 1 where a sender claimed what the sink does not have."""
    rounds, scale = int(os.environ.get("BENCH_ROUNDS", "3")), float(os.environ.get("BENCH_SCALE", "1"))
    known = [*WORKS, *LARGE]
    names = os.environ.get("BENCH_WORKS", " ".join(WORKS)).split()
    if unknown := sorted(set(names) - set(known)):
        print(f"bench: there is no work {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    missing: dict[str, None] = {}
    with tempfile.TemporaryDirectory(prefix="chancery-bench-") as made:
        program = build(Path(made))
        print(
            "One recipient a letter, no TLS. Ours: with account, journal and SQLite FULL; the whole command on the wall,"
        )
        print("its start included. The others keep no account.")
        print(
            f"Sink: {'our C sink' if program else 'the rehearsal server (no C compiler found)'}, a process of its own."
        )
        print(
            f"Machine: {os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}; {rounds} rounds, medians."
        )
        for name in names:
            if name not in LARGE and WORKS[name].slow and program is None:
                missing[f"{name}: a slow relay needs a C compiler"] = None
                continue
            try:
                if name in LARGE:
                    do, count = LARGE[name]
                    do(Path(made) / name, max(10, round(count * scale)))
                    shutil.rmtree(Path(made) / name)
                    continue
                missing |= dict.fromkeys(measure(name, WORKS[name], Path(made) / name, program, rounds, scale))
            except (Miscounted, large.Wrong) as error:
                print(f"bench: {error}", file=sys.stderr)
                return 1
    for line in missing:
        print(f"Not measured: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: what a circular costs, beside other senders of the same letters, in turn, several rounds, in one run.

Figures of one machine on one day; the ratios within a round are what can be compared. Every sender's claim is counted at the sink.

    BENCH_LETTERS      how many letters (2,000)
    BENCH_ROUNDS       how many rounds (3)
    BENCH_FLOOR        which part of them the slow floor sends (0.1)
    BENCH_SMTP_SOURCE  Postfix's smtp-source, where it is not on the PATH
    BENCH_NODE_MODULES a node_modules that holds nodemailer
"""

# ruff: noqa: T201 - a command of its own that prints a table

import os
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import work
from peers import Cost, Peer, floor, others, ours
from sinks import Took, build, sink


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
    peers: list[Peer], prepared: work.Prepared, folder: Path, program: Path | None, runs: dict[str, Runs]
) -> None:
    """Each sender once, each to a sink of its own."""
    for peer in peers:
        letters = max(1, round(prepared.letters * peer.share))
        with sink(program, folder) as took:
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


def show(runs: dict[str, Runs]) -> None:
    """The table."""
    own = next(iter(runs.values()))
    print(
        f"{'sender':<32}{'letters':>8}{'letters/s':>11}{'(least-most)':>15}{'at sink/s':>11}{'CPU s/1000':>12}{'peak MB':>9}{'ours/it':>9}"
    )
    for name, made in runs.items():
        rates, middle = made.rates, statistics.median
        ratio = middle(mine / theirs for mine, theirs in zip(own.rates, rates, strict=True))
        spread = f"({min(rates):,.0f}-{max(rates):,.0f})"
        steady = middle(made.letters / seconds if seconds else 0.0 for seconds in made.sunk)
        cpu = middle(1000 * cost.cpu / made.letters for cost in made.costs)
        memory = max(cost.memory for cost in made.costs)
        print(
            f"{name:<32}{made.letters:>8,}{middle(rates):>11,.0f}{spread:>15}{steady:>11,.0f}{cpu:>12.2f}{memory:>9.0f}{ratio:>9.2f}"
        )


def main() -> int:
    """Prepare, run the rounds, print; 1 where a sender claimed what the sink does not have."""
    letters = int(os.environ.get("BENCH_LETTERS", "2000"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    share = float(os.environ.get("BENCH_FLOOR", "0.1"))
    with tempfile.TemporaryDirectory(prefix="chancery-bench-") as name:
        folder = Path(name)
        program = build(folder)
        prepared = work.prepare(folder, letters)
        more, missing = others(folder / "letter.eml", folder / "letter.json")
        peers = [ours(prepared, folder), floor(folder / "letter.json", share), *more]
        print(
            f"Work S: {letters:,} personal letters of {len(prepared.eml):,} octets, one recipient each; 10 connections, no TLS;"
        )
        print("ours with account, journal and SQLite FULL; the whole command on the wall, its start included.")
        print(
            f"Sink: {'our C sink' if program else 'the rehearsal server (no C compiler found)'}, a process of its own."
        )
        print(
            f"Machine: {os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}; {rounds} rounds, medians."
        )
        print(
            f"Preparing: contacts imported {letters / prepared.imported:,.0f}/s ({prepared.imported:.1f} s), "
            f"letters checked and frozen {letters / prepared.approved:,.0f}/s ({prepared.approved:.1f} s)."
        )
        runs: dict[str, Runs] = {}
        try:
            for _ in range(rounds):
                one_round(peers, prepared, folder, program, runs)
        except Miscounted as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        show(runs)
        print(
            f"Counted at the sink: every letter of ours, once, in {rounds} of {rounds} rounds; the report says the same."
        )
        for line in missing:
            print(f"Not measured: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

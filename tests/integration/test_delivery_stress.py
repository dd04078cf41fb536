"""The whole engine under troubles drawn by a seed: nothing lost, nothing twice, nothing left undone, by the server's own record."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import Server
from tests.support.stress import Ground, brisk, play

#: Seeds that each run anew; `python -m tests.benchmarks.stress` plays as many as it is given time for.
SEEDS = {"sqlite": (2, 20), "postgresql": (12, 14)}


@pytest.fixture(autouse=True)
def _brisk() -> Iterator[None]:
    with brisk():
        yield


@pytest.mark.parametrize("kind", SEEDS)
def test_whatever_befalls_senders_no_letter_is_lost_or_sent_twice(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Pauses, failing rows, a full disk, silent relays, senders ended and begun: rows, server, register and journals agree at the end."""
    postgres: Server | None = request.getfixturevalue("postgres") if kind == "postgresql" else None
    ground = Ground(tmp_path, postgres)
    asyncio.run(ground.ready())
    for seed in SEEDS[kind]:
        found = asyncio.run(play(ground, tmp_path / str(seed), seed))
        assert not found.wrong, f"seed {seed} on {kind}: {found.wrong}"
        assert found.states["accepted"] > 0

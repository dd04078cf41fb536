"""Faults, calls back and refusals of our own, drawn by a seed: every recipient's result against the server's record."""

from pathlib import Path

import pytest

from mailer.clock import ManualClock
from mailer.rehearsal.options import TlsMode
from tests.support.drawn import play


@pytest.mark.parametrize("pipelining", [True, False], ids=["at-once", "step-by-step"])
@pytest.mark.parametrize("seed", range(12))
async def test_every_result_agrees_with_the_servers_record(
    tmp_path: Path, clock: ManualClock, seed: int, pipelining: bool
) -> None:
    """Whatever the relay does: nobody has a letter twice or another's, a result says no more than is so, and the gate hears of it once."""
    wrong, how = await play(tmp_path, 2 * seed + pipelining, clock, pipelining=pipelining)
    assert not wrong, (wrong, how)


@pytest.mark.parametrize("pipelining", [True, False], ids=["at-once", "step-by-step"])
@pytest.mark.parametrize("tls", list(TlsMode))
async def test_so_it_does_over_a_bad_road_and_with_stops(
    tmp_path: Path, clock: ManualClock, tls: TlsMode, pipelining: bool
) -> None:
    """Silences, cut and damaged connections, stops in the middle and tellers that fail as well; no task, socket or letter is left behind."""
    seed = 2 * list(TlsMode).index(tls) + pipelining
    wrong, how = await play(tmp_path, seed, clock, pipelining=pipelining, tls=tls, wide=True)
    assert not wrong, (wrong, how)

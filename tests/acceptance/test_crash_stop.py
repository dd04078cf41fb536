"""SIGTERM while ten letters' content is on its way and further envelopes are on the wire behind them."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.support import crash, office
from tests.support.rig import Home, Relay, relay_process, taken, wait_for

LETTERS, OPEN = 30, 10


def _slow(seconds: float) -> str:
    """The beginning of each letter's content is read at once, the rest of it so much later."""
    return f'[[fault]]\nat = "content"\ndo = "stall"\nafter_bytes = 1000\nseconds = {seconds}\n'


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an approved circular with an enclosure, to be copied."""
    folder = tmp_path_factory.mktemp("stop") / "home"
    office.make(folder, LETTERS, enclosure=300 * 1024)
    return folder


def _struck(approved: Path, folder: Path, relay: Relay, strikes: int) -> tuple[Home, int]:
    """A home whose sending was told so often to stop when ten contents were on their way, and how that ended."""
    home = Home(folder / "home")
    shutil.copytree(approved, home.folder)
    home.use(relay)
    running = crash.start(home, "circular", "send", crash.REFERENCE, "--expect", str(LETTERS))
    wait_for(lambda: relay.phases("content") >= OPEN or running.ended, "ten contents on their way")
    for number in range(strikes):
        running.strike(signal.SIGTERM)
        wait_for(lambda: number or "once more" in running.said or running.ended, "an answer to the signal")  # noqa: B023 - asked at once
    return home, running.end()


def test_what_is_half_sent_arrives(approved: Path, tmp_path: Path) -> None:
    """Asked to stop in the middle of ten contents, all that has begun arrives and is told so; no other content begins, nothing is in doubt."""
    with relay_process(tmp_path, "relay", _slow(1.5)) as relay:
        home, code = _struck(approved, tmp_path, relay, 1)
        states = dict(crash.rows(home, "SELECT address, state FROM recipient"))
        assert code == 130
        assert {one for one, state in states.items() if state == "accepted"} == set(taken(relay))
        begun = relay.phases("content")  # ten; one more where this machine was slow to open ten connections
        assert OPEN <= begun < LETTERS
        assert sorted(states.values()) == ["accepted"] * begun + ["queued"] * (LETTERS - begun)


def test_a_second_signal_leaves_exactly_what_was_open_in_doubt(approved: Path, tmp_path: Path) -> None:
    """Stopped at once, the ten letters whose content had begun are in doubt at the next start, and no others."""
    with relay_process(tmp_path, "slow", _slow(600)) as slow:
        home, code = _struck(approved, tmp_path, slow, 2)
        assert code == 130
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run("circular", "send", crash.REFERENCE, expect=1)
    states = dict(crash.rows(home, "SELECT address, state FROM recipient"))
    assert sorted(states.values()) == ["accepted"] * (LETTERS - OPEN) + ["uncertain"] * OPEN
    assert set(taken(slow, relay).values()) == {1}
    assert {one for one, state in states.items() if state == "accepted"} <= set(taken(relay))

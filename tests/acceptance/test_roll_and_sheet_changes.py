"""Changing one event of the roll and one row of the sheet changes the letters and the report."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailer.demo.stage import HERE
from tests.support import office
from tests.support.rig import Home, Relay, relay_process

REFERENCE = "TEST/2006/001"
#: Norway's entry into force, moved to 2010.
EVENTS = """iso3,event,date,instrument,source,basis,confidence,note
NOR,in-force,2010-01-01,,a test,,,
"""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A relay that takes all."""
    with relay_process(tmp_path_factory.mktemp("relay"), "relay") as running:
        yield running


def _sent(folder: Path, relay: Relay, sheet: Path, *, events: str = "") -> dict[str, Any]:
    """The report of the demonstration's letter of 2006, sent from a new home to the organizations of *sheet*."""
    home = Home(folder)
    home.run("init", str(folder))
    (folder / "chancery.toml").write_text(office.SETTINGS, encoding="utf-8")
    home.use(relay)
    if events:
        (folder / "roll-events.csv").write_text(events, encoding="utf-8")
    home.run("contacts", "import", str(sheet))
    home.run("contacts", "export", str(folder / "exported.csv"))
    draft = folder / "circulars" / "letter"
    shutil.copytree(HERE / "circulars" / "letter-2006", draft)
    home.run("circular", "new", str(draft), by="anna")
    waive = ("--waive", "state-without-addressee", "--why", "no mission is known")
    home.run("circular", "approve", REFERENCE, *waive, by="bert")
    letters = len(home.report(REFERENCE)["letters"])
    home.run("circular", "send", REFERENCE, "--expect", str(letters))
    return home.report(REFERENCE)


def _to(report: dict[str, Any], iso3: str) -> list[str]:
    """The addresses of a State's letters."""
    found = [letter for letter in report["letters"] if letter["state_iso3"] == iso3]
    return [one["address"] for letter in found for one in letter["recipients"]]


def test_one_event_and_one_row_change_letters_and_report(tmp_path: Path, relay: Relay) -> None:
    """A State whose treaty enters into force later gets no letter; a corrected mailbox gets it in place of the old one."""
    before = _sent(tmp_path / "before", relay, HERE / "data" / "contacts.xlsx")
    seen = len(relay.letters())
    rows = (tmp_path / "before" / "exported.csv").read_text(encoding="utf-8-sig")
    changed = tmp_path / "changed.csv"
    changed.write_text(rows.replace("mission.bra@", "new.bra@"), encoding="utf-8")
    after = _sent(tmp_path / "after", relay, changed, events=EVENTS)
    assert before["counts"]["accepted"] == 170
    assert after["counts"]["accepted"] == 169
    assert _to(before, "NOR")
    assert _to(after, "NOR") == []
    assert "mission.bra@geneva.missions.example" in _to(before, "BRA")
    assert "new.bra@geneva.missions.example" in _to(after, "BRA")
    assert "mission.bra@geneva.missions.example" not in _to(after, "BRA")
    assert before["not_addressed"] == after["not_addressed"]
    written = {address for letter in relay.letters()[seen:] for address, _ in letter["rcpts"]}
    assert "new.bra@geneva.missions.example" in written
    assert not written & {"mission.bra@geneva.missions.example", *_to(before, "NOR")}


def test_an_event_that_can_not_be_is_named_with_its_line(tmp_path: Path) -> None:
    """A wrong State and a wrong date in the home's events are one line each, with file and line, and nothing is counted."""
    home = Home(tmp_path / "home")
    home.run("init", str(home.folder))
    (home.folder / "roll-events.csv").write_text(EVENTS + "XXX,in-force,2010-01-01,,,,,\nNOR,in-force,soon,,,,,\n")
    done = home.run("roll", "count", "--as-of", "2006-07-07", expect=2)
    assert "roll-events.csv" in done.stderr
    assert "line 3" in done.stderr
    assert "Traceback" not in done.stderr

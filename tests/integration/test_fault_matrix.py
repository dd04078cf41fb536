"""The fault matrix of `tests/support/fault_rows.py`, each row through the real sender against the rehearsal server."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_rows import CONTENT, ENVELOPE, ROWS, Row
from tests.support.stage import MAILBOXES, Stage, open_stage, prepare
from tests.support.troubles import TROUBLES, faults_of

ALL = [address.partition("@")[0] for letter in MAILBOXES for address in letter]
#: Phases in which it matters whether the next letter's envelope is on the wire already.
_LATE = {"mail", "rcpt", "data", "content", "dot", "reply", "rset"}


def _late(row: Row) -> bool:
    return any(fault["at"] in _LATE for fault in row.get("faults", ()))


def _runs() -> list[Any]:
    made: list[Any] = []
    for row in ROWS:
        for pipelining in (True, False) if row.get("both", _late(row)) else (True,):
            name = f"{row['what']}, {'pipelined' if pipelining else 'step by step'}"
            made.append(pytest.param(row, pipelining, id=name))
    return made


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home with its approved circular."""
    folder = tmp_path_factory.mktemp("matrix") / "home"
    asyncio.run(prepare(folder))
    return folder


def test_the_matrix_is_wide() -> None:
    """There are at least sixty faults, no two of one name."""
    assert len({row["what"] for row in ROWS}) == len(ROWS) >= 60
    assert len(ENVELOPE) + len(CONTENT) >= 40


@pytest.mark.parametrize(("row", "pipelining"), _runs())
async def test_a_fault_is_told_as_it_was(row: Row, pipelining: bool, prepared: Path, tmp_path: Path) -> None:
    """Through this fault nothing is lost and nothing sent twice, and states, tries and the report's words are right."""
    name = row.get("trouble")
    played = {**row, "faults": [*row.get("faults", ()), *faults_of(name or "")]}
    lanes = (
        1 if pipelining and _late(row) else 2
    )  # on one connection, the next envelope is on the wire when the fault comes
    async with open_stage(prepared, tmp_path / "home", played, pipelining=pipelining, connections=lanes) as stage:
        await (TROUBLES[name](stage) if name else stage.first())
        end = {**dict.fromkeys(ALL, "accepted"), **row.get("end", {})}
        if row.get("held"):
            assert row["held"] in (await stage.held() or "")
            assert row["held"] in await stage.report()
            await stage.mended()
        elif name is None:
            assert await stage.held() is None
            kept_back = {one: state for one, state in (await stage.states()).items() if state == "queued"}
            await _look(stage, {**end, **kept_back, **row.get("soon", {})}, row.get("says", ()))
        await stage.to_the_end()
        await _look(stage, end, row.get("ends", ()))
        assert await stage.held() is None
        tries = await stage.tries()
        assert {one: tries[one] for one in row.get("tries", {})} == row.get("tries", {})
        due = {one: int(state == "accepted") for one, state in end.items()} | row.get("copies", {})
        copies = stage.copies()
        assert {one: copies[one] for one in ALL} == due
        assert await stage.faults_of_the_register() == []
        assert not list((stage.app.home / "journal").glob("*"))
        for number, _ in enumerate(row.get("faults", ())):
            assert stage.server.faults.played(number), "a fault of this row was never met"


async def _look(stage: Stage, states: dict[str, str], words: list[str]) -> None:
    assert await stage.states() == states
    report = await stage.report()
    assert [each for each in words if each not in report] == [], report

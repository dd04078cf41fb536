"""Four people at once, each in a program of their own, on either database: one wins, the others are told, and nothing is lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from lists import contacts, organizations
from lists.contacts import Mail
from lists.kinds import OrganizationKind
from lists.organizations import Particulars
from mailer.app import App
from mailer.circulars import service as circulars
from mailer.circulars.models import Circular, Letter
from mailer.circulars.states import CircularState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.proof import chain_disagreements, chain_lines, chains
from mailer.errors import ChanceryError, DatabaseError
from mailer.register.models import Link
from mailer.register.verify import verify
from mailer.replies import service as replies
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import SETTINGS, addresses, office, running, states
from tests.support.office import CIRCULAR, TEXT
from tests.support.relays import reached

PEOPLE = ("anna", "bert", "cleo", "dora")


@pytest.fixture
async def four(database: Database) -> AsyncIterator[list[Database]]:
    """Four programs' connections to one database."""
    others = [Database(database.writer.url) for _ in range(3)]
    yield [database, *others]
    await asyncio.gather(*(one.close() for one in others))


async def _at_once(calls: Sequence[Awaitable[Any]]) -> tuple[list[Any], list[str]]:
    """What came of all of them: results, and what the others were told in a line each; any other error is ours."""
    results: list[Any] = []
    lines: list[str] = []
    for one in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(one, BaseException):
            assert isinstance(one, ChanceryError), one
            assert not isinstance(one, DatabaseError), one
            assert "\n" not in str(one)
            lines.append(str(one))
        else:
            results.append(one)
    return results, lines


async def _actions(database: Database, circular: int) -> list[str]:
    """What the circular's chain tells, in order; the whole register fits."""
    async with database.read() as session:
        found = await verify(session, lines=chain_lines, disagreements=chain_disagreements, chains=chains)
        assert not found.faults
        links = select(Link.action).where(Link.chain == f"circular/{circular}").order_by(Link.seq)
        return list(await session.scalars(links))


async def test_four_people_approve_one_draft(four: list[Database], clock: ManualClock, tmp_path: Path) -> None:
    """One has approved it; the others are told who, or have helped to finish it; there is one set of letters, and one entry in the register."""
    app = App(home=tmp_path, settings=SETTINGS, database=four[0], clock=clock, by="anna")
    async with four[0].write() as session:
        for number in range(12):
            particulars = Particulars(name=f"Organization {number:03}", kind=OrganizationKind.NGO, languages=("en",))
            row, _ = await organizations.add(session, particulars)
            await contacts.add(session, row.id, Mail(f"office{number}@org.example"))
    folder = tmp_path / "meeting"
    folder.mkdir()
    (folder / "circular.toml").write_text(CIRCULAR, encoding="utf-8")
    (folder / "letter.en.md").write_text(TEXT, encoding="utf-8")
    drafted = (await circulars.new(app.desk, folder, by="anna")).id
    desks = [replace(app, database=one).desk for one in four]
    done, told = await _at_once(
        [circulars.approve(desk, drafted, by=by) for desk, by in zip(desks, PEOPLE, strict=True)]
    )
    assert (
        done
    )  # who comes between the first transaction and the last can't tell a quick colleague from one who was killed
    async with four[1].read() as session:
        who = (await session.get_one(Circular, drafted)).approved_by
        letters = await session.scalar(select(func.count()).select_from(Letter))
    assert who in PEOPLE
    assert {line.partition(": ")[2].partition(".")[0] for line in told} <= {
        "it is approved already", f"{who} approves it just now",
    }  # fmt: skip
    assert {(letters, one.letters, one.circular.approved_by) for one in done} == {(12, 12, who)}
    assert (await _actions(four[2], drafted)).count("circular-approved") == 1


async def test_four_people_record_answers_of_one_organization(
    four: list[Database], clock: ManualClock, tmp_path: Path
) -> None:
    """Every answer is kept, with who recorded it; the one that was stored last counts, wherever one looks."""
    _, circular = await office(four[0], clock, tmp_path, addresses(2))

    async def record(database: Database, by: str) -> None:
        for number in range(3):
            await replies.record(database, clock, circular, "Organization 001", f"{by} {number}", by=by)

    await asyncio.gather(*(record(one, by) for one, by in zip(four, PEOPLE, strict=True)))
    async with four[3].read() as session:
        line = (await anext(replies.lines(session, circular)))[0]
        told = [
            link.subject["answer"]
            for link in await session.scalars(
                select(Link)
                .where(Link.chain == f"circular/{circular}", Link.action == "reply-recorded")
                .order_by(Link.seq)
            )
        ]
    assert line.answers == 12
    assert sorted(told) == sorted(f"{by} {number}" for by in PEOPLE for number in range(3))
    assert line.answer == told[-1]
    assert (await _actions(four[0], circular)).count("reply-recorded") == 12


async def test_four_people_send_pause_resume_and_cancel(
    four: list[Database], clock: ManualClock, tmp_path: Path
) -> None:
    """Four people start, pause, resume and at last cancel it in mid-send: its register says what it is, no letter is lost or goes twice."""
    app, circular = await office(four[0], clock, tmp_path, addresses(40))

    async def slowly(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
        if phase is Phase.MAIL:
            await asyncio.sleep(0.01)

    relay = MemoryTransport(slowly, lanes=4)
    verbs = [replace(app, database=one).delivery for one in four]

    async def press(way: int, by: str) -> tuple[list[Any], list[str]]:
        does: list[Callable[[], Awaitable[Any]]] = [
            lambda: verbs[way].start(circular, by=by),
            lambda: verbs[way].pause(circular, by=by),
            lambda: verbs[way].resume(circular, by=by),
        ]
        found: tuple[list[Any], list[str]] = ([], [])
        for turn in range(4):
            results, lines = await _at_once([does[(way + turn) % 3]()])
            found[0].extend(results)
            found[1].extend(lines)
        return found

    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        working = asyncio.create_task(made.work(until=lambda _due: False))
        presses = await asyncio.gather(*(press(way, by) for way, by in enumerate(PEOPLE)))
        await _at_once([verbs[0].resume(circular, by="anna")])
        cancels, told = await _at_once([one.cancel(circular, by=by) for one, by in zip(verbs, PEOPLE, strict=True)])
        made.stop()
        await asyncio.wait_for(working, 60)
    assert [len(results) + len(lines) for results, lines in presses] == [4] * 4
    assert any(results for results, _ in presses)
    actions = await _actions(four[1], circular)
    found = Counter((await states(four[2], circular)).values())
    assert set(found) <= {"accepted", "cancelled"}
    assert found["accepted"] == reached(relay).total()
    assert max(reached(relay).values(), default=1) == 1
    async with four[3].read() as session:
        state = (await session.get_one(Circular, circular)).state
    if found["cancelled"]:
        assert (len(cancels), len(told), state) == (1, 3, CircularState.CANCELLED)
        assert actions.count("circular-cancelled") == 1
    _alternate(actions)


def _alternate(actions: Sequence[str]) -> None:
    """Pauses and what ends them take turns."""
    moves = [one for one in actions if one in {"circular-paused", "circular-resumed"}]
    assert moves == ["circular-paused", "circular-resumed"] * (len(moves) // 2) + ["circular-paused"] * (len(moves) % 2)

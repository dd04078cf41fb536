"""Approval: what it freezes, what stops it, and that a kill at any moment loses nothing."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from lists import contacts, organizations
from lists.kinds import OrganizationKind
from lists.models import Contact, Organization
from mailer.circulars import approval, rows, service
from mailer.circulars.checks import Checked
from mailer.circulars.models import Circular, Letter, PlanBatch, Recipient, Waiver
from mailer.circulars.planning import Planned
from mailer.circulars.states import CircularState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.errors import BadInput, NotAllowedNow, NotFound, NotPermitted
from mailer.register.models import Link
from tests.support.drafting_desk import SETTINGS, Folder, add, desk_for, planned, seed


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that is right."""
    made = Folder(tmp_path / "circular")
    made.write()
    return made


async def digests(database: Database, clock: ManualClock, folder: Folder) -> tuple[str, str]:
    """Both digests of the folder approved now; the approval is voided again."""
    desk = desk_for(database, clock)
    async with database.read() as session:
        known = (await session.scalars(select(Circular.id))).first()
    if known is None:
        known = (await service.new(desk, folder.path, by="ann")).id
    else:
        await service.update_from_folder(desk, known, by="ann")
    done = await service.approve(desk, known, by="ben")
    assert done.stopped == (), [one.line for one in done.stopped]
    async with database.write() as session:
        circular = await service.find(session, known)
        found = circular.text_digest, circular.mailbox_digest
        await rows.drop(session, known)
        circular.state = CircularState.DRAFT
    assert found[0]
    assert found[1]
    return found[0], found[1]


async def test_digests_change_with_what_they_cover(database: Database, clock: ManualClock, folder: Folder):
    """Text, enclosure, value or organization's name change the text's digest; a mailbox or its name only the mailboxes'."""
    ids = await seed(database)
    first = await digests(database, clock, folder)
    assert await digests(database, clock, folder) == first
    folder.texts["letter.en.md"] = folder.texts["letter.en.md"].replace("enclosed", "annexed")
    folder.write()
    text = await digests(database, clock, folder)
    assert text[0] != first[0]
    assert text[1] == first[1]
    folder.files["report.pdf"] = folder.files["report.pdf"][:-1] + b"X"
    folder.write()
    enclosure = await digests(database, clock, folder)
    assert enclosure[0] != text[0]
    async with database.write() as session:
        box = (await session.scalars(select(Contact).where(Contact.organization_id == ids["NOR"]))).one()
        await contacts.correct(session, box.id, "new@norway.example")
    mailbox = await digests(database, clock, folder)
    assert mailbox[0] == enclosure[0]
    assert mailbox[1] != enclosure[1]
    async with database.write() as session:
        await session.execute(update(Contact).where(Contact.id == box.id).values(name="Another Registry"))
    named = await digests(database, clock, folder)
    assert named[0] == mailbox[0]
    assert named[1] != mailbox[1]
    async with database.write() as session:
        row = await session.get_one(Organization, ids["NOR"])
        changed = organizations.particulars(row)
        await organizations.change(
            session,
            row.id,
            type(changed)(**{**{f: getattr(changed, f) for f in changed.__slots__}, "name": "Mission of Norway"}),
        )
    assert (await digests(database, clock, folder))[0] != named[0]


async def test_second_person_is_asked_for(database: Database, clock: ManualClock, folder: Folder):
    """Where the settings want two people, who drafted does not approve, however the name is written."""
    await seed(database)
    settings = SETTINGS.model_copy(update={"approval": SETTINGS.approval.model_copy(update={"two_people": True})})
    desk = desk_for(database, clock, settings)
    drafted = await service.new(desk, folder.path, by="Ann")
    with pytest.raises(NotPermitted, match="somebody else"):
        await service.approve(desk, drafted.id, by="ann ")
    assert (await service.approve(desk, drafted.id, by="ben")).letters == 4


async def test_state_without_addressee_stops_until_waived(database: Database, clock: ManualClock, folder: Folder):
    """A State that nobody is addressed for stops approval, and is waived with a reason, for this text only."""
    await seed(database)
    desk = desk_for(database, clock)
    folder.replace('cc = ["PER"]', 'cc = ["PER", "JPN", "TUR"]')
    drafted = await service.new(desk, folder.path, by="ann")
    stopped = await service.approve(desk, drafted.id, by="ben")
    assert {one.name for one in stopped.stopped} == {"state-without-addressee:JPN", "state-without-addressee:TUR"}
    with pytest.raises(BadInput, match="a reason is needed"):
        await service.approve(desk, drafted.id, by="ben", waive=["state-without-addressee"])
    with pytest.raises(NotFound, match="Did you mean state-without-addressee:JPN"):
        await service.approve(desk, drafted.id, by="ben", waive=["state-without-addressee:JP"], why="x")
    half = await service.approve(desk, drafted.id, by="ben", waive=["state-without-addressee:JPN"], why="no mission")
    assert [one.subject for one in half.stopped] == ["TUR"]
    async with database.read() as session:
        assert (await service.find(session, drafted.id)).state is CircularState.DRAFT
        assert await session.scalar(select(func.count()).select_from(Waiver)) == 0
    done = await service.approve(desk, drafted.id, by="ben", waive=["state-without-addressee"], why="no mission")
    assert [one["state_iso3"] for one in done.not_addressed] == ["JPN", "TUR"]
    async with database.read() as session:
        waived = list(await session.scalars(select(Link.subject).where(Link.action == "finding-waived")))
    assert {one["why"] for one in waived} == {"no mission"}
    folder.replace("Salle A", "Salle B")
    async with database.write() as session:  # as a draft again, to look at what the waivers still cover
        circular = await service.find(session, drafted.id)
        await rows.drop(session, drafted.id)
        circular.state = CircularState.DRAFT
    async with database.read() as session:
        assert (await service.check(session, circular, desk)).stopping == []
    voided = (await service.update_from_folder(desk, drafted.id, by="ann")).voided
    assert "the waiver of state-without-addressee:JPN" in voided
    assert len((await service.approve(desk, drafted.id, by="ben")).stopped) == 2


async def test_errors_cannot_be_waived(database: Database, clock: ManualClock, folder: Folder):
    """An unknown sender stops whatever is waived."""
    await seed(database)
    desk = desk_for(database, clock)
    folder.replace('sender = "secretariat"', 'sender = "secretary"')
    drafted = await service.new(desk, folder.path, by="ann")
    with pytest.raises(BadInput, match="can't be waived"):
        await service.approve(desk, drafted.id, by="ben", waive=["sender-unknown"], why="please")
    assert [one.code for one in (await service.approve(desk, drafted.id, by="ben")).stopped] == ["sender-unknown"]


async def _many(database: Database, count: int) -> None:
    async with database.write() as session:
        first = (await session.scalar(select(func.max(Organization.id))) or 0) + 1
        numbers = range(first, first + count)
        kind = OrganizationKind.NGO
        session.add_all(
            Organization(id=no, match_key=f"||ngo|o {no:05}", name=f"O {no:05}", kind=kind, languages=["en"])
            for no in numbers
        )
        await session.flush()
        session.add_all(Contact(organization_id=no, address=f"office{no}@many.example", role="to") for no in numbers)


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
async def test_killed_approval_goes_on(database: Database, clock: ManualClock, folder: Folder, batches: int):
    """Whether it died before, between or after its batches, `approve` again writes exactly what is lacking."""
    await seed(database)
    await _many(database, 1100)
    desk = desk_for(database, clock)
    drafted = await service.new(desk, folder.path, by="ann")
    assert await approval._begin(desk, *await approval.look(desk, drafted.id), {}, "ben")
    for _ in range(batches):
        await rows.write_next(database, drafted.id)
    async with database.read() as session:
        before = list(await session.scalars(select(Letter.token)))
        assert (await service.find(session, drafted.id)).state is CircularState.FREEZING
    done = await service.approve(desk, drafted.id, by="cora")
    assert done.letters == 1104
    async with database.read() as session:
        circular = await service.find(session, drafted.id)
        after = list(await session.scalars(select(Letter.token)))
        assert (circular.state, circular.approved_by) == (CircularState.APPROVED, "ben")
        assert await session.scalar(select(func.count()).select_from(PlanBatch)) == 0
        assert await session.scalar(select(func.count()).select_from(Recipient)) == 1105
        positions = list(await session.scalars(select(Letter.position).order_by(Letter.position)))
    assert set(before) <= set(after)
    assert positions == list(range(1, 1105))
    with pytest.raises(NotAllowedNow, match="approved already"):
        await service.approve(desk, drafted.id, by="cora")


async def test_a_large_plan_is_stored_while_it_is_checked(
    database: Database, clock: ManualClock, folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    """Batches that are stored before the check ends come to the same digests; stopped, nothing stays; a killed check's count for nothing."""
    await seed(database)
    await _many(database, 1000)
    whole = await digests(database, clock, folder)
    desk = desk_for(database, clock)
    async with database.read() as session:
        known = (await session.scalars(select(Circular.id))).one()
    monkeypatch.setattr(rows, "TOGETHER", 1)
    _, _, killed = await approval.look(desk, known)  # as if it had died before its first transaction
    assert await _plans(database) == 2
    circular, checked, plan = await approval.look(desk, known)
    assert (plan.digests.text, plan.digests.mailboxes) == whole
    assert await approval._begin(desk, circular, checked, plan, {}, "ben")
    assert await _plans(database) == 3
    with pytest.raises(NotAllowedNow, match="ben approves it just now"):
        await killed.take(await _letters(database, checked))
    assert (await service.approve(desk, known, by="ben")).letters == 1004
    assert await _plans(database) == 0


async def test_a_large_plan_that_is_stopped_leaves_nothing(
    database: Database, clock: ManualClock, folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    """Where a finding stops an approval that has stored a part of its plan, the part is taken away."""
    await seed(database)
    await _many(database, 500)
    monkeypatch.setattr(rows, "TOGETHER", 1)
    desk = desk_for(database, clock)
    folder.replace('cc = ["PER"]', 'cc = ["PER", "JPN"]')
    drafted = await service.new(desk, folder.path, by="ann")
    assert len((await service.approve(desk, drafted.id, by="ben")).stopped) == 1
    assert await _plans(database) == 0
    with pytest.raises(NotFound):
        await service.approve(desk, drafted.id, by="ben", waive=["no-such-finding"], why="x")
    assert await _plans(database) == 0


async def _plans(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(PlanBatch)) or 0


async def _letters(database: Database, checked: Checked) -> list[Planned]:
    async with database.read() as session:
        return await planned(session, checked.prepared)


async def test_lists_that_change_during_approval_start_it_anew(database: Database, clock: ManualClock, folder: Folder):
    """An organization added while letters are written gets its letter: the rows are dropped and written again."""
    await seed(database)
    desk = desk_for(database, clock)
    drafted = await service.new(desk, folder.path, by="ann")
    assert await approval._begin(desk, *await approval.look(desk, drafted.id), {}, "ben")
    await rows.write_next(database, drafted.id)
    await add(database, "Latecomers", OrganizationKind.NGO, "office@late.example")
    done = await service.approve(desk, drafted.id, by="ben")
    assert done.letters == 5
    async with database.read() as session:
        names = list(await session.scalars(select(Letter.organization).order_by(Letter.position)))
    assert names.count("Latecomers") == 1


async def test_rows_that_were_tampered_with_are_not_approved(database: Database, clock: ManualClock, folder: Folder):
    """A row changed between writing and the last transaction is noticed, and nothing stays approved."""
    await seed(database)
    desk = desk_for(database, clock)
    drafted = await service.new(desk, folder.path, by="ann")
    assert await approval._begin(desk, *await approval.look(desk, drafted.id), {}, "ben")
    await rows.write_next(database, drafted.id)
    async with database.write() as session:
        await session.execute(update(Recipient).where(Recipient.id == 1).values(address="other@evil.example"))
    with pytest.raises(Exception, match="not those that were checked"):
        await service.approve(desk, drafted.id, by="ben")
    async with database.read() as session:
        assert (await service.find(session, drafted.id)).state is CircularState.DRAFT
        assert await session.scalar(select(func.count()).select_from(Letter)) == 0


async def test_register_tells_the_road(database: Database, clock: ManualClock, folder: Folder):
    """Draft and approval stand in the circular's chain, with digests and counts."""
    await seed(database)
    desk = desk_for(database, clock)
    drafted = await service.new(desk, folder.path, by="ann")
    await service.approve(desk, drafted.id, by="ben")
    async with database.read() as session:
        links = list(await session.scalars(select(Link).order_by(Link.seq)))
        circular = await service.find(session, drafted.id)
    assert [(link.chain, link.action, link.by) for link in links] == [
        (f"circular/{drafted.id}", "circular-drafted", "ann"),
        (f"circular/{drafted.id}", "circular-approved", "ben"),
    ]
    assert links[1].subject["text_digest"] == circular.text_digest
    assert (links[1].subject["letters"], links[1].subject["recipients"]) == (4, 5)


async def test_digests_look_at_each_row_once(sqlite_database: Database, clock: ManualClock, folder: Folder):
    """Letters and recipients of a batch are found by an index: what reading a batch back costs does not grow with the list."""
    await seed(sqlite_database)
    desk = desk_for(sqlite_database, clock)
    number = (await service.new(desk, folder.path, by="ann")).id
    assert (await service.approve(desk, number, by="ben")).stopped == ()
    asked: list[tuple[str, Any]] = []
    async with sqlite_database.read() as session:
        connection = await session.connection()
        made = connection.sync_connection
        event.listen(made, "before_cursor_execute", lambda *said: asked.append((said[2], said[3])))
        await rows.digests_of_rows(session, number, "")
        read = [one for one in asked if "FROM letter" in one[0] or "FROM recipient" in one[0]]
        assert len(read) > 2
        for statement, parameters in read:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            assert not [row[3] for row in plan if row[3].startswith("SCAN")], statement

"""Drafts: made from folders, read again, given up, started from earlier ones."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from mailer.circulars import reading, service
from mailer.circulars.models import Blob, Circular, Letter, Snapshot
from mailer.circulars.states import CircularState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.errors import CircularError, NotAllowedNow, NotFound, SettingsError
from mailer.register.models import Link
from tests.support.drafting_desk import SETTINGS, Folder, desk_for, seed


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that is right."""
    made = Folder(tmp_path / "circular")
    made.write()
    return made


async def actions(database: Database) -> list[str]:
    """What the register says, in order."""
    async with database.read() as session:
        return list(await session.scalars(select(Link.action).order_by(Link.chain, Link.seq)))


async def test_bad_folder_leaves_nothing_behind(database: Database, clock: ManualClock, folder: Folder):
    """A folder with a mistake makes no draft, takes no number and stores no file."""
    desk = desk_for(database, clock)
    folder.replace("only = ", "olny = ")
    with pytest.raises(CircularError):
        await service.new(desk, folder.path, by="ann")
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Circular)) == 0
        assert await session.scalar(select(func.count()).select_from(Blob)) == 0
    folder.replace("olny = ", "only = ")
    assert (await service.new(desk, folder.path, by="ann")).reference == "AUS/2006/001"


async def test_bad_pattern_of_references_makes_no_draft(database: Database, clock: ManualClock, folder: Folder):
    """Settings whose pattern gives bare numbers are told before anything is stored."""
    settings = SETTINGS.model_copy(update={"approval": SETTINGS.approval.model_copy(update={"reference": "{number}"})})
    with pytest.raises(SettingsError, match=r"approval\.reference"):
        await service.new(desk_for(database, clock, settings), folder.path, by="ann")
    assert await actions(database) == []


async def test_folder_is_a_draft_once(database: Database, clock: ManualClock, folder: Folder):
    """`new` on a folder that is a draft already names it instead of making a second circular."""
    desk = desk_for(database, clock)
    await service.new(desk, folder.path, by="ann")
    with pytest.raises(CircularError, match="AUS/2006/001 already"):
        await service.new(desk, folder.path, by="ann")


async def test_cancelled_reference_is_not_given_again(database: Database, clock: ManualClock, folder: Folder):
    """Cancelling a draft voids its reference; the next circular gets the next number, and a new year begins anew."""
    desk = desk_for(database, clock)
    first = await service.new(desk, folder.path, by="ann")
    await service.cancel_before_sending(database, clock, first.id, by="ann", why="not needed")
    with pytest.raises(NotAllowedNow):
        await service.cancel_before_sending(database, clock, first.id, by="ann")
    assert (await service.new(desk, folder.path, by="ann")).reference == "AUS/2006/002"
    other = Folder(folder.path.parent / "other")
    other.replace("date = 2006-07-07", "date = 2007-01-10")
    assert (await service.new(desk, other.path, by="ann")).reference == "AUS/2007/001"
    assert await actions(database) == ["circular-drafted", "circular-cancelled", "circular-drafted", "circular-drafted"]


async def test_update_tells_what_changed_and_voids_the_approval(database: Database, clock: ManualClock, folder: Folder):
    """Reading a changed folder of an approved circular makes it a draft again, without rows; an unchanged one does nothing."""
    await seed(database)
    desk = desk_for(database, clock)
    drafted = await service.new(desk, folder.path, by="ann")
    assert (await service.approve(desk, drafted.id, by="ben")).stopped == ()
    same = await service.update_from_folder(desk, "AUS/2006/001", by="ann")
    assert (list(same.changes), list(same.voided)) == ([], [])
    assert same.circular.state is CircularState.APPROVED
    folder.replace("Salle A", "Salle B")
    done = await service.update_from_folder(desk, drafted.id, by="cora")
    assert [key for key, _, _ in done.changes] == ["event.location.en", "event.location.fr"]
    assert done.voided == ["the approval of ben; it is a draft again"]
    async with database.read() as session:
        circular = await service.find(session, drafted.id)
        assert circular.state is CircularState.DRAFT
        assert circular.text_digest is None
        assert circular.drafted_by == "cora"
        for table in (Letter, Snapshot):
            assert await session.scalar(select(func.count()).select_from(table)) == 0
    assert (await service.approve(desk, drafted.id, by="ben")).letters == 4


async def test_update_is_refused_once_letters_leave(database: Database, clock: ManualClock, folder: Folder):
    """The text of a circular that is being sent can't change."""
    desk = desk_for(database, clock)
    drafted = await service.new(desk, folder.path, by="ann")
    async with database.write() as session:
        (await service.find(session, drafted.id)).state = CircularState.SENDING
    folder.replace("Salle A", "Salle B")
    with pytest.raises(NotAllowedNow, match="can't change"):
        await service.update_from_folder(desk, drafted.id, by="ann")


async def test_unknown_circular_is_told_with_near_ones(database: Database, clock: ManualClock, folder: Folder):
    """A reference with a slip names the one that was meant."""
    await service.new(desk_for(database, clock), folder.path, by="ann")
    async with database.read() as session:
        with pytest.raises(NotFound, match="Did you mean AUS/2006/001"):
            await service.find(session, "AUS/2006/01")
        with pytest.raises(NotFound):
            await service.find(session, "77")


async def test_started_folder_can_be_read_and_tells_what_is_open(
    database: Database, clock: ManualClock, tmp_path: Path
):
    """A folder as `start` makes it is read without change for every template; what is to be filled in is a finding, not an error."""
    desk = desk_for(database, clock)
    for template in ("letter", "memo"):
        folder = tmp_path / template
        made = service.start_folder(folder, template, folders=desk.templates, settings=desk.settings, today=desk.today)
        assert sorted(path.name for path in made) == ["circular.toml", "letter.en.md", "letter.fr.md"]
        drafted = await service.new(desk, folder, by="ann")
        assert drafted.sender == "secretariat"
        async with database.read() as session:
            checked = await service.check(session, await service.find(session, drafted.id), desk)
        assert "subject.en" in {one.subject for one in checked.findings if one.code == "text-missing"}
    with pytest.raises(CircularError, match="a circular already"):
        service.start_folder(folder, "memo", folders=desk.templates, settings=desk.settings, today=desk.today)


async def test_earlier_circular_is_copied(database: Database, clock: ManualClock, folder: Folder, tmp_path: Path):
    """`start --from` gives a folder that says the same, with texts and enclosures, dated today."""
    desk = desk_for(database, clock)
    await service.new(desk, folder.path, by="ann")
    made = await service.start_from(desk, tmp_path / "copy", "AUS/2006/001")
    assert "agenda-fr.pdf" in {path.name for path in made}
    assert reading.read(tmp_path / "copy") == reading.read(folder.path)

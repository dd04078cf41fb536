"""Reminders and circulars that follow: threads, that day's mailboxes, made once."""

import datetime as dt
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from lists import contacts
from lists.models import Contact
from mailer.circulars import rows, service
from mailer.circulars.compose import LetterRow, rendered
from mailer.circulars.loading import load_frozen
from mailer.circulars.models import Circular, Letter, Recipient, Snapshot
from mailer.circulars.states import CircularState, RecipientState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.errors import NotAllowedNow, NotFound
from tests.support.drafting_desk import Folder, desk_for, planned, seed


@pytest.fixture
async def sent(database: Database, clock: ManualClock, tmp_path: Path) -> int:
    """A circular of which every letter was handed over."""
    folder = Folder(tmp_path / "circular")
    desk = desk_for(database, clock)
    await seed(database)
    drafted = await service.new(desk, folder.write(), by="ann")
    assert (await service.approve(desk, drafted.id, by="ben")).stopped == ()
    async with database.write() as session:
        (await service.find(session, drafted.id)).state = CircularState.SENT
        await session.execute(update(Recipient).values(state=RecipientState.ACCEPTED))
    return drafted.id


async def test_reminder_is_a_circular_of_its_own(database: Database, clock: ManualClock, sent: int):
    """It has its circular's text of reminder, that day's mailboxes, its own reference, and stands in the thread."""
    async with database.read() as session:
        letters = {letter.organization: letter for letter in await session.scalars(select(Letter))}
        box = (await session.scalars(select(Contact).where(Contact.address == "mission@france.example"))).one()
    france, norway = letters["Mission permanente de la France"], letters["Permanent Mission of Norway"]
    async with database.write() as session:
        await contacts.correct(session, box.id, "nouvelle@france.example")
    clock.advance(dt.timedelta(days=4))
    chosen = [france.organization_id, norway.organization_id]
    made = await service.freeze_reminder(database, clock, sent, 1, chosen, by="ticker")
    async with database.read() as session:
        reminder = await service.find(session, "AUS/2006/001/R1")
        written = list(
            await session.scalars(select(Letter).where(Letter.circular_id == made).order_by(Letter.position))
        )
        boxes = list(await session.scalars(select(Recipient.address).where(Recipient.circular_id == made)))
        frozen = await load_frozen(session, made)
    assert (reminder.id, reminder.state, reminder.parent_id, reminder.ordinal) == (
        made,
        CircularState.APPROVED,
        sent,
        1,
    )
    assert [letter.organization_id for letter in written] == [norway.organization_id, france.organization_id]
    assert boxes == ["mission@norway.example", "nouvelle@france.example", "deputy@france.example"]
    assert written[1].fields["thread"] == f"<{france.token}@secretariat.example>"
    row = LetterRow(0, written[1].token, written[1].form, "fr", written[1].fields, clock.now(), (("", boxes[1]),))
    text = " ".join(rendered(frozen, row).text.split())
    assert "Nous attendons la réponse de Mission permanente de la France (France) avant le 14 juillet 2006." in text
    assert frozen.document["enclosures"]["fr"]["files"] == []


async def test_reminder_is_made_once(database: Database, clock: ManualClock, sent: int):
    """Asked for again, or after a kill between its batches, the same reminder is finished and no second one made."""
    async with database.read() as session:
        everybody = list(await session.scalars(select(Letter.organization_id)))
    made = await service.freeze_reminder(database, clock, sent, 1, everybody, by="ticker")
    assert await service.freeze_reminder(database, clock, sent, 1, everybody[:1], by="ticker") == made
    async with database.write() as session:  # as if it had died before its only batch
        planned = [letter async for letter in _planned(session, made)]
        document = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == made))
        await rows.drop(session, made)
        (await service.find(session, made)).state = CircularState.FREEZING
        await rows.store_plan(
            session, made, document=document or {}, planned=planned, not_addressed=[], mailboxes_of=dt.date(2006, 7, 7)
        )
    assert await service.freeze_reminder(database, clock, sent, 1, [], by="ticker") == made
    async with database.read() as session:
        assert await session.scalar(select(func.count()).where(Letter.circular_id == made)) == 4
        assert await session.scalar(select(func.count()).select_from(Circular)) == 2
        assert (await service.find(session, made)).state is CircularState.APPROVED


async def _planned(session, circular_id):
    """The letters of a circular as they were planned."""
    from lists.audiences import Mailbox
    from mailer.circulars.planning import Planned

    letters = await session.scalars(select(Letter).where(Letter.circular_id == circular_id).order_by(Letter.position))
    for letter in letters:
        boxes = await session.scalars(select(Recipient).where(Recipient.letter_id == letter.id).order_by(Recipient.id))
        yield Planned(
            letter.organization_id,
            letter.organization,
            letter.state_iso3,
            letter.audience,
            letter.role,
            letter.form,
            letter.language,
            letter.why,
            letter.fields,
            tuple(Mailbox(box.contact_id or 0, box.address, box.name, box.role) for box in boxes),
        )


async def test_reminder_that_is_not_there_is_refused(database: Database, clock: ManualClock, sent: int):
    """There is no second reminder, and none of a circular that is not sent."""
    with pytest.raises(NotFound, match="no reminder 2"):
        await service.freeze_reminder(database, clock, sent, 2, [1], by="ticker")
    async with database.write() as session:
        (await service.find(session, sent)).state = CircularState.APPROVED
    with pytest.raises(NotAllowedNow):
        await service.freeze_reminder(database, clock, sent, 1, [1], by="ticker")
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Circular)) == 1


async def test_organization_without_mailbox_is_named_and_not_reminded(
    database: Database, clock: ManualClock, sent: int
):
    """Who has lost its mailbox since is in the reminder's account by name."""
    async with database.write() as session:
        box = (await session.scalars(select(Contact).where(Contact.address == "mission@norway.example"))).one()
        organization = box.organization_id
        await contacts.end(session, box.id, dt.date(2006, 7, 8))
    clock.advance(dt.timedelta(days=4))
    made = await service.freeze_reminder(database, clock, sent, 1, [organization], by="ticker")
    async with database.read() as session:
        named = await session.scalar(select(Snapshot.not_addressed).where(Snapshot.circular_id == made))
    assert [one["state"] for one in named or []] == ["Permanent Mission of Norway"]


async def test_circular_that_follows_stands_in_the_thread(
    database: Database, clock: ManualClock, sent: int, tmp_path: Path
):
    """A circular that follows one of ours answers each organization's own letter; an unknown reference is an error."""
    desk = desk_for(database, clock)
    other = Folder(tmp_path / "other")
    other.toml = other.toml.replace("place = {", 'follows = "AUS/2006/001"\nplace = {')
    drafted = await service.new(desk, other.write(), by="ann")
    async with database.read() as session:
        checked = await service.check(session, await service.find(session, drafted.id), desk)
        letters = await planned(session, checked.prepared)
        tokens = dict((await session.execute(select(Letter.organization_id, Letter.token))).all())
    threads = {letter.organization_id: letter.fields["thread"] for letter in letters}
    assert threads == {organization: f"<{token}@secretariat.example>" for organization, token in tokens.items()}
    other.replace('follows = "AUS/2006/001"', 'follows = "AUS/2006/009"')
    await service.update_from_folder(desk, drafted.id, by="ann")
    async with database.read() as session:
        checked = await service.check(session, await service.find(session, drafted.id), desk)
    assert "follows-unknown" in {one.code for one in checked.findings}

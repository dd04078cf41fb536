"""A circular from its folder to its frozen rows."""

import email
import email.policy
from pathlib import Path

import pytest
from sqlalchemy import select

from mailer.circulars import service
from mailer.circulars.compose import LetterRow, compose
from mailer.circulars.loading import load_frozen
from mailer.circulars.models import Letter, Recipient
from mailer.circulars.states import CircularState
from mailer.clock import ManualClock
from mailer.database import Database
from tests.support.drafting_desk import Folder, desk_for, seed


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that is right."""
    made = Folder(tmp_path / "circular")
    made.write()
    return made


async def test_circular_is_drafted_checked_and_approved(database: Database, clock: ManualClock, folder: Folder):
    """A folder becomes a draft with a reference, passes its check, and approval writes one letter per organization."""
    ids = await seed(database)
    desk = desk_for(database, clock)
    drafted = await service.new(desk, folder.path, by="ann")
    assert drafted.reference == "AUS/2006/001"
    async with database.read() as session:
        checked = await service.check(session, await service.find(session, "aus/2006/001"), desk)
    assert [one.line for one in checked.findings if one.severity in {"error", "waivable"}] == []
    done = await service.approve(desk, drafted.id, by="ben")
    assert done.stopped == ()
    assert done.letters == 4
    assert done.recipients == 5
    assert done.by_language == {"en": 3, "fr": 1}
    async with database.read() as session:
        circular = await service.find(session, drafted.id)
        letters = (await session.scalars(select(Letter).order_by(Letter.position))).all()
        boxes = (await session.scalars(select(Recipient.address).order_by(Recipient.id))).all()
        frozen = await load_frozen(session, drafted.id)
    assert circular.state is CircularState.APPROVED
    assert circular.approved_by == "ben"
    assert [letter.organization_id for letter in letters] == [ids["NOR"], ids["FRA"], ids["ICBL"], ids["PER"]]
    assert "deputy@france.example" in boxes
    french = letters[1]
    row = LetterRow(
        french.id,
        french.token,
        french.form,
        french.language,
        french.fields,
        clock.now(),
        (("", "mission@france.example"),),
        (("", "deputy@france.example"),),
    )
    made = compose(frozen, row)
    read = email.message_from_bytes(b"".join([made.payload.head, *made.payload.tail]), policy=email.policy.default)
    assert read["Message-ID"] == f"<{french.token}@secretariat.example>"
    assert str(read["Subject"]) == "Préparation de la septième Assemblée"
    assert "du 18 au 22 septembre 2006" in read.get_body(("plain",)).get_content()
    names = [part.get_filename() for part in read.iter_attachments()]
    assert names == ["agenda-fr.pdf", "report.pdf", "invite.ics"]
    assert made.size == len(made.payload.head) + len(made.payload.tail[0])

"""Recording who answered what."""

import pytest
from sqlalchemy import select

from lists.roll import Roll
from mailer.circulars.states import CircularState, RecipientState
from mailer.errors import BadInput, NotFound
from mailer.register.models import Link
from mailer.replies import service
from tests.support import rows

OK = RecipientState.ACCEPTED


@pytest.fixture
def roll():
    """The shipped roll."""
    return Roll.load()


@pytest.fixture
async def sent(database):
    """A circular to three missions (two of France) and an organization, and one organization that it did not go to."""
    async with database.write() as session:
        circular = await rows.circular(session)
        made = {
            "france": await rows.organization(session, "Permanent Mission of France", state="FRA"),
            "france-ny": await rows.organization(session, "Mission of France", state="FRA", seat="new-york"),
            "norway": await rows.organization(session, "Permanent Mission of Norway", state="NOR"),
            "ngo": await rows.organization(session, "=cmd|' /C calc'!A0 Watch", seat=None),
        }
        for number, one in enumerate(made.values()):
            await rows.letter(session, circular, one, {f"m{number}@x.example": OK})
        made["peru"] = await rows.organization(session, "Permanent Mission of Peru", state="PER")
    return circular, made


@pytest.mark.parametrize(
    ("typed", "whom"),
    [
        ("NOR", "norway"),
        ("Norvège", "norway"),
        ("permanent mission of norway", "norway"),
        ("FRA geneva", "france"),
        ("France@new-york", "france-ny"),
        ("france new york", "france-ny"),
        ("watch", "ngo"),
    ],
)
async def test_an_organization_is_found_as_people_write_it(database, clock, roll, sent, typed, whom):
    """Name, part of a name, State in any language and ISO code, with a seat where a State has two, each find the one meant."""
    circular, made = sent
    line = await service.record(database, clock, circular.id, typed, "attends", by="anna", roll=roll)
    assert line.organization_id == made[whom].id


async def test_a_number_is_the_id(database, clock, sent):
    """A number is the organization's id."""
    circular, made = sent
    line = await service.record(database, clock, circular.id, str(made["ngo"].id), "declines", by="anna")
    assert line.organization == made["ngo"].name


async def test_two_that_may_be_meant_are_named(database, clock, roll, sent):
    """An ambiguous name stores nothing and names the choices with their numbers."""
    circular, made = sent
    with pytest.raises(BadInput, match="Permanent Mission of France, geneva") as error:
        await service.record(database, clock, circular.id, "France", "attends", by="anna", roll=roll)
    assert f"({made['france-ny'].id})" in str(error.value)
    async with database.read() as session:
        assert await service.answered(session, circular.id) == set()


@pytest.mark.parametrize("typed", ["Peru", "PER", "Permanent Mission of Peru"])
async def test_an_organization_without_a_letter_is_refused(database, clock, roll, sent, typed):
    """Only organizations that the circular has a letter for can answer it."""
    circular, _ = sent
    with pytest.raises(NotFound, match="has no letter to"):
        await service.record(database, clock, circular.id, typed, "attends", by="anna", roll=roll)


async def test_a_typing_error_is_helped(database, clock, roll, sent):
    """A name nearly right brings the near ones."""
    circular, _ = sent
    with pytest.raises(NotFound, match="Perhaps Permanent Mission of Norway"):
        await service.record(database, clock, circular.id, "Permanent Mision of Norwey", "attends", by="a", roll=roll)


@pytest.mark.parametrize("answer", ["", "  ", "x" * 81, "att\x00ends"])
async def test_an_empty_or_odd_answer_is_refused(database, clock, sent, answer):
    """An answer is a short printable text."""
    circular, _ = sent
    with pytest.raises(BadInput, match="1 to 80 characters"):
        await service.record(database, clock, circular.id, "NOR", answer, by="anna")


async def test_all_are_kept_and_the_last_counts(database, clock, sent):
    """Of several answers all are kept and in the register, and the listing shows the last."""
    circular, made = sent
    await service.record(database, clock, circular.id, "NOR", "attends", by="anna", names="Ms X")
    await service.record(database, clock, circular.id, "NOR", "declines", by="bob", note="by telephone")
    async with database.read() as session:
        lines = {line.organization_id: line async for some in service.lines(session, circular.id) for line in some}
        links = (await session.scalars(select(Link).where(Link.action == "reply-recorded"))).all()
    line = lines[made["norway"].id]
    assert (line.answer, line.note, line.by, line.answers) == ("declines", "by telephone", "bob", 2)
    assert [link.subject["answer"] for link in links] == ["attends", "declines"]
    assert {link.chain for link in links} == {f"circular/{circular.id}"}
    assert [one.answer for one in lines.values() if one.organization_id != made["norway"].id] == [None] * 3


async def test_an_answer_to_a_reminder_is_an_answer_to_the_circular(database, clock, sent):
    """A reply recorded to AUS/2006/012/R1 counts for the circular that it reminds of."""
    circular, made = sent
    async with database.write() as session:
        reminder = await rows.circular(
            session, reference="AUS/2006/012/R1", parent=circular, ordinal=1, state=CircularState.SENT
        )
    await service.record(database, clock, reminder.id, "NOR", "attends", by="anna")
    async with database.read() as session:
        assert await service.answered(session, circular.id) == {made["norway"].id}
        assert await service.answered(session, reminder.id) == {made["norway"].id}


async def test_an_unknown_circular_is_one_line(database, clock):
    """A circular that does not exist is told as such."""
    with pytest.raises(NotFound, match="no circular 99"):
        await service.record(database, clock, 99, "NOR", "attends", by="anna")

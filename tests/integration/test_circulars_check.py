"""The check: every kind of fault is listed, at once, with its severity and remedy."""

from pathlib import Path

import pytest

from lists.findings import Finding
from lists.kinds import Form, OrganizationKind, Severity
from mailer import shipped
from mailer.circulars import service
from mailer.circulars.desk import Desk
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.settings import Sender
from tests.support.drafting_desk import SETTINGS, Folder, add, desk_for, planned, seed


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that is right."""
    made = Folder(tmp_path / "circular")
    made.write()
    return made


async def found(desk: Desk, folder: Folder) -> dict[str, Finding]:
    """The findings of the folder's check by name; every line is one line."""
    drafted = await service.new(desk, folder.write(), by="ann")
    async with desk.database.read() as session:
        checked = await service.check(session, await service.find(session, drafted.id), desk)
    assert all("\n" not in one.line for one in checked.findings)
    order = list(Severity)
    assert checked.findings == sorted(checked.findings, key=lambda one: order.index(one.severity))
    return {one.name: one for one in checked.findings}


async def test_right_circular_has_only_notes(database: Database, clock: ManualClock, folder: Folder):
    """A circular without faults has nothing to be mended; the fall-back of a language is told."""
    ids = await seed(database)
    told = await found(desk_for(database, clock), folder)
    assert set(told) == {f"language-fall-back:{ids['PER']}"}
    assert "Spanish" in told[f"language-fall-back:{ids['PER']}"].line


async def test_every_lacking_language_is_named(database: Database, clock: ManualClock, folder: Folder):
    """A text, a subject, a value, a title and a reminder that French lacks are each a finding, beside the others."""
    await seed(database)
    del folder.texts["letter.fr.md"]
    del folder.texts["reminder.fr.md"]
    folder.texts["letter.es.md"] = "Hola"
    folder.toml = (
        folder.toml.replace(', fr = "Préparation de la septième Assemblée"', "")
        .replace(', fr = "Ordre du jour"', "")
        .replace(', fr = "septième Assemblée"', "")
        .replace('sender = "secretariat"', 'sender = "nobody"')
    )
    told = await found(desk_for(database, clock), folder)
    lacking = {
        "letter.fr.md",
        "reminder.fr.md",
        "subject.fr",
        "enclosures.0.title.fr",
        "values.meeting.fr",
    }
    assert {f"text-missing:{name}" for name in lacking} <= set(told)
    assert "text-not-used:letter.es.md" in told
    assert told["sender-unknown:nobody"].severity is Severity.ERROR
    assert "line 2" in told["text-missing:subject.fr"].where


async def test_what_the_settings_lack_is_named(database: Database, clock: ManualClock, folder: Folder):
    """An unknown issuer, and a sender whose relay is not there."""
    await seed(database)
    settings = SETTINGS.model_copy(
        update={"senders": {"secretariat": Sender(name={"en": "S"}, address="s@secretariat.example", relay="old")}}
    )
    folder.toml = folder.toml.replace('["president"]', '["presidente"]')
    told = await found(desk_for(database, clock, settings), folder)
    assert {"issuer-unknown:presidente", "relay-unknown:old", "text-missing:senders.secretariat.fr"} <= set(told)


async def test_faults_of_the_text_are_found(database: Database, clock: ManualClock, folder: Folder):
    """An unknown field, an open point and an unused value are named with their places, in every language at once."""
    await seed(database)
    folder.texts["letter.en.md"] = "Dear {{ organisation }}, the venue is TBC.\n"
    told = await found(desk_for(database, clock), folder)
    assert told["field-missing:organisation"].where.startswith("letter.en.md")
    assert any(name.startswith("value-unused:meeting.en") for name in told)
    assert any("TBC" in one.what for one in told.values())


async def test_audience_that_fails_is_told(database: Database, clock: ManualClock, folder: Folder):
    """An unknown rule, an empty audience and a State without addressee are findings of their own severity."""
    await seed(database)
    desk = desk_for(database, clock)
    folder.toml = folder.toml.replace('"organizations"]', '"organisations"]')
    assert "organizations" in (await found(desk, folder))["audience-rule"].remedy
    other = Folder(folder.path.parent / "other")
    other.toml = other.toml.replace('["NOR", "FRA", "organizations"]', '["JPN"]').replace('["PER"]', "[]")
    told = await found(desk, other)
    assert told["audience-empty"].severity is Severity.ERROR
    assert told["state-without-addressee:JPN"].severity is Severity.WAIVABLE
    assert "Japan" in told["state-without-addressee:JPN"].where


async def test_doubtful_things_are_warned_of(database: Database, clock: ManualClock, folder: Folder):
    """Dates that are past, an address in two letters, an enclosure that one language lacks, and a subject used before."""
    ids = await seed(database)
    await add(database, "Other Office", OrganizationKind.NGO, "mission@norway.example")
    desk = desk_for(database, clock)
    await found(desk, folder)
    other = Folder(folder.path.parent / "other")
    other.toml = (
        other.toml.replace("reply_by = 2006-07-14", "reply_by = 2006-07-01")
        .replace('"PER" = {', '"CHE" = {')
        .replace(', fr = "agenda-fr.pdf"', "")
        .replace('email = "bo@secretariat.example"', 'email = "bo at secretariat"')
    )
    told = await found(desk, other)
    assert {
        "reply-by-past",
        "reply-past",
        "address-twice:mission@norway.example",
        "same-subject:AUS/2006/001",
        "audience-not-worded:PER.fr",
    } <= set(told)
    assert told["enclosure-language:1.fr"].severity is Severity.WAIVABLE
    assert told["contact-person-address:bo at secretariat"].severity is Severity.ERROR
    assert "Permanent Mission of Norway" in told["address-twice:mission@norway.example"].what
    assert str(ids["PER"])


async def test_note_verbale_goes_to_states_only(database: Database, clock: ManualClock, folder: Folder, tmp_path: Path):
    """A note verbale to an organization is an error; where the template makes letters too, the organization gets a letter."""
    await seed(database)
    for name, forms in (("note", '["note-verbale"]'), ("both", '["note-verbale", "letter"]')):
        made = tmp_path / "templates" / name
        made.mkdir(parents=True)
        (made / "template.toml").write_text(f'title = "N"\nforms = {forms}\n', "utf-8")
    layout = tmp_path / "templates" / "_layout"
    layout.mkdir()
    for ending in ("html", "txt", "css"):
        text = (shipped.folder("templates") / "_layout" / f"letter.{ending}").read_text("utf-8")
        (layout / f"note-verbale.{ending}").write_text(text, "utf-8")
    desk = desk_for(database, clock)
    desk = Desk(desk.database, desk.clock, desk.settings, desk.roll, [tmp_path / "templates", *desk.templates])
    folder.toml = folder.toml.replace('template = "letter"', 'template = "note"')
    told = await found(desk, folder)
    assert [one.where for one in told.values() if one.code == "note-verbale"] == ["Campaign <Mines> & Co"]
    other = Folder(folder.path.parent / "other")
    other.toml = other.toml.replace('template = "letter"', 'template = "both"').replace("Seventh", "Eighth")
    drafted = await service.new(desk, other.write(), by="ann")
    async with database.read() as session:
        checked = await service.check(session, await service.find(session, drafted.id), desk)
        letters = await planned(session, checked.prepared)
    assert [letter.form for letter in letters] == [
        Form.NOTE_VERBALE,
        Form.NOTE_VERBALE,
        Form.LETTER,
        Form.NOTE_VERBALE,
    ]
    assert not any(one.code == "note-verbale" for one in checked.findings)


async def test_own_salutation_is_asked_for(database: Database, clock: ManualClock, folder: Folder):
    """`salutation = "own"` puts each organization's own; one without is told and can be waived."""
    ids = await seed(database)
    await add(database, "Office", OrganizationKind.NGO, "o@office.example", salutation="Dear Ms <Doe>,")
    desk = desk_for(database, clock)
    folder.toml = folder.toml.replace('salutation = { en = "Dear friends,", fr = "Chers amis," }', 'salutation = "own"')
    drafted = await service.new(desk, folder.write(), by="ann")
    async with database.read() as session:
        checked = await service.check(session, await service.find(session, drafted.id), desk)
        letters = await planned(session, checked.prepared)
    missing = {one.subject for one in checked.findings if one.code == "salutation-missing"}
    assert missing == {str(number) for number in ids.values()}
    fields = {letter.organization: letter.fields for letter in letters}
    assert fields["Office"]["salutation"] == "Dear Ms <Doe>,"


async def test_letter_that_is_too_large_stops(database: Database, clock: ManualClock, folder: Folder):
    """A letter that hardly any server takes is an error before it is sent."""
    await seed(database)
    folder.files["report.pdf"] = b"x" * 20_000_000
    assert (await found(desk_for(database, clock), folder))["letter-too-large"].severity is Severity.ERROR

"""Reading a circular's folder: what is right comes in whole, what is wrong is told in one line with its place."""

import datetime as dt
from pathlib import Path

import pytest

from mailer.circulars import reading
from mailer.circulars.difference import changes
from mailer.circulars.document import Document, in_language
from mailer.circulars.starting import toml_of
from mailer.errors import CircularError
from mailer.letters.source import DateRange
from tests.support.drafting_desk import TOML, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that is right."""
    made = Folder(tmp_path / "circular")
    made.write()
    return made


def test_folder_is_read_whole(folder: Folder):
    """Everything that the folder says is in the document."""
    document = reading.read(folder.path)
    assert document.subject == {
        "en": "Preparations for the Seventh Meeting",
        "fr": "Préparation de la septième Assemblée",
    }
    assert document.to == ("NOR", "FRA", "organizations")
    assert document.as_of == document.date == dt.date(2006, 7, 7)
    assert document.reply_by == dt.date(2006, 7, 14)
    assert document.values["meeting_days"] == DateRange(dt.date(2006, 9, 18), dt.date(2006, 9, 22))
    assert document.event is not None
    assert document.event.start.isoformat() == "2006-07-17T15:00:00"
    report = document.enclosures[1]
    assert report.common is not None
    assert (report.common.filename, report.common.media_type) == ("report.pdf", "application/pdf")
    assert report.file_for("fr") == (report.common, "en")
    assert document.reminders[0].before == 3
    assert sorted(document.reminders[0].texts) == ["en", "fr"]
    assert document.where("enclosures.1.only").startswith("circular.toml line ")


def test_document_survives_json(folder: Folder):
    """The stored form of a draft gives the same document and the same digest back."""
    document = reading.read(folder.path)
    again = Document.from_json(document.as_json())
    assert again == document
    assert again.digest == document.digest


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("letter.en.md", b"takes place", b"takes  place"),
        ("reminder.fr.md", b"Nous", b"NOUS"),
        ("agenda-en.pdf", b"%PDF-en", b"%PDF-eN"),
        ("circular.toml", b"Salle A", b"Salle B"),
    ],
)
def test_any_change_changes_the_digest(folder: Folder, file: str, old: bytes, new: bytes):
    """One letter of a text, one byte of an enclosure or one value makes another digest; a comment does not."""
    before = reading.read(folder.path).digest
    (folder.path / "circular.toml").write_text("# a comment\n" + TOML, "utf-8")
    assert reading.read(folder.path).digest == before
    path = folder.path / file
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    assert reading.read(folder.path).digest != before


def test_byte_order_mark_and_windows_line_ends_change_nothing(folder: Folder):
    """Files that Notepad saved are read as if they had been saved anywhere else."""
    before = reading.read(folder.path)
    for path in folder.path.iterdir():
        if path.suffix in {".toml", ".md"}:
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert reading.read(folder.path) == before


def test_reply_by_may_stand_above_or_below_the_event(folder: Folder):
    """`reply_by` is the same wherever a coordinator writes it; two different ones are told."""
    folder.replace("reply_by = 2006-07-14\n", "")
    folder.replace("date = 2006-07-07\n", "date = 2006-07-07\nreply_by = 2006-07-13\n")
    assert reading.read(folder.path).reply_by == dt.date(2006, 7, 13)
    folder.replace("[[contact_persons]]", "")
    folder.toml = folder.toml.replace('timezone = "Europe/Zurich"', 'timezone = "Europe/Zurich"\nreply_by = 2006-07-14')
    folder.toml = folder.toml[: folder.toml.index('name = "Bo Sample"')]
    with pytest.raises(CircularError, match="twice, with different days"):
        reading.read(folder.write())


def test_issuers_of_the_file(folder: Folder):
    """An issuer can be described in the file, beside a list of keys or as sections alone."""
    folder.replace("[values]", '[issuer.guest]\nname = "Guest"\n\n[values]')
    folder.replace('issuers = ["president"]', 'issuers = ["guest", "president"]')
    document = reading.read(folder.path)
    assert document.issuers == ("guest", "president")
    assert document.own_issuers["guest"].name == "Guest"
    folder.replace('issuers = ["guest", "president"]\n', "")
    folder.replace("[issuer.guest]", "[issuers.guest]")
    assert reading.read(folder.path).issuers == ("guest",)
    folder.replace('sender = "secretariat"', 'issuers = ["guest"]\nsender = "secretariat"')
    with pytest.raises(CircularError, match=r"Write \[issuer.X\]"):
        reading.read(folder.path)


WRONG = [
    ("subject = {", "# subject = {", "subject is missing"),
    ("subject = {", "subjekt = {", "line 2, subjekt: there is no key 'subjekt' here. Did you mean subject"),
    ('subject = { en = "', 'subject = { en = "One\\nBcc: x@y.example ', "line 2, subject: a subject is one line"),
    ('salutation = { en = "Dear friends,"', 'salutation = { en = "own"', '"own" is for all languages'),
    ("salutation = {", "salutatoin = {", "Did you mean salutation"),
    ("date = 2006-07-07", "date = 7.7.2006", "line 9"),
    ("date = 2006-07-07", 'date = "7 July"', "line 9, date: '7 July' is no date"),
    ("date = 2006-07-07", "date = 2006", "it should be a date, and is the number 2006"),
    ('languages = ["en", "fr"]', 'languages = ["en", "de"]', "line 12, languages: 'de' is no language"),
    ('to = ["NOR", "FRA", "organizations"]', "to = []", "to is empty"),
    ('to = ["NOR", "FRA", "organizations"]', "to = [1]", "its items should be texts"),
    ('{ en = "Dear friends,", fr', '{ en = "Dear friends,", de', "'de' is no language"),
    ("print_reference = false", 'print_reference = "no"', "true or false without quotes"),
    ("meeting = {", "fr = {", "'fr' is a language"),
    ("meeting = {", '"the meeting" = {', "can't be the name of a value"),
    (
        "{ first = 2006-09-18, last = 2006-09-22 }",
        "{ first = 2006-09-22, last = 2006-09-18 }",
        "the last day is before",
    ),
    ("{ first = 2006-09-18, last = 2006-09-22 }", "{ from = 2006-09-22 }", "range of days"),
    ('timezone = "Europe/Zurich"', 'timezone = "Europe/Geneva"', "'Europe/Geneva' is no time zone"),
    ("end = 2006-07-17T18:00:00", "end = 2006-07-17T14:00:00", "ends before it begins"),
    ("start = 2006-07-17T15:00:00", "start = 2006-07-17", "a day and an hour, and is a date"),
    ("start = 2006-07-17T15:00:00", "start = 2006-07-17T15:00:00Z", "a zone of its own"),
    ('before = "P3D"', 'before = "3 days"', "no number of days"),
    ('to = "no-reply"', 'to = "all"', "'all' is not known"),
    ('only = "en"', 'only = "english"', "'english' is not known"),
    ('file = "report.pdf"', 'file = "reprot.pdf"', "there is no file 'reprot.pdf'"),
    ('file = "report.pdf"', 'file = "/etc/passwd"', "outside the circular's folder"),
    ('file = "report.pdf"', 'file = "../../x.pdf"', "outside the circular's folder"),
    ('file = "report.pdf"', 'file = "report.pdf"\nto_follow = 2006-08-01', "it is to follow, and yet a file"),
    ('file = "report.pdf"\n', "", "this enclosure has no file"),
    ("[[contact_persons]]", "[contact_persons]", "in double brackets"),
    ('phone = "+41', 'fone = "+41', "there is no key 'fone' here. Did you mean phone"),
    ("reply_by = 2006-07-14\n", "", "a reminder needs a day"),
    ("place = {", "follows = {}\nplace = {", "it names no letter"),
    ('template = "letter"', 'on_uncertain = "retry"', "'retry' is not known"),
    ('template = "letter"', 'archive = "yes"', "true or false without quotes"),
    ('text = "reminder"', 'text = "../reminder"', "can't be the name of a text"),
]


@pytest.mark.parametrize(("old", "new", "told"), WRONG, ids=[new or old for old, new, _ in WRONG])
def test_wrong_input_is_told_in_one_line(folder: Folder, old: str, new: str, told: str):
    """Each kind of mistake gives one line that names the file, and what to do."""
    folder.replace(old, new)
    with pytest.raises(CircularError) as error:
        reading.read(folder.path)
    assert told in str(error.value)
    assert "circular.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_own_salutation_in_every_language(folder: Folder):
    """Who writes "own" in each language means each organization's own, not the word."""
    start = folder.toml.index("salutation = ")
    end = folder.toml.index("\n", start)
    folder.replace(folder.toml[start:end], 'salutation = { en = "own", fr = "own" }')
    assert reading.read(folder.path).salutation == "own"


def test_missing_things_are_named(folder: Folder, tmp_path: Path):
    """A missing folder, file or text, an empty enclosure and a text that is not UTF-8 are each told."""
    with pytest.raises(CircularError, match="there is no such folder"):
        reading.read(tmp_path / "nowhere")
    (tmp_path / "sheet.csv").touch()
    with pytest.raises(CircularError, match="it is a file, and a circular is a folder"):
        reading.read(tmp_path / "sheet.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CircularError, match=r"it holds no circular\.toml"):
        reading.read(tmp_path / "empty")
    folder.texts = {}
    with pytest.raises(CircularError, match=r"Write letter\.en\.md"):
        reading.read(folder.write())
    folder.texts = {"letter.en.md": "x"}
    folder.files["report.pdf"] = b""
    with pytest.raises(CircularError, match=r"'report\.pdf' is empty"):
        reading.read(folder.write())
    folder.files["report.pdf"] = b"x"
    folder.write()
    (folder.path / "letter.fr.md").write_bytes("Une ligne\nGenève".encode("latin-1"))
    with pytest.raises(CircularError, match=r"letter\.fr\.md line 2"):
        reading.read(folder.path)


def test_values_per_language_lists_and_rows(folder: Folder):
    """A value may be a list, rows, or any of them per language; one language is taken out at every depth."""
    folder.replace(
        "meeting_days =",
        'items = [{ en = "one", fr = "un" }, { en = "two", fr = "deux" }]\n'
        'points = { en = ["a", "b"], fr = ["c"] }\n'
        'rows = [{ day = 2006-07-17, what = { en = "talks", fr = "débats" } }]\nmeeting_days =',
    )
    values = reading.read(folder.path).values
    assert in_language(values["items"], "fr") == ["un", "deux"]
    assert in_language(values["points"], "en") == ["a", "b"]
    assert in_language(values["rows"], "fr") == [{"day": dt.date(2006, 7, 17), "what": "débats"}]
    document = reading.read(folder.path)
    assert Document.from_json(document.as_json()).values == values


def test_document_written_as_toml_is_read_back(folder: Folder):
    """What `start --from` writes says the same as the circular that it copies."""
    folder.replace('name = "Bo Sample"', 'name = "Bo \\"Sample\\" \\\\ Jr"')
    folder.replace("[values]", '[issuer.guest]\naddress_block = """\nA\nB\n"""\n\n[values]')
    document = reading.read(folder.path)
    (folder.path / "circular.toml").write_text(toml_of(document, date=document.date), "utf-8")
    again = reading.read(folder.path)
    assert changes(document, again) == []


def test_changes_are_told_where_they_begin(folder: Folder):
    """A change within a long text is shown around the place, not by the text's first words."""
    before = reading.read(folder.path)
    folder.texts["letter.en.md"] = folder.texts["letter.en.md"].replace("by {{ reply_by", "before {{ reply_by")
    told = changes(before, reading.read(folder.write()))
    assert [key for key, _, _ in told] == ["texts.en"]
    assert "by {{ reply_by" in told[0][1]
    assert "before {{ reply_by" in told[0][2]

"""Markdown with fields -> HTML and text."""
# ruff: noqa: DTZ001, RUF001 - events have local times; letters are set with typographer's marks

import datetime as dt
import re

import pytest

from lists.kinds import Form
from mailer.errors import Defect, LetterError
from mailer.letters import catalog
from mailer.letters.compile import problems
from mailer.letters.compiled import Compiled
from mailer.letters.render import Renderer
from mailer.letters.source import DateRange, Enclosure, Event, Follows, Issuer, Person
from tests.support import letters_kit
from tests.support.letters_kit import compiled, rendered, source

EVENT = Event("Meeting", dt.datetime(2006, 7, 17, 15), dt.datetime(2006, 7, 17, 18), location="WMO Building, Salle A")


def test_a_block_stands_between_paragraphs_wherever_its_line_is():
    """A block filter on a line of its own is a set-off paragraph, even with no empty line around it."""
    out = rendered("It takes place on\n{{ event | block }}\nwith coffee.", event=EVENT)
    assert "It takes place on</p>" in out.html
    assert "<strong>Monday 17 July, 15:00–18:00<br>\nWMO Building, Salle A</strong></p>" in out.html
    assert "on\n\n    Monday 17 July, 15:00–18:00\n    WMO Building, Salle A\n\nwith coffee." in out.text


def test_tags_on_their_own_lines_divide_paragraphs():
    """Tags on lines of their own put whole paragraphs, lists and bullets in or out."""
    text = "Before\n{% if state %}\n- for States\n{% else %}\n- for others\n{% endif %}\nAfter"
    state, other = rendered(text), rendered(text, letters_kit.NGO)
    assert "Before\n\n- for States\n\nAfter" in state.text
    assert "Before\n\n- for others\n\nAfter" in other.text
    assert "for others" not in state.html
    assert "{%" not in state.html + other.html
    assert state.html.count("<li") == state.html.count("</li>") == 1


@pytest.mark.parametrize(
    "text",
    [
        "**{% if state %}bold** text{% endif %}",
        "{% if state %}one\n\ntwo{% endif %}",
        "- {% if state %}one\n- two{% endif %}",
        "[{% if state %}a](https://x.example/){% endif %}",
        "[a](https://x.example/{% if state %}b{% endif %})",
    ],
)
def test_tags_that_cross_markup_are_refused(text):
    """A condition that begins within a paragraph, list or emphasis and ends elsewhere is told, with the line."""
    with pytest.raises(LetterError, match="line 1"):
        compiled(text)


def test_loops_and_lists_from_data():
    """A loop writes one paragraph per item; bullets and tables come from filters and are escaped."""
    out = rendered(
        "{% for paper in enclosures %}\n*{{ paper.title }}* {{ paper.note }}\n{% endfor %}\n\n{{ points | bullets }}\n{{ rows | table }}\n",
        enclosures=(Enclosure("First"), Enclosure("Second", "English only")),
        values={"points": ["a < b", "**c**"], "rows": [{"Item": "1", "Title": "x"}, {"Item": "2", "Title": "y"}]},
    )
    assert "_First_" in out.text
    assert "_Second_ English only" in out.text
    assert "- a < b\n- **c**" in out.text
    assert "a &lt; b" in out.html
    assert "**c**" in out.html
    assert "Item  Title\n1     x\n2     y" in out.text
    assert "<th" in out.html


def test_rows_in_a_loop():
    """Parts of a row are whatever the circular's table names; a part that it lacks is told."""
    values = {"rows": [{"item": "1", "items": "x"}]}
    assert "1 x" in rendered("{% for r in rows %}\n{{ r.item }} {{ r.items }}\n{% endfor %}", values=values).text
    with pytest.raises(LetterError, match="line 2"):
        compiled("{% for r in rows %}\n{{ r.lacking }}\n{% endfor %}", values=values)


def test_paragraphs_with_a_letters_own_field_are_wrapped_per_letter():
    """The text form is wrapped at 72 columns whatever the length of the merged name, and a list's further lines are indented."""
    text = (
        "Word " * 12
        + "{{ organization }} "
        + "word " * 12
        + "\n\n- "
        + "item " * 14
        + "{{ organization }} "
        + "item " * 8
    )
    for name in ("X", "Permanent Mission of the Democratic People's Republic of Somewhere"):
        out = rendered(text, {"organization": name}).text
        assert max(map(len, out.splitlines())) <= 72
        assert re.search(r"\n  (?:item|X item|Permanent)", out)
        assert name in " ".join(out.split())


def test_links():
    """A link's target may be a whole field that is a link, or hold fields as percent-encoded parts; the text form keeps targets."""
    out = rendered(
        "[register]({{ link }}) or [here](https://x.example/?s={{ state }}&o={{ organization }}) or <mailto:a@b.example>",
        {"state": "Côte d'Ivoire & co", "organization": '"><script>'},
        values={"link": "https://www.secretariat.example/r"},
    )
    assert 'href="https://www.secretariat.example/r"' in out.html
    assert 'href="https://x.example/?s=C%C3%B4te%20d%27Ivoire%20%26%20co&amp;o=%22%3E%3Cscript%3E"' in out.html
    assert "register <https://www.secretariat.example/r>" in out.text
    assert "s=C%C3%B4te%20d%27Ivoire%20%26%20co&o=%22%3E%3Cscript%3E>" in out.text
    assert "a@b.example" in out.text


@pytest.mark.parametrize(
    "text",
    [
        "[x]({{ organization }})",
        "[x]({{ state }}:alert)",
        "[x](javascript:alert)",
        "[x](data:text/html,x)",
        "[x](/relative)",
        "[x]({{ word }})",
        "[x]({{ bad }})",
    ],
)
def test_links_refused(text):
    """A field that is no link can't be a whole target, and a target begins with https or mailto."""
    with pytest.raises(LetterError, match="line 1"):
        compiled(text, values={"word": "javascript:alert(1)", "bad": "https://x.example/ y"})


def test_typography():
    """Quotation marks and apostrophes are the language's, French marks keep their spaces, and nothing else is replaced."""
    english = rendered('"It\'s" (c) (tm) +- ... -- {{ organization }}\'s "{{ state }}"').text
    assert "“It’s” (c) (tm) +- ... -- Permanent Mission of France’s “France”" in english
    french = rendered('"L\'ordre" : oui ; « non » ! « {{ state }} » ?', language="fr")
    assert "«\xa0L’ordre\xa0»\xa0: oui\xa0; «\xa0non\xa0»\xa0! «\xa0France\xa0»\xa0?" in french.text
    assert "«&nbsp;L’ordre&nbsp;»&nbsp;: oui&nbsp;;" in french.html


def test_raw_html_is_text():
    """HTML in a text is printed as it is typed."""
    out = rendered("a <b>c</b> <script>x</script>\n\n<div>d</div>")
    assert "<script>" not in out.html
    assert "&lt;script&gt;" in out.html
    assert "<div>d</div>" in out.text


def test_html_document():
    """The HTML is a whole document with language and direction, styles written into it, no scripts, and below the size that is cut off."""
    out = rendered("Text", language="ar", place="جنيف")
    assert out.html.startswith('<!DOCTYPE html><html lang="ar" dir="rtl">')
    assert 'class="date" style="margin: 0 0 18px;text-align: left;"' in out.html
    assert "7 يوليو 2006" in out.html
    assert "<script" not in out.html
    assert "<link" not in out.html
    assert "url(" not in out.html
    assert len(out.html.encode()) < 102_000


def test_several_issuers_and_reference():
    """Several issuers sign one after the other; a reference is printed where it is given."""
    out = rendered(
        "Text",
        issuers=(Issuer("A", "Chair"), Issuer("B", "Co-Chair\nof the Committee", address_block="Street\nTel: +41")),
        reference="ISU/2006/001",
        closing="Yours sincerely,",
        enclosures=(Enclosure("Only one", "to follow"),),
        contact_persons=(Person("P", phone="+41 22 555 01 01", email="p@mission.example"),),
    )
    assert "Reference:  ISU/2006/001" in out.text
    assert "A\nChair\n\nB\nCo-Chair\nof the Committee\n\nStreet\nTel: +41" in out.text
    assert "For further information:\n- P (telephone +41 22 555 01 01, e-mail p@mission.example)" in out.text
    assert "Enclosure:\n- Only one (to follow)" in out.text
    assert "mailto:p@mission.example" in out.html


def test_reminder_in_both_forms():
    """A reminder names the organization and its State and refers to the earlier letter, as a letter and as a memorandum."""
    body = catalog.find("reminder", catalog.folders()).starting["en"].read_text()
    follows = Follows("ISU/2006/001", dt.date(2006, 7, 7), "Preparations")
    for form in (Form.LETTER, Form.MEMO):
        out = rendered(body, template="reminder", form=form, follows=follows, reply_by=dt.date(2006, 7, 14))
        text = " ".join(out.text.split())
        assert "letter of 7 July 2006, “Preparations”, addressed to Permanent Mission of France (France)." in text
        assert "by 14 July 2006" in text
    with pytest.raises(LetterError, match="makes no note-verbale"):
        compiled(body, template="reminder", form=Form.NOTE_VERBALE, follows=follows)
    with pytest.raises(LetterError, match="needs follows"):
        compiled("x", template="reminder")


def test_subject_is_merged_and_is_one_line():
    """A subject may hold a field, and a line break in it becomes a space."""
    out = rendered("Text", {"organization": "A\r\nBcc: x@y.example"}, subject="For {{ organization }}:\nnews")
    assert out.subject == "For A Bcc: x@y.example: news"
    assert "<title>For A Bcc: x@y.example: news</title>" in out.html


def test_all_missing_fields_are_named_at_once():
    """Every field that is missing or not used is named for the whole circular, with its line, before any letter."""
    template = catalog.find("letter", catalog.folders())
    given = source("{{ one }}\n\n{{ two }} {{ one }}", values={"spare": "x", "date": "y"}, subject="{{ three }}")
    found = problems(template, given)
    assert [(f.code, f.where, f.subject) for f in found] == [
        ("field-missing", "letter.en.md line 1", "one"),
        ("field-missing", "subject line 1", "three"),
        ("field-missing", "letter.en.md line 3", "two"),
        ("value-name", "circular.toml, [values] date", "date"),
        ("value-unused", "circular.toml, [values] date", "date.en"),
        ("value-unused", "circular.toml, [values] spare", "spare.en"),
    ]
    reminder = catalog.find("reminder", catalog.folders())
    assert problems(reminder, source("x", follows=Follows("R"), values={"spare": "x"})) == []
    assert problems(template, source("{{ broken", values={}))[0].code == "letter-error"
    assert (
        problems(template, source("x", values={"meeting": DateRange(dt.date(2006, 1, 1), dt.date(2006, 1, 2))}))[0].code
        == "value-kind"
    )
    assert problems(template, source("x" * 120_000))[0].code == "html-size"


def test_a_letter_without_its_field_is_refused():
    """A letter that lacks one of its own fields is not rendered."""
    with pytest.raises(LetterError, match="no state"):
        Renderer(compiled("{{ organization }}")).render({"organization": "X", "salutation": ""})


def test_another_composer_version_is_refused():
    """A letter compiled by another composer version is never rendered by this one."""
    with pytest.raises(Defect, match="version 0"):
        Renderer(Compiled.from_json({**compiled("x").as_json(), "composer": 0}))


def test_own_and_common_salutation():
    """A common salutation is the same for all; none is printed where it is empty; else each organization has its own."""
    assert "Dear friends," in rendered("x", salutation="Dear friends,").text
    assert "Excellency," not in rendered("x", salutation="").text
    assert "Excellency," in rendered("x", salutation=None).text
    assert compiled("x", salutation="").own == ("organization", "state")

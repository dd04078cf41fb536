"""Templates are found, a home's own first; their words exist in every language; their own texts compile."""

import tomllib
from pathlib import Path

import pytest

from lists.kinds import LANGUAGES, Form
from mailer.errors import LetterError, NotFound
from mailer.letters import catalog, fields, trial, wording
from mailer.letters.compile import compile_letter
from mailer.letters.kinds_of_fields import FILTERS
from mailer.letters.render import Renderer
from tests.support import letters_kit

SHIPPED = catalog.folders()


def test_shipped_templates():
    """Letter, memo and reminder are there, with texts to start from in English and French."""
    found = {one.name: one for one in catalog.available(SHIPPED)}
    assert set(found) == {"letter", "memo", "reminder"}
    assert all({"en", "fr"} <= set(one.starting) for one in found.values())
    assert found["memo"].form is Form.MEMO


@pytest.mark.parametrize("name", ["letter", "memo", "reminder"])
def test_shipped_templates_compile(name):
    """Each shipped template compiles and renders in all its forms and languages."""
    assert trial.check(catalog.find(name, SHIPPED)) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_all_the_words(language):
    """Every language has every label, note and default audience that English has."""
    english, other = wording.load("en"), wording.load(language)
    assert set(other.labels) == set(english.labels)
    assert set(other.notes) == set(english.notes)
    assert set(other.audiences) == set(english.audiences)
    assert "{date}" in other.notes["to-follow-by"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_makes_a_letter_and_a_memo(language):
    """A letter and a memorandum can be made in each language, with its direction."""
    for name in ("letter", "memo"):
        template = catalog.find(name, SHIPPED)
        source = trial.example(
            template, language, template.form, "{{ event | block }}\n\n{{ contact_persons | sentence }}", "x.md"
        )
        page = Renderer(compile_letter(template, source)).render(letters_kit.MISSION).html
        assert f'lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}"' in page


def test_printed_audience():
    """An audience is printed with its seat where there are words for it, else without; a list has none."""
    words = wording.load("en")
    assert (
        words.audience("states-parties@geneva else new-york")
        == "The Permanent Missions in Geneva of the States Parties to the Convention"
    )
    assert words.audience("states-parties@vienna") == "The Permanent Missions of the States Parties to the Convention"
    assert words.audience("list:friends") is None


def test_a_home_comes_first(tmp_path: Path):
    """A home's own template hides the shipped one, and may set single words of the layouts anew."""
    own = tmp_path / "templates"
    (own / "letter").mkdir(parents=True)
    (own / "letter" / "template.toml").write_text('\ufefftitle = "Ours"\nforms = ["letter"]\n', "utf-8")
    (own / "_layout").mkdir()
    (own / "_layout" / "wording.en.toml").write_text('[labels]\nto = "Addressees:"\n')
    folders = catalog.folders(tmp_path)
    found = catalog.find("letter", folders)
    assert found.title == "Ours"
    source = letters_kit.source("Text", to_lines=("A", "B"))
    assert "Addressees: A\n            B" in Renderer(compile_letter(found, source)).render(letters_kit.MISSION).text
    assert catalog.find("memo", folders).folder.parent == SHIPPED[0]


def test_unknown_template():
    """A template that is not there is told with those that are; a path is no name."""
    with pytest.raises(NotFound, match="There are letter, memo, reminder"):
        catalog.find("lettre", SHIPPED)
    with pytest.raises(NotFound):
        catalog.find("../templates/letter", SHIPPED)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = ", "can't be read"),
        ('title = "x"\nforms = []', "forms"),
        ('title = "x"\nforms = ["fax"]', "forms"),
        ('title = "x"\nforms = ["letter"]\ntypo = 1', "no key typo"),
        ('forms = ["letter"]\nrequires = ["mood"]', "requires may name"),
        ('forms = ["letter"]\n[fields._x]\nkind = "text"', "can't be a field's name"),
        ('forms = ["letter"]\n[fields.x]\nkind = "colour"', "no kind colour"),
    ],
)
def test_bad_template(tmp_path: Path, text: str, said: str):
    """What is wrong in a template.toml is told with the file."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "template.toml").write_text(text)
    with pytest.raises(LetterError, match=r"template\.toml") as caught:
        catalog.find("mine", (tmp_path, *SHIPPED))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ('<a href="{{ reference }}">x</a>', "needs a filter"),
        ("<p class={{ language }}>x</p>", "outside quotation marks"),
        ("<p>{{ nothing }}</p>", "not known"),
        ("<p>{{ part.nothing }}</p>", "no part nothing"),
        ('<p {% if state %}class="a"{% endif %}>x</p>', "inside an HTML tag"),
        ("<p>{% include 'x' %}</p>", "not allowed"),
    ],
)
def test_bad_frame(tmp_path: Path, frame: str, said: str):
    """A frame of one's own is held to the same rules, and to fields in quoted attributes and filtered links."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "template.toml").write_text('forms = ["letter"]')
    (tmp_path / "mine" / "frame.html").write_text(f"<!doctype html><html><body>{frame}{{{{ body }}}}</body></html>")
    template = catalog.find("mine", (tmp_path, *SHIPPED))
    with pytest.raises(LetterError) as caught:
        compile_letter(template, letters_kit.source("x"))
    assert said in str(caught.value)
    assert trial.check(template) != []


def test_readme_names_every_field_and_filter():
    """The templates' README names every field and filter that there is."""
    text = (SHIPPED[-1] / "README.md").read_text()
    for name in (*fields.LETTER_FIELDS, *fields.TEXT_FIELDS, *fields.FRAME_FIELDS, *FILTERS):
        assert name in text, name


def test_wording_files_are_plain_toml():
    """Each wording file has labels, notes and audiences, and nothing else."""
    for file in sorted((SHIPPED[-1] / "_layout").glob("wording.*.toml")):
        assert set(tomllib.loads(file.read_text())) == {"labels", "notes", "audiences"}

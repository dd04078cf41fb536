"""The two real circulars of the demonstration, from their folders to HTML and text: every element, in its order, in both languages."""
# ruff: noqa: RUF001 - letters are set with typographer's marks

import html
import re
from pathlib import Path

import pytest

from lists.findings import stops
from mailer.circulars import reading, sources
from mailer.letters import catalog, lint, wording
from mailer.letters.compile import compile_letter, problems
from mailer.letters.compiled import Compiled
from mailer.letters.render import Rendered, Renderer
from mailer.letters.source import Source
from mailer.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "mailer" / "demo" / "circulars"
FRANCE = {"organization": "Permanent Mission of France", "state": "France", "salutation": ""}
NGO = {"organization": "Some Organization", "state": "", "salutation": ""}

#: What the letters print, in order. "_" stands around italics in the text form, "*" before what is bold.
ELEMENTS = {
    ("memo-2002", "en"): [
        "Geneva, 19 June 2002",
        "To:",
        (
            "The Permanent Missions in Geneva of the States Parties to the Convention on the Prohibition of the Use, Stockpiling, "
            "Production and Transfer of Anti-Personnel Mines and on Their Destruction"
        ),
        "CC:",
        "The Permanent Missions in Geneva of the States not Parties to the Convention",
        "Interested non-governmental and international organizations",
        "From:",
        (
            "The Permanent Missions of Norway and Thailand, in their capacities as Co-Chairs of the Standing Committee on the General "
            "Status and Operation of the Convention"
        ),
        "Re:",
        "Dialogue on a process to prepare for the First Review Conference",
        "At the meeting of the Standing Committee on 31 May 2002",
        "the Fourth Meeting of the States Parties, which will be held in Geneva on 16–20 September 2002, should begin",
        "The Fifth Meeting of the States Parties, in 2003, must then take the decisions",
        "the following questions:",
        "•What should the First Review Conference achieve",
        "•What preparatory process",
        "•Which steps",
        "an informal dialogue",
        "*Thursday 27 June at 15:00",
        "Palais des Nations, Room VII",
        "Ms. Ingrid Solvang, Permanent Mission of Norway (telephone +41 22 555 04 11, e-mail ingrid.solvang@mission-norway.example)",
        "or Mr. Anan Suwannarat, Permanent Mission of Thailand (telephone +41 22 555 04 27, e-mail anan.suwannarat@mission-thailand.example)",
    ],
    ("memo-2002", "fr"): [
        "Genève, le 19 juin 2002",
        "À :",
        (
            "Les Missions permanentes à Genève des États parties à la Convention sur l’interdiction de l’emploi, du stockage, de la production "
            "et du transfert des mines antipersonnel et sur leur destruction"
        ),
        "Copie :",
        "Les Missions permanentes à Genève des États non parties à la Convention",
        "Les organisations non gouvernementales et internationales intéressées",
        "De :",
        (
            "Les Missions permanentes de la Norvège et de la Thaïlande, en leur qualité de Coprésidentes du Comité permanent sur l’état et le "
            "fonctionnement d’ensemble de la Convention"
        ),
        "Objet :",
        "Dialogue sur un processus de préparation de la première Conférence d’examen",
        "Lors de la réunion du Comité permanent du 31 mai 2002",
        "la quatrième Assemblée des États parties, qui se tiendra à Genève du 16 au 20 septembre 2002, engage",
        "La cinquième Assemblée des États parties devra ensuite prendre, en 2003, les décisions",
        "les questions suivantes :",
        "•Que devrait accomplir la première Conférence d’examen",
        "•Quel processus préparatoire",
        "•Quelles mesures",
        "un dialogue informel",
        "*Jeudi 27 juin à 15 heures",
        "Palais des Nations, Salle VII",
        "Mme Ingrid Solvang, Mission permanente de la Norvège (téléphone +41 22 555 04 11, courriel ingrid.solvang@mission-norway.example)",
        "ou M. Anan Suwannarat, Mission permanente de la Thaïlande (téléphone +41 22 555 04 27, courriel anan.suwannarat@mission-thailand.example)",
    ],
    ("letter-2006", "en"): [
        "Convention on the Prohibition of the Use, Stockpiling, Production and Transfer of Anti-Personnel Mines and on Their Destruction",
        "*Seventh Meeting of the States Parties",
        "Geneva, 7 July 2006",
        "To:",
        "The Permanent Missions in Geneva of the States Parties to the Convention",
        "Relevant international and non-governmental organizations",
        "Dear friends,",
        "Further to my letter of 15 June 2006",
        "an informal meeting",
        "held in Geneva on 18–22 September 2006",
        "*Monday 17 July, 15:00–18:00",
        "WMO Building, Salle A",
        "the enclosed _Agenda_",
        "(a) to exchange views",
        "and (b) to hear",
        "_Compilation of Actions_",
        "_Initial Draft Progress Report_, which is available in English only",
        "_Ideas for an Article 5 Extension Process_",
        "Yours sincerely,",
        "Ambassador Helen Marlowe",
        "President-Designate of the Seventh Meeting of the States Parties",
        "Ambassador and Permanent Representative of Australia",
        "Tel: +41 22 555 07 01",
        "Fax: +41 22 555 07 02",
        "Enclosures:",
        "•Agenda",
        "•Compilation of Actions",
        "•Initial Draft Progress Report (English only)",
        "•Ideas for an Article 5 Extension Process",
    ],
    ("letter-2006", "fr"): [
        "Convention sur l’interdiction de l’emploi, du stockage, de la production et du transfert des mines antipersonnel et sur leur destruction",
        "*Septième Assemblée des États parties",
        "Genève, le 7 juillet 2006",
        "À :",
        "Les Missions permanentes à Genève des États parties à la Convention",
        "Les organisations internationales et non gouvernementales concernées",
        "Chers amis,",
        "Comme suite à ma lettre du 15 juin 2006",
        "une réunion informelle",
        "se tiendra à Genève du 18 au 22 septembre 2006",
        "*Lundi 17 juillet, de 15 heures à 18 heures",
        "Bâtiment de l’OMM, Salle A",
        "l’_Ordre du jour_ ci-joint",
        "a) de procéder à un échange de vues",
        "et b) de recueillir vos avis",
        "_Recueil des actions_",
        "_Projet initial de rapport d’activité_, disponible en anglais seulement",
        "_Idées pour un processus de prolongation au titre de l’article 5_",
        "Veuillez agréer, chers amis, l’assurance de ma haute considération.",
        "L’Ambassadrice Helen Marlowe",
        "Présidente désignée de la septième Assemblée des États parties",
        "Ambassadrice et Représentante permanente de l’Australie",
        "Tél. : +41 22 555 07 01",
        "Fax : +41 22 555 07 02",
        "Pièces jointes :",
        "•Ordre du jour",
        "•Recueil des actions",
        "•Projet initial de rapport d’activité (en anglais seulement)",
        "•Idées pour un processus de prolongation au titre de l’article 5",
    ],
}


def _source(name: str, language: str) -> Source:
    document = reading.read(FOLDER / name)
    template = catalog.find(document.template, catalog.folders())
    follows = document.follows
    return sources.source_for(
        document,
        language,
        form=template.form,
        settings=Settings(),
        wording=wording.load(language),
        reference="DEMO/2006/001",
        to_keys=document.to,
        cc_keys=document.cc,
        earlier=sources.Earlier(None, follows.date, follows.title, {}) if follows else None,
    )


def _compiled(name: str, language: str) -> Compiled:
    source = _source(name, language)
    template = catalog.find("memo" if name.startswith("memo") else "letter", catalog.folders())
    return Compiled.from_json(compile_letter(template, source).as_json())


def _rendered(name: str, language: str) -> Rendered:
    return Renderer(_compiled(name, language)).render(FRANCE)


def _flat_text(text: str) -> str:
    """The text form with its layout taken away: lines joined, bullets and set-off blocks marked."""
    marked = re.sub(r"(?<=\n\n) {4}(?=\S)", "*", re.sub(r"(?m)^- ", "•", text))
    return " ".join(marked.replace("\xa0", " ").split())


def _flat_html(page: str) -> str:
    """The HTML with its markup taken away, save bold, italics and list items."""
    page = page[page.index("<body") :]
    for pattern, mark in (("<strong[^>]*>", "*"), ("</?em>", "_"), ("<li[^>]*>", "•"), ("<[^>]+>", " ")):
        page = re.sub(pattern, mark, page)
    flat = " ".join(html.unescape(page).replace("\xa0", " ").split())
    return re.sub(r" (?=[,.)])", "", re.sub(r"\( ", "(", flat))


def _in_order(flat: str, elements: list[str]) -> None:
    place = 0
    for element in elements:
        found = flat.find(element, place)
        assert found >= 0, f"{element!r} does not come out after {flat[max(0, place - 60) : place]!r}"
        place = found + len(element)


@pytest.mark.parametrize(("name", "language"), ELEMENTS)
def test_every_element_in_html(name, language):
    """Every element of the circular comes out in its order in the HTML, bold and italics included."""
    _in_order(_flat_html(_rendered(name, language).html), ELEMENTS[name, language])


@pytest.mark.parametrize(("name", "language"), ELEMENTS)
def test_every_element_in_text(name, language):
    """Every element of the circular comes out in its order in the text, set-off blocks and titles included."""
    elements = [
        element.removeprefix("*") if element.endswith(("States Parties", "États parties")) else element
        for element in ELEMENTS[name, language]
    ]  # a letterhead is not indented
    _in_order(_flat_text(_rendered(name, language).text), elements)


@pytest.mark.parametrize(("name", "language"), ELEMENTS)
def test_what_is_not_printed(name, language):
    """No reference, no day for answers, no end that was not given and no year that is not needed is printed; a memo has no signature."""
    out = _rendered(name, language)
    for text in (out.text, out.html):
        assert "DEMO/2006" not in text
        assert not re.search(r"14 (July|juillet)", text)
        assert "17 July 2006, 15" not in text
        assert "17 juillet 2006, de" not in text
        if name == "memo-2002":
            assert not re.search(r"15:00–|de 15 heures à", text)
            assert "Yours sincerely" not in text
            assert "Veuillez agréer" not in text


@pytest.mark.parametrize(("name", "language"), ELEMENTS)
def test_nothing_to_remark(name, language):
    """The two circulars compile without a finding, and all their letters are the same save for a letter's own fields."""
    source = _source(name, language)
    template = catalog.find("memo" if name.startswith("memo") else "letter", catalog.folders())
    assert stops([*problems(template, source), *lint.findings(source)]) == []
    assert "{{" not in _compiled(name, language).text


@pytest.mark.parametrize("language", ["en", "fr"])
def test_layout_of_the_text_form(language):
    """The text form is wrapped, a memo's head is aligned, and French marks keep their spaces."""
    for name in ("memo-2002", "letter-2006"):
        text = _rendered(name, language).text
        assert max(map(len, text.splitlines())) <= 72
        assert "\n\n\n" not in text
        assert not re.search(r" $", text, re.MULTILINE)
        if language == "fr":
            assert not re.search(r"[^\xa0\s\d/][:;?!»](?:\s|$)", text.replace("https:", ""))
    head = _rendered("memo-2002", language).text.split("\n\n")[2].splitlines()
    assert all(line[11] == " " and line[12] != " " for line in head)


def test_reminder_names_the_organization_and_its_state():
    """A reminder of B names whom it is for, and the State where there is one, in both languages."""
    document = reading.read(FOLDER / "letter-2006")
    template = catalog.find("reminder", catalog.folders())
    said = {
        "en": (
            "inviting the Permanent Mission of France to",
            "your delegation (France) will",
            "inviting your organization (Some Organization)",
        ),
        "fr": (
            "inviter la Permanent Mission of France à",
            "votre délégation (France)",
            "inviter votre organisation (Some Organization)",
        ),
    }
    for language in ("en", "fr"):
        (reminder,) = document.reminders
        parent = _source("letter-2006", language)
        source = sources.reminder_source(
            parent,
            document,
            reminder,
            ordinal=1,
            form=parent.form,
            reference="DEMO/2006/001",
            date=document.date.replace(day=11),
            wording=wording.load(language),
        )
        renderer = Renderer(compile_letter(template, source))
        mission, state, organization = said[language]
        mine = " ".join(renderer.render(FRANCE).text.split())
        assert mission in mine
        assert state in mine
        assert organization in " ".join(renderer.render(NGO).text.split())
        assert "()" not in renderer.render(NGO).text
        assert "Some Organization" in renderer.render(NGO).html


@pytest.mark.parametrize(("name", "language"), ELEMENTS)
def test_what_letters_have_in_common_is_known_beforehand(name, language):
    """Of two letters' pieces, all that are longer than a line and the same are among the passages that are encoded once for all letters."""
    renderer = Renderer(_compiled(name, language))
    for output, common in ((1, renderer.html), (2, renderer.text)):
        mine, other = (set(renderer.pieces(one)[output]) for one in (FRANCE, NGO))
        assert {piece for piece in mine & other if "\n" in piece} <= set(common)
        assert sum(map(len, mine & other & set(common))) > 0.8 * sum(map(len, mine))

"""Makes the enclosures of the demonstration circular: small real PDFs, the same bytes on every run.

`python -m mailer.demo.make_enclosures` writes them anew. The writer knows one font family of the fourteen
that every reader has (Times), WinAnsi text and as many pages as the text needs: enough for papers of a page or two.
"""
# ruff: noqa: RUF001 - the papers are set with typographer's apostrophes and dashes

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "circulars" / "letter-2006"

#: A4 in points, and the text's measure.
PAGE = (595, 842)
LEFT, TOP, BOTTOM = 72, 770, 72
COLUMNS = 84


@dataclass(frozen=True, slots=True)
class Paper:
    """One enclosure in one language; paragraphs that begin with a number are items."""

    file: str
    title: str
    head: str
    paragraphs: Sequence[str]


_HEAD_EN = "Informal meeting on preparations for the Seventh Meeting of the States Parties"
_HEAD_FR = "Réunion informelle sur les préparatifs de la septième Assemblée des États parties"

PAPERS = (
    Paper(
        "agenda-en.pdf",
        "Agenda",
        f"{_HEAD_EN}\nWMO Building, Salle A, Monday 17 July 2006, 15:00–18:00",
        (
            "1. Opening by the President-Designate",
            "2. Substance of the Seventh Meeting: compilation of actions and initial draft progress report",
            "3. Organization of the Seventh Meeting: programme, general exchange of views, documents",
            "4. Ideas for an Article 5 extension process",
            "5. Other matters",
        ),
    ),
    Paper(
        "agenda-fr.pdf",
        "Ordre du jour",
        f"{_HEAD_FR}\nBâtiment de l’OMM, Salle A, lundi 17 juillet 2006, de 15 heures à 18 heures",
        (
            "1. Ouverture par la Présidente désignée",
            "2. Questions de fond : recueil des actions et projet initial de rapport d’activité",
            "3. Organisation de la septième Assemblée : programme, échange de vues général, documents",
            "4. Idées pour un processus de prolongation au titre de l’article 5",
            "5. Questions diverses",
        ),
    ),
    Paper(
        "actions-en.pdf",
        "Compilation of Actions",
        _HEAD_EN,
        (
            "This paper is made up for a demonstration. It shows what a compilation of actions may look like and states no position of anyone.",
            "1. Universal acceptance. States Parties speak with States not Parties at every suitable occasion and share what they have learnt.",
            "2. Destruction of stockpiles. States Parties with deadlines in the period report on their plans, and on what they need to keep them.",
            "3. Clearance of mined areas. States Parties that have mined areas set out their national plans, their progress and the means that they lack.",
            "4. Assistance to victims. States Parties concerned set themselves aims that can be measured and tell the others how far they have come.",
            "5. Means of implementation. Those able to assist say what they can give, and for how long.",
        ),
    ),
    Paper(
        "actions-fr.pdf",
        "Recueil des actions",
        _HEAD_FR,
        (
            "Le présent document a été établi pour une démonstration. Il montre ce que peut être un recueil d’actions et n’exprime la position de personne.",
            "1. Acceptation universelle. Les États parties s’entretiennent avec les États non parties chaque fois que l’occasion s’en présente et font part de leur expérience.",
            "2. Destruction des stocks. Les États parties dont les délais arrivent à échéance font connaître leurs plans et ce qu’il leur faut pour les respecter.",
            "3. Déminage. Les États parties ayant des zones minées exposent leurs plans nationaux, les progrès accomplis et les moyens qui leur manquent.",
            "4. Assistance aux victimes. Les États parties concernés se fixent des objectifs mesurables et rendent compte du chemin parcouru.",
            "5. Moyens de mise en œuvre. Ceux qui sont en mesure d’apporter une aide indiquent laquelle, et pour combien de temps.",
        ),
    ),
    Paper(
        "progress-report-en.pdf",
        "Initial Draft Progress Report",
        f"{_HEAD_EN}\nDraft of 7 July 2006, English only",
        (
            "This draft is made up for a demonstration; it holds no facts and no figures.",
            "1. The report is to set out, from one Meeting of the States Parties to the next, what has been done to apply the Convention and what most needs to be done in the year to come.",
            "2. It follows the order of the compilation of actions, so that each action can be read together with what has come of it.",
            "3. Delegations are asked to say at the informal meeting whether the order is useful, what is missing, and which passages should be shorter.",
            "4. A second draft will take account of what is said on 17 July and of what is sent in writing after it.",
        ),
    ),
    Paper(
        "article-5-en.pdf",
        "Ideas for an Article 5 Extension Process",
        _HEAD_EN,
        (
            "This paper is made up for a demonstration. It puts questions, so that a discussion may begin, and commits no one.",
            "1. Article 5 lets a State Party that cannot finish clearing its mined areas in ten years ask for more time. It says what a request contains and who decides; it does not say how a request is prepared and considered.",
            "2. When should a request be sent in, so that others can study it before they decide?",
            "3. Would a common outline help those who write requests, and those who read them?",
            "4. Who could examine a request beforehand, and with whose expert advice?",
            "5. How could a State Party that needs help in preparing its request obtain it in good time?",
        ),
    ),
    Paper(
        "article-5-fr.pdf",
        "Idées pour un processus de prolongation au titre de l’article 5",
        _HEAD_FR,
        (
            "Le présent document a été établi pour une démonstration. Il pose des questions afin qu’un débat puisse s’ouvrir et n’engage personne.",
            "1. L’article 5 permet à un État partie qui ne peut achever en dix ans le déminage de ses zones minées de demander un délai supplémentaire. Il dit ce que contient la demande et qui se prononce ; il ne dit pas comment elle est établie et examinée.",
            "2. Quand une demande devrait-elle être présentée pour que les autres puissent l’étudier avant de se prononcer ?",
            "3. Un plan commun serait-il utile à ceux qui rédigent les demandes et à ceux qui les lisent ?",
            "4. Qui pourrait examiner une demande au préalable, et avec l’avis de quels experts ?",
            "5. Comment un État partie qui a besoin d’aide pour établir sa demande pourrait-il l’obtenir à temps ?",
        ),
    ),
)


def pdf(paper: Paper) -> bytes:
    """*paper* as a PDF 1.4 file, uncompressed, without date or identifier, so that its bytes never vary."""
    pages = list(_pages(paper))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % (6 + 2 * number) for number in range(len(pages))), len(pages)),
        *(
            b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>" % name
            for name in (b"Times-Roman", b"Times-Bold")
        ),
        b"<< /Title (%s) >>" % _escaped(paper.title),
    ]
    for number, content in enumerate(pages):
        objects.extend(
            (
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Resources << /Font << /R 3 0 R /B 4 0 R >> >> /Contents %d 0 R >>"
                % (*PAGE, 7 + 2 * number),
                b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
            )
        )
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def _pages(paper: Paper) -> Iterator[bytes]:
    """Content streams, one a page."""
    lines = list(_lines(paper))
    out: list[bytes] = []
    height = TOP
    for font, size, indent, text, below in lines:
        if height < BOTTOM:
            yield b"BT\n%s\nET" % b"\n".join(out)
            out, height = [], TOP
        out.append(b"/%s %d Tf 1 0 0 1 %d %d Tm (%s) Tj" % (font, size, LEFT + indent, height, _escaped(text)))
        height -= below
    yield b"BT\n%s\nET" % b"\n".join(out)


def _lines(paper: Paper) -> Iterator[tuple[bytes, int, int, str, int]]:
    """Font, size, indent, text and the way down to the next line."""
    for line in paper.head.split("\n"):
        yield b"R", 11, 0, line, 16
    yield b"R", 11, 0, "", 12
    yield b"B", 17, 0, paper.title, 34
    for paragraph in paper.paragraphs:
        number, dot, rest = paragraph.partition(". ")
        item = bool(dot) and number.isdigit()
        words = list(_wrapped(rest if item else paragraph, COLUMNS - (4 if item else 0)))
        for place, line in enumerate(words):
            if item and place == 0:
                yield b"R", 12, 0, f"{number}.", 0
            yield b"R", 12, 20 if item else 0, line, 26 if place == len(words) - 1 else 16


def _wrapped(text: str, columns: int) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > columns:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _escaped(text: str) -> bytes:
    """WinAnsi, with what ends or escapes a PDF string made harmless."""
    return text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def make(folder: Path = FOLDER) -> list[Path]:
    """Write all papers into *folder*; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for paper in PAPERS:
        (folder / paper.file).write_bytes(pdf(paper))
        written.append(folder / paper.file)
    return written


if __name__ == "__main__":
    sys.stdout.write("".join(f"{path.name}\n" for path in make()))

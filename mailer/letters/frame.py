"""Frames: the files of a template and its layout that stand around a circular's text.

A frame names parts with `{{ part.NAME }}` (`_layout/parts/NAME.html`) and takes the text with `{{ body }}`, `{{ letterhead }}`,
`{{ subject }}` and `{{ title }}` (the subject again, where no markup may stand). A line that holds only tags goes with its
newline. In the text form each line with a field is wrapped, and a tab marks where its further lines begin.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mailer.errors import LetterError
from mailer.letters.catalog import Template
from mailer.letters.clean import HOLDERS, has_marks
from mailer.letters.prose import MARK
from mailer.letters.tree import Close, Open, Piece, Print, Tag, scan

SPLICES = ("body", "letterhead", "subject", "title")
_INSIDE_TAG = re.compile(r"<[^<>]*\Z")
_LINK = re.compile(r"\b(?:href|src|action|background)\s*=\s*[\"']?[^\"']*\Z", re.IGNORECASE)
_DEEPEST = 8


def pieces(template: Template, file: Path, ending: str, splice: Callable[[str], list[Piece]]) -> list[Piece]:
    """The frame *file* cut at its expressions, its parts put in.

    Args:
        template: for parts.
        file: the frame.
        ending: `html` or `txt`.
        splice: gives the pieces for `body`, `letterhead`, `subject`, `title`.

    Raises:
        LetterError: with file and line.
    """
    found = list(_pieces(template, file, ending, splice, 0))
    if ending == "html":
        _judge_tags(found)
    return found


def _pieces(
    template: Template, file: Path, ending: str, splice: Callable[[str], list[Piece]], depth: int
) -> Iterator[Piece]:
    where = f"{file.parent.name}/{file.name}"
    if depth > _DEEPEST:
        raise LetterError("its parts name each other", where=where)
    try:
        source = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LetterError(f"it can't be read: {error}", where=where) from None
    if has_marks(source):
        raise LetterError("it holds characters of a private plane", where=where)
    held: list[Print | Tag] = []
    marked = []
    for piece in scan(source, where):
        if isinstance(piece, str):
            marked.append(piece)
        else:
            marked.append(chr(HOLDERS + len(held)))
            held.append(piece)

    def put_in(name: str) -> Iterator[Piece]:
        if name in SPLICES:
            yield from splice(name)
        else:
            yield from _pieces(template, template.part(name.removeprefix("part."), ending), ending, splice, depth + 1)

    for line in "".join(marked).rstrip("\n").split("\n"):
        yield from _line(line, held, ending, put_in)


def _spliced(mark: Print | Tag) -> str:
    """The name of what is put in here, or nothing."""
    code = mark.expression.code if isinstance(mark, Print) else ""
    return code if code in SPLICES or re.fullmatch(r"part\.\w+", code) else ""


def _line(line: str, held: list[Print | Tag], ending: str, put_in: Callable[[str], Iterator[Piece]]) -> Iterator[Piece]:
    marks = [held[ord(char) - HOLDERS] for char in line if MARK.match(char)]
    bare = not MARK.sub("", line).strip()
    if marks and bare and all(isinstance(mark, Tag) for mark in marks):
        yield from marks
        return
    if (
        marks
        and bare
        and all(isinstance(mark, Tag) or (_spliced(mark) or "subject") not in {"subject", "title"} for mark in marks)
    ):
        for mark in marks:
            if isinstance(mark, Tag):
                yield mark
            else:
                yield from put_in(_spliced(mark))
        return
    wrapped = ending == "txt" and (bool(marks) or "\t" in line)
    if wrapped:
        yield Open()
    for part in re.split(f"({MARK.pattern})", line):
        if MARK.fullmatch(part) is None:
            yield part
        elif name := _spliced(mark := held[ord(part) - HOLDERS]):
            yield from put_in(name)
        else:
            yield mark
    if wrapped:
        yield Close()
    yield "\n"


def _judge_tags(found: list[Piece]) -> None:
    """An expression inside an HTML tag stands in a quoted attribute; in a link's target, behind `| url` or `| percent`."""
    before = ""
    for piece in found:
        if isinstance(piece, str):
            before = (before + piece)[-2000:]
            continue
        if not isinstance(piece, Print):
            continue
        inside = _INSIDE_TAG.search(before)
        before += "x"
        if inside is None:
            continue
        text = inside[0]
        if text.count('"') % 2 == 0:
            raise LetterError("a field inside a tag stands outside quotation marks", where=piece.expression.where)
        last = piece.expression.code.split("|")[-1].strip()
        if _LINK.search(text) and last not in {"url", "percent"}:
            raise LetterError(
                "a field in a link's target needs a filter",
                where=piece.expression.where,
                remedy="use | url or | percent",
            )

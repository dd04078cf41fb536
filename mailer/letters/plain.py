"""Markdown tokens -> pieces of the text form: paragraphs to be wrapped, lists, set-off blocks, links with their targets.

Titles in italics stand between underscores, bold words between asterisks; a paragraph that is bold as a whole is set off by
an indent instead. A link whose words are not its target has the target after it in angle brackets.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from markdown_it.token import Token

from mailer.letters.prose import MARK, Prose, set_off
from mailer.letters.tree import Close, Open, Piece, Print, Tag

INDENT = "    "
_MARKS = {"strong_open": "*", "strong_close": "*", "em_open": "_", "em_close": "_"}


@dataclass
class _Place:
    """Where the renderer stands: what precedes the next line, and all later ones, of the present block."""

    first: str = ""
    rest: str = ""
    lists: list[int | None] = field(default_factory=list)
    above: list[tuple[str, str]] = field(default_factory=list)

    def deeper(self, mark: str) -> None:
        self.above.append((self.rest, self.rest))
        self.first, self.rest = self.rest + mark, self.rest + " " * len(mark)

    def back(self) -> None:
        self.first, self.rest = self.above.pop()

    def take(self) -> tuple[str, str]:
        first, self.first = self.first, self.rest
        return first, self.rest


def text_pieces(prose: Prose) -> list[Piece]:
    """The text form, cut at its expressions. Each block ends with an empty line."""
    return list(_blocks(prose))


def _blocks(prose: Prose) -> Iterator[Piece]:
    place = _Place()
    cells: list[list[Piece]] | None = None
    tight = False
    for token in prose.tokens:
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            start = int(token.attrs.get("start", 1)) if token.type.startswith("ordered") else None
            place.lists.append(start)
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            place.lists.pop()
            if tight and not place.lists:
                yield "\n"
        elif token.type == "list_item_open":
            place.deeper(_item_mark(place))
        elif token.type in {"list_item_close", "blockquote_close"}:
            place.back()
        elif token.type == "blockquote_open":
            place.deeper(INDENT)
        elif token.type == "paragraph_open":
            tight = token.hidden and bool(place.lists)
        elif token.type == "hr":
            yield f"{place.take()[0]}{'-' * 20}\n\n"
        elif token.type == "tr_open":
            cells = []
        elif token.type == "tr_close":
            yield from _row(cells or [], place)
            cells = None
        elif token.type == "table_close":
            yield "\n"
        elif token.type == "inline" and cells is not None:
            cells.append(list(_inline(prose, token.children or [])))
        elif token.type == "inline":
            yield from _paragraph(prose, token, place, "\n" if tight else "\n\n")


def _item_mark(place: _Place) -> str:
    number = place.lists[-1]
    if number is None:
        return "- "
    place.lists[-1] = number + 1
    return f"{number}. "


def _row(cells: list[list[Piece]], place: _Place) -> Iterator[Piece]:
    yield Open(*place.take())
    for number, cell in enumerate(cells):
        if number:
            yield " | "
        yield from cell
    yield Close()
    yield "\n"


def _paragraph(prose: Prose, token: Token, place: _Place, end: str) -> Iterator[Piece]:
    children = token.children or []
    if prose.block_marks(token.content):
        first, rest = place.take()
        for piece in prose.pieces(token.content.strip()):
            if isinstance(piece, Print):
                yield first
                yield Print(piece.expression, rest)
                yield "\n\n"
            elif isinstance(piece, Tag):
                yield piece
        return
    indent = ""
    if set_off(children):
        indent, children = INDENT, children[1:-1]
    first, rest = place.take()
    yield Open(first + indent, rest + indent)
    yield from _inline(prose, children)
    yield Close()
    yield end


def _inline(prose: Prose, children: list[Token]) -> Iterator[Piece]:
    label: list[str] = []
    target = ""
    for child in children:
        if child.type in {"text", "text_special", "code_inline"}:
            label.append(child.content)
            yield from prose.pieces(child.content)
        elif child.type == "softbreak":
            yield " "
        elif child.type == "hardbreak":
            yield "\n"
        elif child.type in _MARKS:
            yield _MARKS[child.type]
        elif child.type == "link_open":
            label, target = [], str(child.attrs.get("href", ""))
        elif child.type == "link_close" and not _same(prose, "".join(label), target):
            yield " <"
            yield from prose.pieces(target)
            yield ">"


def _same(prose: Prose, label: str, target: str) -> bool:
    """Whether a link's words are its target."""
    bare = target.removeprefix("mailto:").removeprefix("tel:")
    if MARK.search(target) is None:
        return label in {target, bare}

    return _code(prose, label) in {_code(prose, target), _code(prose, bare)}


def _code(prose: Prose, text: str) -> str:
    """*text* with its expressions written out, filters left away."""
    return "".join(
        piece.expression.code.split("|")[0].strip() if isinstance(piece, Print) else str(piece)
        for piece in prose.pieces(text)
    )

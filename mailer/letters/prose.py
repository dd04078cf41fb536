"""Markdown with fields -> pieces of HTML and of text. The Markdown parser sees a mark in place of each expression, never data.

A mark is one character of a private plane. It is neither a space nor punctuation, so emphasis, quotation
marks and line breaks around a field come out as around a word. A line that holds only tags, or only a
block filter, becomes a Markdown block of its own, since a paragraph, list or table would swallow it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markdown_it import MarkdownIt
from markdown_it.token import Token

from mailer.errors import LetterError
from mailer.letters import clean, languages, sandbox
from mailer.letters.clean import HOLDERS
from mailer.letters.tree import Piece, Print, Tag, scan

MARK = re.compile("[\U000f0000-\U000fffff]")
_SCHEMES = ("https://", "http://", "mailto:", "tel:")


class _Markdown(MarkdownIt):
    """CommonMark with tables and quotation marks; links are judged by us, with the line, rather than dropped."""

    def validateLink(self, url: str) -> bool:  # noqa: N802 - the library's name
        """Take every link; `_links` refuses."""
        return bool(url) or True

    def normalizeLink(self, url: str) -> str:  # noqa: N802 - the library's name
        """Encode what stands around marks; the marks stay."""
        parts = re.split(f"({MARK.pattern})", url)
        if len(parts) == 1:
            return super().normalizeLink(url)
        return "".join(part if MARK.fullmatch(part) else re.sub(r"\s", "%20", part) for part in parts)


def _parser(language: str) -> _Markdown:
    made = _Markdown(
        "commonmark", {"html": False, "xhtmlOut": False, "typographer": True, "quotes": languages.quotes(language)}
    )
    made.enable(["table", "smartquotes"])
    made.disable(["image", "code", "fence", "html_block", "html_inline", "backticks"])
    return made


@dataclass(frozen=True, slots=True)
class Prose:
    """A parsed text.

    Attributes:
        tokens: markdown-it's; inline text already spaced as the language asks.
        held: what each mark stands for.
        parser: for its renderer.
    """

    tokens: list[Token]
    held: list[Print | Tag]
    parser: MarkdownIt

    def pieces(self, text: str) -> Iterator[Piece]:
        """*text* cut at its marks."""
        end = 0
        for match in MARK.finditer(text):
            if match.start() > end:
                yield text[end : match.start()]
            yield self.held[ord(match[0]) - HOLDERS]
            end = match.end()
        if end < len(text):
            yield text[end:]

    def block_marks(self, text: str) -> bool:
        """Whether *text* is nothing but tags and block filters, at least one of either."""
        return _alone(text, self.held)


def parse(source: str, language: str, where: str) -> Prose:
    """Parse *source*.

    Raises:
        LetterError: an expression, a tag or a link is not right; with file and line.
    """
    if clean.has_marks(source):
        raise LetterError("the text holds characters of a private plane", where=where, remedy="delete or replace them")
    held: list[Print | Tag] = []
    text = []
    for piece in scan(source, where):
        if isinstance(piece, str):
            text.append(piece)
        else:
            text.append(chr(HOLDERS + len(held)))
            held.append(piece)
    parser = _parser(language)
    prose = Prose(parser.parse(_own_lines("".join(text), held)), held, parser)
    _finish(prose, language, where)
    return prose


def _alone(text: str, held: Sequence[Print | Tag]) -> bool:
    """Only tags around block filters, or only tags."""
    stripped = text.strip()
    marks = [held[ord(char) - HOLDERS] for char in stripped if MARK.match(char)]
    if not marks or MARK.sub("", stripped).strip():
        return False
    return all(isinstance(mark, Tag) or mark.expression.block for mark in marks)


def _own_lines(text: str, held: Sequence[Print | Tag]) -> str:
    lines: list[str] = []
    for line in text.split("\n"):
        lines.extend(("", line, "") if MARK.search(line) and _alone(line, held) else (line,))
    return "\n".join(lines)


def _finish(prose: Prose, language: str, where: str) -> None:
    """Space the text, mark set-off paragraphs, judge links, and see that tags nest with the markup."""
    open_: list[str | Tag] = []
    tokens = prose.tokens
    bare = {place for place, token in enumerate(tokens) if token.type == "inline" and prose.block_marks(token.content)}
    for place, token in enumerate(tokens):
        if token.type == "inline":
            line = f"{where} line {_line(prose, token)}"
            token.children = children = [
                child for child in token.children or [] if child.type != "text" or child.content
            ]
            for child in children:
                if child.type == "text":
                    child.content = languages.space(child.content, language)
            _links(prose, children, line)
            _nest(prose, children, open_, line)
            if place in bare:
                tokens[place - 1].hidden = tokens[place + 1].hidden = True
            else:
                _no_block_inside(prose, token.content)
                if set_off(children) and tokens[place - 1].type == "paragraph_open":
                    tokens[place - 1].attrSet("class", "block")
        elif token.type == "table_open":
            token.attrSet("class", "data")
            _push(open_, token.type, token.nesting, "")
        elif token.nesting and not {place - 1, place + 1} & bare:
            _push(open_, token.type, token.nesting, "")
    for one in open_:
        if isinstance(one, Tag):
            raise LetterError(f"{{% {one.word} %}} has no end", where=one.where)


def _line(prose: Prose, token: Token) -> int:
    """The line of a token in the file: our own blank lines shift markdown-it's count, so a mark's own line is better."""
    for match in MARK.finditer(token.content):
        held = prose.held[ord(match[0]) - HOLDERS]
        where = held.where if isinstance(held, Tag) else held.expression.where
        return int(where.rsplit(" ", 1)[1])
    return (token.map or [0])[0] + 1


def set_off(children: Sequence[Token]) -> bool:
    """Whether a whole paragraph is bold: a block set off from the text."""
    if len(children) < 3 or children[0].type != "strong_open" or children[-1].type != "strong_close":  # noqa: PLR2004 - open, text, close
        return False
    depth = 0
    for child in children[:-1]:
        depth += child.nesting if child.type.startswith("strong") else 0
        if depth == 0:
            return False
    return True


def _links(prose: Prose, children: Sequence[Token], where: str) -> None:
    for child in children:
        if child.type != "link_open":
            continue
        href = str(child.attrs.get("href", ""))
        marks = [prose.held[ord(char) - HOLDERS] for char in href if MARK.match(char)]
        if any(isinstance(mark, Tag) for mark in marks):
            raise LetterError("a condition can't stand in a link's target", where=where)
        whole = len(marks) == 1 and MARK.fullmatch(href) is not None
        if not whole and not href.lower().startswith(_SCHEMES):
            raise LetterError(
                f"the link goes to {MARK.sub('...', href)}", where=where, remedy="begin it with https:// or mailto:"
            )
        child.attrs["href"] = "".join(
            _in_link(prose, char, "url" if whole else "percent") if MARK.match(char) else char for char in href
        )


def _in_link(prose: Prose, mark: str, filter_: str) -> str:
    """A new mark for the expression with the filter that a link's target asks for."""
    held = prose.held[ord(mark) - HOLDERS]
    if not isinstance(held, Print):
        return mark
    code = held.expression.code
    if code.split("|")[-1].strip() not in {"url", "percent"}:
        code = f"{code} | {filter_}"
    prose.held.append(replace(held, expression=sandbox.read(code, held.expression.where)))
    return chr(HOLDERS + len(prose.held) - 1)


def _push(open_: list[str | Tag], name: str, nesting: int, where: str) -> None:
    base = name.rsplit("_", 1)[0]
    if nesting > 0:
        open_.append(base)
    elif nesting < 0:
        last = open_.pop() if open_ else None
        if isinstance(last, Tag):
            raise LetterError(
                f"{{% {last.word} %}} begins inside a paragraph, list, table or emphasis and does not end there",
                where=last.where or where,
                remedy="put its tags on lines of their own",
            )


def _nest(prose: Prose, children: Sequence[Token], open_: list[str | Tag], where: str) -> None:
    for child in children:
        if child.nesting:
            _push(open_, child.type, child.nesting, where)
        for match in MARK.finditer(child.content):
            mark = prose.held[ord(match[0]) - HOLDERS]
            if not isinstance(mark, Tag):
                continue
            if mark.word in {"if", "for"}:
                open_.append(mark)
            elif not open_ or not isinstance(open_[-1], Tag):
                raise LetterError(
                    f"{{% {mark.word} %}} stands in another paragraph, list or emphasis than its beginning",
                    where=mark.where,
                    remedy="put both tags on lines of their own, or both in one paragraph",
                )
            elif mark.word.startswith("end"):
                open_.pop()


def _no_block_inside(prose: Prose, content: str) -> None:
    for match in MARK.finditer(content):
        mark = prose.held[ord(match[0]) - HOLDERS]
        if isinstance(mark, Print) and mark.expression.block:
            raise LetterError(
                f"{{{{ {mark.expression.code} }}}} is a block and stands within a line",
                where=mark.expression.where,
                remedy="put it on a line of its own",
            )


def html_pieces(prose: Prose) -> list[Piece]:
    """The text as HTML, cut at its expressions."""
    html = str(prose.parser.renderer.render(prose.tokens, prose.parser.options, {}))
    return list(prose.pieces(html))

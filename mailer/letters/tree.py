"""A template or text as a tree: what is fixed, what is printed, choices, loops, and paragraphs that are wrapped.

`scan` cuts a source at its expressions, `build` makes the tree, `settle` works out all that the whole circular has in
common, and `emit` writes what is left as the Jinja2 source that is run for each letter. A frame, a
body and a subject go through the same four steps; only the escaping differs.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mailer.errors import LetterError
from mailer.letters import sandbox
from mailer.letters.kinds_of_fields import Kind
from mailer.letters.sandbox import Expression
from mailer.letters.text_fill import fill, hold


@dataclass(frozen=True, slots=True)
class Print:
    """An expression that is written into the letter; `prefix` stands before each further line of a block (text form)."""

    expression: Expression
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Tag:
    """A statement's tag: `if`, `elif`, `else`, `endif`, `for`, `endfor`."""

    word: str
    expression: Expression | None
    variable: str
    where: str


@dataclass(frozen=True, slots=True)
class Open:
    """A paragraph of the text form begins, with what stands before its first and its further lines."""

    first: str = ""
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """A paragraph of the text form ends."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`if`: the first branch whose test holds; a test of None is `else`."""

    branches: tuple[tuple[Expression | None, "Tree"], ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """`for variable in items`."""

    variable: str
    items: Expression
    body: "Tree"


@dataclass(frozen=True, slots=True)
class Fill:
    """A paragraph that is wrapped once its words are known."""

    first: str
    rest: str
    body: "Tree"


@dataclass(frozen=True, slots=True)
class Whole:
    """A part whose tags must not be seen by the HTML parser (`title`)."""

    body: "Tree"


Piece = str | Print | Tag | Open | Close | Whole
Node = str | Print | Choice | Loop | Fill | Whole
Tree = tuple[Node, ...]

_TAG = re.compile(r"(?P<word>if|elif|else|endif|for|endfor)\b\s*(?P<rest>.*)", re.DOTALL)
_BRACE = re.compile(r"\{(?=[{%#]|\Z)")
_FOR = re.compile(r"(?P<name>\w+)\s+in\s+(?P<items>.+)", re.DOTALL)


def scan(source: str, where: str) -> list[str | Print | Tag]:
    """Cut *source* at its expressions and tags; comments go. The texts between are as written.

    Raises:
        LetterError: with file and line.
    """
    found: list[str | Print | Tag] = []
    code: list[str] = []
    start = 0
    for line, kind, text in sandbox.lex(source, where):
        if kind == "data":
            found.append(text)
        elif kind in {"variable_begin", "block_begin"}:
            code, start = [], line
        elif kind == "variable_end":
            found.append(Print(sandbox.read("".join(code).strip(), f"{where} line {start}")))
            code = []
        elif kind == "block_end":
            found.append(_tag("".join(code).strip(), f"{where} line {start}"))
            code = []
        elif kind.startswith("raw"):
            raise LetterError("raw is not allowed", where=f"{where} line {line}")
        elif not kind.startswith("comment"):
            code.append(text)
    if code:
        raise LetterError("a field is not closed", where=f"{where} line {start}", remedy="end it with }}")
    return found


def _tag(code: str, where: str) -> Tag:
    match = _TAG.fullmatch(code)
    if match is None:
        word = code.partition(" ")[0] or "nothing"
        raise LetterError(
            f"{{% {word} %}} is not allowed",
            where=where,
            remedy="a text may hold if, elif, else, endif, for and endfor",
        )
    word, rest = match["word"], match["rest"].strip()
    if word == "for":
        loop = _FOR.fullmatch(rest)
        if loop is None or not sandbox.is_name(loop["name"]):
            raise LetterError("for is written {% for item in list %}", where=where)
        return Tag(word, sandbox.read(loop["items"], where), loop["name"], where)
    if (word in {"if", "elif"}) != bool(rest):
        raise LetterError(f"{{% {code} %}} can't be read", where=where)
    return Tag(word, sandbox.read(rest, where) if rest else None, "", where)


def build(pieces: Iterable[Piece], where: str) -> Tree:
    """Make the tree of *pieces*.

    Raises:
        LetterError: a tag has no partner.
    """
    tree, end = _build(iter(pieces), None)
    if isinstance(end, Tag):
        raise LetterError(f"{{% {end.word} %}} has no beginning", where=end.where or where)
    return tree


def _build(pieces: Iterator[Piece], opened: Tag | Open | None) -> tuple[Tree, Tag | Close | None]:
    """The nodes up to the tag that ends or divides *opened*, and that tag."""
    nodes: list[Node] = []
    for piece in pieces:
        if isinstance(piece, str):
            if nodes and isinstance(nodes[-1], str):
                nodes[-1] += piece
            else:
                nodes.append(piece)
        elif isinstance(piece, (Print, Whole)):
            nodes.append(piece)
        elif isinstance(piece, Open):
            body, end = _build(pieces, piece)
            if not isinstance(end, Close):
                raise LetterError(
                    "a condition does not end in the paragraph in which it begins", where=end.where if end else None
                )
            nodes.append(Fill(piece.first, piece.rest, body))
        elif isinstance(piece, Close):
            if isinstance(opened, Tag):
                raise LetterError("this does not end in the paragraph in which it begins", where=opened.where)
            return tuple(nodes), piece
        elif piece.word == "for":
            body, end = _build(pieces, piece)
            if not isinstance(end, Tag) or end.word != "endfor" or piece.expression is None:
                raise LetterError("for has no endfor", where=piece.where)
            nodes.append(Loop(piece.variable, piece.expression, body))
        elif piece.word == "if":
            nodes.append(_choice(pieces, piece))
        else:
            return tuple(nodes), piece
    return tuple(nodes), None


def _choice(pieces: Iterator[Piece], opened: Tag) -> Choice:
    branches: list[tuple[Expression | None, Tree]] = []
    current = opened
    while True:
        body, end = _build(pieces, current)
        branches.append((current.expression, body))
        if not isinstance(end, Tag) or end.word == "endfor" or (current.word == "else" and end.word != "endif"):
            raise LetterError("if has no endif", where=opened.where)
        if end.word == "endif":
            return Choice(tuple(branches))
        current = end


def walk(tree: Tree) -> Iterator[Node]:
    """All nodes, outer before inner."""
    for node in tree:
        yield node
        if isinstance(node, Choice):
            for _, body in node.branches:
                yield from walk(body)
        elif isinstance(node, (Loop, Fill, Whole)):
            yield from walk(node.body)


def names(tree: Tree) -> dict[str, list[str]]:
    """The names that a tree takes from outside, each with where it does."""
    found: dict[str, list[str]] = {}

    def note(expression: Expression | None, bound: frozenset[str]) -> None:
        for name in sorted((expression.names if expression else frozenset()) - bound):
            found.setdefault(name, []).append(expression.where if expression else "")

    def look(nodes: Tree, bound: frozenset[str]) -> None:
        for node in nodes:
            if isinstance(node, Print):
                note(node.expression, bound)
            elif isinstance(node, Choice):
                for test, body in node.branches:
                    note(test, bound)
                    look(body, bound)
            elif isinstance(node, Loop):
                note(node.items, bound)
                look(node.body, bound | {node.variable})
            elif isinstance(node, (Fill, Whole)):
                look(node.body, bound)

    look(tree, frozenset())
    return found


def check(tree: Tree, scope: Mapping[str, Kind]) -> None:
    """Check every expression's kinds; all names that `names` gives are in *scope*.

    Raises:
        LetterError: with file and line.
    """
    for node in tree:
        if isinstance(node, Print):
            sandbox.check(node.expression, scope, printed=True)
        elif isinstance(node, Choice):
            for test, body in node.branches:
                if test is not None:
                    sandbox.check(test, scope, printed=False)
                check(body, scope)
        elif isinstance(node, Loop):
            item = sandbox.check_loop(node.items, scope)
            if node.variable in scope:
                raise LetterError(
                    f"{node.variable} is a field already", where=node.items.where, remedy="name the item otherwise"
                )
            check(node.body, {**scope, node.variable: item})
        elif isinstance(node, (Fill, Whole)):
            check(node.body, scope)


@dataclass(frozen=True, slots=True)
class Output:
    """How one output works out and writes expressions.

    Attributes:
        run: (expression, values) -> object.
        show: object -> text of this output, escaped or cleaned.
        own: the letter's own fields.
        values: what the circular has in common.
    """

    run: Callable[[Expression, Mapping[str, Any]], Any]
    show: Callable[[Any], str]
    own: frozenset[str]
    values: Mapping[str, Any]

    def within(self, variable: str, item: Any) -> "Output":
        """The same inside a loop."""
        return replace(self, values={**self.values, variable: item})


def settle(tree: Tree, output: Output) -> Tree:
    """Work out what does not depend on a letter's own fields.

    Raises:
        LetterError: a value is lacking where it is printed, or a loop's item meets a letter's own field.
    """
    done: list[Node] = []
    for node in tree:
        for new in _settle(node, output):
            if isinstance(new, str) and done and isinstance(done[-1], str):
                done[-1] += new
            elif new != "":
                done.append(new)
    return tuple(done)


def _settle(node: Node, output: Output) -> Tree:
    if isinstance(node, str):
        return (node,)
    if isinstance(node, Print):
        if node.expression.names & output.own:
            return (node,)
        value = output.run(node.expression, output.values)
        if value is None:
            raise LetterError(
                f"{{{{ {node.expression.code} }}}} has no value here",
                where=node.expression.where,
                remedy="give it in circular.toml, or put {% if ... %} around it",
            )
        return (output.show(value).replace("\n", f"\n{node.prefix}"),)
    if isinstance(node, Choice):
        return _settle_choice(node, output)
    if isinstance(node, Loop):
        turns = output.run(node.items, output.values) or ()
        return tuple(new for item in turns for new in settle(node.body, output.within(node.variable, item)))
    body = settle(node.body, output)
    if isinstance(node, Whole):
        return (Whole(body),)
    if all(isinstance(one, str) for one in body):
        text = "".join(one for one in body if isinstance(one, str))
        return (fill(hold(text), node.first, node.rest),) if text.strip() else ()
    return (Fill(node.first, node.rest, tuple(hold(one) if isinstance(one, str) else one for one in body)),)


def _settle_choice(node: Choice, output: Output) -> Tree:
    left: list[tuple[Expression | None, Tree]] = []
    for test, body in node.branches:
        if test is not None and test.names & output.own:
            left.append((test, settle(body, output)))
        elif test is None or output.run(test, output.values):
            if not left:
                return settle(body, output)
            left.append((None, settle(body, output)))
            break
    return (Choice(tuple(left)),) if left else ()


def protect(text: str) -> str:
    """*text* as Jinja2 source: its braces are never taken for delimiters."""
    return _BRACE.sub("{{ '{' }}", text)


def emit(tree: Tree) -> str:
    """The tree as Jinja2 source for `letters.render`; only what depends on a letter is left in it as code."""
    out: list[str] = []
    for node in tree:
        if isinstance(node, str):
            out.append(protect(node))
        elif isinstance(node, Print):
            out.append(f"{{{{ {node.expression.code} }}}}")
        elif isinstance(node, Choice):
            out.extend(
                f"{opening}{emit(body)}"
                for opening, body in zip(openings(node), (b for _, b in node.branches), strict=True)
            )
            out.append("{% endif %}")
        elif isinstance(node, Fill):
            out.append(f"{{% filter fill({node.first!r}, {node.rest!r}) %}}{emit(node.body)}{{% endfilter %}}")
        elif isinstance(node, Whole):
            out.append(emit(node.body))
        else:
            raise LetterError("a loop is left per letter", where=node.items.where)
    return "".join(out)


def openings(choice: Choice) -> Sequence[str]:
    """The tags before each branch."""
    return [
        "{% else %}" if test is None else f"{{% {'if' if place == 0 else 'elif'} {test.code} %}}"
        for place, (test, _) in enumerate(choice.branches)
    ]


def mixed(tree: Tree, own: frozenset[str]) -> set[str]:
    """Common names that what is left per letter compares with (a settled tree)."""
    found: set[str] = set()
    for node in walk(tree):
        tests = (
            [node.expression]
            if isinstance(node, Print)
            else [t for t, _ in node.branches]
            if isinstance(node, Choice)
            else []
        )
        for expression in tests:
            if expression is not None:
                found |= expression.names - own
    return found

"""What an expression in a template or text may be, and the environments that run it.

An author may write names, parts of declared objects, named filters, literals, comparisons, and, or, not.
Everything else is refused when the text is read: calls, arithmetic, `~`, items by index, tests, inline if,
private names. The sandbox alone would let `'a' * 10**8` through. Statements are `if`, `elif`, `else`, `for NAME in
LIST` and their ends; `letters.tree` knows no others.

Expressions over what the whole circular has in common are worked out once, when it is compiled. What is
left for each letter is a small Jinja2 source that names only the letter's own fields.
"""

import functools
import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mailer.errors import LetterError
from mailer.letters.environment import environment
from mailer.letters.kinds_of_fields import BLOCKS, FILTERS, FLAT, ITEM, PARTS, PRINTABLE, Kind


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression.

    Attributes:
        code: its source.
        names: the fields it names.
        block: whether its outermost filter makes a block.
        where: file and line.
    """

    code: str
    names: frozenset[str]
    block: bool
    where: str
    node: nodes.Expr


@functools.cache
def _reader() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)


def lex(source: str, where: str) -> list[tuple[int, str, str]]:
    """Jinja2's own tokens of *source*: (line from 1, type, text).

    Raises:
        LetterError: a delimiter or a string is left open, or a character can't stand in an expression.
    """
    try:
        return list(_reader().lex(source))
    except TemplateSyntaxError as error:
        raise LetterError(
            f"the fields can't be read: {error.message}",
            where=f"{where} line {error.lineno}",
            remedy="write a field as {{ name }} and a condition as {% if name %} ... {% endif %}",
        ) from None


def read(code: str, where: str) -> Expression:
    """Parse one expression and refuse what is not allowed in one; which names exist is looked at by `check`.

    Raises:
        LetterError: with *where*.
    """
    try:
        body = _reader().parse(f"{{{{ {code} }}}}").body
    except TemplateSyntaxError as error:
        raise LetterError(f"{{{{ {code} }}}} can't be read: {error.message}", where=where) from None
    output = body[0] if len(body) == 1 else None
    if (
        not isinstance(output, nodes.Output)
        or len(output.nodes) != 1
        or isinstance(output.nodes[0], nodes.TemplateData)
    ):
        raise LetterError(f"{{{{ {code} }}}} is not one expression", where=where)
    node = output.nodes[0]
    _refuse(node, code, where)
    names = frozenset(
        name.name for name in [*node.find_all(nodes.Name), *([node] if isinstance(node, nodes.Name) else [])]
    )
    return Expression(code, names, isinstance(node, nodes.Filter) and node.name in BLOCKS, where, node)


_ALLOWED = (
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Filter,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
)


def _refuse(node: nodes.Node, code: str, where: str) -> None:
    for one in [node, *node.find_all(nodes.Node)]:
        if not isinstance(one, _ALLOWED):
            raise LetterError(
                f"{{{{ {code} }}}} calculates, calls or takes apart what a text may only name",
                where=where,
                remedy="use fields, their parts, filters and comparisons only",
            )
        if isinstance(one, nodes.Filter) and (one.kwargs or one.dyn_args or one.dyn_kwargs or one.args):
            raise LetterError(f"the filter {one.name} takes nothing in brackets", where=where)
        if isinstance(one, nodes.Filter) and one.name not in FILTERS:
            raise LetterError(
                f"there is no filter {one.name}", where=where, remedy=f"the filters are {', '.join(sorted(FILTERS))}"
            )
        name = one.name if isinstance(one, nodes.Name) else one.attr if isinstance(one, nodes.Getattr) else ""
        if name.startswith("_"):
            raise LetterError(f"{name} is private", where=where, remedy="no field begins with an underscore")


def check(expression: Expression, scope: Mapping[str, Kind], *, printed: bool) -> Kind:
    """What *expression* gives.

    Args:
        expression: as read.
        scope: the kind of each name; all its names are in it.
        printed: whether it is written into the letter; then it has to be printable.

    Raises:
        LetterError: a part that the object lacks, or a filter that does not take this kind.
    """
    kind, filtered = _kind(expression.node, scope, expression.where)
    if printed and not filtered and kind not in PRINTABLE:
        usable = [name for name, takes in FILTERS.items() if kind in takes]
        raise LetterError(
            f"{{{{ {expression.code} }}}} is a {kind.value} and does not print by itself",
            where=expression.where,
            remedy=f"use a filter ({', '.join(usable)})" if usable else "name a part of it",
        )
    return kind


def _kind(node: nodes.Node, scope: Mapping[str, Kind], where: str) -> tuple[Kind, bool]:
    """The kind, and whether a filter has made a text of it."""
    if isinstance(node, nodes.Name):
        return scope[node.name], False
    if isinstance(node, nodes.Const):
        return (Kind.YES_NO if isinstance(node.value, bool) else Kind.TEXT), False
    if isinstance(node, nodes.Getattr):
        kind, _ = _kind(node.node, scope, where)
        if kind is Kind.ROW:
            return Kind.TEXT, False
        if node.attr not in PARTS.get(kind, {}):
            parts = ", ".join(PARTS.get(kind, {}))
            raise LetterError(
                f"a {kind.value} has no part {node.attr}", where=where, remedy=f"it has {parts}" if parts else ""
            )
        return PARTS[kind][node.attr], False
    if isinstance(node, nodes.Filter) and node.node is not None:
        kind, filtered = _kind(node.node, scope, where)
        if filtered or kind not in FILTERS[node.name]:
            takes = " or ".join(sorted(k.value for k in FILTERS[node.name]))
            given = "what another filter made" if filtered else f"a {kind.value}"
            raise LetterError(f"the filter {node.name} takes a {takes}, and this is {given}", where=where)
        return Kind.TEXT, True
    for child in node.iter_child_nodes():
        inner = child.expr if isinstance(child, nodes.Operand) else child
        _kind(inner, scope, where)
    return Kind.YES_NO, False


def check_loop(expression: Expression, scope: Mapping[str, Kind]) -> Kind:
    """The kind of the items that `for` goes over.

    Raises:
        LetterError: it is not a list that is declared.
    """
    kind = check(expression, scope, printed=False)
    if not isinstance(expression.node, nodes.Name) or kind not in ITEM:
        lists = ", ".join(sorted(name for name, one in scope.items() if one in ITEM))
        raise LetterError(
            f"for can't go over {expression.code}", where=expression.where, remedy=f"the lists are {lists}"
        )
    return ITEM[kind]


def may_mix(expression: Expression, scope: Mapping[str, Kind]) -> bool:
    """Whether all names are flat, so that a letter's own field may be compared with them per letter."""
    return all(scope[name] in FLAT for name in expression.names)


def is_name(name: str) -> bool:
    """Whether a field may be called so."""
    return name.isidentifier() and name.isascii() and not name.startswith("_") and not keyword.iskeyword(name)


def evaluator(filters: Mapping[str, Callable[..., Any]]) -> Callable[[Expression, Mapping[str, Any]], Any]:
    """A function (expression, values) -> object, for checked expressions over common values, run in the sandbox."""
    made = environment(html=False)
    made.filters.clear()
    made.filters.update(filters)
    compiled = functools.cache(functools.partial(made.compile_expression, undefined_to_none=False))

    def run(expression: Expression, values: Mapping[str, Any]) -> Any:
        if isinstance(expression.node, nodes.Name) and (value := values.get(expression.node.name)) is not None:
            return value  # as most are; to compile one takes a millisecond
        try:
            value = compiled(expression.code)(dict(values))
        except UndefinedError as error:
            raise LetterError(
                f"{{{{ {expression.code} }}}} has no value: {error.message}", where=expression.where
            ) from None
        if isinstance(value, Undefined):
            raise LetterError(f"{{{{ {expression.code} }}}} has no value", where=expression.where)
        return value

    return run

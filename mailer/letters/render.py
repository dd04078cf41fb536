"""Compiled letter + a letter's own fields -> subject, HTML and text. The hot path: nothing is read, parsed or looked up per letter."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from jinja2 import TemplateError

from lists.records import record
from mailer.errors import Defect, LetterError
from mailer.letters import clean
from mailer.letters.compiled import COMPOSER, Compiled
from mailer.letters.environment import Scope, environment


@record
class Rendered:
    """One letter's texts; the subject is one line, the text ends with a newline."""

    subject: str
    html: str
    text: str


class Renderer:
    """Renders the letters of one compiled circular; make one per circular, language and form, and keep it.

    Attributes:
        html, text: passages that letters have in common, as they stand among the pieces of a letter; a guess, which need not hold.

    Raises:
        Defect: the compiled letter is of another composer version.
    """

    def __init__(self, compiled: Compiled) -> None:
        if compiled.composer != COMPOSER:
            raise Defect(
                f"the letter was composed by version {compiled.composer}, and this is {COMPOSER}",
                remedy="send it with the version of chancery that approved it",
            )
        self.html, self.text = _passages(compiled.html), _passages(compiled.text)
        self._own = frozenset(compiled.own)
        self._values = dict(compiled.values)
        self._subject = _runner(compiled.subject, html=False)
        self._html = _runner(compiled.html, html=True)
        self._text = _runner(compiled.text, html=False)

    def render(self, fields: Mapping[str, str]) -> Rendered:
        """Merge one letter.

        Args:
            fields: at least every field of `Compiled.own`; others are not looked at.

        Raises:
            LetterError: a field is missing.
        """
        subject, html, text = self.pieces(fields)
        return Rendered(subject, "".join(html), "".join(text))

    def pieces(self, fields: Mapping[str, str]) -> tuple[str, Sequence[str], Sequence[str]]:
        """As `render`, HTML and text in pieces: what letters have in common is the same in all of them."""
        own = self._values.copy()
        try:
            for name in self._own:
                own[name] = clean.line(fields[name])
        except KeyError:
            lacking = ", ".join(sorted(self._own - fields.keys()))
            raise LetterError(f"the letter has no {lacking}", where=fields.get("organization")) from None
        scope = Scope(own)  # one for all: how a text is escaped is compiled into its code
        try:
            return clean.line("".join(self._subject(scope))), list(self._html(scope)), list(self._text(scope))
        except TemplateError as error:
            raise LetterError(f"the letter can't be merged: {error}", where=fields.get("organization")) from None


def _runner(source: str, *, html: bool) -> Callable[[Scope], Iterator[str] | Sequence[str]]:
    if "{{" not in source and "{%" not in source:
        whole = (source,)
        return lambda _: whole
    return environment(html=html).from_string(source).root_render_func


_CODE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_BRACE = "{{ '{' }}"


def _passages(source: str) -> list[str]:
    """What stands between the fields and conditions of a Jinja2 source that `tree.emit` made."""
    held = source.replace(_BRACE, "\0")
    return [passage.replace("\0", "{") for passage in _CODE.split(held) if passage]

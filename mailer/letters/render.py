"""Compiled letter + a letter's own fields -> subject, HTML and text. The hot path: nothing is read, parsed or looked up per letter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jinja2 import TemplateError

from mailer.errors import Defect, LetterError
from mailer.letters import clean, sandbox
from mailer.letters.compiled import COMPOSER, Compiled


@dataclass(frozen=True, slots=True)
class Rendered:
    """One letter's texts; the subject is one line, the text ends with a newline."""

    subject: str
    html: str
    text: str


class Renderer:
    """Renders the letters of one compiled circular; make one per circular, language and form, and keep it.

    Raises:
        Defect: the compiled letter is of another composer version.
    """

    def __init__(self, compiled: Compiled) -> None:
        if compiled.composer != COMPOSER:
            raise Defect(
                f"the letter was composed by version {compiled.composer}, and this is {COMPOSER}",
                remedy="send it with the version of chancery that approved it",
            )
        self._own = frozenset(compiled.own)
        self._subject = _runner(compiled.subject, compiled.values, html=False)
        self._html = _runner(compiled.html, compiled.values, html=True)
        self._text = _runner(compiled.text, compiled.values, html=False)

    def render(self, fields: Mapping[str, str]) -> Rendered:
        """Merge one letter.

        Args:
            fields: at least every field of `Compiled.own`; others are not looked at.

        Raises:
            LetterError: a field is missing.
        """
        if not self._own <= fields.keys():
            lacking = ", ".join(sorted(self._own - fields.keys()))
            raise LetterError(f"the letter has no {lacking}", where=fields.get("organization"))
        try:
            own = {name: clean.line(fields[name]) for name in self._own}
            return Rendered(clean.line(self._subject(own)), self._html(own), self._text(own))
        except TemplateError as error:
            raise LetterError(f"the letter can't be merged: {error}", where=fields.get("organization")) from None


def _runner(source: str, values: Mapping[str, object], *, html: bool) -> Callable[[Mapping[str, str]], str]:
    environment = sandbox.environment(html=html)
    if "{{" not in source and "{%" not in source:
        return lambda _: source
    template = environment.from_string(source, globals=dict(values))
    template.globals = dict(template.globals)  # in place of a chain of maps, which is walked anew for each letter
    return template.render

"""Where letters are merged; apart from `sandbox`, which reads what people write, for sending reads nothing."""

from typing import Any

from jinja2 import StrictUndefined
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mailer.letters import clean
from mailer.letters.text_fill import fill


def environment(*, html: bool) -> ImmutableSandboxedEnvironment:
    """An environment for what is left per letter: nothing in it but our filters. Its caller cleans the values."""
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=html, keep_trailing_newline=True, cache_size=0
    )
    made.globals.clear()
    made.tests.clear()
    made.filters.clear()
    made.filters.update({"percent": clean.percent, "fill": lambda text, first, rest: fill(str(text), first, rest)})
    return made


class Scope(Context):
    """The values that compiled code asks for. Jinja2's own keeps more, for blocks and assignments, which no source of ours has."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.parent = values
        self.vars: dict[str, Any] = {}

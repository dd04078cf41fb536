"""What compiling a circular gives; apart from the compiler, which sending need not load."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lists.records import record

#: Raised whenever the same compiled letter and fields would give other text.
COMPOSER = 1


@record
class Compiled:
    """A circular in one language and form, ready to be merged.

    Attributes:
        composer: the version that made it; another version never renders a letter that has begun.
        subject, html, text: Jinja2 sources that name only `own` and `values`.
        own: the fields that each letter has to bring.
        values: flat common values that conditions compare with a letter's own fields.
    """

    composer: int
    language: str
    form: str
    subject: str
    html: str
    text: str
    own: tuple[str, ...]
    values: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "own": list(self.own), "values": dict(self.values)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Compiled":
        """Read what `as_json` gave."""
        return cls(**{**document, "own": tuple(document["own"])})

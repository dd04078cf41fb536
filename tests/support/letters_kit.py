"""Letters made in a line or two, for tests."""

import datetime as dt
from typing import Any

from lists.kinds import Form
from mailer.letters import catalog
from mailer.letters.compile import compile_letter
from mailer.letters.compiled import Compiled
from mailer.letters.render import Rendered, Renderer
from mailer.letters.source import Issuer, Source

MISSION = {"organization": "Permanent Mission of France", "state": "France", "salutation": "Excellency,"}
NGO = {"organization": "Some Organization", "state": "", "salutation": "Dear colleagues,"}


def source(body: str, **more: Any) -> Source:
    """A source of 7 July 2006 with this body."""
    given = {
        "language": "en",
        "form": Form.LETTER,
        "subject": "Subject",
        "date": dt.date(2006, 7, 7),
        "body_where": "letter.en.md",
        "issuers": (Issuer("A Name", "A Capacity"),),
        "closing": None,
    }
    return Source(body=body, **{**given, **more})


def compiled(body: str, template: str = "letter", **more: Any) -> Compiled:
    """That source compiled, taken through JSON."""
    made = compile_letter(catalog.find(template, catalog.folders()), source(body, **more))
    return Compiled.from_json(made.as_json())


def rendered(body: str, fields: dict[str, str] | None = None, template: str = "letter", **more: Any) -> Rendered:
    """That source, compiled and merged."""
    return Renderer(compiled(body, template, **more)).render({**MISSION, **(fields or {})})

"""A template tried out: its frames and starting texts compiled and rendered with made-up values."""

import datetime as dt

from lists.findings import Finding, stops
from lists.kinds import Form, Severity
from mailer.errors import LetterError
from mailer.letters import wording
from mailer.letters.catalog import Template
from mailer.letters.compile import LARGEST_HTML, compile_letter, problems
from mailer.letters.kinds_of_fields import Kind
from mailer.letters.render import Renderer
from mailer.letters.source import DateRange, Enclosure, Event, Follows, Issuer, Person, Source, Value

_VALUES: dict[Kind, Value] = {
    Kind.TEXT: "something",
    Kind.URL: "https://www.secretariat.example/",
    Kind.NUMBER: 7,
    Kind.YES_NO: True,
    Kind.DATE: dt.date(2006, 9, 18),
    Kind.DAYS: DateRange(dt.date(2006, 9, 18), dt.date(2006, 9, 22)),
    Kind.TEXTS: ["one", "two"],
    Kind.ROWS: [{"item": "1", "title": "one"}],
}
_LETTERS = (
    {"organization": "Permanent Mission of Somewhere", "state": "Somewhere", "salutation": "Excellency,"},
    {"organization": "Another Organization", "state": "", "salutation": "Dear colleagues,"},
)


def example(template: Template, language: str, form: Form, body: str, where: str) -> Source:
    """A source in which nothing is lacking."""
    return Source(
        language=language,
        form=form,
        subject="Trial",
        body=body,
        body_where=where,
        date=dt.date(2006, 7, 7),
        reference="TRIAL/2006/001",
        place="Geneva",
        to_lines=("The Permanent Missions",),
        cc_lines=("Organizations",),
        issuers=(Issuer("A Name", "A Capacity", "**A letterhead**", "An address\nTel: +41 22 555 00 00"),),
        salutation=None,
        closing="Yours sincerely,",
        event=Event("A meeting", dt.datetime(2006, 7, 17, 15), dt.datetime(2006, 7, 17, 18), location="A room"),  # noqa: DTZ001 - local time of the place
        reply_by=dt.date(2006, 7, 14),
        contact_persons=(Person("A Person", "", "A Mission", "+41 22 555 00 01", "person@mission.example"),),
        enclosures=(Enclosure("A paper"), Enclosure("Another paper", "English only")),
        follows=Follows("TRIAL/2006/000", dt.date(2006, 6, 15), "An earlier letter"),
        values={name: _VALUES[field.kind] for name, field in template.fields.items()},
    )


def check(template: Template) -> list[Finding]:
    """What is wrong with *template*, over all its forms and starting texts."""
    found: list[Finding] = []
    texts = {one: (file.name, file.read_text("utf-8-sig")) for one, file in template.starting.items()}
    for language, (where, body) in (texts or {"en": ("letter.en.md", "Text.")}).items():
        for form in template.forms:
            try:
                wording.load(language, template.folders)
                source = example(template, language, form, body, f"{template.name}/{where}")
                wrong = stops(problems(template, source))
                found.extend(wrong or _render(template, source))
            except LetterError as error:
                found.append(
                    Finding("template", Severity.ERROR, error.where or template.name, error.what, error.remedy or "")
                )
    return list(dict.fromkeys(found))


def _render(template: Template, source: Source) -> list[Finding]:
    compiled = compile_letter(template, source)
    renderer = Renderer(compiled)
    largest = max(len(renderer.render(fields).html.encode()) for fields in _LETTERS)
    if largest <= LARGEST_HTML:
        return []
    what = f"its HTML has {largest:,} bytes, and mail programs cut it off at 102,400"
    return [Finding("html-size", Severity.ERROR, f"template {template.name}", what, "make the frame smaller")]

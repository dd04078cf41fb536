"""How a report is printed for programs and for a browser: JSON, CSV, HTML; `reports.table` prints it for a terminal."""

import csv
import datetime as dt
import io
import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any

from mailer.reports.explain import LETTER_WORDS, RECIPIENT_WORDS
from mailer.reports.lines import LetterLine, RecipientLine, Report

#: What makes a spreadsheet read a cell as a formula (OWASP, CSV Injection), full-width forms included.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 - the full-width forms are the point
_CONTROL = ("\t", "\r", "\n")

#: A command within the words of a next step, and its options.
_COMMAND = re.compile(r"(chancery [a-z]+[^;,:`]*)")
_OPTION = re.compile(r"(?<= )(--?[a-z-]+)")

CSV_COLUMNS = (
    "organization",
    "state",
    "audience",
    "role",
    "language",
    "letter",
    "letter_state",
    "address",
    "address_role",
    "address_state",
    "what_happened",
    "reply",
    "at",
    "next_try",
    "next_step",
    "sent_at",
    "message_id",
    "sha256",
    "reminders",
    "answer",
)


def safe_cell(value: Any) -> str | int | float:
    """*value* for a cell of a sheet: never a formula, whatever spreadsheet opens it.

    Numbers stay numbers; None is empty; times are ISO 8601. A text that a spreadsheet could take for a formula gets an
    apostrophe in front, which makes it a text.
    """
    if value is None:
        return ""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return value
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    text = str(value).replace("\x00", "")
    if text.startswith(_CONTROL) or text.lstrip().startswith(_FORMULA):
        return f"'{text}"
    return text


def as_json(report: Report) -> Iterator[str]:
    """The report as JSON (DESIGN section 8), in pieces: a letter is held as text only while it is written."""
    head = {
        "reference": report.reference,
        "title": report.title,
        "state": report.state.value,
        "counts": report.counts,
        "not_addressed": [
            # an organization has no ISO code: its name stands in the reason
            {
                "state_iso3": one.state_iso3,
                "audience": one.audience,
                "why": one.why if one.state_iso3 or not one.name or one.name in one.why else f"{one.name}: {one.why}",
            }
            for one in report.not_addressed
        ],
    }
    yield json.dumps(head, ensure_ascii=False, indent=2)[:-2] + ',\n  "letters": ['
    for place, letter in enumerate(report.letters):
        yield (",\n" if place else "\n") + "    " + json.dumps(_letter(letter), ensure_ascii=False)
    yield "\n  ]\n}\n" if report.letters else "]\n}\n"


def _letter(letter: LetterLine) -> dict[str, Any]:
    return {
        "id": letter.id,
        "organization": letter.organization,
        "state_iso3": letter.state_iso3,
        "audience": letter.audience,
        "role": letter.role.value,
        "form": letter.form.value,
        "language": letter.language,
        "message_id": letter.message_id,
        "state": letter.state.value,
        "why": letter.why,
        "attempts": letter.attempts,
        "sha256": letter.sha256,
        "sent_at": _iso(letter.sent_at),
        "recipients": [
            {
                "address": one.address,
                "role": one.role.value,
                "state": one.state.value,
                "reply": one.reply,
                "at": _iso(one.at),
                "evidence": [dict(fact) for fact in one.evidence],
                **({"added": one.added} if one.added else {}),
            }
            for one in letter.recipients
        ],
        "reminders": letter.reminders,
        "answer": letter.answer,
    }


def _iso(at: dt.datetime | None) -> str | None:
    return at.isoformat() if at else None


def as_csv(report: Report) -> Iterator[str]:
    """The report as CSV, a line per address, each cell safe in a spreadsheet; the first piece begins with a BOM for Excel."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write("\ufeff")
    writer.writerow(CSV_COLUMNS)
    for letter in report.letters:
        for one in letter.recipients:
            writer.writerow([safe_cell(value) for value in _csv_row(report, letter, one).values()])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    for missing in report.not_addressed:
        row = dict.fromkeys(CSV_COLUMNS, "") | {
            "organization": missing.name if missing.state_iso3 is None else "",
            "state": missing.state_iso3,
            "audience": missing.audience,
            "letter_state": "no addressee",
            "what_happened": missing.why,
        }
        writer.writerow([safe_cell(value) for value in row.values()])
    yield buffer.getvalue()


def _csv_row(report: Report, letter: LetterLine, one: RecipientLine) -> Mapping[str, Any]:
    told = one.explained
    return {
        "organization": letter.organization,
        "state": letter.state_iso3,
        "audience": letter.audience,
        "role": letter.role,
        "language": letter.language,
        "letter": letter.id,
        "letter_state": LETTER_WORDS[letter.state],
        "address": one.address,
        "address_role": one.role,
        "address_state": RECIPIENT_WORDS[one.state],
        "what_happened": told.what,
        "reply": one.reply,
        "at": one.at,
        "next_try": one.next_at,
        "next_step": told.next_step(
            reference=report.reference, organization_id=letter.organization_id, letter_id=letter.id
        ),
        "sent_at": letter.sent_at,
        "message_id": letter.message_id,
        "sha256": letter.sha256,
        "reminders": letter.reminders,
        "answer": letter.answer,
    }


def as_html(report: Report) -> Iterator[str]:
    """The report as one page that needs nothing else, in pieces; every value is escaped."""
    from mailer.letters.languages import NAMES
    from mailer.reports import explain, table

    yield from _page().generate(
        report=report,
        sending=table.sending_words(report),
        size=table.size_words(report),
        glance=list(table.glance(report)),
        audiences=table.audiences(report),
        figures=table.figures(report),
        unaddressed=table.unaddressed(report),
        add_contacts=table.ADD_CONTACTS,
        commands=_commands,
        schedule_words=table.schedule_words,
        letter_words=LETTER_WORDS,
        recipient_words=RECIPIENT_WORDS,
        circular_words=explain.CIRCULAR_WORDS,
        languages=NAMES,
        day=table.local_day,
        time=lambda at: table.local_time(at, report.zone),
    )


def _commands(step: str) -> Any:
    """*step* with its commands set as such, and no option of them torn apart at its hyphens."""
    from markupsafe import Markup

    made = Markup("")
    for place, part in enumerate(_COMMAND.split(step)):
        if place % 2 == 0:
            made += part
            continue
        pieces = _OPTION.split(part)
        inner = (Markup("<span>{}</span>").format(one) if number % 2 else one for number, one in enumerate(pieces))
        made += Markup("<code>{}</code>").format(Markup("").join(inner))
    return made


@cache
def _page() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(resources.files("mailer.reports").joinpath("page.html").read_text("utf-8"))

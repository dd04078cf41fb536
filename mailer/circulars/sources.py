"""From a document to what one form and language of its letters is compiled from. Pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from lists.kinds import Form
from mailer.circulars.document import Document, Enclosure, IssuerSpec, ReminderSpec, Texts, in_language
from mailer.circulars.numbering import of_reminder
from mailer.letters import source as letters
from mailer.letters.languages import text_in
from mailer.letters.wording import Wording
from mailer.settings import Issuer, Settings


@dataclass(frozen=True, slots=True)
class Earlier:
    """The letter that a circular follows, as far as it is known; `circular_id` where it is one of ours."""

    reference: str | None
    date: dt.date | None
    title: Texts
    circular_id: int | None = None


def source_for(
    document: Document,
    language: str,
    *,
    form: Form,
    settings: Settings,
    wording: Wording,
    reference: str,
    to_keys: Sequence[str],
    cc_keys: Sequence[str],
    earlier: Earlier | None,
) -> letters.Source:
    """What the letters of this form and language are compiled from.

    A text that the language lacks is taken from another one, so that a check can go on to the other findings; it is a finding.

    Args:
        document: the draft.
        language: one of the document's.
        form: of the letters.
        settings: for issuers.
        wording: the layouts' words in this language.
        reference: the circular's.
        to_keys: keys of the audiences under To.
        cc_keys: those under CC.
        earlier: what `document.follows` names.
    """
    speak = _Texts(language)
    event = document.event
    return letters.Source(
        language=language,
        form=form,
        subject=speak.of(document.subject),
        body=document.texts.get(language, ""),
        body_where=f"letter.{language}.md",
        reference=reference if document.print_reference else None,
        place=speak.of(document.place) or None,
        date=document.date,
        to_lines=_lines(document, to_keys, language, wording),
        cc_lines=_lines(document, cc_keys, language, wording),
        from_line=speak.of(document.from_line) or None,
        issuers=tuple(speak.issuer(issuer_of(key, document, settings)) for key in document.issuers),
        letterhead=speak.of(document.letterhead),
        salutation=None if document.salutation == "own" else speak.of(document.salutation),
        closing=speak.of(document.closing) or None,
        event=letters.Event(speak.of(event.title), event.start, event.end, event.timezone, speak.of(event.location))
        if event
        else None,
        reply_by=document.reply_by,
        contact_persons=tuple(
            letters.Person(speak.of(one.name), speak.of(one.title), speak.of(one.organization), one.phone, one.email)
            for one in document.contact_persons
        ),
        enclosures=tuple(
            letters.Enclosure(speak.of(one.title), note_of(one, language, wording)) for one in document.enclosures
        ),
        follows=letters.Follows(earlier.reference, earlier.date, speak.of(earlier.title)) if earlier else None,
        values={
            key: value for key, one in document.values.items() if (value := in_language(one, language)) is not None
        },
    )


def reminder_source(
    parent: letters.Source,
    document: Document,
    reminder: ReminderSpec,
    *,
    ordinal: int,
    form: Form,
    reference: str,
    date: dt.date,
    wording: Wording,
) -> letters.Source:
    """What a reminder in `parent.language` is compiled from: the circular's source with the reminder's own text, of the day it is due."""
    speak = _Texts(parent.language)
    own = speak.of(reminder.subject)
    return letters.Source(
        **{
            **{name: getattr(parent, name) for name in _KEPT},
            "form": form,
            "date": date,
            "subject": own or f"{wording.labels.get('reminder', '')} {parent.subject}".strip(),
            "body": reminder.texts.get(parent.language, ""),
            "body_where": f"{reminder.text}.{parent.language}.md",
            "reference": of_reminder(reference, ordinal) if document.print_reference else None,
            "follows": letters.Follows(reference if document.print_reference else None, document.date, parent.subject),
        }
    )


#: What a reminder has in common with its circular.
_KEPT = (
    "language", "place", "to_lines", "cc_lines", "from_line", "issuers", "letterhead", "salutation", "closing", "event",
    "reply_by", "contact_persons", "values",
)  # fmt: skip


def issuer_of(key: str, document: Document, settings: Settings) -> IssuerSpec | Issuer | None:
    """The issuer of that key: the file's own, else the settings'."""
    return document.own_issuers.get(key) or settings.issuers.get(key)


def note_of(enclosure: Enclosure, language: str, wording: Wording) -> str:
    """What stands after an enclosure's title in the list."""
    if enclosure.to_follow is not None:
        return wording.to_follow(enclosure.to_follow)
    if enclosure.only is not None:
        return wording.only(enclosure.only)
    found = enclosure.file_for(language)
    return wording.only(found[1]) if found and found[1] else ""


def audience_words(document: Document, key: str, language: str, wording: Wording) -> str:
    """How an audience is printed: the circular's own wording, else the layouts'; "" where there is none."""
    own = document.wording.get(key) or document.wording.get(key.split("@", maxsplit=1)[0])
    return _Texts(language).of(own) or wording.audience(key) or ""


def _lines(document: Document, keys: Sequence[str], language: str, wording: Wording) -> tuple[str, ...]:
    """The audiences as they are printed; those without any words are left out, which is a finding."""
    lines = [audience_words(document, key, language, wording) for key in keys]
    return tuple(dict.fromkeys(line for line in lines if line))


class _Texts:
    def __init__(self, language: str) -> None:
        self.language = language

    def of(self, text: Texts | None) -> str:
        if text is None:
            return ""
        return text_in(text, self.language) or (next(iter(text.values()), "") if isinstance(text, dict) else "")

    def issuer(self, one: IssuerSpec | Issuer | None) -> letters.Issuer:
        if one is None:
            return letters.Issuer()
        return letters.Issuer(
            self.of(one.name), self.of(one.capacity), self.of(one.letterhead), self.of(one.address_block)
        )

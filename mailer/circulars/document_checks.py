"""What a folder says that is wrong or doubtful whoever gets the letter: texts, settings, days, persons, enclosures. Pure."""

import datetime as dt
from collections.abc import Iterator

from lists import address
from lists.findings import Finding
from lists.kinds import Severity
from mailer.circulars.document import Document
from mailer.errors import BadInput
from mailer.letters import languages
from mailer.mime import limits
from mailer.settings import Settings


def of_document(document: Document, settings: Settings, today: dt.date) -> Iterator[Finding]:
    """All of it, in the order in which a folder is written; *today* is the day that is past or not."""
    yield from _texts(document)
    yield from _settings(document, settings)
    yield from _dates(document, today)
    yield from _persons(document)
    yield from _enclosures(document)


def _texts(document: Document) -> Iterator[Finding]:
    """Texts that one of the languages lacks, and texts in languages that it is not sent in."""

    def lacks(where: str, what: str, subject: str, remedy: str) -> Finding:
        return Finding("text-missing", Severity.ERROR, where, what, remedy, subject)

    for language in document.languages:
        name = languages.NAMES[language]
        if language not in document.texts:
            file = f"letter.{language}.md"
            yield lacks(file, f"there is no text of the letter in {name}", file, f"write {file}, then update")
        elif not document.texts[language].strip():
            file = f"letter.{language}.md"
            yield lacks(file, "the text is empty", file, "write it, then update")
        for key, text in document.all_texts():
            if isinstance(text, dict) and not text.get(language):
                what = f"{key} has no text in {name}"
                yield lacks(document.where(key), what, f"{key}.{language}", f'add {language} = "..."')
        for reminder in document.reminders:
            if not reminder.texts.get(language, "").strip():
                file = f"{reminder.text}.{language}.md"
                yield lacks(file, f"there is no text of the reminder in {name}", file, f"write {file}, then update")
    for language in set(document.texts) - set(document.languages):
        file = f"letter.{language}.md"
        what = f"it is not used: languages does not list {language}"
        yield Finding("text-not-used", Severity.WARNING, file, what, "list the language, or remove the file", file)


def _settings(document: Document, settings: Settings) -> Iterator[Finding]:
    """What the draft names and the settings lack."""

    def unknown(code: str, where: str, what: str, remedy: str, subject: str) -> Finding:
        return Finding(code, Severity.ERROR, where, what, remedy, subject)

    sender = settings.senders.get(document.sender)
    if sender is None:
        known = ", ".join(settings.senders) or "none yet"
        what = f"the settings have no sender {document.sender!r}"
        yield unknown("sender-unknown", document.where("sender"), what, f"known: {known}", document.sender)
    for relay in sender.relays if sender else ():
        if relay not in settings.relays:
            what = f"the sender {document.sender!r} leaves by the relay {relay!r}, which the settings lack"
            yield unknown("relay-unknown", "chancery.toml", what, f"add [relays.{relay}]", relay)
    if sender is not None and isinstance(sender.name, dict):
        for language in document.languages:
            if not sender.name.get(language):
                what = f"the name of the sender {document.sender!r} has no text in {languages.NAMES[language]}"
                yield Finding(
                    "text-missing",
                    Severity.ERROR,
                    "chancery.toml",
                    what,
                    "add it",
                    f"senders.{document.sender}.{language}",
                )
    for key in document.issuers:
        issuer = document.own_issuers.get(key) or settings.issuers.get(key)
        if issuer is None:
            known = ", ".join([*document.own_issuers, *settings.issuers]) or "none yet"
            what = f"there is no issuer {key!r}"
            yield unknown("issuer-unknown", document.where("issuers"), what, f"known: {known}", key)
        elif key not in document.own_issuers:
            for name in ("name", "capacity", "letterhead", "address_block"):
                text = getattr(issuer, name)
                for language in document.languages if isinstance(text, dict) else ():
                    if not text.get(language):
                        what = f"issuers.{key}.{name} has no text in {languages.NAMES[language]}"
                        subject = f"issuers.{key}.{name}.{language}"
                        yield Finding("text-missing", Severity.ERROR, "chancery.toml", what, "add it", subject)


def _dates(document: Document, today: dt.date) -> Iterator[Finding]:
    """Days that are past today; those that contradict each other are `letters.lint`'s."""
    if document.reply_by is not None and document.reply_by < today:
        where = document.where("reply_by" if "reply_by" in document.lines else "event.reply_by")
        what = f"the day for replies, {document.reply_by:%-d %B %Y}, is past"
        yield Finding("reply-by-past", Severity.WARNING, where, what, "correct reply_by")


def _persons(document: Document) -> Iterator[Finding]:
    for number, person in enumerate(document.contact_persons):
        if person.email:
            try:
                address.normalise(person.email)
            except BadInput as error:
                where = document.where(f"contact_persons.{number}.email")
                what = f"the address of a contact person is not right: {error.what}"
                yield Finding("contact-person-address", Severity.ERROR, where, what, error.remedy or "", person.email)
        if not person.email and not person.phone:
            where = document.where(f"contact_persons.{number}")
            yield Finding(
                "contact-person-unreachable",
                Severity.WARNING,
                where,
                "a contact person has neither telephone nor address",
                "add one of them",
                str(number + 1),
            )


def _enclosures(document: Document) -> Iterator[Finding]:
    for number, one in enumerate(document.enclosures):
        where = document.where(f"enclosures.{number}")
        for stored in one.stored:
            yield from limits.enclosure_findings(stored.filename, where)
        if one.to_follow is not None:
            if one.to_follow < document.date:
                what = "an enclosure is to follow by a day before the letter's date"
                yield Finding("to-follow-past", Severity.WARNING, where, what, "correct to_follow", str(number + 1))
            continue
        for language in document.languages:
            found = one.file_for(language)
            if found is not None and found[1] is not None and one.only is None:
                name = languages.NAMES[language]
                what = f"enclosure {number + 1} has no file in {name}; {name} letters would carry the {languages.NAMES[found[1]]} one"
                remedy = f'add the file under files, or say only = "{found[1]}" if that is meant'
                yield Finding("enclosure-language", Severity.WAIVABLE, where, what, remedy, f"{number + 1}.{language}")

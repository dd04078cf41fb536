"""The check of a draft: every letter is composed, and all that is wrong or doubtful is listed at once, with the remedy."""

import asyncio
import datetime as dt
from collections import Counter as Tally
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists import address
from lists.findings import Finding, stops
from lists.kinds import Form, Role, Severity
from mailer.circulars.compose import LetterRow, merge, rendered
from mailer.circulars.desk import Desk
from mailer.circulars.document import Document
from mailer.circulars.models import Circular, Waiver
from mailer.circulars.planning import Planned
from mailer.circulars.preparing import Prepared, prepare
from mailer.circulars.states import CircularState
from mailer.errors import BadInput, ChanceryError
from mailer.letters import languages
from mailer.mime import limits, signing
from mailer.settings import Settings

#: Octets of a letter that many servers still refuse (Postfix as shipped takes 10,240,000), and that hardly any takes (Gmail: 25 MB).
LARGE, TOO_LARGE = 10_240_000, 25_000_000
#: Composing yields to other work after so many letters.
_TURN = 200
#: Token of letters that are not written yet; Message-IDs of a preview are recognised by it.
NO_TOKEN = "preview".ljust(26, "0")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    Attributes:
        prepared: the draft worked out.
        findings: errors first, then what can be waived, warnings, notes.
        waived: reasons of what was waived for this very draft, by name of the finding.
        largest: octets of the largest letter.
    """

    prepared: Prepared
    findings: list[Finding]
    waived: Mapping[str, str]
    largest: int = 0

    @property
    def stopping(self) -> list[Finding]:
        """What stops: errors, and what could be waived and is not."""
        return not_waived(self.findings, self.waived)

    @property
    def not_addressed(self) -> list[dict[str, str]]:
        """The States of the audience without addressee, as a snapshot stores them."""
        resolved = self.prepared.resolved
        return [
            {"state_iso3": one.state_iso3, "state": one.state, "audience": one.audience, "why": one.why}
            for one in (resolved.unaddressed if resolved else ())
        ]


async def check(session: AsyncSession, circular: Circular, desk: Desk) -> Checked:
    """Look at everything that could be wrong with the draft of *circular*. Nothing is stored."""
    prepared = await prepare(session, circular, desk)
    document = prepared.document
    prepared.findings += _texts(document)
    prepared.findings += _settings(document, desk.settings)
    prepared.findings += _dates(document, desk.today)
    prepared.findings += _persons(document)
    prepared.findings += _enclosures(document)
    prepared.findings += _audience(prepared)
    prepared.findings += await _same_subject(session, circular)
    largest = await _compose_all(prepared, desk.clock.now())
    order = list(Severity)
    findings = sorted(dict.fromkeys(prepared.findings), key=lambda one: order.index(one.severity))
    given = await session.execute(
        select(Waiver.finding, Waiver.why).where(
            Waiver.circular_id == circular.id, Waiver.draft_digest == document.digest
        )
    )
    return Checked(prepared, findings, dict(given.all()), largest)


def not_waived(findings: Iterable[Finding], waived: Container[str]) -> list[Finding]:
    """Those that stop, less those that are waived."""
    return [one for one in stops(findings) if one.severity is Severity.ERROR or one.name not in waived]


def row_of(letter: Planned, dated: dt.datetime) -> LetterRow:
    """The row that a planned letter will be composed from, without its number and token."""
    return LetterRow(
        id=0,
        token=NO_TOKEN,
        form=letter.form,
        language=letter.language,
        fields=letter.fields,
        dated=dated,
        to=letter.named(Role.TO),
        cc=letter.named(Role.CC),
    )


async def _compose_all(prepared: Prepared, now: dt.datetime) -> int:
    """Compose every letter; the size of the largest."""
    frozen, largest, biggest = prepared.frozen, 0, None
    if frozen is None:
        return 0
    for number, letter in enumerate(prepared.planned):
        row = row_of(letter, now)
        try:
            size = merge(frozen, row).size + (signing.ROOM if frozen.signs else 0)
        except ChanceryError as error:
            prepared.add_error("letter-fails", error, letter.organization, str(letter.organization_id))
            continue
        if size > largest:
            largest, biggest = size, row
        if number % _TURN == _TURN - 1:
            await asyncio.sleep(0)
    if biggest is not None:
        where = f"the letter in {languages.NAMES[biggest.language]}"
        prepared.findings += limits.html_findings(rendered(frozen, biggest).html, where)
        prepared.findings += _size(largest, where)
    return largest


def _size(octets: int, where: str) -> list[Finding]:
    remedy = "make the enclosures smaller, or send a link to them"
    megabytes = f"it is {octets / 1_000_000:.1f} MB with its enclosures"
    if octets > TOO_LARGE:
        return [
            Finding("letter-too-large", Severity.ERROR, where, f"{megabytes}; hardly any server takes that", remedy)
        ]
    if octets > LARGE:
        return [Finding("letter-large", Severity.WARNING, where, f"{megabytes}; many servers refuse that", remedy)]
    return []


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


def _audience(prepared: Prepared) -> Iterator[Finding]:
    """Who is left out, and what is odd about those who are not."""
    resolved, document = prepared.resolved, prepared.document
    if resolved is None:
        return
    if not resolved.addressees:
        what = "the audience is empty: nobody would get a letter"
        yield Finding(
            "audience-empty", Severity.ERROR, document.where("to"), what, "look at it: chancery audience show RULE"
        )
    for state in resolved.unaddressed:
        yield Finding(
            "state-without-addressee",
            Severity.WAIVABLE,
            f"{state.state} ({state.state_iso3})",
            f"nobody is addressed for it in {state.audience}: {state.why}",
            f'add a contact, or --waive state-without-addressee:{state.state_iso3} --why "..."',
            state.state_iso3,
        )
    for left in resolved.excluded:
        meant = left.why.startswith("taken out")
        yield Finding(
            "organization-excepted" if meant else "organization-without-mailbox",
            Severity.NOTE if meant else Severity.WARNING,
            left.organization,
            f"it gets no letter: {left.why}",
            "" if meant else "add a contact",
            str(left.organization_id),
        )
    yield from _printed(prepared)
    yield from _letters(prepared)
    yield from _addresses(prepared.planned)


def _printed(prepared: Prepared) -> Iterator[Finding]:
    """Audiences that would not be printed under To or CC, for want of words."""
    document = prepared.document
    for key, language in prepared.unworded:
        where = document.where("wording")
        what = f"the audience {key} is not printed in {languages.NAMES[language]}: there are no words for it"
        remedy = f'add "{key}" = {{ {language} = "..." }} under [wording]'
        yield Finding("audience-not-worded", Severity.WARNING, where, what, remedy, f"{key}.{language}")


def _letters(prepared: Prepared) -> Iterator[Finding]:
    resolved, document = prepared.resolved, prepared.document
    if resolved is None:
        return
    for one, letter in zip(resolved.addressees, prepared.planned, strict=False):
        subject = str(one.organization_id)
        if letter.form is Form.NOTE_VERBALE and not one.kind.of_a_state:
            what = "it speaks for no State, and a note verbale goes to States only"
            remedy = "take it out of the audience, or send it a letter of its own"
            yield Finding("note-verbale", Severity.ERROR, one.organization, what, remedy, subject)
        if document.salutation == "own" and not one.salutation:
            what = "it has no salutation of its own, and the circular asks for it"
            yield Finding(
                "salutation-missing", Severity.WAIVABLE, one.organization, what, "add it to its contact sheet", subject
            )
        if one.languages and not set(one.languages) & set(document.languages):
            wanted = " or ".join(languages.NAMES.get(code, code) for code in one.languages)
            what = f"it asks for {wanted}, and gets {languages.NAMES[letter.language]}"
            yield Finding("language-fall-back", Severity.NOTE, one.organization, what, "", subject)
        if one.form is not None and one.form is not letter.form:
            what = f"it asks for a {one.form.value.replace('-', ' ')}, and gets a {letter.form.value.replace('-', ' ')}"
            yield Finding("form-fall-back", Severity.NOTE, one.organization, what, "", subject)


def _addresses(planned: Sequence[Planned]) -> Iterator[Finding]:
    """Mailboxes that would get the circular more than once, and those that not every mail server takes."""
    times = Tally(box.address.lower() for letter in planned for box in letter.mailboxes)
    for letter in planned:
        for box in letter.mailboxes:
            if (told := address.doubt(box.address)) is not None:
                yield Finding("address-beyond-ascii", Severity.WARNING, letter.organization, *told, box.address)
    for mailbox, count in times.items():
        if count > 1:
            whose = [
                one.organization for one in planned if any(box.address.lower() == mailbox for box in one.mailboxes)
            ]
            what = f"it gets {count} letters, for {', '.join(dict.fromkeys(whose))}"
            remedy = "leave it so if that is meant, else correct one of the contacts"
            yield Finding("address-twice", Severity.WARNING, mailbox, what, remedy, mailbox)


async def _same_subject(session: AsyncSession, circular: Circular) -> list[Finding]:
    others = await session.execute(
        select(Circular.reference)
        .where(
            Circular.title == circular.title,
            Circular.id != circular.id,
            Circular.parent_id.is_(None),
            Circular.state != CircularState.CANCELLED,
        )
        .order_by(Circular.id)
    )
    return [
        Finding(
            "same-subject",
            Severity.WARNING,
            "circular.toml",
            f"the circular {reference} has the same subject",
            "make sure that this is not the same letter once more",
            reference or "",
        )
        for (reference,) in others
    ]

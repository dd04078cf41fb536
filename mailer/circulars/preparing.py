"""From a draft to what would be frozen: template, audience, compiled texts, letters. What is wrong on the way becomes a finding."""

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists import audiences
from lists.findings import Finding
from lists.kinds import Severity
from mailer.circulars import planning, snapshot
from mailer.circulars.compose import THREAD
from mailer.circulars.desk import Desk, name_of
from mailer.circulars.document import Document
from mailer.circulars.frozen import Frozen, text_key
from mailer.circulars.models import Blob, Circular, Letter, Recipient, Snapshot
from mailer.circulars.planning import Planned
from mailer.circulars.sources import Earlier, audience_words, reminder_source, source_for
from mailer.circulars.states import RecipientState
from mailer.errors import BadInput, ChanceryError, SettingsError
from mailer.letters import catalog, lint, wording
from mailer.letters import compile as compiling
from mailer.letters.compiled import Compiled
from mailer.letters.source import Source
from mailer.settings import Sender

REMINDER_TEMPLATE = "reminder"


@dataclass
class Prepared:
    """A draft, worked out as far as its faults allow.

    Attributes:
        on: the day whose mailboxes are meant.
        resolved: whom it goes to.
        terms: by which its letters are planned.
        unworded: (audience, language) that there are no words for under To or CC.
        frozen: None where something stops it from being composed.
        files: calendar files that are not stored yet, by sha256.
    """

    document: Document
    reference: str
    on: dt.date
    findings: list[Finding] = field(default_factory=list)
    template: catalog.Template | None = None
    resolved: audiences.Chosen | None = None
    terms: planning.Terms | None = None
    earlier: Earlier | None = None
    sources: dict[str, Source] = field(default_factory=dict)
    unworded: list[tuple[str, str]] = field(default_factory=list)
    frozen: Frozen | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def letters(self) -> int:
        """How many letters there will be."""
        return len(self.resolved) if self.resolved is not None and self.terms is not None else 0

    async def pieces(self, session: AsyncSession) -> AsyncIterator[tuple[list[audiences.Addressee], list[Planned]]]:
        """The addressees with their letters, in order, some hundreds at a time; none where the draft's faults allow none.

        *session* has to see what `prepare` saw.
        """
        if self.resolved is None or self.terms is None:
            return
        follows = self.earlier.circular_id if self.earlier else None
        async for some in self.resolved.pieces(session):
            ids = [one.organization_id for one in some]
            threads = {} if follows is None else await threads_of(session, follows, ids)
            yield some, list(planning.plan(some, self.terms, threads))

    def add(self, code: str, severity: Severity, where: str, what: str, remedy: str = "", subject: str = "") -> None:
        """Take up a finding."""
        self.findings.append(Finding(code, severity, where, what, remedy, subject))

    def add_error(self, code: str, error: ChanceryError, where: str, subject: str = "") -> None:
        """Take up an error of another room as a finding that stops."""
        self.add(code, Severity.ERROR, error.where or where, error.what, error.remedy or "", subject)


async def prepare(session: AsyncSession, circular: Circular, desk: Desk) -> Prepared:
    """Work the draft of *circular* out: whom it goes to today, and what it would say."""
    document = Document.from_json(circular.draft)
    made = Prepared(document, name_of(circular), desk.today)
    earlier = await _earlier(session, document, made)
    await _audience(session, desk, made)
    _template(desk, made)
    if made.resolved is None or made.template is None:
        return made
    made.earlier = earlier
    made.terms = planning.Terms(
        roll=desk.roll,
        forms=made.template.forms,
        own_salutation=document.salutation == "own",
        offered=document.languages,
        fall_back=desk.settings.languages.fall_back,
    )
    texts = _texts(desk, made, earlier)
    reminders = _reminders(desk, made)
    sender = desk.settings.senders.get(document.sender)
    if texts is None or reminders is None or sender is None:
        return made
    sender = snapshot.as_mailed(sender)
    try:
        calendars = _calendars(made, sender)
    except BadInput as error:
        made.add_error("event", error, document.where("event"))
        return made
    try:
        signer = desk.keys.signer(document.sender) if desk.keys else None
    except SettingsError as error:
        made.add_error("signing-key", error, document.where("sender"))
        return made
    frozen = snapshot.build(
        document,
        reference=made.reference,
        sender=sender,
        signer=signer,
        texts=texts,
        reminder_texts=reminders,
        calendars=calendars,
    )
    made.frozen = Frozen(frozen, {**await _blobs(session, document), **made.files}, desk.keys)
    return made


async def _earlier(session: AsyncSession, document: Document, made: Prepared) -> Earlier | None:
    follows = document.follows
    if follows is None:
        return None
    if follows.reference is None:
        return Earlier(None, follows.date, follows.title)
    row = (
        await session.execute(
            select(Circular.id, Circular.reference, Circular.date, Circular.draft).where(
                Circular.reference == follows.reference
            )
        )
    ).first()
    if row is None:
        made.add(
            "follows-unknown",
            Severity.ERROR,
            document.where("follows"),
            f"no circular here has the reference {follows.reference}",
            'correct it, or name an older letter as { date = 2006-06-15, title = "..." }',
        )
        return Earlier(follows.reference, follows.date, follows.title)
    subject = follows.title or row.draft["subject"]
    return Earlier(row.reference, follows.date or row.date, subject, row.id)


async def threads_of(session: AsyncSession, circular_id: int, organizations: Collection[int]) -> dict[int, str]:
    """Per one of *organizations* that a circular reached, the Message-IDs of its thread, oldest first, blanks between."""
    frozen = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == circular_id))
    if frozen is None:
        return {}
    domain = frozen["sender"]["address"].rpartition("@")[2]
    reached = exists().where(Recipient.letter_id == Letter.id, Recipient.state == RecipientState.ACCEPTED)
    rows = await session.execute(
        select(Letter.organization_id, Letter.token, Letter.fields).where(
            Letter.circular_id == circular_id, Letter.organization_id.in_(organizations), reached
        )
    )
    return {
        organization: f"{fields.get(THREAD, '')} <{token}@{domain}>".strip() for organization, token, fields in rows
    }


async def _audience(session: AsyncSession, desk: Desk, made: Prepared) -> None:
    document = made.document
    try:
        made.resolved = await audiences.choose(
            session,
            desk.roll,
            to=document.to,
            cc=document.cc,
            except_=document.except_,
            as_of=document.as_of,
            on=made.on,
            counting=desk.settings.roll.counting,
        )
    except BadInput as error:
        made.add(
            "audience-rule",
            Severity.ERROR,
            f"{document.where('to')}{f', {error.where}' if error.where else ''}",
            error.what,
            error.remedy or "",
        )


def _template(desk: Desk, made: Prepared) -> None:
    try:
        made.template = catalog.find(made.document.template, desk.templates)
    except ChanceryError as error:
        made.add_error("template", error, made.document.where("template"))


def _texts(desk: Desk, made: Prepared, earlier: Earlier | None) -> dict[str, Compiled] | None:
    """The compiled letters of every form that is needed, in every language; None where one can't be compiled."""
    document, template, resolved = made.document, made.template, made.resolved
    if template is None or resolved is None:
        return None
    texts: dict[str, Compiled] | None = {}
    wanted = (planning.form_for(kind, form, template.forms) for kind, form in resolved.kinds)
    forms = list(dict.fromkeys([template.form, *wanted]))
    for language in document.languages:
        if language not in document.texts:
            texts = None  # told as text-missing
            continue
        try:
            words = wording.load(language, desk.templates)
        except ChanceryError as error:
            made.add_error("template", error, f"template {template.name}", language)
            texts = None
            continue
        keys = dict.fromkeys([*resolved.to_keys, *resolved.cc_keys])
        made.unworded += [(key, language) for key in keys if not audience_words(document, key, language, words)]
        for form in forms:
            source = source_for(
                document,
                language,
                form=form,
                settings=desk.settings,
                wording=words,
                reference=made.reference,
                to_keys=resolved.to_keys,
                cc_keys=resolved.cc_keys,
                earlier=earlier,
            )
            made.sources[text_key(form, language)] = source
            compiled = _compile(made, template, source)
            if compiled is None:
                texts = None
            elif texts is not None:
                texts[text_key(form, language)] = compiled
    return texts


def _compile(made: Prepared, template: catalog.Template, source: Source) -> Compiled | None:
    told, compiled = compiling.examine(template, source)
    found = [*told, *lint.findings(source)]
    if template.name == REMINDER_TEMPLATE:
        found = [one for one in found if one.code != "value-unused"]  # the values are those of the circular
    made.findings += [one for one in found if one not in made.findings]
    if any(one.severity is Severity.ERROR for one in found):
        return None
    try:
        return compiled or compiling.compile_letter(template, source)
    except ChanceryError as error:
        made.add_error("letter-error", error, source.body_where, source.language)
        return None


def _reminders(desk: Desk, made: Prepared) -> list[dict[str, Compiled]] | None:
    """The compiled reminders, one text per language each; None where one can't be compiled."""
    document = made.document
    if not document.reminders:
        return []
    try:
        template = catalog.find(REMINDER_TEMPLATE, desk.templates)
    except ChanceryError as error:
        made.add_error("template", error, document.where("reminders"))
        return None
    whole = True
    compiled: list[dict[str, Compiled]] = []
    for ordinal, reminder in enumerate(document.reminders, 1):
        texts: dict[str, Compiled] = {}
        for parent in made.sources.values():
            if parent.language not in reminder.texts:
                whole = False  # told as text-missing
                continue
            source = reminder_source(
                parent,
                document,
                reminder,
                ordinal=ordinal,
                form=parent.form if parent.form in template.forms else template.form,
                reference=made.reference,
                date=desk.reminder_day(document.reply_by or document.date, reminder.before),
                wording=wording.load(parent.language, desk.templates),
            )
            one = _compile(made, template, source)
            if one is None:
                whole = False
            else:
                texts[text_key(source.form, source.language)] = one
        compiled.append(texts)
    return compiled if whole and made.sources else None


def _calendars(made: Prepared, sender: Sender) -> dict[str, str]:
    """sha256 of the calendar file per language; the files go to `made.files`."""
    calendars = {}
    for language in made.document.languages:
        data = snapshot.calendar_file(made.document, language, reference=made.reference, sender=sender)
        if data is not None:
            sha256 = hashlib.sha256(data).hexdigest()
            calendars[language], made.files[sha256] = sha256, data
    return calendars


async def _blobs(session: AsyncSession, document: Document) -> dict[str, bytes]:
    found = await session.execute(select(Blob.sha256, Blob.data).where(Blob.sha256.in_(document.files)))
    return dict(found.all())

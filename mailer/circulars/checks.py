"""The check of a draft: every letter is composed, and all that is wrong or doubtful is listed at once, with the remedy."""

import asyncio
import datetime as dt
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists import address
from lists.audiences import Addressee
from lists.findings import Finding, stops
from lists.kinds import Form, Role, Severity
from mailer.circulars.compose import LetterRow, merge, rendered
from mailer.circulars.desk import Desk
from mailer.circulars.document import Document
from mailer.circulars.document_checks import of_document
from mailer.circulars.frozen import Frozen
from mailer.circulars.models import Circular, Waiver
from mailer.circulars.planning import Planned
from mailer.circulars.preparing import Prepared, prepare
from mailer.circulars.repeated import Seen
from mailer.circulars.states import CircularState
from mailer.errors import ChanceryError
from mailer.letters import languages
from mailer.mime import limits, signing

#: Octets of a letter that many servers still refuse (Postfix as shipped takes 10,240,000), and that hardly any takes (Gmail: 25 MB).
LARGE, TOO_LARGE = 10_240_000, 25_000_000
#: Composing yields to other work after so many letters.
_TURN = 200
#: Token of letters that are not written yet; Message-IDs of a preview are recognised by it.
NO_TOKEN = "preview".ljust(26, "0")


class Keep(Protocol):
    """Who wants the letters of a check."""

    def begin(self, snapshot_digest: str) -> None:
        """The letters of this snapshot come."""

    async def take(self, letters: Sequence[Planned]) -> None:
        """The next letters, some hundreds."""


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


async def check(session: AsyncSession, circular: Circular, desk: Desk, keep: Keep | None = None) -> Checked:
    """Look at everything that could be wrong with the draft of *circular*. Nothing is stored.

    *keep* is handed the letters in order, if they can be composed at all.
    """
    prepared = await prepare(session, circular, desk)
    document = prepared.document
    prepared.findings += of_document(document, desk.settings, desk.today)
    prepared.findings += _audience(prepared)
    same = await _same_subject(session, circular)
    largest = await _each_letter(session, prepared, desk.clock.now(), keep, same)
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


async def _each_letter(
    session: AsyncSession,
    prepared: Prepared,
    now: dt.datetime,
    keep: Keep | None,
    after: Iterable[Finding],
) -> int:
    """Plan and compose every letter; the size of the largest. Findings of composing stand behind *after*."""
    frozen, work, seen = prepared.frozen, _Composing(now), Seen()
    if frozen is not None and keep is not None:
        keep.begin(frozen.digest)
    async for addressees, letters in prepared.pieces(session):
        for one, letter in zip(addressees, letters, strict=True):
            prepared.findings += _letter(prepared.document, one, letter)
            seen.take(letter.mailboxes)
        if frozen is not None:
            await work.compose(frozen, letters)
            if keep is not None:
                await keep.take(letters)
    prepared.findings += await _twice(session, prepared, seen)
    prepared.findings += after
    prepared.findings += work.failed
    if frozen is not None and work.biggest is not None:
        where = f"the letter in {languages.NAMES[work.biggest.language]}"
        prepared.findings += limits.html_findings(rendered(frozen, work.biggest).html, where)
        prepared.findings += _size(work.largest, where)
    return work.largest


class _Composing:
    """Composes letters, and remembers the largest and those that fail."""

    def __init__(self, now: dt.datetime) -> None:
        self._now = now
        self.largest = 0
        self.biggest: LetterRow | None = None
        self.failed: list[Finding] = []

    async def compose(self, frozen: Frozen, letters: Sequence[Planned]) -> None:
        room = signing.ROOM if frozen.signs else 0
        for number, letter in enumerate(letters):
            row = row_of(letter, self._now)
            try:
                size = merge(frozen, row).size + room
            except ChanceryError as error:
                where, subject = error.where or letter.organization, str(letter.organization_id)
                self.failed.append(
                    Finding("letter-fails", Severity.ERROR, where, error.what, error.remedy or "", subject)
                )
                continue
            if size > self.largest:
                self.largest, self.biggest = size, row
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)


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


def _audience(prepared: Prepared) -> Iterator[Finding]:
    """Who is left out, and what is odd about those who are not."""
    resolved, document = prepared.resolved, prepared.document
    if resolved is None:
        return
    if not resolved.ids:
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


def _printed(prepared: Prepared) -> Iterator[Finding]:
    """Audiences that would not be printed under To or CC, for want of words."""
    document = prepared.document
    for key, language in prepared.unworded:
        where = document.where("wording")
        what = f"the audience {key} is not printed in {languages.NAMES[language]}: there are no words for it"
        remedy = f'add "{key}" = {{ {language} = "..." }} under [wording]'
        yield Finding("audience-not-worded", Severity.WARNING, where, what, remedy, f"{key}.{language}")


def _letter(document: Document, one: Addressee, letter: Planned) -> list[Finding]:
    """What is odd about one organization's letter; for most, nothing."""
    found = []
    subject = str(one.organization_id)
    if letter.form is Form.NOTE_VERBALE and not one.kind.of_a_state:
        what = "it speaks for no State, and a note verbale goes to States only"
        remedy = "take it out of the audience, or send it a letter of its own"
        found.append(Finding("note-verbale", Severity.ERROR, one.organization, what, remedy, subject))
    if document.salutation == "own" and not one.salutation:
        what = "it has no salutation of its own, and the circular asks for it"
        remedy = "add it to its contact sheet"
        found.append(Finding("salutation-missing", Severity.WAIVABLE, one.organization, what, remedy, subject))
    if one.languages and not any(language in document.languages for language in one.languages):
        wanted = " or ".join(languages.NAMES.get(code, code) for code in one.languages)
        what = f"it asks for {wanted}, and gets {languages.NAMES[letter.language]}"
        found.append(Finding("language-fall-back", Severity.NOTE, one.organization, what, "", subject))
    if one.form is not None and one.form is not letter.form:
        what = f"it asks for a {one.form.value.replace('-', ' ')}, and gets a {letter.form.value.replace('-', ' ')}"
        found.append(Finding("form-fall-back", Severity.NOTE, one.organization, what, "", subject))
    found.extend(
        Finding("address-beyond-ascii", Severity.WARNING, letter.organization, *told, box.address)
        for box in letter.mailboxes
        if (told := address.doubt(box.address)) is not None
    )
    return found


async def _twice(session: AsyncSession, prepared: Prepared, seen: Seen) -> list[Finding]:
    """Mailboxes that would get the circular more than once."""
    if not seen.perhaps or prepared.resolved is None:
        return []
    whose = await seen.owners(session, prepared.resolved)
    remedy = "leave it so if that is meant, else correct one of the contacts"
    return [
        Finding(
            "address-twice",
            Severity.WARNING,
            mailbox,
            f"it gets {len(names)} letters, for {', '.join(dict.fromkeys(names))}",
            remedy,
            mailbox,
        )
        for mailbox, names in whose.items()
    ]


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

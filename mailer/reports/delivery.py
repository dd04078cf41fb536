"""Reading a circular's account from its rows; changes nothing."""

import datetime as dt
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.kinds import Form, Role
from mailer.circulars.models import Circular, Letter, Recipient, Snapshot
from mailer.circulars.planning import BATCH
from mailer.circulars.states import CircularState, RecipientState
from mailer.delivery import obstacles
from mailer.delivery.domains import domain_of as domain_of_address
from mailer.delivery.models import Attempt, Outcome
from mailer.delivery.resend import ADDED
from mailer.delivery.states import letter_state
from mailer.errors import NotFound
from mailer.register.chain import chain_of
from mailer.register.models import Link
from mailer.replies.service import answers_to, last_replies
from mailer.reports.lines import LetterLine, NotAddressed, RecipientLine, Report
from mailer.reports.spool import Letters
from mailer.schedule.service import listing as schedules

#: Letters read at a time.
_PAGE = 1000


async def build(session: AsyncSession, circular_id: int, *, at: dt.datetime, zone: str = "UTC") -> Report:
    """The report of a circular as its rows are now.

    Args:
        session: from `database.read()`: one consistent view.
        circular_id: a circular, or a reminder.
        at: now.
        zone: IANA name of the zone in which people are told times.

    Raises:
        NotFound: there is no such circular.
    """
    circular = await session.get(Circular, circular_id)
    if circular is None:
        raise NotFound(f"there is no circular {circular_id}", remedy="`chancery circular list` lists them")
    answered = await answers_to(session, circular_id)
    letters = Letters()
    async for page in letter_pages(session, circular):
        letters.extend(page)
    missing = await session.scalar(select(Snapshot.not_addressed).where(Snapshot.circular_id == circular_id))
    return Report(
        id=circular.id,
        reference=circular.reference or str(circular.id),
        title=circular.title,
        state=CircularState(circular.state),
        date=circular.date,
        reply_by=circular.reply_by,
        approved_by=circular.approved_by,
        started_at=circular.started_at,
        finished_at=circular.finished_at,
        held_why=circular.held_why,
        is_copy=circular.copy_of is not None,
        parent=(answered.reference or str(answered.id)) if answered is not circular else None,
        made_at=at,
        zone=zone,
        not_addressed=tuple(_missing(missing or ())),
        letters=letters,
        schedules=tuple(await schedules(session, circular_id=circular_id)),
        not_reminded=await _not_reminded(session, circular_id),
        in_the_way=tuple(await _in_the_way(session, circular)),
        resends_doubtful=circular.on_uncertain == "resend",
        finish_by=circular.finish_by,
    )


async def _in_the_way(session: AsyncSession, circular: Circular) -> list[obstacles.InTheWay]:
    """What its letters wait for: relays that it has tried, and domains to which it has letters that wait."""
    if circular.state != CircularState.SENDING or not (every := await obstacles.listing(session)):
        return []
    relays = set(await session.scalars(select(Attempt.relay).where(Attempt.circular_id == circular.id).distinct()))
    waiting = await session.scalars(
        select(Recipient.address).where(
            Recipient.circular_id == circular.id,
            Recipient.state.in_((RecipientState.QUEUED, RecipientState.DEFERRED)),
        )
    )
    domains = {domain_of_address(address) for address in waiting}
    return [one for one in every if one.relay in relays or one.domain in domains]


async def _not_reminded(session: AsyncSession, circular_id: int) -> dict[str, Mapping[str, Sequence[str]]]:
    """Whom each reminder passed over, as the register had it when it was made: answers that came later don't change it."""
    told = await session.scalars(
        select(Link.subject).where(Link.chain == chain_of(circular_id), Link.action == "schedule-fired")
    )
    return {subject["what"]: subject["not_reminded"] for subject in told if subject.get("not_reminded")}


def domain_of(document: Mapping[str, Any] | None) -> str:
    """The domain of a snapshot's Message-IDs (`circulars.frozen.Frozen.message_id`)."""
    address = ((document or {}).get("sender") or {}).get("address") or ""
    return str(address).rpartition("@")[2]


def _missing(rows: Sequence[Mapping[str, Any]]) -> Iterable[NotAddressed]:
    for row in rows:
        name = row.get("state") or row.get("organization") or row.get("state_iso3") or ""
        yield NotAddressed(row.get("state_iso3"), name, row.get("audience") or "", row.get("why") or "")


async def letter_lines(session: AsyncSession, circular: Circular, *, letter_id: int | None = None) -> list[LetterLine]:
    """The letters of a circular in order, or the one with that number."""
    return [line async for page in letter_pages(session, circular, letter_id=letter_id) for line in page]


async def letter_pages(
    session: AsyncSession, circular: Circular, *, letter_id: int | None = None
) -> AsyncIterator[list[LetterLine]]:
    """The letters of a circular in order, or the one with that number; read page by page, so that none holds too many rows."""
    answered = await answers_to(session, circular.id)
    document = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == circular.id))
    domain = domain_of(document)
    answers = {number: reply.answer for number, (reply, _) in (await last_replies(session, answered.id)).items()}
    added = await _added(session, circular.id)
    last = 0
    while True:
        wanted = Letter.position > last if letter_id is None else Letter.id == letter_id
        page = (
            await session.execute(
                select(
                    Letter.id,
                    Letter.position,
                    Letter.organization_id,
                    Letter.organization,
                    Letter.state_iso3,
                    Letter.audience,
                    Letter.role,
                    Letter.form,
                    Letter.language,
                    Letter.why,
                    Letter.token,
                    Letter.sha256,
                    Letter.left_at,
                )
                # batches have an index, positions none
                .where(Letter.circular_id == circular.id, Letter.batch >= last // BATCH + 1, wanted)
                .order_by(Letter.batch, Letter.position)
                .limit(_PAGE)
            )
        ).all()
        if not page:
            return
        last = page[-1].position
        recipients = await _recipients(session, [row.id for row in page], added)
        attempts = await _attempts(session, [number for own in recipients.values() for number, _ in own])
        reminded = await _reminded(session, circular.id, [row.organization_id for row in page])
        lines = []
        for row in page:
            own = tuple(line for _, line in recipients.get(row.id, ()))
            lines.append(
                LetterLine(
                    id=row.id,
                    organization_id=row.organization_id,
                    organization=row.organization,
                    state_iso3=row.state_iso3,
                    audience=row.audience,
                    role=Role(row.role),
                    form=Form(row.form),
                    language=row.language,
                    message_id=f"<{row.token}@{domain}>",
                    state=letter_state(one.state for one in own),
                    chosen=row.why,
                    attempts=attempts.get(row.id, 0),
                    sha256=row.sha256,
                    sent_at=row.left_at,
                    recipients=own,
                    reminders=reminded.get(row.organization_id, 0),
                    answer=answers.get(row.organization_id),
                )
            )
        yield lines
        if letter_id is not None:
            return


async def _added(session: AsyncSession, circular_id: int) -> dict[int, str]:
    """By whom and why recipients were added to letters after the approval, by their number."""
    entries = await session.execute(
        select(Link.subject, Link.by).where(Link.chain == chain_of(circular_id), Link.action == ADDED)
    )
    return {said["recipient"]: f"{by}: {said['why']}" for said, by in entries}


async def _recipients(
    session: AsyncSession, letters: Sequence[int], added: Mapping[int, str]
) -> dict[int, list[tuple[int, RecipientLine]]]:
    """Per letter its recipients, each with its number."""
    rows = await session.execute(
        select(
            Recipient.id,
            Recipient.letter_id,
            Recipient.address,
            Recipient.name,
            Recipient.role,
            Recipient.state,
            Recipient.code,
            Recipient.enhanced,
            Recipient.reply,
            Recipient.why,
            Recipient.at,
            Recipient.next_at,
            Recipient.tries,
        )
        .where(Recipient.letter_id.in_(letters))
        .order_by(Recipient.id)
    )
    found: dict[int, list[tuple[int, RecipientLine]]] = {}
    for row in rows:
        state = RecipientState(row.state)
        line = RecipientLine(
            address=row.address,
            name=row.name,
            role=Role(row.role),
            state=state,
            reply=literal(row.code, row.reply),
            code=row.code,
            enhanced=row.enhanced,
            why=row.why,
            at=row.at,
            next_at=row.next_at if state is RecipientState.DEFERRED else None,
            tries=row.tries,
            added=added.get(row.id, ""),
        )
        found.setdefault(row.letter_id, []).append((row.id, line))
    return found


def literal(code: int | None, reply: str | None) -> str | None:
    """A relay's reply as it came: `550 5.1.1 No such user`."""
    if code is None:
        return reply
    return f"{code} {reply}" if reply else str(code)


async def _attempts(session: AsyncSession, recipients: Sequence[int]) -> dict[int, int]:
    """Tries per letter of which something came; a claim that went back without content is no try."""
    rows = await session.execute(
        select(Outcome.letter_id, func.count(Outcome.attempt_id.distinct()))
        .where(Outcome.recipient_id.in_(recipients), Outcome.state != RecipientState.QUEUED)
        .group_by(Outcome.letter_id)
    )
    return dict(rows.all())


async def _reminded(session: AsyncSession, circular_id: int, organizations: Sequence[int]) -> dict[int, int]:
    """Per organization: how many reminders of the circular were handed over."""
    rows = await session.execute(
        select(Letter.organization_id, func.count(Letter.id.distinct()))
        .join(Circular, Circular.id == Letter.circular_id)
        .join(Recipient, Recipient.letter_id == Letter.id)
        .where(
            Circular.parent_id == circular_id,
            Circular.copy_of.is_(None),
            Letter.organization_id.in_(organizations),
            Recipient.state == RecipientState.ACCEPTED,
        )
        .group_by(Letter.organization_id)
    )
    return dict(rows.all())

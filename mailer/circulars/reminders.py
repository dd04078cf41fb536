"""A reminder becomes a circular of its own: its text from its circular's snapshot, its letters for that day's mailboxes."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists import audiences
from lists.kinds import Form, Role
from mailer.circulars import approval, rows, snapshot
from mailer.circulars.compose import THREAD
from mailer.circulars.desk import find, name_of
from mailer.circulars.frozen import Frozen, text_key
from mailer.circulars.models import Circular, Letter, Snapshot
from mailer.circulars.numbering import of_reminder
from mailer.circulars.planning import Planned
from mailer.circulars.states import CircularState
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.errors import Defect, NotAllowedNow
from mailer.register import chain


@dataclass(frozen=True, slots=True)
class _Left:
    """An organization that is not reminded."""

    organization: str
    state_iso3: str | None
    audience: str


async def freeze_reminder(
    database: Sessions, clock: Clock, parent_id: int, ordinal: int, organizations: Sequence[int], *, by: str
) -> int:
    """Write the letters of a circular's reminder; it is then approved and may be sent.

    Called again for the same reminder it makes nothing new: it finishes what was begun, whatever *organizations* then says.

    Args:
        database: where.
        clock: its day says which mailboxes are right.
        parent_id: the circular.
        ordinal: which of its reminders, from 1.
        organizations: ids of those to remind; each has a letter of the circular.
        by: who acts.

    Returns:
        The id of the reminder's circular.

    Raises:
        NotFound: the circular has no such reminder.
        NotAllowedNow: the circular is not sent, or the reminder was cancelled.
    """
    async with database.write() as session:
        made = (
            await session.scalars(select(Circular).where(Circular.parent_id == parent_id, Circular.ordinal == ordinal))
        ).first()
        if made is None:
            made = await _begin(database, session, clock, (parent_id, ordinal), organizations, by)
        made_id, state, name = made.id, made.state, name_of(made)
    if state == CircularState.CANCELLED:
        raise NotAllowedNow("it was cancelled", where=name)
    if state != CircularState.FREEZING:
        return made_id
    while await rows.write_next(database, made_id, rows.TOGETHER):
        pass
    if not await approval.seal(database, clock, made_id, by=by):
        raise Defect("the reminder's letters could not be written", where=name)
    return made_id


async def _begin(
    database: Sessions,
    session: AsyncSession,
    clock: Clock,
    which: tuple[int, int],
    organizations: Sequence[int],
    by: str,
) -> Circular:
    """Make the circular of a reminder (*which*: its parent and its place) and plan its letters."""
    parent_id, ordinal = which
    parent = await find(session, parent_id)
    frozen = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == parent_id))
    if frozen is None or parent.reference is None or parent.state not in _REMINDABLE:
        raise NotAllowedNow(
            f"it is {parent.state.value}, and reminders follow a circular that is sent", where=name_of(parent)
        )
    document = snapshot.of_reminder_of(frozen, ordinal)
    now = clock.now()
    day = now.date()
    made = Circular(
        reference=of_reminder(parent.reference, ordinal),
        parent_id=parent.id,
        ordinal=ordinal,
        state=CircularState.FREEZING,
        title=parent.title,
        date=day,
        as_of=parent.as_of,
        reply_by=parent.reply_by,
        sender=parent.sender,
        folder=parent.folder,
        draft=parent.draft,
        drafted_by=parent.drafted_by,
        drafted_at=parent.drafted_at,
        approved_by=parent.approved_by,
        on_uncertain=parent.on_uncertain,
        archive=parent.archive,
    )
    session.add(made)
    await session.flush()
    plan, left, letters = rows.Plan(database, made.id), [], 0
    plan.begin(Frozen(document, {}).digest)
    async for planned, without in _letters(session, parent, document, set(organizations), day):
        await plan.take(planned, session)
        left += without
        letters += len(planned)
    plan.finish()
    await plan.store(session)
    made.text_digest, made.mailbox_digest = plan.digests.text, plan.digests.mailboxes
    await rows.store_snapshot(
        session,
        made.id,
        document=document,
        batches=plan.batches,
        not_addressed=[
            {
                "state_iso3": one.state_iso3,
                "state": one.organization,
                "audience": one.audience,
                "why": f"{one.organization} has no mailbox on the day of the reminder",
            }
            for one in left
        ],
        mailboxes_of=day,
    )
    subject = {
        "of": parent.reference,
        "reference": made.reference,
        "letters": letters,
        "not_reminded": [one.organization for one in left],
    }
    await chain.append(session, chain.chain_of(made.id), "reminder-drafted", subject, by=by, at=now)
    return made


#: States of a circular that may be reminded of.
_REMINDABLE = frozenset({CircularState.SENDING, CircularState.PAUSED, CircularState.SENT})


async def _letters(
    session: AsyncSession, parent: Circular, document: dict[str, Any], organizations: set[int], day: dt.date
) -> AsyncIterator[tuple[list[Planned], list[_Left]]]:
    """The reminder's letters in the order of the circular's, batch by batch, and those who have no mailbox any more."""
    domain = document["sender"]["address"].rpartition("@")[2]
    batches = await session.scalar(select(Snapshot.batches).where(Snapshot.circular_id == parent.id)) or 0
    for batch in range(1, batches + 1):
        of_batch = select(Letter).where(Letter.circular_id == parent.id, Letter.batch == batch)
        found = await session.scalars(of_batch.order_by(Letter.position))
        letters = [letter for letter in found if letter.organization_id in organizations]
        boxes = await audiences.mailboxes_of(session, [letter.organization_id for letter in letters], day)
        planned: list[Planned] = []
        left: list[_Left] = []
        for letter in letters:
            mailboxes = boxes[letter.organization_id]
            if not mailboxes:
                left.append(_Left(letter.organization, letter.state_iso3, letter.audience))
                continue
            thread = f"{letter.fields.get(THREAD, '')} <{letter.token}@{domain}>".strip()
            planned.append(
                Planned(
                    organization_id=letter.organization_id,
                    organization=letter.organization,
                    state_iso3=letter.state_iso3,
                    audience=letter.audience,
                    role=Role(letter.role),
                    form=_form(document, Form(letter.form), letter.language),
                    language=letter.language,
                    why=f"no reply to {parent.reference}",
                    fields={**letter.fields, THREAD: thread},
                    mailboxes=mailboxes,
                )
            )
        yield planned, left


def _form(document: dict[str, Any], form: Form, language: str) -> Form:
    """The form of an organization's reminder: that of its letter, where the reminder has it."""
    if text_key(form, language) in document["texts"]:
        return form
    return next((one for one in Form if text_key(one, language) in document["texts"]), form)

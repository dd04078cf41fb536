"""What a coordinator wants to see of circulars: a line of the listing, and a page on one of them."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists import audiences
from mailer.circulars.desk import Desk, name_of
from mailer.circulars.document import Document
from mailer.circulars.models import Circular, Letter, Recipient, Snapshot, Waiver
from mailer.circulars.states import CircularState
from mailer.errors import BadInput
from mailer.letters import languages

#: The states of a circular as people read them.
STATE_WORDS = {
    CircularState.DRAFT: "draft",
    CircularState.FREEZING: "approval not finished",
    CircularState.APPROVED: "approved, not yet sent",
    CircularState.SENDING: "being sent",
    CircularState.PAUSED: "paused",
    CircularState.SENT: "sent",
    CircularState.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """One circular at a glance.

    Attributes:
        audiences: per audience and language: (audience, To or CC, language, letters), in order.
        not_addressed: States of the audience without addressee: {state_iso3, state, audience, why}.
        trouble: why the audience can't be resolved, if so.
        finish_by: until when its letters are spread, in the home's zone.
        folder: where its folder is.
    """

    circular: Circular
    document: Document
    audiences: Sequence[tuple[str, str, str, int]]
    letters: int
    recipients: int
    not_addressed: Sequence[dict[str, Any]]
    waivers: Sequence[tuple[str, str, str]]
    reminders: Sequence[Circular]
    trouble: str | None = None
    finish_by: dt.datetime | None = None
    folder: str = ""

    def as_json(self) -> dict[str, Any]:
        """The summary for programs."""
        circular = self.circular
        return {
            "id": circular.id,
            "reference": circular.reference,
            "title": circular.title,
            "state": circular.state.value,
            "date": circular.date.isoformat(),
            "as_of": circular.as_of.isoformat(),
            "reply_by": circular.reply_by.isoformat() if circular.reply_by else None,
            "finish_by": self.finish_by.isoformat() if self.finish_by else None,
            "sender": circular.sender,
            "languages": list(self.document.languages),
            "letters": self.letters,
            "recipients": self.recipients,
            "audiences": [
                {"audience": audience, "role": role, "language": language, "letters": count}
                for audience, role, language, count in self.audiences
            ],
            "not_addressed": list(self.not_addressed),
            "waivers": [{"finding": finding, "why": why, "by": by} for finding, why, by in self.waivers],
            "drafted_by": circular.drafted_by,
            "approved_by": circular.approved_by if circular.approved_at else None,
            "approved_at": circular.approved_at.isoformat() if circular.approved_at else None,
            "text_digest": circular.text_digest,
            "mailbox_digest": circular.mailbox_digest,
            "folder": self.folder,
        }


async def listing(session: AsyncSession) -> list[dict[str, Any]]:
    """Every circular, the newest first."""
    counted = select(Letter.circular_id, func.count().label("letters")).group_by(Letter.circular_id).subquery("counted")
    rows = await session.execute(
        select(Circular, counted.c.letters)
        .outerjoin(counted, counted.c.circular_id == Circular.id)
        .order_by(Circular.id.desc())
    )
    return [
        {
            "id": circular.id,
            "reference": circular.reference,
            "state": circular.state.value,
            "state_words": STATE_WORDS[circular.state] + (f": {circular.held_why}" if circular.held_why else ""),
            "title": circular.title,
            "date": circular.date.isoformat(),
            "letters": letters or 0,
            "drafted_by": circular.drafted_by,
            "approved_by": circular.approved_by if circular.approved_at else None,
        }
        for circular, letters in rows
    ]


async def summary(session: AsyncSession, circular: Circular, desk: Desk) -> Summary:
    """One circular: from its rows where it is approved, else from what its audience comes to today."""
    document = Document.from_json(circular.draft)
    trouble = None
    frozen = circular.state not in {CircularState.DRAFT, CircularState.FREEZING}
    frozen = frozen and await session.get(Snapshot, circular.id) is not None
    if frozen:
        counted, recipients, unaddressed = await _from_rows(session, circular)
    else:
        try:
            counted, recipients, unaddressed = await _from_lists(session, document, desk)
        except BadInput as error:
            counted, recipients, unaddressed, trouble = [], 0, [], str(error)
    waivers = await session.execute(
        select(Waiver.finding, Waiver.why, Waiver.by)
        .where(Waiver.circular_id == circular.id, Waiver.draft_digest == document.digest)
        .order_by(Waiver.id)
    )
    children = await session.scalars(
        select(Circular).where(Circular.parent_id == circular.id, Circular.copy_of.is_(None)).order_by(Circular.ordinal)
    )
    return Summary(
        circular=circular,
        document=document,
        audiences=counted,
        letters=sum(count for *_, count in counted),
        recipients=recipients,
        not_addressed=unaddressed,
        waivers=list(waivers),
        reminders=list(children),
        trouble=trouble,
        finish_by=None
        if circular.finish_by is None or circular.finished_at is not None
        else circular.finish_by.astimezone(ZoneInfo(desk.settings.calendar.timezone)),
        folder=str(desk.folder_of(circular)),
    )


async def _from_rows(
    session: AsyncSession, circular: Circular
) -> tuple[list[tuple[str, str, str, int]], int, list[dict[str, Any]]]:
    counted = await session.execute(
        select(Letter.audience, Letter.role, Letter.language, func.count())
        .where(Letter.circular_id == circular.id)
        .group_by(Letter.audience, Letter.role, Letter.language)
        .order_by(func.min(Letter.position))
    )
    recipients = await session.scalar(select(func.count()).where(Recipient.circular_id == circular.id)) or 0
    unaddressed = await session.scalar(select(Snapshot.not_addressed).where(Snapshot.circular_id == circular.id))
    rows = [(audience, role.value, language, count) for audience, role, language, count in counted]
    return rows, recipients, unaddressed or []


async def _from_lists(
    session: AsyncSession, document: Document, desk: Desk
) -> tuple[list[tuple[str, str, str, int]], int, list[dict[str, Any]]]:
    resolved = await audiences.choose(
        session,
        desk.roll,
        to=document.to,
        cc=document.cc,
        except_=document.except_,
        as_of=document.as_of,
        on=desk.today,
        counting=desk.settings.roll.counting,
    )
    fall_back = desk.settings.languages.fall_back
    counts: dict[tuple[str, str, str], int] = {}
    recipients = 0
    async for some in resolved.pieces(session):
        for one in some:
            language, _ = languages.choose(one.languages, document.languages, fall_back)
            key = (one.audience, one.role.value, language)
            counts[key] = counts.get(key, 0) + 1
            recipients += len(one.mailboxes)
    unaddressed = [
        {"state_iso3": one.state_iso3, "state": one.state, "audience": one.audience, "why": one.why}
        for one in resolved.unaddressed
    ]
    return [(*key, count) for key, count in counts.items()], recipients, unaddressed


def title_of(circular: Circular) -> str:
    """Name and subject in one line."""
    return f"{name_of(circular)}: {circular.title}"

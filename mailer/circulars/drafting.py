"""Drafts: reading a folder into one, reading it again, and giving it up."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars import numbering, reading, rows
from mailer.circulars.desk import Desk, find, name_of
from mailer.circulars.difference import changes
from mailer.circulars.document import Document
from mailer.circulars.models import Blob, Circular, Recipient, Waiver
from mailer.circulars.states import CircularState, RecipientState, check_move
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.errors import CircularError, NotAllowedNow
from mailer.register import chain

#: States in which a circular's text may be read anew; approval, if there is one, is voided.
CHANGEABLE = frozenset({CircularState.DRAFT, CircularState.FREEZING, CircularState.APPROVED})


@dataclass(frozen=True, slots=True)
class Updated:
    """What reading a folder again came to.

    Attributes:
        changes: (field, before, after), texts shortened.
        voided: what the change undid, in words.
    """

    circular: Circular
    changes: Sequence[tuple[str, str, str]]
    voided: Sequence[str] = field(default_factory=list)


async def new(desk: Desk, folder: Path, *, by: str, last_reference: str | None = None, again: bool = False) -> Circular:
    """Read *folder* into a draft; its texts and enclosures are stored, and its reference is reserved.

    *last_reference* is the one that was used last, where the home was restored: `numbering.told_last`. *again* makes a further
    circular of a folder of which one has been sent.

    Raises:
        CircularError: the folder is not right, is a draft already, or was sent (unless *again*); nothing is stored.
        SettingsError: the pattern of references is not right.
    """
    document = reading.read(folder)
    blobs = _blobs(folder, document)
    now, place = desk.clock.now(), desk.place_of(folder)
    async with desk.database.write() as session:
        await _refuse_second(session, folder, place, again=again)
        pattern = desk.settings.approval.reference
        if last_reference is not None:
            await numbering.told_last(session, pattern, last_reference, by=by, at=now)
        reference = await numbering.reserve(session, pattern, document.date.year)
        await _store_blobs(session, blobs)
        circular = Circular(
            reference=reference,
            state=CircularState.DRAFT,
            folder=place,
            drafted_by=by,
            drafted_at=now,
            **_columns(document),
        )
        session.add(circular)
        await session.flush()
        await chain.append(
            session,
            chain.chain_of(circular.id),
            "circular-drafted",
            {"reference": reference, "title": document.title, "draft_digest": document.digest},
            by=by,
            at=now,
        )
    return circular


async def _refuse_second(session: AsyncSession, folder: Path, place: str, *, again: bool) -> None:
    same = select(Circular).where(Circular.folder == place, Circular.parent_id.is_(None))
    alive = list(await session.scalars(same.where(Circular.state != CircularState.CANCELLED).order_by(Circular.id)))
    if (draft := next((one for one in alive if one.state in CHANGEABLE), None)) is not None:
        name = draft.reference or draft.id
        raise CircularError(
            f"it is {name_of(draft)} already",
            where=str(folder),
            remedy=f"read it again with chancery circular update {name}, or give that one up with chancery circular cancel {name}",
        )
    if alive and not again:
        raise CircularError(
            f"it is {name_of(alive[-1])} already, whose letters have begun to leave or have left",
            where=str(folder),
            remedy=f"for a further circular of the same folder: chancery circular new {folder} --again",
        )


async def update_from_folder(desk: Desk, id_text: str | int, *, by: str, folder: Path | None = None) -> Updated:
    """Read the circular's folder again (or another one); what changed voids an approval and the waivers.

    Raises:
        NotAllowedNow: its letters have begun to leave, or it is cancelled.
        CircularError: the folder is not right; nothing is changed.
    """
    async with desk.database.read() as session:
        seen = await find(session, id_text)
    place = folder or desk.folder_of(seen)
    document = reading.read(place)
    blobs = _blobs(place, document)
    now = desk.clock.now()
    async with desk.database.write() as session:
        circular = await find(session, seen.id)
        if circular.parent_id is not None:
            what = "reminder" if circular.copy_of is None else "copy"
            raise NotAllowedNow(f"a {what}'s text was approved with its circular", where=name_of(circular))
        if circular.state not in CHANGEABLE:
            raise NotAllowedNow(
                f"it is {circular.state}, so its text can't change",
                where=name_of(circular),
                remedy="send a new circular that follows it",
            )
        before = Document.from_json(circular.draft)
        differences = changes(before, document)
        circular.folder = desk.place_of(place)
        if before.digest == document.digest:
            return Updated(circular, [])
        approved = circular.state == CircularState.APPROVED
        voided = await _void(session, circular, before)
        if approved and desk.unschedule is not None and await desk.unschedule(session, circular.id):
            voided.append("the time at which it was to be sent")
        await _store_blobs(session, blobs)
        for column, value in _columns(document).items():
            setattr(circular, column, value)
        circular.state, circular.drafted_by, circular.drafted_at = CircularState.DRAFT, by, now
        await chain.append(
            session,
            chain.chain_of(circular.id),
            "circular-updated",
            {
                "draft_digest": document.digest,
                "changed": [key for key, _, _ in differences],
                "voided": voided,
            },
            by=by,
            at=now,
        )
    return Updated(circular, differences, voided)


async def cancel_before_sending(
    database: Sessions, clock: Clock, id_text: str | int, *, by: str, why: str = ""
) -> Circular:
    """Give up a circular of which nothing has been sent; its reference is void and is not given again.

    Raises:
        NotAllowedNow: letters have begun to leave, or it is cancelled already.
    """
    now = clock.now()
    async with database.write() as session:
        circular = await find(session, id_text)
        state = CircularState(circular.state)
        if state not in CHANGEABLE:
            raise NotAllowedNow(f"it is {state.value}", where=name_of(circular))
        check_move(state, CircularState.CANCELLED, name=name_of(circular))
        if state is CircularState.FREEZING:
            await rows.drop(session, circular.id)
        await session.execute(
            update(Recipient)
            .where(Recipient.circular_id == circular.id, Recipient.state == RecipientState.QUEUED)
            .values(state=RecipientState.CANCELLED, why="the circular was cancelled", at=now)
        )
        circular.state, circular.finished_at = CircularState.CANCELLED, now
        await chain.append(
            session,
            chain.chain_of(circular.id),
            "circular-cancelled",
            {"was": state.value, "reference": circular.reference, "why": why},
            by=by,
            at=now,
        )
    return circular


def _columns(document: Document) -> dict[str, object]:
    return {
        "title": document.title,
        "date": document.date,
        "as_of": document.as_of,
        "reply_by": document.reply_by,
        "sender": document.sender,
        "on_uncertain": document.on_uncertain,
        "archive": document.archive,
        "draft": document.as_json(),
    }


async def _void(session: AsyncSession, circular: Circular, before: Document) -> list[str]:
    """Undo what the old text had; gives it in words."""
    voided = []
    if circular.state != CircularState.DRAFT:
        who = f" of {circular.approved_by}" if circular.approved_by else ""
        voided.append(f"the approval{who}; it is a draft again")
        await rows.drop(session, circular.id)
        circular.approved_by = circular.approved_at = None
        circular.text_digest = circular.mailbox_digest = circular.lists_revision = None
        if circular.finish_by is not None:
            circular.finish_by = None
            voided.append("the time until which its letters were to be spread")
    waived = await session.scalars(
        select(Waiver.finding).where(Waiver.circular_id == circular.id, Waiver.draft_digest == before.digest)
    )
    voided += [f"the waiver of {finding}" for finding in waived]
    return voided


def _blobs(folder: Path, document: Document) -> dict[str, bytes]:
    return {sha256: reading.file_bytes(folder, stored) for sha256, stored in document.files.items()}


async def _store_blobs(session: AsyncSession, blobs: dict[str, bytes]) -> None:
    for sha256, data in blobs.items():
        await store_blob(session, data, sha256)


async def store_blob(session: AsyncSession, data: bytes, sha256: str | None = None) -> str:
    """Keep *data* under its sha256, once; gives the sha256."""
    key = sha256 or hashlib.sha256(data).hexdigest()
    if await session.scalar(select(Blob.sha256).where(Blob.sha256 == key)) is None:
        await session.execute(insert(Blob).values(sha256=key, data=data))
    return key

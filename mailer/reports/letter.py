"""The account of one letter: the answer to "we never got it". Every try with its time, relay and literal reply; the bytes again."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.roll import Roll
from mailer.circulars.compose import Composed, LetterRow, merge, rendered, sign, stored_row, versions
from mailer.circulars.header_boxes import header_boxes
from mailer.circulars.keys import Keys
from mailer.circulars.loading import load_frozen
from mailer.circulars.models import Circular, Letter, Recipient, Snapshot
from mailer.circulars.states import RecipientState
from mailer.delivery.archive import kept
from mailer.delivery.models import Attempt, Outcome
from mailer.errors import ChanceryError, SettingsError
from mailer.replies.find import addressed, pick
from mailer.replies.models import Reply
from mailer.replies.service import answers_to
from mailer.reports.delivery import domain_of, letter_lines, literal
from mailer.reports.lines import LetterLine
from mailer.transport.base import Payload


@dataclass(frozen=True, slots=True)
class Try:
    """What one try, or one person's word, made of an address.

    Attributes:
        relay: which relay was asked; None: none (withheld, cancelled, settled by a person).
        claimed_at: when the try began.
        state: what came of it; None: it is under way, or nobody knows.
        reply: the relay's literal words with their code.
        by: who recorded it.
        sha256: of the bytes whose content was begun.
    """

    address: str
    relay: str | None
    claimed_at: dt.datetime | None
    at: dt.datetime | None
    state: RecipientState | None
    reply: str | None
    why: str | None
    by: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply of the organization."""

    answer: str
    names: str
    note: str
    at: dt.datetime
    by: str


@dataclass(frozen=True, slots=True)
class LetterAccount:
    """A letter's whole account.

    Attributes:
        reference: of its circular.
        reminders: of each reminder to the same organization: its reference and its letter.
        copies: the same of each copy of the letter.
    """

    reference: str
    title: str
    letter: LetterLine
    tries: tuple[Try, ...]
    reminders: tuple[tuple[str, LetterLine], ...]
    copies: tuple[tuple[str, LetterLine], ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Bytes:
    """A letter's bytes made again.

    Attributes:
        as_sent: whether they are those that were sent; None: nothing was sent yet.
        sent_sha256: what the account says of them.
        unsigned: why they lack the signature that the letter was sent with, so that they can't be compared; None: they are whole.
    """

    composed: Composed
    as_sent: bool | None
    sent_sha256: str | None
    unsigned: str | None = None

    @property
    def eml(self) -> bytes:
        """The whole message."""
        payload = self.composed.payload
        return b"".join([payload.head, *(bytes(part) for part in payload.tail)])


async def account(session: AsyncSession, circular: Circular, organization: str, roll: Roll | None) -> LetterAccount:
    """The account of the letter of *circular* to an organization, as typed (see `replies.find`).

    Raises:
        NotFound: there is no such letter.
        BadInput: several organizations may be meant.
    """
    name = circular.reference or str(circular.id)
    one = await pick(partial(addressed, session, circular.id), organization, roll, circular=name)
    line = (await letter_lines(session, circular, letter_id=one.letter_id))[0]
    reminders: list[tuple[str, LetterLine]] = []
    children = await session.scalars(
        select(Circular)
        .where(Circular.parent_id == circular.id)
        .where(Circular.copy_of.is_(None) | (Circular.copy_of == one.letter_id))
        .order_by(Circular.ordinal, Circular.id)
    )
    copies: list[tuple[str, LetterLine]] = []
    for child in children.all():
        letter_id = await session.scalar(
            select(Letter.id).where(Letter.circular_id == child.id, Letter.organization_id == one.organization_id)
        )
        if letter_id is not None:
            found = await letter_lines(session, child, letter_id=letter_id)
            told = copies if child.copy_of else reminders
            told.append((child.reference or str(child.id), found[0]))
    return LetterAccount(
        reference=name,
        title=circular.title,
        letter=line,
        tries=tuple(await _tries(session, one.letter_id)),
        reminders=tuple(reminders),
        copies=tuple(copies),
        answers=tuple(await _answers(session, circular, one.organization_id)),
    )


async def _tries(session: AsyncSession, letter_id: int) -> list[Try]:
    attempts = {
        attempt.id: attempt
        for attempt in await session.scalars(
            select(Attempt).where(Attempt.letter_id == letter_id).order_by(Attempt.claimed_at)
        )
    }
    outcomes = (
        await session.scalars(
            select(Outcome).where(Outcome.letter_id == letter_id).order_by(Outcome.link, Outcome.place)
        )
    ).all()
    tries = []
    for one in outcomes:
        attempt = attempts.get(one.attempt_id) if one.attempt_id else None
        tries.append(
            Try(
                address=one.address,
                relay=one.relay or (attempt.relay if attempt else None),
                claimed_at=attempt.claimed_at if attempt else None,
                at=one.at,
                state=RecipientState(one.state),
                reply=literal(one.code, one.reply),
                why=one.why,
                by=one.by,
                sha256=one.sha256,
            )
        )
    told = {one.attempt_id for one in outcomes}
    open_ones = [attempt for attempt in attempts.values() if attempt.id not in told and attempt.ended_at is None]
    held = await session.execute(
        select(Recipient.attempt_id, Recipient.address).where(
            Recipient.letter_id == letter_id, Recipient.state == RecipientState.SENDING
        )
    )
    under_way: dict[str | None, list[str]] = {}
    for attempt_id, address in held:
        under_way.setdefault(attempt_id, []).append(address)
    for attempt in open_ones:
        tries.extend(
            Try(address, attempt.relay, attempt.claimed_at, None, None, None, None, "", attempt.sha256)
            for address in under_way.get(attempt.id, [])
        )
    return tries


async def _answers(session: AsyncSession, circular: Circular, organization_id: int) -> Sequence[Answer]:
    answered = await answers_to(session, circular.id)
    rows = await session.scalars(
        select(Reply)
        .where(Reply.circular_id == answered.id, Reply.organization_id == organization_id)
        .order_by(Reply.id)
    )
    return [Answer(one.answer, one.names, one.note, one.at, one.by) for one in rows]


async def bytes_again(session: AsyncSession, letter_id: int, *, now: dt.datetime, keys: Keys | None = None) -> Bytes:
    """The letter's bytes, made again from what approval froze, and whether they are those that were sent.

    A letter of which nothing has left is made as it would leave now. *keys* are what letters are signed with; where the letter's own
    is not among them any more, the rest of it is made.

    Raises:
        CannotDo: another version of the program approved it, and its bytes were not kept.
    """
    letter, row = await _row(session, letter_id, now)
    # the register vouches for outcomes, not for the letter's own column
    told = await session.scalar(
        select(Outcome.sha256)
        .where(Outcome.letter_id == letter_id, Outcome.sha256.is_not(None))
        .order_by(Outcome.link.desc(), Outcome.place.desc())
        .limit(1)
    )
    sent = told or (letter.sha256 if letter.left_at is not None else None)
    if sent is not None and (data := await kept(session, sent)) is not None:
        document = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == letter.circular_id))
        name = f"<{letter.token}@{domain_of(document)}>"
        return Bytes(Composed(Payload(data, ()), sent, name, len(data)), as_sent=True, sent_sha256=sent)
    frozen = await load_frozen(session, letter.circular_id, keys)
    signer, unsigned = None, None
    try:
        signer = frozen.signer
    except SettingsError as error:
        unsigned = str(error)
    several = [sign(merge(frozen, version), signer) for version in versions(row)]
    made = next((one for one in several if one.sha256 == sent), several[0])
    return Bytes(made, None if sent is None or unsigned else made.sha256 == sent, sent, unsigned)


async def text_again(session: AsyncSession, letter_id: int, *, now: dt.datetime) -> str:
    """What the letter says, as text; where it can't be made again, why, in brackets."""
    letter, row = await _row(session, letter_id, now)
    try:
        return rendered(await load_frozen(session, letter.circular_id), row).text
    except ChanceryError as error:
        return f"[{error}]"


async def _row(session: AsyncSession, letter_id: int, now: dt.datetime) -> tuple[Letter, LetterRow]:
    letter = await session.get_one(Letter, letter_id)
    named = await header_boxes(session, letter)
    return letter, stored_row(letter, named.boxes, letter.dated or now)

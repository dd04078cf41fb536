"""A copy of a letter that was sent before: the same text and enclosures once more, marked as a copy, in a circular of its own.

The copy is a circular with one letter, `REF/C1`, below the circular that its letter belongs to: it has its own row, Message-ID,
account and register. It follows its letter in the mail program's thread. What it is, is said in the letter's language in the subject
and above the text.
"""

import datetime as dt
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists import audiences
from lists.address import normalise
from lists.audiences import Mailbox
from lists.kinds import Form, Role
from mailer.circulars import approval, rows, snapshot
from mailer.circulars.compose import COPY, COPY_WORD, THREAD
from mailer.circulars.desk import find, name_of
from mailer.circulars.frozen import Frozen
from mailer.circulars.models import Circular, Letter, Recipient, Snapshot
from mailer.circulars.planning import Planned, digests_of
from mailer.circulars.states import CircularState, RecipientState
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.errors import BadInput, Defect, NotAllowedNow
from mailer.letters import days
from mailer.register import chain

#: What stands before the subject, and above the text: with the day on which the letter was first sent.
_WORDS = {
    "en": ("Copy", "Copy. First sent on {}."),
    "fr": ("Copie", "Copie. Premier envoi : {}."),
    "es": ("Copia", "Copia. Primer envío: {}."),
    "ar": ("نسخة", "نسخة. أُرسلت أول مرة في {}."),
    "zh": ("副本", "副本。首次发送日期：{}。"),  # noqa: RUF001 - Chinese punctuation
    "ru": ("Копия", "Копия. Впервые отправлено {}."),
}


async def freeze_copy(
    database: Sessions, clock: Clock, letter_id: int, *, to: str | None, by: str, zone: str
) -> tuple[int, str]:
    """Write the copy of a letter; it is then approved and may be sent.

    Args:
        database: where.
        clock: its day says which mailboxes are right.
        letter_id: a letter that a mail server has taken for at least one address.
        to: the address that gets the copy; None: the organization's mailboxes of today.
        by: who acts.
        zone: in which the day of the first sending is told.

    Returns:
        The id and the reference of the copy's circular.

    Raises:
        NotAllowedNow: nobody has the letter yet, or it is a copy itself, or its circular is cancelled.
        BadInput: *to* is no address, or the organization has no mailbox today.
    """
    address = None if to is None else normalise(to.strip())
    async with database.write() as session:
        made = await _begin(session, clock, letter_id, address, by, ZoneInfo(zone))
        made_id, name = made.id, name_of(made)
    while await rows.write_next(database, made_id):
        pass
    if not await approval.seal(database, clock, made_id, by=by):
        raise Defect("the copy could not be written", where=name)
    return made_id, name


async def _begin(
    session: AsyncSession, clock: Clock, letter_id: int, address: str | None, by: str, zone: dt.tzinfo
) -> Circular:
    now = clock.now()
    day = now.astimezone(zone).date()
    letter = await session.get_one(Letter, letter_id)
    parent = await find(session, letter.circular_id)
    await _permit(session, parent, letter)
    frozen = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == parent.id))
    if frozen is None or letter.left_at is None:
        raise Defect("a letter that was sent has no approved text", where=name_of(parent))
    boxes = (
        await audiences.current_mailboxes(session, letter.organization_id, day)
        if address is None
        else (Mailbox(None, address, "", Role.TO),)
    )
    if not boxes:
        raise BadInput(
            f"{letter.organization} has no mailbox today", where=name_of(parent), remedy="say where: --to ADDRESS"
        )
    count = await session.scalar(
        select(func.count()).where(Circular.parent_id == parent.id, Circular.copy_of.is_not(None))
    )
    reference = f"{name_of(parent)}/C{(count or 0) + 1}"
    document = snapshot.of_copy_of(frozen, reference)
    word, notice = _WORDS[letter.language]
    domain = document["sender"]["address"].rpartition("@")[2]
    planned = Planned(
        organization_id=letter.organization_id,
        organization=letter.organization,
        state_iso3=letter.state_iso3,
        audience=letter.audience,
        role=Role(letter.role),
        form=Form(letter.form),
        language=letter.language,
        why=f"a copy of letter {letter.id} of {name_of(parent)}",
        fields={
            **letter.fields,
            THREAD: f"{letter.fields.get(THREAD, '')} <{letter.token}@{domain}>".strip(),
            COPY_WORD: word,
            COPY: notice.format(days.date(letter.left_at.astimezone(zone).date(), letter.language)),
        },
        mailboxes=boxes,
    )
    digests = digests_of(Frozen(document, {}).digest, [planned])
    made = Circular(
        reference=reference,
        parent_id=parent.id,
        copy_of=letter.id,
        state=CircularState.FREEZING,
        title=parent.title,
        date=parent.date,
        as_of=parent.as_of,
        sender=parent.sender,
        folder=parent.folder,
        draft=parent.draft,
        drafted_by=parent.drafted_by,
        drafted_at=parent.drafted_at,
        approved_by=by,
        on_uncertain=parent.on_uncertain,
        archive=parent.archive,
        text_digest=digests.text,
        mailbox_digest=digests.mailboxes,
    )
    session.add(made)
    await session.flush()
    await rows.store_plan(session, made.id, document=document, planned=[planned], not_addressed=[], mailboxes_of=day)
    said = {
        "letter": letter.id,
        "of": name_of(parent),
        "reference": reference,
        "to": [box.address for box in boxes],
    }
    for one in (parent.id, made.id):
        await chain.append(session, chain.chain_of(one), "letter-copied", said, by=by, at=now)
    return made


async def _permit(session: AsyncSession, parent: Circular, letter: Letter) -> None:
    name = name_of(parent)
    if parent.copy_of is not None:
        raise NotAllowedNow("it is a copy itself", where=name, remedy="copy the letter that it is a copy of")
    if parent.state == CircularState.CANCELLED:
        raise NotAllowedNow("it is cancelled, so nothing of it is sent again", where=name)
    states = set(await session.scalars(select(Recipient.state).where(Recipient.letter_id == letter.id)))
    if RecipientState.ACCEPTED in states:
        return
    remedy = f"chancery circular resend {name} --failed"
    if RecipientState.UNCERTAIN in states:
        remedy = f"say first what became of it: chancery circular resolve {name} {letter.id} --sent, or --resend"
    raise NotAllowedNow(
        f"no mail server has taken the letter to {letter.organization}, so there is nothing to copy",
        where=name,
        remedy=remedy,
    )

"""Who answered what to a circular. Every answer is kept; the last one of an organization counts."""

import datetime as dt
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.roll import Roll
from mailer.circulars.models import Circular
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.errors import BadInput, NotFound
from mailer.register import chain
from mailer.replies.find import addressed, pick
from mailer.replies.models import Reply

_LONGEST_ANSWER = 80


@dataclass(frozen=True, slots=True)
class ReplyLine:
    """An organization of a circular and what it answered.

    Attributes:
        answer: the last answer; None: it has not answered.
        answers: how many answers it gave.
    """

    organization_id: int
    organization: str
    state_iso3: str | None
    answer: str | None = None
    names: str = ""
    note: str = ""
    at: dt.datetime | None = None
    by: str | None = None
    answers: int = 0


async def answers_to(session: AsyncSession, circular_id: int) -> Circular:
    """The circular that replies to *circular_id* belong to: a reminder's are its parent's.

    Raises:
        NotFound: there is no such circular.
    """
    circular = await session.get(Circular, circular_id)
    if circular is None:
        raise NotFound(f"there is no circular {circular_id}", remedy="`chancery circular list` lists them")
    return circular if circular.parent_id is None else await answers_to(session, circular.parent_id)


async def record(
    database: Sessions,
    clock: Clock,
    circular_id: int,
    organization: str,
    answer: str,
    *,
    by: str,
    roll: Roll | None = None,
    names: str = "",
    note: str = "",
) -> ReplyLine:
    """Keep what an organization answered.

    Args:
        database: where.
        clock: says when.
        circular_id: the circular, or a reminder of it.
        organization: as typed; see `replies.find`.
        answer: the coordinator's word, up to 80 characters: attends, declines, acknowledged, or another.
        by: the coordinator.
        roll: for names of States.
        names: who comes, as answered.
        note: anything else worth keeping.

    Returns:
        The organization with this answer.

    Raises:
        NotFound: no such circular, or no letter of it to that organization.
        BadInput: several organizations may be meant, or the answer is empty or too long.
    """
    word = " ".join(answer.split())
    if not word or len(word) > _LONGEST_ANSWER or not word.isprintable():
        raise BadInput(
            f"an answer is 1 to {_LONGEST_ANSWER} characters",
            where="the answer",
            remedy="write attends, declines, acknowledged or a few words; --note takes more",
        )
    async with database.write() as session:
        circular = await answers_to(session, circular_id)
        name = circular.reference or str(circular.id)
        one = await pick(partial(addressed, session, circular.id), organization, roll, circular=name)
        at = clock.now()
        reply = Reply(
            circular_id=circular.id,
            organization_id=one.organization_id,
            answer=word,
            names=names.strip(),
            note=note.strip(),
            at=at,
            by=by,
        )
        session.add(reply)
        await session.flush()
        said = {"organization_id": one.organization_id, "organization": one.organization, "answer": word}
        said |= {key: value for key, value in (("names", reply.names), ("note", reply.note)) if value}
        await chain.append(session, chain.chain_of(circular.id), "reply-recorded", said, by=by, at=at)
        kept = await session.scalar(
            select(func.count()).where(Reply.circular_id == circular.id, Reply.organization_id == one.organization_id)
        )
    return ReplyLine(
        one.organization_id, one.organization, one.state_iso3, word, reply.names, reply.note, at, by, kept or 1
    )


async def last_replies(
    session: AsyncSession, circular_id: int, organizations: Collection[int] | None = None
) -> dict[int, tuple[Reply, int]]:
    """The answer that counts and the number of answers, per organization; for the circular itself, not its reminders.

    *organizations* are those asked about, a thousand or so; None: all.
    """
    asked = select(Reply).where(Reply.circular_id == circular_id).order_by(Reply.id)
    if organizations is not None:
        asked = asked.where(Reply.organization_id.in_(organizations))
    rows = await session.scalars(asked)
    last: dict[int, tuple[Reply, int]] = {}
    for reply in rows:
        before = last.get(reply.organization_id)
        last[reply.organization_id] = (reply, before[1] + 1 if before else 1)
    return last


async def answered(session: AsyncSession, circular_id: int) -> set[int]:
    """The organizations that answered a circular (for a reminder: its parent), whatever they answered."""
    circular = await answers_to(session, circular_id)
    return set(await session.scalars(select(Reply.organization_id).where(Reply.circular_id == circular.id).distinct()))


async def lines(session: AsyncSession, circular_id: int) -> AsyncIterator[list[ReplyLine]]:
    """Every organization of a circular in the order of its letters, with its answer or without one; some hundreds at a time."""
    circular = await answers_to(session, circular_id)
    async for some in addressed(session, circular.id):
        last = await last_replies(session, circular.id, [one.organization_id for one in some])
        found = []
        for one in some:
            known = (one.organization_id, one.organization, one.state_iso3)
            if one.organization_id in last:
                reply, count = last[one.organization_id]
                found.append(ReplyLine(*known, reply.answer, reply.names, reply.note, reply.at, reply.by, count))
            else:
                found.append(ReplyLine(*known))
        yield found

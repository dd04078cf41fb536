"""Writing outcomes: the recipient's columns, an append-only row for each, and one register link for all of them.

Every change of a recipient that a person could ask about later goes through `record`. `lines` gives the rows back as the register
digested them, and `disagreements` compares each recipient with its last outcome; `register.verify` is handed both.
"""

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Recipient
from mailer.circulars.states import OPEN, RecipientState
from mailer.delivery.models import Attempt, Outcome
from mailer.register import chain
from mailer.transport.base import Reply


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one recipient.

    Attributes:
        attempt: the attempt that says so; None: no relay was asked.
        tries: how many tries it counts now.
        next_at: when it is tried again; None: at once, or never.
        sha256: `mime` digest of the bytes, where content began.
    """

    recipient: int
    letter: int
    address: str
    state: RecipientState
    at: dt.datetime
    attempt: str | None = None
    relay: str | None = None
    reply: Reply | None = None
    why: str | None = None
    tries: int = 0
    next_at: dt.datetime | None = None
    sha256: str | None = None


#: The columns of an outcome that its register line holds, in order.
_LINE = (
    "letter_id",
    "recipient_id",
    "attempt_id",
    "relay",
    "address",
    "state",
    "code",
    "enhanced",
    "reply",
    "why",
    "by",
    "at",
    "sha256",
    "place",
)


def _line(row: Mapping[Any, Any]) -> list[Any]:
    values = [row[name] for name in _LINE]
    values[5] = str(values[5])
    values[11] = values[11].astimezone(dt.UTC).isoformat(timespec="microseconds")
    return values


_SET_RECIPIENT = (
    update(Recipient.__table__)  # type: ignore[arg-type]  # a Table, as Core takes it; Core's executemany costs a third of the ORM's
    .where(Recipient.__table__.c.id == bindparam("b_id"))
    .values(
        state=bindparam("b_state"),
        code=bindparam("b_code"),
        enhanced=bindparam("b_enhanced"),
        reply=bindparam("b_reply"),
        why=bindparam("b_why"),
        at=bindparam("b_at"),
        tries=bindparam("b_tries"),
        next_at=bindparam("b_next_at"),
        address=bindparam("b_address"),
    )
)


async def record(
    session: AsyncSession,
    circular_id: int,
    changes: Sequence[Change],
    *,
    by: str,
    at: dt.datetime,
    action: str = "outcomes",
) -> int | None:
    """Write *changes* and the register link that accounts for them, in the caller's transaction.

    Returns:
        The link's number; None: there was nothing to write.
    """
    if not changes:
        return None
    head = chain.chain_of(circular_id)
    rows: list[dict[str, Any]] = [
        {
            "circular_id": circular_id,
            "letter_id": change.letter,
            "recipient_id": change.recipient,
            "attempt_id": change.attempt,
            "relay": change.relay,
            "address": change.address,
            "state": change.state,
            "code": change.reply.code if change.reply else None,
            "enhanced": change.reply.enhanced if change.reply else None,
            "reply": change.reply.text if change.reply else None,
            "why": change.why or None,
            "by": by,
            "at": change.at,
            "sha256": change.sha256,
            "place": place,
        }
        for place, change in enumerate(changes, 1)
    ]
    digest = chain.outcomes_digest([_line(row) for row in rows])
    link = await chain.append(session, head, action, {"recipients": len(rows)}, by=by, at=at, digest=digest)
    connection = await session.connection()
    await connection.execute(insert(Outcome.__table__), [{**row, "link": link} for row in rows])  # type: ignore[arg-type]  # as above
    await connection.execute(
        _SET_RECIPIENT,
        [
            {
                "b_id": change.recipient,
                "b_state": change.state,
                "b_code": row["code"],
                "b_enhanced": row["enhanced"],
                "b_reply": row["reply"],
                "b_why": row["why"],
                "b_at": change.at,
                "b_tries": change.tries,
                "b_next_at": change.next_at,
                "b_address": change.address,
            }
            for change, row in zip(changes, rows, strict=True)
        ],
    )
    return link


async def lines(session: AsyncSession, circular_id: int) -> AsyncIterator[tuple[int, list[Any]]]:
    """The outcomes of a circular as (link, register line), in order."""
    table = Outcome.__table__
    found = await session.stream(
        select(table).where(table.c.circular_id == circular_id).order_by(table.c.link, table.c.place)
    )
    async for row in found.mappings():
        yield row["link"], _line(row)


async def disagreements(session: AsyncSession, circular_id: int) -> list[str]:
    """Where a recipient, or an attempt, does not say what its outcomes say; one sentence each."""
    last = (
        select(func.max(Outcome.id).label("id"))
        .where(Outcome.circular_id == circular_id)
        .group_by(Outcome.recipient_id)
    ).subquery()
    pairs: Any = await session.execute(  # an outer join: each of the three may be None, which the stubs do not know
        select(Recipient, Outcome, Attempt)
        .select_from(Recipient)
        .outerjoin(Outcome, (Outcome.recipient_id == Recipient.id) & Outcome.id.in_(select(last.c.id)))
        .outerjoin(Attempt, Attempt.id == Outcome.attempt_id)
        .where(Recipient.circular_id == circular_id)
    )
    told: list[str] = []
    waiting = {RecipientState.QUEUED, RecipientState.SENDING}
    for recipient, outcome, attempt in pairs:
        name = f"recipient {recipient.id} ({recipient.address}) of letter {recipient.letter_id}"
        if outcome is None:
            if recipient.state not in waiting or recipient.code or recipient.reply:
                told.append(f"{name}: it says {recipient.state}, and no outcome says so")
            continue
        shown = (recipient.code, recipient.enhanced, recipient.reply, recipient.why, recipient.at)
        # A mailbox may be corrected while its letter waits; once it is settled, its address stands.
        moved = recipient.state not in OPEN and recipient.address != outcome.address
        other = recipient.state not in {outcome.state, RecipientState.SENDING}
        if moved or other or shown != (outcome.code, outcome.enhanced, outcome.reply, outcome.why, outcome.at):
            told.append(
                f"{name}: it says {recipient.state} {recipient.code or ''}, its last outcome {outcome.state} {outcome.code or ''}"
            )
        elif attempt is not None and (
            attempt.relay != outcome.relay or (outcome.sha256 and attempt.sha256 != outcome.sha256)
        ):
            told.append(f"{name}: its attempt names another relay or other bytes than its outcome")
    return told


def _circular_of(chain_name: str) -> int | None:
    kind, _, number = chain_name.partition("/")
    return int(number) if kind == "circular" and number.isdigit() else None


async def chain_lines(session: AsyncSession, chain_name: str) -> AsyncIterator[tuple[int, list[Any]]]:
    """`lines` of the circular whose chain this is, for `register.verify`; the home's chain has none."""
    circular_id = _circular_of(chain_name)
    if circular_id is not None:
        async for found in lines(session, circular_id):
            yield found


async def chain_disagreements(session: AsyncSession, chain_name: str) -> list[str]:
    """`disagreements` of the circular whose chain this is."""
    circular_id = _circular_of(chain_name)
    return await disagreements(session, circular_id) if circular_id is not None else []

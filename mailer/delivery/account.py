"""Writing outcomes: the recipient's columns, an append-only row for each, and one register link for all of them.

Every change of a recipient that a person could ask about later goes through `record`. `lines` gives the rows back as the register
digested them; `delivery.proof` compares with them whatever repeats them.
"""

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, bindparam, case, insert, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Recipient
from mailer.circulars.states import RecipientState
from mailer.delivery.models import Outcome
from mailer.register import chain
from mailer.register.stored import moment, stored
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
    if isinstance(values[11], dt.datetime):
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
        # tried by nobody yet, or anew by a person's word: the time for giving up has not begun to run
        first_at=case((bindparam("b_fresh", type_=Boolean), null()), else_=Recipient.__table__.c.first_at),
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
                "b_fresh": change.state is RecipientState.QUEUED and not change.tries,
            }
            for change, row in zip(changes, rows, strict=True)
        ],
    )
    return link


async def lines(session: AsyncSession, circular_id: int) -> AsyncIterator[tuple[int, list[Any]]]:
    """The outcomes of a circular as (link, register line), in order; a value that is none of its column's stands there as it is."""
    table = Outcome.__table__.c
    columns = [stored(table[name]) for name in ("link", *_LINE)]
    found = await session.stream(
        select(*columns).where(table.circular_id == circular_id).order_by(table.link, table.place)
    )
    async for row in found.mappings():
        yield row["link"], _line({**row, "at": moment(row["at"])})

"""Writing outcomes: the recipient's columns, an append-only row for each, and one register link for all of them.

Every change of a recipient that a person could ask about later goes through `record`. `lines` gives the rows back as the register
digested them; `delivery.proof` compares with them whatever repeats them.
"""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Boolean, Table, bindparam, case, insert, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.bulk import Many
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


def _line(values: Sequence[Any]) -> list[Any]:
    """*values*, in the order of `_LINE`, as the register digests them."""
    line = list(values)
    line[_STATE] = str(line[_STATE])
    if isinstance(line[_AT], dt.datetime):
        line[_AT] = line[_AT].astimezone(dt.UTC).isoformat(timespec="microseconds")
    return line


_STATE, _AT = _LINE.index("state"), _LINE.index("at")

_ADD_OUTCOME = Many(insert(cast("Table", Outcome.__table__)), *_LINE, "circular_id", "link")
_SET_RECIPIENT = Many(
    update(cast("Table", Recipient.__table__))
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
    ),
    *(
        "b_id",
        "b_state",
        "b_code",
        "b_enhanced",
        "b_reply",
        "b_why",
        "b_at",
        "b_tries",
        "b_next_at",
        "b_address",
        "b_fresh",
    ),
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
    rows: list[tuple[Any, ...]] = []
    updates: list[tuple[Any, ...]] = []
    for place, change in enumerate(changes, 1):
        reply = change.reply
        said = (reply.code, reply.enhanced, reply.text) if reply else (None, None, None)
        why = change.why or None
        rows.append(
            (
                *(change.letter, change.recipient, change.attempt, change.relay, change.address, change.state),
                *(*said, why, by, change.at, change.sha256, place),
            )
        )
        fresh = change.state is RecipientState.QUEUED and not change.tries
        updates.append(
            (
                *(change.recipient, change.state, *said, why, change.at, change.tries),
                *(change.next_at, change.address, fresh),
            )
        )
    digest = chain.outcomes_digest([_line(row) for row in rows])
    link = await chain.append(session, head, action, {"recipients": len(rows)}, by=by, at=at, digest=digest)
    connection = await session.connection()
    await _ADD_OUTCOME.run(connection, [(*row, circular_id, link) for row in rows])
    await _SET_RECIPIENT.run(connection, updates)
    return link


async def lines(session: AsyncSession, circular_id: int) -> AsyncIterator[tuple[int, list[Any]]]:
    """The outcomes of a circular as (link, register line), in order; a value that is none of its column's stands there as it is."""
    table = Outcome.__table__.c
    columns = [stored(table[name]) for name in ("link", *_LINE)]
    found = await session.stream(
        select(*columns).where(table.circular_id == circular_id).order_by(table.link, table.place)
    )
    async for row in found.mappings():
        values = {**row, "at": moment(row["at"])}
        yield row["link"], _line([values[name] for name in _LINE])

"""Writing outcomes: the recipient's columns, an append-only row for each, and one register link for all of them.

Every change of a recipient that a person could ask about later goes through `record` or, among other statements, `write`. `lines`
gives the rows back as the register digested them; `delivery.proof` compares with them whatever repeats them.
"""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from sqlalchemy import Integer, Table, bindparam, case, insert, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Recipient
from mailer.circulars.states import RecipientState
from mailer.delivery.models import Outcome
from mailer.register import chain
from mailer.register.stored import moment, stored
from mailer.statements import Many, Wire, flag, pack, stamp, straight
from mailer.transport.base import Reply


@dataclass(slots=True)
class Change:
    """What became of one recipient. Not to be changed; to freeze it would double what making it costs, as with all that each letter has.

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

_OUTCOMES, _RECIPIENTS = cast("Table", Outcome.__table__), cast("Table", Recipient.__table__)
#: Of each change: its outcome, and what its recipient needs beside it. *fresh*: tried by nobody yet, or anew by a person's word, so that
#: the time for giving up has not begun to run.
_ROW = [*(_OUTCOMES.c[name] for name in _LINE), _RECIPIENTS.c.tries, _RECIPIENTS.c.next_at, flag("fresh")]
_ADD_OUTCOMES = Many(
    _ROW,
    lambda rows, row: insert(_OUTCOMES).from_select(
        [*_LINE, "circular_id", "link"],
        select(
            *(getattr(row, name) for name in _LINE),
            bindparam("circular_id", type_=Integer),
            bindparam("link", type_=Integer),
        ).select_from(rows),
    ),
)
_REPEATED = ("state", "code", "enhanced", "reply", "why", "at", "tries", "next_at", "address")
_SET_RECIPIENTS = Many(
    _ROW,
    lambda _rows, row: (
        update(_RECIPIENTS)
        .where(_RECIPIENTS.c.id == row.recipient_id)
        .values(
            {name: getattr(row, name) for name in _REPEATED}
            | {"first_at": case((row.fresh, null()), else_=_RECIPIENTS.c.first_at)}
        )
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
    return await straight(
        session, partial(write, circular_id=circular_id, changes=changes, by=by, at=at, action=action)
    )


def write(
    wire: Wire, *, circular_id: int, changes: Sequence[Change], by: str, at: dt.datetime, action: str = "outcomes"
) -> int | None:
    """As `record`, among other statements of a transaction."""
    if not changes:
        return None
    lines: list[tuple[Any, ...]] = []
    rows: list[tuple[Any, ...]] = []
    for place, change in enumerate(changes, 1):
        reply, state, when = change.reply, change.state, stamp(change.at)
        said = (reply.code, reply.enhanced, _kept(reply.text)) if reply else (None, None, None)
        why = _kept(change.why) if change.why else None
        line = (change.letter, change.recipient, change.attempt, change.relay, change.address, state, *said, why, by)
        lines.append((*line, f"{when[:10]}T{when[11:]}+00:00", change.sha256, place))
        fresh = state is RecipientState.QUEUED and not change.tries
        rows.append((*line, when, change.sha256, place, change.tries, change.next_at, fresh))
    link = chain.add(
        wire,
        chain=chain.chain_of(circular_id),
        action=action,
        subject={"recipients": len(rows)},
        by=by,
        at=at,
        digest=chain.outcomes_digest(lines),
    )
    packed = pack(rows)
    _ADD_OUTCOMES.write(wire, packed, circular_id=circular_id, link=link)
    _SET_RECIPIENTS.write(wire, packed)
    return link


def _kept(text: str) -> str:
    """What others wrote, without what no database keeps."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


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

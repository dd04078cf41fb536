"""What is due in a batch, looked at before it is claimed: the choice of relays and the paces of domains need it letter by letter."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, TextClause, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.records import record
from mailer.circulars.models import IS_OPEN, Letter, Recipient
from mailer.circulars.states import RecipientState
from mailer.delivery.models import Outcome
from mailer.statements import Many, Wire, pack

#: Recipients that a claim may take.
WAITING = (RecipientState.QUEUED, RecipientState.DEFERRED)


@record
class Waiting:
    """A letter that is due, as far as the choice of its relay needs it.

    Attributes:
        addresses: of its recipients that one claim would take (`claims`), in the letter's order.
        last: the relay that has put it off, whatever was tried since; None: none has.
        doubtful: that relay may have it, and its circular chose to send it again.
        first_at: when it was first tried; None: it is the first time.
    """

    letter: int
    addresses: tuple[str, ...]
    last: str | None
    doubtful: bool
    first_at: dt.datetime | None = None

    @property
    def wide(self) -> bool:
        """Whether not every relay takes such addresses: one is beyond ASCII."""
        return not all(address.isascii() for address in self.addresses)


@record
class Wanted:
    """What a turn may claim.

    Attributes:
        room: so many letters at the most.
        relay: by which they go, whichever are due first.
        letters: in place of the above: exactly these letters, if they are still due, each with its relay.
        later: letters that are left for later: not before this time.
    """

    room: int = 0
    relay: str = ""
    letters: Mapping[int, str] | None = None
    later: Mapping[int, dt.datetime] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether it says anything at all."""
        return bool(self.room or self.letters or self.later)


#: A turn that only records.
NOTHING = Wanted()


def is_due(circular: Any, batch: Any, now: Any) -> tuple[ColumnElement[bool] | TextClause, ...]:
    """The conditions under which a recipient of a batch may be claimed; each may be a `bindparam`."""
    return (
        Recipient.circular_id == circular,
        Recipient.batch == batch,
        IS_OPEN,
        or_(*(Recipient.state == state for state in WAITING)),  # an IN is written anew with each run
        or_(Recipient.next_at.is_(None), Recipient.next_at <= now),
    )


async def waiting(session: AsyncSession, circular: int, batch: int, now: dt.datetime) -> list[Waiting]:
    """The letters of a batch that are due, in order."""
    rows = (
        await session.execute(
            select(
                Recipient.id,
                Recipient.letter_id,
                Recipient.address,
                Recipient.tries,
                Recipient.first_at,
                Letter.left_at,
            )
            .join(Letter, Letter.id == Recipient.letter_id)
            .where(*is_due(circular, batch, now))
            .order_by(Recipient.letter_id, Recipient.id)
        )
    ).all()
    deferred = await _deferred(session, [row.id for row in rows if row.tries or row.left_at is not None])
    found: dict[int, Waiting] = {}
    for row in rows:
        before = deferred.get(row.id)
        last = before.relay if before else None
        # put off without a reply after content left: its circular chose to send a doubtful letter again
        doubtful = before is not None and before.code is None and row.left_at is not None
        known = found.get(row.letter_id)
        found[row.letter_id] = (
            Waiting(row.letter_id, (row.address,), last, doubtful, row.first_at)
            if known is None
            else replace(
                known,
                addresses=(*known.addresses, row.address),
                last=known.last or last,
                doubtful=known.doubtful or doubtful,
                first_at=known.first_at or row.first_at,
            )
        )
    if any(not row.address.isascii() for row in rows):
        for letter, one in found.items():
            plain = tuple(address for address in one.addresses if address.isascii())
            found[letter] = replace(one, addresses=plain or one.addresses)
    return list(found.values())


async def _deferred(session: AsyncSession, recipients: Sequence[int]) -> dict[int, Any]:
    """The last outcome of those of *recipients* that were put off; coming back to the queue since has settled nothing."""
    if not recipients:
        return {}
    outcomes = await session.execute(
        select(Outcome.recipient_id, Outcome.state, Outcome.code, Outcome.relay)
        .where(Outcome.recipient_id.in_(recipients), Outcome.state != RecipientState.QUEUED)
        .order_by(Outcome.link, Outcome.place)
    )
    last = {row.recipient_id: row for row in outcomes}
    return {one: row for one, row in last.items() if row.state == RecipientState.DEFERRED}


def put_off(wire: Wire, later: Mapping[int, dt.datetime], now: dt.datetime) -> None:
    """Leave letters for later; what is on the way, or waits longer anyway, stays as it is."""
    _LATER.write(wire, pack(list(later.items())), b_now=now)


_RECIPIENTS = cast("Table", Recipient.__table__)
_LATER = Many(
    [_RECIPIENTS.c.letter_id, _RECIPIENTS.c.next_at],
    lambda _rows, row: (
        update(_RECIPIENTS)
        .where(
            _RECIPIENTS.c.letter_id == row.letter_id,
            or_(*(_RECIPIENTS.c.state == state for state in WAITING)),
            or_(
                _RECIPIENTS.c.next_at.is_(None),
                _RECIPIENTS.c.next_at <= bindparam("b_now", type_=_RECIPIENTS.c.next_at.type),
            ),
        )
        .values(next_at=row.next_at)
    ),
)

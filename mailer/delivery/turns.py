"""How a run takes its batch, works at it turn by turn, and lets go of it, each as one series of statements.

Of a turn this is the first half: record what letters met, renew the batch's beat, look at what is due. `claims.claim` is the second.
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Table, and_, bindparam, case, func, select, update

from lists.records import record
from mailer.circulars.models import IS_OPEN, Circular, Letter, Recipient
from mailer.circulars.states import CircularState
from mailer.delivery import account
from mailer.delivery.account import Change
from mailer.delivery.claims import Claim, Due, Run, look
from mailer.delivery.due import Wanted
from mailer.delivery.models import Attempt, Batch
from mailer.delivery.settling import given_up, still_open, under_way
from mailer.statements import Many, Ready, Whole, Wire, moment, pack


@record
class Taken:
    """A batch's new run.

    Attributes:
        under_way: something of it is `sending`, for an older run.
        timed: the circular's letters are to have left by a time.
    """

    run: Run
    under_way: bool
    timed: bool


@dataclass(slots=True)
class Told:
    """The end of an attempt: what became of its recipients, and what it did to its letter.

    Attributes:
        left: content began at this time; None: it did not.
        fruitless: it came back without content through no fault that the relay named.
        size: octets of the letter; 0: it was not made.
        seconds: from the start of the content to the relay's last word on it; None: there was none.
        place: which connection to the relay carried it, and its how-manieth letter this was; None: none did.
    """

    claim: Claim
    changes: tuple[Change, ...]
    left: dt.datetime | None
    sha256: str | None
    fruitless: bool
    size: int = 0
    seconds: float | None = None
    place: tuple[int, int] | None = None


def take(
    wire: Wire, *, circular: int, batch: int, owner: str, boot: str, now: dt.datetime, stale: dt.datetime
) -> Taken | None:
    """Make a run of *owner*'s the batch's run; None: it is done or held, or another owner's run has shown a sign of life since *stale*."""
    found = _STANDS.run(wire, circular=circular, batch=batch, stale=stale, owner=owner)
    if not found:
        return None
    number, done, alive, state, timed = found[0]
    if done or alive or state != CircularState.SENDING:
        return None
    _TAKE.run(wire, b_circular=circular, b_no=batch, b_run=number + 1, b_beat=now, b_owner=owner)
    run = Run(circular, batch, number + 1, owner, boot)
    return Taken(run, under_way=under_way(wire, circular, batch), timed=bool(timed))


def leave(
    wire: Wire, *, run: Run, told: Sequence[Told], now: dt.datetime, not_before: dt.datetime | None
) -> bool | None:
    """Record *told*, let go of the batch, and write when it falls due again, or that it is done.

    Returns:
        Whether that is all; False: something of it is still under way, the circular's own state has to change, or a newer run has the
        batch; None: there is no batch.
    """
    found = _TAKEN.run(wire, circular=run.circular, batch=run.batch)
    # a turn that failed may have told a part of it
    cancelled = bool(found) and found[0][2] == CircularState.CANCELLED
    write_down(wire, run=run, told=told, now=now, late=True, cancelled=cancelled)
    if not found:
        return None
    number, _, state = found[0]
    ours = number == run.number
    if ours:
        _FREE.run(wire, b_circular=run.circular, b_no=run.batch)
    ((count, earliest),) = _OPEN.read(wire, circular=run.circular, batch=run.batch, now=now)
    next_at = max(filter(None, (moment(earliest), not_before)), default=None) if count else None
    _SETTLE.run(wire, b_circular=run.circular, b_no=run.batch, b_done=None if count else now, b_next=next_at)
    open_batches = _UNFINISHED.run(wire, circular=run.circular)[0][0]
    settled = state != (CircularState.SENT if open_batches else CircularState.SENDING)
    return settled and ours and not under_way(wire, run.circular, run.batch)


def begin(
    wire: Wire, *, run: Run, told: Sequence[Told], wanted: Wanted, now: dt.datetime, late: bool
) -> list[Due] | None:
    """Record *told*, renew the beat, and look at what is *wanted* and due; None: it has lost the batch, and nothing was done.

    A newer run has it, or its process was taken for dead: then what it had under way is settled, and its batch perhaps done.
    """
    found = _TAKEN.run(wire, circular=run.circular, batch=run.batch)
    if not found or found[0][:2] != (run.number, run.owner):
        return None
    state = found[0][2]
    write_down(wire, run=run, told=told, now=now, late=late, cancelled=state == CircularState.CANCELLED)
    _BEAT.run(wire, b_circular=run.circular, b_no=run.batch, b_beat=now)
    if not wanted.any or state != CircularState.SENDING:
        return []
    return look(wire, run, wanted, now)


def write_down(wire: Wire, *, run: Run, told: Sequence[Told], now: dt.datetime, late: bool, cancelled: bool) -> None:
    """Record what the letters met."""
    if not told:
        return
    changes = [change for one in told for change in one.changes]
    if late:
        news = still_open(wire, changes)
        if len(news) < len(changes):
            told, changes = _not_told_before(wire, told, news), news
    if cancelled:
        changes = [given_up(change) for change in changes]
    account.write(wire, circular_id=run.circular, changes=changes, by="engine", at=now)
    rows = pack([(one.claim.attempt, one.claim.letter, one.left, one.sha256, int(one.fruitless)) for one in told])
    _END_ATTEMPTS.write(wire, rows, b_now=now)
    _SET_LETTERS.write(wire, rows)


def _not_told_before(wire: Wire, told: Sequence[Told], news: Sequence[Change]) -> list[Told]:
    """Of *told*, what has *news*, or an attempt that has no end or no digest yet: else it would end twice, and count as fruitless twice.

    The digest is wanted though others have called the letter doubtful: without one, a journal that turns up and has dropped the letter
    would prove that nothing of it left (`recover`).
    """
    ended = dict(_ENDED.read(wire, letters=json.dumps([one.claim.letter for one in told])))
    fresh = {change.attempt for change in news}
    return [
        one
        for one in told
        if (attempt := one.claim.attempt) in fresh or attempt not in ended or (one.sha256 and not ended[attempt])
    ]


_L, _A, _B = (cast("Table", one.__table__) for one in (Letter, Attempt, Batch))
_ENDED = Whole(
    lambda given: select(_A.c.id, _A.c.sha256).where(
        _A.c.letter_id.in_(given.numbers("letters")), _A.c.ended_at.is_not(None)
    )
)
_TAKEN = Ready(
    lambda _given: (
        select(Batch.run, Batch.owner, Circular.state)
        .join(Circular, Circular.id == Batch.circular_id)
        .where(Batch.circular_id == bindparam("circular"), Batch.no == bindparam("batch"))
        .with_for_update(of=Batch)
    )
)
_STANDS = Ready(
    lambda _given: (
        select(
            Batch.run,
            Batch.done_at.is_not(None),
            case(
                (and_(Batch.beat >= bindparam("stale"), Batch.owner.is_distinct_from(bindparam("owner"))), 1), else_=0
            ),
            Circular.state,
            Circular.finish_by.is_not(None),
        )
        .join(Circular, Circular.id == Batch.circular_id)
        .where(Batch.circular_id == bindparam("circular"), Batch.no == bindparam("batch"))
        .with_for_update(of=Batch)
    )
)
_THIS = (_B.c.circular_id == bindparam("b_circular"), _B.c.no == bindparam("b_no"))
_TAKE = Ready(
    lambda _given: (
        update(_B).where(*_THIS).values(run=bindparam("b_run"), beat=bindparam("b_beat"), owner=bindparam("b_owner"))
    )
)
_FREE = Ready(lambda _given: update(_B).where(*_THIS).values(beat=None, owner=None))
_SETTLE = Ready(
    lambda _given: update(_B).where(*_THIS).values(done_at=bindparam("b_done"), next_at=bindparam("b_next"))
)
#: How many recipients of a batch are open, and when the first of them falls due.
_OPEN = Whole(
    lambda _given: select(
        func.count(), func.min(func.coalesce(Recipient.next_at, bindparam("now", type_=Recipient.next_at.type)))
    ).where(Recipient.circular_id == bindparam("circular"), Recipient.batch == bindparam("batch"), IS_OPEN)
)
_UNFINISHED = Ready(
    lambda _given: (
        select(func.count())
        .select_from(Batch)
        .where(Batch.circular_id == bindparam("circular"), Batch.done_at.is_(None))
    )
)
_BEAT = Ready(
    lambda _given: (
        update(_B)
        .where(_B.c.circular_id == bindparam("b_circular"), _B.c.no == bindparam("b_no"))
        .values(beat=bindparam("b_beat"))
    )
)
_ROW = (_A.c.id, _A.c.letter_id, _L.c.left_at, _L.c.sha256, _L.c.fruitless)
_END_ATTEMPTS = Many(
    _ROW,
    lambda _rows, row: (
        update(_A)
        .where(_A.c.id == row.id)
        .values(ended_at=bindparam("b_now", type_=_A.c.ended_at.type), sha256=row.sha256)
    ),
)
_SET_LETTERS = Many(
    _ROW,
    lambda _rows, row: (
        update(_L)
        .where(_L.c.id == row.letter_id)
        .values(
            left_at=func.coalesce(_L.c.left_at, row.left_at),
            sha256=case((row.left_at.is_(None), _L.c.sha256), else_=row.sha256),
            fruitless=case((row.left_at.is_(None), _L.c.fruitless + row.fruitless), else_=0),
        )
    ),
)

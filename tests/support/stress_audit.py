"""What must be true at the end of a stress, by the server's record and the rows."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from mailer.circulars.models import Circular, Letter, Recipient
from mailer.circulars.states import CircularState, RecipientState
from mailer.database import Database
from mailer.delivery.models import Attempt, Batch, Outcome
from mailer.rehearsal.record import Received
from mailer.transport.commands import NEEDS_UTF8
from tests.support.runs import faults

#: Who says what became of doubtful letters.
PERSON = "bert"


@dataclass
class Found:
    """What a stress found; `wrong` is empty where all is well."""

    wrong: list[object] = field(default_factory=list)
    addresses: int = 0
    states: Counter[str] = field(default_factory=Counter)
    #: why addresses are in doubt
    doubts: Counter[str] = field(default_factory=Counter)
    #: what was done
    done: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    twice: int = 0


async def audit(database: Database, received: Sequence[Received], folders: Sequence[Path], found: Found) -> None:
    """Compare; what is wrong is added to *found*."""
    async with database.read() as session:
        letters = {one.id: one for one in await session.scalars(select(Letter))}
        recipients = list(await session.scalars(select(Recipient).order_by(Recipient.id)))
        attempts = list(await session.scalars(select(Attempt)))
        batches = list(await session.scalars(select(Batch)))
        circulars = {one.id: one for one in await session.scalars(select(Circular))}
        said = await session.scalars(
            select(Outcome.recipient_id).where(Outcome.by == PERSON, Outcome.state == RecipientState.ACCEPTED)
        )
        resolved = set(said)
        accepted = Counter(
            await session.scalars(select(Outcome.recipient_id).where(Outcome.state == RecipientState.ACCEPTED))
        )
    found.addresses = len(recipients)
    _addresses(letters, recipients, circulars, resolved, received, found)
    wrong = found.wrong
    wrong += [("taken twice by the rows", number) for number, times in accepted.items() if times > 1]
    wrong += [("not settled", one.id, one.state) for one in circulars.values() if one.state not in _OVER]
    for batch in batches:
        if batch.owner is not None or batch.done_at is None:
            wrong.append(("a batch that is not done", batch.circular_id, batch.no, batch.owner, batch.next_at))
    _attempts(letters, recipients, attempts, wrong)
    wrong += [("register verify", fault) for fault in await faults(database)]
    wrong += [("a journal is left", path.name) for folder in folders for path in sorted(folder.glob("*"))]


_OVER = {CircularState.SENT, CircularState.CANCELLED}


def _addresses(
    letters: dict[int, Letter],
    recipients: Sequence[Recipient],
    circulars: dict[int, Circular],
    resolved: set[int],
    received: Sequence[Received],
    found: Found,
) -> None:
    """Each address by the rows, and how often the server has its letter."""
    has = Counter(
        (one.message_id[1:].partition("@")[0], address) for one in received if one.taken for address in one.accepted
    )
    for one in recipients:
        state, times = RecipientState(one.state), has.pop((letters[one.letter_id].token, one.address), 0)
        found.states[state.value] += 1
        cancelled = circulars[one.circular_id].state == CircularState.CANCELLED
        match state:
            case RecipientState.ACCEPTED:
                right = times == 1 or one.id in resolved
            case RecipientState.UNCERTAIN:
                right = True
                found.doubts[one.why or ""] += 1
            case RecipientState.REFUSED:
                right = not times and ((one.code or 0) >= 500 or one.why == NEEDS_UTF8)
            case RecipientState.CANCELLED:
                right = not times and cancelled
            case _:
                right = False
        name = (one.address, state.value, one.why, one.code, one.reply, f"taken {times} times")
        if times > 1:
            found.twice += 1
            found.wrong.append(("twice", *name))
        elif not right:
            found.lost += not times
            found.wrong.append(("not so by the server", *name))
    found.wrong += [("taken, and in no row", key) for key in has]


def _attempts(
    letters: dict[int, Letter], recipients: Sequence[Recipient], attempts: Sequence[Attempt], wrong: list[object]
) -> None:
    """Attempts have their end, and nothing counts more of them than there are."""
    wrong += [("an attempt without an end", one.id, one.letter_id) for one in attempts if one.ended_at is None]
    of: defaultdict[int, int] = defaultdict(int)
    for attempt in attempts:
        of[attempt.letter_id] += 1
    wrong += [
        ("more fruitless than tried", one.id, one.fruitless) for one in letters.values() if one.fruitless > of[one.id]
    ]
    for recipient in recipients:
        if recipient.tries > of[recipient.letter_id]:
            wrong.append(("more tries than attempts", recipient.address, recipient.tries, of[recipient.letter_id]))
        untried = recipient.state == RecipientState.ACCEPTED and not recipient.tries
        if untried:
            wrong.append(("accepted without a try", recipient.address))

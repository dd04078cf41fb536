"""Sending again, by a person's word: the failed ones of a circular, or one letter to a further address. The letters stay what they were.

- `failed`: recipients that were refused, given up or withheld wait in the queue again; text and bytes are those of before. Whoever has
  the letter, or may have it (in doubt), is not touched. A withheld one is taken up only while nothing of its letter has left, for only
  then its claim looks at its contact again.
- `add`: the letter gains a recipient, in the envelope only; the register says by whom and why. An address that has the letter, or may
  have it, or is about to get it, is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.address import normalise
from lists.counted import counted
from lists.kinds import Role
from mailer.circulars.models import Circular, Letter, Recipient
from mailer.circulars.states import CircularState, RecipientState
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.delivery import account
from mailer.delivery.account import Change
from mailer.delivery.models import Batch
from mailer.delivery.settling import settle_batch
from mailer.errors import BadInput, NotAllowedNow, NotFound
from mailer.register import chain

#: The register's entry of a further recipient: {"recipient", "letter", "address", "why"}.
ADDED = "recipient-added"

_STARTED = frozenset({CircularState.SENDING, CircularState.PAUSED, CircularState.SENT})
_R = RecipientState
_HAS = {
    _R.ACCEPTED: ("it has this letter already", "for a second one, marked as a copy: chancery letter copy {ref} {org}"),
    _R.UNCERTAIN: (
        "whether it has this letter is in doubt",
        "say first what became of it: chancery circular resolve {ref} {letter} --sent, or --resend",
    ),
    _R.QUEUED: ("this letter waits to be sent to it", "`chancery serve` sends it, or `chancery circular send {ref}`"),
    _R.SENDING: ("this letter is on its way to it", "see `chancery letter show {ref} {org}`"),
    _R.DEFERRED: ("this letter is tried again there by itself", "see `chancery letter show {ref} {org}`"),
    _R.REFUSED: ("this letter was refused there", "chancery circular resend {ref} --failed --letter {letter}"),
    _R.EXPIRED: ("this letter was given up there", "chancery circular resend {ref} --failed --letter {letter}"),
}


@dataclass(frozen=True, slots=True)
class Failed:
    """What a circular's failed letters are.

    Attributes:
        letters: how many letters have a recipient that can be sent to again.
        addresses: how many such recipients.
        ended: withheld addresses of letters that have left for others: they are not taken up again.
    """

    letters: int
    addresses: int
    ended: int


async def look(sessions: Sessions, circular_id: int, letter: int | None = None) -> Failed:
    """What `failed` would send again now; *letter*: of this letter only."""
    async with sessions.read() as session:
        rows = await _failed(session, circular_id, letter)
        ended = await _ended(session, circular_id, letter)
        return Failed(len({row.letter_id for row in rows}), len(rows), ended)


async def failed(
    sessions: Sessions, clock: Clock, circular_id: int, *, by: str, expect: int, letter: int | None = None
) -> int:
    """Put the failed recipients of a circular back into the queue; the circular is being sent again.

    Args:
        sessions: the home's.
        clock: says when.
        circular_id: which.
        by: who acts.
        expect: the number of letters that the coordinator has in mind.
        letter: of this letter only.

    Returns:
        The number of recipients that wait now.

    Raises:
        NotAllowedNow: the circular has not been started, or is cancelled.
        NotFound: nothing of it has failed.
        BadInput: *expect* is another number than there are letters.
    """
    now = clock.now()
    async with sessions.write() as session:
        circular = await _started(session, circular_id)
        rows = await _failed(session, circular_id, letter)
        if not rows:
            name = _name(circular)
            where = f"{name}, letter {letter}" if letter else name
            if await _ended(session, circular_id, letter):
                raise NotFound(
                    "only withheld addresses are left, of letters that others have",
                    where=where,
                    remedy=f'for a new address: chancery circular resend {name} --letter NUMBER --to ADDRESS --why "..."',
                )
            raise NotFound("nothing there has failed", where=where, remedy=f"see `chancery report {name}`")
        letters = {row.letter_id for row in rows}
        if expect != len(letters):
            raise BadInput(
                f"{counted(expect, 'letter')} {'was' if expect == 1 else 'were'} expected, and {len(letters)} {'has' if len(letters) == 1 else 'have'} failed",
                where=_name(circular),
                remedy=f"look again with `chancery report {_name(circular)}`, then give --expect {len(letters)}",
            )
        changes = [
            Change(row.id, row.letter_id, row.address, _R.QUEUED, now, why=f"sent again by {by}, after it had failed")
            for row in rows
        ]
        await account.record(session, circular_id, changes, by=by, at=now, action="recipients-resent")
        await session.execute(
            update(Letter)
            .where(Letter.id.in_(letters), Letter.fruitless > 0)
            .values(fruitless=0)
            .execution_options(synchronize_session=False)
        )
        await _reopen(session, circular, {row.batch for row in rows}, by, clock)
    return len(changes)


async def add(
    sessions: Sessions, clock: Clock, circular_id: int, letter_id: int, address: str, *, why: str, by: str
) -> str:
    """Let one letter go to a further address, as it stands: the address is in the envelope, the header stays.

    Args:
        sessions: the home's.
        clock: says when.
        circular_id: which.
        letter_id: the number of one of its letters.
        address: as typed.
        why: for the account.
        by: who acts.

    Returns:
        The address as it is written to.

    Raises:
        NotFound: the circular has no such letter.
        NotAllowedNow: the circular has not been started, or is cancelled; or the address has the letter, or may have it.
        BadInput: it is no address, or no reason is given.
    """
    normal = normalise(address.strip())
    reason = " ".join(why.split())
    if not reason:
        raise BadInput("the account needs a reason", where=f"--to {normal}", remedy='give --why "..."')
    now = clock.now()
    async with sessions.write() as session:
        circular = await _started(session, circular_id)
        letter = await session.get(Letter, letter_id)
        if letter is None or letter.circular_id != circular_id:
            raise NotFound(
                f"it has no letter {letter_id}", where=_name(circular), remedy="`chancery report` names their numbers"
            )
        _refuse_known(circular, letter, normal, await _of(session, letter_id))
        made = Recipient(
            letter_id=letter_id,
            circular_id=circular_id,
            batch=letter.batch,
            address=normal,
            name="",
            role=Role.TO,
            state=_R.QUEUED,
        )
        session.add(made)
        await session.flush()
        said = {"recipient": made.id, "letter": letter_id, "address": normal, "why": reason}
        await chain.append(session, chain.chain_of(circular_id), ADDED, said, by=by, at=now)
        change = Change(made.id, letter_id, normal, _R.QUEUED, now, why=f"added by {by}: {reason}")
        await account.record(session, circular_id, [change], by=by, at=now, action="recipients-resent")
        await _reopen(session, circular, {letter.batch}, by, clock)
    return normal


async def _started(session: AsyncSession, circular_id: int) -> Circular:
    circular = await session.get(Circular, circular_id)
    if circular is None:
        raise NotFound("there is no such circular", where=str(circular_id), remedy="see `chancery circular list`")
    if circular.state == CircularState.CANCELLED:
        raise NotAllowedNow("it is cancelled, so nothing of it is sent again", where=_name(circular))
    if circular.state not in _STARTED:
        raise NotAllowedNow(
            "it has not been sent yet", where=_name(circular), remedy=f"chancery circular send {_name(circular)}"
        )
    return circular


async def _failed(session: AsyncSession, circular_id: int, letter: int | None) -> Sequence[Recipient]:
    """The recipients that may be sent to again, in order."""
    query = (
        select(Recipient)
        .join(Letter, Letter.id == Recipient.letter_id)
        .where(
            Recipient.circular_id == circular_id,
            or_(
                Recipient.state.in_((_R.REFUSED, _R.EXPIRED)),
                and_(Recipient.state == _R.WITHHELD, Letter.left_at.is_(None)),
            ),
        )
        .order_by(Recipient.id)
    )
    if letter is not None:
        query = query.where(Recipient.letter_id == letter)
    return (await session.scalars(query)).all()


async def _ended(session: AsyncSession, circular_id: int, letter: int | None) -> int:
    """How many addresses are withheld of letters whose content has left: their contacts are not looked at again."""
    query = (
        select(func.count())
        .select_from(Recipient)
        .join(Letter, Letter.id == Recipient.letter_id)
        .where(Recipient.circular_id == circular_id, Recipient.state == _R.WITHHELD, Letter.left_at.is_not(None))
    )
    return await session.scalar(query if letter is None else query.where(Recipient.letter_id == letter)) or 0


async def _of(session: AsyncSession, letter_id: int) -> Sequence[Recipient]:
    return (await session.scalars(select(Recipient).where(Recipient.letter_id == letter_id))).all()


def _refuse_known(circular: Circular, letter: Letter, address: str, recipients: Sequence[Recipient]) -> None:
    """Refuse an address that the letter went to, or will go to; the mailbox's own case is not relied on."""
    for one in recipients:
        if one.address.casefold() != address.casefold() or one.state not in _HAS:
            continue
        what, remedy = _HAS[RecipientState(one.state)]
        ref = _name(circular)
        raise NotAllowedNow(
            what, where=one.address, remedy=remedy.format(ref=ref, org=letter.organization_id, letter=letter.id)
        )


async def _reopen(session: AsyncSession, circular: Circular, batches: set[int], by: str, clock: Clock) -> None:
    now = clock.now()
    await session.flush()
    if circular.state == CircularState.SENT:
        circular.state, circular.finished_at = CircularState.SENDING, None
        await chain.append(session, chain.chain_of(circular.id), "circular-reopened", {}, by=by, at=now)
    for no in sorted(batches):
        await settle_batch(session, await session.get_one(Batch, (circular.id, no)), now)


def _name(circular: Circular) -> str:
    return circular.reference or str(circular.id)

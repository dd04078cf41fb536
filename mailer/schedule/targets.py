"""Whom a reminder goes to: organizations that have the circular and have not answered. All others are named, with the reason."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Letter, Recipient
from mailer.circulars.states import OPEN, RecipientState
from mailer.replies.service import answered

#: Why an organization is not reminded, in the order in which the reasons are told.
ANSWERED = "answered"
NEVER_REACHED = "never reached"
IN_DOUBT = "in doubt whether the circular reached it"
NOT_YET = "the circular is not yet handed over"
WITHHELD = "withheld"
NO_MAILBOX = "no mailbox on the day of the reminder"
REASONS = (ANSWERED, NEVER_REACHED, IN_DOUBT, NOT_YET, WITHHELD, NO_MAILBOX)

#: How many names per reason a line for people holds; the register and the report page have all.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class NotReminded:
    """An organization that a reminder passes over."""

    organization_id: int
    organization: str
    why: str


@dataclass(frozen=True, slots=True)
class Targets:
    """The organizations to remind, in the order of the circular's letters, and the others."""

    organizations: tuple[int, ...]
    not_reminded: tuple[NotReminded, ...]

    def by_reason(self) -> dict[str, list[str]]:
        """Names of those passed over, per reason."""
        told: dict[str, list[str]] = {}
        for reason in REASONS:
            if names := [one.organization for one in self.not_reminded if one.why == reason]:
                told[reason] = names
        return told

    def in_words(self) -> str:
        """`180 reminded; not reminded: 56 answered (A, B, C and 53 more); 1 never reached (D)`."""
        parts = [f"{len(names)} {reason} ({_some(names)})" for reason, names in self.by_reason().items()]
        return f"{len(self.organizations)} reminded" + (f"; not reminded: {'; '.join(parts)}" if parts else "")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return f"{', '.join(names[:_NAMED])} and {more} more" if more > 1 else ", ".join(names)


def reason(states: Collection[RecipientState], *, has_answered: bool) -> str | None:
    """Why an organization whose addresses are in *states* is not reminded; None: it is."""
    if has_answered:
        return ANSWERED
    if RecipientState.ACCEPTED in states:
        return None
    if RecipientState.UNCERTAIN in states:
        return IN_DOUBT
    if OPEN & set(states):
        return NOT_YET
    if not states or set(states) == {RecipientState.WITHHELD}:
        return WITHHELD
    return NEVER_REACHED


async def targets(session: AsyncSession, parent_id: int) -> Targets:
    """Whom a reminder of the circular *parent_id* goes to now."""
    replied = await answered(session, parent_id)
    goes: list[int] = []
    passed: list[NotReminded] = []
    for organization_id, name, states in await _accounts(session, parent_id):
        why = reason(states, has_answered=organization_id in replied)
        if why is None:
            goes.append(organization_id)
        else:
            passed.append(NotReminded(organization_id, name, why))
    return Targets(tuple(goes), tuple(passed))


async def reminded(session: AsyncSession, parent_id: int, made_id: int) -> Targets:
    """Whom the reminder *made_id* was written to in fact, and why not the others: what its rows say."""
    written = set(await session.scalars(select(Letter.organization_id).where(Letter.circular_id == made_id)))
    replied = await answered(session, parent_id)
    goes, passed = [], []
    for organization_id, name, states in await _accounts(session, parent_id):
        if organization_id in written:
            goes.append(organization_id)
        else:
            why = reason(states, has_answered=organization_id in replied)
            passed.append(NotReminded(organization_id, name, why or NO_MAILBOX))
    return Targets(tuple(goes), tuple(passed))


async def _accounts(session: AsyncSession, circular_id: int) -> Iterable[tuple[int, str, set[RecipientState]]]:
    """Per organization of a circular: its id, its name and the states of its addresses."""
    rows = await session.execute(
        select(Letter.organization_id, Letter.organization, Recipient.state)
        .outerjoin(Recipient, Recipient.letter_id == Letter.id)
        .where(Letter.circular_id == circular_id)
        .order_by(Letter.position, Letter.id)
    )
    found: dict[int, tuple[int, str, set[RecipientState]]] = {}
    for organization_id, name, state in rows:
        entry = found.setdefault(organization_id, (organization_id, name, set()))
        if state is not None:
            entry[2].add(RecipientState(state))
    return found.values()

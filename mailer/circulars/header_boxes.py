"""Whom a letter's header names, as long as nothing of it has left: what its claim will fix (`delivery.claims`), as the rows stand now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.kinds import Role
from mailer.circulars.models import Letter, Recipient
from mailer.circulars.states import RecipientState

_GOING_NOWHERE = {RecipientState.WITHHELD, RecipientState.CANCELLED}


@dataclass(frozen=True, slots=True)
class HeaderBoxes:
    """The mailboxes of a header, by `to` and `cc`, each (name, address).

    Attributes:
        going: whether the letter goes to anybody; if not, they are those that were approved.
    """

    boxes: Mapping[str, Sequence[tuple[str, str]]]
    going: bool


async def header_boxes(session: AsyncSession, letter: Letter) -> HeaderBoxes:
    """Those of a letter: once it was claimed, as its claim has fixed them.

    Addresses that were added by hand are not named, unless no other is left.
    """
    if letter.mailboxes is not None:
        return HeaderBoxes(letter.mailboxes, going=True)
    every = (
        await session.scalars(select(Recipient).where(Recipient.letter_id == letter.id).order_by(Recipient.id))
    ).all()
    going = [one for one in every if one.state not in _GOING_NOWHERE]
    approved = [one for one in going if one.contact_id is not None]
    if going and not approved:
        plain = [one for one in going if one.address.isascii()] or going
        return HeaderBoxes({Role.TO.value: [("", one.address) for one in plain], Role.CC.value: []}, going=True)
    named = approved or [one for one in every if one.contact_id is not None]
    boxes = {role.value: [(one.name, one.address) for one in named if one.role is role] for role in Role}
    return HeaderBoxes(boxes, going=bool(going))

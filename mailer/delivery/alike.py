"""Which other circulars wait for a person as one does: for the same reason, by a relay that they share.

A hold is noted in each circular, and each is let go on by a person's word: that a mail server works again does not say that a letter is
still wanted. So whoever lets one go on is told of the others.
"""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState
from mailer.delivery.routes import road_of
from mailer.errors import SettingsError
from mailer.settings import Settings


async def waiting_alike(session: AsyncSession, settings: Settings, circulars: Collection[int]) -> list[str]:
    """References, else numbers, of others that wait as one of *circulars* does."""
    held = list(
        await session.scalars(
            select(Circular)
            .where(Circular.state == CircularState.SENDING, Circular.held_why.is_not(None))
            .order_by(Circular.id)
        )
    )
    told = [(_reason(one), _relays(settings, one)) for one in held if one.id in circulars]
    return [
        one.reference or str(one.id)
        for one in held
        if one.id not in circulars
        and any(reason == _reason(one) and relays & _relays(settings, one) for reason, relays in told)
    ]


def _reason(circular: Circular) -> str:
    """Why it waits, without the relay's own words: those may differ from letter to letter."""
    return (circular.held_why or "").partition(" (")[0]


def _relays(settings: Settings, circular: Circular) -> set[str]:
    try:
        return set(road_of(settings, circular.sender).names)
    except SettingsError:
        return set()

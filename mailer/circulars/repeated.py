"""Which mailboxes would get a circular more than once, told without keeping the addresses of a list of any size.

Each address sets a bit by its hash. One whose bit was set already may stand there twice, or fall on another's bit by chance (of a
million, one in thirty does): those few are counted exactly in a second look.
"""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.audiences import Chosen, Mailbox
from lists.choosing import right_on
from lists.models import Contact, Organization

_BITS = 1 << 25
_TOGETHER = 1000


class Seen:
    """Takes the mailboxes of letters.

    Attributes:
        perhaps: addresses, in lower case, of which there may be more than one.
    """

    def __init__(self) -> None:
        self._bits = bytearray()
        self.perhaps: set[str] = set()

    def take(self, mailboxes: Iterable[Mailbox]) -> None:
        """The mailboxes of one letter."""
        bits = self._bits or self._begin()
        for box in mailboxes:
            address = box.address.lower()
            place = hash(address) % _BITS
            mask = 1 << (place & 7)
            if bits[place >> 3] & mask:
                self.perhaps.add(address)
            else:
                bits[place >> 3] |= mask

    def _begin(self) -> bytearray:
        self._bits = bytearray(_BITS >> 3)
        return self._bits

    async def owners(self, session: AsyncSession, chosen: Chosen) -> dict[str, list[str]]:
        """Per address that stands there more than once, the names of its organizations, as often as it does, in the letters' order."""
        hits: list[tuple[int, str]] = []
        rows = await session.stream(
            select(Contact.organization_id, Contact.address).where(*right_on(chosen.on)).order_by(Contact.id)
        )
        async for some in rows.partitions(_TOGETHER):
            hits += [(owner, low) for owner, address in some if (low := address.lower()) in self.perhaps]
        wanted = {owner for owner, _ in hits}
        place = {owner: at for at, owner in enumerate(chosen.ids) if owner in wanted}
        owners: dict[str, list[int]] = {}
        for owner, address in sorted((hit for hit in hits if hit[0] in place), key=lambda hit: place[hit[0]]):
            owners.setdefault(address, []).append(owner)
        several = {address: found for address, found in owners.items() if len(found) > 1}
        names = await _names(session, {owner for found in several.values() for owner in found})
        return {address: [names[owner] for owner in found] for address, found in several.items()}


async def _names(session: AsyncSession, owners: Iterable[int]) -> dict[int, str]:
    ids = sorted(owners)
    names: dict[int, str] = {}
    for start in range(0, len(ids), _TOGETHER):
        some = Organization.id.in_(ids[start : start + _TOGETHER])
        names |= dict((await session.execute(select(Organization.id, Organization.name).where(some))).all())
    return names

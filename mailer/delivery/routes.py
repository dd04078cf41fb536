"""Which relays a letter may go by, in order of preference. Pure.

- The route of the first of its addresses that wait decides: a letter is one transaction.
- A letter goes to the first relay of its route that is open. One that a relay has put off stays with that relay, whose greylist
  knows us by now, until it has been closed for long.
- One to an address beyond ASCII passes over relays that are known to take none, while its route has others.
- One of which it is not certain that the relay does not have it goes to no other relay: that could be a second copy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field

from lists.records import record
from mailer.errors import SettingsError
from mailer.settings import Settings

#: Before a domain: all domains below it.
_BELOW = "*."


@record
class Road:
    """The relays of one sender: its own, and those of the routes by domain."""

    own: tuple[str, ...]
    by_domain: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def relays(self, domain: str) -> tuple[str, ...]:
        """The relays for a recipient's domain, in order; the route that names it best decides."""
        if not self.by_domain:
            return self.own
        if domain in self.by_domain:
            return self.by_domain[domain]
        rest = domain
        while "." in rest:
            rest = rest.partition(".")[2]
            if (found := self.by_domain.get(_BELOW + rest)) is not None:
                return found
        return self.own

    @property
    def names(self) -> tuple[str, ...]:
        """All its relays, each once."""
        return tuple(dict.fromkeys([*self.own, *(name for names in self.by_domain.values() for name in names)]))


def road_of(settings: Settings, sender_key: str) -> Road:
    """The relays of a sender.

    Raises:
        SettingsError: the sender, or one of the relays, is no longer in the settings.
    """
    sender = settings.senders.get(sender_key)
    if sender is None:
        raise SettingsError(
            "there is no such sender any more", where=f"senders.{sender_key}", remedy="put it back into chancery.toml"
        )
    by_domain = {domain.lower(): route.relays for route in settings.routes.values() for domain in route.domains}
    road = Road(sender.relays, by_domain)
    for name in road.names:
        if name not in settings.relays:
            raise SettingsError("there is no such relay", where=f"relays.{name}", remedy="add it to chancery.toml")
    return road


def order(
    road: Road,
    domain: str,
    last: str | None,
    *,
    doubtful: bool,
    long_closed: Sequence[str],
    narrow: Sequence[str] = (),
) -> tuple[str, ...]:
    """The relays that may have one letter now, the preferred one first.

    Args:
        road: of its sender.
        domain: of its first recipient that waits.
        last: the relay that has put it off; None: no content of it has been answered.
        doubtful: that relay may have it.
        long_closed: relays that wait for a person, or have been closed for long.
        narrow: relays that take no such address as this letter's.
    """
    if doubtful and last is not None:
        return (last,)
    every = road.relays(domain)
    names = tuple([name for name in every if name not in narrow]) or every
    if last is None:
        return names
    if last in names and last not in long_closed:
        return (last,)
    return (*(name for name in names if name != last), *(name for name in names if name == last))

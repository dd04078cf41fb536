"""A relay as a process sees it: our transport to it, the pace that it bears, and what is known of it."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from mailer.circulars.frozen import Frozen
from mailer.delivery.fair import Turnstile
from mailer.delivery.pace import Closed, Pace
from mailer.transport.base import Transport

#: For so long a relay that takes no addresses beyond ASCII is passed over for them; then it may have been given a newer version.
_NARROW = dt.timedelta(hours=1)


@dataclass(slots=True)
class Line:
    """A relay with our transport to it, and the pace it bears.

    Attributes:
        reverse_path: gives the envelope's sender for a letter's token.
        per_day: recipients that it takes in 24 hours; 0: no limit.
        full: its limit a day is used up until then.
        narrow: it takes no addresses beyond ASCII, as far as is known until then.
    """

    name: str
    transport: Transport
    pace: Pace
    reverse_path: Callable[[Frozen, str], str]
    per_day: int = 0
    full: Closed | None = None
    narrow: dt.datetime | None = None
    turnstile: Turnstile = field(default_factory=Turnstile)

    def reopen(self) -> None:
        """A person has mended it: it is tried again at once."""
        self.pace.reopen()
        self.transport.reopen()

    def takes_no_utf8(self, now: dt.datetime) -> None:
        """It has turned out to take no addresses beyond ASCII."""
        self.narrow = now + _NARROW

    def closed(self, now: dt.datetime) -> Closed | None:
        """Why nothing may go to it now; None: it is open."""
        if self.pace.closed is not None:
            return self.pace.closed
        return self.full if self.full is not None and self.full.until is not None and now < self.full.until else None

"""Where a circular stands, in counts."""

import datetime as dt

from lists.records import record
from mailer.circulars.states import CircularState, RecipientState

_UNDER_WAY = frozenset({RecipientState.QUEUED, RecipientState.SENDING, RecipientState.DEFERRED})


@record
class Progress:
    """Where a circular's recipients stand; counts of recipients."""

    state: CircularState
    reference: str
    held_why: str | None
    letters: int
    recipients: dict[RecipientState, int]
    next_at: dt.datetime | None

    @property
    def done(self) -> int:
        """Recipients that need the engine no more."""
        return sum(count for state, count in self.recipients.items() if state not in _UNDER_WAY)

    @property
    def total(self) -> int:
        """All recipients."""
        return sum(self.recipients.values())

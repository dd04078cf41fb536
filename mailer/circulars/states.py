"""The states of a circular, of its letters and of their recipients, and the moves that are allowed."""

from enum import StrEnum

from mailer.errors import NotAllowedNow


class CircularState(StrEnum):
    """Where a circular stands."""

    DRAFT = "draft"  #: may change
    FREEZING = "freezing"  #: approval is writing its rows; `approve` again resumes
    APPROVED = "approved"  #: frozen; waits for `send` or a schedule
    SENDING = "sending"  #: letters leave
    PAUSED = "paused"  #: no content starts
    SENT = "sent"  #: no recipient is queued, sending or deferred
    CANCELLED = "cancelled"


class RecipientState(StrEnum):
    """What became of one address."""

    QUEUED = "queued"
    SENDING = "sending"  #: claimed by an attempt
    ACCEPTED = "accepted"  #: the relay has taken it
    DEFERRED = "deferred"  #: the relay asked for another try, at `next_at`
    REFUSED = "refused"  #: the relay, or we, said no for good
    EXPIRED = "expired"  #: deferred past `give_up_after`
    UNCERTAIN = "uncertain"  #: it can't be known whether the relay has it
    WITHHELD = "withheld"  #: not to be written to
    CANCELLED = "cancelled"


class LetterState(StrEnum):
    """Computed from a letter's recipients by `delivery.states`, never stored."""

    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    PARTLY = "partly"
    DEFERRED = "deferred"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNCERTAIN = "uncertain"
    WITHHELD = "withheld"
    CANCELLED = "cancelled"


#: Recipients that still need the engine.
OPEN = frozenset({RecipientState.QUEUED, RecipientState.SENDING, RecipientState.DEFERRED})
FINAL = frozenset(RecipientState) - OPEN - {RecipientState.UNCERTAIN}

#: Circulars of which nothing has left.
BEFORE_SENDING = frozenset({CircularState.DRAFT, CircularState.FREEZING, CircularState.APPROVED})

_CIRCULAR_MOVES: dict[CircularState, frozenset[CircularState]] = {
    CircularState.DRAFT: frozenset({CircularState.FREEZING, CircularState.CANCELLED}),
    CircularState.FREEZING: frozenset({CircularState.APPROVED, CircularState.DRAFT, CircularState.CANCELLED}),
    CircularState.APPROVED: frozenset({CircularState.SENDING, CircularState.DRAFT, CircularState.CANCELLED}),
    CircularState.SENDING: frozenset({CircularState.PAUSED, CircularState.SENT, CircularState.CANCELLED}),
    CircularState.PAUSED: frozenset({CircularState.SENDING, CircularState.CANCELLED}),
    CircularState.SENT: frozenset({CircularState.SENDING}),  # resend and resolve reopen it
    CircularState.CANCELLED: frozenset(),
}


def check_move(now: CircularState, to: CircularState, *, name: str) -> None:
    """Allow a circular's move from *now* to *to*.

    Raises:
        NotAllowedNow: with the circular's *name* and what it is now.
    """
    now, to = CircularState(now), CircularState(to)  # a column hands back plain text
    if to not in _CIRCULAR_MOVES[now]:
        raise NotAllowedNow(f"it is {now.value}, and from there it can't become {to.value}", where=name)

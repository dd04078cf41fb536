"""The state of a letter, computed from its recipients, and the moves a recipient may make. Pure.

A letter's state is never stored: claims look at recipients, and what people see is computed here.
Nothing leads out of `accepted` (never twice) or `cancelled`; evidence rewrites no state but `uncertain`.
"""

from collections.abc import Iterable

from mailer.circulars.states import LetterState, RecipientState
from mailer.errors import NotAllowedNow

_R = RecipientState

#: What one open or unsettled recipient makes of the whole letter, first match.
_UNFINISHED = (
    (_R.SENDING, LetterState.SENDING),
    (_R.UNCERTAIN, LetterState.UNCERTAIN),
    (_R.DEFERRED, LetterState.DEFERRED),
    (_R.QUEUED, LetterState.QUEUED),
)
#: Where nobody has it: the worst first.
_WORST = (
    (_R.REFUSED, LetterState.REFUSED),
    (_R.EXPIRED, LetterState.EXPIRED),
    (_R.WITHHELD, LetterState.WITHHELD),
    (_R.CANCELLED, LetterState.CANCELLED),
)

_MOVES: dict[RecipientState, frozenset[RecipientState]] = {
    # uncertain: a restored backup can't know what has left since it was made
    _R.QUEUED: frozenset({_R.SENDING, _R.REFUSED, _R.WITHHELD, _R.CANCELLED, _R.UNCERTAIN}),
    # queued: content never began; cancelled: stopped before any content
    _R.SENDING: frozenset({_R.QUEUED, _R.ACCEPTED, _R.DEFERRED, _R.REFUSED, _R.EXPIRED, _R.UNCERTAIN, _R.CANCELLED}),
    _R.DEFERRED: frozenset({_R.SENDING, _R.EXPIRED, _R.WITHHELD, _R.CANCELLED, _R.UNCERTAIN}),
    # a late result, evidence, or a person; queued: certain, or decided, that it may go again
    _R.UNCERTAIN: frozenset({_R.ACCEPTED, _R.REFUSED, _R.DEFERRED, _R.EXPIRED, _R.QUEUED, _R.CANCELLED}),
    # `resend --failed` takes these up again
    _R.REFUSED: frozenset({_R.QUEUED}),
    _R.EXPIRED: frozenset({_R.QUEUED}),
    _R.WITHHELD: frozenset({_R.QUEUED}),
    _R.ACCEPTED: frozenset(),
    _R.CANCELLED: frozenset(),
}


def letter_state(states: Iterable[RecipientState]) -> LetterState:
    """The state of a letter whose recipients are in *states*.

    First match: any sending; any uncertain; any deferred; any queued; all accepted; some accepted (`partly`);
    else the worst of refused, expired, withheld, cancelled. A letter without any recipient went to nobody: withheld.
    """
    found = frozenset(states)
    for one, letter in _UNFINISHED:
        if one in found:
            return letter
    if _R.ACCEPTED in found:
        return LetterState.ACCEPTED if len(found) == 1 else LetterState.PARTLY
    for one, letter in _WORST:
        if one in found:
            return letter
    return LetterState.WITHHELD


def recipient_moves(now: RecipientState) -> frozenset[RecipientState]:
    """Where a recipient may go from *now*; to stay is no move."""
    return _MOVES[now]


def check_recipient_move(now: RecipientState, to: RecipientState, *, name: str) -> None:
    """Allow a recipient's move from *now* to *to*.

    Raises:
        NotAllowedNow: with the recipient's *name* (its address) and what it is now.
    """
    if to not in _MOVES[now]:
        # f-strings of a StrEnum, and of the plain text that a column hands back, are the same
        raise NotAllowedNow(f"it is {now}, and from there it can't become {to}", where=name)

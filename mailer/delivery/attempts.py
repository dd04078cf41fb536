"""One log line per attempt, made from what the rows were just told. Runs for every letter: kept to a few microseconds each."""

import logging
from collections.abc import Mapping, Sequence

from mailer import logs
from mailer.circulars.states import RecipientState
from mailer.delivery.account import Change
from mailer.delivery.claims import Run
from mailer.delivery.turns import Told

#: What became of all of a letter's recipients -> the name of the action.
ACTIONS: Mapping[RecipientState, str] = {
    RecipientState.ACCEPTED: "letter-accepted",
    RecipientState.DEFERRED: "letter-deferred",
    RecipientState.QUEUED: "letter-returned",  # its content did not start: no try
    RecipientState.REFUSED: "letter-refused",
    RecipientState.EXPIRED: "letter-expired",
    RecipientState.UNCERTAIN: "letter-uncertain",
    RecipientState.CANCELLED: "letter-cancelled",  # tried, and not again, for its circular was cancelled meanwhile
}
#: Some of them this, some that.
PARTLY = "letter-partly"
#: Whose reply a line has where they differ: what a person must look at comes first.
_ORDER = (
    RecipientState.REFUSED,
    RecipientState.EXPIRED,
    RecipientState.UNCERTAIN,
    RecipientState.DEFERRED,
    RecipientState.QUEUED,
    RecipientState.CANCELLED,
    RecipientState.ACCEPTED,
)
_QUIET = {RecipientState.ACCEPTED, RecipientState.DEFERRED, RecipientState.QUEUED, RecipientState.CANCELLED}


def action_of(changes: Sequence[Change]) -> str:
    """What an attempt came to, by its stable name."""
    first = changes[0].state
    if len(changes) > 1 and any(change.state is not first for change in changes):
        return PARTLY
    return ACTIONS[first]


def worst_of(changes: Sequence[Change]) -> Change:
    """The change that a person would ask about first."""
    return changes[0] if len(changes) == 1 else min(changes, key=lambda change: _ORDER.index(change.state))


class AttemptLog:
    """Writes the lines of a slice at once; a `batches.Watch`."""

    def __init__(self, references: Mapping[int, str]) -> None:
        """*references*: those of the circulars that are being sent, by number; may grow."""
        self._references = references

    def __call__(self, run: Run, told: Sequence[Told]) -> None:
        """Log what *told* says, if logging is set up."""
        slice_ = logs.lines()
        if slice_ is None:
            return
        circular = self._references.get(run.circular, str(run.circular))
        for one in told:
            if one.changes:
                _add(slice_, circular, one.changes, one)
        slice_.write()


def log_settled(circular: str, changes: Sequence[Change]) -> None:
    """Log what the journal of a process that has died says of its last attempts: the lines that it could not write itself."""
    slice_ = logs.lines()
    if slice_ is None:
        return
    by_attempt: dict[str | None, list[Change]] = {}
    for change in changes:
        by_attempt.setdefault(change.attempt, []).append(change)
    for found in by_attempt.values():
        _add(slice_, circular, found, None)
    slice_.write()


def _add(slice_: logs.Slice, circular: str, changes: Sequence[Change], told: Told | None) -> None:
    """A line; *told* is None where another process made the attempt."""
    worst = worst_of(changes)
    reply = worst.reply
    connection, nth = (told.place if told else None) or (None, None)
    slice_.add(
        worst.at,
        logging.INFO if worst.state in _QUIET else logging.WARNING,
        action_of(changes),
        (
            ("letter", worst.letter),
            ("organization", told.claim.organization if told else None),
            ("attempt", worst.attempt),
            ("relay", worst.relay),
            ("connection", connection),
            ("nth", nth),
            ("recipients", len(changes)),
            ("code", reply.code if reply else None),
            ("enhanced", reply.enhanced if reply else None),
            ("ms", round(max(0.0, told.seconds) * 1000) if told and told.seconds is not None else None),
            ("size", (told.size or None) if told else None),
            ("tries", worst.tries),
            ("next", worst.next_at.isoformat(timespec="seconds") if worst.next_at else None),
        ),
        (
            ("circular", circular),
            ("to", changes[0].address if len(changes) == 1 else " ".join([change.address for change in changes])),
            ("reply", reply.text if reply else None),
            ("why", worst.why or None),
        ),
    )

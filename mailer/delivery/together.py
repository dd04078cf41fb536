"""Letters composed some at a time, a little before they are asked for.

A letter by itself costs half as much again: between two letters the relay's replies, the journal and the judging take the processor's
caches, and composing has to fill them anew. What is composed beforehand is bounded in letters and in octets, and the bytes depend on
nothing that may change in the meantime.
"""

from collections.abc import Iterable
from itertools import islice

from mailer.circulars.compose import Composed, compose
from mailer.circulars.frozen import Frozen
from mailer.delivery.claims import Claim

#: Letters of one relay that are composed together, and octets after which no further one is.
_LETTERS, _OCTETS = 32, 1_000_000


class Together:
    """Composes the letters of one run; for those that nobody signs."""

    def __init__(self, frozen: Frozen) -> None:
        self._frozen = frozen
        #: by relay and attempt, in the order in which the relay will ask for them
        self._announced: dict[str, dict[str, Claim]] = {}
        self._made: dict[str, Composed | Exception] = {}

    def announce(self, claims: Iterable[Claim]) -> None:
        """These will be taken, each relay's in this order, or forgotten."""
        for claim in claims:
            self._announced.setdefault(claim.relay, {})[claim.attempt] = claim

    def take(self, claim: Claim) -> Composed:
        """The letter; it is not kept.

        Raises:
            Exception: what kept this one from being made.
        """
        if claim.attempt not in self._made:
            self._compose(claim)
        made = self._made.pop(claim.attempt)
        if isinstance(made, Exception):
            raise made
        return made

    def forget(self, claim: Claim) -> None:
        """It is not taken any more."""
        self._announced.get(claim.relay, {}).pop(claim.attempt, None)
        self._made.pop(claim.attempt, None)

    def _compose(self, first: Claim) -> None:
        """Make *first*, and those that come after it."""
        announced = self._announced.get(first.relay, {})
        announced.pop(first.attempt, None)
        octets = 0
        for claim in (first, *islice(announced.values(), _LETTERS - 1)):
            announced.pop(claim.attempt, None)
            try:
                made = compose(self._frozen, claim.row)
            except Exception as error:  # noqa: BLE001 - raised for who takes this letter, not for the others
                self._made[claim.attempt] = error
                continue
            self._made[claim.attempt] = made
            octets += len(made.payload.head)
            if octets > _OCTETS:
                break

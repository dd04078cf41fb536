"""From a relay's results to what is written down: states, next tries, and what they say of the relay itself.

- A letter that comes back without content having started goes back to `queued`, and that is no try; one that meets this three times
  while others pass on the same relay is deferred, a try counted.
- In doubt stays in doubt, unless its circular chose to send again: then it is deferred, after the lease, ever later and not for ever.
"""

import datetime as dt
from collections.abc import Callable, Sequence

from mailer.circulars.states import RecipientState
from mailer.clock import Clock
from mailer.delivery.account import Change
from mailer.delivery.batches import Told
from mailer.delivery.claims import Claim, Target
from mailer.delivery.pace import Pace
from mailer.delivery.retry import next_try
from mailer.settings import Delivery
from mailer.transport.base import Fate, Result, Scope

#: A letter that came back this often without content is a poison letter, if others pass.
_FRUITLESS = 3
#: The same where no other letter is left to compare it with, but some passed before.
_FRUITLESS_ALONE = 10
#: How long a letter whose content never started waits: the first time, doubled each time, and at the longest.
_FRUITLESS_WAIT, _FRUITLESS_LONGEST = dt.timedelta(seconds=2), dt.timedelta(minutes=5)


class Judge:
    """Judges what letters of one circular met on one relay."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Delivery,
        relay: str,
        pace: Pace,
        resend: bool,
        strikes: dict[int, int],
        chance: Callable[[], float],
    ) -> None:
        """Make a judge.

        *resend*: the circular chose to send doubtful letters again. *strikes*: letters whose content did not start, with how many had
        passed on their relay then; shared by all judges of a process. *chance*: for the jitter of retries.
        """
        self._clock, self._settings, self._relay, self._pace = clock, settings, relay, pace
        self._resend, self._strikes, self._chance = resend, strikes, chance
        self._lease = dt.timedelta(seconds=settings.lease)

    def not_composed(self, claim: Claim, error: Exception) -> Told:
        """The end of an attempt at a letter that could not be made: refused, for a person to see."""
        changes = tuple(
            self._change(claim, target, RecipientState.REFUSED, why=f"the letter could not be made: {error}")
            for target in claim.targets
        )
        return Told(claim, changes, None, None, fruitless=False)

    def _change(
        self, claim: Claim, target: Target, state: RecipientState, *, result: Result | None = None, **more: object
    ) -> Change:
        return Change(
            recipient=target.id,
            letter=claim.letter,
            address=target.address,
            state=state,
            at=self._clock.now(),
            attempt=claim.attempt,
            relay=self._relay,
            reply=result.reply if result else None,
            **{"why": result.why if result else None, "tries": target.tries, **more},  # type: ignore[arg-type]  # why, tries, next_at, sha256 by name
        )

    def told(
        self, claim: Claim, results: Sequence[Result], *, left: dt.datetime | None, sha256: str, held: bool
    ) -> Told:
        """The end of an attempt.

        Args:
            claim: the letter.
            results: one per recipient.
            left: when its content began; None: it did not.
            sha256: of the bytes.
            held: we ourselves did not let content start.
        """
        if left:
            self._strikes.pop(claim.letter, None)
        digest = sha256 if left else None
        self._tell_pace(results, ours=held)
        by_id = {result.recipient: result for result in results}
        fruitless = not held and all(
            result.fate is Fate.NOT_TRIED and result.scope is not Scope.HOLD for result in results
        )
        poison = fruitless and self._is_poison(claim, relay=any(one.scope is Scope.RELAY for one in results))
        chance = self._chance()  # one draw for all: a letter's recipients come back together
        changes = tuple(
            self._outcome(claim, target, by_id[target.id], digest, poison=poison, ours=held, chance=chance)
            for target in claim.targets
        )
        return Told(claim, changes, left, digest, fruitless=fruitless)

    def _is_poison(self, claim: Claim, *, relay: bool) -> bool:
        """Whether it is this letter, and not the relay, for which no content starts; *relay*: the relay was blamed."""
        passed = self._pace.passed
        before = self._strikes.setdefault(claim.letter, passed)
        times = claim.fruitless + 1
        return (times >= _FRUITLESS and passed > before) or (times >= _FRUITLESS_ALONE and passed > 0 and not relay)

    def _tell_pace(self, results: Sequence[Result], *, ours: bool) -> None:
        if ours:
            return
        pace = self._pace
        for result in results:
            if result.scope in {Scope.RELAY, Scope.HOLD} and result.fate is not Fate.ACCEPTED:
                reply = f" ({result.reply.code} {result.reply.text})" if result.reply else ""
                pace.failed(f"{result.why}{reply}", hold=result.scope is Scope.HOLD)
                return
        if any(result.fate in {Fate.ACCEPTED, Fate.REFUSED, Fate.DEFERRED} for result in results):
            pace.went_well()

    def _outcome(
        self,
        claim: Claim,
        target: Target,
        result: Result,
        sha256: str | None,
        *,
        poison: bool,
        ours: bool,
        chance: float,
    ) -> Change:
        """The change that one recipient's result makes."""
        tries = target.tries + 1
        if result.fate is Fate.ACCEPTED:
            return self._change(claim, target, RecipientState.ACCEPTED, result=result, tries=tries, sha256=sha256)
        if result.fate is Fate.REFUSED:
            return self._change(claim, target, RecipientState.REFUSED, result=result, tries=tries, sha256=sha256)
        if result.fate is Fate.UNCERTAIN:
            return self._uncertain(claim, target, result, sha256, chance)
        if result.fate is Fate.DEFERRED or poison:
            return self._deferred(claim, target, result, sha256, chance)
        wait = self._wait(claim, result, ours=ours)
        return self._change(claim, target, RecipientState.QUEUED, result=result, next_at=wait, sha256=sha256)

    def _wait(self, claim: Claim, result: Result, *, ours: bool) -> dt.datetime | None:
        """When a letter whose content never started is due again: with the relay, at once after a pause, else later each time."""
        if result.scope in {Scope.RELAY, Scope.HOLD}:
            return self._pace.next_token()
        if ours:
            return None
        wait: dt.timedelta = min(_FRUITLESS_WAIT * 2 ** min(claim.fruitless, 16), _FRUITLESS_LONGEST)
        return self._clock.now() + wait

    def _uncertain(self, claim: Claim, target: Target, result: Result, sha256: str | None, chance: float) -> Change:
        """In doubt; where the circular chose to send again, deferred: after the lease, ever later, and not for ever."""
        if self._resend:
            again = self._again(target, chance)
            if again is not None:
                again = max(again, self._clock.now() + self._lease)
                return self._change(
                    claim,
                    target,
                    RecipientState.DEFERRED,
                    result=result,
                    tries=target.tries + 1,
                    next_at=again,
                    sha256=sha256,
                )
        return self._change(
            claim, target, RecipientState.UNCERTAIN, result=result, tries=target.tries + 1, sha256=sha256
        )

    def _again(self, target: Target, chance: float) -> dt.datetime | None:
        return next_try(
            self._settings,
            tries=target.tries + 1,
            first_at=target.first_at,
            now=self._clock.now(),
            chance=lambda: chance,
        )

    def _deferred(self, claim: Claim, target: Target, result: Result, sha256: str | None, chance: float) -> Change:
        again = self._again(target, chance)
        state = RecipientState.DEFERRED if again else RecipientState.EXPIRED
        return self._change(claim, target, state, result=result, tries=target.tries + 1, next_at=again, sha256=sha256)

"""From a relay's results to what is written down: states, next tries, and what they say of the relay itself.

- A letter that comes back without content having started goes back to `queued`, and that is no try; one that meets this three times
  while others pass on the same relay is deferred, a try counted.
- An address beyond ASCII that a relay can't be told, which we find before we say a word of it, waits for another relay of its route.
  The try is counted, so that the time for giving up runs.
- In doubt stays in doubt, unless its circular chose to send again: then it is deferred, after the lease, ever later and not for ever.
"""

import datetime as dt
import logging
from collections.abc import Callable, Sequence

from mailer.circulars.states import RecipientState
from mailer.clock import Clock
from mailer.delivery.account import Change
from mailer.delivery.allot import Ways
from mailer.delivery.claims import Claim, Target
from mailer.delivery.domains import Domains, domain_of
from mailer.delivery.pace import Pace
from mailer.delivery.retry import next_try
from mailer.delivery.turns import Told
from mailer.settings import Delivery
from mailer.transport.base import Fate, Result, Scope
from mailer.transport.commands import NEEDS_UTF8

log = logging.getLogger(__name__)

#: What is about the relay, or about us as its customer.
_OURS = frozenset({Scope.RELAY, Scope.DAY, Scope.HOLD})
#: A letter that came back this often without content is a poison letter, if others pass.
_FRUITLESS = 3
#: The same where no other letter is left to compare it with, but some passed before.
_FRUITLESS_ALONE = 10
#: How long a letter whose content never started waits: the first time, doubled each time, and at the longest.
_FRUITLESS_WAIT, _FRUITLESS_LONGEST = dt.timedelta(seconds=2), dt.timedelta(minutes=5)


class Judges:
    """A judge for each relay that letters of one circular go by."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Delivery,
        ways: Ways,
        resend: bool,
        strikes: dict[str, dict[int, int]],
        chance: Callable[[], float],
    ) -> None:
        """Make them; *strikes* are those of `Judge`, by relay."""
        self._clock, self._settings, self._ways = clock, settings, ways
        self._resend, self._strikes, self._chance = resend, strikes, chance
        self._made: dict[str, Judge] = {}

    def of(self, relay: str) -> "Judge":
        """The judge of what letters meet on a relay."""
        if relay not in self._made:
            self._made[relay] = Judge(
                clock=self._clock,
                settings=self._settings,
                relay=relay,
                pace=self._ways.line(relay).pace,
                domains=self._ways.domains,
                after_failure=self._ways.after_failure,
                elsewhere=self._ways.elsewhere,
                resend=self._resend,
                strikes=self._strikes.setdefault(relay, {}),
                chance=self._chance,
            )
        return self._made[relay]


class Judge:
    """Judges what letters of one circular met on one relay."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Delivery,
        relay: str,
        pace: Pace,
        domains: Domains,
        after_failure: Callable[[Claim], dt.datetime | None],
        elsewhere: Callable[[Claim], bool],
        resend: bool,
        strikes: dict[int, int],
        chance: Callable[[], float],
    ) -> None:
        """Make a judge.

        *after_failure* says when a letter that the relay failed is due again, *elsewhere* whether one with addresses beyond ASCII,
        which this relay can't be told, may go by another. *resend*: the circular chose to send doubtful letters
        again. *strikes*: letters whose content did not start, with how many had passed on this relay then; shared by all judges of a
        process. *chance*: for the jitter of retries.
        """
        self._clock, self._settings, self._relay, self._pace = clock, settings, relay, pace
        self._domains, self._after_failure, self._elsewhere = domains, after_failure, elsewhere
        self._resend, self._strikes, self._chance = resend, strikes, chance
        self._lease = dt.timedelta(seconds=settings.lease)

    def not_composed(self, claim: Claim, error: BaseException) -> Told:
        """The end of an attempt at a letter that could not be made: refused, for a person to see."""
        changes = tuple(
            self._change(claim, target, RecipientState.REFUSED, why=f"the letter could not be made: {error}")
            for target in claim.targets
        )
        return Told(claim, changes, None, None, fruitless=False)

    def not_now(self, claim: Claim, until: dt.datetime) -> Told:
        """The end of an attempt that was not made, since another's met a no that holds for it: back to the queue, no try counted."""
        why = self._pace.closed.why if self._pace.closed is not None else "its domain asks for a slower pace"
        changes = tuple(
            self._change(claim, target, RecipientState.QUEUED, why=why, next_at=until) for target in claim.targets
        )
        return Told(claim, changes, None, None, fruitless=False)

    def _change(
        self,
        claim: Claim,
        target: Target,
        state: RecipientState,
        *,
        result: Result | None = None,
        why: str | None = None,
        tries: int | None = None,
        next_at: dt.datetime | None = None,
        sha256: str | None = None,
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
            why=why if result is None else result.why,
            tries=target.tries if tries is None else tries,
            next_at=next_at,
            sha256=sha256,
        )

    def told(
        self,
        claim: Claim,
        results: Sequence[Result],
        *,
        left: dt.datetime | None,
        sha256: str,
        held: bool,
        size: int = 0,
        seconds: float | None = None,
    ) -> Told:
        """The end of an attempt.

        Args:
            claim: the letter.
            results: one per recipient.
            left: when its content began; None: it did not.
            sha256: of the bytes.
            held: we ourselves did not let content start.
            size: octets of the letter.
            seconds: from the start of the content to the relay's last word.
        """
        if left:
            self._strikes.pop(claim.letter, None)
        digest = sha256 if left else None
        self._tell_pace(results, ours=held)
        self._tell_domains(claim, results)
        by_id = {result.recipient: result for result in results}
        fruitless = not held and all(
            result.fate is Fate.NOT_TRIED and result.scope not in {Scope.DAY, Scope.HOLD} for result in results
        )
        poison = fruitless and self._is_poison(claim, relay=any(one.scope is Scope.RELAY for one in results))
        chance = self._chance()  # one draw for all: a letter's recipients come back together
        changes = tuple(
            self._outcome(claim, target, by_id[target.id], digest, poison=poison, ours=held, chance=chance)
            for target in claim.targets
        )
        place = next((result.place for result in results if result.place), None)
        return Told(claim, changes, left, digest, fruitless, size, seconds, place)

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
            if result.scope in _OURS and result.fate is not Fate.ACCEPTED:
                reply = f" ({result.reply.code} {result.reply.text})" if result.reply else ""
                why, day = f"{result.why}{reply}", result.scope is Scope.DAY
                if day and pace.trouble is None:
                    log.warning("relay-day-over", extra={"relay": self._relay, "why": why})
                pace.failed(why, hold=result.scope is Scope.HOLD, day=day)
                return
        if any(result.fate in {Fate.ACCEPTED, Fate.REFUSED, Fate.DEFERRED} for result in results):
            pace.went_well()

    def _tell_domains(self, claim: Claim, results: Sequence[Result]) -> None:
        """What the letter says of its recipients' domains: one that asks for a slower pace gets it, one that takes it recovers."""
        if self._domains.calm and all(one.scope is not Scope.DOMAIN for one in results):
            return
        domains = {target.id: domain_of(target.address) for target in claim.targets}
        slow = {domains[one.recipient]: one for one in results if one.scope is Scope.DOMAIN}
        for domain, result in slow.items():
            reply = f"{result.reply.code} {result.reply.text}" if result.reply else result.why
            tried = next(target.tries for target in claim.targets if target.id == result.recipient)
            self._domains.slower(domain, reply, first=not tried)
        taken = {domains[one.recipient] for one in results if one.fate is Fate.ACCEPTED}
        for domain in taken - slow.keys():
            self._domains.went_well(domain)

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
            if result.why == NEEDS_UTF8 and result.reply is None and self._elsewhere(claim):
                return self._change(claim, target, RecipientState.QUEUED, result=result, tries=tries)
            return self._change(claim, target, RecipientState.REFUSED, result=result, tries=tries, sha256=sha256)
        if result.fate is Fate.UNCERTAIN:
            return self._uncertain(claim, target, result, sha256, chance)
        if result.fate is Fate.DEFERRED or poison:
            return self._deferred(claim, target, result, sha256, chance)
        wait = self._wait(claim, result, ours=ours)
        return self._change(claim, target, RecipientState.QUEUED, result=result, next_at=wait, sha256=sha256)

    def _wait(self, claim: Claim, result: Result, *, ours: bool) -> dt.datetime | None:
        """When a letter whose content never started is due again: with the relay, at once after a pause, else later each time."""
        if result.scope in _OURS:
            return self._after_failure(claim)
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

"""The passage of letters that are claimed: a place among those at the relay, their bytes, the gate before their content, their end.

- No task waits for a letter: a place that falls free, a signature that is made and the relay's last word each take it on a step.
- Letters are composed when the first of a few gets its place (`together`), so that no more bytes are kept than of those few and of
  `AT_ONCE` letters a connection: one that is on its way, one whose envelope goes with that one's end, and one for when the first has
  landed, which we hear of a moment later.
- What landed is judged soon after, not within the transport's own work: judging frees a place, and that composes the next letter.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

from lists.records import record
from mailer.circulars.compose import Composed, merge, sign
from mailer.circulars.frozen import Frozen
from mailer.clock import Clock
from mailer.delivery.allot import Ways
from mailer.delivery.claims import Claim
from mailer.delivery.journal import Journal
from mailer.delivery.judging import Judges
from mailer.delivery.line import Line
from mailer.delivery.together import Together
from mailer.delivery.turns import Told
from mailer.errors import JournalError
from mailer.transport.base import Envelope, Fate, Held, Rcpt, Result, Scope

log = logging.getLogger(__name__)

#: Letters at a relay, a connection. With two, hardly more than half of the envelopes went ahead; with three, nine of ten.
AT_ONCE = 3
#: Seconds for which a turn waits for more letters to land, once one has.
_STRAGGLERS = 0.5


@record(kw_only=True)
class Desk:
    """What the passage of letters needs.

    Attributes:
        circular: whose letters they are.
        hindrance: why no content may start at this time; None: it may.
        unrecorded: attempts whose content began and whose outcome is not yet in the database.
        signing: threads that sign letters.
    """

    circular: int
    frozen: Frozen
    ways: Ways
    judges: Judges
    clock: Clock
    journal: Journal
    hindrance: Callable[[dt.datetime], str | None]
    unrecorded: set[str]
    signing: Executor


class _Passage:
    """One letter's; also the gate through which its content passes."""

    __slots__ = ("begun", "claim", "composed", "held", "line", "of", "took")

    def __init__(self, of: "Passages", claim: Claim, line: Line) -> None:
        self.of, self.claim, self.line = of, claim, line
        self.composed: Composed | None = None
        #: when its content began
        self.begun: dt.datetime | None = None
        #: seconds from there to the relay's last word
        self.took: float | None = None
        #: we ourselves did not let its content start
        self.held = False

    def before_content(self, attempt: str, replies: Sequence[Result]) -> None:
        """Let content start, or raise `Held`."""
        desk = self.of.desk
        now = desk.clock.now()
        reason = desk.hindrance(now)
        if reason is None:
            desk.unrecorded.add(attempt)
            try:
                desk.journal.begun(attempt, now, replies, self.composed.sha256 if self.composed else None)
            except JournalError as error:
                desk.unrecorded.discard(attempt)
                reason = str(error)
        if reason is not None:
            self.held = True
            raise Held(reason)
        self.begun = now

    def after_reply(self, attempt: str, results: Sequence[Result]) -> None:
        """Note the relay's last word."""
        desk = self.of.desk
        now = desk.clock.now()
        desk.journal.answered(attempt, now, results)
        if self.begun is not None:
            self.took = (now - self.begun).total_seconds()

    def landed(self, outcome: Sequence[Result] | Exception) -> None:
        """The transport has done with it."""
        self.of.end(self, outcome)


@record
class _NotMade:
    """A letter that could not be composed."""

    error: BaseException


#: What a passage ends with: the transport's word, or what kept the letter from it.
_End = Sequence[Result] | Exception | Told | _NotMade


class Passages:
    """Those of one run's letters.

    Attributes:
        flying: letters that have begun their passage and not ended it.
        landed: how many have ended it so far.
        told: what they met, until somebody takes it.
        partial: a letter has landed whose other recipients wait for a turn of their own.
        failure: what went wrong with us, so that what some letter met is not in `told`.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.flying = self.landed = 0
        self.told: list[Told] = []
        self.partial = False
        self.failure: Exception | None = None
        self._together = Together(desk.frozen)
        self._ended: list[tuple[_Passage, _End]] = []
        self._news = asyncio.Event()
        #: there is news for who waits when no more than so many fly
        self._few = 0

    def begin(self, claims: Sequence[Claim]) -> None:
        """Let letters go that are claimed."""
        if not self.desk.frozen.signs:
            self._together.announce(claims)
        for claim in claims:
            line = self.desk.ways.line(claim.relay)
            self.flying += 1
            line.turnstile.enter(
                self.desk.circular, AT_ONCE * line.transport.lanes, partial(self._go, _Passage(self, claim, line))
            )

    async def wait(self, few: int, since: int) -> None:
        """Wait until no more than *few* fly and more than *since* have landed, or until none has for a while after one did."""
        while self.flying and (self.flying > few or self.landed <= since):
            seen, some = self.landed, self.landed > since
            self._few = few if some else self.flying
            self._news.clear()
            try:
                async with asyncio.timeout(_STRAGGLERS if some else None):
                    await self._news.wait()
            except TimeoutError:
                if self.landed == seen:
                    return

    def end(self, one: _Passage, outcome: _End) -> None:
        """A letter's passage is over; what it met is judged soon."""
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._settle)
        self._ended.append((one, outcome))

    # --- steps ----------------------------------------------------------------------------------------------------

    def _go(self, one: _Passage) -> None:
        """It has a place: compose it and hand it over."""
        desk, claim = self.desk, one.claim
        try:
            if rest := desk.ways.rests(claim):
                self._together.forget(claim)
                self.end(one, desk.judges.of(one.line.name).not_now(claim, rest))
                return
            signer = desk.frozen.signer
            if signer is None:
                self._post(one, self._together.take(claim))
                return
            # in a thread, so that other letters need not wait for it
            merged = merge(desk.frozen, claim.row)
            signing = asyncio.get_running_loop().run_in_executor(desk.signing, sign, merged, signer)
            signing.add_done_callback(partial(self._signed, one))
        except Exception as error:  # noqa: BLE001 - one letter that can't be made must not stop the others; it is told, by name
            self.end(one, _NotMade(error))

    def _signed(self, one: _Passage, signing: "asyncio.Future[Composed]") -> None:
        if signing.cancelled():
            one.held = True
            self.end(one, _all(one, Fate.NOT_TRIED, "the program is stopping"))
        elif (error := signing.exception()) is not None:
            self.end(one, _NotMade(error))
        else:
            self._post(one, signing.result())

    def _post(self, one: _Passage, composed: Composed) -> None:
        claim, line = one.claim, one.line
        one.composed = composed
        envelope = Envelope(
            claim.attempt,
            line.reverse_path(self.desk.frozen, claim.token),
            tuple([Rcpt(target.id, target.address) for target in claim.targets]),
            claim.token,
        )
        try:
            line.transport.post(envelope, composed.payload, one, one.landed)
        except Exception as error:  # noqa: BLE001 - judged as what the gate raises
            self.end(one, error)

    def _settle(self) -> None:
        """Judge what landed."""
        ended, self._ended = self._ended, []
        for one, outcome in ended:
            self.flying -= 1
            self.landed += 1
            try:
                self._judge(one, outcome)
            except Exception as error:
                log.exception("judging-failed", extra={"letter": one.claim.letter})
                self.failure = self.failure or error
        if self.flying <= self._few:
            self._news.set()

    def _judge(self, one: _Passage, outcome: _End) -> None:
        claim, line, ways = one.claim, one.line, self.desk.ways
        try:
            told = self._told(one, outcome)
        finally:
            line.turnstile.leave()
            ways.landed(claim)
        ways.spent(claim, left=told.left is not None)
        self.told.append(told)
        self.partial = self.partial or claim.partial

    def _told(self, one: _Passage, outcome: _End) -> Told:
        if isinstance(outcome, Told):
            return outcome
        claim, judge, composed = one.claim, self.desk.judges.of(one.line.name), one.composed
        if isinstance(outcome, _NotMade):
            log.error("compose-failed", exc_info=outcome.error, extra={"letter": claim.letter})
            return judge.not_composed(claim, outcome.error)
        if isinstance(outcome, Exception):  # a defect of ours: whether the relay has it is unknown once content began
            log.error("transport-failed", exc_info=outcome, extra={"letter": claim.letter})
            fate = Fate.NOT_TRIED if one.begun is None else Fate.UNCERTAIN
            outcome = _all(one, fate, f"our program failed ({outcome})")
        return judge.told(
            claim,
            outcome,
            left=one.begun,
            sha256=composed.sha256 if composed else "",
            size=composed.size if composed else 0,
            seconds=one.took,
            held=one.held,
        )


def _all(one: _Passage, fate: Fate, why: str) -> list[Result]:
    return [Result(target.id, fate, Scope.LETTER, None, why) for target in one.claim.targets]

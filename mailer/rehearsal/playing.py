"""What a conversation's commands have in common, on top of `wire`: answers with the faults that the rules want, and the record."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mailer.rehearsal import grammar
from mailer.rehearsal.faults import Occasion, Rule
from mailer.rehearsal.grammar import Refusal
from mailer.rehearsal.wire import Wire, wire_form

if TYPE_CHECKING:
    from mailer.rehearsal.server import Server


class Playing(Wire):
    """A connection that knows its server, what it was offered, and the letter that it is about."""

    def __init__(self, server: "Server", number: int) -> None:
        super().__init__(server.clock, server.options.size_limit)
        self._server = server
        self._options = server.options
        self._faults = server.faults
        self._record = server.record
        self._number = number
        self._tls = False
        self._user: str | None = None
        self._helo: str | None = None
        self._letters = 0
        self._lies = False
        self._strips_tls = False
        self._offer = grammar.Offer()
        self._forget_letter()

    def _forget_letter(self) -> None:
        self._sender: str | None = None
        self._letter = 0
        self._params: Mapping[str, str] = {}
        self._rcpts: list[tuple[str, int]] = []
        self._rcpt_params: list[Mapping[str, str]] = []
        self._accepted: list[str] = []

    @property
    def _may_pipeline(self) -> bool:
        return "PIPELINING" in self._offer.words

    def _answer(
        self,
        reply: str | bytes | tuple[str, ...],
        rule: Rule | None,
        *,
        delay: float | None = None,
        close: bool = False,
        done: Callable[[], None] | None = None,
    ) -> None:
        """Give *reply*, or the rule's, in the rule's manner, after *delay* milliseconds (default: the options')."""
        if rule is not None and rule.reply:
            reply = rule.reply
        if not isinstance(reply, bytes):
            reply = wire_form((reply,) if isinstance(reply, str) else reply)

        def finish() -> None:
            if done is not None:
                done()
            if close:
                self.close()

        self.say(
            reply,
            rule,
            delay=(self._options.reply_ms if delay is None else delay) / 1000,
            done=finish if close else done,
        )

    def _fault(self, phase: str, *, sender: str | None = None, addresses: Sequence[str] | None = None) -> Rule | None:
        if not self._faults.watches(phase):
            return None
        occasion = Occasion(
            phase,
            self._number,
            self._letter,
            (self._sender or "") if sender is None else sender,
            self._accepted if addresses is None else addresses,
        )
        rule = self._faults.at(occasion, self.clock.now())
        if rule is not None:
            self._event("fault", phase=phase, rule=self._faults.rules.index(rule), letter=self._letter)
        return rule

    def _phase(self, phase: str) -> None:
        self._record.phase(phase, self._number, self.clock)

    def _event(self, kind: str, **more: Any) -> None:
        if self._record.everything:
            self._record.event(kind, self.clock.now(), self._number, more)

    @staticmethod
    def _without(argument: bytes) -> None:
        if argument:
            raise Refusal("501 5.5.4 This command takes no argument")

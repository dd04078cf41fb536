"""One client's conversation: the commands of RFC 5321 and their rules of sequence, on top of `wire`.

Longer than most files here: what may be said when hangs together, and reads best in one piece.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mailer.rehearsal import grammar
from mailer.rehearsal.faults import Manner, Occasion, Rule
from mailer.rehearsal.grammar import Refusal
from mailer.rehearsal.login import Declined, Given, Login
from mailer.rehearsal.options import TlsMode
from mailer.rehearsal.record import Received, RefusedRcpt, headers_of
from mailer.rehearsal.wire import Wire, wire_form

if TYPE_CHECKING:
    from mailer.rehearsal.server import Server

_OK = b"250 2.0.0 Ok\r\n"
_SENDER_OK = b"250 2.1.0 Ok\r\n"
_RCPT_OK = b"250 2.1.5 Ok\r\n"
_GO_ON = b"354 End data with <CR><LF>.<CR><LF>\r\n"
#: Faults that lose the letter when played before it is taken.
_LOSING = frozenset({Manner.DROP, Manner.RESET, Manner.HALF, Manner.GARBAGE})
#: Must be the last of a group of commands (RFC 2920, 3.1); STARTTLS has its own rule: what follows is thrown away.
_LAST = frozenset({b"DATA", b"EHLO", b"HELO", b"AUTH"})


class Session(Wire):
    """A connection to the rehearsal server."""

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
        self._login: Login | Declined | None = None
        self._content_rule: Rule | None = None
        self._content_begun = False
        self._refused_ahead: str | None = None
        self._forget_letter()

    def _forget_letter(self) -> None:
        self._sender: str | None = None
        self._letter = 0
        self._params: Mapping[str, str] = {}
        self._rcpts: list[tuple[str, int]] = []
        self._rcpt_params: list[Mapping[str, str]] = []
        self._accepted: list[str] = []

    # --- coming and going ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or refuse, or shake hands first."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self.transport = transport
        self._server.opened(self)
        if self._server.stopping:
            self.cut()
            return
        self._event("connection")
        self._phase("connect")
        rule = self._fault("connect")
        if self._options.tls is TlsMode.IMPLICIT and (rule is None or rule.do not in {Manner.DROP, Manner.RESET}):
            self._encrypt(rule, lambda: self._greet(None if rule is None or rule.flaw else rule))
        else:
            self._greet(rule)

    def connection_lost(self, reason: Exception | None) -> None:
        """Note it."""
        super().connection_lost(reason)
        if self._server.closed(self):
            self._event("closed", letters=self._letters)

    def _greet(self, rule: Rule | None) -> None:
        if self._server.is_full:
            self._answer("421 4.7.0 Too many connections", None, close=True)
        else:
            refused = rule is not None and rule.code is not None and rule.code >= 400  # noqa: PLR2004 - 4yz, 5yz: no
            self._answer(f"220 {self._options.hostname} ESMTP Chancery rehearsal", rule, close=refused)
        self.flush()

    def _encrypt(self, rule: Rule | None, done: Callable[[], None]) -> None:
        def shaken(error: Exception | None) -> None:
            self._tls = error is None
            self._event("tls", error=None if error is None else str(error))
            if error is None:
                done()

        self.encrypt(self._server.context(None if rule is None else rule.flaw), shaken)

    # --- commands ------------------------------------------------------------------------------------------------------

    def on_broken_line(self, reply: str) -> None:
        """Refuse and close: what follows can't be told apart any more."""
        self._answer(reply, None, close=True)

    def on_line(self, line: bytes) -> None:
        """Answer one command, or one answer to a challenge of AUTH."""
        try:
            if self._login is not None:
                self._judge(self._login.answer(line))
            else:
                verb, _, argument = line.partition(b" ")
                self._command(verb.upper(), line, argument)
        except Refusal as refusal:
            self._login = None
            self._answer(refusal.reply, None)
        if self._lies and not self.gone:
            self.forget_input()

    def _command(self, verb: bytes, line: bytes, argument: bytes) -> None:
        if self._record.everything:
            self._event("command", line=line.decode("utf-8", "backslashreplace") if verb != b"AUTH" else "AUTH")
        if verb in {b"MAIL", b"RCPT"}:
            limit = grammar.LONG_LINE_LIMIT
        else:
            limit = grammar.AUTH_LINE_LIMIT if verb == b"AUTH" else grammar.LINE_LIMIT
        if len(line) + 2 > limit:
            raise Refusal("500 5.5.6 Line too long")
        if verb != b"STARTTLS" and (verb in _LAST or not self._may_pipeline) and self.waiting_input and not self._lies:
            self._answer("503 5.5.0 More came before the reply than may", None, close=True)
            return
        match verb:
            case b"MAIL":
                self._mail(line)
            case b"RCPT":
                self._rcpt(line)
            case b"DATA":
                self._data(argument)
            case b"EHLO" | b"HELO":
                self._hello(argument, extended=verb == b"EHLO")
            case b"STARTTLS":
                self._starttls(argument)
            case b"AUTH":
                self._auth(argument)
            case b"RSET":
                self._without(argument)
                self._forget_letter()
                self._answer("250 2.0.0 Ok", self._fault("rset"))
            case b"NOOP":
                self._answer("250 2.0.0 Ok", self._fault("noop"))
            case b"VRFY":
                self._answer("252 2.5.0 Send some mail, and it will be seen", None)
            case b"HELP":
                self._answer("214 2.0.0 This relay only plays one; see RFC 5321", None)
            case b"QUIT":
                self._without(argument)
                self._phase("quit")
                self._answer("221 2.0.0 Bye", self._fault("quit"), close=True)
            case _:
                raise Refusal("500 5.5.1 Command not known")

    def _hello(self, argument: bytes, *, extended: bool) -> None:
        name = grammar.helo(argument)
        self._phase("ehlo")
        rule = self._fault("ehlo")
        words = self._extensions(rule) if extended else ()
        if rule is None or not rule.reply:
            self._helo = name
            self._lies = rule is not None and rule.do is Manner.LIE
            self._offer = grammar.Offer(
                frozenset(word.split(" ", 1)[0].upper() for word in words), self._options.size_limit
            )
            self._forget_letter()
        self._answer((f"250 {self._options.hostname}", *(f"250 {word}" for word in words)), rule)

    def _extensions(self, rule: Rule | None) -> Sequence[str]:
        """What EHLO says, one extension a line; `hide` and `offer` of a fault have the last word."""
        options = self._options
        words = ["PIPELINING"] if options.pipelining or (rule is not None and rule.do is Manner.LIE) else []
        words.append(f"SIZE {options.size_limit}" if options.size_limit else "SIZE")
        if options.tls is TlsMode.STARTTLS and not self._tls:
            words.append("STARTTLS")
        if options.user is not None and (self._tls or options.tls is TlsMode.NONE):
            words.append("AUTH PLAIN LOGIN XOAUTH2" if options.token else "AUTH PLAIN LOGIN")
        words += ["ENHANCEDSTATUSCODES", "8BITMIME"]
        words += [word for word, offered in (("DSN", options.dsn), ("SMTPUTF8", options.smtputf8)) if offered]
        if rule is None:
            return words
        hidden = {word.upper() for word in rule.hide}
        self._strips_tls = "STARTTLS" in hidden
        return [*(word for word in words if word.split(" ", 1)[0] not in hidden), *rule.offer]

    def _starttls(self, argument: bytes) -> None:
        self._without(argument)
        if self._options.tls is not TlsMode.STARTTLS or self._strips_tls:
            raise Refusal("502 5.5.1 STARTTLS is not offered")
        if self._tls:
            raise Refusal("503 5.5.1 TLS is already on")
        self._phase("starttls")
        rule = self._fault("starttls")
        if self.waiting_input:
            self._event("smuggled", octets=self.waiting_input)
            self.forget_input()
        refused = rule is not None and rule.code not in {None, 220}

        def go() -> None:
            if not refused and not (rule is not None and (rule.close or rule.do is Manner.GARBAGE)):
                self._helo = None
                self._encrypt(rule, self._forget_letter)

        self._answer("220 2.0.0 Go ahead", rule, done=go)

    # --- AUTH ----------------------------------------------------------------------------------------------------------

    def _auth(self, argument: bytes) -> None:
        options = self._options
        if self._helo is None or self._user is not None or self._sender is not None:
            raise Refusal("503 5.5.1 AUTH comes once, after EHLO and before MAIL")
        if options.user is None:
            raise Refusal("502 5.5.1 AUTH is not offered")
        if options.tls is not TlsMode.NONE and not self._tls:
            raise Refusal("538 5.7.11 Encryption is required before AUTH")
        self._login = Login(token=bool(options.token))
        self._judge(self._login.start(argument))

    def _judge(self, given: Given | str) -> None:
        if isinstance(given, str):
            self.say(f"334 {given}\r\n".encode())
            return
        self._login = None
        self._phase("auth")
        rule = self._fault("auth")
        options = self._options
        right = (given.user, given.secret) == (options.user, options.token if given.token else options.password)
        if right and (rule is None or rule.code in {None, 235}):
            self._user = given.user
        self._event("auth", user=given.user, right=right)
        if given.token and not right and rule is None:
            self._login = Declined()
            self.say(f"334 {Declined.challenge}\r\n".encode())
            return
        self._answer("235 2.7.0 Welcome" if right else "535 5.7.8 User or password is not right", rule)

    # --- a letter ------------------------------------------------------------------------------------------------------

    def _mail(self, line: bytes) -> None:
        options = self._options
        if self._helo is None:
            raise Refusal("503 5.5.1 Say EHLO first")
        if options.tls is TlsMode.STARTTLS and not self._tls and not self._strips_tls:
            raise Refusal("530 5.7.0 Must issue a STARTTLS command first")
        if options.user is not None and self._user is None:
            raise Refusal("530 5.7.0 Authentication is required")
        if self._sender is not None:
            raise Refusal("503 5.5.1 A letter has one sender; RSET starts anew")
        path = grammar.mail(line, self._offer)
        if options.letters_per_connection and self._letters >= options.letters_per_connection:
            self._answer("421 4.7.0 Enough letters for one connection", None, close=True)
            return
        self._letters += 1
        self._letter = self._server.next_letter()
        self._phase("mail")
        rule = self._fault("mail", sender=path.address)
        if rule is None or rule.code is None or rule.code < 300:  # noqa: PLR2004 - 2yz: yes
            self._sender, self._params = path.address, path.params
        self._answer(_SENDER_OK, rule)

    def _rcpt(self, line: bytes) -> None:
        if self._sender is None:
            raise Refusal("503 5.5.1 Say MAIL first")
        path = grammar.rcpt(line, self._offer, utf8="SMTPUTF8" in self._params)
        self._phase("rcpt")
        rule = self._fault("rcpt", addresses=(path.address,))
        reply = rule.reply[0] if rule is not None and rule.reply else "250 2.1.5 Ok"
        if len(self._accepted) >= self._options.rcpt_limit:
            reply, rule = "452 4.5.3 Too many recipients", None
        code = int(reply[:3])
        self._rcpts.append((path.address, code))
        self._rcpt_params.append(path.params)
        if code < 300:  # noqa: PLR2004 - 2yz: yes
            self._accepted.append(path.address)
            self._answer(_RCPT_OK, rule)
            return
        self._record.refuse(
            RefusedRcpt(
                self.clock.now(), self._number, self._sender, path.address, self._params.get("ENVID"), code, reply[4:]
            )
        )
        self._answer(reply, rule)

    def _data(self, argument: bytes) -> None:
        self._without(argument)
        if self._sender is None:
            raise Refusal("503 5.5.1 Say MAIL first")
        if not self._rcpts:
            raise Refusal("503 5.5.1 Say RCPT first")
        self._phase("data")
        if not self._accepted:
            self._answer("554 5.5.1 No recipient was accepted", self._fault("data"))
            return
        rule = self._fault("data")
        if rule is None or rule.code in {None, 354}:
            self._content_begun, self._content_rule, self._refused_ahead = False, None, None
            self.expect_content()
        elif (rule.code or 0) >= 400:  # noqa: PLR2004 - 4yz, 5yz: no
            self._forget_letter()
        self._answer(_GO_ON, rule)

    def on_more_content(self, size: int) -> None:
        """Play the faults of the phase content."""
        if not self._content_begun:
            self._content_begun = True
            self._phase("content")
            self._content_rule = self._fault("content")
        rule = self._content_rule
        if rule is None or size < rule.after_bytes:
            return
        self._content_rule = None
        match rule.do:
            case Manner.STALL:
                self.transport.pause_reading()
                self.stall(rule.seconds, self.transport.resume_reading)
            case Manner.EARLY:
                if (rule.code or 0) >= 400:  # noqa: PLR2004 - 4yz, 5yz: no
                    self._refused_ahead = rule.reply[0]
                self.say_ahead(wire_form(rule.reply) if rule.reply else _OK)
            case _:
                self._answer(_OK, rule, close=rule.do is not Manner.GARBAGE or bool(rule.reply))

    def on_content(self, content: bytes, *, oversize: bool) -> None:
        """Judge a letter: the last moment before it is taken."""
        self._phase("dot")
        limit = self._options.size_limit
        content, refusal = self._server.reader.read(
            content,
            eight_bit=self._params.get("BODY", "").upper() == "8BITMIME",
            utf8="SMTPUTF8" in self._params,
        )
        if oversize or (limit and len(content) > limit):
            refusal = f"552 5.3.4 The letter is larger than {limit} octets"
        refusal = self._refused_ahead or refusal
        if refusal is not None:
            self._finish(content, refusal, None)
            return
        if self._lies:
            self.forget_input()
        elif self.waiting_input and not self._may_pipeline:
            self._finish(content, "503 5.5.0 More came before the reply than may", None)
            self.close()
            return
        rule = self._fault("dot")
        if rule is None:
            self._finish(content, "250 2.0.0 Taken", None)
        elif rule.do is Manner.STALL:
            self.stall(
                rule.seconds, lambda: self._finish(content, rule.reply[0] if rule.reply else "250 2.0.0 Taken", None)
            )
        elif rule.do in _LOSING and not rule.reply:
            self._finish(content, "451 4.3.0 Not taken", rule)
        else:
            self._finish(content, rule.reply[0] if rule.reply else "250 2.0.0 Taken", rule)

    def _finish(self, content: bytes, reply: str, rule: Rule | None) -> None:
        """Take the letter, or don't; write that down; then answer."""
        assert self._sender is not None  # noqa: S101 - DATA saw to it
        taken = reply[0] == "2" and (rule is None or rule.do not in _LOSING)
        if taken:
            later = self._fault("reply")
            if later is not None:
                rule = later
                reply = later.reply[0] if later.reply else reply
        options = self._options
        seq = self._record.next_seq()
        message_id, letter = headers_of(content)
        text = f"{reply[4:]} as {seq}" if taken and not (rule and rule.reply) else reply[4:]
        received = Received(
            seq=seq,
            at=self.clock.now(),
            connection=self._number,
            tls=self._tls,
            user=self._user,
            mail_from=self._sender,
            rcpts=tuple(self._rcpts),
            envid=self._params.get("ENVID"),
            params=self._params,
            rcpt_params=tuple(self._rcpt_params),
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest() if options.hash_content else "",
            message_id=message_id,
            letter=letter,
            reply=int(reply[:3]),
            text=text,
            taken=taken,
            data=content if options.keep_data else None,
        )
        self._record.letter(received, keep=options.keep_received)
        if taken:
            self._phase("taken")
        self._forget_letter()
        self._answer(f"{reply[:4]}{text}", rule, delay=options.end_ms, done=self._replied)

    def _replied(self) -> None:
        if self._record.writes_phases:
            self.flush()  # the line says that the reply has left
        self._phase("replied")

    @property
    def _may_pipeline(self) -> bool:
        return "PIPELINING" in self._offer.words

    # --- helpers -------------------------------------------------------------------------------------------------------

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

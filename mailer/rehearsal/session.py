"""One client's conversation: the commands of RFC 5321 and their rules of sequence; those of a letter are in `receiving`."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mailer.rehearsal import grammar
from mailer.rehearsal.faults import Manner, Rule
from mailer.rehearsal.grammar import Refusal
from mailer.rehearsal.login import Declined, Given, Login
from mailer.rehearsal.options import TlsMode
from mailer.rehearsal.receiving import Receiving

if TYPE_CHECKING:
    from mailer.rehearsal.server import Server

#: Must be the last of a group of commands (RFC 2920, 3.1); STARTTLS has its own rule: what follows is thrown away.
_LAST = frozenset({b"DATA", b"EHLO", b"HELO", b"AUTH"})


class Session(Receiving):
    """A connection to the rehearsal server."""

    def __init__(self, server: "Server", number: int) -> None:
        super().__init__(server, number)
        self._login: Login | Declined | None = None

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

"""The letter of a conversation: MAIL, RCPT, DATA and the content (RFC 5321, 3.3), up to the line of the record that says what became of it."""

import hashlib
from typing import TYPE_CHECKING

from mailer.rehearsal import grammar
from mailer.rehearsal.faults import Manner, Rule
from mailer.rehearsal.grammar import Refusal
from mailer.rehearsal.options import TlsMode
from mailer.rehearsal.playing import Playing
from mailer.rehearsal.record import Received, RefusedRcpt, headers_of
from mailer.rehearsal.wire import wire_form

if TYPE_CHECKING:
    from mailer.rehearsal.server import Server

_OK = b"250 2.0.0 Ok\r\n"
_SENDER_OK = b"250 2.1.0 Ok\r\n"
_RCPT_OK = b"250 2.1.5 Ok\r\n"
_GO_ON = b"354 End data with <CR><LF>.<CR><LF>\r\n"
#: Faults that lose the letter when played before it is taken.
_LOSING = frozenset({Manner.DROP, Manner.RESET, Manner.HALF, Manner.GARBAGE})


class Receiving(Playing):
    """A connection that takes letters, or does not."""

    def __init__(self, server: "Server", number: int) -> None:
        super().__init__(server, number)
        self._content_rule: Rule | None = None
        self._content_begun = False
        self._refused_ahead: str | None = None

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

"""What a relay's reply, or its silence, means for the recipients: one table, read from the top, first match wins.

- The reply code's first digit decides between "later" and "never"; the enhanced code's last two numbers decide whose failure
  it is. Relays give the two in disagreement (550 with 4.7.1): then the code is believed for the first, the rest for the second.
- What is about the relay, or about us as its customer, is never held against a letter: NOT_TRIED, and no try is counted.
  The exception is 421, 452 and 4.3.1 after the content: the try is counted, lest one large letter go round for ever.
- Before the first byte of content a break means NOT_TRIED; from that byte on, without a final reply, UNCERTAIN.
- Every sentence is for a person who knows letters, not protocols: no code in it (the reply stands beside it), no full stop.
"""

import re
import socket
import ssl
from enum import StrEnum
from typing import NamedTuple

from lists.records import record
from mailer.transport.base import Fate, Reply, Scope


class Phase(StrEnum):
    """Where in the conversation with a relay."""

    CONNECT = "connect"
    GREETING = "greeting"
    HELLO = "hello"
    TLS = "tls"
    LOGIN = "login"
    MAIL = "mail"  #: the sender is named
    RCPT = "rcpt"  #: a recipient is named
    DATA = "data"  #: leave to send the content is asked
    CONTENT = "content"  #: the first byte of the content has gone
    FINAL = "final"  #: all of it has gone


class Verdict(NamedTuple):
    """What becomes of a recipient, whose failure it is, and one plain sentence ("" where all is well)."""

    fate: Fate
    scope: Scope
    why: str


class BadReply(Exception):
    """What the relay said is no SMTP reply, or no reply to what it was asked."""


class OutOfStep(BadReply):
    """The relay answers what it was not asked: it can't be relied on to keep its answers in order."""


class Gone(ConnectionError):
    """The relay closed the connection, or it broke."""


_ENHANCED = re.compile(r"([245])\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})(?=\s|$)")

#: the reply that gives leave to send the content
GO_AHEAD = 354
_YES_CODES, _NO_CODES, _NEVER_CODES = range(200, 300), range(400, 600), range(500, 600)

_ANY = "*"
_BARE = "-"

_TALK = frozenset({Phase.LOGIN, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.FINAL})
_SESSION = frozenset({Phase.CONNECT, Phase.GREETING, Phase.HELLO})
_END = frozenset({Phase.DATA, Phase.FINAL})
_ONE = frozenset({Phase.RCPT, Phase.FINAL})
#: where a yes says something of a letter
_ABOUT_LETTERS = frozenset({Phase.MAIL, Phase.RCPT, Phase.FINAL})
_BEFORE = frozenset(Phase) - {Phase.CONTENT, Phase.FINAL}


def _only(phase: Phase) -> frozenset[Phase]:
    return frozenset({phase})


@record
class Rule:
    """A line of the table.

    Attributes:
        phases: where it holds.
        code: how the reply code begins.
        about: the last two numbers of the enhanced code; "7." any of that subject; "-" no enhanced code; "*" whatever.
        words: what the text holds, in small letters; "" whatever.
        verdict: what it means.
        but: what the text does not hold, in small letters; "" whatever.
    """

    phases: frozenset[Phase]
    code: str
    about: str
    verdict: Verdict
    words: str = ""
    but: str = ""

    def fits(self, phase: Phase, code: str, about: str, text: str) -> bool:
        """Whether this line speaks of a reply `code text` in *phase*; *about* is "y.z", or "" without enhanced code."""
        return (
            phase in self.phases
            and code.startswith(self.code)
            and (
                self.about == _ANY
                or (self.about == _BARE and not about)
                or (
                    bool(about) and (about == self.about or (self.about.endswith(".") and about.startswith(self.about)))
                )
            )
            and self.words in text
            and not (self.but and self.but in text)
        )


_later, _never, _free, _lost = Fate.DEFERRED, Fate.REFUSED, Fate.NOT_TRIED, Fate.UNCERTAIN
_one, _letter, _domain, _relay = Scope.RECIPIENT, Scope.LETTER, Scope.DOMAIN, Scope.RELAY
_day, _hold = Scope.DAY, Scope.HOLD

_POLICY = "refused for reasons of policy or because of the sender, not because of the address"
_BUSY = "our mail server is busy or closing, and asks us to come back"
_FULL_RELAY = "our mail server has no room at the moment"
_TOO_LARGE = "the letter is too large for the receiving side"
_NO_SENDER = "our mail server does not accept letters from this sender's address"
_FULL_BOX = "the mailbox is full"
_QUOTA = "our account has sent as many letters as our mail server allows in a day"
_BANNED = "our mail server has shut our account out of sending"
_NOT_AS = "our mail server does not let our account write in this sender's name"
_CROWD = "our mail server finds that our account sends over too many connections at once"
_NO_RELAY = "our mail server does not take letters from us for other offices; it may want a login"
#: how a server tells what another one said, when it asks there before it answers us: then the words are not about us
_QUOTES = "said:"
_NO_UTF8 = "a mail server on the way takes no address with characters beyond a to z before the @, such as an accent"
#: what a reply says that speaks of such addresses; `judge_mail` looks for it where it is the sender's
_ABOUT_UTF8 = ("utf8", "utf-8", "non-ascii", "smtputf8")
_STRANGE = "our mail server gave an answer that does not fit the question"

# fmt: off
#: Replies that are not a yes. Sources: DESIGN section 5; RFC 5321, 3463, 5248, 4954; Microsoft's and Google's lists of replies.
REPLIES: tuple[Rule, ...] = (
    # What providers say about the sender and our account, wherever they say it: Microsoft ...
    Rule(_TALK, "", _ANY, Verdict(_free, _hold, _NOT_AS), words="sendasdenied"),
    Rule(_TALK, "5", "7.60", Verdict(_free, _hold, _NOT_AS)),
    Rule(_TALK, "", _ANY, Verdict(_free, _day, _QUOTA), words="submissionquotaexceeded"),
    Rule(_TALK, "", _ANY, Verdict(_free, _hold, "the mailbox that our letters leave from is full"), words="storedrv.submission.exception:quotaexceeded"),
    Rule(_TALK, "432", "3.2", Verdict(_free, _relay, _CROWD)),
    Rule(_TALK, "", _ANY, Verdict(_free, _relay, _CROWD), words="sender thread limit exceeded"),
    Rule(_TALK, "5", _ANY, Verdict(_free, _hold, _BANNED), words="bad outbound sender"),
    *(Rule(_TALK, "5", about, Verdict(_free, _hold, _BANNED)) for about in ("7.501", "7.502", "7.503", "7.705", "7.708", "7.750")),
    # ... and Google
    Rule(_TALK, "550", "4.5", Verdict(_free, _day, _QUOTA)),
    Rule(_TALK, "5", _ANY, Verdict(_free, _day, _QUOTA), words="smtp relay limit exceeded"),
    Rule(_TALK, "4", _ANY, Verdict(_free, _relay, "our account sends faster than our mail server allows"), words="smtp relay limit exceeded"),
    Rule(_TALK, "5", _ANY, Verdict(_free, _hold, _NO_RELAY), words="credentials for relay"),
    # Our mail server does not know us: not one letter would pass
    Rule(_TALK, "530", _ANY, Verdict(_free, _hold, "our mail server takes letters over an encrypted connection only"), words="starttls"),
    Rule(_TALK - {Phase.LOGIN}, "530", _ANY, Verdict(_free, _hold, "our mail server wants a login before it takes letters")),
    *(
        Rule(_only(Phase.RCPT), "55", _ANY, Verdict(_free, _hold, _NO_RELAY), words=words, but=_QUOTES)
        for words in ("relay access denied", "relaying denied", "relay denied", "relay not permitted", "unable to relay")
    ),
    # Before there is a letter
    Rule(_only(Phase.TLS), "4", _ANY, Verdict(_free, _relay, "our mail server can't encrypt the connection just now")),
    Rule(_only(Phase.TLS), "", _ANY, Verdict(_free, _hold, "our mail server does not encrypt the connection, and the settings require it")),
    Rule(_only(Phase.LOGIN), "5", _ANY, Verdict(_free, _hold, "sending by programs is switched off for our mailbox"), words="smtpclientauthentication is disabled"),
    Rule(_only(Phase.LOGIN), "5", _ANY, Verdict(_free, _hold, "our mail server takes no password from programs, only an access token"), words="basic authentication is disabled"),
    Rule(_only(Phase.LOGIN), "534", _ANY, Verdict(_free, _hold, "our mail server wants a password made for programs, not that of the mailbox"), words="application-specific password"),
    Rule(_only(Phase.LOGIN), "4", _ANY, Verdict(_free, _relay, "our mail server could not check our password just now")),
    Rule(_only(Phase.LOGIN), "535", _ANY, Verdict(_free, _hold, "our mail server does not accept our login: the user name with its password or access token")),
    Rule(_only(Phase.LOGIN), "", _ANY, Verdict(_free, _hold, "our mail server does not let our account log in")),
    Rule(_SESSION, "421", _ANY, Verdict(_free, _relay, _BUSY)),
    Rule(_SESSION, "4", _ANY, Verdict(_free, _relay, _BUSY)),
    Rule(_SESSION, "5", _ANY, Verdict(_free, _relay, "our mail server does not want to talk to us")),
    # Addresses beyond ASCII (RFC 6531, 3.5): the letter's doing, not the relay's
    *(Rule(_only(Phase.MAIL) | _END, "5", about, Verdict(_never, _letter, _NO_UTF8)) for about in ("6.7", "6.9")),
    *(Rule(_only(Phase.RCPT), "5", about, Verdict(_never, _one, _NO_UTF8)) for about in ("6.7", "6.9")),
    Rule(_only(Phase.MAIL), "5", _ANY, Verdict(_never, _letter, _NO_UTF8), words="smtputf8"),
    # The sender is named
    Rule(_only(Phase.MAIL), "421", _ANY, Verdict(_free, _relay, _BUSY)),
    Rule(_only(Phase.MAIL), "552", _ANY, Verdict(_never, _letter, "the letter is too large for our mail server")),
    Rule(_only(Phase.MAIL), "5", "3.4", Verdict(_never, _letter, "the letter is too large for our mail server")),
    Rule(_only(Phase.MAIL), "452", _ANY, Verdict(_free, _relay, _FULL_RELAY)),
    Rule(_only(Phase.MAIL), "4", "3.1", Verdict(_free, _relay, _FULL_RELAY)),
    Rule(_only(Phase.MAIL), "4", _ANY, Verdict(_free, _relay, "our mail server can't take letters just now")),
    Rule(_only(Phase.MAIL), "5", "1.7", Verdict(_free, _hold, _NO_SENDER)),
    Rule(_only(Phase.MAIL), "5", "1.8", Verdict(_free, _hold, _NO_SENDER)),
    Rule(_only(Phase.MAIL), "5", "7.", Verdict(_free, _hold, "our mail server does not allow this sender")),
    Rule(_only(Phase.MAIL), "550", _BARE, Verdict(_free, _hold, _NO_SENDER)),
    Rule(_only(Phase.MAIL), "553", _BARE, Verdict(_free, _hold, _NO_SENDER)),
    Rule(_only(Phase.MAIL), "5", _ANY, Verdict(_free, _hold, "our mail server refuses letters from us before it has seen them")),
    # A recipient is named
    Rule(_only(Phase.RCPT), "421", "3.", Verdict(_free, _relay, _BUSY)),
    Rule(_only(Phase.RCPT), "421", _ANY, Verdict(_later, _domain, "the receiving side wants letters at a slower pace")),
    Rule(_only(Phase.RCPT), "4", "3.1", Verdict(_free, _relay, _FULL_RELAY)),
    Rule(_only(Phase.RCPT), "503", _ANY, Verdict(_free, _relay, _STRANGE)),
    # Leave to send is asked, or the content was sent
    Rule(_only(Phase.DATA), "421", _ANY, Verdict(_free, _relay, _BUSY)),
    Rule(_only(Phase.DATA), "452", _ANY, Verdict(_free, _relay, _FULL_RELAY)),
    Rule(_only(Phase.DATA), "4", "3.1", Verdict(_free, _relay, _FULL_RELAY)),
    Rule(_only(Phase.DATA), "50", _ANY, Verdict(_free, _relay, _STRANGE)),
    Rule(_only(Phase.FINAL), "421", "7.", Verdict(_later, _domain, "the receiving side wants letters at a slower pace")),
    Rule(_only(Phase.FINAL), "421", _ANY, Verdict(_later, _relay, _BUSY)),
    Rule(_only(Phase.FINAL), "4", "2.2", Verdict(_later, _one, _FULL_BOX)),
    Rule(_only(Phase.FINAL), "452", _ANY, Verdict(_later, _relay, _FULL_RELAY)),
    Rule(_only(Phase.FINAL), "4", "3.1", Verdict(_later, _relay, _FULL_RELAY)),
    # Later: whose pace
    Rule(_ONE | _END, "4", "7.", Verdict(_later, _domain, "the receiving side wants letters at a slower pace")),
    Rule(_ONE, "4", "2.2", Verdict(_later, _one, _FULL_BOX)),
    Rule(_only(Phase.RCPT), "552", _BARE, Verdict(_later, _one, "the mail server takes no more addresses at once")),
    Rule(_ONE, "4", "1.", Verdict(_later, _one, "the receiving side can't accept this address at the moment")),
    Rule(_ONE, "4", "2.", Verdict(_later, _one, "the mailbox can't take letters at the moment")),
    Rule(_only(Phase.RCPT), "4", _ANY, Verdict(_later, _one, "the receiving side asks us to try again later")),
    Rule(_END, "4", _ANY, Verdict(_later, _letter, "the mail server asks us to try this letter again later")),
    # Never: for reasons of the sender, the letter, or the address
    Rule(_only(Phase.RCPT), "5", "7.", Verdict(_never, _one, _POLICY)),
    Rule(_END, "5", "7.", Verdict(_never, _letter, _POLICY)),
    Rule(_ONE, "5", "1.7", Verdict(_never, _one, "the receiving side does not accept the sender's address; this is not about the recipient")),
    Rule(_ONE, "5", "1.8", Verdict(_never, _one, "the receiving side does not accept the sender's address; this is not about the recipient")),
    Rule(_only(Phase.RCPT), "5", "3.4", Verdict(_never, _one, _TOO_LARGE)),
    Rule(_END, "5", "3.4", Verdict(_never, _letter, _TOO_LARGE)),
    Rule(_ONE, "5", "2.3", Verdict(_never, _one, _TOO_LARGE)),
    Rule(_ONE, "5", "2.2", Verdict(_never, _one, "the mailbox is full, and the receiving side does not want us to wait")),
    Rule(_ONE, "5", "2.1", Verdict(_never, _one, "the mailbox is closed")),
    Rule(_ONE, "5", "1.2", Verdict(_never, _one, "there is no such mail domain")),
    Rule(_ONE, "5", "1.6", Verdict(_never, _one, "the mailbox has moved")),
    Rule(_ONE, "5", "1.10", Verdict(_never, _one, "this domain takes no mail")),
    Rule(_ONE, "5", "1.", Verdict(_never, _one, "there is no such mailbox")),
    Rule(_ONE, "5", "2.", Verdict(_never, _one, "the mailbox takes no letters")),
    Rule(_only(Phase.RCPT), "550", _BARE, Verdict(_never, _one, "the receiving side knows no such mailbox, or does not accept letters for it")),
    Rule(_only(Phase.RCPT), "5", _ANY, Verdict(_never, _one, "the receiving side does not accept letters for this address")),
    Rule(_only(Phase.FINAL), "552", _ANY, Verdict(_never, _letter, _TOO_LARGE)),
    Rule(_END, "5", _ANY, Verdict(_never, _letter, "the mail server refused the letter after it had seen it")),
    # Neither yes nor no
    Rule(_only(Phase.FINAL), "", _ANY, Verdict(_lost, _letter, "the letter was sent, and our mail server's answer says neither yes nor no")),
    Rule(frozenset(Phase), "", _ANY, Verdict(_free, _relay, _STRANGE)),
)

#: Errors, in the same way: where, which kind, what it means.
ERRORS: tuple[tuple[frozenset[Phase], type[BaseException], Verdict], ...] = (
    (_BEFORE, ssl.SSLCertVerificationError, Verdict(_free, _hold, "our mail server's certificate is not to be trusted, or is for another name")),
    (_BEFORE, ssl.SSLError, Verdict(_free, _relay, "no encrypted connection could be agreed with our mail server")),
    (_BEFORE, socket.gaierror, Verdict(_free, _relay, "the name of our mail server was not found")),
    (_BEFORE, ConnectionRefusedError, Verdict(_free, _relay, "no mail server answers at the address in the settings")),
    (_BEFORE, TimeoutError, Verdict(_free, _relay, "our mail server did not answer in time")),
    (_BEFORE, BadReply, Verdict(_free, _relay, "our mail server gave an answer that can't be understood")),
    (_only(Phase.CONNECT), OSError, Verdict(_free, _relay, "our mail server can't be reached")),
    (_BEFORE, Exception, Verdict(_free, _relay, "the connection to our mail server broke before the letter was sent")),
    (frozenset(Phase), TimeoutError, Verdict(_lost, _letter, "the letter was sent, and our mail server's answer did not come in time")),
    (frozenset(Phase), BadReply, Verdict(_lost, _letter, "the letter was sent, and our mail server's answer can't be understood")),
    (_only(Phase.CONTENT), BaseException, Verdict(_lost, _letter, "the connection broke while the letter was being sent")),
    (frozenset(Phase), BaseException, Verdict(_lost, _letter, "the connection broke after the letter was sent")),
)
# fmt: on

_YES = Verdict(Fate.ACCEPTED, Scope.RECIPIENT, "")
_NOBODY = Verdict(_free, _relay, "our mail server asked for the content although it had accepted no recipient")
#: what a terminal would act on, and what turns the order of the words round on screen
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


def reply(code: int, lines: list[str]) -> Reply:
    """A relay's reply from its code and the texts of its lines; control characters become spaces."""
    texts = [(line if line.isprintable() else _CONTROL.sub(" ", line)).strip() for line in lines]
    found = _ENHANCED.match(texts[0]) if texts else None
    return Reply(code, found.group(0) if found else None, " ".join(text for text in texts if text))


def parse(text: str) -> Reply:
    """The reply that is written as ``550 5.1.1 no such user``; for scripts and tests, and for what a journal kept."""
    return reply(int(text[:3]), [text[4:]])


def judge(phase: Phase, said: Reply) -> Verdict:
    """What *said* means in *phase*. A yes is ACCEPTED: at RCPT "may have the letter", at the end "the relay has it".

    Before MAIL no yes is about a letter: one that comes where another was due (250 to STARTTLS) is an answer that does not fit.
    """
    code = said.code
    if code in _YES_CODES and phase in _ABOUT_LETTERS:
        return _YES
    about = said.enhanced.split(".", 1)[1] if said.enhanced else ""
    text, digits = said.text.lower(), str(code)
    if code in _NO_CODES:
        return next(rule.verdict for rule in REPLIES if rule.fits(phase, digits, about, text))
    return REPLIES[-2].verdict if phase is Phase.FINAL else REPLIES[-1].verdict


#: a sender beyond ASCII, and a relay that takes none: not one letter would pass
WIDE_SENDER = Verdict(
    _free,
    _hold,
    "the sender's address, or the one for replies or bounces, has characters beyond a to z before the @, and our mail server takes "
    "no such address",
)


def judge_mail(said: Reply, *, wide_sender: bool = False) -> Verdict:
    """The reply to MAIL; a yes is ACCEPTED. *wide_sender*: the letter's sender, whoever it goes to, is beyond ASCII."""
    verdict = judge(Phase.MAIL, said)
    if wide_sender and said.code in _NEVER_CODES:
        text = said.text.lower()
        if verdict.why == _NO_UTF8 or (verdict.scope is _hold and any(word in text for word in _ABOUT_UTF8)):
            return WIDE_SENDER
    return verdict


def judge_rcpt(said: Reply) -> Verdict:
    """The reply to one RCPT; a yes is ACCEPTED and only means that content may follow."""
    return judge(Phase.RCPT, said)


def judge_data(said: Reply, *, accepted: bool = True) -> Verdict:
    """The reply to DATA: 354 is ACCEPTED (content may go), unless RCPT accepted nobody; any other is no leave to send."""
    if said.code == GO_AHEAD:
        return _YES if accepted else _NOBODY
    return judge(Phase.DATA, said)


def judge_final(said: Reply) -> Verdict:
    """The reply to the content, for every recipient that RCPT accepted."""
    return judge(Phase.FINAL, said)


def judge_error(error: BaseException, phase: Phase) -> Verdict:
    """What an error in *phase* means; the errors that it was raised from count as well."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__
    for phases, kind, verdict in ERRORS:
        if phase in phases and any(isinstance(each, kind) for each in chain):
            return verdict
    return Verdict(_lost, _letter, "the connection broke after the letter was sent")

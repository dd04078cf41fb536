"""The fault matrix: what a relay, a network, a disk or a clock may do to a circular, and what must come of it.

Three letters leave for four mailboxes: `one` alone, `two` with `cc` on one letter, and `three`, a bystander. A row says what is done
to them and what must be true. Keys, all but `what` and one of `faults` and `trouble` optional:

    what      the fault, in words
    faults    rules of the rehearsal server (`mailer/rehearsal/faults.py`), TOML as data
    trouble   a function of `tests/support/troubles.py`: what befalls our own machine
    relay     options of the rehearsal server
    ours      settings of the relay in our home
    soon      mailbox -> state once nothing more is due at that moment (default: as `end`, or kept back as queued)
    end       mailbox -> state after all retries, in simulated time (default: accepted)
    tries     mailbox -> how many tries it counts in the end (default: not looked at)
    held      words that say why everything waits for a person, who then sends again; None: nothing is held
    copies    mailbox -> copies that the relay has (default: 1 where accepted, 0 elsewhere; a doubt must say which)
    says      words that the report must have while things stand as in `soon`
    ends      words that the report must have in the end
    both      run with and without PIPELINING on offer (default: where a rule speaks of MAIL or anything later)
"""

from typing import Any

Row = dict[str, Any]

_NO_TRY = {"one": 1, "two": 1, "cc": 1, "three": 1}
_QUEUED = dict.fromkeys(_NO_TRY, "queued")
_TIRED = {"timeouts": {"command": 1.5, "greeting": 1.5, "data": 1.5, "final": 1.5, "block": 1.5}}
_GREY = "451 4.7.1 Greylisted, come back later"
_NOTHING = "Nothing needs a person."
_IN_DOUBT = ["in doubt", "circular resolve"]
_TLS = {"tls": "starttls"}
_LOGIN = {"user": "office", "password": "right"}
_BY_LOGIN = {"username": "office", "password": "right"}


def _once(at: str, **more: Any) -> list[Row]:
    return [{"at": at, "times": 1, **more}]


def _to(whom: str, at: str, **more: Any) -> list[Row]:
    return [{"at": at, "to": f"{whom}@*", **more}]


#: Before there is a letter: nobody is to blame but the relay; letters wait, no try is counted, and all leave in the end.
CONNECTING: list[Row] = [
    {"what": "greeting: 421, then well", "faults": _once("connect", reply="421 4.3.2 Too busy"), "tries": _NO_TRY},
    {
        "what": "greeting: 421 for ten minutes",
        "faults": [{"at": "connect", "reply": "421 4.3.2 Too busy", "for": "10m", "per": "all"}],
        "soon": _QUEUED,
        "tries": _NO_TRY,
        "says": ["not yet sent", _NOTHING],
    },
    {
        "what": "greeting: 554 for ten minutes",
        "faults": [{"at": "connect", "reply": "554 5.3.2 No service", "for": "10m", "per": "all"}],
        "soon": _QUEUED,
        "tries": _NO_TRY,
    },
    {"what": "greeting: the connection drops", "faults": _once("connect", do="drop"), "tries": _NO_TRY},
    {"what": "greeting: the connection is reset", "faults": _once("connect", do="reset"), "tries": _NO_TRY},
    {"what": "greeting: silence", "faults": _once("connect", do="stall"), "ours": _TIRED, "tries": _NO_TRY},
    {"what": "greeting: garbage", "faults": _once("connect", do="garbage"), "tries": _NO_TRY},
    {"what": "greeting: half of it", "faults": _once("connect", do="half"), "tries": _NO_TRY},
    {"what": "greeting: in single octets", "faults": _once("connect", do="split"), "tries": _NO_TRY},
    {"what": "greeting: on forty lines", "faults": _once("connect", do="multiline", lines=40), "tries": _NO_TRY},
    {"what": "EHLO: 421", "faults": _once("ehlo", reply="421 4.3.2 Closing"), "tries": _NO_TRY},
    {"what": "EHLO: the connection drops", "faults": _once("ehlo", do="drop"), "tries": _NO_TRY},
    {"what": "EHLO: silence", "faults": _once("ehlo", do="stall"), "ours": _TIRED, "tries": _NO_TRY},
    {"what": "EHLO: garbage", "faults": _once("ehlo", do="garbage"), "tries": _NO_TRY},
    {"what": "EHLO: half of it", "faults": _once("ehlo", do="half"), "tries": _NO_TRY},
    {
        "what": "STARTTLS is stripped from the offer",
        "relay": _TLS,
        "faults": _once("ehlo", hide=["STARTTLS"]),
        "soon": _QUEUED,
        "held": "does not encrypt the connection",
        "tries": _NO_TRY,
    },
    {
        "what": "STARTTLS: 454 for a while",
        "relay": _TLS,
        "faults": [{"at": "starttls", "reply": "454 4.7.0 TLS not available", "for": "10m", "per": "all"}],
        "soon": _QUEUED,
        "tries": _NO_TRY,
    },
    {
        "what": "STARTTLS: refused for good",
        "relay": _TLS,
        "faults": _once("starttls", reply="554 5.7.3 No TLS for you"),
        "soon": _QUEUED,
        "held": "does not encrypt the connection",
        "tries": _NO_TRY,
    },
    {
        "what": "STARTTLS: the connection drops",
        "relay": _TLS,
        "faults": _once("starttls", do="drop"),
        "tries": _NO_TRY,
    },
    {
        "what": "STARTTLS: garbage in place of the handshake",
        "relay": _TLS,
        "faults": _once("starttls", do="garbage"),
        "tries": _NO_TRY,
    },
    {
        "what": "certificate: for another name",
        "relay": _TLS,
        "faults": _once("starttls", do="certificate", flaw="other-name"),
        "soon": _QUEUED,
        "held": "certificate",
        "tries": _NO_TRY,
    },
    {
        "what": "certificate: of an unknown authority",
        "relay": _TLS,
        "faults": _once("starttls", do="certificate", flaw="unknown-ca"),
        "soon": _QUEUED,
        "held": "certificate",
        "tries": _NO_TRY,
    },
    {
        "what": "certificate: expired, with TLS from the first octet",
        "relay": {"tls": "implicit"},
        "faults": _once("connect", do="certificate", flaw="expired"),
        "soon": _QUEUED,
        "held": "certificate",
        "tries": _NO_TRY,
    },
    {
        "what": "login: the password is wrong",
        "relay": _LOGIN,
        "ours": _BY_LOGIN,
        "faults": _once("auth", reply="535 5.7.8 Not right"),
        "soon": _QUEUED,
        "held": "does not accept our login",
        "tries": _NO_TRY,
    },
    {
        "what": "login: not checked just now",
        "relay": _LOGIN,
        "ours": _BY_LOGIN,
        "faults": [{"at": "auth", "reply": "454 4.7.0 Later", "for": "10m", "per": "all"}],
        "soon": _QUEUED,
        "tries": _NO_TRY,
    },
    {
        "what": "login: the connection drops",
        "relay": _LOGIN,
        "ours": _BY_LOGIN,
        "faults": _once("auth", do="drop"),
        "tries": _NO_TRY,
    },
    {
        "what": "a relay with room for one connection",
        "relay": {"max_connections": 1},
        "faults": [],
        "tries": _NO_TRY,
    },
    {
        "what": "a relay that takes one letter per connection and then closes",
        "relay": {"letters_per_connection": 1},
        "faults": [],
        "tries": _NO_TRY,
    },
]

#: The envelope: what is said of the sender, the size, the addresses; nothing of the letter has left.
ENVELOPE: list[Row] = [
    {"what": "MAIL: 421", "faults": _once("mail", reply="421 4.3.2 Closing"), "tries": _NO_TRY},
    {"what": "MAIL: 451", "faults": _once("mail", reply="451 4.3.0 Not now"), "tries": _NO_TRY},
    {
        "what": "MAIL: no room for half an hour",
        "faults": [{"at": "mail", "reply": "452 4.3.1 No room", "for": "30m", "per": "all"}],
        "soon": _QUEUED,
        "tries": _NO_TRY,
    },
    {
        "what": "MAIL: the sender is refused",
        "faults": _once("mail", reply="550 5.1.8 Sender unknown"),
        "held": "does not accept letters from this sender's address",
        "tries": _NO_TRY,
    },
    {
        "what": "MAIL: the account may not send in this name",
        "faults": _once("mail", reply="550 5.7.60 SendAsDenied; not allowed to send as this sender"),
        "held": "write in this sender's name",
        "tries": _NO_TRY,
    },
    {"what": "MAIL: the connection drops", "faults": _once("mail", do="drop"), "tries": _NO_TRY},
    {"what": "MAIL: silence", "faults": _once("mail", do="stall"), "ours": _TIRED, "tries": _NO_TRY},
    {"what": "MAIL: garbage", "faults": _once("mail", do="garbage"), "tries": _NO_TRY},
    {"what": "MAIL: half a reply", "faults": _once("mail", do="half"), "tries": _NO_TRY},
    {"what": "MAIL: an overlong line", "faults": _once("mail", do="overlong", size=70000), "tries": _NO_TRY},
    {
        "what": "MAIL: every letter is larger than the relay says it takes",
        "relay": {"size_limit": 300},
        "faults": [],
        "both": True,
        "end": dict.fromkeys(_NO_TRY, "refused"),
        "tries": _NO_TRY,
        "ends": ["refused", "our mail server takes at most"],
    },
    {
        "what": "MAIL: 552, too large after all",
        "faults": [{"at": "mail", "letter": 1, "reply": "552 5.3.4 Too large for us"}],
        "ours": {"connections": 1},
        "end": {"one": "refused"},
        "tries": _NO_TRY,
        "ends": ["refused", "too large", "552 5.3.4"],
    },
    {
        "what": "RCPT: the only mailbox does not exist",
        "faults": _to("one", "rcpt", reply="550 5.1.1 No such mailbox"),
        "end": {"one": "refused"},
        "tries": _NO_TRY,
        "ends": ["refused", "there is no such mailbox", "550 5.1.1 No such mailbox"],
    },
    {
        "what": "RCPT: the first of two does not exist",
        "faults": _to("two", "rcpt", reply="550 5.1.1 No such mailbox"),
        "end": {"two": "refused"},
        "tries": _NO_TRY,
        "ends": ["for some addresses only", "there is no such mailbox"],
    },
    {
        "what": "RCPT: the second of two does not exist",
        "faults": _to("cc", "rcpt", reply="550 5.1.1 No such mailbox"),
        "end": {"cc": "refused"},
        "tries": _NO_TRY,
        "ends": ["for some addresses only", "there is no such mailbox"],
    },
    {
        "what": "RCPT: both of two do not exist",
        "faults": [
            *_to("two", "rcpt", reply="550 5.1.1 No such mailbox"),
            *_to("cc", "rcpt", reply="550 5.2.1 Closed"),
        ],
        "end": {"two": "refused", "cc": "refused"},
        "tries": _NO_TRY,
        "ends": ["there is no such mailbox", "the mailbox is disabled"],
    },
    {
        "what": "RCPT: the first of two is greylisted for 15 minutes",
        "faults": _to("two", "rcpt", reply=_GREY, **{"for": "15m"}),
        "soon": {"two": "deferred"},
        "tries": {**_NO_TRY, "two": 2},
        "says": ["will be tried again", "Greylisted"],
        "ends": [_NOTHING],
    },
    {
        "what": "RCPT: both of two are greylisted for 15 minutes",
        "faults": [
            *_to("two", "rcpt", reply=_GREY, **{"for": "15m"}),
            *_to("cc", "rcpt", reply=_GREY, **{"for": "15m"}),
        ],
        "soon": {"two": "deferred", "cc": "deferred"},
        "tries": {**_NO_TRY, "two": 2, "cc": 2},
        "ends": [_NOTHING],
    },
    {
        "what": "RCPT: one of two greylisted, the other does not exist",
        "faults": [*_to("two", "rcpt", reply=_GREY, **{"for": "15m"}), *_to("cc", "rcpt", reply="550 5.1.1 Nobody")],
        "soon": {"two": "deferred", "cc": "refused"},
        "end": {"cc": "refused"},
        "tries": {**_NO_TRY, "two": 2},
        "says": ["will be tried again", "there is no such mailbox"],
    },
    {
        "what": "RCPT: every mailbox is greylisted for 15 minutes",
        "faults": [{"at": "rcpt", "reply": _GREY, "for": "15m"}],
        "soon": dict.fromkeys(_NO_TRY, "deferred"),
        "tries": dict.fromkeys(_NO_TRY, 2),
        "says": ["Will be tried again by itself: 4"],
        "ends": [_NOTHING],
    },
    {
        "what": "RCPT: a full mailbox that stays full",
        "faults": _to("one", "rcpt", reply="452 4.2.2 Mailbox full"),
        "soon": {"one": "deferred"},
        "end": {"one": "expired"},
        "says": ["will be tried again", "452 4.2.2 Mailbox full"],
        "ends": ["given up", "the mailbox is full"],
    },
    {
        "what": "RCPT: refused by policy",
        "faults": _to("one", "rcpt", reply="550 5.7.1 Not from you"),
        "end": {"one": "refused"},
        "tries": _NO_TRY,
        "ends": ["refused", "550 5.7.1 Not from you"],
    },
    {
        "what": "RCPT: 421 at the first of two",
        "faults": _to("two", "rcpt", reply="421 4.7.0 Slower, please", times=1),
        "soon": {"two": "deferred"},
        "ends": [_NOTHING],
    },
    {
        "what": "RCPT: 421 at the second of two",
        "faults": _to("cc", "rcpt", reply="421 4.7.0 Slower, please", times=1),
        "soon": {"cc": "deferred"},
        "ends": [_NOTHING],
    },
    {
        "what": "RCPT: the connection drops at the first",
        "faults": _to("two", "rcpt", do="drop", times=1),
        "tries": _NO_TRY,
    },
    {
        "what": "RCPT: the connection drops at the second",
        "faults": _to("cc", "rcpt", do="drop", times=1),
        "tries": _NO_TRY,
    },
    {"what": "RCPT: silence", "faults": _to("one", "rcpt", do="stall", times=1), "ours": _TIRED, "tries": _NO_TRY},
    {"what": "RCPT: garbage", "faults": _to("one", "rcpt", do="garbage", times=1), "tries": _NO_TRY},
    {"what": "RCPT: half a reply", "faults": _to("cc", "rcpt", do="half", times=1), "tries": _NO_TRY},
    {
        "what": "RCPT: two answers to one question",
        "faults": _to("two", "rcpt", do="early", reply="250 2.1.5 Ok", then="250 2.1.5 Ok, and once more", times=1),
        "tries": _NO_TRY,
    },
    {
        "what": "RCPT: one mailbox a letter is all that the relay takes",
        "relay": {"rcpt_limit": 1},
        "faults": [],
        "both": True,
        "soon": {"cc": "deferred"},
        "ends": [_NOTHING],
    },
    {
        "what": "PIPELINING is offered, and is a lie",
        "faults": [{"at": "ehlo", "do": "lie", "connection": [1, 2]}],
        "ours": _TIRED,
        "tries": _NO_TRY,
    },
    {
        "what": "a storm of 421: at the greeting, at MAIL and at DATA",
        "faults": [
            {"at": "connect", "reply": "421 4.3.2 Busy", "every": 2, "times": 4},
            {"at": "mail", "reply": "421 4.3.2 Busy", "every": 2, "times": 4},
            {"at": "data", "reply": "421 4.3.2 Busy", "every": 2, "times": 4},
        ],
        "ends": [_NOTHING],
    },
]

#: Leave to send, the content, the dot, and the reply to it: here a letter can be doubled or called what it is not.
CONTENT: list[Row] = [
    {"what": "DATA: 421", "faults": _to("one", "data", reply="421 4.3.2 Closing", times=1), "tries": _NO_TRY},
    {
        "what": "DATA: 451",
        "faults": _to("one", "data", reply="451 4.3.0 Not now", times=1),
        "soon": {"one": "deferred"},
        "tries": {**_NO_TRY, "one": 2},
        "says": ["will be tried again"],
    },
    {
        "what": "DATA: 554",
        "faults": _to("one", "data", reply="554 5.6.0 No leave"),
        "end": {"one": "refused"},
        "tries": _NO_TRY,
        "ends": ["refused", "554 5.6.0 No leave"],
    },
    {"what": "DATA: the connection drops", "faults": _to("one", "data", do="drop", times=1), "tries": _NO_TRY},
    {"what": "DATA: the connection is reset", "faults": _to("one", "data", do="reset", times=1), "tries": _NO_TRY},
    {"what": "DATA: silence", "faults": _to("one", "data", do="stall", times=1), "ours": _TIRED, "tries": _NO_TRY},
    {"what": "DATA: garbage", "faults": _to("one", "data", do="garbage", times=1), "tries": _NO_TRY},
    {"what": "DATA: half of 354", "faults": _to("one", "data", do="half", times=1), "tries": _NO_TRY},
    {
        "what": "DATA: 354, and at once a 250 for what has not been sent",
        "faults": _to("one", "data", do="early", reply="354 Go on", then="250 2.0.0 Taken", times=1),
        "tries": _NO_TRY,
    },
    {
        "what": "content: the connection drops at its first octet",
        "faults": _to("one", "content", do="drop", times=1),
        "end": {"one": "uncertain"},
        "copies": {"one": 0},
        "ends": _IN_DOUBT,
    },
    {
        "what": "content: the connection is reset in the middle",
        "faults": _to("one", "content", do="reset", after_bytes=500, times=1),
        "end": {"one": "uncertain"},
        "copies": {"one": 0},
        "ends": _IN_DOUBT,
    },
    {
        "what": "content: a no before it has ended",
        "faults": _to("one", "content", do="early", reply="554 5.7.1 Spam", times=1),
        "end": {"one": "refused"},
        "ends": ["refused", "554 5.7.1 Spam"],
        "copies": {"one": 0},
    },
    {
        "what": "dot: the connection drops, the letter is not taken",
        "faults": _to("one", "dot", do="drop", times=1),
        "end": {"one": "uncertain"},
        "copies": {"one": 0},
        "ends": [*_IN_DOUBT, "the connection broke"],
    },
    {
        "what": "dot: silence, the letter is not taken",
        "faults": _to("one", "dot", do="stall", times=1),
        "ours": _TIRED,
        "end": {"one": "uncertain"},
        "copies": {"one": 0},
        "ends": [*_IN_DOUBT, "did not come in time"],
    },
    {
        "what": "dot: 451",
        "faults": _to("one", "dot", reply="451 4.3.0 Try again", times=1),
        "soon": {"one": "deferred"},
        "tries": {**_NO_TRY, "one": 2},
        "ends": [_NOTHING],
    },
    {
        "what": "dot: 452, the relay's disk is full",
        "faults": _to("one", "dot", reply="452 4.3.1 Disk full", times=1),
        "soon": {"one": "deferred"},
        "tries": {**_NO_TRY, "one": 2},
        "ends": [_NOTHING],
    },
    {
        "what": "dot: 421 and the connection closes",
        "faults": _to("one", "dot", reply="421 4.3.2 Closing", times=1),
        "soon": {"one": "deferred"},
        "tries": {**_NO_TRY, "one": 2},
        "ends": [_NOTHING],
    },
    {
        "what": "dot: 550, it looks like spam",
        "faults": _to("one", "dot", reply="550 5.7.1 Looks like spam"),
        "end": {"one": "refused"},
        "tries": _NO_TRY,
        "ends": ["refused", "550 5.7.1 Looks like spam"],
    },
    {
        "what": "dot: 552, too large",
        "faults": _to("one", "dot", reply="552 5.3.4 Too large"),
        "end": {"one": "refused"},
        "ends": ["refused", "too large"],
    },
    {
        "what": "dot: 450 for a letter of two, for ever",
        "faults": _to("cc", "dot", reply="450 4.2.1 Not just now"),
        "soon": {"two": "deferred", "cc": "deferred"},
        "end": {"two": "expired", "cc": "expired"},
        "ends": ["given up"],
    },
    {
        "what": "dot: the account's quota is used up",
        "faults": _to("one", "dot", reply="554 5.2.0 SubmissionQuotaExceeded; too many", times=1),
        "soon": {"one": "queued"},
        "says": ["sent as many letters", "until 7 July 2006, 11:00"],
        "tries": _NO_TRY,
    },
    {
        "what": "reply: taken, and the connection drops before it is said",
        "faults": _to("one", "reply", do="drop", times=1),
        "end": {"one": "uncertain"},
        "copies": {"one": 1},
        "ends": _IN_DOUBT,
    },
    {
        "what": "reply: taken, and the connection is reset",
        "faults": _to("one", "reply", do="reset", times=1),
        "end": {"one": "uncertain"},
        "copies": {"one": 1},
        "ends": _IN_DOUBT,
    },
    {
        "what": "reply: taken, and silence",
        "faults": _to("one", "reply", do="stall", times=1),
        "ours": _TIRED,
        "end": {"one": "uncertain"},
        "copies": {"one": 1},
        "ends": [*_IN_DOUBT, "did not come in time"],
    },
    {
        "what": "reply: taken, and garbage is said",
        "faults": _to("one", "reply", do="garbage", times=1),
        "end": {"one": "uncertain"},
        "copies": {"one": 1},
        "ends": [*_IN_DOUBT, "can't be understood"],
    },
    {
        "what": "reply: taken, and half of it is said",
        "faults": _to("one", "reply", do="half", times=1),
        "end": {"one": "uncertain"},
        "copies": {"one": 1},
        "ends": _IN_DOUBT,
    },
    {
        "what": "reply: taken for two, of whom one was refused before, and the connection drops",
        "faults": [*_to("cc", "rcpt", reply="550 5.1.1 Nobody"), *_to("two", "reply", do="drop", times=1)],
        "end": {"two": "uncertain", "cc": "refused"},
        "copies": {"two": 1},
        "ends": [*_IN_DOUBT, "there is no such mailbox"],
    },
    {
        "what": "reply: taken for two, of whom one is greylisted, and the connection drops",
        "faults": [*_to("cc", "rcpt", reply=_GREY, **{"for": "15m"}), *_to("two", "reply", do="drop", times=1)],
        "soon": {"two": "uncertain", "cc": "deferred"},
        "end": {"two": "uncertain"},
        "copies": {"two": 1},
    },
    {
        "what": "reply: taken, and the connection closes right after the yes",
        "faults": _to("one", "reply", reply="250 2.0.0 Taken", close=True, times=1),
        "tries": _NO_TRY,
        "ends": [_NOTHING],
    },
    {"what": "reply: the yes in single octets", "faults": _to("one", "reply", do="split"), "tries": _NO_TRY},
    {
        "what": "reply: the yes on forty lines",
        "faults": _to("one", "reply", do="multiline", lines=40),
        "tries": _NO_TRY,
    },
    {
        "what": "reply: taken, and 421 is said with the yes",
        "faults": _to("one", "reply", reply="250 2.0.0 Taken", then="421 4.3.2 Closing", close=True, times=1),
        "tries": _NO_TRY,
    },
    {
        "what": "RSET: the connection drops",
        "faults": [*_to("one", "rcpt", reply="550 5.1.1 Nobody"), *_once("rset", do="drop")],
        "end": {"one": "refused"},
    },
    {"what": "QUIT: silence", "faults": [{"at": "quit", "do": "stall"}], "both": True, "tries": _NO_TRY},
    {"what": "QUIT: garbage", "faults": [{"at": "quit", "do": "garbage"}], "both": True, "tries": _NO_TRY},
]

#: Our own machine: the rows, the journal, the clock.
HOME: list[Row] = [
    {"what": "the database is locked for a moment", "trouble": "locked_for_a_moment", "tries": _NO_TRY},
    {"what": "the database is locked for longer than we wait", "trouble": "locked_for_long", "tries": _NO_TRY},
    {"what": "the disk is full for the rows", "trouble": "no_room_for_rows", "tries": _NO_TRY},
    {"what": "the disk is full for everything, in the middle of a journal's line", "trouble": "no_room_at_all", "tries": _NO_TRY},
    {"what": "the journal can't be written when content is to start", "trouble": "no_room_for_the_journal", "tries": _NO_TRY},
    {"what": "the journal can't be written when the answer comes", "trouble": "no_room_for_the_answer", "tries": _NO_TRY},
    {"what": "the journal can't be made", "trouble": "no_journal_folder", "tries": _NO_TRY},
    {"what": "the machine sleeps ten hours before the content", "trouble": "asleep_before_content", "tries": _NO_TRY},
    {"what": "the machine sleeps ten hours before the answer", "trouble": "asleep_before_the_answer", "tries": _NO_TRY},
    {"what": "the wall clock is set a day ahead before the content", "trouble": "a_day_ahead", "tries": _NO_TRY},
    {"what": "the wall clock is set a day back before the content", "trouble": "a_day_back", "tries": _NO_TRY},
    {"what": "the program is told to stop in mid-send, and started again", "trouble": "stopped", "tries": _NO_TRY},
    {"what": "the circular is paused in mid-send, and resumed", "trouble": "paused", "tries": _NO_TRY},
]  # fmt: skip

ROWS = [*CONNECTING, *ENVELOPE, *CONTENT, *HOME]

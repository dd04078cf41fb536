"""One row per line of the verdict table."""

import socket
import ssl

import pytest

from mailer.transport.base import Fate, Scope
from mailer.transport.verdict import (
    ERRORS,
    REPLIES,
    BadReply,
    Gone,
    Phase,
    judge,
    judge_data,
    judge_error,
    judge_final,
    judge_mail,
    judge_rcpt,
    parse,
    reply,
)

#: phase, reply, fate and scope, a word of the sentence; in the table's order
ROWS = [
    ("final", "554 5.2.252 SendAsDenied; not allowed", "not-tried hold", "sender's name"),
    (
        "final",
        "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        "not-tried hold",
        "sender's name",
    ),
    (
        "final",
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; no",
        "not-tried day",
        "as many letters",
    ),
    (
        "final",
        "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.x",
        "not-tried hold",
        "leave from is full",
    ),
    ("mail", "432 4.3.2 Concurrent connections limit exceeded", "not-tried relay", "connections at once"),
    (
        "final",
        "421 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        "not-tried relay",
        "connections at once",
    ),
    ("final", "550 5.1.8 Access denied, bad outbound sender AS(42004)", "not-tried hold", "shut our account out"),
    ("final", "550 5.7.501 Access denied, spam abuse detected", "not-tried hold", "shut our account out"),
    ("final", "550 5.7.502 Access denied, banned sender", "not-tried hold", "shut our account out"),
    ("final", "550 5.7.503 Access denied, banned sender", "not-tried hold", "shut our account out"),
    ("final", "550 5.7.705 Access denied, tenant has exceeded threshold", "not-tried hold", "shut our account out"),
    ("mail", "550 5.7.708 Access denied, traffic not accepted from this IP", "not-tried hold", "shut our account out"),
    (
        "mail",
        "550 5.7.750 Client blocked from sending from unregistered domains",
        "not-tried hold",
        "shut our account out",
    ),
    ("final", "550 5.4.5 Daily user sending limit exceeded", "not-tried day", "as many letters"),
    ("rcpt", "550 5.7.1 Daily SMTP relay limit exceeded for customer", "not-tried day", "as many letters"),
    ("rcpt", "450 4.2.1 Peak SMTP relay limit exceeded for customer", "not-tried relay", "faster"),
    ("mail", "550 5.7.1 Invalid credentials for relay [192.0.2.1]", "not-tried hold", "login"),
    ("mail", "530 5.7.0 Must issue a STARTTLS command first", "not-tried hold", "encrypted"),
    ("rcpt", "530 5.7.0 Authentication required", "not-tried hold", "login"),
    ("rcpt", "554 5.7.1 <a@b.example>: Relay access denied", "not-tried hold", "login"),
    ("rcpt", "550 5.7.1 <a@b.example>... Relaying denied", "not-tried hold", "login"),
    ("rcpt", "550 5.7.0 Mail relay denied [192.0.2.1]", "not-tried hold", "login"),
    ("rcpt", "550 relay not permitted", "not-tried hold", "login"),
    ("rcpt", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", "not-tried hold", "login"),
    ("tls", "454 4.7.0 TLS not available", "not-tried relay", "just now"),
    ("tls", "502 5.5.1 Unknown command", "not-tried hold", "encrypt"),
    (
        "login",
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant",
        "not-tried hold",
        "switched off",
    ),
    (
        "login",
        "535 5.7.139 Authentication unsuccessful, basic authentication is disabled",
        "not-tried hold",
        "access token",
    ),
    ("login", "534 5.7.9 Application-specific password required", "not-tried hold", "made for programs"),
    ("login", "454 4.7.0 Temporary failure", "not-tried relay", "password"),
    ("login", "535 5.7.8 Wrong", "not-tried hold", "password"),
    ("login", "534 5.7.9 Mechanism too weak", "not-tried hold", "log in"),
    ("greeting", "421 4.3.2 Closing", "not-tried relay", "busy"),
    ("hello", "450 Busy", "not-tried relay", "busy"),
    ("greeting", "554 5.7.1 Go away", "not-tried relay", "talk"),
    ("mail", "550 5.6.7 Non-ASCII addresses not permitted", "refused letter", "accent"),
    ("final", "554 5.6.9 UTF-8 header message can't be transferred", "refused letter", "accent"),
    ("rcpt", "553 5.6.7 Non-ASCII addresses not permitted", "refused recipient", "accent"),
    ("rcpt", "553 5.6.9 UTF-8 header message can't be transferred", "refused recipient", "accent"),
    ("mail", "555 5.5.4 Unsupported option: SMTPUTF8", "refused letter", "accent"),
    ("mail", "421 4.3.2 Closing", "not-tried relay", "busy"),
    ("mail", "552 Too big", "refused letter", "too large"),
    ("mail", "554 5.3.4 Message too big", "refused letter", "too large"),
    ("mail", "452 Disk", "not-tried relay", "no room"),
    ("mail", "451 4.3.1 Mail system full", "not-tried relay", "no room"),
    ("mail", "451 4.3.0 Trouble", "not-tried relay", "just now"),
    ("mail", "553 5.1.7 Bad sender syntax", "not-tried hold", "sender"),
    ("mail", "550 5.1.8 Sender domain", "not-tried hold", "sender"),
    ("mail", "550 5.7.1 Not yours", "not-tried hold", "sender"),
    ("mail", "550 No", "not-tried hold", "sender"),
    ("mail", "553 No", "not-tried hold", "sender"),
    ("mail", "555 5.5.4 Parameters", "not-tried hold", "refuses letters"),
    ("rcpt", "421 4.3.2 Shutting down", "not-tried relay", "busy"),
    ("rcpt", "421 4.7.28 Rate", "deferred domain", "slower"),
    ("rcpt", "452 4.3.1 Insufficient system storage", "not-tried relay", "no room"),
    ("rcpt", "503 5.5.1 Sequence", "not-tried relay", "fit"),
    ("data", "421 4.4.2 Closing", "not-tried relay", "busy"),
    ("data", "452 Disk", "not-tried relay", "no room"),
    ("data", "451 4.3.1 Full", "not-tried relay", "no room"),
    ("data", "503 5.5.1 Sequence", "not-tried relay", "fit"),
    ("final", "421 4.7.0 Rate", "deferred domain", "slower"),
    ("final", "421 4.3.0 Closing", "deferred relay", "busy"),
    ("final", "452 4.2.2 Over quota", "deferred recipient", "full"),
    ("final", "452 Disk", "deferred relay", "no room"),
    ("final", "451 4.3.1 Full", "deferred relay", "no room"),
    ("rcpt", "450 4.7.1 Greylisted", "deferred domain", "slower"),
    ("rcpt", "452 4.2.2 Mailbox full", "deferred recipient", "full"),
    ("rcpt", "552 Too many", "deferred recipient", "at once"),
    ("rcpt", "450 4.1.1 Unverified", "deferred recipient", "address"),
    ("final", "450 4.2.1 Disabled for now", "deferred recipient", "mailbox"),
    ("rcpt", "451 Try later", "deferred recipient", "again later"),
    ("final", "451 4.3.0 Try later", "deferred letter", "again later"),
    ("rcpt", "554 5.7.1 Blocked", "refused recipient", "not because of the address"),
    ("final", "550 5.7.26 Unauthenticated", "refused letter", "not because of the address"),
    ("rcpt", "553 5.1.7 Sender syntax", "refused recipient", "not about the recipient"),
    ("rcpt", "550 5.1.8 Sender domain", "refused recipient", "not about the recipient"),
    ("rcpt", "552 5.3.4 Too large", "refused recipient", "too large"),
    ("final", "554 5.3.4 Too large", "refused letter", "too large"),
    ("final", "552 5.2.3 Length", "refused recipient", "too large"),
    ("rcpt", "552 5.2.2 Over quota", "refused recipient", "full"),
    ("rcpt", "550 5.2.1 Disabled", "refused recipient", "closed"),
    ("rcpt", "550 5.1.2 Bad domain", "refused recipient", "no such mail domain"),
    ("rcpt", "551 5.1.6 Moved", "refused recipient", "moved"),
    ("rcpt", "556 5.1.10 Null MX", "refused recipient", "takes no mail"),
    ("final", "550 5.1.1 Unknown", "refused recipient", "no such mailbox"),
    ("rcpt", "550 5.2.0 Odd", "refused recipient", "takes no letters"),
    ("rcpt", "550 Unknown", "refused recipient", "no such mailbox"),
    ("rcpt", "554 5.4.14 Loop", "refused recipient", "this address"),
    ("final", "552 Size", "refused letter", "too large"),
    ("final", "554 Transaction failed", "refused letter", "refused the letter"),
    ("final", "354 Go ahead", "uncertain letter", "neither yes nor no"),
    ("mail", "354 Go ahead", "not-tried relay", "fit"),
]


@pytest.mark.parametrize(("phase", "said", "meant", "word"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_each_line_of_the_table_says_what_it_should(phase, said, meant, word):
    """Each reply in its phase gives this fate, this scope and a sentence with this word in it."""
    verdict = judge(Phase(phase), parse(said))
    assert f"{verdict.fate} {verdict.scope}" == meant
    assert word in verdict.why


def test_every_line_of_the_table_has_its_row():
    """The rows above are the table's lines, one each and in its order."""
    assert len(ROWS) == len(REPLIES)
    for (phase, said, *_), rule in zip(ROWS, REPLIES, strict=True):
        reply = parse(said)
        about = reply.enhanced.split(".", 1)[1] if reply.enhanced else ""
        assert rule.fits(Phase(phase), str(reply.code), about, reply.text.lower()), said


@pytest.mark.parametrize(
    ("error", "phase", "meant", "word"),
    [
        (ssl.SSLCertVerificationError("x"), "tls", "not-tried hold", "certificate"),
        (ssl.SSLError("x"), "tls", "not-tried relay", "encrypted"),
        (socket.gaierror("x"), "connect", "not-tried relay", "name"),
        (ConnectionRefusedError(), "connect", "not-tried relay", "no mail server"),
        (TimeoutError(), "rcpt", "not-tried relay", "in time"),
        (BadReply("x"), "data", "not-tried relay", "understood"),
        (OSError("no route"), "connect", "not-tried relay", "reached"),
        (Gone("x"), "data", "not-tried relay", "before"),
        (TimeoutError(), "final", "uncertain letter", "in time"),
        (BadReply("x"), "final", "uncertain letter", "understood"),
        (Gone("x"), "content", "uncertain letter", "while"),
        (Gone("x"), "final", "uncertain letter", "after"),
    ],
)
def test_each_error_in_its_phase_says_what_it_should(error, phase, meant, word):
    """An error before the first byte of content tries nobody, after it is uncertain; each has its sentence."""
    verdict = judge_error(error, Phase(phase))
    assert f"{verdict.fate} {verdict.scope}" == meant
    assert word in verdict.why


def test_no_error_is_without_a_line():
    """Whatever is raised in whatever phase has a line, and never says that a begun content was not tried."""
    for phase in Phase:
        for kind in (KeyError, RuntimeError, OSError, UnicodeError, TimeoutError):
            begun = phase in {Phase.CONTENT, Phase.FINAL}
            assert judge_error(kind(), phase).fate is (Fate.UNCERTAIN if begun else Fate.NOT_TRIED)
    assert len(ERRORS) == 12


def test_the_cause_of_an_error_counts():
    """A wrong certificate is found behind the library's own error."""
    outer = RuntimeError("connect failed")
    outer.__cause__ = ssl.SSLCertVerificationError("x")
    assert judge_error(outer, Phase.GREETING).scope is Scope.HOLD


def test_a_yes_is_a_yes():
    """Any 2yz means yes where a yes is due, and 354 gives leave to send only if somebody was accepted."""
    for judged in (judge_mail, judge_rcpt, judge_final):
        assert judged(parse("250 2.0.0 Ok")) == (Fate.ACCEPTED, Scope.RECIPIENT, "")
    assert judge_rcpt(parse("251 2.1.5 Will forward")).fate is Fate.ACCEPTED
    assert judge_data(parse("354 Go")).fate is Fate.ACCEPTED
    assert judge_data(parse("354 Go"), accepted=False)[:2] == (Fate.NOT_TRIED, Scope.RELAY)
    assert judge_data(parse("250 Ok")).fate is Fate.NOT_TRIED


@pytest.mark.parametrize(
    ("text", "enhanced"),
    [
        ("550 5.1.1 No", "5.1.1"),
        ("550 5.1.1", "5.1.1"),
        ("550 5.7.515 No", "5.7.515"),
        ("250 2.0.0 Ok", "2.0.0"),
        ("550 5.01.1 No", None),
        ("550 5.1 No", None),
        ("550 5.1.1.2 No", None),
        ("550 5.1.1000 No", None),
        ("550 3.1.1 No", None),
        ("550 #5.1.1 No", None),
        ("550 No 5.1.1", None),
        ("550", None),
    ],
)
def test_enhanced_codes_are_read_strictly(text, enhanced):
    """Only class.subject.detail at the start, without leading zeros, is an enhanced code."""
    assert parse(text).enhanced == enhanced


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("550 4.7.1 Odd", "refused recipient"),
        ("450 5.1.1 Odd", "deferred recipient"),
        ("550 2.1.1 Odd", "refused recipient"),
    ],
)
def test_the_code_decides_where_the_enhanced_code_disagrees(said, meant):
    """Later or never is the reply code's word; whose failure it is, the enhanced code's."""
    verdict = judge_rcpt(parse(said))
    assert f"{verdict.fate} {verdict.scope}" == meant


@pytest.mark.parametrize(
    ("phase", "said", "meant"),
    [
        (
            "rcpt",
            "550 5.1.1 <a@b.example>: undeliverable address: host mx said: 554 5.7.1 Relay access denied",
            "refused recipient",
        ),
        ("rcpt", "452 4.5.3 Too many recipients", "deferred recipient"),
        ("rcpt", "450 4.2.1 The user you are trying to contact is receiving mail too quickly", "deferred recipient"),
        ("final", "421 4.7.0 Our system has detected an unusual rate of unsolicited mail", "deferred domain"),
        ("final", "451 4.7.500 Server busy", "deferred domain"),
        ("final", "550 5.7.25 The IP address sending this message does not have a PTR record", "refused letter"),
        ("final", "550 5.7.27 SPF did not pass", "refused letter"),
        ("final", "550 5.7.29 Requires TLS", "refused letter"),
        (
            "final",
            "550 5.7.515 Access denied, sending domain does not meet the required authentication level",
            "refused letter",
        ),
        ("final", "554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException", "refused recipient"),
        ("login", "454 4.7.0 Too many login attempts, please try again later", "not-tried relay"),
        ("mail", "421 4.4.5 Server busy, try again later", "not-tried relay"),
    ],
)
def test_words_of_providers_that_sound_alike_are_told_apart(phase, said, meant):
    """What is about one recipient, one domain or one letter is not taken for a word about our account, and the reverse."""
    verdict = judge(Phase(phase), parse(said))
    assert f"{verdict.fate} {verdict.scope}" == meant


@pytest.mark.parametrize("detail", ["1", "25", "26", "27", "29", "57", "515"])
def test_a_sender_problem_never_marks_an_address(detail):
    """5.7.x at RCPT or at the end: refused because of policy or sender, told as not the address's fault (P6)."""
    for judged in (judge_rcpt, judge_final):
        verdict = judged(parse(f"550 5.7.{detail} Unauthenticated mail"))
        assert verdict.fate is Fate.REFUSED
        assert "not because of the address" in verdict.why


def test_no_code_stands_without_a_verdict():
    """Any code from 200 to 599, with and without enhanced code, has a verdict in every phase; a no is never taken for a yes."""
    for phase in Phase:
        for code in range(200, 600):
            for more in ("x", f"{code // 100}.7.1 x", "5.1.1 x", "4.2.2 x"):
                verdict = judge(phase, parse(f"{code} {more}"))
                assert (verdict.fate is Fate.ACCEPTED) == (
                    code < 300 and phase in {Phase.MAIL, Phase.RCPT, Phase.FINAL}
                )
                if phase not in {Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.FINAL, Phase.CONTENT}:
                    assert verdict.fate is Fate.NOT_TRIED
                assert bool(verdict.why) != (verdict.fate is Fate.ACCEPTED)


@pytest.mark.parametrize(
    "said",
    [
        "550 5.6.7 Non-ASCII addresses not permitted",
        "553 5.6.9 Can't be transferred",
        "555 5.5.4 Unsupported option: SMTPUTF8",
        "553 5.1.7 Sender address holds UTF-8",
        "550 Non-ASCII sender",
    ],
)
def test_a_sender_beyond_ascii_that_a_relay_does_not_take_holds_it(said: str) -> None:
    """Where it is the sender who needs SMTPUTF8, no letter would pass: a person has to see to it, and reads what is wrong."""
    verdict = judge_mail(parse(said), wide_sender=True)
    assert (verdict.fate, verdict.scope) == (Fate.NOT_TRIED, Scope.HOLD)
    assert verdict.why.startswith("the sender's address, or the one for replies or bounces")
    assert judge_mail(parse(said)).why != verdict.why


@pytest.mark.parametrize(
    "said",
    ["250 2.1.0 Ok", "451 4.3.0 no UTF-8 today", "552 5.3.4 Too large", "550 5.7.60 SendAsDenied", "421 4.3.2 Bye"],
)
def test_whatever_else_is_said_of_such_a_sender_means_what_it_always_does(said: str) -> None:
    """A sender beyond ASCII may be refused for other reasons, or put off."""
    assert judge_mail(parse(said), wide_sender=True) == judge_mail(parse(said))


def test_what_a_terminal_would_act_on_is_taken_out_of_a_reply():
    """A relay's words can't colour a terminal, ring it, or turn round the order of what is read."""
    told = reply(550, ["5.1.1 No \x1b[31msuch\x07 \u202exob\u2066liam\u2028", "\x9b1m"])
    assert told.text.isprintable()
    assert told.text == "5.1.1 No  [31msuch   xob liam 1m"

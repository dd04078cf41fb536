"""What became of an address in plain words, and what a person can do about it: tables, no logic beyond finding the row.

Enhanced codes are those of RFC 3463 and its registry; the reply codes are those of RFC 5321. A relay's own words are always shown
beside our reading of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mailer.circulars.states import CircularState, LetterState, RecipientState

#: States as people see them.
LETTER_WORDS: Mapping[LetterState, str] = {
    LetterState.QUEUED: "not yet sent",
    LetterState.SENDING: "on the way",
    LetterState.ACCEPTED: "handed to our mail server",
    LetterState.PARTLY: "handed over for some addresses",
    LetterState.DEFERRED: "will be tried again",
    LetterState.REFUSED: "refused",
    LetterState.EXPIRED: "given up",
    LetterState.UNCERTAIN: "in doubt",
    LetterState.WITHHELD: "withheld",
    LetterState.CANCELLED: "cancelled",
}
RECIPIENT_WORDS: Mapping[RecipientState, str] = {
    state: LETTER_WORDS[LetterState(state.value)] for state in RecipientState
}
CIRCULAR_WORDS: Mapping[CircularState, str] = {
    CircularState.DRAFT: "a draft",
    CircularState.FREEZING: "its approval is not finished",
    CircularState.APPROVED: "approved, not yet sent",
    CircularState.SENDING: "being sent",
    CircularState.PAUSED: "paused",
    CircularState.SENT: "sent",
    CircularState.CANCELLED: "cancelled",
}


class Step(StrEnum):
    """What a person can do; the text is in `_STEPS`."""

    NONE = "none"
    ADDRESS = "address"
    FULL = "full"
    SIZE = "size"
    SENDER = "sender"
    TELEPHONE = "telephone"
    DOUBT = "doubt"
    WITHHELD = "withheld"


#: `{ref}` the circular, `{org}` the organization's number, `{letter}` the letter's number; both are typed as they stand.
_BY_HAND = "for the letter to send by hand: chancery letter show {ref} {org} --as eml --out letter.eml"
_AGAIN = "to send it again: chancery circular resend {ref} --failed --letter {letter}; "
_STEPS: Mapping[Step, str] = {
    Step.NONE: "",
    Step.ADDRESS: "Ask for the right address and correct it in the contacts: chancery contacts import FILE; "
    "send the letter there: chancery circular resend {ref} --letter {letter} --to ADDRESS --why TEXT; " + _BY_HAND,
    Step.FULL: "Telephone them: their mailbox is full; " + _AGAIN + _BY_HAND,
    Step.SIZE: "Their server takes no letter of this size; send the enclosures another way; " + _BY_HAND,
    Step.SENDER: "Show the reply to your IT officer: their server mistrusts ours; once that is mended, "
    + _AGAIN
    + _BY_HAND,
    Step.TELEPHONE: "Telephone them; " + _AGAIN + _BY_HAND,
    Step.DOUBT: (
        "Ask them whether they have it, then say so: chancery circular resolve {ref} {letter} --sent, "
        "or --resend to send it again"
    ),
    Step.WITHHELD: "If they should have it, correct the contacts: chancery contacts import FILE; " + _AGAIN + _BY_HAND,
}

_ENHANCED: Mapping[str, tuple[str, Step]] = {
    "1.0": ("something is wrong with the address", Step.ADDRESS),
    "1.1": ("there is no such mailbox", Step.ADDRESS),
    "1.2": ("the part of the address after the @ does not exist", Step.ADDRESS),
    "1.3": ("the address is not well formed", Step.ADDRESS),
    "1.6": ("the mailbox has moved, and no new address is known", Step.ADDRESS),
    "1.10": ("that domain takes no mail at all", Step.ADDRESS),
    "2.0": ("something is wrong with the mailbox", Step.ADDRESS),
    "2.1": ("the mailbox is disabled", Step.ADDRESS),
    "2.2": ("the mailbox is full", Step.FULL),
    "2.3": ("the letter is too large for that mailbox", Step.SIZE),
    "3.1": ("the mail server's disk is full", Step.TELEPHONE),
    "3.4": ("the letter is too large for the mail server", Step.SIZE),
    "4.1": ("their mail server does not answer", Step.TELEPHONE),
    "4.4": ("no mail server is known for that address", Step.ADDRESS),
    "4.7": ("it could not be handed on in time", Step.TELEPHONE),
    "5.2": ("the mail server refused the address", Step.ADDRESS),
    "5.3": ("the letter has too many addresses", Step.SENDER),
    **dict.fromkeys(("6.7", "6.9"), ("a mail server on the way takes no address with such characters", Step.ADDRESS)),
    "7.0": ("their mail server refuses it by a rule of its own", Step.SENDER),
    "7.1": ("their mail server does not allow our letters", Step.SENDER),
    "7.8": ("our mail server did not accept our password", Step.SENDER),
}
#: By the subject of the enhanced code alone, where the detail is not in the table.
_SUBJECT: Mapping[str, tuple[str, Step]] = {
    "1": ("something is wrong with the address", Step.ADDRESS),
    "2": ("something is wrong with the mailbox", Step.ADDRESS),
    "3": ("their mail system can't take it", Step.TELEPHONE),
    "4": ("it can't be carried to their mail server", Step.TELEPHONE),
    "5": ("the mail server did not understand ours", Step.SENDER),
    "6": ("their mail system can't take a letter of this form", Step.SIZE),
    "7": ("their mail server refuses it by a rule of its own", Step.SENDER),
}
_CODE: Mapping[int, tuple[str, Step]] = {
    421: ("the mail server was too busy", Step.TELEPHONE),
    450: ("the mailbox could not be reached just then", Step.TELEPHONE),
    451: ("the mail server asked for another try later", Step.TELEPHONE),
    452: ("the mailbox or the mail server is full", Step.FULL),
    550: ("the mail server refused the address", Step.ADDRESS),
    551: ("the mailbox is elsewhere", Step.ADDRESS),
    552: ("the mailbox is full, or the letter too large for it", Step.FULL),
    553: ("the address is not well formed", Step.ADDRESS),
    554: ("their mail server refused the letter", Step.SENDER),
}
_CODE_AT_END = re.compile(r"\([45]\.(\d+\.\d+)\)$")
_TEMPORARY, _PERMANENT = (
    ("the mail server could not take it just then", Step.TELEPHONE),
    (
        "the mail server refused it",
        Step.ADDRESS,
    ),
)


@dataclass(frozen=True, slots=True)
class Explained:
    """What happened, as a clause without a full stop, and the next step, empty where a person need do nothing."""

    what: str
    step: Step

    def next_step(self, *, reference: str, organization_id: int, letter_id: int) -> str:
        """What to do, with the exact command."""
        ref = f"'{reference}'" if " " in reference else reference
        return _STEPS[self.step].format(ref=ref, org=organization_id, letter=letter_id)


def reading(code: int | None, enhanced: str | None) -> tuple[str, Step] | None:
    """Our reading of a reply; None where there was none."""
    if enhanced:
        _, _, detail = enhanced.partition(".")
        if detail in _ENHANCED:
            return _ENHANCED[detail]
        # x.0.0 says nothing: the reply code then says more
        if (subject := detail.partition(".")[0]) in _SUBJECT:
            return _SUBJECT[subject]
    if code is None:
        return None
    return _CODE.get(code) or (_TEMPORARY if code < 500 else _PERMANENT)  # noqa: PLR2004 - 5yz: RFC 5321, 4.2.1


def explain(
    state: RecipientState, code: int | None = None, enhanced: str | None = None, why: str | None = None
) -> Explained:
    """What became of a recipient.

    Args:
        state: where it stands.
        code: of the last reply; None: no relay replied.
        enhanced: the enhanced code of that reply.
        why: our own reason, if the account has one.
    """
    said = reading(code, enhanced)
    reason, step = said or (why or "", _own_step(why))
    if state is RecipientState.ACCEPTED:
        return Explained("our mail server has it", Step.NONE)
    if state is RecipientState.QUEUED:
        return Explained(f"not yet sent{_because(why)}", Step.NONE)
    if state is RecipientState.SENDING:
        return Explained("on the way just now", Step.NONE)
    if state is RecipientState.DEFERRED:
        return Explained(f"it will be tried again by itself{_because(reason)}", Step.NONE)
    if state is RecipientState.REFUSED:
        return Explained(f"refused{_because(reason)}", step)
    if state is RecipientState.EXPIRED:
        return Explained(f"given up after many tries{_because(reason)}", step)
    if state is RecipientState.UNCERTAIN:
        return Explained(
            why or "the connection broke after the letter was sent, before our mail server said yes or no", Step.DOUBT
        )
    if state is RecipientState.WITHHELD:
        return Explained(f"not written to{_because(why)}", Step.WITHHELD)
    return Explained(f"cancelled{_because(why)}", Step.NONE)


def _own_step(why: str | None) -> Step:
    """What to do about a reason of our own, which ends in the enhanced code that a mail server would have given, if there is one."""
    found = _CODE_AT_END.search(why or "")
    known = found and _ENHANCED.get(found[1])
    return known[1] if known else Step.TELEPHONE


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def audience_words(audience: str) -> str:
    """An audience's rule for people: `States Parties (Geneva)` for `states-parties@geneva`."""
    rule, _, seat = audience.partition("@")
    known = {
        "states-parties": "States Parties",
        "states-not-parties": "States not Parties",
        "organizations": "Organizations",
    }
    words = known.get(rule) or (f"List {rule.removeprefix('list:')}" if rule.startswith("list:") else rule)
    return f"{words} ({seat.replace('-', ' ').title()})" if seat else words

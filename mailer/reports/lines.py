"""The shapes of a report: what every format prints. Pure: counts and problems are computed from the lines."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lists.kinds import Form, Role
from mailer.circulars.states import CircularState, LetterState, RecipientState
from mailer.delivery.obstacles import InTheWay
from mailer.reports.explain import RECIPIENT_WORDS, Explained, explain
from mailer.schedule.models import ScheduleKind, ScheduleState
from mailer.schedule.service import ScheduleLine


@dataclass(frozen=True, slots=True)
class RecipientLine:
    """An address on a letter and its last outcome.

    Attributes:
        reply: the relay's literal words with their code (`550 5.1.1 No such user`); None: it has not spoken.
        why: our own reason, if the account has one.
        next_at: when it is tried again.
        added: by whom and why it was added to the letter after the approval; empty: it was approved.
    """

    address: str
    name: str
    role: Role
    state: RecipientState
    reply: str | None
    code: int | None
    enhanced: str | None
    why: str | None
    at: dt.datetime | None
    next_at: dt.datetime | None
    tries: int
    evidence: tuple[Mapping[str, Any], ...] = ()
    added: str = ""

    @property
    def explained(self) -> Explained:
        """What became of it in plain words, and the next step."""
        return explain(self.state, self.code, self.enhanced, self.why)


@dataclass(frozen=True, slots=True)
class LetterLine:
    """A letter and what became of it.

    Attributes:
        chosen: why the organization is in the audience, and why in this language.
        attempts: tries of which something came.
        sent_at: when content first left.
        reminders: how many reminders of it were handed over.
        answer: the organization's last answer.
    """

    id: int
    organization_id: int
    organization: str
    state_iso3: str | None
    audience: str
    role: Role
    form: Form
    language: str
    message_id: str
    state: LetterState
    chosen: str
    attempts: int
    sha256: str | None
    sent_at: dt.datetime | None
    recipients: tuple[RecipientLine, ...]
    reminders: int
    answer: str | None

    @property
    def why(self) -> str:
        """Why it is in its state, in words; empty where all is well."""
        if self.state is LetterState.ACCEPTED:
            return ""
        told = [one.explained.what for one in self.recipients if one.state is not RecipientState.ACCEPTED]
        return "; ".join(dict.fromkeys(told)) or ("it has no address" if not self.recipients else "")


@dataclass(frozen=True, slots=True)
class NotAddressed:
    """Who of the audience gets no letter: a State, or an organization (then `state_iso3` is None)."""

    state_iso3: str | None
    name: str
    audience: str
    why: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What needs a person.

    Attributes:
        organization: whom it is about; empty: the circular itself.
        address: or several with commas, where the same befell them.
        said: the relay's literal words.
        next_step: what to do, with the exact command.
    """

    organization: str
    address: str
    state: str
    what: str
    said: str
    next_step: str


@dataclass(frozen=True, slots=True)
class AudienceLine:
    """The letters of one audience, counted."""

    audience: str
    role: Role
    letters: int
    states: Counter[LetterState]
    answered: int
    not_addressed: int


@dataclass(frozen=True)
class Report:
    """A circular's account at a moment.

    Attributes:
        zone: the zone in which people are told times.
        parent: the reference of the circular that this is a reminder of, or a letter's copy (`is_copy`).
        schedules: its reminders and its scheduled sending.
        resends_doubtful: it chose that a letter in doubt is sent again by itself.
        finish_by: its letters are spread until then.
        in_the_way: closed relays and slow domains that its letters wait for now.
        not_reminded: per reminder that was made (`ScheduleLine.what`) and reason: the names of those whom it passed over.
    """

    id: int
    reference: str
    title: str
    state: CircularState
    date: dt.date
    reply_by: dt.date | None
    approved_by: str | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    held_why: str | None
    parent: str | None
    made_at: dt.datetime
    zone: str
    not_addressed: tuple[NotAddressed, ...]
    letters: Collection[LetterLine]
    is_copy: bool = False
    schedules: tuple[ScheduleLine, ...] = field(default=())
    not_reminded: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    in_the_way: tuple[InTheWay, ...] = field(default=())
    resends_doubtful: bool = False
    finish_by: dt.datetime | None = None

    @cached_property
    def _tally(self) -> "_Tally":
        return _Tally(self.letters)

    @property
    def kin(self) -> str:
        """What it is to another circular, as a sentence; empty: it stands alone."""
        if self.parent is None:
            return ""
        return f"Copy of a letter of {self.parent}." if self.is_copy else f"Reminder of {self.parent}."

    @property
    def states(self) -> Counter[LetterState]:
        """Letters per state."""
        return self._tally.states

    @property
    def answered(self) -> int:
        """How many letters were answered."""
        return self._tally.answered

    @property
    def counts(self) -> dict[str, int]:
        """As `report --format json` has them; the last two wait for evidence."""
        found = self._tally.states
        return {
            "letters": len(self.letters),
            **{state.value: found[state] for state in _JSON_ORDER},
            "bounced": 0,
            "delivered": 0,
        }

    @property
    def addresses(self) -> int:
        """How many addresses the letters have."""
        return self._tally.addresses

    @property
    def languages(self) -> dict[str, int]:
        """Letters per language, most first."""
        return dict(self._tally.languages.most_common())

    @cached_property
    def by_audience(self) -> tuple[AudienceLine, ...]:
        """Counted by audience and role, in the order of the letters; audiences that nobody answers for come last."""
        missing = Counter(one.audience for one in self.not_addressed)
        groups = dict(self._tally.groups)
        for audience in missing:
            if not any(there == audience for there, _ in groups):
                groups[audience, Role.TO] = (Counter(), 0)
        return tuple(
            AudienceLine(audience, role, states.total(), states, answered, missing.pop(audience, 0))
            for (audience, role), (states, answered) in groups.items()
        )

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """What needs a person, the most pressing first."""
        return (*_of_the_circular(self), *_of_letters(self, self._tally.pressing))

    @cached_property
    def waiting(self) -> tuple[tuple[LetterLine, RecipientLine], ...]:
        """Addresses that will be tried again by themselves, the next one first."""
        return tuple(sorted(self._tally.waiting, key=lambda pair: pair[1].next_at or self.made_at))


class _Tally:
    """What is counted of letters, in one look at each; and those of them that are told of one by one."""

    def __init__(self, letters: Iterable[LetterLine]) -> None:
        self.states: Counter[LetterState] = Counter()
        self.languages: Counter[str] = Counter()
        self.groups: dict[tuple[str, Role], tuple[Counter[LetterState], int]] = {}
        self.addresses = self.answered = 0
        self.pressing: list[LetterLine] = []
        self.waiting: list[tuple[LetterLine, RecipientLine]] = []
        for letter in letters:
            answered = letter.answer is not None
            self.states[letter.state] += 1
            self.languages[letter.language] += 1
            self.addresses += len(letter.recipients)
            self.answered += answered
            states, before = self.groups.get((letter.audience, letter.role)) or (Counter(), 0)
            states[letter.state] += 1
            self.groups[letter.audience, letter.role] = (states, before + answered)
            if letter.state is LetterState.ACCEPTED:
                continue  # all its addresses are
            if any(one.state in _PRESSING for one in letter.recipients):
                self.pressing.append(letter)
            self.waiting += [(letter, one) for one in letter.recipients if one.state is RecipientState.DEFERRED]


_JSON_ORDER = (
    LetterState.QUEUED,
    LetterState.SENDING,
    LetterState.ACCEPTED,
    LetterState.PARTLY,
    LetterState.DEFERRED,
    LetterState.REFUSED,
    LetterState.EXPIRED,
    LetterState.UNCERTAIN,
    LetterState.WITHHELD,
    LetterState.CANCELLED,
)
#: A schedule this late is not merely being looked at.
_OVERDUE = dt.timedelta(minutes=5)
#: Recipients that need a person, the most pressing first.
_PRESSING = (
    RecipientState.UNCERTAIN,
    RecipientState.REFUSED,
    RecipientState.EXPIRED,
    RecipientState.WITHHELD,
)


def _of_the_circular(report: Report) -> Iterable[Problem]:
    name = report.reference
    if report.held_why:
        step = f"Once that is seen to: chancery circular send {name}"
        yield Problem("", "", "held", "nothing more leaves", report.held_why, step)
    for one in report.in_the_way:
        if one.relay and one.until is None and not report.held_why:
            what = f"nothing more leaves by our mail server {one.relay}; where another stands in for it, letters go on"
            yield Problem("", "", "closed", what, one.why, f"Once that is seen to: chancery circular send {name}")
    if report.state is CircularState.PAUSED:
        yield Problem("", "", "paused", "it is paused", "", f"To go on: chancery circular resume {name}")
    if report.state is CircularState.FREEZING:
        step = f"Finish it: chancery circular approve {name}"
        yield Problem("", "", "freezing", "its approval was interrupted", "", step)
    for line in report.schedules:
        if line.state is ScheduleState.MISSED:
            again = "chancery reminders run --missed"
            step = again if line.kind is ScheduleKind.REMINDER else f"chancery circular send {name}"
            what = f"{line.what} was missed: {line.why}" if line.why else f"{line.what} was missed"
            yield Problem("", "", "missed", what, "", f"To do it now: {step}")
        elif line.state is ScheduleState.WAITING and line.due_at + _OVERDUE < report.made_at:
            what = f"{line.what} was due, and nothing runs that does it"
            yield Problem("", "", "overdue", what, "", "Start `chancery serve`, or once: chancery reminders run")


def _of_letters(report: Report, letters: Iterable[LetterLine]) -> Iterable[Problem]:
    for state in _PRESSING:
        for letter in letters:
            reached = any(one.state is RecipientState.ACCEPTED for one in letter.recipients)
            alike: dict[tuple[str, str, str], list[str]] = {}
            for one in letter.recipients:
                if one.state is not state:
                    continue
                told = one.explained
                step = told.next_step(
                    reference=report.reference, organization_id=letter.organization_id, letter_id=letter.id
                )
                if reached and state is not RecipientState.UNCERTAIN:
                    step = "The letter reached another address of theirs; correct this one in the contacts: chancery contacts import FILE"
                what = told.what.removeprefix(f"{RECIPIENT_WORDS[state]}: ")
                alike.setdefault((what, one.reply or "", step), []).append(one.address)
            for (what, said, step), addresses in alike.items():
                yield Problem(letter.organization, ", ".join(addresses), RECIPIENT_WORDS[state], what, said, step)

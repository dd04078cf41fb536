"""Claiming letters: which are due, to whom each goes today, and the rows that say so before any byte leaves.

Claims look at recipients' states and `next_at`, never at a letter's computed state. Before a letter's content first left they look
at its contacts too: a changed address is used and told, an ended contact is withheld, a new contact is not added.

A letter is on its way once at a time. Where some of its addresses have characters beyond ASCII before the @ and others have not, it
goes to the others first, in a version that any server takes, and then to those: a server further on that does not take such addresses
must not cost a colleague the letter.
"""

import datetime as dt
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, Table, bindparam, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.kinds import Form, Role
from lists.models import Contact, Organization
from lists.records import record
from mailer.circulars.compose import LetterRow
from mailer.circulars.models import Letter, Recipient
from mailer.circulars.states import RecipientState
from mailer.delivery import account
from mailer.delivery.account import Change
from mailer.delivery.due import WAITING, Wanted, is_due, put_off
from mailer.delivery.models import Attempt
from mailer.delivery.settling import called_off
from mailer.register import chain
from mailer.statements import Many, Whole, Wire, moment, pack


@record
class Run:
    """One run of a batch: what a claim is made under."""

    circular: int
    batch: int
    number: int
    owner: str
    boot: str


@dataclass(slots=True)
class Target:
    """A claimed recipient."""

    id: int
    address: str
    tries: int
    first_at: dt.datetime


@dataclass(slots=True)
class Claim:
    """A letter claimed for one attempt.

    Attributes:
        to, cc: mailboxes of the header, (name, address).
        targets: the recipients this attempt is for.
        organization: whose letter it is.
        relay: by which it goes.
        partial: other recipients of the letter are due as well, and go by an attempt of their own after this one.
    """

    attempt: str
    letter: int
    token: str
    form: Form
    language: str
    fields: Mapping[str, Any]
    dated: dt.datetime
    to: tuple[tuple[str, str], ...]
    cc: tuple[tuple[str, str], ...]
    targets: tuple[Target, ...]
    fruitless: int
    organization: int = 0
    relay: str = ""
    partial: bool = False

    @property
    def row(self) -> LetterRow:
        """What the letter's bytes are made of."""
        return LetterRow(
            id=self.letter,
            token=self.token,
            form=self.form,
            language=self.language,
            fields=self.fields,
            dated=self.dated,
            to=self.to,
            cc=self.cc,
            raw=not self.targets[0].address.isascii(),
        )


@dataclass(slots=True)
class Due:
    """A letter that may be claimed, as `look` has read it: times are texts."""

    id: int
    token: str
    form: str
    language: str
    fields: Mapping[str, Any]
    dated: str | None
    mailboxes: Mapping[str, Sequence[tuple[str, str]]] | None
    left_at: str | None
    fruitless: int
    organization: int
    #: each as the columns of `_RECIPIENTS_OF` have it, in order
    recipients: list[list[Any]] = field(default_factory=list)


@record
class _Renamed:
    """A recipient whose contact has another mailbox now; *was*: name and address before."""

    recipient: int
    name: str
    address: str
    was: Sequence[str]


@dataclass(slots=True)
class _Found:
    """What claiming has found out: recipients that are not written to any more, and those whose mailbox has changed."""

    changes: list[Change] = field(default_factory=list)
    renamed: list[_Renamed] = field(default_factory=list)


#: Which of these letters (ids) are no longer due, with the reason; asked within the claiming transaction.
NoLongerDue = Callable[[AsyncSession, int, Mapping[int, int]], Awaitable[Mapping[int, str]]]


async def nothing_lapses(_session: AsyncSession, _circular: int, _letters: Mapping[int, int]) -> Mapping[int, str]:
    """The answer where no letter can become superfluous."""
    return {}


def look(wire: Wire, run: Run, wanted: Wanted, now: dt.datetime) -> list[Due]:
    """The letters that are *wanted* and due, as they are now; leave others for later, as it says."""
    put_off(wire, wanted.later, now)
    batch = {"circular": run.circular, "batch": run.batch, "now": now}
    if wanted.letters is None:
        found = _DUE.read(wire, **batch, room=wanted.room)
    elif wanted.letters:
        found = _DUE_OF.read(wire, **batch, letters=json.dumps(list(wanted.letters)))
    else:
        return []
    letters = {row[0]: Due(*row) for row in sorted(found, key=itemgetter(0))}
    for letter, *row in sorted(_RECIPIENTS_OF.read(wire, letters=json.dumps(list(letters)))):
        letters[letter].recipients.append(row)
    return list(letters.values())


def claim(
    wire: Wire,
    run: Run,
    wanted: Wanted,
    due: Sequence[Due],
    lapsed: Mapping[int, str],
    *,
    now: dt.datetime,
    today: dt.date,
) -> list[Claim]:
    """Claim the letters that are *due*, in the same transaction in which they were looked at; *lapsed* says which are not, and why."""
    claims: list[Claim] = []
    found = _Found()
    when = (now, now.replace(microsecond=0), today.isoformat())
    attempts = attempt_ids(len(due), now)
    for letter, attempt in zip(due, attempts, strict=True):
        relay = wanted.letters[letter.id] if wanted.letters else wanted.relay
        one = _judge(letter, attempt, relay, lapsed.get(letter.id), when, found)
        if one is not None:
            claims.append(one)
    account.write(
        wire, circular_id=run.circular, changes=found.changes, by="engine", at=now, action="withheld-or-lapsed"
    )
    _write_claims(wire, run, claims, found.renamed, now)
    return claims


def attempt_ids(count: int, now: dt.datetime) -> list[str]:
    """Numbers of new attempts: 32 hex digits, of which 20 are random; those of one time stand together in their index."""
    chance = os.urandom(10 * count).hex()
    time = f"{max(0, int(now.timestamp() * 1000)):012x}"[-12:]
    return [f"{time}{chance[at : at + 20]}" for at in range(0, 20 * count, 20)]


def _judge(
    letter: Due,
    attempt: str,
    relay: str,
    lapse: str | None,
    when: tuple[dt.datetime, dt.datetime, str],
    found: _Found,
) -> Claim | None:
    """Decide, for one letter with a recipient that is due, who is written to; None: nobody. What else follows is added to *found*."""
    if any(row[_STATE] == _SENDING for row in letter.recipients):
        return None  # what is under way may fix its bytes
    now, second, today = when
    begun = letter.left_at is not None
    to: list[tuple[str, str]] = []
    cc: list[tuple[str, str]] = []
    targets: list[Target] = []
    for row in letter.recipients:
        (number, address, name, role, state, next_at, contact, tries, first_at, code, *contact_now) = row
        waiting = state in _WAITING and (next_at is None or (moment(next_at) or now) <= now)
        if waiting:
            new_address, new_name, valid_until, retired_on = contact_now
            ended = not begun and (
                (valid_until is not None and valid_until < today) or (retired_on is not None and retired_on <= today)
            )
            if lapse or ended:
                found.changes.append(
                    Change(
                        recipient=number,
                        letter=letter.id,
                        address=address,
                        state=called_off(state, code, left=begun) if lapse else RecipientState.WITHHELD,
                        at=now,
                        why=lapse or "its contact has ended since the approval",
                        tries=tries,
                    )
                )
                continue
            if not begun and new_address is not None and (new_address, new_name) != (address, name):
                found.renamed.append(_Renamed(number, new_name, new_address, [name, address]))
                address, name = new_address, new_name
            targets.append(Target(number, address, tries, moment(first_at) or now))
        if contact is not None and state not in _NOT_ADDRESSED:
            (to if role == _TO else cc).append((name, address))
    if not targets:
        return None
    plain = [target for target in targets if target.address.isascii()]
    partial = 0 < len(plain) < len(targets)
    targets = plain or targets
    if begun and letter.mailboxes is not None:
        fixed_to, fixed_cc = (tuple((name, address) for name, address in letter.mailboxes[key]) for key in ("to", "cc"))
        dated = moment(letter.dated) or second
    else:
        if not to and not cc:  # all that were approved are withheld: an address added by hand stands in for them
            to = [("", target.address) for target in targets]
        fixed_to, fixed_cc, dated = tuple(to), tuple(cc), second
    return Claim(
        attempt=attempt,
        letter=letter.id,
        token=letter.token,
        form=_FORMS[letter.form],
        language=letter.language,
        fields=letter.fields,
        dated=dated,
        to=fixed_to,
        cc=fixed_cc,
        targets=tuple(targets),
        fruitless=letter.fruitless,
        organization=letter.organization,
        relay=relay,
        partial=partial,
    )


def _write_claims(wire: Wire, run: Run, claims: Sequence[Claim], renamed: Sequence[_Renamed], now: dt.datetime) -> None:
    if not claims:
        return
    if renamed:
        _RENAME.write(wire, pack([(one.recipient, one.address, one.name) for one in renamed]))
        chain.add(
            wire,
            chain=chain.chain_of(run.circular),
            action="mailboxes-corrected",
            subject={"recipients": [[one.recipient, one.was, [one.name, one.address]] for one in renamed]},
            by="engine",
            at=now,
        )
    rows = pack([(one.attempt, one.letter, one.relay, one.dated, {"to": one.to, "cc": one.cc}) for one in claims])
    _ADD_ATTEMPTS.write(
        wire,
        rows,
        circular_id=run.circular,
        batch=run.batch,
        run=run.number,
        boot=run.boot,
        owner=run.owner,
        claimed_at=now,
    )
    _FIX_LETTERS.write(wire, rows)
    _HOLD.write(wire, pack([(target.id, one.attempt, target.first_at) for one in claims for target in one.targets]))


_L, _R, _A = (cast("Table", one.__table__) for one in (Letter, Recipient, Attempt))
_C, _O = (cast("Table", one.__table__) for one in (Contact, Organization))
#: The state in a row of `Due.recipients`.
_STATE, _SENDING = 4, RecipientState.SENDING.value
_WAITING = frozenset(state.value for state in WAITING)
_NOT_ADDRESSED = frozenset({RecipientState.WITHHELD.value, RecipientState.CANCELLED.value})
_TO, _FORMS = Role.TO.value, {form.value: form for form in Form}
_BATCH = is_due(bindparam("circular"), bindparam("batch"), bindparam("now", type_=_R.c.next_at.type))


def _due(*which: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            *(_L.c.id, _L.c.token, _L.c.form, _L.c.language, _L.c.fields, _L.c.dated, _L.c.mailboxes, _L.c.left_at),
            *(_L.c.fruitless, _L.c.organization_id),
        )
        .where(*which)
        .order_by(_L.c.id)
    )


_DUE = Whole(
    lambda _given: _due(
        _L.c.id.in_(select(_R.c.letter_id).where(*_BATCH).distinct().order_by(_R.c.letter_id).limit(bindparam("room")))
    )
)
_DUE_OF = Whole(
    lambda given: _due(
        _L.c.id.in_(given.numbers("letters")), exists(select(_R.c.id).where(_R.c.letter_id == _L.c.id, *_BATCH))
    )
)
#: All recipients of letters with their contacts as they are now, by letter.
_RECIPIENTS_OF = Whole(
    lambda given: (
        select(
            *(_R.c.letter_id, _R.c.id, _R.c.address, _R.c.name, _R.c.role, _R.c.state, _R.c.next_at, _R.c.contact_id),
            *(_R.c.tries, _R.c.first_at, _R.c.code, _C.c.address.label("new_address"), _C.c.name.label("new_name")),
            *(_C.c.valid_until, _O.c.retired_on),
        )
        .select_from(_R)
        .outerjoin(_C, _C.c.id == _R.c.contact_id)
        .outerjoin(_O, _O.c.id == _C.c.organization_id)
        .where(_R.c.letter_id.in_(given.numbers("letters")))
    )
)
_OF_RUN = ("circular_id", "batch", "run", "boot", "owner", "claimed_at")
_ROW = (_A.c.id, _A.c.letter_id, _A.c.relay, _L.c.dated, _L.c.mailboxes)
_ADD_ATTEMPTS = Many(
    _ROW,
    lambda rows, row: insert(_A).from_select(
        ["id", "letter_id", "relay", *_OF_RUN],
        select(
            row.id, row.letter_id, row.relay, *(bindparam(name, type_=_A.c[name].type) for name in _OF_RUN)
        ).select_from(rows),
    ),
)
_FIX_LETTERS = Many(
    _ROW,
    lambda _rows, row: update(_L).where(_L.c.id == row.letter_id).values(dated=row.dated, mailboxes=row.mailboxes),
)
_HOLD = Many(
    [_R.c.id, _R.c.attempt_id, _R.c.first_at],
    lambda _rows, row: (
        update(_R)
        .where(_R.c.id == row.id)
        .values(state=RecipientState.SENDING, attempt_id=row.attempt_id, first_at=row.first_at, next_at=None)
    ),
)
_RENAME = Many(
    [_R.c.id, _R.c.address, _R.c.name],
    lambda _rows, row: update(_R).where(_R.c.id == row.id).values(address=row.address, name=row.name),
)

"""Claiming letters: which are due, to whom each goes today, and the rows that say so before any byte leaves.

Claims look at recipients' states and `next_at`, never at a letter's computed state. Before a letter's content first left they look
at its contacts too: a changed address is used and told, an ended contact is withheld, a new contact is not added.

A letter is on its way once at a time. Where some of its addresses have characters beyond ASCII before the @ and others have not, it
goes to the others first, in a version that any server takes, and then to those: a server further on that does not take such addresses
must not cost a colleague the letter.
"""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists.kinds import Form, Role
from lists.models import Contact, Organization
from mailer.bulk import Many
from mailer.circulars.compose import LetterRow
from mailer.circulars.models import Letter, Recipient
from mailer.circulars.states import RecipientState
from mailer.delivery import account
from mailer.delivery.account import Change
from mailer.delivery.due import WAITING, Wanted, is_due, put_off
from mailer.delivery.models import Attempt
from mailer.register import chain


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a batch: what a claim is made under."""

    circular: int
    batch: int
    number: int
    owner: str
    boot: str


@dataclass(frozen=True, slots=True)
class Target:
    """A claimed recipient."""

    id: int
    address: str
    tries: int
    first_at: dt.datetime


@dataclass(frozen=True, slots=True)
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


#: Which of these letters (ids) are no longer due, with the reason; asked within the claiming transaction.
NoLongerDue = Callable[[AsyncSession, int, Mapping[int, int]], Awaitable[Mapping[int, str]]]


async def nothing_lapses(_session: AsyncSession, _circular: int, _letters: Mapping[int, int]) -> Mapping[int, str]:
    """The answer where no letter can become superfluous."""
    return {}


async def claim(
    session: AsyncSession,
    run: Run,
    wanted: Wanted,
    *,
    now: dt.datetime,
    today: dt.date,
    no_longer_due: NoLongerDue,
) -> list[Claim]:
    """Claim the letters that are *wanted* and due, in the caller's transaction; leave others for later, as it says."""
    await put_off(session, wanted.later, now)
    due = select(Recipient.letter_id).where(*is_due(run.circular, run.batch, now)).distinct()
    if wanted.letters is None:
        due = due.limit(wanted.room)
    elif wanted.letters:
        due = due.where(Recipient.letter_id.in_(wanted.letters))
    else:
        return []
    due = due.order_by(Recipient.letter_id)
    ids = list(await session.scalars(due))
    if not ids:
        return []
    letters = {row.id: row for row in (await session.execute(select(Letter.__table__).where(Letter.id.in_(ids))))}
    recipients = await _recipients(session, ids)
    lapsed = await no_longer_due(session, run.circular, {one: letters[one].organization_id for one in ids})
    claims: list[Claim] = []
    changes: list[Change] = []
    renamed: list[dict[str, Any]] = []
    for one in ids:
        one_claim = _judge(letters[one], recipients[one], lapsed.get(one), (now, today), changes, renamed)
        if one_claim:
            claims.append(replace(one_claim, relay=wanted.letters[one] if wanted.letters else wanted.relay))
    await account.record(session, run.circular, changes, by="engine", at=now, action="withheld-or-lapsed")
    await _write_claims(session, run, claims, renamed, now)
    return claims


async def _recipients(session: AsyncSession, letters: Sequence[int]) -> dict[int, list[Any]]:
    """All recipients of *letters* with their contacts as they are now, by letter."""
    rows = await session.execute(
        select(
            Recipient.__table__,
            Contact.address.label("new_address"),
            Contact.name.label("new_name"),
            Contact.valid_until,
            Organization.retired_on,
        )
        .outerjoin(Contact, Contact.id == Recipient.contact_id)
        .outerjoin(Organization, Organization.id == Contact.organization_id)
        .where(Recipient.letter_id.in_(letters))
        .order_by(Recipient.letter_id, Recipient.id)
    )
    grouped: dict[int, list[Any]] = {}
    for row in rows:
        grouped.setdefault(row.letter_id, []).append(row)
    return grouped


def _judge(
    letter: Any,
    rows: Sequence[Any],
    lapse: str | None,
    when: tuple[dt.datetime, dt.date],
    changes: list[Change],
    renamed: list[dict[str, Any]],
) -> Claim | None:
    """Decide, for one letter with a recipient that is due, who is written to; None: nobody."""
    if any(row.state == RecipientState.SENDING for row in rows):
        return None  # what is under way may fix its bytes
    now, today = when
    kept: list[tuple[Any, str, str]] = []
    targets: list[Target] = []
    for row in rows:
        waiting = row.state in WAITING and (row.next_at is None or row.next_at <= now)
        ended = letter.left_at is None and (
            (row.valid_until is not None and row.valid_until < today)
            or (row.retired_on is not None and row.retired_on <= today)
        )
        if waiting and (lapse or ended):
            changes.append(
                Change(
                    recipient=row.id,
                    letter=letter.id,
                    address=row.address,
                    state=RecipientState.CANCELLED if lapse else RecipientState.WITHHELD,
                    at=now,
                    why=lapse or "its contact has ended since the approval",
                    tries=row.tries,
                )
            )
            continue
        address, name = row.address, row.name
        if waiting and letter.left_at is None and row.new_address is not None:
            address, name = row.new_address, row.new_name
            if (address, name) != (row.address, row.name):
                renamed.append({"b_id": row.id, "b_address": address, "b_name": name, "was": [row.name, row.address]})
        if row.contact_id is not None and row.state not in {RecipientState.WITHHELD, RecipientState.CANCELLED}:
            kept.append((row, name, address))
        if waiting:
            targets.append(Target(row.id, address, row.tries, row.first_at or now))
    if not targets:
        return None
    plain = [target for target in targets if target.address.isascii()]
    partial = 0 < len(plain) < len(targets)
    targets = plain or targets
    if letter.left_at is not None and letter.mailboxes is not None:
        to, cc = (tuple((name, address) for name, address in letter.mailboxes[key]) for key in ("to", "cc"))
        dated = letter.dated
    else:
        to = tuple((name, address) for row, name, address in kept if row.role == Role.TO)
        cc = tuple((name, address) for row, name, address in kept if row.role == Role.CC)
        if not to and not cc:  # all that were approved are withheld: an address added by hand stands in for them
            to = tuple(("", target.address) for target in targets)
        dated = now.replace(microsecond=0)
    return Claim(
        attempt=uuid.uuid4().hex,
        letter=letter.id,
        token=letter.token,
        form=Form(letter.form),
        language=letter.language,
        fields=letter.fields,
        dated=dated,
        to=to,
        cc=cc,
        targets=tuple(targets),
        fruitless=letter.fruitless,
        organization=letter.organization_id,
        partial=partial,
    )


async def _write_claims(
    session: AsyncSession,
    run: Run,
    claims: Sequence[Claim],
    renamed: Sequence[dict[str, Any]],
    now: dt.datetime,
) -> None:
    if not claims:
        return
    connection = await session.connection()
    if renamed:
        await _RENAME.run(connection, [(one["b_id"], one["b_address"], one["b_name"]) for one in renamed])
        await chain.append(
            session,
            chain.chain_of(run.circular),
            "mailboxes-corrected",
            {"recipients": [[one["b_id"], one["was"], [one["b_name"], one["b_address"]]] for one in renamed]},
            by="engine",
            at=now,
        )
    await _ADD_ATTEMPT.run(
        connection,
        [
            (claim.attempt, claim.letter, run.circular, run.batch, run.number, run.boot, run.owner, claim.relay, now)
            for claim in claims
        ],
    )
    await _FIX_LETTER.run(
        connection,
        [
            (claim.letter, claim.dated, {"to": [list(one) for one in claim.to], "cc": [list(one) for one in claim.cc]})
            for claim in claims
        ],
    )
    await _HOLD.run(
        connection,
        [(target.id, claim.attempt, target.first_at) for claim in claims for target in claim.targets],
    )


_ADD_ATTEMPT = Many(
    insert(cast("Table", Attempt.__table__)),
    *("id", "letter_id", "circular_id", "batch", "run", "boot", "owner", "relay", "claimed_at"),
)
_FIX_LETTER = Many(
    update(cast("Table", Letter.__table__))
    .where(Letter.__table__.c.id == bindparam("b_id"))
    .values(dated=bindparam("b_dated"), mailboxes=bindparam("b_mailboxes")),
    *("b_id", "b_dated", "b_mailboxes"),
)
_HOLD = Many(
    update(cast("Table", Recipient.__table__))
    .where(Recipient.__table__.c.id == bindparam("b_id"))
    .values(
        state=RecipientState.SENDING, attempt_id=bindparam("b_attempt"), first_at=bindparam("b_first"), next_at=None
    ),
    *("b_id", "b_attempt", "b_first"),
)
_RENAME = Many(
    update(cast("Table", Recipient.__table__))
    .where(Recipient.__table__.c.id == bindparam("b_id"))
    .values(address=bindparam("b_address"), name=bindparam("b_name")),
    *("b_id", "b_address", "b_name"),
)

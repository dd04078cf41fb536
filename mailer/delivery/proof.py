"""Holding the rows against the register: what repeats an outcome, what approval froze, and the bytes that were sent.

`register.verify` recomputes the chains by itself; it is handed `chain_lines`, `chains` and `chain_disagreements`, which know what the
rows of a circular have to say. Columns are read as stored, so that a value that is none of its kind is named like any other.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from lists.kinds import Role
from mailer.circulars.compose import compose, stored_row, versions
from mailer.circulars.frozen import COMPOSER, Frozen
from mailer.circulars.keys import Keys
from mailer.circulars.loading import blobs_of
from mailer.circulars.models import Circular, Letter, Recipient, Snapshot
from mailer.circulars.planning import BATCH
from mailer.circulars.rows import digests_of_rows, rest_digest
from mailer.circulars.states import OPEN, CircularState, RecipientState
from mailer.delivery import account
from mailer.delivery.models import Attempt, Outcome
from mailer.delivery.resend import ADDED
from mailer.errors import ChanceryError, SettingsError
from mailer.register.chain import canonical, chain_of
from mailer.register.models import Link
from mailer.register.stored import moment, plain, stored

_OUTCOMES = "outcomes"
#: Rows that are read, and letters whose bytes are made again, at a time.
_TOGETHER = 500
_SENDING, _QUEUED = RecipientState.SENDING.value, RecipientState.QUEUED.value
_NOT_SETTLED = frozenset(state.value for state in OPEN)
#: States of a circular before its approval, where nothing is frozen.
_UNFROZEN = frozenset({CircularState.DRAFT.value, CircularState.FREEZING.value})
#: Columns of a recipient that repeat its last outcome.
_REPEATED = ("letter_id", "circular_id", "code", "enhanced", "reply", "why", "at")


async def chains(session: AsyncSession) -> set[str]:
    """The chains that there must be: one for each circular, and for each that has outcomes."""
    circulars = await session.scalars(select(Circular.id).union(select(Outcome.circular_id)))
    return {chain_of(number) for number in circulars}


async def chain_lines(session: AsyncSession, chain: str) -> AsyncIterator[tuple[int, list[Any]]]:
    """`account.lines` of the circular whose chain this is; the home's chain has none."""
    circular = _circular_of(chain)
    if circular is not None:
        async for found in account.lines(session, circular):
            yield found


async def chain_disagreements(session: AsyncSession, chain: str, keys: Keys | None = None) -> list[str]:
    """Where the rows of the circular whose chain this is say something else than the chain; one sentence each."""
    circular = _circular_of(chain)
    if circular is None:
        return []
    told = await _repeated(session, circular)
    try:
        told += await _frozen(session, circular)
        told += await _bytes(session, circular, keys)
    except (ChanceryError, SQLAlchemyError, ValueError, LookupError, TypeError, AttributeError) as error:
        told.append(f"what its approval froze can't be read as it was written ({type(error).__name__}: {error})")
    return told


def _circular_of(chain: str) -> int | None:
    kind, _, number = chain.partition("/")
    return int(number) if kind == "circular" and number.isdigit() else None


# --- what repeats an outcome ----------------------------------------------------------------------------------------------


async def _repeated(session: AsyncSession, circular: int) -> list[str]:
    """Recipients, attempts and letters that do not say what their outcomes say."""
    r, o, a = Recipient.__table__.c, Outcome.__table__.c, Attempt.__table__.c
    outcomes = [stored(o[name]).label(f"o_{name}") for name in o.keys()]  # noqa: SIM118 - a collection of columns is no mapping
    recipients = [stored(r[name]).label(f"r_{name}") for name in ("id", *_REPEATED, "address", "state", "attempt_id")]
    attempts = [stored(a[name]).label(f"a_{name}") for name in ("id", "letter_id", "circular_id", "relay", "sha256")]
    links = [stored(a.ended_at).label("a_ended_at"), Link.__table__.c.action.label("l_action")]
    rows = await session.stream(
        select(*recipients, *outcomes, *attempts, *links)
        .select_from(Recipient.__table__)
        # the sum keeps SQLite from going through all outcomes of the circular for each recipient
        .outerjoin(Outcome.__table__, (o.recipient_id == r.id) & (o.circular_id + 0 == circular))
        .outerjoin(Attempt.__table__, a.id == o.attempt_id)
        .outerjoin(Link.__table__, (Link.chain == chain_of(circular)) & (Link.seq == o.link))
        .where((r.circular_id == circular) | o.place.is_not(None))
        .order_by(r.id, o.link, o.place)
    )
    told: list[str] = []
    group: list[Row[Any]] = []
    async for page in rows.partitions(_TOGETHER):
        for row in page:
            if group and row.r_id != group[0].r_id:
                told += _of_recipient(group, circular)
                group = []
            group.append(row)
    told += _of_recipient(group, circular) if group else []
    told += await _without_recipient(session, circular)
    return told + await _of_attempts(session, circular) + await _of_letters(session, circular)


def _of_recipient(rows: Sequence[Row[Any]], circular: int) -> list[str]:
    """One recipient with its outcomes in order, or with none."""
    last = rows[-1]
    name = f"recipient {last.r_id} ({last.r_address}) of letter {last.r_letter_id}"
    if last.o_place is None:
        said = (last.r_code, last.r_enhanced, last.r_reply, last.r_why, last.r_at)
        held = last.r_attempt_id is not None and last.r_state != _SENDING
        if last.r_state not in {_QUEUED, _SENDING} or any(one is not None for one in said) or held:
            return [f"{name}: it says {last.r_state}, and no outcome says so"]
        return []
    told = []
    own = [_value(last, f"r_{column}") for column in _REPEATED]
    if own != [_value(last, f"o_{column}") for column in _REPEATED] or last.r_circular_id != circular:
        told.append(f"{name}: what it repeats is not what its last outcome says")
    if last.r_state not in {last.o_state, _SENDING}:
        told.append(f"{name}: it says {last.r_state}, its last outcome {last.o_state}")
    # A mailbox may be corrected while its letter waits; once it is settled, its address stands.
    if last.r_state not in _NOT_SETTLED and last.r_address != last.o_address:
        told.append(f"{name}: its last outcome names another address, {last.o_address}")
    tried = [row.o_attempt_id for row in rows if row.o_attempt_id is not None]
    if last.r_state != _SENDING and last.r_attempt_id != (tried[-1] if tried else None):
        told.append(f"{name}: it names another attempt than its outcomes")
    for attempt, several in groupby(
        (row for row in rows if row.o_attempt_id is not None), lambda row: row.o_attempt_id
    ):
        told += [f"{name}: {what}" for what in _of_attempt(attempt, list(several), circular)]
    return told


def _of_attempt(attempt: str, rows: Sequence[Row[Any]], circular: int) -> list[str]:
    """One attempt with the outcomes that it gave a recipient, in order."""
    last = rows[-1]
    if last.a_id is None:
        return [f"its attempt {attempt} is missing"]
    told = []
    # Where a newer run or a person spoke meanwhile, the attempt may know more than its outcomes.
    plainly = all(row.l_action == _OUTCOMES for row in rows)
    bytes_differ = (plainly or last.o_sha256 is not None) and last.a_sha256 != last.o_sha256
    if (last.a_letter_id, last.a_circular_id, last.a_relay) != (
        last.o_letter_id,
        circular,
        last.o_relay,
    ) or bytes_differ:
        told.append(f"its attempt {attempt} names another letter, relay or other bytes than its outcome")
    return told


async def _of_attempts(session: AsyncSession, circular: int) -> list[str]:
    """Attempts that did not end when their last outcome was recorded."""
    latest = (
        select(Outcome.attempt_id, func.max(Outcome.link).label("link"))
        .where(Outcome.circular_id == circular, Outcome.attempt_id.is_not(None))
        .group_by(Outcome.attempt_id)
        .subquery()
    )
    ended, at = Attempt.__table__.c.ended_at, Link.__table__.c.at
    rows = await session.execute(
        select(Attempt.id, stored(ended), stored(at))
        .join(latest, latest.c.attempt_id == Attempt.id)
        .join(Link, (Link.chain == chain_of(circular)) & (Link.seq == latest.c.link))
        .where(Link.action == _OUTCOMES, ended.is_distinct_from(at))
    )
    return [f"attempt {number} ended at another time than its outcome was recorded" for number, _, _ in rows]


def _value(row: Row[Any], name: str) -> Any:
    value = getattr(row, name)
    return moment(value) if name.endswith("_at") else value


async def _without_recipient(session: AsyncSession, circular: int) -> list[str]:
    """Outcomes whose recipient is gone."""
    rows = await session.execute(
        select(Outcome.recipient_id, stored(Outcome.__table__.c.address))
        .outerjoin(Recipient, Recipient.id == Outcome.recipient_id)
        .where(Outcome.circular_id == circular, Recipient.id.is_(None))
        .distinct()
    )
    return [f"recipient {number} ({address}) is missing, and has outcomes" for number, address in rows]


async def _of_letters(session: AsyncSession, circular: int) -> list[str]:
    """Letters whose own digest is not that of their last outcome with one."""
    own, sent = Letter.__table__.c, _sent(circular).subquery()
    # Outer, and judged here: SQLite would else look through all digests for each letter.
    told = await session.stream(
        select(sent.c.sha256, own.id, own.organization, own.sha256, stored(own.left_at))
        .select_from(sent)
        .outerjoin(Letter.__table__, (own.id == sent.c.letter_id) & (own.circular_id == circular))
    )
    wrong = []
    async for page in told.partitions(_TOGETHER):
        wrong += [
            (number, organization)
            for said, number, organization, sha256, left in page
            if number is not None and (said != sha256 or left is None)
        ]
    unsent = select(own.id, own.organization).where(own.left_at.is_(None), own.sha256.is_not(None))
    wrong += [tuple(one) for one in await session.execute(unsent.where(own.circular_id == circular))]
    what = "it names other bytes than its last outcome"
    return [f"letter {number} ({organization}): {what}" for number, organization in sorted(set(wrong))]


# --- what approval froze --------------------------------------------------------------------------------------------------


async def _frozen(session: AsyncSession, circular: int) -> list[str]:
    """Snapshot, letters and mailboxes against the entry of the approval."""
    c = Circular.__table__.c
    digests = ("text_digest", "mailbox_digest", "lists_revision")
    names = ("state", "reference", *digests, "approved_by", "approved_at", "copy_of")
    row = (
        (await session.execute(select(*(stored(c[name]) for name in names)).where(c.id == circular))).mappings().first()
    )
    entry = await _last(session, circular, "circular-approved")
    if row is None:
        return ["the circular is missing"]
    snapshot = (
        await session.execute(
            select(*(stored(column) for column in Snapshot.__table__.c)).where(Snapshot.circular_id == circular)
        )
    ).first()
    if entry is None:
        frozen = row["state"] not in _UNFROZEN | {CircularState.CANCELLED.value}
        return ["it is approved, and no entry says so"] if frozen or (snapshot is not None and frozen) else []
    if row["state"] in _UNFROZEN:
        return []  # an approval that an update voided
    said, by, at = entry
    told = [
        f"its {name.replace('_', ' ')} is not the one that was approved"
        for name in ("reference", "text_digest", "mailbox_digest", "lists_revision")
        if row[name] != said[name]
    ]
    if moment(row["approved_at"]) != at or row["approved_by"] not in {by, None}:
        told.append("it names another approver or another time of the approval")
    copied = await _last(session, circular, "letter-copied")  # a circular's own chain names its copies too
    if row["copy_of"] != (copied[0]["letter"] if copied and copied[0]["reference"] == row["reference"] else None):
        told.append("the letter that it is a copy of is not the one that was copied")
    if snapshot is None:
        return [*told, "what its approval froze is missing"]
    return told + await _digests(session, circular, said, snapshot)


async def _last(session: AsyncSession, circular: int, action: str) -> tuple[dict[str, Any], str, Any] | None:
    """What the last entry of a kind says, by whom and when."""
    link = Link.__table__.c
    row = (
        await session.execute(
            select(stored(link.subject), link.by, stored(link.at))
            .where(link.chain == chain_of(circular), link.action == action)
            .order_by(link.seq.desc())
            .limit(1)
        )
    ).first()
    return None if row is None else (plain(row[0]), row[1], moment(row[2]))


async def _digests(session: AsyncSession, circular: int, said: Mapping[str, Any], snapshot: Row[Any]) -> list[str]:
    text = hashlib.sha256(canonical(plain(snapshot.document))).hexdigest()
    before, after = await _corrections(session, circular)
    added = await _added(session, circular)
    digests, letters = await digests_of_rows(session, circular, text, before, added)
    box = Recipient.__table__.c
    told = []
    people, wrong = 0, dict(after)
    boxes = select(box.id, box.name, box.address, box.letter_id, stored(box.role), box.contact_id)
    async for page in (await session.stream(boxes.where(box.circular_id == circular))).partitions(_TOGETHER):
        for one in page:
            if one.id not in added:
                people += 1
                if one.id in wrong and wrong[one.id] == (one.name, one.address):
                    del wrong[one.id]
            elif tuple(one[1:]) != ("", added[one.id]["address"], added[one.id]["letter"], Role.TO.value, None):
                told.append(f"recipient {one.id}: it is not the one that was added to its letter")
    own = Letter.__table__.c
    places = await session.stream(
        select(own.position, own.batch).where(own.circular_id == circular).order_by(own.position)
    )
    no, ordered = 0, True
    async for some in places.partitions(_TOGETHER):
        expected = [(no + step, (no + step - 1) // BATCH + 1) for step in range(1, len(some) + 1)]
        ordered = ordered and [tuple(one) for one in some] == expected
        no += len(some)
    if not ordered:
        told.append("its letters are not in the order and the batches of the approval")
    if (digests.text, letters) != (said["text_digest"], said["letters"]):
        told.append(
            "its text, or a letter's organization, audience, form, language or fields, is not what was approved"
        )
    if (digests.mailboxes, people) != (said["mailbox_digest"], said["recipients"]):
        told.append("its mailboxes are not those that were approved and the corrections that were recorded")
    told += [f"recipient {number}: its mailbox is not the one that it was corrected to" for number in wrong]
    rest = rest_digest(plain(snapshot.not_addressed), str(snapshot.mailboxes_of), snapshot.batches)
    if (snapshot.composer, rest) != (said["composer"], said["rest_digest"]):
        told.append(
            "who is not addressed, the day of its mailboxes, its batches or its composer is not what was approved"
        )
    return told


async def _added(session: AsyncSession, circular: int) -> dict[int, Mapping[str, Any]]:
    """Recipients that letters gained after the approval, as their entries name them."""
    link = Link.__table__.c
    rows = await session.scalars(
        select(stored(link.subject)).where(link.chain == chain_of(circular), link.action == ADDED)
    )
    return {said["recipient"]: said for said in map(plain, rows)}


async def _corrections(
    session: AsyncSession, circular: int
) -> tuple[dict[int, tuple[str, str]], dict[int, tuple[str, str]]]:
    """Name and address that corrected recipients had at the approval, and those that they have since the last correction."""
    link = Link.__table__.c
    rows = await session.scalars(
        select(stored(link.subject))
        .where(link.chain == chain_of(circular), link.action == "mailboxes-corrected")
        .order_by(link.seq)
    )
    before: dict[int, tuple[str, str]] = {}
    after: dict[int, tuple[str, str]] = {}
    for row in rows:
        for number, was, now in plain(row)["recipients"]:
            before.setdefault(number, (was[0], was[1]))
            after[number] = (now[0], now[1])
    return before, after


# --- the bytes ------------------------------------------------------------------------------------------------------------


async def _bytes(session: AsyncSession, circular: int, keys: Keys | None) -> list[str]:
    """Letters whose bytes, made again, are not those that their last outcome names; one sentence for all.

    Where another version of the program approved the circular, its bytes can't be made again here, and nothing is said of them; nor
    where its letters are signed with a key that is not here any more.
    """
    document = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == circular))
    if document is None or document["composer"] != COMPOSER:
        return []
    frozen = Frozen(document, await blobs_of(session, document), keys)
    kinds = await session.execute(select(Letter.form, Letter.language).where(Letter.circular_id == circular).distinct())
    for form, language in kinds:
        frozen.part(form, language)  # says which enclosure is missing or changed
    try:
        _ = frozen.signer
    except SettingsError:
        return []
    wrong: list[str] = []
    sent = await session.stream(_sent(circular))
    async for page in sent.partitions(_TOGETHER):
        some = dict(page)
        letters = await session.execute(select(Letter.__table__).where(Letter.id.in_(some)).order_by(Letter.id))
        wrong += [f"{one.id} ({one.organization})" for one in letters if not _same(frozen, one, some[one.id])]
    if not wrong:
        return []
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""  # noqa: PLR2004 - enough to begin looking
    return [f"the bytes of letter {', '.join(wrong[:3])}{more}, made again, are not those that were sent"]


def _sent(circular: int) -> Select[Any]:
    """Letters whose content has left, and the digest that their last outcome with one names; by number."""
    latest = func.row_number().over(
        partition_by=Outcome.letter_id, order_by=(Outcome.link.desc(), Outcome.place.desc())
    )
    named = (
        select(Outcome.letter_id, Outcome.sha256, latest.label("nth"))
        .where(Outcome.circular_id == circular, Outcome.sha256.is_not(None))
        .subquery()
    )
    return select(named.c.letter_id, named.c.sha256).where(named.c.nth == 1).order_by(named.c.letter_id)


def _same(frozen: Frozen, letter: Row[Any], sha256: str) -> bool:
    try:
        if set(letter.mailboxes) != {"to", "cc"}:
            return False
        row = stored_row(letter, letter.mailboxes, letter.dated)
        return any(compose(frozen, version).sha256 == sha256 for version in versions(row))
    except (ChanceryError, ValueError, LookupError, TypeError, AttributeError):
        return False  # what can't be made at all was not sent like this

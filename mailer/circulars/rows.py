"""Writing an approval's rows: the plan first, then letters and recipients batch by batch, each in a transaction of its own.

Killed at any moment, nothing is lost: a batch is either still in the plan or written whole. Letters carry random tokens, so a row
that was written is never written anew under another Message-ID.
"""

import base64
import datetime as dt
import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import Any, cast

from sqlalchemy import String, Table, bindparam, delete, func, insert, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from mailer import bulk
from mailer.circulars.models import Circular, Letter, PlanBatch, Recipient, Snapshot
from mailer.circulars.planning import BATCH, Digests, Planned, as_json
from mailer.circulars.states import CircularState, RecipientState
from mailer.database import Sessions
from mailer.errors import NotAllowedNow
from mailer.register.chain import canonical

#: Batches that one transaction writes; a kill loses none, it only has them written again.
TOGETHER = 20
_TOKEN, _TOKEN_BYTES = 26, 14
_SHARED, _SHARED_BYTES = 4, 3


class Plan:
    """The letters of an approval on their way from the check to the table of plans.

    Few are kept here until `rows.store_plan`; of many, batches are written while the check goes on, since a list may be of any size.
    """

    def __init__(self, database: Sessions, circular_id: int) -> None:
        self._database, self._circular = database, circular_id
        self.run = os.urandom(8).hex()
        self.digests = Digests("")
        self.batches = 0
        self._open: list[Planned] = []
        self._ready: list[str] = []
        self._stored = 0

    def begin(self, snapshot_digest: str) -> None:
        """The letters of this snapshot come."""
        self.digests = Digests(snapshot_digest)

    async def take(self, letters: Sequence[Planned], session: AsyncSession | None = None) -> None:
        """The next letters, any number of them; what is written is written in *session*, or in a transaction of its own.

        Raises:
            NotAllowedNow: the circular is a draft no more; somebody else approves it.
        """
        self._open += letters
        while len(self._open) >= BATCH:
            self._close(self._open[:BATCH])
            del self._open[:BATCH]
        if len(self._ready) < TOGETHER:
            return
        if session is not None:
            await self._store(session)
            return
        async with self._database.write() as own:
            await _still_draft(own, self._circular)
            await self._store(own)

    def _close(self, letters: Sequence[Planned]) -> None:
        self.digests.take_planned(letters)
        self.batches += 1
        self._ready.append(as_json(letters))

    async def _store(self, session: AsyncSession) -> None:
        first = self._stored + 1
        await _insert_plans(
            session, [(self._circular, self.run, no, letters) for no, letters in enumerate(self._ready, first)]
        )
        self._stored += len(self._ready)
        self._ready.clear()

    def finish(self) -> None:
        """No more letters come."""
        if self._open:
            self._close(self._open)
            self._open = []

    async def store(self, session: AsyncSession) -> bool:
        """Store what is not stored yet, and let nothing but this plan stand; False where a part of it is gone."""
        await self._store(session)
        own = (PlanBatch.circular_id == self._circular, PlanBatch.run == self.run)
        await session.execute(
            delete(PlanBatch).where(PlanBatch.circular_id == self._circular, PlanBatch.run != self.run)
        )
        return await session.scalar(select(func.count()).where(*own)) == self.batches

    async def discard(self) -> None:
        """Take away what was stored."""
        if self._stored:
            async with self._database.write() as session:
                own = (PlanBatch.circular_id == self._circular, PlanBatch.run == self.run)
                await session.execute(delete(PlanBatch).where(*own))


async def _still_draft(session: AsyncSession, circular_id: int) -> None:
    columns = (Circular.state, Circular.reference, Circular.approved_by)
    row = (await session.execute(select(*columns).where(Circular.id == circular_id))).one()
    if row.state != CircularState.DRAFT:
        raise approved_by_another(row.approved_by, row.reference or f"draft {circular_id}")


def approved_by_another(who: str | None, name: str) -> NotAllowedNow:
    """What is said to whoever approves a circular that somebody else is approving."""
    return NotAllowedNow(
        f"{who} approves it just now",
        where=name,
        remedy="look again in a moment; if that was broken off, approve again",
    )


async def _insert_plans(session: AsyncSession, plans: list[tuple[int, str, int, str]]) -> None:
    table = cast("Table", PlanBatch.__table__)
    await bulk.insert_rows(await session.connection(), table, ("circular_id", "run", "no", "letters"), plans)


async def store_snapshot(
    session: AsyncSession,
    circular_id: int,
    *,
    document: dict[str, Any],
    batches: int,
    not_addressed: Sequence[dict[str, Any]],
    mailboxes_of: dt.date,
) -> None:
    """Freeze *document*; in the caller's transaction, which stores the plan too."""
    await session.execute(
        insert(Snapshot).values(
            circular_id=circular_id,
            composer=document["composer"],
            document=document,
            mailboxes_of=mailboxes_of,
            batches=batches,
            not_addressed=list(not_addressed),
        )
    )


async def store_plan(
    session: AsyncSession,
    circular_id: int,
    *,
    document: dict[str, Any],
    planned: Sequence[Planned],
    not_addressed: Sequence[dict[str, Any]],
    mailboxes_of: dt.date,
) -> None:
    """Freeze *document* and the letters that are to be written; in the caller's transaction."""
    batches = [as_json(planned[start : start + BATCH]) for start in range(0, len(planned), BATCH)]
    await store_snapshot(
        session,
        circular_id,
        document=document,
        batches=len(batches),
        not_addressed=not_addressed,
        mailboxes_of=mailboxes_of,
    )
    run = os.urandom(8).hex()
    await _insert_plans(session, [(circular_id, run, no, letters) for no, letters in enumerate(batches, 1)])


async def write_next(database: Sessions, circular_id: int, most: int = 1) -> int:
    """Write the next planned batches as rows, at most *most*, in one transaction; the number of their letters, 0 when none is left."""
    written = 0
    async with database.write() as session:
        run = await session.scalar(select(PlanBatch.run).where(PlanBatch.circular_id == circular_id).limit(1))
        # the whole key but its last term: without the run, the plans that are left would be sorted for each batch
        own = (PlanBatch.circular_id == circular_id, PlanBatch.run == run)
        wanted = select(PlanBatch.no, PlanBatch.letters).where(*own).order_by(PlanBatch.no).limit(1)
        while run is not None and most > 0:
            found = (await session.execute(wanted.with_for_update())).first()
            if found is None:
                break
            letters = json.loads(found.letters)
            await _insert(session, circular_id, found.no, letters)
            await session.execute(delete(PlanBatch).where(*own, PlanBatch.no == found.no))
            written += len(letters)
            most -= 1
    return written


async def _insert(session: AsyncSession, circular_id: int, batch: int, letters: Sequence[Sequence[Any]]) -> None:
    """Insert the letters of a batch, each as `Planned` is in JSON."""
    connection = await session.connection()
    table, recipients = cast("Table", Letter.__table__), cast("Table", Recipient.__table__)
    stored = bulk.processor(connection, table, "fields")
    first = (batch - 1) * BATCH + 1
    await bulk.insert_rows(
        connection,
        table,
        ("circular_id", "batch", "position", *_PLANNED, "fields", "token", "fruitless"),
        [
            (circular_id, batch, position, *letter[:_FIELDS], stored(letter[_FIELDS]), token, 0)
            for position, letter, token in zip(count(first), letters, tokens(len(letters)), strict=False)
        ],
    )
    # The numbers are asked for once per batch: handing them back row by row would end the fast path of inserts.
    numbered = await connection.execute(_NUMBERS, {"circular": circular_id, "batch": batch})
    ids: dict[int, int] = dict(numbered.all())
    queued = RecipientState.QUEUED.value
    await bulk.insert_rows(
        connection,
        recipients,
        ("letter_id", "circular_id", "batch", "contact_id", "address", "name", "role", "state", "tries"),
        [
            (ids[position], circular_id, batch, *box, queued, 0)
            for position, letter in enumerate(letters, first)
            for box in letter[_MAILBOXES]
        ],
    )


_NUMBERS = select(Letter.position, Letter.id).where(
    Letter.circular_id == bindparam("circular"), Letter.batch == bindparam("batch")
)
#: The columns of a letter that a plan has as they are, in its order; `fields` and mailboxes come after them.
_PLANNED = ("organization_id", "organization", "state_iso3", "audience", "role", "form", "language", "why")
_FIELDS, _MAILBOXES = 8, 9


async def digests_of_rows(
    session: AsyncSession,
    circular_id: int,
    snapshot_digest: str,
    corrected: Mapping[int, tuple[str, str]] | None = None,
    added: Collection[int] = (),
) -> tuple[Digests, int]:
    """The digests over the rows as they are in the database, and the number of letters.

    *corrected* gives name and address that a recipient (by id) had at the approval, where they were corrected since; *added* are
    recipients that were not there then.
    """
    before = corrected or {}
    connection = await session.connection()
    letter, mailbox = cast("Table", Letter.__table__).c, cast("Table", Recipient.__table__).c
    columns = [type_coerce(letter[name], String) for name in _PLANNED[1:-1]]
    letters = (
        select(letter.id, letter.organization_id, *columns, letter.fields)
        .where(letter.circular_id == circular_id, letter.batch == bindparam("no"))
        .order_by(letter.position)
    )
    recipients = (
        select(
            mailbox.id,
            mailbox.letter_id,
            mailbox.contact_id,
            mailbox.address,
            mailbox.name,
            type_coerce(mailbox.role, String),
        )
        # between: the index of batches has open recipients only, and without it each batch would look at all there are
        .where(mailbox.letter_id.between(bindparam("first"), bindparam("last")))
        .where(mailbox.circular_id == circular_id, mailbox.batch == bindparam("no"))
        .order_by(mailbox.letter_id, mailbox.id)
    )
    digests, batch, taken = Digests(snapshot_digest), 0, 0
    while True:
        batch += 1
        rows = (await connection.execute(letters, {"no": batch})).all()
        if not rows:
            return digests, taken
        boxes: dict[int, list[list[Any]]] = {row[0]: [] for row in rows}
        among = {"no": batch, "first": min(boxes), "last": max(boxes)}
        for one, letter_id, *box in await connection.execute(recipients, among):
            if one in added:
                continue
            if one in before:
                box[2], box[1] = before[one]
            boxes[letter_id].append(box)
        digests.take([row[1:] for row in rows], list(boxes.values()))
        taken += len(rows)


def rest_digest(not_addressed: Sequence[Any], mailboxes_of: str, batches: int) -> str:
    """sha256 over what approval froze beside text and letters: who gets none, the day of the mailboxes (ISO), how many batches."""
    return hashlib.sha256(canonical([list(not_addressed), mailboxes_of, batches])).hexdigest()


async def drop(session: AsyncSession, circular_id: int) -> None:
    """Take away all that an approval has written."""
    for table in (Recipient, Letter, PlanBatch, Snapshot):
        await session.execute(delete(table).where(table.circular_id == circular_id))


def tokens(many: int) -> list[str]:
    """So many random tokens for one batch: 26 characters of base32 in lower case.

    The first four are the batch's own, the other 22 (110 bits) each letter's: so those of a batch stand together in the index, and
    writing them does not touch a page of it each.
    """
    shared = base64.b32encode(os.urandom(_SHARED_BYTES))[:_SHARED]
    noise = base64.b32encode(os.urandom(_TOKEN_BYTES * many)).decode("ascii").lower()
    prefix, size = shared.decode("ascii").lower(), _TOKEN - _SHARED
    return [prefix + noise[start : start + size] for start in range(0, size * many, size)]

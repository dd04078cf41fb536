"""Writing an approval's rows: the plan first, then letters and recipients batch by batch, each in a transaction of its own.

Killed at any moment, nothing is lost: a batch is either still in the plan or written whole. Letters carry random tokens, so a row
that was written is never written anew under another Message-ID.
"""

import base64
import datetime as dt
import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import String, Table, bindparam, delete, insert, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from mailer import bulk
from mailer.circulars.models import Letter, PlanBatch, Recipient, Snapshot
from mailer.circulars.planning import Digests, Planned
from mailer.circulars.states import RecipientState
from mailer.database import Sessions
from mailer.register.chain import canonical

#: Letters per batch (DESIGN section 4).
BATCH = 500
_TOKEN, _TOKEN_BYTES = 26, 17


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
    batches = [planned[start : start + BATCH] for start in range(0, len(planned), BATCH)]
    await session.execute(
        insert(Snapshot).values(
            circular_id=circular_id,
            composer=document["composer"],
            document=document,
            mailboxes_of=mailboxes_of,
            batches=len(batches),
            not_addressed=list(not_addressed),
        )
    )
    if batches:
        await session.execute(
            insert(PlanBatch),
            [
                {"circular_id": circular_id, "no": no, "letters": [letter.as_json() for letter in batch]}
                for no, batch in enumerate(batches, 1)
            ],
        )


async def write_next(database: Sessions, circular_id: int) -> int:
    """Write the next planned batch as rows, in one transaction; gives the number of its letters, 0 when none is left."""
    async with database.write() as session:
        here = PlanBatch.circular_id == circular_id
        found = (
            await session.execute(
                select(PlanBatch.no, PlanBatch.letters).where(here).order_by(PlanBatch.no).limit(1).with_for_update()
            )
        ).first()
        if found is None:
            return 0
        await _insert(session, circular_id, found.no, found.letters)
        await session.execute(delete(PlanBatch).where(here, PlanBatch.no == found.no))
        return len(found.letters)


async def _insert(session: AsyncSession, circular_id: int, batch: int, letters: Sequence[Sequence[Any]]) -> None:
    """Insert the letters of a batch, each as `Planned.as_json` gave it."""
    connection = await session.connection()
    table, recipients = cast("Table", Letter.__table__), cast("Table", Recipient.__table__)
    as_json = bulk.processor(connection, table, "fields")
    first = (batch - 1) * BATCH + 1
    await bulk.insert_rows(
        connection,
        table,
        ("circular_id", "batch", "position", *_PLANNED, "fields", "token", "fruitless"),
        (
            (circular_id, batch, position, *letter[:_FIELDS], as_json(letter[_FIELDS]), token, 0)
            for (position, letter), token in zip(enumerate(letters, first), tokens(len(letters)), strict=True)
        ),
    )
    # The numbers are asked for once per batch: handing them back row by row would end the fast path of inserts.
    numbered = await session.execute(
        select(Letter.position, Letter.id).where(Letter.circular_id == circular_id, Letter.batch == batch)
    )
    ids: dict[int, int] = {position: number for position, number in numbered}  # noqa: C416 - typed rows
    queued = RecipientState.QUEUED.value
    await bulk.insert_rows(
        connection,
        recipients,
        ("letter_id", "circular_id", "batch", "contact_id", "address", "name", "role", "state", "tries"),
        (
            (ids[position], circular_id, batch, *box, queued, 0)
            for position, letter in enumerate(letters, first)
            for box in letter[_MAILBOXES]
        ),
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
    letter, box = cast("Table", Letter.__table__).c, cast("Table", Recipient.__table__).c
    columns = [type_coerce(letter[name], String) for name in _PLANNED[1:-1]]
    letters = (
        select(letter.id, letter.organization_id, *columns, letter.fields)
        .where(letter.circular_id == circular_id, letter.batch == bindparam("no"))
        .order_by(letter.position)
    )
    recipients = (
        select(box.id, box.letter_id, box.contact_id, box.address, box.name, type_coerce(box.role, String))
        .where(box.circular_id == circular_id, box.batch == bindparam("no"))
        .order_by(box.id)
    )
    digests, batch, count = Digests(snapshot_digest), 0, 0
    while True:
        batch += 1
        rows = (await connection.execute(letters, {"no": batch})).all()
        if not rows:
            return digests, count
        boxes: dict[int, list[list[Any]]] = {row[0]: [] for row in rows}
        for one, letter_id, contact_id, address, name, role in await connection.execute(recipients, {"no": batch}):
            if one in added:
                continue
            was_name, was_address = before.get(one, (name, address))
            boxes[letter_id].append([contact_id, was_address, was_name, role])
        for number, *said in rows:
            digests.take(said, boxes[number])
        count += len(rows)


def rest_digest(not_addressed: Sequence[Any], mailboxes_of: str, batches: int) -> str:
    """sha256 over what approval froze beside text and letters: who gets none, the day of the mailboxes (ISO), how many batches."""
    return hashlib.sha256(canonical([list(not_addressed), mailboxes_of, batches])).hexdigest()


async def drop(session: AsyncSession, circular_id: int) -> None:
    """Take away all that an approval has written."""
    for table in (Recipient, Letter, PlanBatch, Snapshot):
        await session.execute(delete(table).where(table.circular_id == circular_id))


def tokens(count: int) -> list[str]:
    """So many random tokens: 26 characters of base32 in lower case (130 bits)."""
    noise = os.urandom(_TOKEN_BYTES * count)
    return [
        base64.b32encode(noise[start : start + _TOKEN_BYTES])[:_TOKEN].decode("ascii").lower()
        for start in range(0, len(noise), _TOKEN_BYTES)
    ]

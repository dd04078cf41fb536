"""Writing an approval's rows: the plan first, then letters and recipients batch by batch, each in a transaction of its own.

Killed at any moment, nothing is lost: a batch is either still in the plan or written whole. Letters carry random tokens, so a row
that was written is never written anew under another Message-ID.
"""

import base64
import datetime as dt
import os
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Letter, PlanBatch, Recipient, Snapshot
from mailer.circulars.planning import Digests, Planned
from mailer.circulars.states import RecipientState
from mailer.database import Sessions

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
        letters = [Planned.from_json(plain) for plain in found.letters]
        await _insert(session, circular_id, found.no, letters)
        await session.execute(delete(PlanBatch).where(here, PlanBatch.no == found.no))
        return len(letters)


async def _insert(session: AsyncSession, circular_id: int, batch: int, letters: Sequence[Planned]) -> None:
    first = (batch - 1) * BATCH + 1
    # Tables, not mapped classes: the mapper would cost more than the database.
    connection = await session.connection()
    await connection.execute(
        insert(Letter.__table__),  # type: ignore[arg-type] # declared as FromClause; it is a Table
        [
            {
                "circular_id": circular_id,
                "batch": batch,
                "position": position,
                "organization_id": letter.organization_id,
                "organization": letter.organization,
                "state_iso3": letter.state_iso3,
                "audience": letter.audience,
                "role": letter.role,
                "form": letter.form,
                "language": letter.language,
                "why": letter.why,
                "fields": letter.fields,
                "token": token,
                "fruitless": 0,
            }
            for (position, letter), token in zip(enumerate(letters, first), tokens(len(letters)), strict=True)
        ],
    )
    # The numbers are asked for once per batch: handing them back row by row would end the fast path of inserts.
    ids = dict(
        (
            await session.execute(
                select(Letter.position, Letter.id).where(Letter.circular_id == circular_id, Letter.batch == batch)
            )
        ).all()
    )
    await connection.execute(
        insert(Recipient.__table__),  # type: ignore[arg-type] # as above
        [
            {
                "letter_id": ids[position],
                "circular_id": circular_id,
                "batch": batch,
                "contact_id": box.contact_id,
                "address": box.address,
                "name": box.name,
                "role": box.role,
                "state": RecipientState.QUEUED,
                "tries": 0,
            }
            for position, letter in enumerate(letters, first)
            for box in letter.mailboxes
        ],
    )


async def digests_of_rows(session: AsyncSession, circular_id: int, snapshot_digest: str) -> tuple[Digests, int]:
    """The digests over the rows as they are in the database, and the number of letters."""
    digests, batch, letters = Digests(snapshot_digest), 0, 0
    while True:
        batch += 1
        rows = (
            await session.execute(
                select(
                    Letter.id,
                    Letter.organization_id,
                    Letter.organization,
                    Letter.state_iso3,
                    Letter.audience,
                    Letter.role,
                    Letter.form,
                    Letter.language,
                    Letter.fields,
                )
                .where(Letter.circular_id == circular_id, Letter.batch == batch)
                .order_by(Letter.position)
            )
        ).all()
        if not rows:
            return digests, letters
        boxes: dict[int, list[list[Any]]] = {row.id: [] for row in rows}
        found = await session.execute(
            select(Recipient.letter_id, Recipient.contact_id, Recipient.address, Recipient.name, Recipient.role)
            .where(Recipient.circular_id == circular_id, Recipient.batch == batch)
            .order_by(Recipient.id)
        )
        for letter_id, contact_id, address, name, role in found:
            boxes[letter_id].append([contact_id, address, name, str(role)])
        for row in rows:
            digests.take(
                organization_id=row.organization_id,
                organization=row.organization,
                state_iso3=row.state_iso3,
                audience=row.audience,
                role=str(row.role),
                form=str(row.form),
                language=row.language,
                fields=row.fields,
                mailboxes=boxes[row.id],
            )
        letters += len(rows)


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

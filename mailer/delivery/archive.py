"""Keeping the bytes that were sent, where the settings ask for it (`delivery.archive`).

A letter's digest is the sha256 of its head, or of its head and the 32 octets of its enclosures' own sha256 (`mime.message.digest`). So
what was digested is kept as a blob under that digest, and the enclosures, once for all letters of a language, under theirs. Bytes are
made again for it from what approval froze; what would not be the same is not kept. Whatever left before a death is kept at the next start.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.kinds import Form
from mailer.circulars.compose import Composed, LetterRow, compose, versions
from mailer.circulars.drafting import store_blob
from mailer.circulars.frozen import Frozen
from mailer.circulars.models import Blob, Letter
from mailer.database import Sessions
from mailer.errors import ChanceryError, DatabaseError

#: Letters kept in one transaction.
_TOGETHER = 100
_SHA256 = 32


async def keep(sessions: Sessions, circular_id: int, load: Callable[[int], Awaitable[Frozen]]) -> int:
    """Keep the bytes of every letter of a circular that has left and is not kept yet; gives their number."""
    count, last = 0, 0
    while letters := await _missing(sessions, circular_id, last):
        last = letters[-1].id
        try:
            frozen = await load(circular_id)
            made = [(one, [compose(frozen, version) for version in versions(_row(one))]) for one in letters]
        except DatabaseError:
            raise
        except ChanceryError:  # another version, or a key that is gone: it can't be made again here
            return count
        same = [several for one, several in made if one.sha256 in {composed.sha256 for composed in several}]
        async with sessions.write() as session:
            for composed in chain.from_iterable(same):
                await _store(session, composed)
        count += len(same)
    return count


async def keep_all(sessions: Sessions, load: Callable[[int], Awaitable[Frozen]]) -> None:
    """The same for every circular: what a death, or the settings of then, left out."""
    async with sessions.read() as session:
        circulars = (await session.scalars(select(Letter.circular_id).where(*_UNKEPT).distinct())).all()
    for circular in circulars:
        await keep(sessions, circular, load)


async def kept(session: AsyncSession, sha256: str) -> bytes | None:
    """The whole letter with this digest, as it was sent; None: it was not kept, or is not whole any more."""
    digested = await session.scalar(select(Blob.data).where(Blob.sha256 == sha256))
    if digested is None or hashlib.sha256(digested).hexdigest() != sha256:
        return None
    tail = digested[-_SHA256:].hex()
    shared = await session.scalar(select(Blob.data).where(Blob.sha256 == tail))
    if shared is None:  # a head alone: its end is text, and no digest of anything
        return digested if digested.endswith(b"\r\n") else None
    return digested[:-_SHA256] + shared if hashlib.sha256(shared).hexdigest() == tail else None


_UNKEPT = (
    Letter.left_at.is_not(None),
    Letter.sha256.is_not(None),
    ~exists(select(Blob.sha256).where(Blob.sha256 == Letter.sha256)),
)


async def _missing(sessions: Sessions, circular_id: int, after: int) -> Sequence[Any]:
    async with sessions.read() as session:
        rows = await session.execute(
            select(Letter.__table__)
            .where(Letter.circular_id == circular_id, Letter.id > after, *_UNKEPT)
            .order_by(Letter.id)
            .limit(_TOGETHER)
        )
        return rows.all()


def _row(letter: Any) -> LetterRow:
    to, cc = (tuple((name, address) for name, address in letter.mailboxes[key]) for key in ("to", "cc"))
    return LetterRow(
        id=letter.id,
        token=letter.token,
        form=Form(letter.form),
        language=letter.language,
        fields=letter.fields,
        dated=letter.dated,
        to=to,
        cc=cc,
    )


async def _store(session: AsyncSession, composed: Composed) -> None:
    payload, digested = composed.payload, composed.payload.head
    for part in payload.tail:
        digested += bytes.fromhex(await store_blob(session, bytes(part)))
    await store_blob(session, digested, composed.sha256)

"""Keeping the bytes that were sent, where the settings or a circular ask for it (`archive`), and sending them again.

A letter's digest is the sha256 of its head, or of its head and the 32 octets of its enclosures' own sha256 (`mime.message.digest`). So
what was digested is kept as a blob under that digest, and the enclosures, once for all letters of a language, under theirs. Bytes are
made again for it from what approval froze; what would not be the same is not kept. Whatever left before a death is kept at the next start.

Bytes that are kept can be sent again by a version of the program that can't make them: those of letters that have left before, and are
to be tried again.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.compose import Composed, LetterRow, merge, sign, stored_row, versions
from mailer.circulars.frozen import Frozen
from mailer.circulars.models import Blob, Circular, Letter, Recipient
from mailer.database import Sessions
from mailer.delivery.due import WAITING
from mailer.errors import ChanceryError, DatabaseError
from mailer.transport.base import Payload

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
            made = await _made(frozen, letters)
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


async def _made(frozen: Frozen, letters: Sequence[Any]) -> list[tuple[Any, list[Composed]]]:
    """Letters with each version of their bytes; signed in a thread, so that those on the way need not wait for it."""
    merged = [(one, [merge(frozen, version) for version in _versions(one)]) for one in letters]
    signer = frozen.signer

    def signed() -> list[tuple[Any, list[Composed]]]:
        return [(one, [sign(each, signer) for each in several]) for one, several in merged]

    return signed() if signer is None else await asyncio.to_thread(signed)


async def keep_all(sessions: Sessions, load: Callable[[int], Awaitable[Frozen]], *, default: bool) -> None:
    """The same for every circular that asks for it, or by *default*: what a death, or the settings of then, left out."""
    wanted = select(Circular.id).where(Circular.archive.is_not(False) if default else Circular.archive.is_(True))
    async with sessions.read() as session:
        circulars = (
            await session.scalars(select(Letter.circular_id).where(Letter.circular_id.in_(wanted), *_UNKEPT).distinct())
        ).all()
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


async def ready(sessions: Sessions, frozen: Frozen, letters: Sequence[int]) -> set[int]:
    """Of *letters* of a circular of another version, those whose kept bytes can be sent again; they are put into `frozen.archived`."""
    unknown = [one for one in letters if one not in frozen.archived]
    async with sessions.read() as session:
        rows = await session.execute(
            select(Letter.__table__, Blob.data)
            .join(Blob, Blob.sha256 == Letter.sha256)
            .where(Letter.id.in_(unknown), Letter.left_at.is_not(None))
        )
        for one in rows.all():
            if len(_versions(one)) > 1 or hashlib.sha256(one.data).hexdigest() != one.sha256:
                continue
            payload = await _payload(session, one.data, frozen.archived_parts)
            if payload is not None:
                message_id = frozen.message_id(one.token)
                frozen.archived[one.id] = Composed(payload, one.sha256, message_id, payload.size)
    return set(letters) & frozen.archived.keys()


async def _payload(session: AsyncSession, digested: bytes, parts: dict[str, bytes | None]) -> Payload | None:
    """What was digested, as it goes to a relay; enclosures are read once for all letters."""
    tail = digested[-_SHA256:].hex()
    if tail not in parts and not digested.endswith(b"\r\n"):
        data = await session.scalar(select(Blob.data).where(Blob.sha256 == tail))
        parts[tail] = data if data is not None and hashlib.sha256(data).hexdigest() == tail else None
    if (enclosed := parts.get(tail)) is not None:
        return Payload(digested[:-_SHA256], (enclosed,))
    return Payload(digested) if digested.endswith(b"\r\n") else None


async def left_to_send(sessions: Sessions, circular_id: int) -> tuple[bool, bool]:
    """Whether letters of a circular wait whose bytes were kept, and whether any others do."""
    with_bytes = exists(select(Blob.sha256).where(Blob.sha256 == Letter.sha256)) & Letter.left_at.is_not(None)
    waiting = (
        select(Recipient.id)
        .join(Letter, Letter.id == Recipient.letter_id)
        .where(Recipient.circular_id == circular_id, Recipient.state.in_(WAITING))
        .limit(1)
    )
    async with sessions.read() as session:
        some = await session.scalar(waiting.where(with_bytes))
        others = await session.scalar(waiting.where(~with_bytes))
    return some is not None, others is not None


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


def _versions(letter: Any) -> Sequence[LetterRow]:
    return versions(stored_row(letter, letter.mailboxes, letter.dated))


async def _store(session: AsyncSession, composed: Composed) -> None:
    from mailer.circulars.drafting import store_blob  # what is only looked up needs no drafts

    payload, digested = composed.payload, composed.payload.head
    for part in payload.tail:
        digested += bytes.fromhex(await store_blob(session, bytes(part)))
    await store_blob(session, digested, composed.sha256)

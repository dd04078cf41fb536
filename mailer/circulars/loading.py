"""A circular's frozen text, read for composing; apart from `snapshot`, which makes it, since sending need not load what that takes."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.frozen import Frozen
from mailer.circulars.keys import Keys
from mailer.circulars.models import Blob, Snapshot
from mailer.errors import NotFound


async def load_frozen(
    session: AsyncSession, circular_id: int, keys: Keys | None = None, *, foreign: bool = False
) -> Frozen:
    """The circular's snapshot with its files, ready for composing; *keys* sign its letters, where they are signed.

    *foreign*: one of another version of the program is given too, to send letters of it whose bytes were kept.

    Raises:
        NotFound: the circular is not approved.
        CannotDo: another version of the program approved it.
    """
    document = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == circular_id))
    if document is None:
        raise NotFound(
            "it has no approved text", where=f"circular {circular_id}", remedy="approve it: chancery circular approve"
        )
    return Frozen(document, await blobs_of(session, document), keys, foreign=foreign)


async def blobs_of(session: AsyncSession, document: Mapping[str, Any]) -> dict[str, bytes]:
    """The bytes of every file that a snapshot encloses, by sha256."""
    wanted = {file["sha256"] for enclosed in document["enclosures"].values() for file in enclosed["files"]}
    found = await session.execute(select(Blob.sha256, Blob.data).where(Blob.sha256.in_(wanted)))
    return dict(found.all())

"""Who has answered since: asked as letters of a reminder are claimed."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.models import Circular


class NoLongerDue:
    """Tells letters of a reminder whose organizations have answered its circular since, with the reason."""

    def __init__(self) -> None:
        #: circular -> the one that it reminds of; None: it is no reminder. Neither ever changes
        self._parents: dict[int, int | None] = {}

    async def __call__(self, session: AsyncSession, circular_id: int, letters: Mapping[int, int]) -> Mapping[int, str]:
        """As `claims.NoLongerDue` says."""
        if circular_id not in self._parents:
            of = (Circular.id == circular_id, Circular.copy_of.is_(None))  # who asks for a copy may have answered
            self._parents[circular_id] = await session.scalar(select(Circular.parent_id).where(*of))
        parent = self._parents[circular_id]
        if parent is None:
            return {}
        from mailer.replies import service as replies

        answered = await replies.answered(session, parent)
        return {letter: "it has answered since" for letter, organization in letters.items() if organization in answered}

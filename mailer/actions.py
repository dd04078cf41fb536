"""What schedules do when they fire: let a circular go, write a reminder and let it go."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from mailer.app import App
from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState
from mailer.delivery.service import Delivery


@dataclass(frozen=True)
class Actions:
    """Implements `schedule.firing.Actions` for an open home."""

    app: App
    delivery: Delivery

    async def start_sending(self, circular_id: int) -> None:
        """Let an approved circular go; one that has gone stays as it is."""
        async with self.app.database.read() as session:
            state = await session.scalar(select(Circular.state).where(Circular.id == circular_id))
        if state not in {CircularState.SENDING, CircularState.PAUSED, CircularState.SENT}:
            await self.delivery.start(circular_id, by="ticker")

    async def remind(self, parent_id: int, ordinal: int, organizations: Sequence[int]) -> int:
        """Write a reminder's letters and let them go; again, it finishes what was begun."""
        from mailer.circulars import service as circulars

        made = await circulars.freeze_reminder(
            self.app.database, self.app.clock, parent_id, ordinal, organizations, by="ticker"
        )
        await self.start_sending(made)
        return made

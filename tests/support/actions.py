"""What schedules do, as rows only: stands in for `app`'s actions, idempotent as they are, and can die on order."""

from collections.abc import Sequence

from sqlalchemy import select

from lists.models import Organization
from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState, RecipientState
from mailer.database import Database
from tests.support import rows


class Died(BaseException):
    """The process is gone: nothing after this runs."""


class RowActions:
    """Writes the reminder's circular and letters; `calls` says what was asked, `made` how many reminders were made."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.calls: list[tuple] = []
        self.made = 0
        self.die_before = False
        self.die_after = False
        self.fail_with: Exception | None = None

    async def start_sending(self, circular_id: int) -> None:
        self.calls.append(("send", circular_id))
        self._fate(before=True)
        async with self.database.write() as session:
            circular = await session.get(Circular, circular_id)
            if circular.state == CircularState.APPROVED:
                circular.state = CircularState.SENDING
                self.made += 1
        self._fate(before=False)

    async def remind(self, parent_id: int, ordinal: int, organizations: Sequence[int]) -> int:
        self.calls.append(("remind", parent_id, ordinal, tuple(organizations)))
        self._fate(before=True)
        async with self.database.write() as session:
            made = await session.scalar(
                select(Circular).where(Circular.parent_id == parent_id, Circular.ordinal == ordinal)
            )
            if made is None:
                parent = await session.get(Circular, parent_id)
                made = await rows.circular(
                    session, reference=f"{parent.reference}/R{ordinal}", parent=parent, ordinal=ordinal
                )
                for number in organizations:
                    to = await session.get(Organization, number)
                    await rows.letter(session, made, to, {f"r{number}@x.example": RecipientState.QUEUED})
                self.made += 1
        self._fate(before=False)
        return made.id

    def _fate(self, *, before: bool) -> None:
        if before and self.fail_with is not None:
            raise self.fail_with
        if before and self.die_before:
            self.die_before = False
            raise Died
        if not before and self.die_after:
            self.die_after = False
            raise Died

"""Table: what is to happen at a time.

Every step of a schedule is a compare-and-set of `next_at`, the moment at which a clock should look at it again. Two clocks that
look at once therefore can't both take it, and one that died while acting is noticed: its `next_at` comes.
"""

import datetime as dt
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from lists.db import Base, EnumText


class ScheduleKind(StrEnum):
    """What a schedule does when it fires."""

    SEND = "send"  #: start an approved circular
    REMINDER = "reminder"  #: write to those who have not answered


class ScheduleState(StrEnum):
    """Where a schedule stands."""

    WAITING = "waiting"
    FIRING = "firing"  #: a clock has taken it and acts; if it dies, another goes on at `next_at`
    FIRED = "fired"
    HELD = "held"  #: its circular is paused
    MISSED = "missed"  #: it fell due while nothing ran, too long ago to act unasked; or it could not be done
    CANCELLED = "cancelled"


#: Those that a clock looks at.
LIVE = frozenset({ScheduleState.WAITING, ScheduleState.FIRING})


class Schedule(Base):
    """One thing to do once, at `due_at`."""

    __tablename__ = "schedule"
    __table_args__ = (UniqueConstraint("circular_id", "kind", "ordinal"), Index(None, "state", "next_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    circular_id: Mapped[int] = mapped_column(ForeignKey("circular.id"))
    kind: Mapped[ScheduleKind] = mapped_column(EnumText(ScheduleKind))
    #: which reminder, from 1; 0 for sending
    ordinal: Mapped[int] = mapped_column(default=0)
    state: Mapped[ScheduleState] = mapped_column(EnumText(ScheduleState), default=ScheduleState.WAITING)
    #: when it is to happen
    due_at: Mapped[dt.datetime]
    #: when a clock looks at it next: `due_at`, the end of the claim of the one that acts, or the next try
    next_at: Mapped[dt.datetime]
    #: how `due_at` was found, in words: "3 days before 14 July 2006, at 09:00 (Europe/Zurich)"
    rule: Mapped[str] = mapped_column(Text)
    zone: Mapped[str] = mapped_column(String(60))
    fired_at: Mapped[dt.datetime | None]
    #: the reminder's circular
    made_id: Mapped[int | None] = mapped_column(ForeignKey("circular.id"))
    #: what came of it, in words: how many were reminded and who was not, or the reason it was missed
    why: Mapped[str | None] = mapped_column(Text)

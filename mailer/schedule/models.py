"""Table: what is to happen at a time. Firing changes `next_at` by compare-and-set, so that two clocks can't both fire it."""

import datetime as dt
from enum import StrEnum

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from lists.db import Base, enum_text


class ScheduleKind(StrEnum):
    """What a schedule does when it fires."""

    SEND = "send"  #: start an approved circular
    REMINDER = "reminder"  #: write to those who have not answered


class ScheduleState(StrEnum):
    """Where a schedule stands."""

    WAITING = "waiting"
    FIRED = "fired"
    HELD = "held"  #: its circular is paused
    MISSED = "missed"  #: it fell due while nothing ran, too long ago to act unasked
    CANCELLED = "cancelled"


class Schedule(Base):
    """One thing to do once, at `next_at`."""

    __tablename__ = "schedule"
    __table_args__ = (UniqueConstraint("circular_id", "kind", "ordinal"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    circular_id: Mapped[int] = mapped_column(ForeignKey("circular.id"))
    kind: Mapped[ScheduleKind] = mapped_column(enum_text())
    #: which reminder, from 1; 0 for sending
    ordinal: Mapped[int] = mapped_column(default=0)
    state: Mapped[ScheduleState] = mapped_column(enum_text(), default=ScheduleState.WAITING)
    next_at: Mapped[dt.datetime | None]
    #: how `next_at` was found, in words: "3 days before 14 July 2006, 09:00 Europe/Zurich"
    rule: Mapped[str] = mapped_column(Text)
    zone: Mapped[str] = mapped_column(String(60))
    fired_at: Mapped[dt.datetime | None]
    #: what came of it: the reminder's circular, the reason it was missed
    made_id: Mapped[int | None] = mapped_column(ForeignKey("circular.id"))
    why: Mapped[str | None] = mapped_column(Text)

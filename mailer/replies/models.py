"""Table: what an organization answered to a circular."""

import datetime as dt

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from lists.db import Base


class Reply(Base):
    """One answer; several from an organization are kept, the last one counts."""

    __tablename__ = "reply"
    __table_args__ = (Index(None, "circular_id", "organization_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    circular_id: Mapped[int] = mapped_column(ForeignKey("circular.id"))
    organization_id: Mapped[int] = mapped_column(ForeignKey("organization.id"))
    #: the coordinator's word: attends, declines, acknowledged, other text
    answer: Mapped[str] = mapped_column(String(80))
    names: Mapped[str] = mapped_column(Text, default="")
    note: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[dt.datetime]
    by: Mapped[str] = mapped_column(String(120))

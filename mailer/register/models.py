"""Tables: the links of the register's chains, and the head of each chain."""

import datetime as dt
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from lists.db import Base


class Link(Base):
    """One entry of a chain; `hash` runs over its other columns and the hash before it."""

    __tablename__ = "register_link"

    #: `home`, or `circular/12`
    chain: Mapped[str] = mapped_column(String(40), primary_key=True)
    #: from 1, without gaps
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime]
    by: Mapped[str] = mapped_column(String(120))
    #: a stable name such as `circular-approved`
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[dict[str, Any]]
    #: sha256 of the outcome lines that this link accounts for; None: it has none
    digest: Mapped[str | None] = mapped_column(String(64))
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class Head(Base):
    """The last link of a chain; locking its row is what orders the writers of a chain."""

    __tablename__ = "register_head"

    chain: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))

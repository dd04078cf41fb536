"""Tables: batches with their fence, attempts and outcomes."""

import datetime as dt

from sqlalchemy import Float, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from lists.db import Base, EnumText
from mailer.circulars.states import RecipientState


class Batch(Base):
    """Up to 500 letters that one run works at. Taking it gives it a new run number; an older run then fails its next turn."""

    __tablename__ = "batch"

    circular_id: Mapped[int] = mapped_column(ForeignKey("circular.id"), primary_key=True)
    no: Mapped[int] = mapped_column(primary_key=True)
    run: Mapped[int] = mapped_column(default=0)
    #: the run's last sign of life; None: nobody works at it
    beat: Mapped[dt.datetime | None]
    #: journal name of the run that has it
    owner: Mapped[str | None] = mapped_column(String(64))
    #: when its earliest waiting recipient falls due; None: at once
    next_at: Mapped[dt.datetime | None]
    done_at: Mapped[dt.datetime | None]


class Attempt(Base):
    """One try to hand a letter to a relay."""

    __tablename__ = "attempt"
    __table_args__ = (
        Index(None, "circular_id", "relay"),
        Index(None, "owner"),
    )  # none that an outcome would have to change

    #: 32 hex digits, when and chance (`claims.attempt_ids`): unique across homes and epochs
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    letter_id: Mapped[int] = mapped_column(ForeignKey("letter.id"), index=True)
    circular_id: Mapped[int]
    batch: Mapped[int]
    run: Mapped[int]
    #: whose it is: boot id of the machine, name of the journal
    boot: Mapped[str] = mapped_column(String(36))
    owner: Mapped[str] = mapped_column(String(64))
    relay: Mapped[str] = mapped_column(String(80))
    claimed_at: Mapped[dt.datetime]
    #: when its outcome was known, or given up for known; None: under way
    ended_at: Mapped[dt.datetime | None]
    #: `mime` digest of the bytes whose content was begun
    sha256: Mapped[str | None] = mapped_column(String(64))


class Outcome(Base):
    """What became of one recipient, once: append-only. A recipient's columns repeat its last outcome.

    Its key is its place in the register, so that no column of it is without a meaning that the register vouches for.
    """

    __tablename__ = "outcome"

    circular_id: Mapped[int] = mapped_column(primary_key=True)
    #: sequence number of its link in the circular's chain, and its place in it, from 1
    link: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    letter_id: Mapped[int]
    recipient_id: Mapped[int] = mapped_column(ForeignKey("recipient.id"), index=True)
    #: None where no relay was asked (withheld, cancelled, settled by a person)
    attempt_id: Mapped[str | None] = mapped_column(String(32))
    #: which relay said so
    relay: Mapped[str | None] = mapped_column(String(80))
    address: Mapped[str] = mapped_column(String(320))
    state: Mapped[RecipientState] = mapped_column(EnumText(RecipientState))
    code: Mapped[int | None]
    enhanced: Mapped[str | None] = mapped_column(String(12))
    reply: Mapped[str | None] = mapped_column(Text)
    why: Mapped[str | None] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(120))
    at: Mapped[dt.datetime]
    #: digest of the bytes, where content left
    sha256: Mapped[str | None] = mapped_column(String(64))


class RelayUse(Base):
    """How many recipients a relay was given in one hour, for its limit a day."""

    __tablename__ = "relay_use"

    relay: Mapped[str] = mapped_column(String(80), primary_key=True)
    hour: Mapped[dt.datetime] = mapped_column(primary_key=True)
    recipients: Mapped[int] = mapped_column(default=0)


class Bucket(Base):
    """Tokens of a pace that several processes share: how many there were at a time."""

    __tablename__ = "token_bucket"

    #: `relay:main`, `domain:example.org`, `circular:7`
    key: Mapped[str] = mapped_column(String(300), primary_key=True)
    tokens: Mapped[float] = mapped_column(Float)
    at: Mapped[dt.datetime]


class Obstacle(Base):
    """What keeps letters of one process waiting just now: a relay that is closed, or a domain that asked for a slower pace."""

    __tablename__ = "obstacle"

    #: `relay:main`, `domain:example.org`
    key: Mapped[str] = mapped_column(String(300), primary_key=True)
    #: journal name of the process that met it
    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    why: Mapped[str] = mapped_column(Text)
    #: when it will be tried again; None: a person has to act first
    until: Mapped[dt.datetime | None]
    since: Mapped[dt.datetime]
    #: the owner's last sign of life; None: it has ended, and the row is only told of
    beat: Mapped[dt.datetime | None]

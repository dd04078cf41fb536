"""Tables: a circular, what its approval froze, its letters and their recipients."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from lists.db import Base, EnumText, UtcDateTime
from lists.kinds import Form, Role
from mailer.circulars.states import CircularState, RecipientState


class Circular(Base):
    """A letter to its audiences, from draft to sent. A reminder, or the copy of a letter, is one with a parent."""

    __tablename__ = "circular"
    __table_args__ = (UniqueConstraint("parent_id", "ordinal"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    #: `ISU/2026/014`; a reminder's: `ISU/2026/014/R1`
    reference: Mapped[str | None] = mapped_column(String(120), unique=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("circular.id"), index=True)
    #: which reminder of its parent, from 1
    ordinal: Mapped[int | None]
    #: the letter of its parent that it is a copy of; None: it is a circular of its own, or a reminder
    copy_of: Mapped[int | None]
    state: Mapped[CircularState] = mapped_column(EnumText(CircularState), default=CircularState.DRAFT, index=True)
    #: its subject in its first language, for listings
    title: Mapped[str] = mapped_column(Text)
    date: Mapped[dt.date]
    as_of: Mapped[dt.date]
    reply_by: Mapped[dt.date | None]
    #: key of the sender in the settings
    sender: Mapped[str] = mapped_column(Text)
    #: the folder it was read from, as given
    folder: Mapped[str] = mapped_column(Text)
    #: what `new` or `update` read: `circulars.document.Document` as JSON, texts included, enclosures by sha256
    draft: Mapped[dict[str, Any]]
    drafted_by: Mapped[str] = mapped_column(String(120))
    drafted_at: Mapped[dt.datetime]
    approved_by: Mapped[str | None] = mapped_column(String(120))
    approved_at: Mapped[dt.datetime | None]
    #: over snapshot and letters in order; and over the mailboxes, which may be corrected
    text_digest: Mapped[str | None] = mapped_column(String(64))
    mailbox_digest: Mapped[str | None] = mapped_column(String(64))
    #: of the lists when approval began
    lists_revision: Mapped[int | None]
    #: "ask" (the default: a person settles it) or "resend"
    on_uncertain: Mapped[str] = mapped_column(String(10), default="ask")
    #: whether the bytes of what has left are kept; None: as the settings say
    archive: Mapped[bool | None]
    #: why it is held, where it is
    held_why: Mapped[str | None] = mapped_column(Text)
    #: its letters are spread so that the last leaves by then; None: as fast as they may go
    finish_by: Mapped[dt.datetime | None]
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]


class Snapshot(Base):
    """What approval froze: `circulars.snapshot.Frozen` as JSON."""

    __tablename__ = "snapshot"

    circular_id: Mapped[int] = mapped_column(ForeignKey("circular.id"), primary_key=True)
    composer: Mapped[int]
    document: Mapped[dict[str, Any]]
    #: the day whose mailboxes the letters were written for
    mailboxes_of: Mapped[dt.date]
    #: how many batches of letters there are
    batches: Mapped[int]
    #: who of the audience gets no letter: [{state_iso3, state, audience, why}]; state_iso3 is None for other organizations
    not_addressed: Mapped[list[Any]]


class PlanBatch(Base):
    """Letters that approval has resolved and not yet written as rows, up to 500; gone once they are. A killed approval goes on here.

    Those of a draft are of an approval that is still looking at its letters, or that was killed then; they count for nothing.
    """

    __tablename__ = "plan_batch"

    circular_id: Mapped[int] = mapped_column(ForeignKey("circular.id"), primary_key=True)
    #: of the approval that planned them, random
    run: Mapped[str] = mapped_column(String(16), primary_key=True)
    no: Mapped[int] = mapped_column(primary_key=True)
    #: `circulars.planning.Planned`, in order, as a JSON array
    letters: Mapped[str] = mapped_column(Text)


class Blob(Base):
    """Bytes by their sha256: enclosures and calendar files."""

    __tablename__ = "blob"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Waiver(Base):
    """A finding that a person set aside, with the reason; it holds for this draft digest only."""

    __tablename__ = "waiver"

    id: Mapped[int] = mapped_column(primary_key=True)
    circular_id: Mapped[int] = mapped_column(ForeignKey("circular.id"), index=True)
    #: `Document.digest` of the draft that it was given for
    draft_digest: Mapped[str] = mapped_column(String(64))
    finding: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(120))
    at: Mapped[dt.datetime]


class Counter(Base):
    """The last number used of a reference pattern in a year."""

    __tablename__ = "reference_counter"

    pattern: Mapped[str] = mapped_column(String(120), primary_key=True)
    year: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]


class Letter(Base):
    """The circular for one organization in one language: one message, one Message-ID."""

    __tablename__ = "letter"
    __table_args__ = (Index(None, "circular_id", "batch"), UniqueConstraint("circular_id", "organization_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    circular_id: Mapped[int] = mapped_column(ForeignKey("circular.id"))
    #: batches of 500, numbered from 1
    batch: Mapped[int]
    #: its place in the circular, from 1
    position: Mapped[int]
    organization_id: Mapped[int] = mapped_column(ForeignKey("organization.id"), index=True)
    organization: Mapped[str] = mapped_column(Text)
    state_iso3: Mapped[str | None] = mapped_column(String(3))
    #: `states-parties@geneva`
    audience: Mapped[str] = mapped_column(Text)
    role: Mapped[Role] = mapped_column(EnumText(Role))
    form: Mapped[Form] = mapped_column(EnumText(Form))
    language: Mapped[str] = mapped_column(String(8))
    #: why it is in the audience, and in this language, in words
    why: Mapped[str] = mapped_column(Text, default="")
    #: every merged value as a field
    fields: Mapped[dict[str, Any]]
    #: 26 characters of base32 in lower case, random: Message-ID, ENVID and bounce token
    token: Mapped[str] = mapped_column(String(26), unique=True)
    #: fixed at the claim, kept once content left: time of the Date header, and {"to": [[name, address]], "cc": [...]}
    dated: Mapped[dt.datetime | None]
    mailboxes: Mapped[dict[str, Any] | None]
    #: when content first left
    left_at: Mapped[dt.datetime | None]
    #: `mime` digest of the bytes last sent
    sha256: Mapped[str | None] = mapped_column(String(64))
    #: how often its claim came back without content having started (a poison letter meets this three times)
    fruitless: Mapped[int] = mapped_column(default=0)


#: To be said, word for word, by whoever looks for open recipients: SQLite uses the index of them for nothing less.
IS_OPEN = text("recipient.state IN ('queued', 'sending', 'deferred')")


class Recipient(Base):
    """One address on a letter, with its own outcome."""

    __tablename__ = "recipient"
    # The migration makes it of the open ones only: `postgresql_where` here would load that dialect for every command on SQLite.
    __table_args__ = (Index("ix_recipient_open", "circular_id", "batch", "next_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    letter_id: Mapped[int] = mapped_column(ForeignKey("letter.id"), index=True)
    circular_id: Mapped[int]
    batch: Mapped[int]
    #: None for an address added by hand
    contact_id: Mapped[int | None]
    address: Mapped[str] = mapped_column(String(320))
    name: Mapped[str] = mapped_column(Text, default="")
    role: Mapped[Role] = mapped_column(EnumText(Role))
    state: Mapped[RecipientState] = mapped_column(EnumText(RecipientState), default=RecipientState.QUEUED)
    #: not before; None: at once
    next_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime())
    #: when it was first tried: `give_up_after` runs from here
    first_at: Mapped[dt.datetime | None]
    #: tries that counted
    tries: Mapped[int] = mapped_column(default=0)
    #: the attempt that holds or last held it
    attempt_id: Mapped[str | None] = mapped_column(String(32))
    #: the last outcome: reply code, enhanced code, the relay's own words, our reason, and when
    code: Mapped[int | None]
    enhanced: Mapped[str | None] = mapped_column(String(12))
    reply: Mapped[str | None] = mapped_column(Text)
    why: Mapped[str | None] = mapped_column(Text)
    at: Mapped[dt.datetime | None]

"""A letter as bytes: the personal head, which the enclosures' shared part follows."""

import datetime as dt
from dataclasses import dataclass

from mailer.mime.parts import Shared


@dataclass(frozen=True, slots=True)
class Message:
    """All that a letter's head is made of. Equal messages give equal bytes.

    Attributes:
        sender_name: display name of From; "" is none.
        sender_address: mailbox of From, ASCII (IDNA A-labels).
        reply_to: address of Reply-To.
        to: (display name, address) of each mailbox under To; at least one of to and cc.
        cc: the same under Cc.
        subject: the subject, one line.
        date: aware; the zone is kept as given.
        message_id: with or without its angle brackets.
        language: of the text, `fr`.
        html: the whole HTML document, any line ends.
        text: the plain text, any line ends.
        in_reply_to: message id of the letter that this one follows.
        references: message ids of the thread, oldest first; default: in_reply_to alone.
        submitter: (display name, address) of Sender, written only where it differs from From.
        extra: further headers of ours as (name, value), each at most once.
    """

    sender_name: str
    sender_address: str
    reply_to: str | None
    to: tuple[tuple[str, str], ...]
    cc: tuple[tuple[str, str], ...]
    subject: str
    date: dt.datetime
    message_id: str
    language: str
    html: str
    text: str
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    submitter: tuple[str, str] | None = None
    extra: tuple[tuple[str, str], ...] = ()


def head(message: Message, boundary: str, shared: Shared | None) -> bytes:
    """The personal part of the letter; the whole letter is this and then `shared.data`."""
    raise NotImplementedError


def digest(head: bytes, shared: Shared | None) -> str:
    """The sha256 by which the letter is known, hexadecimal."""
    raise NotImplementedError

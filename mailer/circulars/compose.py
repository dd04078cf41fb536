"""The one function that makes a letter's bytes: for check, preview, test, sending and `letter show`. Pure.

The bytes are a function of the snapshot, the letter's row, and the header mailboxes and date, which the claim fixes.
"""

import datetime as dt
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lists.kinds import Form
from mailer.circulars.frozen import Frozen, Part
from mailer.letters.render import Rendered
from mailer.mime import message as mime
from mailer.mime.signing import Signer
from mailer.transport.base import Payload

#: Our own header: providers that replace the Message-ID leave it, so a report that comes back still names its letter.
OURS = "X-Chancery-Letter"
#: A letter's field that is no text of it: the Message-IDs of the thread that it stands in, oldest first, blanks between.
THREAD = "thread"
#: Fields of a letter that is a copy of another: the sentence above its text, and the word before its subject; in its language.
COPY, COPY_WORD = "copy", "copy_word"
_BODY = re.compile(r"<body[^>]*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LetterRow:
    """What a letter's bytes depend on beside the snapshot.

    Attributes:
        id: the row's number; 0 where there is none yet (check, preview).
        token: 26 characters, of which the Message-ID is made.
        fields: the merged values.
        dated: time of the Date header; aware.
        to: (name, address) of the mailboxes under To; where there are none, those under Cc take their place.
        cc: the same under Cc.
    """

    id: int
    token: str
    form: Form
    language: str
    fields: Mapping[str, str]
    dated: dt.datetime
    to: tuple[tuple[str, str], ...]
    cc: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Composed:
    """A letter as bytes.

    Attributes:
        payload: personal head, and the enclosures' part that all letters of the language share.
        sha256: `mime.message.digest` of the whole.
        message_id: with its angle brackets.
        size: octets of the whole.
    """

    payload: Payload
    sha256: str
    message_id: str
    size: int


@dataclass(frozen=True, slots=True)
class Merged:
    """A letter without its signature: all of it, where the circular is not signed.

    Attributes:
        dated: time of the Date header, and of the signature.
    """

    head: bytes
    part: Part
    message_id: str
    dated: dt.datetime

    @property
    def size(self) -> int:
        """Octets."""
        return len(self.head) + (self.part.shared.size if self.part.shared else 0)


def compose(frozen: Frozen, row: LetterRow) -> Composed:
    """Merge one letter and make its bytes.

    Raises:
        LetterError: the snapshot has no text in this form and language, or a field is missing.
        BadInput: a name, address or subject can't stand in a header.
        SettingsError: the circular is signed, and its key is not among those of the settings.
    """
    return sign(merge(frozen, row), frozen.signer)


def merge(frozen: Frozen, row: LetterRow) -> Merged:
    """As `compose`, up to the signature."""
    part = frozen.part(row.form, row.language)
    rendered = _marked(part.renderer.render(row.fields), row.fields)
    message_id = frozen.message_id(row.token)
    thread = tuple(row.fields.get(THREAD, "").split())
    head = mime.head(
        mime.Message(
            sender_name=part.sender_name,
            sender_address=frozen.sender_address,
            reply_to=frozen.reply_to,
            to=row.to or row.cc,
            cc=row.cc if row.to else (),
            subject=rendered.subject,
            date=row.dated,
            message_id=message_id,
            language=row.language,
            html=rendered.html,
            text=rendered.text,
            in_reply_to=thread[-1] if thread else None,
            references=thread,
            extra=((OURS, row.token),),
        ),
        part.boundary,
        part.shared,
    )
    return Merged(head, part, message_id, row.dated)


def sign(merged: Merged, signer: Signer | None) -> Composed:
    """The letter as it leaves, signed if there is a *signer*: costly then, and fit for a thread."""
    head, part = merged.head, merged.part
    if signer is not None:
        head = signer.signature(head, part.signable, merged.dated) + head
    payload = Payload(head, (part.shared.data,) if part.shared else ())
    return Composed(payload, mime.digest(head, part.shared), merged.message_id, payload.size)


def rendered(frozen: Frozen, row: LetterRow) -> Rendered:
    """Subject, HTML and text of one letter, as `compose` puts them into it."""
    return _marked(frozen.part(row.form, row.language).renderer.render(row.fields), row.fields)


def _marked(made: Rendered, fields: Mapping[str, str]) -> Rendered:
    """The texts of a copy say that they are one."""
    notice = fields.get(COPY)
    if notice is None:
        return made
    begin = found.end() if (found := _BODY.search(made.html)) else 0
    return Rendered(
        subject=f"{fields[COPY_WORD]}: {made.subject}",
        html=f"{made.html[:begin]}<p><strong>{html.escape(notice)}</strong></p>{made.html[begin:]}",
        text=f"{notice}\n\n{made.text}",
    )

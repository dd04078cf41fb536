"""The one function that makes a letter's bytes: for check, preview, test, sending and `letter show`. Pure.

The bytes are a function of the snapshot, the letter's row, and the header mailboxes and date, which the claim fixes; where one of those
mailboxes is beyond ASCII before its @, also of whether they are for recipients like it (`LetterRow.raw`): such a letter has two versions.
"""

import datetime as dt
import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lists.kinds import Form, Role
from mailer.circulars.frozen import Frozen, Part
from mailer.letters.render import Rendered
from mailer.mime.message import digest
from mailer.mime.signing import Signer
from mailer.transport.base import Payload

#: A letter's field that is no text of it: the Message-IDs of the thread that it stands in, oldest first, blanks between.
THREAD = "thread"
#: Fields of a letter that is a copy of another: the sentence above its text, and the word before its subject; in its language.
COPY, COPY_WORD = "copy", "copy_word"
_BODY = re.compile(r"<body[^>]*>", re.IGNORECASE)


class LetterRow(NamedTuple):
    """What a letter's bytes depend on beside the snapshot.

    Attributes:
        id: the row's number; 0 where there is none yet (check, preview).
        token: 26 characters, of which the Message-ID is made.
        fields: the merged values.
        dated: time of the Date header; aware.
        to: (name, address) of the mailboxes under To; where there are none, those under Cc take their place.
        cc: the same under Cc.
        raw: addresses beyond ASCII stand in the header as they are (`mime.message.Message.raw`): for recipients with such an address,
            who can be reached only where every server on the way takes it. All others get what any server takes. None, where nobody
            has been claimed: as if for all mailboxes of the header, so only if every one of them is like that.
    """

    id: int
    token: str
    form: Form
    language: str
    fields: Mapping[str, str]
    dated: dt.datetime
    to: tuple[tuple[str, str], ...]
    cc: tuple[tuple[str, str], ...] = ()
    raw: bool | None = None


def stored_row(letter: Any, mailboxes: Mapping[str, Sequence[Sequence[str]]], dated: dt.datetime) -> LetterRow:
    """What the bytes of a stored letter depend on.

    Args:
        letter: a `Letter`, or a row with its columns, be they read as stored.
        mailboxes: of the header, (name, address) by role, as the claim fixes them in the letter: those, or what it would fix.
        dated: of the Date header: the letter's own, or what would be.
    """
    to, cc = (tuple((name, address) for name, address in mailboxes[role]) for role in (Role.TO.value, Role.CC.value))
    return LetterRow(letter.id, letter.token, Form(letter.form), letter.language, letter.fields, dated, to, cc)


class Composed(NamedTuple):
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


class Merged(NamedTuple):
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
    if frozen.archived and (kept := frozen.archived.get(row.id)) is not None:
        made: Composed = kept
        return made
    return sign(merge(frozen, row), frozen.signer)


def merge(frozen: Frozen, row: LetterRow) -> Merged:
    """As `compose`, up to the signature."""
    part = frozen.part(row.form, row.language)
    subject, html, text = _pieces(part, row.fields)
    message_id = frozen.message_id(row.token)
    thread = row.fields.get(THREAD, "").split()
    head = part.stationery.head(
        to=row.to or row.cc,
        cc=row.cc if row.to else (),
        subject=subject,
        date=row.dated,
        message_id=message_id,
        html=html,
        text=text,
        in_reply_to=thread[-1] if thread else None,
        references=thread,
        extra=(row.token,),
        raw=_raw(row),
    )
    return Merged(head, part, message_id, row.dated)


def versions(row: LetterRow) -> tuple[LetterRow, ...]:
    """The row for each version that its letter may have left in, first the one that it has by itself."""
    if all(address.isascii() for _, address in (*row.to, *row.cc)):
        return (row,)
    raw = _raw(row)
    return row._replace(raw=raw), row._replace(raw=not raw)


def _raw(row: LetterRow) -> bool:
    """`LetterRow.raw`, decided."""
    return not any(address.isascii() for _, address in (*row.to, *row.cc)) if row.raw is None else row.raw


def sign(merged: Merged, signer: Signer | None) -> Composed:
    """The letter as it leaves, signed if there is a *signer*: costly then, and fit for a thread."""
    head, part = merged.head, merged.part
    if signer is not None:
        head = signer.signature(head, part.signable, merged.dated) + head
    shared = part.shared
    if shared is None:
        return Composed(Payload(head), digest(head, None), merged.message_id, len(head))
    return Composed(Payload(head, (shared.data,)), digest(head, shared), merged.message_id, len(head) + shared.size)


def rendered(frozen: Frozen, row: LetterRow) -> Rendered:
    """Subject, HTML and text of one letter, as `compose` puts them into it."""
    subject, html, text = _pieces(frozen.part(row.form, row.language), row.fields)
    return Rendered(subject, "".join(html), "".join(text))


def _pieces(part: Part, fields: Mapping[str, str]) -> tuple[str, Sequence[str], Sequence[str]]:
    """Subject, HTML and text, the last two in pieces; the texts of a copy say that they are one."""
    notice = fields.get(COPY)
    if notice is None:
        return part.renderer.pieces(fields)
    made = part.renderer.render(fields)
    begin = found.end() if (found := _BODY.search(made.html)) else 0
    said = f"<p><strong>{html.escape(notice)}</strong></p>"
    return (
        f"{fields[COPY_WORD]}: {made.subject}",
        (made.html[:begin], said, made.html[begin:]),
        (f"{notice}\n\n", made.text),
    )

"""A letter as bytes: the personal head, which the enclosures' shared part follows."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

from lists.errors import BadInput
from lists.records import record
from mailer.mime import headers
from mailer.mime.body import Body
from mailer.mime.parts import Shared, check_boundary

#: headers that `head` writes, or that only a relay may write
_WRITTEN = frozenset(
    (
        *(
            "from",
            "sender",
            "reply-to",
            "to",
            "cc",
            "bcc",
            "subject",
            "date",
            "message-id",
            "in-reply-to",
            "references",
        ),
        *("mime-version", "precedence", "x-auto-response-suppress", "return-path", "received"),
    )
)


@record
class Message:
    """All that a letter's head is made of. Equal messages give equal bytes.

    Attributes:
        sender_name: display name of From; "" is none.
        sender_address: mailbox of From, its domain as IDNA A-labels.
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
        raw: addresses with characters beyond ASCII stand under To and Cc as they are, for servers that take them (SMTPUTF8); else as
            `headers` says. Under From and Reply-To they always do: an answer needs them.
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
    raw: bool = False


class Stationery:
    """What the letters of a circular in one language have in common, made once; `head` writes one letter on it."""

    def __init__(
        self,
        *,
        sender_name: str,
        sender_address: str,
        reply_to: str | None,
        language: str,
        boundary: str,
        mixed: bool,
        submitter: tuple[str, str] | None = None,
        html: Iterable[str] = (),
        text: Iterable[str] = (),
        extra: Sequence[str] = (),
    ) -> None:
        """Write what is common.

        *boundary* is from `boundary_for`; *mixed*: whether enclosures follow, encoded with the same one. *html* and *text* are passages
        that most of the letters have: what is not among them costs time and changes nothing. *extra* are the names of further headers
        of ours. For all else see `Message`.

        Raises:
            BadInput: a value can't stand in its header; the error names the header.
        """
        self._sender = _sender(sender_name, sender_address, reply_to, submitter)
        self._habits = _habits(language)
        self._opening, self._delimiter, self._closing = _frame(boundary, mixed=mixed)
        self._html, self._text = Body("html", html), Body("plain", text)
        self._extra = _ours(extra)
        self._dated: tuple[dt.datetime, bytes] | None = None

    def head(
        self,
        *,
        to: Sequence[tuple[str, str]],
        cc: Sequence[tuple[str, str]],
        subject: str,
        date: dt.datetime,
        message_id: str,
        html: Sequence[str],
        text: Sequence[str],
        in_reply_to: str | None = None,
        references: Sequence[str] = (),
        extra: Sequence[str] = (),
        raw: bool = False,
    ) -> bytes:
        """The personal part of a letter, as the function `head` describes it.

        *html* and *text* come in pieces, of which some are among the common passages; *extra* has a value for each of our further
        headers. For all else see `Message`.

        Raises:
            BadInput: a value can't stand in its header; the error names the header.
        """
        if not to and not cc:
            raise BadInput("the letter has no address", where="header To", remedy="Give it at least one mailbox")
        pieces = [self._sender]
        if to:
            pieces.append(headers.mailboxes("To", to, raw=raw))
        if cc:
            pieces.append(headers.mailboxes("Cc", cc, raw=raw))
        pieces += (_subject(subject), self._date(date), headers.message_ids("Message-ID", (message_id,)))
        if in_reply_to or references:
            pieces.append(_thread(in_reply_to, tuple(references)))
        pieces.append(self._habits)
        pieces += map(headers.verbatim, self._extra, extra)
        pieces += (
            *(self._opening, self._text.part(text), self._delimiter, self._html.part(html)),
            self._closing,
        )
        return b"".join(pieces)

    def _date(self, moment: dt.datetime) -> bytes:
        """Many letters are of one second, and in one zone."""
        if self._dated is not None:
            last, line = self._dated
            if last.tzinfo is moment.tzinfo and last == moment and last.fold == moment.fold:
                return line
        line = headers.date("Date", moment)
        self._dated = moment, line
        return line


def head(message: Message, boundary: str, shared: Shared | None) -> bytes:
    """The personal part of the letter; the whole letter is this and then `shared.data`.

    7-bit but for addresses (see `Message.raw`), CRLF line ends, no line begins with a dot. Without enclosures it is
    multipart/alternative, plain text first; with them, that stands as the first part of a multipart/mixed which *shared* ends.

    Args:
        message: the letter; its texts are taken as they are.
        boundary: from `boundary_for`; the one that *shared* was encoded with.
        shared: the enclosures, or None.

    Raises:
        BadInput: a value can't stand in its header; the error names the header.
    """
    stationery = Stationery(
        sender_name=message.sender_name,
        sender_address=message.sender_address,
        reply_to=message.reply_to,
        language=message.language,
        boundary=boundary,
        mixed=shared is not None,
        submitter=message.submitter,
        extra=[name for name, _ in message.extra],
    )
    return stationery.head(
        to=message.to,
        cc=message.cc,
        subject=message.subject,
        date=message.date,
        message_id=message.message_id,
        html=(message.html,),
        text=(message.text,),
        in_reply_to=message.in_reply_to,
        references=message.references,
        extra=[value for _, value in message.extra],
        raw=message.raw,
    )


def digest(head: bytes, shared: Shared | None) -> str:
    """The sha256 by which the letter is known, hexadecimal.

    Of the head where there are no enclosures; else of the head followed by the 32 octets of the shared part's own sha256: to hash
    megabytes again for each letter would cost more than sending it.
    """
    known = hashlib.sha256(head)
    if shared is not None:
        known.update(bytes.fromhex(shared.sha256))
    return known.hexdigest()


# A subject or thread that letters have in common is encoded once. The caches are small and their keys hold everything that the lines
# are made of, so that they change nothing but the time.


@lru_cache(maxsize=256)
def _subject(subject: str) -> bytes:
    return headers.unstructured("Subject", subject)


@lru_cache(maxsize=256)
def _thread(in_reply_to: str | None, references: tuple[str, ...]) -> bytes:
    lines = headers.message_ids("In-Reply-To", (in_reply_to,)) if in_reply_to else b""
    if thread := references or ((in_reply_to,) if in_reply_to else ()):
        lines += headers.message_ids("References", thread)
    return lines


def _sender(name: str, address: str, reply_to: str | None, submitter: tuple[str, str] | None) -> bytes:
    lines = headers.mailboxes("From", ((name, address),))
    if submitter is not None and submitter[1] != address:
        lines += headers.mailboxes("Sender", (submitter,))
    if reply_to:
        lines += headers.mailboxes("Reply-To", (("", reply_to),))
    return lines


def _habits(language: str) -> bytes:
    """What is the same in all our letters, but for the language.

    Precedence keeps absence notices away, X-Auto-Response-Suppress those of Exchange. Auto-Submitted is left out: a circular is a
    person's letter, not a machine's (RFC 3834 section 5).
    """
    tag = headers.language(language)
    lines = ("MIME-Version: 1.0", f"Content-Language: {tag}", "Precedence: bulk", "X-Auto-Response-Suppress: All", "")
    return "\r\n".join(lines).encode("ascii")


def _ours(names: Sequence[str]) -> tuple[str, ...]:
    """*names*, if headers of ours may be called so."""
    seen = set(_WRITTEN)
    for name in names:
        folded = headers.field_name(name).lower()
        if folded in seen or folded.startswith(("content-", "resent-")):
            raise BadInput(
                "this header is not to be added",
                where=f"header {name}",
                remedy="Each header stands once, and some are ours alone",
            )
        seen.add(folded)
    return tuple(names)


def _frame(boundary: str, *, mixed: bool) -> tuple[bytes, bytes, bytes]:
    """What stands before the plain text, between it and the HTML, and after that."""
    outer = check_boundary(boundary)
    # Inner and outer boundary: neither begins with the other, since some readers compare beginnings only.
    inner = f"alt{outer}" if mixed else outer
    opening = headers.with_parameters("Content-Type", "multipart/alternative", (("boundary", inner),)).decode()
    if mixed:
        wrapping = headers.with_parameters("Content-Type", "multipart/mixed", (("boundary", outer),)).decode()
        opening = f"{wrapping}\r\n--{outer}\r\n{opening}"
    return f"{opening}\r\n--{inner}\r\n".encode(), f"--{inner}\r\n".encode(), f"--{inner}--\r\n".encode()

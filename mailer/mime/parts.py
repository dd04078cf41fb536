"""Bodies and enclosures as MIME parts.

Rules of this module, so that no relay on the way has a reason to change a byte:

- Every part is 7-bit: quoted-printable or base64, CRLF line ends, at most 76 columns.
- No line of a body begins with a dot (end of data, dot-stuffing) or with "From " (mailbox files), and none ends in a blank.
- A boundary holds "=_", which neither quoted-printable nor base64 can produce, so no content can contain it.
"""

import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lists.errors import BadInput
from mailer.mime import headers
from mailer.mime.limits import check_filename

_COLUMNS = 76
#: the longest line, in characters, that is kept for the next letter
_REMEMBERED = 1000
#: what a hop may change at the start of a line
_ALTERED = (b".", b"From ")
_BOUNDARY = re.compile(r"(?=.*=_)[A-Za-z0-9=_.]{3,64}")
_HEADS = {
    (
        kind,
        encoding,
    ): f"Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    for kind in ("plain", "html")
    for encoding in ("quoted-printable", "base64")
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document that travels with a letter.

    Attributes:
        filename: the name that the reader sees; no path (see `limits.check_filename`).
        media_type: `application/pdf`; parameters may follow (`text/calendar; charset=utf-8; method=PUBLISH`).
        data: its octets.
    """

    filename: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Shared:
    """The enclosures of a circular in one language, encoded once for all its letters.

    Attributes:
        data: from the "--boundary" of the first enclosure to the closing "--boundary--" and its CRLF; begins at the start of a line,
            and no line of it begins with a dot.
        size: octets of data.
        sha256: of data, hexadecimal.
    """

    data: bytes
    size: int
    sha256: str


def boundary_for(seed: str) -> str:
    """A boundary that is always the same for *seed* (34 characters)."""
    return f"=_{hashlib.sha256(seed.encode()).hexdigest()[:32]}"


def check_boundary(boundary: str) -> str:
    """*boundary*, if no body of ours can contain it.

    Raises:
        BadInput: it lacks "=_", or is longer than 64 characters, or holds others than letters, digits and "=_.".
    """
    if not _BOUNDARY.fullmatch(boundary):
        raise BadInput(f"{boundary!r} can't part the pieces of a letter", remedy="Take it from boundary_for")
    return boundary


def text_part(kind: str, text: str) -> bytes:
    """A text as a part, from its Content-Type to the CRLF that belongs to the boundary after it.

    Any line ends become CRLF; the decoded part has no line end at its end that *text* lacks.

    Args:
        kind: `plain` or `html`.
        text: any Unicode text; control characters travel encoded.

    Raises:
        BadInput: it holds half a character (a lone surrogate).
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        octets = text.encode()
        # In scripts other than Latin, quoted-printable takes 6 to 9 columns a letter, and base64 3 to 4; Latin stays readable. The
        # lengths' difference counts the letters beyond ASCII without a look at each; dense French has one in ten.
        if 6 * (len(octets) - len(text)) > len(octets):
            return _HEADS[kind, "base64"] + base64_lines(octets.replace(b"\n", b"\r\n"))
    except UnicodeEncodeError as error:
        raise BadInput(
            "the text holds half a character", where=f"the {kind} text", remedy="Type that passage anew"
        ) from error
    lines = [_common_line(line) if len(line) <= _REMEMBERED else _quote(line) for line in text.split("\n")]
    return b"".join((_HEADS[kind, "quoted-printable"], b"\r\n".join(lines), b"\r\n"))


def base64_lines(octets: bytes) -> bytes:
    """Base64 in lines of 76 columns, each with its CRLF; b"" gives b""."""
    encoded = binascii.b2a_base64(octets, newline=False)
    lines = [encoded[at : at + _COLUMNS] for at in range(0, len(encoded), _COLUMNS)]
    lines.append(b"")
    return b"\r\n".join(lines)


def encode_shared(attachments: Sequence[Attachment], boundary: str) -> Shared:
    """The enclosures as the tail of every letter that was headed with the same *boundary*.

    Raises:
        BadInput: there are none, or a file name or media type is not fit to be sent.
    """
    if not attachments:
        raise BadInput("there are no enclosures to encode")
    delimiter = b"--" + check_boundary(boundary).encode("ascii")
    pieces: list[bytes] = []
    for attachment in attachments:
        pieces += (delimiter, b"\r\n", _attachment_head(attachment), base64_lines(attachment.data))
    data = b"".join([*pieces, delimiter, b"--\r\n"])
    return Shared(data, len(data), hashlib.sha256(data).hexdigest())


def _attachment_head(attachment: Attachment) -> bytes:
    """The headers of an enclosure, with the empty line that ends them."""
    filename = check_filename(attachment.filename)
    kind, parameters = headers.media_type(attachment.media_type, filename)
    return b"".join(
        (
            headers.with_parameters("Content-Type", kind, parameters),
            b"Content-Transfer-Encoding: base64\r\n",
            headers.with_parameters("Content-Disposition", "attachment", (("filename", filename),)),
            b"\r\n",
        )
    )


# The letters of a circular differ in a few lines only, so nearly all their lines are found here (some 3 times faster than encoding
# each anew). Bounded twice, in lines and in their length, to about 3 MB.
@lru_cache(maxsize=1024)
def _common_line(line: str) -> bytes:
    return _quote(line)


def _quote(line: str) -> bytes:
    """One line (without its end) in quoted-printable, itself perhaps of several lines.

    binascii does the work; what it leaves undone (dots, "From ", 77 columns before a blank) is mended after it.
    """
    if len(line) <= _COLUMNS and line.isascii() and line.isprintable() and "=" not in line and not line.endswith(" "):
        encoded = line.encode()
    else:
        encoded = binascii.b2a_qp(line.encode() + b"\r\n")[:-2]  # the line end tells it to break long lines by CRLF
    if len(encoded) <= _COLUMNS and not encoded.startswith(_ALTERED):
        return encoded
    return b"\r\n".join(map(_tame, encoded.split(b"\r\n")))


def _tame(encoded: bytes) -> bytes:
    """An encoded line, if it begins with what a hop would alter or is too long, with its first octet encoded and broken in two."""
    if encoded.startswith(_ALTERED):
        encoded = b"=%02X%s" % (encoded[0], encoded[1:])
    if len(encoded) <= _COLUMNS:
        return encoded
    cut = _COLUMNS - 6
    while b"=" in encoded[cut - 2 : cut]:  # not within =XX
        cut -= 1
    return encoded[:cut] + b"=\r\n" + _tame(encoded[cut:])

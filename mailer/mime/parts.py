"""Enclosures as MIME parts, and what keeps the parts of a letter apart.

Rules of this module, so that no relay on the way has a reason to change a byte:

- Every part is 7-bit: quoted-printable or base64, CRLF line ends, at most 76 columns.
- No line of a body begins with a dot (end of data, dot-stuffing) or with "From " (mailbox files), and none ends in a blank.
- A boundary holds "=_", which neither quoted-printable nor base64 can produce, so no content can contain it.
"""

import binascii
import hashlib
import re
from collections.abc import Sequence

from lists.errors import BadInput
from lists.records import record
from mailer.mime import headers
from mailer.mime.limits import check_filename

COLUMNS = 76
_BOUNDARY = re.compile(r"(?=.*=_)[A-Za-z0-9=_.]{3,64}")


@record
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


@record
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


def base64_lines(octets: bytes) -> bytes:
    """Base64 in lines of 76 columns, each with its CRLF; b"" gives b""."""
    encoded = binascii.b2a_base64(octets, newline=False)
    lines = [encoded[at : at + COLUMNS] for at in range(0, len(encoded), COLUMNS)]
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

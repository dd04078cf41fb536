"""Bodies and enclosures as MIME parts.

Rules of this module, so that no relay on the way has a reason to change a byte:

- Every part is 7-bit: quoted-printable or base64, CRLF line ends, at most 76 columns.
- No line of a body begins with a dot (end of data, dot-stuffing) or with "From " (mailbox files), and none ends in a blank.
- A boundary holds "=_", which neither quoted-printable nor base64 can produce, so no content can contain it.
"""

from collections.abc import Sequence
from dataclasses import dataclass


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
    raise NotImplementedError


def encode_shared(attachments: Sequence[Attachment], boundary: str) -> Shared:
    """The enclosures as the tail of every letter that was headed with the same *boundary*."""
    raise NotImplementedError

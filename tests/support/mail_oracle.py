"""A second opinion on the bytes of a letter: read back by the standard library's `email` package.

`policy.default` of Python 3.11 is known wrong on adjacent encoded-words in display names (it puts a blank between them); names and
subjects are therefore unfolded here and read with `email.header.decode_header`.
"""

import email
import re
from dataclasses import dataclass
from email import policy
from email.header import decode_header
from email.utils import collapse_rfc2231_value, getaddresses

#: "\r\n.\r\n" and every sequence that a lax server took for it (SMTP smuggling, 2023)
END_OF_DATA = re.compile(rb"(?:^|[\r\n\x0b\x85]\x00?)\.\x00?(?:[\r\n\x0b\x85]|$)")


@dataclass(frozen=True)
class Part:
    media_type: str
    parameters: dict[str, str]
    filename: str | None
    disposition: str | None
    content: bytes

    @property
    def text(self) -> str:
        """The text, its line ends as single line feeds."""
        return self.content.decode().replace("\r\n", "\n")


@dataclass(frozen=True)
class Seen:
    """What a reader's mail program makes of a letter."""

    headers: list[tuple[str, str]]
    parts: list[Part]
    shape: str

    def raw(self, name: str) -> str:
        """The one header of that name, unfolded, not decoded."""
        (value,) = [value for key, value in self.headers if key.lower() == name.lower()]
        return value

    def text_of(self, name: str) -> str:
        return decoded(self.raw(name))

    def mailboxes(self, name: str) -> list[tuple[str, str]]:
        return [(decoded(display), address) for display, address in getaddresses([self.raw(name)])]


def decoded(value: str) -> str:
    """A header's value with its encoded-words decoded."""
    return "".join(
        piece.decode(charset or "ascii") if isinstance(piece, bytes) else piece
        for piece, charset in decode_header(value)
    )


def read(octets: bytes) -> Seen:
    """Parse a whole letter, failing on any defect that the parser reports."""
    modern = email.message_from_bytes(octets, policy=policy.default)
    classic = email.message_from_bytes(octets)
    parts = []
    for new, old in zip(modern.walk(), classic.walk(), strict=True):
        assert not new.defects, new.defects
        assert not old.defects, old.defects
        if old.is_multipart():
            continue
        content = old.get_payload(decode=True)
        assert new.get_payload(decode=True) == content
        assert new.get_filename() == old.get_filename()
        parameters = {key: value for key, value in old.get_params(failobj=[])[1:] if isinstance(value, str)}
        filename = old.get_param("filename", header="content-disposition")  # get_filename() strips blanks
        name = None if filename is None else collapse_rfc2231_value(filename)
        parts.append(Part(old.get_content_type(), parameters, name, old.get_content_disposition(), content))
    head = octets.split(b"\r\n\r\n", 1)[0].decode("ascii")
    unfolded = re.sub(r"\r\n(?=[ \t])", "", head)
    headers = []
    for line in unfolded.split("\r\n"):
        name, _, value = line.partition(":")
        headers.append((name, value.removeprefix(" ")))
    return Seen(headers, parts, _shape(classic))


def assert_wire(octets: bytes) -> None:
    """What every relay and mail program may rely on, whatever the letter says."""
    assert octets.isascii()
    assert b"\x00" not in octets
    assert octets.endswith(b"\r\n")
    lines = octets.split(b"\r\n")
    for line in lines:
        assert b"\r" not in line
        assert b"\n" not in line
        assert len(line) <= 998
        assert not line.startswith((b".", b"From "))
    assert not END_OF_DATA.search(octets)
    assert octets.split(b"\r\n\r\n", 1)[0].isascii()
    for word in re.findall(rb"=\?utf-8\?[bq]\?.*?\?=", octets):
        assert len(word) <= 75


def _shape(message) -> str:
    """`mixed(alternative(plain html) pdf)`."""
    subtype = message.get_content_subtype()
    return f"{subtype}({' '.join(map(_shape, message.get_payload()))})" if message.is_multipart() else subtype

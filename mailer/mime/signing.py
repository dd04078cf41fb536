"""DKIM (RFC 6376): a signature by which the receiver knows that the domain answers for the letter, and that nobody changed it.

- rsa-sha256, relaxed/relaxed, no `l=`. RSA with PKCS #1 v1.5 padding has nothing random in it and `t=` is the letter's Date, so the
  same letter and key give the same octets: a signed letter can be made again and compared like any other.
- Headers that a reader sees or that say how to read the body are signed once more than they stand there ("oversigned"), so that
  nobody can add a second one.
- The body is not copied: enclosures are in their canonical form as they are encoded (`relaxed` looks, once per circular), and only
  the personal part is searched for blanks. What remains per letter is one SHA-256 over all of it and one RSA operation, which both
  release the interpreter's lock: whoever sends many letters does this in a few threads.
"""

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lists.errors import BadInput
from lists.records import record

if TYPE_CHECKING:  # loaded by `read_key`: who signs nothing need not load it
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

#: Octets that a signature adds at most, for keys of up to 8,192 bits.
ROOM = 2600
#: Bits of a key below which receivers take no notice of it (RFC 8301, 3.2), and below which we advise against it.
LEAST, ADVISED = 1024, 2048

_SIGNED = (
    *(b"from", b"sender", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to", b"references"),
    *(b"mime-version", b"content-type", b"content-transfer-encoding"),
    *(b"list-id", b"list-unsubscribe", b"list-unsubscribe-post", b"list-help", b"list-post", b"list-owner"),
    b"list-archive",
)
_OVERSIGNED = frozenset((b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"content-type"))
_BLANKS = re.compile(rb"[ \t]{2,}|\t")
_BLANKS_AT_END = re.compile(rb"[ \t]+(?=\r\n)")
_NEXT_HEADER = re.compile(rb"\r\n(?![ \t])")
_WIDTH = 72


@record
class Key:
    """A private key.

    Attributes:
        bits: its length.
        public: the public key (SubjectPublicKeyInfo, DER), as the DNS shows it to the world.
    """

    private: "RSAPrivateKey"
    bits: int
    public: bytes

    @property
    def fingerprint(self) -> str:
        """sha256 of the public key, hexadecimal."""
        return hashlib.sha256(self.public).hexdigest()


@record
class Signer:
    """Who answers for letters: a domain, a selector under which the DNS has the public key, and the key.

    `domain` and `selector` are ASCII.
    """

    domain: str
    selector: str
    key: Key

    @property
    def record(self) -> str:
        """The line of the domain's zone that receivers look for, its text in pieces of at most 255 octets (RFC 1035, 3.3)."""
        text = f"v=DKIM1; k=rsa; p={base64.b64encode(self.key.public).decode()}"
        pieces = " ".join(f'"{text[at : at + 250]}"' for at in range(0, len(text), 250))
        return f"{self.selector}._domainkey.{self.domain}. IN TXT ( {pieces} )"

    def signature(self, head: bytes, tail: Sequence[bytes | memoryview], at: dt.datetime) -> bytes:
        """The DKIM-Signature header, CRLF included, for a letter of *head* and *tail*.

        Args:
            head: headers, the empty line, and the body up to the end of a line; CRLF line ends.
            tail: the rest of the body, each piece as `relaxed` gives it, the last one ending in a line that is not empty.
            at: the time of signing.
        """
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        end = head.index(b"\r\n\r\n")
        hashed = base64.b64encode(body_hash(head[end + 4 :], tail))
        names, lines = signed_headers(head[:end])
        fields = _folded(b" h=", b":".join(names) + b";", b":")
        unsigned = b"".join(
            (
                f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d={self.domain};\r\n".encode("ascii"),
                f" s={self.selector}; t={int(at.timestamp())};\r\n".encode("ascii"),
                fields,
                b"\r\n bh=%s;\r\n b=" % hashed,
            )
        )
        lines.append(relaxed_header(unsigned)[:-2])  # the signature's own line goes in without its end (3.7)
        octets = self.key.private.sign(b"".join(lines), PKCS1v15(), SHA256())
        text = base64.b64encode(octets)
        return unsigned + b"\r\n ".join(text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)) + b"\r\n"


def read_key(pem: bytes, where: str) -> Key:
    """The private key in a PEM file; *where* names it in errors.

    Raises:
        BadInput: it is none, or asks for a pass-phrase, or is not RSA, or is too short.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    remedy = "make one: openssl genrsa -out FILE 2048"
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise BadInput("the key asks for a pass-phrase", where=where, remedy="keep it without one, chmod 600") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadInput("there is no private key in it that can be read", where=where, remedy=remedy) from None
    if not isinstance(private, RSAPrivateKey):
        raise BadInput("the key is not an RSA key, which all receivers know", where=where, remedy=remedy)
    if private.key_size < LEAST:
        raise BadInput(
            f"the key has {private.key_size} bits, and receivers take no notice of less than {LEAST}",
            where=where,
            remedy=remedy,
        )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Key(private, private.key_size, public)


def relaxed(body: bytes) -> bytes:
    """Part of a body with its blanks in canonical form (RFC 6376, 3.4.4); the same object where they are so already."""
    if b"\t" in body or b"  " in body or b" \r\n" in body:
        return _BLANKS.sub(b" ", _BLANKS_AT_END.sub(b"", body))
    return body


def body_hash(body: bytes, tail: Sequence[bytes | memoryview] = ()) -> bytes:
    """SHA-256 over the canonical form of *body* followed by *tail*, which is canonical and ends in a line that is not empty."""
    personal = relaxed(body)
    if not tail and (personal.endswith(b"\r\n\r\n") or personal == b"\r\n"):  # empty lines at the end don't count
        personal = personal.rstrip(b"\r\n")
        personal += b"\r\n" if personal else b""
    known = hashlib.sha256(personal)
    for piece in tail:
        known.update(piece)
    return known.digest()


def relaxed_header(line: bytes) -> bytes:
    """A header in canonical form (RFC 6376, 3.4.2), CRLF included."""
    name, _, value = line.partition(b":")
    return b"%s:%s\r\n" % (name.strip().lower(), b" ".join(value.split()))


def signed_headers(head: bytes) -> tuple[list[bytes], list[bytes]]:
    """What `h=` lists, and the canonical headers in that order, of a block of headers in which each stands once.

    A name is listed once for its header, and once more to keep others from adding one.
    """
    found = {line.partition(b":")[0].strip().lower(): line for line in _NEXT_HEADER.split(head)}
    names: list[bytes] = []
    for name in _SIGNED:
        names += [name] * ((name in found) + (name in _OVERSIGNED))
    return names, [relaxed_header(found[name]) for name in dict.fromkeys(names) if name in found]


def _folded(start: bytes, text: bytes, at: bytes) -> bytes:
    """*text* after *start*, in lines that end behind an *at*."""
    lines, line = [], start
    for piece in re.findall(rb"[^%s]+%s?" % (at, at), text):
        if len(line) + len(piece) > _WIDTH:
            lines.append(line)
            line = b" "
        line += piece
    return b"\r\n".join([*lines, line])

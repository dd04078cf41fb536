"""Signatures looked at by two programs that are not ours: dkimpy, and Debian's OpenDKIM. No DNS: both are handed the record."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailer.mime.signing import Signer, read_key

DOMAIN, SELECTOR = "secretariat.example", "chancery-2026"


def pem(bits: int = 2048, serial: int = 0) -> bytes:
    """A private key, always the same in one process; another *serial* is another key."""
    return _pem(bits, serial)


@cache
def _pem(bits: int, _serial: int) -> bytes:
    key = rsa.generate_private_key(65537, bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@cache
def signer() -> Signer:
    """Who signs in tests."""
    return Signer(DOMAIN, SELECTOR, read_key(pem(), "test key"))


def published(record: str) -> tuple[str, str]:
    """Name and text of a record as `Signer.record` writes it, as the DNS hands it out."""
    name, _, rest = record.partition(". IN TXT ")
    return name, "".join(re.findall(r'"([^"]*)"', rest))


def dkimpy_verifies(letter: bytes, record: str) -> bool:
    """What dkimpy says of the letter's signature."""
    name, text = published(record)

    def answer(asked: bytes | str, **_: object) -> bytes:
        wanted = asked.decode() if isinstance(asked, bytes) else asked
        return text.encode() if wanted.rstrip(".") == name else b""

    return bool(dkim.verify(letter, dnsfunc=answer))


def opendkim_verifies(folder: Path, record: str, *letters: bytes) -> list[bool]:
    """What OpenDKIM says of each letter's signature; *folder* is for its files.

    Raises:
        AssertionError: the package is not installed.
    """
    program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
    assert program, (
        "OpenDKIM is not here: as root, apt-get install --no-install-recommends opendkim (or `make packages`)"
    )
    name, text = published(record)
    keys, settings = folder / "opendkim.keys", folder / "opendkim.conf"
    keys.write_text(f"{name} {text}\n", encoding="ascii")
    settings.write_text(f"Mode v\nTestPublicKeys {keys}\nSyslog no\n", encoding="utf-8")
    said = []
    for number, letter in enumerate(letters):
        file = folder / f"opendkim-{number}.eml"
        file.write_bytes(letter)
        done = subprocess.run(
            [program, "-x", str(settings), "-t", str(file), "-vv"], capture_output=True, text=True, check=False
        )
        # it ends with 0 either way: its words count
        said.append(bool(re.search(r"verification .*succeeded", done.stdout + done.stderr)))
    return said

"""The keys that letters are signed with: files that the settings name, read when a letter first needs one.

Approval freezes domain, selector and the public key's sha256, for a letter's bytes hang on them; the private key stays in its file.
Whoever changes a sender's key keeps the file of the old one under `former_key_files` until the letters approved with it are done and
nobody asks for their bytes any more.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mailer.errors import BadInput, SettingsError
from mailer.mime.signing import Key, Signer, read_key
from mailer.settings import Sender, Settings

#: octets of a key's file that are read
_MOST = 64 * 1024


class Keys:
    """The keys of a home. A file is read at most once; what can't be read is tried again when it is next needed."""

    def __init__(self, settings: Settings, home: Path) -> None:
        """Read nothing yet; paths in *settings* are relative to *home*."""
        self._settings, self._home = settings, home
        self._read: dict[Path, Key] = {}

    def signer(self, sender: str) -> Signer | None:
        """Who signs what *sender* has approved from now on; None: nobody.

        Raises:
            SettingsError: there is no such sender, or its key can't be used.
        """
        try:
            found = self._settings.senders[sender]
        except LookupError:
            raise SettingsError("there is no such sender", where=f"senders.{sender}") from None
        dkim = found.dkim
        if dkim.key_file is None or dkim.selector is None:
            return None
        return Signer(domain_of(found), dkim.selector, self._key(f"senders.{sender}.dkim.key_file", dkim.key_file))

    def find(self, frozen: Mapping[str, Any]) -> Signer:
        """Who signs a circular: what its approval froze, with the key out of the settings as they are now.

        Args:
            frozen: `domain`, `selector`, and `key`, the public key's sha256.

        Raises:
            SettingsError: none of the key files that the settings name holds that key.
        """
        unread: SettingsError | None = None
        for where, file in self._files():
            try:
                key = self._key(where, file)
            except SettingsError as error:
                unread = unread or error
                continue
            if key.fingerprint == frozen["key"]:
                return Signer(frozen["domain"], frozen["selector"], key)
        if unread is not None:
            raise unread
        raise SettingsError(
            f"the key that its letters were approved to be signed with (selector {frozen['selector']} of "
            f"{frozen['domain']}, sha256 {frozen['key'][:16]}...) is in none of the key files",
            where="senders.*.dkim",
            remedy="name the file of that key under former_key_files of the sender",
        )

    def unreadable(self, sender: str) -> list[SettingsError]:
        """What is wrong with the former keys of *sender*."""
        wrong = []
        for file in self._settings.senders[sender].dkim.former_key_files:
            try:
                self._key(f"senders.{sender}.dkim.former_key_files", file)
            except SettingsError as error:
                wrong.append(error)
        return wrong

    def _files(self) -> Iterator[tuple[str, str]]:
        for name, sender in self._settings.senders.items():
            if sender.dkim.key_file is not None:
                yield f"senders.{name}.dkim.key_file", sender.dkim.key_file
            for file in sender.dkim.former_key_files:
                yield f"senders.{name}.dkim.former_key_files", file

    def _key(self, where: str, file: str) -> Key:
        path = self._home / file
        if path not in self._read:
            self._read[path] = _load(path, where)
        return self._read[path]


def domain_of(sender: Sender) -> str:
    """The domain that answers for a sender's letters: that of its address, unless the settings name one; A-labels, small letters."""
    from lists.address import normalise

    return (sender.dkim.domain or normalise(sender.address).rpartition("@")[2]).lower()


def _load(path: Path, where: str) -> Key:
    remedy = "put the private key there (PEM): openssl genrsa -out FILE 2048; then: chmod 600 FILE"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            pem = file.read(_MOST)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).lower()
        raise SettingsError(f"{path} can't be read ({why})", where=where, remedy=remedy) from None
    if mode & stat.S_IRWXO:
        raise SettingsError(f"{path} is open to others on this machine", where=where, remedy=f"Run: chmod 600 {path}")
    try:
        return read_key(pem, str(path))
    except BadInput as error:
        raise SettingsError(f"{path}: {error.what}", where=where, remedy=error.remedy or remedy) from None

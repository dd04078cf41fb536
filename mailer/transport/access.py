"""What a relay's settings need from this machine before a connection: TLS rules, the password, our name.

Read anew at each connect.
"""

import os
import ssl
import stat
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from mailer.errors import SettingsError
from mailer.settings import Bounces, OAuth, Relay, Tls
from mailer.settings.checks import is_loopback, no_secret

#: octets of a secret's file that are read
_SECRET_MOST = 64 * 1024


class Clear(NamedTuple):
    """What would be said in the clear, and the setting that allows it."""

    what: str
    setting: str


def clear_text(relay: Relay) -> Clear | None:
    """What *relay*, if it is not this machine, must not hear as its settings stand; None: all is encrypted, or allowed by name."""
    if relay.tls is not Tls.NONE:
        return None
    if not relay.allow_clear_text:
        return Clear("letters and password", "allow_clear_text")
    if relay.username is not None and not relay.allow_clear_password:
        return Clear("the password", "allow_clear_password")
    return None


def check(name: str, relay: Relay) -> None:
    """Look for what must not be asked of a relay.

    Raises:
        SettingsError: clear text to another machine, or a password in two places.
    """
    where = f"relays.{name}"
    if not is_loopback(relay.host) and (missing := clear_text(relay)):
        raise SettingsError(
            f'tls = "none" would send {missing.what} in the clear to {relay.host}',
            where=where,
            remedy=f'Set tls = "starttls" or "implicit"; where it must be, {missing.setting} = true',
        )
    if relay.helo is not None and not (
        relay.helo.isascii() and relay.helo.isprintable() and relay.helo.split() == [relay.helo]
    ):
        raise SettingsError(
            f"helo = {relay.helo!r} is no host name", where=where, remedy="Give the full name of this machine"
        )
    if relay.password is not None and relay.password_file is not None:
        raise SettingsError("both password and password_file are set", where=where, remedy="Remove one of them")
    if relay.username is not None and not relay.by_token and relay.password is None and relay.password_file is None:
        raise SettingsError(
            "there is a username and no password", where=where, remedy="Set password_file to a file that holds it"
        )
    if relay.username is not None and not relay.username.isprintable():
        raise SettingsError("the username holds characters that can't be seen", where=where, remedy="Write it again")


def context(name: str, relay: Relay, home: Path) -> ssl.SSLContext | None:
    """The TLS rules: TLS 1.2 or later, certificate and name checked, against the relay's own CA file if it has one.

    Returns:
        None where the settings want no TLS.

    Raises:
        SettingsError: the CA file can't be read, or holds no certificate.
    """
    if relay.tls is Tls.NONE:
        return None
    return trusting(relay.ca_file, home, f"relays.{name}.ca_file")


def trusting(ca_file: str | None, home: Path, where: str) -> ssl.SSLContext:
    """TLS 1.2 or later, certificate and name checked, against *ca_file* in the home; None: against the system's authorities.

    Reading some hundred authorities takes 20 to 40 ms of a processor: that is done once, and again where a file is not what it was.

    Raises:
        SettingsError: the file can't be read, or holds no certificate.
    """
    path = None if ca_file is None else home / ca_file
    try:
        return _trusting(path, _marks(path))
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        raise SettingsError(
            f"the certificates in {path} can't be read ({_short(error)})",
            where=where,
            remedy="Give a file of certificates in PEM form, relative to the home",
        ) from error


@lru_cache(maxsize=16)
def _trusting(path: Path | None, marks: object) -> ssl.SSLContext:  # noqa: ARG001 - part of what is remembered
    made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=path)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


def _marks(path: Path | None) -> tuple[tuple[str, int, int, int] | None, ...]:
    """By what files of certificates are known to be the same as before: *path*, or those of the system."""
    system = ssl.get_default_verify_paths()
    marks: list[tuple[str, int, int, int] | None] = []
    for each in (system.cafile, system.capath) if path is None else (str(path),):
        try:
            seen = Path(each or "").stat()  # the system may have none
        except OSError:  # is told by who reads it
            marks.append(None)
        else:
            marks.append((each, seen.st_ino, seen.st_size, seen.st_mtime_ns))
    return tuple(marks)


def password(name: str, relay: Relay, home: Path) -> str:
    """The relay's password, from the settings or from its file; "" where there is none.

    Raises:
        SettingsError: the file can't be read, is empty, holds more than a line, or may be read by others.
    """
    return _secret(relay.password, relay.password_file, home, f"relays.{name}.password")


def client_secret(name: str, oauth: OAuth, home: Path) -> str:
    """The secret for the token endpoint; as `password`."""
    return _secret(oauth.client_secret, oauth.client_secret_file, home, f"relays.{name}.oauth.client_secret")


def _secret(given: SecretStr | None, file_name: str | None, home: Path, key: str) -> str:
    """A secret as it is given, or the only line of its file. *key* is the setting; its file's is called the same with `_file`."""
    if given is not None:
        text = given.get_secret_value()
        if why := no_secret(text):
            raise SettingsError(why, where=key, remedy="Write it again")
        return text
    if file_name is None:
        return ""
    path, where, what = home / file_name, f"{key}_file", key.rpartition(".")[2].replace("_", " ")
    remedy = f"Put the {what} there, as its only line"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_SECRET_MOST).decode("utf-8-sig").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} can't be read ({_short(error)})", where=where, remedy=remedy) from error
    if mode & stat.S_IRWXO:
        raise SettingsError(f"{path} is open to others on this machine", where=where, remedy=f"Run: chmod 600 {path}")
    if not text:
        raise SettingsError(f"{path} is empty", where=where, remedy=remedy)
    if no_secret(text):
        raise SettingsError(f"{path} holds more than one line of text", where=where, remedy=remedy)
    return text


def reverse_path(kind: Bounces, address: str, token: str) -> str:
    """The envelope's sender: an address of the letter's own, the bounce *address* itself, or the null sender."""
    if kind is Bounces.NONE:
        return ""
    if kind is Bounces.PLAIN:
        return address
    local, _, domain = address.rpartition("@")
    return f"{local}+{token}@{domain}"


def our_name(relay: Relay, address: str) -> str:
    """What we call ourselves: the setting, or the literal of our own *address* on this connection (RFC 5321, 4.1.3)."""
    if relay.helo:
        return relay.helo
    plain = address.split("%", 1)[0]
    return f"[IPv6:{plain}]" if ":" in plain else f"[{plain}]"


def _short(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).lower()

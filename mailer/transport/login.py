"""The login at a relay: by password (PLAIN, LOGIN, CRAM-MD5), or by an access token (XOAUTH2) that is kept from one connection to the next.

- One AUTH per connection. aiosmtplib's `login` tries every mechanism in turn with the same wrong password, which is how accounts
  get locked; here the one in the settings, or the best on offer, is used once.
- A token is used until shortly before it runs out. One that was kept, and is refused, is fetched anew once (`smtp.open_session`).
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

import aiosmtplib
from aiosmtplib.auth import auth_xoauth2_encode

from lists.records import record
from mailer.clock import Clock
from mailer.settings import Auth, Relay
from mailer.transport import access, oauth, token_command
from mailer.transport.oauth import Token

#: best first; over TLS a plain password is as safe as CRAM-MD5, and the relay may store it better
_MECHANISMS = ("plain", "login", "cram-md5")
#: seconds that a program's token is kept: it tells no end, and has a store of its own as a rule
_KEPT = 300.0
#: a token is not used for this share of its time before it ends, nor in the last so many seconds
_MARGIN, _MARGIN_MOST = 0.1, 120.0
_CHALLENGE, _WELCOME = 334, 235


@record
class Secret:
    """A password or an access token; `kept`: it was not fetched just now."""

    text: str = field(repr=False)
    kept: bool = False


class NoWay(Exception):
    """The relay does not offer the login that the settings ask for; `remedy` says what to do."""

    def __init__(self, why: str, remedy: str) -> None:
        self.why, self.remedy = why, remedy
        super().__init__(why)


class Login:
    """How we log in to one relay."""

    def __init__(self, name: str, relay: Relay, home: Path, clock: Clock) -> None:
        """Make it; nothing is read or asked yet.

        Args:
            name: the relay's name in the settings.
            relay: its settings.
            home: what paths in the settings are relative to.
            clock: by which a token grows old.
        """
        self._name, self._relay, self._home, self._clock = name, relay, home, clock
        self._token: Token | None = None
        self._ends = 0.0
        self._one = asyncio.Lock()

    async def secret(self) -> Secret | None:
        """What to log in with; None: no login is wanted.

        Raises:
            SettingsError: the password's or the client secret's file can't be used.
            NoToken: no access token could be had.
        """
        if self._relay.username is None:
            return None
        if not self._relay.by_token:
            return Secret(access.password(self._name, self._relay, self._home))
        async with self._one:  # lanes that begin together share one fetch
            if self._token is not None and self._clock.running() < self._ends:
                return Secret(self._token.text, kept=True)
            token = await self._fetch()
            self._token = token
            self._ends = self._clock.running() + token.seconds - min(token.seconds * _MARGIN, _MARGIN_MOST)
            return Secret(token.text)

    def forget(self, secret: Secret) -> None:
        """The relay did not take *secret*: a token is fetched anew the next time."""
        if self._token is not None and self._token.text == secret.text:
            self._token = None

    async def _fetch(self) -> Token:
        where = f"relays.{self._name}"
        if self._relay.token_command is not None:
            return Token(
                await token_command.run(self._relay.token_command, self._home, f"{where}.token_command"), _KEPT
            )
        given = self._relay.oauth
        context = access.trusting(given.ca_file, self._home, f"{where}.oauth.ca_file")
        return await oauth.ask(given, access.client_secret(self._name, given, self._home), context, f"{where}.oauth")


async def perform(client: aiosmtplib.SMTP, relay: Relay, secret: Secret) -> str:
    """Log in once.

    Returns:
        The mechanism, in small letters.

    Raises:
        NoWay: what the settings ask for is not on offer.
        aiosmtplib.SMTPAuthenticationError: the relay said no.
    """
    mechanism, username = _choose(client.server_auth_methods, relay), relay.username or ""
    match mechanism:
        case "xoauth2":
            await _bearer(client, username, secret.text)
        case "plain":
            await client.auth_plain(username, secret.text)
        case "login":
            await client.auth_login(username, secret.text)
        case _:
            await client.auth_crammd5(username, secret.text)
    return mechanism


def _choose(offered: Sequence[str], relay: Relay) -> str:
    wanted = (Auth.XOAUTH2.value,) if relay.by_token else (relay.auth.value,) if relay.auth else _MECHANISMS
    for each in wanted:
        if each in offered:
            return each
    what = (
        "our mail server offers no way to log in that we know"
        if relay.auth is None and not relay.by_token
        else (f"our mail server does not offer the login that the settings ask for ({wanted[0]})")
    )
    known = [each for each in (*_MECHANISMS, Auth.XOAUTH2.value) if each in offered]
    raise NoWay(what, f"it offers {', '.join(known)}: see auth in config/default.toml" if known else "")


async def _bearer(client: aiosmtplib.SMTP, username: str, token: str) -> None:
    """AUTH XOAUTH2; a refusal comes with what the challenge before it tells."""
    said = await client.execute_command(b"AUTH", b"XOAUTH2", auth_xoauth2_encode(username, token))
    told = ""
    if said.code == _CHALLENGE:
        told = _challenge(said.message, token)
        said = await client.execute_command(b"")
    if said.code != _WELCOME:
        raise aiosmtplib.SMTPAuthenticationError(said.code, said.message + (f" ({told})" if told else ""))


def _challenge(text: str, token: str) -> str:
    """The error in XOAUTH2's challenge (base64 of JSON) as words: `status 401, scope https://mail.example/`."""
    try:
        read = json.loads(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return ""
    if not isinstance(read, dict):
        return ""
    return oauth.plain_words(
        ", ".join(f"{key} {value}" for key, value in read.items() if isinstance(value, (str, int))), token
    )

"""An access token for client credentials, asked of an OAuth endpoint (RFC 6749, 4.4; RFC 6750).

- One POST over TLS, with certificate and name checked; plain HTTP to this machine only. No redirect is followed: the secret goes to
  the address in the settings and to no other.
- All of it takes at most `WAIT` seconds and `MOST` octets, whatever the other side does. A thread does the work, since the standard
  library's client knows no loop; whoever stops waiting cuts its connection.
- An error is one line: what the endpoint said, without control characters, cut short, and without the secret, should it stand in it.
"""

import asyncio
import contextlib
import json
import re
import socket
import ssl
from dataclasses import field
from typing import Any, cast
from urllib.parse import quote_plus, urlencode, urlsplit

from lists.records import record
from mailer.settings import OAuth
from mailer.transport.base import Scope

#: seconds for the whole exchange, and for a single step of it
WAIT, _STEP = 30.0, 15.0
#: octets of an answer; tokens have some thousand
MOST = 64 * 1024
#: seconds that a token is taken to be good where the answer does not say, and at most
_UNTOLD, _LONGEST = 300.0, 86400.0
_WORDS_MOST = 200
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
#: b64token of RFC 6750, 2.1; the longest AUTH line is 12288 octets (RFC 4954, 4), in base64
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_TOKEN_MOST = 8192
#: answers that ask for another try by themselves
_LATER = frozenset({408, 425, 429})
_OK, _TROUBLE_THERE = 200, 500


class NoToken(Exception):
    """No access token could be had.

    Attributes:
        why: one plain clause; no secret in it.
        remedy: what to do.
        scope: HOLD where a person has to mend it, else RELAY.
    """

    def __init__(self, why: str, remedy: str, scope: Scope) -> None:
        self.why, self.remedy, self.scope = why, remedy, scope
        super().__init__(why)


@record
class Token:
    """An access token, and the seconds that it is good for from now."""

    text: str = field(repr=False)
    seconds: float


def is_token(text: str) -> bool:
    """Whether *text* can stand in a login as an access token."""
    return len(text) <= _TOKEN_MOST and _TOKEN.fullmatch(text) is not None


def plain_words(text: str, *secrets: str) -> str:
    """*text* of another program on one line of sensible length, *secrets* hidden."""
    for secret in secrets:
        for form in (secret, quote_plus(secret)):
            text = text.replace(form, "******") if form else text
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= _WORDS_MOST else f"{text[:_WORDS_MOST]} ..."


async def ask(oauth: OAuth, secret: str, context: ssl.SSLContext, where: str, *, wait: float = WAIT) -> Token:
    """A new token.

    Args:
        oauth: with token_url and client_id.
        secret: of the client.
        context: the TLS rules, where the address is https.
        where: the section of the settings, for remedies.
        wait: seconds for all of it.

    Raises:
        NoToken: there is none to be had.
    """
    import http.client  # where no token is asked for, it is not needed

    exchange = _Exchange(oauth, secret, context)
    try:
        async with asyncio.timeout(wait):
            status, body = await asyncio.to_thread(exchange.run)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(error, exchange.host, where) from error
    finally:
        exchange.cut()
    return _read(status, body, exchange.host, secret, where)


class _Exchange:
    """One request and its answer; `run` in a thread, `cut` from anywhere."""

    def __init__(self, oauth: OAuth, secret: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(oauth.token_url or "")
        self.host = parts.hostname or ""
        self._tls = context if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        form = {"grant_type": "client_credentials", "client_id": oauth.client_id or "", "client_secret": secret}
        self._body = urlencode(form | ({"scope": oauth.scope} if oauth.scope else {})).encode("ascii")
        self._socket: socket.socket | None = None
        self._over = False

    def run(self) -> tuple[int, bytes]:
        """Status, and body up to `MOST` octets and one.

        Raises:
            OSError: the network, TLS, or `cut`.
            HTTPException: the answer is no HTTP.
        """
        import http.client

        connection = http.client.HTTPConnection(self.host, self._port, timeout=_STEP)
        try:
            self._hold(socket.create_connection((self.host, self._port), timeout=_STEP))
            if self._tls is not None and self._socket is not None:
                wrapped = self._tls.wrap_socket(self._socket, server_hostname=self.host, do_handshake_on_connect=False)
                self._hold(wrapped)
                wrapped.do_handshake()
            connection.sock = self._socket
            headers = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "Connection": "close",
            }
            connection.request("POST", self._target, self._body, headers)
            response = connection.getresponse()
            with response:
                return response.status, response.read(MOST + 1)
        finally:
            connection.close()
            if self._socket is not None:
                self._socket.close()

    def _hold(self, opened: socket.socket) -> None:
        self._socket = opened
        if self._over:
            opened.close()
            raise TimeoutError("nobody waits any more")

    def cut(self) -> None:
        """End it, wherever it is."""
        self._over = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _failed(error: Exception, host: str, where: str) -> NoToken:
    """What kept us from an answer, in plain words."""
    at = f"{where}.token_url"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = (error.verify_message or str(error)).rstrip(".")
        return NoToken(
            f"the certificate of the token endpoint {host} is not trusted, or is for another name ({plain_words(reason)})",
            f"Check {at}; if your office has an authority of its own, name its certificate file in {where}.ca_file",
            Scope.HOLD,
        )
    if isinstance(error, TimeoutError):
        what = f"the token endpoint {host} did not answer in time"
    elif isinstance(error, socket.gaierror):
        what = f"the name of the token endpoint {host} was not found"
    elif isinstance(error, ConnectionRefusedError):
        what = f"nothing answers at the token endpoint {host}"
    elif isinstance(error, ssl.SSLError):
        what = f"no encrypted connection could be agreed with the token endpoint {host}"
    elif isinstance(error, OSError):
        what = f"the token endpoint {host} can't be reached, or broke the connection"
    else:
        what = f"what the token endpoint {host} answered is no web page"
    return NoToken(what, f"Check {at}, and whether this machine may reach it", Scope.RELAY)


def _read(status: int, body: bytes, host: str, secret: str, where: str) -> Token:
    """The token in an answer.

    Raises:
        NoToken: there is none in it.
    """
    at = f"{where}.token_url"
    if len(body) > MOST:
        raise NoToken(f"the token endpoint {host} answered with far more than a token", f"Check {at}", Scope.RELAY)
    if status in range(300, 400):
        raise NoToken(
            f"the token endpoint {host} sends us on to another address, which is not followed",
            f"Give the address of the token endpoint itself in {at}",
            Scope.HOLD,
        )
    answer = _mapping(body)
    if status != _OK:
        said = ": ".join(str(answer[key]) for key in ("error", "error_description") if answer.get(key))
        later = status in _LATER or status >= _TROUBLE_THERE
        raise NoToken(
            f"the token endpoint {host} gave no access token ({plain_words(said, secret) or f'answer {status}'})",
            "Try again later" if later else f"Check client_id, client_secret and scope under [{where}]",
            Scope.RELAY if later else Scope.HOLD,
        )
    token, kind = answer.get("access_token"), str(answer.get("token_type") or "bearer")
    if not isinstance(token, str) or not is_token(token) or kind.lower() != "bearer":
        raise NoToken(
            f"what the token endpoint {host} answered holds no access token that can be used",
            f"Check {at}",
            Scope.RELAY,
        )
    return Token(token, _seconds(answer.get("expires_in")))


def _mapping(body: bytes) -> dict[str, Any]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", read) if isinstance(read, dict) else {}


def _seconds(told: object) -> float:
    """How long a token is good; some endpoints write the number as a text."""
    try:
        seconds = float(told) if isinstance(told, (int, float, str)) and not isinstance(told, bool) else _UNTOLD
    except (ValueError, OverflowError):
        return _UNTOLD
    return min(seconds, _LONGEST) if seconds > 0 else _UNTOLD  # NaN, too, is not above 0

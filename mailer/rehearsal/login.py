"""AUTH (RFC 4954) by PLAIN, LOGIN and XOAUTH2: the client's lines in, challenges or a name with its secret out. Pure."""

import base64
import binascii
import re
from dataclasses import dataclass

from mailer.rehearsal.grammar import Refusal


@dataclass(frozen=True, slots=True)
class Given:
    """What a client says it is; `token`: the secret is a bearer token, not a password."""

    user: str
    secret: str
    token: bool = False


class Login:
    """One exchange. `start`, then `answer` as long as a challenge comes back."""

    def __init__(self, *, token: bool) -> None:
        """Begin; *token*: XOAUTH2 is offered too."""
        self._offers_token = token
        self._mechanism = b""
        self._name: bytes | None = None

    def start(self, argument: bytes) -> Given | str:
        """The rest of the AUTH line.

        Returns:
            What was given, or the challenge to send (base64).

        Raises:
            Refusal: the mechanism is not offered, or the answer is none of it.
        """
        mechanism, _, initial = argument.partition(b" ")
        self._mechanism = mechanism.upper()
        if self._mechanism not in ({b"PLAIN", b"LOGIN"} | ({b"XOAUTH2"} if self._offers_token else set())):
            raise Refusal("504 5.5.4 This mechanism is not offered")
        if initial:
            return self.answer(initial)
        return "VXNlcm5hbWU6" if self._mechanism == b"LOGIN" else ""

    def answer(self, line: bytes) -> Given | str:
        """The answer to the last challenge; returns and raises as `start`."""
        if line == b"*":
            raise Refusal("501 5.7.0 Given up, as you wish")
        line = b"" if line == b"=" else line
        if self._mechanism == b"LOGIN" and self._name is None:
            self._name = line
            return "UGFzc3dvcmQ6"
        if self._mechanism == b"PLAIN":
            given = plain(line)
        elif self._mechanism == b"XOAUTH2":
            given = bearer(line)
        else:
            user, secret = unbase64(self._name or b""), unbase64(line)
            given = (
                None
                if user is None or secret is None
                else (user.decode("utf-8", "replace"), secret.decode("utf-8", "replace"))
            )
        if given is None:
            raise Refusal("501 5.5.2 This is not an answer of that mechanism")
        return Given(*given, token=self._mechanism == b"XOAUTH2")


class Declined:
    """After a wrong token: the client has to answer the challenge that tells of it, and gets its no."""

    #: base64 of JSON, as providers send it
    challenge = base64.b64encode(b'{"status":"401","schemes":"bearer","scope":"https://mail.rehearsal.test/"}').decode()

    def answer(self, _line: bytes) -> Given | str:
        """Whatever the client says."""
        raise Refusal("535 5.7.8 This token is not right")


def plain(response: bytes) -> tuple[str, str] | None:
    """User and password of an AUTH PLAIN response (RFC 4616); None where it is not one."""
    parts = (unbase64(response) or b"").split(b"\0")
    if len(parts) != 3:  # noqa: PLR2004 - identity, user, password
        return None
    return parts[1].decode("utf-8", "replace"), parts[2].decode("utf-8", "replace")


def bearer(response: bytes) -> tuple[str, str] | None:
    """User and token of an AUTH XOAUTH2 response; None where it is not one."""
    match = re.fullmatch(rb"user=([^\x01]+)\x01auth=Bearer ([^\x01]+)\x01\x01", unbase64(response) or b"")
    return (match[1].decode("utf-8", "replace"), match[2].decode("utf-8", "replace")) if match else None


def unbase64(text: bytes) -> bytes | None:
    """What *text* stands for; None where it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None

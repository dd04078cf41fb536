"""What transport tests need: letters, a gate that keeps an account, settings of a relay on loopback."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailer.rehearsal.options import TlsMode
from mailer.rehearsal.server import Server
from mailer.settings import Relay
from mailer.transport.base import Envelope, Held, Payload, Rcpt, Result

HEAD = b"Subject: x\r\nMessage-ID: <1@x.test>\r\n\r\nA letter.\r\n"
BRIEF = dict.fromkeys(("connect", "greeting", "command", "data", "block", "final"), 20)
HASTY = dict.fromkeys(BRIEF, 0.6)


def envelope(
    *addresses: str, attempt: str = "a1", sender: str = "office@home.example", envid: str | None = None
) -> Envelope:
    """An envelope to *addresses*, numbered from 1."""
    return Envelope(
        attempt, sender, tuple(Rcpt(n, each) for n, each in enumerate(addresses or ("m@x.test",), 1)), envid
    )


def payload(head: bytes = HEAD, *tail: bytes) -> Payload:
    """A small letter."""
    return Payload(head, tail)


@dataclass
class Account:
    """A gate that writes down what it is told."""

    held: str = ""
    error: Exception | None = None
    after: Callable[[], None] | None = None
    begun: list[tuple[str, tuple[Result, ...]]] = field(default_factory=list)
    told: list[tuple[str, tuple[Result, ...]]] = field(default_factory=list)

    def before_content(self, attempt: str, replies: Sequence[Result]) -> None:
        if self.error is not None:
            raise self.error
        if self.held:
            raise Held(self.held)
        self.begun.append((attempt, tuple(replies)))

    def after_reply(self, attempt: str, results: Sequence[Result]) -> None:
        self.told.append((attempt, tuple(results)))
        if self.after is not None:
            self.after()


def relay_to(server: Server, **changes: Any) -> Relay:
    """Settings that reach *server* as its options want."""
    options = server.options
    given: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "tls": {TlsMode.NONE: "none", TlsMode.STARTTLS: "starttls", TlsMode.IMPLICIT: "implicit"}[options.tls],
        "ca_file": None if server.ca_file is None else str(server.ca_file),
        "timeouts": BRIEF,
    }
    if options.user is not None:
        given |= {"username": options.user, "password": options.password}
    return Relay(**(given | changes))


async def left_alone(server: Server) -> None:
    """Return once *server* has seen all its connections go."""
    async with asyncio.timeout(10):
        while server.connections:  # noqa: ASYNC110 - the server tells of its last letter, not of its last connection
            await asyncio.sleep(0)


def fates(results: Sequence[Result]) -> list[str]:
    """Fate and scope of each result, as words."""
    return [f"{each.fate} {each.scope}" for each in results]

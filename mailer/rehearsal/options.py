"""What the rehearsal server is to be."""

from dataclasses import dataclass
from enum import StrEnum


class TlsMode(StrEnum):
    """How connections are encrypted."""

    NONE = "none"
    STARTTLS = "starttls"  #: required before MAIL
    IMPLICIT = "implicit"  #: from the first octet


@dataclass(frozen=True, slots=True)
class Options:
    """How the server behaves where no fault says otherwise.

    Attributes:
        tls: see `TlsMode`.
        user: who must log in before MAIL; None: nobody has to. Offered after TLS only, where TLS is on.
        password: of `user`, for PLAIN and LOGIN.
        token: bearer token of `user`; with one, XOAUTH2 is offered too.
        hostname: the name in the greeting.
        host: the address to listen on; loopback only.
        port: 0: a free one.
        pipelining: offered; if not, a client that does it all the same is refused.
        dsn: offered; if not, its parameters are refused.
        smtputf8: offered; if not, its parameter and addresses beyond ASCII are refused.
        size_limit: octets, as RFC 1870 counts; 0: no limit.
        rcpt_limit: accepted recipients of one letter.
        max_connections: at once; more get 421. 0: no limit.
        letters_per_connection: MAIL commands before a 421. 0: no limit.
        reply_ms: real milliseconds from the arrival of a command to its reply (a round trip: a group waits once).
        end_ms: the same for the reply to the content. The letter is taken at once, the client hears of it later.
        keep_data: keep each letter's octets in memory.
        keep_received: keep `Received` in memory; off for very long runs.
        hash_content: sha256 of each letter; off where a benchmark can't spare the time.
        record_all: also note connections, commands, refused recipients and played faults.
        phases: write a line for each phase, so that another process can strike at one.
    """

    tls: TlsMode = TlsMode.NONE
    user: str | None = None
    password: str = ""
    token: str = ""
    hostname: str = "relay.rehearsal.test"
    host: str = "127.0.0.1"
    port: int = 0
    pipelining: bool = True
    dsn: bool = True
    smtputf8: bool = True
    size_limit: int = 50 * 1024 * 1024
    rcpt_limit: int = 1000
    max_connections: int = 0
    letters_per_connection: int = 0
    reply_ms: float = 0.0
    end_ms: float = 0.0
    keep_data: bool = False
    keep_received: bool = True
    hash_content: bool = True
    record_all: bool = False
    phases: bool = False

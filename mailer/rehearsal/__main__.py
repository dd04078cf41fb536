"""`python -m mailer.rehearsal`: the rehearsal server as a process of its own, until SIGTERM."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from mailer.errors import ChanceryError
from mailer.rehearsal.certificate import write_public
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mailer.rehearsal", description="Plays a relay, on loopback only.")
    add = parser.add_argument
    add("--port-file", type=Path, help="the port's number is written here once the server listens")
    add("--port", type=int, default=0, help="0, the default: a free one")
    add("--host", default="127.0.0.1")
    add("--record", type=Path, help="append-only JSON lines of all that was taken")
    add("--record-all", action="store_true", help="also connections, commands, refused recipients and faults")
    add("--phases", action="store_true", help="also a line for each phase of each letter")
    add("--faults", type=Path, help="a file of rules; mailer/rehearsal/faults.py describes them")
    add("--tls", type=TlsMode, choices=list(TlsMode), default=TlsMode.NONE)
    add("--ca-file", type=Path, help="the certificate to trust is written here")
    add("--user", help="who must log in")
    add("--password", default="", help="of --user; for throw-away servers only")
    add("--token", default="", help="bearer token of --user, for XOAUTH2")
    add("--no-pipelining", dest="pipelining", action="store_false")
    add("--no-dsn", dest="dsn", action="store_false")
    add("--no-smtputf8", dest="smtputf8", action="store_false")
    add("--no-hash", dest="hash_content", action="store_false", help="don't compute sha256 of letters")
    add("--size-limit", type=int, default=Options().size_limit, help="octets of a letter")
    add("--max-connections", type=int, default=0)
    add("--letters-per-connection", type=int, default=0)
    add("--reply-ms", type=float, default=0.0, help="milliseconds to each reply")
    add("--end-ms", type=float, default=0.0, help="milliseconds to the reply to a letter")
    return parser.parse_args()


async def _serve(given: argparse.Namespace) -> None:
    shared = ("host", "port", "tls", "user", "password", "token", "pipelining", "dsn", "hash_content", "size_limit")
    more = ("smtputf8", "max_connections", "letters_per_connection", "reply_ms", "end_ms", "record_all", "phases")
    options = Options(keep_received=False, **{name: getattr(given, name) for name in shared + more})
    faults = Faults.load(given.faults) if given.faults else None
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with Server(options, faults, given.record, ca_file=given.ca_file) as server:
        if given.port_file:
            write_public(given.port_file, f"{server.port}\n".encode())
        await stopping.wait()


def main() -> int:
    """Run the server; 0 after a clean stop, else the error's code with one line on standard error."""
    try:
        asyncio.run(_serve(_arguments()))
    except ChanceryError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command of its own
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

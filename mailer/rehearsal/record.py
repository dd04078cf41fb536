"""The ground truth of tests: what the server took, refused and saw, in memory and in a file that outlives kill -9.

The file is append-only, one JSON object per line, each written by a single write(2) before the client hears of it:

    {"kind": "letter", "seq": 1, "at": "...", "connection": 1, "tls": true, "user": "u", "from": "a@x.example",
     "rcpts": [["b@y.example", 250]], "envid": "...", "params": {...}, "rcpt_params": [{...}], "size": 4100, "sha256": "...",
     "message_id": "<...>", "letter": "...", "reply": 250, "text": "2.0.0 ...", "taken": true}
    {"kind": "rcpt", "at", "connection", "from", "address", "envid", "reply": 550, "text"}    with `everything`: recipients refused
    {"kind": "connection" | "closed" | "tls" | "auth" | "fault" | "command", ...}             with `everything`
    {"kind": "phase", "phase": "mail", "connection": 1, "at": "..."}                          with `phases`

A line "taken": true means that the server has taken responsibility for the letter, whatever the client was told. Counting lost and
twice needs nothing but these lines.
"""

import asyncio
import datetime as dt
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mailer.clock import Clock

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_HEADER = re.compile(rb"(?im)^(message-id|x-chancery-letter):[ \t]*([^\r\n]*(?:\r\n[ \t]+[^\r\n]*)*)")


@dataclass(frozen=True, slots=True)
class Received:
    """One letter whose end of data was seen.

    Attributes:
        seq: 1 for the first.
        at: the server's clock.
        connection: number of the connection, from 1.
        tls: it came encrypted.
        user: who was logged in, or None.
        mail_from: reverse path; "" is the null sender.
        rcpts: every RCPT of the letter with the code of its reply, in order.
        envid: DSN envelope id as it came, or None.
        params: MAIL's parameters, values exactly as they came.
        rcpt_params: RCPT's parameters, one mapping per entry of `rcpts`.
        size: octets without the extra dots.
        sha256: of those octets; "" where hashing is off.
        message_id: with its angle brackets; "" if there is none.
        letter: the header X-Chancery-Letter; "" if there is none.
        reply: code of the final reply that the client was to hear.
        text: the rest of that reply.
        taken: the server has the letter, even if the client never heard so.
        data: the octets, where the server keeps them.
    """

    seq: int
    at: dt.datetime
    connection: int
    tls: bool
    user: str | None
    mail_from: str
    rcpts: tuple[tuple[str, int], ...]
    envid: str | None
    params: Mapping[str, str]
    rcpt_params: tuple[Mapping[str, str], ...]
    size: int
    sha256: str
    message_id: str
    letter: str
    reply: int
    text: str
    taken: bool
    data: bytes | None = field(default=None, repr=False)

    @property
    def accepted(self) -> tuple[str, ...]:
        """The recipients that RCPT accepted."""
        return tuple(address for address, code in self.rcpts if code < 300)  # noqa: PLR2004 - 2yz: yes

    def as_json(self) -> dict[str, Any]:
        """The line of the file."""
        return {
            "kind": "letter",
            "seq": self.seq,
            "at": self.at.isoformat(),
            "connection": self.connection,
            "tls": self.tls,
            "user": self.user,
            "from": self.mail_from,
            "rcpts": self.rcpts,
            "envid": self.envid,
            "params": self.params,
            "rcpt_params": self.rcpt_params,
            "size": self.size,
            "sha256": self.sha256,
            "message_id": self.message_id,
            "letter": self.letter,
            "reply": self.reply,
            "text": self.text,
            "taken": self.taken,
        }


@dataclass(frozen=True, slots=True)
class RefusedRcpt:
    """One recipient that RCPT refused, for now (4yz) or for good (5yz)."""

    at: dt.datetime
    connection: int
    mail_from: str
    address: str
    envid: str | None
    reply: int
    text: str


class Record:
    """Keeps the account. Not for threads."""

    def __init__(self, path: Path | None = None, *, everything: bool = False, phases: bool = False) -> None:
        """Open the account; *path* is created (0600) or added to."""
        self.received: list[Received] = []
        self.refused: list[RefusedRcpt] = []
        self.events: list[dict[str, Any]] = []
        self.phases: Counter[str] = Counter()
        self.everything = everything
        self.writes_phases = phases and path is not None
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []
        self._seq = 0
        self._file = -1 if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def next_seq(self) -> int:
        """The number of the next letter."""
        self._seq += 1
        return self._seq

    def letter(self, received: Received, *, keep: bool) -> None:
        """Write a letter down; on return the line is in the kernel's hands."""
        self._write(received.as_json())
        if keep:
            self.received.append(received)

    def refuse(self, refused: RefusedRcpt) -> None:
        """Write a refused recipient down."""
        self.refused.append(refused)
        self.event(
            "rcpt",
            refused.at,
            refused.connection,
            {
                "from": refused.mail_from,
                "address": refused.address,
                "envid": refused.envid,
                "reply": refused.reply,
                "text": refused.text,
            },
        )

    def event(self, kind: str, at: dt.datetime, connection: int, more: Mapping[str, Any]) -> None:
        """Note something that is asked for with `everything` only."""
        if not self.everything:
            return
        line = {"kind": kind, "at": at.isoformat(), "connection": connection, **more}
        self.events.append(line)
        self._write(line)

    def phase(self, phase: str, connection: int, clock: Clock) -> None:
        """Note that a connection has come to *phase*."""
        self.phases[phase] += 1
        if self.writes_phases:
            self._write({"kind": "phase", "phase": phase, "connection": connection, "at": clock.now().isoformat()})
        if self._waiting:
            for wanted, times, future in self._waiting:
                if wanted == phase and self.phases[phase] >= times and not future.done():
                    future.set_result(None)
            self._waiting = [waiting for waiting in self._waiting if not waiting[2].done()]

    async def reached(self, phase: str, times: int) -> None:
        """Wait until *phase* has been seen *times* times since the start."""
        if self.phases[phase] < times:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((phase, times, future))
            await future

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file < 0:
            return
        octets = _encode(line).encode("utf-8", "backslashreplace") + b"\n"
        if os.write(self._file, octets) != len(octets):
            raise OSError("the record took only a part of a line; what it says is no longer the truth")


def headers_of(content: bytes) -> tuple[str, str]:
    """Message-ID and X-Chancery-Letter of a letter, unfolded; "" for what is missing."""
    end = content.find(b"\r\n\r\n")
    head = content if end < 0 else content[:end]
    found = {"message-id": "", "x-chancery-letter": ""}
    for name, value in _HEADER.findall(head):
        found[name.decode().lower()] = b" ".join(value.split()).decode("utf-8", "replace")
    return found["message-id"], found["x-chancery-letter"]


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a record file; a torn last line (a kill between bytes) is left out."""
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1]]

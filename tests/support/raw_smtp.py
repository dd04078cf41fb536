"""A client made of a bare socket: says exactly the octets it is given, and reads exactly one reply."""

import asyncio
import ssl
from typing import Self

LETTER = b"Message-ID: <one@x.example>\r\nX-Chancery-Letter: 17\r\nSubject: A circular\r\n\r\nText.\r\n"


class Raw:
    """One connection; every read has a time limit, so that a silent server fails a test and does not hang it."""

    def __init__(self, port: int, patience: float = 10.0) -> None:
        self.port = port
        self.patience = patience

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def reply(self) -> str:
        """One reply, lines joined by a line feed."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readuntil(b"\r\n"), self.patience)).decode("latin-1")[:-2]
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    async def replies(self, count: int) -> list[str]:
        """So many replies."""
        return [await self.reply() for _ in range(count)]

    def write(self, octets: bytes) -> None:
        """Send octets, and wait for nothing."""
        self.writer.write(octets)

    async def ask(self, line: str | bytes) -> str:
        """Send a line, read its reply."""
        self.write((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return await self.reply()

    async def hello(self) -> str:
        """Read the greeting and say EHLO."""
        greeting = await self.reply()
        assert greeting.startswith("220 "), greeting
        return await self.ask("EHLO client.example")

    async def envelope(self, *rcpts: str, sender: str = "us@x.example") -> list[str]:
        """MAIL, RCPTs and DATA, one by one."""
        answers = [await self.ask(f"MAIL FROM:<{sender}>")]
        answers += [await self.ask(f"RCPT TO:<{rcpt}>") for rcpt in rcpts]
        return [*answers, await self.ask("DATA")]

    async def letter(self, *rcpts: str, content: bytes = LETTER) -> str:
        """A whole letter; the last reply."""
        answers = await self.envelope(*rcpts)
        return await self.ask(content + b".") if answers[-1].startswith("354") else answers[-1]

    async def starttls(self, ca_file: object) -> None:
        """Go over to TLS, the certificate checked."""
        assert (await self.ask("STARTTLS")).startswith("220 ")
        await self.writer.start_tls(ssl.create_default_context(cafile=str(ca_file)), server_hostname="localhost")

    async def is_closed(self) -> bool:
        """Whether nothing more comes and the connection ends."""
        try:
            return await asyncio.wait_for(self.reader.read(), self.patience) == b""
        except ConnectionError:
            return True

    async def rest(self) -> bytes:
        """All octets until the end of the connection."""
        return await asyncio.wait_for(self.reader.read(), self.patience)

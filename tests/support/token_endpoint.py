"""An OAuth token endpoint on loopback that answers as it is told, and keeps what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from mailer.rehearsal.certificate import Authority, Flaw


def answer(said: Any, status: str = "200 OK", *more: str) -> bytes:
    """A whole HTTP answer; what is not bytes goes as JSON."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def token(text: str, seconds: object = 3600) -> bytes:
    """The answer that holds a token."""
    return answer({"token_type": "Bearer", "access_token": text, "expires_in": seconds})


@dataclass
class Endpoint:
    """What is answered: one after the other, the last one again and again; None is silence."""

    answers: list[bytes | None]
    scheme: str = "http"
    host: str = "127.0.0.1"
    port: int = 0
    ca_file: Path | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.scheme}://{self.host}:{self.port}/tenant/token?v=2"

    def settings(self, **more: Any) -> dict[str, Any]:
        """The section `oauth` that reaches it."""
        ca_file = {"ca_file": str(self.ca_file)} if self.ca_file else {}
        given = {
            "token_url": self.url,
            "client_id": "chancery",
            "client_secret": "client-secret",
            "scope": "mail/.default",
        }
        return given | ca_file | more

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            if (first := await reader.read(1)) == b"\x16":
                return  # TLS, where none is spoken
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(
                next(line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length"))
            )
            self.heads.append(head)
            self.asked.append(
                {key: value[0] for key, value in parse_qs((await reader.readexactly(length)).decode()).items()}
            )
            said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if said is None:
                await reader.read()
                return
            writer.write(said)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def token_endpoint(
    *answers: bytes | None, folder: Path | None = None, flaw: Flaw | None = None
) -> AsyncIterator[Endpoint]:
    """Run one; with a *folder*, by TLS, its authority's certificate there."""
    endpoint = Endpoint(list(answers))
    context = None
    if folder is not None:
        authority = Authority.make("Token authority")
        endpoint.ca_file, endpoint.scheme = folder / "oauth-ca.pem", "https"
        endpoint.ca_file.write_bytes(authority.pem)
        context = authority.context(flaw)
    server = await asyncio.start_server(endpoint.serve, endpoint.host, 0, ssl=context)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()
        await server.wait_closed()

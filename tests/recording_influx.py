"""An endpoint that speaks InfluxDB's write API, records what it was sent, and answers as it is told."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

NO_ANSWER = 0  # as a status: the connection stays open and silent
CUT = -1  # as a status: the connection is cut in the middle of the answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer: its status, headers and body."""

    status: int = 204
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request as it arrived, its body unpacked."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters behind the question mark."""
        return parse_qs(urlsplit(self.target).query)

    @property
    def lines(self) -> list[str]:
        """The lines of the body."""
        return self.body.decode().split("\n")


Judge = Callable[[Request], Answer]


@dataclass(kw_only=True)
class RecordingInflux:
    """The endpoint: `script` is answered first, one answer each; afterwards `judge` decides."""

    scheme: str = "http"
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    script: deque[Answer] = field(default_factory=deque)
    judge: Judge = field(default=lambda request: Answer())
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Return when the condition holds after some request; raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self.arrived:
            await self.arrived.wait_for(condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read and answer requests of one connection until it ends."""
        try:
            while (request := await _read_request(reader)) is not None:
                await self._answer(request, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answer = self.script.popleft() if self.script else self.judge(request)
        async with self.arrived:
            self.requests.append(request)
            self.taken += request.lines if answer.status in (204, CUT) else []
            self.arrived.notify_all()
        if answer.status == NO_ANSWER:
            await reader.read()  # until the caller gives up
            return
        if answer.status == CUT:
            writer.write(b"HTTP/1.1 204 No Con")
            await writer.drain()
            writer.transport.abort()
            return
        head = [f"HTTP/1.1 {answer.status} As Told"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        body = b"" if answer.status == 204 else answer.body  # 204 has none, by the protocol
        head += [] if answer.status == 204 else [f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rest)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return Request(target=first.split(" ")[1], headers=headers, body=body)


@asynccontextmanager
async def recording_influx(tls: ssl.SSLContext | None = None) -> AsyncIterator[RecordingInflux]:
    """The endpoint, listening on a free loopback port."""
    endpoint = RecordingInflux(scheme="https" if tls else "http")
    server = await asyncio.start_server(
        endpoint.serve, "127.0.0.1", 0, limit=16 * 1024 * 1024, ssl=tls
    )
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()

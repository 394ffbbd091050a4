"""The API's server inside the hub's own loop, listening only where it is told to."""

from __future__ import annotations

import asyncio
import socket

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from hub.errors import ConfigError

HEADER_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 256
_HEADER_MAX_BYTES = 16 * 1024
_STOP_TIMEOUT_S = 1
_UNREAD_TIMEOUT_MS = 30_000
_log = structlog.get_logger("api")


class _Connection(H11Protocol):
    """One connection, which must finish the head of a request soon after it begins."""

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._is_idle():
            self._wait_for_head()
        super().data_received(data)
        if not self._is_idle():
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(HEADER_TIMEOUT_S, self.transport.abort)

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


def bind(listen: str) -> socket.socket:
    """A listening socket at `host:port`; raises ConfigError when there is none to be had."""
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        sock = socket.create_server(found[0][4][:2], family=found[0][0], backlog=128)
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            file="hub.toml",
            key="api.listen",
            found=f"{listen!r}: {error}",
            hint='write a free address of this box, like "127.0.0.1:8080"',
        ) from None
    sock.setblocking(False)
    # Both hold for every connection: an answer does not wait for the acknowledgement of its head, and
    # what a client has not taken by then is forgotten with it.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_TIMEOUT_MS)
    return sock


async def serve_api(app: FastAPI, sock: socket.socket) -> None:
    """Serve on this socket until cancelled; open streams end within two seconds then."""
    config = uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=_HEADER_MAX_BYTES,
        timeout_graceful_shutdown=_STOP_TIMEOUT_S,
    )
    config.load()
    server = uvicorn.Server(config)
    # Not `serve`: it would take the signals, which are the daemon's.
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[sock])
    _log.info("the API listens", address=":".join(str(part) for part in sock.getsockname()[:2]))
    try:
        await server.main_loop()
    finally:
        await server.shutdown(sockets=[sock])
        for connection in list(server.server_state.connections):
            connection.transport.abort()  # of a client that does not read, and never will
        await asyncio.sleep(0)

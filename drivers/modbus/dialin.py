"""Boxes that dial in (DTU): one listener for each address, shared by all links that wait there.

A box says its registration text first and is handed to the link of that text. Whoever says nothing in
time, or something unknown, is refused and counted; callers that have not yet told who they are, are few.
"""

from __future__ import annotations

import asyncio
import socket
from typing import ClassVar

from hub import Host, LinkError

UNKNOWN_MAX = 64
REGISTRATION_TIMEOUT_S = 10.0
LONGER_NAME_WAIT_S = 0.3


class _Caller(asyncio.Protocol):
    """A connection that has not yet told who it is."""

    def __init__(self, dial_in: DialIn) -> None:
        self._dial_in = dial_in
        self._said = b""
        self._known = False
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give it time to register, if there are not too many like it."""
        self._transport = transport  # type: ignore[assignment]
        loop = asyncio.get_running_loop()
        if self._dial_in.admit(self):
            self._timer = loop.call_later(REGISTRATION_TIMEOUT_S, self._decide)
        else:
            self.refuse("too many callers")

    def data_received(self, data: bytes) -> None:
        """Hand over as soon as one link's text is certain."""
        if self._known:
            return
        self._said += data
        matches, possible = self._dial_in.names(self._said)
        if not possible:
            self.refuse("unknown registration")
        elif len(possible) == 1 and matches:
            self._decide()
        elif matches and self._timer:
            # One link's text begins like another's: wait a moment for the longer one.
            self._timer.cancel()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LONGER_NAME_WAIT_S, self._decide)

    def connection_lost(self, exc: Exception | None) -> None:
        """It hung up before it was known."""
        self._end()

    def refuse(self, reason: str) -> None:
        """Hang up, and count why."""
        self._end()
        self._dial_in.refused(reason)
        if self._transport:
            self._transport.abort()

    def _decide(self) -> None:
        matches, _ = self._dial_in.names(self._said)
        if not matches or self._transport is None:
            self.refuse("no registration")
            return
        self._known = True
        self._end()
        self._dial_in.arrived(max(matches, key=len), self._transport)

    def _end(self) -> None:
        self._dial_in.forget(self)
        if self._timer:
            self._timer.cancel()


class DialIn:
    """The listener of one address, and the boxes that called there."""

    _open: ClassVar[dict[tuple[str, int], DialIn]] = {}

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._unknown: set[_Caller] = set()
        self._hosts: dict[bytes, Host] = {}
        self._arrived: dict[bytes, asyncio.Event] = {}
        self._callers: dict[bytes, asyncio.Transport] = {}

    @classmethod
    async def join(cls, address: tuple[str, int], registration: bytes, host: Host) -> DialIn:
        """Listen at the address, or share the listener already there; raises LinkError."""
        dial_in = cls._open.setdefault(address, cls(address))
        if registration in dial_in._hosts:
            raise LinkError("two links wait for the same registration")
        dial_in._hosts[registration] = host
        dial_in._arrived[registration] = asyncio.Event()
        if dial_in._socket is None:
            try:
                # Bound before anything is awaited, so that links that join together share it.
                dial_in._socket = socket.create_server(address)
            except OSError as error:
                dial_in.leave(registration)
                raise LinkError(error.strerror or str(error)) from None
            loop = asyncio.get_running_loop()
            try:
                # Not served at once: a server cancelled while it starts would be returned to nobody.
                dial_in._server = await loop.create_server(
                    lambda: _Caller(dial_in), sock=dial_in._socket, start_serving=False
                )
                await dial_in._server.start_serving()
            except asyncio.CancelledError:
                dial_in.leave(registration)
                raise
        return dial_in

    def leave(self, registration: bytes) -> None:
        """This link waits no more; the last one closes the listener."""
        self._hosts.pop(registration, None)
        self._arrived.pop(registration, None)
        caller = self._callers.pop(registration, None)
        if caller:
            caller.abort()
        if self._hosts:
            return
        for unknown in tuple(self._unknown):
            unknown.refuse("closing")
        if self._server:
            self._server.close()
        elif self._socket:
            self._socket.close()
        if self._open.get(self._address) is self:
            del self._open[self._address]

    async def caller(self, registration: bytes) -> asyncio.Transport:
        """The next connection of this box."""
        arrived = self._arrived[registration]
        await arrived.wait()
        arrived.clear()
        transport = self._callers[registration]
        if transport.is_closing():
            raise LinkError("the box hung up")
        return transport

    def admit(self, caller: _Caller) -> bool:
        """Take in a connection that is still unknown, while there are not too many."""
        if len(self._unknown) >= UNKNOWN_MAX:
            return False
        self._unknown.add(caller)
        return True

    def forget(self, caller: _Caller) -> None:
        """This connection is known, or gone."""
        self._unknown.discard(caller)

    def names(self, said: bytes) -> tuple[list[bytes], list[bytes]]:
        """The registrations with which `said` begins, and all it may still become or already is."""
        matches = [name for name in self._hosts if said.startswith(name)]
        return matches, matches + [
            name for name in self._hosts if name.startswith(said) and name not in matches
        ]

    def arrived(self, registration: bytes, transport: asyncio.Transport) -> None:
        """A box has told who it is; an older connection of the same box is dead and is dropped."""
        older = self._callers.get(registration)
        if older:
            older.abort()
        self._callers[registration] = transport
        self._arrived[registration].set()

    def refused(self, reason: str) -> None:
        """Count a refused caller; it belongs to no link, so the first one counts it."""
        for host in list(self._hosts.values())[:1]:
            host.count("callers_refused", reason)

"""A wire to a broker that sees every packet of the hub, and can be cut or go deaf at a chosen one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import TypeAlias

from simulators.mqtt_wire import PUBACK, PUBLISH, Packet, take_packet

Judge: TypeAlias = Callable[[Packet], tuple[bool, bool]]


class Fate(StrEnum):
    """What happens to the next command on the wire."""

    PASSES = "passes"
    CUT_BEFORE = "cut_before"  # it never reaches the broker
    CUT_BEFORE_PUBACK = "cut_before_puback"
    CUT_AFTER_PUBACK = "cut_after_puback"
    NO_PUBACK = "no_puback"  # everything else goes on


class BrokerWire:
    """`commands` are the PUBLISH packets the hub has sent below dormhub/down, as they came."""

    def __init__(self, broker_port: int) -> None:
        self.fate = Fate.PASSES
        self.commands: list[Packet] = []
        self.resets = 0
        self.connections = 0
        self._broker_port = broker_port
        self._awaited = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """The port that leads to the broker."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.transport.abort()
            return
        tasks = (
            asyncio.create_task(self._pump(reader, back, self._from_hub), name="to broker"),
            asyncio.create_task(self._pump(there, writer, self._from_broker), name="to hub"),
        )
        with suppress(asyncio.CancelledError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        back.transport.abort()
        writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, judge: Judge
    ) -> None:
        buffer = bytearray()
        while True:
            try:
                data = await reader.read(65_536)
            except ConnectionResetError:
                self.resets += judge == self._from_hub
                return
            if not data:
                return
            buffer += data
            whole = bytes(buffer)
            while (packet := take_packet(buffer)) is not None:
                raw = whole[: len(whole) - len(buffer)]
                whole = bytes(buffer)
                passes, cut = judge(packet)
                if passes:
                    writer.write(raw)
                if cut:
                    await writer.drain()
                    return

    def _from_hub(self, packet: Packet) -> tuple[bool, bool]:
        """Whether a packet goes on, and whether the wire is cut then."""
        if packet.type != PUBLISH or not packet.body[2:].startswith(b"dormhub/down/"):
            return True, False
        self.commands.append(packet)
        self._awaited = True
        cut = self.fate is Fate.CUT_BEFORE
        return not cut, cut

    def _from_broker(self, packet: Packet) -> tuple[bool, bool]:
        if packet.type != PUBACK or not self._awaited:
            return True, False
        self._awaited = False
        match self.fate:
            case Fate.CUT_BEFORE_PUBACK:
                return False, True
            case Fate.CUT_AFTER_PUBACK:
                return True, True
            case _:
                return self.fate is not Fate.NO_PUBACK, False

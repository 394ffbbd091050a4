"""Connections of simulated devices to a broker: one for each device, or one that many share."""

from __future__ import annotations

import asyncio
import heapq
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub import Clock
from simulators.ledger import Deed, Ledger
from simulators.mqtt_device import MqttDevice, Outgoing
from simulators.mqtt_wire import (
    CONNACK,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    Message,
    acknowledgement,
    connect_packet,
    delivered,
    publish_packet,
    short_packet,
    subscribe_packet,
    take_packet,
)

_KEEP_ALIVE_S = 30
_KEPT_MAX = 1000  # messages a connection keeps while its broker is away
_RETRY_S = (0.5, 5.0)
_CONNECT_TIMEOUT_S = 5.0
_TOPICS_A_PACKET = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """Where the broker is and how it is entered."""

    host: str
    port: int
    login: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None


class _Session(asyncio.Protocol):
    """One connection: counts what the broker has acknowledged."""

    def __init__(
        self, hello: bytes, kept: dict[int, Message], told: Callable[[Message], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost = asyncio.Event()
        self.stirred = asyncio.Event()  # lost, or told something
        self._hello = hello
        self._kept = kept
        self._told = told
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say CONNECT."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._hello)

    def connection_lost(self, exc: Exception | None) -> None:
        """The broker, or this side, has hung up."""
        self.lost.set()
        self.stirred.set()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the broker hung up"))

    def data_received(self, data: bytes) -> None:
        """Take acknowledgements, and what the broker brings."""
        self._buffer += data
        while (packet := take_packet(self._buffer)) is not None:
            if packet.type == PUBACK:
                self._kept.pop(int.from_bytes(packet.body[:2], "big"), None)
            elif packet.type == PUBLISH:
                message, number = delivered(packet)
                self._told(message)
                if number:
                    self.write(acknowledgement(number))
            elif packet.type == CONNACK and not self.ready.done():
                if packet.body[1]:
                    self.ready.set_exception(ConnectionError(f"refused: {packet.body[1]}"))
                else:
                    self.ready.set_result(None)

    def write(self, data: bytes) -> None:
        """Send, unless the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self, *, clean: bool) -> None:
        """Leave politely, or as if the power were cut: then the broker sends the last will."""
        if self._transport is None:
            return
        if clean:
            self.write(short_packet(DISCONNECT))
            self._transport.close()
        else:
            self._transport.abort()


class MqttClient:
    """The connection of one or many devices; keeps QoS 1 messages until the broker has them."""

    def __init__(
        self,
        client_id: str,
        devices: Sequence[MqttDevice],
        broker: Broker,
        *,
        clock: Clock,
        ledger: Ledger,
        clean: bool = True,
    ) -> None:
        self.dropped = 0
        self._clean = clean
        self._listening = {
            topic: device
            for device in devices
            if device.obedience is not None
            for topic in device.obedience.topics
        }
        self._client_id = client_id
        self._devices = devices
        self._broker = broker
        self._clock = clock
        self._ledger = ledger
        self._kept: dict[int, Message] = {}
        self._number = 0
        self._session: _Session | None = None
        self._due: list[tuple[int, int]] = []
        self._later: list[tuple[float, int, Message]] = []

    async def run(self) -> None:
        """Stay connected and let the devices speak, until cancelled; then say good-bye for them."""
        self._begin()
        pause_s = _RETRY_S[0]
        try:
            while True:
                try:
                    await self._connect()
                    pause_s = _RETRY_S[0]
                    await self._speak()
                except (OSError, TimeoutError):
                    pause_s = min(2 * pause_s, _RETRY_S[1])
                self._hang_up(clean=False)
                await self._clock.sleep(pause_s * (0.5 + self._clock.random()))
        finally:
            self._publish_presence(online=False)
            self._hang_up(clean=True)

    def _begin(self) -> None:
        """Power is on: every device starts to speak anew."""
        now_ms = self._clock.now_ms()
        for device in self._devices:
            device.begin(now_ms)
        self._due = sorted((device.due_ms, place) for place, device in enumerate(self._devices))

    async def _connect(self) -> None:
        hello = connect_packet(
            self._client_id,
            keep_alive_s=_KEEP_ALIVE_S,
            will=self._will(),
            login=self._broker.login,
            clean=self._clean,
        )
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, session = await loop.create_connection(
                lambda: _Session(hello, self._kept, self._obey),
                self._broker.host,
                self._broker.port,
                ssl=self._broker.tls,
            )
            self._session = session
            await session.ready
        for number, message in list(self._kept.items()):
            session.write(publish_packet(message, number, again=True))
        topics = list(self._listening)
        for start in range(0, len(topics), _TOPICS_A_PACKET):
            part = topics[start : start + _TOPICS_A_PACKET]
            session.write(subscribe_packet(part, self._next_number()))
        for device in self._devices:
            self._ledger.record(self._clock.now_ms(), device.device.id, Deed.CONNECTED)
        self._publish_presence(online=True)

    def _obey(self, message: Message) -> None:
        """The broker brings a command: it is obeyed, then acknowledged."""
        device = self._listening.get(message.topic)
        if device is None:
            return
        for outgoing in device.obey(message, self._clock.now_ms()):
            self._post(outgoing, self._clock.monotonic_s())
        if self._session is not None:
            self._session.stirred.set()

    def _next_number(self) -> int:
        self._number = self._number % 65535 + 1
        return self._number

    def _will(self) -> Message | None:
        """A connection has one last will, so a shared one has none."""
        return self._devices[0].presence(online=False) if len(self._devices) == 1 else None

    def _publish_presence(self, *, online: bool) -> None:
        for device in self._devices:
            message = device.presence(online)
            if message is not None:
                self._publish(message)

    async def _speak(self) -> None:
        """Send what is due, when it is due, until the connection is lost or a device reboots."""
        session = self._session
        assert session is not None
        pinged_s = self._clock.monotonic_s()
        while not session.lost.is_set():
            rebooting_until_ms = self._send_due()
            now_s = self._clock.monotonic_s()
            if rebooting_until_ms:
                self._hang_up(clean=False)
                await self._clock.sleep((rebooting_until_ms - self._clock.now_ms()) / 1000)
                self._begin()
                return
            if now_s - pinged_s > _KEEP_ALIVE_S / 2:
                pinged_s = now_s
                session.write(short_packet(PINGREQ))
            try:
                async with asyncio.timeout(self._pause_s()):
                    await session.stirred.wait()
            except TimeoutError:
                continue
            session.stirred.clear()

    def _pause_s(self) -> float:
        due_s = (self._due[0][0] - self._clock.now_ms()) / 1000 if self._due else _KEEP_ALIVE_S / 2
        if self._later:
            due_s = min(due_s, self._later[0][0] - self._clock.monotonic_s())
        return min(max(due_s, 0.005), _KEEP_ALIVE_S / 2)

    def _send_due(self) -> int:
        """Send everything due; returns until when the connection's only device reboots, else 0."""
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        while self._later and self._later[0][0] <= now_s:
            self._publish(heapq.heappop(self._later)[2])
        while self._due and self._due[0][0] <= now_ms:
            _, place = self._due[0]
            device = self._devices[place]
            for outgoing in device.messages(now_ms):
                self._post(outgoing, now_s)
            heapq.heapreplace(self._due, (device.due_ms, place))
            if len(self._devices) == 1 and device.rebooting_until_ms > now_ms:
                return device.rebooting_until_ms
        return 0

    def _post(self, outgoing: Outgoing, now_s: float) -> None:
        if outgoing.delay_s:
            number = self._next_number()
            heapq.heappush(self._later, (now_s + outgoing.delay_s, number, outgoing.message))
        else:
            self._publish(outgoing.message)

    def _publish(self, message: Message) -> None:
        number = self._next_number()
        if len(self._kept) >= _KEPT_MAX:
            self._kept.pop(next(iter(self._kept)))
            self.dropped += 1
        self._kept[number] = message
        if self._session is not None:
            self._session.write(publish_packet(message, number))

    def _hang_up(self, *, clean: bool) -> None:
        if self._session is not None:
            self._session.close(clean=clean)
            self._session = None

"""What a session publishes, and what the broker says of it.

With QoS 1 a client that connects again sends again what was not acknowledged. For a command that would be
a late delivery, so the object that remembers it is used for one connection only: `hold_session` makes a
new client for each, and nothing in this folder lets paho connect by itself (decision 010).
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Protocol

from paho.mqtt.client import Client as PahoClient
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

_QOS = 1
_REFUSED = 0x80  # reason codes from here on say no
_NO_SUBSCRIBERS = 0x10


class Delivery(StrEnum):
    """What became of a publish on its way to the broker; it says nothing of the device."""

    TAKEN = "taken"
    UNHEARD = "nobody listens"  # the broker has nobody to give it to
    REFUSED = "refused by the broker"
    UNSENT = "not connected"  # not one byte has left
    LOST = "connection lost"  # it may have arrived


class _Socket(Protocol):
    def fileno(self) -> int:
        """The descriptor."""


class Sent:
    """The publishes of one connection. QoS is always 1; retained is only the order to forget."""

    def __init__(self, paho: PahoClient, *, five: bool) -> None:
        self._paho = paho
        self._five = five
        self._waiting: dict[int, asyncio.Future[Delivery]] = {}
        paho.on_publish = self._on_publish

    @property
    def waits(self) -> bool:
        """Whether the broker's word on something is still missing."""
        return bool(self._waiting)

    async def publish(self, topic: str, payload: bytes, expiry_s: int) -> Delivery:
        """Publish once; returns with the broker's word, or the loss."""
        properties = None
        if self._five:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, expiry_s)  # Mosquitto takes 0 for "never"
        return await self._send(topic, payload, retain=False, properties=properties)

    async def forget(self, topic: str) -> Delivery:
        """An empty retained message: what MQTT has to make a broker forget."""
        return await self._send(topic, b"", retain=True, properties=None)

    def lose(self) -> None:
        """The connection is gone."""
        for told in self._waiting.values():
            if not told.done():
                told.set_result(Delivery.LOST)
        self._waiting.clear()

    def on_write_wanted(self, _client: PahoClient, _userdata: object, sock: _Socket) -> None:
        """paho has something to write. At once, not in a later turn when the socket may be another."""
        asyncio.get_running_loop().add_writer(sock.fileno(), self._paho.loop_write)

    async def _send(
        self, topic: str, payload: bytes, *, retain: bool, properties: Properties | None
    ) -> Delivery:
        info = self._paho.publish(topic, payload, qos=_QOS, retain=retain, properties=properties)
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            return Delivery.UNSENT
        # The answer is read by this loop, so it cannot have come yet.
        told: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._waiting[info.mid] = told
        return await told

    def _on_publish(
        self,
        _client: PahoClient,
        _userdata: object,
        number: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        told = self._waiting.pop(number, None)
        if told is None or told.done():
            return
        if reason.value >= _REFUSED:
            told.set_result(Delivery.REFUSED)
        else:
            unheard = reason.value == _NO_SUBSCRIBERS
            told.set_result(Delivery.UNHEARD if unheard else Delivery.TAKEN)

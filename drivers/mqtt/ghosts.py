"""Retained commands: what somebody left at the broker for a device, to be obeyed at each of its restarts.

The hub never leaves any. Whatever is found on the command topics of its own devices is foreign, and is
cleared before the device's next restart, counted, and kept as poison for a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from drivers.mqtt.sent import Delivery
from drivers.mqtt.session import Session
from hub import POISON_KEPT_BYTES, Host, Poison, StoreError

_QUIET_S = 1.0  # the broker sends what it keeps at once: silence means that was all
_LOOK_MAX_S = 10.0
_CLEAR_S = 5.0
_BATCH = 100


class Ghosts:
    """One look at the command topics of a link's own devices."""

    def __init__(self, link: str, topics: Mapping[str, str], host: Host, *, clear: bool) -> None:
        self._link = link
        self._topics = topics
        self._host = host
        self._clear = clear
        self.looked = False

    async def look(self, session: Session) -> None:
        """Read what the broker keeps, clear what is for our devices; returns after a second of silence."""
        found: dict[str, bytes] = {}
        try:
            async with asyncio.timeout(_LOOK_MAX_S) as whole:
                while True:
                    async with asyncio.timeout(_QUIET_S):
                        messages = await session.receive(_BATCH)
                    if not messages:
                        return
                    session.acknowledge(messages)
                    kept = (item for item in messages if item.retained and item.payload)
                    found |= {item.topic: item.payload for item in kept}
        except TimeoutError:
            if whole.expired():
                self._host.count("retained look", "not all seen")
        self.looked = True
        for topic, payload in found.items():
            if topic in self._topics:
                await self._lay(session, topic, payload)

    async def _lay(self, session: Session, topic: str, payload: bytes) -> None:
        self._host.count("retained_command")
        if self._clear:
            try:
                async with asyncio.timeout(_CLEAR_S):
                    delivery = await session.forget(topic)
            except TimeoutError:
                delivery = Delivery.LOST
            if delivery not in (Delivery.TAKEN, Delivery.UNHEARD):
                self._host.count("retained_command", f"not cleared: {delivery}")
        poison = Poison(
            time_ms=self._host.clock.now_ms(),
            link=self._link,
            source=topic,
            reason="retained command",
            payload=payload[:POISON_KEPT_BYTES],
        )
        try:
            await self._host.quarantine([poison])
        except StoreError:
            self._host.count("not stored", "retained command")

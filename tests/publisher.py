"""Meters of our MQTT convention: numbered messages at a steady rate, and what the broker acknowledged."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.servers import wait_until

ACK_TIMEOUT_S = 30.0


class Publisher:
    """One connection that speaks for many meters, QoS 1. `sent` are (device, seq, watts), in order."""

    def __init__(self, port: int, devices: int, rate_per_s: float) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="meters")
        self._client.max_inflight_messages_set(1000)
        self._client.connect("127.0.0.1", port)
        self._rate_per_s = rate_per_s
        self._devices = devices
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher")
        self._acknowledged = 0
        self._client.on_publish = self._count
        self.sent: list[tuple[str, int, int]] = []

    def start(self) -> None:
        self._client.loop_start()
        self._thread.start()

    def finish(self) -> None:
        """Stop sending, and wait until the broker has acknowledged everything; a second call does nothing."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        wait_until(lambda: self._acknowledged == len(self.sent), timeout_s=ACK_TIMEOUT_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _count(self, *_details: object) -> None:
        """The broker has acknowledged one more message."""
        self._acknowledged += 1

    def _run(self) -> None:
        began_s = time.time()
        number = 0
        while not self._stop.is_set():
            device = f"meter-{number % self._devices}"
            document = {
                "ts": int(began_s + number / self._rate_per_s),
                "seq": number,
                "power_w": number % 2000,
            }
            topic = f"dormhub/up/{device}/state"
            self._client.publish(topic, json.dumps(document), qos=1)
            self.sent.append((device, number, number % 2000))
            number += 1
            self._stop.wait(max(0.0, began_s + number / self._rate_per_s - time.time()))


@contextmanager
def publishing(port: int, *, devices: int, rate_per_s: float) -> Iterator[Publisher]:
    """Meters that send until `finish` is called."""
    publisher = Publisher(port, devices, rate_per_s)
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.finish()

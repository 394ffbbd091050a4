"""One connection to a broker, behind a small port; only this module and `sent` know aiomqtt and paho.

`Session` is all the driver sees. `hold_session` may be replaced by another client without a change
elsewhere. What aiomqtt 2.5 does not offer is done on the paho client inside it, by paho's public calls:
manual acknowledgement (`manual_ack_set`, `ack`), messages without one task each (`on_message`), and a
socket that is not read while too much waits (Mosquitto 2.0 sends more than the receive maximum). Every
session has a client object of its own, so that no publish of a lost connection is ever sent again.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import aiomqtt
import msgspec
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, DisconnectFlags, MQTTMessage
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from drivers.mqtt.sent import Delivery, Sent
from drivers.mqtt.settings import Broker
from hub import Clock, LinkError

_QOS = 1
_READS_PER_TURN = 64  # packets taken from the socket before other work gets its turn
_CLOSE_TIMEOUT_S = 0.5
_REFUSED = 0x80  # reason codes from here on say no
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message as the broker delivered it.

    `retained` says that it was kept by the broker and is older than the subscription. `ticket` is what
    an acknowledgement names; 0 when none is due. `arrived_s` is the clock's monotonic second when it was
    read from the socket; 0 when that is not known.
    """

    topic: str
    payload: bytes
    retained: bool
    ticket: int
    arrived_s: float = 0.0


class Session(Protocol):
    """A connection whose messages come in order and are the broker's to repeat until acknowledged."""

    async def receive(self, limit: int) -> Sequence[Message]:
        """The messages that have arrived, oldest first: at least one, at most `limit`.

        Waits for the first. Empty once the connection is lost; what was not acknowledged comes again.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these are stored. In the order of their arrival, each once."""

    async def publish(self, topic: str, payload: bytes, expiry_s: int) -> Delivery:
        """Publish once, with QoS 1 and never retained; returns with the broker's word, or the loss.

        The broker of MQTT 5 forgets it `expiry_s` (at least 1) after it came. Has no time-out of its own:
        whoever gives up waiting, and must not have it arrive later, calls `reset`.
        """

    async def forget(self, topic: str) -> Delivery:
        """Have the broker forget what it keeps as retained on this topic."""

    def reset(self, reason: str) -> None:
        """End the connection at once and throw away what still lies in its socket."""

    @property
    def lost(self) -> bool:
        """Whether the connection is gone, so that nothing can be acknowledged any more."""


class PahoSession:
    """The Session of aiomqtt and paho. At most `max_waiting` messages wait in it: then it stops reading."""

    def __init__(self, paho: PahoClient, max_waiting: int, *, five: bool, clock: Clock) -> None:
        self._paho = paho
        self._clock = clock
        self.sent = Sent(paho, five=five)
        self._max_waiting = max_waiting
        self._waiting: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._reading = False
        self.reason = ""
        paho.manual_ack_set(True)
        paho.on_message = self._on_message

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return bool(self.reason)

    async def receive(self, limit: int) -> Sequence[Message]:
        """See Session."""
        while not self._waiting:
            if self.lost:
                return []
            self._changed.clear()
            await self._changed.wait()
        waiting = self._waiting
        messages = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        if not self._reading and len(waiting) <= self._max_waiting // 2:
            self.read()
        return messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See Session."""
        if self.lost:
            return
        for message in messages:
            if message.ticket:
                self._paho.ack(message.ticket, _QOS)

    async def publish(self, topic: str, payload: bytes, expiry_s: int) -> Delivery:
        """See Session."""
        return Delivery.UNSENT if self.lost else await self.sent.publish(topic, payload, expiry_s)

    async def forget(self, topic: str) -> Delivery:
        """See Session."""
        return Delivery.UNSENT if self.lost else await self.sent.forget(topic)

    def reset(self, reason: str) -> None:
        """See Session."""
        paho, sock = self._paho, self._paho.socket()
        paho.on_socket_register_write = paho.on_socket_unregister_write = None
        if isinstance(sock, socket.socket) and sock.fileno() >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(sock.fileno())
            loop.remove_writer(sock.fileno())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
        self.lose(reason)

    def read(self) -> None:
        """Read and write the socket from now on, in the place of aiomqtt."""
        sock = self._paho.socket()
        if sock is not None and not self.lost:
            self._paho.on_socket_register_write = self.sent.on_write_wanted
            asyncio.get_running_loop().add_reader(sock.fileno(), self._on_readable)
            self._reading = True

    def lose(self, reason: str) -> None:
        """The connection is gone: what can still be repeated by the broker is forgotten here."""
        self.reason = self.reason or reason
        self._waiting = deque(message for message in self._waiting if not message.ticket)
        self.sent.lose()
        self._changed.set()

    async def watch(self, client: aiomqtt.Client) -> None:
        """Return when the connection is lost. aiomqtt's own queue stays empty; its end is the news."""
        try:
            async for _ in client.messages:
                self.lose("unexpected message")
        except aiomqtt.MqttError as error:
            self.lose(str(error))

    def _on_message(self, _client: PahoClient, _userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "\N{REPLACEMENT CHARACTER}"
        ticket = message.mid if message.qos else 0
        arrived_s = self._clock.monotonic_s()
        payload = bytes(message.payload)
        self._waiting.append(Message(topic, payload, message.retain, ticket, arrived_s))

    def _on_readable(self) -> None:
        waiting = self._waiting
        try:
            for _ in range(_READS_PER_TURN):
                before = len(waiting)
                self._paho.loop_read()
                if len(waiting) == before:
                    break
        except (OSError, ValueError, LookupError, struct.error) as error:
            self.lose(f"protocol error: {error}")
        if waiting:
            self._changed.set()
        socket = self._paho.socket()
        if len(waiting) >= self._max_waiting and socket is not None:
            asyncio.get_running_loop().remove_reader(socket.fileno())
            self._reading = False


async def hold_session(
    broker: Broker,
    filters: Sequence[str],
    serve: Callable[[Session], Awaitable[None]],
    clock: Clock,
) -> None:
    """Connect, subscribe, and run `serve` until it returns; then, or on cancellation, disconnect.

    Raises LinkError when the broker cannot be reached, refuses, or is lost.
    """
    try:
        client = _client(broker)
    except (OSError, ValueError) as error:
        raise LinkError(f"password or certificate: {error}") from None
    five = broker.settings.version == "5"
    session = PahoSession(client._client, broker.settings.max_unstored, five=five, clock=clock)
    try:
        await _connect(client)
        await _subscribe(client, broker, filters)
        session.read()
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(session.watch(client), name="mqtt-watch")
            await serve(session)
            watch.cancel()
    except aiomqtt.MqttError as error:
        session.lose(str(error))
    finally:
        if session.sent.waits:  # what the broker has not taken does not leave with the goodbye
            session.reset("left")
        await _close(client)
    raise LinkError(session.reason or "closed")


async def _connect(client: aiomqtt.Client) -> None:
    """Connect; when cancelled, let what runs in aiomqtt's thread come to its end first, if it is quick."""
    _hear_refusal(client)
    # Not in a TaskGroup, which would cancel it together with this task.
    entering = asyncio.create_task(client.__aenter__(), name="mqtt-connect")
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        await asyncio.wait({entering}, timeout=_CLOSE_TIMEOUT_S)
        entering.cancel()
        await asyncio.wait({entering})
        raise


def _hear_refusal(client: aiomqtt.Client) -> None:
    """End the wait for the broker's welcome as soon as it hangs up; aiomqtt would wait for its time-out."""

    def on_disconnect(
        paho: PahoClient,
        userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if not client._connected.done():
            client._connected.set_exception(aiomqtt.MqttError("the broker hangs up"))
        client._on_disconnect(paho, userdata, flags, reason, properties)

    client._client.on_disconnect = on_disconnect


def _client(broker: Broker) -> aiomqtt.Client:
    settings = broker.settings
    five = settings.version == "5"
    properties = Properties(PacketTypes.CONNECT) if five else None  # type: ignore[no-untyped-call]
    if properties is not None:
        properties.SessionExpiryInterval = 0 if broker.visit else settings.session_expiry_s
        properties.ReceiveMaximum = settings.receive_maximum
    return aiomqtt.Client(
        settings.host,
        broker.port,
        identifier=broker.client_id,
        username=settings.username or None,
        password=broker.password(),
        protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
        clean_start=broker.visit if five else MQTT_CLEAN_START_FIRST_ONLY,
        clean_session=None if five else broker.visit,
        properties=properties,
        tls_context=broker.tls_context(),
        keepalive=settings.keepalive_s,
        timeout=settings.timeout_s,
        # A command must not wait 40 ms for the broker's delayed acknowledgement of what went before.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )


async def _subscribe(client: aiomqtt.Client, broker: Broker, filters: Sequence[str]) -> None:
    for start in range(0, len(filters), 100):  # a SUBSCRIBE of bounded size
        part = filters[start : start + 100]
        if broker.settings.version == "5":
            # Our own messages never come back; retained ones always do, marked as such.
            options = SubscribeOptions(qos=_QOS, noLocal=True)
            answers = await client.subscribe([(name, options) for name in part])
        else:
            answers = await client.subscribe([(name, _QOS) for name in part])
        _heed_cancellation()
        for name, answer in zip(part, answers, strict=False):
            if isinstance(answer, ReasonCode) and answer.value >= _REFUSED:
                raise aiomqtt.MqttError(f"the broker refuses {name}")


def _heed_cancellation() -> None:
    """End a cancelled task. aiomqtt waits by `asyncio.wait_for`, which in Python 3.11 forgets a
    cancellation that comes in the same turn of the loop as the answer."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _close(client: aiomqtt.Client) -> None:
    """Say goodbye and leave nothing behind, whatever state the connection is in."""
    paho = client._client
    paho.on_disconnect = None
    paho.on_socket_register_write = None  # from now on paho writes at once
    # A connection that is still being made in the thread is closed as soon as it stands.
    paho.on_socket_open = lambda _client, _userdata, socket: socket.close()
    if _is_open(paho):
        paho.disconnect()
    socket = paho.socket()
    if socket is not None and _is_open(paho):  # the goodbye does not fit into a full socket
        asyncio.get_running_loop().remove_reader(socket.fileno())
        asyncio.get_running_loop().remove_writer(socket.fileno())
        socket.close()
    for future in (client._connected, client._disconnected):
        if future.done() and not future.cancelled():
            future.exception()  # heard, so that asyncio does not complain
    if client._misc_task is not None:
        client._misc_task.cancel()
        await asyncio.wait({client._misc_task})


def _is_open(paho: PahoClient) -> bool:
    socket = paho.socket()
    return socket is not None and socket.fileno() >= 0  # a reset leaves a closed one behind

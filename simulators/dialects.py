"""How simulated MQTT devices are spoken to and answer, each in the words of its maker.

Written from docs/device-protocol.md, shelly-api-docs (Gen2 RPC over MQTT) and tasmota/docs (Commands); it
shares no line with the drivers.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from hub import Profile
from simulators.mqtt_wire import Message

_T = TypeVar("_T")
_REMEMBERED = 100
_AHEAD_S = 120
DONE = frozenset({"accepted", "started", "done"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A command as the device understood it; `refused` is the code when it may not be done.

    `answers` is false for what a device does not answer at all.
    """

    name: str
    id: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)
    asker: str = ""
    refused: str = ""
    reason: str = ""
    answers: bool = True


class Dialect(Protocol):
    """One maker's words."""

    @property
    def topics(self) -> tuple[str, ...]:
        """Where the device listens."""

    def read(self, message: Message, now_ms: int) -> Request:
        """What it is told. Raises ValueError, KeyError or TypeError for what cannot be read."""

    def answer(self, request: Request, code: str, now_ms: int) -> Message | None:
        """Its word on a command; None when it has none."""

    def done(self, request: Request, code: str) -> None:
        """Remember what became of a command."""


class OwnDialect:
    """Our convention: an envelope with an end, a nonce and, where there is a key, a signature."""

    def __init__(self, address: str, key: bytes) -> None:
        self.topics = (f"dormhub/down/{address}/command",)
        self._result = f"dormhub/up/{address}/result"
        self._key = key
        self._codes: OrderedDict[str, str] = OrderedDict()
        self._nonces: OrderedDict[str, None] = OrderedDict()

    def read(self, message: Message, now_ms: int) -> Request:
        """Everything a device has to check, in the order of the page."""
        envelope = json.loads(message.payload)
        body = json.loads(envelope["body"])
        name, number = str(body["command"]), str(body["id"])
        request = Request(name=name, id=number, arguments=dict(body["args"]))
        if message.retain:
            return _with(request, "rejected", "retained", answers=False)
        if self._key and not self._is_signed(message, envelope):
            return _with(request, "rejected", "signature", answers=False)
        if int(body["issued"]) * 1000 > now_ms + _AHEAD_S * 1000:
            return _with(request, "rejected", "issued in the future")
        if int(body["expires"]) * 1000 <= now_ms:
            return _with(request, "expired", "too late")
        if number in self._codes:
            return _with(request, "duplicate", self._codes[number])
        if body["nonce"] in self._nonces:
            return _with(request, "rejected", "nonce")
        _remember(self._nonces, str(body["nonce"]), None)
        return request

    def _is_signed(self, message: Message, envelope: Mapping[str, object]) -> bool:
        text = f"{message.topic}\n{envelope['body']}".encode()
        right = hmac.new(self._key, text, hashlib.sha256).hexdigest()
        return hmac.compare_digest(right, str(envelope.get("hmac", "")))

    def answer(self, request: Request, code: str, now_ms: int) -> Message | None:
        """A result that names its command."""
        if not request.answers or request.name == "report":
            return None
        document = {
            "ts": now_ms // 1000,
            "id": request.id,
            "code": code,
            "reason": request.reason,
        }
        return Message(topic=self._result, payload=json.dumps(document).encode())

    def done(self, request: Request, code: str) -> None:
        """A second telling of it is a duplicate."""
        if code in DONE:
            _remember(self._codes, request.id, code)


class ShellyDialect:
    """JSON-RPC of the second generation: it answers on a topic that the asker names."""

    def __init__(self, address: str) -> None:
        self.topics = (f"{address}/rpc",)
        self._address = address

    def read(self, message: Message, now_ms: int) -> Request:
        """A call of Switch.Set; whatever else is unknown to it."""
        frame = json.loads(message.payload)
        known = frame["method"] == "Switch.Set" and frame["params"]["id"] == 0
        closed = bool(frame["params"]["on"]) if known else False
        return Request(
            name="restore" if closed else "cut",
            id=str(frame["id"]),
            asker=str(frame["src"]),
            refused="" if known else "rejected",
            reason="" if known else f"No handler for {frame['method']}",
        )

    def answer(self, request: Request, code: str, now_ms: int) -> Message | None:
        """What it was before, or an error."""
        frame: dict[str, object] = {"id": request.id, "src": self._address, "dst": request.asker}
        if code in DONE:
            frame["result"] = {"was_on": request.name == "cut"}
        else:
            frame["error"] = {"code": 404, "message": request.reason}
        return Message(topic=f"{request.asker}/rpc", payload=json.dumps(frame).encode())

    def done(self, request: Request, code: str) -> None:
        """It remembers nothing: told twice, it does it twice."""


class TasmotaDialect:
    """One topic for each command; its result names no command."""

    def __init__(self, address: str) -> None:
        self.topics = (f"cmnd/{address}/POWER", f"cmnd/{address}/MaxPower")
        self._address = address

    def read(self, message: Message, now_ms: int) -> Request:
        """ON, OFF, or nothing to ask; a power."""
        text = message.payload.decode()
        if message.topic == self.topics[1]:
            return Request(name="power_limit", arguments={"power": int(text)})
        names = {"ON": "restore", "OFF": "cut", "": "report"}
        return Request(name=names[text.upper()])

    def answer(self, request: Request, code: str, now_ms: int) -> Message | None:
        """The new state, under the command's name."""
        words: dict[str, dict[str, object]] = {
            "restore": {"POWER": "ON"},
            "cut": {"POWER": "OFF"},
            "power_limit": {"MaxPower": request.arguments.get("power")},
        }
        document = words.get(request.name)
        if document is None:
            return None
        topic = f"stat/{self._address}/RESULT"
        return Message(topic=topic, payload=json.dumps(document).encode())

    def done(self, request: Request, code: str) -> None:
        """It remembers nothing."""


def dialect_of(profile: Profile, address: str, key: bytes) -> Dialect | None:
    """The words of this product; None for one that takes no commands over MQTT."""
    if not profile.commands:
        return None
    if profile.id == "shelly_plus1pm":
        return ShellyDialect(address)
    if profile.id == "tasmota_plug":
        return TasmotaDialect(address)
    return OwnDialect(address, key)


def _with(request: Request, code: str, reason: str, *, answers: bool = True) -> Request:
    return Request(
        name=request.name,
        id=request.id,
        arguments=request.arguments,
        refused=code,
        reason=reason,
        answers=answers,
    )


def _remember(memory: OrderedDict[str, _T], key: str, value: _T) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)

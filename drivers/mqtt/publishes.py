"""How the commands of a profile are said over MQTT: topic, payload, and what an answer means. Pure.

    [commands.start]
    publish = { topic = "dormhub/down/{address}/command", payload = { command = "start", args = {
        order = "@order" } }, envelope = true, key_file = "$key_file" }
    answer = { topic = "dormhub/up/{address}/result", id = "id", code = "code",
        acknowledged = ["accepted"], refused = ["rejected"], reason = "reason" }

A text "@name" stands for an argument; `@id` `@issued` `@expires` (UNIX seconds) `@nonce` `@address`
`@source` for what the hub knows. With `envelope` the payload becomes `{"body": text, "hmac": hex}` as
docs/device-protocol.md describes. QoS and retain are the driver's: always 1 and never.
Only what stands here can be published: a driver takes the plan of the device's own profile.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from drivers.mqtt.answers import AnswerKeys, AnswerPlan, answer_plan
from drivers.mqtt.topics import TopicTemplate, parse_command_template
from hub import (
    Argument,
    BadValue,
    Command,
    CommandSpec,
    ConfigError,
    ConfigErrors,
    PointType,
    Profile,
    Value,
    argument_mistake,
    holds_closed,
    is_gate,
    settings_as,
    wire_number,
)

KNOWN_TO_THE_HUB = ("id", "issued", "expires", "nonce", "address", "source")
_ENVELOPE = ("id", "issued", "expires", "nonce")
_MARK = "@"
_DEPTH_MAX = 8

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"]


class PublishKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is published, as written."""

    topic: str
    payload: dict[str, object] | None = None
    text: str | None = None
    envelope: bool = False
    key_file: str = ""


class CommandKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of one command that belong to MQTT."""

    publish: PublishKeys
    answer: AnswerKeys | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What the hub knows of one telling: which command, from when to when, whom, and who asks.

    `source` names this hub to devices that answer on the asker's own topic.
    """

    id: str
    issued_ms: int
    expires_ms: int
    nonce: str
    address: str
    source: str

    def value(self, name: str) -> Value:
        """What "@name" stands for; times in UNIX seconds, the end rounded down."""
        match name:
            case "issued":
                return self.issued_ms // 1000
            case "expires":
                return self.expires_ms // 1000
            case _:
                return str(getattr(self, name))


def stamp_of(command: Command, address: str, source: str) -> Stamp:
    """The stamp of a command to the device at `address`."""
    return Stamp(
        id=command.id,
        issued_ms=command.issued_ms,
        expires_ms=command.expires_ms,
        nonce=command.nonce,
        address=address,
        source=source,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What goes to the broker."""

    topic: str
    payload: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Publish:
    """A topic and a payload with places for arguments; `key_file` names the device's own key, if any."""

    topic: TopicTemplate
    payload: Mapping[str, object] | str
    envelope: bool
    key_file: str
    arguments: Mapping[str, Argument]

    def message(self, arguments: Mapping[str, Value], stamp: Stamp, key: bytes = b"") -> Message:
        """The message for these arguments (an absent one has its default); raises BadValue.

        With an envelope, `key` signs it; without one the message has no `hmac`.
        """
        topic = self.topic.topic(stamp.address)
        if isinstance(self.payload, str):
            return Message(topic=topic, payload=_text(self._filled(self.payload, arguments, stamp)))
        document = self._filled(dict(self.payload), arguments, stamp)
        assert isinstance(document, dict)
        if self.envelope:
            document = _enveloped(document, stamp, topic, key)
        return Message(topic=topic, payload=canonical(document))

    def _filled(self, part: object, arguments: Mapping[str, Value], stamp: Stamp) -> Json:
        if isinstance(part, dict):
            return {name: self._filled(item, arguments, stamp) for name, item in part.items()}
        if isinstance(part, list):
            return [self._filled(item, arguments, stamp) for item in part]
        if isinstance(part, str) and part.startswith(_MARK):
            name = part[1:]
            if name in KNOWN_TO_THE_HUB:
                return stamp.value(name)
            return _wire_value(self.arguments[name], arguments)
        assert isinstance(part, bool | int | float | str)
        return part


def _wire_value(argument: Argument, arguments: Mapping[str, Value]) -> Value:
    value = arguments.get(argument.name, argument.default)
    if value is None:
        raise BadValue(f"{argument.name}: not given")
    if mistake := argument_mistake(argument, value):
        raise BadValue(f"{argument.name}: {mistake}")
    if argument.type in (PointType.BOOL, PointType.TEXT):
        return value
    number = wire_number(argument, value)
    return int(number) if number.denominator == 1 else float(number)


def _text(value: Json) -> bytes:
    return (json.dumps(value) if isinstance(value, bool) else str(value)).encode()


def canonical(document: Json) -> bytes:
    """JSON with sorted keys and no blanks: the same document is always the same bytes."""
    return json.dumps(
        document, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()


def _enveloped(document: dict[str, Json], stamp: Stamp, topic: str, key: bytes) -> dict[str, Json]:
    known: dict[str, Json] = {name: stamp.value(name) for name in _ENVELOPE}
    body = canonical({**document, **known}).decode()
    if not key:
        return {"body": body}
    signed = f"{topic}\n{body}".encode()
    return {"body": body, "hmac": hmac.new(key, signed, hashlib.sha256).hexdigest()}


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishPlan:
    """How one command is said, and where its answer comes; without `answer` the proof is a reading alone."""

    command: str
    publish: Publish
    answer: AnswerPlan | None


def publish_plan(profile: Profile) -> Mapping[str, PublishPlan]:
    """Every command of a profile by its name; raises ConfigErrors with each command's first mistake."""
    plans: dict[str, PublishPlan] = {}
    errors: list[ConfigError] = []
    for name, spec in profile.commands.items():
        try:
            plans[name] = _command_plan(profile, spec)
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(tuple(errors))
    return plans


def refresh_plan(profile: Profile) -> Publish | None:
    """How the device is asked to say its whole state; None when the profile knows no way."""
    table = profile.wire.get("refresh")
    if table is None:
        return None
    key = "mqtt.refresh"
    if not isinstance(table, dict):
        raise profile.wrong(key, f"found {table!r}", "write a table: { topic = … }")
    keys = settings_as(PublishKeys, table, file=profile.file, key=key)
    return _publish(profile, key, keys, {})


def _command_plan(profile: Profile, spec: CommandSpec) -> PublishPlan:
    key = f"commands.{spec.name}"
    for word in ("qos", "retain"):
        publish = spec.where.get("publish")
        if word in spec.where or (isinstance(publish, dict) and word in publish):
            hint = "leave it out: commands go with QoS 1 and are never retained"
            raise profile.wrong(f"{key}.{word}", "not the profile's choice", hint)
    keys = settings_as(CommandKeys, spec.where, file=profile.file, key=key)
    publish = _publish(profile, f"{key}.publish", keys.publish, spec.arguments)
    answer = None
    if keys.answer is not None:
        answer = answer_plan(profile, f"{key}.answer", keys.answer)
        same = (answer.head, answer.tail) == (publish.topic.head, publish.topic.tail)
        if answer.has_address and same:
            hint = "a hub that hears its own commands takes them for answers"
            raise profile.wrong(f"{key}.answer.topic", f"found {keys.answer.topic!r}", hint)
    return PublishPlan(command=spec.name, publish=publish, answer=answer)


def _publish(
    profile: Profile, key: str, keys: PublishKeys, arguments: Mapping[str, Argument]
) -> Publish:
    if (keys.payload is None) is (keys.text is None):
        raise profile.wrong(key, "no single content", "write payload = { … } or text = …")
    if keys.envelope and (keys.payload is None or not set(_ENVELOPE).isdisjoint(keys.payload)):
        hint = "a payload of its own, without " + ", ".join(_ENVELOPE)
        raise profile.wrong(f"{key}.envelope", "it cannot be wrapped", hint)
    if keys.key_file and not keys.envelope:
        raise profile.wrong(f"{key}.key_file", "nothing to sign", "write envelope = true")
    payload: Mapping[str, object] | str = keys.text or "" if keys.payload is None else keys.payload
    _check_leaves(profile, key, payload, arguments)
    try:
        topic = parse_command_template(keys.topic)
    except ValueError as error:
        raise profile.wrong(f"{key}.topic", f"found {keys.topic!r}", str(error)) from None
    return Publish(
        topic=topic,
        payload=payload,
        envelope=keys.envelope,
        key_file=keys.key_file,
        arguments=arguments,
    )


def _check_leaves(
    profile: Profile, key: str, payload: object, arguments: Mapping[str, Argument]
) -> None:
    """Every "@name" is known, every argument is said, and nothing holds a gate closed."""
    gate = is_gate(profile)
    named = set()
    for leaf in _leaves(payload, _DEPTH_MAX):
        if not isinstance(leaf, bool | int | float | str):
            raise profile.wrong(
                key, f"found {leaf!r}", "write numbers, texts, flags, lists, tables"
            )
        if not isinstance(leaf, str):
            continue
        if gate and holds_closed(leaf):
            raise profile.wrong(key, f"found {leaf!r}", "no command may hold a gate closed")
        if leaf.startswith(_MARK):
            named.add(leaf[1:])
    for name in sorted(named - set(arguments) - set(KNOWN_TO_THE_HUB)):
        hint = "name an argument, or one of " + ", ".join(KNOWN_TO_THE_HUB)
        raise profile.wrong(key, f"found '@{name}'", hint)
    for name in sorted(set(arguments) - named):
        raise profile.wrong(key, f"argument {name!r} is not in it", f'write "@{name}" somewhere')


def _leaves(part: object, depth_left: int) -> Iterator[object]:
    if isinstance(part, Mapping) and depth_left:
        for item in part.values():
            yield from _leaves(item, depth_left - 1)
    elif isinstance(part, list) and depth_left:
        for item in part:
            yield from _leaves(item, depth_left - 1)
    else:
        yield part

"""From the bytes of one message to values. Pure, and judged by the profiles' golden folders.

A profile's table `[mqtt.topics]` names the topics its devices speak on:

    [mqtt.topics]
    state = { topic = "dormhub/up/{address}/state", time = "ts", time_unit = "s", sequence = "seq" }
    status = { topic = ["{address}/events/rpc", "…"], root = "params.switch:0" }
    online = { topic = "tele/{address}/LWT", format = "text" }
    alive = { topic = "device/{address}/message/up/keep_alive", heartbeat = true }

Paths: keys with dots between, `[0]` an index, `**.Name.key` the first match at any depth, nothing the
whole payload (below `root` for points; `time` and `sequence` always begin at the top).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from drivers.mqtt.device_time import TimeUnit, device_time_ms
from drivers.mqtt.document import MISSING, Path, find, parse_json, parse_path
from drivers.mqtt.topics import TopicTemplate, parse_template
from hub import (
    BadValue,
    Converter,
    PointSpec,
    PointType,
    Profile,
    Raw,
    Rejected,
    Value,
    converter,
)

NUMBER_MAX = 1e15
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,3})?")
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """What one message says.

    `values` and `bad` as in a Reading. `time_ms` is the device's own time (UTC), None where the topic
    has none or it cannot be read; never guessed. `sequence` is the device's message number, where it has
    one. A message that has nothing for us, such as a notice about another part of the device, has neither
    values nor bad.
    """

    values: Mapping[str, Value]
    bad: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    time_ms: int | None = None
    sequence: int | None = None


class TopicKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of `[mqtt.topics]` as written."""

    topic: str | list[str]
    format: Literal["json", "text"] = "json"
    root: str = ""
    time: str | None = None
    time_unit: TimeUnit | None = None
    sequence: str | None = None
    heartbeat: bool = False


class _WireKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    topics: dict[str, TopicKeys]
    refresh: dict[str, object] | None = None  # drivers/mqtt/publishes.py


class _PointKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"topics": "in"}):
    topics: list[str] | None = None
    path: str = ""
    encoding: Literal["base64"] | None = None


Keys = TypeVar("Keys")
Read: TypeAlias = Callable[[object], Value]


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """One topic of a product, ready to decode: its templates and the points it carries.

    `presence` is true when the topic says nothing but whether the device is there.
    """

    name: str
    templates: tuple[TopicTemplate, ...]
    text: bool
    root: Path
    time: Path | None
    time_unit: TimeUnit
    sequence: Path | None
    heartbeat: bool
    points: tuple[tuple[str, Path, Read], ...]

    @property
    def presence(self) -> bool:
        """Whether the topic tells presence only."""
        return self.heartbeat or [name for name, _, _ in self.points] == ["online"]


class TopicMap:
    """The topics of one product. `decode` is a pure function of the message."""

    def __init__(self, topics: Mapping[str, Topic], zone: ZoneInfo) -> None:
        self.topics = topics
        self._zone = zone

    def decode(self, name: str, payload: bytes) -> Decoded:
        """What `payload`, heard on the topic called `name` in the profile, says.

        Raises Rejected, with a short fixed reason, when nothing of it can be used.
        """
        topic = self.topics[name]
        if topic.heartbeat:
            return Decoded(values={"online": True})
        if not payload:
            raise Rejected("empty payload")
        document = _text(payload) if topic.text else parse_json(payload)
        root = find(document, topic.root)
        values, bad = _read_points(topic, root)
        if bad and not values:
            raise Rejected("no usable value")
        if not values and topic.points and not _is_notice(topic, root):
            raise Rejected("nothing known in it")
        sequence = None if topic.sequence is None else _sequence(find(document, topic.sequence))
        time_ms = None
        if topic.time is not None:
            raw = find(document, topic.time)
            time_ms = device_time_ms(raw, topic.time_unit, self._zone, sequence)
        return Decoded(values=values, bad=bad, time_ms=time_ms, sequence=sequence)


def _is_notice(topic: Topic, root: object) -> bool:
    """Whether a message without any of our points is still in order: about another part of the device."""
    return bool(topic.root.steps) and (root is MISSING or isinstance(root, dict))


def _read_points(topic: Topic, root: object) -> tuple[Mapping[str, Value], Mapping[str, str]]:
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    for name, path, read in topic.points:
        raw = find(root, path)
        if raw is MISSING:
            continue
        try:
            values[name] = read(raw)
        except BadValue as error:
            bad[name] = str(error)
    return values, bad or _NOTHING


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise Rejected("not UTF-8") from None


def _sequence(raw: object) -> int | None:
    usable = isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= NUMBER_MAX
    return raw if usable and isinstance(raw, int) else None


def topic_map(profile: Profile, zone: ZoneInfo | None = None) -> TopicMap:
    """The topics of a profile; `zone` is where a device clock without a zone stands (Asia/Shanghai).

    Raises ConfigError, with file and key, for any wrong key, path or topic.
    """
    wire = _convert(profile, profile.wire, _WireKeys, "mqtt")
    points = {name: _point_keys(profile, name) for name in profile.points}
    if not wire.topics:
        raise profile.wrong("mqtt.topics", "no topic", "name the topics the device speaks on")
    for name, keys in points.items():
        for unknown in set(keys.topics or ()) - set(wire.topics):
            hint = "mqtt.topics has: " + ", ".join(wire.topics)
            raise profile.wrong(f"points.{name}.in", f"no topic {unknown!r}", hint)
    topics = {name: _topic(profile, name, keys, points) for name, keys in wire.topics.items()}
    return TopicMap(topics, zone or ZoneInfo("Asia/Shanghai"))


def _point_keys(profile: Profile, name: str) -> _PointKeys:
    spec = profile.points[name]
    if spec.ratio:
        hint = "ratios of an MQTT device are settings; a message may lack the point"
        raise profile.wrong(f"points.{name}.ratio", "a measured ratio", hint)
    return _convert(profile, spec.where, _PointKeys, f"points.{name}")


def _topic(profile: Profile, name: str, keys: TopicKeys, points: Mapping[str, _PointKeys]) -> Topic:
    key = f"mqtt.topics.{name}"
    if (keys.time is None) != (keys.time_unit is None):
        hint = 'write time and time_unit together: "s", "ms", "iso" or "iso_local"'
        raise profile.wrong(f"{key}.time_unit", "one without the other", hint)
    texts = [keys.topic] if isinstance(keys.topic, str) else keys.topic
    if not texts:
        raise profile.wrong(f"{key}.topic", "no topic", "write at least one")
    as_text = keys.format == "text"
    return Topic(
        name=name,
        templates=tuple(_template(profile, f"{key}.topic", text) for text in texts),
        text=as_text,
        root=_path(profile, f"{key}.root", keys.root),
        time=None if keys.time is None else _path(profile, f"{key}.time", keys.time),
        time_unit=keys.time_unit or "s",
        sequence=None if keys.sequence is None else _path(profile, key, keys.sequence),
        heartbeat=keys.heartbeat,
        points=tuple(
            (
                point,
                _path(profile, f"points.{point}.path", where.path),
                _reader(profile.points[point], where, text=as_text),
            )
            for point, where in points.items()
            if not keys.heartbeat and (where.topics is None or name in where.topics)
        ),
    )


def _template(profile: Profile, key: str, text: str) -> TopicTemplate:
    try:
        return parse_template(text)
    except ValueError as error:
        raise profile.wrong(key, f"found {text!r}", str(error)) from None


def _path(profile: Profile, key: str, text: str) -> Path:
    try:
        return parse_path(text)
    except ValueError as error:
        raise profile.wrong(key, f"found {text!r}", str(error)) from None


def _convert(profile: Profile, table: Mapping[str, object], kind: type[Keys], key: str) -> Keys:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        raise profile.wrong(key + place.rstrip("`"), text, "see docs/profiles.md") from None


def _reader(spec: PointSpec, keys: _PointKeys, *, text: bool) -> Read:
    """The function from what stands in the document to the point's value; it raises BadValue."""
    convert = converter(spec)
    if keys.encoding == "base64":
        return _base64_reader(convert)
    if spec.point.type is PointType.TEXT:
        return _json_reader(convert, none=None if spec.values or spec.point.choices else "")
    if text and not spec.values:
        return _text_reader(convert, flag=spec.point.type is PointType.BOOL)
    return _json_reader(convert, none=None)


def _json_reader(convert: Converter, none: str | None) -> Read:
    def read(raw: object) -> Value:
        if isinstance(raw, int | float):
            if not -NUMBER_MAX <= raw <= NUMBER_MAX:
                raise BadValue("number too large")
            return convert(raw)
        if isinstance(raw, str):
            return convert(raw)
        if raw is None and none is not None:
            return none  # "no order", "no fault": a text that is empty now, not one that is unknown
        raise BadValue("not available" if raw is None else "not a single value")

    return read


def _text_reader(convert: Converter, *, flag: bool) -> Read:
    def read(raw: object) -> Value:
        return convert(_flag(str(raw)) if flag else _number(str(raw)))

    return read


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise BadValue("not a flag")
    return text == "true"


def _number(text: str) -> Raw:
    if not _NUMBER.fullmatch(text):
        raise BadValue("not a number")
    number = float(text)
    if not -NUMBER_MAX <= number <= NUMBER_MAX:
        raise BadValue("number too large")
    return number if set(text) & set(".eE") else int(text)


def _base64_reader(convert: Converter) -> Read:
    def read(raw: object) -> Value:
        if not isinstance(raw, str):
            raise BadValue("not a text")
        try:
            return convert(base64.b64decode(raw, validate=True).decode())
        except ValueError:  # not base64, or not UTF-8 inside
            raise BadValue("not base64 of a text") from None

    return read

"""The messages of an MQTT product: from true values to topic and payload, by its topics and paths."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias

import msgspec

from hub import PointKind, PointSpec, Profile, Value
from simulators.documents import DOCUMENTS, Document
from simulators.mqtt_wire import Message
from simulators.raw import Raw, as_base64, from_raw, rolled_over, to_raw

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
_DECIMALS = 6
_ANYWHERE = "**."


class Role(StrEnum):
    """What a topic is for."""

    PRESENCE = "presence"  # retained, and the last will
    HEARTBEAT = "heartbeat"
    EVENT = "event"
    STATE = "state"


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    """One topic of the profile."""

    topic: str | list[str]
    format: str = "json"
    root: str = ""
    time: str = ""
    time_unit: str = "s"
    sequence: str = ""
    heartbeat: bool = False


class _PointKeys(msgspec.Struct, frozen=True, kw_only=True, rename={"topics": "in"}):
    """Where a point stands in the messages."""

    topics: list[str] = []
    path: str = ""
    encoding: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What a message carries besides values: the device's own time and number."""

    time_ms: int
    sequence: int


class TopicForm:
    """One topic of one product, and how its payload is written."""

    def __init__(self, name: str, keys: _Keys, profile: Profile) -> None:
        self.name = name
        self._keys = keys
        self._document: Document | None = DOCUMENTS.get((profile.id, name))
        self.points: dict[str, tuple[PointSpec, _PointKeys]] = {}
        for point, spec in profile.points.items():
            where = msgspec.convert(spec.where, _PointKeys)
            if (not where.topics or name in where.topics) and self._has_place(where):
                self.points[point] = (spec, where)
        self.role = self._role()

    def _has_place(self, where: _PointKeys) -> bool:
        """Whether the maker's message has this field; a message without a known form has any."""
        if self._document is None or not where.path:
            return True
        head, _, last = self._path(where).removeprefix(_ANYWHERE).rpartition(".")
        tree: Json = json.loads(self._document.text)
        if where.path.startswith(_ANYWHERE):
            return _holder(tree, head.split(".")[0] if head else last) is not None
        holder = _at(tree, head) if head else tree
        return isinstance(holder, dict) and last in holder

    def _path(self, where: _PointKeys) -> str:
        return f"{self._keys.root}.{where.path}" if self._keys.root else where.path

    def _role(self) -> Role:
        if self._keys.heartbeat:
            return Role.HEARTBEAT
        if "online" in self.points:
            return Role.PRESENCE
        kinds = {spec.point.kind for spec, _ in self.points.values()}
        return Role.EVENT if PointKind.EVENT in kinds else Role.STATE

    @property
    def partial(self) -> bool:
        """Whether its messages hold only what changed."""
        return self._document is not None and self._document.partial

    def message(
        self, address: str, values: Mapping[str, Value], stamp: Stamp
    ) -> tuple[Message, dict[str, Value]]:
        """The message that says `values`, and what it says as exactly as the payload can."""
        keys = self._keys
        topic = keys.topic if isinstance(keys.topic, str) else keys.topic[0]
        raws = {
            point: _raw(spec, values[point])
            for point, (spec, _) in self.points.items()
            if point in values
        }
        payload = self._text(raws) if keys.format == "text" else self._json(address, raws, stamp)
        said = {point: from_raw(self.points[point][0], raw) for point, raw in raws.items()}
        message = Message(
            topic=topic.replace("{address}", address),
            payload=payload.encode(),
            retain=self.role is Role.PRESENCE,
        )
        return message, said

    def _text(self, raws: Mapping[str, Raw]) -> str:
        raw = next(iter(raws.values()))
        return str(raw).lower() if isinstance(raw, bool) else str(raw)

    def _json(self, address: str, raws: Mapping[str, Raw], stamp: Stamp) -> str:
        keys = self._keys
        known = self._document
        tree: Json = json.loads(known.text.replace("{address}", address)) if known else {}
        for point, raw in raws.items():
            where = self.points[point][1]
            shown = as_base64(str(raw)) if where.encoding == "base64" else raw
            if not where.path:
                return json.dumps(shown, ensure_ascii=False)
            _put(tree, self._path(where), shown, known=known is not None)
        if self.partial:
            _keep(
                _at(tree, keys.root),
                {where.path for p, (_, where) in self.points.items() if p in raws},
            )
        if keys.sequence:
            _put(tree, keys.sequence, stamp.sequence, known=known is not None)
        if keys.time:
            _put(tree, keys.time, _time(keys, stamp.time_ms), known=known is not None)
        if isinstance(tree, dict) and "timestamp" in tree:
            tree["timestamp"] = stamp.time_ms // 1000
        return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def topic_forms(profile: Profile) -> tuple[TopicForm, ...]:
    """Every topic of the product."""
    topics = msgspec.convert(profile.wire.get("topics", {}), dict[str, _Keys])
    return tuple(TopicForm(name, keys, profile) for name, keys in topics.items())


def _raw(spec: PointSpec, value: Value) -> Raw:
    step = spec.factor / 1000
    raw = to_raw(spec, rolled_over(spec, value, Fraction(step)))
    return round(raw, _DECIMALS) if isinstance(raw, float) else raw


def _time(keys: _Keys, time_ms: int) -> Json:
    if keys.time_unit == "ms":
        return time_ms
    if keys.time_unit == "s":
        return time_ms // 1000 if keys.sequence else round(time_ms / 1000, 2)
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _put(tree: Json, path: str, value: Json, *, known: bool) -> None:
    """Set what stands at `path`; a `known` document is never given a field it does not have."""
    if path.startswith(_ANYWHERE):
        parts = path.removeprefix(_ANYWHERE).split(".")
        found = _holder(tree, parts[0])
        tree = found if found is not None else tree
    else:
        parts = path.split(".")
    for part in parts[:-1]:
        if not isinstance(tree, dict) or (known and part not in tree):
            return
        tree = tree.setdefault(part, {})
    if isinstance(tree, dict) and (not known or parts[-1] in tree):
        tree[parts[-1]] = value


def _holder(tree: Json, key: str) -> dict[str, Json] | None:
    """The first object, at any depth, that has this key."""
    if not isinstance(tree, dict):
        return None
    if key in tree:
        return tree
    for branch in tree.values():
        found = _holder(branch, key)
        if found is not None:
            return found
    return None


def _at(tree: Json, path: str) -> Json:
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _keep(tree: Json, paths: set[str]) -> None:
    """Leave only the fields of `paths`, and the number that says which part this is."""
    heads = {path.split(".")[0] for path in paths} | {"id"}
    if isinstance(tree, dict):
        for key in [key for key in tree if key not in heads]:
            del tree[key]

"""Which device is told what on which topic, and whose answer comes on which. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drivers.mqtt.answers import AnswerPlan
from drivers.mqtt.document import find, parse_json
from drivers.mqtt.publishes import Publish, PublishPlan, publish_plan, refresh_plan
from drivers.mqtt.topics import TopicTemplate
from hub import Device, Link, Profile, RowError

_KEY_MAX_BYTES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A device that can be told something: how, and the keys that sign it by the file they are in."""

    device: Device
    plans: Mapping[str, PublishPlan]
    refresh: Publish | None
    keys: Mapping[str, bytes]

    def key(self, publish: Publish) -> bytes:
        """The key that signs this; empty when the device has none."""
        return self.keys.get(publish.key_file, b"")

    def publishes(self) -> Iterator[Publish]:
        """Everything that can be published to it."""
        yield from (plan.publish for plan in self.plans.values())
        if self.refresh is not None:
            yield self.refresh


class CommandRoutes:
    """Every listener of a link by its id, and every topic of an answer. Raises ConfigError.

    `source` is this hub's name to devices that answer on the asker's own topic.
    """

    def __init__(self, link: Link, source: str, folder: Path) -> None:
        self.source = source
        self.listeners: dict[str, Listener] = {}
        self.command_topics: dict[str, str] = {}  # to the device's id
        self._answers: dict[str, dict[AnswerPlan, dict[str, Listener]]] = {}
        filters: set[str] = set()
        command_filters: set[str] = set()
        read: dict[int, tuple[Mapping[str, PublishPlan], Publish | None]] = {}
        for device in link.devices:
            plans, refresh = _read(device.profile, read)
            if not plans and refresh is None:
                continue
            keys = _keys(device, plans, refresh, folder)
            listener = Listener(device=device, plans=plans, refresh=refresh, keys=keys)
            self.listeners[device.id] = listener
            for publish in listener.publishes():
                self.command_topics[publish.topic.topic(device.address)] = device.id
                command_filters.add(publish.topic.filter(device.address))
            filters.update(self._hear(listener))
        self.filters = tuple(sorted(filters))
        self.command_filters = tuple(sorted(command_filters))

    def answer_topics(self, listener: Listener) -> list[str]:
        """Where this listener answers this hub."""
        answers = [plan.answer for plan in listener.plans.values() if plan.answer is not None]
        return [answer.topic(listener.device.address, self.source) for answer in answers]

    def _hear(self, listener: Listener) -> Iterator[str]:
        """Learn where this listener answers; gives the subscriptions."""
        address = listener.device.address
        for plan in listener.plans.values():
            answer = plan.answer
            if answer is None:
                continue
            topic = answer.topic(address, self.source)
            self._answers.setdefault(topic, {}).setdefault(answer, {})[address] = listener
            template = TopicTemplate(head=answer.head, tail=answer.tail)
            yield template.filter(address) if answer.has_address else topic

    def speaker(self, topic: str, payload: bytes) -> Listener | None:
        """Who answers with this message; None when nobody of this link does.

        Raises Rejected, with a short fixed reason, when it cannot be read.
        """
        document = parse_json(payload)
        for plan, listeners in self._answers.get(topic, {}).items():
            if plan.sender is None:
                return next(iter(listeners.values()))
            sender = find(document, plan.sender)
            if isinstance(sender, str) and sender in listeners:
                return listeners[sender]
        return None

    def answer_plan(self, topic: str, listener: Listener) -> AnswerPlan | None:
        """A plan by which this listener's answers on this topic can be read."""
        address = listener.device.address
        for plan, listeners in self._answers.get(topic, {}).items():
            if address in listeners:
                return plan
        return None


def _read(
    profile: Profile, known: dict[int, tuple[Mapping[str, PublishPlan], Publish | None]]
) -> tuple[Mapping[str, PublishPlan], Publish | None]:
    # Devices share their Profile object, and the link keeps it alive: its identity is its key.
    if id(profile) not in known:
        known[id(profile)] = (publish_plan(profile), refresh_plan(profile))
    return known[id(profile)]


def _keys(
    device: Device, plans: Mapping[str, PublishPlan], refresh: Publish | None, folder: Path
) -> dict[str, bytes]:
    """The secrets in the key files the device's profile names, read from beside the site's file."""
    names = {plan.publish.key_file for plan in plans.values()}
    names |= {refresh.key_file} if refresh else set()
    return {name: _key(device, folder / name) for name in names if name}


def _key(device: Device, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            key = file.read(_KEY_MAX_BYTES).rstrip(b"\r\n")
    except OSError as error:
        raise _wrong(device, str(error)) from None
    if not key:
        raise _wrong(device, "the file is empty")
    return key


def _wrong(device: Device, found: str) -> RowError:
    return RowError(
        file="devices.csv",
        key=f"{device.id}.key_file",
        found=found,
        hint="name a readable file that holds the device's own key",
        device=device.id,
        column="settings",
    )

"""Who speaks on which topic: every topic of a link's devices, and the subscriptions that hear them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from drivers.mqtt.payload import Topic, TopicMap, topic_map
from drivers.mqtt.topics import TopicTemplate, address_mistake
from hub import ConfigError, ConfigErrors, Device, Link, Profile, RowError

UNKNOWN_DEVICE = "unknown device"
WRONG_TOPIC = "wrong topic"


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A topic on which one device speaks, and how to read it."""

    device: Device
    topic: Topic
    map: TopicMap


class Routes:
    """Every topic of a link's devices. Looking one up is one step, however many devices there are."""

    def __init__(self, link: Link, zone: ZoneInfo) -> None:
        self._link = link
        self._routes: dict[str, Route] = {}
        self._templates: set[TopicTemplate] = set()
        filters: set[str] = set()
        maps: dict[int, TopicMap] = {}
        errors: list[ConfigError] = []
        for device in link.devices:
            try:
                filters.update(self._hear(device, maps, zone))
            except RowError as error:
                errors.append(error)
        if errors:
            raise ConfigErrors(tuple(errors))
        self.filters = tuple(sorted(filters))

    def find(self, topic: str) -> Route | None:
        """Who speaks on this topic."""
        return self._routes.get(topic)

    def topics(self) -> Iterator[tuple[str, Device]]:
        """Every topic, with the device that speaks on it."""
        for topic, route in self._routes.items():
            yield topic, route.device

    def why_not(self, topic: str) -> str:
        """Why nobody speaks on this topic, in short fixed words."""
        known = any(template.address(topic) is not None for template in self._templates)
        return UNKNOWN_DEVICE if known else WRONG_TOPIC

    def _hear(self, device: Device, maps: dict[int, TopicMap], zone: ZoneInfo) -> Iterator[str]:
        """Learn where this device speaks; gives the subscriptions. Raises RowError."""
        mistake = address_mistake(device.address)
        if mistake:
            raise self._wrong(device, f"address {device.address!r}", mistake)
        for route, template in _routes_of(device, maps, zone):
            self._add(template.topic(device.address), route)
            self._templates.add(template)
            yield template.filter(device.address)

    def _add(self, topic: str, route: Route) -> None:
        other = self._routes.setdefault(topic, route)
        if other is not route:
            hint = "give each device topics of its own"
            raise self._wrong(route.device, f"{other.device.id} speaks on {topic} too", hint)

    def _wrong(self, device: Device, found: str, hint: str) -> RowError:
        return RowError(
            file=self._link.source,
            key=f"links.{self._link.id}, device {device.id}",
            found=found,
            hint=hint,
            device=device.id,
            column="address",
        )


def _routes_of(
    device: Device, maps: dict[int, TopicMap], zone: ZoneInfo
) -> Iterator[tuple[Route, TopicTemplate]]:
    topics = maps.get(id(device.profile)) or _map(device.profile, maps, zone)
    for topic in topics.topics.values():
        for template in topic.templates:
            yield Route(device=device, topic=topic, map=topics), template


def _map(profile: Profile, maps: dict[int, TopicMap], zone: ZoneInfo) -> TopicMap:
    # Devices share their Profile object, and the link keeps it alive: its identity is its key.
    return maps.setdefault(id(profile), topic_map(profile, zone))

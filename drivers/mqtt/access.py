"""Which topics each device of a link may speak and hear on, and which the hub may. Pure.

A device of our own convention gets its whole two trees; every other gets just the topics its profile names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drivers.mqtt.command_routes import CommandRoutes, Listener
from drivers.mqtt.routes import Routes
from hub import Device, Link, LinkTopics, Topics

_UP, _DOWN = "dormhub/up/", "dormhub/down/"


def link_topics(link: Link, routes: Routes, commands: CommandRoutes) -> LinkTopics:
    """The topics of every device of the link, and of the hub."""
    spoken: dict[str, list[str]] = {device.id: [] for device in link.devices}
    for topic, device in routes.topics():
        spoken[device.id].append(topic)
    return LinkTopics(
        devices={
            device.id: _of(device, spoken[device.id], commands.listeners.get(device.id), commands)
            for device in link.devices
        },
        hub=Topics(
            writes=commands.command_filters,
            # It looks for what somebody left as retained on command topics, too.
            reads=_sorted([*routes.filters, *commands.filters, *commands.command_filters]),
        ),
    )


def _of(
    device: Device, spoken: list[str], listener: Listener | None, commands: CommandRoutes
) -> Topics:
    writes, reads = list(spoken), []
    if listener is not None:
        writes += commands.answer_topics(listener)
        reads = [publish.topic.topic(device.address) for publish in listener.publishes()]
    if any(topic.startswith(f"{_UP}{device.address}/") for topic in writes):
        reads.append(f"{_DOWN}{device.address}/")
    return Topics(
        writes=_sorted(_trees(writes, f"{_UP}{device.address}/")),
        reads=_sorted(_trees(reads, f"{_DOWN}{device.address}/")),
    )


def _trees(topics: Iterable[str], tree: str) -> Iterator[str]:
    for topic in topics:
        yield f"{tree}#" if topic.startswith(tree) else topic


def _sorted(topics: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(topics)))

"""Who is who now: the configured devices, their links, and whether they can be reached."""

from __future__ import annotations

from collections.abc import Sequence

from hub.model import Device, Link
from hub.presence import Presence, PresenceBoard


class Registry:
    """The links and devices of the running configuration, beside what presence knows of them."""

    def __init__(self, presence: PresenceBoard) -> None:
        self._presence = presence
        self._links: dict[str, Link] = {}
        self._devices: dict[str, Device] = {}
        self._proofs: dict[str, frozenset[str]] = {}

    def configure(self, links: Sequence[Link]) -> None:
        """Know exactly these links and their devices from now on."""
        self._links = {link.id: link for link in links}
        self._devices = {device.id: device for link in links for device in link.devices}
        self._proofs = {}
        for name, device in self._devices.items():
            proofs = [spec.proofs for spec in device.profile.commands.values()]
            if any(proofs):
                self._proofs[name] = frozenset().union(*proofs)

    def knows_link(self, name: str) -> bool:
        """Whether there is a link of this id."""
        return name in self._links

    def device(self, name: str) -> Device | None:
        """The device of this id."""
        return self._devices.get(name)

    def devices(self) -> tuple[Device, ...]:
        """Every device."""
        return tuple(self._devices.values())

    def proofs(self, device: str) -> frozenset[str]:
        """The points that prove this device's commands."""
        return self._proofs.get(device, frozenset())

    def only_observes(self, device: Device) -> bool:
        """Whether no write may leave through this device's link; true for a link nobody knows."""
        link = self._links.get(device.link)
        return link is None or link.observe_only

    def is_offline(self, device: str) -> bool:
        """Whether this device is known to be away; one that was not heard yet may be there."""
        track = self._presence.of(device)
        return track is not None and track.presence is Presence.OFFLINE

    def is_online(self, device: str) -> bool:
        """Whether this device is known to be there; one that was not heard yet may be away."""
        track = self._presence.of(device)
        return track is not None and track.presence is Presence.ONLINE

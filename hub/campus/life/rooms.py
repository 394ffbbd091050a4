"""What jobs must know of the site that runs now: which meters serve a room, and by which rules."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from hub.campus.accounts.accounts import Room
from hub.campus.prepaid.meters import Meter, room_meters
from hub.campus.prepaid.rules import Prepaid, Rules
from hub.model import Device
from hub.site import Site


class Rooms:
    """The rooms that pay for what they use; `configure` first."""

    def __init__(self) -> None:
        self.site: Site | None = None
        self.rules = Rules()
        self._meters: dict[Room, list[Meter]] = {}
        self._devices: dict[str, Device] = {}

    def configure(self, site: Site, rules: Rules) -> None:
        """Go by this site and its rules from now on."""
        self.site, self.rules = site, rules
        self._devices = {device.id: device for device in site.devices()}
        self._meters = {}
        for meter in room_meters(site, rules):
            self._meters.setdefault(meter.room, []).append(meter)

    @property
    def timezone(self) -> ZoneInfo:
        """The campus's."""
        return self.site.timezone if self.site else ZoneInfo("UTC")

    def meters(self, room: Room) -> Sequence[Meter]:
        """The meters of a room; none where it pays for nothing."""
        return self._meters.get(room, ())

    def device(self, name: str) -> Device | None:
        """The device of this id."""
        return self._devices.get(name)

    def holds_credit(self, room: Room) -> bool:
        """Whether the credit of a room stands in its meter."""
        return any(meter.holds_credit for meter in self.meters(room))

    def policy(self, room: Room) -> Prepaid:
        """The rules of a room's building."""
        return self.rules.of(room.building)

    def devices_in(self, room: Room) -> list[Device]:
        """Everything installed in a room."""
        return [
            device
            for device in self._devices.values()
            if (device.place.building, device.place.room) == (room.building, room.room)
        ]

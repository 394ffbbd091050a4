"""What goes wrong around one command costs that command at most: a reload, a mistake of driver or hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hub import Command, Link, Outcome, State
from hub.dispatch import Wire
from tests.command_bench import Hub, Site, on_virtual_time
from tests.scripted_device import Behaviour, scripted

B = Behaviour
BUS = Link(id="bus-1", driver="scripted", devices=(scripted("gate-1"), scripted("gate-2")))


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultyWire:
    """A wire with a mistake for one device: `where` it raises."""

    wire: Wire
    where: str

    async def execute(self, link: str, command: Command) -> Outcome:
        if command.device == "gate-1" and self.where == "execute":
            raise KeyError(command.device)
        return await self.wire.execute(link, command)

    def refresh(self, link: str, device: str) -> None:
        if device == "gate-1" and self.where == "refresh":
            raise KeyError(device)
        self.wire.refresh(link, device)


@pytest.mark.parametrize(
    ("name", "where", "state"),
    [
        ("cut", "execute", State.UNKNOWN),
        ("cut", "refresh", State.UNKNOWN),
        ("dim", "refresh", State.REFUSED),
    ],
)
def test_a_mistake_in_one_lane_ends_its_command_and_nothing_else(
    tmp_path: Path, name: str, where: str, state: State
) -> None:
    site = Site(tmp_path, machines=2)
    site.machines["gate-1"].script = [B.SILENT]
    site.wire = lambda wire: FaultyWire(wire=wire, where=where)

    async def scene(hub: Hub) -> None:
        ended = await hub.end(await hub.send("gate-1", name), 30)
        assert (ended.state, "KeyError" in ended.reason) == (state, True)
        again = await hub.end(await hub.send("gate-1", name), 30)
        assert again.state is state
        assert (await hub.end(await hub.send("gate-2", "cut"))).state is State.CONFIRMED

    on_virtual_time(site, scene)


@pytest.mark.parametrize(
    ("behaviour", "state"), [(B.SILENT, State.UNKNOWN), (B.AWAY, State.REFUSED)]
)
def test_a_command_of_a_device_that_a_reload_takes_away_ends(
    tmp_path: Path, behaviour: Behaviour, state: State
) -> None:
    site = Site(tmp_path, machines=2)
    site.machines["gate-1"].script = [behaviour]

    async def scene(hub: Hub) -> None:
        cut = await hub.send("gate-1", "cut")
        waits = await hub.send("gate-1", "light")
        await hub.clock.sleep(1)
        await hub.reload(replace(BUS, devices=BUS.devices[1:]))
        first, second = await hub.end(cut, 5), await hub.end(waits, 5)
        assert (first.state, second.state) == (state, State.REFUSED)
        assert "the device is gone" in first.reason
        assert "the device is gone" in second.reason
        assert (await hub.end(await hub.send("gate-2", "light"))).state is State.CONFIRMED

    on_virtual_time(site, scene)


def test_a_command_of_a_device_that_moved_goes_over_its_new_link(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2)
    site.machines["gate-1"].script = [B.AWAY]

    async def scene(hub: Hub) -> None:
        cut = await hub.send("gate-1", "cut")
        await hub.clock.sleep(1)
        moved = Link(id="bus-2", driver="scripted", devices=(scripted("gate-1", link="bus-2"),))
        await hub.reload(replace(BUS, devices=BUS.devices[1:]), moved)
        site.machines["gate-1"].script = [B.WORKS]
        assert (await hub.end(cut)).state is State.CONFIRMED

    on_virtual_time(site, scene)

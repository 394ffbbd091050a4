"""Rooms that are cut in arrears and come back when they have paid; what must never happen to them."""

from __future__ import annotations

from pathlib import Path

from tests.supply_dorm import Dorm, DormHub, play


def test_a_room_that_is_used_up_is_cut_and_comes_back_when_it_has_paid(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path)

    async def scene(hub: DormHub) -> None:
        await hub.clock.sleep(120)
        assert dorm.effects() == []
        await hub.give(-1_000)
        await hub.until(lambda: dorm.told() == ["cut"])
        await hub.clock.sleep(5)
        await hub.pay(500)
        assert await hub.until(lambda: dorm.told() == ["cut", "restore"]) < 5
        await hub.clock.sleep(300)
        assert dorm.told() == ["cut", "restore"]
        assert await hub.actions() == ["cut", "restored"]
        assert dorm.effects() == dorm.machines["m-101"].effects

    play(dorm, scene)

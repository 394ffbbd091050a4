"""Who works for a town: a desk that looks at meters, an installer, and whoever lets people move or leave."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hub.campus.batches import rows
from hub.campus.batches.batch import Asker, BatchState
from hub.campus.life.life import Leaving, Moving
from hub.campus.orders import listing
from hub.campus.orders.orders import OrderState
from hub.commands import Resolution
from hub.errors import HubError
from tests.month_hub import MonthHub
from tests.month_meter import Deed
from tests.month_people import Household, Kind, Plan, make_meter
from tests.month_time import run_month
from tests.month_town import UNBILLED, Life, Town, found_town

_DAY_S = 86_400.0
_LOOK_S = 7_200.0
_APPROVAL_S = 1_500.0
_AWAY_FOR_EVER = 10**15
_LEAVING = 8  # one room of so many at the end of the month


@dataclass(kw_only=True, slots=True)
class Staff:
    """Everybody who works for one town."""

    town: Town

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._desk(), name="desk")
            tasks.create_task(self._installer(), name="installer")
            tasks.create_task(self._movers(), name="movers")
            tasks.create_task(self._second_person(), name="second person")

    async def settle_some(self) -> None:
        """At the end of the month some leave for good."""
        found = self._hub_held()
        for home in found[::-_LEAVING]:
            leaving = Leaving(room=home.room, cut=True, reason="graduated")
            hub = await self.town.until_hub()
            job = await hub.campus.office.life.settle(leaving, "finance")
            self.town.lives.append(
                Life(key=job.key, asked_ms=job.opened_ms, account=home.room.account)
            )

    async def _desk(self) -> None:
        """Looks at meters: for the hub, when it does not know what became of a credit, and after trips."""
        while True:
            await asyncio.sleep(_LOOK_S)
            hub = await self.town.until_hub()
            with suppress(HubError):
                await self._resolve(hub)
            for home in self.town.homes:
                if self.town.meters[home.meter].has_tripped:
                    await self._unlock(hub, home.meter)

    async def _second_person(self) -> None:
        """Lets many be cut together, where the hub asks for it."""
        person = Asker(actor="head of the house")
        while True:
            await asyncio.sleep(_APPROVAL_S)
            hub = await self.town.until_hub()
            waiting = partial(rows.recent, state=BatchState.WAITS)
            with suppress(HubError):
                for batch in await hub.ledger.read(waiting):
                    self.town.clock.stir(20)
                    await hub.campus.batches.approve(batch.id, person)
                    self.town.approved += 1

    async def _resolve(self, hub: MonthHub) -> None:
        for order in await hub.ledger.read(lambda c: listing.in_states(c, [OrderState.UNKNOWN])):
            diary = self.town.meters[order.device].diary
            has = (Deed.CREDITED, order.amount_fen) in {(e.deed, e.value) for e in diary}
            found = Resolution.DONE if has else Resolution.NOT_DONE
            await hub.campus.delivery.resolve(order, "desk", found, "seen at the meter")
            self.town.resolved += 1

    async def _unlock(self, hub: MonthHub, device: str) -> None:
        """Staff believe that the hotplate is gone, as soon as the hub has seen the trip."""
        with suppress(HubError):
            await hub.campus.supply_desk.unlock(device, "staff", "the hotplate is gone")
            self.town.unlocked.append((device, self.town.clock.now_ms()))

    async def _installer(self) -> None:
        """Changes a meter of each kind, each on another day; one more is away for a day."""
        for place, kind in enumerate(Kind):
            await self.town.clock.exactly(_DAY_S * 4.3)
            found = [home for home in self.town.homes if home.kind is kind]
            if found:
                now_ms = self.town.clock.now_ms()
                self.town.meters[found[-1].meter].away = (now_ms, now_ms + round(_DAY_S * 1000))
                await self._swap(found[0], f"{found[0].meter}-{place + 2}")

    async def _swap(self, home: Household, name: str) -> None:
        """A new meter for a room; the files say so, and are applied as soon as there is a hub."""
        town = self.town
        hub = await town.until_hub()
        now_ms = town.clock.now_ms()
        meter = town.meters[name] = make_meter(town.plan, home, name, is_new=True)
        meter.begin(now_ms)
        old, home.meter = home.meter, name
        home.served.append(name)
        town.meters[old].away = (now_ms, _AWAY_FOR_EVER)
        town.mounted_ms[name] = now_ms
        town.write_files()
        await hub.keeper.apply(prune=True, actor="installer")

    async def _movers(self) -> None:
        """Some move to another room with what they have, and two rooms change places."""
        found = self._hub_held()
        for pair, swap in ((found[1:3], False), (found[3:5], True)):
            await self.town.clock.exactly(_DAY_S * 8.6)
            if len(pair) == 2:
                await self._move(*pair, swap=swap)

    async def _move(self, home: Household, other: Household, *, swap: bool) -> None:
        hub = await self.town.until_hub()
        moving = Moving(room=home.room, other=other.room, swap=swap, reason="moved")
        job = await hub.campus.office.life.transfer(moving, "finance")
        life = Life(
            key=job.key,
            asked_ms=job.opened_ms,
            account=home.room.account,
            other=other.room.account,
            swap=swap,
        )
        self.town.lives.append(life)

    def _hub_held(self) -> list[Household]:
        return [
            home
            for home in self.town.homes
            if home.kind is Kind.HUB and (home.room.building, home.room.room) != UNBILLED
        ]


def live(folder: Path, plan: Plan) -> Town:
    """A whole month of a town; what is left is for the judge."""

    async def month() -> Town:
        town = found_town(folder, plan)
        await town.live(Staff(town=town))
        return town

    return run_month(month())

"""A hub whose rooms are prepaid, its API before it, and time that is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx2
from sqlalchemy import Connection

from hub import Reading, VirtualClock, load_site
from hub.api import make_app
from hub.auth import Role
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit
from hub.campus.orders import orders
from hub.campus.orders.orders import Order, OrderState
from hub.campus.policies import read_policies
from hub.campus.service import Campus
from hub.inventory.keeper import Keeper
from tests.api_site import ApiSite, api_site
from tests.campus_house import HOUR_S, MORNING_MS
from tests.provisioned import SITE, apply, write_building

Result = TypeVar("Result")
PREPAID = "[prepaid]\ncharge_step_fen = 0\nallowance_wh = 1000\n"


@dataclass(kw_only=True)
class AccountSite:
    """The API, the campus behind it, and time that is told."""

    api: ApiSite
    campus: Campus
    clock: VirtualClock
    folder: Path

    async def read(self, device: str, point: str, counter: int, after_s: float = HOUR_S) -> None:
        """Some time later the meter shows this."""
        self.clock.advance(after_s)
        now_ms = self.clock.now_ms()
        reading = Reading(
            device=device, time_ms=now_ms, received_ms=now_ms, values={point: counter}
        )
        await self.api.parts.journal.append([reading])

    async def get(self, path: str, who: str = Role.FINANCE) -> httpx2.Response:
        """What stands there for this role."""
        async with self.api.client(who) as client:
            return await client.get(path)

    async def post(
        self, path: str, body: object = None, *, key: str = "k", who: str = Role.FINANCE
    ) -> httpx2.Response:
        """What becomes of this."""
        async with self.api.client(who) as client:
            return await client.post(path, json=body, headers={"Idempotency-Key": key})

    async def ask(self, query: Callable[[Connection], Result]) -> Result:
        """What the ledger says."""
        return await self.api.parts.ledger.read(query)

    async def delivered(self, order: Order) -> Order:
        """The order once it is delivered."""
        delivering = asyncio.create_task(self.campus.delivery.run(), name="delivery")
        try:
            async with asyncio.timeout(20):
                while (now := await self.ask(partial(orders.by_id, id=order.id))) is None or (
                    now.state is not OrderState.DELIVERED
                ):
                    await asyncio.sleep(0)
        finally:
            delivering.cancel()
            await asyncio.wait([delivering])
        return now

    async def balance(self, room: Room, unit: Unit = Unit.FEN) -> int:
        """What a room has."""
        return await self.ask(lambda connection: books.balance(connection, room.account, unit))


@asynccontextmanager
async def account_site(
    folder: Path,
    *rows: str,
    site: str = SITE,
    policy: str = PREPAID,
    start_ms: int = MORNING_MS,
) -> AsyncIterator[AccountSite]:
    """The devices of these rows, applied in the morning of a Monday, or then; nothing read yet."""
    clock = VirtualClock(start_ms=start_ms)
    async with api_site(folder) as api:
        config = write_building(folder / "config", *rows, site=site + policy)
        api.parts = replace(api.parts, clock=clock)
        await apply(api.parts.ledger, config, prune=True, clock=clock)
        keeper = Keeper(folder=config, ledger=api.parts.ledger, clock=clock)
        await keeper.start()
        campus = Campus(
            ledger=api.parts.ledger,
            journal=api.parts.journal,
            clock=clock,
            commands=api.parts.commands,
            registry=api.parts.registry,
            refresh=api.parts.refresh,
        )
        site_now = load_site(config)
        api.parts.registry.configure(site_now.links)
        campus.configure(read_policies(site_now))
        api.parts = replace(api.parts, campus=campus, keeper=keeper)
        api.app = make_app(api.parts)
        yield AccountSite(api=api, campus=campus, clock=clock, folder=config)

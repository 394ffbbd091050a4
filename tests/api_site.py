"""A hub's API over a real journal, ledger, ingest and commands, with one key of each role."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
from argon2 import PasswordHasher
from fastapi import FastAPI

from hub import Device, Link, Place, Reading, Site, SystemClock, load_profiles
from hub.api import ApiParts, bind, make_app, serve_api
from hub.auth import EVERYWHERE, Keys, Role
from hub.broker import Broker
from hub.campus.service import Campus
from hub.commands import Commands
from hub.config import BrokerConfig
from hub.ingest import Ingest
from hub.inventory.keeper import Keeper, Step
from hub.journal import open_journal
from hub.ledger import open_ledger
from hub.lending import Lending
from hub.presence import Presence
from hub.registry import Registry
from hub.safety import Safety
from hub.safety_rules import SafetyRules
from hub.status import (
    Health,
    InventoryStatus,
    LinkStatus,
    OfflineDevice,
    SinkStatus,
    Status,
    StoreStatus,
)
from hub.taps import Taps
from tests.site_folder import write_site

CLOCK = SystemClock(seed=1)
PROFILES = load_profiles()
PLATE = "京A12345"
_QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Drivers:
    """The drivers of a site that sends nothing anywhere: which of them rest, and what was asked."""

    def __init__(self) -> None:
        self.lent: set[str] = set()
        self.asked: list[str] = []

    async def lend(self, link: str) -> None:
        self.lent.add(link)

    def take_back(self, link: str) -> None:
        self.lent.discard(link)

    def refresh(self, link: str, device: str) -> None:
        self.asked.append(f"{link} {device}")


@dataclass(kw_only=True)
class ApiSite:
    """The parts, the application and the keys."""

    parts: ApiParts
    app: FastAPI
    ingest: Ingest
    keys: dict[str, str]
    drivers: Drivers

    def client(self, who: str = Role.ADMIN) -> httpx2.AsyncClient:
        """A client with this role's key, or the key of this name; without a key for "nobody"."""
        headers = {"Authorization": f"Bearer {self.keys[who]}"} if who in self.keys else {}
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://hub", headers=headers)

    def with_parts(self, parts: ApiParts) -> ApiSite:
        """The same site, with other parts."""
        return replace(self, parts=parts, app=make_app(parts))

    async def publish(self, device: str, link: str, **values: bool | int | float | str) -> None:
        """One reading, through the one way in."""
        now_ms = CLOCK.now_ms()
        reading = Reading(device=device, time_ms=now_ms, received_ms=now_ms, values=values)
        await self.ingest.publish(link, [reading])


def device(name: str, profile: str, link: str, building: str) -> Device:
    known = PROFILES.get(profile, {}, place="test")
    return Device(
        id=name,
        profile=known,
        link=link,
        address=name,
        place=Place(building=building, floor="1", room="101"),
        period_s=60.0,
    )


LINKS = (
    Link(
        id="bus-1",
        driver="modbus",
        devices=(
            device("meter-1", "acrel_ddsy1352", "bus-1", "B1"),
            device("meter-2", "acrel_ddsy1352", "bus-1", "B2"),
        ),
    ),
    Link(
        id="broker",
        driver="mqtt",
        settings={"host": "127.0.0.1"},
        devices=(
            device("camera-1", "zhenshi_lpr", "broker", "B1"),
            device("washer-1", "generic_washer", "broker", "B1"),
        ),
    ),
    Link(
        id="looked-at",
        driver="modbus",
        observe_only=True,
        devices=(device("meter-3", "acrel_ddsy1352", "looked-at", "B1"),),
    ),
)


def files_of(folder: Path) -> Path:
    """A folder of files for the keeper; no driver is made of them."""
    site = '[links.bus-1]\ndriver = "modbus"\nhost = "127.0.0.1"\n'
    table = "id,profile,link,address\nmeter-1,acrel_ddsy1352,bus-1,1\n"
    return write_site(folder, site=site, devices=table)


async def applied_nowhere(site: Site) -> Step:
    """Nothing runs here that could go over to another site."""

    async def step() -> tuple[str, ...]:
        return tuple(link.id for link in site.links)

    return step


@asynccontextmanager
async def api_site(
    folder: Path, *, links: Sequence[Link] = LINKS, read_timeout_s: float = 10.0
) -> AsyncIterator[ApiSite]:
    """The API of a small site; nothing is sent anywhere."""
    async with (
        open_journal(folder / "journal.db", clock=CLOCK) as journal,
        open_ledger(folder / "ledger.db", clock=CLOCK) as ledger,
        asyncio.TaskGroup() as tasks,
    ):
        ingest = Ingest(store=journal, clock=CLOCK, report=lambda _: None, count=lambda *_: None)
        devices = [device for link in links for device in link.devices]
        ingest.configure(devices, [link.id for link in links])
        registry = Registry(ingest.presence)
        registry.configure(links)
        safety = Safety(ledger=ledger, clock=CLOCK, is_away=lambda _: False)
        safety.configure(SafetyRules(allow_unproven=("acrel_ddsy1352.credit",)), devices)
        await safety.latch.start()
        keys = Keys(ledger, CLOCK, _QUICK)
        broker = Broker(ledger=ledger, clock=CLOCK, data=folder, config=BrokerConfig())
        broker.configure([link for link in links if link.driver == "mqtt"])
        commands = Commands(
            ledger=ledger, clock=CLOCK, registry=registry, safety=safety, queued=lambda _: None
        )
        drivers = Drivers()
        keeper = Keeper(folder=files_of(folder / "config"), ledger=ledger, clock=CLOCK)
        await keeper.start()
        keeper.attach(tasks, applied_nowhere)
        parts = ApiParts(
            clock=CLOCK,
            journal=journal,
            ledger=ledger,
            registry=registry,
            presence=ingest.presence,
            commands=commands,
            campus=Campus(
                ledger=ledger,
                journal=journal,
                clock=CLOCK,
                commands=commands,
                registry=registry,
                refresh=drivers.refresh,
            ),
            keys=keys,
            broker=broker,
            keeper=keeper,
            fire=safety.latch,
            status=lambda: status(ingest),
            lending=Lending(
                links=drivers,
                registry=registry,
                commands=commands,
                presence=ingest.presence,
                ledger=ledger,
                clock=CLOCK,
            ),
            taps=Taps(),
            refresh=drivers.refresh,
        )
        made = {
            str(role): await keys.add(
                name=role,
                role=role,
                actor="test",
                place="B1/101" if role is Role.ROOM else EVERYWHERE,
            )
            for role in Role
        }
        made["operator of B2"] = await keys.add(
            name="B2", role=Role.OPERATOR, actor="test", place="B2"
        )
        app = make_app(parts, read_timeout_s=read_timeout_s)
        yield ApiSite(parts=parts, app=app, ingest=ingest, keys=made, drivers=drivers)


def status(ingest: Ingest) -> Status:
    counts = ingest.presence.counts()
    return Status(
        health=Health.YELLOW,
        reasons=["link broker: refused"],
        version="0",
        site="test",
        started_ms=0,
        now_ms=CLOCK.now_ms(),
        online=counts[Presence.ONLINE],
        offline=counts[Presence.OFFLINE],
        unknown=counts[Presence.UNKNOWN],
        away=[
            OfflineDevice(id="meter-1", link="bus-1", room="101", reason="timeout"),
            OfflineDevice(id="meter-2", link="bus-1", room="101", reason="timeout"),
        ],
        inventory=InventoryStatus(number=1, time_ms=1, digest="", devices=4, drift=""),
        links=[_link("bus-1", up=True), _link("broker", up=False)],
        store=StoreStatus(healthy=True, reason="", readings=1, size_bytes=1, waiting=0),
        sinks=[
            SinkStatus(
                name="far", lag=3, oldest_ms=1, delivered=7, rejected=1, last_error="no route"
            )
        ],
    )


def _link(name: str, *, up: bool) -> LinkStatus:
    return LinkStatus(
        id=name,
        driver="modbus",
        up=up,
        reason="" if up else "refused",
        since_ms=1,
        restarts=2,
        devices=2,
        counters={"missed/timeout": 5},
    )


@asynccontextmanager
async def listening(site: ApiSite) -> AsyncIterator[tuple[str, int]]:
    """The API on a real socket of this box; the address while it serves."""
    sock = bind("127.0.0.1:0")
    serving = asyncio.create_task(serve_api(site.app, sock))
    address: tuple[str, int] = sock.getsockname()
    try:
        yield address
    finally:
        serving.cancel()
        await asyncio.wait([serving], timeout=10)


@contextmanager
def api_in_a_thread(folder: Path) -> Iterator[tuple[str, str]]:
    """The URL of a listening API on a loop of its own, and an administrator's key."""
    ready, stop = threading.Event(), asyncio.Event()
    told: list[str] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with api_site(folder) as site, listening(site) as (host, port):
            told.extend((f"http://{host}:{port}", site.keys[Role.ADMIN]))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="api")
    thread.start()
    try:
        assert ready.wait(30)
        yield told[0], told[1]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(30)

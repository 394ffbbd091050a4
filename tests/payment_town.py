"""Rooms whose meters keep their own money, a payment platform, a desk, and a hub that is killed.

Each meter is a room's; each payment of a room has an amount of its own, so that the meter's ledger tells
which order each credit was for. The desk is the person who looks at the meter when the hub does not know.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import msgspec

from hub import SystemClock, Value, load_site
from hub.campus.orders import listing
from hub.campus.orders.orders import Order, OrderState
from hub.cli.orders import OrderRows
from hub.cli.tell import CommandRows
from hub.config import load_config
from hub.ledger import open_reader
from simulators.campus import Campus, Play, playing
from simulators.conduct import Bearing, Conduct
from simulators.ledger import Deed, Ledger, read_ledger
from simulators.links import free_ports, site_toml
from simulators.platform import Payment, PaymentPlatform
from tests.hub_process import HubProcess
from tests.powercut.box import Box
from tests.servers import wait_until

PLATFORM = "campus-pay"
METERS_A_LINK = 8
BATCH_S = 0.5
LOOK_S = 0.5
START_S = 120.0  # of the first start, on a machine that is busy with the town itself
SETTLE_S = 600.0  # a bound: it is over when nothing is open any more
FAULT_RATE = 0.01
# The first meters lie for ever, each in its own way.
LIARS = (Conduct.ONLY_ANSWERS, Conduct.COUNTS_ONLY, Conduct.CREDITS_ONLY)
_SECRET = b"the campus platform's own secret"
_PAGE = 1_000
_DARK = 0.2  # so often a bus has no power
_MONEY = re.compile(f'"({Deed.CREDITED}|{Deed.LOST})"')
_OPEN = (OrderState.ACCEPTED, OrderState.DELIVERING, OrderState.UNKNOWN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How large a campaign is; `pace` is payments a second, `cuts` are power cuts beside the kills."""

    orders: int
    meters: int
    kills: int
    pace: float
    delivery_s: int
    seed: int
    rough: bool = True
    cuts: int = 0


@dataclass(kw_only=True, slots=True)
class Aftermath:
    """What is left when everything has settled: the meters' ledger, the platform's, the hub's."""

    campus: Campus
    platform: PaymentPlatform
    data: Path
    deeds: Path
    teller: Teller
    resolved: int
    unwritten: int  # writes that power cuts took

    def credits(self) -> Counter[tuple[str, int]]:
        """What came on the meters and stayed, by their own ledger: how often, by device and fen."""
        with self.deeds.open(encoding="utf-8") as lines:
            entries = read_ledger(line for line in lines if _MONEY.search(line))
        kept = Counter[tuple[str, int]]()
        for entry in entries:
            kept[entry.device, int(entry.values["fen"])] += 1 if entry.deed is Deed.CREDITED else -1
        return +kept


@dataclass(kw_only=True, slots=True)
class Teller:
    """The platform's way to the hub, and what it was told; lost answers are asked for again.

    `repeated` notices had gone before, `concurrent` ones while another of their order was on its way,
    `overtaken` ones after that of a later payment.
    """

    http: httpx2.AsyncClient
    taken: dict[str, str] = field(default_factory=dict)  # number: the order's id, as the hub said
    contradictions: list[str] = field(default_factory=list)
    lost: int = 0  # answers
    answers_s: list[float] = field(default_factory=list)  # how long each took that was given
    repeated: int = 0
    concurrent: int = 0
    overtaken: int = 0
    _told: set[str] = field(default_factory=set)
    _newest: str = ""
    _under_way: Counter[str] = field(default_factory=Counter)

    async def tell(self, headers: Mapping[str, str], body: bytes) -> int:
        """One notice; the answer's status, 0 when none came."""
        number = str(json.loads(body)["number"])
        self._count(number)
        self._under_way[number] += 1
        try:
            return await self._tell(headers, body)
        finally:
            self._under_way[number] -= 1

    def _count(self, number: str) -> None:
        is_first = number not in self._told
        self.repeated += not is_first
        self.concurrent += self._under_way[number] > 0
        self.overtaken += is_first and number < self._newest
        self._told.add(number)
        self._newest = max(self._newest, number)

    async def _tell(self, headers: Mapping[str, str], body: bytes) -> int:
        began_s = time.monotonic()
        try:
            answer = await self.http.post("/v1/orders", headers=dict(headers), content=body)
        except httpx2.TransportError:
            self.lost += 1
            return 0
        self.answers_s.append(time.monotonic() - began_s)
        if answer.status_code == 200:
            said = answer.json()
            first = self.taken.setdefault(said["number"], said["id"])
            if first != said["id"]:
                self.contradictions.append(f"{said['number']} was {first}, then {said['id']}")
        elif answer.status_code not in (429, 503):
            self.contradictions.append(f"{answer.status_code} {answer.text} for {body!r}")
        return answer.status_code


def write_town(folder: Path, plan: Plan) -> Path:
    """The folder of the configuration that campus and hub share."""
    folder.mkdir(parents=True)
    number = -(-plan.meters // METERS_A_LINK)
    *ports, api = free_ports(number + 1)
    bus = {"driver": "modbus", "transport": "tcp", "host": "127.0.0.1"}
    links: dict[str, Mapping[str, object]] = {
        f"bus-{place}": {**bus, "port": port} for place, port in enumerate(ports)
    }
    safety = {"rate_per_minute": 600, "allow_unproven": ["acrel_ddsy1352.credit"]}
    paid = (
        f"\n[prepaid]\ndelivery_s = {plan.delivery_s}\n"
        f'\n[platforms.{PLATFORM}]\nsecrets = ["pay.key"]\nreceiver = "logistics"\n'
    )
    text = site_toml("Town", "Asia/Shanghai", links, safety) + paid
    (folder / "site.toml").write_text(text, "utf-8")
    rows = [
        f"meter-{n},acrel_ddsy1352,bus-{n // METERS_A_LINK},{n % METERS_A_LINK + 1},B1,{n},1"
        for n in range(plan.meters)
    ]
    head = "id,profile,link,address,building,room,period_s"
    (folder / "devices.csv").write_text("\n".join([head, *rows]) + "\n", "utf-8")
    (folder / "hub.toml").write_text(f'[api]\nlisten = "127.0.0.1:{api}"\n', "utf-8")
    key = folder / "pay.key"
    key.write_text("whsec_" + base64.b64encode(_SECRET).decode(), "ascii")
    key.chmod(0o600)
    return folder


async def campaign(folder: Path, plan: Plan) -> Aftermath:
    """Pay, and kill the hub so often meanwhile; returns when nothing is open any more."""
    config = write_town(folder / "config", plan)
    hub, deeds = HubProcess(folder=config), folder / "deeds.jsonl"
    box = Box(hub.data, folder / "disk") if plan.cuts else None
    if box is not None:
        hub.environment = lambda: box.environment
    chance = random.Random(plan.seed)
    platform = PaymentPlatform(clock=SystemClock(plan.seed), secret=_SECRET)
    rate = FAULT_RATE if plan.rough else 0.0
    play = Play(seed=plan.seed, speed=0, fault_rate=rate)
    with deeds.open("w", encoding="utf-8") as file:
        campus = Campus(load_site(config), play, ledger=Ledger(file))
        async with playing(campus), _serving(hub):
            async with _http(hub, timeout_s=10.0) as http:
                teller, desk = Teller(http=http), Desk(hub=hub, campus=campus)
                strikes = Strikes(hub=hub, box=box, plan=plan, chance=chance)
                await _pay_and_strike(strikes, campus, (platform, teller, desk))
            assert await asyncio.to_thread(hub.stop) == 0, hub.log
        campus.ledger.flush()
    return Aftermath(
        campus=campus,
        platform=platform,
        data=hub.data,
        deeds=deeds,
        teller=teller,
        resolved=desk.resolved,
        unwritten=box.lost if box else 0,
    )


@dataclass(kw_only=True, slots=True)
class Strikes:
    """What happens to the hub's process, and to its power, while rooms pay."""

    hub: HubProcess
    box: Box | None
    plan: Plan
    chance: random.Random

    async def run(self) -> None:
        """Kills and power cuts, mixed, one after another; each time the hub starts again."""
        plan, number = self.plan, self.plan.kills + self.plan.cuts
        cuts = set(self.chance.sample(range(number), plan.cuts))
        for place in range(number):
            pause_s = 2 * plan.orders / plan.pace / number
            await asyncio.sleep(self.chance.uniform(0.3, max(0.6, pause_s - 0.3)))
            await asyncio.to_thread(self._strike, place in cuts)

    def _strike(self, is_cut: bool) -> None:
        hub = self.hub
        assert hub.process is not None
        assert hub.process.poll() is None, hub.log[-4_000:]  # it never ends by itself
        hub.kill()
        if self.box is not None and is_cut:
            self.box.cut(self.chance)
        elif self.box is not None:
            self.box.killed()
        hub.launch()


async def _pay_and_strike(
    strikes: Strikes, campus: Campus, people: tuple[PaymentPlatform, Teller, Desk]
) -> None:
    platform, teller, desk = people
    hub, plan, chance = strikes.hub, strikes.plan, strikes.chance
    async with asyncio.timeout(None) as bound, asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(desk.run(), name="desk")
        weather = tasks.create_task(_weather(campus, chance, plan), name="weather")
        paying = tasks.create_task(_pay(platform, teller, plan), name="paying")
        await strikes.run()
        await paying
        bound.reschedule(asyncio.get_running_loop().time() + SETTLE_S)
        await _until_settled(hub, teller)
        weather.cancel()
        await _notify_all(platform, teller, list(platform.payments.values()))
        looking.cancel()


async def _pay(platform: PaymentPlatform, teller: Teller, plan: Plan) -> None:
    """Rooms pay in turn; each batch is told until the hub has taken it."""
    batch = max(1, round(plan.pace * BATCH_S))
    async with asyncio.TaskGroup() as tasks:
        for first in range(0, plan.orders, batch):
            paid = [
                platform.pay("B1", str(number % plan.meters), 100 + number)
                for number in range(first, min(first + batch, plan.orders))
            ]
            tasks.create_task(_notify_all(platform, teller, paid), name=f"payments {first}")
            await asyncio.sleep(BATCH_S)


async def _notify_all(
    platform: PaymentPlatform, teller: Teller, payments: Sequence[Payment]
) -> None:
    """As a platform does: again and again, until each was answered as it must be."""
    waiting = list(payments)
    while waiting:
        for payment in waiting:
            platform.statuses.pop(payment.number, None)
        await platform.notify(teller.tell, waiting)
        waiting = [one for one in waiting if 200 not in platform.statuses.get(one.number, {})]
        await asyncio.sleep(LOOK_S)


async def _weather(campus: Campus, chance: random.Random, plan: Plan) -> None:
    """Meters behave badly for a while, one lies always, one or another bus loses its power."""
    devices, buses = list(campus.machines), list(campus.buses.values())
    liars = [Bearing(device=one, conduct=c) for one, c in zip(devices, LIARS, strict=False)]
    while plan.rough:
        campus.faults.bearings[:] = [
            *liars,
            *(
                Bearing(device=device, conduct=chance.choice(list(Conduct)))
                for device in chance.sample(devices, len(devices) // 2)
            ),
        ]
        dark = chance.choice(buses) if chance.random() < _DARK else None
        if dark is not None:
            dark.cut_off(True)
        await asyncio.sleep(chance.uniform(0.5, 3.0))
        if dark is not None:
            dark.cut_off(False)


@dataclass(kw_only=True, slots=True)
class Desk:
    """The person who looks at a meter's own memory, and tells the hub what became of its credit."""

    hub: HubProcess
    campus: Campus
    resolved: int = 0
    credited: set[tuple[str, Value]] = field(default_factory=set)  # device and fen

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._note()
            with suppress(httpx2.TransportError, httpx2.HTTPStatusError, FileNotFoundError):
                await self._look()
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        key = (self.hub.data / "admin.key").read_text("ascii").strip()
        async with _http(self.hub, timeout_s=5.0) as http:
            http.headers["Authorization"] = f"Bearer {key}"
            commands = await self._look_at_commands(http)
            await self._look_at_orders(http, commands)

    async def _look_at_commands(self, http: httpx2.AsyncClient) -> set[str]:
        """Resolve those that are unknown; returns them all, for their orders follow by themselves."""
        answer = await http.get(f"/v1/commands?state=unknown&limit={_PAGE}")
        answer.raise_for_status()
        rows = msgspec.json.decode(answer.content, type=CommandRows).commands
        for row in rows:
            if not row.resolution:
                said = {"outcome": self._found(row.device, row.arguments["amount"])}
                told = await http.post(f"/v1/commands/{row.id}/resolve", json=said)
                self.resolved += told.is_success  # what was refused is looked at again
        return {row.id for row in rows}

    async def _look_at_orders(self, http: httpx2.AsyncClient, commands: set[str]) -> None:
        """Those that are unknown for another reason: a meter counted late what was given up."""
        answer = await http.get(f"/v1/orders?state=unknown&limit={_PAGE}")
        answer.raise_for_status()
        rows = msgspec.json.decode(answer.content, type=OrderRows).orders
        for row in (row for row in rows if row.command not in commands):
            said = {"outcome": self._found(row.device, row.amount_fen), "note": "its memory"}
            told = await http.post(f"/v1/orders/{row.platform}/{row.number}/resolve", json=said)
            self.resolved += told.is_success

    def _note(self) -> None:
        """The meters' memory is long; the ledger in this process is not."""
        for entry in self.campus.ledger.entries():
            place = (entry.device, entry.values.get("fen", 0))
            if entry.deed is Deed.CREDITED:
                self.credited.add(place)
            elif entry.deed is Deed.LOST:
                self.credited.discard(place)

    def _found(self, device: str, fen: Value) -> str:
        self._note()
        return "done" if (device, fen) in self.credited else "not_done"


async def _until_settled(hub: HubProcess, teller: Teller) -> None:
    """Return when every order that was taken has come to rest."""
    while await asyncio.to_thread(_is_open, hub.data, set(teller.taken)):
        await asyncio.sleep(LOOK_S)


def _is_open(data: Path, taken: set[str]) -> bool:
    known = {order.number: order.state for order in all_orders(data)}
    return any(known.get(number, OrderState.ACCEPTED) in _OPEN for number in taken)


def all_orders(data: Path) -> list[Order]:
    """Every order in the hub's ledger."""
    found: list[Order] = []
    with open_reader(data / "ledger.db") as connection:
        while page := listing.in_states(
            connection, list(OrderState), after=found[-1].id if found else "", limit=_PAGE
        ):
            found += page
    return found


@asynccontextmanager
async def _serving(hub: HubProcess) -> AsyncIterator[None]:
    hub.launch()
    try:
        await asyncio.to_thread(_wait_for, hub)
        yield
    finally:
        if hub.process is not None and hub.process.poll() is None:
            hub.kill()


def _wait_for(hub: HubProcess) -> None:
    wait_until(lambda: hub.status is not None, timeout_s=START_S)


def _http(hub: HubProcess, *, timeout_s: float) -> httpx2.AsyncClient:
    listen = load_config(hub.folder).api.listen
    return httpx2.AsyncClient(base_url=f"http://{listen}", timeout=timeout_s, trust_env=False)

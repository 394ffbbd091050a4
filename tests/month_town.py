"""A town of rooms that lives a month in virtual time with the real hub, which is killed now and then.

Nothing here knows how the hub reckons: meters count what flows, people pay at a platform, an installer
changes meters. What each of them knows is left for the judge.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import httpx2
from fastapi import Request, Response

from hub.campus.accounts import books
from hub.campus.accounts.accounts import Utility
from hub.campus.accounts.prices import Price, enter_price, parse_rate
from hub.errors import HubError, StoreError
from simulators.platform import PaymentPlatform
from tests.month_hub import MonthHub, open_hub
from tests.month_meter import DormMeter
from tests.month_people import (
    HOLIDAYS,
    RATES,
    ZONE,
    Habit,
    Household,
    Kind,
    Plan,
    begin_ms,
    households,
    make_meter,
)
from tests.month_time import MonthClock
from tests.site_folder import write_site

PLATFORM = "campus-pay"
ALLOWANCE_WH = 8_000
OVERDRAFT_FEN = 300
PROTECTED = ("B1", "103")
UNBILLED = ("B1", "102")
CARRIES_OVER = "B2"
_SECRET = b"the campus platform's own secret"
_SITE = f"""
[links.air]
driver = "mqtt"
host = "127.0.0.1"
[links.bus]
driver = "modbus"
host = "127.0.0.1"
[safety]
brake_percent = 5
allow_unproven = ["acrel_ddsy1352.credit"]
[platforms.{PLATFORM}]
secrets = ["{PLATFORM}.key"]
receiver = "logistics"
callback_url = "http://127.0.0.1/callbacks"
callback_answer = "success"
list_url = "http://127.0.0.1/orders"
bill_url = "http://127.0.0.1/bill"
[alerts.channels.app]
type = "webhook"
url = "http://127.0.0.1/alerts"
secret_file = "{PLATFORM}.key"
to = "rooms"
[prepaid]
overdraft_fen = {OVERDRAFT_FEN}
allowance_wh = {ALLOWANCE_WH}
delivery_s = 21600
protected_hours = ["22:30-07:00"]
holidays = [{", ".join(f'"{day}"' for day in sorted(HOLIDAYS))}]
[prepaid.buildings.B1]
protected_rooms = ["{PROTECTED[1]}"]
unbilled_rooms = ["{UNBILLED[1]}"]
[prepaid.buildings.{CARRIES_OVER}]
carry_over = true
restore = "close"
"""
_HEADER = "id,profile,link,address,building,floor,room,circuit,period_s"
_LINKS = {Kind.HUB: "air", Kind.COUNTED: "air", Kind.METER: "bus"}
_RETRY_S = (60, 300, 900, 3_600)
_FEN = 100
_OVERLOADS = 0.06  # of the looks of a heavy room
_LOST = 0.08  # of the notices; the platform's list has them all


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """Somebody left a room, or moved with what he had to an `other` one; `key` is the hub's for it."""

    key: str
    asked_ms: int
    account: str
    other: str = ""
    swap: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """An alert as it came to the people of a room."""

    id: str
    kind: str
    level: int
    account: str
    raised_ms: int
    heard_ms: int


class Workers(Protocol):
    """Who works for a town; see tests/month_staff.py."""

    async def run(self) -> None:
        """Work until cancelled."""

    async def settle_some(self) -> None:
        """Some leave for good."""


@dataclass(kw_only=True)
class Town:
    """The month as it was really lived."""

    plan: Plan
    folder: Path
    clock: MonthClock
    platform: PaymentPlatform
    homes: list[Household]
    meters: dict[str, DormMeter]
    mounted_ms: dict[str, int] = field(default_factory=dict)  # meters that replaced another
    lives: list[Life] = field(default_factory=list)
    down: list[tuple[int, int]] = field(default_factory=list)  # when there was no hub
    told: list[Told] = field(default_factory=list)  # what people's phones have shown
    resolved: int = 0
    approved: int = 0  # proposals of many cuts
    unlocked: list[tuple[str, int]] = field(default_factory=list)  # devices, by staff
    refused: list[str] = field(default_factory=list)  # answers to a platform that nobody expects
    end_ms: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.plan.seed} town")
        self.hub: MonthHub | None = None
        self.app = self.platform.app()
        self.app.add_api_route("/alerts", self._hear, methods=["POST"])
        self._paid = 0
        self._paying = asyncio.Event()
        self._is_over = False

    @property
    def ledger_path(self) -> Path:
        """The hub's own books."""
        return self.folder / "data" / "ledger.db"

    def write_files(self) -> None:
        """The configuration as the town is now."""
        rows = [_row(home, place, self.plan) for place, home in enumerate(self.homes)]
        folder = write_site(self.folder / "config", site=_SITE, devices="\n".join((_HEADER, *rows)))
        key = folder / f"{PLATFORM}.key"
        key.write_text("whsec_" + base64.b64encode(_SECRET).decode())
        key.chmod(0o600)
        profiles = folder / "profiles"
        profiles.mkdir(exist_ok=True)
        (profiles / f"{Kind.COUNTED}.toml").write_text(_counted_profile())

    async def until_hub(self) -> MonthHub:
        """The hub, as soon as there is one."""
        while self.hub is None:
            await self.clock.exactly(60)
        return self.hub

    async def live(self, workers: Workers) -> None:
        """The whole month, with the hub running but for the moments in which it is dead."""
        end_s = self.plan.days * 86_400.0
        async with asyncio.TaskGroup() as tasks:
            hub = tasks.create_task(self._serve(), name="hub")
            others = [
                tasks.create_task(self._people(), name="people"),
                tasks.create_task(workers.run(), name="staff"),
            ]
            await self.clock.exactly(end_s)
            for task in others:
                task.cancel()
            await self._close_the_month(workers)
            hub.cancel()
        self.end_ms = self.clock.now_ms()

    async def _serve(self) -> None:
        """The hub, killed at moments of chance, and soon after somebody paid."""
        while True:
            async with asyncio.TaskGroup() as tasks:
                run = tasks.create_task(self._run_hub(), name="run of the hub")
                await self._until_killed()
                run.cancel()
            since_ms, self.hub = self.clock.now_ms(), None
            await self.clock.exactly(self.chance.choice((2, 30, 600)))
            self.down.append((since_ms, self.clock.now_ms()))

    async def _until_killed(self) -> None:
        if not self.plan.kills:
            await asyncio.Event().wait()
        mean_s = self.plan.days * 86_400 / (self.plan.kills + 1)
        await self.clock.exactly(self.chance.uniform(0.5, 1.5) * mean_s)
        self._paying.clear()
        with suppress(TimeoutError):  # in the midst of a payment, where there is one
            async with asyncio.timeout(43_200):
                await self._paying.wait()
        await self.clock.exactly(self.chance.uniform(0.0, 3.0))
        if self._is_over:
            await asyncio.Event().wait()

    async def _run_hub(self) -> None:
        transport = httpx2.ASGITransport(app=self.app)
        http = httpx2.AsyncClient(
            transport=transport, trust_env=False
        )  # the hub's, which closes it
        async with open_hub(
            self.folder, self.clock, self.meters, http=http, faults=self.faults
        ) as hub:
            self.hub = hub
            await self._enter_prices(hub)
            await asyncio.Event().wait()

    @property
    def faults(self) -> Callable[[], float]:
        """Chance for the wires: below the plan's share something goes wrong."""
        return lambda: self.chance.random() / self.plan.faults if self.plan.faults else 1.0

    async def _enter_prices(self, hub: MonthHub) -> None:
        today = datetime.fromtimestamp(self.clock.now_ms() / 1000, ZONE).date()
        for day, rate in RATES.items():
            item = Price(
                utility=Utility.ELECTRICITY,
                from_day=day,
                rate=parse_rate(rate, Utility.ELECTRICITY),
            )
            entry = partial(
                enter_price, price=item, today=today, actor="finance", time_ms=self.clock.now_ms()
            )
            await hub.ledger.run(entry)

    async def _people(self) -> None:
        """Everybody looks now and then at what is left, at times of his own."""
        async with asyncio.TaskGroup() as tasks:
            for home in self.homes:
                tasks.create_task(self._household(home), name=f"people of {home.room.account}")

    async def _household(self, home: Household) -> None:
        chance = random.Random(f"{self.plan.seed} pays {home.room.account}")
        await asyncio.sleep(chance.uniform(600, 43_200))
        while True:
            meter = self.meters[home.meter]
            left_fen = await self._left_fen(home)
            if left_fen is not None and home.wants_to_pay(left_fen, is_dark=not meter.closed):
                await self.clock.exactly(chance.uniform(0, 1_800))
                await self._pay(home, chance.randrange(5, 40) * _FEN)
            now_ms = self.clock.now_ms()
            if meter.armed or meter.has_tripped:
                meter.press(now_ms)
            elif home.habit is Habit.HEAVY and chance.random() < _OVERLOADS:
                meter.overload(now_ms)
            await asyncio.sleep(chance.uniform(10_800, 36_000))

    async def _left_fen(self, home: Household) -> int | None:
        """What people see: on the meter, or at the hub, where there is one."""
        if home.kind is Kind.METER:
            meter = self.meters[home.meter]
            return meter.credit(meter.settle(self.clock.now_ms()))
        if self.hub is None:
            return None
        with suppress(StoreError):
            return await self.hub.ledger.read(lambda c: books.balance(c, home.room.account))
        return None

    async def _pay(self, home: Household, amount_fen: int) -> None:
        """Each payment has an amount of its own; the platform tells it until it is taken, or never."""
        self._paid += 1
        self._paying.set()
        payment = self.platform.pay(home.room.building, home.room.room, amount_fen + self._paid)
        self.clock.stir(3 if self.meters[home.meter].closed else 15)
        if self.chance.random() < _LOST:
            return
        for pause_s in _RETRY_S:
            await self.platform.notify(self._tell, [payment])
            if 200 in self.platform.statuses.get(payment.number, {}):
                break
            await self.clock.exactly(pause_s)

    async def _tell(self, headers: Mapping[str, str], body: bytes) -> int:
        if self.hub is None:
            return 0
        try:
            await self.hub.campus.intake.standard(headers, body)
        except StoreError:
            return 503
        except HubError as error:
            self.refused.append(f"{type(error).__name__} {error} for {body!r}")
            return 422
        return 200

    async def _hear(self, request: Request) -> Response:
        """The app of the rooms takes what is signed."""
        body, headers = await request.body(), request.headers
        time_s = int(headers["webhook-timestamp"])
        sealed = self.platform.seal(headers["webhook-id"], body, time_s=time_s)
        if sealed["webhook-signature"] != headers["webhook-signature"]:
            self.refused.append("an alert was badly signed")
            return Response(status_code=401)
        for alert in json.loads(body)["alerts"]:
            self.told.append(
                Told(
                    id=alert["id"],
                    kind=alert["kind"],
                    level=alert["level"],
                    account=alert["subject"],
                    raised_ms=alert["raised_ms"],
                    heard_ms=self.clock.now_ms(),
                )
            )
        return Response(status_code=204)

    async def _close_the_month(self, workers: Workers) -> None:
        """Some leave, everything comes to rest, every meter is read, and what is used is charged."""
        self._is_over = True  # nobody kills any more
        await workers.settle_some()
        await self.clock.exactly(12 * 3_600)
        hub = await self.until_hub()
        await hub.read_all()
        await hub.charge_all()


def _row(home: Household, place: int, plan: Plan) -> str:
    link, room = _LINKS[home.kind], home.room
    address = str(place % 240 + 1) if link == "bus" else home.meter
    where = f"{room.building},{room.room[:-2]},{room.room},socket"
    return f"{home.meter},{home.kind},{link},{address},{where},{plan.period_s}"


def _counted_profile() -> str:
    """The generic meter with a counter that comes to its end."""
    text = (files("drivers") / "profiles" / f"{Kind.HUB}.toml").read_text("utf-8")
    text = text.replace("period_s = 60", "period_s = 60\nrated_power_w = 5500")
    point = 'energy_import = { in = ["state"], path = "energy_import_wh"'
    assert point in text
    return text.replace(point, point + ", rollover = 9_999_990")


def found_town(folder: Path, plan: Plan) -> Town:
    """The town before its month begins; needs a loop on a month's time."""
    clock = MonthClock(start_ms=begin_ms(), seed=plan.seed, stride_s=plan.stride_s)
    homes = list(households(plan))
    meters = {home.meter: make_meter(plan, home, home.meter) for home in homes}
    for meter in meters.values():
        meter.begin(clock.now_ms())
    platform = PaymentPlatform(clock=clock, secret=_SECRET)
    (folder / "data").mkdir(parents=True)
    town = Town(
        plan=plan, folder=folder, clock=clock, platform=platform, homes=homes, meters=meters
    )
    town.write_files()
    return town

"""A small campus that obeys, a hub that is killed, and callers who go on telling it things.

It is a quiet hour of the night there: nobody passes a gate but at a command, so that the devices' ledgers
tell whose each effect was. Each device is told one thing at a time, and given time to come to rest.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import httpx2

from hub import Value, load_site
from hub.cli.tell import CommandRow
from hub.config import load_config
from simulators.campus import Campus, Play, playing
from simulators.links import free_ports, site_toml
from tests.caller import Caller, Wish, caller_of
from tests.hub_process import HubProcess

FIRST_START_KILLS = 3
START_S = 1.5  # a start-up is over by then
SETTLE_S = 100.0
_STARTS_KILLED = 0.6  # so many of the kills fall into a start-up
_GATE = "fail_mode=open;egress=true;open_limit_s=600"
_QUIET_HOUR = 2

Strike = Callable[[HubProcess], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of device: how many there are, and what it needs to come to rest after a command."""

    number: int
    row: str
    rest_s: float
    wishes: int = 1_000_000


KINDS = {
    "lane": Kind(number=8, row="generic_turnstile,broker,{id},1," + _GATE, rest_s=3.5),
    "barrier": Kind(number=4, row="generic_barrier,gates,{n},0.5," + _GATE, rest_s=9.0),
    "board": Kind(number=3, row="waveshare_relay8,boards,{n},0.5,", rest_s=0.3),
    "meter": Kind(number=2, row="acrel_ddsy1352,meters,{n},0.5,", rest_s=0.5),
    "washer": Kind(number=6, row="generic_washer,broker,{id},1,", rest_s=1.0, wishes=2),
}
DEVICES = {f"{kind}-{n}": kind for kind in KINDS for n in range(1, KINDS[kind].number + 1)}


def write_town(folder: Path, broker_port: int) -> Path:
    """The folder of the configuration that campus and hub share."""
    folder.mkdir(parents=True)
    *ports, api = free_ports(4)
    bus = {"driver": "modbus", "transport": "tcp", "host": "127.0.0.1"}
    links: dict[str, Mapping[str, object]] = {
        name: {**bus, "port": port}
        for name, port in zip(("gates", "boards", "meters"), ports, strict=True)
    }
    links["broker"] = {"driver": "mqtt", "host": "127.0.0.1", "port": broker_port}
    safety = (
        "[safety]\nbrake_percent = 100\nrate_per_minute = 600\n"
        'allow_unproven = ["acrel_ddsy1352.credit"]\n'
    )
    zone = _quiet_zone(datetime.now(UTC).hour)
    (folder / "site.toml").write_text(site_toml("Town", zone, links) + "\n" + safety, "utf-8")
    rows = [_row(device) for device in DEVICES]
    text = "\n".join(["id,profile,link,address,period_s,settings", *rows]) + "\n"
    (folder / "devices.csv").write_text(text, "utf-8")
    (folder / "hub.toml").write_text(f'[api]\nlisten = "127.0.0.1:{api}"\n', "utf-8")
    (folder / "device.key").write_text("the secret of a device\n", "utf-8")
    return folder


def _row(device: str) -> str:
    row = KINDS[DEVICES[device]].row.format(id=device, n=device.rpartition("-")[2])
    signed = {"lane": ";key_file=device.key", "washer": "key_file=device.key"}
    return f"{device},{row}{signed.get(DEVICES[device], '')}"


def _quiet_zone(hour: int) -> str:
    """A time zone where it is night now."""
    ahead = (_QUIET_HOUR - hour + 11) % 24 - 11
    return f"Etc/GMT{-ahead:+d}"


def wish_of(device: str, number: int, chance: random.Random) -> Wish:
    """What this device is told as its command of this number."""
    prompt = DEVICES[device] not in ("board", "meter")
    deadline_s = chance.choice((None, 5.0) if prompt else (5.0, 20.0))
    arguments: dict[str, Value] = {}
    match DEVICES[device]:
        case "lane":
            said, arguments = "open", {"direction": chance.choice(("in", "out"))}
        case "barrier":
            said = "open"
        case "board":
            said = "restore_1" if number % 2 else "cut_1"
        case "meter":
            said, arguments = "credit", {"amount": 100 + number}
        case _:
            said, order = "start", f"{device}-paid-{number}"
            arguments = {"order": order, "program": "quick", "price": 400}
    key = f"{device}-{number}"
    return Wish(key=key, device=device, name=said, arguments=arguments, deadline_s=deadline_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Aftermath:
    """What is left when everything has settled: the devices, what the caller knows, what the hub knows."""

    campus: Campus
    caller: Caller
    known: list[CommandRow]
    data: Path


async def campaign(
    folder: Path,
    broker_port: int,
    kills: int,
    chance: random.Random,
    strike: Strike | None = None,
) -> Aftermath:
    """Kill the hub, or `strike`, so often while it is told things, then let everything settle."""
    config = write_town(folder / "config", broker_port)
    listen = load_config(config).api.listen
    hub = HubProcess(folder=config)
    campus = Campus(load_site(config), Play(seed=chance.randrange(1000)))
    async with playing(campus):
        try:
            await _first_start(hub, chance)
            key = (hub.data / "admin.key").read_text("ascii").strip()
            caller = caller_of(listen, key)
            async with caller.http:
                await _tell_and_kill(hub, caller, kills, chance, strike or _kill_and_launch)
                known = await caller.known()
            assert await asyncio.to_thread(hub.stop) == 0, hub.log
        finally:
            if hub.process is not None and hub.process.poll() is None:
                hub.kill()
    return Aftermath(campus=campus, caller=caller, known=known, data=hub.data)


async def _first_start(hub: HubProcess, chance: random.Random) -> None:
    """The very first start, which makes ledger and key, is killed too."""
    hub.launch()
    for _ in range(FIRST_START_KILLS):
        await asyncio.sleep(chance.uniform(0.0, START_S))
        await _kill_and_launch(hub)
    await _until_serving(hub)


async def _tell_and_kill(
    hub: HubProcess, caller: Caller, kills: int, chance: random.Random, strike: Strike
) -> None:
    over = asyncio.Event()
    async with asyncio.timeout(None) as bound, asyncio.TaskGroup() as tasks:
        for device in DEVICES:
            own = random.Random(chance.random())
            tasks.create_task(_go_on(caller, device, over, own), name=f"tell {device}")
        for _ in range(kills):
            await _moment(hub, chance)
            await strike(hub)
        over.set()
        bound.reschedule(asyncio.get_running_loop().time() + SETTLE_S)


async def _go_on(caller: Caller, device: str, over: asyncio.Event, chance: random.Random) -> None:
    """Tell the device one thing after another until it is over."""
    kind = KINDS[DEVICES[device]]
    await asyncio.sleep(chance.uniform(0.0, 5.0))
    for number in count(1):
        if over.is_set() or number > kind.wishes:
            return
        await caller.tell(wish_of(device, number, chance))
        await asyncio.sleep(kind.rest_s)


async def _moment(hub: HubProcess, chance: random.Random) -> None:
    """The moment of a kill: any of a start-up, or soon after it."""
    if chance.random() < _STARTS_KILLED:
        await asyncio.sleep(chance.uniform(0.0, START_S))
        return
    await _until_serving(hub)
    await asyncio.sleep(chance.uniform(0.05, 0.8))


async def _kill_and_launch(hub: HubProcess) -> None:
    assert hub.process is not None
    assert hub.process.poll() is None, hub.log  # it never ends by itself
    hub.kill()
    hub.launch()


async def _until_serving(hub: HubProcess) -> None:
    """Return when the API answers."""
    async with asyncio.timeout(20.0), httpx2.AsyncClient(trust_env=False) as http:
        while not await _answers(http, f"http://{load_config(hub.folder).api.listen}/health"):
            await asyncio.sleep(0.02)


async def _answers(http: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url, timeout=2.0)).status_code == 200
    except httpx2.TransportError:
        return False

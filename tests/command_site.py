"""Simulated MQTT devices that take commands, the driver in front of them, and commands to give it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from drivers.mqtt.driver import open_driver
from hub import Clock, Command, Device, Driver, Link, Outcome, Priority, Site, Value, load_site
from simulators.campus import Campus, Play, playing
from simulators.ledger import Deed, Entry
from simulators.links import site_toml
from simulators.washer import Washer
from tests.recording_host import RecordingHost

AWAY = "not connected"
PROBES: dict[str, tuple[str, dict[str, Value]]] = {
    "washer": ("cancel", {"order": "none"}),
    "gate": ("open", {"direction": "in"}),
}
GATE = "fail_mode=open;egress=true;open_limit_s=600"
SIGNED = {
    "washer": "washer,generic_washer,broker,washer,key_file=washer.key",
    "gate": f"gate,generic_turnstile,broker,gate,{GATE};key_file=gate.key",
    "meter": "meter,generic_meter,broker,meter,",
    "shelly": "shelly,shelly_plus1pm,broker,shelly,",
    "shelly-2": "shelly-2,shelly_plus1pm,broker,shelly-2,",
    "tasmota": "tasmota,tasmota_plug,broker,tasmota,",
}


def command_site(folder: Path, port: int, *devices: str, **settings: object) -> Site:
    """A site of these devices on a broker, with a key of its own for washer and gate."""
    folder.mkdir(parents=True, exist_ok=True)
    link = {"driver": "mqtt", "host": "127.0.0.1", "port": port, **settings}
    (folder / "site.toml").write_text(site_toml("Test", "Asia/Shanghai", {"broker": link}), "utf-8")
    rows = [SIGNED[name] for name in devices]
    text = "\n".join(["id,profile,link,address,settings", *rows]) + "\n"
    (folder / "devices.csv").write_text(text, "utf-8")
    for name in ("washer", "gate"):
        (folder / f"{name}.key").write_text(f"the secret of {name}\n", "utf-8")
    return load_site(folder)


def quiet_seed(site: Site, clock: Clock) -> int:
    """A seed whose washers stand idle, and stay so for a while."""

    def is_quiet(seed: int) -> bool:
        machines = Campus(site, Play(seed=seed), clock=clock).machines.values()
        now_ms = clock.now_ms()
        shown = [m.show(now_ms + s * 60_000) for s in (0, 3) for m in machines]
        return all(values.get("washer_state", "idle") == "idle" for values in shown)

    return next(seed for seed in range(1, 200) if is_quiet(seed))


@dataclass(kw_only=True, slots=True)
class Town:
    """A campus, the driver that serves it and the host that records what it says."""

    campus: Campus
    driver: Driver
    host: RecordingHost
    made: int = 0

    @property
    def devices(self) -> Mapping[str, Device]:
        """The devices by id."""
        return {device.id: device for device in self.campus.site.devices()}

    def command(
        self,
        device: str,
        name: str,
        arguments: Mapping[str, Value] | None = None,
        *,
        deadline_s: float = 10.0,
        confirm_s: float = 2.0,
    ) -> Command:
        """A new command, as the hub gives one to a driver; `confirm_s` also bounds the wait for an answer."""
        clock = self.host.clock
        spec = replace(self.devices[device].profile.commands[name], confirm_s=confirm_s)
        now_ms = clock.now_ms()
        return Command(
            id=clock.new_id(),
            device=device,
            spec=spec,
            arguments=arguments or {},
            attempt=1,
            issued_ms=now_ms,
            expires_ms=now_ms + round(deadline_s * 1000),
            deadline_s=clock.monotonic_s() + deadline_s,
            priority=Priority.OPERATOR,
            nonce=clock.new_id(),
        )

    def start(self, order: str, **life: float) -> Command:
        """A start of the washer."""
        said: dict[str, Value] = {"order": order, "program": "quick", "price": 400}
        return self.command("washer", "start", said, **life)

    def open(self, **life: float) -> Command:
        """An opening of the gate."""
        return self.command("gate", "open", {"direction": "in"}, **life)

    async def execute(self, command: Command) -> Outcome:
        """What the driver says of it."""
        return await self.driver.execute(command)

    def cycles(self, order: str) -> int:
        """How many cycles the washer has begun for this order, by its own ledger, one minute on."""
        washer = self.campus.machines["washer"]
        assert isinstance(washer, Washer)
        washer.step(self.host.clock.now_ms() + 60_000)
        begun = self.campus.ledger.entries("washer", Deed.CYCLE_BEGUN)
        return sum(entry.values["order"] == order for entry in begun)

    def openings(self) -> int:
        """How often the gate's leaf has moved at a command."""
        return len(list(self.campus.ledger.entries("gate", Deed.MOVED)))

    def heard(self, device: str) -> list[Entry]:
        """What the device was told, with its verdict; questions for its state left out."""
        entries = self.campus.ledger.entries(device, Deed.HEARD)
        return [entry for entry in entries if entry.values.get("command") != "report"]

    def verdicts(self, device: str) -> list[Value]:
        """What the device made of what it was told."""
        return [entry.values["verdict"] for entry in self.heard(device)]


@asynccontextmanager
async def running_driver(link: Link, host: RecordingHost) -> AsyncIterator[Driver]:
    """The link's driver, running; cancelled in the end."""
    driver = open_driver(link)
    task = asyncio.create_task(driver.run(host), name="driver")
    try:
        yield driver
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def town(
    site: Site, *, persistent: bool = False, by_port: int | None = None
) -> AsyncIterator[Town]:
    """The devices alive and the driver connected, both its connections standing; `by_port` leads it
    another way to the broker."""
    host = RecordingHost()
    seed = quiet_seed(site, host.clock)
    campus = Campus(site, Play(seed=seed, here=True, persistent=persistent))
    link = site.links[0]
    if by_port is not None:
        link = replace(link, settings={**link.settings, "port": by_port})
    async with playing(campus), running_driver(link, host) as driver:
        made = Town(campus=campus, driver=driver, host=host)
        await until_ready(made)
        yield made


async def until_ready(made: Town) -> None:
    """Return when every device listens (it has spoken, and it subscribes first) and the driver can send."""
    await made.host.wait_until(lambda: all(made.host.of(name) for name in made.devices), 20)
    await until_sending(made)


async def until_sending(made: Town) -> None:
    """Return when the connection for commands stands: a command without any time is then too late."""
    name = next(iter(made.devices))
    said, arguments = PROBES.get(name, ("cut", {}))
    async with asyncio.timeout(20):
        while (
            await made.execute(made.command(name, said, arguments, deadline_s=0))
        ).reason == AWAY:
            await made.host.clock.sleep(0.02)

"""A room's use over a meter swap, judged by what the simulated meters themselves counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from typer.testing import CliRunner, Result

from hub import Reading, VirtualClock, load_site
from hub.config import load_config
from hub.ingest import Ingest
from hub.inventory.bindings import Binding, Chosen, Figure, find_bindings
from hub.inventory.counts import meters_of
from hub.inventory.figures import Figures, in_turns
from hub.inventory.installed import known_devices
from hub.inventory.use import By, Use, edges, reckon
from hub.journal import Journal, JournalOptions, open_journal
from hub.ledger import Ledger, open_ledger, open_reader
from simulators.campus import Campus, Play, playing
from simulators.command import write_rehearsal
from simulators.ledger import Deed
from simulators.ledger import Ledger as Diaries
from simulators.machine import Birth
from simulators.meter import Meter
from tests.command_line import app
from tests.hub_process import hub_process
from tests.provisioned import HEADER, SITE, apply, without, write_building
from tests.servers import free_port, wait_until
from tests.sim_site import birth
from tests.test_inventory_daemon import ask, dormhub

MINUTE, HOUR = 60_000, 3_600_000
DAY = 24 * HOUR
START = 1_795_363_200_000
STEP_MS = 5 * MINUTE
OLD = "m-2,peacefair_pzem016,bus-1,2,B1,1,102,socket,,"
NEW = "m-4,eastron_sdm120,bus-1,4,B1,1,102,socket,,"
ROLLOVER = 9_999_990


class Story:
    """Three days of a room: its meters count, are read, and one is swapped for the other."""

    def __init__(self, folder: Path, clock: VirtualClock, journal: Journal, ledger: Ledger) -> None:
        self.folder = folder
        self.clock = clock
        self.journal = journal
        self.ledger = ledger
        self.ingest = Ingest(
            store=journal, clock=clock, report=lambda _: None, count=lambda *_: None
        )

    async def install(self, *rows: str) -> None:
        folder = write_building(self.folder, *rows)
        await apply(self.ledger, folder, prune=True, clock=self.clock)
        site = load_site(folder)
        self.ingest.configure(site.devices(), [link.id for link in site.links])

    async def read(self, name: str, meter: Meter, until_ms: int) -> int:
        """Read a meter every five minutes until then; what it had counted at the last one."""
        readings = []
        while self.clock.now_ms() < until_ms:
            now_ms = self.clock.now_ms()
            value = {"energy_import": meter.electricity(now_ms).import_wh % ROLLOVER}
            readings.append(Reading(device=name, time_ms=now_ms, received_ms=now_ms, values=value))
            self.clock.advance(STEP_MS / 1000)
        for begin in range(0, len(readings), 24):
            await self.ingest.publish("bus-1", readings[begin : begin + 24])
        return counted(meter, readings[-1].time_ms)

    async def use(self, *moments: int) -> Use:
        chosen = Chosen(building="B1", room="102")
        found = await self.ledger.read(lambda connection: find_bindings(connection, chosen))
        names = {binding.device for binding in found}
        products = partial(known_devices, names=names, profiles=load_site(self.folder).profiles)
        meters = meters_of(
            names, await self.ledger.read(products), await self.journal.latest(names)
        )
        return await in_turns(reckon(self.journal.query, found, meters, moments))

    async def note(self) -> int:
        site = load_site(self.folder)
        noting = Figures(
            ledger=self.ledger,
            journal=self.journal,
            clock=self.clock,
            profiles=lambda: site.profiles,
        )
        return await noting.note()


def counted(meter: Meter, now_ms: int) -> int:
    """The energy that really went through, since the counters began."""
    return sum(meter.electricity(now_ms).energy_wh)


@asynccontextmanager
async def story(folder: Path, options: JournalOptions) -> AsyncIterator[Story]:
    clock = VirtualClock(start_ms=START)
    async with (
        open_journal(folder / "journal.db", clock=clock, options=options) as journal,
        open_ledger(folder / "ledger.db", clock=clock) as ledger,
    ):
        yield Story(folder / "config", clock, journal, ledger)


def near_its_end(of: Birth) -> Meter:
    """A meter whose counter comes to its end a day from now."""
    return Meter(of, start_wh=ROLLOVER - counted(Meter(of), START + DAY))


async def swap(of: Story) -> tuple[int, int]:
    """The old meter for half the time, then a new one; the begin, and what was really used."""
    old = near_its_end(birth("m-2", "peacefair_pzem016", Diaries()))
    new = Meter(birth("m-4", "eastron_sdm120", Diaries(), seed=8))
    await of.install(*without("m-2"), OLD)
    begun = counted(old, START)
    swap_ms = START + 36 * HOUR + 17_000
    ended = await of.read("m-2", old, swap_ms)
    await of.install(*without("m-2"), NEW)
    fresh = counted(new, of.clock.now_ms())
    now = await of.read("m-4", new, START + 3 * DAY)
    return START, (ended - begun) + (now - fresh)


async def test_the_use_over_a_swap_is_what_the_meters_really_counted(tmp_path: Path) -> None:
    async with story(tmp_path, JournalOptions()) as room:
        begin_ms, really = await swap(room)
        end_ms = room.clock.now_ms() - 1
        use = await room.use(begin_ms, end_ms)
        assert really > 5_000
        assert (use.used, use.estimated) == (really, False)
        for by in (By.HOUR, By.DAY):
            zone = load_site(room.folder).timezone
            fine = await room.use(*edges(begin_ms, end_ms, by, zone))
            assert sum(one.used for one in fine.slices) == really
            assert not fine.estimated


async def test_the_use_stays_when_the_readings_and_then_the_hours_are_dropped(
    tmp_path: Path,
) -> None:
    options = JournalOptions(
        keep_days=5, keep_rollup_days=30, seal_delay_s=0, age_advance_s=1_000 * 86_400
    )
    async with story(tmp_path, options) as room:
        begin_ms, really = await swap(room)
        end_ms = room.clock.now_ms() - 1
        assert await room.note() == 2
        for days in (1, 10):  # sealed first, and dropped later
            room.clock.advance(days * 86_400)
            await room.journal.upkeep()
        assert not (await room.journal.history("m-2", "energy_import", 0, end_ms)).times
        assert (await room.use(begin_ms, end_ms)).used == really
        room.clock.advance(60 * 86_400)
        await room.journal.upkeep()
        left = await room.use(begin_ms, end_ms)
        assert next(part.used for part in left.parts) > 0
        assert left.estimated


SWAPPED = (
    "old,eastron_sdm120,bus-1,1,B1,1,101,socket,,,1",
    "new,eastron_sdm120,bus-1,2,B1,1,101,socket,,,1",
)


def rows_of(*rows: str) -> str:
    return "\n".join((f"{HEADER},period_s", *rows)) + "\n"


def answered(campus: Campus, device: str) -> list[float]:
    """What this meter said of its counter, answer by answer."""
    found = campus.ledger.entries(device, Deed.ANSWERED)
    told = (entry.values.get("energy_import") for entry in found)
    return [value for value in told if isinstance(value, int | float)]


async def test_a_swap_applied_beside_the_running_hub_keeps_the_room_s_use(tmp_path: Path) -> None:
    site = SITE.split("[links.bus-2]")[0]
    real = write_building(tmp_path / "site", SWAPPED[0], site=site)
    (real / "devices.csv").write_text(rows_of(*SWAPPED), "utf-8")
    async with playing(Campus(load_site(real), Play(here=True, speed=0))) as campus:
        folder = tmp_path / "config"
        write_rehearsal(campus, folder)
        hub_toml = f'[api]\nlisten = "127.0.0.1:{free_port()}"\n'
        (folder / "hub.toml").write_text(hub_toml, "utf-8")
        (folder / "devices.csv").write_text(rows_of(SWAPPED[0]), "utf-8")
        await asyncio.to_thread(swap_beside, folder, campus)


def bound(folder: Path) -> list[Binding]:
    with open_reader(load_config(folder).ledger_place()) as connection:
        return find_bindings(connection, Chosen(building="B1", room="101"))


def swap_beside(folder: Path, campus: Campus) -> None:
    with hub_process(folder) as hub:
        wait_until(lambda: len(answered(campus, "old")) >= 3)
        (folder / "devices.csv").write_text(rows_of(SWAPPED[1]), "utf-8")
        done = dormhub(folder, "apply", "--prune", "--yes")
        assert done.returncode == 0, done.stderr
        assert "B1 101 socket: old → new" in done.stdout
        wait_until(lambda: len(answered(campus, "new")) >= 3)
        wait_until(lambda: all(one.first for one in bound(folder)))
        old, new = bound(folder)
        assert (old.device, new.device) == ("old", "new")
        assert old.to_ms == new.from_ms
        assert old.last is not None
        assert (new.to_ms, new.last) == (None, None)
        listed = dormhub(folder, "bindings", "--room", "B1/101", "--json")
        assert [json.loads(line)["id"] for line in listed.stdout.splitlines()] == [old.id, new.id]
        told = dormhub(folder, "use", "B1/101", "--since", "1h", "--json")
        (row,) = (json.loads(line) for line in told.stdout.splitlines())
        shown = ask(hub, "GET", "/v1/rooms/B1/101/use").json()
        correct(folder)
    counters = answered(campus, "old"), answered(campus, "new")
    really = sum(words[-1] - words[0] for words in counters)
    assert [part["device"] for part in shown["parts"]] == ["old", "new"]
    assert (
        0 <= row["used"] <= shown["used"] <= really + 1
    )  # the last answers came after it was asked


def typed(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(folder)])


def correct(folder: Path) -> None:
    """The installer tells late when the swap was, then of a day long ago, and takes that back."""
    entered = ("bind", "new", "B1/101/socket", "--from", "1h")
    refused = typed(folder, *entered).exception
    assert "old in B1/101/socket" in str(refused)
    assert "--cut" in str(refused)
    done = typed(folder, *entered, "--cut", "--first", "1.5kWh", "--cause", "told late")
    assert done.exit_code == 0, done.output
    assert "cut, it was: " in done.output
    (only,) = bound(folder)  # the old one's whole time is the new one's now
    assert only.first == Figure(value=1500, time_ms=only.from_ms)
    past = ("bind", "old", "B1/101/socket", "--from", "2020-01-01", "--to", "2020-01-02T12:00")
    assert typed(folder, *past).exit_code == 0
    _, first = bound(folder)
    assert (first.from_ms, first.to_ms) == (1_577_808_000_000, 1_577_937_600_000)
    assert typed(folder, "unbind", first.id, "--cause", "wrong").exit_code == 0
    assert bound(folder) == [only]
    kept = typed(folder, "unbind", only.id).exception
    assert "change devices.csv and apply" in str(kept)

"""Lending a link: one master at a time, no device blamed, and the driver back whatever the borrower does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.modbus.driver import open_driver
from hub import Device, Driver, Link, SystemClock, audit, load_profiles
from hub.command import Answer, Command, Priority
from hub.commands import Order
from hub.control import Control
from hub.ingest import Ingest
from hub.ledger import open_ledger
from hub.lending import LendError, LendRefusal
from hub.presence import Presence
from hub.safety_rules import FireInput, SafetyRules
from hub.status import LENT
from hub.supervisor import Supervisor
from tests.modbus_faults import FaultyServer, listening
from tests.modbus_site import METER, profile_of
from tests.test_ingest import ListStore

PROFILES = load_profiles()
GATE = {"fail_mode": "open", "egress": "false", "open_limit_s": "600"}
CLOCK = SystemClock(seed=1)


class House:
    """A supervisor with real drivers, and everything lending looks at."""

    def __init__(self, supervisor: Supervisor, control: Control, ingest: Ingest) -> None:
        self.supervisor = supervisor
        self.control = control
        self.lending = control.lending
        self.ingest = ingest

    def presence(self, device: str) -> Presence | None:
        self.ingest.sweep()
        track = self.ingest.presence.of(device)
        return track.presence if track else None

    async def lend(self, link: str = "bus-1", seconds: float = 30, *, force: bool = False) -> str:
        lease = await self.lending.lend(
            link, seconds=seconds, actor="key/1", cause="test", force=force
        )
        return lease.id


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


async def pass_time(seconds: float) -> None:
    """Return when so much time has passed on the hub's clock."""
    end_s = CLOCK.monotonic_s() + seconds
    await until(lambda: CLOCK.monotonic_s() >= end_s)


def bus(port: int) -> Link:
    device = Device(
        id="m-1",
        profile=profile_of(METER.format(wire="")),
        link="bus-1",
        address="1",
        period_s=0.2,
    )
    settings = {"transport": "tcp", "host": "127.0.0.1", "port": port}
    return Link(id="bus-1", driver="modbus", settings=settings, devices=(device,))


def of_product(link: str, profile: str, port: int) -> Link:
    settings = GATE if profile == "generic_barrier" else {}
    device = Device(
        id=f"{link}-device",
        profile=PROFILES.get(profile, settings, place="test"),
        link=link,
        address="1",
    )
    way = {"transport": "tcp", "host": "127.0.0.1", "port": port}
    return Link(id=link, driver="modbus", settings=way, devices=(device,))


def make(link: Link) -> Driver:
    return open_driver(link)


@asynccontextmanager
async def house(folder: Path, *links: Link) -> AsyncIterator[House]:
    ingest = Ingest(
        store=ListStore(), clock=CLOCK, report=lambda _: None, count=lambda _link, _reason: None
    )
    ingest.configure([d for link in links for d in link.devices], [link.id for link in links])
    async with (
        open_ledger(folder / "ledger.db", clock=CLOCK) as ledger,
        asyncio.TaskGroup() as tasks,
    ):
        supervisor = Supervisor(ingest=ingest, clock=CLOCK, tasks=tasks, make=make)
        control = Control(ledger=ledger, clock=CLOCK, presence=ingest.presence, wire=supervisor)
        control.configure(links, SafetyRules())
        await supervisor.apply(links)
        others = await control.start(tasks)
        try:
            yield House(supervisor, control, ingest)
        finally:
            for task in others:
                task.cancel()
            await supervisor.stop()


async def test_a_lent_link_asks_nothing_and_its_devices_are_not_blamed(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port, house(tmp_path, bus(port)) as hub:
        await until(lambda: hub.presence("m-1") is Presence.ONLINE)
        lease = await hub.lend()
        asked = len(server.requests)
        assert hub.supervisor.hosts["bus-1"].reason == LENT
        await pass_time(1.5)  # many of its periods
        assert hub.presence("m-1") is Presence.ONLINE
        assert len(server.requests) == asked
        await hub.lending.give_back("bus-1", lease, actor="key/1")
        await until(lambda: len(server.requests) > asked)
        await until(lambda: hub.supervisor.hosts["bus-1"].up)


async def test_the_driver_is_back_by_itself_when_the_lease_is_over(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port, house(tmp_path, bus(port)) as hub:
        await hub.lend(seconds=0.6)
        asked = len(server.requests)
        await until(lambda: len(server.requests) > asked)
        assert not hub.lending.is_lent("bus-1")


async def test_a_lease_can_be_renewed_only_while_it_lasts(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port, house(tmp_path, bus(port)) as hub:
        lease = await hub.lend(seconds=1)
        hub.lending.renew("bus-1", lease, seconds=20)
        await pass_time(1.6)
        assert hub.lending.is_lent("bus-1")
        await hub.lending.give_back("bus-1", lease, actor="key/1")
        with pytest.raises(LendError):
            hub.lending.renew("bus-1", lease, seconds=20)


async def test_a_lease_is_never_longer_than_a_minute(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port, house(tmp_path, bus(port)) as hub:
        begun_s = CLOCK.monotonic_s()
        lease = await hub.lending.lend("bus-1", seconds=9999, actor="key/1", cause="")
        assert lease.ends_s - begun_s < 70


@pytest.mark.parametrize(
    ("profile", "name"),
    [("waveshare_relay8", "WHOLE_MAX_S"), ("generic_barrier", "WHOLE_GATES_MAX_S")],
)
async def test_no_renewal_goes_past_the_longest_time_of_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, name: str
) -> None:
    monkeypatch.setattr(f"hub.lending.{name}", 2.0)
    server = FaultyServer((1,), rtu=False)
    async with (
        listening(server) as port,
        house(tmp_path, of_product("bus-1", profile, port)) as hub,
    ):
        begun_s = CLOCK.monotonic_s()
        lease = await hub.lend(seconds=30, force=True)
        renewed = hub.lending.renew("bus-1", lease, seconds=30)
        assert renewed.ends_s - begun_s < 10
        await until(lambda: not hub.lending.is_lent("bus-1"))
        with pytest.raises(LendError, match="15 minutes at most"):
            hub.lending.renew("bus-1", lease, seconds=30)


async def test_nobody_else_gets_a_lent_link(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port, house(tmp_path, bus(port)) as hub:
        await hub.lend()
        with pytest.raises(LendError) as refused:
            await hub.lend()
        assert refused.value.kind is LendRefusal.LENT
        with pytest.raises(LendError) as refused:
            await hub.lending.give_back("bus-1", "another", actor="key/2")
        assert refused.value.kind is LendRefusal.NOT_YOURS
        with pytest.raises(LendError) as refused:
            await hub.lend("no-such")
        assert refused.value.kind is LendRefusal.UNKNOWN_LINK


async def test_a_link_with_open_commands_is_not_lent(tmp_path: Path) -> None:
    server = FaultyServer((), rtu=False)
    async with listening(server) as port:
        link = of_product("relays", "waveshare_relay8", port)
        async with house(tmp_path, link) as hub:
            order = Order(device="relays-device", name="cut_1", actor="key/1", key="k-1")
            await hub.control.commands.submit(order)
            with pytest.raises(LendError, match="relays-device cut_1") as refused:
                await hub.lend("relays")
            assert refused.value.kind is LendRefusal.OPEN_COMMANDS
            assert not hub.lending.is_lent("relays")


async def test_a_command_to_a_lent_link_has_not_left(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port:
        link = of_product("relays", "waveshare_relay8", port)
        async with house(tmp_path, link) as hub:
            await hub.lend("relays")
            spec = link.devices[0].profile.commands["cut_1"]
            telling = Command(
                id="c-1",
                device="relays-device",
                spec=spec,
                arguments={},
                attempt=1,
                issued_ms=0,
                expires_ms=CLOCK.now_ms() + 1000,
                deadline_s=CLOCK.monotonic_s() + 1,
                priority=Priority.OPERATOR,
                nonce="n",
            )
            outcome = await hub.supervisor.execute("relays", telling)
    assert (outcome.answer, outcome.reason) == (Answer.NOT_SENT, "the link is lent")


async def test_a_command_given_to_a_lent_link_waits_and_nothing_is_written(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port:
        link = of_product("relays", "waveshare_relay8", port)
        async with house(tmp_path, link) as hub:
            await hub.lend("relays")
            commands = hub.control.commands
            order = Order(device="relays-device", name="cut_1", actor="key/1", key="k-1")
            record = await commands.submit(order)
            await until(
                lambda: (found := commands.open.get(record.id)) is None or found.life.attempts > 1
            )
            waiting = await commands.get(record.id)
            attempts = await commands.attempts(record.id)
    assert not waiting.state.final  # one try after the other, and none reaches the wire
    assert {attempt.answer for attempt, _ in attempts if attempt.answer} == {Answer.NOT_SENT}
    assert [request for request in server.requests if request[1] not in (1, 2, 3, 4)] == []


async def test_a_link_that_hears_of_fire_is_lent_by_force_only(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port, house(tmp_path, bus(port)) as hub:
        rules = SafetyRules(fire=(FireInput(device="m-1", point="relay_closed"),))
        hub.control.configure([bus(port)], rules)
        with pytest.raises(LendError, match="m-1") as refused:
            await hub.lend()
    assert refused.value.kind is LendRefusal.GATES


async def test_a_link_with_gates_is_lent_by_force_only(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with (
        listening(server) as port,
        house(tmp_path, of_product("gate", "generic_barrier", port)) as hub,
    ):
        with pytest.raises(LendError) as refused:
            await hub.lend("gate")
        assert refused.value.kind is LendRefusal.GATES
        await hub.lend("gate", force=True)
        assert hub.lending.is_lent("gate")


async def test_lending_and_giving_back_are_in_the_audit(tmp_path: Path) -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port:
        async with house(tmp_path, bus(port)) as hub:
            lease = await hub.lend()
            await hub.lending.give_back("bus-1", lease, actor="key/2")
            await hub.lend(seconds=0.3)
            await until(lambda: not hub.lending.is_lent("bus-1"))
        async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as ledger:
            rows = await ledger.read(lambda one: audit.rows(one, subject="link/bus-1"))
    assert [(row.action, row.actor, row.cause) for row in rows] == [
        ("lend", "key/1", "test"),
        ("give_back", "key/2", "given back"),
        ("lend", "key/1", "test"),
        ("give_back", "hub", "the lease was over"),
    ]


async def test_a_changed_link_stays_with_its_borrower(tmp_path: Path) -> None:
    first, second = FaultyServer((1,), rtu=False), FaultyServer((1,), rtu=False)
    async with (
        listening(first) as port,
        listening(second) as new_port,
        house(tmp_path, bus(port)) as hub,
    ):
        lease = await hub.lend()
        await hub.supervisor.apply([bus(new_port)])
        await pass_time(0.5)
        assert second.requests == []
        await hub.lending.give_back("bus-1", lease, actor="key/1")
        await until(lambda: bool(second.requests))

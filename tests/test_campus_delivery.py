"""Orders on their way into a meter, on virtual time, by a hub that may be killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from hub import State
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room
from hub.campus.alarms import Alarms
from hub.campus.orders import orders
from hub.campus.orders.delivery import Delivery
from hub.campus.orders.orders import Act, Notice, Order, OrderState
from hub.commands import Record, Resolution
from tests.command_bench import Hub, Site, on_virtual_time
from tests.command_bench import order as wish
from tests.scripted_device import Behaviour, Machine
from tests.virtual_loop import run_virtual

B = Behaviour
ROOM = Room(building="B1", room="101")
ENDED = (OrderState.DELIVERED, OrderState.REFUND_DUE, OrderState.UNKNOWN)


class Desk:
    """The delivery of one run of the hub, and its orders."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.alarms = Alarms(hub.clock)
        self.asked: list[tuple[str, str]] = []
        self.serving = ""  # the meter of the room, where it was changed
        self.delivery = Delivery(
            ledger=hub.ledger,
            clock=hub.clock,
            commands=hub.control.commands,
            registry=hub.control.registry,
            alarms=self.alarms,
            refresh=lambda link, device: self.asked.append((link, device)),
            serving=lambda _room: self.serving,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Desk]:
        task = asyncio.create_task(self.delivery.run(), name="delivery")
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def take(
        self, number: str, fen: int = 500, *, deadline_s: float = 60.0, device: str = "gate-1"
    ) -> Order:
        now_ms = self.hub.clock.now_ms()
        received = await self.hub.ledger.run(
            lambda connection: orders.receive(
                connection,
                Notice(platform="pay", number=number, room=ROOM, amount_fen=fen),
                Act(actor="platform/pay", now_ms=now_ms),
                id=self.hub.clock.new_id(),
                device=device,
                deadline_ms=now_ms + round(deadline_s * 1000),
            )
        )
        assert received.order is not None
        self.delivery.take(received.order)
        return received.order

    async def order(self, number: str) -> Order:
        found = await self.hub.ledger.read(lambda one: orders.find(one, "pay", number))
        assert found is not None
        return found

    async def until(self, number: str, *states: OrderState, timeout_s: float = 300.0) -> Order:
        """The order once it stands so; by its end where nothing is said."""
        async with asyncio.timeout(timeout_s):
            while (order := await self.order(number)).state not in (states or ENDED):
                await self.hub.clock.sleep(0.1)
        return order

    async def balances(self) -> tuple[int, int, int]:
        """What is held, in the meter and in the room's account; with books that are right."""

        def query(connection: Connection) -> tuple[int, int, int]:
            assert books.check(connection) == []
            held, meter, room = (
                books.balance(connection, account)
                for account in (ROOM.held, ROOM.meter, ROOM.account)
            )
            return held, meter, room

        return await self.hub.ledger.read(query)

    async def credits(self) -> list[Record]:
        return await self.hub.control.commands.recent(device="gate-1")


def test_a_paid_order_is_credited_once_and_booked_into_the_meter(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1")
            order = await desk.until("1")
            (credit,) = await desk.credits()
            assert (order.state, order.command) == (OrderState.DELIVERED, credit.id)
            assert (credit.key, credit.cause) == ("order/pay/1", "order pay 1")
            assert await desk.balances() == (0, 500, 0)
        assert len(site.machines["gate-1"].effects) == 1

    on_virtual_time(site, scene)


@pytest.mark.parametrize(
    ("behaviour", "state", "fen"),
    [
        (B.WORKS, OrderState.DELIVERED, 500),
        (B.MUTE, OrderState.DELIVERED, 500),  # count and balance say whose credit it was
        (B.LATE, OrderState.DELIVERED, 500),
        (B.SLOW, OrderState.DELIVERED, 500),
        (B.TWICE, OrderState.DELIVERED, 500),
        (B.FOREIGN, OrderState.DELIVERED, 500),
        (B.COUNTS, OrderState.UNKNOWN, 0),
        (B.PAYS, OrderState.UNKNOWN, 500),
        (B.ANOTHER, OrderState.UNKNOWN, 300),
        (B.LIES, OrderState.REFUND_DUE, 0),
        (B.SILENT, OrderState.REFUND_DUE, 0),
        (B.FORGETS, OrderState.REFUND_DUE, 0),
        (B.REFUSES, OrderState.REFUND_DUE, 0),
        (B.AWAY, OrderState.REFUND_DUE, 0),
    ],
)
def test_however_the_meter_behaves_delivered_means_credited_once(
    tmp_path: Path, behaviour: Behaviour, state: OrderState, fen: int
) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [behaviour]

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1")
            assert (await desk.until("1")).state is state
            in_meter = 500 * (state is OrderState.DELIVERED)
            assert await desk.balances() == (500 - in_meter, in_meter, 0)
        assert machine.state["credit_money"] == 2_000 + fen

    on_virtual_time(site, scene)


def test_a_credit_that_was_forgotten_at_once_is_made_again_and_delivered_once(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.FORGETS, B.WORKS]

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1")
            assert (await desk.until("1")).state is OrderState.DELIVERED
        assert machine.state["credit_money"] == 2_500

    on_virtual_time(site, scene)


def test_a_display_that_stands_still_gives_nothing_back_that_was_credited(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script, machine.latency_s = [B.MUTE], 0.1

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1")
            await hub.until(lambda: machine.effects, 30.0)
            machine.state["credit_money"] = 2_000
            machine.state["purchase_count"] = 7
            machine.freeze()
            order = await desk.until("1")
            assert order.state is OrderState.UNKNOWN
            assert order.reason == "what it shows stands still, and proves nothing"

    on_virtual_time(site, scene)


def test_a_meter_whose_display_stands_still_is_told_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.freeze()

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1")
            assert (await desk.until("1")).state is OrderState.REFUND_DUE
            assert machine.tries == []
            machine.frozen = None
            await desk.take("2")
            assert (await desk.until("2")).state is OrderState.DELIVERED

    on_virtual_time(site, scene)


def test_a_wall_clock_that_was_set_back_does_not_keep_a_meter_from_being_sold_to(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1")
            await desk.until("1")
            site.clock.ahead_ms = -3_600_000
            await desk.take("2", deadline_s=300.0)
            assert (await desk.until("2")).state is OrderState.DELIVERED

    on_virtual_time(site, scene)


def test_an_earlier_credit_that_comes_through_meanwhile_does_not_pass_for_the_next(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.SILENT]

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1", 500, deadline_s=15.0)
            assert (await desk.until("1")).state is OrderState.REFUND_DUE
            tries = len(machine.tries)
            await desk.take("2", 700)
            await hub.until(lambda: len(machine.tries) > tries, 30.0)
            machine.buy(500)  # the first one's bytes lay on the way for so long
            order = await desk.until("2")
            assert order.state is OrderState.UNKNOWN
            assert "has not risen by this amount" in order.reason
            await desk.delivery.resolve(order, "fay", Resolution.NOT_DONE)
            desk.delivery.heard(hub.store.readings[-1:])
            await desk.until("1", OrderState.UNKNOWN)
            assert await desk.balances() == (1_200, 0, 0)

    on_virtual_time(site, scene)


def test_a_meter_that_refused_for_a_while_is_asked_again_under_a_further_key(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].script = [B.REFUSES, B.WORKS]

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1")
            assert (await desk.until("1")).state is OrderState.DELIVERED
            keys = {record.key: record.state for record in await desk.credits()}
        assert keys == {"order/pay/1": State.REFUSED, "order/pay/1/2": State.CONFIRMED}

    on_virtual_time(site, scene)


def test_where_the_hub_keeps_the_money_an_order_is_delivered_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (link,) = site.links
    (device,) = link.devices
    commands = {"light": device.profile.commands["light"]}
    plain = replace(device, profile=replace(device.profile, commands=commands))
    site.links = (replace(link, devices=(plain,)),)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1")
            assert (await desk.until("1")).state is OrderState.DELIVERED
            assert await desk.balances() == (0, 0, 500)
            assert await desk.credits() == []

    on_virtual_time(site, scene)


@pytest.mark.parametrize(
    ("device", "fen", "reason"),
    [
        ("gate-9", 500, "gate-9 is gone"),
        (
            "gate-1",
            100_001,
            "arguments.amount: found 100001, write a whole number from 1 to 100000",
        ),
    ],
)
def test_what_no_meter_can_take_is_given_back_with_the_reason(
    tmp_path: Path, device: str, fen: int, reason: str
) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1", fen, deadline_s=10.0, device=device)
            order = await desk.until("1")
            assert (order.state, order.reason) == (OrderState.REFUND_DUE, reason)
            assert await desk.balances() == (fen, 0, 0)

    on_virtual_time(site, scene)


def test_a_meter_that_is_away_is_asked_now_and_then_and_told_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        await hub.poll("gate-1")
        await hub.clock.sleep(200.0)
        hub.ingest.sweep()
        assert hub.control.registry.is_offline("gate-1")
        async with Desk(hub).open() as desk:
            await desk.take("1", deadline_s=600.0)
            await hub.clock.sleep(29.0)
            assert (await desk.order("1")).state is OrderState.ACCEPTED
            assert desk.asked == [("bus-1", "gate-1")] * 2
            assert await desk.credits() == []
            await hub.poll("gate-1")
            assert (await desk.until("1")).state is OrderState.DELIVERED

    on_virtual_time(site, scene)


def test_orders_of_one_meter_go_one_after_the_other_the_oldest_first(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            for number in ("1", "2", "3"):
                await desk.take(number, 100 * int(number))
                await hub.clock.sleep(0.002)
            await desk.until("3")
            credits = sorted(await desk.credits(), key=lambda record: record.created_ms)
            assert [record.arguments for record in credits] == [
                {"amount": 100, "count": 8, "balance": 2_000, "energy": 5_000},
                {"amount": 200, "count": 9, "balance": 2_100, "energy": 5_000},
                {"amount": 300, "count": 10, "balance": 2_300, "energy": 5_000},
            ]
            assert await desk.balances() == (0, 600, 0)

    on_virtual_time(site, scene)


async def unknown_order(desk: Desk, machine: Machine) -> Order:
    """The meter has heard the credit of order 1 and, silent from then on, says nothing of it."""
    machine.script = [B.SILENT]
    await desk.take("1", deadline_s=5.0)
    await desk.hub.clock.sleep(0.5)
    machine.is_mute = True
    order = await desk.until("1")
    machine.is_mute, machine.script = False, [B.WORKS]
    assert order.state is OrderState.UNKNOWN
    return order


@pytest.mark.parametrize(
    ("found", "state", "held"),
    [
        (Resolution.DONE, OrderState.DELIVERED, 0),
        (Resolution.NOT_DONE, OrderState.REFUND_DUE, 500),
    ],
)
def test_while_an_order_is_unknown_the_next_of_its_meter_waits_for_the_person(
    tmp_path: Path, found: Resolution, state: OrderState, held: int
) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            order = await unknown_order(desk, site.machines["gate-1"])
            assert [alarm.subject for alarm in desk.alarms.now()] == ["order/pay/1"]
            await desk.take("2", 700)
            await hub.clock.sleep(20.0)
            assert (await desk.order("2")).state is OrderState.ACCEPTED
            await desk.delivery.resolve(order, "fay", found)
            assert (await desk.order("1")).state is state
            assert (await desk.until("2")).state is OrderState.DELIVERED
            assert await desk.balances() == (held, 1200 - held, 0)
            assert desk.alarms.now() == []

    on_virtual_time(site, scene)


def test_an_unknown_order_is_an_alarm_after_every_start_until_a_person_has_found_out(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)

    async def main() -> None:
        async with site.hub() as hub, Desk(hub).open() as desk:
            await unknown_order(desk, site.machines["gate-1"])
        async with site.hub() as hub, Desk(hub).open() as desk:
            await hub.until(desk.alarms.now)
            assert [alarm.subject for alarm in desk.alarms.now()] == ["order/pay/1"]
            await desk.delivery.resolve(await desk.order("1"), "fay", Resolution.NOT_DONE)
            assert desk.alarms.now() == []

    run_virtual(main())


def test_a_word_said_of_the_command_alone_reaches_its_order(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            order = await unknown_order(desk, site.machines["gate-1"])
            await hub.control.commands.resolve(order.command, "fay", Resolution.DONE)
            assert (await desk.until("1", OrderState.DELIVERED)).state is OrderState.DELIVERED
            assert await desk.balances() == (0, 500, 0)

    on_virtual_time(site, scene)


def test_an_order_that_waits_behind_another_is_given_back_at_its_own_deadline(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await unknown_order(desk, site.machines["gate-1"])
            await desk.take("2", 700, deadline_s=10.0)
            order = await desk.until("2", timeout_s=12.0)
            assert order.state is OrderState.REFUND_DUE
            assert order.command == ""
            assert len(await desk.credits()) == 1

    on_virtual_time(site, scene)


def test_a_credit_that_comes_after_its_refund_was_due_is_flagged_and_never_made_again(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.LIES]

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1", deadline_s=15.0)
            assert (await desk.until("1")).state is OrderState.REFUND_DUE
            tries = len(machine.tries)
            machine.state["purchase_count"] = 8
            await hub.poll("gate-1")
            desk.delivery.heard(hub.store.readings[-1:])
            order = await desk.until("1", OrderState.UNKNOWN)
            assert order.reason == "its meter has counted it late: purchase_count is 8"
            await desk.delivery.resolve(order, "fay", Resolution.DONE)
            assert await desk.balances() == (0, 500, 0)
            assert len(machine.tries) == tries

    on_virtual_time(site, scene)


def test_a_count_that_another_credit_made_is_no_late_effect(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.LIES]

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1", deadline_s=15.0)
            await desk.until("1")
            machine.script = [B.WORKS]
            await desk.take("2", 700)
            await desk.until("2")
            desk.delivery.heard(hub.store.readings[-1:])
            await hub.clock.sleep(5.0)
            assert (await desk.order("1")).state is OrderState.REFUND_DUE
            assert await desk.balances() == (500, 700, 0)

    on_virtual_time(site, scene)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.01, 0.03, 0.05, 0.1, 0.5])
def test_killed_on_the_way_the_next_start_goes_on_with_the_one_credit(
    tmp_path: Path, after_s: float
) -> None:
    site = Site(tmp_path)

    async def main() -> None:
        async with site.hub() as hub, Desk(hub).open() as desk:
            await desk.take("1")
            await hub.clock.sleep(after_s)
        async with site.hub() as hub, Desk(hub).open() as desk:
            order = await desk.until("1")
            effects = len(site.machines["gate-1"].effects)
            # What was cut off on the wire is a person's: nobody told it again.
            assert (order.state, effects) in ((OrderState.DELIVERED, 1), (OrderState.UNKNOWN, 0))
            assert await desk.balances() == (500 - 500 * effects, 500 * effects, 0)
            assert len(await desk.credits()) == 1

    run_virtual(main())


def test_a_command_of_somebody_else_under_an_orders_key_is_another_matter(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        forged = await hub.control.commands.submit(wish("gate-1", "light", "order/pay/1"))
        assert (await hub.end(forged)).state is State.CONFIRMED
        async with Desk(hub).open() as desk:
            await desk.take("1")
            order = await desk.until("1")
            assert (order.state, order.command != forged.id) == (OrderState.DELIVERED, True)
            assert await desk.balances() == (0, 500, 0)

    on_virtual_time(site, scene)

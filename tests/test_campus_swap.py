"""A meter is changed while an order for it is under way; counters that end, begin anew, or are replaced."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from hub import Link, Place, Reading, audit
from hub.campus.accounts import books
from hub.campus.orders.orders import OrderState
from hub.campus.prepaid.metering import release
from hub.commands import Resolution
from hub.ingest import Ingest
from hub.ledger.tables import bindings
from tests.campus_house import HOUR_S, PREPAID, RATE, ROOM, ZONE, House, open_house, price_of
from tests.command_bench import Hub, Site, on_virtual_time
from tests.provisioned import METERS
from tests.scripted_device import Behaviour
from tests.test_campus_delivery import Desk

BROKER = '[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\n'
PLUG = "m-1,tasmota_plug,broker,plug,B1,1,101,socket,,"
PZEM = "m-1,peacefair_pzem016,bus-1,1,B1,1,101,socket,,"
SINCE = "2026-11-02T11:00:00"


def only(site: Site, *names: str) -> Link:
    """The link with these of its devices."""
    (link,) = site.links
    return replace(link, devices=tuple(one for one in link.devices if one.id in names))


def test_an_accepted_order_goes_to_the_meter_that_took_the_old_ones_place(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2)

    async def scene(hub: Hub) -> None:
        await hub.poll("gate-1")
        await hub.clock.sleep(200.0)
        hub.ingest.sweep()
        async with Desk(hub).open() as desk:
            await desk.take("1", deadline_s=600.0)
            await hub.clock.sleep(5.0)
            assert (await desk.order("1")).state is OrderState.ACCEPTED
            desk.serving = "gate-2"
            await hub.reload(only(site, "gate-2"))
            await hub.clock.sleep(1.0)
            await hub.poll("gate-2")
            order = await desk.until("1")
            assert (order.state, order.device) == (OrderState.DELIVERED, "gate-2")
            assert await desk.balances() == (0, 500, 0)
        rows = await hub.ledger.read(lambda one: audit.rows(one, subject="order/pay/1"))
        assert [row.after for row in rows if row.action == "redirected"] == [
            '{"from": "gate-1", "to": "gate-2"}'
        ]
        effects = [len(site.machines[name].effects) for name in ("gate-1", "gate-2")]
        assert effects == [0, 1]

    on_virtual_time(site, scene)


def test_what_no_meter_was_told_is_the_rooms_where_its_new_meter_only_counts(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, machines=2)
    site.machines["gate-1"].script = [Behaviour.REFUSES]
    (link,) = site.links
    counts = replace(link.devices[1].profile, commands={})
    second = replace(link.devices[1], profile=counts)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1", deadline_s=600.0)
            await desk.until("1", OrderState.DELIVERING)
            await hub.clock.sleep(2.0)
            desk.serving = "gate-2"
            await hub.reload(replace(link, devices=(link.devices[0], second)))
            order = await desk.until("1")
            assert (order.state, order.device) == (OrderState.DELIVERED, "gate-2")
            assert await desk.balances() == (0, 0, 500)
        assert [len(one.effects) for one in site.machines.values()] == [0, 0]

    on_virtual_time(site, scene)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (Resolution.DONE, OrderState.DELIVERED),
        (Resolution.NOT_DONE, OrderState.REFUND_DUE),
    ],
)
def test_one_that_was_told_to_a_meter_which_is_gone_is_a_persons_and_told_to_no_other(
    tmp_path: Path, found: Resolution, state: OrderState
) -> None:
    site = Site(tmp_path, machines=2)
    site.machines["gate-1"].script = [Behaviour.SILENT]

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1", deadline_s=30.0)
            await hub.clock.sleep(0.5)
            desk.serving = "gate-2"
            await hub.reload(only(site, "gate-2"))
            order = await desk.until("1", OrderState.UNKNOWN)
            assert order.device == "gate-1"
            await desk.take("2", 700, device="gate-2")
            assert (await desk.until("2")).state is OrderState.DELIVERED
            after = await desk.delivery.resolve(order, "fay", found)
            assert after.state is state
        assert [one.command for one in site.machines["gate-2"].effects] == [
            record.id for record in await hub.control.commands.recent(device="gate-2")
        ]

    on_virtual_time(site, scene)


def test_no_order_goes_to_a_meter_that_serves_another_room_by_now(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (link,) = site.links
    moved = replace(link.devices[0], place=Place(building="B1", room="102"))
    site.links = (replace(link, devices=(moved,)),)

    async def scene(hub: Hub) -> None:
        async with Desk(hub).open() as desk:
            await desk.take("1", deadline_s=10.0)
            order = await desk.until("1")
            assert order.state is OrderState.REFUND_DUE
            assert order.reason == "gate-1 serves another room"
            assert await desk.credits() == []

    on_virtual_time(site, scene)


class Line:
    """The way of every reading: through plausibility into the journal, an hour after the one before."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._ingest = Ingest(
            store=house.journal,
            clock=house.clock,
            report=lambda _: None,
            count=lambda *_: None,
        )
        links = house.site.links
        self._ingest.configure(
            [device for link in links for device in link.devices], [link.id for link in links]
        )
        self._links = {device.id: link.id for link in links for device in link.devices}

    async def say(self, *counters: int, device: str = "m-1", **values: str) -> None:
        for counter in counters:
            self._house.clock.advance(HOUR_S)
            now_ms = self._house.clock.now_ms()
            reading = Reading(
                device=device,
                time_ms=now_ms,
                received_ms=now_ms,
                values={"energy_import": counter, **values},
            )
            await self._ingest.publish(self._links[device], [reading])
        await self._house.charge()


async def test_a_counter_that_rolled_over_is_charged_to_the_exact_fen(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.install(PZEM, METERS["m-2"], METERS["m-3"])
        line = Line(house)
        await line.say(9_998_000, 9_999_500, 600, 1_600)
        assert await house.fen() == -price_of({RATE: 9_999_990 - 9_998_000 + 1_600})
        assert (await house.held(), await house.is_right()) == ([], True)


async def test_a_counter_that_was_reset_is_charged_to_the_exact_fen_once_a_person_says_since_when(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path) as house:
        await house.install(PLUG, METERS["m-2"], METERS["m-3"], policy=BROKER + PREPAID)
        line = Line(house)
        await line.say(50_000, 51_000, 52_000, counter_since="2026-01-01T00:00:00")
        await line.say(300, 400, 500, 600, counter_since=SINCE)
        (held,) = await house.held()
        assert held.reason == "counter fell from 52000 to 600"
        assert await house.fen() == -price_of({RATE: 2_000})
        at_ms = round(datetime.fromisoformat(SINCE).replace(tzinfo=ZONE).timestamp() * 1000)
        now_ms = house.clock.now_ms()
        await house.ledger.run(
            lambda connection: release(
                connection,
                held.binding,
                "fay",
                0,
                reason="counter_since",
                now_ms=now_ms,
                at_ms=at_ms,
            )
        )
        await line.say(1_600, counter_since=SINCE)
        assert await house.fen() == -price_of({RATE: 2_000 + 1_600})
        assert (await house.held(), await house.is_right()) == ([], True)


async def test_a_reset_that_the_counter_has_overtaken_is_held_and_charged_once_a_person_says(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path) as house:
        await house.install(PLUG, METERS["m-2"], METERS["m-3"], policy=BROKER + PREPAID)
        line = Line(house)
        await line.say(100, 200, counter_since="2026-01-01T00:00:00")
        await line.say(900, 1_000, counter_since=SINCE)
        (held,) = await house.held()
        assert held.reason == "counter was reset between 200 and 900"
        assert await house.fen() == -price_of({RATE: 100})
        now_ms = house.clock.now_ms()
        await house.ledger.run(
            lambda connection: release(
                connection, held.binding, "fay", 1_000, reason="counter_since", now_ms=now_ms
            )
        )
        await line.say(1_500, counter_since=SINCE)
        assert await house.fen() == -price_of({RATE: 100 + 500})
        assert (await house.held(), await house.is_right()) == ([], True)


async def test_a_meter_that_was_changed_is_charged_to_what_was_read_at_both(
    tmp_path: Path,
) -> None:
    async with open_house(
        tmp_path, rate=100_000
    ) as house:  # 1 fen for 10 Wh: no rest at the change
        line = Line(house)
        await line.say(80_000, 81_000)
        old = await house.binding()
        house.clock.advance(HOUR_S)
        new_row = METERS["m-1"].replace("m-1", "m-9")
        await house.install(new_row, METERS["m-2"], METERS["m-3"], prune=True)
        new = await house.binding("m-9")
        seen = {old: {"last_value": 81_730}, new: {"first_value": 40}}
        for binding, values in seen.items():
            await house.ledger.run(
                lambda connection, binding=binding, values=values: (
                    connection.execute(
                        update(bindings).where(bindings.c.id == binding).values(**values)
                    )
                    and None
                )
            )
        await Line(house).say(1_040, device="m-9")
        used = 1_730 + 1_000
        assert await house.fen() == -price_of({100_000: used})
        lines = await house.ask(lambda connection: books.statement(connection, ROOM.account))
        assert sum(one.amount for one in lines) == -used // 10
        assert await house.is_right()

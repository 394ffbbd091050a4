"""Orders against what the meters did: judged by the meters' own memory and their counts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from sqlalchemy import update

from hub import Reading
from hub.campus.orders import listing
from hub.campus.orders.orders import OrderState
from hub.campus.reconcile.results import Finding, Level
from hub.command import State
from hub.commands import Resolution
from hub.ledger import tables
from tests.command_bench import order as wish
from tests.reconcile_town import DAY, METER, MIDNIGHT_MS, NIGHT_MS, PAY, Street, Town, said
from tests.scripted_device import Behaviour

B, F = Behaviour, Finding
COUNTER, DEVICE = Level.COUNTER, Level.DEVICE


def test_what_was_paid_credited_and_counted_is_equal_at_every_level(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        for fen in (500, 700):
            await street.bought(fen)

    town.play(scene)
    found = town.night()
    assert len(town.meter.effects) == 2
    assert said(found[PAY]) == {(Level.BILL, F.EQUAL): (2, 1200), (DEVICE, F.EQUAL): (2, 1200)}
    assert said(found[""]) == {(COUNTER, F.EQUAL): (1, 1200)}
    assert town.differences == []


def test_a_credit_that_nobody_paid_for_is_effect_without_payment(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        await street.bought()
        town.meter.state["purchase_count"] = int(town.meter.state["purchase_count"]) + 1

    town.play(scene)
    found = town.night()
    assert said(found[""]) == {(COUNTER, F.EFFECT_WITHOUT_PAYMENT): (1, 500)}
    (one,) = town.differences
    assert (one.item.subject, one.platform) == (METER, "")
    assert one.item.detail == "nobody has paid for its purchases 9"


def test_a_delivery_that_the_meter_never_had_is_paid_without_effect(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        await street.bought()
        order = await street.bought()
        t = tables.commands  # as if the proof of the second had never come
        lost = update(t).where(t.c.id == order.command).values(state=str(State.FAILED))
        await street.hub.ledger.run(lambda one: one.execute(lost) and None)

    town.play(scene)
    found = town.night()
    assert said(found[PAY])[DEVICE, F.PAID_WITHOUT_EFFECT] == (1, 500)
    assert said(found[""]) == {(COUNTER, F.DOUBLE_EFFECT): (1, 500)}  # by its count and its balance


def test_a_credit_of_another_amount_differs(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        order = await street.bought()
        t = tables.commands
        other = update(t).where(t.c.id == order.command).values(arguments='{"amount":50,"count":8}')
        await street.hub.ledger.run(lambda one: one.execute(other) and None)

    town.play(scene)
    found = town.night()
    assert said(found[PAY])[DEVICE, F.AMOUNT_DIFFERS] == (1, 500)
    (one, _) = sorted(town.differences, key=lambda one: one.platform != PAY)
    assert (one.item.ordered, one.item.credited) == (500, 50)


def test_an_order_whose_two_commands_are_both_done_is_a_double_effect(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        payment = await street.paid()
        await street.ended(payment)
        again = wish(
            METER, "credit", f"order/{PAY}/{payment.number}/2", actor="delivery", amount=500
        )
        record = await street.hub.control.commands.submit(again)
        await street.hub.end(record)

    town.play(scene)
    found = town.night()
    assert len(town.meter.effects) == 2
    assert said(found[PAY])[DEVICE, F.DOUBLE_EFFECT] == (1, 500)
    assert said(found[""]) == {(COUNTER, F.EQUAL): (1, 1000)}  # the meter says so too


def test_a_credit_of_which_nobody_knows_is_unknown_until_a_person_says(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.meter.script = [B.COUNTS]  # counted, and no money came on: nobody knows

    async def scene(street: Street) -> None:
        order = await street.bought()
        assert order.state is OrderState.UNKNOWN
        money = int(town.meter.state["credit_money"])
        town.meter.state["credit_money"] = money + 500  # its money, after all

    async def resolve(street: Street) -> None:
        (order,) = await street.hub.ledger.read(
            lambda one: listing.in_states(one, [OrderState.UNKNOWN])
        )
        await street.delivery.resolve(order, "key/ann", Resolution.DONE, "the meter shows it")

    town.play(scene)
    found = town.night()
    assert said(found[PAY])[DEVICE, F.UNKNOWN] == (1, 500)
    assert said(found[""])[COUNTER, F.UNKNOWN] == (1, 0)
    town.bench.later(17 * 3600)
    town.play(resolve)
    found = town.night(at_ms=NIGHT_MS + 3_600_000)
    assert len(town.meter.effects) == 1
    assert said(found[PAY])[DEVICE, F.EQUAL] == (1, 500)
    assert said(found[""]) == {(COUNTER, F.EQUAL): (1, 500)}
    assert town.differences == []


def test_a_credit_that_staff_gave_is_an_entry_of_its_own(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        record = await street.hub.send(METER, "credit", amount=300)
        await street.hub.end(record)

    town.play(scene)
    found = town.night()
    assert len(town.meter.effects) == 1
    assert said(found[PAY]) == {}
    assert said(found[""]) == {(COUNTER, F.EQUAL): (1, 300), (Level.HOUSE, "staff"): (1, 300)}
    assert town.differences == []


def test_a_credit_for_an_order_that_is_not_there_is_effect_without_payment(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        forged = wish(METER, "credit", f"order/{PAY}/T999", actor="delivery", amount=300)
        await street.hub.end(await street.hub.control.commands.submit(forged))

    town.play(scene)
    found = town.night()
    assert said(found[PAY]) == {(DEVICE, F.EFFECT_WITHOUT_PAYMENT): (1, 300)}
    (one,) = town.differences
    assert (one.item.subject, one.item.credited) == ("T999", 300)


def test_a_count_that_fell_is_unknown(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        await street.bought()
        town.meter.state["purchase_count"] = 2

    town.play(scene)
    assert said(town.night()[""]) == {(COUNTER, F.UNKNOWN): (1, 500)}


def test_a_credit_that_the_meter_forgot_is_paid_without_effect(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        await street.bought()
        await street.hub.clock.sleep(60)
        town.meter.state["purchase_count"] = 7

    town.play(scene)
    found = town.night()
    assert said(found[""]) == {(COUNTER, F.PAID_WITHOUT_EFFECT): (1, 500)}


def test_a_credit_over_midnight_is_a_difference_on_neither_day(tmp_path: Path) -> None:
    town = Town(tmp_path, start_ms=MIDNIGHT_MS - 30_000)

    async def scene(street: Street) -> None:
        clock = street.hub.clock
        await clock.sleep((MIDNIGHT_MS - 20 - clock.now_ms()) / 1000)
        order = await street.bought()
        assert order.received_ms < MIDNIGHT_MS <= order.changed_ms

    town.play(scene)
    before = town.night()
    assert said(before[PAY])[DEVICE, F.EQUAL] == (1, 500)
    assert said(before[""]) == {}
    after = town.night(DAY + timedelta(days=1), at_ms=NIGHT_MS + 86_400_000)
    assert said(after[PAY]) == {}
    assert said(after[""]) == {(COUNTER, F.EQUAL): (1, 500)}
    assert town.differences == []


def test_a_reading_that_comes_late_mends_the_days_before_it(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def scene(street: Street) -> None:
        await street.bought()

    town.play(scene)
    first, *rest = town.readings
    town.readings = [first]
    found = town.night()
    assert said(found[""]) == {}
    late = Reading(
        device=METER,
        time_ms=rest[-1].time_ms,
        received_ms=NIGHT_MS,
        values={"purchase_count": 8},
    )
    assert said(town.night(more=[late])[""]) == {(COUNTER, F.EQUAL): (1, 500)}

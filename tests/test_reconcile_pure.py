"""For any bills, orders and credits: each subject has one finding, and the sums are those of both sides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.campus.accounts.accounts import Room
from hub.campus.orders.orders import Order, OrderState
from hub.campus.prepaid.charge import Mark
from hub.campus.reconcile.compare import (
    Booked,
    Effect,
    EffectState,
    Line,
    LineState,
    Terms,
    compare_bill,
    compare_device,
)
from hub.campus.reconcile.days import Day
from hub.campus.reconcile.energy import Charged, Counted, Rates, compare_energy
from hub.campus.reconcile.purchases import Shown, compare_purchases
from hub.campus.reconcile.results import Finding, digest_of, tallies_in, tallies_of, written
from simulators.ledger import Deed, Diary, Ledger
from simulators.machine import EPOCH_MS, Birth
from simulators.meter import Meter

DAY = Day(name="2026-11-22", start_ms=0, end_ms=86_400_000)
NUMBERS = st.integers(1, 12).map(lambda n: f"T{n}")
FEN = st.sampled_from([100, 500, 5_000])
LINES = st.builds(
    Line, number=NUMBERS, amount_fen=FEN, state=st.sampled_from(LineState), paid_ms=st.just(1)
)
STATES = [state for state in OrderState if state is not OrderState.RECEIVED]
F = Finding


def order(number: str = "T1", fen: int = 500, state: OrderState = OrderState.DELIVERED) -> Order:
    return Order(
        id=number,
        platform="pay",
        number=number,
        body_hash="",
        account=Room(building="B1", room="101").account,
        device="m-1",
        amount_fen=fen,
        state=state,
        reason="",
        command="",
        received_ms=1,
        deadline_ms=500,
        changed_ms=100,
    )


ORDERS = st.builds(order, NUMBERS, FEN, st.sampled_from(STATES))
TERMS = st.builds(
    Terms,
    now_ms=st.sampled_from([200, 10_000]),
    refund_ms=st.just(1_000),
    carried_from_ms=st.sampled_from([0, 86_400_000]),
)


def effect(
    fen: int = 500, count: int | None = 8, state: EffectState = EffectState.DONE, ended_ms: int = 5
) -> Effect:
    return Effect(
        command=f"c{count}",
        device="m-1",
        key="order/pay/T1",
        owner="delivery",
        state=state,
        amount_fen=fen,
        count=count,
        ended_ms=ended_ms,
    )


EFFECTS = st.lists(
    st.builds(effect, FEN, st.integers(6, 12), st.sampled_from(EffectState)), max_size=4
)
BOOKED = st.none() | st.builds(
    Booked, amount_fen=FEN, in_meter=st.booleans(), by_person=st.booleans()
)


@settings(deadline=None)
@given(
    lines=st.lists(LINES, unique_by=lambda line: line.number),
    orders=st.lists(ORDERS, unique_by=lambda one: one.number),
    terms=TERMS,
)
def test_every_number_is_in_exactly_one_class_and_the_sums_add_up(
    lines: list[Line], orders: list[Order], terms: Terms
) -> None:
    billed, known = {one.number: one for one in lines}, {one.number: one for one in orders}
    numbers = sorted(billed.keys() | known.keys())
    items = [compare_bill(billed.get(one), known.get(one), terms) for one in numbers]
    assert [item.subject for item in items] == numbers
    assert sum(item.billed or 0 for item in items) == sum(one.amount_fen for one in lines)
    assert sum(item.ordered or 0 for item in items) == sum(one.amount_fen for one in orders)
    tallies = tallies_of(items)
    assert sum(one.count for one in tallies) == len(items)
    assert sum(one.amount for one in tallies) == sum(item.amount for item in items)
    assert tallies_in(written(tallies)) == tallies
    assert digest_of(items, (), "asked") == digest_of(list(reversed(items)), (), "asked")
    assert all(
        item.billed == item.ordered
        for item in items
        if item.finding is F.EQUAL and item.billed and item.ordered
    )


@settings(deadline=None)
@given(one=ORDERS, effects=EFFECTS, booked=BOOKED, terms=TERMS)
def test_a_delivered_order_is_equal_only_when_exactly_its_amount_arrived_once(
    one: Order, effects: list[Effect], booked: Booked | None, terms: Terms
) -> None:
    item = compare_device(one, effects, booked, terms)
    done = [effect for effect in effects if effect.state is EffectState.DONE]
    if item.finding is F.EQUAL and one.state is OrderState.DELIVERED:
        assert item.credited == one.amount_fen
        assert len(done) <= 1
    if item.finding is F.EQUAL and one.state is not OrderState.DELIVERED:
        assert not done
    if len(done) > 1:
        assert item.finding is F.DOUBLE_EFFECT


@settings(deadline=None)
@given(
    begin=st.integers(5, 9),
    bought=st.integers(0, 5),
    effects=st.lists(st.builds(effect, FEN, st.integers(1, 16)), max_size=8),
)
def test_a_meters_day_is_equal_only_when_each_count_is_one_credit(
    begin: int, bought: int, effects: list[Effect]
) -> None:
    before, after = Shown(time_ms=0, count=begin), Shown(time_ms=80_000, count=begin + bought)
    item = compare_purchases("m-1", before, after, effects, DAY)
    counted = range(begin + 1, begin + bought + 1)
    claims = Counter(one.count for one in effects if one.count and one.count > begin)
    is_equal = claims == Counter(counted)
    assert is_equal == (item is None or item.finding is F.EQUAL)


def meter() -> tuple[Meter, Ledger]:
    """A simulated meter whose own use buys nothing, and its memory."""
    ledger = Ledger()
    birth = Birth(
        seed=3,
        zone_ms=0,
        begin_ms=EPOCH_MS,
        diary=Diary(device="m-1", ledger=ledger),
        points=("credit_money", "purchase_count", "energy_import", "current_l1"),
    )
    return Meter(birth), ledger


def shown(machine: Meter, time_ms: int) -> Shown:
    said = machine.show(EPOCH_MS + time_ms)
    return Shown(
        time_ms=time_ms,
        count=int(said["purchase_count"]),
        money_fen=int(said["credit_money"]),
        energy_wh=int(said["energy_import"]),
    )


@pytest.mark.parametrize(
    ("ordered", "applied", "finding"),
    [
        ([500], [500], F.EQUAL),
        ([20_000, 300], [20_000, 300], F.EQUAL),
        ([20_000], [40_000], F.DOUBLE_EFFECT),
        ([20_000], [20_000, 20_000], F.DOUBLE_EFFECT),
        ([20_000], [90_000], F.AMOUNT_DIFFERS),
        ([20_000], [10], F.AMOUNT_DIFFERS),
        ([], [20_000], F.EFFECT_WITHOUT_PAYMENT),
        ([20_000], [], F.PAID_WITHOUT_EFFECT),
    ],
)
def test_a_meters_balance_shows_what_it_really_took(
    ordered: list[int], applied: list[int], finding: Finding
) -> None:
    machine, ledger = meter()
    before = shown(machine, 0)
    for fen in applied:
        count = int(machine.show(EPOCH_MS + 1_000)["purchase_count"]) + 1
        assert machine.credit(EPOCH_MS + 1_000, fen, count)
    after = shown(machine, 600_000)
    known = [effect(fen, before.count + place) for place, fen in enumerate(ordered, start=1)]
    item = compare_purchases("m-1", before, after, known, DAY)
    assert item is not None
    assert item.finding is finding
    assert [entry.values["fen"] for entry in ledger.entries(deed=Deed.CREDITED)] == applied


RATES = Rates(low=54_830, high=54_830)


@settings(deadline=None)
@given(wh=st.integers(1_000, 500_000), free=st.integers(0, 5_000), start=st.integers(0, 10**7))
def test_what_was_charged_exactly_is_equal_and_twice_that_is_not(
    wh: int, free: int, start: int
) -> None:
    begin, end = Mark(time_ms=1, counter=start), Mark(time_ms=9, counter=start + wh + free)
    once = Charged(start_ms=1, fen=wh * 54_830 // 1_000_000, free=free)
    counted = Counted(metering="metering/b", mark=end, begin=begin, end=end, last=end)
    item = compare_energy(counted, [once], RATES)
    assert item is not None
    assert (item.finding, item.counted) == (F.EQUAL, wh + free)
    again = replace(once, start_ms=2)
    twice = compare_energy(counted, [once, again], RATES)
    assert twice is not None
    assert twice.finding is F.DOUBLE_EFFECT


@pytest.mark.parametrize(
    ("counted", "finding"),
    [
        ({"held": "counter fell from 9 to 1"}, F.UNKNOWN),
        ({"begin": None}, F.UNKNOWN),
        ({"end": Mark(time_ms=9, counter=9_000)}, F.EFFECT_WITHOUT_PAYMENT),
        ({"last": Mark(time_ms=20, counter=9_000)}, F.EFFECT_WITHOUT_PAYMENT),
        ({"end": Mark(time_ms=9, counter=1_100)}, F.PAID_WITHOUT_EFFECT),
        ({"end": Mark(time_ms=9, counter=9_000), "released": 7_000}, F.EQUAL),
    ],
)
def test_a_counter_and_the_books_that_disagree_are_named(
    counted: dict[str, Any], finding: Finding
) -> None:
    begin, end = Mark(time_ms=1, counter=1_000), Mark(time_ms=9, counter=2_000)
    side = Counted(metering="metering/b", mark=end, begin=begin, end=end, last=end)
    item = compare_energy(replace(side, **counted), [Charged(start_ms=1, fen=54, free=0)], RATES)
    assert item is not None
    assert item.finding is finding

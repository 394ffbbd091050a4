"""The nightly run: which days, which bills, and what is left when it is broken off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from hub import ConfigError, Site, VirtualClock
from hub.campus.policies import read_policies
from hub.campus.reconcile import runs
from hub.campus.reconcile.bills import source_of
from hub.campus.reconcile.results import Finding, Level, Result
from hub.campus.reconcile.rules import read_reconciliation
from hub.ledger import tables
from simulators.platform import Mistakes
from tests.order_site import PLATFORMS, order_desk
from tests.test_reconcile_bill import DAY, LINKS, NIGHT_MS, NOON_MS, PAY, Office, said

F = Finding
DAY_MS = 86_400_000


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with order_desk(tmp_path, VirtualClock(start_ms=NOON_MS), links=LINKS) as desk:
        yield Office(desk=desk)


async def results(office: Office, platform: str = PAY) -> list[Result]:
    asked = runs.Asked(platform=platform)
    return await office.desk.ledger.read(lambda one: runs.find(one, asked))


async def test_the_night_compares_yesterday_and_the_meters(office: Office) -> None:
    await office.delivered()
    office.at(NIGHT_MS)
    assert await office.reconciler.night()
    assert [one.day for one in await results(office)] == ["2026-11-22"]
    assert "2026-11-22" in {one.day for one in await results(office, "")}


async def test_the_run_comes_at_its_hour_by_the_sites_clock(office: Office) -> None:
    await office.delivered()
    half_past_three_ms = NIGHT_MS - 1_800_000
    office.at(half_past_three_ms - 60_000)
    running = asyncio.create_task(office.reconciler.run())
    async with asyncio.timeout(30):
        while not await results(office):
            await asyncio.sleep(0.01)
    running.cancel()
    (result,) = await results(office)
    assert half_past_three_ms <= result.time_ms < half_past_three_ms + 1_000


async def test_nights_that_were_missed_are_made_up_for_within_bounds(office: Office) -> None:
    await office.delivered()
    office.at(NIGHT_MS + 20 * DAY_MS)
    await office.reconciler.night()
    days = [one.day for one in await results(office)]
    assert days == [(DAY + timedelta(days=back)).isoformat() for back in range(20, 13, -1)]


async def test_a_day_with_an_open_difference_is_compared_again_until_it_ends(
    office: Office,
) -> None:
    payment = await office.delivered()
    office.desk.platform.mistakes = Mistakes(missing=frozenset({payment.number}))
    office.at(NIGHT_MS)
    await office.reconciler.night()
    office.at(NIGHT_MS + 9 * DAY_MS)
    office.desk.platform.mistakes = Mistakes()
    await office.reconciler.night()
    assert await office.found() == []
    first = next(one for one in await results(office) if one.day == "2026-11-22")
    assert (first.number, said(first)[Level.BILL, F.EQUAL]) == (2, (1, 5000))


async def test_a_night_that_is_repeated_changes_nothing(office: Office) -> None:
    await office.delivered()
    office.desk.platform.pay("B1", "101", 700)
    office.at(NIGHT_MS)
    await office.reconciler.night()
    rows = await office.rows()
    await office.reconciler.night()
    assert await office.rows() == rows


async def test_a_bill_that_cannot_be_had_is_an_alarm_and_is_asked_for_again(
    office: Office,
) -> None:
    await office.delivered()
    office.desk.platform.secret = b"another secret of a platform now"
    office.at(NIGHT_MS)
    assert not await office.reconciler.night()
    alarms = {one.subject: one.reason for one in office.desk.campus.alarms.now()}
    assert "its bill of 2026-11-22: status 401" in alarms["reconciliation/campus-pay"]
    (result,) = await results(office)
    assert said(result) == {(Level.DEVICE, F.EQUAL): (1, 5000)}


async def test_a_bill_by_hand_is_taken_whole_and_asked_for_no_more(office: Office) -> None:
    payment = await office.delivered()
    text = office.desk.platform.bill()
    office.at(NIGHT_MS)
    found = await office.reconciler.reconcile(DAY, platform=PAY, bill=text, actor="key/ann")
    assert (found[0].bill, said(found[0])[Level.BILL, F.EQUAL]) == ("file", (1, 5000))
    await office.reconciler.night()
    assert office.desk.platform.asked_days == []
    audit = await office.desk.audit("bill/campus-pay/2026-11-22")
    assert [(row.actor, row.action) for row in audit] == [("key/ann", "taken")]
    assert payment.number in text


async def test_a_platform_that_nobody_asks_is_an_alarm_until_its_bill_is_given(
    office: Office,
) -> None:
    by_hand = {**PLATFORMS["campus-pay"]}
    del by_hand["bill_url"]
    site = replace(office.desk.site, policies={"platforms": {"campus-pay": by_hand}})
    office.desk.campus.configure(read_policies(site))
    await office.delivered()
    office.at(NIGHT_MS)
    await office.reconciler.night()
    alarms = {one.subject: one.reason for one in office.desk.campus.alarms.now()}
    hint = "dormhub reconcile run 2026-11-22 --platform campus-pay --bill FILE"
    assert alarms["reconciliation/campus-pay"].endswith(hint)
    await office.reconciler.reconcile(DAY, platform=PAY, bill=office.desk.platform.bill())
    assert "reconciliation/campus-pay" not in {
        one.subject for one in office.desk.campus.alarms.now()
    }


async def test_a_refund_on_a_later_bill_mends_the_day_on_which_it_was_paid(
    office: Office,
) -> None:
    payment = await office.delivered()
    office.at(NIGHT_MS)
    await office.reconciler.reconcile(DAY, platform=PAY, bill=office.desk.platform.bill())
    office.at(NIGHT_MS + DAY_MS)
    text = f"number,amount_fen,state,paid_ms\n{payment.number},5000,refunded,{payment.paid_ms}\n"
    next_day = DAY + timedelta(days=1)
    found = await office.reconciler.reconcile(next_day, platform=PAY, bill=text)
    assert [(one.day, one.platform) for one in found] == [
        ("2026-11-22", PAY),
        ("2026-11-23", PAY),
        ("2026-11-23", ""),
    ]
    assert said(found[0])[Level.BILL, F.EFFECT_WITHOUT_PAYMENT] == (1, 5000)


@pytest.mark.parametrize("steps", [3, 7, 12, 20])
async def test_a_run_that_is_broken_off_anywhere_is_made_whole_by_the_next(
    office: Office, steps: int
) -> None:
    for _ in range(3):
        office.desk.platform.pay("B1", "101", 700)
    await office.delivered()
    office.at(NIGHT_MS)
    broken = asyncio.create_task(office.reconciler.reconcile(DAY))
    for _ in range(steps):
        await asyncio.sleep(0.002)
    broken.cancel()
    with suppress(asyncio.CancelledError):
        await broken
    result = await office.compare()
    assert said(result)[Level.BILL, F.PAID_WITHOUT_EFFECT] == (3, 2100)
    assert len(await office.found(is_open=None)) == 3
    rows = await office.rows()
    await office.compare()
    assert await office.rows() == rows


async def test_a_bill_of_which_only_the_beginning_was_kept_is_no_bill(office: Office) -> None:
    payment = await office.delivered()
    row = {
        "platform": PAY,
        "number": payment.number,
        "day": "2026-11-22",
        "amount_fen": 1,
        "state": "paid",
        "paid_ms": payment.paid_ms,
    }
    await office.desk.ledger.run(lambda one: one.execute(tables.bill_lines.insert(), row) and None)
    assert await office.desk.ledger.read(lambda one: source_of(one, PAY, "2026-11-22")) == ""
    office.at(NIGHT_MS)
    assert said(await office.compare())[Level.BILL, F.EQUAL] == (1, 5000)
    query = select(tables.bill_lines.c.amount_fen)
    assert await office.desk.ledger.read(lambda one: one.scalars(query).all()) == [5000]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"at": "25:00"}, "at"),
        ({"at": "03:30:00"}, "at"),
        ({"refund_days": 0}, "refund_days"),
        ({"catch_up_days": 32}, "catch_up_days"),
        ({"owners": {"equal": "ann"}}, "owners.equal"),
        ({"owners": {"unknown": ""}}, "owners.unknown"),
        ({"when": "now"}, "when"),
    ],
)
def test_a_wrong_rule_is_named_with_its_place(
    tmp_path: Path, office: Office, table: dict[str, object], said: str
) -> None:
    site: Site = replace(office.desk.site, policies={"reconciliation": table})
    with pytest.raises(ConfigError) as caught:
        read_reconciliation(site)
    assert caught.value.key == f"reconciliation.{said}"


async def test_owners_are_by_class_where_the_site_says_so(office: Office) -> None:
    owners = {"default": "desk", "paid_without_effect": "bo"}
    policies = {"platforms": PLATFORMS, "reconciliation": {"owners": owners}}
    office.desk.campus.configure(read_policies(replace(office.desk.site, policies=policies)))
    payment = await office.delivered()
    office.desk.platform.pay("B1", "101", 700)
    office.desk.platform.mistakes = Mistakes(missing=frozenset({payment.number}))
    office.at(NIGHT_MS)
    await office.compare()
    found = {one.item.finding: one.owner for one in await office.found()}
    assert found == {F.PAID_WITHOUT_EFFECT: "bo", F.EFFECT_WITHOUT_PAYMENT: "desk"}

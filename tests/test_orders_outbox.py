"""What platforms are told, and what their lists tell the hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from hub import VirtualClock
from hub.campus.accounts.accounts import Room
from hub.campus.orders.asking import ListError
from hub.campus.orders.outbox import SCHEDULE_S, Outbox
from hub.campus.orders.platform_list import PlatformList
from simulators.platform import Payment
from tests.order_site import OrderDesk, order_desk

NOW_MS = 1_800_000_000_000
NAME = "campus-pay"
ROOM = Room(building="B1", room="101")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start_ms=NOW_MS)


@pytest.fixture
async def desk(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[OrderDesk]:
    async with order_desk(tmp_path, clock) as made:
        yield made


async def paid(desk: OrderDesk) -> Payment:
    payment = desk.platform.pay("B1", "101", 5000)
    await desk.intake.standard(*desk.platform.notice(payment))
    return payment


async def elsewhere(desk: OrderDesk, answer: httpx2.Response | Exception) -> Outbox:
    """The same outbox, whose every call-back ends like this."""

    async def end(_: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(end))
    outbox = Outbox(ledger=desk.ledger, clock=desk.clock, http=http, alarms=desk.intake.alarms)
    outbox.configure(desk.intake.platforms)
    return outbox


async def test_every_state_is_told_once_in_its_order(desk: OrderDesk) -> None:
    payment = await paid(desk)
    await desk.change(payment.number, "delivering", "delivered")
    assert await desk.outbox.tell(NAME) == 3
    assert await desk.outbox.tell(NAME) == 0
    told = sorted(desk.platform.told, key=lambda one: one.sequence)
    assert [one.state for one in told] == ["accepted", "delivering", "delivered"]
    assert [one.sequence for one in told] == [1, 2, 3]
    assert desk.platform.badly_signed == 0


async def test_what_is_not_taken_is_told_again_by_the_published_schedule(
    desk: OrderDesk, clock: VirtualClock
) -> None:
    await paid(desk)
    desk.platform.answers.extend([500] * len(SCHEDULE_S))
    for pause_s in SCHEDULE_S:
        assert await desk.outbox.tell(NAME) == 1
        clock.advance(pause_s - 1)
        assert await desk.outbox.tell(NAME) == 0
        clock.advance(1)
    assert desk.platform.told == []
    assert await desk.outbox.tell(NAME) == 1
    assert [one.state for one in desk.platform.told] == ["accepted"]
    assert sum(SCHEDULE_S) == 24 * 3600 + 4 * 60
    assert await desk.outbox.stuck() == []


async def test_after_the_last_try_it_is_a_persons_who_may_begin_anew(
    desk: OrderDesk, clock: VirtualClock
) -> None:
    payment = await paid(desk)
    desk.platform.answers.extend([500] * (len(SCHEDULE_S) + 1))
    for pause_s in (*SCHEDULE_S, 3600):
        await desk.outbox.tell(NAME)
        clock.advance(pause_s)
    assert await desk.outbox.tell(NAME) == 0
    (stuck,) = await desk.outbox.stuck()
    assert (stuck.number, stuck.error) == (payment.number, "status 500")
    assert [one.subject for one in desk.intake.alarms.now()] == [
        f"order/campus-pay/{payment.number}"
    ]
    assert await desk.outbox.again(stuck.id, "key/1")
    assert await desk.outbox.tell(NAME) == 1
    assert not await desk.outbox.again(stuck.id, "key/1")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx2.Response(200, content=b"SUCCESS"), "another answer than agreed"),
        (httpx2.Response(200, content=b"success" * 1000), "another answer than agreed"),
        (httpx2.Response(302, headers={"location": "http://127.0.0.1/x"}), "status 302"),
        (httpx2.Response(401), "status 401"),
        (httpx2.ConnectError("refused"), "ConnectError"),
        (TimeoutError(), "no answer in time"),
    ],
)
async def test_only_the_agreed_answer_counts(
    desk: OrderDesk, clock: VirtualClock, answer: httpx2.Response | Exception, error: str
) -> None:
    await paid(desk)
    outbox = await elsewhere(desk, answer)
    assert await outbox.tell(NAME) == 1
    assert outbox.counts == {"refused": 1}
    clock.advance(15)
    assert await desk.outbox.tell(NAME) == 1
    assert len(desk.platform.told) == 1


async def test_a_platform_that_wants_no_call_back_is_told_nothing_and_leaves_nothing(
    desk: OrderDesk,
) -> None:
    payment = desk.platform.pay("B1", "101", 100)
    await desk.intake.alipay("gateway", desk.gateway.form(payment))
    assert await desk.outbox.tell("gateway") == 1
    assert await desk.outbox.tell("gateway") == 0
    assert await desk.outbox.stuck() == []


async def test_the_outbox_tells_by_itself_while_it_runs(desk: OrderDesk) -> None:
    await paid(desk)
    running = asyncio.create_task(desk.outbox.run(), name="outbox")
    async with asyncio.timeout(20):
        while not desk.platform.told:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert [one.state for one in desk.platform.told] == ["accepted"]


async def test_a_store_that_refuses_ends_neither_outbox_nor_list(desk: OrderDesk) -> None:
    await paid(desk)
    await desk.ledger.close()
    runs = (desk.outbox.run, desk.lists.run)
    running = [asyncio.create_task(run(), name=run.__qualname__) for run in runs]
    async with asyncio.timeout(20):
        while not (desk.outbox.counts and desk.lists.counts):
            await asyncio.sleep(0)
    assert [task.done() for task in running] == [False, False]
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    assert desk.platform.told == []


async def test_a_notice_that_never_came_is_found_on_the_list(desk: OrderDesk) -> None:
    known = await paid(desk)
    lost = [desk.platform.pay("B1", "101", 100) for _ in range(120)]
    first, second = await desk.lists.ask(desk.agreed), await desk.lists.ask(desk.agreed)
    assert (first.listed, first.taken) == (121, 120)
    assert second.taken == 0
    assert await desk.balance(ROOM.held) == 5000 + 120 * 100
    rows = await desk.audit(f"order/campus-pay/{lost[0].number}")
    assert [row.cause for row in rows] == ["list"]
    assert [r.cause for r in await desk.audit(f"order/campus-pay/{known.number}")] == ["notice"]


async def test_a_refund_goes_round_from_call_back_to_list(desk: OrderDesk) -> None:
    payment = await paid(desk)
    await desk.change(payment.number, "delivering", "refund_due", reason="refused")
    await desk.outbox.tell(NAME)
    assert (await desk.lists.ask(desk.agreed)).refunded == 1
    order = await desk.order(payment.number)
    assert order is not None
    assert order.state == "refunded"
    assert await desk.balance(ROOM.held) == 0
    assert await desk.balance("platform/campus-pay") == 0
    assert (await desk.lists.ask(desk.agreed)).refunded == 0


async def test_what_the_platform_gave_back_before_anything_was_told_is_not_delivered(
    desk: OrderDesk,
) -> None:
    payment = await paid(desk)
    desk.platform.payments[payment.number] = replace(payment, state="refunded")
    assert (await desk.lists.ask(desk.agreed)).refunded == 1
    order = await desk.order(payment.number)
    assert order is not None
    assert order.state == "refunded"
    assert await desk.balance(ROOM.held) == 0
    assert await desk.balance("platform/campus-pay") == 0


async def test_a_refund_of_another_amount_on_the_list_is_a_conflict_and_refunds_nothing(
    desk: OrderDesk,
) -> None:
    payment = await paid(desk)
    other = replace(payment, state="refunded", amount_fen=payment.amount_fen + 1)
    desk.platform.payments[payment.number] = other
    assert (await desk.lists.ask(desk.agreed)).refunded == 0
    order = await desk.order(payment.number)
    assert order is not None
    assert order.state == "accepted"
    assert [row.action for row in await desk.audit(order.key)][-1] == "conflict"


async def test_money_given_back_for_what_was_delivered_is_an_alarm(desk: OrderDesk) -> None:
    payment = await paid(desk)
    await desk.change(payment.number, "delivering", "refund_due")
    await desk.outbox.tell(NAME)
    await desk.change(payment.number, "unknown", "delivered")
    await desk.lists.ask(desk.agreed)
    assert [one.subject for one in desk.intake.alarms.now()] == [
        f"order/campus-pay/{payment.number}"
    ]


async def test_one_bad_order_on_the_list_stops_no_other(desk: OrderDesk) -> None:
    desk.platform.pay("B1", "101", 10**15)
    desk.platform.pay("B9", "999", 100)
    good = desk.platform.pay("B1", "101", 300)
    assert (await desk.lists.ask(desk.agreed)).taken == 1
    assert await desk.order(good.number) is not None
    assert len(desk.intake.alarms.now()) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [(b'{"orders": [], "next": null}', "not as agreed"), (b" " * 2_000_000, "a page is too large")],
)
async def test_a_list_that_is_not_signed_is_not_believed(
    desk: OrderDesk, content: bytes, said: str
) -> None:
    async def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=content)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    lists = PlatformList(ledger=desk.ledger, clock=desk.clock, intake=desk.intake, http=http)
    with pytest.raises(ListError, match=said):
        await lists.ask(desk.agreed)


def test_the_bill_has_every_payment(clock: VirtualClock, desk: OrderDesk) -> None:
    desk.platform.pay("B1", "101", 5000)
    text = f"number,amount_fen,state,paid_ms\nT00000001,5000,paid,{NOW_MS}\n"
    assert desk.platform.bill() == text

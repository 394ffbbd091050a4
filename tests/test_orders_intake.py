"""Orders as platforms send them: taken once, or refused without effect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx2
import pytest

from hub import SystemClock, VirtualClock
from hub.auth import Role
from hub.campus.accounts.accounts import Room
from hub.campus.policies import read_policies
from simulators.platform import PaymentPlatform
from tests.order_site import OrderDesk, order_desk

NOW_MS = 1_800_000_000_000
ROOM = Room(building="B1", room="101")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start_ms=NOW_MS)


@pytest.fixture
async def desk(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[OrderDesk]:
    async with order_desk(tmp_path, clock) as made:
        yield made


async def send(desk: OrderDesk, headers: Mapping[str, str], body: bytes) -> httpx2.Response:
    async with desk.api.client("nobody") as client:
        return await client.post("/v1/orders", headers=headers, content=body)


async def send_form(desk: OrderDesk, body: bytes, platform: str = "gateway") -> httpx2.Response:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    async with desk.api.client("nobody") as client:
        url = f"/v1/orders/alipay/{platform}"
        return await client.post(url, headers=headers, content=body)


async def said(desk: OrderDesk, **changed: object) -> httpx2.Response:
    """A well signed notice with other content."""
    payment = desk.platform.pay("B1", "101", 5000)
    content = json.loads(desk.platform.notice(payment)[1]) | changed
    body = json.dumps(content).encode()
    return await send(desk, desk.platform.seal("msg_x", body), body)


async def test_a_signed_order_is_taken_and_its_money_held(desk: OrderDesk) -> None:
    payment = desk.platform.pay("B1", "101", 5000)
    answer = await send(desk, *desk.platform.notice(payment))
    order = await desk.order(payment.number)
    assert answer.status_code == 200
    assert order is not None
    assert (order.state, order.device, order.amount_fen) == ("accepted", "meter-1", 5000)
    assert order.deadline_ms == NOW_MS + 86_400_000
    assert answer.json() == {
        "id": order.id,
        "platform": "campus-pay",
        "number": payment.number,
        "amount_fen": 5000,
        "received_ms": NOW_MS,
    }
    assert await desk.balance(ROOM.held) == 5000
    assert await desk.balance("platform/campus-pay") == -5000
    assert [row.action for row in await desk.audit(order.key)] == ["accepted"]


async def test_the_same_notice_gets_the_first_answer_for_ever(
    desk: OrderDesk, clock: VirtualClock
) -> None:
    payment = desk.platform.pay("B1", "101", 5000)
    first = await send(desk, *desk.platform.notice(payment))
    await desk.change(payment.number, *("delivering", "refund_due"))
    clock.advance(400 * 86_400)
    later = await send(desk, *desk.platform.notice(payment))
    assert later.status_code == 200
    assert later.content == first.content
    assert await desk.balance(ROOM.held) == 5000


async def test_the_first_answer_stands_when_the_room_has_no_meter_any_more(
    desk: OrderDesk,
) -> None:
    payment = desk.platform.pay("B1", "101", 5000)
    first = await send(desk, *desk.platform.notice(payment))
    desk.campus.configure(read_policies(desk.site_without_meters()))
    assert (await send(desk, *desk.platform.notice(payment))).content == first.content


async def test_other_content_under_the_same_number_is_refused_with_an_alarm(
    desk: OrderDesk,
) -> None:
    payment = desk.platform.pay("B1", "101", 5000)
    await send(desk, *desk.platform.notice(payment))
    answer = await said(desk, number=payment.number, amount_fen=5001)
    assert answer.status_code == 409
    assert await desk.balance(ROOM.held) == 5000
    key = f"order/campus-pay/{payment.number}"
    assert [row.action for row in await desk.audit(key)] == ["accepted", "conflict"]
    async with desk.api.client() as client:
        alarms = (await client.get("/v1/alarms")).json()["alarms"]
    assert key in [alarm["subject"] for alarm in alarms]


async def test_an_unknown_room_leaves_no_row(desk: OrderDesk) -> None:
    answer = await said(desk, room="999")
    assert answer.status_code == 404
    assert await desk.number_of_orders() == 0


async def test_an_order_for_another_receiver_is_refused_with_an_alarm(desk: OrderDesk) -> None:
    answer = await said(desk, number="T9", receiver="somebody-else")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.receiver"
    assert [row.action for row in await desk.audit("order/campus-pay/T9")] == ["refused"]
    assert await desk.number_of_orders() == 0


@pytest.mark.parametrize(
    "amount", [0, -1, 1.5, float("nan"), float("inf"), "100", True, None, [], 10**15, 10**30]
)
async def test_what_is_no_amount_is_refused_by_name(desk: OrderDesk, amount: object) -> None:
    answer = await said(desk, amount_fen=amount)
    assert answer.status_code == 422
    assert await desk.number_of_orders() == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"number": "x y"}']
)
async def test_what_is_no_order_is_refused_though_signed(desk: OrderDesk, body: bytes) -> None:
    answer = await send(desk, desk.platform.seal("msg_x", body), body)
    assert answer.status_code == 422


async def test_every_notice_that_is_nobodys_word_gets_the_same_answer_and_has_no_effect(
    desk: OrderDesk, clock: VirtualClock
) -> None:
    payment = desk.platform.pay("B1", "101", 5000)
    headers, body = desk.platform.notice(payment)
    stranger = PaymentPlatform(clock=clock, secret=b"x" * 32)
    old_s, early_s = NOW_MS // 1000 - 301, NOW_MS // 1000 + 301
    tried = [
        ({}, body),
        (headers, body + b" "),
        (headers, body.replace(b"5000", b"9000")),
        (headers | {"webhook-id": "other"}, body),
        (headers | {"webhook-timestamp": str(NOW_MS // 1000 + 1)}, body),
        (headers | {"webhook-timestamp": "now"}, body),
        (headers | {"webhook-signature": "v1,"}, body),
        (headers | {"webhook-signature": "v1,é"}, body),
        (headers | {"webhook-signature": headers["webhook-signature"][3:]}, body),
        (stranger.seal("msg_s", body), body),
        (desk.platform.seal("msg_old", body, time_s=old_s), body),
        (desk.platform.seal("msg_early", body, time_s=early_s), body),
    ]
    answers = [
        await send(desk, {k: v.encode() for k, v in sent.items()}, content)  # type: ignore[misc]
        for sent, content in tried
    ]
    forms = [
        await send_form(desk, b""),
        await send_form(desk, body),
        await send_form(desk, desk.gateway.form(payment), platform="nobody"),
        await send_form(desk, desk.gateway.form(payment).replace(b"50.00", b"90.00")),
        await send_form(desk, desk.gateway.form(payment, notify_time="2020-01-01 00:00:00")),
        await send_form(desk, desk.gateway.form(payment, notify_time="soon")),
        await send_form(desk, desk.gateway.form(payment) + b"&body=x&body=y"),
    ]
    assert await desk.number_of_orders() == 0
    first = await send(desk, headers, body)
    replayed = await send(desk, headers, body)
    all_refused = [*answers, *forms, replayed]
    assert first.status_code == 200
    assert {answer.status_code for answer in all_refused} == {401}
    assert len({answer.content for answer in all_refused}) == 1
    assert await desk.number_of_orders() == 1
    assert await desk.balance(ROOM.held) == 5000


async def test_while_the_ledger_refuses_nothing_is_answered_as_taken(desk: OrderDesk) -> None:
    message = desk.platform.notice(desk.platform.pay("B1", "101", 5000))
    await desk.ledger.close()
    answers = [await send(desk, *message), await send(desk, *message)]
    assert [answer.status_code for answer in answers] == [503, 503]


async def test_a_body_of_more_than_64_kib_is_not_taken(desk: OrderDesk) -> None:
    body = b" " * 70_000
    assert (await send(desk, desk.platform.seal("msg_x", body), body)).status_code == 413


async def test_while_the_clock_is_behind_nothing_is_taken_and_an_alarm_says_so(
    desk: OrderDesk, clock: VirtualClock
) -> None:
    await send(desk, *desk.platform.notice(desk.platform.pay("B1", "101", 5000)))
    clock.advance(-3600)
    answer = await send(desk, *desk.platform.notice(desk.platform.pay("B1", "101", 700)))
    told = [alarm.subject for alarm in desk.intake.alarms.now()]
    clock.advance(3600)
    again = await send(desk, *desk.platform.notice(desk.platform.pay("B1", "101", 800)))
    assert (answer.status_code, again.status_code) == (401, 200)
    assert told == ["clock"]
    assert desk.intake.alarms.now() == []
    assert await desk.balance(ROOM.held) == 5800


async def test_repeats_at_the_same_time_and_in_any_order_are_taken_once_each(
    tmp_path: Path,
) -> None:
    async with order_desk(tmp_path, SystemClock(seed=3)) as desk:
        payments = [desk.platform.pay("B1", "101", 100 + place) for place in range(60)]

        async def tell(headers: Mapping[str, str], body: bytes) -> int:
            return (await send(desk, headers, body)).status_code

        await desk.platform.notify(tell, payments)
        assert await desk.number_of_orders() == 60
        assert await desk.balance(ROOM.held) == sum(one.amount_fen for one in payments)
        assert {code for one in desk.platform.statuses.values() for code in one} == {200}


async def test_an_alipay_form_is_answered_with_its_one_word(desk: OrderDesk) -> None:
    payment = desk.platform.pay("B1", "101", 1999)
    form = desk.gateway.form(payment)
    answers = [await send_form(desk, form), await send_form(desk, form)]
    finished = await send_form(desk, desk.gateway.form(payment, trade_status="TRADE_FINISHED"))
    order = await desk.order(payment.number, "gateway")
    assert [answer.content for answer in (*answers, finished)] == [b"success"] * 3
    assert order is not None
    assert order.amount_fen == 1999
    assert await desk.balance(ROOM.held) == 1999


@pytest.mark.parametrize(
    ("yuan", "fen"), [("0.01", 1), ("1", 100), ("0.1", 10), ("19.99", 1999), ("999.9", 99990)]
)
async def test_yuan_become_fen_exactly(desk: OrderDesk, yuan: str, fen: int) -> None:
    payment = desk.platform.pay("B1", "101", 1)
    await send_form(desk, desk.gateway.form(payment, total_amount=yuan))
    assert await desk.balance(ROOM.held) == fen


@pytest.mark.parametrize(
    "yuan",
    ["0", "0.00", "-1", "1.005", "NaN", "1e2", "abc", " 1", "+1", "１", "10000000000000", ""],
)
async def test_what_is_no_sum_of_yuan_is_refused(desk: OrderDesk, yuan: str) -> None:
    payment = desk.platform.pay("B1", "101", 1)
    answer = await send_form(desk, desk.gateway.form(payment, total_amount=yuan))
    assert answer.status_code == 422
    assert b"success" not in answer.content
    assert await desk.number_of_orders() == 0


@pytest.mark.parametrize("field", ["app_id", "seller_id"])
async def test_a_form_for_another_receiver_is_refused_with_an_alarm(
    desk: OrderDesk, field: str
) -> None:
    payment = desk.platform.pay("B1", "101", 100)
    answer = await send_form(desk, desk.gateway.form(payment, **{field: "2088"}))
    assert answer.status_code == 422
    assert [r.action for r in await desk.audit(f"order/gateway/{payment.number}")] == ["refused"]


async def test_a_form_that_says_nothing_was_paid_is_heard_and_changes_nothing(
    desk: OrderDesk,
) -> None:
    payment = desk.platform.pay("B1", "101", 100)
    answer = await send_form(desk, desk.gateway.form(payment, trade_status="WAIT_BUYER_PAY"))
    assert answer.content == b"success"
    assert await desk.number_of_orders() == 0


async def test_an_order_is_shown_to_finance_by_its_number(desk: OrderDesk) -> None:
    payment = desk.platform.pay("B1", "101", 5000)
    await send(desk, *desk.platform.notice(payment))
    async with desk.api.client(Role.FINANCE) as client:
        shown = (await client.get(f"/v1/orders/campus-pay/{payment.number}")).json()
        missing = await client.get("/v1/orders/campus-pay/T404")
    assert (shown["state"], shown["amount_fen"]) == ("accepted", 5000)
    assert shown["account"] == ROOM.account
    assert missing.status_code == 404

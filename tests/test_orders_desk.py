"""Orders as people at a desk see them, and how a platform asks for its own."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from hub import VirtualClock
from hub.auth import Role
from hub.campus.orders import orders
from hub.campus.orders.inquiry import Chosen, find_orders
from hub.campus.orders.orders import Act, Notice, Order, OrderState
from hub.campus.orders.outbox import SCHEDULE_S
from hub.campus.policies import read_policies
from hub.ledger import open_ledger
from simulators.platform import Payment
from tests.cli_desk import dormhub
from tests.inline import Inline
from tests.order_site import PLATFORMS, OrderDesk, order_desk, write_secret
from tests.test_campus_delivery import ROOM
from tests.virtual_loop import run_virtual

NOW_MS = 1_800_000_000_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start_ms=NOW_MS)


@pytest.fixture
async def desk(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[OrderDesk]:
    async with order_desk(tmp_path, clock) as made:
        yield made


async def paid(desk: OrderDesk, building: str = "B1", amount_fen: int = 5000) -> Payment:
    payment = desk.platform.pay(building, "101", amount_fen)
    await desk.intake.standard(*desk.platform.notice(payment))
    return payment


async def unknown(desk: OrderDesk) -> Payment:
    payment = await paid(desk)
    await desk.change(payment.number, "delivering", "unknown", reason="silence")
    return payment


async def ask(desk: OrderDesk, path: str, who: str = Role.FINANCE) -> httpx2.Response:
    async with desk.api.client(who) as client:
        return await client.get(path)


async def do(
    desk: OrderDesk, path: str, body: Mapping[str, str] | None = None, who: str = Role.FINANCE
) -> httpx2.Response:
    async with desk.api.client(who) as client:
        return await client.post(path, json=body)


async def question(
    desk: OrderDesk, query: str, *, signed: str | None = None, id: str = "q1"
) -> httpx2.Response:
    """A platform asks, with a signature over this target, or over what it asks."""
    target = f"GET /v1/orders/query?{query if signed is None else signed}"
    headers = desk.platform.seal(id, target.encode())
    async with desk.api.client("nobody") as client:
        return await client.get(f"/v1/orders/query?{query}", headers=headers)


def numbers(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [order["number"] for order in answer.json()["orders"]]


async def test_orders_are_chosen_by_platform_room_state_and_time(
    desk: OrderDesk, clock: VirtualClock
) -> None:
    first = await paid(desk)
    clock.advance(60)
    second = await paid(desk, "B2")
    await desk.change(second.number, "delivering")
    later = f"since_ms={NOW_MS + 60_000}"
    assert numbers(await ask(desk, "/v1/orders")) == [second.number, first.number]
    assert numbers(await ask(desk, "/v1/orders?platform=gateway")) == []
    assert numbers(await ask(desk, "/v1/orders?building=B1&room=101")) == [first.number]
    assert numbers(await ask(desk, "/v1/orders?utility=hot_water")) == []
    assert numbers(await ask(desk, "/v1/orders?state=delivering")) == [second.number]
    assert numbers(await ask(desk, f"/v1/orders?{later}")) == [second.number]
    assert numbers(await ask(desk, later.replace("since", "/v1/orders?until"))) == [first.number]


async def test_a_key_of_one_building_sees_and_resolves_its_own_orders_only(
    desk: OrderDesk,
) -> None:
    mine, other = await paid(desk, "B2"), await unknown(desk)
    key = await desk.api.parts.keys.add(name="till", role=Role.FINANCE, actor="test", place="B2")
    desk.api.keys["till"] = key
    found = {"outcome": "done", "note": "its display"}
    path = f"/v1/orders/campus-pay/{other.number}"
    assert numbers(await ask(desk, "/v1/orders", "till")) == [mine.number]
    assert numbers(await ask(desk, "/v1/orders?building=B1", "till")) == []
    assert (await ask(desk, f"{path}/history", "till")).status_code == 404
    assert (await do(desk, f"{path}/resolve", found, "till")).status_code == 404
    assert (await ask(desk, "/v1/callbacks", "till")).status_code == 403


async def test_the_history_has_every_change_and_what_the_platform_was_told(
    desk: OrderDesk,
) -> None:
    payment = await unknown(desk)
    await desk.outbox.tell("campus-pay")
    answer = (await ask(desk, f"/v1/orders/campus-pay/{payment.number}/history")).json()
    states = ["accepted", "delivering", "unknown"]
    assert answer["order"]["state"] == "unknown"
    assert [row["action"] for row in answer["audit"]] == states
    assert [(word["event"], word["attempts"]) for word in answer["told"]] == [
        (state, 1) for state in states
    ]
    assert [word["done_ms"] for word in answer["told"]] == [NOW_MS] * 3


@pytest.mark.parametrize(
    ("outcome", "state", "in_meter"), [("done", "delivered", 5000), ("not_done", "refund_due", 0)]
)
async def test_a_person_says_what_became_of_an_unknown_order(
    desk: OrderDesk, outcome: str, state: str, in_meter: int
) -> None:
    payment = await unknown(desk)
    path = f"/v1/orders/campus-pay/{payment.number}/resolve"
    said = {"outcome": outcome, "note": "looked at the meter"}
    answer = await do(desk, path, said)
    assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert await desk.balance(ROOM.meter) == in_meter
    again = await do(desk, path, said)
    assert (again.status_code, again.json()["type"]) == (409, "urn:dormhub:problem:conflict")
    order = await desk.order(payment.number)
    assert order is not None
    last = (await desk.audit(order.key))[-1]
    assert (last.action, last.cause) == (state, "looked at the meter")
    assert last.actor.startswith("key/")


async def test_what_is_resolved_needs_a_note(desk: OrderDesk) -> None:
    payment = await unknown(desk)
    path = f"/v1/orders/campus-pay/{payment.number}/resolve"
    assert (await do(desk, path, {"outcome": "done", "note": ""})).status_code == 422


async def test_a_word_that_is_stuck_is_listed_and_told_again(
    desk: OrderDesk, clock: VirtualClock
) -> None:
    payment = await paid(desk)
    desk.platform.answers.extend([500] * (len(SCHEDULE_S) + 1))
    for pause_s in (*SCHEDULE_S, 0):
        await desk.outbox.tell("campus-pay")
        clock.advance(pause_s)
    (stuck,) = (await ask(desk, "/v1/callbacks")).json()["stuck"]
    assert (stuck["number"], stuck["error"]) == (payment.number, "status 500")
    assert (await do(desk, f"/v1/callbacks/{stuck['id']}/again")).status_code == 204
    assert (await do(desk, f"/v1/callbacks/{stuck['id']}/again")).status_code == 404
    await desk.outbox.tell("campus-pay")
    assert [one.state for one in desk.platform.told] == ["accepted"]
    actions = [row.action for row in await desk.audit(f"order/campus-pay/{payment.number}")]
    assert actions == ["accepted", "told again"]


async def test_a_platform_is_asked_now_for_what_never_came(desk: OrderDesk) -> None:
    payment = desk.platform.pay("B1", "101", 700)
    answer = await do(desk, "/v1/platforms/campus-pay/ask")
    assert answer.json() == {"listed": 1, "taken": 1, "refunded": 0}
    assert await desk.order(payment.number) is not None
    assert (await do(desk, "/v1/platforms/gateway/ask")).status_code == 404
    assert (await do(desk, "/v1/platforms/nobody/ask")).status_code == 404


async def test_a_platform_asks_how_its_order_stands(desk: OrderDesk) -> None:
    payment = await unknown(desk)
    order = await desk.order(payment.number)
    assert order is not None
    answer = await question(desk, f"number={payment.number}")
    assert answer.json() == {
        "id": order.id,
        "number": payment.number,
        "state": "unknown",
        "reason": "silence",
        "amount_fen": 5000,
        "sequence": 3,
        "received_ms": NOW_MS,
        "deadline_ms": NOW_MS + 86_400_000,
        "changed_ms": NOW_MS,
    }


async def test_a_platform_gets_no_word_of_another_ones_order(desk: OrderDesk) -> None:
    room, act = ROOM, Act(actor="platform/gateway", now_ms=NOW_MS)
    notice = Notice(platform="gateway", number="G1", room=room, amount_fen=100)
    await desk.intake.take(notice, cause=act.cause)
    other, none = await question(desk, "number=G1"), await question(desk, "number=X1", id="q2")
    assert (other.status_code, none.status_code) == (404, 404)
    assert other.content == none.content


async def test_a_platform_of_another_form_asks_with_the_secret_it_has(
    desk: OrderDesk, tmp_path: Path
) -> None:
    secret = bytes(range(1, 33))
    write_secret(tmp_path / "gateway.key", secret)
    gateway = {**PLATFORMS["gateway"], "secrets": ["gateway.key"]}
    site = replace(desk.site, policies={"platforms": {**PLATFORMS, "gateway": gateway}})
    desk.campus.configure(read_policies(site))
    await desk.intake.take(Notice(platform="gateway", number="G1", room=ROOM, amount_fen=100))
    target = "/v1/orders/query?number=G1"
    headers = replace(desk.platform, secret=secret).seal("q1", f"GET {target}".encode())
    async with desk.api.client("nobody") as client:
        answer = await client.get(target, headers=headers)
        notice = await client.post("/v1/orders", content=target, headers=headers)
    assert (answer.status_code, answer.json()["amount_fen"]) == (200, 100)
    assert notice.status_code == 401


async def test_a_question_that_is_not_signed_is_refused_to_the_byte_like_every_other(
    desk: OrderDesk, clock: VirtualClock
) -> None:
    payment = await paid(desk)
    number = f"number={payment.number}"
    first = await question(desk, number)
    replayed = await question(desk, number)
    changed = await question(desk, number, signed="number=T00000002", id="q2")
    target = f"GET /v1/orders/query?{number}".encode()
    old = desk.platform.seal("q3", target)
    wrong = replace(desk.platform, secret=bytes(32)).seal("q4", target)
    clock.advance(301)
    refused = [replayed, changed]
    async with desk.api.client("nobody") as client:
        refused += [
            await client.get(f"/v1/orders/query?{number}", headers=headers)
            for headers in (old, wrong, {})
        ]
    async with desk.api.client(Role.ADMIN) as client:
        refused.append(await client.get(f"/v1/orders/query?{number}"))
        refused.append(await client.post("/v1/orders", content=b"{}"))
    assert first.status_code == 200
    assert {answer.status_code for answer in refused} == {401}
    assert len({answer.content for answer in refused}) == 1


@pytest.mark.parametrize("query", ["", "number=T1&number=T2", "number=T1&x=1", "x=1"])
async def test_a_signed_question_that_names_no_one_order_is_invalid(
    desk: OrderDesk, query: str
) -> None:
    answer = await question(desk, query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "query.number"


async def test_a_platform_called_alipay_opens_no_door_for_people(desk: OrderDesk) -> None:
    async with desk.api.client("nobody") as client:
        answer = await client.post("/v1/orders/alipay/T1/resolve", json={})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization" in answer.json()["detail"]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    placed=st.lists(st.tuples(st.sampled_from(("B1", "B2")), st.booleans()), max_size=25),
    page=st.integers(1, 9),
)
def test_pages_have_every_order_once(
    tmp_path_factory: pytest.TempPathFactory, placed: list[tuple[str, bool]], page: int
) -> None:
    async def scenario() -> None:
        clock = VirtualClock(start_ms=NOW_MS)
        folder = tmp_path_factory.mktemp("pages")
        async with open_ledger(folder / "l.db", clock=clock, executor=Inline()) as ledger:
            for place, (building, moved) in enumerate(placed):
                notice = Notice(
                    platform="p",
                    number=f"N{place}",
                    room=replace(ROOM, building=building),
                    amount_fen=1 + place,
                )
                await ledger.run(_taken(notice, clock, moved=moved))
                clock.advance(1)
            for chosen, wanted in (
                (Chosen(), list(range(len(placed)))),
                (Chosen(building="B1"), [n for n, one in enumerate(placed) if one[0] == "B1"]),
                (
                    Chosen(building="B2", state=OrderState.DELIVERING),
                    [n for n, one in enumerate(placed) if one == ("B2", True)],
                ),
            ):
                seen: list[str] = []
                before, more = "", True
                while more:
                    found = await ledger.read(_page(chosen, before, page))
                    seen += [order.number for order in found]
                    more = len(found) == page
                    before = found[-1].id if found else before
                assert seen == [f"N{n}" for n in reversed(wanted)]

    run_virtual(scenario())


def _taken(
    notice: Notice, clock: VirtualClock, *, moved: bool
) -> Callable[[Connection], Order | None]:
    id, now_ms = clock.new_id(), clock.now_ms()
    act = Act(actor="t", now_ms=now_ms)

    def work(connection: Connection) -> Order | None:
        taken = orders.receive(connection, notice, act, id=id, device="m", deadline_ms=now_ms + 1)
        if not moved or taken.order is None:
            return taken.order
        return orders.advance(connection, taken.order, OrderState.DELIVERING, act)

    return work


def _page(chosen: Chosen, before: str, limit: int) -> Callable[[Connection], list[Order]]:
    return lambda connection: find_orders(connection, chosen, before=before, limit=limit)


async def test_the_command_line_lists_shows_resolves_and_exports(
    desk: OrderDesk, tmp_path: Path
) -> None:
    payment = await unknown(desk)
    name, folder, sheet = f"campus-pay/{payment.number}", tmp_path / "config", tmp_path / "o.csv"
    listed = await dormhub(desk.api, folder, "order", "list", "--state", "unknown")
    shown = await dormhub(desk.api, folder, "order", "show", name)
    done = await dormhub(
        desk.api, folder, "order", "resolve", name, "not-done", "--note", "no credit seen"
    )
    none = await dormhub(desk.api, folder, "order", "stuck", "--json")
    asked = await dormhub(desk.api, folder, "order", "ask", "campus-pay")
    written = await dormhub(
        desk.api, folder, "order", "export", str(sheet), "--since", "2026-11-01"
    )
    assert payment.number in listed.stdout
    assert "silence" in shown.stdout
    assert "delivering" in shown.stdout
    assert done.stdout.endswith(f"{name}: refund_due\n")
    assert (none.exit_code, none.stdout) == (0, "")
    assert asked.stdout.endswith("1 on its list, 0 new, 0 refunded\n")
    assert written.exit_code == 0, written.output
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        (row,) = list(csv.DictReader(file))
    assert (row["number"], row["amount_fen"], row["state"]) == (
        payment.number,
        "5000",
        "refund_due",
    )

"""A campus payment platform: collects money, tells the hub of it, and keeps its own ledger of both.

It signs and checks with code of its own, so that a mistake of the hub's cannot hide in both. Its notices come
more than once, at the same time and in any order, and some never; its list has them all. It takes call-backs,
and gives money back when it is told that a refund is due.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from urllib.parse import quote_plus

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fastapi import FastAPI, Request, Response

from hub.clock import Clock

PAGE = 50
_BEIJING = timezone(timedelta(hours=8))
_LINES_MAX = 64

Tell = Callable[
    [Mapping[str, str], bytes], Awaitable[int]
]  # headers and body; the status, 0 if none


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """What somebody paid for a room. `state` is paid or refunded."""

    number: str
    building: str
    room: str
    amount_fen: int
    paid_ms: int
    state: str = "paid"


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One call-back that was well signed: what the hub says became of an order."""

    id: str
    number: str
    state: str
    sequence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistakes:
    """What is wrong on a bill: lines missing or too much, other amounts, refunds that nobody knows of."""

    missing: frozenset[str] = frozenset()
    extra: tuple[Payment, ...] = ()
    amounts: Mapping[str, int] = field(default_factory=dict)
    refunded: frozenset[str] = frozenset()


@dataclass(kw_only=True, slots=True)
class PaymentPlatform:
    """The platform and its ledger: `payments` by number, `told` in the order of arrival.

    `answers` are the statuses of its next answers to call-backs; 200 when there is none.
    """

    clock: Clock
    secret: bytes
    receiver: str = "logistics"
    prefix: str = "T"
    page: int = PAGE  # lines of a page of its list and its bill
    payments: dict[str, Payment] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    answers: deque[int] = field(default_factory=deque)
    statuses: dict[str, Counter[int]] = field(default_factory=dict)  # of the hub's answers
    badly_signed: int = 0
    mistakes: Mistakes = field(default_factory=Mistakes)
    asked_days: list[str] = field(default_factory=list)  # whose bills the hub asked for
    _sent: int = 0

    def pay(self, building: str, room: str, amount_fen: int) -> Payment:
        """Somebody pays."""
        payment = Payment(
            number=f"{self.prefix}{len(self.payments) + 1:08}",
            building=building,
            room=room,
            amount_fen=amount_fen,
            paid_ms=self.clock.now_ms(),
        )
        self.payments[payment.number] = payment
        return payment

    def notice(self, payment: Payment) -> tuple[dict[str, str], bytes]:
        """A notice of this payment: headers and body, signed now."""
        body = json.dumps(self._order(payment), ensure_ascii=False).encode()
        self._sent += 1
        return self.seal(f"msg_{payment.number}_{self._sent}", body), body

    def seal(self, id: str, body: bytes, *, time_s: int | None = None) -> dict[str, str]:
        """The headers of a message of this platform."""
        time_s = self.clock.now_ms() // 1000 if time_s is None else time_s
        return {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(time_s),
            "webhook-signature": f"v1,{self._sign(id, str(time_s), body)}",
        }

    async def notify(self, tell: Tell, payments: Iterable[Payment], *, lose: float = 0.0) -> None:
        """Tell the hub of these: each up to three times, all mixed, 64 at a time, some never."""
        lines: list[Payment] = []
        for payment in payments:
            if self.clock.random() >= lose:
                lines += [payment] * (1 + int(self.clock.random() * 3))
        lines.sort(key=lambda _: self.clock.random())
        room = asyncio.Semaphore(_LINES_MAX)

        async def line(payment: Payment) -> None:
            async with room:
                headers, body = self.notice(payment)
                status = await tell(headers, body)
                self.statuses.setdefault(payment.number, Counter())[status] += 1

        async with asyncio.TaskGroup() as tasks:
            for place, payment in enumerate(lines):
                tasks.create_task(line(payment), name=f"notice {place}")

    def billed(self, since_ms: int, until_ms: int) -> list[Payment]:
        """What stands on its bill of these times, with the mistakes it is told to make."""
        wrong = self.mistakes
        found = {
            one.number: one
            for one in (*self.payments.values(), *wrong.extra)
            if since_ms <= one.paid_ms < until_ms and one.number not in wrong.missing
        }
        for number in wrong.amounts.keys() & found.keys():
            found[number] = replace(found[number], amount_fen=wrong.amounts[number])
        for number in wrong.refunded & found.keys():
            found[number] = replace(found[number], state="refunded")
        return sorted(found.values(), key=lambda one: one.number)

    def bill(self, since_ms: int = 0, until_ms: int = 2**53) -> str:
        """The same as the file that it publishes."""
        rows = [
            f"{one.number},{one.amount_fen},{one.state},{one.paid_ms}"
            for one in self.billed(since_ms, until_ms)
        ]
        return "\n".join(["number,amount_fen,state,paid_ms", *rows]) + "\n"

    def app(self) -> FastAPI:
        """The platform's own addresses: `/callbacks`, `/orders` and `/bill`."""
        app = FastAPI(openapi_url=None)
        app.add_api_route("/callbacks", self._take, methods=["POST"])
        app.add_api_route("/orders", self._list, methods=["GET"])
        app.add_api_route("/bill", self._bill, methods=["GET"])
        return app

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        if not self._is_signed(request.headers, body):
            self.badly_signed += 1
            return Response(status_code=401)
        status = self.answers.popleft() if self.answers else 200
        if status == 200:
            self._hear(json.loads(body))
        return Response("success" if status == 200 else "", status_code=status)

    async def _list(self, request: Request) -> Response:
        if not self._is_asked_well(request):
            return Response(status_code=401)
        since_ms = int(request.query_params["since_ms"])
        found = sorted(self.payments.values(), key=lambda one: one.number)
        since = [one for one in found if one.paid_ms >= since_ms]
        page, following = _page(since, request, self.page)
        orders = [{"order": self._order(one), "state": one.state} for one in page]
        return self._answer({"orders": orders, "next": following})

    async def _bill(self, request: Request) -> Response:
        if not self._is_asked_well(request):
            return Response(status_code=401)
        asked = request.query_params
        self.asked_days.append(asked["day"])
        found = self.billed(int(asked["since_ms"]), int(asked["until_ms"]))
        page, following = _page(found, request, self.page)
        lines = [
            {
                "number": one.number,
                "amount_fen": one.amount_fen,
                "state": one.state,
                "paid_ms": one.paid_ms,
            }
            for one in page
        ]
        return self._answer({"day": asked["day"], "lines": lines, "next": following})

    def _is_asked_well(self, request: Request) -> bool:
        target = f"GET {request.url.path}?{request.url.query}"
        good = self._is_signed(request.headers, target.encode())
        self.badly_signed += not good
        return good

    def _answer(self, content: object) -> Response:
        body = json.dumps(content, ensure_ascii=False).encode()
        self._sent += 1
        return Response(body, headers=self.seal(f"list_{self._sent}", body))

    def _hear(self, said: Mapping[str, str | int]) -> None:
        told = Told(
            id=str(said["id"]),
            number=str(said["number"]),
            state=str(said["state"]),
            sequence=int(said["sequence"]),
        )
        self.told.append(told)
        if told.state == "refund_due":
            payment = self.payments[told.number]
            self.payments[told.number] = replace(payment, state="refunded")

    def _order(self, payment: Payment) -> dict[str, str | int]:
        return {
            "number": payment.number,
            "building": payment.building,
            "room": payment.room,
            "utility": "electricity",
            "amount_fen": payment.amount_fen,
            "receiver": self.receiver,
            "paid_ms": payment.paid_ms,
        }

    def _sign(self, id: str, time: str, body: bytes) -> str:
        made = hmac.new(self.secret, b".".join([id.encode(), time.encode(), body]), hashlib.sha256)
        return base64.b64encode(made.digest()).decode()

    def _is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        id, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        fresh = abs(int(time) - self.clock.now_ms() / 1000) <= 300
        right = f"v1,{self._sign(id, time, body)}"
        return fresh and right in headers.get("webhook-signature", "").split()


def _page(found: list[Payment], request: Request, size: int) -> tuple[list[Payment], str | None]:
    """Those after the one that the hub has seen last, and where the next page begins."""
    after = request.query_params.get("after", "")
    left = [one for one in found if one.number > after]
    return left[:size], left[size - 1].number if len(left) > size else None


@dataclass(frozen=True, kw_only=True, slots=True)
class AlipayGateway:
    """The same in Alipay's manners: a form, signed with RSA."""

    clock: Clock
    key: rsa.RSAPrivateKey = field(repr=False)
    app_id: str = "2017060101317939"
    seller_id: str = "2088111111116894"

    def form(self, payment: Payment, **changed: str) -> bytes:
        """A notice of this payment, signed now; `changed` are other values for its parameters."""
        local = datetime.fromtimestamp(self.clock.now_ms() / 1000, _BEIJING)
        room = f"building={quote_plus(payment.building)}&room={quote_plus(payment.room)}"
        parameters = {
            "notify_time": local.strftime("%Y-%m-%d %H:%M:%S"),
            "notify_id": f"n{payment.number}",
            "app_id": self.app_id,
            "seller_id": self.seller_id,
            "out_trade_no": payment.number,
            "trade_status": "TRADE_SUCCESS",
            "total_amount": f"{payment.amount_fen // 100}.{payment.amount_fen % 100:02}",
            "passback_params": room,
            "subject": "电费",
            "body": "",
        } | changed
        names = sorted(name for name, value in parameters.items() if value)
        text = "&".join(f"{name}={parameters[name]}" for name in names)
        made = self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        parameters |= {"sign_type": "RSA2", "sign": base64.b64encode(made).decode()}
        return "&".join(f"{n}={quote_plus(v)}" for n, v in parameters.items()).encode()

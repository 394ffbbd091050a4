"""A hub that takes orders, and the simulated platforms that send them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import func, select

from hub import Link, Site
from hub.api import make_app
from hub.audit import AuditRow, rows
from hub.campus.accounts import books
from hub.campus.orders import orders
from hub.campus.orders.intake import Intake
from hub.campus.orders.orders import Order
from hub.campus.orders.outbox import Outbox
from hub.campus.orders.platform_list import PlatformList
from hub.campus.orders.platforms import Platform
from hub.campus.policies import read_policies
from hub.campus.service import Campus
from hub.clock import Clock
from hub.ledger import Ledger, tables
from simulators.platform import AlipayGateway, PaymentPlatform
from tests.api_site import LINKS, ApiSite, api_site

SECRET = bytes(range(32))
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PLATFORMS = {
    "campus-pay": {
        "secrets": ["campus-pay.key"],
        "receiver": "logistics",
        "callback_url": "http://127.0.0.1/callbacks",
        "callback_answer": "success",
        "list_url": "http://127.0.0.1/orders",
        "bill_url": "http://127.0.0.1/bill",
    },
    "gateway": {
        "form": "alipay",
        "public_keys": ["gateway.pem"],
        "app_id": "2017060101317939",
        "seller_id": "2088111111116894",
    },
}


def write_secret(path: Path, secret: bytes = SECRET, mode: int = 0o600) -> None:
    path.write_text("whsec_" + base64.b64encode(secret).decode() + "\n")
    path.chmod(mode)


def order_site_of(folder: Path, links: Sequence[Link] = LINKS) -> Site:
    """A site whose platforms have their keys in `folder`."""
    write_secret(folder / "campus-pay.key")
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "gateway.pem").write_bytes(pem)
    return Site(
        name="test",
        timezone=ZoneInfo("Asia/Shanghai"),
        links=tuple(links),
        folder=folder,
        policies={"platforms": PLATFORMS},
    )


@dataclass(kw_only=True)
class OrderDesk:
    """The hub's side: intake, outbox and list over one ledger, and the API before them."""

    api: ApiSite
    campus: Campus
    clock: Clock
    platform: PaymentPlatform
    gateway: AlipayGateway
    site: Site

    @property
    def intake(self) -> Intake:
        return self.campus.intake

    @property
    def outbox(self) -> Outbox:
        return self.campus.outbox

    @property
    def lists(self) -> PlatformList:
        return self.campus.lists

    @property
    def ledger(self) -> Ledger:
        return self.api.parts.ledger

    @property
    def agreed(self) -> Platform:
        return self.intake.platforms["campus-pay"]

    def site_without_meters(self) -> Site:
        return replace(self.site, links=())

    async def order(self, number: str, platform: str = "campus-pay") -> Order | None:
        return await self.ledger.read(lambda connection: orders.find(connection, platform, number))

    async def audit(self, subject: str) -> list[AuditRow]:
        return await self.ledger.read(lambda connection: rows(connection, subject=subject))

    async def balance(self, account: str) -> int:
        return await self.ledger.read(lambda connection: books.balance(connection, account))

    async def number_of_orders(self) -> int:
        query = select(func.count()).select_from(tables.orders)
        return await self.ledger.read(lambda connection: connection.scalar(query) or 0)

    async def change(self, number: str, *states: str, reason: str = "") -> None:
        """Take an order through these states."""
        for state in states:
            order = await self.order(number)
            assert order is not None
            act = orders.Act(actor="test", now_ms=self.clock.now_ms())
            await self.ledger.run(_advance(order, orders.OrderState(state), act, reason))


def _advance(
    order: Order, state: orders.OrderState, act: orders.Act, reason: str
) -> Callable[..., Order]:
    return lambda connection: orders.advance(connection, order, state, act, reason=reason)


@asynccontextmanager
async def order_desk(
    folder: Path, clock: Clock, *, links: Sequence[Link] = LINKS
) -> AsyncIterator[OrderDesk]:
    """A desk whose platform is in this process: it is told, and asked, without a socket."""
    platform = PaymentPlatform(clock=clock, secret=SECRET)
    transport = httpx2.ASGITransport(app=platform.app())
    async with (
        api_site(folder, links=links) as api,
        httpx2.AsyncClient(transport=transport, trust_env=False) as http,
    ):
        site = order_site_of(folder, links)
        campus = Campus(
            ledger=api.parts.ledger,
            journal=api.parts.journal,
            clock=clock,
            commands=api.parts.commands,
            registry=api.parts.registry,
            refresh=api.parts.refresh,
            http=http,
        )
        campus.configure(read_policies(site))
        api.parts = replace(api.parts, campus=campus, clock=clock)
        api.app = make_app(api.parts)
        yield OrderDesk(
            api=api,
            campus=campus,
            clock=clock,
            platform=platform,
            gateway=AlipayGateway(clock=clock, key=KEY),
            site=site,
        )

"""What the API asks of the rest of the hub; it has no logic of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from hub.api.quota import Quota
from hub.api.traffic import Traffic
from hub.auth import Keys
from hub.broker import Broker
from hub.campus.service import Campus
from hub.clock import Clock
from hub.commands import Commands
from hub.inventory.keeper import Keeper
from hub.journal import Journal
from hub.ledger import Ledger
from hub.lending import Lending
from hub.presence import PresenceBoard
from hub.registry import Registry
from hub.safety import FireLatch
from hub.status import Status
from hub.taps import Taps


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiParts:
    """Everything the API shows and asks.

    `refresh(link, device)` has a device read as soon as its bus allows.
    """

    clock: Clock
    journal: Journal
    ledger: Ledger
    registry: Registry
    presence: PresenceBoard
    commands: Commands
    campus: Campus
    keys: Keys
    broker: Broker
    keeper: Keeper
    fire: FireLatch
    status: Callable[[], Status]
    lending: Lending
    taps: Taps
    refresh: Callable[[str, str], None]
    traffic: Traffic = field(default_factory=Traffic)
    quota: Quota = field(default_factory=Quota)

    @property
    def utc_offset_h(self) -> int:
        """By how many hours midnight of the site that runs now is ahead of UTC's."""
        return self.keeper.site.utc_offset_h(self.clock.now_ms())


async def _parts(request: Request) -> ApiParts:
    return cast(ApiParts, request.app.state.parts)


Parts = Annotated[ApiParts, Depends(_parts)]

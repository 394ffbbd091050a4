"""Alerts as one service of the campus: watched for, told, listed, opted out of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

import httpx2

from hub.campus.alarms import Alarms
from hub.campus.alerts import rows
from hub.campus.alerts.kinds import Alert, Kind, Subject
from hub.campus.alerts.post import Post
from hub.campus.alerts.rooms import Rooms
from hub.campus.alerts.rows import Chosen
from hub.campus.alerts.settings import AlertRules
from hub.campus.alerts.watch import Watch
from hub.campus.prepaid.rules import Rules
from hub.campus.prepaid.standing import Standings
from hub.clock import Clock
from hub.errors import StoreDamaged, StoreError
from hub.journal import Journal
from hub.ledger import Ledger
from hub.registry import Registry
from hub.site import Site

_TIDY_S = 86_400.0


class Alerts:
    """Made once; `configure`, then `run`. `watch` raises alerts, `post` sends them, `rooms` answers rooms."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        registry: Registry,
        standings: Standings,
        http: httpx2.AsyncClient,
        alarms: Alarms,
    ) -> None:
        self.watch = Watch(
            ledger=ledger, journal=journal, clock=clock, registry=registry, standings=standings
        )
        self.post = Post(ledger=ledger, clock=clock, http=http, alarms=alarms)
        self.rooms = Rooms(ledger=ledger, clock=clock, standings=standings, days=self.watch.days)
        self._ledger = ledger
        self._clock = clock

    def configure(self, site: Site, rules: Rules, alerts: AlertRules) -> None:
        """Go by this site and its rules from now on."""
        self.watch.configure(site, rules, alerts)
        self.rooms.configure(site, rules)
        self.post.configure(alerts.channels)

    async def run(self) -> None:
        """Watch and tell until cancelled. Raises StoreDamaged."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.watch.run(), name="alerts")
            tasks.create_task(self.post.run(), name="alert post")
            tasks.create_task(self._tidy(), name="alert tidy")

    async def list(self, chosen: Chosen) -> Sequence[Alert]:
        """Alerts, the newest first. Raises StoreError."""
        return await self._ledger.read(partial(rows.list_alerts, chosen=chosen))

    async def muted(self, building: str, room: str, side: str) -> Sequence[Kind]:
        """What this side (the room, the desk) opted out of. Raises StoreError."""
        return await self._ledger.read(
            lambda connection: rows.muted(connection, building, room, side)
        )

    async def mute(
        self, where: tuple[str, str, str], kinds: Iterable[Kind], actor: str
    ) -> Sequence[Kind]:
        """Opt `where` (building, room, side) out of exactly these kinds. Raises StoreError."""
        now_ms, wanted = self._clock.now_ms(), list(kinds)
        return await self._ledger.run(
            lambda connection: rows.mute(connection, where, wanted, actor=actor, now_ms=now_ms)
        )

    async def test(self, channel: str) -> str | None:
        """Say a test there now; why it was not taken, empty when it was; None without such a channel."""
        if channel not in self.post.names:
            return None
        now_ms = self._clock.now_ms()
        alert = Alert(
            id=self._clock.new_id(),
            kind=Kind.TEST,
            subject=Subject(id="test"),
            level=1,
            args={},
            raised_ms=now_ms,
            tell_ms=now_ms,
        )
        return await self.post.test(channel, alert)

    async def _tidy(self) -> None:
        while True:
            try:
                await self.post.forget()
            except StoreDamaged:
                raise
            except StoreError:  # it is done the next day
                self.post.counts["put off"] += 1
            await self._clock.sleep(_TIDY_S)

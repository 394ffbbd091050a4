"""Gathers what the hub says of itself from its parts, at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.clock import Clock
from hub.control import Control
from hub.follow import Follower
from hub.inventory.keeper import Keeper
from hub.journal import Journal
from hub.ledger import Ledger
from hub.presence import Presence, PresenceBoard
from hub.status import (
    InventoryStatus,
    LinkStatus,
    OfflineDevice,
    SinkStatus,
    Status,
    StoreStatus,
    judge,
)
from hub.supervisor import LinkHost, Supervisor

AWAY_SHOWN = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """The parts that have something to say."""

    version: str
    started_ms: int
    clock: Clock
    keeper: Keeper
    journal: Journal
    ledger: Ledger
    presence: PresenceBoard
    supervisor: Supervisor
    followers: Sequence[Follower]
    control: Control

    def status(self) -> Status:
        """Everything a person or a monitor wants to know now."""
        links = [_link(host) for host in self.supervisor.hosts.values()]
        store, sinks = self._store(), self._sinks()
        ledger = self.ledger.stats().reason
        health, reasons = judge(store, links, sinks, ledger)
        counts = self.presence.counts()
        return Status(
            health=health,
            reasons=reasons,
            version=self.version,
            site=self.keeper.site.name,
            started_ms=self.started_ms,
            now_ms=self.clock.now_ms(),
            online=counts[Presence.ONLINE],
            offline=counts[Presence.OFFLINE],
            unknown=counts[Presence.UNKNOWN],
            away=[
                OfflineDevice(
                    id=track.device.id,
                    link=track.device.link,
                    room=track.device.place.room,
                    reason=track.reason,
                )
                for track in self.presence.offline(AWAY_SHOWN)
            ],
            inventory=self._inventory(),
            links=links,
            store=store,
            ledger=ledger,
            sinks=sinks,
            control=self.control.status(),
        )

    def _inventory(self) -> InventoryStatus:
        inventory = self.keeper.inventory
        return InventoryStatus(
            number=inventory.number,
            time_ms=inventory.time_ms,
            digest=inventory.digest,
            devices=inventory.devices,
            drift=self.keeper.drift.how,
        )

    def _store(self) -> StoreStatus:
        stats = self.journal.stats()
        return StoreStatus(
            healthy=stats.healthy,
            reason=stats.reason,
            readings=stats.head,
            size_bytes=stats.file_bytes,
            waiting=stats.waiting,
        )

    def _sinks(self) -> list[SinkStatus]:
        head = self.journal.stats().head
        return [
            SinkStatus(
                name=sink.name,
                lag=max(0, head - sink.cursor),
                oldest_ms=sink.oldest_ms,
                delivered=sink.delivered,
                rejected=sink.rejected,
                last_error=sink.last_error,
            )
            for sink in (follower.status for follower in self.followers)
        ]


def _link(host: LinkHost) -> LinkStatus:
    return LinkStatus(
        id=host.link.id,
        driver=host.link.driver,
        up=host.up,
        reason=host.reason,
        since_ms=host.since_ms,
        restarts=host.restarts,
        devices=len(host.link.devices),
        counters={
            f"{name}/{reason}" if reason else name: number
            for (name, reason), number in host.counters.items()
        },
    )

"""Lending a link: its driver rests while somebody else, such as a scan, has the wire to itself.

Two masters on one bus garble each other. So whoever wants the wire asks for it, for a minute at most at a
time and a quarter of an hour in all, and the hub starts its driver again as soon as it is given back or
the time is over, whatever has become of the borrower. Meanwhile no device of the link is called silent,
and nothing is told to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import structlog

from hub import audit
from hub.clock import Clock
from hub.commands import Commands
from hub.commands.order import canonical
from hub.errors import HubError
from hub.gate_rules import is_gate
from hub.ledger import Ledger
from hub.model import Device
from hub.presence import PresenceBoard
from hub.registry import Registry

LEASE_MAX_S = 60
WHOLE_MAX_S = 15 * 60.0  # of a lease however often it is renewed: then the driver has its turn
WHOLE_GATES_MAX_S = 2 * 60.0
_LOOK_PERIOD_S = 0.5  # below three periods of the quickest device

_OVER = (
    f"this lease is over; a link is lent for {WHOLE_MAX_S / 60:g} minutes at most, one with gates or fire "
    f"contacts for {WHOLE_GATES_MAX_S / 60:g}"
)
_log = structlog.get_logger("link")


class Links(Protocol):
    """What lending needs of the supervisor."""

    async def lend(self, link: str) -> None:
        """Stop the link's driver and keep it stopped; raises LinkError when it does not end."""

    def take_back(self, link: str) -> None:
        """Start it again."""


class LendRefusal(StrEnum):
    """Why a link is not lent."""

    UNKNOWN_LINK = "unknown_link"
    LENT = "lent"
    OPEN_COMMANDS = "open_commands"
    GATES = "gates"
    NOT_YOURS = "not_yours"


class LendError(HubError):
    """A link that cannot be lent, renewed or given back; `text` is for the borrower."""

    def __init__(self, kind: LendRefusal, text: str) -> None:
        self.kind = kind
        self.text = text
        super().__init__(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A link in somebody else's hands until `ends_s` on the monotonic clock; never renewed past `last_s`."""

    id: str
    link: str
    ends_s: float
    last_s: float


class Lending:
    """The links that are lent now. `run` brings back those whose time is over.

    `fire` are the devices that tell the hub of a fire.
    """

    def __init__(
        self,
        *,
        links: Links,
        registry: Registry,
        commands: Commands,
        presence: PresenceBoard,
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        self._links = links
        self._registry = registry
        self._commands = commands
        self._presence = presence
        self._ledger = ledger
        self._clock = clock
        self._leases: dict[str, Lease] = {}
        self.fire: frozenset[str] = frozenset()

    def is_lent(self, link: str) -> bool:
        """Whether somebody else has this link now."""
        return link in self._leases

    async def lend(
        self, link: str, *, seconds: float, actor: str, cause: str, force: bool = False
    ) -> Lease:
        """Stop the link's driver; returns when the wire is free, with the lease to renew or give back.

        Raises LendError, and changes nothing, for a link nobody knows or that is lent already, while
        commands to its devices are open, and for one with gates or fire contacts unless `force` is given.
        Raises LinkError when the driver does not end, StoreError when the audit cannot be written.
        """
        self._check(link, force=force)
        never = float("inf")
        lease = Lease(id=self._clock.new_id(), link=link, ends_s=never, last_s=never)
        self._leases[link] = lease
        try:
            await self._links.lend(link)
            await self._note(link, "lend", actor, cause, {"seconds": seconds, "force": force})
        except BaseException:
            self._end(lease)
            raise
        whole_s = WHOLE_GATES_MAX_S if self._gates(link) else WHOLE_MAX_S
        self._leases[link] = replace(lease, last_s=self._clock.monotonic_s() + whole_s)
        lease = self.renew(link, lease.id, seconds=seconds)
        _log.info("link is lent", link=link, actor=actor, cause=cause)
        return lease

    def renew(self, link: str, lease: str, *, seconds: float) -> Lease:
        """Go on with a lease from now, to its last moment at most; raises LendError when it is over."""
        found = self._lease(link, lease)
        renewed = replace(found, ends_s=min(self._end_s(seconds), found.last_s))
        self._leases[link] = renewed
        return renewed

    async def give_back(self, link: str, lease: str, *, actor: str) -> None:
        """End a lease and start the driver; raises LendError when it is over already."""
        self._end(self._lease(link, lease))
        _log.info("link is given back", link=link, actor=actor)
        await self._note(link, "give_back", actor, "given back", {})

    async def run(self) -> None:
        """Bring back links whose time is over, and excuse the silence of those that are lent."""
        while True:
            await self._clock.sleep(_LOOK_PERIOD_S)
            now_s = self._clock.monotonic_s()
            for lease in tuple(self._leases.values()):
                self._presence.excuse(now_s, [device.id for device in self._devices(lease.link)])
                if now_s >= lease.ends_s:
                    await self._take_back(lease)

    async def _take_back(self, lease: Lease) -> None:
        self._end(lease)
        _log.warning("the time of a lent link is over, its driver starts", link=lease.link)
        try:
            await self._note(lease.link, "give_back", "hub", "the lease was over", {})
        except HubError as error:  # the link is back all the same
            _log.error("not in the audit", link=lease.link, error=str(error))

    def _check(self, link: str, *, force: bool) -> None:
        if not self._registry.knows_link(link):
            raise LendError(LendRefusal.UNKNOWN_LINK, "no such link")
        if link in self._leases:
            raise LendError(LendRefusal.LENT, "it is lent already")
        devices = self._devices(link)
        if names := self._commands.open_on(device.id for device in devices):
            text = f"commands are open: {', '.join(names)}"
            raise LendError(LendRefusal.OPEN_COMMANDS, text)
        gates = self._gates(link)
        if gates and not force:
            text = f"it has gates or fire contacts: {', '.join(gates)}; force is needed"
            raise LendError(LendRefusal.GATES, text)

    def _gates(self, link: str) -> Sequence[str]:
        """The devices of a link that people wait for: gates, and those that tell of a fire."""
        devices = self._devices(link)
        return [one.id for one in devices if is_gate(one.profile) or one.id in self.fire]

    def _devices(self, link: str) -> Sequence[Device]:
        return [device for device in self._registry.devices() if device.link == link]

    def _lease(self, link: str, lease: str) -> Lease:
        found = self._leases.get(link)
        if found is None or found.id != lease:
            raise LendError(LendRefusal.NOT_YOURS, _OVER)
        return found

    def _end(self, lease: Lease) -> None:
        if self._leases.pop(lease.link, None) is not None:
            self._links.take_back(lease.link)

    def _end_s(self, seconds: float) -> float:
        return self._clock.monotonic_s() + min(seconds, LEASE_MAX_S)

    async def _note(
        self, link: str, action: str, actor: str, cause: str, after: dict[str, object]
    ) -> None:
        now_ms = self._clock.now_ms()
        await self._ledger.run(
            lambda connection: audit.append(
                connection,
                actor=actor,
                cause=cause,
                subject=f"link/{link}",
                action=action,
                before="{}",
                after=canonical(after),
                time_ms=now_ms,
            )
        )

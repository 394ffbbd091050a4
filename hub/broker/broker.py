"""The Mosquitto of this box, kept in step with the ledger and the running site.

    ledger ─┐
            ├─▶ files (only when they differ) ─▶ reload ─▶ the broker runs them ─▶ what was revoked is evicted
    site  ──┘

Files are made of what is there, never of what changed: after a crash at any point the next start makes
the same ones. A reload ends the sessions of revoked passwords by itself; those of revoked certificates are
taken over at the broker's door, once it runs the list of revocations (decision 021).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from hub.broker import rows
from hub.broker.authority import CA_CERTIFICATE
from hub.broker.credentials import Credentials
from hub.broker.files import Access
from hub.broker.mosquitto import HUB_PASSWORD, KNOCKS_AT_ONCE, Mosquitto, hub_password
from hub.broker.passwords import is_password, new_password, password_hash
from hub.broker.private_file import write_private
from hub.broker.rows import HUB_USERNAME, Act, Kind, Made
from hub.clock import Clock
from hub.config import BrokerConfig
from hub.errors import HubError
from hub.ledger import Ledger
from hub.model import Link
from hub.plugin import LinkTopics, Topics, link_topics

BROKER_FOLDER = (
    "broker"  # in the data folder: the authority, the broker's certificate, the hub's password
)
EVICT_WITHIN_S = 9.0
_LOOK_PERIOD_S = 20.0
_WHOLE_LOOK_EVERY = 45  # looks: a quarter of an hour
_NAMED = 20  # in a log line

_log = structlog.get_logger("broker")


def access_of(links: Sequence[Link]) -> Access:
    """Who needs which topics on these links. Makes their drivers; raises ConfigError."""
    found: list[LinkTopics] = []
    without: set[str] = set()  # drivers without a broker: of hundreds of buses only one is made
    for link in links:
        topics = None if link.driver in without else link_topics(link)
        if topics is None:
            without.add(link.driver)
        else:
            found.append(topics)
    return Access(
        devices={name: topics for link in found for name, topics in link.devices.items()},
        hub=Topics(
            writes=tuple(sorted({topic for link in found for topic in link.hub.writes})),
            reads=tuple(sorted({topic for link in found for topic in link.hub.reads})),
        ),
    )


class Broker:
    """The broker's guard. `configure`, then `run` as a task; `synchronise` after each change.

    Without a folder in the configuration credentials are issued all the same, and no file is written.
    """

    def __init__(self, *, ledger: Ledger, clock: Clock, data: Path, config: BrokerConfig) -> None:
        self.folder = data / BROKER_FOLDER
        self.credentials = Credentials(ledger=ledger, clock=clock, folder=self.folder)
        self.reason = "" if config.folder else "no [broker] folder in hub.toml"  # not in step: why
        self._ledger = ledger
        self._clock = clock
        self._mosquitto = Mosquitto(config, self.folder, clock) if config.folder else None
        self._links: Sequence[Link] = ()
        self._access: Access | None = None
        self._behind = False
        self._woken = asyncio.Event()
        self._writing = asyncio.Lock()
        self._evicting = asyncio.Lock()

    def configure(self, links: Sequence[Link]) -> None:
        """The links that run from now on. A device that has left them loses its credentials at once."""
        self._links = links
        self._access = None
        self._behind = True
        self._woken.set()

    async def access(self) -> Access:
        """Who needs which topics on the running links."""
        links, access = self._links, self._access
        if access is None:
            access = await asyncio.to_thread(access_of, links)
            if links is self._links:
                self._access = access
        return access

    @property
    def authority_file(self) -> Path:
        """What whoever connects must trust."""
        return self.folder / CA_CERTIFICATE

    def later(self) -> None:
        """More changes follow: `synchronise` is still to come, and if nobody calls it, the next look does."""
        self._behind = True

    async def run(self) -> None:
        """Keep all in step until cancelled, beginning with what a crash may have left behind."""
        looks = 0
        while True:
            try:
                await self._look(whole=looks % _WHOLE_LOOK_EVERY == 0)
            except (HubError, OSError) as error:
                _log.error("credentials cannot be looked after now", error=str(error))
            looks += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_PERIOD_S):
                    await self._woken.wait()
            self._woken.clear()

    async def synchronise(self) -> None:
        """Have the broker's files say what the ledger says. Never raises: `reason` tells why they do not."""
        if self._mosquitto is None:
            return
        async with self._writing:
            self._behind = False
            try:
                standing = await self._ledger.read(rows.standing)
                access = await self.access()
                authority = await asyncio.to_thread(self.credentials.authority)
                wrote = await asyncio.to_thread(self._mosquitto.write, authority, standing, access)
            except (HubError, OSError, ValueError) as error:
                if str(error) != self.reason:
                    _log.error("the broker's files are not in step", error=str(error))
                self.reason = str(error)
                return
            self.reason = ""
            if wrote:
                self._mosquitto.reload()
                _log.info("the broker's files are written", names=len(standing.usernames))

    async def evict(self) -> bool:
        """Synchronise, and end what is still connected by revoked credentials; whether none is left.

        False after nine seconds in which the broker does not run the present files; it is tried again
        every twenty.
        """
        if self._mosquitto is None:
            return False
        async with self._evicting:
            pending = await self._ledger.read(rows.not_evicted)
            if not pending:
                return True
            await self.synchronise()  # so that all of these stand in the files the broker must run
            if self.reason:
                return False
            try:
                async with asyncio.timeout(EVICT_WITHIN_S):
                    await self._mosquitto.run_these()
                    await self._knock_all(self._mosquitto, pending)
            except (TimeoutError, OSError) as error:
                left = await self._ledger.read(rows.not_evicted)
                names = sorted(set(left.values()))[:_NAMED]
                _log.error("revoked, perhaps connected", names=names, error=str(error))
                return not left
        return True

    async def _knock_all(self, mosquitto: Mosquitto, pending: Mapping[str, str]) -> None:
        """End the sessions of these, username by id; each part is noted, so the next try begins after it."""
        ids: dict[str, list[str]] = {}
        for name, username in pending.items():
            ids.setdefault(username, []).append(name)
        names = sorted(ids)
        for start in range(0, len(names), KNOCKS_AT_ONCE):
            part = names[start : start + KNOCKS_AT_ONCE]
            await mosquitto.evict(part)
            ended = [name for username in part for name in ids[username]]
            now_ms = self._clock.now_ms()
            await self._ledger.run(partial(rows.evicted, ids=ended, now_ms=now_ms))

    async def renew_hub(self, actor: str) -> Path:
        """A new password for the hub itself; its file. The old one ends at once. Raises StoreError."""
        path = self.folder / HUB_PASSWORD
        await asyncio.to_thread(write_private, path, new_password().encode() + b"\n")
        await asyncio.to_thread(self.credentials.authority)
        await self._enter_hub(actor)
        await self.synchronise()
        return path

    async def _look(self, *, whole: bool) -> None:
        if self._mosquitto is not None:
            await self._enter_hub("hub")
        if await self.credentials.end_expired():
            self._behind = True
        if whole or self._behind or self.reason:
            await self._retire()
            await self.synchronise()
        await self.evict()

    async def _retire(self) -> None:
        """A device that is installed no more, or has no broker any more, has no credentials either."""
        holders = await self._ledger.read(rows.holders)
        gone = holders - (await self.access()).devices.keys() if holders else holders
        if gone:
            await self.credentials.revoke(gone, "hub", cause="installed no more")
            _log.info("credentials of retired devices ended", devices=len(gone))

    async def _enter_hub(self, actor: str) -> None:
        password = await asyncio.to_thread(hub_password, self.folder)
        if is_password(password, await self._ledger.read(rows.hash_of_hub)):
            return
        act = Act(kind=Kind.PASSWORD, actor=actor, now_ms=self._clock.now_ms())
        hashed = password_hash(password)
        made = Made(id=self._clock.new_id(), device=HUB_USERNAME, hash=hashed)
        await self._ledger.run(lambda connection: rows.enter_hub(connection, made, act))

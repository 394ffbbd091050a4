"""Credentials for devices: made here, shown once, and kept only as what proves them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from hub.broker import rows
from hub.broker.authority import Authority, open_authority
from hub.broker.passwords import new_password, password_hash
from hub.broker.rows import RESERVED, Act, Credential, Entered, Kind, Left, Made, Turn
from hub.clock import Clock
from hub.errors import HubError
from hub.ledger import Ledger

AT_ONCE = 250  # devices of one call: a transaction of a fraction of a second


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """What a device needs to prove itself; nobody can show it a second time. `id` is its credential's."""

    id: str
    device: str
    username: str
    kind: Kind
    expires_ms: int | None
    password: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """New secrets, and the devices that got none."""

    secrets: Sequence[Secret]
    left: Sequence[Left]


class Credentials:
    """The credentials of this site. The authority's key and the hub's own password stand in `folder`."""

    def __init__(self, *, ledger: Ledger, clock: Clock, folder: Path) -> None:
        self._ledger = ledger
        self._clock = clock
        self._folder = folder
        self._authority: Authority | None = None

    def authority(self) -> Authority:
        """Who signs; made when there never was one. Reads files. Raises ConfigError."""
        if self._authority is None:
            self._authority = open_authority(self._folder, self._clock.now_ms())
        return self._authority

    async def issue(self, devices: Sequence[str], kind: Kind, actor: str) -> Issued:
        """A first credential of this kind for each device that has no good one. Raises StoreError."""
        act = self._act(actor, kind)
        return await self._enter(devices, act, lambda made: partial(rows.issue, made=made, act=act))

    async def rotate(
        self, devices: Sequence[str], kind: Kind, actor: str, *, overlap_s: int, again: bool = False
    ) -> Issued:
        """A new one for each device that has a good one of this kind, which ends after `overlap_s`.

        A device whose rotation is not over is left, unless nothing overlaps, or `again` says that the new
        one was lost: then only that is replaced, and the one before it stays good until its end.
        """
        act = self._act(actor, kind)
        turn = Turn(until_ms=act.now_ms + overlap_s * 1000, again=again)
        return await self._enter(
            devices, act, lambda made: partial(rows.rotate, made=made, act=act, turn=turn)
        )

    async def revoke(
        self, devices: Collection[str], actor: str, *, cause: str = "", credential: str = ""
    ) -> list[Credential]:
        """End every good one of these devices, or the one of this id, for good. Raises StoreError.

        Of many devices 250 are one transaction, so that nobody else waits long for the ledger.
        """
        act = self._act(actor, Kind.PASSWORD, cause)
        ordered, revoked = sorted(devices), []
        for start in range(0, len(ordered), AT_ONCE):
            part = ordered[start : start + AT_ONCE]
            revoked += await self._ledger.run(
                partial(rows.revoke, devices=part, act=act, credential=credential)
            )
        return revoked

    async def end_expired(self) -> int:
        """End what has come to its end, 250 in one transaction; how many there were. Raises StoreError."""
        now_ms = self._clock.now_ms()
        if not await self._ledger.read(lambda connection: rows.has_expired(connection, now_ms)):
            return 0
        work = partial(rows.end_expired, now_ms=now_ms, limit=AT_ONCE)
        ended = last = await self._ledger.run(work)
        while last == AT_ONCE:  # ends: nothing new can be over at this same moment
            last = await self._ledger.run(work)
            ended += last
        return ended

    async def find(
        self, devices: Collection[str] | None, *, good: bool, after: str, limit: int
    ) -> list[Credential]:
        """Credentials in the order in which they were made, without what would open anything."""
        return await self._ledger.read(
            lambda connection: rows.find(
                connection, devices=devices, good=good, after=after, limit=limit
            )
        )

    async def _enter(
        self,
        devices: Sequence[str],
        act: Act,
        entering: Callable[[Sequence[Made]], Callable[[Connection], Entered]],
    ) -> Issued:
        if len(devices) > AT_ONCE or set(devices) & set(RESERVED):
            raise HubError(f"at most {AT_ONCE} devices at once, and none of {', '.join(RESERVED)}")
        await asyncio.to_thread(
            self.authority
        )  # whoever enters a password is told whom to trust, too
        ids = [self._clock.new_id() for _ in devices]
        pairs = await asyncio.to_thread(self._make, devices, ids, act)
        entered = await self._ledger.run(entering([made for made, _ in pairs]))
        named = entered.usernames
        secrets = [
            replace(secret, username=named[secret.device])
            for _, secret in pairs
            if secret.device in named
        ]
        return Issued(secrets=secrets, left=entered.left)

    def _make(
        self, devices: Sequence[str], ids: Sequence[str], act: Act
    ) -> list[tuple[Made, Secret]]:
        make = self._password if act.kind is Kind.PASSWORD else self._certificate
        return [make(device, number, act) for device, number in zip(devices, ids, strict=True)]

    def _password(self, device: str, number: str, act: Act) -> tuple[Made, Secret]:
        password = new_password()
        made = Made(id=number, device=device, hash=password_hash(password))
        return made, Secret(
            id=number,
            device=device,
            username="",
            kind=act.kind,
            expires_ms=None,
            password=password,
        )

    def _certificate(self, device: str, number: str, act: Act) -> tuple[Made, Secret]:
        issued = self.authority().issue_device(device, act.now_ms)
        made = Made(
            id=number,
            device=device,
            hash=issued.fingerprint,
            serial=issued.serial,
            expires_ms=issued.expires_ms,
        )
        return made, Secret(
            id=number,
            device=device,
            username=device,
            kind=act.kind,
            expires_ms=issued.expires_ms,
            certificate=issued.certificate,
            key=issued.key,
        )

    def _act(self, actor: str, kind: Kind, cause: str = "") -> Act:
        return Act(kind=kind, actor=actor, now_ms=self._clock.now_ms(), cause=cause)

"""A house of metered rooms that is watched: its alerts, its channels, and time that is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import msgspec

from hub import Reading, audit
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, Utility, correction, ensure_room
from hub.campus.accounts.books import Kind as Booked
from hub.campus.accounts.books import transfer
from hub.campus.alarms import Alarms
from hub.campus.alerts.kinds import Alert, Kind
from hub.campus.alerts.rows import Chosen
from hub.campus.alerts.service import Alerts
from hub.campus.alerts.settings import read_alerts
from hub.campus.alerts.texts import Language, line
from hub.campus.prepaid.standing import Standings
from hub.presence import PresenceBoard
from hub.registry import Registry
from tests.campus_house import ROOM, House, open_house

PREPAID = "[prepaid]\ncharge_step_fen = 0\noverdraft_fen = 500\n"


@dataclass(kw_only=True)
class Watched:
    """The house, who is there, and the service over its ledger."""

    house: House
    presence: PresenceBoard
    registry: Registry
    http: httpx2.AsyncClient
    alarms: Alarms
    alerts: Alerts = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew over the same ledger, by the files as they are now."""
        house = self.house
        standings = Standings(ledger=house.ledger, journal=house.journal, clock=house.clock)
        standings.configure(house.site, house.rules)
        self.alerts = Alerts(
            ledger=house.ledger,
            journal=house.journal,
            clock=house.clock,
            registry=self.registry,
            standings=standings,
            http=self.http,
            alarms=self.alarms,
        )
        self.registry.configure(house.site.links)
        self.presence.configure(house.site.devices(), house.clock.monotonic_s())
        self.alerts.configure(house.site, house.rules, read_alerts(house.site))

    async def pay(self, fen: int, room: Room = ROOM) -> None:
        """A room gets so much; below 0 it is taken."""
        now_ms = self.house.clock.now_ms()
        said = transfer(correction(Utility.ELECTRICITY), room.account, Unit.FEN, fen)
        key = self.house.clock.new_id()

        def work(connection: books.Connection) -> None:
            ensure_room(connection, room, now_ms=now_ms)
            books.post(
                connection,
                key=key,
                kind=Booked.CORRECTION,
                postings=said,
                actor="t",
                cause="t",
                time_ms=now_ms,
            )

        await self.house.ledger.run(work)

    async def hear(self, counter: int | None = None, *, device: str = "m-1") -> None:
        """The meter speaks now."""
        now_ms = self.house.clock.now_ms()
        reading = Reading(
            device=device,
            time_ms=now_ms,
            received_ms=now_ms,
            values={"energy_import": counter or 0},
        )
        await self.house.journal.append([reading])
        self.presence.heard(reading, self.house.clock.monotonic_s())

    async def stands_at(self, fen: int) -> None:
        """Room 101 is heard, charged, and has exactly this."""
        await self.hear()
        await self.house.charge()
        now = await self.house.fen()
        if fen != now:
            await self.pay(fen - now)

    async def turn(self, after_s: float = 300) -> list[str]:
        """Some time later everything is looked at; what was raised by that, oldest first."""
        before = {alert.id for alert in await self.all()}
        self.house.clock.advance(after_s)
        self.presence.sweep(self.house.clock.monotonic_s())
        await self.alerts.watch.turn()
        return [line(one, Language.EN) for one in await self.all() if one.id not in before]

    async def look(self, fen: int, after_s: float = 300) -> list[str]:
        """Room 101 comes to have this, and is looked at."""
        self.house.clock.advance(after_s)
        await self.stands_at(fen)
        return await self.turn(0)

    async def all(self, kind: Kind | None = None) -> Sequence[Alert]:
        """Every alert, the oldest first."""
        return list(reversed(await self.alerts.list(Chosen(kind=kind, limit=1_000))))

    async def open(self) -> list[tuple[str, int]]:
        """Kind and level of those that have not ended."""
        found = await self.alerts.list(Chosen(is_open=True, limit=1_000))
        return sorted((str(one.kind), one.level) for one in found)

    async def supply(self, action: str, *, reason: str = "arrears", room: Room = ROOM) -> None:
        """The audit says this of the supply of a room."""
        said = {"account": room.account, "reason": reason}
        after = msgspec.json.encode(said).decode() if room.room else "["
        now_ms = self.house.clock.now_ms()
        await self.house.ledger.run(
            lambda connection: audit.append(
                connection,
                actor="supply",
                cause="",
                subject="supply/m-1",
                action=action,
                before="",
                after=after,
                time_ms=now_ms,
            )
        )


@asynccontextmanager
async def watched(
    folder: Path, alerts: str = "", *, policy: str = PREPAID
) -> AsyncIterator[Watched]:
    """The house with this table `[alerts]`; secrets lie in `folder/config`."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    async with (
        open_house(folder, policy=policy + alerts) as house,
        httpx2.AsyncClient(trust_env=False, follow_redirects=False) as http,
    ):
        presence = PresenceBoard()
        yield Watched(
            house=house,
            presence=presence,
            registry=Registry(presence),
            http=http,
            alarms=Alarms(house.clock),
        )

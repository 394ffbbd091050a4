"""What whoever lives in a room may know of it: what it has, how long that lasts, and its supply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, select

from hub.campus.accounts.accounts import Room, Unit, Utility
from hub.campus.alerts.credit import left_of, outlook, read_rates
from hub.campus.alerts.days import Days, local_date
from hub.campus.alerts.forecast import Forecast
from hub.campus.alerts.supply import ACTIONS, PREFIX
from hub.campus.prepaid.rules import Rules
from hub.campus.prepaid.standing import Standing, Standings
from hub.clock import Clock
from hub.ledger import Ledger
from hub.ledger.tables import audit
from hub.site import Site


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomState:
    """A room and one utility. `levels` are where it is warned, in `levels_unit`.

    `supply` is the last that was done with its supply, empty when nothing ever was.
    """

    standing: Standing
    levels: tuple[int, ...]
    levels_unit: Unit
    supply: str
    forecast: Forecast


class Rooms:
    """Tells of single rooms; `configure` first."""

    def __init__(self, *, ledger: Ledger, clock: Clock, standings: Standings, days: Days) -> None:
        self._ledger = ledger
        self._clock = clock
        self._standings = standings
        self._days = days
        self._site: Site | None = None
        self._rules = Rules()

    def configure(self, site: Site, rules: Rules) -> None:
        """Go by this site and its rules from now on."""
        self._site, self._rules = site, rules

    async def states(self, building: str, room: str) -> Sequence[RoomState]:
        """How the room stands, for each utility that it pays for. Raises StoreError."""
        site = self._site
        if site is None:
            return []
        wanted = [Room(building=building, room=room, utility=utility) for utility in Utility]
        standings = await self._standings.of(wanted)
        today = local_date(self._clock.now_ms(), site.timezone)
        rates = await self._ledger.read(partial(read_rates, today=today))
        days = await self._days.of((building, room))
        policy = self._rules.of(building)
        found = []
        for one, standing in standings.items():
            left = left_of(standing, policy, rates.of(one))
            told = outlook(standing, days, rates.of(one), today)
            found.append(
                RoomState(
                    standing=standing,
                    levels=left.levels if left else (),
                    levels_unit=Unit.FEN if left is None or left.is_money else one.utility.unit,
                    supply=await self._ledger.read(partial(_supply, devices=standing.devices)),
                    forecast=told,
                )
            )
        return found


def _supply(connection: Connection, *, devices: Sequence[str]) -> str:
    """What was done last with the supply through any of these."""
    query = (
        select(audit.c.action)
        .where(audit.c.subject.in_([f"{PREFIX}{device}" for device in devices]))
        .where(audit.c.action.in_(sorted(ACTIONS)))
        .order_by(audit.c.number.desc())
        .limit(1)
    )
    return connection.scalar(query) or ""

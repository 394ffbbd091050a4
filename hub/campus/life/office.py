"""Settlements, transfers and the desk's credits as one part of the campus, made together."""

from __future__ import annotations

from collections.abc import Callable

from hub.campus.alarms import Alarms
from hub.campus.life.cutting import Cutter
from hub.campus.life.last_words import LastWords
from hub.campus.life.life import Life
from hub.campus.life.rooms import Rooms
from hub.campus.life.rounds import Rounds
from hub.campus.orders.desk import Desk
from hub.campus.orders.intake import Intake
from hub.campus.orders.orders import Order
from hub.campus.prepaid.charging import Charger
from hub.campus.prepaid.rules import Rules
from hub.clock import Clock
from hub.commands import Commands
from hub.journal import Journal
from hub.ledger import Ledger
from hub.site import Site


class Office:
    """`life` begins jobs, `desk` gives credit, `rounds` do what is open; `configure`, then `run`.

    `intake` says where an order for a room goes; `taken` is told of each order of the desk on disk.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        commands: Commands,
        alarms: Alarms,
        intake: Intake,
        taken: Callable[[Order], None],
        refresh: Callable[[str, str], None],
    ) -> None:
        self._rooms = rooms = Rooms()
        charger = Charger(ledger=ledger, journal=journal, clock=clock)
        self.desk = Desk(ledger=ledger, clock=clock, target=intake.target, taken=taken)
        self.rounds = Rounds(
            ledger=ledger,
            clock=clock,
            alarms=alarms,
            rooms=rooms,
            words=LastWords(
                ledger=ledger, journal=journal, clock=clock, rooms=rooms, refresh=refresh
            ),
            charger=charger,
            cutter=Cutter(commands=commands, clock=clock, rooms=rooms),
            desk=self.desk,
            target=intake.target,
        )
        self.life = Life(
            ledger=ledger, clock=clock, rooms=rooms, rounds=self.rounds, charger=charger
        )

    def configure(self, site: Site, rules: Rules) -> None:
        """Go by this site and its rules from now on."""
        self._rooms.configure(site, rules)

    async def run(self) -> None:
        """Serve until cancelled. Raises StoreDamaged."""
        await self.rounds.run()

"""What a batch would do to each room, and why some are left out. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from hub.buildings import Buildings
from hub.campus.accounts.accounts import Room, Utility
from hub.campus.accounts.desk import CORRECTION_MAX, DAY_TIMES
from hub.campus.batches.batch import ALLOWANCE, READ, SUPPLY, Asker, Batch, Item, Part, Plan, Wish
from hub.campus.batches.scope import Target, resolve
from hub.campus.prepaid.meters import room_meters
from hub.campus.prepaid.rules import Rules, forbids_cut
from hub.campus.prepaid.standing import Standings
from hub.clock import Clock
from hub.command import Hazard, Repeat, is_seen
from hub.commands import CommandError, Commands, Order, Refusal
from hub.commands.order import complete
from hub.journal import Journal, Latest
from hub.ledger import Ledger
from hub.ledger.tables import accounts
from hub.model import Device, Place
from hub.points import Scalar
from hub.presence import is_stale
from hub.registry import Registry
from hub.site import Site

_HAZARDS = frozenset({Hazard.NONE, Hazard.OPEN, Hazard.CUT, Hazard.RESTORE})
_FAULTS = ("over_limit", "device_fault")  # no power onto what has tripped, or is broken
_OPPOSITES = {Hazard.CUT: Hazard.RESTORE, Hazard.RESTORE: Hazard.CUT}
_LOOKED_AT = 20  # of a device's newest commands
_FEW = 50  # devices up to which they are asked for by name
_STEP = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What the site says: its clocks, names and rules, and the accounts whose meters hold the credit.

    As it begins, before any site is known, nobody is prepaid and so nobody is cut.
    """

    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    buildings: Buildings = field(default_factory=Buildings)
    rules: Rules = field(default_factory=Rules)
    holding: frozenset[str] = frozenset()


def ground_of(site: Site, rules: Rules) -> Ground:
    """The ground of a site."""
    meters = room_meters(site, rules)
    holding = frozenset(meter.room.account for meter in meters if meter.holds_credit)
    return Ground(timezone=site.timezone, buildings=site.buildings, rules=rules, holding=holding)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gift:
    """What an allowance batch gives each room, in its utility's unit."""

    utility: Utility
    amount: int


class SupplyWord(Protocol):
    """Whoever keeps the supply of rooms, asked before each command of a batch; see `hub/campus/supply`."""

    async def forbids(self, device: str, hazard: Hazard, *, is_proposal: bool) -> str:
        """Why this may not be done to this device now; empty when it may. Raises StoreError."""


class Planner:
    """Looks at rooms; `ground` is the site's, and may be another any time. `supply` is asked, if any."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        commands: Commands,
        registry: Registry,
        standings: Standings,
    ) -> None:
        self.ground = Ground()
        self.supply: SupplyWord | None = None
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._commands = commands
        self._registry = registry
        self._standings = standings

    async def plan(self, wish: Wish, asker: Asker) -> Plan:
        """Every room meant, in the asker's place; raises CommandError for a wrong name or argument."""
        devices = self._registry.devices()
        if asker.building:
            devices = tuple(one for one in devices if one.place.building == asker.building)
        targets = resolve(wish.scope, devices, self.ground.buildings)
        if wish.action == ALLOWANCE:
            parts, gift = await self._gifts(wish, targets), gift_of(wish.arguments)
            wanted = sum(not part.hindrance for part in parts)
            most = CORRECTION_MAX[gift.utility.unit] * DAY_TIMES  # one person's day of corrections
            return Plan(parts=parts, needs_second_person=wanted * gift.amount > most)
        if wish.action == READ:
            read = (Part(device=one.device.id, where=one.where) for one in targets)
            return Plan(parts=tuple(read), needs_second_person=False)
        parts = await self._tellings(wish, targets)
        told = [(part.device, wish.action) for part in parts if not part.hindrance]
        return Plan(parts=parts, needs_second_person=self._commands.needs_second_person(told))

    async def hindrance(self, batch: Batch, order: Order, where: Place) -> str:
        """Why this device may not be told this by a batch now; empty when it may. Raises StoreError."""
        latest, device = (
            await self._journal.latest([order.device]),
            self._registry.device(order.device),
        )
        if device and (device.place.building, device.place.room) != (where.building, where.room):
            return "it stands elsewhere by now"
        return (
            self._hindrance(order, where, latest.get(order.device))
            or await self._overtaken(batch, order)
            or await self._relieved(batch, where)
            or await self._forbidden(batch, order)
        )

    def no_gift(self, item: Item, known: frozenset[str]) -> str:
        """Why this room is given nothing now, with these accounts open; empty when it is."""
        return self._no_gift(item.account, item.where, known)

    async def _overtaken(self, batch: Batch, order: Order) -> str:
        """Somebody has ordered the opposite since this batch was made: the newer intent counts."""
        device = self._registry.device(order.device)
        spec = device.profile.commands[order.name] if device else None
        opposite = _OPPOSITES.get(spec.hazard) if spec else None
        if device is None or spec is None or opposite is None:
            return ""
        points = {expect.point for expect in spec.confirm}
        for record in await self._commands.recent(device=device.id, limit=_LOOKED_AT):
            other = device.profile.commands.get(record.name)
            if record.created_ms <= batch.created_ms or other is None:
                continue
            if other.hazard is opposite and points & {expect.point for expect in other.confirm}:
                return f"overtaken by {record.id}"
        return ""

    async def _relieved(self, batch: Batch, where: Place) -> str:
        """A room that the hub itself proposed to cut may have paid since."""
        if batch.actor != SUPPLY:
            return ""
        room = Room(building=where.building, room=where.room)
        standing = (await self._standings.of([room])).get(room)
        if standing is None or standing.doubt:
            return standing.doubt if standing else "nobody knows how it stands"
        return "" if standing.is_used_up else "it is not used up any more"

    async def _forbidden(self, batch: Batch, order: Order) -> str:
        """What the room's supply has against it: a hold, a trip, a lock; or its proposal is out of date."""
        device = self._registry.device(order.device)
        spec = device.profile.commands.get(order.name) if device else None
        if self.supply is None or spec is None:
            return ""
        is_proposal = batch.actor == SUPPLY
        return await self.supply.forbids(order.device, spec.hazard, is_proposal=is_proposal)

    async def _tellings(self, wish: Wish, targets: Sequence[Target]) -> tuple[Part, ...]:
        names = [target.device.id for target in targets]
        latest = await self._journal.latest(names if len(names) <= _FEW else None)
        parts = []
        for number, target in enumerate(_takers(targets, wish.action)):
            if number % _STEP == 0:
                await self._clock.sleep(0)  # ten thousand rooms hold nobody up
            name = target.device.id
            order = Order(
                device=name, name=wish.action, arguments=wish.arguments, actor="batch", key=name
            )
            hindrance = self._hindrance(order, target.where, latest.get(name))
            if not hindrance and self._is_so(order, target.device, latest.get(name)):
                hindrance = "it is so already"
            parts.append(Part(device=name, where=target.where, hindrance=hindrance))
        return tuple(parts)

    def _hindrance(self, order: Order, where: Place, latest: Latest | None) -> str:
        device = self._registry.device(order.device)
        spec = device.profile.commands.get(order.name) if device else None
        if device is None or spec is None:
            return "its product has no such command" if device else "the device is gone"
        if spec.hazard not in _HAZARDS:
            return f"no batch does this: {spec.hazard}"
        protection = self._protection(where) if spec.hazard is Hazard.CUT else ""
        if protection:
            return protection
        if self._registry.is_offline(device.id):
            return "the device is away"
        try:
            self._commands.check(order)
        except CommandError as error:
            return str(error)
        said = self._fresh(device, latest)
        faults = [point for point in _FAULTS if said.get(point)]
        return f"the device says {faults[0]}" if faults and spec.hazard is Hazard.RESTORE else ""

    def _protection(self, where: Place) -> str:
        policy, now_ms = self.ground.rules.of(where.building), self._clock.now_ms()
        return forbids_cut(policy, where.room, now_ms, self.ground.timezone)

    def _is_so(self, order: Order, device: Device, latest: Latest | None) -> bool:
        spec = device.profile.commands[order.name]
        if spec.repeat is Repeat.NEVER:  # it wants something to happen, not a state
            return False
        said = self._fresh(device, latest)
        return is_seen(spec.confirm, said, complete(order, spec)) is True

    def _fresh(self, device: Device, latest: Latest | None) -> Mapping[str, Scalar]:
        """What its last word says, as far as that is sure and of now."""
        if latest is None:
            return {}
        now_ms = self._clock.now_ms()
        return {
            point: value
            for point, value in latest.values.items()
            if point not in latest.bad
            and point not in latest.uncertain
            and not is_stale((now_ms - latest.time_of(point)) / 1000, device.period_s)
        }

    async def _gifts(self, wish: Wish, targets: Sequence[Target]) -> tuple[Part, ...]:
        gift = gift_of(wish.arguments)
        rooms = {target.room: target.where for target in targets}
        made = [
            (Room(building=building, room=room, utility=gift.utility).account, where)
            for (building, room), where in rooms.items()
        ]
        known = await self._ledger.read(
            lambda connection: open_accounts(connection, [account for account, _ in made])
        )
        return tuple(
            Part(account=account, where=where, hindrance=self._no_gift(account, where, known))
            for account, where in made
        )

    def _no_gift(self, account: str, where: Place, known: frozenset[str]) -> str:
        if not self.ground.rules.of(where.building).charges(where.room):
            return "not prepaid"
        if account in self.ground.holding:
            return "its meter holds the credit, and asks no books"
        return "" if account in known else "the room has no such account"


def gift_of(arguments: Mapping[str, Scalar]) -> Gift:
    """What an allowance gives; raises CommandError."""
    for name in arguments:
        if name not in ("amount", "utility"):
            raise _invalid(name, "no such argument; known: amount, utility")
    amount, utility = arguments.get("amount"), arguments.get("utility", Utility.ELECTRICITY)
    if utility not in list(Utility):
        raise _invalid("utility", "write one of " + ", ".join(Utility))
    unit = Utility(utility).unit
    most = CORRECTION_MAX[unit]
    if not isinstance(amount, int) or isinstance(amount, bool) or not 0 < amount <= most:
        raise _invalid("amount", f"write whole {unit} from 1 to {most}")
    return Gift(utility=Utility(utility), amount=amount)


def _invalid(name: str, text: str) -> CommandError:
    return CommandError(Refusal.INVALID_ARGUMENT, f"arguments.{name}", text)


def _takers(targets: Sequence[Target], action: str) -> Iterator[Target]:
    """Those who know the command; of a room in which nobody does, the first."""
    served = {one.room for one in targets if action in one.device.profile.commands}
    for target in targets:
        if action in target.device.profile.commands:
            yield target
        elif target.room not in served:
            served.add(target.room)
            yield target


def open_accounts(connection: Connection, wanted: Sequence[str]) -> frozenset[str]:
    """Those of these accounts that are open."""
    found: set[str] = set()
    for begin in range(0, len(wanted), _STEP):
        step = wanted[begin : begin + _STEP]
        query = select(accounts.c.id).where(accounts.c.id.in_(step), accounts.c.closed_ms.is_(None))
        found |= set(connection.scalars(query))
    return frozenset(found)

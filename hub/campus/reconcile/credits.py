"""The device ledger: which commands put money into meters, and what is known of each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from hub.campus.orders.credit import ACTOR, key_of
from hub.campus.orders.orders import Order
from hub.campus.reconcile.compare import Booked, Effect, EffectState
from hub.command import CommandSpec, Hazard, State
from hub.commands import Record, Resolution, rows
from hub.ledger.tables import postings, transactions
from hub.profile import Profile
from hub.site import Site

_TRIES_MAX = 1_000  # commands of one order
_METER = "meter/"
_ORDER = "order/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credit:
    """A product's command that gives credit: the arguments in fen, and the one that is the next purchase.

    `point` is what counts purchases; empty where nothing does.
    """

    name: str
    amounts: tuple[str, ...]
    count: str = ""
    point: str = ""


def credit_in(profile: Profile) -> Credit | None:
    """The credit command of a product; None when the hub keeps its money."""
    found = (spec for spec in profile.commands.values() if spec.hazard is Hazard.CREDIT)
    spec = next(found, None)
    return None if spec is None else _credit(spec)


def _credit(spec: CommandSpec) -> Credit:
    given = [one for one in spec.arguments.values() if not one.from_point and one.unit == "fen"]
    counted = next((one for one in spec.arguments.values() if one.from_point), None)
    return Credit(
        name=spec.name,
        amounts=tuple(one.name for one in given),
        count=counted.name if counted else "",
        point=counted.from_point if counted else "",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Credits:
    """The credit commands of a site: by device, and by name for devices that are gone."""

    devices: Mapping[str, Credit]
    names: Mapping[str, Credit]

    def effect(self, record: Record) -> Effect:
        """What is known of a credit command."""
        credit = self.devices.get(record.device) or self.names[record.name]
        amounts = [record.arguments.get(name) for name in credit.amounts]
        count = record.arguments.get(credit.count) if credit.count else None
        return Effect(
            command=record.id,
            device=record.device,
            key=record.key,
            owner=record.owner,
            state=_state(record),
            amount_fen=sum(amount for amount in amounts if isinstance(amount, int)),
            count=count if isinstance(count, int) else None,
            ended_ms=record.finished_ms or record.created_ms,
        )


def credits_of(site: Site) -> Credits:
    """Every credit command of this site, and of all products it may name."""
    devices = {
        device.id: credit for device in site.devices() if (credit := credit_in(device.profile))
    }
    known = [credit_in(site.profiles.example(name)) for name in site.profiles.ids()]
    names = {credit.name: credit for credit in (*known, *devices.values()) if credit}
    return Credits(devices=devices, names=names)


def _state(record: Record) -> EffectState:
    if record.state is State.CONFIRMED or record.resolution is Resolution.DONE:
        return EffectState.DONE
    if record.state is State.UNKNOWN and record.resolution is Resolution.NONE:
        return EffectState.DOUBTFUL
    return EffectState.NONE if record.state.final else EffectState.UNDER_WAY


def effects_for(
    connection: Connection, orders: Sequence[Order], known: Credits
) -> dict[str, list[Effect]]:
    """Every command that was ever made for these orders, by the order's number."""
    found: dict[str, list[Effect]] = {}
    wanted = list(orders)
    for number in range(1, _TRIES_MAX + 1):
        if not wanted:
            break
        keys = {key_of(order, number): order for order in wanted}
        made = rows.of_keys(connection, ACTOR, keys)
        for record in made:
            if record.name in known.names:
                found.setdefault(keys[record.key].number, []).append(known.effect(record))
        wanted = [keys[record.key] for record in made]
    return found


def booked_for(connection: Connection, orders: Iterable[Order]) -> dict[str, Booked]:
    """What the books say was delivered of these orders, by the order's number."""
    keys = {f"{order.key}/delivered": order.number for order in orders}
    columns = (transactions.c.key, transactions.c.actor, postings.c.account, postings.c.amount)
    query = (
        select(*columns)
        .join(postings, postings.c.number == transactions.c.number)
        .where(transactions.c.key.in_(list(keys)), postings.c.amount > 0)
    )
    return {
        keys[row.key]: Booked(
            amount_fen=row.amount,
            in_meter=row.account.startswith(_METER),
            by_person=row.actor != ACTOR,
        )
        for row in connection.execute(query)
    }


def effects_within(
    connection: Connection, known: Credits, span_ms: tuple[int, int]
) -> list[Effect]:
    """Every credit command that was made from one moment until before another, whoever gave it."""
    made = rows.made_within(connection, known.names, span_ms)
    return [known.effect(record) for record in made]


def effects_on(connection: Connection, device: str, known: Credits, limit: int) -> list[Effect]:
    """The newest credits of one meter."""
    made = rows.recent(connection, device=device, state=None, limit=limit)
    return [known.effect(record) for record in made if record.name in known.names]


def order_named(effect: Effect) -> tuple[str, str] | None:
    """Platform and number of the order that a credit was for; None for one that staff gave."""
    words = effect.key.removeprefix(_ORDER).split("/")
    is_order = effect.owner == ACTOR and effect.key.startswith(_ORDER) and len(words) >= 2
    return (words[0], words[1]) if is_order else None


def staff_credits(effects: Collection[Effect]) -> list[Effect]:
    """Those that no order was behind."""
    done = (one for one in effects if one.state is EffectState.DONE)
    return [one for one in done if order_named(one) is None]

"""An electricity meter in a dormitory room or flat: any product, told only which points it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hub import Value
from simulators.chance import between, seed_of
from simulators.ledger import Deed
from simulators.load import MWMS_PER_WH, RoomLoad, room_loads
from simulators.machine import DAY_MS, EPOCH_MS, Birth, Happening, plain_value
from simulators.relay_board import RelayBoard

_PRICE_FEN_PER_KWH = 56
_JITTER_MS = 2000
_REACTIVE_SHARE = 5  # one varh for each five Wh, for the counters
_START_WH_MAX = 12_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Electricity:
    """The state of a connection at one moment: lists have one entry a phase."""

    voltage_v: tuple[float, ...]
    power_w: tuple[float, ...]
    current_a: tuple[float, ...]
    factor: float
    frequency_hz: float
    energy_wh: tuple[int, ...]
    today_wh: int
    start_wh: int
    closed: bool

    @property
    def import_wh(self) -> int:
        """The main counter."""
        return self.start_wh + sum(self.energy_wh)

    @property
    def apparent_va(self) -> tuple[float, ...]:
        """Volts times amperes of each phase."""
        pairs = zip(self.voltage_v, self.current_a, strict=True)
        return tuple(round(volts * amperes, 1) for volts, amperes in pairs)

    @property
    def reactive_var(self) -> tuple[float, ...]:
        """What apparent power has beside active power."""
        pairs = zip(self.apparent_va, self.power_w, strict=True)
        return tuple(round(math.sqrt(max(va * va - w * w, 0.0)), 1) for va, w in pairs)


Shown = Callable[[Electricity], Value]


def _phase_points(phase: int) -> dict[str, Shown]:
    label = f"l{phase + 1}"
    return {
        f"voltage_{label}": lambda now: now.voltage_v[phase],
        f"current_{label}": lambda now: now.current_a[phase],
        f"current_demand_{label}": lambda now: now.current_a[phase],
        f"active_power_{label}": lambda now: now.power_w[phase],
        f"apparent_power_{label}": lambda now: now.apparent_va[phase],
        f"reactive_power_{label}": lambda now: now.reactive_var[phase],
        f"power_factor_{label}": lambda now: now.factor,
        f"phase_angle_{label}": lambda now: round(math.degrees(math.acos(now.factor)), 1),
        f"energy_import_{label}": lambda now: now.energy_wh[phase],
        f"energy_total_{label}": lambda now: now.energy_wh[phase],
        f"voltage_thd_{label}": lambda now: 1.8,
        f"current_thd_{label}": lambda now: 9.5,
    }


_SHOWS: dict[str, Shown] = {
    **_phase_points(0),
    **_phase_points(1),
    **_phase_points(2),
    "voltage_ln_avg": lambda now: round(sum(now.voltage_v) / len(now.voltage_v), 1),
    "voltage_ll_avg": lambda now: round(sum(now.voltage_v) / len(now.voltage_v) * math.sqrt(3), 1),
    "voltage_l12": lambda now: round(now.voltage_v[0] * math.sqrt(3), 1),
    "voltage_l23": lambda now: round(now.voltage_v[1] * math.sqrt(3), 1),
    "voltage_l31": lambda now: round(now.voltage_v[2] * math.sqrt(3), 1),
    "current_avg": lambda now: round(sum(now.current_a) / len(now.current_a), 3),
    "current_sum": lambda now: round(sum(now.current_a), 3),
    "current_demand": lambda now: round(sum(now.current_a), 3),
    "current_demand_max": lambda now: 12.5,
    "active_power_total": lambda now: round(sum(now.power_w), 1),
    "power_demand": lambda now: round(sum(now.power_w), 1),
    "import_demand": lambda now: round(sum(now.power_w), 1),
    "power_demand_max": lambda now: 2750.0,
    "import_demand_max": lambda now: 2750.0,
    "apparent_power_total": lambda now: round(sum(now.apparent_va), 1),
    "reactive_power_total": lambda now: round(sum(now.reactive_var), 1),
    "power_factor_total": lambda now: now.factor,
    "phase_angle_total": lambda now: round(math.degrees(math.acos(now.factor)), 1),
    "frequency": lambda now: now.frequency_hz,
    "voltage_thd_avg": lambda now: 1.8,
    "current_thd_avg": lambda now: 9.5,
    "energy_import": lambda now: now.import_wh,
    "energy_total": lambda now: now.import_wh,
    "energy_today": lambda now: now.today_wh,
    "energy_sharp": lambda now: now.import_wh // 10,
    "energy_peak": lambda now: now.import_wh * 3 // 10,
    "energy_flat": lambda now: now.import_wh * 4 // 10,
    "energy_valley": lambda now: now.import_wh * 2 // 10,
    "reactive_energy_import": lambda now: now.import_wh // _REACTIVE_SHARE,
    "reactive_energy_total": lambda now: now.import_wh // _REACTIVE_SHARE,
    "apparent_energy": lambda now: now.import_wh * 51 // 50,
    "credit_money": lambda now: 50_000 - sum(now.energy_wh) % 800_000 * _PRICE_FEN_PER_KWH // 1000,
    "credit_energy": lambda now: 900_000 - sum(now.energy_wh) % 800_000,
    "free_energy": lambda now: 20_000,
    "purchase_count": lambda now: 3 + sum(now.energy_wh) // 800_000,
    "relay_closed": lambda now: now.closed,
    "relay_armed": lambda now: False,
    "schedule": lambda now: "",
    "power_alarm_threshold": lambda now: 10_000.0,
    "power_limit": lambda now: 3000.0,
    "overload_allowed": lambda now: 5,
    "ct_ratio": lambda now: 1,
    "pt_ratio": lambda now: 1,
    "last_source": lambda now: "init",
}


class Meter:
    """A meter: everything it shows is a function of time, of its seed and of its relay.

    `start_wh` sets the main counter's value at the epoch, to bring a roll-over near.
    """

    def __init__(self, birth: Birth, *, start_wh: int | None = None) -> None:
        self.board: RelayBoard | None = None
        self._birth = birth
        phases = 3 if {"voltage_l2", "current_l2"} & set(birth.points) else 1
        self._loads = room_loads(birth.seed, birth.zone_ms, phases)
        self._seed = seed_of(birth.seed, "grid")
        drawn = round(between(birth.seed, 9, 0, _START_WH_MAX))
        self._start_wh = drawn if start_wh is None else start_wh
        self._written: dict[str, Value] = {}
        self._opened_ms: int | None = None
        self._not_used_mwms = [0] * phases
        self._forced = False
        self._credited_fen = 0
        self._purchases = 0
        self._bought: tuple[int, int] | None = None  # when and for how much, the last time

    def electricity(self, now_ms: int) -> Electricity:
        """The whole truth at this moment."""
        closed = self._opened_ms is None
        slot = now_ms // _JITTER_MS
        volts = tuple(self._voltage_v(now_ms, phase) for phase in range(len(self._loads)))
        watts = tuple(
            round(load.power_mw(now_ms) / 1000, 1) if closed else 0.0 for load in self._loads
        )
        factor = round(between(self._seed, slot, 0.91, 0.99), 2)
        today_ms = (now_ms + self._birth.zone_ms) // DAY_MS * DAY_MS - self._birth.zone_ms
        energies = self._energies_wh(now_ms)
        midnight = self._energies_wh(today_ms) if "energy_today" in self._birth.points else energies
        return Electricity(
            voltage_v=volts,
            power_w=watts,
            current_a=tuple(round(w / (v * factor), 3) for w, v in zip(watts, volts, strict=True)),
            factor=factor,
            frequency_hz=round(between(self._seed, slot + 1, 49.95, 50.05), 2),
            energy_wh=energies,
            today_wh=sum(energies) - sum(midnight),
            start_wh=self._start_wh,
            closed=closed,
        )

    def show(self, now_ms: int) -> Mapping[str, Value]:
        """Every point of the product."""
        now = self.electricity(now_ms)
        shown: dict[str, Value] = {}
        for name in self._birth.points:
            show = _SHOWS.get(name)
            shown[name] = show(now) if show else plain_value(name, self._birth, now_ms)
        shown.update(self._written)
        self._show_orders(shown, closed=now.closed)
        return shown

    def _show_orders(self, shown: dict[str, Value], *, closed: bool) -> None:
        """What was bought, and who has the relay."""
        for name in shown.keys() & {"credit_money"}:
            shown[name] = int(shown[name]) + self._credited_fen
        for name in shown.keys() & {"purchase_count"}:
            shown[name] = int(shown[name]) + self._purchases
        for name in shown.keys() & {"force_control_enabled"}:
            shown[name] = self._forced
        for name in shown.keys() & {"breaker_l1_closed", "breaker_l2_closed", "breaker_l3_closed"}:
            shown[name] = closed

    def force(self, now_ms: int, *, enabled: bool, opened: bool) -> None:
        """Forced control of the relay; without it the meter's own control closes it."""
        self._forced = enabled
        self._switch(now_ms, closed=not (enabled and opened))
        order = {"forced": enabled, "relay_closed": self._opened_ms is None}
        self._birth.diary.record(now_ms, Deed.WRITTEN, order)

    def credit(self, now_ms: int, fen: int, count: int) -> bool:
        """Add money if this is the next purchase; False, and nothing done, when it is not."""
        if count != int(self.show(now_ms)["purchase_count"]) + 1:
            return False
        self._credited_fen += fen
        self._purchases += 1
        self._bought = (now_ms, fen)
        self._birth.diary.record(now_ms, Deed.CREDITED, {"fen": fen, "count": count})
        return True

    def lose(self, now_ms: int, *, money: bool, count: bool) -> None:
        """Of a purchase of this very moment, its money or its count or both are gone again."""
        if self._bought is None or self._bought[0] != now_ms:
            return
        fen = self._bought[1] if money else 0
        self._credited_fen -= fen
        self._purchases -= count
        self._bought = None
        self._birth.diary.record(now_ms, Deed.LOST, {"fen": fen, "counted": not count})

    def note(self, now_ms: int, values: Mapping[str, Value]) -> None:
        """Write down an order that none of its points shows."""
        self._birth.diary.record(now_ms, Deed.WRITTEN, values)

    def happenings(self, now_ms: int) -> Sequence[Happening]:
        """A meter has no events."""
        return ()

    def write(self, now_ms: int, point: str, value: Value) -> bool:
        """Open or close the relay, or keep another written value."""
        if point == "relay_closed":
            self._switch(now_ms, closed=bool(value))
        else:
            self._written[point] = value
        self._birth.diary.record(now_ms, Deed.WRITTEN, {point: value})
        return True

    def switch(self, now_ms: int, order: str) -> str:
        """Cut or restore the supply, or arm it: open, until a hand closes it. The code of the answer."""
        if order == "arm":
            if self._opened_ms is None:
                return "rejected"
            return self.keep(now_ms, "relay_armed", True)
        self._written.pop("relay_armed", None)
        self.write(now_ms, "relay_closed", order == "restore")
        return "done"

    def keep(self, now_ms: int, point: str, value: Value) -> str:
        """Take a setting; a product without this point takes it silently. The code of the answer."""
        if point in self._birth.points:
            self.write(now_ms, point, value)
        return "done"

    def _switch(self, now_ms: int, *, closed: bool) -> None:
        if closed and self._opened_ms is not None:
            for phase, load in enumerate(self._loads):
                missed = load.energy_mwms(now_ms) - load.energy_mwms(self._opened_ms)
                self._not_used_mwms[phase] += missed
            self._opened_ms = None
        if not closed and self._opened_ms is None:
            self._opened_ms = now_ms

    def _energies_wh(self, now_ms: int) -> tuple[int, ...]:
        until_ms = now_ms if self._opened_ms is None else min(now_ms, self._opened_ms)
        return tuple(
            self._used(load, phase, until_ms) // MWMS_PER_WH
            for phase, load in enumerate(self._loads)
        )

    def _used(self, load: RoomLoad, phase: int, until_ms: int) -> int:
        return load.energy_mwms(until_ms) - self._not_used_mwms[phase]

    def _voltage_v(self, now_ms: int, phase: int) -> float:
        swing_v = 3.0 * math.cos(2 * math.pi * ((now_ms - EPOCH_MS) % DAY_MS) / DAY_MS)
        jitter_v = between(self._seed, 3 * (now_ms // _JITTER_MS) + phase, -0.8, 0.8)
        return round(229.0 + swing_v + jitter_v, 1)

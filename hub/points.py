"""The closed vocabulary of points: every quantity the hub knows, with one unit and one type each.

A point that is not here cannot be stored; a new quantity is added here, with its meaning, and nowhere
else. Ranges are what physics and 230/400 V installations allow (domain facts: voltage 80-300 V, power
factor -1..1, frequency 45-65 Hz); a value outside goes to `bad`, never to the store. A profile or a
device may narrow a range, never widen it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias

Scalar: TypeAlias = bool | int | float | str
INT_MAX = 2**53 - 1  # what JSON readers and floating-point stores still tell apart


class PointKind(StrEnum):
    """How a value behaves in time."""

    GAUGE = "gauge"  # an instantaneous quantity
    COUNTER = "counter"  # only grows, until it rolls over or is reset
    STATE = "state"  # holds until it changes
    EVENT = "event"  # something that happened at the reading's time


class PointType(StrEnum):
    """What a value is once it is inside the hub."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One quantity: name, unit, type, kind, plausible range or allowed texts, and what positive means."""

    name: str
    unit: str
    type: PointType
    kind: PointKind
    minimum: float
    maximum: float
    choices: tuple[str, ...]
    meaning: str
    secret: bool


_TEXT_MAX = 256
POINTS: dict[str, Point] = {}


def _add(
    names: str,
    unit: str,
    kind: str,
    span: tuple[float, float],
    meaning: str,
    *,
    as_type: PointType = PointType.FLOAT,
    choices: str = "",
    secret: bool = False,
) -> None:
    for name in names.split():
        assert name not in POINTS, f"{name} is described twice"
        POINTS[name] = Point(
            name=name,
            unit=unit,
            type=as_type,
            kind=PointKind(kind),
            minimum=span[0],
            maximum=span[1],
            choices=tuple(choices.split()),
            meaning=meaning,
            secret=secret,
        )


def _number(names: str, unit: str, lowest: float, highest: float, meaning: str) -> None:
    _add(names, unit, "gauge", (lowest, highest), meaning)


def _counter(names: str, unit: str, meaning: str) -> None:
    _add(names, unit, "counter", (0, INT_MAX), meaning, as_type=PointType.INT)


def _whole(names: str, unit: str, kind: str, lowest: int, highest: int, meaning: str) -> None:
    _add(names, unit, kind, (lowest, highest), meaning, as_type=PointType.INT)


def _flag(names: str, kind: str, meaning: str) -> None:
    _add(names, "1", kind, (0, 1), meaning, as_type=PointType.BOOL)


def _text(names: str, kind: str, meaning: str, choices: str = "", *, secret: bool = False) -> None:
    _add(
        names,
        "1",
        kind,
        (0, _TEXT_MAX),
        meaning,
        as_type=PointType.TEXT,
        choices=choices,
        secret=secret,
    )


# Electricity. Import is what the room takes from the grid and is positive; export is counted apart.
_number("voltage_l1 voltage_l2 voltage_l3 voltage_ln_avg", "V", 80, 300, "phase to neutral")
_number("voltage_l12 voltage_l23 voltage_l31 voltage_ll_avg", "V", 140, 520, "phase to phase")
_number(
    "current_l1 current_l2 current_l3 current_avg current_sum current_neutral current_demand "
    "current_demand_max current_demand_l1 current_demand_l2 current_demand_l3",
    "A",
    -10_000,
    10_000,
    "positive while energy flows to the consumer, where the meter tells the direction",
)
_number(
    "active_power_l1 active_power_l2 active_power_l3 active_power_total power_demand "
    "power_demand_max import_demand import_demand_max export_demand export_demand_max",
    "W",
    -10_000_000,
    10_000_000,
    "positive is taken from the grid",
)
_number(
    "reactive_power_l1 reactive_power_l2 reactive_power_l3 reactive_power_total",
    "var",
    -10_000_000,
    10_000_000,
    "positive is inductive",
)
_number(
    "apparent_power_l1 apparent_power_l2 apparent_power_l3 apparent_power_total "
    "apparent_demand apparent_demand_max",
    "VA",
    -10_000_000,
    10_000_000,
    "magnitude; some meters give it the sign of the active power",
)
_number(
    "power_factor_l1 power_factor_l2 power_factor_l3 power_factor_total",
    "1",
    -1,
    1,
    "sign as the meter gives it; makers differ, see the profile",
)
_number(
    "phase_angle_l1 phase_angle_l2 phase_angle_l3 phase_angle_total",
    "deg",
    -360,
    360,
    "current against voltage",
)
_number("frequency", "Hz", 45, 65, "of the grid")
_number(
    "voltage_thd_l1 voltage_thd_l2 voltage_thd_l3 voltage_thd_avg "
    "current_thd_l1 current_thd_l2 current_thd_l3 current_thd_avg",
    "%",
    0,
    1000,
    "total harmonic distortion",
)
_counter(
    "energy_import energy_import_l1 energy_import_l2 energy_import_l3 energy_sharp energy_peak "
    "energy_flat energy_valley",
    "Wh",
    "energy taken from the grid since the counter began",
)
_counter(
    "energy_export energy_export_l1 energy_export_l2 energy_export_l3", "Wh", "energy given back"
)
_whole(
    "energy_total energy_total_l1 energy_total_l2 energy_total_l3",
    "Wh",
    "gauge",
    -INT_MAX,
    INT_MAX,
    "import, import plus export or import less export: a setting of the meter, so it may fall",
)
_whole("energy_today", "Wh", "state", 0, INT_MAX, "since local midnight; falls to 0 each day")
_counter(
    "reactive_energy_import reactive_energy_export reactive_energy_total", "varh", "reactive energy"
)
_counter("apparent_energy", "VAh", "apparent energy")
_number("temperature", "Cel", -60, 200, "inside the device")
_whole("ct_ratio pt_ratio", "1", "state", 1, 100_000, "transformer ratio the meter is set to")
_text("device_time", "state", "what the device's own clock shows, ISO 8601 local time")
_text("counter_since", "state", "when the device's energy counter began; a change marks a reset")

# Prepaid electricity. Money is integer fen, positive is the student's.
_whole(
    "credit_money", "fen", "state", -(10**11), 10**11, "money left in the meter; below 0 is debt"
)
_whole("credit_energy free_energy", "Wh", "state", -(10**11), 10**11, "energy left in the meter")
_counter(
    "purchase_count", "1", "purchases the meter has applied: the key against applying one twice"
)
_counter("overload_count", "1", "times the meter cut the load for too much power")
_whole("overload_allowed", "1", "state", 0, 65535, "after so many the load stays locked")
_whole("type_code software_version", "1", "state", 0, 65535, "identity the device tells of itself")
_text("meter_number", "state", "number printed on the meter")
_flag(
    "relay_closed relay_1 relay_2 relay_3 relay_4 relay_5 relay_6 relay_7 relay_8",
    "state",
    "true when the contact conducts",
)
_flag(
    "input_1 input_2 input_3 input_4 input_5 input_6 input_7 input_8", "state", "true when active"
)
_flag("breaker_l1_closed breaker_l2_closed breaker_l3_closed", "state", "true when it conducts")
_flag("arrears over_limit credit_alarm_1 credit_alarm_2 device_fault", "state", "true when active")
_flag("fee_control_enabled load_control_enabled", "state", "the meter cuts by itself")
_flag(
    "force_control_enabled time_control_enabled", "state", "a hand or a timetable rules the relay"
)
_flag("relay_armed", "state", "open, and a hand at the device may close it")
_text(
    "schedule", "state", 'hours of the day in which the relay may conduct: "06:30-23:00"; "" always'
)
_flag("power_alarm", "state", "the device's own power limit is exceeded")
_number(
    "power_alarm_threshold power_limit", "W", 0, 10_000_000, "above it the device warns or cuts"
)
_text("last_source", "state", "who switched last, in the device's own words")

# Water. A volume is what flowed to the room; ml, as energy is Wh.
_counter("hot_water_volume", "ml", "hot water taken since the counter began")
_counter("drinking_water_volume", "ml", "drinking water taken since the counter began")
_number("water_flow", "L/h", 0, 1_000_000, "positive is taken from the pipe")
_flag("valve_open", "state", "true when water can flow")

# Washing machines and other paid machines.
_WASHER_STATES = (
    "offline idle reserved paid starting running paused finishing finished_not_emptied "
    "self_clean fault out_of_service"
)
_text("washer_state", "state", "what the machine is doing", _WASHER_STATES)
_text(
    "washer_phase",
    "state",
    "step of the program",
    "none weighing fill soak wash rinse spin steam heat dry cool anti_crease",
)
_text("program order fault_code", "state", "in the device's own words; empty when none")
_text("door", "state", "of the drum", "open closed locked")
_whole("remaining elapsed", "s", "state", 0, 86_400, "of the running program")
_counter("cycle_count", "1", "cycles begun since the machine was built")

# Gates, barriers, cameras, turnstiles.
_text(
    "gate_state",
    "state",
    "position of the arm or leaf",
    "closed opening opening_in opening_out open closing held_open locked fire_release fault unknown",
)
_text(
    "gate_mode",
    "state",
    "which side may pass freely",
    "card_both card_in_free_out free_in_card_out free_both closed",
)
_text(
    "gate_event",
    "event",
    "what happened in the lane",
    "granted_passed granted_not_passed denied tailgating reverse_intrusion forced climb_over "
    "held_open fire_release button_open passed turned_back vehicle_lingers person_lingers congestion",
)
_flag(
    "loop_approach loop_safety limit_open limit_closed controller_fault manual_button arm_detached "
    "hold_open lane_light",
    "state",
    "contact of the lane; true when active",
)
_flag("fire_alarm", "state", "true when the fire contact, or a cut wire, says alarm")
_counter("count_in count_out", "1", "passages since the counter began")
_whole("list_version", "1", "state", 0, INT_MAX, "version of the offline credential list")
_text("direction", "event", "of the passage, as the device names it", "in out up down left right")
_text("credential", "event", "keyed hash of card, code or face", secret=True)
_text("plate", "event", "number plate as recognised", secret=True)
_text("plate_colour plate_type trigger", "event", "what the camera says of the picture")
_number("confidence", "%", 0, 100, "of the recognition")
_text("event_id reason", "event", "in the device's own words")
_flag(
    "offline_record fake_plate", "event", "kept by the device and sent late; or held to be forged"
)

# Any device or link.
_flag("online", "state", "the device, or its last will, says it is reachable")
_whole(
    "sequence", "1", "state", 0, INT_MAX, "the device's own message number; a gap is a lost message"
)
_whole("signal", "dBm", "state", -200, 50, "radio signal")
_whole("uptime", "s", "state", 0, 2**32, "since the device started; a fall marks a reboot")

# A link as a device of its own: its counts are readings too.
_number("link_utilization", "1", 0, 1.5, "share of the bus's time in which it carried frames")
_number("link_quarantine_share", "1", 0, 1.5, "share of the bus's time spent on silent devices")
_counter(
    "link_requests link_timeouts link_exceptions link_frame_errors link_discarded link_reconnects "
    "link_messages link_poison link_refused",
    "1",
    "since the link was opened",
)
_flag("link_up", "state", "the bus, server or broker is reachable")
_whole("link_silent", "1", "state", 0, 100_000, "devices in quarantine")

# What a device may say in another unit, as an exact factor to the point's own.
_FACTORS: dict[str, tuple[str, Fraction]] = {
    "mWh": ("Wh", Fraction(1, 1000)),
    "kWh": ("Wh", Fraction(1000)),
    "MWh": ("Wh", Fraction(1_000_000)),
    "Wmin": ("Wh", Fraction(1, 60)),
    "kvarh": ("varh", Fraction(1000)),
    "Mvarh": ("varh", Fraction(1_000_000)),
    "kVAh": ("VAh", Fraction(1000)),
    "MVAh": ("VAh", Fraction(1_000_000)),
    "L": ("ml", Fraction(1000)),
    "m3": ("ml", Fraction(1_000_000)),
    "L/min": ("L/h", Fraction(60)),
    "m3/h": ("L/h", Fraction(1000)),
    "mW": ("W", Fraction(1, 1000)),
    "kW": ("W", Fraction(1000)),
    "MW": ("W", Fraction(1_000_000)),
    "kvar": ("var", Fraction(1000)),
    "kVA": ("VA", Fraction(1000)),
    "mV": ("V", Fraction(1, 1000)),
    "kV": ("V", Fraction(1000)),
    "mA": ("A", Fraction(1, 1000)),
    "kA": ("A", Fraction(1000)),
    "mHz": ("Hz", Fraction(1, 1000)),
    "CNY": ("fen", Fraction(100)),
    "min": ("s", Fraction(60)),
    "ms": ("s", Fraction(1, 1000)),
    "h": ("s", Fraction(3600)),
    "ratio": ("%", Fraction(100)),
}


def unit_factor(unit: str, canonical: str) -> Fraction | None:
    """What a number in `unit` is multiplied with to become one in `canonical`; None when it cannot."""
    if unit == canonical:
        return Fraction(1)
    target, factor = _FACTORS.get(unit, ("", Fraction(0)))
    return factor if target == canonical else None


def units_of(canonical: str) -> tuple[str, ...]:
    """Every unit a profile may name for a point whose own unit is `canonical`."""
    return (canonical, *(unit for unit, (target, _) in _FACTORS.items() if target == canonical))


def in_words(name: str, value: Scalar) -> str:
    """A point's value as a person reads it: `voltage_l1 230.2 V`."""
    unit = POINTS[name].unit if name in POINTS else "1"
    if isinstance(value, bool):
        text = str(value).lower()
    else:
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{name} {text}" if unit == "1" else f"{name} {text} {unit}"

"""A product as data: which points it has and where they are found. One TOML file, no code, no expressions.

    name = "Eastron SDM120M"          maker = "Eastron"
    kind = "electricity_meter"        # what the device is; the measurement's name in InfluxDB
    protocol = "modbus"               # the driver; the table of the same name holds its defaults
    period_s = 60                     # how often it is read, or expected to speak
    rated_power_w = 10350             # more cannot flow: the limit for steps of its energy counters
    rated_flow_l_h = 2500             # the same for volumes of water
    confidence = "medium"             # of every point that names none of its own; "high" when absent
    sources = ["…"]                   doubts = ["what is assumed and must be confirmed on a device"]

    [settings]                        # what one installed device may say differently
    ct_ratio = { default = 1, minimum = 1, maximum = 10000, meaning = "…" }
    word_order = { default = "big", choices = ["big", "little"], meaning = "…" }
    fail_mode = { required = true, choices = ["open", "closed"], meaning = "…" }   # no device without it

    [modbus]                          # the protocol's own keys, read by its driver
    word_order = "$word_order"        # `$name` stands for the setting of that name

    [points]
    voltage_l1 = { at = 0x0000 }                                  # defaults from the vocabulary
    energy_import = { at = 0x0048, unit = "kWh", ratio = ["ct_ratio"] }

Keys of a point that the hub reads (all others belong to the protocol): `unit` `scale` `offset` `invert`
`absent` `values` `ratio` `minimum` `maximum` `rollover` `confidence` `note`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from hub.command import CommandSpec
from hub.confidence import Confidence
from hub.errors import ConfigError
from hub.points import Point, Scalar

_ENERGY_UNITS = frozenset({"Wh", "varh", "VAh"})
_ML_IN_L = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class PointSpec:
    """How one point of a product becomes a value of the vocabulary.

    A raw number times `factor` plus `offset` is the value in the point's own unit (`factor` holds scale,
    unit and configured ratios, exactly). `absent` lists raw codes that mean "no value"; `values` maps raw
    codes to texts or flags; `ratio` names points of the same profile to multiply with. `where` holds the
    protocol's own keys, for its driver to check.
    """

    point: Point
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    invert: bool = False
    absent: tuple[Scalar, ...] = ()
    values: Mapping[str, Scalar] = field(default_factory=dict)
    ratio: tuple[str, ...] = ()
    minimum: float
    maximum: float
    rollover: float | None = None
    confidence: Confidence = Confidence.HIGH
    note: str = ""
    where: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What one installed device may say differently from its product.

    A `required` one every device must say; its `default` only stands in while no device is known.
    """

    name: str
    default: Scalar
    required: bool = False
    choices: tuple[Scalar, ...]
    minimum: float | None
    maximum: float | None
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A product with the settings of the devices that share it applied.

    `wire` holds the protocol's keys, `chosen` the value of every setting.
    """

    id: str
    name: str
    maker: str
    kind: str
    protocol: str
    period_s: float
    rated_power_w: float
    rated_flow_l_h: float
    points: Mapping[str, PointSpec]
    commands: Mapping[str, CommandSpec]
    wire: Mapping[str, object]
    settings: Mapping[str, Setting]
    sources: tuple[str, ...]
    doubts: tuple[str, ...]
    file: str
    chosen: Mapping[str, Scalar] = field(default_factory=dict)

    def hourly_max(self, unit: str) -> float:
        """The most that a counter in this unit can go on in an hour; 0 where nothing is known to limit it."""
        if unit in _ENERGY_UNITS:
            return self.rated_power_w
        return self.rated_flow_l_h * _ML_IN_L if unit == "ml" else 0.0

    def wrong(self, key: str, found: str, hint: str) -> ConfigError:
        """The error for a mistake at `key` of this profile's file."""
        return ConfigError(file=self.file, key=key, found=found, hint=hint)

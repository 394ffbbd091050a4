"""What the API takes and gives, field by field: nothing goes out that is not named here.

Times are integer UTC milliseconds; every value is in its point's one unit.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from hub.presence import Presence

TIME_MAX = 2**53 - 1
ID_PATTERN = r"^[a-z0-9-]{1,64}$"
NAME_PATTERN = r"^[a-z0-9_]{1,64}$"

Scalar: TypeAlias = bool | int | float | str
DeviceId = Annotated[str, Field(pattern=ID_PATTERN, description="id of a device")]
TimeMs = Annotated[int, Field(ge=0, le=TIME_MAX, description="UTC milliseconds")]


class Given(BaseModel):
    """What a caller writes: exactly these fields, no number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Asked(BaseModel):
    """What a caller asks in a query: exactly these fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Shown(BaseModel):
    """What the API gives."""

    model_config = ConfigDict(frozen=True)


class PlaceShown(Shown):
    """Where a device is; empty where the level does not apply."""

    building: str
    floor: str
    room: str
    circuit: str


class DeviceShown(Shown):
    """An installed device, and whether it can be believed to be reachable now."""

    id: str
    name: str
    maker: str
    kind: str
    profile: str
    link: str
    place: PlaceShown
    period_s: float
    presence: Presence
    presence_reason: str


class PointShown(Shown):
    """A quantity this device tells."""

    name: str
    unit: str
    type: str
    kind: str
    minimum: float
    maximum: float
    meaning: str
    confidence: str


class ArgumentShown(Shown):
    """A value a command takes; one with `from_point` is filled by the hub."""

    name: str
    type: str
    unit: str
    minimum: float
    maximum: float
    choices: list[str]
    default: Scalar | None
    from_point: str
    meaning: str


class CommandSpecShown(Shown):
    """A command this device takes."""

    name: str
    meaning: str
    hazard: str
    repeat: str
    deadline_s: float
    offline: str
    confidence: str
    note: str
    arguments: list[ArgumentShown]


class DeviceDetail(DeviceShown):
    """A device with all it tells and takes."""

    points: list[PointShown]
    commands: list[CommandSpecShown]


class DevicePage(Shown):
    """Devices by id; `next` is the `after` of the next page."""

    devices: list[DeviceShown]
    next: str | None


class LatestShown(Shown):
    """The last word of a device, point by point; points in `older` had their value at that time."""

    device: str
    time_ms: int
    received_ms: int
    presence: Presence
    values: dict[str, Scalar]
    older: dict[str, int]
    bad: dict[str, str]
    uncertain: dict[str, str]


class LatestPage(Shown):
    """Devices that have spoken, by id; `next` is the `after` of the next page."""

    latest: list[LatestShown]
    next: str | None


class MarkShown(Shown):
    """A time at which a point gave no value, or one with a doubt."""

    time_ms: int
    reason: str


class RollupShown(Shown):
    """A point over an hour, or a day of the site, that begins at `start_ms`."""

    start_ms: int
    first: float
    last: float
    minimum: float
    maximum: float
    mean: float
    count: int


class HistoryShown(Shown):
    """One point in time order: readings as `times_ms` with `values`, or roll-ups.

    `next` is the `cursor` of the next page, null at the end; a page may be empty and have a next one.
    """

    device: str
    point: str
    unit: str
    every: str
    times_ms: list[int]
    values: list[Scalar]
    bad: list[MarkShown]
    uncertain: list[MarkShown]
    rollups: list[RollupShown]
    next: int | None

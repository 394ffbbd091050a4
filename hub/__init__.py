"""Dormhub's contract: what a driver, a sink or a simulator may know of the hub. Nothing heavy is imported."""

from hub.clock import Clock, SystemClock, VirtualClock
from hub.command import (
    Answer,
    Argument,
    Command,
    CommandSpec,
    Expect,
    Frame,
    Hazard,
    Offline,
    Outcome,
    Priority,
    Repeat,
    State,
    argument_mistake,
    resolve,
)
from hub.confidence import Confidence
from hub.convert import Converter, Raw, converter
from hub.errors import (
    BadValue,
    ConfigError,
    ConfigErrors,
    DeviceError,
    HubError,
    LinkError,
    Rejected,
    SinkBusy,
    StoreDamaged,
    StoreError,
)
from hub.gate_rules import is_gate
from hub.model import POISON_KEPT_BYTES, Device, Link, Place, Poison, Reading, Value
from hub.plugin import Directory, Driver, Host, Sink, settings_as
from hub.points import POINTS, Point, PointKind, PointType
from hub.profile import PointSpec, Profile
from hub.profile_file import ProfileLibrary, load_profiles
from hub.site import Site, load_site

__all__ = [
    "Answer",
    "Argument",
    "Command",
    "CommandSpec",
    "Expect",
    "Frame",
    "Hazard",
    "Offline",
    "Outcome",
    "Priority",
    "Repeat",
    "State",
    "resolve",
    "BadValue",
    "Clock",
    "Confidence",
    "ConfigError",
    "ConfigErrors",
    "Converter",
    "Device",
    "DeviceError",
    "Directory",
    "Driver",
    "Host",
    "HubError",
    "Link",
    "LinkError",
    "POINTS",
    "POISON_KEPT_BYTES",
    "Place",
    "Point",
    "PointKind",
    "PointSpec",
    "PointType",
    "Poison",
    "Profile",
    "ProfileLibrary",
    "Raw",
    "Reading",
    "Rejected",
    "Sink",
    "SinkBusy",
    "Site",
    "StoreDamaged",
    "StoreError",
    "SystemClock",
    "Value",
    "VirtualClock",
    "argument_mistake",
    "converter",
    "is_gate",
    "load_profiles",
    "load_site",
    "settings_as",
]

"""The plug point of finding what is on a link. A driver's package may offer it beside `open_driver`.

A scanner is `open_scanner(link, profiles, search) -> Scanner` in the module of the driver's factory. It
only asks: nothing it sends may change a device.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Protocol, TypeAlias

from hub.errors import ConfigError
from hub.model import Link
from hub.plugin import DRIVER_GROUP, Host
from hub.profile import Profile


class Sight(StrEnum):
    """What was seen at one spot."""

    SILENT = "silent"
    KNOWN = "known"  # its identity says which product it is
    PERHAPS = "perhaps"  # it answers like a product
    STRANGER = "stranger"  # it answers, and like no product known here
    COLLISION = "collision?"  # what came is no answer: two devices at one address, or noise


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Where to look: addresses in the words of the protocol ("1-247"); empty means all of them.

    `bauds` and `formats` (8N1) are tried where they can be changed from here; empty means the usual ones,
    or with `own_way` only what the link says. `timeout_s` is the patience for one answer.
    """

    addresses: str = ""
    bauds: tuple[int, ...] = ()
    formats: tuple[str, ...] = ()
    own_way: bool = False
    timeout_s: float = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """One address, and the way it is asked: `9600 8N1`, or nothing where there is but one."""

    address: str
    way: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What was seen there: `profile` where a product was recognised, `text` why, for a person."""

    spot: Spot
    sight: Sight
    profile: str = ""
    text: str = ""


class Scanner(Protocol):
    """Looks for devices on one link. Made from checked settings; nothing is open before `scan`."""

    @property
    def notes(self) -> Sequence[str]:
        """What of the search cannot be done from here, for a person."""

    def spots(self) -> Sequence[Spot]:
        """Everywhere to look, in order."""

    def expected_s(self, spots: Sequence[Spot]) -> float:
        """How long that takes if nobody is there, in seconds."""

    def scan(self, spots: Sequence[Spot], host: Host) -> AsyncGenerator[Sighting]:
        """One sighting for each spot, in order, each after a bounded time.

        Raises LinkError when the link cannot be used. Closed (aclosing) it has nothing open any more.
        """


ScannerFactory: TypeAlias = Callable[[Link, Sequence[Profile], Search], Scanner]


def open_scanner(link: Link, profiles: Sequence[Profile], search: Search) -> Scanner:
    """The scanner for a link that knows these products; raises ConfigError for a wrong setting or search."""
    for entry in entry_points(group=DRIVER_GROUP, name=link.driver):
        module = sys.modules[entry.load().__module__]
        factory: ScannerFactory | None = getattr(module, "open_scanner", None)
        if factory is not None:
            return factory(link, profiles, search)
    raise ConfigError(
        file=link.source,
        key=f"links.{link.id}.driver",
        found=f"driver {link.driver!r} cannot scan",
        hint="scan a link whose driver can: modbus",
    )

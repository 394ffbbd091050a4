"""The two plug points, driver and sink, and how they are found.

A driver or a sink is named by an entry point of the group `dormhub.drivers` or `dormhub.sinks`, ours by
the same door as a stranger's. A factory only looks at its settings: it never touches the network, and
what it raises is a ConfigError, so `dormhub check` can try it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from hub.clock import Clock
from hub.command import Command, Outcome
from hub.errors import ConfigError, ConfigErrors
from hub.model import Device, Link, Poison, Reading, Trace

DRIVER_GROUP = "dormhub.drivers"
SINK_GROUP = "dormhub.sinks"


class Host(Protocol):
    """What the hub lends to a running driver."""

    @property
    def clock(self) -> Clock:
        """The only clock a driver may use."""

    async def publish(self, readings: Sequence[Reading]) -> None:
        """Hand over readings; returns when all of them are on disk (or refused with a counted reason).

        Only now may a driver acknowledge them to a device or broker. Waits while the intake is full.
        Raises StoreError when nothing was stored: do not acknowledge, try again later. May be called by
        several tasks at once; one call's readings keep their order.
        """

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        """Keep messages that could not become readings, for a person; returns when on disk.

        Bounded: the oldest make room, and everything is counted by reason. Raises StoreError.
        """

    def missed(self, device: str, reason: str) -> None:
        """This device was asked, or was due, and gave nothing usable. `reason` is a short fixed word."""

    def link_up(self) -> None:
        """The link works. Said once for each time it comes up."""

    def link_down(self, reason: str) -> None:
        """The link is away; the driver keeps trying by itself. Said once for each time it goes."""

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        """Add to a counter of this link; whatever is dropped or refused is counted here."""

    def answered_late(self, device: str, command: str, outcome: Outcome) -> None:
        """An answer to a command whose `execute` had already returned; `command` is the id it names."""

    def tapped(self, device: str = "") -> bool:
        """Whether a person looks at this device's frames now; without a name, at any device's."""

    def tap(self, trace: Trace) -> None:
        """Show a frame to whoever looks on; called only for a device that is `tapped`. Never waits."""


class Driver(Protocol):
    """One link. Made by a factory `open_driver(link: Link) -> Driver` that only checks and assigns."""

    async def run(self, host: Host) -> None:
        """Serve the link until cancelled: called once, never in parallel with itself.

        Connects, and connects again after a loss, by itself with a paced back-off. May raise LinkError to
        be started anew by the supervisor. On cancellation everything it opened is closed within a second
        and CancelledError goes on. After it returns or raises, nothing is published any more.
        """

    async def execute(self, command: Command) -> Outcome:
        """Tell a device once, and say what came back; never repeats by itself.

        Called while `run` runs, one at a time for each device; goes before polling on the same bus, by
        `command.priority`. A read of the device that was under way when this was called is not published:
        its answer may be older than the command. Just before the write the deadline is checked once more:
        past it the outcome is NOT_SENT. When it passes while bytes may still wait in a socket, the
        connection is reset. On a link that only observes it is NOT_SENT. Never raises but for cancellation.
        """

    def refresh(self, device: str) -> None:
        """Read this device as soon as its bus allows, and publish what it says as ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Topics:
    """What somebody may publish and hear at a broker: topics; a last level `#` means all below, `+` any."""

    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkTopics:
    """Who needs which topics on a link: every device by its id, and the hub itself."""

    devices: Mapping[str, Topics]
    hub: Topics


@runtime_checkable
class TopicDriver(Protocol):
    """What a driver also has when its devices meet the hub at a broker, which the hub then guards."""

    def topics(self) -> LinkTopics:
        """The topics of every device of the link; at once, without the network."""


class Directory(Protocol):
    """Who is who, for a sink that writes place and product beside a value."""

    def device(self, name: str) -> Device | None:
        """The device of this id as configured now; None when it was never configured or is retired."""


class Sink(Protocol):
    """A destination, made by `open_sink(settings, directory)`; cursor, batching, retries are the hub's."""

    async def write(self, batch: Sequence[Reading]) -> None:
        """Deliver readings, in order; returns when the receiver has taken all of them.

        Never called in parallel, never after `close`; cancelled when it takes longer than a minute. After
        any error, a time-out or a crash of the hub the same readings come again with the same values, and
        writing them again must change nothing, whatever part the receiver had already taken.

        Raises Rejected only for what is wrong with the readings themselves and always will be: the hub
        halves the batch down to the one to blame and puts that into quarantine. SinkBusy asks to be called
        again later. LinkError is everything else (unreachable, wrong token, no such bucket): no reading is
        given up, and the hub tries again with growing pauses. The texts are shown to a person: no secrets.
        """

    async def close(self) -> None:
        """Give back connections. Called once."""


DriverFactory: TypeAlias = Callable[[Link], Driver]
SinkFactory: TypeAlias = Callable[[Mapping[str, object], Directory], Sink]


def driver_names() -> tuple[str, ...]:
    """Every installed driver's name."""
    return tuple(sorted(entry.name for entry in entry_points(group=DRIVER_GROUP)))


def sink_names() -> tuple[str, ...]:
    """Every installed sink's name."""
    return tuple(sorted(entry.name for entry in entry_points(group=SINK_GROUP)))


def open_driver(link: Link) -> Driver:
    """The driver a link names, made but not running; raises ConfigError for any wrong setting."""
    factory = _driver_factory(link.driver)
    if factory is not None:
        return factory(link)
    raise ConfigError(
        file=link.source,
        key=f"links.{link.id}.driver",
        found=f"no driver {link.driver!r}",
        hint="installed: " + ", ".join(driver_names()),
    )


@cache
def _driver_factory(name: str) -> DriverFactory | None:
    """Looked up once: to ask every installed package for each of hundreds of links takes seconds."""
    for entry in entry_points(group=DRIVER_GROUP, name=name):
        factory: DriverFactory = entry.load()
        return factory
    return None


def link_topics(link: Link) -> LinkTopics | None:
    """The topics of a link's devices; None when they meet at no broker. Raises ConfigError."""
    driver = open_driver(link)
    return driver.topics() if isinstance(driver, TopicDriver) else None


def open_drivers(links: Iterable[Link], make: DriverFactory = open_driver) -> dict[str, Driver]:
    """A driver for each link, by its id; raises ConfigErrors with every mistake of all of them."""
    made: dict[str, Driver] = {}
    mistakes: list[ConfigError] = []
    for link in links:
        try:
            made[link.id] = make(link)
        except ConfigError as error:
            mistakes.append(error)
    if mistakes:
        raise ConfigErrors(tuple(mistakes))
    return made


def link_mistakes(links: Iterable[Link]) -> list[ConfigError]:
    """What is wrong with these links' settings; each driver is made, none is run."""
    try:
        open_drivers(links)
    except ConfigErrors as errors:
        return list(errors.errors)
    return []


def open_sink(
    kind: str, settings: Mapping[str, object], directory: Directory, *, file: str, key: str
) -> Sink:
    """The sink of this kind, made but not connected.

    Raises ConfigError for any wrong setting, with `file` and `key` as its place.
    """
    for entry in entry_points(group=SINK_GROUP, name=kind):
        factory: SinkFactory = entry.load()
        try:
            return factory(settings, directory)
        except ConfigError as error:
            inner = error.key.strip(".")
            raise ConfigError(
                file=file,
                key=f"{key}.{inner}" if inner else key,
                found=error.found,
                hint=error.hint,
            ) from None
    raise ConfigError(
        file=file,
        key=f"{key}.type",
        found=f"no sink {kind!r}",
        hint="installed: " + ", ".join(sink_names()),
    )


Settings = TypeVar("Settings")


def settings_as(
    kind: type[Settings], settings: Mapping[str, object], *, file: str, key: str
) -> Settings:
    """A driver's or sink's settings as its own frozen type (a msgspec Struct or a dataclass).

    Types are strict and, where the type forbids it, unknown keys are refused; raises ConfigError whose key
    is `key` plus the place inside.
    """
    try:
        return msgspec.convert(settings, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        raise ConfigError(
            file=file,
            key=key + path.rstrip("`"),
            found=text,
            hint="see docs/configuration.md",
        ) from None

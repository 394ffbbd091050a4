"""The contract suites themselves: drivers and sinks that break a promise are found out."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from hub import Device, Directory, Driver, Host, Link, Reading, Sink, Value, load_profiles
from hub.plugin import DriverFactory
from simulators import contract_driver, contract_sink
from simulators.contract_driver import Behaviour, OtherSide
from simulators.contract_sink import Receiver, ReceiverBehaviour, Stored

PROFILE = load_profiles().get("eastron_sdm120", {}, place="test")
DEVICES = tuple(
    Device(id=name, profile=PROFILE, link="bus", address=name) for name in ("one", "two")
)


@pytest.fixture(autouse=True)
def _sockets_closed() -> Iterator[None]:
    yield
    while Leaker.left:
        Leaker.left.pop().close()


def _readings(volts: float) -> list[Reading]:
    values: dict[str, Value] = {"voltage_l1": volts}
    return [
        Reading(device=device.id, time_ms=1, received_ms=1, values=values) for device in DEVICES
    ]


class Talker:
    """A driver that publishes what it is given, again and again."""

    def __init__(self, volts: float = 230.0) -> None:
        self._volts = volts

    async def run(self, host: Host) -> None:
        host.link_up()
        while True:
            await host.publish(_readings(self._volts))
            await asyncio.sleep(0.01)


class Deaf(Talker):
    """Swallows the first cancellation."""

    async def run(self, host: Host) -> None:
        try:
            await super().run(host)
        except asyncio.CancelledError:
            await super().run(host)


class Leaker(Talker):
    """Leaves a socket open."""

    left: ClassVar[list[socket.socket]] = []

    async def run(self, host: Host) -> None:
        self.left.append(socket.socket())
        await super().run(host)


class Orphan(Talker):
    """Leaves a task behind that goes on publishing."""

    async def run(self, host: Host) -> None:
        self.child = asyncio.create_task(super().run(host))
        await asyncio.Event().wait()


class Quitter(Talker):
    """Ends by itself."""

    async def run(self, host: Host) -> None:
        await host.publish(_readings(230.0))


class Bus:
    """The other side: its devices only ever mean 230 V."""

    link = Link(id="bus", driver="talker", devices=DEVICES)

    async def behave(self, how: Behaviour) -> None:
        return

    def is_true(self, reading: Reading) -> bool:
        return reading.values == {"voltage_l1": 230.0}


class TalkerCase:
    patience_s = 0.3

    def __init__(self, make: Callable[[], Driver]) -> None:
        self._make = make

    @property
    def factory(self) -> DriverFactory:
        return lambda link: self._make()

    @asynccontextmanager
    async def other_side(self) -> AsyncIterator[OtherSide]:
        yield Bus()


BROKEN = [
    (
        lambda: Talker(231.0),
        contract_driver.test_true_readings_of_every_device_arrive,
        "never said",
    ),
    (Quitter, contract_driver.test_true_readings_of_every_device_arrive, "ended by itself"),
    (Talker, contract_driver.test_the_link_dies_and_comes_back, "the loss is said"),
    (Talker, contract_driver.test_a_wrong_setting_is_a_config_error, "DID NOT RAISE"),
    (
        Deaf,
        contract_driver.test_cancelled_at_any_moment_it_ends_at_once_and_leaves_nothing,
        "still running",
    ),
    (
        Leaker,
        contract_driver.test_cancelled_at_any_moment_it_ends_at_once_and_leaves_nothing,
        "no file left",
    ),
    (
        Orphan,
        contract_driver.test_cancelled_at_any_moment_it_ends_at_once_and_leaves_nothing,
        "no task",
    ),
]


@pytest.mark.parametrize(("driver", "judge", "verdict"), BROKEN)
def test_a_driver_that_breaks_its_promise_is_found_out(
    driver: Callable[[], Driver], judge: Callable[[TalkerCase], None], verdict: str
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception), match=verdict):
        judge(TalkerCase(driver))


def test_a_driver_that_keeps_its_promise_is_not_blamed() -> None:
    contract_driver.test_true_readings_of_every_device_arrive(TalkerCase(Talker))


class Adder:
    """A store that keeps a sum where it should keep a value, so that a repeat changes it."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, int, str], float] = {}

    def open(self, directory: Directory) -> Sink:
        return self

    async def behave(self, how: ReceiverBehaviour) -> None:
        return

    async def stored(self) -> Stored:
        return dict(self.held)

    async def write(self, batch: Sequence[Reading]) -> None:
        for reading in batch:
            for point, value in reading.values.items():
                key = (reading.device, reading.time_ms, point)
                self.held[key] = self.held.get(key, 0) + float(value)

    async def close(self) -> None:
        return


class AdderCase:
    @asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        yield Adder()


def test_a_sink_whose_repeats_change_something_is_found_out() -> None:
    contract_sink.test_a_written_batch_is_all_there(AdderCase())
    with pytest.raises(AssertionError):
        contract_sink.test_the_same_batch_again_changes_nothing(AdderCase())


def test_a_sink_that_hides_a_refusal_is_found_out() -> None:
    with pytest.raises(pytest.fail.Exception):
        contract_sink.test_a_refused_batch_is_told_as_rejected(AdderCase())

"""What every driver promises, as tests that an author runs on their own driver.

In a test file of yours:

    from simulators.contract_driver import *   # the tests, found by pytest under their names

    @pytest.fixture
    def driver_case() -> DriverCase:
        return MyCase()

A `DriverCase` names the driver's factory and opens an `OtherSide`: real or simulated devices whose
behaviour the suite can change. The suite is written with plain asserts, needs no other plug-in than
pytest, and runs each test in an event loop of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from hub import (
    Clock,
    ConfigError,
    Link,
    Outcome,
    Poison,
    Reading,
    StoreError,
    SystemClock,
    Trace,
)
from hub.plugin import DriverFactory

__all__ = [
    "Behaviour",
    "ContractHost",
    "DriverCase",
    "OtherSide",
    "test_a_full_disk_is_waited_out",
    "test_a_wrong_setting_is_a_config_error",
    "test_cancelled_at_any_moment_it_ends_at_once_and_leaves_nothing",
    "test_cancelled_while_the_disk_is_slow_it_ends_at_once",
    "test_misbehaviour_is_survived_and_never_believed",
    "test_the_factory_touches_no_network",
    "test_the_link_dies_and_comes_back",
    "test_true_readings_of_every_device_arrive",
]

_END_S = 1.0  # the promise of `Driver.run`
_MOMENTS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 300, 1000)
_NOTICED_S = 2.0
_LINGERS_S = 0.2  # long enough for what a forgotten task would still say


class Behaviour(StrEnum):
    """How the other side of a link behaves."""

    WELL = "well"
    SILENT = "silent"  # connected, but the devices say nothing
    GARBAGE = "garbage"  # what they say cannot be read, or must not be believed
    LATE = "late"  # what they say comes long after it was asked for or true
    DEAD = "dead"  # the link itself is gone: refused, reset, unplugged


class OtherSide(Protocol):
    """Devices behind a link, while the case holds them open."""

    @property
    def link(self) -> Link:
        """A link with at least two devices and settings that lead here."""

    async def behave(self, how: Behaviour) -> None:
        """Behave so from now on; returns when it is so."""

    def is_true(self, reading: Reading) -> bool:
        """Whether the devices can have meant this reading, value by value."""


class DriverCase(Protocol):
    """A driver under test."""

    @property
    def factory(self) -> DriverFactory:
        """The function its entry point names."""

    @property
    def patience_s(self) -> float:
        """The longest this driver may need to notice a change of the other side."""

    def other_side(self) -> AbstractAsyncContextManager[OtherSide]:
        """Devices that behave well; opened anew for each test, in its event loop."""


class ContractHost:
    """A host that keeps what a driver says. Clear `disk` for a slow disk, set `full` for a full one."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.events: list[str] = []
        self.complaints = 0
        self.refused = 0
        self.full = False
        self.disk = asyncio.Event()
        self.disk.set()
        self.waiting = 0
        self._clock = SystemClock(seed=1)

    @property
    def clock(self) -> Clock:
        """The machine's clock."""
        return self._clock

    async def publish(self, readings: Sequence[Reading]) -> None:
        """Keep them once the disk allows it."""
        self.waiting += 1
        await self.disk.wait()
        self.waiting -= 1
        if self.full:
            self.refused += 1
            raise StoreError("the disk is full")
        self.readings.extend(readings)

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        """Count them as complaints."""
        self.complaints += len(poison)

    def missed(self, device: str, reason: str) -> None:
        """Count it as a complaint."""
        self.complaints += 1

    def answered_late(self, device: str, command: str, outcome: Outcome) -> None:
        """The suite sends no commands."""

    def tapped(self, device: str = "") -> bool:
        """The suite looks at no frames."""
        return False

    def tap(self, trace: Trace) -> None:
        """Nobody looks: a frame shown all the same is a complaint."""
        self.complaints += 1

    def link_up(self) -> None:
        """Keep the event."""
        self.events.append("up")

    def link_down(self, reason: str) -> None:
        """Keep the event."""
        self.events.append("down")

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        """Count a reason as a complaint."""
        self.complaints += bool(reason)

    def heard(self, link: Link, since: int = 0) -> bool:
        """Whether every device of the link has said something since so many readings."""
        devices = {reading.device for reading in self.readings[since:]}
        return devices >= {device.id for device in link.devices}


async def until(condition: Callable[[], bool], patience_s: float, what: str) -> None:
    """Return as soon as the condition holds; fail the test, saying what was awaited, if it never does."""
    try:
        async with asyncio.timeout(patience_s):
            while not condition():  # noqa: ASYNC110  (a condition on anybody's parts has no event)
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not within {patience_s} s: {what}")


@asynccontextmanager
async def _driving(case: DriverCase, link: Link, host: ContractHost) -> AsyncIterator[None]:
    """The driver at work; it must still be at work in the end, and end when told."""
    task = asyncio.create_task(case.factory(link).run(host), name="driver under test")
    try:
        yield
    finally:
        if task.done():
            pytest.fail(f"the driver ended by itself: {task}")
        await _end(task)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel it as a supervisor does: once, and with the patience the contract allows."""
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=_END_S)
    if not done:
        pytest.fail(f"still running {_END_S} s after it was cancelled")
    assert task.cancelled() or task.exception() is not None, "it swallowed its cancellation"


def _in_a_loop(test: Callable[[], Coroutine[object, object, None]]) -> None:
    asyncio.run(test())


def _open_files() -> int:
    """How many files and sockets this process holds; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.is_dir() else 0


def _assert_true(side: OtherSide, readings: Sequence[Reading]) -> None:
    """Of the devices' readings; a link's own counts are its driver's."""
    false = [item for item in readings if item.device != side.link.id and not side.is_true(item)]
    assert not false, f"never said by the device: {false[0]}"


def test_true_readings_of_every_device_arrive(driver_case: DriverCase) -> None:
    """Every device is heard, and what is published is what it said."""

    async def check() -> None:
        host = ContractHost()
        async with driver_case.other_side() as side, _driving(driver_case, side.link, host):
            heard = "a reading of every device"
            await until(lambda: host.heard(side.link), driver_case.patience_s, heard)
            _assert_true(side, host.readings)
            assert host.events == ["up"]

    _in_a_loop(check)


async def _complaint(host: ContractHost) -> None:
    """Until the driver has complained, or long enough: of silence many drivers have nothing to say."""
    before = host.complaints
    with suppress(TimeoutError):
        async with asyncio.timeout(_NOTICED_S):
            while host.complaints == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", [Behaviour.SILENT, Behaviour.GARBAGE, Behaviour.LATE])
def test_misbehaviour_is_survived_and_never_believed(
    driver_case: DriverCase, how: Behaviour
) -> None:
    """Silence, garbage and late answers end no run and give no value; afterwards readings come again."""

    async def check() -> None:
        host = ContractHost()
        patience_s = driver_case.patience_s
        async with driver_case.other_side() as side, _driving(driver_case, side.link, host):
            await until(lambda: host.heard(side.link), patience_s, "a reading of every device")
            await side.behave(how)
            await _complaint(host)
            await side.behave(Behaviour.WELL)
            since = len(host.readings)
            await until(lambda: host.heard(side.link, since), patience_s, f"readings after {how}")
            _assert_true(side, host.readings)

    _in_a_loop(check)


def test_the_link_dies_and_comes_back(driver_case: DriverCase) -> None:
    """The loss is said once, the return is said once, and readings come again by themselves."""

    async def check() -> None:
        host = ContractHost()
        patience_s = driver_case.patience_s
        async with driver_case.other_side() as side, _driving(driver_case, side.link, host):
            await until(lambda: host.heard(side.link), patience_s, "a reading of every device")
            await side.behave(Behaviour.DEAD)
            await until(lambda: host.events == ["up", "down"], patience_s, "the loss is said")
            since = len(host.readings)
            await side.behave(Behaviour.WELL)
            await until(lambda: host.events[2:] == ["up"], patience_s, "the return is said")
            await until(lambda: host.heard(side.link, since), patience_s, "readings again")
            _assert_true(side, host.readings)

    _in_a_loop(check)


def test_cancelled_at_any_moment_it_ends_at_once_and_leaves_nothing(
    driver_case: DriverCase,
) -> None:
    """Cancelled after any number of turns of the loop: ended in time, no task, no file, no later word."""

    async def check() -> None:
        async with driver_case.other_side() as side:
            for turns in _MOMENTS:
                tasks, files = len(asyncio.all_tasks()), _open_files()
                host = ContractHost()
                await _cancel_after(driver_case, side.link, host, partial(_turns, turns))
                said = len(host.readings)
                await until(partial(_no_more_than, tasks, files), _END_S, "no task, no file left")
                await asyncio.sleep(_LINGERS_S if turns == _MOMENTS[-1] else 0)
                assert len(host.readings) == said, "published after its run had ended"

    _in_a_loop(check)


def _no_more_than(tasks: int, files: int) -> bool:
    return len(asyncio.all_tasks()) <= tasks and _open_files() <= files


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def _cancel_after(
    case: DriverCase, link: Link, host: ContractHost, moment: Callable[[], Awaitable[None]]
) -> None:
    task = asyncio.create_task(case.factory(link).run(host), name="driver under test")
    await moment()
    await _end(task)


def test_cancelled_while_the_disk_is_slow_it_ends_at_once(driver_case: DriverCase) -> None:
    """A publish that never returns holds nothing up."""

    async def check() -> None:
        host = ContractHost()
        host.disk.clear()
        async with driver_case.other_side() as side:
            waiting = "something waits for the disk"
            await _cancel_after(
                driver_case,
                side.link,
                host,
                lambda: until(lambda: host.waiting > 0, driver_case.patience_s, waiting),
            )
            host.disk.set()
            await asyncio.sleep(_LINGERS_S)
            assert not host.readings, "published after its run had ended"

    _in_a_loop(check)


def test_a_full_disk_is_waited_out(driver_case: DriverCase) -> None:
    """A store that refuses ends no run; when it takes again, readings of every device arrive."""

    async def check() -> None:
        host = ContractHost()
        host.full = True
        patience_s = driver_case.patience_s
        async with driver_case.other_side() as side, _driving(driver_case, side.link, host):
            await until(lambda: host.refused > 0, patience_s, "something is refused")
            host.full = False
            await until(lambda: host.heard(side.link), patience_s, "readings after the full disk")
            _assert_true(side, host.readings)

    _in_a_loop(check)


def test_the_factory_touches_no_network(driver_case: DriverCase) -> None:
    """It only looks at its settings: the other side may be dead, and no event loop runs."""

    async def dead_link() -> Link:
        async with driver_case.other_side() as side:
            await side.behave(Behaviour.DEAD)
            return side.link

    link = asyncio.run(dead_link())
    files = _open_files()
    driver_case.factory(link)
    assert _open_files() == files


def test_a_wrong_setting_is_a_config_error(driver_case: DriverCase) -> None:
    """A setting that does not exist is told with its place before anything starts."""

    async def good_link() -> Link:
        async with driver_case.other_side() as side:
            return side.link

    link = asyncio.run(good_link())
    wrong = replace(link, settings={**link.settings, "no_such_setting": 1})
    with pytest.raises(ConfigError):
        driver_case.factory(wrong)

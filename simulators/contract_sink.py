"""What every sink promises, as tests that an author runs on their own sink.

In a test file of yours:

    from simulators.contract_sink import *   # the tests, found by pytest under their names

    @pytest.fixture
    def sink_case() -> SinkCase:
        return MyCase()

A `SinkCase` opens a `Receiver`: a real or recording destination whose behaviour the suite can change, and
which can say what it holds. Each test runs in an event loop of its own; no other plug-in than pytest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import StrEnum
from typing import Protocol, TypeAlias

import pytest

from hub import (
    Device,
    Directory,
    LinkError,
    Place,
    Reading,
    Rejected,
    Sink,
    SinkBusy,
    Value,
    load_profiles,
)

__all__ = [
    "ContractDirectory",
    "Receiver",
    "ReceiverBehaviour",
    "SinkCase",
    "Stored",
    "test_a_busy_receiver_is_told_as_busy",
    "test_a_refused_batch_is_told_as_rejected",
    "test_a_write_can_be_cancelled_at_any_moment_and_repeated",
    "test_a_written_batch_is_all_there",
    "test_an_unreachable_receiver_is_told_as_a_link_error",
    "test_every_error_heals",
    "test_the_same_batch_again_changes_nothing",
]

_CANCEL_S = 1.0
_MOMENTS = (0, 1, 2, 3, 5, 8, 13, 21, 50, 200)
_FIRST_MS = 1_795_368_000_000

Stored: TypeAlias = Mapping[tuple[str, int, str], Value]


class ReceiverBehaviour(StrEnum):
    """How the destination behaves."""

    WELL = "well"
    BUSY = "busy"  # asks for patience
    REFUSING = "refusing"  # will never take what it is given
    AWAY = "away"  # cannot be reached


class Receiver(Protocol):
    """A destination, empty at first, while the case holds it open."""

    def open(self, directory: Directory) -> Sink:
        """A sink that writes here, as its factory makes it."""

    async def behave(self, how: ReceiverBehaviour) -> None:
        """Behave so from now on; returns when it is so."""

    async def stored(self) -> Stored:
        """Everything it holds: value by (device, time in ms, point)."""


class SinkCase(Protocol):
    """A sink under test."""

    def receiver(self) -> AbstractAsyncContextManager[Receiver]:
        """A destination that behaves well; opened anew for each test, in its event loop."""


class ContractDirectory:
    """Two meters with rooms, for sinks that write place and product beside a value."""

    def __init__(self) -> None:
        profile = load_profiles().get("eastron_sdm120", {}, place="contract")
        self._devices = {
            name: Device(
                id=name,
                profile=profile,
                link="bus",
                address=str(unit),
                place=Place(building="B 1", floor="1", room=f"10{unit}", circuit="a,b=c"),
            )
            for unit, name in enumerate(("contract-1", "contract-2"), 1)
        }

    def device(self, name: str) -> Device | None:
        """One of the two."""
        return self._devices.get(name)


def _batch(first: int, number: int) -> list[Reading]:
    """Readings of both meters, in order, each with a whole and a fractional value."""
    return [
        Reading(
            device=f"contract-{place % 2 + 1}",
            time_ms=_FIRST_MS + place * 1000,
            received_ms=_FIRST_MS + place * 1000 + 40,
            values={"voltage_l1": 220.0 + place / 8, "energy_import": 1_000_000 + place},
        )
        for place in range(first, first + number)
    ]


def _expected(batch: list[Reading]) -> Stored:
    return {
        (reading.device, reading.time_ms, point): value
        for reading in batch
        for point, value in reading.values.items()
    }


@asynccontextmanager
async def _sink(receiver: Receiver) -> AsyncIterator[Sink]:
    sink = receiver.open(ContractDirectory())
    try:
        yield sink
    finally:
        async with asyncio.timeout(_CANCEL_S):
            await sink.close()


def test_a_written_batch_is_all_there(sink_case: SinkCase) -> None:
    """When `write` returns, the receiver has every value, at its own time."""

    async def check() -> None:
        async with sink_case.receiver() as receiver, _sink(receiver) as sink:
            await sink.write(_batch(0, 50))
            await sink.write(_batch(50, 50))
            assert await receiver.stored() == _expected(_batch(0, 100))

    asyncio.run(check())


def test_the_same_batch_again_changes_nothing(sink_case: SinkCase) -> None:
    """A repeat, whole or in part, leaves the receiver as it was."""

    async def check() -> None:
        async with sink_case.receiver() as receiver, _sink(receiver) as sink:
            await sink.write(_batch(0, 20))
            before = await receiver.stored()
            await sink.write(_batch(0, 20))
            await sink.write(_batch(5, 5))
            assert await receiver.stored() == before == _expected(_batch(0, 20))

    asyncio.run(check())


def _told(case: SinkCase, how: ReceiverBehaviour, error: type[Exception]) -> None:
    async def check() -> None:
        async with case.receiver() as receiver, _sink(receiver) as sink:
            await receiver.behave(how)
            with pytest.raises(error):
                await sink.write(_batch(0, 4))

    asyncio.run(check())


def test_a_refused_batch_is_told_as_rejected(sink_case: SinkCase) -> None:
    """So that the hub looks for the bad reading instead of trying for ever."""
    _told(sink_case, ReceiverBehaviour.REFUSING, Rejected)


def test_a_busy_receiver_is_told_as_busy(sink_case: SinkCase) -> None:
    """So that the hub waits as long as it was asked to."""
    _told(sink_case, ReceiverBehaviour.BUSY, SinkBusy)


def test_an_unreachable_receiver_is_told_as_a_link_error(sink_case: SinkCase) -> None:
    """So that the hub keeps everything and tries again."""
    _told(sink_case, ReceiverBehaviour.AWAY, LinkError)


@pytest.mark.parametrize(
    "how", [ReceiverBehaviour.BUSY, ReceiverBehaviour.REFUSING, ReceiverBehaviour.AWAY]
)
def test_every_error_heals(sink_case: SinkCase, how: ReceiverBehaviour) -> None:
    """The same sink writes again when the receiver is well again."""

    async def check() -> None:
        async with sink_case.receiver() as receiver, _sink(receiver) as sink:
            await sink.write(_batch(0, 4))
            await receiver.behave(how)
            with pytest.raises((Rejected, SinkBusy, LinkError)):
                await sink.write(_batch(4, 4))
            await receiver.behave(ReceiverBehaviour.WELL)
            await sink.write(_batch(4, 4))
            assert await receiver.stored() == _expected(_batch(0, 8))

    asyncio.run(check())


def test_a_write_can_be_cancelled_at_any_moment_and_repeated(sink_case: SinkCase) -> None:
    """Cancelled after any number of turns it ends within a second; the repeat makes it whole."""

    async def check() -> None:
        async with sink_case.receiver() as receiver, _sink(receiver) as sink:
            for turns in _MOMENTS:
                await _cancelled(sink, turns)
                await sink.write(_batch(turns, 10))
            expected = {
                key: v for turns in _MOMENTS for key, v in _expected(_batch(turns, 10)).items()
            }
            assert await receiver.stored() == expected

    asyncio.run(check())


async def _cancelled(sink: Sink, turns: int) -> None:
    task = asyncio.create_task(sink.write(_batch(turns, 10)), name="write under test")
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=_CANCEL_S)
    if not done:
        pytest.fail(f"still writing {_CANCEL_S} s after it was cancelled")

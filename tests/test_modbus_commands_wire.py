"""When a command's frame goes and when it certainly does not, as a server on the wire sees it."""

from __future__ import annotations

import asyncio
import os
import pty
import random
import tty
from dataclasses import replace

import pytest

from drivers.modbus.bus import Bus, Errand
from drivers.modbus.driver import open_driver
from drivers.modbus.frames import Request, write_register
from drivers.modbus.line import Line
from drivers.modbus.settings import LinkSettings
from drivers.modbus.tap import Taps
from drivers.modbus.transports import Opener, SerialOpener, TcpPipe
from hub import Answer, DeviceError, LinkError, Outcome, Priority
from tests.modbus_faults import Fault, FaultyServer, always, listening
from tests.modbus_site import link_of, running
from tests.modbus_telling import CLOCK, Work, at_work, command_for, markable_profile
from tests.recording_host import RecordingHost
from tests.servers import free_port

LOCAL = "127.0.0.1"
TRANSPORTS = ["tcp", "rtu_over_tcp"]
UNITS = tuple(range(1, 31))


def reached(transport: str, port: int, timeout_s: float = 0.3) -> dict[str, object]:
    return {
        "transport": transport,
        "host": LOCAL,
        "port": port,
        "timeout_s": timeout_s,
        "baud": 115200,
    }


async def silenced(server: FaultyServer, work: Work) -> None:
    """Return while a poll's frame is in flight that nobody will answer; later ones are answered."""
    asked = len(server.requests)
    server.choose = always(Fault.SILENCE)
    await work.host.wait_until(lambda: len(server.requests) > asked)
    server.choose = always(Fault.NONE)


async def polled(server: FaultyServer, work: Work, frames: int) -> None:
    """Return when so many more requests have come in."""
    asked = len(server.requests)
    await work.host.wait_until(lambda: len(server.requests) >= asked + frames)


# Whose frame is next.


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_command_waits_for_no_more_than_the_frame_in_flight(transport: str) -> None:
    server = FaultyServer(UNITS, rtu=transport != "tcp")
    overtaken = []
    async with listening(server) as port:
        link = link_of(reached(transport, port), markable_profile(), UNITS, period_s=0.001)
        async with at_work(link) as work:
            for value in range(100):
                await polled(server, work, 7)
                asked = len(server.requests)
                outcome = await work.tell(f"bus-{value % 30 + 1}", "mark", {"value": value})
                sent = server.requests.index((value % 30 + 1, 6, 50, value))
                assert outcome.answer is Answer.ACKNOWLEDGED
                overtaken.append(sent - asked)
    assert max(overtaken) <= 1


async def test_the_most_urgent_command_goes_first() -> None:
    server = FaultyServer(UNITS, rtu=True)
    async with listening(server) as port:
        link = link_of(reached("rtu_over_tcp", port), markable_profile(), UNITS, period_s=0.01)
        async with at_work(link) as work:
            await silenced(server, work)
            async with asyncio.TaskGroup() as tasks:
                for priority in reversed(Priority):
                    told = work.tell(
                        f"bus-{21 + priority}", "mark", {"value": int(priority)}, priority=priority
                    )
                    tasks.create_task(told)
    assert [value for _, _, value in server.done] == [0, 1, 2, 3]


async def test_a_command_in_the_middle_of_a_poll_makes_no_reading_of_half_a_state() -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port:
        link = link_of(reached("tcp", port), markable_profile(), (1,), period_s=60)
        async with at_work(link) as work, asyncio.TaskGroup() as tasks:
            await work.host.wait_for(1)
            asked = len(server.requests)

            def begin(_: random.Random) -> Fault:
                server.choose = always(Fault.NONE)
                tasks.create_task(work.tell("bus-1", "mark", {"value": 7}))
                return Fault.NONE

            server.choose = begin
            work.driver.refresh("bus-1")
            await work.host.wait_until(lambda: len(work.host.of("bus-1")) == 2)
    functions = [function for _, function, _, _ in server.requests[asked:]]
    whole = [function for _, function, _, _ in server.requests[:asked]]
    assert functions == [whole[0], 6, *whole[1:], *whole]
    assert work.host.counts["polls_dropped", "met a command"] == 1


# The deadline.


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_command_whose_turn_comes_too_late_is_not_sent(transport: str) -> None:
    server = FaultyServer((1,), rtu=transport != "tcp")
    async with listening(server) as port:
        link = link_of(reached(transport, port), markable_profile(), (1,), period_s=0.01)
        async with at_work(link) as work:
            await silenced(server, work)
            outcome = await work.tell("bus-1", "mark", {"value": 1}, within_s=0.05)
            late = await work.tell("bus-1", "mark", {"value": 2}, within_s=-1.0)
            await work.host.wait_for(len(work.host.readings) + 2)
    assert (outcome.answer, late.answer) == (Answer.NOT_SENT, Answer.NOT_SENT)
    assert (outcome.frames, late.frames) == ((), ())
    assert late.reason == "deadline"
    assert server.done == []


async def test_a_command_to_a_link_that_is_away_waits_for_it_until_the_deadline() -> None:
    port = free_port()
    server = FaultyServer((1,), rtu=False)
    link = link_of(reached("tcp", port), markable_profile(), (1,))
    driver = open_driver(link)
    async with running(driver, host=RecordingHost()) as host:
        await host.wait_until(lambda: bool(host.link_events))
        mark = {"value": 1}
        away = await driver.execute(command_for(link.devices[0], "mark", mark, within_s=0.1))
        listener = await asyncio.start_server(server.serve, LOCAL, port)
        back = await driver.execute(command_for(link.devices[0], "mark", mark, within_s=10))
        listener.close()
    assert (away.answer, away.reason) == (Answer.NOT_SENT, "link down")
    assert back.answer is Answer.ACKNOWLEDGED
    assert server.done == [(1, 50, 1)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_connection_is_reset_when_the_deadline_passes_without_an_answer(
    transport: str,
) -> None:
    server = FaultyServer((1,), rtu=transport != "tcp")
    async with listening(server) as port:
        link = link_of(reached(transport, port, 5.0), markable_profile(), (1,), period_s=60)
        async with at_work(link) as work:
            await work.host.wait_for(1)
            server.choose = always(Fault.SILENCE)
            outcome = await work.tell("bus-1", "mark", {"value": 1}, within_s=0.2)
            await work.host.wait_until(lambda: server.resets == 1)
            server.choose = always(Fault.NONE)
            again = await work.tell("bus-1", "mark", {"value": 2})
    assert (outcome.answer, outcome.reason) == (Answer.SILENT, "deadline")
    assert [frame.outgoing for frame in outcome.frames] == [True]
    assert again.answer is Answer.ACKNOWLEDGED


JUNK = bytes(16 << 20)


def bus_of(settings: LinkSettings, opener: Opener, *, observe_only: bool = False) -> Bus:
    """A bus on which nobody looks."""
    host = RecordingHost()
    return Bus(settings, host, opener, taps=Taps(host, {}), observe_only=observe_only)


class Stuffed:
    """Opens connections whose way is blocked: the other side has stopped reading long ago."""

    pause_max_s = 1.0

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self, line: Line) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: line, LOCAL, self._port)
        transport.write(JUNK)
        line.connection_made(TcpPipe(transport))

    async def close(self) -> None:
        return


def errand(within_s: float) -> Errand:
    deadline_s = CLOCK.monotonic_s() + within_s
    return Errand(clock=CLOCK, priority=Priority.SAFETY, deadline_s=deadline_s)


async def told(bus: Bus, request: Request, patience_s: float, within_s: float) -> Errand:
    """Ask as a command does, until the deadline; the errand of it."""
    sent = errand(within_s)
    with pytest.raises((TimeoutError, DeviceError)):
        async with asyncio.timeout(within_s):
            await bus.ask(request, patience_s, sent)
    return sent


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("patience_s", "within_s"), [(5.0, 0.2), (0.1, 5.0)])
async def test_a_server_that_reads_late_finds_no_write(
    transport: str, patience_s: float, within_s: float
) -> None:
    reads = asyncio.Event()
    drained: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        await reads.wait()
        transport.resume_reading()
        found = b""
        try:
            while data := await reader.read(1 << 20):
                found += data
        except ConnectionError:
            drained.set_result(found)
        writer.close()

    listener = await asyncio.start_server(serve, LOCAL, 0)
    port = listener.sockets[0].getsockname()[1]
    settings = LinkSettings(transport=transport, host=LOCAL, port=port)  # type: ignore[arg-type]
    bus = bus_of(settings, Stuffed(port))
    await bus.open()
    request = write_register(1, 50, 0xBEEF)
    sent = await told(bus, request, patience_s, within_s)
    still_open = bus.is_open
    reads.set()
    async with asyncio.timeout(10):
        found = await drained
    await bus.close()
    listener.close()
    assert sent.writes == 1
    assert not still_open
    assert len(found) < len(JUNK)
    assert found.count(0) == len(found)


@pytest.mark.parametrize(("patience_s", "within_s"), [(5.0, 0.2), (0.1, 5.0)])
async def test_a_serial_line_that_stood_still_carries_no_write_later(
    patience_s: float, within_s: float
) -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    settings = LinkSettings(transport="rtu", device=os.ttyname(theirs), timeout_s=0.1)
    bus = bus_of(settings, SerialOpener(settings))
    await bus.open()
    os.set_blocking(theirs, False)
    stuffed = fill(theirs)
    sent = await told(bus, write_register(1, 50, 0xBEEF), patience_s, within_s)
    found = await drained_of(ours)
    await bus.close()
    os.close(ours)
    os.close(theirs)
    assert sent.writes == 1
    assert stuffed
    assert found.count(0) == len(found)


def fill(port: int) -> int:
    """Write until the line takes no more; how many bytes."""
    written = 0
    try:
        while True:
            written += os.write(port, bytes(512))
    except BlockingIOError:
        return written


async def drained_of(port: int) -> bytes:
    """All that comes out of the other end until it has been quiet for a while."""
    found = b""
    loop = asyncio.get_running_loop()
    quiet_from_s = loop.time() + 0.2
    while loop.time() < quiet_from_s:
        try:
            found += os.read(port, 4096)
            quiet_from_s = loop.time() + 0.2
        except BlockingIOError:
            await asyncio.sleep(0.01)
    return found


# Parts, losses, cancellation.


async def test_a_refusal_after_the_first_of_two_writes_is_not_called_one() -> None:
    server = FaultyServer((1,), rtu=False, illegal=(51,))
    async with listening(server) as port:
        link = link_of(reached("tcp", port), markable_profile(), (1,))
        async with at_work(link) as work:
            half = await work.tell("bus-1", "both")
            server.illegal = {50}
            none = await work.tell("bus-1", "both")
            server.illegal = set()
            whole = await work.tell("bus-1", "both")
    assert (half.answer, half.reason) == (Answer.SILENT, "illegal address")
    assert (none.answer, none.reason) == (Answer.REFUSED, "illegal address")
    assert (whole.answer, len(whole.frames)) == (Answer.ACKNOWLEDGED, 4)
    assert server.done == [(1, 50, 1), (1, 50, 1), (1, 51, 2)]


async def test_an_argument_out_of_range_is_not_sent() -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port:
        link = link_of(reached("tcp", port), markable_profile(), (1,))
        async with at_work(link) as work:
            outcome = await work.tell("bus-1", "mark", {"value": 65536})
    assert outcome.answer is Answer.NOT_SENT
    assert outcome.reason.startswith("value: ")
    assert server.done == []


@pytest.mark.parametrize("fault", [Fault.HANG_UP, Fault.FOREIGN_UNIT, Fault.WRONG_COUNT])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_write_whose_answer_is_lost_or_wrong_may_have_been_done(
    transport: str, fault: Fault
) -> None:
    server = FaultyServer((1,), rtu=transport != "tcp")
    async with listening(server) as port:
        link = link_of(reached(transport, port, 0.1), markable_profile(), (1,), period_s=60)
        async with at_work(link) as work:
            await work.host.wait_for(1)
            server.choose = always(fault)
            outcome = await work.tell("bus-1", "mark", {"value": 1})
            server.choose = always(Fault.NONE)
            again = await work.tell("bus-1", "mark", {"value": 2})
    assert outcome.answer is Answer.SILENT
    assert again.answer is Answer.ACKNOWLEDGED
    assert server.done == [(1, 50, 1), (1, 50, 2)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cancelled_command_leaves_the_line_to_the_others(transport: str) -> None:
    server = FaultyServer((1, 2), rtu=transport != "tcp")
    async with listening(server) as port:
        link = link_of(reached(transport, port), markable_profile(), (1, 2), period_s=0.01)
        async with at_work(link) as work:
            await silenced(server, work)
            waits = asyncio.create_task(work.tell("bus-1", "mark", {"value": 1}))
            await work.host.wait_until(lambda: not waits.done())
            waits.cancel()
            await asyncio.wait((waits,), timeout=5)
            server.choose = lambda _: Fault.SILENCE if server.requests[-1][1] == 6 else Fault.NONE
            flies = asyncio.create_task(work.tell("bus-1", "mark", {"value": 2}))
            await work.host.wait_until(lambda: bool(server.done))
            flies.cancel()
            await asyncio.wait((flies,), timeout=5)
            server.choose = always(Fault.NONE)
            third = await work.tell("bus-2", "mark", {"value": 3})
            await work.host.wait_for(len(work.host.readings) + 4)
    assert (waits.cancelled(), flies.cancelled()) == (True, True)
    assert third.answer is Answer.ACKNOWLEDGED
    assert server.done == [(1, 50, 2), (2, 50, 3)]


async def test_a_command_that_waits_when_its_driver_stops_is_told() -> None:
    server = FaultyServer((1,), rtu=True)
    outcomes: list[Outcome] = []
    async with listening(server) as port:
        link = link_of(reached("rtu_over_tcp", port, 5.0), markable_profile(), (1,), period_s=0.01)
        async with asyncio.TaskGroup() as tasks, at_work(link) as work:
            await silenced(server, work)
            waits = tasks.create_task(work.tell("bus-1", "mark", {"value": 1}))
            waits.add_done_callback(lambda done: outcomes.append(done.result()))
            await work.host.wait_until(lambda: not outcomes)
    assert [outcome.answer for outcome in outcomes] == [Answer.NOT_SENT]
    assert server.done == []


async def test_a_bus_that_only_observes_lets_no_write_pass() -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port:
        settings = LinkSettings(host=LOCAL, port=port)
        bus = bus_of(settings, Stuffed(port), observe_only=True)
        with pytest.raises(DeviceError, match="observe_only"):
            await bus.ask(write_register(1, 50, 1), 0.1, errand(5.0))
        await bus.close()
        with pytest.raises(LinkError):
            await bus.wait_open()
    assert server.requests == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_behind_a_link_that_only_observes_sees_no_write(transport: str) -> None:
    server = FaultyServer((1,), rtu=transport != "tcp")
    async with listening(server) as port:
        link = link_of(reached(transport, port), markable_profile(), (1,), period_s=0.01)
        async with at_work(replace(link, observe_only=True)) as work:
            told = [await work.tell("bus-1", "mark", {"value": value}) for value in range(20)]
            await work.host.wait_for(5)
    assert {(outcome.answer, outcome.reason) for outcome in told} == {
        (Answer.NOT_SENT, "observe_only")
    }
    assert {function for _, function, _, _ in server.requests} == {1, 2, 3, 4}


# Reading out of turn.


async def test_a_device_is_read_at_once_when_that_is_asked_for() -> None:
    server = FaultyServer((1, 2), rtu=False)
    async with listening(server) as port:
        link = link_of(reached("tcp", port), markable_profile(), (1, 2), period_s=3600)
        async with at_work(link) as work:
            await work.host.wait_until(
                lambda: bool(work.host.of("bus-1") and work.host.of("bus-2")), 20
            )
            for _ in range(4):
                seen = len(work.host.readings)
                work.driver.refresh("bus-2")
                await work.host.wait_for(seen + 1)
    assert len(work.host.of("bus-1")) == 1
    assert len(work.host.of("bus-2")) >= 4


async def test_a_silent_device_that_came_back_is_read_when_that_is_asked_for() -> None:
    server = FaultyServer((1,), rtu=True)
    async with listening(server) as port:
        settings = reached("rtu_over_tcp", port, 0.05)
        link = link_of(settings, markable_profile(), (1, 2), period_s=0.05)
        async with at_work(link) as work:
            await work.host.wait_until(lambda: len(work.host.misses) >= 3, 20)
            server.units.add(2)
            work.driver.refresh("bus-2")
            await work.host.wait_until(lambda: bool(work.host.of("bus-2")), 2)
    assert set(work.host.misses) == {("bus-2", "timeout")}

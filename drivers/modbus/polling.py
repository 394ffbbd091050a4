"""The work of one link: whose turn, ask, publish; and its own counts as readings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from drivers.modbus.bus import Bus
from drivers.modbus.outbox import Outbox
from drivers.modbus.poll import Poll
from drivers.modbus.schedule import Schedule, Turn
from drivers.modbus.settings import LinkSettings
from drivers.modbus.tap import Taps
from drivers.modbus.telling import Telling
from drivers.modbus.transports import opener_for
from drivers.modbus.unit import Unit
from hub import Command, Host, Link, LinkError, Outcome, Reading

LATE_MAX_S = 10.0
REPORT_FIRST_S = 2.0
REPORT_PERIOD_S = 60.0
IDLE_MAX_S = 5.0
_REOPEN_MAX_S = 1.25
_FAILURES_UNTIL_DOWN = 2


class Polling:
    """One link at work."""

    def __init__(
        self, link: Link, settings: LinkSettings, units: Mapping[str, Unit], host: Host
    ) -> None:
        self._link = link
        self._settings = settings
        self._units = units
        self._host = host
        self._clock = host.clock
        self._bus = Bus(
            settings,
            host,
            opener_for(settings, host),
            taps=Taps(host, units),
            observe_only=link.observe_only,
        )
        self._schedule = Schedule(
            (Turn(device.id, device.period_s) for device in link.devices),
            now_s=self._clock.monotonic_s(),
            wall_s=self._clock.now_ms() / 1000,
            attempt_s=self._attempt_s(),
        )
        self._up: bool | None = None
        self._failures = 0
        self._silent_s = 0.0
        self.outbox = Outbox(host)

    async def close(self) -> None:
        """Close the line at once."""
        await self._bus.close()

    async def run(self) -> None:
        """Poll for ever."""
        while True:
            if not self._bus.is_open and not await self._open():
                continue
            now_s = self._clock.monotonic_s()
            turn = self._schedule.take(now_s)
            if turn is None:
                await self._idle(self._schedule.wait_s(now_s, IDLE_MAX_S))
            else:
                await self._poll(turn, now_s)

    async def execute(self, command: Command) -> Outcome:
        """One try of a command, before all polling."""
        telling = Telling(self._bus, self._units[command.device], command, self._clock)
        outcome = await telling.run()
        if telling.in_doubt:
            self._schedule.rest(command.device, self._clock.monotonic_s() + LATE_MAX_S)
        return outcome

    def refresh(self, device: str) -> None:
        """Poll this device next."""
        self._schedule.refresh(device)
        self._bus.wanted.set()

    async def report(self) -> None:
        """Publish the link's own counts soon after the start and then once a minute."""
        pause_s = REPORT_FIRST_S
        while True:
            begun_s, busy_s, silent_s = self._shares()
            await self._clock.sleep(pause_s)
            pause_s = REPORT_PERIOD_S
            now_s, busy_now_s, silent_now_s = self._shares()
            passed_s = max(now_s - begun_s, 0.001)
            await self.outbox.put(
                self._counts((busy_now_s - busy_s) / passed_s, (silent_now_s - silent_s) / passed_s)
            )

    def _attempt_s(self) -> float:
        """The most that asking a silent device can cost: its time-out, and the line in step again."""
        timeout_s = max((unit.probe.timeout_s for unit in self._units.values()), default=0.0)
        return timeout_s + (self._settings.timeout_s if self._settings.serial else _REOPEN_MAX_S)

    async def _idle(self, seconds: float) -> None:
        """Wait so long, or until a device or the line is wanted."""
        self._bus.wanted.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bus.wanted.wait()

    async def _open(self) -> bool:
        """Try once; while the link is away, those whose turn it is are missed."""
        try:
            await self._bus.open()
        except LinkError as error:
            self._went_down(str(error))
            now_s = self._clock.monotonic_s()
            while turn := self._schedule.take(now_s):
                self._host.missed(turn.device, "link down")
                self._schedule.passed_over(turn, now_s)
            return False
        if self._failures < _FAILURES_UNTIL_DOWN:
            self._went_up()
        return True

    async def _poll(self, turn: Turn, start_s: float) -> None:
        unit = self._units[turn.device]
        poll = Poll(unit=unit)
        was_silent, told = turn.silent, unit.told
        try:
            await poll.run(self._bus, start_s)
        except LinkError as error:
            self._lost(turn, str(error))
            return
        self._failures = 0
        self._went_up()
        # What was asked and not answered may still come, seconds late, and an RTU answer names no address.
        in_doubt = bool(poll.ended) and self._settings.serial is not None and unit.ambiguous
        rest_s = LATE_MAX_S if in_doubt else 0.0
        if poll.heard:
            self._schedule.answered(turn, self._clock.monotonic_s(), rest_s)
            if unit.telling or unit.told != told:
                self._host.count("polls_dropped", "met a command")
                self.refresh(turn.device)
                return
            await self.outbox.put(self._reading(turn.device, poll))
            return
        self._host.missed(turn.device, poll.ended)
        if not self._bus.is_open:
            await self._open()  # before the cost is told: opening again is part of it
        now_s = self._clock.monotonic_s()
        if was_silent:
            self._silent_s += now_s - start_s
        self._schedule.missed(turn, now_s, now_s - start_s, rest_s)

    def _lost(self, turn: Turn, reason: str) -> None:
        """The line went in the middle: the device has another turn, unless that happens again and again."""
        self._failures += 1
        now_s = self._clock.monotonic_s()
        if self._failures < _FAILURES_UNTIL_DOWN:
            self._schedule.again(turn, now_s)
            return
        self._went_down(reason)
        self._host.missed(turn.device, "link down")
        self._schedule.passed_over(turn, now_s)

    def _reading(self, device: str, poll: Poll) -> Reading:
        decoded = poll.unit.take(poll.answers)
        if poll.bad:
            decoded.bad.update(poll.bad)
        now_ms = self._clock.now_ms()
        return Reading(
            device=device,
            time_ms=now_ms,
            received_ms=now_ms,
            received_s=self._clock.monotonic_s(),
            values=decoded.values,
            bad=decoded.bad,
        )

    def _went_up(self) -> None:
        if not self._up:
            self._up = True
            self._host.link_up()

    def _went_down(self, reason: str) -> None:
        if self._up is not False:
            self._up = False
            self._host.link_down(reason)

    def _shares(self) -> tuple[float, float, float]:
        return self._clock.monotonic_s(), self._bus.counts.busy_s, self._silent_s

    def _counts(self, utilization: float, silent_share: float) -> Reading:
        counts = self._bus.counts
        now_ms = self._clock.now_ms()
        return Reading(
            device=self._link.id,
            time_ms=now_ms,
            received_ms=now_ms,
            values={
                "link_up": self._up is True,
                "link_utilization": round(utilization, 4),
                "link_quarantine_share": round(silent_share, 4),
                "link_silent": self._schedule.silent_count,
                "link_requests": counts.requests,
                "link_timeouts": counts.timeouts,
                "link_exceptions": counts.exceptions,
                "link_frame_errors": counts.frame_errors,
                "link_discarded": counts.discarded,
                "link_reconnects": counts.reconnects,
                "link_refused": self.outbox.refused,
            },
        )

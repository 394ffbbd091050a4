"""The power a room may take by day and by night: what its device is set to is kept as its timetable says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from hub.campus.alarms import Alarms
from hub.campus.supply.facts import Policy
from hub.campus.supply.record import ACTOR
from hub.campus.supply.switches import Switch
from hub.clock import Clock
from hub.command import CommandSpec, Priority
from hub.commands import CommandError, Commands, Order
from hub.journal import Journal, Latest
from hub.registry import Registry

POWER_LIMIT = "power_limit"
TOLD_MAX = 500  # in one turn
PAUSE_S = 120.0  # between two commands to one device
ALARM_S = 1_800.0
_STEP = 100

_log = structlog.get_logger("supply")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a device should be set to, since when it is not, and when it was told last."""

    watts: int
    since_s: float
    told_s: float


class PowerLimits:
    """Keeps limits as they should be. A setting told twice does no harm: nothing of it is in the ledger."""

    def __init__(
        self,
        *,
        journal: Journal,
        clock: Clock,
        commands: Commands,
        registry: Registry,
        alarms: Alarms,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._commands = commands
        self._registry = registry
        self._alarms = alarms
        self._wishes: dict[str, Wish] = {}

    async def turn(self, switches: Iterable[Switch], policy: Policy) -> None:
        """Tell those that are set otherwise; raises StoreError."""
        now_ms = self._clock.now_ms()
        wanted = {
            switch.device.id: (switch, watts)
            for switch in switches
            if limit_of(switch) and (watts := policy.limit_w(switch, now_ms)) is not None
        }
        self._wishes = {name: wish for name, wish in self._wishes.items() if name in wanted}
        busy = {
            one.device.id for one in self._commands.open.values() if one.record.name == POWER_LIMIT
        }
        names, left = list(wanted), TOLD_MAX
        for begin in range(0, len(names), _STEP):  # ten thousand rooms hold nobody up
            step = names[begin : begin + _STEP]
            latest = await self._journal.latest(step)
            for name in step:
                switch, watts = wanted[name]
                if is_set(latest.get(name), watts):
                    self._wishes.pop(name, None)
                    self._alarms.end(_subject(name))
                elif left and self._is_due(name, watts, is_busy=name in busy):
                    left -= 1
                    await self._tell(switch, watts, policy.approver(name))

    def _is_due(self, name: str, watts: int, *, is_busy: bool) -> bool:
        now_s, known = self._clock.monotonic_s(), self._wishes.get(name)
        if known is None or known.watts != watts:
            self._wishes[name] = Wish(watts=watts, since_s=now_s, told_s=now_s - PAUSE_S)
            return not self._registry.is_offline(name)
        if now_s - known.since_s > ALARM_S:
            self._alarms.say(_subject(name), f"its power limit is not {watts} W, as it should be")
        return (
            now_s - known.told_s >= PAUSE_S and not is_busy and not self._registry.is_offline(name)
        )

    async def _tell(self, switch: Switch, watts: int, approver: str) -> None:
        name, now_s = switch.device.id, self._clock.monotonic_s()
        spec = limit_of(switch)
        assert spec is not None
        since_s = self._wishes[name].since_s
        self._wishes[name] = Wish(watts=watts, since_s=since_s, told_s=now_s)
        order = Order(
            device=name,
            name=spec.name,
            arguments={argument: watts for argument in spec.arguments},
            actor=ACTOR,
            key=f"{ACTOR}/{name}/limit/{self._clock.now_ms()}",
            cause="timetable",
            priority=Priority.BATCH,
            approver=approver,
        )
        try:
            await self._commands.submit(order)
        except CommandError as error:
            self._alarms.say(_subject(name), f"its power limit cannot be set: {error}")


def limit_of(switch: Switch) -> CommandSpec | None:
    """The command that sets a limit in watts, of a device that also shows it; else None."""
    profile = switch.device.profile
    spec = profile.commands.get(POWER_LIMIT)
    if spec is None or POWER_LIMIT not in profile.points or len(spec.arguments) != 1:
        return None
    return spec if all(one.unit == "W" for one in spec.arguments.values()) else None


def is_set(latest: Latest | None, watts: int) -> bool:
    """Whether the device showed this limit last, without a doubt."""
    if latest is None or POWER_LIMIT in latest.bad or POWER_LIMIT in latest.uncertain:
        return False
    value = latest.values.get(POWER_LIMIT)
    return isinstance(value, int | float) and round(value) == watts


def _subject(device: str) -> str:
    return f"limit/{device}"

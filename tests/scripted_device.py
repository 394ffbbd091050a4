"""A driver with devices made for tests: each keeps its own ledger of effects, and behaves as told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hub import Answer, Clock, Command, Device, Frame, Host, Link, Outcome, Place, Reading, Value
from hub.profile_file import read_profile

LATENCY_S = 0.02
ANSWER_TIMEOUT_S = 1.0
LATE_S = 3.0

PRODUCT = """
name = "Scripted device"
maker = "Nobody"
kind = "vehicle_barrier"
protocol = "scripted"
period_s = 30
[settings]
fail_mode = { required = true, choices = ["open", "closed"], meaning = "without power" }
egress = { required = true, choices = [true, false], meaning = "a way out" }
open_limit_s = { required = true, minimum = 5, maximum = 3000, meaning = "the longest" }
[scripted]
[points]
relay_closed = {}
limit_open = {}
limit_closed = {}
loop_safety = {}
lane_light = {}
fire_alarm = {}
relay_8 = {}
purchase_count = {}
credit_money = {}
energy_import = {}
voltage_l1 = {}
[commands.cut]
meaning = "open the relay"
confirm = [{ point = "relay_closed", equals = false }]
repeat = "verify"
hazard = "cut"
deadline_s = 60
[commands.restore]
meaning = "close the relay"
confirm = [{ point = "relay_closed", equals = true }]
repeat = "verify"
hazard = "restore"
offline = "queue"
deadline_s = 60
[commands.open]
meaning = "raise the arm"
confirm = [{ point = "limit_open", equals = true }]
repeat = "never"
hazard = "open"
deadline_s = 5
[commands.close]
meaning = "lower the arm"
requires = [{ point = "loop_safety", equals = false }]
confirm = [{ point = "limit_closed", equals = true }]
repeat = "never"
hazard = "close"
[commands.light]
meaning = "the lamp of the lane"
confirm = [{ point = "lane_light", equals = true }]
repeat = "safe"
[commands.dim]
meaning = "the lamp of the lane, while nothing stands in it"
requires = [{ point = "loop_safety", equals = false }]
confirm = [{ point = "lane_light", equals = true }]
repeat = "safe"
[commands.start]
meaning = "something that must not happen twice, with time enough to do so"
confirm = [{ point = "relay_8", equals = true }]
repeat = "never"
hazard = "start"
deadline_s = 30
confirm_s = 2
[commands.dose]
meaning = "something whose bytes nobody has seen on a device"
confirm = [{ point = "relay_8", equals = true }]
repeat = "verify"
confidence = "low"
note = "the bytes are assumed"
[commands.text]
meaning = "words on the display"
arguments = { words = { type = "text", maximum = 20, meaning = "what to show" } }
repeat = "safe"
[commands.credit]
meaning = "money on the meter, once for each purchase count"
arguments.amount = { type = "int", unit = "fen", minimum = 1, maximum = 100000 }
arguments.count = { type = "int", from_point = "purchase_count", plus = 1, minimum = 1, maximum = 65535 }
arguments.balance = { type = "int", unit = "fen", maximum = 1000000, from_point = "credit_money" }
arguments.energy = { type = "int", unit = "Wh", maximum = 1000000, from_point = "energy_import" }
confirm = [
    { point = "purchase_count", equals = "@count" },
    { point = "credit_money", rises = "@amount", from = "@balance", used = "@energy", alive = "voltage_l1" },
]
repeat = "verify"
hazard = "credit"
deadline_s = 120
"""
SETTINGS = {"fail_mode": "open", "egress": "true", "open_limit_s": "60"}
PROFILE = read_profile("scripted", "scripted.toml", PRODUCT).apply(SETTINGS, place="test")


class Behaviour(StrEnum):
    """What a device does with one try."""

    WORKS = "works"
    SILENT = "silent"  # nothing at all
    LIES = "lies"  # acknowledges, does nothing
    MUTE = "mute"  # does it, never says so
    LATE = "late"  # does it, acknowledges after its try was given up
    TWICE = "twice"  # does it, acknowledges two times
    FOREIGN = "foreign"  # does it, acknowledges with another id
    SLOW = "slow"  # acknowledges at once, does it seconds later
    REFUSES = "refuses"
    AWAY = "away"  # not one byte gets through
    COUNTS = "counts"  # acknowledges, counts the purchase, and puts no money on
    PAYS = "pays"  # acknowledges, puts the money on, and does not count it
    ANOTHER = "another"  # hears nothing, while another hand puts other money on
    FORGETS = "forgets"  # does it, starts anew without a word, and knows nothing of it


SILENTLY = (
    Behaviour.SILENT,
    Behaviour.MUTE,
    Behaviour.LATE,
    Behaviour.FOREIGN,
    Behaviour.FORGETS,
    Behaviour.ANOTHER,
)
UNDONE = (
    Behaviour.SILENT,
    Behaviour.LIES,
    Behaviour.SLOW,
    Behaviour.FORGETS,
    Behaviour.ANOTHER,
)
ANOTHERS_FEN = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """Something a device really did."""

    device: str
    command: str
    name: str
    at_s: float


@dataclass(slots=True)
class Machine:
    """One device: its state, how it behaves (the last behaviour stays), and every try it saw."""

    name: str
    script: list[Behaviour] = field(default_factory=lambda: [Behaviour.WORKS])
    state: dict[str, Value] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    tries: list[tuple[Command, float]] = field(default_factory=list)
    is_mute: bool = False  # gives no readings
    frozen: dict[str, Value] | None = None  # what its display shows for ever
    readings: int = 0
    latency_s: float = LATENCY_S

    def __post_init__(self) -> None:
        self.state = {
            "relay_closed": True,
            "limit_open": False,
            "limit_closed": True,
            "loop_safety": False,
            "lane_light": False,
            "relay_8": False,
            "fire_alarm": False,
            "purchase_count": 7,
            "credit_money": 2_000,
            "energy_import": 5_000,
            **self.state,
        }

    def behaviour(self) -> Behaviour:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def use(self, wh: int, fen: int) -> None:
        """What somebody uses is deducted."""
        self.state["energy_import"] = int(self.state["energy_import"]) + wh
        self.state["credit_money"] = int(self.state["credit_money"]) - fen

    def buy(self, fen: int) -> None:
        """Another hand puts money on."""
        self.state["purchase_count"] = int(self.state["purchase_count"]) + 1
        self.state["credit_money"] = int(self.state["credit_money"]) + fen

    def show(self) -> dict[str, Value]:
        """What a reading says now; the voltage of a display that lives never stands still."""
        self.readings += 1
        return self.frozen or {**self.state, "voltage_l1": 230.0 + self.readings % 10 / 10}

    def freeze(self) -> None:
        """From now on its display stands still."""
        self.frozen = self.show()

    def do(self, command: Command, at_s: float, behaviour: Behaviour = Behaviour.WORKS) -> None:
        """Change as told, and write it down; a meter takes each purchase count once."""
        count = command.arguments.get("count")
        if command.spec.name == "credit" and count != int(self.state["purchase_count"]) + 1:
            return
        changes: dict[str, dict[str, Value]] = {
            "cut": {"relay_closed": False},
            "restore": {"relay_closed": True},
            "open": {"limit_open": True, "limit_closed": False},
            "close": {"limit_open": False, "limit_closed": True},
            "light": {"lane_light": True},
            "dim": {"lane_light": True},
            "start": {"relay_8": True},
            "credit": self._credited(command, behaviour),
        }
        self.state.update(changes.get(command.spec.name, {}))
        effect = Effect(device=self.name, command=command.id, name=command.spec.name, at_s=at_s)
        self.effects.append(effect)

    def _credited(self, command: Command, behaviour: Behaviour) -> dict[str, Value]:
        fen = int(command.arguments.get("amount", 0)) * (behaviour is not Behaviour.COUNTS)
        count = int(self.state["purchase_count"]) + (behaviour is not Behaviour.PAYS)
        return {"purchase_count": count, "credit_money": int(self.state["credit_money"]) + fen}


class ScriptedDriver:
    """A link to machines that live longer than it: they stay when the hub is started anew."""

    def __init__(self, link: Link, machines: Mapping[str, Machine]) -> None:
        self._link = link
        self._machines = machines
        self._host: Host | None = None
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, host: Host) -> None:
        host.link_up()
        async with asyncio.TaskGroup() as tasks:
            self._host, self._tasks = host, tasks
            try:
                await asyncio.Event().wait()
            finally:
                self._host = self._tasks = None

    async def execute(self, command: Command) -> Outcome:
        host, machine = self._host, self._machines[command.device]
        if host is None or self._link.observe_only:
            return Outcome(answer=Answer.NOT_SENT, reason="link is down")
        clock = host.clock
        await clock.sleep(machine.latency_s)
        if clock.monotonic_s() >= command.deadline_s:
            return Outcome(answer=Answer.NOT_SENT, reason="deadline")
        behaviour = machine.behaviour()
        if behaviour is Behaviour.AWAY:
            return Outcome(answer=Answer.NOT_SENT, reason="unreachable")
        machine.tries.append((command, clock.monotonic_s()))
        return await self._behave(behaviour, machine, command, host)

    def refresh(self, device: str) -> None:
        if self._tasks is not None and self._host is not None:
            self._tasks.create_task(self.read(device), name=f"read {device}")

    async def read(self, device: str) -> None:
        """One poll."""
        host, machine = self._host, self._machines[device]
        if host is None or machine.is_mute:
            return
        await host.clock.sleep(machine.latency_s)
        await host.publish([said(device, host.clock, **machine.show())])

    async def _behave(
        self, behaviour: Behaviour, machine: Machine, command: Command, host: Host
    ) -> Outcome:
        clock: Clock = host.clock
        frame = Frame(time_ms=clock.now_ms(), outgoing=True, data=command.id.encode())
        answered = Outcome(answer=Answer.ACKNOWLEDGED, frames=(frame,))
        nothing = Outcome(answer=Answer.SILENT, reason="no answer", frames=(frame,))
        if behaviour is Behaviour.REFUSES:
            return Outcome(answer=Answer.REFUSED, reason="busy", frames=(frame,))
        if behaviour not in UNDONE:
            machine.do(command, clock.monotonic_s(), behaviour)
        if behaviour is Behaviour.ANOTHER:
            machine.buy(ANOTHERS_FEN)
        if behaviour in (Behaviour.LATE, Behaviour.TWICE, Behaviour.FOREIGN):
            name = "0" * 26 if behaviour is Behaviour.FOREIGN else command.id
            self._later(self._acknowledge(host, machine.name, name))
        if behaviour is Behaviour.SLOW:
            self._later(self._do_late(machine, command, clock))
        if behaviour in SILENTLY:
            await clock.sleep(ANSWER_TIMEOUT_S)
            return nothing
        return answered

    def _later(self, work: object) -> None:
        assert self._tasks is not None
        assert asyncio.iscoroutine(work)
        self._tasks.create_task(work, name="later")

    async def _acknowledge(self, host: Host, device: str, command: str) -> None:
        await host.clock.sleep(LATE_S)
        host.answered_late(device, command, Outcome(answer=Answer.ACKNOWLEDGED))

    async def _do_late(self, machine: Machine, command: Command, clock: Clock) -> None:
        await clock.sleep(LATE_S)
        machine.do(command, clock.monotonic_s())


def said(device: str, clock: Clock, **values: Value) -> Reading:
    """What a device says now."""
    now_ms, now_s = clock.now_ms(), clock.monotonic_s()
    return Reading(
        device=device, time_ms=now_ms, received_ms=now_ms, received_s=now_s, values=values
    )


def scripted(name: str, *, link: str = "bus-1") -> Device:
    """A device of the product above."""
    return Device(
        id=name,
        profile=PROFILE,
        link=link,
        address=name,
        place=Place(building="B1"),
        period_s=PROFILE.period_s,
    )

"""A washing machine in a self-service laundry: idle, paid, running, waiting to be emptied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub import Value
from simulators.chance import between, draw, seed_of
from simulators.ledger import Deed
from simulators.machine import EPOCH_MS, HOUR_MS, Birth, Happening, plain_value
from simulators.relay_board import RelayBoard

START_MS = 20_000
_SHORTEST_CYCLE_MS = 15 * 60_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of a program: what the machine calls it, how long it takes and what it draws."""

    phase: str
    length_s: int
    power_w: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A program as its steps."""

    name: str
    steps: tuple[Step, ...]

    @property
    def length_ms(self) -> int:
        """From the door's lock to the end."""
        return sum(step.length_s for step in self.steps) * 1000

    def at(self, elapsed_ms: int) -> Step:
        """The step that runs so long after the start."""
        left_ms = elapsed_ms
        for step in self.steps:
            left_ms -= step.length_s * 1000
            if left_ms < 0:
                return step
        return self.steps[-1]


def _program(name: str, *steps: tuple[str, int, float]) -> Program:
    return Program(
        name=name,
        steps=tuple(Step(phase=phase, length_s=s, power_w=w) for phase, s, w in steps),
    )


PROGRAMS = (
    _program(
        "quick", ("fill", 90, 15), ("wash", 480, 180), ("rinse", 300, 140), ("spin", 240, 330)
    ),
    _program(
        "standard",
        ("weighing", 30, 60),
        ("fill", 120, 15),
        ("soak", 300, 8),
        ("wash", 900, 210),
        ("rinse", 600, 150),
        ("spin", 360, 340),
    ),
    _program(
        "warm",
        ("fill", 120, 15),
        ("heat", 600, 1950),
        ("wash", 900, 220),
        ("rinse", 600, 150),
        ("spin", 420, 340),
    ),
)
_IDLE_W = 0.8


class Washer:
    """A machine and its customers. `start` is what a paid order does; people also start it by themselves."""

    def __init__(self, birth: Birth) -> None:
        self.board: RelayBoard | None = None
        self.state = "idle"
        self.order = ""
        self.program = PROGRAMS[0]
        self.cycles = (birth.begin_ms - EPOCH_MS) // _SHORTEST_CYCLE_MS
        self._birth = birth
        self._seed = seed_of(birth.seed, "customers")
        self._since_ms = birth.begin_ms
        self._until_ms = birth.begin_ms + self._pause_ms(0, 5, 240)
        self._customers = 0
        self._sequence = 0
        if draw(birth.seed, 0) < 0.5:  # half of the machines are found at work
            self._begin(birth.begin_ms, self._next_order(), self._next_program())
            self._until_ms -= int(draw(birth.seed, 1) * START_MS)

    def step(self, now_ms: int) -> None:
        """Live through every change up to now."""
        while self._until_ms <= now_ms:
            self._change(self._until_ms)

    def start(self, now_ms: int, order: str, program: str) -> str:
        """Obey a start: `accepted`, `duplicate` for the order that already owns the machine, `rejected`."""
        self.step(now_ms)
        if order and order == self.order:
            return "duplicate"
        chosen = next((item for item in PROGRAMS if item.name == program), None)
        if self.state != "idle" or chosen is None:
            return "rejected"
        self._begin(now_ms, order, chosen)
        return "accepted"

    def cancel(self, now_ms: int, order: str) -> str:
        """Give up an order that does not run yet: `done` or `rejected`."""
        self.step(now_ms)
        if self.state != "starting" or order != self.order:
            return "rejected"
        self._rest(now_ms)
        return "done"

    def stop(self, now_ms: int, order: str) -> str:
        """End an order's cycle: `done` or `rejected`."""
        self.step(now_ms)
        if self.state not in ("starting", "running") or order != self.order:
            return "rejected"
        if self.state == "starting":
            self._rest(now_ms)
        else:
            self._change(now_ms)
        return "done"

    def show(self, now_ms: int) -> Mapping[str, Value]:
        """The machine's whole state."""
        self.step(now_ms)
        shown = {name: plain_value(name, self._birth, now_ms) for name in self._birth.points}
        running = self.state == "running"
        elapsed_ms = now_ms - self._since_ms if running else 0
        step = self.program.at(elapsed_ms) if running else None
        shown.update(
            washer_state=self.state,
            washer_phase=step.phase if step else "none",
            program=self.program.name if self.order else "",
            order=self.order,
            door="locked" if self.state in ("starting", "running") else "closed",
            remaining=(self._until_ms - now_ms) // 1000 if running else 0,
            elapsed=elapsed_ms // 1000,
            cycle_count=self.cycles,
            active_power_l1=self._power_w(now_ms, step),
        )
        return shown

    def happenings(self, now_ms: int) -> Sequence[Happening]:
        """Everything a washer has to say is in its state."""
        return ()

    def write(self, now_ms: int, point: str, value: Value) -> bool:
        """A washer has no registers."""
        return False

    def _power_w(self, now_ms: int, step: Step | None) -> float:
        if step is None:
            return _IDLE_W
        return round(step.power_w * between(self._seed, now_ms // 5000, 0.9, 1.1), 1)

    def _begin(self, now_ms: int, order: str, program: Program) -> None:
        self.state, self.order, self.program = "starting", order, program
        self._since_ms, self._until_ms = now_ms, now_ms + START_MS

    def _change(self, at_ms: int) -> None:
        """The next state of the cycle, at the time it was due."""
        cycle: dict[str, Value] = {"order": self.order, "program": self.program.name}
        self._since_ms = at_ms
        if self.state == "idle":
            self._begin(at_ms, self._next_order(), self._next_program())
        elif self.state == "starting":
            self.state, self._until_ms = "running", at_ms + self.program.length_ms
            self.cycles += 1
            self._birth.diary.record(at_ms, Deed.CYCLE_BEGUN, cycle)
        elif self.state == "running":
            self.state = "finished_not_emptied"
            self._until_ms = at_ms + self._pause_ms(2, 60, 900)
            self._birth.diary.record(at_ms, Deed.CYCLE_ENDED, cycle)
        else:
            self._rest(at_ms)

    def _rest(self, at_ms: int) -> None:
        """Idle from now on, until the next customer."""
        self.state, self.order, self._since_ms = "idle", "", at_ms
        night = (at_ms + self._birth.zone_ms) // HOUR_MS % 24 < 6
        self._until_ms = at_ms + self._pause_ms(3, 60, 7200 if night else 1800)

    def _pause_ms(self, purpose: int, lowest_s: float, highest_s: float) -> int:
        return int(between(self._seed + purpose, self.cycles, lowest_s, highest_s) * 1000)

    def _next_order(self) -> str:
        self._customers += 1
        return f"{self._birth.diary.device}-{self.cycles + 1}"

    def _next_program(self) -> Program:
        return PROGRAMS[int(draw(self._seed, self.cycles) * len(PROGRAMS))]

"""Whatever happens: one final state, nothing done after its deadline, nothing of `never` done twice.

Random devices, orders, kills of the hub and settings of the wall clock, on virtual time; the devices' own
ledgers are the judge.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hub import Priority, State
from hub.commands import CommandError, Order, Record
from hub.points import Scalar
from tests.command_bench import Hub, Site
from tests.scripted_device import LATE_S, Behaviour, Machine
from tests.virtual_loop import run_virtual

NAMES = ["cut", "restore", "open", "start", "light", "dim", "text", "credit"]
NEVER = {"open", "start"}
ARGUMENTS: dict[str, dict[str, Scalar]] = {"credit": {"amount": 5}, "text": {"words": "hi"}}


@dataclass(frozen=True)
class Send:
    device: str
    name: str
    priority: Priority


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Kill:
    down_s: float
    ahead_ms: int


@dataclass(frozen=True)
class SetClock:
    ahead_ms: int


@dataclass(frozen=True)
class Hush:
    device: str
    mute: bool


Step = Send | Pause | Kill | SetClock | Hush
DEVICES = st.sampled_from(["gate-1", "gate-2"])
JUMPS = st.sampled_from([-3_600_000, -60_000, -3_000, -500, 500, 3_000, 60_000, 3_600_000])
STEPS = st.lists(
    st.one_of(
        st.builds(Send, DEVICES, st.sampled_from(NAMES), st.sampled_from(Priority)),
        st.builds(Pause, st.sampled_from([0.0, 0.01, 0.03, 0.5, 1.5, 4.0, 11.0, 40.0])),
        st.builds(Kill, st.sampled_from([0.0, 0.5, 4.0, 70.0]), st.one_of(st.just(0), JUMPS)),
        st.builds(SetClock, JUMPS),
        st.builds(Hush, DEVICES, st.booleans()),
    ),
    min_size=1,
    max_size=12,
)
SCRIPTS = st.lists(st.sampled_from(Behaviour), min_size=1, max_size=6)


@dataclass
class Story:
    """What was accepted, with the moment its time is over, and every final state anybody saw."""

    deadlines: dict[str, float] = field(default_factory=dict)
    finals: dict[str, set[State]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)


async def play(site: Site, steps: list[Step]) -> Story:
    """Everything in order; then as long as it takes, and a last start."""
    story = Story()
    left = list(steps)
    while left:
        async with site.hub() as hub:
            down_s = await _one_run(hub, site, left, story)
        await hub.clock.sleep(down_s)
    async with site.hub() as hub:
        for record in await hub.control.commands.recent(limit=1000):
            await hub.end(record)
        await hub.clock.sleep(LATE_S + 1)
        await _look(hub, story)
    async with site.hub() as hub:
        await _look(hub, story)
    return story


async def _one_run(hub: Hub, site: Site, left: list[Step], story: Story) -> float:
    while left:
        step = left.pop(0)
        match step:
            case Send():
                await _send(hub, step, story)
            case Pause():
                await hub.clock.sleep(step.seconds)
            case SetClock():
                site.clock.ahead_ms += step.ahead_ms
            case Hush():
                site.machines[step.device].is_mute = step.mute
            case Kill():
                await _look(hub, story)
                site.clock.ahead_ms += step.ahead_ms
                return step.down_s
        await _look(hub, story)
    return 0.0


async def _send(hub: Hub, step: Send, story: Story) -> None:
    wish = Order(
        device=step.device,
        name=step.name,
        actor="ann",
        key=hub.clock.new_id(),
        priority=step.priority,
        arguments=ARGUMENTS.get(step.name, {}),
    )
    before_s = hub.clock.monotonic_s()
    try:
        record = await hub.control.commands.submit(wish)
    except CommandError:
        return
    story.deadlines[record.id] = before_s + (record.expires_ms - record.created_ms) / 1000


async def _look(hub: Hub, story: Story) -> None:
    for record in await hub.control.commands.recent(limit=1000):
        story.records[record.id] = record
        if record.state.final:
            story.finals.setdefault(record.id, set()).add(record.state)


def _done(site: Site) -> list[tuple[Machine, str, float]]:
    return [
        (machine, effect.command, effect.at_s)
        for machine in site.machines.values()
        for effect in machine.effects
    ]


@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.generate, Phase.shrink])
@given(steps=STEPS, first=SCRIPTS, second=SCRIPTS)
def test_any_interleaving_keeps_the_promises(
    steps: list[Step], first: list[Behaviour], second: list[Behaviour]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), machines=2)
        site.machines["gate-1"].script = first
        site.machines["gate-2"].script = second
        story = run_virtual(play(site, steps))
    tries = [
        (command.id, at_s, command.deadline_s)
        for machine in site.machines.values()
        for command, at_s in machine.tries
    ]
    done = Counter(command for _, command, _ in _done(site))
    # Nothing is forgotten, and each has one end.
    assert set(story.deadlines) == set(story.records)
    assert all(len(story.finals[command]) == 1 for command in story.deadlines)
    # Nothing is told after its deadline, whatever the clocks said; a slow device does it later by itself.
    assert all(at_s < story.deadlines[command] + 1e-6 for command, at_s, _ in tries)
    assert all(at_s <= story.deadlines[command] + LATE_S for _, command, at_s in _done(site))
    # What is never repeated was done once at most, and tried once where it may have got through.
    never = {one.id for one in story.records.values() if one.name in NEVER}
    assert all(done[command] <= 1 for command in never)
    assert all(
        count <= 1 for command, count in Counter(t[0] for t in tries).items() if command in never
    )
    # A credit is on the meter once at most, and confirmed only when it is.
    credits = {one.id: one for one in story.records.values() if one.name == "credit"}
    assert all(done[command] <= 1 for command in credits)
    assert all(
        done[command] == 1 for command, one in credits.items() if one.state is State.CONFIRMED
    )
    quiet = {State.REFUSED, State.EXPIRED}
    # What was really done is never called expired or refused.
    assert all(not story.finals[command] & quiet for command in done)

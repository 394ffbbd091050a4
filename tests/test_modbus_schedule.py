"""Whose turn it is: even phases, fairness under overload, and silent devices within their budget."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.schedule import SILENT_SHARE, Schedule, Turn, phase_of

ATTEMPT_S = 1.1
POLL_S = 0.1


def schedule_of(count: int, period_s: float) -> Schedule:
    turns = [Turn(f"m-{number}", period_s) for number in range(count)]
    return Schedule(turns, now_s=0.0, wall_s=1.7e9, attempt_s=ATTEMPT_S)


class Bus:
    """A simulated bus: time passes with every poll, silent devices cost an attempt."""

    def __init__(self, schedule: Schedule, silent: set[str] | None = None) -> None:
        self.schedule = schedule
        self.silent = silent or set()
        self.now_s = 0.0
        self.polls = Counter[str]()
        self.lost_s = 0.0

    def run(self, until_s: float) -> None:
        while self.now_s < until_s:
            turn = self.schedule.take(self.now_s)
            if turn is None:
                self.now_s += max(self.schedule.wait_s(self.now_s, 5.0), 1e-6)
            elif turn.device in self.silent:
                self.lost_s += ATTEMPT_S
                self.now_s += ATTEMPT_S
                self.schedule.missed(turn, self.now_s, ATTEMPT_S)
            else:
                self.polls[turn.device] += 1
                self.now_s += POLL_S
                self.schedule.answered(turn, self.now_s)


def test_every_device_is_polled_once_a_period() -> None:
    bus = Bus(schedule_of(30, 60.0))
    bus.run(5.0 + 3600.0)
    assert set(bus.polls) == {f"m-{number}" for number in range(30)}
    assert all(59 <= number <= 62 for number in bus.polls.values())


def test_the_first_round_is_heard_within_seconds() -> None:
    bus = Bus(schedule_of(30, 60.0))
    bus.run(5.0 + 30 * POLL_S)
    assert len(bus.polls) == 30


def test_phases_are_spread_over_the_period_and_always_the_same() -> None:
    tenths = Counter(int(10 * phase_of(f"b{number}-101")) for number in range(1000))
    assert all(60 <= number <= 140 for number in tenths.values())
    assert phase_of("b1-101") == phase_of("b1-101")


@given(st.integers(2, 40), st.floats(0.1, 3.0))
def test_a_bus_that_cannot_keep_the_period_goes_round_fairly_at_full_speed(
    count: int, share: float
) -> None:
    sweep_s = count * POLL_S
    bus = Bus(schedule_of(count, sweep_s / (1 + share)))
    bus.run(5.0 + sweep_s)
    bus.polls.clear()
    start_s = bus.now_s
    bus.run(start_s + 20 * sweep_s)
    assert sum(bus.polls.values()) >= 0.999 * (bus.now_s - start_s) / POLL_S - 1
    assert max(bus.polls.values()) - min(bus.polls.values()) <= 1


@given(st.integers(1, 29))
def test_silent_devices_cost_at_most_their_share_of_the_bus(silent: int) -> None:
    bus = Bus(schedule_of(30, 0.1), {f"m-{number}" for number in range(silent)})
    bus.run(120.0)
    start_s, lost_s = bus.now_s, bus.lost_s
    bus.run(start_s + 3600.0)
    assert bus.schedule.silent_count == silent
    assert bus.lost_s - lost_s <= SILENT_SHARE * (bus.now_s - start_s) + ATTEMPT_S


def test_a_device_that_answers_again_is_back_at_once() -> None:
    bus = Bus(schedule_of(30, 10.0), {"m-3", "m-4", "m-5"})
    bus.run(600.0)
    assert bus.schedule.silent_count == 3
    bus.silent.clear()
    bus.run(1300.0)
    assert bus.schedule.silent_count == 0
    bus.polls.clear()
    bus.run(1400.0)
    assert all(9 <= bus.polls[f"m-{number}"] <= 11 for number in (3, 4, 5))


def test_after_a_power_cut_of_the_whole_bus_all_devices_are_back_soon() -> None:
    everyone = {f"m-{number}" for number in range(30)}
    bus = Bus(schedule_of(30, 10.0), set(everyone))
    bus.run(7200.0)
    assert bus.schedule.silent_count == 30
    bus.silent.clear()
    bus.run(7200.0 + 90.0)
    assert bus.schedule.silent_count == 0


def test_one_silence_does_not_put_a_device_out_of_the_round() -> None:
    schedule = schedule_of(1, 10.0)
    turn = schedule.take(5.0)
    assert turn is not None
    schedule.missed(turn, 6.0, 1.0)
    assert schedule.silent_count == 0
    assert schedule.take(17.0) is turn


def test_pauses_of_a_silent_device_grow_to_ten_minutes() -> None:
    bus = Bus(schedule_of(2, 10.0), {"m-0"})
    bus.run(86_400.0)
    attempts = bus.lost_s / ATTEMPT_S
    assert 86_400 / 602 <= attempts <= 86_400 / 600 + 12


def test_a_bus_on_which_nobody_answers_is_looked_at_each_minute() -> None:
    bus = Bus(schedule_of(1, 10.0), {"m-0"})
    bus.run(86_400.0)
    attempts = bus.lost_s / ATTEMPT_S
    assert 86_400 / 63 <= attempts <= 86_400 / 60 + 12

"""RS-485 timing as arithmetic: no clock is read here."""

import pytest

from simulators.line import Line, Schedule


def test_a_character_at_9600_8n1_takes_ten_bits() -> None:
    assert Line(baud=9600).character_s == pytest.approx(10 / 9600)


def test_parity_and_a_second_stop_bit_lengthen_a_character() -> None:
    assert Line(baud=9600, format="8E1").character_s == pytest.approx(11 / 9600)
    assert Line(baud=9600, format="8N2").character_s == pytest.approx(11 / 9600)


def test_silence_is_three_and_a_half_characters_and_fixed_above_19200() -> None:
    assert Line(baud=9600).silence_s == pytest.approx(35 / 9600)
    assert Line(baud=115_200).silence_s == 0.00175


def test_an_exchange_is_silence_request_turnaround_and_answer() -> None:
    line = Line(baud=9600)
    expected = (3.5 + 8 + 29) * 10 / 9600 + 0.04
    assert line.exchange_s(8, 29, 0.04) == pytest.approx(expected)


def test_a_fast_slave_still_keeps_the_silence_before_its_answer() -> None:
    line = Line(baud=2400)
    assert line.answer_delay_s(0.0) == line.silence_s


def test_speed_divides_every_time_and_zero_takes_time_away() -> None:
    slow, fast = Line(baud=9600), Line(baud=9600, speed=10)
    assert fast.exchange_s(8, 29, 0.04) == pytest.approx(slow.exchange_s(8, 29, 0.04) / 10)
    assert Line(baud=9600, speed=0).exchange_s(8, 29, 0.04) == 0


def test_askers_at_the_same_moment_get_the_line_one_after_the_other() -> None:
    schedule = Schedule(Line(baud=9600))
    first = schedule.place(10.0, 8, 29, 0.04)
    second = schedule.place(10.0, 8, 29, 0.04)
    assert first.start_s == 10.0
    assert second.start_s == pytest.approx(first.answered_s + 35 / 9600)


def test_a_silent_slave_costs_the_line_its_request_only() -> None:
    schedule = Schedule(Line(baud=9600))
    slot = schedule.place(10.0, 8, 0, 0.04)
    assert slot.answered_s == pytest.approx(10.0 + 80 / 9600)


def test_the_simulators_own_lateness_is_not_charged_to_the_next_asker() -> None:
    schedule = Schedule(Line(baud=9600))
    first = schedule.place(10.0, 8, 29, 0.04)
    schedule.delivered(first, first.answered_s + 0.001)
    second = schedule.place(first.answered_s + 0.001 + 0.004, 8, 29, 0.04)
    assert second.start_s == pytest.approx(first.answered_s + 0.004)


def test_great_lateness_is_charged_beyond_its_bound() -> None:
    schedule = Schedule(Line(baud=9600))
    first = schedule.place(10.0, 8, 29, 0.04)
    schedule.delivered(first, first.answered_s + 1.0)
    second = schedule.place(first.answered_s + 1.0, 8, 29, 0.04)
    assert second.start_s == pytest.approx(first.answered_s + 0.995)

from __future__ import annotations

from hub.cli.show import presence_of
from hub.journal import Latest
from hub.model import Reading, Value
from hub.presence import Change, Presence, PresenceBoard, is_stale
from tests.site_folder import meter


def said(values: dict[str, Value], bad: dict[str, str] | None = None) -> Reading:
    return Reading(device="meter-1", time_ms=0, received_ms=0, values=values, bad=bad or {})


def board() -> PresenceBoard:
    known = PresenceBoard()
    known.configure([meter(period_s=10)], now_s=0)
    return known


def states(changes: list[Change]) -> list[tuple[Presence, str]]:
    return [(change.presence, change.reason) for change in changes]


def test_a_device_is_unknown_until_it_was_heard_or_should_have_been() -> None:
    known = board()
    assert known.counts()[Presence.UNKNOWN] == 1
    assert states(known.sweep(31)) == [(Presence.OFFLINE, "silent for 31 s")]


def test_a_reading_makes_a_device_online_and_is_told_once() -> None:
    known = board()
    first = known.heard(said({"voltage_l1": 230.0}), 1)
    assert first is not None
    assert first.presence is Presence.ONLINE
    assert known.heard(said({"voltage_l1": 230.0}), 2) is None


def test_three_silent_periods_make_a_device_offline_and_are_told_once() -> None:
    known = board()
    known.heard(said({"voltage_l1": 230.0}), 0)
    assert states(known.sweep(30)) == []
    assert states(known.sweep(30.1)) == [(Presence.OFFLINE, "silent for 30 s")]
    assert states(known.sweep(60)) == []


def test_a_device_that_returns_is_told_again() -> None:
    known = board()
    known.heard(said({"voltage_l1": 230.0}), 0)
    known.sweep(40)
    change = known.heard(said({"voltage_l1": 230.0}), 41)
    assert change is not None
    assert change.presence is Presence.ONLINE


def test_the_reason_of_silence_is_what_the_driver_last_said() -> None:
    known = board()
    known.missed("meter-1", "timeout")
    assert states(known.sweep(40)) == [(Presence.OFFLINE, "timeout")]


def test_a_last_will_makes_a_device_offline_at_once() -> None:
    known = board()
    known.heard(said({"voltage_l1": 230.0}), 0)
    change = known.heard(said({"online": False}), 1)
    assert change is not None
    assert change.presence is Presence.OFFLINE


def test_a_reading_without_any_good_value_does_not_make_a_device_online() -> None:
    known = board()
    assert known.heard(said({}, bad={"voltage_l1": "illegal address"}), 1) is None
    assert states(known.sweep(40)) == [(Presence.OFFLINE, "illegal address")]


def test_a_changed_configuration_keeps_what_is_known_of_those_that_stay() -> None:
    known = board()
    known.heard(said({"voltage_l1": 230.0}), 0)
    known.configure([meter(period_s=10), meter("meter-2")], now_s=5)
    assert known.counts() == {Presence.ONLINE: 1, Presence.OFFLINE: 0, Presence.UNKNOWN: 1}
    known.configure([meter("meter-2")], now_s=6)
    assert known.of("meter-1") is None


def test_a_value_is_stale_after_three_periods() -> None:
    assert (is_stale(180, 60), is_stale(180.1, 60)) == (False, True)


def test_nobodys_silence_counts_while_nothing_could_be_stored() -> None:
    known = board()
    known.heard(said({"voltage_l1": 230.0}), 0)
    known.excuse(100)
    assert known.sweep(130) == []
    assert len(known.sweep(131)) == 1


def test_what_was_heard_before_the_clock_went_back_does_not_look_fresh() -> None:
    hour_ms = 3_600_000
    heard = Latest(
        device="meter-1",
        time_ms=hour_ms,
        received_ms=hour_ms,
        values={"voltage_l1": 230.0},
        older={},
        bad={},
        uncertain={},
    )
    assert presence_of(meter(period_s=10), heard, 0) == (Presence.OFFLINE, 3600.0)

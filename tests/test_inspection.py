"""The verdict over one device, from what it said and what a look at its identity showed."""

from __future__ import annotations

import pytest

from hub import Device, Reading, Sight, Sighting, Spot, load_profiles
from hub.cli.inspection import Verdict, judge

PROFILES = load_profiles()
SPOT = Spot(address="1", way="9600 8N1")


def device(profile: str) -> Device:
    return Device(id="m-1", profile=PROFILES.example(profile), link="bus-1", address="1")


def reading(bad: dict[str, str] | None = None, **values: bool | float) -> Reading:
    return Reading(device="m-1", time_ms=1, received_ms=1, values=values, bad=bad or {})


def sighting(sight: Sight, profile: str = "", text: str = "") -> Sighting:
    return Sighting(spot=SPOT, sight=sight, profile=profile, text=text)


GOOD = reading(voltage_l1=230.0)
ODD = reading({"voltage_l1": "3.2 is below 80", "frequency": "no number"}, energy_import=1.0)
NOTHING = reading({"voltage_l1": "illegal address"})
SDM120, DDSU = "eastron_sdm120", "chint_ddsu666"  # with an identity register, and without


@pytest.mark.parametrize(
    ("profile", "said", "seen", "verdict", "reason"),
    [
        (SDM120, GOOD, sighting(Sight.KNOWN, SDM120), Verdict.ANSWERED, ""),
        (DDSU, GOOD, None, Verdict.ANSWERED, ""),
        (SDM120, GOOD, sighting(Sight.SILENT), Verdict.ANSWERED, ""),
        (
            DDSU,
            ODD,
            None,
            Verdict.IMPLAUSIBLE,
            "voltage_l1: 3.2 is below 80, frequency: no number",
        ),
        (DDSU, ODD, sighting(Sight.COLLISION, text="wrong crc"), Verdict.IMPLAUSIBLE, "wrong crc"),
        (DDSU, GOOD, sighting(Sight.KNOWN, SDM120), Verdict.WRONG_MODEL, f"it is {SDM120}"),
        (DDSU, ODD, sighting(Sight.PERHAPS, "x"), Verdict.WRONG_MODEL, "it is perhaps x"),
        (SDM120, GOOD, sighting(Sight.PERHAPS, "x"), Verdict.WRONG_MODEL, "it is perhaps x"),
        (SDM120, GOOD, sighting(Sight.STRANGER), Verdict.WRONG_MODEL, "identity register"),
        (DDSU, NOTHING, None, Verdict.WRONG_MODEL, "voltage_l1: illegal address"),
        (DDSU, reading(online=False), None, Verdict.SILENT, "says it is offline"),
    ],
)
def test_a_verdict_follows_from_what_was_said_and_seen(
    profile: str, said: Reading, seen: Sighting | None, verdict: Verdict, reason: str
) -> None:
    found, why = judge(device(profile), said, seen)
    assert found is verdict
    assert reason in why


def test_of_many_points_that_cannot_be_used_the_first_are_named() -> None:
    names = ("voltage_l1", "voltage_l2", "voltage_l3", "frequency", "current_l1")
    bad = dict.fromkeys(names, "no number")
    _, why = judge(device(DDSU), reading(bad, energy_import=1.0), None)
    assert why.endswith("voltage_l3: no number and 2 more")

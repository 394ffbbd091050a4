"""Every shipped profile against its golden folder: frames and payloads of manuals, and what they mean.

A case is `tests/profiles/<profile>/<case>.toml`: exchanges (RTU frames with their CRC) or messages, and
what they say. Nothing here shares code with the drivers: the frames are taken apart by this file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.modbus.frames import FrameError, RtuEnvelope, read_request, write_registers
from drivers.modbus.registers import register_map
from drivers.mqtt.payload import TopicMap, topic_map
from hub import Profile, ProfileLibrary, Value, load_profiles

FOLDER = Path(__file__).parent / "profiles"
SHIPPED = Path(__file__).parent.parent / "drivers" / "profiles"
LIBRARY: ProfileLibrary = load_profiles()
CASES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.toml"))
LINES_MAX = 40
LONGER_BECAUSE = {
    "generic_meter": "our own convention: all that any maker's meter may have to say",
    "acrel_ddsy1352": "ten flags of two words, credit, tariffs and clock are one block of 48 registers",
    "zhenshi_lpr": "four tables of codes, one line each",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One golden case, with its device's settings applied to the profile."""

    profile: Profile
    source: str
    answers: tuple[tuple[int, int, bytes], ...]
    messages: tuple[Mapping[str, object], ...]
    expect: Mapping[str, Value]
    bad: Mapping[str, str]


def crc16(data: bytes) -> bytes:
    """The check of an RTU frame, low byte first, bit by bit as the serial line specification says."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register.to_bytes(2, "little")


def answer(exchange: Mapping[str, str]) -> tuple[int, int, bytes]:
    """(function, start, data) of a read request and the reply that belongs to it."""
    request, reply = bytes.fromhex(exchange["request"]), bytes.fromhex(exchange["reply"])
    assert crc16(request[:-2]) == request[-2:]
    assert crc16(reply[:-2]) == reply[-2:]
    assert reply[:2] == request[:2], "unit and function of the reply"
    function, start = request[1], int.from_bytes(request[2:4])
    count = int.from_bytes(request[4:6])
    size = (count + 7) // 8 if function in (1, 2) else 2 * count
    assert len(request) == 8
    assert reply[2] == size == len(reply) - 5, "byte count of the reply"
    return function, start, reply[3:-2]


def read_case(name: str) -> Case:
    document = tomllib.loads((FOLDER / name).read_text("utf-8"))
    profile, _, _ = name.partition("/")
    known = {"source", "settings", "exchange", "message", "expect", "bad", "command"}
    assert set(document) <= known
    chosen = document.get("settings")
    return Case(
        profile=LIBRARY.get(profile, chosen, place=name) if chosen else LIBRARY.example(profile),
        source=document["source"],
        answers=tuple(answer(exchange) for exchange in document.get("exchange", ())),
        messages=tuple(document.get("message", ())),
        expect=document.get("expect", {}),
        bad=document.get("bad", {}),
    )


def topic_name(topics: TopicMap, text: str) -> str:
    """The one topic of the profile that hears `text`."""
    (name,) = {
        name
        for name, topic in topics.topics.items()
        for template in topic.templates
        if template.address(text)
    }
    return name


def decoded(case: Case) -> tuple[dict[str, Value], dict[str, str]]:
    """What our driver's pure half makes of the case."""
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    if case.answers:
        registers = register_map(case.profile).decode(case.answers)
        values |= registers.values
        bad |= registers.bad
    topics = topic_map(case.profile) if case.messages else None
    for message in case.messages:
        assert topics is not None
        name = topic_name(topics, str(message["topic"]))
        result = topics.decode(name, str(message["payload"]).encode())
        assert result.time_ms == message.get("time_ms", result.time_ms)
        values |= result.values
        bad |= result.bad
    return values, bad


def nearly(value: Value) -> object:
    """A float within its 24 bits on the wire; everything else exactly."""
    return pytest.approx(value, rel=1e-6, abs=0) if isinstance(value, float) else value


def shipped() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


@pytest.mark.parametrize("name", CASES)
def test_frames_and_payloads_mean_what_the_manual_says(name: str) -> None:
    case = read_case(name)
    values, bad = decoded(case)
    assert bad == case.bad
    assert values == {point: nearly(value) for point, value in case.expect.items()}
    kinds = {point: type(value) for point, value in values.items()}
    assert kinds == {point: type(value) for point, value in case.expect.items()}


@pytest.mark.parametrize("name", CASES)
def test_every_golden_case_names_its_source(name: str) -> None:
    assert len(read_case(name).source) > 20


@pytest.mark.parametrize("name", shipped())
def test_every_point_of_a_profile_stands_in_its_golden_folder(name: str) -> None:
    cases = [read_case(case) for case in CASES if case.startswith(f"{name}/")]
    shown = {point for case in cases for point in (*case.expect, *case.bad)}
    assert set(LIBRARY.example(name).points) - shown == set()


@pytest.mark.parametrize("name", shipped())
def test_a_profile_is_at_most_forty_lines_without_its_commands_or_says_why(name: str) -> None:
    assert lines_for_reading(name) <= LINES_MAX or name in LONGER_BECAUSE


def lines_for_reading(name: str) -> int:
    """Lines of a profile before its commands."""
    text, _, _ = (SHIPPED / f"{name}.toml").read_text("utf-8").partition("\n[commands")
    return len(text.splitlines())


def test_no_reason_is_kept_for_a_profile_that_is_short_enough() -> None:
    lengths = {name: lines_for_reading(name) for name in shipped()}
    assert {name for name, length in lengths.items() if length > LINES_MAX} == set(LONGER_BECAUSE)


@pytest.mark.parametrize("name", shipped())
def test_a_profile_names_its_sources_and_what_is_not_certain(name: str) -> None:
    profile = LIBRARY.example(name)
    assert profile.sources
    assert profile.doubts


UNCERTAIN = {
    ("acrel_ddsy1352", "device_time"): "low",
    ("acrel_ddsy1352", "power_demand_max"): "low",
    ("acrel_ddsy1352", "energy_import"): "medium",
    ("chint_ddsu666", "energy_export"): "medium",
    ("schneider_iem3155", "voltage_ln_avg"): "medium",
    ("generic_barrier", "fire_alarm"): "medium",
    ("generic_washer", "washer_state"): "medium",
    ("generic_turnstile", "gate_event"): "medium",
    ("zhenshi_lpr", "offline_record"): "medium",
    ("zhenshi_lpr", "fake_plate"): "medium",
    ("zhenshi_lpr", "gate_event"): "medium",
}


@pytest.mark.parametrize(("name", "point"), UNCERTAIN)
def test_what_the_sources_leave_uncertain_is_marked_in_the_profile(name: str, point: str) -> None:
    spec = LIBRARY.example(name).points[point]
    assert spec.confidence == UNCERTAIN[name, point]


def test_a_camera_s_pictures_are_no_point_of_its_profile() -> None:
    points = LIBRARY.get("zhenshi_lpr", {}, place="test").points.values()
    assert not any("image" in str(spec.where) for spec in points)


def test_what_names_a_person_is_marked_secret() -> None:
    profiles = [LIBRARY.example(name) for name in shipped()]
    specs = [spec for profile in profiles for spec in profile.points.values()]
    secret = {spec.point.name for spec in specs if spec.point.secret}
    assert secret == {"plate", "credential"}


SDM120_VOLTS = "01 04 04 43 66 33 34 1B 38"


@pytest.mark.parametrize(
    "damaged",
    [
        "01 04 04 43 66 33 34 F7 CF",  # the CRC of the SDM630's example, as manuals have copied it
        "01 04 04 43 66 33 34 38 1B",  # its bytes exchanged
        "01 04 04 43 66 33 35 1B 38",  # one bit of the value
    ],
)
def test_a_frame_with_a_wrong_crc_is_refused(damaged: str) -> None:
    request = read_request(1, 4, 0, 2)
    with pytest.raises(FrameError, match="crc"):
        RtuEnvelope().answer(bytes.fromhex(damaged), request, 0)


def test_the_frame_of_the_manual_is_taken() -> None:
    request = read_request(1, 4, 0, 2)
    answer = RtuEnvelope().answer(bytes.fromhex(SDM120_VOLTS), request, 0)
    assert answer is not None
    assert answer.data == bytes.fromhex("43 66 33 34")


def test_a_request_misprinted_in_a_manual_is_sent_with_the_right_crc() -> None:
    misprinted = bytes.fromhex("01 03 00 00 00 14 C4 0B")  # SDM120 V2.5, read example
    assert read_request(1, 3, 0, 20).rtu == misprinted[:-2] + bytes.fromhex("45 C5")


def test_a_write_reply_misprinted_in_a_manual_is_refused() -> None:
    misprinted = bytes.fromhex("01 10 00 14 00 02 E0 08")  # SDM120 V2.5, write reply
    request = write_registers(1, 0x14, (0x3F80, 0))
    with pytest.raises(FrameError, match="crc"):
        RtuEnvelope().answer(misprinted, request, 0)
    right = RtuEnvelope().answer(misprinted[:-2] + bytes.fromhex("01 CC"), request, 0)
    assert right is not None

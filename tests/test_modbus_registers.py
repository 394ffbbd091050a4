"""From registers to values: every way a profile can say where a point stands."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.registers import Decoded, register_map
from hub import ConfigError
from tests.modbus_site import profile_of

HEAD = 'name = "T"\nmaker = "T"\nkind = "electricity_meter"\nprotocol = "modbus"\n'


def decode(points: str, *answers: tuple[int, int, bytes], wire: str = "") -> Decoded:
    profile = profile_of(f"{HEAD}[modbus]\n{wire}\n[points]\n{points}")
    return register_map(profile).decode(answers)


def value(point: str, where: str, data: bytes, *, start: int = 0, wire: str = "") -> object:
    decoded = decode(f"{point} = {{ {where} }}", (3, start, data), wire=wire)
    assert decoded.bad == {}
    return decoded.values[point]


def reason(point: str, where: str, data: bytes) -> str:
    decoded = decode(f"{point} = {{ {where} }}", (3, 0, data))
    assert decoded.values == {}
    return decoded.bad[point]


def test_the_frame_of_the_sdm120_manual_is_230_2_volts() -> None:
    # Eastron SDM120M protocol V2.5: 43 66 33 34 = 230.20001 (MB-10)
    volts = value("voltage_l1", 'at = 0, type = "float32"', bytes.fromhex("43663334"))
    assert volts == pytest.approx(230.2, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "bytes_", "wire"),
    [
        ("big", "big", "01020304"),
        ("little", "big", "03040102"),
        ("big", "little", "02010403"),
        ("little", "little", "04030201"),
    ],
)
def test_words_and_bytes_come_in_any_order(words: str, bytes_: str, wire: str) -> None:
    where = f'at = 0, type = "u32", word_order = "{words}", byte_order = "{bytes_}"'
    assert value("purchase_count", where, bytes.fromhex(wire)) == 0x01020304


@given(
    st.sampled_from(
        [("u16", "H"), ("u32", "I"), ("u64", "Q"), ("s16", "h"), ("s32", "i"), ("s64", "q")]
    ),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.booleans(),
)
def test_whole_numbers_come_out_as_they_were_put_in(
    kind: tuple[str, str], bits: int, words_little: bool, bytes_little: bool
) -> None:
    name, code = kind
    size = struct.calcsize(code)
    (number,) = struct.unpack(">" + code, (bits % 2 ** (8 * size)).to_bytes(size, "big"))
    data = struct.pack(">" + code, number)
    pairs = [data[at : at + 2] for at in range(0, size, 2)]
    pairs = pairs[::-1] if words_little else pairs
    wire = b"".join(pair[::-1] if bytes_little else pair for pair in pairs)
    where = (
        f'at = 3, type = "{name}", word_order = "{"little" if words_little else "big"}", '
        f'byte_order = "{"little" if bytes_little else "big"}"'
    )
    assert value("energy_total", where, b"\0\0" + wire, start=2) == number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_come_out_as_they_were_put_in(number: float) -> None:
    data = struct.pack(">f", number)
    assert value("temperature", 'at = 0, type = "float32"', data) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_long_floats_come_out_as_they_were_put_in(number: float) -> None:
    data = struct.pack(">d", number)
    assert value("temperature", 'at = 0, type = "float64"', data) == number


@given(st.integers(0, 10**12 - 1))
def test_packed_decimals_come_out_as_they_were_put_in(number: int) -> None:
    data = bytes.fromhex(f"{number:012d}")
    assert value("purchase_count", 'at = 0, type = "bcd", length = 6', data) == number


def test_a_packed_number_of_a_text_point_keeps_its_zeros() -> None:
    # Acrel DDSY1352: six bytes of packed decimal from register 0x43
    where = 'at = 0, type = "bcd", length = 6'
    assert value("meter_number", where, bytes.fromhex("001234567890")) == "001234567890"


def test_what_is_not_packed_decimal_is_bad() -> None:
    where = 'at = 0, type = "bcd", length = 2'
    assert reason("purchase_count", where, b"\x1a\x00") == "not packed decimal"


def test_a_clock_of_packed_bytes_is_iso_text() -> None:
    # Acrel DDSY1352: YY MM DD W hh mm ss from the high byte of 0x28; the value after it straddles registers
    data = bytes.fromhex("26112207190905") + struct.pack(">H", 1234) + b"\0"
    points = (
        'device_time = { at = 40, type = "datetime" }\n'
        'power_demand_max = { at = 43, byte = 1, type = "u16", unit = "kW", scale = 0.001 }'
    )
    decoded = decode(points, (3, 40, data))
    assert decoded == Decoded(
        values={"device_time": "2026-11-22T19:09:05", "power_demand_max": 1234.0}, bad={}
    )


def test_an_impossible_date_is_bad() -> None:
    assert reason("device_time", 'at = 0, type = "datetime"', bytes(8)) == "not a date"


def test_text_ends_at_its_filling() -> None:
    where = 'at = 0, type = "ascii", length = 8'
    assert value("meter_number", where, b"AB-12\0\0\0") == "AB-12"
    assert reason("meter_number", where, b"AB\xff12\0\0\0") == "not ascii"


def test_bits_are_taken_from_their_register() -> None:
    points = (
        "relay_closed = { at = 0, bit = 15 }\n"
        "arrears = { at = 0, bit = 5, invert = true }\n"
        'washer_state = { at = 0, bits = [0, 3], values = { "5" = "running" } }\n'
    )
    decoded = decode(points, (3, 0, struct.pack(">H", 0x8005)))
    assert decoded.values == {"relay_closed": True, "arrears": True, "washer_state": "running"}


def test_coils_and_inputs_are_flags() -> None:
    # Modbus Application Protocol V1.1b3, function 1: CD 6B 05 from coil 0x13
    points = "relay_1 = { at = 19 }\nrelay_2 = { at = 20 }\nrelay_3 = { at = 37 }\n"
    decoded = decode(points, (1, 19, bytes.fromhex("CD6B05")), wire="function = 1")
    assert decoded.values == {"relay_1": True, "relay_2": False, "relay_3": True}


def test_not_available_codes_are_bad_as_they_stand_on_the_wire() -> None:
    assert (
        reason("frequency", 'at = 0, type = "s16", absent = [0x8000]', b"\x80\0") == "not available"
    )
    assert reason("frequency", "at = 0, absent = [0xFFFF]", b"\xff\xff") == "not available"
    assert (
        reason("frequency", 'at = 0, type = "float32"', bytes.fromhex("FFC00000"))
        == "not available"
    )


def test_scale_and_unit_are_applied_and_whole_numbers_stay_exact() -> None:
    assert value("voltage_l1", "at = 0, scale = 0.1", struct.pack(">H", 2298)) == 229.8
    where = 'at = 0, type = "u32", scale = 0.01, unit = "kWh"'
    assert value("energy_import", where, struct.pack(">I", 123456789)) == 1234567890


def test_the_address_base_of_the_manual_is_taken_off() -> None:
    data = struct.pack(">H", 500)
    assert (
        value("frequency", "at = 3110, scale = 0.1", data, start=3109, wire="address_base = 1")
        == 50.0
    )


def test_a_measured_ratio_multiplies_and_its_absence_makes_the_point_bad() -> None:
    points = (
        "ct_ratio = { at = 20, absent = [0] }\n"
        'energy_import = { at = 21, type = "u32", ratio = ["ct_ratio"] }\n'
        'current_l1 = { at = 23, scale = 0.01, ratio = ["ct_ratio"] }\n'
    )
    data = struct.pack(">HIH", 30, 1001, 250)
    assert decode(points, (3, 20, data)).values == {
        "ct_ratio": 30,
        "energy_import": 30030,
        "current_l1": 75.0,
    }
    without = decode(points, (3, 20, b"\0\0" + data[2:]))
    assert without.values == {}
    assert without.bad["energy_import"] == "no ct_ratio"
    uncovered = decode(points, (3, 21, data[2:]))
    assert uncovered.bad == {"energy_import": "no ct_ratio", "current_l1": "no ct_ratio"}


def test_points_the_answers_do_not_cover_are_absent() -> None:
    points = 'voltage_l1 = { at = 0 }\nenergy_import = { at = 1, type = "u32" }'
    assert decode(points, (3, 0, bytes(4))) == Decoded(values={"voltage_l1": 0.0}, bad={})


def test_a_bad_value_leaves_its_neighbours() -> None:
    points = "voltage_l1 = { at = 0, absent = [0xFFFF] }\nfrequency = { at = 1 }"
    decoded = decode(points, (3, 0, b"\xff\xff\x00\x32"))
    assert decoded == Decoded(values={"frequency": 50.0}, bad={"voltage_l1": "not available"})


@pytest.mark.parametrize(
    ("wire", "point", "key"),
    [
        ("", "voltage_l1 = { type = 'u16' }", "points.voltage_l1"),
        ("", "voltage_l1 = { at = 0, adress = 1 }", "points.voltage_l1"),
        ("", "voltage_l1 = { at = 0, type = 'u24' }", "points.voltage_l1.type"),
        ("", "voltage_l1 = { at = 0, type = 'bool' }", "points.voltage_l1.type"),
        ("", "voltage_l1 = { at = 0, type = 'ascii', length = 4 }", "points.voltage_l1.type"),
        ("", "meter_number = { at = 0, type = 'u16' }", "points.meter_number.type"),
        ("", "meter_number = { at = 0, type = 'ascii' }", "points.meter_number.length"),
        ("", "relay_1 = { at = 0, bit = 16 }", "points.relay_1.bit"),
        ("", "relay_1 = { at = 0, bits = [10, 9] }", "points.relay_1.bits"),
        ("", "relay_1 = { at = 0, type = 's16', bit = 0 }", "points.relay_1.type"),
        ("", "relay_1 = { at = 0, function = 1, type = 'u16' }", "points.relay_1.type"),
        ("", "voltage_l1 = { at = 65535, type = 'u32' }", "points.voltage_l1.at"),
        (
            "",
            "device_time = { at = 0, type = 'datetime', layout = 'YY xx' }",
            "points.device_time.layout",
        ),
        ("address_base = 10", "voltage_l1 = { at = 9 }", "points.voltage_l1.at"),
        ("max_registers = 3", "voltage_l1 = { at = 0, type = 'float64' }", "points.voltage_l1.at"),
        ("max_registers = 126", "voltage_l1 = { at = 0 }", "modbus.max_registers"),
        ("word_order = 'middle'", "voltage_l1 = { at = 0 }", "modbus.word_order"),
        ("colour = 1", "voltage_l1 = { at = 0 }", "modbus"),
        (
            "serial = { baud = 9600, format = '9X1' }",
            "voltage_l1 = { at = 0 }",
            "modbus.serial.format",
        ),
    ],
)
def test_a_mistake_in_the_wire_keys_is_told_with_its_place(wire: str, point: str, key: str) -> None:
    profile = profile_of(f"{HEAD}[modbus]\n{wire}\n[points]\n{point}")
    with pytest.raises(ConfigError) as caught:
        register_map(profile)
    assert caught.value.key == key
    assert caught.value.file == "test.toml"


@given(st.binary(min_size=20, max_size=20))
def test_any_bytes_give_a_value_or_a_reason_for_every_point(data: bytes) -> None:
    points = (
        'voltage_l1 = { at = 0, type = "float32" }\n'
        'meter_number = { at = 2, type = "bcd", length = 4 }\n'
        'device_time = { at = 4, type = "datetime" }\n'
        'program = { at = 8, type = "ascii", length = 4 }\n'
        "relay_1 = { at = 0, bit = 3 }\n"
        "relay_2 = { at = 1 }\n"
    )
    decoded = decode(points, (3, 0, data))
    assert decoded.values.keys() | decoded.bad.keys() == {
        "voltage_l1",
        "meter_number",
        "device_time",
        "program",
        "relay_1",
        "relay_2",
    }
    assert not decoded.values.keys() & decoded.bad.keys()

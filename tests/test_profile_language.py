"""What a profile can say, one property of real products in each test, without any expression.

The bytes are written by hand, high byte of a register first, as they stand on the wire.
"""

from __future__ import annotations

import struct

import pytest

from drivers.modbus.registers import RegisterMap, register_map
from drivers.mqtt.payload import topic_map
from hub import ConfigError, Profile, Value
from hub.profile_file import read_profile

HEAD = 'name = "A meter"\nmaker = "A maker"\nkind = "meter"\n'
MODBUS = HEAD + 'protocol = "modbus"\n'
MQTT = HEAD + 'protocol = "mqtt"\n'


def profile_of(text: str, **settings: str) -> Profile:
    return read_profile("a_meter", "a_meter.toml", text).apply(settings, place="devices.csv")


def registers(text: str, **settings: str) -> RegisterMap:
    return register_map(profile_of(MODBUS + text, **settings))


def values(text: str, data: str, *, function: int = 3, start: int = 0, **settings: str) -> object:
    """The values of one answer; nothing of it may be bad."""
    result = registers(text, **settings).decode([(function, start, bytes.fromhex(data))])
    assert result.bad == {}
    return result.values


def one_value(point: str, keys: str, data: str) -> Value:
    """The value of the only point of a profile, at register 0 of function 3."""
    result = registers(f"[points]\n{point} = {{ at = 0, {keys} }}").decode(
        [(3, 0, bytes.fromhex(data))]
    )
    return result.values[point]


# Order of words and bytes, and what a device overrides.


@pytest.mark.parametrize(
    ("word_order", "byte_order", "data"),
    [
        ("big", "big", "43 66 33 34"),
        ("little", "big", "33 34 43 66"),
        ("big", "little", "66 43 34 33"),
        ("little", "little", "34 33 66 43"),
    ],
)
def test_the_order_of_words_and_the_order_of_bytes_are_said_apart(
    word_order: str, byte_order: str, data: str
) -> None:
    text = f"""
    [modbus]
    type = "float32"
    word_order = "{word_order}"
    byte_order = "{byte_order}"
    [points]
    voltage_l1 = {{ at = 0 }}
    """
    assert values(text, data) == {"voltage_l1": pytest.approx(230.2)}


def test_one_point_may_have_another_order_than_its_product() -> None:
    text = """
    [modbus]
    type = "u32"
    [points]
    energy_import = { at = 0 }
    energy_export = { at = 2, word_order = "little" }
    """
    expected = {"energy_import": 0x00010002, "energy_export": 0x00010002}
    assert values(text, "00 01 00 02 00 02 00 01") == expected


def test_four_words_are_turned_as_a_whole() -> None:
    keys = 'type = "u64", word_order = "little"'
    assert one_value("energy_import", keys, "00 04 00 03 00 02 00 01") == 0x0001000200030004


def test_one_device_may_have_another_order_than_its_product() -> None:
    text = """
    [settings]
    word_order = { default = "big", choices = ["big", "little"] }
    [modbus]
    type = "float32"
    word_order = "$word_order"
    [points]
    voltage_l1 = { at = 0 }
    """
    expected = {"voltage_l1": pytest.approx(230.2)}
    assert values(text, "43 66 33 34") == expected
    assert values(text, "33 34 43 66", word_order="little") == expected


# Scale and unit.


@pytest.mark.parametrize(
    ("keys", "raw", "watt_hours"),
    [
        ('unit = "Wh"', 1234567, 1234567),
        ('unit = "kWh", scale = 0.01', 1234567, 12345670),
        ('unit = "kWh"', 1234, 1234000),
        ('unit = "MWh", scale = 0.001', 1234, 1234000),
        ('unit = "Wmin"', 6000, 100),
        ('unit = "mWh"', 1500000, 1500),
        ('unit = "kWh", scale = 0.1, offset = 7', 3, 307),
    ],
)
def test_energy_in_any_unit_and_scale_becomes_watt_hours(
    keys: str, raw: int, watt_hours: int
) -> None:
    data = raw.to_bytes(4, "big").hex()
    assert one_value("energy_import", f'type = "u32", {keys}', data) == watt_hours


def test_kilowatts_become_watts() -> None:
    assert (
        one_value("active_power_total", 'type = "s16", unit = "kW", scale = 0.001', "FB2E")
        == -1234.0
    )


def test_a_scale_does_not_add_digits() -> None:
    assert one_value("voltage_l1", "scale = 0.1", "08FA") == 229.8


# Addresses, requests and their limits.


def test_an_address_base_lets_a_profile_use_the_manual_s_numbers() -> None:
    text = """
    [modbus]
    address_base = 1
    type = "float32"
    [points]
    current_l1 = { at = 3000 }
    """
    assert values(text, "40 A8 00 00", start=0x0BB7) == {"current_l1": 5.25}


def test_each_point_may_have_its_own_function() -> None:
    text = """
    [modbus]
    function = 4
    [points]
    frequency = { at = 0, scale = 0.1 }
    power_limit = { at = 0, function = 3 }
    """
    assert values(text, "01 F4", function=4) == {"frequency": 50.0}
    assert values(text, "01 F4", function=3) == {"power_limit": 500.0}


def test_limits_of_a_request_alignment_and_gaps_are_data() -> None:
    text = """
    [modbus]
    max_registers = 80
    max_bits = 64
    align = 2
    gaps = true
    turnaround_ms = 45
    serial = { baud = 2400, format = "8E1" }
    [points]
    frequency = { at = 0 }
    """
    wire = registers(text).wire
    assert (wire.max_registers, wire.max_bits, wire.align, wire.gaps) == (80, 64, 2, True)
    assert wire.turnaround_ms == 45
    assert wire.serial is not None
    assert (wire.serial.baud, wire.serial.format) == (2400, "8E1")


def test_by_default_no_request_spans_registers_that_no_point_lists() -> None:
    wire = registers("[points]\nfrequency = { at = 0 }").wire
    assert (wire.max_registers, wire.max_bits, wire.align, wire.gaps) == (125, 2000, 1, False)


# Types.


@pytest.mark.parametrize(
    ("kind", "packed", "value"),
    [
        ("u16", struct.pack(">H", 0xFFFE), 0xFFFE),
        ("s16", struct.pack(">h", -2), -2),
        ("u32", struct.pack(">I", 0xFFFFFFFE), 0xFFFFFFFE),
        ("s32", struct.pack(">i", -2), -2),
        ("u64", struct.pack(">Q", 2**52 + 1), 2**52 + 1),
        ("s64", struct.pack(">q", -(2**52) - 1), -(2**52) - 1),
        ("float32", struct.pack(">f", 1234.5), 1234),
        ("float64", struct.pack(">d", 123456789012.0), 123456789012),
    ],
)
def test_numbers_of_every_width_keep_their_value(kind: str, packed: bytes, value: int) -> None:
    assert one_value("energy_total", f'type = "{kind}"', packed.hex()) == value


def test_packed_decimal_is_a_number_or_the_digits_of_a_text() -> None:
    keys = 'type = "bcd", length = 6'
    assert one_value("meter_number", keys, "00 20 26 08 12 07") == "002026081207"
    assert (
        one_value(
            "energy_import", 'type = "bcd", length = 4, unit = "kWh", scale = 0.01', "00 12 34 56"
        )
        == 1234560
    )


def test_packed_decimal_with_a_letter_in_it_is_bad_and_not_a_number() -> None:
    text = '[points]\nmeter_number = { at = 0, type = "bcd", length = 2 }'
    result = registers(text).decode([(3, 0, bytes.fromhex("12 3A"))])
    assert result.values == {}
    assert set(result.bad) == {"meter_number"}


def test_text_in_registers_loses_what_fills_it_up() -> None:
    assert one_value("meter_number", 'type = "ascii", length = 6', "41 42 2D 37 00 00") == "AB-7"


def test_a_device_s_clock_is_seven_packed_bytes_in_four_registers() -> None:
    keys = 'type = "datetime", layout = "YY MM DD W hh mm ss"'
    assert one_value("device_time", keys, "26 09 01 02 08 05 30 FF") == "2026-09-01T08:05:30"


def test_a_value_may_straddle_two_registers() -> None:
    keys = 'type = "u16", byte = 1, unit = "kW", scale = 0.001'
    assert one_value("power_demand_max", keys, "30 0C 35 77") == 3125.0


def test_one_bit_and_several_bits_of_a_register_are_points() -> None:
    text = """
    [points]
    arrears = { at = 0, bit = 5 }
    over_limit = { at = 0, bit = 4 }
    breaker_l1_closed = { at = 0, bit = 13, invert = true }
    overload_count = { at = 0, bits = [8, 4] }
    """
    expected = {
        "arrears": True,
        "over_limit": False,
        "breaker_l1_closed": False,
        "overload_count": 9,
    }
    assert values(text, "29 20") == expected


def test_coils_and_discrete_inputs_are_flags_lowest_bit_first() -> None:
    text = """
    [modbus]
    function = 2
    [points]
    input_1 = { at = 0 }
    input_2 = { at = 1 }
    fire_alarm = { at = 8, invert = true }
    """
    expected = {"input_1": True, "input_2": False, "fire_alarm": True}
    assert values(text, "01 00", function=2) == expected


def test_codes_become_the_words_and_flags_of_the_vocabulary() -> None:
    text = """
    [points]
    washer_state = { at = 0, values = { 0 = "idle", 2 = "running" } }
    power_alarm = { at = 1, values = { 0 = false, 65535 = true } }
    """
    assert values(text, "00 02 FF FF") == {"washer_state": "running", "power_alarm": True}


def test_a_code_the_profile_does_not_know_is_bad() -> None:
    text = '[points]\nwasher_state = { at = 0, values = { 0 = "idle" } }'
    assert registers(text).decode([(3, 0, b"\x00\x07")]).bad == {"washer_state": "unknown code '7'"}


# No value.


@pytest.mark.parametrize(
    ("point", "keys", "data"),
    [
        ("voltage_l1", 'type = "float32"', "FF C0 00 00"),
        ("energy_import", 'type = "float32", unit = "kWh"', "7F 80 00 00"),
        ("voltage_l1", "scale = 0.1, absent = [0xFFFF]", "FF FF"),
        ("active_power_total", 'type = "s16", absent = [0x8000]', "80 00"),
        ("energy_import", 'type = "s64", absent = [0x8000000000000000]', "80 00 00 00 00 00 00 00"),
        ("voltage_l2", 'type = "float32", absent = [0]', "00 00 00 00"),
    ],
)
def test_a_code_for_no_value_is_bad_and_never_a_number(point: str, keys: str, data: str) -> None:
    text = f"[points]\n{point} = {{ at = 0, {keys} }}"
    result = registers(text).decode([(3, 0, bytes.fromhex(data))])
    assert result.values == {}
    assert result.bad == {point: "not available"}


def test_what_an_answer_does_not_cover_is_absent() -> None:
    text = '[points]\nfrequency = { at = 0 }\nenergy_import = { at = 1, type = "u32" }'
    result = registers(text).decode([(3, 0, bytes.fromhex("00 32 00 01"))])
    assert (result.values, result.bad) == ({"frequency": 50.0}, {})


# Transformer ratios.


def test_a_transformer_ratio_may_be_a_setting_of_the_device() -> None:
    text = """
    [settings]
    ct_ratio = { default = 1, minimum = 1, maximum = 1000 }
    [points]
    current_l1 = { at = 0, scale = 0.01, ratio = ["ct_ratio"] }
    """
    assert values(text, "00 FA") == {"current_l1": 2.5}
    assert values(text, "00 FA", ct_ratio="40") == {"current_l1": 100.0}


RATIOS = """
[points]
pt_ratio = { at = 0, absent = [0] }
ct_ratio = { at = 1 }
energy_import = { at = 2, type = "u32", unit = "kWh", scale = 0.01, ratio = ["pt_ratio", "ct_ratio"] }
"""


def test_a_transformer_ratio_may_be_read_from_the_meter() -> None:
    expected = {"pt_ratio": 2, "ct_ratio": 20, "energy_import": 400}
    assert values(RATIOS, "00 02 00 14 00 00 00 01") == expected


def test_without_its_ratio_a_value_is_not_told() -> None:
    result = registers(RATIOS).decode([(3, 0, bytes.fromhex("00 00 00 14 00 00 00 01"))])
    assert result.values == {"ct_ratio": 20}
    assert result.bad == {"pt_ratio": "not available", "energy_import": "no pt_ratio"}


# Messages.


def test_a_message_is_read_by_paths_with_its_own_time_and_number() -> None:
    text = (
        MQTT
        + """
    [mqtt.topics]
    state = { topic = "a/{address}/state", root = "data", time = "ts", time_unit = "s", sequence = "seq" }
    [points]
    voltage_l1 = { path = "u[1]" }
    energy_import = { path = "**.energy.total", unit = "kWh" }
    plate = { path = "code", encoding = "base64" }
    """
    )
    payload = b'{"ts":1788220800,"seq":7,"data":{"u":[0,230.5],"x":{"energy":{"total":1.5}},"code":"QQ=="}}'
    result = topic_map(profile_of(text)).decode("state", payload)
    assert result.values == {"voltage_l1": 230.5, "energy_import": 1500, "plate": "A"}
    assert result.time_ms == 1788220800007


# Mistakes in the protocol's own keys.


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("att = 0", "points.frequency"),
        ("at = 70000", "points.frequency.at"),
        ('at = 0, type = "float16"', "points.frequency.type"),
        ('at = 0, word_order = "middle"', "points.frequency.word_order"),
        ("at = 0, function = 16", "points.frequency.function"),
        ('at = 0, type = "bcd"', "points.frequency.length"),
        ('at = 0, type = "bool"', "points.frequency.type"),
        ("at = 0, bits = [12, 8]", "points.frequency.bits"),
        ("at = 0, bitt = 3", "points.frequency"),
    ],
)
def test_a_wrong_wire_key_is_told_with_its_place(keys: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registers(f"[points]\nfrequency = {{ {keys} }}")
    assert caught.value.file == "a_meter.toml"
    assert caught.value.key == place


def test_a_value_longer_than_a_request_is_told() -> None:
    with pytest.raises(ConfigError, match="max_registers"):
        registers('[modbus]\nmax_registers = 2\n[points]\nenergy_import = { at = 0, type = "u64" }')

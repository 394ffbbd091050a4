"""Registers of the simulators, read back by pymodbus's decoder and by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin

from hub import Value
from simulators.registers import Refused, RegisterLayout
from tests.sim_site import profile

_TYPES = ModbusClientMixin.DATATYPE


def _words(
    points: str, values: dict[str, Value], request: tuple[int, int, int], wire: str = ""
) -> list[int]:
    data, _ = RegisterLayout(profile(points, wire)).read(request, values)
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


@given(value=st.floats(0, 300, width=32))
def test_pymodbus_reads_a_float_whichever_word_comes_first(value: float) -> None:
    big = _words('voltage_l1 = { at = 0, type = "float32" }', {"voltage_l1": value}, (3, 0, 2))
    little = _words(
        'voltage_l1 = { at = 0, type = "float32", word_order = "little" }',
        {"voltage_l1": value},
        (3, 0, 2),
    )
    read = ModbusClientMixin.convert_from_registers
    assert read(big, _TYPES.FLOAT32, word_order="big") == value
    assert read(little, _TYPES.FLOAT32, word_order="little") == value


@given(energy_wh=st.integers(0, 2**32 - 1))
def test_pymodbus_reads_a_pzem_counter_low_word_first(energy_wh: int) -> None:
    words = _words(
        'energy_import = { at = 5, type = "u32", word_order = "little" }',
        {"energy_import": energy_wh},
        (3, 5, 2),
    )
    assert (
        ModbusClientMixin.convert_from_registers(words, _TYPES.UINT32, word_order="little")
        == energy_wh
    )


@pytest.mark.parametrize(
    ("points", "values", "request_", "words"),
    [
        # 230.0 V in tenths; -1.5 kW in watts, signed; 12.34 kWh in hundredths
        ("voltage_l1 = { at = 1, scale = 0.1 }", {"voltage_l1": 230.0}, (3, 1, 1), [2300]),
        (
            'active_power_l1 = { at = 7, type = "s16", unit = "kW", scale = 0.001 }',
            {"active_power_l1": -1500.0},
            (3, 7, 1),
            [0xFA24],
        ),
        (
            'energy_import = { at = 0, type = "u32", unit = "kWh", scale = 0.01 }',
            {"energy_import": 12_340},
            (3, 0, 2),
            [0, 1234],
        ),
        # the manual's number is one more than the wire's
        ("current_l1 = { at = 3000, address_base = 1 }", {"current_l1": 5.0}, (3, 2999, 1), [5]),
        # bytes inside the word are swapped
        ('voltage_l1 = { at = 0, byte_order = "little" }', {"voltage_l1": 230.0}, (3, 0, 1), [0xE600]),
        # packed decimal, six bytes
        (
            'meter_number = { at = 0, type = "bcd", length = 6 }',
            {"meter_number": "123456789012"},
            (3, 0, 3),
            [0x1234, 0x5678, 0x9012],
        ),
        # a value from the low byte of one register to the high byte of the next
        (
            'power_demand_max = { at = 43, byte = 1, unit = "kW", scale = 0.001 }',
            {"power_demand_max": 0x1234},
            (3, 43, 2),
            [0x0012, 0x3400],
        ),
        # flags and fields of one word
        (
            "arrears = { at = 9, bit = 5 }\ndevice_fault = { at = 9, bit = 8 }\n"
            "overload_count = { at = 9, bits = [0, 3] }",
            {"arrears": True, "device_fault": True, "overload_count": 6},
            (3, 9, 1),
            [0b1_0010_0110],
        ),
        # a clock as year, month, day, weekday, hour, minute, second; 2026-11-22 is a Sunday
        (
            'device_time = { at = 0x28, type = "datetime", layout = "YY MM DD W hh mm ss" }',
            {"device_time": "2026-11-22T18:40:05"},
            (3, 0x28, 4),
            [0x2611, 0x2200, 0x1840, 0x0500],
        ),
        # the reader multiplies with the transformer ratio, so the register holds less
        (
            'current_l1 = { at = 1, scale = 0.01, ratio = ["ct_ratio"] }\nct_ratio = { at = 2 }',
            {"current_l1": 100.0, "ct_ratio": 50},
            (3, 1, 2),
            [200, 50],
        ),
        (
            'power_alarm = { at = 9, values = { 0 = false, 65535 = true } }',
            {"power_alarm": True},
            (3, 9, 1),
            [0xFFFF],
        ),
    ],
)  # fmt: skip
def test_values_are_written_as_manuals_say(
    points: str, values: dict[str, Value], request_: tuple[int, int, int], words: list[int]
) -> None:
    assert _words(points, values, request_) == words


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ((3, 1, 1), 2),  # not listed
        ((3, 0, 2), 2),  # half of it not listed
        ((3, 0, 0), 3),
        ((3, 0, 11), 3),  # more than the product reads at once
        ((4, 0, 1), 1),  # no such table
    ],
)
def test_what_a_strict_product_does_not_have_is_refused(
    request_: tuple[int, int, int], code: int
) -> None:
    with pytest.raises(Refused) as refused:
        _words(
            "voltage_l1 = { at = 0 }\nvoltage_l2 = { at = 5 }", {}, request_, "max_registers = 10"
        )
    assert refused.value.code == code


def test_gaps_read_zero_where_the_product_allows_them() -> None:
    points = "voltage_l1 = { at = 0 }\nvoltage_l2 = { at = 3 }"
    values: dict[str, Value] = {"voltage_l1": 230.0, "voltage_l2": 231.0}
    assert _words(points, values, (3, 0, 4), "gaps = true") == [230, 0, 0, 231]


@pytest.mark.parametrize("request_", [(3, 1, 2), (3, 0, 1), (3, 0, 6)])
def test_an_aligned_product_refuses_odd_starts_and_counts_and_what_is_beyond_its_end(
    request_: tuple[int, int, int],
) -> None:
    points = 'voltage_l1 = { at = 0, type = "float32" }\nvoltage_l2 = { at = 2, type = "float32" }'
    values: dict[str, Value] = {"voltage_l1": 230.0, "voltage_l2": 231.0}
    with pytest.raises(Refused):
        _words(points, values, request_, "align = 2\ngaps = true")


@pytest.mark.parametrize(
    ("true_wh", "shown_wh"), [(9_999_990, 9_999_990), (9_999_991, 0), (20_000_000, 18)]
)
def test_a_counter_rolls_over_after_its_highest_number(true_wh: int, shown_wh: int) -> None:
    layout = RegisterLayout(
        profile('energy_import = { at = 0, type = "u32", rollover = 9_999_990 }')
    )
    data, shown = layout.read((3, 0, 2), {"energy_import": true_wh})
    assert int.from_bytes(data, "big") == shown_wh
    assert shown == {"energy_import": shown_wh}


def test_the_ledgers_value_is_the_one_the_register_can_say() -> None:
    layout = RegisterLayout(profile("voltage_l1 = { at = 0 }"))
    assert layout.read((3, 0, 1), {"voltage_l1": 230.4})[1] == {"voltage_l1": 230.0}

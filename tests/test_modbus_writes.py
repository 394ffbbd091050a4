"""How a profile says a command in Modbus: bytes written by hand after the specification, and mistakes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.frames import RtuEnvelope, TcpEnvelope, write_request
from drivers.modbus.writes import WritePlan, write_plan
from hub import Answer, BadValue, ConfigError, ConfigErrors, Value
from hub.profile_file import read_profile

HEAD = 'name = "A"\nmaker = "M"\nkind = "k"\nprotocol = "modbus"\n'
POINTS = "[points]\nrelay_1 = { at = 0, function = 1 }\n"
GATE = """[settings]
fail_mode = { required = true, choices = ["open", "closed"] }
egress = { required = true, choices = [true, false] }
open_limit_s = { required = true, minimum = 5, maximum = 3000 }
"""
PROOF = """
[commands.tell]
meaning = "m"
confirm = [{ point = "relay_1", equals = true }]
"""


def plan(keys: str, *, arguments: str = "", hazard: str = "none", wire: str = "") -> WritePlan:
    repeat = 'repeat = "never"\n'
    taken = f"arguments = {{ {arguments} }}\n" if arguments else ""
    settings = GATE if hazard in ("open", "close") else ""
    text = f'{HEAD}{settings}[modbus]\n{wire}\n{POINTS}{PROOF}{repeat}hazard = "{hazard}"\n{taken}{keys}'
    return write_plan(read_profile("p", "p.toml", text).example())["tell"]


def pdus(keys: str, values: dict[str, Value] | None = None, **more: str) -> list[str]:
    return [request.pdu.hex(" ") for request in plan(keys, **more).requests(values or {})]


# The examples of the Modbus application protocol V1.1b3.


def test_a_coil_is_switched_on() -> None:
    assert pdus("writes = [{ function = 5, at = 0x00AC, raw = 0xFF00 }]") == ["05 00 ac ff 00"]


def test_a_register_is_written() -> None:
    assert pdus("writes = [{ function = 6, at = 1, raw = 3 }]") == ["06 00 01 00 03"]


def test_several_registers_go_in_one_request() -> None:
    keys = "writes = [{ function = 16, at = 1, fields = [{ value = 10 }, { value = 0x0102 }] }]"
    (request,) = plan(keys).requests({})
    assert request.pdu.hex(" ") == "10 00 01 00 02 04 00 0a 01 02"
    assert (request.answer_head.hex(" "), request.answer_size) == ("10 00 01 00 02", 5)


def test_a_float_is_written_as_the_meter_s_manual_prints_it() -> None:
    keys = 'writes = [{ function = 16, at = 2, fields = [{ value = 60, type = "float32" }] }]'
    assert pdus(keys) == ["10 00 02 00 02 04 42 70 00 00"]  # MB-14: SDM630 V2.0, demand period


def test_a_coil_may_be_given_any_word() -> None:
    keys = "writes = [{ function = 5, at = 1, raw = 0x0100 }]"
    assert pdus(keys) == ["05 00 01 01 00"]  # MB-36: outside the standard, some boards want it


# Arguments.


@pytest.mark.parametrize(("on", "word"), [(True, "ff 00"), (False, "00 00")])
def test_a_flag_switches_a_coil(on: bool, word: str) -> None:
    keys = 'writes = [{ function = 5, at = 0, argument = "on" }]'
    assert pdus(keys, {"on": on}, arguments='on = { type = "bool" }') == [f"05 00 00 {word}"]


def test_a_pulse_is_counted_in_the_board_s_own_steps() -> None:
    keys = 'writes = [{ function = 5, at = 0x200, argument = "pulse", pulse_ms = 100 }]'
    taken = 'pulse = { type = "int", unit = "ms", scale = 100, minimum = 500, maximum = 1500 }'
    assert pdus(keys, {"pulse": 700}, arguments=taken) == ["05 02 00 00 07"]  # MB-34


def test_an_absent_argument_has_its_default() -> None:
    keys = 'writes = [{ function = 6, at = 0, argument = "level" }]'
    assert pdus(keys, arguments='level = { type = "int", maximum = 9, default = 4 }') == [
        "06 00 00 00 04"
    ]


@pytest.mark.parametrize("values", [{}, {"level": 10}, {"level": "4"}, {"level": True}])
def test_an_impossible_argument_makes_no_request(values: dict[str, Value]) -> None:
    made = plan(
        'writes = [{ function = 6, at = 0, argument = "level" }]',
        arguments='level = { type = "int", maximum = 9 }',
    )
    with pytest.raises(BadValue, match="level"):
        made.requests(values)


FIELDS = [
    ("u8", "int", 0, 255, 171, "ab 00"),
    ("u16", "int", 0, 65535, 43981, "ab cd"),
    ("s16", "int", -32768, 32767, -2, "ff fe"),
    ("u32", "int", 0, 2**32 - 1, 0xABCD0123, "ab cd 01 23"),
    ("s32", "int", -(2**31), 2**31 - 1, -2, "ff ff ff fe"),
    ("u64", "int", 0, 2**53 - 1, 1, "00 00 00 00 00 00 00 01"),
    ("float32", "float", 0, 1000, 1.0, "3f 80 00 00"),
    ("float64", "float", 0, 1000, 1.0, "3f f0 00 00 00 00 00 00"),
]


@pytest.mark.parametrize(("kind", "of", "low", "high", "value", "data"), FIELDS)
def test_every_type_has_its_bytes(
    kind: str, of: str, low: int, high: int, value: Value, data: str
) -> None:
    count = len(bytes.fromhex(data)) // 2
    field = f'registers = {count}, fields = [{{ argument = "level", type = "{kind}" }}]'
    taken = f'level = {{ type = "{of}", minimum = {low}, maximum = {high} }}'
    (pdu,) = pdus(
        f"writes = [{{ function = 16, at = 0, {field} }}]", {"level": value}, arguments=taken
    )
    assert pdu == f"10 00 00 00 {count:02x} {2 * count:02x} {data}"


@pytest.mark.parametrize(
    ("wire", "field"), [('word_order = "little"', ""), ("", ', word_order = "little"')]
)
def test_the_low_word_may_go_first(wire: str, field: str) -> None:
    keys = f'fields = [{{ argument = "level", type = "u32"{field} }}]'
    taken = 'level = { type = "int", maximum = 4294967295 }'
    (pdu,) = pdus(
        f"writes = [{{ function = 16, at = 0, {keys} }}]",
        {"level": 0xABCD0123},
        arguments=taken,
        wire=wire,
    )
    assert pdu == "10 00 00 00 02 04 01 23 ab cd"


def test_a_text_is_filled_up_with_zero_bytes() -> None:
    keys = 'fields = [{ argument = "word", type = "ascii", length = 4 }]'
    taken = 'word = { type = "text", maximum = 4 }'
    made = plan(f"writes = [{{ function = 16, at = 0, {keys} }}]", arguments=taken)
    (request,) = made.requests({"word": "ab"})
    assert request.pdu.hex(" ") == "10 00 00 00 02 04 61 62 00 00"
    with pytest.raises(BadValue, match="ascii"):
        made.requests({"word": "洗"})


@given(st.integers(0, 65535))
def test_a_scaled_argument_is_exact(raw: int) -> None:
    taken = 'level = { type = "float", scale = 0.1, maximum = 6553.5 }'
    keys = 'writes = [{ function = 6, at = 0, argument = "level" }]'
    (pdu,) = pdus(keys, {"level": raw / 10}, arguments=taken)
    assert pdu == f"06 00 00 {raw >> 8:02x} {raw & 255:02x}"


def test_the_numbers_of_a_manual_that_counts_from_one_are_shifted() -> None:
    keys = "writes = [{ function = 6, at = 5250, raw = 3 }]"
    assert pdus(keys, wire="address_base = 1") == ["06 14 81 00 03"]


def test_several_requests_keep_their_order() -> None:
    keys = "writes = [{ function = 6, at = 1, raw = 1 }, { function = 5, at = 2, raw = 0 }]"
    assert pdus(keys) == ["06 00 01 00 01", "05 00 02 00 00"]


# Makers' own functions and mailboxes.


@pytest.mark.parametrize(("answer", "size"), [("echo", 12), ("echo_head", 5)])
def test_a_maker_s_own_function_has_the_shape_of_function_16(answer: str, size: int) -> None:
    keys = f'registers = 3, answer = "{answer}", fields = [{{ value = 7, type = "u8" }}]'
    (request,) = plan(f"writes = [{{ function = 0x20, at = 0x200, {keys} }}]").requests({})
    assert request.pdu.hex(" ") == "20 02 00 00 03 06 07 00 00 00 00 00"
    assert (request.answer_size, request.answer_head) == (size, request.pdu[:size])


MAILBOX = """
writes = [{ function = 16, at = 0x1481, fields = [{ value = 2008 }, { value = 0 }, { value = 2 }] }]
result = { at = 0x14FF, ok = [0], refused = [3000, 3001, 3002, 3007], poll_ms = 200, polls = 10 }
"""


@pytest.mark.parametrize(
    ("code", "answer"), [(0, Answer.ACKNOWLEDGED), (3001, Answer.REFUSED), (17, None)]
)
def test_a_mailbox_answers_in_its_result_register(code: int, answer: Answer | None) -> None:
    result = plan(MAILBOX).result
    assert result is not None
    assert (result.start, result.poll_ms, result.polls) == (0x14FF, 200, 10)
    assert result.answer(code.to_bytes(2)) is answer


def test_a_request_of_a_plan_is_proved_by_both_envelopes() -> None:
    (pdu,) = plan("writes = [{ function = 5, at = 0x0200, raw = 7 }]").requests({})
    request = write_request(1, pdu.pdu, answer_head=pdu.answer_head, answer_size=pdu.answer_size)
    rtu = bytes.fromhex("01 05 02 00 00 07 8D B0")  # MB-34
    assert request.rtu == rtu
    assert RtuEnvelope().answer(rtu, request, 0) is not None
    tcp = bytes.fromhex("00 09 00 00 00 06 01 05 02 00 00 07")
    assert TcpEnvelope().frame(request, 9) == tcp
    assert TcpEnvelope().answer(tcp, request, 9) is not None


# Mistakes.

W5 = "function = 5, at = 0"
W16 = "function = 16, at = 0"
W32 = "function = 0x20, at = 0"
MISTAKES = [
    ("", "commands.tell", "docs"),
    ("writes = []", "commands.tell.writes", "docs"),
    ("writes = [{ function = 5 }]", "writes[0]", "docs"),
    ("writes = [{ function = 5, at = 0, raw = 0, retain = 1 }]", "writes[0]", "docs"),
    (f"writes = [{{ {W5}, raw = 70000 }}]", "writes[0].raw", "docs"),
    (f"writes = [{{ {W5} }}]", "writes[0]", "raw = … or argument"),
    (f'writes = [{{ {W5}, raw = 1, argument = "x" }}]', "writes[0]", "raw = … or argument"),
    (f'writes = [{{ {W5}, argument = "x" }}]', "writes[0].argument", "none"),
    (f"writes = [{{ {W5}, raw = 1, registers = 2 }}]", "writes[0]", "function = 16"),
    (f"writes = [{{ {W5}, raw = 51, pulse_ms = 100 }}]", "writes[0].pulse_ms", "5000"),
    (f"writes = [{{ {W5}, raw = 0, pulse_ms = 100 }}]", "writes[0].pulse_ms", "longer than 0"),
    ("writes = [{ function = 3, at = 0, raw = 1 }]", "writes[0].function", "maker's own"),
    ("writes = [{ function = 15, at = 0, raw = 1 }]", "writes[0].function", "maker's own"),
    ("writes = [{ function = 5, at = 65536, raw = 1 }]", "writes[0].at", "0 to 65535"),
    (f"writes = [{{ {W16}, raw = 1 }}]", "writes[0].fields", "fields = ["),
    (f"writes = [{{ {W16} }}]", "writes[0].fields", "fields = ["),
    (f"writes = [{{ {W16}, fields = [{{ }}] }}]", "fields[0]", "value = … or argument"),
    (f"writes = [{{ {W16}, fields = [{{ value = -1 }}] }}]", "fields[0]", "does not fit u16"),
    (f"writes = [{{ {W16}, fields = [{{ value = 65536 }}] }}]", "fields[0]", "does not fit u16"),
    (
        f'writes = [{{ {W16}, fields = [{{ value = 1, type = "u8" }}] }}]',
        "fields",
        "whole registers",
    ),
    (
        f'writes = [{{ {W16}, registers = 1, fields = [{{ value = 1, type = "u32" }}] }}]',
        "writes[0].fields",
        "at most 1",
    ),
    (
        f'writes = [{{ {W16}, fields = [{{ value = 1, type = "ascii" }}] }}]',
        "writes[0].fields",
        "whole registers",
    ),
    (
        f'writes = [{{ {W16}, fields = [{{ value = 1, type = "ascii", length = 2 }}] }}]',
        "fields[0].value",
        "from an argument",
    ),
    (
        f"writes = [{{ {W16}, fields = [{{ value = 1, length = 2 }}] }}]",
        "fields[0].length",
        "ascii",
    ),
    (f'writes = [{{ {W16}, answer = "echo", fields = [{{ value = 1 }}] }}]', ".answer", "leave it"),
    (f"writes = [{{ {W32}, fields = [{{ value = 1 }}] }}]", "writes[0].answer", "echo_head"),
    (f"writes = [{{ {W16}, pulse_ms = 9, fields = [{{ value = 1 }}] }}]", ".pulse_ms", "one coil"),
    (f"writes = [{{ {W5}, raw = 1 }}]\nresult = {{ at = 1, ok = [] }}", "result.ok", "docs"),
    (
        f"writes = [{{ {W5}, raw = 1 }}]\nresult = {{ at = 1, ok = [0], refused = [0] }}",
        "result.ok",
        "either ok or refused",
    ),
    (f"writes = [{{ {W5}, raw = 1 }}]\nresult = {{ at = 70000, ok = [0] }}", "result.at", "65535"),
]


def mistake(keys: str, **more: str) -> ConfigError:
    with pytest.raises(ConfigErrors) as caught:
        plan(keys, **more)
    (error,) = caught.value.errors
    return error


@pytest.mark.parametrize(("keys", "key", "hint"), MISTAKES)
def test_a_mistake_in_a_write_has_its_place_and_remedy(keys: str, key: str, hint: str) -> None:
    error = mistake(keys)
    assert error.file == "p.toml"
    assert key in error.key
    assert hint in error.hint
    assert error.found


def test_an_argument_that_is_said_nowhere_is_a_mistake() -> None:
    error = mistake(f"writes = [{{ {W5}, raw = 1 }}]", arguments='level = { type = "bool" }')
    assert error.key == "commands.tell.arguments.level"


@pytest.mark.parametrize("high", [65536, 2**40])
def test_an_argument_that_does_not_fit_its_field_is_found_before_it_is_sent(high: int) -> None:
    keys = f'writes = [{{ {W16}, fields = [{{ argument = "level" }}] }}]'
    error = mistake(keys, arguments=f'level = {{ type = "int", maximum = {high} }}')
    assert "does not fit u16" in error.hint


def test_a_text_that_is_longer_than_its_field_is_found_before_it_is_sent() -> None:
    keys = 'fields = [{ argument = "word", type = "ascii", length = 4 }]'
    taken = 'word = { type = "text", maximum = 5 }'
    error = mistake(f"writes = [{{ {W16}, {keys} }}]", arguments=taken)
    assert error.key.endswith("fields[0].length")


# Gates.


@pytest.mark.parametrize("hazard", ["open", "close"])
@pytest.mark.parametrize(
    "keys",
    [
        "writes = [{ function = 5, at = 1, raw = 0xFF00 }]",
        "writes = [{ function = 5, at = 1, raw = 0 }]",
        "writes = [{ function = 6, at = 1, raw = 2 }]",
        "writes = [{ function = 16, at = 1, fields = [{ value = 1 }] }]",
    ],
)
def test_a_gate_is_never_moved_by_a_level(keys: str, hazard: str) -> None:
    assert "pulses that its board ends" in mistake(keys, hazard=hazard).hint


@pytest.mark.parametrize(
    ("raw", "hazard", "limit_ms"),
    [(51, "close", 5000), (30_001, "open", 3_000_000), (0, "open", 3_000_000)],
)
def test_a_gate_s_pulse_has_a_length_and_an_end(raw: int, hazard: str, limit_ms: int) -> None:
    keys = f"writes = [{{ function = 5, at = 0x201, raw = {raw}, pulse_ms = 100 }}]"
    assert f"at most {limit_ms} ms" in mistake(keys, hazard=hazard).hint


def test_a_gate_is_held_open_no_longer_than_its_limit() -> None:
    text = (Path(__file__).parent.parent / "drivers/profiles/generic_barrier.toml").read_text()
    file = read_profile("generic_barrier", "generic_barrier.toml", text)
    given = {"fail_mode": "open", "egress": "false", "open_limit_s": "60"}
    hold = write_plan(file.apply(given, place="test"))["hold_open"]
    (request,) = hold.requests({"duration": 60})
    assert request.pdu.hex(" ") == "05 02 03 02 58"
    with pytest.raises(BadValue, match="from 5 to 60"):
        hold.requests({"duration": 61})


def test_every_output_of_the_shipped_barrier_is_a_pulse() -> None:
    text = (Path(__file__).parent.parent / "drivers/profiles/generic_barrier.toml").read_text()
    commands = tomllib.loads(text)["commands"].values()
    writes = [write for command in commands for write in command["writes"]]
    assert [write["pulse_ms"] for write in writes] == [100, 100, 100]

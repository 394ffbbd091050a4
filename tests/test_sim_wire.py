"""The simulators' frames against the frames printed in manuals and specifications."""

import pytest

from hub import Value
from simulators.ledger import Ledger
from simulators.modbus_wire import (
    TcpFrame,
    crc16,
    rtu_frame,
    take_rtu_request,
    take_tcp_frame,
)
from tests.sim_site import NOW_MS, Still, device, profile, slave

_COILS = (
    *(f"relay_{number}" for number in range(1, 9)),
    *(f"input_{number}" for number in range(1, 9)),
    "loop_approach",
    "loop_safety",
    "hold_open",
)
_BITS = "1011001111010110101"  # coils 20 to 38 in the specification's example, lowest first

PRINTED = (
    "02 07 41 12",
    "01 03 00 00 00 0A C5 CD",
    "01 03 00 6B 00 03 74 17",
    "01 03 06 02 2B 00 00 00 64 05 7A",
    "01 83 03 01 31",
    "01 04 00 00 00 02 71 CB",
    "01 04 04 43 66 33 34 1B 38",
    "01 10 00 02 00 02 04 42 70 00 00 67 D5",
    "01 05 02 00 00 07 8D B0",
    "00 06 40 00 00 01 5C 1B",
)


@pytest.mark.parametrize("printed", PRINTED)
def test_printed_frames_end_in_our_crc(printed: str) -> None:
    frame = bytes.fromhex(printed)
    assert crc16(frame[:-2]) == frame[-2:]


@pytest.mark.parametrize(
    "printed", ["01 03 00 00 00 14 C4 0B", "01 05 00 00 FF 00 8C 3B", "01 2B 00 00 00 00 00 00"]
)
def test_a_request_with_a_wrong_crc_or_an_unknown_function_is_thrown_away(printed: str) -> None:
    buffer = bytearray.fromhex(printed)
    with pytest.raises(ValueError, match="not a serial request"):
        take_rtu_request(buffer)
    assert not buffer


def test_a_serial_request_is_taken_when_its_last_byte_has_come() -> None:
    frame = bytes.fromhex("01 10 00 02 00 02 04 42 70 00 00 67 D5")
    buffer = bytearray(frame[:-1])
    assert take_rtu_request(buffer) is None
    buffer += frame[-1:]
    assert take_rtu_request(buffer) == (1, frame[1:-2])


def test_tcp_messages_are_taken_one_by_one_from_a_stream() -> None:
    first = TcpFrame(transaction=1, unit=2, pdu=bytes.fromhex("0300000001"))
    second = TcpFrame(transaction=0xFFFF, unit=247, pdu=bytes.fromhex("0400000002"))
    buffer = bytearray(first.encode() + second.encode()[:5])
    assert take_tcp_frame(buffer) == first
    assert take_tcp_frame(buffer) is None
    buffer += second.encode()[5:]
    assert take_tcp_frame(buffer) == second


def test_a_stream_that_is_not_modbus_tcp_is_refused() -> None:
    with pytest.raises(ValueError, match="not a Modbus TCP message"):
        take_tcp_frame(bytearray(b"GET / HTTP/1.1\r\n"))


def test_an_sdm120_answers_as_its_manual_prints() -> None:
    sdm120 = device("meter", "eastron_sdm120")
    told = slave(sdm120, Ledger(), Still({"voltage_l1": 230.20001}))
    answer = told.answer(bytes.fromhex("04 00 00 00 02"), NOW_MS)
    assert answer is not None
    assert rtu_frame(answer.unit, answer.pdu) == bytes.fromhex("01 04 04 43 66 33 34 1B 38")


@pytest.mark.parametrize(
    ("request_pdu", "answer_pdu"),
    [
        ("01 00 13 00 13", "01 03 CD 6B 05"),
        ("03 00 6B 00 03", "03 06 02 2B 00 00 00 64"),
        ("04 00 08 00 01", "04 02 00 0A"),
        ("06 00 6C 00 03", "06 00 6C 00 03"),
        ("10 00 6B 00 02 04 00 0A 01 02", "10 00 6B 00 02"),
        ("03 00 6A 00 01", "83 02"),
        ("2B 0E 01 00", "AB 01"),
    ],
)
def test_the_specifications_examples_are_answered_as_printed(
    request_pdu: str, answer_pdu: str
) -> None:
    coils = "\n".join(
        f'{name} = {{ at = {0x13 + place}, function = 1, type = "bool" }}'
        for place, name in enumerate(_COILS)
    )
    words = """
        current_l1 = { at = 0x6B }
        current_l2 = { at = 0x6C }
        current_l3 = { at = 0x6D }
        voltage_l1 = { at = 8, function = 4 }
    """
    values: dict[str, Value] = {name: bit == "1" for name, bit in zip(_COILS, _BITS, strict=True)}
    values |= {"current_l1": 555.0, "current_l2": 0.0, "current_l3": 100.0, "voltage_l1": 10.0}
    told = slave(device("device", profile(f"{words}\n{coils}")), Ledger(), Still(values))
    answer = told.answer(bytes.fromhex(request_pdu), NOW_MS)
    assert answer is not None
    assert answer.pdu == bytes.fromhex(answer_pdu)

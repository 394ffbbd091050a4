"""Requests and the proof of their answers, against frames from manuals and specifications."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.frames import (
    Answer,
    FrameError,
    Request,
    RtuEnvelope,
    TcpEnvelope,
    crc,
    read_request,
    write_coil,
    write_register,
    write_registers,
)
from drivers.modbus.line import RtuLine

RTU, TCP = RtuEnvelope(), TcpEnvelope()
requests = st.builds(
    read_request,
    unit=st.integers(1, 247),
    function=st.integers(3, 4),
    start=st.integers(0, 60000),
    count=st.integers(1, 125),
)


def frame(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("request_", "wire"),
    [
        # Modbus Application Protocol V1.1b3, example of function 3 (MB-04)
        (read_request(1, 3, 0x6B, 3), "01 03 00 6B 00 03 74 17"),
        # common in manuals (MB-03)
        (read_request(1, 3, 0, 10), "01 03 00 00 00 0A C5 CD"),
        # Eastron SDM120M protocol V2.5 (MB-10)
        (read_request(1, 4, 0, 2), "01 04 00 00 00 02 71 CB"),
        # Eastron SDM630 protocol 2018 v2.0 (MB-13, MB-14)
        (read_request(1, 3, 0, 2), "01 03 00 00 00 02 C4 0B"),
        (write_registers(1, 2, (0x4270, 0)), "01 10 00 02 00 02 04 42 70 00 00 67 D5"),
        # Waveshare Modbus RTU Relay wiki (MB-30, MB-31, MB-32)
        (write_coil(1, 0, True), "01 05 00 00 FF 00 8C 3A"),
        (write_coil(1, 0, False), "01 05 00 00 00 00 CD CA"),
        (read_request(1, 1, 0, 8), "01 01 00 00 00 08 3D CC"),
        # Waveshare: set the device's address by broadcast (MB-35)
        (write_register(0, 0x4000, 1), "00 06 40 00 00 01 5C 1B"),
    ],
)
def test_requests_are_those_of_the_manuals(request_: Request, wire: str) -> None:
    assert RTU.frame(request_, 0) == frame(wire)


@pytest.mark.parametrize(
    ("request_", "wire", "data"),
    [
        (read_request(1, 3, 0x6B, 3), "01 03 06 02 2B 00 00 00 64 05 7A", "02 2B 00 00 00 64"),
        (read_request(1, 4, 0, 2), "01 04 04 43 66 33 34 1B 38", "43 66 33 34"),
        (read_request(1, 3, 0, 2), "01 03 04 3F 80 00 00 F7 CF", "3F 80 00 00"),
    ],
)
def test_answers_of_the_manuals_are_taken(request_: Request, wire: str, data: str) -> None:
    assert RTU.answer(frame(wire), request_, 0) == Answer(frame(data))


def test_an_exception_is_an_answer_with_its_code() -> None:
    # public cloud-vendor Modbus article (MB-06)
    answer = RTU.answer(frame("01 83 03 01 31"), read_request(1, 3, 0xB4FC, 3), 0)
    assert answer == Answer(b"", 3)
    assert answer.reason == "illegal value"


@pytest.mark.parametrize(
    ("request_", "wire"),
    [
        (write_registers(1, 2, (0x4270, 0)), "01 10 00 02 00 02 E0 08"),
        (write_coil(1, 0, True), "01 05 00 00 FF 00 8C 3A"),
    ],
)
def test_a_write_is_answered_by_its_echo(request_: Request, wire: str) -> None:
    assert RTU.answer(frame(wire), request_, 0) is not None


def test_another_echo_than_that_of_the_write_is_refused() -> None:
    body = frame("01 05 00 01 FF 00")
    with pytest.raises(FrameError, match="wrong echo"):
        RTU.answer(body + crc(body), write_coil(1, 0, True), 0)


@pytest.mark.parametrize(
    ("wire", "right"),
    [
        ("01 03 00 00 00 14 C4 0B", "45 C5"),  # SDM120 V2.5 manual, read example (NEG-1)
        ("01 10 00 14 00 02 E0 08", "01 CC"),  # SDM120 V2.5 manual, write reply (NEG-3)
        ("02 07 41 12", "41 12"),  # Modbus over Serial Line V1.02, appendix (MB-02), right
    ],
)
def test_the_crc_is_the_right_one_where_manuals_err(wire: str, right: str) -> None:
    assert crc(frame(wire)[:-2]) == frame(right)


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ("02 03 02 00 01", "wrong unit"),
        ("01 04 02 00 01", "wrong function"),
        ("01 03 04 00 01 00 02", "wrong byte count"),
        ("01 03 02 00 01 FF FF", "wrong crc"),
        ("01 83 02 00 00", "wrong crc"),
        ("01 03 02 00 01 79 84 00", "trailing bytes"),
        ("01 83 02 C0 F1 00", "trailing bytes"),
    ],
)
def test_an_rtu_frame_that_is_not_the_answer_is_refused_with_the_reason(
    wire: str, reason: str
) -> None:
    with pytest.raises(FrameError, match=reason):
        RTU.answer(frame(wire), read_request(1, 3, 0, 1), 0)


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ("00 08 00 00 00 05 01 03 02 00 01", "wrong transaction"),
        ("00 07 00 01 00 05 01 03 02 00 01", "wrong protocol"),
        ("00 07 00 00 00 05 02 03 02 00 01", "wrong unit"),
        ("00 07 00 00 00 05 01 04 02 00 01", "wrong function"),
        ("00 07 00 00 00 07 01 03 04 00 01 00 02", "wrong length"),
        ("00 07 00 00 00 05 01 03 04 00 01", "wrong byte count"),
        ("00 07 00 00 00 04 01 83 02 00", "wrong length"),
        ("00 07 00 00 00 05 01 03 02 00 01 00", "trailing bytes"),
    ],
)
def test_a_tcp_frame_that_is_not_the_answer_is_refused_with_the_reason(
    wire: str, reason: str
) -> None:
    with pytest.raises(FrameError, match=reason):
        TCP.answer(frame(wire), read_request(1, 3, 0, 1), 7)


@given(requests, st.integers(0, 0xFFFF), st.binary(min_size=250, max_size=250))
def test_the_right_answer_is_taken_whole_and_never_before(
    request_: Request, transaction: int, noise: bytes
) -> None:
    data = noise[: request_.answer_size - 2]
    body = bytes((request_.unit, request_.function, len(data))) + data
    rtu = body + crc(body)
    tcp = struct.pack(">HHH", transaction, 0, len(body)) + body
    assert all(RTU.answer(rtu[:size], request_, 0) is None for size in range(len(rtu)))
    assert all(TCP.answer(tcp[:size], request_, transaction) is None for size in range(len(tcp)))
    assert RTU.answer(rtu, request_, 0) == Answer(data)
    assert TCP.answer(tcp, request_, transaction) == Answer(data)


@given(requests, st.binary(max_size=300))
def test_random_bytes_are_refused_or_waited_for(request_: Request, noise: bytes) -> None:
    for envelope in (RTU, TCP, RtuLine((b"HB",))):
        try:
            answer = envelope.answer(noise, request_, 1)
        except FrameError:
            answer = None
        assert answer is None


@given(requests, requests)
def test_an_answer_is_taken_only_by_a_request_of_its_unit_function_and_size(
    asked: Request, other: Request
) -> None:
    body = other.rtu_head + bytes(other.answer_size - 2)
    try:
        taken = RTU.answer(body + crc(body), asked, 0) is not None
    except FrameError:
        taken = False
    assert taken == (asked.rtu_head == other.rtu_head)


def test_heartbeats_around_an_answer_are_cut_off() -> None:
    line = RtuLine((b"BEAT",))
    request_ = read_request(1, 4, 0, 2)
    answer = frame("01 04 04 43 66 33 34 1B 38")
    assert line.answer(b"BEATBEAT" + answer, request_, 0) == Answer(answer[3:7])
    assert line.answer(answer + b"BEAT", request_, 0) == Answer(answer[3:7])
    assert line.answer(b"BEA", request_, 0) is None
    assert line.noise(b"BEATBEAT")
    assert not line.noise(b"BEATS")


def test_an_answer_like_the_echo_of_its_request_is_taken_on_a_line_that_does_not_echo() -> None:
    # 24 coils from 0x0300: an answer of three bytes can look exactly like the request.
    request_ = read_request(1, 1, 0x0300, 0x18)
    assert RtuLine().answer(request_.rtu, request_, 0) == Answer(frame("00 00 18"))

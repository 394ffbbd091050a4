"""The planner: never dearer than point by point, never across a limit."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.fields import Field, Wire
from drivers.modbus.plan import Block, LineCost, halves, mistakable, plan, serial_timing, shortest
from drivers.modbus.registers import register_map
from tests.modbus_site import meter_profile

SLOW = serial_timing(9600, "8N1").cost(0.03)


def field(name: str, start: int, count: int, function: int = 3) -> Field:
    return Field(
        name=name,
        function=function,
        start=start,
        count=count if function > 2 else 1,
        byte=0,
        size=2 * count,
        format="",
        extract=len,
        convert=str,
    )


@st.composite
def maps(draw: st.DrawFn) -> tuple[tuple[Field, ...], Wire, LineCost]:
    wire = Wire(
        max_registers=draw(st.integers(8, 125)),
        max_bits=draw(st.integers(1, 200)),
        align=draw(st.sampled_from((1, 2, 4))),
        gaps=draw(st.booleans()),
    )
    places = draw(
        st.lists(
            st.tuples(st.integers(0, 300), st.integers(1, 4), st.integers(1, 4)),
            min_size=1,
            max_size=24,
        )
    )
    fields = tuple(
        field(f"p{number}", start, count, function)
        for number, (start, count, function) in enumerate(places)
    )
    cost = LineCost(
        byte_s=draw(st.sampled_from((1e-6, 1e-3, 5e-3))), fixed_s=draw(st.floats(0, 0.1))
    )
    return fields, wire, cost


def total_s(blocks: tuple[Block, ...], cost: LineCost) -> float:
    return sum(cost.of(block.function, block.count) for block in blocks)


@given(maps())
def test_a_plan_never_takes_longer_than_reading_point_by_point(
    given_: tuple[tuple[Field, ...], Wire, LineCost],
) -> None:
    fields, wire, cost = given_
    alone = sum(total_s(plan((one,), wire, cost), cost) for one in fields)
    assert total_s(plan(fields, wire, cost), cost) <= alone + 1e-9


@given(maps())
def test_a_plan_reads_every_point_once_and_whole(
    given_: tuple[tuple[Field, ...], Wire, LineCost],
) -> None:
    fields, wire, cost = given_
    blocks = plan(fields, wire, cost)
    assert sorted(one.name for block in blocks for one in block.fields) == sorted(
        one.name for one in fields
    )
    assert all(
        block.function == one.function
        and block.start <= one.start
        and one.end <= block.start + block.count
        for block in blocks
        for one in block.fields
    )


@given(maps())
def test_no_request_crosses_a_limit_or_leaves_the_alignment(
    given_: tuple[tuple[Field, ...], Wire, LineCost],
) -> None:
    fields, wire, cost = given_
    for block in plan(fields, wire, cost):
        coils = block.function < 3
        assert block.count <= (wire.max_bits if coils else wire.max_registers)
        assert coils or block.start % wire.align == 0 == block.count % wire.align


@given(maps())
def test_without_gaps_no_request_touches_a_register_without_a_point(
    given_: tuple[tuple[Field, ...], Wire, LineCost],
) -> None:
    fields, wire, cost = given_
    strict = Wire(max_registers=wire.max_registers, max_bits=wire.max_bits, gaps=False)
    for block in plan(fields, strict, cost):
        listed = {at for one in block.fields for at in range(one.start, one.end)}
        assert listed == set(range(block.start, block.start + block.count))


@given(maps())
def test_the_halves_of_a_block_are_smaller_and_read_the_same_points(
    given_: tuple[tuple[Field, ...], Wire, LineCost],
) -> None:
    fields, wire, cost = given_
    for block in plan(fields, wire, cost):
        parts = halves(block, wire, cost)
        assert bool(parts) == (len(block.fields) > 1)
        assert all(len(part.fields) < len(block.fields) for part in parts)
        assert not parts or sorted(one.name for part in parts for one in part.fields) == sorted(
            one.name for one in block.fields
        )


@given(maps())
def test_the_probe_keeps_the_limits_and_cannot_be_mistaken_where_one_block_is_unlike_the_others(
    given_: tuple[tuple[Field, ...], Wire, LineCost],
) -> None:
    fields, wire, cost = given_
    blocks = plan(fields, wire, cost)
    probe = shortest(blocks, wire, cost)
    assert probe.count <= (wire.max_bits if probe.function < 3 else wire.max_registers)
    assert all(mistakable(block, blocks) for block in blocks) or not mistakable(probe, blocks)


def test_reads_that_look_alike_get_a_probe_of_another_size() -> None:
    wire = Wire()
    fields = [field("a", 0, 1), field("b", 2, 1), field("c", 4, 1), field("d", 8, 2)]
    blocks = plan(fields, wire, SLOW)
    assert shortest(blocks, wire, SLOW).start == 8
    alike = plan(fields[:3], wire, SLOW)
    assert mistakable(shortest(alike, wire, SLOW), alike)


def test_a_gap_is_bridged_only_where_that_is_quicker_and_allowed() -> None:
    near, far = field("a", 0, 2), field("b", 20, 2)
    fast = LineCost(byte_s=1e-6, fixed_s=0.002)
    bridge = Wire(gaps=True)
    assert len(plan((near, far), bridge, SLOW)) == 1
    assert len(plan((near, field("b", 60, 2)), bridge, SLOW)) == 2
    assert len(plan((near, field("b", 60, 2)), bridge, fast)) == 1
    assert len(plan((near, far), Wire(), fast)) == 2


def test_characters_and_silences_are_those_of_the_line() -> None:
    assert serial_timing(9600, "8N1").byte_s == 10 / 9600
    assert serial_timing(19200, "8E1").silence_s == 3.5 * 11 / 19200
    assert serial_timing(38400, "8N2").silence_s == 0.00175


def test_the_test_meter_is_read_in_one_request_for_each_run_of_registers() -> None:
    registers = register_map(meter_profile())
    blocks = plan(registers.fields, registers.wire, SLOW)
    assert sorted((block.function, block.start, block.count) for block in blocks) == [
        (1, 7, 1),
        (2, 3, 1),
        (3, 0, 4),
        (3, 10, 2),
        (3, 40, 1),
        (4, 5, 1),
    ]


@given(maps())
def test_answers_that_look_alike_follow_each_other_only_when_most_do(
    given_: tuple[tuple[Field, ...], Wire, LineCost],
) -> None:
    fields, wire, cost = given_
    shapes = [block.shape for block in plan(fields, wire, cost)]
    most = max(shapes.count(shape) for shape in shapes)
    neighbours = sum(one == other for one, other in pairwise(shapes))
    assert neighbours == max(0, most - (len(shapes) - most) - 1)

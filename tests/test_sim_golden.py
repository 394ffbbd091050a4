"""The simulators' encoders against the frames of manuals that judge the drivers' decoders.

The same golden folders are read the other way round: from what is true to the bytes that must be sent.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import Profile, Value
from simulators.registers import RegisterLayout
from tests.sim_site import PROFILES

FOLDER = Path(__file__).parent / "profiles"
CASES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.toml"))
DOCUMENTS = {name: tomllib.loads((FOLDER / name).read_text("utf-8")) for name in CASES}
FRAMES = [name for name in CASES if "exchange" in DOCUMENTS[name]]
# Their manual writes 230.2 for bytes that say 230.20001: test_sim_wire has the exact number.
ROUNDED = {"eastron_sdm120/manual_voltage.toml", "eastron_sdm630/manual_voltage.toml"}


def _profile(name: str) -> Profile:
    product, chosen = name.partition("/")[0], DOCUMENTS[name].get("settings")
    return PROFILES.get(product, chosen, place=name) if chosen else PROFILES.example(product)


def _differences(name: str) -> Iterator[str]:
    """Points of the case whose bytes in the printed replies are not the ones we would send."""
    expect: dict[str, Value] = DOCUMENTS[name]["expect"]
    layout = RegisterLayout(_profile(name))
    for exchange in DOCUMENTS[name]["exchange"]:
        request, reply = bytes.fromhex(exchange["request"]), bytes.fromhex(exchange["reply"])
        function, start, data = request[1], int.from_bytes(request[2:4]), reply[3:-2]
        cells = [cell for cell in layout.cells.values() if cell.keys.function == function]
        for cell in (cell for cell in cells if cell.name in expect):
            ours = _ours(layout, cell.name, expect, start, len(data), function)
            printed = int.from_bytes(data)
            inside = ours[1] and ours[0] & ours[1] != printed & ours[1]
            yield from [f"{cell.name}: {ours[0]:x} printed {printed & ours[1]:x}"] * bool(inside)


def _ours(
    layout: RegisterLayout,
    name: str,
    expect: dict[str, Value],
    start: int,
    size: int,
    function: int,
) -> tuple[int, int]:
    """The point's bits as one number of the reply's size, and the mask of the bits it owns there."""
    cell = layout.cells[name]
    if function in (1, 2):
        place = cell.address - start
        bits = (bool(expect[name]) is not cell.spec.invert) << place
        whole = bits.to_bytes(size, "little") if 0 <= place < 8 * size else b""
        mask = (1 << place).to_bytes(size, "little") if whole else b""
        return int.from_bytes(whole), int.from_bytes(mask)
    body, _ = cell.encode(expect[name], layout.ratio(cell, expect))
    first = 2 * (cell.address - start) + cell.keys.byte
    if first < 0 or first + len(body) > size:
        return 0, 0
    shift = 8 * (size - first - len(body))
    owned = (1 << 8 * len(body)) - 1
    if cell.keys.bit is not None or cell.keys.bits is not None:
        lowest, count = cell.keys.bits or (cell.keys.bit or 0, 1)
        owned = (1 << count) - 1 << lowest
    return int.from_bytes(body) << shift, owned << shift


@pytest.mark.parametrize("name", sorted(set(FRAMES) - ROUNDED))
def test_true_values_become_the_bytes_a_manual_prints(name: str) -> None:
    assert list(_differences(name)) == []

"""A simulated meter that sells badly: what it shows, what it says, and what its own ledger keeps."""

from __future__ import annotations

import pytest

from simulators.conduct import OF_BUSES, Bearing, Conduct
from simulators.desks import desk_of
from simulators.faults import FaultPlan
from simulators.ledger import Deed, Diary, Ledger
from simulators.registers import RegisterLayout
from simulators.slave import Slave
from tests.sim_site import NOW_MS, device, machine

FEN = 700
READ = bytes.fromhex("03 00 00 00 30")
_MONEY, _COUNT = 0x1F, 0x21


def sold(conduct: Conduct, ledger: Ledger) -> Slave:
    """A prepaid meter that takes what it is told so."""
    of = device("meter", "acrel_ddsy1352")
    meter = machine("meter", "acrel_ddsy1352", ledger=ledger)
    bearings = (Bearing(device="meter", conduct=conduct),)
    return Slave(
        of,
        meter,
        layout=RegisterLayout(of.profile),
        diary=Diary(device="meter", ledger=ledger),
        faults=FaultPlan(seed=1, begin_ms=NOW_MS, bearings=bearings).of("meter"),
        desk=desk_of(of.profile, meter),
    )


def purchase(fen: int, count: int) -> bytes:
    """The money block with these two fields and no other."""
    sizes = (2, 4, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3)
    given = {1: fen, 2: count}
    fields = [
        bytes([place in given]) + given.get(place, 0).to_bytes(size)
        for place, size in enumerate(sizes)
    ]
    data = b"".join(fields)
    return bytes((0x20, 0x02, 0x00)) + (len(data) // 2).to_bytes(2) + bytes([len(data)]) + data


def shown(meter: Slave, now_ms: int) -> tuple[int, int]:
    """Money and count on its display."""
    answer = meter.answer(READ, now_ms)
    assert answer is not None
    data = answer.pdu[2:]
    money = int.from_bytes(data[2 * _MONEY : 2 * _MONEY + 4])
    return money, int.from_bytes(data[2 * _COUNT : 2 * _COUNT + 2])


@pytest.mark.parametrize(
    ("conduct", "answers", "money", "counted", "lost"),
    [
        (Conduct.OBEYS, True, FEN, 1, None),
        (Conduct.COUNTS_ONLY, True, 0, 1, {"fen": FEN, "counted": True}),
        (Conduct.CREDITS_ONLY, True, FEN, 0, {"fen": 0, "counted": False}),
        (Conduct.REBOOTS, False, FEN, 1, None),
        (Conduct.FORGETS, False, 0, 0, {"fen": FEN, "counted": False}),
    ],
)
def test_a_purchase_is_taken_as_ordered_and_the_ledger_says_what_stayed(
    conduct: Conduct, answers: bool, money: int, counted: int, lost: dict[str, object] | None
) -> None:
    ledger = Ledger()
    meter = sold(conduct, ledger)
    fen, count = shown(meter, NOW_MS)
    assert (meter.answer(purchase(FEN, count + 1), NOW_MS) is not None) is answers
    assert shown(meter, NOW_MS + 2_000) == (fen + money, count + counted)
    (credit,) = ledger.entries(deed=Deed.CREDITED)
    assert credit.values == {"fen": FEN, "count": count + 1}
    assert [entry.values for entry in ledger.entries(deed=Deed.LOST)] == ([lost] if lost else [])


@pytest.mark.parametrize("conduct", [Conduct.REBOOTS, Conduct.FORGETS])
def test_while_it_starts_anew_a_meter_is_silent(conduct: Conduct) -> None:
    meter = sold(conduct, Ledger())
    count = shown(meter, NOW_MS)[1]
    assert meter.answer(purchase(FEN, count + 1), NOW_MS) is None
    assert meter.answer(READ, NOW_MS + 1_999) is None
    assert meter.answer(READ, NOW_MS + 2_000) is not None


@pytest.mark.parametrize("conduct", OF_BUSES)
def test_what_was_bought_earlier_is_never_lost(conduct: Conduct) -> None:
    ledger = Ledger()
    meter = sold(Conduct.OBEYS, ledger)
    fen, count = shown(meter, NOW_MS)
    meter.answer(purchase(FEN, count + 1), NOW_MS)
    spoilt = sold(conduct, ledger)
    spoilt.machine = meter.machine
    spoilt.answer(purchase(FEN, 1), NOW_MS + 1)  # refused: not the next count
    assert shown(meter, NOW_MS + 5_000) == (fen + FEN, count + 1)

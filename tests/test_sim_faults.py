"""Faults: by seed, the same for everyone who asks the same."""

import json
from dataclasses import dataclass

import pytest

from simulators.conduct import Bearing, Conduct
from simulators.dialects import OwnDialect
from simulators.faults import Fault, FaultKind, FaultPlan, Window, read_windows
from simulators.ledger import Deed, Diary, Ledger
from simulators.mqtt_device import MqttDevice
from simulators.mqtt_wire import Message
from simulators.obedience import Obedience
from simulators.payload import topic_forms
from simulators.registers import RegisterLayout
from simulators.slave import Slave
from tests.sim_site import NOW_MS, Still, device, machine

READ = bytes.fromhex("04 00 00 00 02")


def _plan(seed: int = 1, rate: float = 0.2, *windows: Window) -> FaultPlan:
    return FaultPlan(seed=seed, begin_ms=NOW_MS, rate=rate, windows=windows)


def _played(plan: FaultPlan, name: str = "meter") -> list[Fault | None]:
    faults = plan.of(name)
    return [faults.next(NOW_MS + number * 1000) for number in range(500)]


def test_the_same_seed_gives_the_same_faults() -> None:
    assert _played(_plan()) == _played(_plan())


def test_other_seeds_and_other_devices_have_other_faults() -> None:
    assert _played(_plan()) != _played(_plan(seed=2))
    assert _played(_plan()) != _played(_plan(), "other")


def test_every_kind_of_fault_is_played_in_time() -> None:
    kinds = {fault.kind for name in range(20) for fault in _played(_plan(), str(name)) if fault}
    assert kinds == set(FaultKind)


def test_without_a_rate_nothing_goes_wrong() -> None:
    assert not any(_played(_plan(rate=0.0)))


def test_a_lasting_fault_lasts_until_its_end() -> None:
    window = Window(device="m*", kind=FaultKind.SILENCE, from_s=10, to_s=20)
    faults = _plan(1, 0.0, window).of("meter")
    seconds = [number for number in range(30) if faults.next(NOW_MS + number * 1000)]
    assert seconds == list(range(10, 20))


def test_windows_are_read_from_a_file() -> None:
    text = '[[fault]]\ndevice = "b1-*"\nkind = "frozen"\nfrom_s = 5\nto_s = 60\n'
    text += '[[conduct]]\ndevice = "g-1"\nconduct = "refuses"\nexception = 6\n'
    windows, bearings = read_windows(text)
    assert windows == (Window(device="b1-*", kind=FaultKind.FROZEN, from_s=5, to_s=60),)
    assert bearings == (Bearing(device="g-1", conduct=Conduct.REFUSES, exception=6),)


@pytest.mark.parametrize("text", ["fault = 3", '[[fault]]\ndevice = "x"\nkind = "flood"', "["])
def test_a_wrong_fault_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fault file"):
        read_windows(text)


def _spoilt(kind: FaultKind) -> tuple[Slave, Still, Ledger]:
    ledger = Ledger()
    of = device("meter", "eastron_sdm120")
    still = Still({"voltage_l1": 230.0})
    told = Slave(
        of,
        still,
        layout=RegisterLayout(of.profile),
        diary=Diary(device="meter", ledger=ledger),
        faults=_plan(1, 0.0, Window(device="*", kind=kind)).of("meter"),
    )
    return told, still, ledger


@pytest.mark.parametrize("kind", [FaultKind.SILENCE, FaultKind.REBOOT])
def test_a_silent_device_says_nothing_and_its_ledger_says_why(kind: FaultKind) -> None:
    told, _, ledger = _spoilt(kind)
    assert told.answer(READ, NOW_MS) is None
    assert [entry.values for entry in ledger.entries(deed=Deed.FAULT)] == [{"kind": kind.value}]


def test_a_frozen_device_goes_on_showing_what_it_showed() -> None:
    told, still, _ = _spoilt(FaultKind.FROZEN)
    before = told.answer(READ, NOW_MS)
    still.values = {"voltage_l1": 231.0}
    after = told.answer(READ, NOW_MS + 1000)
    assert before is not None
    assert after is not None
    assert before.pdu == after.pdu


def test_a_wrong_unit_and_an_exception_are_answered_as_such() -> None:
    wrong = _spoilt(FaultKind.WRONG_UNIT)[0].answer(READ, NOW_MS)
    failed = _spoilt(FaultKind.EXCEPTION)[0].answer(READ, NOW_MS)
    assert wrong is not None
    assert wrong.unit == 2
    assert failed is not None
    assert failed.pdu == bytes.fromhex("84 04")


def test_garbage_leaves_no_byte_as_it_was_and_truncation_only_the_beginning() -> None:
    frame = bytes(range(20))
    garbage = Fault(kind=FaultKind.GARBAGE, chance=0.3, since_ms=0, until_ms=0).spoil(frame)
    cut = Fault(kind=FaultKind.TRUNCATION, chance=0.3, since_ms=0, until_ms=0).spoil(frame)
    assert len(garbage) == 20
    assert not any(one == other for one, other in zip(frame, garbage, strict=True))
    assert cut == frame[:6]


def _gate(text: str, ledger: Ledger) -> MqttDevice:
    """A turnstile on a broker that takes commands as this fault file says."""
    of, diary = device("gate", "generic_turnstile", "gate"), Diary(device="gate", ledger=ledger)
    faults = FaultPlan(seed=1, begin_ms=NOW_MS, bearings=read_windows(text)[1]).of("gate")
    leaf = machine("gate", "generic_turnstile", ledger=ledger)
    return MqttDevice(
        of,
        leaf,
        forms=topic_forms(of.profile),
        diary=diary,
        faults=faults,
        obedience=Obedience(leaf, OwnDialect("gate", b""), diary, faults),
    )


def _open(number: str) -> Message:
    seconds = NOW_MS // 1000
    body = {
        "id": number,
        "command": "open",
        "args": {"direction": "in"},
        "issued": seconds,
        "expires": seconds + 3600,
        "nonce": number,
    }
    envelope = {"body": json.dumps(body)}
    return Message(topic="dormhub/down/gate/command", payload=json.dumps(envelope).encode())


@dataclass(frozen=True)
class Told:
    """Ids and codes a gate answered with, the delays, and how often its leaf moved."""

    answers: tuple[tuple[str, str], ...]
    delays_s: tuple[float, ...]
    moved: int


def _told(conduct: str) -> tuple[Told, Ledger]:
    ledger = Ledger()
    text = f'[[conduct]]\ndevice = "g*"\nconduct = "{conduct}"\nfrom_s = 10\nto_s = 20\n'
    said = _gate(text, ledger).obey(_open("first"), NOW_MS + 10_000)
    results = [out for out in said if out.message.topic == "dormhub/up/gate/result"]
    documents = [json.loads(out.message.payload) for out in results]
    told = Told(
        answers=tuple((document["id"], document["code"]) for document in documents),
        delays_s=tuple(out.delay_s for out in results),
        moved=len(list(ledger.entries("gate", Deed.MOVED))),
    )
    return told, ledger


TAKEN = {
    Conduct.SILENT: Told((), (), 0),
    Conduct.REFUSES: Told((("first", "rejected"),), (0.0,), 0),
    Conduct.ONLY_ANSWERS: Told((("first", "accepted"),), (0.0,), 0),
    Conduct.ONLY_DOES: Told((), (), 1),
    Conduct.ANSWERS_LATE: Told((("first", "done"),), (2.0,), 1),
    Conduct.ANSWERS_TWICE: Told((("first", "done"), ("first", "done")), (0.0, 0.0), 1),
    Conduct.ANSWERS_FOR_ANOTHER: Told((("another-command", "done"),), (0.0,), 1),
}


@pytest.mark.parametrize("conduct", TAKEN)
def test_a_fault_file_says_how_an_mqtt_device_takes_commands(conduct: Conduct) -> None:
    told, ledger = _told(conduct)
    assert told == TAKEN[conduct]
    assert [entry.values for entry in ledger.entries("gate", Deed.FAULT)] == [{"kind": conduct}]


def test_outside_its_time_a_conduct_holds_no_more() -> None:
    ledger = Ledger()
    text = '[[conduct]]\ndevice = "gate"\nconduct = "silent"\nfrom_s = 10\nto_s = 20\n'
    gate = _gate(text, ledger)
    for number, second in enumerate((9, 10, 19, 20)):
        gate.obey(_open(str(number)), NOW_MS + 1000 * second)
    verdicts = [entry.values["verdict"] for entry in ledger.entries("gate", Deed.HEARD)]
    assert verdicts == ["done", "ignored", "ignored", "done"]


def test_what_is_ordered_last_holds() -> None:
    plan = FaultPlan(seed=1, begin_ms=NOW_MS)
    plan.order("g*", Conduct.SILENT)
    plan.order("gate", Conduct.OBEYS)
    kinds = [plan.of(name).bearing(NOW_MS).conduct for name in ("gate", "gate-2")]
    assert kinds == [Conduct.OBEYS, Conduct.SILENT]

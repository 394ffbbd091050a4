"""`read`, `trace`, `scan`, `verify`, beside a hub and without, judged by the simulated devices' ledger."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from hub import Sight, load_site
from hub.cli.borrow import same_wire
from hub.cli.inspection import Verdict, VerdictRow
from hub.cli.scan import FoundRow
from hub.cli.trace import FrameRow
from hub.model import Link, Reading
from hub.status import LENT
from simulators.ledger import Deed, Entry, read_ledger
from tests.hub_process import HubProcess, hub_process
from tests.servers import free_port, mosquitto_server, port_answers, running, wait_until
from tests.site_folder import write_site

HEADER = "id,profile,link,address,building,room,period_s\n"
REAL = (
    "m-1,eastron_sdm120,bus-1,1,B1,101,1\n"
    "m-2,chint_ddsu666,bus-1,2,B1,102,1\n"
    "m-3,acrel_ddsy1352,bus-1,3,B1,103,1\n"
    "washer-1,generic_washer,broker,washer-1,B2,laundry,1\n"
)
# What the files say: m-3 is another product, m-9 is not there, and so is the washer washer-9.
SAID = (
    "m-1,eastron_sdm120,bus-1,1,B1,101,1\n"
    "m-2,chint_ddsu666,bus-1,2,B1,102,1\n"
    "m-3,eastron_sdm120,bus-1,3,B1,103,1\n"
    "m-9,eastron_sdm120,bus-1,9,B1,109,1\n"
    "washer-1,generic_washer,broker,washer-1,B2,laundry,1\n"
    "washer-9,generic_washer,broker,washer-9,B2,laundry,1\n"
)
WRITES = (Deed.WRITTEN, Deed.CREDITED, Deed.MOVED, Deed.HEARD)
SCAN_ASKS_MAX = 40
VERIFY_ASKS_MAX = 50


@dataclass(frozen=True, kw_only=True)
class Campus:
    """Simulated devices in a process of their own, and the site as its files describe it."""

    folder: Path
    bus: int
    broker: int
    ledger: Path

    def config(self, name: str) -> Path:
        """A configuration of this campus; where it is started, a hub of it has an API."""
        return sited(self.folder / name / "config", self.bus, self.broker, SAID)

    def deeds(self) -> list[Entry]:
        """What the devices did, as far as it is on disk."""
        lines = self.ledger.read_text("utf-8").splitlines(keepends=True)
        return read_ledger(line for line in lines if line.endswith("\n"))

    def asked(self, since: int) -> Counter[str]:
        """How often each device was asked since so many deeds."""
        return Counter(deed.device for deed in self.deeds()[since:])


def sited(folder: Path, bus: int, broker: int, devices: str) -> Path:
    site = (
        'name = "North campus"\n'
        '[links.bus-1]\ndriver = "modbus"\ntransport = "rtu_over_tcp"\ntimeout_s = 0.3\n'
        f'host = "127.0.0.1"\nport = {bus}\n'
        f'[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {broker}\n'
    )
    hub = f'[api]\nlisten = "127.0.0.1:{free_port()}"\n'
    return write_site(folder, site=site, devices=HEADER + devices, hub=hub)


@contextmanager
def played(folder: Path) -> Iterator[Campus]:
    """The devices, alive."""
    bus = free_port()
    with running(mosquitto_server(folder / "mosquitto")) as broker:
        real = sited(folder / "real", bus, broker.port, REAL)
        ledger = folder / "ledger.jsonl"
        sim = [sys.executable, "-m", "simulators.command", "--speed", "0", "--config", str(real)]
        sim += ["--ledger", str(ledger)]
        with subprocess.Popen(sim, stdout=subprocess.DEVNULL) as devices:
            try:
                wait_until(lambda: port_answers(bus))
                yield Campus(folder=folder, bus=bus, broker=broker.port, ledger=ledger)
            finally:
                devices.kill()


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campus]:
    """Devices that a hub polls."""
    with played(tmp_path_factory.mktemp("wire")) as made:
        yield made


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campus]:
    """Devices that nobody else asks."""
    with played(tmp_path_factory.mktemp("quiet")) as made:
        yield made


@pytest.fixture(scope="module")
def hub(campus: Campus) -> Iterator[HubProcess]:
    with hub_process(campus.config("hub")) as process:
        wait_until(lambda: online(process) == 3)
        yield process


@pytest.fixture
def alone(quiet: Campus, tmp_path: Path) -> Path:
    """A configuration beside which no hub runs."""
    return quiet.config(tmp_path.name)


def online(hub: HubProcess) -> int:
    return hub.status.online if hub.status else 0


def command_of(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "hub.cli.main", *arguments, "--config", str(folder)]


def dormhub(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_of(folder, *arguments),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


@contextmanager
def begun(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command at work."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command_of(folder, *arguments), stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def rows_of(text: str, shape: type[VerdictRow]) -> dict[str, VerdictRow]:
    rows = [msgspec.json.decode(line, type=shape) for line in text.splitlines()]
    return {row.id: row for row in rows}


def reason_of(hub: HubProcess) -> str:
    links = hub.status.links if hub.status else []
    return next((link.reason for link in links if link.id == "bus-1"), "")


def test_read_goes_through_the_running_hub(hub: HubProcess) -> None:
    before = hub.count()
    said = dormhub(hub.folder, "read", "m-1", "--json")
    assert said.returncode == 0, said.stderr
    reading = msgspec.json.decode(said.stdout, type=Reading)
    assert reading in [one for one in hub.readings() if one.device == "m-1"]
    assert hub.count() > before


def test_read_of_a_silent_device_beside_a_hub_says_why_with_exit_code_3(hub: HubProcess) -> None:
    said = dormhub(hub.folder, "read", "m-9", "--timeout", "2")
    assert said.returncode == 3
    assert "m-9" in said.stderr
    assert "timeout" in said.stderr


@pytest.mark.parametrize("beside_a_hub", [True, False])
def test_trace_shows_frames_with_their_decoding(
    hub: HubProcess, alone: Path, beside_a_hub: bool
) -> None:
    folder = hub.folder if beside_a_hub else alone
    said = dormhub(folder, "trace", "m-1", "--seconds", "3", "--json")
    assert said.returncode == 0, said.stderr
    rows = [msgspec.json.decode(line, type=FrameRow) for line in said.stdout.splitlines()]
    told = next(row for row in rows if not row.outgoing and "voltage_l1" in row.text)
    asked = next(row for row in rows if row.outgoing and "voltage_l1" in row.text)
    assert asked.data.startswith("0104000000")
    assert told.data.startswith("0104")
    assert " V" in told.text
    assert {row.device for row in rows} == {"m-1"}


def test_trace_for_a_person_is_one_line_a_frame_and_one_for_what_it_says(hub: HubProcess) -> None:
    said = dormhub(hub.folder, "trace", "m-1", "--seconds", "3")
    assert "-> 01 04 00 00" in said.stdout
    assert "unit 1: read input registers 0x0000" in said.stdout


def test_trace_of_a_message_shows_its_topic(hub: HubProcess) -> None:
    said = dormhub(hub.folder, "trace", "washer-1", "--seconds", "4")
    assert "<- dormhub/up/washer-1/" in said.stdout
    assert "washer_state" in said.stdout


def test_a_trace_that_is_stopped_ends_with_exit_code_130(hub: HubProcess) -> None:
    with begun(hub.folder, "trace", "m-1", "--seconds", "60") as tracing:
        assert tracing.stdout is not None
        assert tracing.stdout.readline()
        tracing.send_signal(signal.SIGINT)
        assert tracing.wait(20) == 130


def test_scan_beside_a_hub_borrows_the_link_and_gives_it_back(
    campus: Campus, hub: HubProcess, tmp_path: Path
) -> None:
    restarts = hub.log.count("link is lent")
    out = tmp_path / "found.csv"
    said = dormhub(hub.folder, "scan", "bus-1", "--units", "1-4", "--json", "--out", str(out))
    assert said.returncode == 0, said.stderr
    assert "4 addresses to ask: about 0." in said.stderr
    rows = [msgspec.json.decode(line, type=FoundRow) for line in said.stdout.splitlines()]
    assert [(row.address, row.sight, row.profile, row.configured) for row in rows] == [
        ("1", Sight.KNOWN, "eastron_sdm120", "m-1"),
        ("2", Sight.PERHAPS, "chint_ddsu666", "m-2"),
        ("3", Sight.KNOWN, "acrel_ddsy1352", "m-3, as eastron_sdm120"),
    ]
    assert hub.log.count("link is lent") == restarts + 1
    assert "link is given back" in hub.log
    wait_until(lambda: online(hub) == 3 and reason_of(hub) == "")
    assert not [deed for deed in campus.deeds() if deed.deed in WRITES]


def test_what_a_scan_writes_can_be_installed(alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.csv"
    said = dormhub(alone, "scan", "bus-1", "--units", "1-3", "--out", str(out))
    assert said.returncode == 0, said.stderr
    with out.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["id"], row["profile"], row["room"]) for row in found] == [
        ("m-1", "eastron_sdm120", "101"),
        ("m-2", "chint_ddsu666", "102"),
        ("m-3", "acrel_ddsy1352", "103"),
    ]
    (alone / "devices.csv").write_bytes(out.read_bytes())
    assert [device.profile.id for device in load_site(alone).devices()] == [
        row["profile"] for row in found
    ]


def test_a_scan_that_is_stopped_goes_on_where_it_was(quiet: Campus, alone: Path) -> None:
    options = ("scan", "bus-1", "--units", "1-14", "--json")
    state = alone / "data" / "scan-bus-1.json"
    begin = len(quiet.deeds())
    with begun(alone, *options, "--state", str(state)) as scanning:
        wait_until(lambda: state.exists() and state.read_text("utf-8").count('"sight"') >= 3)
        scanning.send_signal(signal.SIGINT)
        said, errors = scanning.communicate(timeout=20)
        assert scanning.returncode == 130
    assert "go on with --resume" in errors
    assert [msgspec.json.decode(line, type=FoundRow).address for line in said.splitlines()] == [
        "1",
        "2",
        "3",
    ]
    middle = len(quiet.deeds())
    rest = dormhub(alone, *options, "--resume", "--state", str(state))
    assert rest.returncode == 0, rest.stderr
    assert len(rest.stdout.splitlines()) == 3
    assert quiet.asked(middle)["m-1"] == 0
    assert max(quiet.asked(begin)[name] for name in ("m-1", "m-2", "m-3")) <= SCAN_ASKS_MAX
    assert not state.exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("no-such",), "no link 'no-such'"),
        (("broker",), "cannot scan"),
        (("bus-1", "--units", "0-300"), "units"),
        (("bus-1", "--baud", "fast"), "--baud"),
        (("bus-1", "--resume"), "no scan to go on with"),
    ],
)
def test_a_wrong_scan_is_a_mistake_with_a_remedy(
    alone: Path, arguments: tuple[str, ...], word: str
) -> None:
    said = dormhub(alone, "scan", *arguments)
    assert said.returncode == 2
    assert word in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("beside_a_hub", [True, False])
def test_verify_says_of_every_device_what_it_is(
    campus: Campus, quiet: Campus, hub: HubProcess, alone: Path, tmp_path: Path, beside_a_hub: bool
) -> None:
    out = tmp_path / "report.csv"
    folder, devices = (hub.folder, campus) if beside_a_hub else (alone, quiet)
    begin = len(devices.deeds())
    said = dormhub(folder, "verify", "--seconds", "8", "--json", "--out", str(out))
    assert said.returncode == 1, said.stderr
    rows = rows_of(said.stdout, VerdictRow)
    assert {name: row.verdict for name, row in rows.items()} == {
        "m-1": Verdict.ANSWERED,
        "m-2": Verdict.ANSWERED,
        "m-3": Verdict.WRONG_MODEL,
        "m-9": Verdict.SILENT,
        "washer-1": Verdict.ANSWERED,
        "washer-9": Verdict.SILENT,
    }
    assert rows["m-3"].reason == "it is acrel_ddsy1352"
    assert rows["m-9"].reason == "timeout"
    with out.open(encoding="utf-8", newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == [
            row.verdict.value for row in rows.values()
        ]
    assert not [deed for deed in devices.deeds()[begin:] if deed.deed in WRITES]


def test_verify_asks_each_device_a_few_times_only(quiet: Campus, alone: Path) -> None:
    begin = len(quiet.deeds())
    said = dormhub(alone, "verify", "--link", "bus-1")
    assert said.returncode == 1
    assert (
        "4 devices: 2 answered, 1 silent, 1 wrong model, 0 implausible, 0 not asked" in said.stdout
    )
    assert max(quiet.asked(begin)[name] for name in ("m-1", "m-2", "m-3")) <= VERIFY_ASKS_MAX


def test_verify_ends_with_0_only_when_all_answered(alone: Path) -> None:
    good = "".join(f"{line}\n" for line in SAID.splitlines()[:2])
    (alone / "devices.csv").write_text(HEADER + good, "utf-8")
    said = dormhub(alone, "verify", "--building", "B1")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("2 devices: 2 answered")


def test_a_verification_that_is_stopped_prints_what_it_has(quiet: Campus, alone: Path) -> None:
    begin = len(quiet.deeds())
    with begun(alone, "verify", "--seconds", "600", "--json") as verifying:
        wait_until(lambda: {"m-1", "m-2"} <= {*quiet.asked(begin)})
        verifying.send_signal(signal.SIGINT)
        said, errors = verifying.communicate(timeout=20)
        assert verifying.returncode == 130
    assert "stopped" in errors
    verdicts = {name: row.verdict for name, row in rows_of(said, VerdictRow).items()}
    assert len(verdicts) == 6
    assert Verdict.ANSWERED in verdicts.values()
    assert verdicts["washer-9"] is Verdict.NOT_ASKED


def test_a_device_the_hub_does_not_know_yet_is_asked_over_a_borrowed_link(
    hub: HubProcess,
) -> None:
    lent = hub.log.count("link is lent")
    path = hub.folder / "devices.csv"
    before = path.read_text("utf-8")
    path.write_text(before.replace("m-2,", "new-2,"), "utf-8")
    said = dormhub(hub.folder, "read", "new-2", "--json")
    path.write_text(before, "utf-8")
    assert said.returncode == 0, said.stderr
    assert msgspec.json.decode(said.stdout, type=Reading).device == "new-2"
    assert hub.log.count("link is lent") == lent + 1
    wait_until(lambda: online(hub) == 3 and reason_of(hub) == "")


def test_a_new_name_for_a_running_link_s_wire_is_no_way_round_the_hub(
    campus: Campus, hub: HubProcess
) -> None:
    path = hub.folder / "site.toml"
    before = path.read_text("utf-8")
    settings = f'driver = "modbus"\ntransport = "rtu_over_tcp"\nport = {campus.bus}\n'
    path.write_text(f'{before}[links.bus-9]\nhost = "localhost"\n{settings}', "utf-8")
    said = dormhub(hub.folder, "scan", "bus-9", "--units", "1")
    path.write_text(before, "utf-8")
    assert said.returncode == 2
    assert "bus-9 is the wire of bus-1, which the hub runs" in said.stderr


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"device": "/dev/null"}, {"device": "/dev/../dev/null"}, True),
        ({"device": "/dev/null"}, {"device": "/dev/zero"}, False),
        ({"host": "Gateway."}, {"host": "gateway", "port": 502}, True),
        ({"host": "gateway"}, {"host": "gateway", "port": 503}, False),
        ({"host": "10.0.0.1"}, {"host": "10.0.0.2"}, False),
    ],
)
def test_links_of_one_wire_are_told_by_where_it_begins(
    one: dict[str, object], other: dict[str, object], *, same: bool
) -> None:
    new = Link(id="new", driver="modbus", settings=one)
    old = Link(id="old", driver="modbus", settings=other)
    assert (same_wire(new, [old]) is old) is same
    assert same_wire(old, [old]) is None


def test_two_borrowers_do_not_meet(hub: HubProcess) -> None:
    with begun(hub.folder, "scan", "bus-1", "--units", "10-60") as scanning:
        wait_until(lambda: reason_of(hub) == LENT)
        said = dormhub(hub.folder, "scan", "bus-1", "--units", "1")
        read = dormhub(hub.folder, "read", "m-1")
        scanning.send_signal(signal.SIGINT)
        assert scanning.wait(20) == 130
    assert said.returncode == 2
    assert "it is lent already" in said.stderr
    assert "is lent" in read.stderr
    wait_until(lambda: online(hub) == 3 and reason_of(hub) == "")


def test_a_borrower_that_is_killed_keeps_no_link(hub: HubProcess) -> None:
    with begun(hub.folder, "scan", "bus-1", "--units", "10-200") as scanning:
        wait_until(lambda: reason_of(hub) == LENT)
        scanning.kill()
    wait_until(lambda: online(hub) == 3 and reason_of(hub) == "", timeout_s=60)
    assert "the time of a lent link is over" in hub.log

"""The commands that tell: a device through a running hub, and what is to be read of it afterwards."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from hub import State, load_site
from hub.cli.office import AuditRow, KeyRow
from hub.cli.tell import CommandRow
from simulators.campus import Campus, Play
from simulators.conduct import Conduct
from tests.hub_process import HubProcess, hub_process
from tests.servers import free_port, mosquitto_server, running, wait_until
from tests.site_folder import write_site

HEADER = "id,profile,link,address,period_s,settings\n"
GATE = "fail_mode=open;egress=true;open_limit_s=600"
ALIVE = (
    f"lane-good,generic_turnstile,broker,lane-good,1,{GATE}\n"
    f"lane-deaf,generic_turnstile,broker,lane-deaf,1,{GATE}\n"
    f"lane-stubborn,generic_turnstile,broker,lane-stubborn,1,{GATE}\n"
    "meter-liar,generic_meter,broker,meter-liar,1,\n"
    "board-1,waveshare_relay8,board,1,1,\n"
)
GONE = "meter-gone,generic_meter,broker,meter-gone,1,\n"
CONDUCTS = {
    "lane-deaf": Conduct.SILENT,
    "lane-stubborn": Conduct.REFUSES,
    "meter-liar": Conduct.ONLY_ANSWERS,
}
OPEN = ("open", "direction=in")


def sited(folder: Path, broker: int, board: int, devices: str) -> Path:
    site = (
        'name = "Told campus"\n'
        f'[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {broker}\n'
        f'[links.board]\ndriver = "modbus"\ntransport = "tcp"\nhost = "127.0.0.1"\nport = {board}\n'
        "[safety]\nbrake_percent = 40\nrate_per_minute = 600\n"
    )
    hub = f'[api]\nlisten = "127.0.0.1:{free_port()}"\n'
    return write_site(folder, site=site, devices=HEADER + devices, hub=hub)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub that has heard every device but one; of every hazard, two devices go without a second person."""
    folder, board = tmp_path_factory.mktemp("told"), free_port()
    with running(mosquitto_server(folder / "mosquitto")) as broker:
        real = sited(folder / "real", broker.port, board, ALIVE)
        config = sited(folder / "hub" / "config", broker.port, board, ALIVE + GONE)
        with alive(real), hub_process(config) as made:
            wait_until(lambda: made.status is not None and made.status.online == 5)
            yield made


@contextmanager
def alive(folder: Path) -> Iterator[None]:
    """The devices of this folder, living on a thread of their own, each with its conduct."""
    campus = Campus(load_site(folder), Play())
    for device, conduct in CONDUCTS.items():
        campus.faults.order(device, conduct)
    loop = asyncio.new_event_loop()
    running_campus = loop.create_task(campus.run(), name="campus")
    thread = threading.Thread(target=lambda: live(loop, running_campus), name="campus")
    thread.start()
    try:
        wait_until(campus.started.is_set)
        yield
    finally:
        loop.call_soon_threadsafe(running_campus.cancel)
        thread.join(10)


def live(loop: asyncio.AbstractEventLoop, campus: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(campus)
    loop.close()


def dormhub(hub: HubProcess, *arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
    """`dormhub` with these arguments on a terminal of 250 columns, with the box's own key or another."""
    environment = {**os.environ, "COLUMNS": "250", "DORMHUB_CONFIG": str(hub.folder)}
    return subprocess.run(
        [sys.executable, "-m", "hub.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**environment, "DORMHUB_KEY": key},
    )


def id_of(sent: subprocess.CompletedProcess[str]) -> str:
    """The command's id, which `send` says first."""
    return sent.stdout.split()[0]


def newest(hub: HubProcess, device: str) -> CommandRow:
    said = dormhub(hub, "commands", "--device", device, "--last", "1", "--json")
    return msgspec.json.decode(said.stdout, type=CommandRow)


@pytest.mark.parametrize(
    ("told", "code", "state"),
    [
        (("lane-good", *OPEN), 0, State.CONFIRMED),
        (("board-1", "restore_1"), 0, State.CONFIRMED),
        (("lane-stubborn", "display", "text=hello"), 10, State.REFUSED),
        (("lane-stubborn", "display", "text=20261122"), 10, State.REFUSED),
        (("meter-liar", "cut", "--deadline", "2"), 11, State.FAILED),
        (("meter-gone", "restore", "--deadline", "1"), 12, State.EXPIRED),
        (("lane-deaf", "hold_open", "duration=60", "--deadline", "2"), 13, State.UNKNOWN),
        (("meter-gone", "restore", "--wait", "0"), 14, State.QUEUED),
    ],
)
def test_the_exit_code_of_send_tells_how_it_ended(
    hub: HubProcess, told: tuple[str, ...], code: int, state: State
) -> None:
    sent = dormhub(hub, "send", *told)
    assert (sent.returncode, sent.stderr) == (code, "")
    assert f" {told[0]} {told[1]} {state}" in sent.stdout


def test_the_same_key_is_sent_once_and_shows_the_first(hub: HubProcess) -> None:
    told = ("send", "board-1", "restore_2", "--key", "my-wish")
    first, again = dormhub(hub, *told), dormhub(hub, *told)
    assert first.stdout == again.stdout
    other = dormhub(hub, "send", "board-1", "restore_1", "--key", "my-wish")
    assert other.returncode == 10
    assert "this key was used for another command" in other.stderr


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        (("nobody", "open"), 10, "no such device"),
        (("lane-good", "dance"), 10, "dance"),
        (("lane-good", "open"), 10, "arguments.direction"),
        (("lane-good", "open", "direction"), 2, "NAME=VALUE"),
        (("lane-good", "ask_cards", "mode=card_both"), 10, "fire"),
    ],
)
def test_what_is_not_taken_is_said_in_clear_words(
    hub: HubProcess, told: tuple[str, ...], code: int, words: str
) -> None:
    sent = dormhub(hub, "send", *told)
    assert sent.returncode == code
    assert words in sent.stderr
    assert "Traceback" not in sent.stderr
    assert sent.stdout == ""


def test_commands_lists_the_newest_first_and_by_state(hub: HubProcess) -> None:
    first = id_of(dormhub(hub, "send", "board-1", "restore_3"))
    second = id_of(dormhub(hub, "send", "board-1", "restore_4"))
    listed = dormhub(hub, "commands", "--device", "board-1").stdout
    assert listed.index(second) < listed.index(first)
    assert "restore_4" in listed
    assert first not in dormhub(hub, "commands", "--state", "unknown").stdout
    assert newest(hub, "board-1").id == second
    assert newest(hub, "board-1").state is State.CONFIRMED


def test_why_shows_who_when_every_frame_and_the_proof(hub: HubProcess) -> None:
    sent = dormhub(hub, "send", "board-1", "restore_5", "--cause", "paid at the desk")
    why = dormhub(hub, "why", id_of(sent)).stdout
    assert "board-1 restore_5" in why
    assert "paid at the desk" in why
    assert "05 00 04 ff 00".replace(" ", "") in why  # write coil 4 on
    assert "->" in why
    assert "<-" in why
    assert "confirmed" in why
    assert "proved by" in why
    assert '"relay_5":true' in why.replace(" ", "")


def test_a_relay_that_was_so_already_is_said_to_have_been(hub: HubProcess) -> None:
    dormhub(hub, "send", "board-1", "restore_6")
    again = dormhub(hub, "send", "board-1", "restore_6")
    assert again.returncode == 0
    assert "confirmed: it was already so" in again.stdout
    assert "try 1, the device was already so" in dormhub(hub, "why", id_of(again)).stdout


def test_what_ended_unknown_is_resolved_once_and_stays_unknown(hub: HubProcess) -> None:
    sent = dormhub(hub, "send", "lane-deaf", "hold_open", "duration=60", "--deadline", "2")
    assert (sent.returncode, sent.stderr) == (13, ""), sent.stdout
    unknown = id_of(sent)
    told = ("resolve", unknown, "not-done", "--note", "the arm never moved")
    resolved, again = dormhub(hub, *told), dormhub(hub, *told)
    other = dormhub(hub, "resolve", unknown, "done")
    assert (resolved.returncode, resolved.stderr) == (0, "")
    assert "unknown" in resolved.stdout
    assert "resolved as not_done" in resolved.stdout
    assert again.stdout == resolved.stdout
    assert other.returncode not in (0, 10, 11, 12, 13, 14)
    assert "it was resolved already, as not_done" in other.stderr
    assert "resolved as not_done" in dormhub(hub, "why", unknown).stdout
    listed = dormhub(hub, "audit", "list", "--subject", f"command/{unknown}").stdout
    assert listed.count("the arm never moved") == 1


def test_a_held_command_goes_when_a_second_person_approves_it(hub: HubProcess) -> None:
    dormhub(hub, "send", "board-1", "restore_8")
    for meter in ("meter-liar", "meter-gone"):
        dormhub(hub, "send", meter, "cut", "--wait", "0")
    add = ("keys", "add", "--role", "operator")
    first, second = [dormhub(hub, *add, name).stdout.strip() for name in ("first", "second")]
    held = dormhub(hub, "send", "board-1", "cut_8", "--wait", "0", key=first)
    assert held.returncode == 14
    assert "held until a second person approves it" in held.stdout
    assert "held" in dormhub(hub, "commands", "--device", "board-1").stdout
    alone = dormhub(hub, "approve", id_of(held), key=first)
    maker = dormhub(hub, "approve", id_of(held))
    approved = dormhub(hub, "approve", id_of(held), key=second)
    assert maker.returncode not in (0, 14)
    assert alone.returncode not in (0, 14)
    assert "a second person must approve it" in alone.stderr
    assert (approved.returncode, approved.stderr) == (0, "")
    assert "held" not in approved.stdout
    wait_until(lambda: newest(hub, "board-1").state is State.CONFIRMED)


def test_the_audit_lists_every_change_of_a_command_and_is_whole(hub: HubProcess) -> None:
    subject = "command/" + id_of(dormhub(hub, "send", "board-1", "restore_6"))
    said = dormhub(hub, "audit", "list", "--subject", subject, "--json").stdout
    rows = [msgspec.json.decode(line, type=AuditRow) for line in said.splitlines()]
    assert {row.subject for row in rows} == {subject}
    assert [row.number for row in rows] == sorted(row.number for row in rows)
    assert "confirmed" in rows[-1].after
    assert subject in dormhub(hub, "audit", "list", "--subject", subject).stdout
    verified = dormhub(hub, "audit", "verify")
    assert (verified.returncode, verified.stderr) == (0, "")
    assert "all as written" in verified.stdout


def test_a_key_opens_until_it_is_revoked(hub: HubProcess) -> None:
    key = dormhub(hub, "keys", "add", "a reader", "--role", "viewer").stdout.strip()
    before = dormhub(hub, "commands", key=key)
    refused = dormhub(hub, "send", "board-1", "restore_7", key=key)
    said = dormhub(hub, "keys", "list", "--json").stdout
    rows = [msgspec.json.decode(line, type=KeyRow) for line in said.splitlines()]
    [row] = [row for row in rows if row.name == "a reader"]
    revoked = dormhub(hub, "keys", "revoke", row.id)
    after = dormhub(hub, "commands", key=key)
    assert key.startswith("dormhub_")
    assert before.returncode == 0
    assert refused.returncode == 10
    assert "Forbidden" in refused.stderr
    assert key not in said
    assert (revoked.returncode, after.returncode != 0) == (0, True)
    assert "Unauthorized" in after.stderr
    assert "a reader" in dormhub(hub, "keys", "list").stdout


def test_without_a_hub_it_says_so(hub: HubProcess, tmp_path: Path) -> None:
    config = sited(tmp_path / "config", 1, 1, ALIVE)
    alone = HubProcess(folder=config)
    no_key = dormhub(alone, "commands")
    no_hub = dormhub(alone, "commands", key="dormhub_some_key")
    assert no_key.returncode == 2
    assert "start the hub once" in no_key.stderr
    assert no_hub.returncode != 0
    assert "no hub answers" in no_hub.stderr


class HangsUp(BaseHTTPRequestHandler):
    """A hub whose answers to orders are lost."""

    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        self.close_connection = True


def test_an_order_without_an_answer_shows_the_key_to_ask_again_with(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), HangsUp)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "hub.toml").write_text(f'[api]\nlisten = "127.0.0.1:{server.server_port}"\n')
    command = [sys.executable, "-m", "hub.cli.main", "send", "m-1", "credit", "--config"]
    environment = {**os.environ, "DORMHUB_KEY": "any"}
    sent = subprocess.run(
        [*command, str(folder)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment,
    )
    server.shutdown()
    server.server_close()
    serving.join()
    assert sent.returncode == 2
    assert "ask again with --key cli-" in sent.stderr

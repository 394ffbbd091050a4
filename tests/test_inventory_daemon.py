"""A running hub and its files: what was applied runs, all or nothing is taken, other links go on."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from hub import audit
from hub.inventory.installed import find_installed
from hub.ledger import open_reader
from hub.status import Status
from tests.hub_process import HubProcess, hub_process
from tests.publisher import publishing
from tests.servers import Server, free_port, wait_until
from tests.site_folder import write_site

HEADER = "id,profile,link,address,building,room\n"
ROWS = (
    "meter-0,generic_meter,broker,meter-0,B1,101\n",
    "meter-1,generic_meter,broker,meter-1,B1,102\n",
    "meter-2,generic_meter,other,meter-2,B1,103\n",
)
MORE = "meter-3,generic_meter,other,meter-3,B1,104\n"


def write(folder: Path, *rows: str) -> None:
    (folder / "devices.csv").write_text(HEADER + "".join(rows), "utf-8")


def site_of(tmp_path: Path, broker: int = 9) -> Path:
    link = '[links.{}]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {}\n'
    return write_site(
        tmp_path / "config",
        site=link.format("broker", broker) + link.format("other", broker),
        devices=HEADER + "".join(ROWS),
        hub=f'[api]\nlisten = "127.0.0.1:{free_port()}"\n',
    )


def said(hub: HubProcess) -> Status:
    status = hub.status
    assert status is not None
    return status


def dormhub(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hub.cli.main", *arguments, "--config", str(folder)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        env={**os.environ, "DORMHUB_KEY": ""},
    )


def ask(hub: HubProcess, method: str, path: str, body: object = None) -> httpx2.Response:
    """The hub's answer to its first administrator."""
    key = (hub.data / "admin.key").read_text("ascii").strip()
    listen = (hub.folder / "hub.toml").read_text("utf-8").split('"')[1]
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "test"}
    url = f"http://{listen}{path}"
    return httpx2.request(method, url, json=body, headers=headers, trust_env=False)


def restarted(hub: HubProcess, *options: str) -> None:
    assert hub.stop() == 0
    hub.start(*options)


def test_a_restart_runs_what_was_applied_and_says_that_the_files_differ(tmp_path: Path) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        assert (said(hub).inventory.number, said(hub).inventory.drift) == (1, "")
        write(folder, *ROWS, MORE)
        restarted(hub)
        assert said(hub).unknown == 3
        assert said(hub).inventory.drift == "changed: see dormhub plan"
        assert "the files are not what was applied" in hub.log
        restarted(hub, "--apply")
        assert said(hub).unknown == 4
        assert (said(hub).inventory.number, said(hub).inventory.drift) == (2, "")


def test_a_restart_with_broken_files_runs_what_was_applied(tmp_path: Path) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        write(folder, "meter-0,no_such,broker,x,,\n")
        restarted(hub)
        assert said(hub).unknown == 3
        assert "no profile 'no_such'" in said(hub).inventory.drift
        (folder / "site.toml").unlink()
        restarted(hub)
        assert said(hub).unknown == 3
        assert "it does not exist" in said(hub).inventory.drift


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("x = " + "9" * 5_000, id="digits"),
        pytest.param("x = " + "[" * 5_000, id="deep"),
    ],
)
@pytest.mark.parametrize("name", ["site.toml", "profiles/own.toml"])
def test_no_content_of_a_file_ends_the_hub_or_keeps_it_from_starting(
    tmp_path: Path, name: str, content: str
) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, "utf-8")
        hub.reload()
        wait_until(lambda: "configuration refused, the old one stays" in hub.log)
        assert ask(hub, "POST", "/v1/inventory/apply", {}).status_code == 409
        restarted(hub)
        assert said(hub).unknown == 3
        assert f"{name}: TOML: " in said(hub).inventory.drift


def test_the_first_start_takes_the_files_and_says_so_in_the_audit(tmp_path: Path) -> None:
    with hub_process(site_of(tmp_path)) as hub:
        with open_reader(hub.data / "ledger.db") as connection:
            rows = audit.rows(connection)
        applied = [row for row in rows if row.subject == "inventory/1"]
        assert [(row.actor, row.action) for row in applied] == [("first start", "applied")]


def test_a_signal_does_not_retire_what_is_missing_and_names_it(tmp_path: Path) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        write(folder, *ROWS[:2], MORE)
        hub.reload()
        wait_until(lambda: "configuration refused" in hub.log)
        assert "meter-2" in hub.log
        assert "dormhub apply --prune" in hub.log
        assert (said(hub).unknown, said(hub).inventory.number) == (3, 1)


def test_a_start_with_apply_does_not_retire_what_is_missing_and_names_it(tmp_path: Path) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        write(folder, *ROWS[:2])
        assert hub.stop() == 0
        refused = dormhub(folder, "run", "--apply")
        assert refused.returncode == 2
        assert "meter-2" in refused.stderr
        hub.start()
        assert said(hub).unknown == 3


def test_apply_touches_only_the_links_that_change_and_again_changes_nothing(
    mosquitto: Server, tmp_path: Path
) -> None:
    folder = site_of(tmp_path, mosquitto.port)
    with hub_process(folder) as hub:
        wait_until(lambda: all(link.up for link in said(hub).links))
        before = {link.id: link.since_ms for link in said(hub).links}
        with publishing(mosquitto.port, devices=2, rate_per_s=3) as publisher:
            wait_until(lambda: len(publisher.sent) >= 3)
            write(folder, *ROWS, MORE)
            done = dormhub(folder, "apply", "--yes")
        assert done.returncode == 0, done.stderr
        assert "+ meter-3" in done.stdout
        assert "applied: inventory 2, 4 devices" in done.stdout
        wait_until(lambda: all(link.up for link in said(hub).links))
        after = {link.id: link.since_ms for link in said(hub).links}
        assert after["broker"] == before["broker"]
        assert after["other"] > before["other"]
        wait_until(lambda: len(hub.readings()) == len(publisher.sent))
        again = dormhub(folder, "apply", "--yes")
        assert again.returncode == 0
        assert again.stdout.startswith("nothing to do")
        assert said(hub).inventory.number == 2


def test_a_room_written_anew_touches_no_link(mosquitto: Server, tmp_path: Path) -> None:
    folder = site_of(tmp_path, mosquitto.port)
    with hub_process(folder) as hub:
        wait_until(lambda: all(link.up for link in said(hub).links))
        before = [(link.id, link.since_ms) for link in said(hub).links]
        write(folder, ROWS[0].replace("101", "199"), *ROWS[1:])
        done = dormhub(folder, "apply", "--yes")
        assert done.returncode == 0, done.stderr
        assert "~ meter-0: room 101 → 199" in done.stdout
        assert [(link.id, link.since_ms) for link in said(hub).links] == before
        shown = ask(hub, "GET", "/v1/devices/meter-0").json()
        assert shown["place"]["room"] == "199"


def test_a_retired_device_keeps_its_past_and_takes_no_commands(
    mosquitto: Server, tmp_path: Path
) -> None:
    folder = site_of(tmp_path, mosquitto.port)
    with hub_process(folder) as hub:
        wait_until(lambda: all(link.up for link in said(hub).links))
        with publishing(mosquitto.port, devices=1, rate_per_s=30) as publisher:
            wait_until(lambda: len(publisher.sent) >= 3)
        wait_until(lambda: len(hub.readings()) == len(publisher.sent))
        write(folder, *ROWS[1:])
        refused = dormhub(folder, "apply", "--yes")
        assert refused.returncode == 2
        assert "- meter-0: retired, its history and money stay" in refused.stdout
        assert "--prune" in refused.stderr
        assert said(hub).inventory.number == 1
        done = dormhub(folder, "apply", "--prune", "--yes")
        assert done.returncode == 0, done.stderr
        latest = ask(hub, "GET", "/v1/devices/meter-0/latest").json()
        assert latest["values"]
        point = next(iter(latest["values"]))
        past = ask(hub, "GET", f"/v1/devices/meter-0/history?point={point}")
        assert len(past.json()["values"]) == len(publisher.sent)
        assert "meter-0" not in ask(hub, "GET", "/v1/devices").text
        told = ask(hub, "POST", "/v1/commands", {"device": "meter-0", "name": "cut"})
        assert told.status_code == 422
        shown = dormhub(folder, "history", "meter-0", point, "--as", "csv")
        assert len(shown.stdout.splitlines()) == 1 + len(publisher.sent)


def test_nobody_to_ask_and_no_yes_applies_nothing(tmp_path: Path) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        write(folder, *ROWS, MORE)
        refused = dormhub(folder, "apply")
        assert refused.returncode == 2
        assert "+ meter-3" in refused.stdout
        assert "--yes" in refused.stderr
        assert said(hub).inventory.number == 1


@contextmanager
def asked(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`dormhub apply` at a terminal, when it has shown the plan and asks; and the terminal to answer at."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hub.cli.main", "apply", "--config", str(folder)]
    # Whoever runs these tests in the background has Ctrl-C ignored, and so would the command.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    with process:
        try:
            assert process.stdout is not None
            shown = ""
            while not shown.endswith("[y/N]: "):
                shown += process.stdout.read(1) or pytest.fail(shown)
            # A signal between the prompt and the read is noticed after the read only.
            wait_until(lambda: ") S " in Path(f"/proc/{process.pid}/stat").read_text("utf-8"))
            yield process, ours
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)


def test_at_a_terminal_it_asks_and_goes_by_the_answer(tmp_path: Path) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        write(folder, *ROWS, MORE)
        with asked(folder) as (process, terminal):
            os.write(terminal, b"n\n")
            assert process.wait(30) == 1
        with asked(folder) as (process, terminal):
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        assert said(hub).inventory.number == 1
        with asked(folder) as (process, terminal):
            os.write(terminal, b"y\n")
            assert process.wait(30) == 0
        assert said(hub).inventory.number == 2


def test_files_that_change_after_the_plan_was_shown_are_not_applied(tmp_path: Path) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        write(folder, *ROWS, MORE)
        with asked(folder) as (process, terminal):
            write(folder, *ROWS, MORE.replace("104", "105"))
            os.write(terminal, b"y\n")
            assert process.wait(30) == 2
            assert process.stderr is not None
            assert "changed since this plan was shown" in process.stderr.read()
        assert said(hub).inventory.number == 1


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("meter-0,generic_meter,broker,again,,\n", "its own id"),
        ("meter-9,generic_meter,broker,meter-0,,\n", "one address, one device"),
        ("meter-9,no_such,broker,meter-9,,\n", "no profile 'no_such'"),
        ("meter-9,generic_meter,broker,#,,\n", "address"),
        ("../x,generic_meter,broker,x,,\n", "a-z, 0-9 and -"),
    ],
)
def test_a_mistake_in_any_row_applies_nothing(tmp_path: Path, row: str, what: str) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        write(folder, *ROWS, MORE, row)
        refused = dormhub(folder, "apply", "--yes")
        assert refused.returncode == 2
        assert what in refused.stderr
        answer = ask(hub, "POST", "/v1/inventory/apply", {})
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:dormhub:problem:mistakes"
        assert what in answer.text
        installed = find_installed(hub.data / "ledger.db", folder)
        assert (installed.number, len(installed.rows)) == (1, 3)
        assert said(hub).unknown == 3


def test_without_a_hub_apply_says_that_none_answers(tmp_path: Path) -> None:
    folder = site_of(tmp_path)
    with hub_process(folder) as hub:
        assert hub.stop() == 0
    write(folder, *ROWS, MORE)
    refused = dormhub(folder, "apply", "--yes")
    assert refused.returncode == 2
    assert "no hub answers" in refused.stderr

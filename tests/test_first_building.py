"""docs/first-building.md: its files are written and its commands run, on a bus of simulated meters."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hub import load_site
from simulators.campus import Campus, Play
from simulators.ledger import Deed
from tests.campus_judge import playing
from tests.hub_process import HubProcess
from tests.servers import free_port, wait_until
from tests.site_folder import write_site

PAGE = Path("docs/first-building.md")
CODES = re.compile(r"# exit code ([\d or]+)$")
METERS = 6


@dataclass(frozen=True, kw_only=True)
class Block:
    """A file with its content, or commands."""

    kind: str
    name: str
    text: str


def blocks() -> list[Block]:
    found: list[Block] = []
    names = re.split(r"```(\w+)\n(.*?)```\n", PAGE.read_text("utf-8"), flags=re.S)
    for before, kind, text in zip(names[::3], names[1::3], names[2::3], strict=False):
        quoted = re.findall(r"`([\w/-]+\.(?:toml|csv))`", before)
        found.append(Block(kind=kind, name=quoted[-1] if quoted else "", text=text))
    return found


def site_of(folder: Path) -> Path:
    """The bus as it really is."""
    site = '[links.b1-f1]\ndriver = "modbus"\ntransport = "rtu_over_tcp"\n'
    rows = "".join(f"m-{n},eastron_sdm120,b1-f1,{n}\n" for n in range(1, METERS + 1))
    link = f'{site}host = "127.0.0.1"\nport = 4196\nbaud = 9600\n'
    return write_site(folder / "real", site=link, devices="id,profile,link,address\n" + rows)


@dataclass(kw_only=True)
class Shell:
    """Runs the page's commands in a folder."""

    folder: Path
    hub: HubProcess
    port: int

    def write(self, block: Block) -> None:
        path = self.folder / block.name
        path.parent.mkdir(exist_ok=True)
        text = block.text.replace("192.0.2.11", "127.0.0.1").replace("4196", str(self.port))
        text = text.replace("/var/lib/dormhub", str(self.folder / "data"))
        api = f'[api]\nlisten = "127.0.0.1:{free_port()}"\n' if path.name == "hub.toml" else ""
        path.write_text(text + api, "utf-8")

    def run(self, line: str) -> str:
        """What a command says; it must end with the code the page tells."""
        command, _, _ = line.partition("#")
        if command.strip() == "systemctl start dormhub":
            self.hub.start()
            wait_until(lambda: self.hub.status is not None and self.hub.status.online == METERS - 1)
            return ""
        codes = CODES.search(line)
        ended = subprocess.run(
            [sys.executable, "-m", "hub.cli.main", *command.split()[1:]],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            cwd=self.folder,
            env={**os.environ, "DORMHUB_CONFIG": str(self.folder / "config"), "COLUMNS": "200"},
        )
        allowed = codes[1].split(" or ") if codes else ["0"]
        assert str(ended.returncode) in allowed, f"{line}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def commands(self, block: Block) -> Iterator[tuple[str, str]]:
        for line in block.text.splitlines():
            yield line, self.run(line)

    def follow(self) -> dict[str, str]:
        """What each command of the page said."""
        said: dict[str, str] = {}
        for block in blocks():
            if block.kind == "sh":
                said.update(self.commands(block))
            else:
                self.write(block)
        return said


def verdicts(report: Path) -> set[str]:
    with report.open(encoding="utf-8-sig", newline="") as file:
        return {row["verdict"] for row in csv.DictReader(file)}


async def test_the_page_leads_from_the_spreadsheet_to_verified_meters(tmp_path: Path) -> None:
    async with playing(Campus(load_site(site_of(tmp_path)), Play(here=True, speed=0))) as campus:
        port = campus.reachable().links[0].settings["port"]
        hub = HubProcess(folder=tmp_path / "config")
        shell = Shell(folder=tmp_path, hub=hub, port=int(str(port)))
        try:
            said = await asyncio.to_thread(shell.follow)
        finally:
            await asyncio.to_thread(hub.stop)
        written = list(campus.ledger.entries(deed=Deed.WRITTEN))
    assert "106" in said["dormhub plan                                # exit code 3"]
    assert verdicts(tmp_path / "report.csv") == {"answered"}
    assert (tmp_path / "labels.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "first.backup").stat().st_size > 0
    assert written == []  # nobody has written to a meter

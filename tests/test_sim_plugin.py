"""The pytest plug-in as a stranger has it: installed, quiet, and there when asked for."""

import subprocess
import sys
from pathlib import Path

from tests.sim_site import write_site

STRANGERS_TEST = """
import asyncio
from pathlib import Path

def test_my_building_is_there(campus):
    async def check():
        async with campus(Path("site")) as town:
            port = town.reachable().links[0].settings["port"]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bytes.fromhex("0001 0000 0006 01 04 0000 0002"))
            answer = await asyncio.wait_for(reader.readexactly(13), 10)
            writer.close()
            assert answer[7:9] == bytes((4, 4))
            assert [entry.device for entry in town.ledger.entries()] == ["m-1"]
    asyncio.run(check())
"""


def _python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_a_strangers_test_finds_the_campus_without_any_configuration(tmp_path: Path) -> None:
    bus: dict[str, object] = {"driver": "modbus", "host": "10.0.0.9", "port": 502}
    write_site(tmp_path / "site", {"bus-1": bus}, ["m-1,eastron_sdm120,bus-1,1"])
    (tmp_path / "test_mine.py").write_text(STRANGERS_TEST, "utf-8")
    run = _python("-m", "pytest", "-q", "-W", "error", "-p", "no:asyncio", folder=tmp_path)
    assert run.returncode == 0, run.stdout
    assert "1 passed" in run.stdout


def test_the_plug_in_imports_nothing_of_the_simulators_until_it_is_used(tmp_path: Path) -> None:
    program = (
        "import sys, simulators.pytest_campus; "
        "print([name for name in sys.modules if name.startswith(('simulators.', 'hub', 'drivers'))])"
    )
    run = _python("-c", program, folder=tmp_path)
    assert run.stdout == "['simulators.pytest_campus']\n"

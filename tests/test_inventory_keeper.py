"""The keeper of the inventory: a mistake on the way is the caller's to hear, and never ends the hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from hub import Site
from hub.inventory.drift import Drift
from hub.inventory.keeper import HalfTaken, Keeper, Step
from hub.ledger import open_ledger
from tests.command_line import app
from tests.provisioned import CLOCK, METERS, write_building

MORE = "m-4,eastron_sdm120,bus-2,4,B1,2,202,socket,,"


class Surprise(Exception):
    """No error that this project raises on purpose."""


@asynccontextmanager
async def kept(tmp_path: Path) -> AsyncIterator[Keeper]:
    """A keeper that has taken the building; the files say one device more."""
    folder = write_building(tmp_path / "config")
    async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        keeper = Keeper(folder=folder, ledger=ledger, clock=CLOCK)
        await keeper.start()
        write_building(folder, *METERS.values(), MORE)
        yield keeper


def surprise(_: object) -> Site:
    raise Surprise


async def fails_to_prepare(_: Site) -> Step:
    raise Surprise


async def fails_to_follow(_: Site) -> Step:
    async def step() -> tuple[str, ...]:
        raise Surprise

    return step


async def test_before_the_ledger_has_it_a_surprise_is_the_caller_s_and_nothing_ends(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as keeper, asyncio.TaskGroup() as tasks:
        keeper.attach(tasks, fails_to_prepare)
        for _ in range(2):
            with pytest.raises(Surprise):
                await keeper.apply(prune=False, actor="test")
        assert keeper.inventory.number == 1


async def test_once_the_ledger_has_it_what_does_not_follow_ends(tmp_path: Path) -> None:
    async with kept(tmp_path) as keeper:
        with pytest.RaisesGroup(HalfTaken):
            async with asyncio.TaskGroup() as tasks:
                keeper.attach(tasks, fails_to_follow)
                with pytest.raises(HalfTaken):
                    await keeper.apply(prune=False, actor="test")
                await asyncio.Event().wait()
        assert keeper.inventory.number == 2


async def test_files_that_are_what_was_applied_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(tmp_path) as keeper, asyncio.TaskGroup() as tasks:
        keeper.attach(tasks, fails_to_prepare)
        write_building(tmp_path / "config")
        monkeypatch.setattr("hub.inventory.keeper.site_of", surprise)
        plan = await keeper.apply(prune=False, actor="test")
        assert (plan.is_empty, plan.number, plan.devices) == (True, 1, len(METERS))
        assert (await keeper.apply(prune=True, actor="test", expect=plan.digest())).is_empty
        write_building(tmp_path / "config", *METERS.values(), MORE)
        with pytest.raises(Surprise):
            await keeper.apply(prune=False, actor="test")


async def test_neither_does_the_command_line_read_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_building(tmp_path / "config")
    (folder / "hub.toml").write_text(f'data = "{tmp_path}"', "utf-8")
    async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        await Keeper(folder=folder, ledger=ledger, clock=CLOCK).start()
    monkeypatch.setattr("hub.cli.inventory.site_of", surprise)
    for command in ("plan", "apply"):
        said = CliRunner().invoke(app, [command, "--json", "--config", str(folder)])
        assert said.exit_code == 0, said.output
        plan = msgspec.json.decode(said.stdout)
        assert (plan["number"], plan["devices"], plan["added"]) == (1, len(METERS), [])


async def test_looking_at_the_files_outlives_whatever_judging_them_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.inventory.drift.site_of", surprise)
    drift = Drift(folder=write_building(tmp_path / "config"), clock=CLOCK)
    await drift.look("another digest")
    assert drift.how == "cannot be applied: Surprise"

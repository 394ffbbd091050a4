from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from hub import ConfigError, ConfigErrors, Driver, Host, Link, LinkError, Place, VirtualClock
from hub.ingest import Ingest
from hub.supervisor import CLOSING, Supervisor
from tests.site_folder import meter
from tests.test_ingest import NOW_MS, ListStore


class Script:
    """Drivers that do as told, and what was seen of them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self.failures: dict[str, list[BaseException]] = {}
        self.mistakes: list[ConfigError] = []
        self.stubborn: set[str] = set()  # links whose drivers end only once there is mercy
        self.mercy = asyncio.Event()
        self.moved = asyncio.Event()

    def make(self, link: Link) -> Driver:
        if link.settings.get("wrong"):
            raise ConfigError(file="site.toml", key=link.id, found="wrong", hint="right")
        if self.started and self.mistakes:
            raise self.mistakes.pop()
        return ScriptedDriver(self, link)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.moved.clear()
                await self.moved.wait()


class ScriptedDriver:
    """Runs until cancelled, or fails as the script says."""

    def __init__(self, script: Script, link: Link) -> None:
        self._script = script
        self._link = link

    async def run(self, host: Host) -> None:
        self._script.started.append(self._link.id)
        self._script.moved.set()
        failures = self._script.failures.get(self._link.id)
        if failures:
            raise failures.pop(0)
        host.link_up()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self._link.id not in self._script.stubborn:
                raise
            await self._script.mercy.wait()
        finally:
            self._script.ended.append(self._link.id)
            self._script.moved.set()


@asynccontextmanager
async def supervised(script: Script) -> AsyncIterator[Supervisor]:
    clock = VirtualClock(start_ms=NOW_MS)
    ingest = Ingest(
        store=ListStore(), clock=clock, report=lambda _: None, count=lambda _link, _reason: None
    )
    async with asyncio.TaskGroup() as tasks:
        supervisor = Supervisor(ingest=ingest, clock=clock, tasks=tasks, make=script.make)
        try:
            yield supervisor
        finally:
            await supervisor.stop()


def link(name: str, **settings: object) -> Link:
    return Link(id=name, driver="scripted", settings=settings)


async def test_only_changed_links_are_touched() -> None:
    script = Script()
    async with supervised(script) as supervisor:
        await supervisor.apply([link("a"), link("b"), link("c")])
        await script.until(lambda: len(script.started) == 3)
        changed = await supervisor.apply([link("a"), link("b", host="x"), link("d")])
        await script.until(lambda: len(script.started) == 5)
        assert changed == ("b", "c", "d")
        assert sorted(script.ended) == ["b", "c"]
        assert sorted(script.started[3:]) == ["b", "d"]


async def test_other_rooms_notes_and_another_order_of_devices_touch_no_link() -> None:
    script, first, second = Script(), meter("m-1"), meter("m-2")
    moved = replace(first, place=Place(building="B2", room="7"), note="by the door")
    async with supervised(script) as supervisor:
        await supervisor.apply([replace(link("a"), devices=(first, second))])
        await script.until(lambda: script.started == ["a"])
        now = replace(link("a"), devices=(second, moved))
        assert await supervisor.apply([now]) == ()
        assert supervisor.hosts["a"].link == now
        other = replace(now, devices=(second, replace(moved, address="9")))
        assert await supervisor.apply([other]) == ("a",)


async def test_what_was_prepared_is_what_runs_and_nothing_is_made_again() -> None:
    script = Script()
    async with supervised(script) as supervisor:
        await supervisor.apply([link("a")])
        made = supervisor.prepare([link("a"), link("b")])
        assert list(made) == ["b"]
        assert await supervisor.apply([link("a"), link("b")], made) == ("b",)
        await script.until(lambda: sorted(script.started) == ["a", "b"])


async def test_preparing_tells_the_mistakes_of_every_link() -> None:
    async with supervised(Script()) as supervisor:
        with pytest.raises(ConfigErrors) as caught:
            supervisor.prepare([link("b", wrong=True), link("c"), link("d", wrong=True)])
        assert [error.key for error in caught.value.errors] == ["b", "d"]


async def test_a_wrong_link_leaves_everything_as_it_was() -> None:
    script = Script()
    async with supervised(script) as supervisor:
        await supervisor.apply([link("a")])
        await script.until(lambda: script.started == ["a"])
        with pytest.raises(ConfigError):
            await supervisor.apply([link("b"), link("c", wrong=True)])
        assert (script.ended, list(supervisor.hosts)) == ([], ["a"])


@pytest.mark.parametrize(
    "failure",
    [LinkError("unplugged"), RuntimeError("a driver's mistake"), asyncio.CancelledError("its own")],
)
async def test_a_failed_driver_is_started_again_and_its_neighbours_run_on(
    failure: BaseException,
) -> None:
    script = Script()
    script.failures["a"] = [failure, failure]
    async with supervised(script) as supervisor:
        await supervisor.apply([link("a"), link("b")])
        await script.until(lambda: script.started.count("a") == 3)
        assert script.started.count("b") == 1
        assert supervisor.hosts["a"].restarts == 2


async def test_a_driver_that_cannot_be_made_again_costs_its_own_link_only() -> None:
    script = Script()
    script.failures["a"] = [LinkError("unplugged")]
    gone = ConfigError(file="site.toml", key="links.a.password_file", found="gone", hint="write it")
    script.mistakes = [gone, gone]
    async with supervised(script) as supervisor:
        await supervisor.apply([link("a"), link("b")])
        await script.until(lambda: script.started.count("a") == 2)
        assert supervisor.hosts["a"].restarts == 3
        assert supervisor.hosts["b"].up


async def test_stopping_waits_until_every_driver_has_closed() -> None:
    script = Script()
    async with supervised(script) as supervisor:
        await supervisor.apply([link("a"), link("b")])
        await script.until(lambda: len(script.started) == 2)
        await supervisor.stop()
        assert sorted(script.ended) == ["a", "b"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.supervisor.STOP_TIMEOUT_S", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_a_changed_link_s_new_driver_waits_for_an_old_one_that_does_not_end() -> None:
    script = Script()
    script.stubborn.add("a")
    async with supervised(script) as supervisor:
        await supervisor.apply([link("a")])
        await script.until(lambda: script.started == ["a"])
        await supervisor.apply([link("a", host="x")])
        await supervisor.apply([link("a", host="y")])
        assert script.started == ["a"]
        assert supervisor.hosts["a"].reason == CLOSING
        script.stubborn.clear()
        script.mercy.set()
        await script.until(lambda: script.started == ["a", "a"])
        assert script.ended == ["a"]
        assert supervisor.hosts["a"].link.settings == {"host": "y"}


@pytest.mark.usefixtures("impatient")
async def test_a_link_whose_driver_does_not_end_is_not_lent_and_never_has_two() -> None:
    script = Script()
    script.stubborn.add("a")
    async with supervised(script) as supervisor:
        await supervisor.apply([link("a")])
        await script.until(lambda: script.started == ["a"])
        for _ in range(2):
            with pytest.raises(LinkError):
                await supervisor.lend("a")
            assert script.started == ["a"]
        script.stubborn.clear()
        script.mercy.set()
        await script.until(lambda: script.started == ["a", "a"])
        await supervisor.lend("a")
        assert script.ended == ["a", "a"]


@pytest.mark.usefixtures("impatient")
async def test_what_still_closes_when_the_hub_stops_is_started_no_more() -> None:
    script = Script()
    script.stubborn.add("a")
    async with supervised(script) as supervisor:
        await supervisor.apply([link("a")])
        await script.until(lambda: script.started == ["a"])
        await supervisor.apply([link("a", host="x")])
        await supervisor.stop()
        script.mercy.set()
        await script.until(lambda: script.ended == ["a"])
    assert script.started == ["a"]

"""The inventory that the running hub goes by, and the one way to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import structlog

from hub.clock import Clock
from hub.errors import ConfigError, ConfigErrors, HubError
from hub.inventory.apply import Application, Busy, Inventory, check_plan
from hub.inventory.drift import Drift
from hub.inventory.installed import Installed, installed_site, read_installed
from hub.inventory.plan import Plan, empty_plan, make_plan
from hub.ledger import Ledger
from hub.plugin import link_mistakes
from hub.site import Site, site_of
from hub.site_files import SiteFiles, read_files

WAITING_MAX = 4

# Goes over to a site whose every part was made before; returns the ids of the links it touched.
Step: TypeAlias = Callable[[], Awaitable[tuple[str, ...]]]
# Makes all parts of a site without touching what runs; raises ConfigErrors.
Prepare: TypeAlias = Callable[[Site], Awaitable[Step]]

_log = structlog.get_logger("inventory")


async def _only_check(site: Site) -> Step:
    """Before anything runs: whether it could."""
    mistakes = await asyncio.to_thread(link_mistakes, site.links)
    if mistakes:
        raise ConfigErrors(tuple(mistakes))
    return _nothing


async def _nothing() -> tuple[str, ...]:
    return ()


class Keeper:
    """Keeps the site that was applied; `start` first, then `attach`. `drift` looks after the files."""

    def __init__(self, *, folder: Path, ledger: Ledger, clock: Clock) -> None:
        self.drift = Drift(folder=folder, clock=clock)
        self._folder = folder
        self._ledger = ledger
        self._clock = clock
        self._site: Site | None = None
        self._inventory: Inventory | None = None
        self._prepare: Prepare = _only_check
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    @property
    def site(self) -> Site:
        """The site as it was applied; there is one after `start`."""
        assert self._site is not None
        return self._site

    @property
    def inventory(self) -> Inventory:
        """What was applied last; there is one after `start`."""
        assert self._inventory is not None
        return self._inventory

    async def start(self, *, take: bool = False) -> Site:
        """The site to run: the one applied last; the files, where there is none yet or `take` says so.

        Raises ConfigErrors, Refused (devices are missing from the files) and StoreError.
        """
        installed = await self._installed()
        if installed.files is None:
            await self._apply(prune=False, expect="", actor="first start")
        elif take:
            await self._apply(prune=False, expect="", actor="start")
        else:
            self._keep(installed, _known_site(installed, installed.files))
            await self.drift.look(self.inventory.digest)
        return self.site

    def attach(self, group: asyncio.TaskGroup, prepare: Prepare) -> None:
        """From now on what is applied runs: `prepare` makes it; each apply is a task of this group."""
        self._group = group
        self._prepare = prepare

    def stop(self) -> None:
        """Whatever is being applied is left: the ledger has it wholly, or not at all."""
        for task in self._tasks:
            task.cancel("the hub stops")

    async def apply(self, *, prune: bool, actor: str, expect: str = "") -> Plan:
        """Take the files: all of them, or nothing. Returns what was done; an empty plan wrote nothing.

        `expect` is the digest of the plan that was shown. A cancelled call goes on by itself. Raises
        ConfigErrors for mistakes in the files, Refused, and StoreError; then nothing has changed.
        """
        assert self._group is not None
        if len(self._tasks) >= WAITING_MAX:
            raise Busy
        done: asyncio.Future[Plan] = asyncio.get_running_loop().create_future()
        work = _tell(done, self._apply(prune=prune, expect=expect, actor=actor))
        task = self._group.create_task(work, name="apply")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await done

    async def _apply(self, *, prune: bool, expect: str, actor: str) -> Plan:
        async with self._turn:
            nothing = await asyncio.to_thread(self._nothing_to_do)
            if nothing is not None:
                check_plan(nothing, prune=prune, expect=expect)
                await self.drift.look(self.inventory.digest)
                _say(nothing, self.inventory, actor, ())
                return nothing
            installed = await self._installed()
            files, site, plan = await asyncio.to_thread(self._draft, installed)
            check_plan(plan, prune=prune, expect=expect)
            touched: tuple[str, ...] = ()
            if plan.is_empty:
                self._keep(installed, self._site or site)
            else:
                step = await self._prepare(site)
                made = partial(Application, plan, files, actor=actor, clock=self._clock)
                application = await asyncio.to_thread(made)
                await self._ledger.run(application.write)
                self._site = site
                self._inventory = application.inventory
                touched = await _gone_over(step)
            await self.drift.look(self.inventory.digest)
        _say(plan, self.inventory, actor, touched)
        return plan

    def _nothing_to_do(self) -> Plan | None:
        """The empty plan, where the files are what was applied: ten thousand rows need not be read for it."""
        known = self._inventory
        if known is None or read_files(self._folder).digest() != known.digest:
            return None
        return empty_plan(known.number, known.devices, known.digest)

    def _draft(self, installed: Installed) -> tuple[SiteFiles, Site, Plan]:
        files = read_files(self._folder)
        site = site_of(files)
        return (
            files,
            site,
            make_plan(installed, files, site, self._site or installed_site(installed)),
        )

    def _keep(self, installed: Installed, site: Site) -> None:
        self._site = site
        self._inventory = Inventory(
            number=installed.number,
            time_ms=installed.time_ms,
            digest=installed.digest,
            devices=len(installed.rows),
        )

    async def _installed(self) -> Installed:
        return await self._ledger.read(partial(read_installed, folder=self._folder))


class HalfTaken(HubError):
    """The ledger has the new inventory, and what runs did not follow: only a new start is whole."""


async def _gone_over(step: Step) -> tuple[str, ...]:
    try:
        return await step()
    except Exception as error:
        raise HalfTaken(f"{type(error).__name__}: {error}") from error


async def _tell(done: asyncio.Future[Plan], work: Awaitable[Plan]) -> None:
    """Hand the outcome to the caller, any mistake too: before the ledger has it, nothing was touched."""
    try:
        plan = await work
    except Exception as error:
        if not isinstance(error, HubError):
            _log.exception("applying failed")
        if not done.done():
            done.set_exception(error)
        if isinstance(error, HalfTaken):
            raise  # ends the hub
    else:
        if not done.done():
            done.set_result(plan)
    finally:
        done.cancel()  # does nothing to one that was told


def _known_site(installed: Installed, files: SiteFiles) -> Site:
    try:
        return site_of(files)
    except ConfigError as error:
        unknown = ConfigError(
            file="ledger",
            key=f"inventory {installed.number}",
            found="this version cannot read what was applied",
            hint="mend the files and start with them: dormhub run --apply",
        )
        raise ConfigErrors((unknown, error)) from None


def _say(plan: Plan, inventory: Inventory, actor: str, touched: Sequence[str]) -> None:
    _log.info(
        "configuration taken" if not plan.is_empty else "configuration is as it was applied",
        inventory=inventory.number,
        actor=actor,
        added=len(plan.added),
        changed=len(plan.changed),
        returned=len(plan.returned),
        retired=len(plan.retired),
        links=list(touched),
    )

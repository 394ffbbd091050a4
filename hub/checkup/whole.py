"""Every check of an installation, in the order a person would look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from hub import audit
from hub.broker.drift import drift, ending_soon
from hub.checkup.box import (
    clock_kept,
    clock_sane,
    free_space,
    private_files,
    sqlite_versions,
    sync_time,
    time_zone,
)
from hub.checkup.broker_door import broker_findings, loaded_finding
from hub.checkup.finding import Finding, note, well, wrong
from hub.clock import Clock
from hub.config import HubConfig
from hub.errors import ConfigError, StoreError
from hub.inventory.installed import find_installed, running_site
from hub.journal import JournalReader
from hub.ledger import open_reader
from hub.site import Site
from hub.site_files import read_files
from hub.status import Health, OfflineDevice, Status, read_status

_SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkup:
    """What is looked at. `site` is the files' as they are now, None when they cannot be read; `mistakes`
    are those found in them. `thorough` reads the whole journal.
    """

    folder: Path
    config: HubConfig
    site: Site | None
    mistakes: Sequence[ConfigError]
    clock: Clock
    thorough: bool = True


def findings(checkup: Checkup) -> Iterator[Finding]:
    """One finding after the other; touches the network only to knock at the brokers, and writes one
    temporary file. A check that fails is a finding, never an error.
    """
    data = checkup.config.data
    yield from _files(checkup)
    if not data.is_dir():
        yield wrong(
            "data", f"{data} is not there", "start the hub once, or mend `data` in hub.toml"
        )
        return
    yield free_space(data)
    yield sync_time(data, checkup.clock)
    yield from private_files(data)
    yield sqlite_versions()
    yield clock_kept()
    yield from _journal(checkup)
    yield from _ledger(checkup)
    yield from _running(checkup)
    for link in checkup.site.links if checkup.site else ():
        if link.driver == "mqtt":
            yield from broker_findings(link)


def _files(checkup: Checkup) -> Iterator[Finding]:
    for mistake in checkup.mistakes:
        yield wrong("files", str(mistake), "then: dormhub plan")
    if checkup.site and not checkup.mistakes:
        count = sum(1 for _ in checkup.site.devices())
        yield well("files", f"{checkup.site.name}: {count} devices, no mistake")


def _journal(checkup: Checkup) -> Iterator[Finding]:
    path = checkup.config.data / "journal.db"
    restore = "stop the hub, move the file away, put a backup back: dormhub restore"
    try:
        with JournalReader(path) as reader:
            newest_ms = max((item.received_ms for item in reader.latest().values()), default=0)
            yield clock_sane(checkup.clock.now_ms(), newest_ms)
            damage = reader.damage() if checkup.thorough else ""
    except StoreError as error:
        yield wrong("journal", str(error), restore)
        return
    how = "whole" if checkup.thorough else "opens"
    yield (
        wrong("journal", f"{path}: damaged: {damage}", restore)
        if damage
        else well("journal", f"{path}: {how}")
    )


def _ledger(checkup: Checkup) -> Iterator[Finding]:
    try:
        place = checkup.config.ledger_place()
        with open_reader(place) as connection:
            broken = audit.verify(connection)
            head = audit.head(connection)
            told = list(_broker_files(checkup, connection))
    except (StoreError, ConfigError) as error:
        yield wrong("ledger", str(error), "stop the hub, put a backup back: dormhub restore")
        return
    if broken:
        found = f"the audit is broken at row {broken.number}: {broken.reason}"
        yield wrong(
            "audit", found, "somebody has changed the ledger by hand: find out who, and when"
        )
    else:
        yield well("audit", f"{head.number} rows, all as written")
    yield from told
    yield from _applied(checkup)


def _broker_files(checkup: Checkup, connection: Connection) -> Iterator[Finding]:
    now_ms, what = checkup.clock.now_ms(), "broker's files"
    if checkup.config.broker.folder is None:
        return
    links = running_site(checkup.config.ledger_place(), checkup.folder).links
    try:
        differing = drift(connection, checkup.config, links, now_ms)
    except OSError as error:
        yield wrong(what, str(error), "let the user of the hub write in [broker] folder")
        return
    for line in differing:
        yield wrong(what, line, "see docs/broker.md; a running hub mends them by itself")
    for line in ending_soon(connection, now_ms):
        yield note("certificates", line, "dormhub credentials rotate")
    if not differing:
        yield well(what, f"{checkup.config.broker.folder}: as ledger and site say")
    loaded = loaded_finding(checkup.config.broker)
    if loaded:
        yield loaded


def _applied(checkup: Checkup) -> Iterator[Finding]:
    installed = find_installed(checkup.config.ledger_place(), checkup.folder)
    if checkup.site is None or not installed.number:
        return
    if read_files(checkup.folder).digest() != installed.digest:
        found = f"the files are not what was applied (inventory {installed.number})"
        yield note("inventory", found, "dormhub plan, then dormhub apply")
    else:
        yield well("inventory", f"number {installed.number}, as the files say")
    yield time_zone(checkup.site.timezone, checkup.clock.now_ms())


def _running(checkup: Checkup) -> Iterator[Finding]:
    status = read_status(checkup.config.data)
    if status is None:
        yield wrong("hub", "it does not run", "systemctl start dormhub; then see its log")
        return
    reasons = "; ".join(status.reasons[:3])
    look = "see the lines below, and dormhub alarms"
    match status.health:
        case Health.GREEN:
            yield well("hub", "green")
        case Health.YELLOW:
            yield note("hub", f"yellow: {reasons}", look)
        case Health.RED:
            yield wrong("hub", f"red: {reasons}", look)
    yield from _links(status)
    yield from _devices(checkup, status)


def _links(status: Status) -> Iterator[Finding]:
    for link in status.links:
        if not link.up:
            found = f"down since {_when(link.since_ms)}: {link.reason}"
            to_do = "look at its power, cable and address in site.toml"
            yield wrong(f"link {link.id}", found, to_do)
    if all(link.up for link in status.links):
        yield well("links", f"{len(status.links)}, all up")


def _devices(checkup: Checkup, status: Status) -> Iterator[Finding]:
    away = status.away
    if not away:
        yield well("devices", f"{status.online} online, none away")
        return
    heard = _last_heard(checkup, away[:_SHOWN])
    for device in away[:_SHOWN]:
        last_ms = heard.get(device.id, 0)
        since = f"silent since {_when(last_ms)}" if last_ms else "never heard"
        found = f"{device.link}, room {device.room or '-'}: {since} ({device.reason})"
        to_do = f"dormhub trace {device.id}; look at its power and wires"
        yield note(f"device {device.id}", found, to_do)
    more = status.offline - _SHOWN
    if more > 0:
        yield note("devices", f"{more} more are away", "dormhub verify writes a list of all")


def _last_heard(checkup: Checkup, away: Sequence[OfflineDevice]) -> dict[str, int]:
    try:
        with JournalReader(checkup.config.data / "journal.db") as reader:
            found = reader.query.latest(device.id for device in away)
    except StoreError:
        return {}
    return {name: latest.received_ms for name, latest in found.items()}


def _when(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M")

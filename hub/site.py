"""What is installed: `site.toml` (links) and `devices.csv` (devices), read into links with their devices.

Every mistake of both files is collected and raised together as ConfigErrors, each with file, line or
key, what was found and what would be right. Nothing is half taken.

    # site.toml
    name = "North campus"
    timezone = "Asia/Shanghai"            # for device clocks that show local time without a zone
    [buildings.B1]                        # optional: see hub/buildings.py
    [links.b1-f1]                         # one bus, serial server or broker
    driver = "modbus"                     # everything else in the table belongs to the driver
    observe_only = true                   # optional: no write ever leaves through this link
    [safety]                              # see hub/safety_rules.py
    fire = ["lane-1.fire_alarm"]
    [prepaid]                             # see hub/campus/prepaid/rules.py
    [platforms.campus]                    # who collects money for the house

    # devices.csv: the columns below, in any order; `period_s`, `settings` and `note` may be absent
    id,profile,link,address,building,floor,room,circuit,period_s,settings,note
    b1-101,eastron_sdm120,b1-f1,1,B1,1,101,socket,60,ct_ratio=1,
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hub.buildings import Buildings, read_buildings
from hub.device_table import ID_HINT, ID_PATTERN, Surroundings, read_devices
from hub.errors import ConfigError, ConfigErrors
from hub.model import Device, Link
from hub.profile_file import ProfileLibrary, profiles_with
from hub.safety_rules import SafetyRules, read_safety
from hub.site_files import (
    DEVICES_FILE,
    PROFILES_FOLDER,
    SITE_FILE,
    SiteFiles,
    read_files,
    text_of,
)
from hub.toml_table import toml_document

_POLICIES = ("prepaid", "platforms", "schedules", "alerts", "reconciliation")
_SITE_KEYS = ("name", "timezone", "links", "buildings", "safety", *_POLICIES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A campus as installed: every link with its devices; `profiles` are all products it may name.

    `policies` are the tables of its services as they were written, each for its service to read.
    """

    name: str
    timezone: ZoneInfo
    links: tuple[Link, ...]
    folder: Path
    safety: SafetyRules = field(default_factory=SafetyRules)
    buildings: Buildings = field(default_factory=Buildings)
    profiles: ProfileLibrary = field(default_factory=lambda: ProfileLibrary(()), compare=False)
    policies: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def devices(self) -> Iterator[Device]:
        """Every device of every link."""
        for link in self.links:
            yield from link.devices

    def utc_offset_h(self, time_ms: int) -> int:
        """By how many whole hours the site's clocks are ahead of UTC at this time."""
        ahead = datetime.fromtimestamp(time_ms / 1000, self.timezone).utcoffset() or timedelta()
        return round(ahead.total_seconds() / 3600)


def load_site(folder: Path) -> Site:
    """The site described in `folder`; raises ConfigErrors with every mistake found."""
    return site_of(read_files(folder))


def site_of(files: SiteFiles) -> Site:
    """The site these files describe; raises ConfigErrors with every mistake found. Touches no disk."""
    folder, path = files.folder, files.folder / SITE_FILE
    errors: list[ConfigError] = []
    document = _document(path, files.site)
    around = _surroundings(files, document, errors)
    devices = read_devices(str(folder / DEVICES_FILE), files.devices, around, errors)
    name = document.get("name", "campus")
    timezone = _timezone(path, document, errors)
    safety = _safety(path, document, devices, errors)
    policies = dict(_policies(path, document, errors))
    if not isinstance(name, str):
        errors.append(_site_error(path, "name", f"found {name!r}", "write a text"))
    for key in document:
        if key not in _SITE_KEYS:
            hint = "known: " + ", ".join(_SITE_KEYS)
            errors.append(_site_error(path, key, "an unknown key", hint))
    if errors:
        raise ConfigErrors(tuple(errors))
    return Site(
        name=str(name),
        timezone=timezone,
        links=tuple(
            Link(
                id=link.id,
                driver=link.driver,
                settings=link.settings,
                devices=tuple(devices.get(link.id, ())),
                observe_only=link.observe_only,
                source=link.source,
                timezone=timezone,
            )
            for link in around.links.values()
        ),
        folder=folder,
        safety=safety,
        buildings=around.buildings,
        profiles=around.profiles,
        policies=policies,
    )


def surroundings_of(files: SiteFiles) -> Surroundings:
    """What a row of devices.csv may name; raises ConfigErrors for wrong links, profiles or buildings."""
    errors: list[ConfigError] = []
    document = _document(files.folder / SITE_FILE, files.site)
    around = _surroundings(files, document, errors)
    if errors:
        raise ConfigErrors(tuple(errors))
    return around


def _surroundings(
    files: SiteFiles, document: Mapping[str, object], errors: list[ConfigError]
) -> Surroundings:
    path = files.folder / SITE_FILE
    links = _read_links(path, document, errors)
    buildings = _buildings(path, document, errors)
    return Surroundings(links=links, profiles=_profiles(files, errors), buildings=buildings)


def _site_error(path: Path, key: str, found: str, hint: str) -> ConfigError:
    return ConfigError(file=str(path), key=key, found=found, hint=hint)


def _document(path: Path, content: bytes) -> dict[str, object]:
    """The site's file; without its links no device can be judged, so nothing else is read after a mistake."""
    try:
        return toml_document(str(path), text_of(str(path), content))
    except ConfigError as error:
        raise ConfigErrors((error,)) from None


def _profiles(files: SiteFiles, errors: list[ConfigError]) -> ProfileLibrary:
    folder = files.folder / PROFILES_FOLDER
    try:
        return profiles_with({str(folder / name): text for name, text in files.profiles.items()})
    except ConfigError as error:
        # Nor without its profiles.
        raise ConfigErrors((*errors, error)) from None


def _buildings(path: Path, document: Mapping[str, object], errors: list[ConfigError]) -> Buildings:
    entries = document.get("buildings", {})
    if not isinstance(entries, dict):
        hint = "write tables: [buildings.NAME]"
        errors.append(_site_error(path, "buildings", f"found {entries!r}", hint))
        return Buildings()
    try:
        return read_buildings(str(path), entries)
    except ConfigError as error:
        errors.append(error)
        return Buildings()


def _timezone(path: Path, document: Mapping[str, object], errors: list[ConfigError]) -> ZoneInfo:
    name = document.get("timezone", "Asia/Shanghai")
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, "Asia"
        hint = "write a name like Asia/Shanghai"
        errors.append(_site_error(path, "timezone", f"found {name!r}", hint))
        return ZoneInfo("UTC")


def _safety(
    path: Path,
    document: Mapping[str, object],
    devices: Mapping[str, list[Device]],
    errors: list[ConfigError],
) -> SafetyRules:
    entries = document.get("safety", {})
    known = {device.id: device for group in devices.values() for device in group}
    if not isinstance(entries, dict):
        errors.append(_site_error(path, "safety", f"found {entries!r}", "write a table: [safety]"))
        return SafetyRules()
    try:
        return read_safety(str(path), entries, known)
    except ConfigError as error:
        errors.append(error)
        return SafetyRules()


def _policies(
    path: Path, document: Mapping[str, object], errors: list[ConfigError]
) -> Iterator[tuple[str, Mapping[str, object]]]:
    for name in _POLICIES:
        table = document.get(name)
        if isinstance(table, dict):
            yield name, table
        elif table is not None:
            hint = f"write a table: [{name}]"
            errors.append(_site_error(path, name, f"found {table!r}", hint))


def _read_links(
    path: Path, document: Mapping[str, object], errors: list[ConfigError]
) -> dict[str, Link]:
    tables = document.get("links", {})
    found: dict[str, Link] = {}
    if not isinstance(tables, dict) or not tables:
        hint = "describe each bus or broker under [links.NAME]"
        errors.append(_site_error(path, "links", "no link", hint))
        return found
    for name, table in tables.items():
        settings = dict(table) if isinstance(table, dict) else {}
        driver = settings.pop("driver", None)
        observe_only = settings.pop("observe_only", False)
        if not ID_PATTERN.fullmatch(name):
            errors.append(_site_error(path, f"links.{name}", f"name {name[:64]!r}", ID_HINT))
        elif not isinstance(driver, str):
            hint = 'write driver = "modbus" or "mqtt"'
            errors.append(_site_error(path, f"links.{name}.driver", f"found {driver!r}", hint))
        elif not isinstance(observe_only, bool):
            key = f"links.{name}.observe_only"
            errors.append(_site_error(path, key, f"found {observe_only!r}", "write true or false"))
        else:
            found[name] = Link(
                id=name,
                driver=driver,
                settings=settings,
                observe_only=observe_only,
                source=str(path),
            )
    return found

"""What is installed: `site.toml` (links) and `devices.csv` (devices), read into links with their devices.

Every mistake of both files is collected and raised together as ConfigErrors, each with file, line or
key, what was found and what would be right. Nothing is half taken.

    # site.toml
    name = "North campus"
    timezone = "Asia/Shanghai"            # for device clocks that show local time without a zone
    [links.b1-f1]                         # one bus, serial server or broker
    driver = "modbus"                     # everything else in the table belongs to the driver
    observe_only = true                   # optional: no write ever leaves through this link
    [safety]                              # see hub/safety_rules.py
    fire = ["lane-1.fire_alarm"]

    # devices.csv: the columns below, in any order; `period_s`, `settings` and `note` may be absent
    id,profile,link,address,building,floor,room,circuit,period_s,settings,note
    b1-101,eastron_sdm120,b1-f1,1,B1,1,101,socket,60,ct_ratio=1,
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hub.errors import ConfigError, ConfigErrors, unreadable
from hub.model import Device, Link, Place
from hub.profile_file import ProfileLibrary, load_profiles
from hub.safety_rules import SafetyRules, read_safety

SITE_FILE = "site.toml"
DEVICES_FILE = "devices.csv"
PROFILES_FOLDER = "profiles"
ID_PATTERN = re.compile(r"[a-z0-9-]{1,64}")
REQUIRED_COLUMNS = ("id", "profile", "link", "address")
OPTIONAL_COLUMNS = ("building", "floor", "room", "circuit", "period_s", "settings", "note")
_SITE_KEYS = ("name", "timezone", "links", "safety")
_ID_HINT = "use 1 to 64 of a-z, 0-9 and -"
_PERIOD_MIN_S, _PERIOD_MAX_S = 0.1, 86_400.0
_FIELD_MAX = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A campus as installed: every link with its devices."""

    name: str
    timezone: ZoneInfo
    links: tuple[Link, ...]
    folder: Path
    safety: SafetyRules = field(default_factory=SafetyRules)

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
    errors: list[ConfigError] = []
    document = _read_toml(folder / SITE_FILE, errors)
    links = _read_links(folder / SITE_FILE, document, errors)
    profiles = _read_profiles(folder / PROFILES_FOLDER, errors)
    devices = _DeviceRows(folder / DEVICES_FILE, links, profiles, errors).read()
    name = document.get("name", "campus")
    timezone = _timezone(folder / SITE_FILE, document, errors)
    safety = _safety(folder / SITE_FILE, document, devices, errors)
    if not isinstance(name, str):
        errors.append(_site_error(folder / SITE_FILE, "name", f"found {name!r}", "write a text"))
    for key in document:
        if key not in _SITE_KEYS:
            hint = "known: " + ", ".join(_SITE_KEYS)
            errors.append(_site_error(folder / SITE_FILE, key, "an unknown key", hint))
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
            for link in links.values()
        ),
        folder=folder,
        safety=safety,
    )


def _site_error(path: Path, key: str, found: str, hint: str) -> ConfigError:
    return ConfigError(file=str(path), key=key, found=found, hint=hint)


def _read_toml(path: Path, errors: list[ConfigError]) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        errors.append(_site_error(path, "file", "it does not exist", "see config/site.toml"))
    except tomllib.TOMLDecodeError as error:
        errors.append(_site_error(path, "TOML", str(error), "mend the syntax"))
    except UnicodeDecodeError as error:
        errors.append(_site_error(path, f"byte {error.start}", "not UTF-8", "save it as UTF-8"))
    except OSError as error:
        errors.append(unreadable(path, error))
    # Without its links no device can be judged, and a thousand errors would hide this one.
    raise ConfigErrors(tuple(errors))


def _read_profiles(folder: Path, errors: list[ConfigError]) -> ProfileLibrary:
    try:
        return load_profiles(folder)
    except ConfigError as error:
        # Nor without its profiles.
        raise ConfigErrors((*errors, error)) from None


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
            errors.append(_site_error(path, f"links.{name}", f"name {name[:64]!r}", _ID_HINT))
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


class _DeviceRows:
    """One pass over devices.csv; a wrong row adds an error and is left out."""

    def __init__(
        self,
        path: Path,
        links: Mapping[str, Link],
        profiles: ProfileLibrary,
        errors: list[ConfigError],
    ) -> None:
        self._path = path
        self._links = links
        self._profiles = profiles
        self._errors = errors
        self._lines: dict[str, int] = {}
        self._addresses: dict[tuple[str, str], int] = {}

    def read(self) -> dict[str, list[Device]]:
        """The good devices of each link."""
        devices: dict[str, list[Device]] = {}
        for line, row in self._rows():
            try:
                device = self._device(line, row)
            except ConfigError as error:
                self._errors.append(error)
                continue
            devices.setdefault(device.link, []).append(device)
        return devices

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        try:
            text = self._path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            self._wrong(0, "file", "it does not exist", "see config/devices.csv")
            return
        except UnicodeDecodeError as error:
            self._wrong(0, f"byte {error.start}", "not UTF-8", "save it as CSV UTF-8")
            return
        except OSError as error:
            self._errors.append(unreadable(self._path, error))
            return
        try:
            yield from self._checked(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        except csv.Error as error:
            self._wrong(0, "CSV", str(error), "mend the quotes; a quote inside a cell is doubled")

    def _checked(self, rows: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str]]]:
        header = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = header
        missing = [name for name in REQUIRED_COLUMNS if name not in header]
        unknown = [name for name in header if name not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]
        if missing or unknown or len(set(header)) < len(header):
            found = f"columns {', '.join(header)}"
            known = ", ".join(REQUIRED_COLUMNS + OPTIONAL_COLUMNS)
            self._wrong(
                1, "header", found, f"needed: {', '.join(REQUIRED_COLUMNS)}; known: {known}"
            )
            return
        for row in rows:
            if None in row or None in row.values():
                self._wrong(rows.line_num, "row", "not as many cells as the header", "mend it")
            elif any(value.strip() for value in row.values()):
                yield rows.line_num, {key: value.strip() for key, value in row.items()}

    def _wrong(self, line: int, column: str, found: str, hint: str) -> None:
        self._errors.append(self._error(line, column, found, hint))

    def _error(self, line: int, column: str, found: str, hint: str) -> ConfigError:
        key = f"line {line}, {column}" if line else column
        return _site_error(self._path, key, found, hint)

    def _device(self, line: int, row: Mapping[str, str]) -> Device:
        for column, value in row.items():
            if len(value) > _FIELD_MAX:
                raise self._error(line, column, f"{len(value)} characters", f"at most {_FIELD_MAX}")
        name, link = self._identity(line, row), self._link(line, row)
        place = f"{self._path}: line {line}"
        profile = self._profiles.get(row["profile"], self._settings(line, row), place=place)
        if profile.protocol != link.driver:
            found = f"profile {profile.id} speaks {profile.protocol}, link {link.id} {link.driver}"
            raise self._error(line, "profile", found, "choose another profile or link")
        return Device(
            id=name,
            profile=profile,
            link=link.id,
            address=row["address"],
            place=Place(
                building=row.get("building", ""),
                floor=row.get("floor", ""),
                room=row.get("room", ""),
                circuit=row.get("circuit", ""),
            ),
            period_s=self._period_s(line, row, profile.period_s),
            note=row.get("note", ""),
        )

    def _identity(self, line: int, row: Mapping[str, str]) -> str:
        name = row["id"]
        if not ID_PATTERN.fullmatch(name):
            raise self._error(line, "id", f"found {name!r}", _ID_HINT)
        if name in self._links:
            raise self._error(line, "id", f"{name!r} is a link's name", "choose another id")
        if name in self._lines:
            found = f"{name!r} stands on line {self._lines[name]} too"
            raise self._error(line, "id", found, "give each device its own id")
        self._lines[name] = line
        return name

    def _link(self, line: int, row: Mapping[str, str]) -> Link:
        link = self._links.get(row["link"])
        if link is None:
            known = ", ".join(list(self._links)[:8])
            raise self._error(line, "link", f"no link {row['link']!r}", f"site.toml has: {known}")
        if not row["address"]:
            raise self._error(line, "address", "nothing", "write the device's address on its link")
        seen = self._addresses.setdefault((link.id, row["address"]), line)
        if seen != line:
            found = f"{row['address']} on {link.id} stands on line {seen} too"
            raise self._error(line, "address", found, "one address, one device")
        return link

    def _settings(self, line: int, row: Mapping[str, str]) -> dict[str, str]:
        settings = {}
        for part in filter(None, row.get("settings", "").split(";")):
            key, equals, value = part.partition("=")
            if not equals:
                raise self._error(line, "settings", f"found {part!r}", "write name=value;…")
            if key.strip() in settings:
                raise self._error(line, "settings", f"{key.strip()} twice", "write it once")
            settings[key.strip()] = value.strip()
        return settings

    def _period_s(self, line: int, row: Mapping[str, str], usual_s: float) -> float:
        text = row.get("period_s", "")
        try:
            period_s = float(text) if text else usual_s
        except ValueError:
            period_s = -1.0
        if not _PERIOD_MIN_S <= period_s <= _PERIOD_MAX_S:
            hint = f"write seconds from {_PERIOD_MIN_S} to {_PERIOD_MAX_S:.0f}"
            raise self._error(line, "period_s", f"found {text!r}", hint)
        return period_s

"""`devices.csv`: one row a device, read with the links, profiles and buildings it names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hub.buildings import Buildings
from hub.errors import ConfigError, ConfigErrors, RowError
from hub.model import Device, Link, Place
from hub.profile import Profile
from hub.profile_file import ProfileLibrary
from hub.site_files import text_of

ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
ID_HINT = "use 1 to 64 of a-z, 0-9 and -, the first no -"
# A device is the broker's client of its own id: what may turn another client out is none.
_HUB_PREFIX = "dormhub-"
_LINK_CLIENTS = ("", "-commands")
REQUIRED_COLUMNS = ("id", "profile", "link", "address")
OPTIONAL_COLUMNS = ("building", "floor", "room", "circuit", "period_s", "settings", "note")
_PERIOD_MIN_S, _PERIOD_MAX_S = 0.1, 86_400.0
_FIELD_MAX = 200
_UTF8_HINT = "save it as CSV UTF-8, or take it with `dormhub import`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What a row may name."""

    links: Mapping[str, Link]
    profiles: ProfileLibrary
    buildings: Buildings


def read_devices(
    file: str, content: bytes, around: Surroundings, errors: list[ConfigError]
) -> dict[str, list[Device]]:
    """The good devices of each link; every mistake of every row is added to `errors`."""
    return _DeviceRows(file, around, errors).read(read_rows(file, content, errors))


def read_rows(
    file: str, content: bytes, errors: list[ConfigError]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row that says something, by column, with its line. What is no such table is added to `errors`."""
    try:
        text = text_of(file, content, _UTF8_HINT)
        yield from _checked(
            file, csv.DictReader(io.StringIO(text, newline=""), strict=True), errors
        )
    except csv.Error as error:
        hint = "mend the quotes; a quote inside a cell is doubled"
        errors.append(ConfigError(file=file, key="CSV", found=str(error), hint=hint))
    except ConfigError as error:
        errors.append(error)


def _checked(
    file: str, rows: csv.DictReader[str], errors: list[ConfigError]
) -> Iterator[tuple[int, dict[str, str]]]:
    header = [name.strip() for name in rows.fieldnames or ()]
    rows.fieldnames = header
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    unknown = [name for name in header if name not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]
    if missing or unknown or len(set(header)) < len(header):
        known = ", ".join(REQUIRED_COLUMNS + OPTIONAL_COLUMNS)
        hint = f"needed: {', '.join(REQUIRED_COLUMNS)}; known: {known}"
        raise _row_error(file, 1, "header", f"columns {', '.join(header)}", hint)
    for row in rows:
        if None in row or None in row.values():
            found = "not as many cells as the header"
            errors.append(_row_error(file, rows.line_num, "row", found, "mend it"))
        elif any(value.strip() for value in row.values()):
            yield rows.line_num, {key: value.strip() for key, value in row.items()}


def _row_error(file: str, line: int, column: str, found: str, hint: str, also: int = 0) -> RowError:
    return RowError(
        file=file,
        key=f"line {line}, {column}",
        found=found,
        hint=hint,
        line=line,
        column=column,
        also=also,
    )


class _DeviceRows:
    """One pass over the rows; a wrong one adds all its mistakes and is left out."""

    def __init__(self, file: str, around: Surroundings, errors: list[ConfigError]) -> None:
        self._file = file
        self._links = around.links
        self._profiles = around.profiles
        self._buildings = around.buildings
        self._errors = errors
        self._clients = {
            f"{link.settings['client_id']}{end}"
            for link in around.links.values()
            if link.settings.get("client_id")
            for end in _LINK_CLIENTS
        }
        self._lines: dict[str, int] = {}
        self._addresses: dict[tuple[str, str], int] = {}

    def read(self, rows: Iterable[tuple[int, Mapping[str, str]]]) -> dict[str, list[Device]]:
        """The good devices of each link."""
        devices: dict[str, list[Device]] = {}
        for line, row in rows:
            device = self._device(line, row)
            if device is not None:
                devices.setdefault(device.link, []).append(device)
        return devices

    def _wrong(self, line: int, column: str, found: str, hint: str, also: int = 0) -> None:
        self._errors.append(_row_error(self._file, line, column, found, hint, also))

    def _device(self, line: int, row: Mapping[str, str]) -> Device | None:
        before = len(self._errors)
        for column, value in row.items():
            if len(value) > _FIELD_MAX:
                self._wrong(line, column, f"{len(value)} characters", f"at most {_FIELD_MAX}")
        if len(self._errors) > before:
            return None  # what is that long is not looked at
        self._identity(line, row["id"])
        link, profile = self._link(line, row), self._profile(line, row)
        place, period_s = self._place(line, row), self._period_s(line, row)
        if link and profile and profile.protocol != link.driver:
            found = f"profile {profile.id} speaks {profile.protocol}, link {link.id} {link.driver}"
            self._wrong(line, "profile", found, "choose another profile or link")
        if link is None or profile is None or len(self._errors) > before:
            return None
        return Device(
            id=row["id"],
            profile=profile,
            link=link.id,
            address=row["address"],
            place=place,
            period_s=profile.period_s if period_s is None else period_s,
            note=row.get("note", ""),
        )

    def _identity(self, line: int, name: str) -> None:
        if not ID_PATTERN.fullmatch(name):
            self._wrong(line, "id", f"found {name!r}", ID_HINT)
        elif name.startswith(_HUB_PREFIX) or name in self._clients:
            found = f"{name!r} may be the hub's own name at the broker"
            self._wrong(line, "id", found, "choose another id")
        elif name in self._links:
            self._wrong(line, "id", f"{name!r} is a link's name", "choose another id")
        elif (seen := self._lines.setdefault(name, line)) != line:
            found = f"{name!r} stands on line {seen} too"
            self._wrong(line, "id", found, "give each device its own id", seen)

    def _link(self, line: int, row: Mapping[str, str]) -> Link | None:
        link, address = self._links.get(row["link"]), row["address"]
        if link is None:
            known = ", ".join(list(self._links)[:8])
            self._wrong(line, "link", f"no link {row['link']!r}", f"site.toml has: {known}")
        if not address:
            self._wrong(line, "address", "nothing", "write the device's address on its link")
        elif link and (seen := self._addresses.setdefault((link.id, address), line)) != line:
            found = f"{address} on {link.id} stands on line {seen} too"
            self._wrong(line, "address", found, "one address, one device", seen)
        return link

    def _profile(self, line: int, row: Mapping[str, str]) -> Profile | None:
        place = f"{self._file}: line {line}"
        try:
            return self._profiles.get(row["profile"], self._settings(line, row), place=place)
        except RowError as error:
            self._errors.append(error)
        except ConfigError as error:
            for one in error.errors if isinstance(error, ConfigErrors) else (error,):
                self._errors.append(
                    RowError(
                        file=one.file,
                        key=one.key,
                        found=one.found,
                        hint=one.hint,
                        line=line,
                        column="settings" if one.key.startswith("settings") else "profile",
                    )
                )
        return None

    def _place(self, line: int, row: Mapping[str, str]) -> Place:
        place = Place(
            building=row.get("building", ""),
            floor=row.get("floor", ""),
            room=row.get("room", ""),
            circuit=row.get("circuit", ""),
        )
        mistake = self._buildings.mistake(place)
        if mistake:
            self._wrong(line, *mistake)
        return place

    def _settings(self, line: int, row: Mapping[str, str]) -> dict[str, str]:
        settings: dict[str, str] = {}
        for part in filter(None, row.get("settings", "").split(";")):
            key, equals, value = part.partition("=")
            if not equals:
                raise _row_error(
                    self._file, line, "settings", f"found {part!r}", "write name=value;…"
                )
            if key.strip() in settings:
                found = f"{key.strip()} twice"
                raise _row_error(self._file, line, "settings", found, "write it once")
            settings[key.strip()] = value.strip()
        return settings

    def _period_s(self, line: int, row: Mapping[str, str]) -> float | None:
        text = row.get("period_s", "")
        if not text:
            return None
        try:
            period_s = float(text)
        except ValueError:
            period_s = -1.0
        if not _PERIOD_MIN_S <= period_s <= _PERIOD_MAX_S:
            hint = f"write seconds from {_PERIOD_MIN_S} to {_PERIOD_MAX_S:.0f}"
            self._wrong(line, "period_s", f"found {text!r}", hint)
        return period_s

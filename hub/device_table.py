"""`devices.csv`: one row a device, read with the links, profiles and buildings it names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hub.buildings import Buildings
from hub.errors import ConfigError
from hub.model import Device, Link, Place
from hub.profile_file import ProfileLibrary
from hub.site_files import text_of

ID_PATTERN = re.compile(r"[a-z0-9-]{1,64}")
ID_HINT = "use 1 to 64 of a-z, 0-9 and -"
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
    """The good devices of each link; every mistake is added to `errors`, with line and column."""
    return _DeviceRows(file, content, around, errors).read()


class _DeviceRows:
    """One pass over devices.csv; a wrong row adds an error and is left out."""

    def __init__(
        self, file: str, content: bytes, around: Surroundings, errors: list[ConfigError]
    ) -> None:
        self._file = file
        self._content = content
        self._links = around.links
        self._profiles = around.profiles
        self._buildings = around.buildings
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
            text = text_of(self._file, self._content, _UTF8_HINT)
        except ConfigError as error:
            self._errors.append(error)
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
        return ConfigError(file=self._file, key=key, found=found, hint=hint)

    def _device(self, line: int, row: Mapping[str, str]) -> Device:
        for column, value in row.items():
            if len(value) > _FIELD_MAX:
                raise self._error(line, column, f"{len(value)} characters", f"at most {_FIELD_MAX}")
        name, link = self._identity(line, row), self._link(line, row)
        place = f"{self._file}: line {line}"
        profile = self._profiles.get(row["profile"], self._settings(line, row), place=place)
        if profile.protocol != link.driver:
            found = f"profile {profile.id} speaks {profile.protocol}, link {link.id} {link.driver}"
            raise self._error(line, "profile", found, "choose another profile or link")
        return Device(
            id=name,
            profile=profile,
            link=link.id,
            address=row["address"],
            place=self._place(line, row),
            period_s=self._period_s(line, row, profile.period_s),
            note=row.get("note", ""),
        )

    def _identity(self, line: int, row: Mapping[str, str]) -> str:
        name = row["id"]
        if not ID_PATTERN.fullmatch(name):
            raise self._error(line, "id", f"found {name!r}", ID_HINT)
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

    def _place(self, line: int, row: Mapping[str, str]) -> Place:
        place = Place(
            building=row.get("building", ""),
            floor=row.get("floor", ""),
            room=row.get("room", ""),
            circuit=row.get("circuit", ""),
        )
        mistake = self._buildings.mistake(place)
        if mistake:
            raise self._error(line, *mistake)
        return place

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

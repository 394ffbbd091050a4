"""Reads profiles from their TOML files, and applies the settings of installed devices to them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path, PurePath

from hub.command_file import read_commands
from hub.confidence import Confidence
from hub.errors import ConfigError, ConfigErrors, unreadable
from hub.gate_rules import check_gate
from hub.points import POINTS, Point, PointType, Scalar, unit_factor, units_of
from hub.profile import PointSpec, Profile, Setting
from hub.setting_file import chosen_value, missing, read_settings
from hub.site_files import text_of
from hub.toml_table import Table, plain, toml_document

PROFILE_GROUP = "dormhub.profiles"
_PERIOD_S = 60.0
_RATED_POWER_W = 100_000.0  # of a product that names none: a building's feeder
_RATED_FLOW_L_H = 100_000.0  # the same: a building's main
_VALUE_KINDS: Mapping[PointType, tuple[type, str]] = {
    PointType.BOOL: (bool, "write true or false"),
    PointType.INT: (int, "write a whole number"),
    PointType.FLOAT: (float, "write a number with a decimal point"),
    PointType.TEXT: (str, "write a text in quotes"),
}
_TOP_KEYS = {
    "name",
    "maker",
    "kind",
    "protocol",
    "period_s",
    "rated_power_w",
    "rated_flow_l_h",
    "confidence",
    "sources",
    "doubts",
    "settings",
    "points",
    "commands",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileFile:
    """A profile as it was read, before any device's settings are applied."""

    id: str
    file: str
    document: Mapping[str, object]
    settings: Mapping[str, Setting]

    def apply(self, given: Mapping[str, str], *, place: str) -> Profile:
        """The profile of a device whose settings are `given`, as texts; `place` names them in errors.

        Raises ConfigError for an unknown, impossible or missing setting, and for any mistake in the profile.
        """
        chosen = self._defaults()
        for name, text in given.items():
            setting = self.settings.get(name)
            if setting is None:
                known = ", ".join(self.settings) or "none"
                raise ConfigError(
                    file=place,
                    key=f"settings.{name}",
                    found=f"profile {self.id} has no such setting",
                    hint=f"it has: {known}",
                )
            chosen[name] = chosen_value(setting, text, place)
        if errors := missing(self.settings.values(), given, place):
            raise ConfigErrors(errors)
        return self._built(chosen)

    def example(self) -> Profile:
        """The profile as no device has said anything; a required one has its first choice or its maximum."""
        return self._built(self._defaults())

    def _defaults(self) -> dict[str, Scalar]:
        return {name: setting.default for name, setting in self.settings.items()}

    def _built(self, chosen: Mapping[str, Scalar]) -> Profile:
        return _build(self, _substitute(self.document, chosen, self.file), chosen)


def _substitute(value: object, chosen: Mapping[str, Scalar], file: str) -> object:
    """The document with every `$name` replaced by the setting of that name."""
    if isinstance(value, dict):
        return {key: _substitute(item, chosen, file) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, chosen, file) for item in value]
    if isinstance(value, str) and value.startswith("$"):
        if value[1:] not in chosen:
            raise ConfigError(
                file=file, key=value, found="no such setting", hint="declare it under [settings]"
            )
        return chosen[value[1:]]
    return value


def _build(source: ProfileFile, document: object, chosen: Mapping[str, Scalar]) -> Profile:
    assert isinstance(document, dict)
    top = Table(source.file, "", document)
    protocol = top.text("protocol")
    top.tables("settings")
    commands = top.tables("commands")
    points = top.tables("points")
    wire = top.table(protocol)
    usual = {"confidence": str(_confidence(top))}
    profile = Profile(
        id=source.id,
        name=top.text("name"),
        maker=top.text("maker"),
        kind=top.text("kind"),
        protocol=protocol,
        period_s=top.positive("period_s", _PERIOD_S),
        rated_power_w=top.positive("rated_power_w", _RATED_POWER_W),
        rated_flow_l_h=top.positive("rated_flow_l_h", _RATED_FLOW_L_H),
        points=_points(
            {
                name: Table(source.file, f"points.{name}", usual | dict(entries))
                for name, entries in points.items()
            },
            chosen,
        ),
        commands=read_commands(source.file, commands, points, usual["confidence"]),
        wire={key: plain(value) for key, value in wire.items()},
        settings=source.settings,
        sources=top.texts("sources"),
        doubts=top.texts("doubts"),
        file=source.file,
        chosen=chosen,
    )
    for key in top.rest():
        raise top.wrong(key, "an unknown key", "known: " + ", ".join(sorted(_TOP_KEYS)))
    if not profile.points:
        raise top.wrong("points", "nothing", "list at least one point")
    check_gate(profile)
    return profile


def _points(tables: Mapping[str, Table], chosen: Mapping[str, Scalar]) -> dict[str, PointSpec]:
    """Every point; raises ConfigErrors with the first mistake of each wrong one."""
    points: dict[str, PointSpec] = {}
    errors: list[ConfigError] = []
    for name, table in tables.items():
        try:
            points[name] = _point(table, name, chosen, tables)
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(tuple(errors))
    return points


def _point(
    table: Table, name: str, chosen: Mapping[str, Scalar], siblings: Mapping[str, object]
) -> PointSpec:
    point = POINTS.get(name)
    if point is None:
        close = difflib.get_close_matches(name, POINTS, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see docs/points.md"
        raise table.wrong("", "a name outside the vocabulary", hint)
    factor, ratio = _factor(table, point, chosen, siblings)
    offset = table.number("offset") or Fraction(0)
    values = _values(table, point)
    invert = table.flag("invert")
    if invert and point.type is not PointType.BOOL:
        raise table.wrong("invert", invert, "only a flag can be inverted")
    number = point.type in (PointType.INT, PointType.FLOAT) and not values
    if not number and (factor != 1 or offset or ratio):
        raise table.wrong("scale", "no number to scale", "leave out unit, scale, offset and ratio")
    minimum, maximum = _range(table, point)
    rollover = table.number("rollover")
    return PointSpec(
        point=point,
        factor=factor,
        offset=offset,
        invert=invert,
        absent=table.scalars("absent"),
        values=values,
        ratio=ratio,
        minimum=minimum,
        maximum=maximum,
        rollover=None if rollover is None else float(rollover * factor + offset),
        confidence=_confidence(table),
        note=table.text("note", ""),
        where=table.rest(),
    )


def _range(table: Table, point: Point) -> tuple[float, float]:
    """The vocabulary's range, narrowed by the product, never widened."""
    lowest, highest = table.number("minimum"), table.number("maximum")
    minimum = point.minimum if lowest is None else max(point.minimum, float(lowest))
    maximum = point.maximum if highest is None else min(point.maximum, float(highest))
    if minimum > maximum:
        hint = f"inside {point.minimum:g} to {point.maximum:g}, minimum below maximum"
        raise table.wrong("minimum", f"{minimum:g} to {maximum:g}", hint)
    return minimum, maximum


def _factor(
    table: Table, point: Point, chosen: Mapping[str, Scalar], siblings: Mapping[str, object]
) -> tuple[Fraction, tuple[str, ...]]:
    """Scale, unit and configured ratios as one exact factor, and the points that hold measured ratios."""
    unit = table.text("unit", point.unit)
    factor = unit_factor(unit, point.unit)
    if factor is None:
        raise table.wrong("unit", unit, "write one of " + ", ".join(units_of(point.unit)))
    scale = table.number("scale")
    if scale == 0:
        raise table.wrong("scale", 0, "write a number other than 0")
    factor *= 1 if scale is None else scale
    measured = []
    for other in table.texts("ratio"):
        # A configured ratio is known now and joins the factor; a measured one is read with the point.
        value = chosen.get(other)
        if isinstance(value, int | float) and not isinstance(value, bool):
            factor *= Fraction(str(value))
        elif other in siblings and other != point.name:
            measured.append(other)
        else:
            raise table.wrong("ratio", other, "name a number under [settings] or another point")
    return factor, tuple(measured)


def _values(table: Table, point: Point) -> dict[str, Scalar]:
    values = table.mapping("values")
    for raw, value in values.items():
        if point.choices and value not in point.choices:
            raise table.wrong(f"values.{raw}", value, "write one of " + ", ".join(point.choices))
        kind, hint = _VALUE_KINDS[point.type]
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise table.wrong(f"values.{raw}", value, hint)
    return values


def _confidence(table: Table) -> Confidence:
    word = table.text("confidence", "high")
    if word not in set(Confidence):
        raise table.wrong("confidence", word, "write high, medium or low")
    return Confidence(word)


def read_profile(name: str, file: str, text: str) -> ProfileFile:
    """The profile called `name` from TOML `text`; raises ConfigError with the place of the mistake.

    The whole profile is checked as `example` gives it, so a bad one never waits for its first device.
    """
    document = toml_document(file, text, parse_float=Decimal)
    settings = read_settings(file, Table(file, "", document).tables("settings"))
    profile = ProfileFile(id=name, file=file, document=document, settings=settings)
    profile.example()
    return profile


class ProfileLibrary:
    """Every profile this installation knows, by id; devices with equal settings share one Profile."""

    def __init__(self, profiles: Iterable[ProfileFile]) -> None:
        self._files = {profile.id: profile for profile in profiles}
        self._applied: dict[tuple[str, tuple[tuple[str, str], ...]], Profile] = {}

    def ids(self) -> tuple[str, ...]:
        """The ids of all profiles, sorted."""
        return tuple(sorted(self._files))

    def get(self, name: str, settings: Mapping[str, str], *, place: str) -> Profile:
        """The profile with a device's settings applied; raises ConfigError naming `place`."""
        key = (name, tuple(sorted(settings.items())))
        if key not in self._applied:
            if name not in self._files:
                close = difflib.get_close_matches(name, self._files, n=3)
                known = ", ".join(close or self.ids())
                raise ConfigError(
                    file=place, key="profile", found=f"no profile {name!r}", hint=f"known: {known}"
                )
            self._applied[key] = self._files[name].apply(settings, place=place)
        return self._applied[key]

    def example(self, name: str) -> Profile:
        """The profile `name`, which must be known, before any device says its settings."""
        return self._files[name].example()


def load_profiles(*folders: Path) -> ProfileLibrary:
    """All profiles of the installed packages, then those of `folders` (a site's own), which may replace them.

    Raises ConfigErrors with the mistakes of every profile that cannot be read.
    """
    own: dict[str, bytes] = {}
    errors: list[ConfigError] = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.toml"))):
        try:
            own[str(path)] = path.read_bytes()
        except OSError as error:
            errors.append(unreadable(path, error))
    return profiles_with(own, errors)


def profiles_with(own: Mapping[str, bytes], errors: Iterable[ConfigError] = ()) -> ProfileLibrary:
    """All profiles of the installed packages, and a site's `own`, the content of each file by its path.

    Raises ConfigErrors with `errors` and the mistakes of every profile that cannot be read.
    """
    found: dict[str, ProfileFile] = {}
    mistakes = list(errors)
    for file, content in (*_installed(), *own.items()):
        name = PurePath(file).name.removesuffix(".toml")
        try:
            found[name] = read_profile(name, file, text_of(file, content))
        except ConfigError as error:
            mistakes.append(error)
    if mistakes:
        raise ConfigErrors(tuple(mistakes))
    return ProfileLibrary(found.values())


def _installed() -> Iterator[tuple[str, bytes]]:
    for entry in entry_points(group=PROFILE_GROUP):
        for item in sorted(files(entry.value).iterdir(), key=lambda item: item.name):
            if item.name.endswith(".toml"):
                yield f"{entry.value}/{item.name}", item.read_bytes()

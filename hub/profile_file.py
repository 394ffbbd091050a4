"""Reads profiles from their TOML files, and applies the settings of installed devices to them."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from hub.errors import ConfigError
from hub.points import POINTS, Point, PointType, unit_factor, units_of
from hub.profile import Confidence, PointSpec, Profile, Scalar, Setting

PROFILE_GROUP = "dormhub.profiles"
_RATED_POWER_W = Fraction(100_000)  # of a product that names none: a building's feeder
_TOP_KEYS = {
    "name",
    "maker",
    "kind",
    "protocol",
    "period_s",
    "rated_power_w",
    "confidence",
    "sources",
    "doubts",
    "settings",
    "points",
    "commands",
}


class _Table:
    """One table of a profile's file, read key by key; the first mistake is raised with its place."""

    def __init__(self, file: str, path: str, entries: Mapping[str, object]) -> None:
        self._file = file
        self._path = path
        self._left = dict(entries)

    def wrong(self, key: str, found: object, hint: str) -> ConfigError:
        place = f"{self._path}.{key}" if self._path else key
        return ConfigError(file=self._file, key=place, found=f"found {found!r}", hint=hint)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._left.pop(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.wrong(key, value, "write a text in quotes")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, value, 'write a list of texts: ["…"]')
        return tuple(value)

    def number(self, key: str, default: Fraction | None) -> Fraction | None:
        value = self._left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | Decimal | Fraction | None):
            raise self.wrong(key, value, "write a number")
        return None if value is None else Fraction(value)

    def flag(self, key: str) -> bool:
        value = self._left.pop(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "write true or false")
        return value

    def scalars(self, key: str) -> tuple[Scalar, ...]:
        value = self._left.pop(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, value, "write a list: [0xFFFF]")
        return tuple(_scalar(self.wrong, key, item) for item in value)

    def mapping(self, key: str) -> dict[str, Scalar]:
        value = self._left.pop(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, value, 'write a table: { "1" = "idle" }')
        return {name: _scalar(self.wrong, key, item) for name, item in value.items()}

    def table(self, key: str) -> Mapping[str, object]:
        value = self._left.pop(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, value, f"write a table [{key}]")
        return value

    def tables(self, key: str) -> dict[str, Mapping[str, object]]:
        value = self.table(key)
        for name, item in value.items():
            if not isinstance(item, dict):
                raise self.wrong(f"{key}.{name}", item, "write a table: { … }")
        return {name: item for name, item in value.items() if isinstance(item, dict)}

    def rest(self) -> dict[str, object]:
        return {key: _plain(value) for key, value in self._left.items()}


def _plain(value: object) -> object:
    """Decimals as floats, for the protocol's own keys."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _scalar(wrong: Callable[[str, object, str], ConfigError], key: str, value: object) -> Scalar:
    plain = _plain(value)
    if isinstance(plain, bool | int | float | str):
        return plain
    raise wrong(key, value, "write a number, a text, true or false")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileFile:
    """A profile as it was read, before any device's settings are applied."""

    id: str
    file: str
    document: Mapping[str, object]
    settings: Mapping[str, Setting]

    def apply(self, given: Mapping[str, str], *, place: str) -> Profile:
        """The profile of a device whose settings are `given`, as texts; `place` names them in errors.

        Raises ConfigError for an unknown or impossible setting, and for any mistake in the profile.
        """
        chosen = {name: setting.default for name, setting in self.settings.items()}
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
            chosen[name] = _chosen(setting, text, place)
        return _build(self, _substitute(self.document, chosen, self.file), chosen)


def _chosen(setting: Setting, text: str, place: str) -> Scalar:
    wrong = ConfigError(
        file=place,
        key=f"settings.{setting.name}",
        found=f"found {text!r}",
        hint=_allowed(setting),
    )
    if isinstance(setting.default, str):
        value: Scalar = text
    else:
        try:
            value = int(text) if isinstance(setting.default, int) else float(text)
        except ValueError:
            raise wrong from None
    outside = isinstance(value, int | float) and (
        (setting.minimum is not None and value < setting.minimum)
        or (setting.maximum is not None and value > setting.maximum)
    )
    if outside or (setting.choices and value not in setting.choices):
        raise wrong
    return value


def _allowed(setting: Setting) -> str:
    if setting.choices:
        return "choose one of " + ", ".join(str(choice) for choice in setting.choices)
    if setting.minimum is None and setting.maximum is None:
        return f"write a value like {setting.default!r}"
    return f"write a number from {setting.minimum} to {setting.maximum}"


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
    top = _Table(source.file, "", document)
    protocol = top.text("protocol")
    top.tables("settings")
    top.tables("commands")
    points = top.tables("points")
    wire = top.table(protocol)
    period_s = top.number("period_s", Fraction(60))
    usual = {"confidence": str(_confidence(top))}
    profile = Profile(
        id=source.id,
        name=top.text("name"),
        maker=top.text("maker"),
        kind=top.text("kind"),
        protocol=protocol,
        period_s=float(period_s or 60),
        rated_power_w=float(top.number("rated_power_w", _RATED_POWER_W) or _RATED_POWER_W),
        points={
            name: _point(
                _Table(source.file, f"points.{name}", usual | dict(table)), name, chosen, points
            )
            for name, table in points.items()
        },
        wire={key: _plain(value) for key, value in wire.items()},
        settings=source.settings,
        sources=top.texts("sources"),
        doubts=top.texts("doubts"),
        file=source.file,
    )
    for key in top.rest():
        raise top.wrong(key, "an unknown key", "known: " + ", ".join(sorted(_TOP_KEYS)))
    if not profile.points:
        raise top.wrong("points", "nothing", "list at least one point")
    return profile


def _point(
    table: _Table, name: str, chosen: Mapping[str, Scalar], siblings: Mapping[str, object]
) -> PointSpec:
    point = POINTS.get(name)
    if point is None:
        close = difflib.get_close_matches(name, POINTS, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see docs/points.md"
        raise table.wrong("", "a name outside the vocabulary", hint)
    factor = _factor(table, point)
    ratio = []
    for other in table.texts("ratio"):
        # A configured ratio is known now and joins the factor; a measured one is read with the point.
        value = chosen.get(other)
        if isinstance(value, int | float):
            factor *= Fraction(str(value))
        elif other in siblings:
            ratio.append(other)
        else:
            raise table.wrong("ratio", other, "name a number under [settings] or a point")
    offset = table.number("offset", Fraction(0)) or Fraction(0)
    minimum, maximum = table.number("minimum", None), table.number("maximum", None)
    rollover = table.number("rollover", None)
    return PointSpec(
        point=point,
        factor=factor,
        offset=offset,
        invert=table.flag("invert"),
        absent=table.scalars("absent"),
        values=_values(table, point),
        ratio=tuple(ratio),
        minimum=point.minimum if minimum is None else max(point.minimum, float(minimum)),
        maximum=point.maximum if maximum is None else min(point.maximum, float(maximum)),
        rollover=None if rollover is None else float(rollover * factor + offset),
        confidence=_confidence(table),
        note=table.text("note", ""),
        where=table.rest(),
    )


def _factor(table: _Table, point: Point) -> Fraction:
    unit = table.text("unit", point.unit)
    factor = unit_factor(unit, point.unit)
    if factor is None:
        raise table.wrong("unit", unit, "write one of " + ", ".join(units_of(point.unit)))
    scale = table.number("scale", Fraction(1))
    if not scale:
        raise table.wrong("scale", 0, "write a number other than 0")
    return factor * scale


def _values(table: _Table, point: Point) -> dict[str, Scalar]:
    values = table.mapping("values")
    for raw, value in values.items():
        if point.choices and value not in point.choices:
            raise table.wrong(f"values.{raw}", value, "write one of " + ", ".join(point.choices))
        if point.type is PointType.BOOL and not isinstance(value, bool):
            raise table.wrong(f"values.{raw}", value, "write true or false")
    return values


def _confidence(table: _Table) -> Confidence:
    word = table.text("confidence", "high")
    if word not in set(Confidence):
        raise table.wrong("confidence", word, "write high, medium or low")
    return Confidence(word)


def _settings(file: str, tables: Mapping[str, Mapping[str, object]]) -> dict[str, Setting]:
    found = {}
    for name, entries in tables.items():
        table = _Table(file, f"settings.{name}", entries)
        choices = table.scalars("choices")
        minimum, maximum = table.number("minimum", None), table.number("maximum", None)
        meaning = table.text("meaning", "")
        default = table.rest().get("default")
        if not isinstance(default, bool | int | float | str):
            raise table.wrong(
                "default", default, "write the value a device has when it says nothing"
            )
        found[name] = Setting(
            name=name,
            default=default,
            choices=choices,
            minimum=None if minimum is None else float(minimum),
            maximum=None if maximum is None else float(maximum),
            meaning=meaning,
        )
    return found


def read_profile(name: str, file: str, text: str) -> ProfileFile:
    """The profile called `name` from TOML `text`; raises ConfigError with the place of the mistake.

    The whole profile is checked with its default settings, so a bad one never waits for its first device.
    """
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(file=file, key="TOML", found=str(error), hint="mend the syntax") from None
    settings = _settings(file, _Table(file, "", document).tables("settings"))
    profile = ProfileFile(id=name, file=file, document=document, settings=settings)
    profile.apply({}, place=file)
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


def load_profiles(*folders: Path) -> ProfileLibrary:
    """All profiles of the installed packages, then those of `folders` (a site's own), which may replace them.

    Raises ConfigError for the first profile that cannot be read.
    """
    found: dict[str, ProfileFile] = {}
    for entry in entry_points(group=PROFILE_GROUP):
        for item in files(entry.value).iterdir():
            if item.name.endswith(".toml"):
                name = item.name.removesuffix(".toml")
                found[name] = read_profile(
                    name, f"{entry.value}/{item.name}", item.read_text("utf-8")
                )
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            found[path.stem] = read_profile(path.stem, str(path), path.read_text("utf-8"))
    return ProfileLibrary(found.values())

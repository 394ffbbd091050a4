"""The settings of a profile: what one installed device may, or must, say differently from its product."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from hub.errors import ConfigError
from hub.points import Scalar
from hub.profile import Setting
from hub.toml_table import Table

_KNOWN = "known: default, required, choices, minimum, maximum, meaning"


def read_settings(file: str, tables: Mapping[str, Mapping[str, object]]) -> dict[str, Setting]:
    """Every setting under `[settings]`; raises ConfigError with the place of the first mistake."""
    return {
        name: _setting(name, Table(file, f"settings.{name}", entries))
        for name, entries in tables.items()
    }


def _setting(name: str, table: Table) -> Setting:
    default, choices = table.scalar("default"), table.scalars("choices")
    minimum, maximum = table.number("minimum"), table.number("maximum")
    required = table.flag("required")
    if required and default is not None:
        raise table.wrong("default", default, "a required setting has none: leave it out")
    if required:
        # The profile alone is checked with this, the most it may have to bear; a device must say its own.
        default = choices[0] if choices else float(maximum or minimum or 0)
    if default is None:
        hint = "write the value a device has when it says nothing, or required = true"
        raise table.wrong("default", None, hint)
    setting = Setting(
        name=name,
        default=default,
        required=required,
        choices=choices,
        minimum=None if minimum is None else float(minimum),
        maximum=None if maximum is None else float(maximum),
        meaning=table.text("meaning", ""),
    )
    for key in table.rest():
        raise table.wrong(key, "an unknown key", _KNOWN)
    if not _is_allowed(default, setting):
        raise table.wrong("default", default, _allowed(setting))
    return setting


def chosen_value(setting: Setting, text: str, place: str) -> Scalar:
    """What a device says of a setting, as a value; raises ConfigError with `place` and what is allowed."""
    value = _parsed(text, setting.default)
    if value is None or not _is_allowed(value, setting):
        raise ConfigError(
            file=place,
            key=f"settings.{setting.name}",
            found=f"found {text!r}",
            hint=_allowed(setting),
        )
    return value


def missing(
    settings: Iterable[Setting], given: Mapping[str, str], place: str
) -> tuple[ConfigError, ...]:
    """One mistake for each required setting that a device does not say."""
    return tuple(
        ConfigError(
            file=place,
            key=f"settings.{setting.name}",
            found="not given",
            hint=f"{_allowed(setting)}: {setting.meaning}".rstrip(": "),
        )
        for setting in settings
        if setting.required and setting.name not in given
    )


def _parsed(text: str, like: Scalar) -> Scalar | None:
    """The text as a value of the same type as `like`; None when it is none."""
    if isinstance(like, str):
        return text
    if isinstance(like, bool):
        return {"true": True, "false": False}.get(text)
    try:
        return int(text) if isinstance(like, int) else float(text)
    except ValueError:
        return None


def _is_allowed(value: Scalar, setting: Setting) -> bool:
    if setting.choices:
        return value in setting.choices
    if isinstance(value, str | bool):
        return True
    lowest = -math.inf if setting.minimum is None else setting.minimum
    highest = math.inf if setting.maximum is None else setting.maximum
    return math.isfinite(value) and lowest <= value <= highest


def _allowed(setting: Setting) -> str:
    if isinstance(setting.default, bool):
        return "write true or false"
    if setting.choices:
        return "choose one of " + ", ".join(str(choice) for choice in setting.choices)
    lowest = "any" if setting.minimum is None else f"{setting.minimum:g}"
    highest = "any" if setting.maximum is None else f"{setting.maximum:g}"
    kind = "whole number" if isinstance(setting.default, int) else "number"
    return f"write a {kind} from {lowest} to {highest}"

"""Reads the commands of a profile from its TOML tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

from hub.command import (
    ARGUMENT_MARK,
    Argument,
    CommandSpec,
    Expect,
    Hazard,
    Offline,
    Repeat,
)
from hub.errors import ConfigError, ConfigErrors
from hub.points import POINTS, PointType, Scalar
from hub.toml_table import Table

# Defaults where a command names none: gate open 5 s, wash start 30 s, relay 60 s.
_DEADLINES_S = {
    Hazard.OPEN: 5.0,
    Hazard.CLOSE: 10.0,
    Hazard.START: 30.0,
    Hazard.CUT: 60.0,
    Hazard.RESTORE: 60.0,
    Hazard.CREDIT: 600.0,
    Hazard.NONE: 60.0,
}
_NUMBER_MAX = 2**53 - 1
_CONFIRM_S = 10.0
Word = TypeVar("Word", bound=StrEnum)


def read_commands(
    file: str, tables: Mapping[str, Mapping[str, object]], points: Collection[str]
) -> dict[str, CommandSpec]:
    """Every command; raises ConfigErrors with the first mistake of each wrong one."""
    commands: dict[str, CommandSpec] = {}
    errors: list[ConfigError] = []
    for name, entries in tables.items():
        try:
            table = Table(file, f"commands.{name}", entries)
            commands[name] = _command(name, file, table, points)
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(tuple(errors))
    return commands


def _command(name: str, file: str, table: Table, points: Collection[str]) -> CommandSpec:
    arguments = {
        argument: _argument(argument, Table(file, f"commands.{name}.arguments.{argument}", entries))
        for argument, entries in table.tables("arguments").items()
    }
    hazard = _word(table, "hazard", Hazard, Hazard.NONE)
    repeat = _word(table, "repeat", Repeat, None)
    if hazard in (Hazard.OPEN, Hazard.START) and repeat is not Repeat.NEVER:
        raise table.wrong("repeat", str(repeat), 'a gate or a machine is never told twice: "never"')
    confirm = _expects(table, "confirm", points, arguments)
    if not confirm and repeat is not Repeat.SAFE:
        hint = "say which reading proves it; only what is safe to repeat needs no proof"
        raise table.wrong("confirm", "nothing", hint)
    for argument in arguments.values():
        if argument.from_point and argument.from_point not in points:
            raise table.wrong(
                f"arguments.{argument.name}.from_point", argument.from_point, "name a point"
            )
    return CommandSpec(
        name=name,
        meaning=table.text("meaning"),
        arguments=arguments,
        requires=_expects(table, "requires", points, arguments),
        confirm=confirm,
        repeat=repeat,
        hazard=hazard,
        deadline_s=table.positive("deadline_s", _DEADLINES_S[hazard]),
        confirm_s=table.positive("confirm_s", _CONFIRM_S),
        offline=_word(table, "offline", Offline, Offline.REFUSE),
        where=table.rest(),
    )


def _word(table: Table, key: str, words: type[Word], default: Word | None) -> Word:
    text = table.text(key, None if default is None else str(default))
    if text not in set(words):
        raise table.wrong(key, text, "write one of " + ", ".join(words))
    return words(text)


def _argument(name: str, table: Table) -> Argument:
    kind = _word(table, "type", PointType, None)
    minimum, maximum, scale = (
        table.number("minimum"),
        table.number("maximum"),
        table.number("scale"),
    )
    if scale == 0:
        raise table.wrong("scale", 0, "write a number other than 0")
    argument = Argument(
        name=name,
        type=kind,
        unit=table.text("unit", "1"),
        factor=Fraction(1) if scale is None else 1 / scale,
        minimum=0.0 if minimum is None else float(minimum),
        maximum=float(_NUMBER_MAX) if maximum is None else float(maximum),
        choices=table.texts("choices"),
        default=table.scalar("default"),
        from_point=table.text("from_point", ""),
        plus=int(table.number("plus") or 0),
        meaning=table.text("meaning", ""),
    )
    for key in table.rest():
        known = "type, unit, scale, minimum, maximum, choices, default, from_point, plus, meaning"
        raise table.wrong(key, "an unknown key", "known: " + known)
    if argument.minimum > argument.maximum:
        raise table.wrong("minimum", argument.minimum, "minimum below maximum")
    return argument


def _expects(
    table: Table, key: str, points: Collection[str], arguments: Collection[str]
) -> tuple[Expect, ...]:
    """`[{ point = "…", equals = … }]` or `one_of = […]`; points and arguments must exist."""
    found = []
    for place, entry in enumerate(table.list_of_tables(key)):
        point = entry.text("point")
        if point not in points or point not in POINTS:
            raise table.wrong(f"{key}[{place}].point", point, "name a point of this profile")
        equals = entry.scalar("equals")
        values = entry.scalars("one_of") if equals is None else (equals,)
        if not values:
            raise table.wrong(f"{key}[{place}]", "no value", "write equals = … or one_of = […]")
        for value in values:
            if _argument_name(value) not in (None, *arguments):
                raise table.wrong(f"{key}[{place}]", value, "name an argument of this command")
        found.append(Expect(point=point, values=values))
    return tuple(found)


def _argument_name(value: Scalar) -> str | None:
    if isinstance(value, str) and value.startswith(ARGUMENT_MARK):
        return value[1:]
    return None

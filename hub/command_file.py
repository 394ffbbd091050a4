"""Reads the commands of a profile from its TOML tables: every mistake with its place and the remedy."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
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
    argument_mistake,
)
from hub.confidence import Confidence
from hub.errors import ConfigError, ConfigErrors
from hub.points import POINTS, Point, PointKind, PointType, Scalar
from hub.rise import Rise
from hub.toml_table import Table

PRICE_MAX_FEN = 500.0  # of a kWh, where a profile names none: more than any tariff asks
_BALANCES = {"fen": PRICE_MAX_FEN, "Wh": 1000.0}  # what a kWh takes at most, by the unit
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
# What each hazard allows on silence; a hazard that is not here allows everything.
_REPEATS: Mapping[Hazard, tuple[Repeat, ...]] = {
    Hazard.OPEN: (Repeat.NEVER,),
    Hazard.START: (Repeat.NEVER,),
    Hazard.CLOSE: (Repeat.NEVER, Repeat.VERIFY),
    Hazard.CREDIT: (Repeat.NEVER, Repeat.VERIFY),
}
# Nobody stands before a gate, or a machine, waiting for the line to come back.
_NEVER_QUEUED = (Hazard.OPEN, Hazard.CLOSE, Hazard.START)
_NUMBER_MAX = 2**53 - 1
_TEXT_MAX = 256
_CONFIRM_S = 10.0
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NAME_HINT = "use 1 to 32 of a-z, 0-9 and _, a letter first"
# What the hub itself fills in where a protocol's keys name it.
RESERVED = ("id", "issued", "expires", "nonce", "address", "source")
_KINDS: Mapping[PointType, type] = {
    PointType.BOOL: bool,
    PointType.INT: int,
    PointType.FLOAT: float,
    PointType.TEXT: str,
}
_NUMBERS = (PointType.INT, PointType.FLOAT)
Word = TypeVar("Word", bound=StrEnum)


def read_commands(
    file: str,
    tables: Mapping[str, Mapping[str, object]],
    points: Collection[str],
    confidence: str = Confidence.HIGH,
) -> dict[str, CommandSpec]:
    """Every command; `confidence` is what one has that names none.

    Raises ConfigErrors with the first mistake of each wrong one.
    """
    commands: dict[str, CommandSpec] = {}
    errors: list[ConfigError] = []
    for name, entries in tables.items():
        try:
            table = Table(file, f"commands.{name}", {"confidence": confidence, **entries})
            commands[name] = _command(name, file, table, points)
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(tuple(errors))
    return commands


def _command(name: str, file: str, table: Table, points: Collection[str]) -> CommandSpec:
    if not _NAME.fullmatch(name):
        raise table.wrong("", name, _NAME_HINT)
    arguments = {
        argument: _argument(
            argument, Table(file, f"commands.{name}.arguments.{argument}", entries), points
        )
        for argument, entries in table.tables("arguments").items()
    }
    proofs = table.list_of_tables("confirm")
    plain = [entry for entry in proofs if not entry.has("rises")]
    rises = [_rise(entry, points, arguments) for entry in proofs if entry not in plain]
    spec = CommandSpec(
        name=name,
        meaning=table.text("meaning"),
        arguments=arguments,
        requires=_expects(table.list_of_tables("requires"), points, arguments),
        confirm=_expects(plain, points, arguments),
        rise=rises[0] if rises else None,
        repeat=_word(table, "repeat", Repeat, None),
        hazard=(hazard := _word(table, "hazard", Hazard, Hazard.NONE)),
        deadline_s=table.positive("deadline_s", _DEADLINES_S[hazard]),
        confirm_s=table.positive("confirm_s", _CONFIRM_S),
        offline=_word(table, "offline", Offline, Offline.REFUSE),
        confidence=_word(table, "confidence", Confidence, None),
        note=table.text("note", ""),
        where=table.rest(),
    )
    _check(spec, table)
    if rises:
        _check_rise(spec, len(rises), table)
    return spec


def _check(spec: CommandSpec, table: Table) -> None:
    """The rules of trust: what silence allows, what proves, what never waits."""
    allowed = _REPEATS.get(spec.hazard, tuple(Repeat))
    if spec.repeat not in allowed:
        hint = f"what does {spec.hazard} is never told twice unseen: " + " or ".join(allowed)
        raise table.wrong("repeat", str(spec.repeat), hint)
    if not spec.confirm and spec.repeat is not Repeat.SAFE:
        hint = "say which reading proves it; only what is safe to repeat needs no proof"
        raise table.wrong("confirm", "nothing", hint)
    if spec.hazard in _NEVER_QUEUED and spec.offline is Offline.QUEUE:
        raise table.wrong("offline", "queue", 'write "refuse": nobody waits there for the line')
    if spec.hazard is Hazard.CREDIT and spec.repeat is Repeat.VERIFY and not spec.is_counted:
        hint = 'credit is repeated only with the device\'s own count: from_point = "purchase_count"'
        raise table.wrong("arguments", "no from_point", hint)


def _word(table: Table, key: str, words: type[Word], default: Word | None) -> Word:
    text = table.text(key, None if default is None else str(default))
    if text not in set(words):
        raise table.wrong(key, text, "write one of " + ", ".join(words))
    return words(text)


def _argument(name: str, table: Table, points: Collection[str]) -> Argument:
    if not _NAME.fullmatch(name) or name in RESERVED:
        hint = f"{_NAME_HINT}, and none of " + ", ".join(RESERVED)
        raise table.wrong("", name, hint)
    kind = _word(table, "type", PointType, None)
    minimum, maximum, factor = _span(table, kind)
    plus = table.number("plus")
    argument = Argument(
        name=name,
        type=kind,
        unit=table.text("unit", "1"),
        factor=factor,
        minimum=minimum,
        maximum=maximum,
        choices=table.texts("choices"),
        default=table.scalar("default"),
        from_point=table.text("from_point", ""),
        plus=int(plus or 0),
        meaning=table.text("meaning", ""),
    )
    for key in table.rest():
        known = "type, unit, scale, minimum, maximum, choices, default, from_point, plus, meaning"
        raise table.wrong(key, "an unknown key", "known: " + known)
    if argument.choices and kind is not PointType.TEXT:
        raise table.wrong("choices", list(argument.choices), "only a text has choices")
    if plus is not None and (plus.denominator != 1 or not argument.from_point):
        raise table.wrong("plus", float(plus), "a whole number, beside from_point")
    _check_default(argument, table)
    _check_from_point(argument, table, points)
    return argument


def _span(table: Table, kind: PointType) -> tuple[float, float, Fraction]:
    """Lowest and highest value (of a text: characters), and the factor to the number on the wire."""
    lowest, highest = table.number("minimum"), table.number("maximum")
    scale = table.number("scale")
    if kind not in _NUMBERS and scale is not None:
        raise table.wrong("scale", float(scale), f"a {kind} has none")
    if kind is PointType.BOOL and (lowest is not None or highest is not None):
        raise table.wrong("minimum", "a range", "true or false has none")
    if kind in _NUMBERS and highest is None:
        raise table.wrong("maximum", None, "write the highest value that may be sent")
    if scale is not None and scale <= 0:
        raise table.wrong("scale", float(scale), "write a number above 0")
    usual = _TEXT_MAX if kind is PointType.TEXT else _NUMBER_MAX
    minimum = 0.0 if lowest is None else float(lowest)
    maximum = float(usual) if highest is None else float(highest)
    if minimum > maximum or maximum > usual:
        raise table.wrong("minimum", f"{minimum:g} to {maximum:g}", "minimum below maximum")
    return minimum, maximum, Fraction(1) if scale is None else 1 / scale


def _check_default(argument: Argument, table: Table) -> None:
    if argument.default is None:
        return
    if argument.from_point:
        raise table.wrong("default", argument.default, "from_point fills it: leave default out")
    if hint := argument_mistake(argument, argument.default):
        raise table.wrong("default", argument.default, hint)


def _check_from_point(argument: Argument, table: Table, points: Collection[str]) -> None:
    point = argument.from_point
    if not point:
        return
    if point not in points or point not in POINTS:
        raise table.wrong("from_point", point, "name a point of this profile")
    if argument.type is not PointType.INT or POINTS[point].type is not PointType.INT:
        raise table.wrong("from_point", point, "only a whole number is taken from a point")


def _expects(
    entries: Sequence[Table], points: Collection[str], arguments: Mapping[str, Argument]
) -> tuple[Expect, ...]:
    """`[{ point = "…", equals = … }]` or `one_of = […]`; points and arguments must exist."""
    found: list[Expect] = []
    for entry in entries:
        name = entry.text("point")
        if name not in points or name not in POINTS:
            raise entry.wrong("point", name, "name a point of this profile")
        equals, one_of = entry.scalar("equals"), entry.scalars("one_of")
        if (equals is None) is not bool(one_of):
            raise entry.wrong("", "no single value", "write equals = … or one_of = […]")
        values = one_of if equals is None else (equals,)
        for value in values:
            if hint := _value_mistake(POINTS[name], value, arguments):
                raise entry.wrong("", value, hint)
        for unknown in entry.rest():
            raise entry.wrong(unknown, "an unknown key", "known: point, equals, one_of")
        if name in {expect.point for expect in found}:
            raise entry.wrong("point", name, "name each point once; one_of takes several values")
        found.append(Expect(point=name, values=values))
    return tuple(found)


def _rise(entry: Table, points: Collection[str], arguments: Mapping[str, Argument]) -> Rise:
    """`{ point = "…", rises = "@amount", from = "@balance" }`, with `used`, `price_max` and `alive`."""
    name = entry.text("point")
    if name not in points or name not in POINTS or POINTS[name].unit not in _BALANCES:
        raise entry.wrong("point", name, "name a balance of this profile, in fen or Wh")
    unit = POINTS[name].unit
    amount = _named(entry, "rises", arguments)
    if amount.from_point or (amount.type, amount.unit) != (PointType.INT, unit):
        raise entry.wrong("rises", amount.name, f"name an argument of type int in {unit}")
    balance = _named(entry, "from", arguments)
    if balance.from_point != name or balance.plus:
        hint = f'an argument with from_point = "{name}" and no plus'
        raise entry.wrong("from", balance.name, hint)
    energy = _named(entry, "used", arguments) if entry.has("used") else None
    counter = energy.from_point if energy else ""
    if energy and (energy.plus or not _is_counter(counter)):
        hint = "an argument that is filled from an energy counter, without plus"
        raise entry.wrong("used", energy.name, hint)
    alive = entry.text("alive", "")
    if alive and (alive not in points or alive not in POINTS):
        raise entry.wrong("alive", alive, "name a point of this profile")
    rise = Rise(
        point=name,
        amount=amount.name,
        balance=balance.name,
        energy=energy.name if energy else "",
        counter=counter,
        price_max=entry.positive("price_max", _BALANCES[unit]),
        alive=alive,
    )
    for unknown in entry.rest():
        known = "known: point, rises, from, used, price_max, alive"
        raise entry.wrong(unknown, "an unknown key", known)
    return rise


def _named(entry: Table, key: str, arguments: Mapping[str, Argument]) -> Argument:
    """The argument that "@name" stands for."""
    text = entry.text(key)
    argument = arguments.get(text.removeprefix(ARGUMENT_MARK))
    if argument is None or not text.startswith(ARGUMENT_MARK):
        raise entry.wrong(key, text, 'name an argument of this command: "@name"')
    return argument


def _is_counter(name: str) -> bool:
    point = POINTS.get(name)
    return point is not None and point.kind is PointKind.COUNTER and point.unit == "Wh"


def _check_rise(spec: CommandSpec, number: int, table: Table) -> None:
    """A balance proves something beside the count alone, and only once."""
    count = spec.count
    proof = Expect(point=count.from_point, values=(ARGUMENT_MARK + count.name,)) if count else None
    if number > 1 or not count or count.plus != 1 or spec.confirm != (proof,):
        hint = "one line with rises, beside one for the count, which is from_point and plus = 1"
        raise table.wrong("confirm", f"{number} with rises", hint)
    if spec.repeat is not Repeat.VERIFY:
        raise table.wrong("repeat", str(spec.repeat), 'what rises is looked at: write "verify"')


def _value_mistake(point: Point, value: Scalar, arguments: Mapping[str, Argument]) -> str:
    """What is wrong with the value a point is expected to have; empty when nothing is."""
    if isinstance(value, str) and value.startswith(ARGUMENT_MARK):
        argument = arguments.get(value[1:])
        if argument is None:
            return "name an argument of this command"
        numbers = argument.type in _NUMBERS and point.type is PointType.FLOAT
        return "" if numbers or argument.type is point.type else f"{point.name} is {point.type}"
    if point.choices and value not in point.choices:
        return "write one of " + ", ".join(point.choices)
    kind = _KINDS[point.type]
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or (kind is not bool and isinstance(value, bool)):
        return f"{point.name} is {point.type}"
    return ""

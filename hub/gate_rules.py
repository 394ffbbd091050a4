"""What a gate's profile must say, and what no command may do: hold a gate closed.

Fire release is wired and needs no hub; so the hub has nothing to send that could work against it. A gate
is a profile with a command of hazard `open` or `close`, or with a point that tells where a leaf is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hub.command import ARGUMENT_MARK, CommandSpec, Expect, Hazard
from hub.errors import ConfigError, ConfigErrors
from hub.points import Scalar
from hub.profile import Profile, Setting

_GATE_HAZARDS = (Hazard.OPEN, Hazard.CLOSE)
_GATE_POINTS = {"gate_state", "gate_mode", "limit_open", "limit_closed"}
_MOVED_POINTS = _GATE_POINTS | {"hold_open"}
_FAIL_MODES = {"open", "closed"}
_HOLDING_NAME = re.compile(
    r"(?<!un)(?<!c)lock|(hold|keep|stay).*(clos|shut)|(clos|shut).*(hold|keep)"
)
_HOLDING_WORDS = {"closed", "lock", "locked", "lockdown", "hold_closed", "keep_closed"}
_HOLDING_STATES = {"gate_mode": {"closed"}, "gate_state": {"locked"}}
_LASTING_UNITS = {"s", "min", "h"}
_NEVER_HELD = "no command may hold a gate closed: closing is a pulse or a change of mode"


def is_gate(profile: Profile) -> bool:
    """Whether people or cars go through it."""
    return _moves(profile) or not _GATE_POINTS.isdisjoint(profile.points)


def holds_closed(word: str) -> bool:
    """Whether a word, said to a gate, would hold it closed."""
    return word in _HOLDING_WORDS


def check_gate(profile: Profile) -> None:
    """Raise ConfigErrors with everything that is missing or forbidden of a gate; nothing for the rest."""
    errors: list[ConfigError] = []
    if _moves(profile):
        errors.extend(_settings_mistakes(profile))
    if is_gate(profile):
        for spec in profile.commands.values():
            errors.extend(_holding_mistakes(profile, spec))
    if errors:
        raise ConfigErrors(tuple(errors))


def _moves(profile: Profile) -> bool:
    return any(spec.hazard in _GATE_HAZARDS for spec in profile.commands.values())


def _settings_mistakes(profile: Profile) -> Iterator[ConfigError]:
    wanted = {
        "fail_mode": 'fail_mode = { required = true, choices = ["open", "closed"] }',
        "egress": "egress = { required = true, choices = [true, false] }",
        "open_limit_s": "open_limit_s = { required = true, minimum = 1, maximum = 3600 }",
    }
    for name, text in wanted.items():
        setting = profile.settings.get(name)
        if setting is None or not setting.required or not _has_right_kind(setting):
            found = "a gate without it" if setting is None else "not as it must be"
            yield profile.wrong(f"settings.{name}", found, f"write {text}")


def _has_right_kind(setting: Setting) -> bool:
    match setting.name:
        case "fail_mode":
            return bool(setting.choices) and set(setting.choices) <= _FAIL_MODES
        case "egress":
            return isinstance(setting.default, bool)
        case _:
            return isinstance(setting.default, float) and setting.maximum is not None


def _holding_mistakes(profile: Profile, spec: CommandSpec) -> Iterator[ConfigError]:
    key = f"commands.{spec.name}"
    if _HOLDING_NAME.search(spec.name):
        yield profile.wrong(key, "a name that holds closed", _NEVER_HELD)
    for argument in spec.arguments.values():
        place = f"{key}.arguments.{argument.name}"
        if held := _HOLDING_WORDS.intersection(argument.choices):
            yield profile.wrong(f"{place}.choices", f"found {min(held)!r}", _NEVER_HELD)
        if spec.hazard is Hazard.CLOSE and argument.unit in _LASTING_UNITS:
            yield profile.wrong(f"{place}.unit", f"closing for {argument.unit!r}", _NEVER_HELD)
    for expect in spec.confirm:
        if expect.point in _MOVED_POINTS and spec.hazard not in _GATE_HAZARDS:
            hint = 'what moves a gate has hazard = "open" or "close"'
            yield profile.wrong(f"{key}.hazard", f"found {spec.hazard.value!r}", hint)
        if held := _HOLDING_STATES.get(expect.point, set()) & _possible(spec, expect):
            yield profile.wrong(f"{key}.confirm", f"found {min(map(str, held))!r}", _NEVER_HELD)


def _possible(spec: CommandSpec, expect: Expect) -> set[Scalar]:
    """Every value the proof may be; an argument without choices may be anything."""
    found: set[Scalar] = set()
    for value in expect.values:
        if isinstance(value, str) and value.startswith(ARGUMENT_MARK):
            choices = spec.arguments[value[1:]].choices
            found.update(choices or _HOLDING_STATES.get(expect.point, ()))
        else:
            found.add(value)
    return found

"""Writes docs/points.md and docs/profile-list.md from the vocabulary and the profiles.

python scripts/reference.py            # write them
python scripts/reference.py --check    # change nothing; exit 1 when one is out of step
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from hub import (
    POINTS,
    Argument,
    CommandSpec,
    Expect,
    Point,
    PointSpec,
    PointType,
    Profile,
    load_profiles,
)

DOCS = Path(__file__).parent.parent / "docs"
MADE_BY = "<!-- Made by scripts/reference.py; do not edit. -->"
SHIPPED = "drivers.profiles/"
_SAME_NAME = ""


def main() -> int:
    """Write both documents, or with --check say which is out of step."""
    pages = {"points.md": points_page(), "profile-list.md": profiles_page()}
    if "--check" not in sys.argv[1:]:
        for name, text in pages.items():
            (DOCS / name).write_text(text, "utf-8")
        return 0
    stale = [name for name, text in pages.items() if _on_disk(name) != text]
    for name in stale:
        print(f"docs/{name} is out of step: run python scripts/reference.py", file=sys.stderr)
    return 1 if stale else 0


def _on_disk(name: str) -> str:
    path = DOCS / name
    return path.read_text("utf-8") if path.exists() else ""


def points_page() -> str:
    """Every point of the vocabulary; points that differ in nothing but their name share a row."""
    rows = groupby(POINTS.values(), key=lambda point: replace(point, name=_SAME_NAME))
    lines = [
        "# Points",
        "",
        MADE_BY,
        "",
        f"The vocabulary: {len(POINTS)} quantities, each with one unit and one type. "
        "A profile may use no others; a new one is added in `hub/points.py`.",
        "",
        "| Point | Unit | Type | Kind | Range or words | Meaning |",
        "|---|---|---|---|---|---|",
        *(_row(*_point_cells(common, [point.name for point in group])) for common, group in rows),
        "",
    ]
    return "\n".join(lines)


def _point_cells(point: Point, names: Iterable[str]) -> tuple[str, ...]:
    secret = " (secret)" if point.secret else ""
    return (
        " ".join(f"`{name}`" for name in names),
        point.unit,
        point.type,
        point.kind,
        _span(point),
        point.meaning + secret,
    )


def _span(point: Point) -> str:
    if point.choices:
        return " ".join(point.choices)
    if point.type is PointType.BOOL:
        return "true, false"
    if point.type is PointType.TEXT:
        return f"at most {point.maximum:g} characters"
    if abs(point.maximum) > 2**52:
        return "from 0" if point.minimum == 0 else "any"
    return f"{_number(point.minimum)} to {_number(point.maximum)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def profiles_page() -> str:
    """Every shipped profile: its points, where they stand, and what is doubtful."""
    library = load_profiles()
    known = [library.example(name) for name in library.ids()]
    profiles = [profile for profile in known if profile.file.startswith(SHIPPED)]
    lines = [
        "# Profiles",
        "",
        MADE_BY,
        "",
        "What is shipped. How to add a product: [profiles.md](profiles.md).",
        "",
        "| Profile | Product | Protocol | Points | of them uncertain | Commands | Doubts |",
        "|---|---|---|---|---|---|---|",
        *(_row(*_profile_cells(profile)) for profile in profiles),
        *(line for profile in profiles for line in _profile_lines(profile)),
        "",
    ]
    return "\n".join(lines)


def _profile_cells(profile: Profile) -> tuple[str, ...]:
    doubtful = sum(spec.confidence != "high" for spec in profile.points.values())
    return (
        f"[`{profile.id}`](#{profile.id})",
        profile.name,
        profile.protocol,
        str(len(profile.points)),
        str(doubtful),
        str(len(profile.commands)),
        str(len(profile.doubts)),
    )


def _profile_lines(profile: Profile) -> Iterator[str]:
    yield from ("", f"## {profile.id}", "")
    yield f"{profile.name}, {profile.maker}. Kind `{profile.kind}`, every {profile.period_s:g} s."
    yield from _settings_lines(profile)
    yield from (
        "",
        "| Point | Unit | Where | Times | Confidence | Note |",
        "|---|---|---|---|---|---|",
    )
    yield from (_row(*_spec_cells(profile, spec)) for spec in profile.points.values())
    yield from _command_lines(profile)
    yield from _list("Doubts", profile.doubts)
    yield from _list("Sources", profile.sources)


def _settings_lines(profile: Profile) -> Iterator[str]:
    if profile.settings:
        yield from ("", "| Setting | Usually | Meaning |", "|---|---|---|")
    for setting in profile.settings.values():
        usual = "each device says its own" if setting.required else str(setting.default)
        yield _row(f"`{setting.name}`", usual, setting.meaning)


def _command_lines(profile: Profile) -> Iterator[str]:
    if profile.commands:
        yield from (
            "",
            "| Command | Meaning | Arguments | Needs | Proof | On silence | Hazard | Confidence | Note |",
            "|---|---|---|---|---|---|---|---|---|",
        )
    for spec in profile.commands.values():
        yield _row(*_command_cells(spec))


def _command_cells(spec: CommandSpec) -> tuple[str, ...]:
    return (
        f"`{spec.name}`",
        spec.meaning,
        "; ".join(_argument(argument) for argument in spec.arguments.values()),
        _expects(spec.requires),
        ", ".join(filter(None, (_expects(spec.confirm), _rise(spec)))) or "none",
        spec.repeat,
        f"{spec.hazard}, sent within {spec.deadline_s:g} s",
        spec.confidence,
        spec.note,
    )


def _argument(argument: Argument) -> str:
    if argument.from_point:
        plus = f" + {argument.plus}" if argument.plus else ""
        return f"`{argument.name}` = {argument.from_point}{plus}, filled in by the hub"
    if argument.choices:
        span = " or ".join(argument.choices)
    elif argument.type is PointType.BOOL:
        span = "true or false"
    else:
        unit = " characters" if argument.type is PointType.TEXT else f" {argument.unit}"
        span = (
            f"{_number(argument.minimum)} to {_number(argument.maximum)}{unit.removesuffix(' 1')}"
        )
    usual = "" if argument.default is None else f", usually {argument.default}"
    return f"`{argument.name}` {span}{usual}"


def _expects(expects: Iterable[Expect]) -> str:
    return ", ".join(f"{one.point} = {' or '.join(map(str, one.values))}" for one in expects)


def _rise(spec: CommandSpec) -> str:
    rise = spec.rise
    return f"{rise.point} has risen by @{rise.amount} since @{rise.balance}" if rise else ""


def _spec_cells(profile: Profile, spec: PointSpec) -> tuple[str, ...]:
    by_hand = profile.wire.get("address_base", 0) == 0
    return (
        f"`{spec.point.name}`",
        spec.point.unit,
        _where(spec.where, hexadecimal=by_hand),
        " × ".join((str(spec.factor), *spec.ratio)),
        spec.confidence,
        spec.note,
    )


def _where(where: Mapping[str, object], *, hexadecimal: bool) -> str:
    return ", ".join(
        f"{key} 0x{value:04X}"
        if key == "at" and hexadecimal and isinstance(value, int)
        else f"{key} {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in where.items()
    )


def _list(title: str, texts: Iterable[str]) -> Iterator[str]:
    yield from ("", f"{title}:", "")
    yield from (f"- {text}" for text in texts)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())

"""`dormhub history DEVICE POINT`: the past of one point, as a table, as CSV, or as a chart."""

from __future__ import annotations

import csv
import re
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hub.cli.options import DEFAULT_CONFIG, ConfigOption
from hub.cli.plain import plain
from hub.cli.show import shown
from hub.clock import SystemClock
from hub.config import load_config
from hub.errors import ConfigError
from hub.inventory.installed import running_site
from hub.journal import JournalReader, Series
from hub.points import POINTS, Point

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_ROWS_MAX = 1_000_000
_BARS = " ▁▂▃▄▅▆▇█"
_CHART_ROWS = 8


class Form(StrEnum):
    """How history is shown."""

    TABLE = "table"
    CSV = "csv"
    CHART = "chart"


def parse_moment(text: str, now_ms: int) -> int:
    """UTC ms of `2026-11-22`, `2026-11-22T18:00` (UTC unless it names a zone), or `6h` before now."""
    ago = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if ago:
        return now_ms - int(ago[1]) * _UNITS_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            file="command line",
            key="--since/--until",
            found=f"found {text!r}",
            hint="write 2026-11-22, 2026-11-22T18:00+08:00 or 30m, 6h, 7d, 2w",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def history(
    device: Annotated[str, typer.Argument(help="The device's id, or a link's.")],
    point: Annotated[str, typer.Argument(help="The point's name, see docs/points.md.")],
    config: ConfigOption = DEFAULT_CONFIG,
    since: Annotated[
        str, typer.Option(help="2026-11-22T18:00+08:00, or 6h for six hours ago.")
    ] = "24h",
    until: Annotated[str, typer.Option(help="Likewise; now when not given.")] = "0m",
    form: Annotated[Form, typer.Option("--as", help="How it is shown.")] = Form.TABLE,
    png: Annotated[Path | None, typer.Option(help="Draw the chart into this file.")] = None,
) -> None:
    """The past of one point."""
    known = POINTS.get(point)
    if known is None:
        raise ConfigError(
            file="command line", key="POINT", found=f"no point {point!r}", hint="see docs/points.md"
        )
    now_ms = SystemClock().now_ms()
    zone = running_site(load_config(config).ledger_place(), config).timezone
    with JournalReader(load_config(config).data / "journal.db") as reader:
        start_ms, end_ms = parse_moment(since, now_ms), parse_moment(until, now_ms)
        series = reader.history(device, point, start_ms, end_ms, _ROWS_MAX)
    stamps = [datetime.fromtimestamp(time_ms / 1000, zone) for time_ms in series.times]
    if png is not None:
        draw_png(png, stamps, series, f"{device} {point}", known)
    elif form is Form.CSV:
        write_csv(stamps, series, known)
    elif form is Form.CHART:
        print("\n".join(chart(series, known, Console().width)))
    else:
        _print_table(stamps, series, f"{device} {point}", known)


def _hidden(point: Point, value: object) -> str:
    return "***" if point.secret else shown(value)


def _print_table(stamps: list[datetime], series: Series, title: str, point: Point) -> None:
    table = Table("time", f"value ({point.unit})", title=title)
    for stamp, value in zip(stamps, series.values, strict=True):
        table.add_row(stamp.isoformat(timespec="milliseconds"), _hidden(point, value))
    plain().print(table)
    if series.bad:
        plain().print(f"{len(series.bad)} without a value, the last: {series.bad[-1][1]}")


def write_csv(stamps: list[datetime], series: Series, point: Point) -> None:
    """time,value,unit to standard output; a text that a spreadsheet would take for a formula is quoted."""
    out = csv.writer(sys.stdout)
    out.writerow(("time", "value", "unit"))
    for stamp, value in zip(stamps, series.values, strict=True):
        text = "***" if point.secret else value
        if isinstance(text, str) and text[:1] in ("=", "+", "-", "@"):
            text = "'" + text
        out.writerow((stamp.isoformat(timespec="milliseconds"), text, point.unit))


def _numbers(series: Series) -> list[tuple[int, float]]:
    pairs = zip(series.times, series.values, strict=True)
    return [(time_ms, float(value)) for time_ms, value in pairs if not isinstance(value, str)]


def chart(series: Series, point: Point, width: int) -> list[str]:
    """Lines of text that draw the series: columns are equal spans of time, each the mean of its values."""
    pairs = _numbers(series)
    if not pairs:
        return ["no numbers in this span"]
    columns = max(10, width - 12)
    start_ms, end_ms = pairs[0][0], pairs[-1][0]
    buckets: list[list[float]] = [[] for _ in range(columns)]
    for time_ms, value in pairs:
        place = (time_ms - start_ms) * (columns - 1) // max(1, end_ms - start_ms)
        buckets[place].append(value)
    means = [sum(bucket) / len(bucket) if bucket else None for bucket in buckets]
    present = [mean for mean in means if mean is not None]
    low, high = min(present), max(present)
    scale = (_CHART_ROWS * 8) / (high - low) if high > low else 0.0
    heights = [None if mean is None else max(1, round((mean - low) * scale)) for mean in means]
    lines = []
    for row in reversed(range(_CHART_ROWS)):
        label = shown(high) if row == _CHART_ROWS - 1 else shown(low) if row == 0 else ""
        cells = (" " if h is None else _BARS[min(8, max(0, h - row * 8))] for h in heights)
        lines.append(f"{label:>10} {''.join(cells)}")
    lines.append(f"{point.unit:>10} {len(pairs)} values")
    return lines


def draw_png(path: Path, stamps: list[datetime], series: Series, title: str, point: Point) -> None:
    """The chart as a picture; raises ConfigError when matplotlib is not installed."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import dates, pyplot
    except ImportError:
        raise ConfigError(
            file="command line",
            key="--png",
            found="matplotlib is not installed",
            hint="pip install dormhub[charts]",
        ) from None
    figure, axes = pyplot.subplots(figsize=(10, 4), layout="constrained")
    numbers = [
        (float(dates.date2num(stamp)), float(value))  # type: ignore[no-untyped-call]
        for stamp, value in zip(stamps, series.values, strict=True)
        if not isinstance(value, str)
    ]
    axes.plot([stamp for stamp, _ in numbers], [value for _, value in numbers])
    axes.xaxis_date(stamps[0].tzinfo if stamps else None)
    axes.set_title(title)
    axes.set_ylabel(point.unit)
    axes.grid(alpha=0.3)
    figure.savefig(path)
    pyplot.close(figure)

"""The long form: `python -m tests.month_campaign --rooms 200 --seed 1`.

Exit codes: 0 everything is as it must be, 1 something is not, each told in a line.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import structlog

from tests.month_judge import complaints, told
from tests.month_people import Plan
from tests.month_staff import live


def main() -> None:
    """The command's entry point."""
    parser = argparse.ArgumentParser(prog="month_campaign", description=__doc__)
    add = parser.add_argument
    add("--rooms", type=int, default=200)
    add("--days", type=int, default=31)
    add("--kills", type=int, default=12)
    add("--seed", type=int, default=1)
    add("--period-s", type=int, default=1_800, help="between two readings of a meter")
    add("--stride-s", type=float, default=300.0, help="in which time passes while nothing happens")
    add("--faults", type=float, default=0.03, help="share of commands and readings that go wrong")
    add("--folder", type=Path, help="keep everything here; without it nothing is kept")
    add("--loud", action="store_true", help="with the hub's own log")
    options = parser.parse_args()
    plan = Plan(
        rooms=options.rooms,
        days=options.days,
        seed=options.seed,
        kills=options.kills,
        period_s=options.period_s,
        faults=options.faults,
        stride_s=options.stride_s,
    )
    if not options.loud:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(1 if _run(options.folder or Path(folder), plan) else 0)


def _run(folder: Path, plan: Plan) -> int:
    """How many complaints there are."""
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    town = live(folder, plan)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    print(f"{plan}: {took_s:.0f} s, {cpu_s:.0f} s of the processor")
    print(f"{len(town.platform.payments)} payments: {dict(told(town))}")
    print(
        f"{len(town.down)} kills, {len(town.mounted_ms)} meters changed, {town.resolved} found out"
    )
    wrong = complaints(town)
    print("\n".join(wrong) or "every room was charged what it used; the books balance")
    return len(wrong)


if __name__ == "__main__":
    main()

"""The long form: `python -m tests.payment_campaign --orders 10000 --seed 1`.

Exit codes: 0 everything is as it must be, 1 something is not, each told in a line.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import quantiles

from tests.payment_judge import complaints, told
from tests.payment_town import Aftermath, Plan, all_orders, campaign

_METER = re.compile(r"meter-\d+")


def main() -> None:
    """The command's entry point."""
    parser = argparse.ArgumentParser(prog="payment_campaign", description=__doc__)
    add = parser.add_argument
    add("--orders", type=int, default=10_000)
    add("--meters", type=int, default=200)
    add("--kills", type=int, default=12)
    add("--cuts", type=int, default=0, help="power cuts of the hub's box; needs a C compiler")
    add("--pace", type=float, default=50.0, help="payments a second")
    add("--delivery-s", type=int, default=300, help="how long an order may wait for its meter")
    add("--seed", type=int, default=1)
    add("--calm", action="store_true", help="meters and lines that behave well")
    add("--folder", type=Path, help="keep everything here; without it nothing is kept")
    options = parser.parse_args()
    plan = Plan(
        orders=options.orders,
        meters=options.meters,
        kills=options.kills,
        pace=options.pace,
        delivery_s=options.delivery_s,
        seed=options.seed,
        rough=not options.calm,
        cuts=options.cuts,
    )
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(1 if _run(options.folder or Path(folder), plan) else 0)


def _run(folder: Path, plan: Plan) -> int:
    """How many complaints there are."""
    began_s = time.monotonic()
    after = asyncio.run(campaign(folder, plan))
    print(f"{plan}: {time.monotonic() - began_s:.0f} s")
    teller = after.teller
    print(f"{dict(told(after))}, {after.resolved} found out by a person")
    print(
        f"{teller.repeated} notices were repeated, {teller.concurrent} at the same time, "
        f"{teller.overtaken} out of order; {teller.lost} answers lost, "
        f"{after.unwritten} writes lost with the power"
    )
    cuts = quantiles(teller.answers_s, n=100)
    print(f"{len(teller.answers_s)} answers: p50 {cuts[49]:.3f} s, p99 {cuts[98]:.3f} s")
    for (state, reason), number in sorted(_reasons(after).items()):
        print(f"  {number:6} {state} {reason}")
    wrong = complaints(after)
    print("\n".join(wrong) or "every meter has exactly what was delivered; the books balance")
    return len(wrong)


def _reasons(after: Aftermath) -> Counter[tuple[str, str]]:
    """How many orders came to which end, whichever meters they were of."""
    return Counter(
        (str(order.state), _METER.sub("the meter", order.reason))
        for order in all_orders(after.data)
    )


if __name__ == "__main__":
    main()

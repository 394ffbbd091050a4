"""Which days are compared tonight: yesterday, what was missed, and what is not closed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import Connection, select

from hub.campus.accounts.accounts import AccountKind
from hub.campus.orders import listing
from hub.campus.policies import Policies
from hub.campus.prepaid.charge import local_day
from hub.campus.reconcile import differences, runs
from hub.campus.reconcile.days import Day, day_of
from hub.campus.reconcile.results import Level, Result
from hub.campus.reconcile.rules import DAYS_MAX
from hub.ledger.tables import accounts

DESK = "desk"  # in a platform's place: orders of the house itself, which nobody bills
METERS = ""  # in a platform's place: the meters of the house
_ALWAYS = 2  # the last days, of which late facts may still come
_RESULTS_MAX = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A day of a platform, or of the meters, that is to be compared."""

    day: Day
    platform: str


def platforms_ever(connection: Connection, *, policies: Policies) -> list[str]:
    """Every platform that is configured, or ever brought an order."""
    query = select(accounts.c.id).where(accounts.c.kind == AccountKind.PLATFORM)
    used = (str(id).partition("/")[2] for id in connection.scalars(query))
    return sorted({*policies.platforms, *used})


def due_days(connection: Connection, *, policies: Policies, today: date) -> list[Due]:
    """What is to be compared tonight, the oldest days first, of each day the meters last."""
    oldest = (today - timedelta(days=DAYS_MAX)).isoformat()
    found = runs.find(connection, runs.Asked(since=oldest), limit=_RESULTS_MAX)
    results = {(one.day, one.platform): one for one in found}
    is_open = differences.open_days(connection, oldest)
    zone = policies.site.timezone
    names = platforms_ever(connection, policies=policies)
    begins = {name: _begin(connection, name, policies) for name in names}
    due: list[Due] = []
    for back in range(DAYS_MAX, 0, -1):
        day = day_of(today - timedelta(days=back), zone)
        for name in (*names, METERS):
            last = results.get((day.name, name))
            has_begun = begins.get(name, "") <= day.name
            late = back == 1 or (back <= _ALWAYS and has_begun)
            missed = last is None and has_begun and back <= policies.reconciliation.catch_up_days
            again = last is not None and (last.pending > 0 or _lacks_bill(last, policies))
            if late or missed or again or (day.name, name) in is_open:
                due.append(Due(day=day, platform=name))
    return due


def without_bill(
    connection: Connection, *, policies: Policies, today: date
) -> dict[str, list[str]]:
    """Days on which a platform that is not asked brought orders, and whose bill nobody has given."""
    since = today - timedelta(days=policies.reconciliation.catch_up_days)
    found: dict[str, list[str]] = {}
    for one in runs.find(connection, runs.Asked(since=since.isoformat()), limit=_RESULTS_MAX):
        platform = policies.platforms.get(one.platform)
        by_hand = platform is not None and not platform.bill_url and one.platform != DESK
        if by_hand and not one.bill and any(tally.level is Level.DEVICE for tally in one.tallies):
            found.setdefault(one.platform, []).append(one.day)
    return found


def _lacks_bill(last: Result, policies: Policies) -> bool:
    platform = policies.platforms.get(last.platform)
    return not last.bill and platform is not None and bool(platform.bill_url)


def _begin(connection: Connection, platform: str, policies: Policies) -> str:
    """The day of a platform's first order; of none, a day that never comes."""
    first_ms = listing.first_received_ms(connection, platform)
    if first_ms is None:
        return "9999-12-31"
    return local_day(first_ms, policies.site.timezone).isoformat()

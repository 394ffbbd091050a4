"""`[reconciliation]` of site.toml: when days are compared, and whose the differences are.

[reconciliation]
at = "03:30"                     # local; the day before is compared then, and days that were missed
catch_up_days = 7                # how far back missed days are made up for
refund_days = 3                  # how long a platform may take to give back what is due
[reconciliation.owners]          # whose a difference is at first, by class
default = "finance"
unknown = "operator"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time

from hub.campus.reconcile.results import Finding
from hub.site import Site
from hub.site_files import SITE_FILE
from hub.toml_table import Table

OWNER_MAX = 64
DAYS_MAX = 31  # a day that is older is closed, but for what persons do with its differences
_DAY_MS = 86_400_000
_DEFAULT = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconciliationRules:
    """How a site reconciles; `at` is local, `owners` by finding."""

    at: time = time(3, 30)
    catch_up_days: int = 7
    refund_days: int = 3
    owner: str = "finance"
    owners: Mapping[Finding, str] = field(default_factory=dict)

    @property
    def refund_ms(self) -> int:
        """How long a refund may take."""
        return self.refund_days * _DAY_MS

    def owner_of(self, finding: Finding) -> str:
        """Whose a difference is, until somebody gives it to another."""
        return self.owners.get(finding, self.owner)


def read_reconciliation(site: Site) -> ReconciliationRules:
    """The rules of a site; raises ConfigError for the first mistake."""
    file = str(site.folder / SITE_FILE)
    table = Table(file, "reconciliation", site.policies.get("reconciliation", {}))
    owners = _owners(file, table.table("owners"))
    rules = ReconciliationRules(
        at=_time(table),
        catch_up_days=_days(table, "catch_up_days", ReconciliationRules().catch_up_days),
        refund_days=_days(table, "refund_days", ReconciliationRules().refund_days),
        owner=owners.pop(_DEFAULT, ReconciliationRules().owner),
        owners={Finding(name): owner for name, owner in owners.items()},
    )
    for key, value in table.rest().items():
        raise table.wrong(key, value, "an unknown key; see docs/reconciliation.md")
    return rules


def is_owner(text: str) -> bool:
    """Whether a difference can be somebody's of this name."""
    return 0 < len(text.strip()) <= OWNER_MAX and text.isprintable()


def _owners(file: str, entries: Mapping[str, object]) -> dict[str, str]:
    table = Table(file, "reconciliation.owners", entries)
    names = [str(finding) for finding in Finding if finding.is_difference]
    found: dict[str, str] = {}
    for name in (_DEFAULT, *names):
        owner = table.text(name, "")
        if name in entries and not is_owner(owner):
            raise table.wrong(name, owner, f"write who it is, 1 to {OWNER_MAX} letters")
        if owner:
            found[name] = owner
    for key, value in table.rest().items():
        raise table.wrong(key, value, "known: " + ", ".join((_DEFAULT, *names)))
    return found


def _time(table: Table) -> time:
    text = table.text("at", "03:30")
    try:
        found = time.fromisoformat(text)
        good = found.tzinfo is None and len(text) == len("03:30")
    except ValueError:
        good = False
    if not good:
        raise table.wrong("at", text, 'write a local time: "03:30"')
    return found


def _days(table: Table, key: str, default: int) -> int:
    value = table.number(key)
    if value is None:
        return default
    if value.denominator != 1 or not 1 <= value <= DAYS_MAX:
        raise table.wrong(key, float(value), f"write whole days, from 1 to {DAYS_MAX}")
    return int(value)

"""What a site says of its services, read once and together: rules of prepaid rooms, payment platforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hub.campus.alerts.settings import AlertRules, read_alerts
from hub.campus.orders.platforms import Platform, read_platforms
from hub.campus.prepaid.rules import Rules, read_rules
from hub.campus.reconcile.rules import ReconciliationRules, read_reconciliation
from hub.campus.supply.schedules import Schedule, read_schedules
from hub.errors import ConfigError, ConfigErrors
from hub.site import Site

Read = TypeVar("Read")


@dataclass(frozen=True, kw_only=True, slots=True)
class Policies:
    """The site, and each table of its `policies` as its service needs it."""

    site: Site
    rules: Rules = field(default_factory=Rules)
    platforms: Mapping[str, Platform] = field(default_factory=dict)
    alerts: AlertRules = field(default_factory=AlertRules)
    reconciliation: ReconciliationRules = field(default_factory=ReconciliationRules)
    schedules: tuple[Schedule, ...] = ()

    @property
    def wanted(self) -> bool:
        """Whether anything is paid here, told, or switched by a timetable."""
        is_named = bool({"prepaid", "alerts"} & self.site.policies.keys())
        return is_named or bool(self.platforms) or bool(self.schedules)


def read_policies(site: Site) -> Policies:
    """Every table with its keys and secrets from their files; raises ConfigErrors with every mistake."""
    errors: list[ConfigError] = []
    found = Policies(
        site=site,
        rules=_read(read_rules, site, Rules(), errors),
        platforms=_read(read_platforms, site, {}, errors),
        alerts=_read(read_alerts, site, AlertRules(), errors),
        reconciliation=_read(read_reconciliation, site, ReconciliationRules(), errors),
        schedules=_read(read_schedules, site, (), errors),
    )
    if errors:
        raise ConfigErrors(tuple(errors))
    return found


def _read(
    read: Callable[[Site], Read], site: Site, otherwise: Read, errors: list[ConfigError]
) -> Read:
    try:
        return read(site)
    except ConfigErrors as error:
        errors += error.errors
    except ConfigError as error:
        errors.append(error)
    return otherwise

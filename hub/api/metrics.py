"""The hub's figures for Prometheus. Labels are links, sinks and fixed words, never a device or a plate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from hub.api.parts import ApiParts
from hub.journal import Stats
from hub.ledger import LedgerStats
from hub.status import LinkStatus, SinkStatus, Status


class _Figures:
    """One scrape's worth of metrics."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def render(parts: ApiParts) -> bytes:
    """All figures in the text format."""
    status = parts.status()
    registry = CollectorRegistry(auto_describe=False)
    metrics = [
        *_hub(status),
        *_links(status.links),
        *_journal(parts.journal.stats()),
        *_ledger(parts.ledger.stats()),
        *_sinks(status.sinks),
        *_api(parts),
    ]
    registry.register(_Figures(metrics))
    return generate_latest(registry)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"dormhub_{name}", meaning, value=value)


def _counter(name: str, meaning: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"dormhub_{name}", meaning, value=value)


def _hub(status: Status) -> Iterator[Metric]:
    yield _gauge("started_seconds", "when the hub started, UTC", status.started_ms / 1000)
    health = GaugeMetricFamily("dormhub_health", "1 for the health it is in", labels=["health"])
    health.add_metric([status.health], 1)
    yield health
    devices = GaugeMetricFamily("dormhub_devices", "devices by presence", labels=["presence"])
    devices.add_metric(["online"], status.online)
    devices.add_metric(["offline"], status.offline)
    devices.add_metric(["unknown"], status.unknown)
    yield devices


def _links(links: list[LinkStatus]) -> Iterator[Metric]:
    up = GaugeMetricFamily("dormhub_link_up", "1 while the link works", labels=["link", "driver"])
    restarts = CounterMetricFamily("dormhub_link_restarts", "driver restarts", labels=["link"])
    counts = CounterMetricFamily(
        "dormhub_link_events", "all that a link counts", labels=["link", "event", "reason"]
    )
    for link in links:
        up.add_metric([link.id, link.driver], link.up)
        restarts.add_metric([link.id], link.restarts)
        for counter, number in link.counters.items():
            event, _, reason = counter.partition("/")
            counts.add_metric([link.id, event, reason], number)
    yield from (up, restarts, counts)


def _journal(stats: Stats) -> Iterator[Metric]:
    yield _gauge("journal_healthy", "1 while readings are stored", stats.healthy)
    yield _gauge("journal_waiting_readings", "readings queued for the disk", stats.waiting)
    yield _gauge("journal_file_bytes", "size of the file", stats.file_bytes)
    yield _gauge("journal_used_bytes", "of it without room to reuse", stats.used_bytes)
    yield _gauge("journal_commit_seconds", "longest of the last commits", stats.commit_s)
    yield _counter("journal_readings", "readings stored ever", stats.head)
    yield _counter("journal_repeated", "readings that were there already", stats.repeated)
    yield _counter("journal_conflicts", "readings against one already stored", stats.conflicts)
    yield _counter("journal_purged", "readings dropped by retention", stats.purged)


def _ledger(stats: LedgerStats) -> Iterator[Metric]:
    yield _gauge("ledger_healthy", "1 while orders and commands are stored", stats.healthy)
    yield _gauge("ledger_waiting_works", "works queued for the disk", stats.waiting)
    yield _gauge("ledger_commit_seconds", "longest of the last commits", stats.commit_s)
    yield _counter("ledger_commits", "transactions committed", stats.commits)


def _sinks(sinks: list[SinkStatus]) -> Iterator[Metric]:
    lag = GaugeMetricFamily("dormhub_sink_lag_readings", "not yet delivered", labels=["sink"])
    delivered = CounterMetricFamily("dormhub_sink_delivered", "delivered", labels=["sink"])
    rejected = CounterMetricFamily("dormhub_sink_rejected", "refused for good", labels=["sink"])
    for sink in sinks:
        lag.add_metric([sink.name], sink.lag)
        delivered.add_metric([sink.name], sink.delivered)
        rejected.add_metric([sink.name], sink.rejected)
    yield from (lag, delivered, rejected)


def _api(parts: ApiParts) -> Iterator[Metric]:
    traffic = parts.traffic
    requests = CounterMetricFamily(
        "dormhub_api_requests", "answers", labels=["method", "route", "status"]
    )
    for (method, route, status), number in traffic.requests.items():
        requests.add_metric([method, route, str(status)], number)
    dropped = CounterMetricFamily("dormhub_api_dropped", "clients given up", labels=["reason"])
    for reason, number in traffic.dropped.items():
        dropped.add_metric([reason], number)
    yield from (requests, dropped)
    yield _gauge("api_live_streams", "open live streams", traffic.live.total())
    yield _counter("api_key_checks", "secrets hashed to be compared", parts.keys.checks)

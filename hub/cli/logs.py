"""Structured log lines on standard error: for a person at a terminal, or as JSON for a collector."""

from __future__ import annotations

import logging
import sys

import structlog

from hub.config import LogConfig, LogFormat
from hub.points import POINTS

_SECRET = frozenset(name for name, point in POINTS.items() if point.secret)


def _hide(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Plates and credentials never reach a log, whoever passes them."""
    for name in _SECRET & event.keys():
        event[name] = "***"
    return event


def configure_logs(config: LogConfig) -> None:
    """Send every log line, ours and the libraries', through one format at one level."""
    level = getattr(logging, config.level.upper())
    renderer = (
        structlog.processors.JSONRenderer()
        if config.format is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hide,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)

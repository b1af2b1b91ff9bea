"""An offline-first desktop application: what it stores about itself, and the library that stores it.

The names below are for the application. They come without the exporter: of other packages only ``prometheus_client`` is
imported, and that where metrics are served; ``psutil`` and ``sentry_sdk`` are used where they are installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rounds.emr.app.existing import (
        MonitoringSystem,
        Severity,
        alert_on_failure,
        capture_errors,
        count_calls,
        get_monitoring,
        init_monitoring,
        measure_and_alert,
        monitor_all,
        monitor_performance,
        retry_with_monitoring,
    )
    from rounds.emr.app.monitor import Monitor
    from rounds.emr.app.scrubbing import Scrubber
    from rounds.emr.health.result import Health

_HOMES = {
    "Health": "health.result",
    "Monitor": "app.monitor",
    "MonitoringSystem": "app.existing",
    "Scrubber": "app.scrubbing",
    "Severity": "app.existing",
    "alert_on_failure": "app.existing",
    "capture_errors": "app.existing",
    "count_calls": "app.existing",
    "get_monitoring": "app.existing",
    "init_monitoring": "app.existing",
    "measure_and_alert": "app.existing",
    "monitor_all": "app.existing",
    "monitor_performance": "app.existing",
    "retry_with_monitoring": "app.existing",
}

__all__ = [
    "Health",
    "Monitor",
    "MonitoringSystem",
    "Scrubber",
    "Severity",
    "alert_on_failure",
    "capture_errors",
    "count_calls",
    "get_monitoring",
    "init_monitoring",
    "measure_and_alert",
    "monitor_all",
    "monitor_performance",
    "retry_with_monitoring",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"rounds.emr.{_HOMES[name]}"), name)

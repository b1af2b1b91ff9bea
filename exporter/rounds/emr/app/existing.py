"""The names that an application already uses: it changes its import, and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rounds.emr.app.decorators import (
    alert_on_failure,
    capture_errors,
    count_calls,
    measure_and_alert,
    monitor_all,
    monitor_performance,
    retry_with_monitoring,
)
from rounds.emr.app.late import current
from rounds.emr.app.scrubbing import Scrubber
from rounds.emr.app.severity import Severity
from rounds.emr.app.system import MonitoringSystem

__all__ = [
    "MonitoringSystem",
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


def init_monitoring(
    db_path: Path | str = "data/monitoring.db",
    clinic_db_path: Path | str | None = "data/clinic.db",
    app_version: str = "",
    alert_config: Any = None,
    auto_start: bool = True,
    *,
    app: str = "app",
    scrub: Scrubber | None = None,
) -> MonitoringSystem:
    """Begin to monitor this process. Decorated functions are measured from now on; a system before is stopped.

    Args:
        db_path: the store; folders above it are made.
        clinic_db_path: the application's database, which the checks look at.
        app_version: the application's version.
        alert_config: see :class:`MonitoringSystem`.
        auto_start: also notice what nobody catches, and run the checks.
        app: the application's name.
        scrub: what may be stored besides names.
    """
    former = current.system
    if former is not None:
        former.stop()
    system = MonitoringSystem(db_path, clinic_db_path, app_version, alert_config, app=app, scrub=scrub)
    current.use(system)
    return system.start() if auto_start else system


def get_monitoring() -> MonitoringSystem | None:
    """The system that is in use."""
    return current.system

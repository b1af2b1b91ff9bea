"""The names that an application already uses: it changes its import, and goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Decorator = Callable[..., Any]

monitor_all: Decorator
monitor_performance: Decorator
capture_errors: Decorator
alert_on_failure: Decorator
count_calls: Decorator
measure_and_alert: Decorator
retry_with_monitoring: Decorator
init_monitoring: Callable[..., MonitoringSystem]
get_monitoring: Callable[[], MonitoringSystem | None]


class MonitoringSystem:
    """The existing program's facade over a :class:`Monitor`."""

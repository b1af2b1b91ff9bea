"""What the existing program's facade shows: alerts, checks, the report and the score."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rounds.emr.app.facade import SLOW_SECONDS, Part
from rounds.emr.app.process import cpu_seconds, resident_bytes
from rounds.emr.app.quiet import quiet
from rounds.emr.app.severity import Severity, severity_of
from rounds.emr.health.database import Database
from rounds.emr.health.disk import disk
from rounds.emr.health.memory import memory
from rounds.emr.health.result import Health, worst
from rounds.emr.names import label
from rounds.emr.report.build import Slow, build, since
from rounds.emr.report.figures import DEFAULT_PERIOD, hours
from rounds.emr.report.points import FULL, DefaultWeights, deductions, memory_used
from rounds.emr.report.text import text
from rounds.emr.report.times import shown

if TYPE_CHECKING:
    from rounds.emr.app.system import MonitoringSystem

_HOUR = 3600.0
_MEGABYTE = 1024**2
#: Slow operations of an hour, and the part of the memory in use, that are an alert.
_MANY_SLOW, _MEMORY_FULL = 20, 0.9
#: Seconds from one run of a check to the next, that it may take, and that somebody waits for the first one.
_INTERVAL, _TIMEOUT, _PATIENCE = 60.0, 5.0, 2.0
#: Processor time is told of so many seconds at least.
_SHORTEST = 0.5


class Alerting(Part):
    """Alerts that the application raises."""

    Severity = Severity

    @quiet(lambda: None)
    def alert(
        self,
        severity: object,
        title: object,
        message: object = "",
        context: object = None,  # noqa: ARG002
        dedupe_key: object = None,
        **more: object,  # noqa: ARG002
    ) -> None:
        """Raise an alert. Each is stored; one of severity error or critical is shown on the desktop as well.

        Args:
            severity: critical, error, warning or info.
            title: what the desktop shows.
            message: more of it.
            context: taken and not kept.
            dedupe_key: what it is about, an identifier.
            more: taken and not kept.
        """
        key = dedupe_key if isinstance(dedupe_key, str) else ""
        self._system.raise_alert(severity_of(severity), str(title), str(message), key=key)

    @quiet(lambda: False)
    def alert_if_threshold(
        self,
        metric: str,
        value: float,
        threshold: float,
        severity: object = Severity.WARNING,
        **more: object,  # noqa: ARG002
    ) -> bool:
        """Raise an alert (``threshold:METRIC``) if the value is larger; gives whether it is."""
        over = value > threshold
        if over:
            self._system.raise_alert(
                severity_of(severity, Severity.WARNING),
                f"{metric} is over its threshold",
                f"{value} is more than {threshold}",
                key=f"threshold:{metric}",
            )
        return over


class HealthChecker(Part):
    """The checks of what the application needs, in the background."""

    def start(self) -> None:
        """Begin to check, again and again."""
        for name, check in self._checks().items():
            self._system.monitor.check(name, interval=_INTERVAL, timeout=_TIMEOUT + 1)(check)

    def check_all(self) -> Mapping[str, Health]:
        """The last results, waiting a moment for those of checks that have not run yet; {} before the start."""
        end = time.monotonic() + _PATIENCE
        while True:
            results = self._system.monitor.health()
            if time.monotonic() > end or all(result.reason != "not_run" for result in results.values()):
                return results
            time.sleep(0.02)

    def get_overall_status(self) -> str:
        """The worst of them; unknown where none is made."""
        found = worst(self.check_all().values())
        return "unknown" if found is None else found.state

    def _checks(self) -> dict[str, Callable[[], Health]]:
        # They bring HTTP, TLS and archives, which takes memory where nobody checks.
        from rounds.emr.health.backup import Backups  # noqa: PLC0415
        from rounds.emr.health.llm import Llm  # noqa: PLC0415

        clinic = self._system.clinic_db_path
        folder = (clinic or self._system.db_path).absolute().parent
        backups = Path(os.environ.get("DOCASSIST_BACKUP_DIR") or folder / "backups")
        checks: dict[str, Callable[[], Health]] = {
            "llm": Llm(timeout=_TIMEOUT).run,
            "disk": partial(disk, folder),
            "memory": memory,
            "backup": Backups(folder=backups, timeout=_TIMEOUT).run,
        }
        return checks if clinic is None else {"database": Database(clinic, timeout=_TIMEOUT).run, **checks}


class Dashboard(Part):
    """The report, and the figures that it is made of."""

    def __init__(self, system: MonitoringSystem) -> None:
        super().__init__(system)
        self._cpu = _Cpu()

    @quiet(dict[str, Any])
    def get_dashboard_data(self, period: str = DEFAULT_PERIOD) -> dict[str, Any]:
        """The report as data."""
        now = time.time()
        return build(self.facts(period), period, now, health=self._system.health.check_all(), slow=Slow(SLOW_SECONDS))

    @quiet(str)
    def export_json(self, path: Path | str | None = None, period: str = DEFAULT_PERIOD) -> str:
        """The report as JSON, written to a file too where one is named."""
        document = json.dumps(self.get_dashboard_data(period), indent=2)
        if path is not None:
            Path(path).write_text(document, encoding="utf-8")
        return document

    @quiet(str)
    def export_text(self, period: str = DEFAULT_PERIOD) -> str:
        """The report as text."""
        return text(self.get_dashboard_data(period), self._system.app)

    @quiet(dict[str, Any])
    def get_summary(self) -> dict[str, Any]:
        """The state of things in a few figures. Durations are those of the last hour, errors of the last 24."""
        now = time.time()
        facts = self.facts_since(since(DEFAULT_PERIOD, now), operations_since=now - _HOUR)
        lately = facts.timings.seconds()
        slow = sum(seconds > SLOW_SECONDS for seconds in lately)
        count = sum(group.count for group in facts.errors.values())
        rate = count / hours(DEFAULT_PERIOD)
        results = self._system.health.check_all()
        overall = worst(results.values())
        return {
            "health_score": FULL - sum(deductions(DefaultWeights(), results, rate, slow).values()),
            "status": "unknown" if overall is None else overall.state,
            "errors_last_24h": count,
            "error_rate": rate,
            "avg_response_time_ms": sum(lately) / len(lately) * 1000 if lately else 0.0,
            "slow_operations_last_hour": slow,
            "current_cpu_percent": self._cpu.percent(),
            "current_memory_mb": (resident_bytes() or 0) / _MEGABYTE,
            "timestamp": shown(now),
        }

    @quiet(list[str])
    def check_alerts(self) -> list[str]:
        """Raise an alert for each check that is not healthy, for full memory, and for many slow operations.

        Gives what they are about, such as ``service:database``.
        """
        raised = []
        results = self._system.health.check_all()
        severities = {"unhealthy": Severity.ERROR, "degraded": Severity.WARNING}
        for name, result in results.items():
            if result.state in severities:
                title = f"{name} is {result.state}"
                raised.append(self._raise(severities[result.state], title, result.text, f"service:{label(name)}"))
        used = memory_used(results)
        if used is not None and used > _MEMORY_FULL:
            raised.append(self._raise(Severity.WARNING, "Memory is nearly full", f"{used:.0%} used", "memory:high"))
        slow = sum(seconds > SLOW_SECONDS for seconds in self.facts("1h").timings.seconds())
        if slow > _MANY_SLOW:
            told = f"{slow} in the last hour"
            raised.append(self._raise(Severity.WARNING, "Many slow operations", told, "performance:slow_ops"))
        return raised

    def _raise(self, severity: Severity, title: str, message: str, key: str) -> str:
        self._system.raise_alert(severity, title, message, key=key)
        return key


class _Cpu:
    """What this process takes of one processor, since it was last asked, and first since the monitoring began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at, self._taken = time.monotonic(), cpu_seconds()
        self._percent: float | None = None

    def percent(self) -> float:
        """In percent."""
        with self._lock:
            at, taken = time.monotonic(), cpu_seconds()
            elapsed = at - self._at
            # Of a moment it would be chance; before there is more, it is that of the moment.
            if elapsed >= _SHORTEST or self._percent is None:
                percent = (taken - self._taken) / elapsed * 100 if elapsed > 0 else 0.0
                if elapsed >= _SHORTEST:
                    self._at, self._taken, self._percent = at, taken, percent
                return percent
            return self._percent

"""What the existing program's facade records: errors, metrics and operations, by the names that applications call."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from rounds.emr.app.instruments import amount
from rounds.emr.app.quiet import quiet
from rounds.emr.names import operation
from rounds.emr.report.build import Slow, errors, performance, since, timing_data
from rounds.emr.report.facts import Facts
from rounds.emr.report.figures import DEFAULT_PERIOD, Sample, day_before, hours, series, single, summary
from rounds.emr.report.read import read
from rounds.emr.report.times import shown

if TYPE_CHECKING:
    from rounds.emr.app.system import MonitoringSystem

log = logging.getLogger("rounds.emr")

#: Seconds from which on the existing program calls an operation slow.
SLOW_SECONDS = 1.0
_KINDS = ("timing", "count", "gauge")


class Part:
    """A part of the facade."""

    def __init__(self, system: MonitoringSystem) -> None:
        self._system = system

    def facts(self, period: str = DEFAULT_PERIOD) -> Facts:
        """What the store says of a period, with what was said until now."""
        return self.facts_since(since(period, time.time()))

    def facts_since(self, begin: float) -> Facts:
        """The same from a time on."""
        self._system.monitor.flush()
        return read(self._system.db_path, begin)


class ErrorTracker(Part):
    """Errors and messages."""

    @quiet(str)
    def capture_exception(
        self,
        exception: BaseException | None = None,
        context: object = None,  # noqa: ARG002
        **more: object,  # noqa: ARG002
    ) -> str:
        """Record an error, the one being handled when none is given; gives its fingerprint.

        Contexts, tags and users are taken and not kept.
        """
        return self._system.monitor.capture(exception)

    @quiet(lambda: None)
    def capture_message(self, message: object = "", level: str = "info", **more: object) -> None:  # noqa: ARG002
        """Count a message by its level. Its text goes nowhere."""
        self._system.monitor.message(level)

    def transaction(self, name: str, op: str = "") -> Any:  # noqa: ARG002
        """A block to be measured, plain or async: ``with error_tracker.transaction("save_visit"):``."""
        return self._system.block(name)

    def set_user(self, user_id: object = None, user_data: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Remember who works with the application, in memory; it is stored and sent nowhere."""
        self._system.set_user(user_id, user_data, **more)

    @quiet(dict)
    def get_error_summary(self, period: str = DEFAULT_PERIOD) -> dict[str, Any]:
        """How many errors there were, how many different ones, how many in an hour, the most frequent ones."""
        return errors(self.facts(period), period)

    @quiet(list[dict[str, Any]])
    def get_error_trend(self, days: int = 7) -> list[dict[str, Any]]:
        """Errors of each of the last days, today's last, also of days that had none."""
        now = time.time()
        begins = [day_before(now, back, None) for back in reversed(range(days))]
        facts = self.facts_since(begins[0]) if begins else Facts()
        found = dict(series(facts.error_samples, "1d"))
        return [{"date": shown(at)[:10], "count": int(summary(found.get(at, ()))["sum"])} for at in begins]

    @quiet(lambda: False)
    def mark_resolved(self, error_hash: str) -> bool:
        """Say that an error was dealt with, until it is seen again; gives whether it is known."""
        self._system.monitor.flush()
        with closing(sqlite3.connect(self._system.db_path, timeout=2, isolation_level=None)) as connection:
            changed = connection.execute(
                "UPDATE rounds_error_group SET resolved = 1 WHERE fingerprint = ?", (error_hash,)
            ).rowcount
            with suppress(sqlite3.OperationalError):  # there need not be such a table
                changed += connection.execute(
                    "UPDATE errors SET resolved = 1 WHERE error_hash = ?", (error_hash,)
                ).rowcount
        return changed > 0


class Metrics(Part):
    """Timings, counts and gauges. Tags are taken and not kept."""

    def record_timing(self, name: str, duration_ms: float, tags: Mapping[str, object] | None = None) -> None:  # noqa: ARG002
        """Record how many milliseconds something took; it becomes the operation ``name`` without ``_ms``."""
        taken = amount(duration_ms)
        if taken is not None:
            self._system.monitor.timing(operation(str(name)), taken / 1000)

    def record_count(self, name: str, value: float = 1, tags: Mapping[str, object] | None = None) -> None:  # noqa: ARG002
        """Count an event."""
        self._system.monitor.count(name, value)

    def record_gauge(self, name: str, value: float, tags: Mapping[str, object] | None = None) -> None:  # noqa: ARG002
        """Set a gauge."""
        self._system.monitor.gauge(name).set(value)

    @quiet(dict)
    def get_summary(self, name: str, period: str = DEFAULT_PERIOD, metric_type: str | None = None) -> dict[str, Any]:
        """``count``, ``sum``, ``mean``, ``min``, ``max``, of timings percentiles too, in milliseconds.

        Args:
            name: as it was recorded.
            period: 1h, 24h, 7d or 30d.
            metric_type: timing, count or gauge, where the name has several; by default the first of them that it has.
        """
        kind, samples = self._samples(self.facts(period), name, metric_type)
        if kind == "timing":
            return timing_data([sample.total for sample in samples])
        return {"type": kind, **summary(samples)}

    @quiet(lambda: 0.0)
    def get_rate(self, name: str, period: str = DEFAULT_PERIOD) -> float:
        """What was counted in an hour."""
        _, samples = self._samples(self.facts(period), name, "count")
        return summary(samples)["sum"] / hours(period)

    @quiet(list[dict[str, Any]])
    def get_timeseries(
        self, name: str, period: str = DEFAULT_PERIOD, interval: str = "1h", metric_type: str | None = None
    ) -> list[dict[str, Any]]:
        """The same by intervals of 5m, 15m, 1h, 6h or 1d, each with its beginning; empty ones are left out."""
        _, samples = self._samples(self.facts(period), name, metric_type)
        return [{"timestamp": shown(at), **summary(found)} for at, found in series(samples, interval)]

    def _samples(self, facts: Facts, name: str, metric_type: str | None) -> tuple[str, list[Sample]]:
        """Of one kind alone."""
        by_kind = {
            "timing": [
                single(timing.at, timing.seconds * 1000)
                for timing in facts.timings
                if timing.operation in (name, operation(name))
            ],
            "count": facts.samples.get(("count", name)) or _outcomes(facts, name),
            "gauge": facts.samples.get(("gauge", name), []),
        }
        kinds = tuple(kind for kind in _KINDS if metric_type in (kind, None)) or _KINDS
        kind = next((kind for kind in kinds if by_kind[kind]), kinds[0])
        return kind, by_kind[kind]


def _outcomes(facts: Facts, name: str) -> list[Sample]:
    """``save_visit_success`` and ``save_visit_error``, which the existing program counts: they are outcomes here."""
    for suffix, outcome in (("_success", "ok"), ("_error", "error")):
        if name.endswith(suffix):
            wanted = name.removesuffix(suffix)
            return [
                single(timing.at, 1)
                for timing in facts.timings
                if timing.operation == wanted and timing.outcome == outcome
            ]
    return []


class Performance(Part):
    """Operations, and those who want to hear of slow ones."""

    def __init__(self, system: MonitoringSystem) -> None:
        super().__init__(system)
        #: Called with operation and milliseconds. Replaced as a whole, so that no lock is held while they run.
        self.handlers: tuple[Callable[[str, float], object], ...] = ()
        self._telling = threading.local()

    def measure(self, operation_name: str) -> Any:
        """A block to be measured, plain or async, or a decorator."""
        return self._system.block(operation_name)

    def add_slow_handler(self, handler: Callable[[str, float], object]) -> None:
        """Have this called with operation and milliseconds after each slow operation, by the thread that it ran in.

        It may use everything here. What it raises is swallowed; operations of its own are told to nobody.
        """
        self.handlers = (*self.handlers, handler)

    def tell(self, name: str, seconds: float) -> None:
        """An operation took so long."""
        if seconds <= SLOW_SECONDS or getattr(self._telling, "under_way", False):
            return
        self._telling.under_way = True
        try:
            for handler in self.handlers:
                try:
                    handler(name, seconds * 1000)
                except Exception as error:
                    log.warning("a handler of slow operations failed: %s", type(error).__name__)
        finally:
            self._telling.under_way = False

    @quiet(dict)
    def get_report(self, period: str = "1h") -> dict[str, Any]:
        """Durations of all operations together."""
        return performance(self.facts(period), period, Slow(SLOW_SECONDS))

    @quiet(dict)
    def get_operation_stats(self, operation_name: str, period: str = DEFAULT_PERIOD) -> dict[str, Any]:
        """One operation: how often, how long, how often it failed."""
        found = [timing for timing in self.facts(period).timings if timing.operation == operation(operation_name)]
        failures = sum(timing.outcome == "error" for timing in found)
        figures = timing_data([timing.seconds * 1000 for timing in found])
        return {**figures, "failures": failures, "failure_rate": failures / len(found) if found else 0.0}

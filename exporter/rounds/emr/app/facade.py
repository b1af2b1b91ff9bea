"""What the existing program's facade records: errors, metrics and operations, by the names that applications call."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from rounds.emr.app.instruments import amount
from rounds.emr.app.late import current
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

    def facts_since(self, begin: float, *, operations_since: float | None = None) -> Facts:
        """The same from a time on, operations perhaps from a later one."""
        self._system.monitor.flush()
        return read(self._system.db_path, begin, operations_since=operations_since)


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

    @quiet(dict[str, Any])
    def get_error_summary(self, period: str = DEFAULT_PERIOD) -> dict[str, Any]:
        """How many errors there were, how many different ones, how many in an hour, the most frequent ones."""
        return errors(self.facts(period), period)

    @quiet(list[dict[str, Any]])
    def get_error_trend(self, days: int = 7) -> list[dict[str, Any]]:
        """Errors of each of the last days, today's last, also of days that had none."""
        now = time.time()
        begins = [day_before(now, back, None) for back in reversed(range(days))]
        facts = self.facts_since(begins[0]) if begins else Facts()
        found = {day.at: int(day.total) for day in series(facts.error_samples, "1d")}
        return [{"date": shown(at)[:10], "count": found.get(at, 0)} for at in begins]

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

    @quiet(lambda: None)
    def record_timing(self, name: str, duration_ms: float, tags: Mapping[str, object] | None = None) -> None:  # noqa: ARG002
        """Record how many milliseconds something took; it becomes the operation ``name`` without ``_ms``."""
        taken = amount(duration_ms)
        if taken is not None:
            self._system.monitor.timing(operation(str(name)), taken / 1000)

    @quiet(lambda: None)
    def record_count(self, name: str, value: float = 1, tags: Mapping[str, object] | None = None) -> None:  # noqa: ARG002
        """Count an event."""
        self._system.monitor.count(name, value)

    @quiet(lambda: None)
    def record_gauge(self, name: str, value: float, tags: Mapping[str, object] | None = None) -> None:  # noqa: ARG002
        """Set a gauge."""
        self._system.monitor.gauge(name).set(value)

    @quiet(dict[str, Any])
    def get_summary(self, name: str, period: str = DEFAULT_PERIOD, metric_type: str | None = None) -> dict[str, Any]:
        """``count``, ``sum``, ``mean``, ``min``, ``max``, of timings percentiles too, in milliseconds.

        Args:
            name: as it was recorded.
            period: 1h, 24h, 7d or 30d.
            metric_type: timing, count or gauge, where the name has several; by default the first of them that it has.
        """
        facts = self.facts(period)
        kind = _kind(facts, name, metric_type)
        if kind == "timing":
            names = facts.timings.operations.intersection((name, operation(name)))
            return timing_data([seconds for each in names for seconds in facts.timings.seconds(each)])
        return {"type": kind, **summary(_samples(facts, kind, name))}

    @quiet(lambda: 0.0)
    def get_rate(self, name: str, period: str = DEFAULT_PERIOD) -> float:
        """What was counted in an hour."""
        return summary(_samples(self.facts(period), "count", name))["sum"] / hours(period)

    @quiet(list[dict[str, Any]])
    def get_timeseries(
        self, name: str, period: str = DEFAULT_PERIOD, interval: str = "1h", metric_type: str | None = None
    ) -> list[dict[str, Any]]:
        """The same by intervals of 5m, 15m, 1h, 6h or 1d, each with its beginning; empty ones are left out."""
        facts = self.facts(period)
        samples = _samples(facts, _kind(facts, name, metric_type), name)
        return [{"timestamp": shown(bucket.at), **summary([bucket])} for bucket in series(samples, interval)]


def _kind(facts: Facts, name: str, wanted: str | None) -> str:
    """The kind that is wanted, or the first that a name has."""
    kinds = (wanted,) if wanted in _KINDS else _KINDS
    return next((kind for kind in kinds if any(True for _ in _samples(facts, kind, name))), kinds[0])


def _samples(facts: Facts, kind: str, name: str) -> Iterator[Sample]:
    """What was recorded under a name, of one kind alone; timings in milliseconds."""
    if kind == "timing":
        return (single(each.at, each.seconds * 1000) for each in facts.timings.of((name, operation(name))))
    known = facts.samples.get((kind, name))
    if known or kind != "count":
        return iter(known or ())
    # What the existing program counts under such names are outcomes here.
    of, _, said = name.rpartition("_")
    outcome = {"success": "ok", "error": "error"}.get(said)
    return (single(each.at, 1) for each in facts.timings.of((of,)) if each.outcome == outcome)


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
        # Decorated functions have been telling nobody.
        current.renew(self._system)

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

    @quiet(dict[str, Any])
    def get_report(self, period: str = "1h") -> dict[str, Any]:
        """Durations of all operations together."""
        return performance(self.facts(period), period, Slow(SLOW_SECONDS))

    @quiet(dict[str, Any])
    def get_operation_stats(self, operation_name: str, period: str = DEFAULT_PERIOD) -> dict[str, Any]:
        """One operation: how often, how long, how often it failed."""
        name = operation(operation_name)
        timings = self.facts(period).timings
        figures = timing_data(timings.seconds(name))
        failures = sum(timing.outcome == "error" for timing in timings.of((name,)))
        rate = failures / figures["count"] if figures["count"] else 0.0
        return {**figures, "failures": failures, "failure_rate": rate}

"""Makes the report of what a store says, with the keys that the existing program's dashboard data has."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from rounds.emr.health.result import Health, worst
from rounds.emr.names import EVENTS, GAUGES, OPERATIONS
from rounds.emr.report.facts import Facts, Run
from rounds.emr.report.figures import DEFAULT_PERIOD, PERIODS, hours, percentiles, series, summary
from rounds.emr.report.machine import system_info
from rounds.emr.report.times import shown

_TOP_ERRORS, _SLOWEST = 5, 5
_MEGABYTE = 1024**2
_MS = 1000.0
#: Seconds of a process that its processor time is told of, at least.
_SHORTEST_RUN = 60.0


@dataclass(frozen=True)
class Slow:
    """From how many seconds on an operation is slow."""

    after: float = 1.0
    own: Mapping[str, float] = field(default_factory=dict)
    """The same for single operations."""

    def is_slow(self, operation: str, seconds: float) -> bool:
        """Whether it was."""
        return seconds > self.own.get(operation, self.after)


def since(period: str, now: float) -> float:
    """When a period that ends now began."""
    return now - hours(period) * 3600


def build(
    facts: Facts,
    period: str,
    now: float,
    *,
    health: Mapping[str, Health],
    slow: Slow | None = None,
    zone: tzinfo | None = None,
) -> dict[str, Any]:
    """The report as data that JSON can hold: names, numbers, times; no message, title or trace.

    Args:
        facts: of the period.
        period: one of :data:`PERIODS`; another one is taken for 24h.
        now: seconds since 1970.
        health: results of checks by their names, as far as they are known.
        slow: which operations are.
        zone: in which times are shown; the computer's when None.
    """
    period = period if period in PERIODS else DEFAULT_PERIOD
    return {
        "timestamp": shown(now, zone),
        "health": health_data(health, now, zone),
        "errors": errors(facts, period, zone, top=_TOP_ERRORS),
        "performance": performance(facts, period, slow or Slow(), zone),
        "metrics": metrics(facts),
        "alerts": [
            {"timestamp": shown(alert.at, zone), "severity": alert.severity, "key": alert.key} for alert in facts.alerts
        ],
        "crashes": {
            "total": facts.crashes_held,
            "in_period": facts.crashes_since,
            "recent": [
                {
                    "timestamp": shown(crash.at, zone),
                    "exception_type": crash.error_type,
                    "kind": crash.kind,
                    "submitted": crash.submitted,
                }
                for crash in facts.crashes
            ],
        },
        "system": _system(facts.runs, zone),
    }


def health_data(health: Mapping[str, Health], now: float, zone: tzinfo | None = None) -> dict[str, Any]:
    """Checks and computer."""
    overall = worst(health.values())
    return {
        "timestamp": shown(now, zone),
        "overall_status": overall.state if overall is not None else "unknown",
        "services": [
            {
                "service": name,
                "status": result.state,
                "reason": result.reason,
                "message": result.text,
                "details": {" ".join(key): value for key, value in sorted(result.figures.items())},
            }
            for name, result in sorted(health.items())
        ],
        "system_info": system_info(),
    }


def errors(facts: Facts, period: str, zone: tzinfo | None = None, *, top: int = 10) -> dict[str, Any]:
    """How many, how many different ones, how many in an hour, the most frequent ones."""
    total = sum(group.count for group in facts.errors.values())
    frequent = sorted(facts.errors.items(), key=lambda item: (-item[1].count, -item[1].last))[:top]
    return {
        "period": period,
        "total_errors": total,
        "unique_errors": len(facts.errors),
        "error_rate": total / hours(period),
        "top_errors": [
            {
                "error_type": group.error_type,
                "fingerprint": fingerprint,
                "count": group.count,
                "last_seen": shown(group.last, zone),
            }
            for fingerprint, group in frequent
        ],
        "by_day": [
            {"date": shown(day.at, zone)[:10], "count": int(day.total)}
            for day in series(facts.error_samples, "1d", zone)
        ],
    }


def performance(facts: Facts, period: str, slow: Slow, zone: tzinfo | None = None) -> dict[str, Any]:
    """Durations of all operations together, in milliseconds, and what they took of the computer."""
    seconds = facts.timings.seconds()
    slowest = heapq.nlargest(_SLOWEST, facts.timings, key=lambda timing: timing.seconds)
    return {
        "period": period,
        "total_operations": len(seconds),
        "slow_operations": sum(slow.is_slow(timing.operation, timing.seconds) for timing in facts.timings),
        "avg_duration_ms": _rounded(sum(seconds) / len(seconds) * _MS) if seconds else 0.0,
        **{f"{name}_ms": _rounded(value * _MS) for name, value in percentiles(seconds).items()},
        "cpu_usage_avg": cpu_percent(facts.runs),
        "memory_usage_avg_mb": _memory(facts),
        "slowest_operations": [
            {
                "operation": timing.operation,
                "duration_ms": _rounded(timing.seconds * _MS),
                "outcome": timing.outcome,
                "timestamp": shown(timing.at, zone),
            }
            for timing in slowest
        ],
    }


def metrics(facts: Facts) -> dict[str, dict[str, Any]]:
    """What was recorded under names: first the eight that the existing program names, then all others.

    Timings are in milliseconds, their names end in ``_ms``. A name that has several kinds has an entry of each: what
    comes behind the first is called ``NAME:KIND``.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in OPERATIONS:
        found["timing", f"{name}_ms"] = timing_data(facts.timings.seconds(name))
    for kind, names in (("count", EVENTS), ("gauge", GAUGES)):
        for name in names:
            found[kind, name] = {"type": kind, **summary(facts.samples.get((kind, name), ()))}
    for name in sorted(facts.timings.operations.difference(OPERATIONS)):
        found["timing", f"{name}_ms"] = timing_data(facts.timings.seconds(name))
    for (kind, name), samples in sorted(facts.samples.items()):
        found.setdefault((kind, name), {"type": kind, **summary(samples)})
    named: dict[str, dict[str, Any]] = {}
    for (kind, name), data in found.items():
        named[f"{name}:{kind}" if name in named else name] = data
    return named


def timing_data(seconds: Sequence[float]) -> dict[str, Any]:
    """A timing's summary, in milliseconds."""
    count, total = len(seconds), sum(seconds)
    figures = {
        "sum": total,
        "mean": total / count if count else 0.0,
        "min": min(seconds, default=0.0),
        "max": max(seconds, default=0.0),
        **percentiles(seconds),
    }
    return {"type": "timing", "count": count, **{name: _rounded(value * _MS) for name, value in figures.items()}}


def _rounded(milliseconds: float) -> float:
    # To the nanosecond: what is beyond comes of seconds that became milliseconds.
    return round(milliseconds, 6)


def cpu_percent(runs: Iterable[Run]) -> float | None:
    """What the application's processes took of one processor while they ran; None where it is not known."""
    # What a process took before it was monitored counts too, which is much only of a short time.
    known = [
        (run.cpu_seconds, elapsed)
        for run in runs
        if run.cpu_seconds is not None and (elapsed := run.heartbeat - run.started) >= _SHORTEST_RUN
    ]
    elapsed = sum(seconds for _, seconds in known)
    return sum(taken for taken, _ in known) / elapsed * 100 if elapsed > 0 else None


def _memory(facts: Facts) -> float | None:
    recorded = summary(facts.samples.get(("gauge", "memory_usage_mb"), ()))
    if recorded["count"]:
        return recorded["mean"]
    resident = [run.resident_bytes for run in facts.runs if run.resident_bytes is not None]
    return sum(resident) / len(resident) / _MEGABYTE if resident else None


def _system(runs: list[Run], zone: tzinfo | None) -> dict[str, Any]:
    """The newest process of the application."""
    if not runs:
        return {}
    run = runs[0]
    return {
        "app_version": run.version,
        "python_version": run.python,
        "os": run.os,
        "started": shown(run.started, zone),
        "last_sign_of_life": shown(run.heartbeat, zone),
        "running": run.ended is None,
        "memory_mb": None if run.resident_bytes is None else run.resident_bytes / _MEGABYTE,
        "cpu_percent": cpu_percent([run]),
    }

"""Reads the tables of the existing program. Of its texts, only names given by code are read."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from datetime import tzinfo
from typing import Any, TypeAlias

from rounds.emr.names import label, operation
from rounds.emr.report.facts import ALERTS, CRASHES, Alert, Crash, Facts
from rounds.emr.report.figures import single
from rounds.emr.report.times import LocalTimes, bound

_KINDS = ("count", "gauge")

Row: TypeAlias = tuple[float, tuple[Any, ...]]


def add(
    facts: Facts, connection: sqlite3.Connection, since: float, operations_since: float, zone: tzinfo | None
) -> None:
    """Add what they say. A row that makes no sense is left out; tables and columns may be missing."""
    rows = _Rows(connection, since, LocalTimes(zone))
    lately = _Rows(connection, operations_since, LocalTimes(zone))
    for at, (fingerprint, error_type) in rows.since("errors", "error_hash", "error_type"):
        facts.error(str(fingerprint), label(error_type), 1, at)
        facts.error_samples.append(single(at, 1))
    for at, row in lately.since("metrics", "metric_type", "name", "value"):
        _metric(facts, at, *row)
    for at, (name, ms, success) in lately.since("transactions", "name", "duration_ms", "success"):
        if _is_number(ms) and ms >= 0:
            facts.timings.add(at, label(name), ms / 1000, "ok" if success else "error")
    for at, (severity, key) in rows.newest(ALERTS, "alerts", "severity", "dedupe_key"):
        facts.alerts.append(Alert(at, label(severity), label(key) if key else ""))
    for at, (error_type, submitted) in rows.newest(CRASHES, "crash_reports", "exception_type", "submitted"):
        facts.crashes.append(Crash(at, label(error_type), "python", bool(submitted)))
    facts.crashes_held += rows.count("crash_reports")
    facts.crashes_since += sum(1 for _ in rows.since("crash_reports"))


def _metric(facts: Facts, at: float, kind: object, name: object, value: Any) -> None:
    if not _is_number(value):
        return
    if kind == "timing":
        if value >= 0:
            facts.timings.add(at, operation(str(name)), value / 1000, "ok")
    elif kind in _KINDS:
        facts.sample(str(kind), label(name), single(at, value))


class _Rows:
    """Rows with their times; none where there is no such table."""

    def __init__(self, connection: sqlite3.Connection, since: float, times: LocalTimes) -> None:
        self._connection = connection
        self._since = since
        self._times = times

    def count(self, table: str) -> int:
        """How many there are."""
        return self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] if self._columns(table) else 0

    def since(self, table: str, *columns: str) -> Iterator[Row]:
        """Those of the time asked for."""
        for at, row in self._timed(table, columns, "WHERE timestamp >= ?", bound(self._since)):
            if at >= self._since:
                yield at, row

    def newest(self, count: int, table: str, *columns: str) -> Iterator[Row]:
        """So many, of whatever age."""
        return self._timed(table, columns, "ORDER BY timestamp DESC LIMIT ?", count)

    def _timed(self, table: str, columns: tuple[str, ...], which: str, value: object) -> Iterator[Row]:
        there = self._columns(table)
        if "timestamp" not in there:
            return
        chosen = ", ".join(name if name in there else "NULL" for name in ("timestamp", "created_at", *columns))
        for local, created, *others in self._connection.execute(f"SELECT {chosen} FROM {table} {which}", (value,)):
            at = self._times.seconds(local, created)
            if at is not None:
                yield at, tuple(others)

    def _columns(self, table: str) -> frozenset[str]:
        return frozenset(row[1] for row in self._connection.execute(f"PRAGMA table_info({table})"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

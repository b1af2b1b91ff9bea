"""Reads the tables of the existing program. Of its texts, only names given by code are read."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from datetime import tzinfo

from rounds.emr.names import SEVERITIES, label, operation
from rounds.emr.report.facts import ALERTS, CRASHES, Alert, Crash, Facts, Timing
from rounds.emr.report.figures import single
from rounds.emr.report.times import LocalTimes, bound

_KINDS = ("count", "gauge")


def add(facts: Facts, connection: sqlite3.Connection, there: frozenset[str], since: float, zone: tzinfo | None) -> None:
    """Add what they say. A row that makes no sense is left out."""
    rows = _Rows(connection, since, LocalTimes(zone))
    if "errors" in there:
        for at, fingerprint, error_type in rows.since("errors", "error_hash, error_type"):
            facts.error(str(fingerprint), label(error_type), 1, at)
            facts.error_samples.append(single(at, 1))
    if "metrics" in there:
        for at, kind, name, value in rows.since("metrics", "metric_type, name, value"):
            _metric(facts, at, kind, name, value)
    if "transactions" in there:
        for at, name, ms, success in rows.since("transactions", "name, duration_ms, success"):
            if _is_number(ms) and ms >= 0:
                facts.timings.append(Timing(at, label(name), ms / 1000, "ok" if success else "error"))
    if "alerts" in there:
        for at, severity, key in rows.newest("alerts", "severity, dedupe_key", ALERTS):
            known = severity if severity in SEVERITIES else label(severity)
            facts.alerts.append(Alert(at, known, label(key) if key else ""))
    if "crash_reports" in there:
        for at, error_type, submitted in rows.newest("crash_reports", "exception_type, submitted", CRASHES):
            facts.crashes.append(Crash(at, label(error_type), "python", bool(submitted)))
        facts.crashes_held += connection.execute("SELECT count(*) FROM crash_reports").fetchone()[0]
        facts.crashes_since += sum(1 for _ in rows.since("crash_reports", "id"))


def _metric(facts: Facts, at: float, kind: object, name: object, value: object) -> None:
    if not _is_number(value):
        return
    if kind == "timing":
        if value >= 0:
            facts.timings.append(Timing(at, operation(str(name)), value / 1000, "ok"))
    elif kind in _KINDS:
        facts.sample(str(kind), label(name), single(at, value))


class _Rows:
    """Rows with their times."""

    def __init__(self, connection: sqlite3.Connection, since: float, times: LocalTimes) -> None:
        self._connection = connection
        self._since = since
        self._times = times

    def since(self, table: str, columns: str) -> Iterator[tuple[float, ...]]:
        """Those of the time asked for."""
        sql = f"SELECT timestamp, created_at, {columns} FROM {table} WHERE timestamp >= ?"
        for row in self._timed(self._connection.execute(sql, (bound(self._since),))):
            if row[0] >= self._since:
                yield row

    def newest(self, table: str, columns: str, count: int) -> Iterator[tuple[float, ...]]:
        """So many, of whatever age."""
        sql = f"SELECT timestamp, created_at, {columns} FROM {table} ORDER BY timestamp DESC LIMIT ?"
        yield from self._timed(self._connection.execute(sql, (count,)))

    def _timed(self, rows: sqlite3.Cursor) -> Iterator[tuple[float, ...]]:
        for local, created, *others in rows:
            at = self._times.seconds(local, created)
            if at is not None:
                yield (at, *others)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

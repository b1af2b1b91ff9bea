"""Reads the library's tables."""

from __future__ import annotations

import sqlite3

from rounds.emr.layout import SLOT_SECONDS
from rounds.emr.report.facts import ALERTS, CRASHES, Alert, Crash, Facts, Run
from rounds.emr.report.figures import Sample


def add(
    facts: Facts, connection: sqlite3.Connection, there: frozenset[str], since: float, operations_since: float
) -> None:
    """Add what they say. What is kept by slots of five minutes begins with the slot that ``since`` is in."""
    slot = int(since // SLOT_SECONDS)
    if "rounds_timing" in there:
        sql = "SELECT at, operation, seconds, outcome FROM rounds_timing WHERE at >= ?"
        for row in connection.execute(sql, (operations_since,)):
            facts.timings.add(*row)
    if "rounds_sample" in there:
        sql = "SELECT slot, kind, name, count, sum, min, max FROM rounds_sample WHERE slot >= ?"
        for number, kind, name, count, total, low, high in connection.execute(sql, (slot,)):
            facts.sample(kind, name, Sample(number * SLOT_SECONDS, count, total, low, high))
    if "rounds_error_slot" in there:
        _errors(facts, connection, slot)
    if "rounds_alert" in there:
        sql = "SELECT at, severity, key FROM rounds_alert ORDER BY id DESC LIMIT ?"
        facts.alerts.extend(map(Alert._make, connection.execute(sql, (ALERTS,))))
    if "rounds_crash" in there:
        _crashes(facts, connection, since)
    if "rounds_run" in there:
        _runs(facts, connection, since)


def _errors(facts: Facts, connection: sqlite3.Connection, slot: int) -> None:
    sql = (
        "SELECT s.slot, s.fingerprint, s.count, coalesce(g.error_type, ''), g.last_seen"
        " FROM rounds_error_slot s LEFT JOIN rounds_error_group g USING (fingerprint) WHERE s.slot >= ?"
    )
    for number, fingerprint, count, error_type, last in connection.execute(sql, (slot,)):
        at = number * SLOT_SECONDS
        # A group is kept as long as any of its slots; its last sight is the last one of all, so the newest slot's.
        facts.error(fingerprint, error_type, count, at if last is None else last)
        facts.error_samples.append(Sample(at, count, count, 1, 1))


def _crashes(facts: Facts, connection: sqlite3.Connection, since: float) -> None:
    sql = "SELECT at, error_type, kind, submitted FROM rounds_crash ORDER BY at DESC LIMIT ?"
    facts.crashes.extend(
        Crash(at, error_type or kind, kind, bool(submitted))
        for at, error_type, kind, submitted in connection.execute(sql, (CRASHES,))
    )
    sql = "SELECT count(*), coalesce(sum(at >= ?), 0) FROM rounds_crash"
    held, lately = connection.execute(sql, (since,)).fetchone()
    facts.crashes_held += held
    facts.crashes_since += lately


def _runs(facts: Facts, connection: sqlite3.Connection, since: float) -> None:
    columns = "started, heartbeat, ended, version, python, os, resident_bytes, cpu_seconds"
    sql = (
        f"SELECT {columns} FROM rounds_run WHERE heartbeat >= ? OR id = (SELECT max(id) FROM rounds_run)"
        " ORDER BY id DESC"
    )
    facts.runs.extend(Run(*row) for row in connection.execute(sql, (since,)))

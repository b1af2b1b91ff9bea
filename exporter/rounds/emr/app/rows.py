"""A batch as rows of the store's tables, within one transaction."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from rounds.emr.app.batch import Batch, Group, Labels, dropped

#: What values can do to a statement. They are left out, or they would keep out all others for ever.
BAD_VALUE = (
    *(OverflowError, ValueError, TypeError),
    *(sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.DataError, sqlite3.ProgrammingError),
)

_COUNTER = (
    "INSERT INTO rounds_counter (name, labels, value)",
    "ON CONFLICT (name, labels) DO UPDATE SET value = value + excluded.value",
)
_GAUGE = (
    "INSERT INTO rounds_gauge (name, value, at)",
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at",
)
_SAMPLE = (
    "INSERT INTO rounds_sample (slot, kind, name, count, sum, min, max)",
    """ON CONFLICT (slot, kind, name) DO UPDATE SET count = count + excluded.count, sum = sum + excluded.sum,
      min = min(min, excluded.min), max = max(max, excluded.max)""",
)
_TIMING = ("INSERT INTO rounds_timing (at, operation, seconds, outcome)", "")
#: What was resolved and is seen again is not resolved.
_GROUP = (
    """INSERT INTO rounds_error_group
      (fingerprint, error_type, culprit, trace, message, first_seen, last_seen, count, version)""",
    """ON CONFLICT (fingerprint) DO UPDATE SET first_seen = min(first_seen, excluded.first_seen),
      last_seen = max(last_seen, excluded.last_seen), count = count + excluded.count,
      version = excluded.version, resolved = 0""",
)
_SLOT = (
    "INSERT INTO rounds_error_slot (slot, fingerprint, count)",
    "ON CONFLICT (slot, fingerprint) DO UPDATE SET count = count + excluded.count",
)
_ALERT = ("INSERT INTO rounds_alert (at, severity, key, title, message, channels)", "")

#: Rows in one statement. For each statement the thread gives up the interpreter, and waits up to 5 ms to get it back
#: where the application is busy: one for each row would keep it from ever coming to an end.
_SIZES = (256, 16, 1)

Row: TypeAlias = tuple[Any, ...]
#: Inserts rows by the statement's two halves, and gives how many were left out.
Insert: TypeAlias = Callable[[sqlite3.Connection, tuple[str, str], Sequence[Row]], int]


def put(connection: sqlite3.Connection, batch: Batch, version: str, insert: Insert, *, full: bool) -> None:
    """Add a batch. What has no place is counted as dropped with it.

    Args:
        version: the application's.
        insert: how: :func:`all_at_once`, or :func:`one_by_one` after an error among :data:`BAD_VALUE`.
        full: single operations have no place any more.
    """
    counters = batch.counters.copy()
    if full and batch.timings:
        counters[dropped("size")] += len(batch.timings)
    lost = 0 if full else insert(connection, _TIMING, batch.timings)
    new, lost_groups = _put_groups(connection, batch.groups, version, insert)
    lost += lost_groups
    if new:
        counters["error_groups_seen_total", ()] += new
    lost += insert(connection, _GAUGE, [(name, value, at) for name, (value, at) in batch.gauges.items()])
    samples = [(*slot, s.count, s.sum, s.min, s.max) for slot, s in batch.samples.items()]
    lost += insert(connection, _SAMPLE, samples)
    alerts = [(a.at, a.severity, a.key, a.title, a.message, json.dumps(a.channels)) for a in batch.alerts]
    lost += insert(connection, _ALERT, alerts)
    lost += sum(not math.isfinite(value) for value in counters.values())
    if lost:
        counters[dropped("error")] += lost
    if insert(connection, _COUNTER, _counter_rows(counters)):
        add_counter(connection, *dropped("error"), 1)


def all_at_once(connection: sqlite3.Connection, statement: tuple[str, str], rows: Sequence[Row]) -> int:
    """Insert rows, many by one statement."""
    for piece in _pieces(rows):
        marks = f"({', '.join('?' * len(piece[0]))})"
        values = [value for row in piece for value in row]
        connection.execute(f"{statement[0]} VALUES {', '.join([marks] * len(piece))} {statement[1]}", values)
    return 0


def one_by_one(connection: sqlite3.Connection, statement: tuple[str, str], rows: Sequence[Row]) -> int:
    """Insert rows, and leave those out that cannot be."""
    lost = 0
    for row in rows:
        try:
            all_at_once(connection, statement, [row])
        except BAD_VALUE:
            lost += 1
    return lost


def add_counter(connection: sqlite3.Connection, name: str, labels: Labels, value: float) -> None:
    """Add to a counter, in a transaction with what it counts."""
    all_at_once(connection, _COUNTER, _counter_rows({(name, labels): value}))


def _counter_rows(counters: Mapping[tuple[str, Labels], float]) -> list[Row]:
    # One that is no number would spoil its sum for ever.
    return [
        (name, json.dumps(labels, separators=(",", ":")), value)
        for (name, labels), value in counters.items()
        if math.isfinite(value)
    ]


def _put_groups(
    connection: sqlite3.Connection, groups: dict[str, Group], version: str, insert: Insert
) -> tuple[int, int]:
    """How many of them had never been seen, and how many were left out."""
    if not groups:
        return 0, 0
    before = _groups(connection)
    rows = [
        (fingerprint, g.error_type, g.culprit, g.trace, g.message, g.first, g.last, g.slots.total(), version)
        for fingerprint, g in groups.items()
    ]
    lost = insert(connection, _GROUP, rows)
    slots = [(slot, fingerprint, count) for fingerprint, g in groups.items() for slot, count in g.slots.items()]
    insert(connection, _SLOT, slots)
    return _groups(connection) - before, lost


def _groups(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("SELECT count(*) FROM rounds_error_group").fetchone()
    return int(number)


def _pieces(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    # Of few sizes, so that their statements need not be compiled anew each time.
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size

"""Stores of applications: an existing ``monitoring.db``, and the library's own. All names in them are made up."""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from rounds.emr import layout
from rounds.emr.names import DURATION_BOUNDS, DURATION_BUCKETS
from rounds.sources import SqliteSource

#: A zone far from UTC, without summer time.
ZONE = ZoneInfo("America/Sao_Paulo")

_CREATED = "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP"
_NUMBER = "id INTEGER PRIMARY KEY AUTOINCREMENT"
#: Columns of the existing program's tables, and their indexes.
EXISTING: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "errors": (
        (
            _NUMBER,
            "timestamp TEXT NOT NULL",
            "error_hash TEXT NOT NULL",
            "error_type TEXT NOT NULL",
            "error_message TEXT NOT NULL",
            "stack_trace TEXT",
            "context TEXT",
            "user_id TEXT",
            "user_data TEXT",
            "tags TEXT",
            "environment_info TEXT",
            "app_version TEXT",
            "resolved BOOLEAN DEFAULT 0",
            _CREATED,
        ),
        ("idx_errors_hash ON errors(error_hash)", "idx_errors_timestamp ON errors(timestamp DESC)"),
    ),
    "messages": (
        (
            _NUMBER,
            "timestamp TEXT NOT NULL",
            "level TEXT NOT NULL",
            "message TEXT NOT NULL",
            "context TEXT",
            "user_id TEXT",
            "tags TEXT",
            _CREATED,
        ),
        (),
    ),
    "transactions": (
        (
            _NUMBER,
            "timestamp TEXT NOT NULL",
            "name TEXT NOT NULL",
            "operation TEXT NOT NULL",
            "duration_ms REAL NOT NULL",
            "success BOOLEAN NOT NULL",
            _CREATED,
        ),
        ("idx_transactions_name ON transactions(name, timestamp DESC)",),
    ),
    "metrics": (
        (
            _NUMBER,
            "timestamp TEXT NOT NULL",
            "name TEXT NOT NULL",
            "metric_type TEXT NOT NULL",
            "value REAL NOT NULL",
            "tags TEXT",
            _CREATED,
        ),
        (
            "idx_metrics_name ON metrics(name, timestamp DESC)",
            "idx_metrics_type ON metrics(metric_type, timestamp DESC)",
        ),
    ),
    "metrics_hourly": (
        (
            _NUMBER,
            "hour TEXT NOT NULL",
            "name TEXT NOT NULL",
            "metric_type TEXT NOT NULL",
            "count INTEGER NOT NULL",
            "sum REAL NOT NULL",
            "min REAL NOT NULL",
            "max REAL NOT NULL",
            "mean REAL NOT NULL",
            "UNIQUE(hour, name, metric_type)",
        ),
        ("idx_metrics_hourly ON metrics_hourly(name, hour DESC)",),
    ),
    "alerts": (
        (
            _NUMBER,
            "timestamp TEXT NOT NULL",
            "severity TEXT NOT NULL",
            "title TEXT NOT NULL",
            "message TEXT NOT NULL",
            "context TEXT",
            "channels_sent TEXT",
            "dedupe_key TEXT",
            _CREATED,
        ),
        (
            "idx_alerts_timestamp ON alerts(timestamp DESC)",
            "idx_alerts_dedupe ON alerts(dedupe_key, timestamp DESC)",
        ),
    ),
    "crash_reports": (
        (
            "id TEXT PRIMARY KEY",
            "timestamp TEXT NOT NULL",
            "crash_hash TEXT NOT NULL",
            "exception_type TEXT NOT NULL",
            "exception_message TEXT NOT NULL",
            "report_path TEXT NOT NULL",
            "submitted BOOLEAN DEFAULT 0",
            _CREATED,
        ),
        ("idx_crashes_timestamp ON crash_reports(timestamp DESC)",),
    ),
}

#: What a row has besides its times where a test does not say.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "errors": {"error_hash": "0011223344556677", "error_type": "ValueError", "error_message": "a text"},
    "messages": {"level": "info", "message": "a text"},
    "transactions": {"name": "save_visit", "operation": "db", "duration_ms": 12.5, "success": 1},
    "metrics": {"name": "search_latency_ms", "metric_type": "timing", "value": 12.5},
    "metrics_hourly": {"name": "search_latency_ms", "metric_type": "timing", "count": 1}
    | dict.fromkeys(("sum", "min", "max", "mean"), 12.5),
    "alerts": {"severity": "warning", "title": "a title", "message": "a text", "channels_sent": ["notification"]},
    "crash_reports": {
        "crash_hash": "8899aabbccddeeff",
        "exception_type": "ValueError",
        "exception_message": "a text",
        "report_path": "data/crash_reports/crash.json",
    },
}

_crashes = itertools.count(1)


def local(at: float, zone: tzinfo = ZONE) -> str:
    """A time as the existing program writes it: local, without its zone, and without a fraction that is 0."""
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None).isoformat()


def utc(at: float) -> str:
    """A time as SQLite's ``CURRENT_TIMESTAMP`` is written."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


class _File:
    """A SQLite file that a test writes, one transaction after the other, with a connection that is not kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def source(self) -> SqliteSource:
        """The file as a configured source."""
        return SqliteSource.model_validate({"kind": "sqlite", "path": self.path})

    def sql(self, statement: str, parameters: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement in a transaction of its own; its rows."""
        with self.writing() as connection:
            return connection.execute(statement, tuple(parameters)).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # no test cuts the power
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def vacuum(self) -> None:
        """Write the file anew, without its free pages."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("VACUUM")


class ExistingStore(_File):
    """An existing ``monitoring.db``.

    Args:
        path: the file; made with its tables where it is not there.
        zone: the zone of the application's clock.
        wal: whether it is kept in WAL mode; the existing program leaves SQLite's default.
        without: tables that are not made, and columns (``errors.error_type``).
    """

    def __init__(self, path: Path, *, zone: tzinfo = ZONE, wal: bool = False, without: Iterable[str] = ()) -> None:
        super().__init__(path)
        self.zone = zone
        missing = set(without)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            if wal:
                connection.execute("PRAGMA journal_mode = WAL")
            for table, (columns, indexes) in EXISTING.items():
                if table in missing:
                    continue
                kept = [each for each in columns if f"{table}.{each.split()[0]}" not in missing]
                connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(kept)})")
                for index in indexes if len(kept) == len(columns) else ():
                    connection.execute(f"CREATE INDEX IF NOT EXISTS {index}")

    def put(self, table: str, at: float | None = None, **values: Any) -> Any:
        """Insert a row; gives its id. See :meth:`put_all`."""
        return self.put_all(table, [{"at": at, **values}])[0]

    def put_all(self, table: str, rows: Iterable[Mapping[str, Any]]) -> list[Any]:
        """Insert rows in one transaction; gives their ids.

        What a row does not say is as in an application that is well. ``at`` is Unix seconds (now, where it is None or
        absent) and becomes ``timestamp`` and ``created_at``, unless these are given; lists and dicts become JSON.
        """
        with self.writing() as connection:
            return [self._insert(connection, table, row) for row in rows]

    def error(self, error_type: str = "ValueError", at: float | None = None, **values: Any) -> int:
        """An error."""
        return int(self.put("errors", at, error_type=error_type, **values))

    def message(self, level: str = "info", at: float | None = None, **values: Any) -> int:
        """A message."""
        return int(self.put("messages", at, level=level, **values))

    def transaction(self, name: str, ms: float = 12.5, *, ok: bool = True, at: float | None = None) -> int:
        """A transaction."""
        return int(self.put("transactions", at, name=name, duration_ms=ms, success=int(ok)))

    def timing(self, name: str, ms: float, at: float | None = None, **values: Any) -> int:
        """A timing of ``metrics``."""
        return int(self.put("metrics", at, name=name, metric_type="timing", value=ms, **values))

    def count(self, name: str, value: float = 1, at: float | None = None, **values: Any) -> int:
        """A count of ``metrics``."""
        return int(self.put("metrics", at, name=name, metric_type="count", value=value, **values))

    def gauge(self, name: str, value: float, at: float | None = None, **values: Any) -> int:
        """A gauge of ``metrics``."""
        return int(self.put("metrics", at, name=name, metric_type="gauge", value=value, **values))

    def alert(self, severity: str = "warning", at: float | None = None, **values: Any) -> int:
        """An alert; ``channels_sent`` is a list or None."""
        return int(self.put("alerts", at, severity=severity, **values))

    def crash(self, at: float | None = None, **values: Any) -> str:
        """A crash report."""
        return str(self.put("crash_reports", at, **values))

    def remove(self, table: str, where: str = "1", parameters: Iterable[object] = ()) -> None:
        """Delete rows."""
        self.sql(f"DELETE FROM {table} WHERE {where}", parameters)

    def _insert(self, connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> Any:
        given = dict(row)
        at = given.pop("at", None)
        at = time.time() if at is None else at
        moment = local(at, self.zone)
        times = {"hour": moment} if table == "metrics_hourly" else {"timestamp": moment, "created_at": utc(at)}
        if table == "crash_reports":
            stamp = datetime.fromtimestamp(at, self.zone)
            times["id"] = f"{stamp:%Y%m%d_%H%M%S}_{next(_crashes)}"
        whole = {**_DEFAULTS[table], **times, **given}
        whole = {name: json.dumps(v) if isinstance(v, list | dict) else v for name, v in whole.items()}
        known = {each[1] for each in connection.execute(f"PRAGMA table_info({table})")}
        whole = {name: value for name, value in whole.items() if name in known}
        marks = ", ".join("?" * len(whole))
        cursor = connection.execute(f"INSERT INTO {table} ({', '.join(whole)}) VALUES ({marks})", tuple(whole.values()))
        return whole.get("id", cursor.lastrowid)


class LibraryStore(_File):
    """A store as the library leaves it, written by hand: what a reader may rely on, and no more.

    Args:
        path: the file, perhaps one with the existing program's tables; the library's are made where they are not there.
        app: the application's name.
        store: the store's id; a random one where it is None and the file has none.
    """

    def __init__(self, path: Path, *, app: str = "docassist", store: str | None = None) -> None:
        super().__init__(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for script in layout.TABLES.values():
                connection.executescript(script)
            about = {"version": str(layout.VERSION), "id": store or uuid.uuid4().hex, "app": app}
            about["created"] = repr(time.time())
            connection.executemany("INSERT OR IGNORE INTO rounds_store VALUES (?, ?)", list(about.items()))

    @property
    def id(self) -> str:
        """The store's id."""
        return str(self.sql("SELECT value FROM rounds_store WHERE key = 'id'")[0][0])

    def counter(self, name: str, *labels: str, by: float = 1) -> Self:
        """A counter grows."""
        self.sql(
            "INSERT INTO rounds_counter VALUES (?, ?, ?)"
            " ON CONFLICT (name, labels) DO UPDATE SET value = value + excluded.value",
            (name, json.dumps(labels), by),
        )
        return self

    def operation(self, name: str, seconds: float, outcome: str = "ok", at: float | None = None) -> Self:
        """An operation, with all that is written of it but slowness."""
        self.counter("operations_total", name, outcome)
        bucket = DURATION_BUCKETS[bisect_left(DURATION_BOUNDS, seconds)]
        self.counter("operation_duration_seconds_bucket", name, bucket)
        self.counter("operation_duration_seconds_sum", name, by=seconds)
        self.insert(
            "rounds_timing", at=time.time() if at is None else at, operation=name, seconds=seconds, outcome=outcome
        )
        return self

    def gauge(self, name: str, value: float, at: float | None = None) -> Self:
        """A gauge is set."""
        self.sql(
            "INSERT OR REPLACE INTO rounds_gauge VALUES (?, ?, ?)", (name, value, time.time() if at is None else at)
        )
        return self

    def run(self, started: float | None = None, **values: Any) -> int:
        """A process that runs; ``ended`` and ``ending`` where it does not any more. Gives its id."""
        began = time.time() if started is None else started
        whole = {
            "pid": 1234,
            "boot_id": "boot",
            "process_start": "1",
            "started": began,
            "heartbeat": began,
            "version": "1.2.3",
            "python": "3.11.7",
            "os": "Linux 6.1",
            "resident_bytes": 64 * 2**20,
            "cpu_seconds": 1.5,
        }
        return self.insert("rounds_run", **{**whole, **values})

    def error(
        self, error_type: str = "ValueError", fingerprint: str = "0011223344556677", at: float | None = None
    ) -> Self:
        """An error that was captured, with its group and its slot."""
        moment = time.time() if at is None else at
        known = self.sql("SELECT 1 FROM rounds_error_group WHERE fingerprint = ?", (fingerprint,))
        self.counter("errors_total", error_type, "captured")
        if not known:
            self.counter("error_groups_seen_total")
        self.sql(
            "INSERT INTO rounds_error_group VALUES (?, ?, 'visits:save', 'visits:save:12', NULL, ?, ?, 1, '1.2.3', 0)"
            " ON CONFLICT (fingerprint) DO UPDATE SET count = count + 1, last_seen = excluded.last_seen",
            (fingerprint, error_type, moment, moment),
        )
        self.sql(
            "INSERT INTO rounds_error_slot VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
            (int(moment // layout.SLOT_SECONDS), fingerprint),
        )
        return self

    def alert(self, severity: str = "error", channels: Iterable[str] = (), at: float | None = None) -> Self:
        """An alert."""
        taken = list(channels)
        for channel in taken or ["none"]:
            self.counter("alerts_total", severity, channel)
        moment = time.time() if at is None else at
        self.insert("rounds_alert", at=moment, severity=severity, key="", channels=json.dumps(taken))
        return self

    def crash(self, kind: str = "python", at: float | None = None, *, submitted: bool = False) -> Self:
        """A crash."""
        self.counter("crashes_total", kind)
        self.insert(
            "rounds_crash",
            id=uuid.uuid4().hex,
            at=time.time() if at is None else at,
            kind=kind,
            error_type="ValueError" if kind == "python" else "",
            fingerprint="0011223344556677",
            report="crash.json",
            submitted=int(submitted),
        )
        return self

    def insert(self, table: str, **values: Any) -> int:
        """Insert a row; gives its number."""
        marks = ", ".join("?" * len(values))
        with self.writing() as connection:
            statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
            return connection.execute(statement, tuple(values.values())).lastrowid or 0

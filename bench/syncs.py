"""What a look at a long log costs in each kind of database, beside the least that a statement can cost there.

    PYTHONPATH=exporter:tests python bench/syncs.py [--rows 2000000] [--looks 30] [--kinds sqlite mariadb] [--timeout 1]

Needs postgres, initdb, mariadbd and mariadb-install-db. The log has 1,500 runs an hour, of 500 organisations and three
operations, with some 300 bytes of JSON each; 211 of them run, of which 200 have been given up, all over the log. A look
in a steady state asks for the rows that began in the last four hours, and by their ids for those that run and for the
newest of each organisation and operation.

Prints, as medians, the time of each statement of a look, and of its floor, which is measured between looks: the fetch
of one row by its key. Then, without the index on started_at, how long a look takes to succeed or fail whose time-out is
``--timeout``. Goals, for 2 million rows: each statement at most 100 ms, and a look without the index at most twice as
long as its time-out, and two seconds.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rounds.databases.session import Row, Session
from rounds.errors import CollectorError
from rounds.syncs import database
from rounds.syncs.config import Sync
from rounds.syncs.reading import Reading
from support.databases import SqliteFiles, databases_for
from support.mariadb import mariadb_server
from support.postgresql import postgresql_server
from support.syncs import KINDS, Kind, SyncTable, sync_table

ORGANIZATIONS, OPERATIONS = 500, ("full_patients", "active_patients", "patient_sync")
KEYS = ORGANIZATIONS * len(OPERATIONS)
SECONDS_APART = 3600 / KEYS
ORPHANS, RUNNING = 200, 11
OVERLAP = 4 * 3600
GOAL, PATIENCE = 0.1, 2.0

_METADATA = (
    '{"step": "completed", "sync_type": "full_patients", "progress_percent": 100.0, "patients_found": 648,'
    ' "patients_stored": 640, "patients_deleted": 3, "success_rate": 98.77, "timestamp": "2026-03-06T12:00:00+00:00",'
    ' "pages": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], "notes": "nothing in particular happened this time"}'
)
#: Numbers from 0, the key of a row, and its time, in each kind of SQL.
_PARTS: dict[Kind, tuple[str, str, str]] = {
    "postgresql": (
        "(SELECT generate_series(0, {last}) AS n) AS s",
        "md5(n::text)::uuid",
        "to_timestamp({now} - n * {apart})",
    ),
    "mariadb": (
        "(SELECT seq AS n FROM seq_0_to_{last}) AS s",
        "MD5(n)",
        "FROM_UNIXTIME({now} - n * {apart})",
    ),
    "sqlite": (
        "(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {last}) SELECT n FROM c) AS s",
        "printf('%08x-0000-4000-8000-%012d', (n * 2654435761) % 4294967296, n)",
        "strftime('%Y-%m-%d %H:%M:%f+00:00', {now} - n * {apart}, 'unixepoch')",
    ),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--looks", type=int, default=30)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--timeout", type=float, default=1.0, help="of a look without the index, in seconds")
    arguments = parser.parse_args()
    met = True
    for kind in arguments.kinds:
        with ExitStack() as stack:
            server: Any
            match kind:
                case "postgresql":
                    server = stack.enter_context(postgresql_server())
                case "mariadb":
                    server = stack.enter_context(mariadb_server())
                case _:
                    server = SqliteFiles(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            table = sync_table(kind, server)
            now = time.time()
            began = time.monotonic()
            fill(table, arguments.rows, now)
            print(f"{kind}: {arguments.rows:,} rows, filled in {time.monotonic() - began:.0f} s", flush=True)
            met &= compare(table, now, arguments.looks)
            met &= without_index(table, now, arguments.timeout)
    raise SystemExit(0 if met else 1)


def fill(table: SyncTable, rows: int, now: float) -> None:
    """Put in the rows, the newest with the number 0."""
    numbers, key, started = (
        part.format(last=rows - 1, now=repr(now), apart=repr(SECONDS_APART)) for part in _PARTS[table.kind]
    )
    operations = " ".join(f"WHEN {number} THEN '{each}'" for number, each in enumerate(OPERATIONS))
    every = max(1, rows // ORPHANS)
    organization = f"n % {ORGANIZATIONS}"
    organization = f"CONCAT('org_', {organization})" if table.kind == "mariadb" else f"'org_' || ({organization})"
    values = {
        "id": key,
        "organization_id": organization,
        "source_system": "'cliniko'",
        "operation_type": f"CASE n % {len(OPERATIONS)} {operations} END",
        "status": f"CASE WHEN n < {RUNNING} OR n % {every} = {every - 1} THEN 'running' ELSE 'completed' END",
        "records_processed": "648",
        "records_success": "640",
        "records_failed": "8",
        "error_details": "'{}'",
        "metadata": f"'{_METADATA}'",
        **dict.fromkeys(("started_at", "completed_at", "updated_at"), started),
    }
    table.sql(f"INSERT INTO sync_logs ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {numbers}")
    table.sql("ANALYZE TABLE sync_logs" if table.kind == "mariadb" else "ANALYZE sync_logs")


class Timed:
    """How long statements took, by what they ask for."""

    def __init__(self) -> None:
        self._took: dict[str, list[tuple[int, float]]] = defaultdict(list)
        select = database.DatabaseLog._select  # noqa: SLF001  # where every statement passes

        def timed(log: Any, names: Any, condition: Any, order: str = "", **more: Any) -> Iterator[Row]:
            began = time.perf_counter()
            rows = list(select(log, names, condition, order, **more))
            what = "rows of four hours" if ">=" in condition[0] else "rows without a time"
            if " IN (" in condition[0]:
                what = f"rows by {len(condition[1])} ids"
            self._took[what].append((len(rows), time.perf_counter() - began))
            return iter(rows)

        self._patch(timed)
        #: Puts back what was patched.
        self.restore = functools.partial(self._patch, select)

    def took(self) -> Iterator[tuple[str, int, list[float]]]:
        """By what was asked for: the most rows of a statement, and how long those with so many took."""
        for what, each in self._took.items():
            most = max(rows for rows, _ in each)
            yield what, most, [seconds for rows, seconds in each if rows == most]

    def _patch(self, select: Any) -> None:
        setattr(database.DatabaseLog, "_select", select)  # noqa: B010


def compare(table: SyncTable, now: float, looks: int) -> bool:
    """Measure looks and the floor in turn; whether the goal is met."""
    running = [str(row[0]) for row in table.sql("SELECT id FROM sync_logs WHERE status = 'running'")]
    newest = table.sql(f"SELECT id FROM sync_logs ORDER BY started_at DESC LIMIT {KEYS}")
    ids = [*running, *(str(row[0]) for row in newest)]
    reading = Reading(_sync(60), databases_for({"s": table.source}))
    timed, whole, floor = Timed(), [], []
    try:
        for _ in range(looks):
            began = time.perf_counter()
            with reading.open() as log:
                log.now()
                count = sum(1 for _ in log.glimpses(now - OVERLAP))
                found = sum(1 for _ in log.records(ids))
            whole.append(time.perf_counter() - began)
            with databases_for({"s": table.source}).open("s") as session:
                floor += [_floor(session, table.kind, ids[number]) for number in range(20)]
    finally:
        timed.restore()
    if found != len(set(ids)) or count < min(OVERLAP / SECONDS_APART, looks):
        raise SystemExit(f"a look found {found} of {len(set(ids))} rows, and glimpsed {count}")
    least = statistics.median(floor)
    print(f"  {'one row by its key':<24} {1:>6} rows {least * 1000:>8.2f} ms")
    took = list(timed.took())
    for what, rows, times in took:
        median = statistics.median(times)
        print(f"  {what:<24} {rows:>6} rows {median * 1000:>8.2f} ms {median / least:>7.0f} times the floor")
    print(f"  {'a whole look':<24} {count + found:>6} rows {statistics.median(whole) * 1000:>8.2f} ms", flush=True)
    return all(statistics.median(times) <= GOAL for _, _, times in took)


def without_index(table: SyncTable, now: float, timeout: float) -> bool:
    """How long a look takes to succeed or fail; whether that is bounded."""
    on = " ON sync_logs" if table.kind == "mariadb" else ""
    table.sql(f"DROP INDEX idx_sync_logs_started_at{on}")
    reading = Reading(_sync(timeout), databases_for({"s": table.source}))
    began = time.perf_counter()
    try:
        with reading.open() as log:
            told = "no index on started_at" in log.problems
            count = sum(1 for _ in log.glimpses(now - OVERLAP))
        outcome = f"succeeds with {count} rows"
    except CollectorError as error:
        outcome = f"fails: {error.reason}" + (", and says which index to make" if "CREATE INDEX" in str(error) else "")
    took = time.perf_counter() - began
    print(f"  without the index, a look with a time-out of {timeout} s {outcome}, after {took:.2f} s", flush=True)
    return told and took <= 2 * timeout + PATIENCE


def _sync(timeout: float) -> Sync:
    return Sync.model_validate({"name": "bench", "source": "s", "timeout": f"{timeout:g}s"})


def _floor(session: Session, kind: Kind, identity: str) -> float:
    mark = "?" if kind == "sqlite" else "%s"
    began = time.perf_counter()
    rows = session.all(f"SELECT id, status, metadata FROM sync_logs WHERE id = {mark}", (identity,))
    if len(rows) != 1:
        raise SystemExit("no row by its key")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

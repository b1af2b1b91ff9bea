"""Deleting what is older than the retention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rounds.apr.tables import MARKS
from rounds.apr.writing.work import Database, Work, log, looking, working

RETENTION_DAYS = 30
#: Tables and their column with the business date. apr_valid_records is not among them.
_CLEANED = {
    "apr_invalid_records": "DATA",
    "apr_status_history": "DATA",
    "apr_daily_summary": "DATA",
    "apr_proposal_products": "DATA",
    "apr_processing_log": "target_date",
}
#: Rows that are deleted at a time, so that nobody waits long for their locks.
_BATCH = 5000


def cleanup_old_monitoring_data(
    session: Database, retention_days: int = RETENTION_DAYS, progress: Callable[[str, int], None] | None = None
) -> dict[str, int]:
    """Delete what is older than the retention, but never from apr_valid_records.

    One day, by the database's clock, is the limit for all tables. Rows are deleted and committed some thousands at a
    time; a pass that was interrupted is finished by the next one.

    Args:
        session: where to delete; committed.
        retention_days: days that are kept.
        progress: called with a table and the number of rows deleted from it so far.

    Returns:
        The number of deleted rows by table.

    Raises:
        ValueError: the retention is negative.
        WriteFailed: the database refused it.
    """
    present, limit = _limit(session, retention_days)
    for table in _CLEANED:
        if table not in present:
            log.warning("there is no table %s to clean", table)
    deleted = dict.fromkeys(_CLEANED, 0)
    for table, column in [*_CLEANED.items(), (MARKS.name, "DATA")]:
        if table in present:
            done = 0
            for count in _batches(session, table, column, limit):
                done += count
                if progress:
                    progress(table, done)
            deleted[table] = done
    deleted.pop(MARKS.name, None)
    return deleted


def old_monitoring_data(session: Database, retention_days: int = RETENTION_DAYS) -> dict[str, int]:
    """How many rows :func:`cleanup_old_monitoring_data` would delete, by table.

    Raises:
        ValueError: the retention is negative.
        WriteFailed: the database cannot be read.
    """
    present, limit = _limit(session, retention_days)
    with looking(session) as work:
        return {
            table: int(work.run(f"SELECT COUNT(*) FROM {table} WHERE {column} < :limit", limit=limit).scalar_one())
            if table in present
            else 0
            for table, column in _CLEANED.items()
        }


def _limit(session: Database, retention_days: int) -> tuple[frozenset[str], Any]:
    """The tables that are there, and the first day that is kept."""
    if retention_days < 0:
        raise ValueError("retention_days should not be negative")
    with looking(session) as work:
        return work.tables, work.run(f"SELECT {_days_ago(work)}", days=retention_days).scalar_one()


def _days_ago(work: Work) -> str:
    if work.kind == "sqlite":
        return "date('now', '-' || :days || ' days')"
    return "CAST(CURRENT_DATE - INTERVAL :days DAY AS CHAR)"


def _batches(session: Database, table: str, column: str, limit: object) -> Iterator[int]:
    """Delete, a batch at a time; the number of rows in each."""
    count = _BATCH
    while count == _BATCH:
        with working(session) as work:
            some = f"{column} < :limit ORDER BY {column} LIMIT {_BATCH}"
            if work.kind == "sqlite":
                some = f"rowid IN (SELECT rowid FROM {table} WHERE {some})"
            count = work.run(f"DELETE FROM {table} WHERE {some}", limit=limit).rowcount
        yield count

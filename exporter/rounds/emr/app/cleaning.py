"""Removes what is old from a store, whoever wrote it: some rows at a time, and space is given back at the end."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from rounds.emr.layout import SLOT_SECONDS

#: Rows of a transaction: some milliseconds, for which others wait.
_BATCH = 5_000
#: Seconds to wait for another program's lock, and to let others have theirs between two transactions.
_LOCK_WITHIN, _PAUSE = 10.0, 0.01
#: Pages that are given back in one step.
_PAGES = 500
_DAY = 86_400.0
#: Why a store has incremental vacuum or not: what ``PRAGMA auto_vacuum`` says.
_INCREMENTAL = 2


@dataclass(frozen=True)
class Cleaned:
    """What was done, or in a dry run would be.

    Attributes:
        rows: removed rows by table; tables that the file has not are left out.
        freed: bytes by which the file shrank.
    """

    rows: dict[str, int]
    freed: int

    @property
    def total(self) -> int:
        """All rows."""
        return sum(self.rows.values())


@dataclass(frozen=True)
class _Old:
    """Rows of a table that are too old: those that a condition holds for, with its value."""

    table: str
    condition: str
    values: tuple[object, ...]
    #: Columns that the condition needs.
    columns: tuple[str, ...]


def clean(
    path: Path | str, days: float = 90, *, now: float | None = None, zone: tzinfo | None = None, dry_run: bool = False
) -> Cleaned:
    """Remove rows older than ``days``, alerts after a third of them, hourly figures after twice as many.

    Args:
        path: the library's file, an existing ``monitoring.db``, or one file with both.
        days: how many days are kept.
        now: seconds since 1970; the clock's when None.
        zone: of times in an existing store that say nothing of UTC; the computer's when None.
        dry_run: only count.

    Raises:
        FileNotFoundError: there is no such file.
        sqlite3.Error: it cannot be written. What was removed before stays so.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file", str(path))
    moment = time.time() if now is None else now
    mode = "ro" if dry_run else "rw"
    # Every statement is a transaction of its own where none is begun: space is given back outside of one.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_LOCK_WITHIN, isolation_level=None
    )
    with closing(connection):
        old = list(_there(connection, _all_old(moment, days, zone)))
        if dry_run:
            return Cleaned({each.table: _count(connection, each) for each in old}, 0)
        before = _size(connection)
        rows = {each.table: _remove(connection, each) for each in old}
        if any(rows.values()):
            _give_back(connection)
        return Cleaned(rows, max(0, before - _size(connection)))


def _all_old(now: float, days: float, zone: tzinfo | None) -> Iterator[_Old]:
    limit, third, twice = (now - days * _DAY * factor for factor in (1, 1 / 3, 2))
    for table in ("errors", "messages", "transactions", "metrics", "crash_reports"):
        yield _existing(table, limit, zone)
    yield _existing("alerts", third, zone)
    yield _Old("metrics_hourly", "hour < ?", (_local(twice, zone),), ("hour",))
    yield _Old("rounds_timing", "at < ?", (limit,), ("at",))
    for table in ("rounds_sample", "rounds_error_slot"):
        yield _Old(table, "slot < ?", (int(limit // SLOT_SECONDS),), ("slot",))
    yield _Old("rounds_error_group", "last_seen < ?", (limit,), ("last_seen",))
    yield _Old("rounds_alert", "at < ?", (third,), ("at",))
    yield _Old("rounds_crash", "at < ?", (limit,), ("at",))
    yield _Old("rounds_run", "ended < ?", (limit,), ("ended",))


def _existing(table: str, limit: float, zone: tzinfo | None) -> _Old:
    utc = f"{datetime.fromtimestamp(limit, UTC):%Y-%m-%d %H:%M:%S}"
    # When it was written is known in UTC, and when it happened only in local time.
    condition = "coalesce(created_at < ?, timestamp < ?)"
    return _Old(table, condition, (utc, _local(limit, zone)), ("created_at", "timestamp"))


def _local(at: float, zone: tzinfo | None) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")


def _there(connection: sqlite3.Connection, all_old: Iterator[_Old]) -> Iterator[_Old]:
    for old in all_old:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({old.table})")}
        if columns.issuperset(old.columns):
            yield old


def _count(connection: sqlite3.Connection, old: _Old) -> int:
    sql = f"SELECT count(*) FROM {old.table} WHERE {old.condition}"
    return int(connection.execute(sql, old.values).fetchone()[0])


def _remove(connection: sqlite3.Connection, old: _Old) -> int:
    key = _key(connection, old.table)
    names, marks = ", ".join(key), ", ".join("?" * len(key))
    removed, last = 0, None
    while True:
        # From where the last batch ended, so that no row is looked at twice.
        behind = "" if last is None else f" AND ({names}) > ({marks})"
        which = f"SELECT {names} FROM {old.table} WHERE {old.condition}{behind} ORDER BY {names} LIMIT {_BATCH}"
        connection.execute("BEGIN IMMEDIATE")
        try:
            chosen = connection.execute(which, (*old.values, *(last or ()))).fetchall()
            condition = " AND ".join(f"{name} = ?" for name in key)
            connection.executemany(f"DELETE FROM {old.table} WHERE {condition}", chosen)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        removed += len(chosen)
        if len(chosen) < _BATCH:
            return removed
        last = chosen[-1]
        time.sleep(_PAUSE)


def _key(connection: sqlite3.Connection, table: str) -> Sequence[str]:
    """The columns that tell its rows apart: ``rowid`` where it has one."""
    [row] = [row for row in connection.execute("PRAGMA table_list") if row[1] == table and row[0] == "main"]
    if not row[4]:
        return ("rowid",)
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return [column[1] for column in sorted(columns, key=lambda column: column[5]) if column[5]]


def _give_back(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
        connection.execute("VACUUM")
        return
    while connection.execute("PRAGMA freelist_count").fetchone()[0]:
        before = connection.execute("PRAGMA freelist_count").fetchone()[0]
        # Only a script's statement is run to its end: ``execute`` gives one page back.
        connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        if connection.execute("PRAGMA freelist_count").fetchone()[0] >= before:
            return


def _size(connection: sqlite3.Connection) -> int:
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)

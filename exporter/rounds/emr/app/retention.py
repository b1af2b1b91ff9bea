"""What is removed from a store: what is too old, and the oldest where it is too much. A bounded piece at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rounds.emr.layout import SLOT_SECONDS

#: Rows in one transaction: others that write wait for about 10 ms.
PIECE = 5_000
#: Pages that are given back at once.
_PAGES = 500
_DAY = 86_400.0
_CLEANUP_BUSY_SECONDS = 10.0


@dataclass(frozen=True)
class Old:
    """Rows of a table that are too old.

    Attributes:
        key: the table's primary key.
        condition: what holds for them, with one parameter.
        value: the parameter.
    """

    table: str
    key: str
    condition: str
    value: float

    def remove(self, connection: sqlite3.Connection) -> int:
        """Remove a piece; gives how many rows."""
        return connection.execute(
            f"DELETE FROM {self.table} WHERE ({self.key}) IN"
            f" (SELECT {self.key} FROM {self.table} WHERE {self.condition} LIMIT {PIECE})",
            (self.value,),
        ).rowcount

    def count(self, connection: sqlite3.Connection) -> int:
        """How many there are."""
        sql = f"SELECT count(*) FROM {self.table} WHERE {self.condition}"
        return int(connection.execute(sql, (self.value,)).fetchone()[0])


@dataclass(frozen=True)
class Kept:
    """A table of rows that age.

    Attributes:
        key: its primary key.
        at: when a row was, in the table's own unit.
        unit: this unit in seconds.
        order: what tells the oldest, where not this: numbers do not go back as clocks do.
        least: rows that stay, however full the file is; None where it is not emptied for room.
    """

    table: str
    key: str
    at: str
    unit: float = 1.0
    order: str = ""
    least: int | None = None

    def older(self, before: float) -> Old:
        """What was before then, in seconds since 1970."""
        return Old(self.table, self.key, f"{self.at} < ?", before // self.unit if self.unit > 1 else before)

    def remove_older(self, connection: sqlite3.Connection, before: float) -> int:
        """Remove a piece of what was before then, in seconds since 1970; gives how many rows."""
        return self.older(before).remove(connection)

    def remove_oldest(self, connection: sqlite3.Connection) -> int:
        """Remove the oldest piece, as far as it is more than the least; gives how many rows."""
        if self.least is None:
            return 0
        sample = f"SELECT 1 FROM {self.table} LIMIT {PIECE + self.least}"
        (rows,) = connection.execute(f"SELECT count(*) FROM ({sample})").fetchone()
        return connection.execute(
            f"DELETE FROM {self.table} WHERE ({self.key}) IN"
            f" (SELECT {self.key} FROM {self.table} ORDER BY {self.order or self.at} LIMIT ?)",
            (max(0, rows - self.least),),
        ).rowcount


#: In the order in which they make room. The spool knows itself what it gives up.
OWN = (
    Kept("rounds_timing", "id", "at", order="id", least=0),
    Kept("rounds_sample", "slot, kind, name", "slot", unit=SLOT_SECONDS, least=0),
    Kept("rounds_error_slot", "slot, fingerprint", "slot", unit=SLOT_SECONDS, least=0),
    Kept("rounds_error_group", "fingerprint", "last_seen", least=0),
    Kept("rounds_alert", "id", "at", order="id", least=1_000),
    Kept("rounds_crash", "id", "at"),
    Kept("rounds_run", "id", "ended"),
    Kept("rounds_gauge", "name", "at"),
)

#: Tables of the existing program.
_EXISTING = ("errors", "messages", "transactions", "metrics", "metrics_hourly", "alerts", "crash_reports")
#: Tables that somebody who cleans up keeps for another part of the days, as the existing program says.
_SHARES: dict[str, Callable[[float], float]] = {
    "metrics_hourly": lambda days: 2 * days,
    "alerts": lambda days: days // 3,
    "rounds_alert": lambda days: days // 3,
}
#: In UTC, and in the application's zone: less than a day apart.
_TIMES = ("created_at", "timestamp", "hour")


def used_bytes(connection: sqlite3.Connection) -> int:
    """Size of what the file holds, without pages that are free."""
    return (_pragma(connection, "page_count") - free_pages(connection)) * _pragma(connection, "page_size")


def free_pages(connection: sqlite3.Connection) -> int:
    """Pages that hold nothing, and make the file larger than it need be."""
    return _pragma(connection, "freelist_count")


def foreign_bytes(connection: sqlite3.Connection) -> int:
    """Size of tables that are not the library's; 0 where this SQLite cannot tell."""
    if not connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table'"
        " AND name NOT LIKE 'rounds!_%' ESCAPE '!' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    ).fetchone():
        return 0
    try:
        (size,) = connection.execute(
            "SELECT sum(pgsize) FROM dbstat WHERE aggregate = 1"
            " AND name NOT LIKE 'rounds!_%' ESCAPE '!' AND name NOT LIKE 'sqlite!_s%' ESCAPE '!'"
        ).fetchone()
    except sqlite3.Error:
        return 0
    return int(size or 0)


def give_back(connection: sqlite3.Connection) -> bool:
    """Give some free pages back to the disk, where the file is made for it; gives whether there are more."""
    before = free_pages(connection)
    if before:
        # A script, as a statement of its own stops at its first row, which is one page.
        connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
    return 0 < free_pages(connection) < before


def remove_older(path: Path, days: float = 90, *, now: float | None = None, dry_run: bool = False) -> dict[str, int]:
    """Remove what is older from a store: the library's tables and the existing program's, those that are there.

    Alerts are kept for a third of the days, the existing program's hourly figures for twice as long. The file shrinks
    after that.

    Args:
        path: the file.
        days: how many days are kept.
        now: seconds since 1970; the clock's when None.
        dry_run: only count.

    Returns:
        how many rows were removed, by table.

    Raises:
        FileNotFoundError: there is no such file.
        sqlite3.Error: it could not be done to its end. What was removed until then is removed.
    """
    path.stat()
    end = time.time() if now is None else now
    uri = f"{path.absolute().as_uri()}?mode={'ro' if dry_run else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, timeout=_CLEANUP_BUSY_SECONDS, isolation_level=None)
    with closing(connection):
        old = list(_all_old(connection, days, end))
        if dry_run:
            return {each.table: each.count(connection) for each in old}
        removed = {each.table: sum(_pieces(connection, each)) for each in old}
        if _pragma(connection, "auto_vacuum") == 0:
            # Not in a transaction, where it is refused, and all that was removed comes back.
            connection.execute("VACUUM")
        else:
            while give_back(connection):
                pass
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return removed


def _all_old(connection: sqlite3.Connection, days: float, now: float) -> Iterator[Old]:
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def before(table: str) -> float:
        return now - _SHARES.get(table, float)(days) * _DAY

    for kept in OWN:
        if kept.table in there:
            yield kept.older(before(kept.table))
    for table in _EXISTING:
        if table in there and (old := _old_of_existing(connection, table, before(table))):
            yield old


def _old_of_existing(connection: sqlite3.Connection, table: str, before: float) -> Old | None:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    times = [f"julianday({column})" for column in _TIMES if column in columns]
    if not times:
        return None
    at = times[0] if len(times) == 1 else f"coalesce({', '.join(times)})"
    return Old(table, "rowid", f"{at} < julianday(?, 'unixepoch')", before)


def _pieces(connection: sqlite3.Connection, old: Old) -> Iterator[int]:
    # Each is a transaction of its own.
    while removed := old.remove(connection):
        yield removed


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)

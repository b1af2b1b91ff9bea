"""The journal: what each check with changes found, and the keys of the rows where they are listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from rounds.tables.compare import Changes
from rounds.tables.record import CHANGES, Record
from rounds.tables.schema import CHANGE, CHANGED_KEY

#: Seconds for which entries are kept.
RETENTION = 30 * 86_400.0
#: Keys in one statement.
_BATCH = 1000


@dataclass(frozen=True)
class Entry:
    """One kind of change that one check found.

    Attributes:
        at: when, in Unix seconds.
        rows: how many rows.
        keys: labels of changed keys; a key that stands for several rows is there once for each.
        unlisted: rows whose keys are not listed.
    """

    table: str
    check_id: int
    at: float
    change: str
    rows: int
    keys: list[str]
    unlisted: int


def write(connection: Connection, record: Record, changes: Changes) -> None:
    """Append what a check found, unless it found nothing."""
    for change in CHANGES:
        rows, labels = changes.counts[change], changes.keys[change]
        if not rows:
            continue
        entry = {
            "table_name": record.name,
            "check_id": record.check_id,
            "at": record.checked_at,
            "change": change,
            "row_count": rows,
            "unlisted": rows - len(labels),
        }
        (change_id,) = connection.execute(insert(CHANGE).values(entry)).inserted_primary_key or (None,)
        for start in range(0, len(labels), _BATCH):
            batch = labels[start : start + _BATCH]
            connection.execute(insert(CHANGED_KEY), [{"change_id": change_id, "label": label} for label in batch])


def prune(connection: Connection, now: float) -> None:
    """Drop entries older than the retention."""
    old = select(CHANGE.c.id).where(CHANGE.c.at < now - RETENTION)
    numbers = list(connection.scalars(old))
    for start in range(0, len(numbers), _BATCH):
        batch = numbers[start : start + _BATCH]
        connection.execute(delete(CHANGED_KEY).where(CHANGED_KEY.c.change_id.in_(batch)))
        connection.execute(delete(CHANGE).where(CHANGE.c.id.in_(batch)))


def entries(connection: Connection, *, table: str | None = None, since: float = 0) -> Iterator[Entry]:
    """The journal's entries from oldest to newest.

    Args:
        connection: a transaction of the ledger.
        table: only those of this table.
        since: only those that are not older, in Unix seconds.
    """
    statement = select(CHANGE).where(CHANGE.c.at >= since).order_by(CHANGE.c.at, CHANGE.c.id)
    if table is not None:
        statement = statement.where(CHANGE.c.table_name == table)
    for row in connection.execute(statement).all():
        keys = select(CHANGED_KEY.c.label).where(CHANGED_KEY.c.change_id == row.id).order_by(CHANGED_KEY.c.id)
        labels = list(connection.scalars(keys))
        yield Entry(row.table_name, row.check_id, row.at, row.change, row.row_count, labels, row.unlisted)

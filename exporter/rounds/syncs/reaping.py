"""Closing rows of runs that were given up: their programs are gone, and nobody else will."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from rounds.databases.databases import Databases
from rounds.databases.session import Kind
from rounds.databases.writing import writing
from rounds.syncs.config import Sync
from rounds.syncs.database import DatabaseLog
from rounds.syncs.layout import Catalogue, Layout, catalogue_for, examine
from rounds.syncs.log import Record
from rounds.syncs.runs import Run, interpret

#: What the row says of why. It is no class of errors, so it counts as ``other``.
ORPHANED = "orphaned"

#: Statuses of runs that have ended; what else there is is looked at.
_ENDED = ("completed", "success", "warning", "failed", "error", "timeout", "skipped", "cancelled", "canceled")
#: Rows that are closed at most at a time, the rest by the next call.
_MOST = 10_000
#: How a column is compared with a text that was read before, NULL or not.
_SAME = {
    "postgresql": "{}::text IS NOT DISTINCT FROM %s",
    "mariadb": "CAST({} AS CHAR) <=> %s",
    "sqlite": "CAST({} AS TEXT) IS ?",
}
_AS_TEXT = {"postgresql": "{}::text", "mariadb": "CAST({} AS CHAR)", "sqlite": "CAST({} AS TEXT)"}
#: What tells that a row was changed meanwhile.
_WATCHED = ("status", "started_at", "completed_at", "updated_at", "records_processed", "records_success", "metadata")


@dataclass(frozen=True)
class _Seen:
    """A row as it was when it was looked at: its id as the driver has it, and the texts of what is watched."""

    id: Any
    texts: tuple[str | None, ...]


def reap(sync: Sync, databases: Databases, older_than: float, *, dry_run: bool) -> Iterator[tuple[Run, float]]:
    """Close runs that have not ended and have said nothing for too long: as failed, orphaned, and ended now.

    A row that changes between the look at it and its closing is left alone.

    Args:
        sync: whose log, which is in a database.
        databases: where it is; the source's user must be allowed to update the table.
        older_than: seconds.
        dry_run: whether nothing is written.

    Returns:
        each run that was closed, or would be, and for how many seconds it had said nothing.

    Raises:
        CollectorError: the database refused it.
    """
    with writing(sync.source, databases.source(sync.source)) as connection:
        with databases.open(sync.source, timeout=sync.timeout) as session:
            layout = examine(session, sync)
            table = _Table(sync, connection, layout, catalogue_for(session), session.kind)
            seen = table.unended()
            log = DatabaseLog(session, layout, sync)
            now = log.now()
            records = list(log.records(list(seen)))
        # A SQLite file cannot be written to while it is read.
        for record in records:
            run = interpret(record, now, seen=now, running_totals=sync.running_totals)
            silent = now - run.said
            if not run.ended and silent > older_than and (dry_run or table.close(record, seen[record.id], now)):
                yield run, silent


class _Table:
    """A log's table, for a connection that may write."""

    def __init__(self, sync: Sync, connection: Connection, layout: Layout, catalogue: Catalogue, kind: Kind) -> None:
        self._sync, self._connection, self._layout, self._catalogue, self._kind = (
            sync, connection, layout, catalogue, kind,
        )  # fmt: skip
        self._mark = "?" if kind == "sqlite" else "%s"
        self._columns = {name: catalogue.quoted(column.name) for name, column in layout.columns.items()}
        self._watched = [name for name in _WATCHED if name in self._columns]

    def unended(self) -> dict[str, _Seen]:
        """Rows that do not say that they have ended, by their ids as texts."""
        columns = self._columns
        texts = ", ".join(_AS_TEXT[self._kind].format(columns[name]) for name in ("id", *self._watched))
        ended = ", ".join(f"'{status}'" for status in _ENDED)
        statement = (
            f"SELECT {columns['id']}, {texts} FROM {self._layout.table} WHERE {columns['status']} NOT IN ({ended})"
        )
        given: tuple[object, ...] = ()
        if self._sync.source_system is not None and "source_system" in columns:
            statement, given = f"{statement} AND {columns['source_system']} = {self._mark}", (self._sync.source_system,)
        rows = self._connection.exec_driver_sql(f"{statement} LIMIT {_MOST}", given)
        found = {str(text): _Seen(each, tuple(texts)) for each, text, *texts in map(tuple, rows)}
        self._connection.rollback()
        return found

    def close(self, record: Record, seen: _Seen, now: float) -> bool:
        """Close a row, and tell whether it was still as it was."""
        changes: dict[str, object] = {"status": "failed"}
        for name in ("completed_at", "updated_at"):
            if name in self._columns:
                changes[name] = self._time(name, now)
        if "metadata" in self._columns and "bad_metadata" not in record.problems:
            changes["metadata"] = json.dumps({**record.metadata, "error_type": ORPHANED})
        changed = [f"{self._columns[name]} = {self._value(name)}" for name in changes]
        # In MariaDB a table's first TIMESTAMP becomes now with each change, unless declared otherwise.
        changed.append("{0} = {0}".format(self._columns["started_at"]))
        same = [f"{self._columns['id']} = {self._mark}"]
        same += [_SAME[self._kind].format(self._columns[name]) for name in self._watched]
        done = self._connection.exec_driver_sql(
            f"UPDATE {self._layout.table} SET {', '.join(changed)} WHERE {' AND '.join(same)}",
            (*changes.values(), seen.id, *seen.texts),
        ).rowcount
        self._connection.commit()
        return done == 1

    def _value(self, name: str) -> str:
        declared = self._layout.columns[name].type
        return (
            f"{self._mark}::{declared}" if declared in ("json", "jsonb") and self._kind == "postgresql" else self._mark
        )

    def _time(self, name: str, now: float) -> object:
        """A time as the column keeps it."""
        column, moment = self._layout.columns[name], datetime.fromtimestamp(now, UTC)
        local = moment.astimezone(self._sync.zone).replace(tzinfo=None)
        match self._catalogue.storage(column):
            case "aware":
                return moment if self._kind == "postgresql" else moment.replace(tzinfo=None)
            case "naive":
                return local
            case "number":
                return int(now)
            case "any" if "time" in column.type or "date" in column.type:
                return local.isoformat(" ", "microseconds")
            case _:
                return moment.isoformat(" ")

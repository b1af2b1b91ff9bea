"""The table that a log of runs is, in whatever shape it has."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, CursorResult, text

from rounds.syncs.naming import parts_of

#: What gives the columns of a table and their types, in one statement.
_COLUMNS = {
    "postgresql": "SELECT a.attname, t.typname FROM pg_catalog.pg_attribute AS a"
    " JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid WHERE a.attrelid = to_regclass(CAST(:quoted AS text))"
    " AND a.attnum > 0 AND NOT a.attisdropped",
    "mysql": "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS"
    " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = :name",
    "sqlite": "SELECT name, type FROM pragma_table_info(:name)",
}
#: Without these a log is none.
_NEEDED = ("id", "started_at", "status")
#: What does not change.
_FIXED = ("organization_id", "operation_type", "source_system")
_NUMBER = re.compile("int|serial|numeric|decimal")
#: Columns round times: a row is looked for among those that began so near.
_ROUNDED = timedelta(seconds=1)


class LogMissing(Exception):  # noqa: N818  # says what is wrong
    """There is no such table, or it lacks one of the columns id, started_at and status."""


class Table:
    """A log's table, by the names that its columns have in the system that is replaced.

    Args:
        connection: of its database: PostgreSQL, MariaDB, MySQL or SQLite.
        name: what it is called; in PostgreSQL it may have a schema before it.

    Raises:
        LogMissing: it is not there.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        kind = connection.dialect.name
        self.kind = "mysql" if kind == "mariadb" else kind
        parts = parts_of(name) if self.kind == "postgresql" else [name]
        quote = "`" if self.kind == "mysql" else '"'
        quoted = ".".join(quote + part.replace(quote, 2 * quote) + quote for part in parts)
        given = {"quoted": quoted} if self.kind == "postgresql" else {"name": name}
        found = connection.execute(text(_COLUMNS[self.kind]), given)
        self._types = {str(column): str(declared).lower() for column, declared in map(tuple, found)}
        if not all(column in self._types for column in _NEEDED):
            raise LogMissing
        # A colon would begin a parameter.
        self._name = quoted.replace(":", "\\:")

    def new_id(self) -> uuid.UUID | str | None:
        """What a new row is identified by; None where the database gives it a number."""
        declared = self._types["id"]
        if _NUMBER.search(declared):
            return None
        new = uuid.uuid4()
        return new if self.kind == "postgresql" and declared == "uuid" else str(new)

    def insert(self, connection: Connection, row_id: object, row: Mapping[str, Any]) -> object:
        """Insert a row.

        Args:
            connection: whose transaction it is part of.
            row_id: from :meth:`new_id`.
            row: values by the names of columns. What the table has no column for is left out.

        Returns:
            What identifies the row.
        """
        given = self._given(row if row_id is None else {"id": row_id, **row})
        names, values = ", ".join(given), ", ".join(self._value(name) for name in given)
        statement = f"INSERT INTO {self._name} ({names}) VALUES ({values})"
        if row_id is not None:
            self._run(connection, statement, given)
            return row_id
        if self.kind == "postgresql":
            return self._run(connection, f"{statement} RETURNING id", given).scalar_one()
        return self._run(connection, statement, given).lastrowid

    def update(self, connection: Connection, row_id: object, row: Mapping[str, Any]) -> None:
        """Bring a row up to date; as :meth:`insert`."""
        # The start is written again: in MariaDB a table's first TIMESTAMP becomes now with each change, unless declared
        # otherwise.
        given = self._given({name: value for name, value in row.items() if name not in _FIXED})
        changed = ", ".join(f"{name} = {self._value(name)}" for name in given)
        self._run(connection, f"UPDATE {self._name} SET {changed} WHERE id = :id", {**given, "id": row_id})

    def find(self, connection: Connection, row_id: object, row: Mapping[str, Any]) -> object:
        """What identifies a row that was perhaps inserted, though its insertion failed; None where it is not there."""
        if row_id is not None:
            return self._run(connection, f"SELECT id FROM {self._name} WHERE id = :id", {"id": row_id}).scalar()
        key = self._given({name: row[name] for name in ("organization_id", "operation_type", "status")})
        conditions = [
            *(f"{name} = :{name}" for name in key),
            f"started_at BETWEEN {self._value('started_at', 'since')}",
        ]
        for name, moment in (("since", row["started_at"] - _ROUNDED), ("until", row["started_at"] + _ROUNDED)):
            key[name] = self._plain("started_at", moment)
        conditions.append(self._value("started_at", "until"))
        document = "metadata" if "metadata" in self._types else "NULL"
        statement = f"SELECT id, {document} FROM {self._name} WHERE {' AND '.join(conditions)}"
        for found, stored in map(tuple, self._run(connection, statement, key)):
            metadata = json.loads(stored) if isinstance(stored, str) else stored
            # To the microsecond, which tells it from a run of the same kind that began with it.
            if metadata is None or metadata.get("timestamp") == row["metadata"]["timestamp"]:
                return found
        return None

    def _run(self, connection: Connection, statement: str, given: Mapping[str, Any]) -> CursorResult[Any]:
        return connection.execute(text(statement), given)

    def _given(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Values as the driver takes them, of the columns that are there."""
        return {name: self._plain(name, value) for name, value in row.items() if name in self._types}

    def _value(self, column: str, parameter: str = "") -> str:
        """How a parameter stands in a statement as a column's value."""
        declared, name = self._types[column], f":{parameter or column}"
        if self.kind == "postgresql" and declared in ("json", "jsonb"):
            return f"CAST({name} AS {declared})"
        # Such a column takes times of the session's zone, whatever that is; others are taken as they are.
        return f"FROM_UNIXTIME({name})" if self.kind == "mysql" and declared == "timestamp" else name

    def _plain(self, column: str, value: object) -> object:
        declared = self._types[column]
        if isinstance(value, dict):
            return json.dumps(value)
        if isinstance(value, datetime):
            return self._time(declared, value.astimezone(UTC))
        if column == "organization_id":
            return int(str(value)) if _NUMBER.search(declared) else str(value)
        return value

    def _time(self, declared: str, value: datetime) -> object:
        """A time in UTC: with its zone where the column keeps one, or anything, else without."""
        if "char" in declared or "text" in declared:
            return value.isoformat(" ")
        if self.kind == "postgresql":
            return value if declared == "timestamptz" else value.replace(tzinfo=None)
        if self.kind == "mysql":
            return value.timestamp() if declared == "timestamp" else value.replace(tzinfo=None)
        # SQLite keeps what it is given; declared types are for those who read.
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")

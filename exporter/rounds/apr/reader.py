"""Reads the pipeline's database: what differs between MariaDB and SQLite is here and nowhere else.

Statements are written with ``?`` for parameters and hold no other ``?``; a percent sign stands in SQLite's only.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import date
from typing import TypeAlias

from rounds.databases.session import Row, Session

#: Types by names in upper case.
Columns: TypeAlias = dict[str, str]


class Reader(ABC):
    """Sends statements over one session."""

    placeholder: str
    #: What begins a transaction in which all statements see one state.
    _begin: tuple[str, ...]

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self) -> None:
        """From now on see one state of the database, so that figures agree with each other. Ends with the session.

        Raises:
            CollectorError: as every method here, where the source fails.
        """
        for statement in self._begin:
            self._session.all(statement)

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """The rows of a statement whose result is small."""
        return self._session.all(sql.replace("?", self.placeholder), parameters)

    def one(self, sql: str, *parameters: object) -> Row:
        """The only row of a statement that always has one."""
        return self.all(sql, *parameters)[0]

    def stream(self, sql: str, *parameters: object) -> Iterator[Row]:
        """The rows of a statement as they come. All of them must be taken before the next statement."""
        return self._session.stream(sql.replace("?", self.placeholder), parameters)

    @abstractmethod
    def unix(self, column: str) -> str:
        """An expression for Unix seconds of a TIMESTAMP."""

    @abstractmethod
    def now(self) -> float:
        """The database's clock in Unix seconds."""

    @abstractmethod
    def columns(self, tables: Sequence[str]) -> dict[str, Columns]:
        """The columns of those tables that are there and may be read: their types by their names in upper case."""

    @abstractmethod
    def rows(self, tables: Sequence[str]) -> dict[str, int | None]:
        """Rows of each table, as far as that is known without counting."""


class _MariadbReader(Reader):
    placeholder = "%s"
    _begin = (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    )

    def unix(self, column: str) -> str:
        return f"UNIX_TIMESTAMP({column})"

    def now(self) -> float:
        return float(self.one("SELECT UNIX_TIMESTAMP()")[0])

    def columns(self, tables: Sequence[str]) -> dict[str, Columns]:
        marks = ", ".join("?" * len(tables))
        rows = self.all(
            "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS"
            f" WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({marks})",
            *tables,
        )
        found: dict[str, Columns] = {}
        for table, column, kind in rows:
            # Where the server folds names to lower case, tables are spelt so.
            found.setdefault(str(table).lower(), {})[str(column).upper()] = str(kind)
        return found

    def rows(self, tables: Sequence[str]) -> dict[str, int | None]:
        marks = ", ".join("?" * len(tables))
        rows = self.all(
            "SELECT TABLE_NAME, TABLE_ROWS FROM information_schema.TABLES"
            f" WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({marks})",
            *tables,
        )
        return {str(table).lower(): None if count is None else int(count) for table, count in rows}


class _SqliteReader(Reader):
    placeholder = "?"
    _begin = ("BEGIN",)

    def unix(self, column: str) -> str:
        return f"CAST(strftime('%s', {column}) AS INTEGER)"

    def now(self) -> float:
        return float(self.one("SELECT CAST(strftime('%s', 'now') AS INTEGER)")[0])

    def columns(self, tables: Sequence[str]) -> dict[str, Columns]:
        found: dict[str, Columns] = {}
        for table in tables:
            rows = self.all("SELECT name, type FROM pragma_table_info(?)", table)
            if rows:
                found[table] = {str(name).upper(): str(kind) for name, kind in rows}
        return found

    def rows(self, tables: Sequence[str]) -> dict[str, int | None]:
        # SQLite keeps no number of rows; its files are small.
        return {table: int(self.one(f"SELECT COUNT(*) FROM {table}")[0]) for table in tables}


def reader_for(session: Session) -> Reader:
    """A reader over a session with MariaDB or SQLite."""
    return _SqliteReader(session) if session.kind == "sqlite" else _MariadbReader(session)


def to_date(value: object) -> date | None:
    """A DATE as the driver gives it: a date, a text in SQLite, a text or nothing where MariaDB holds no real day."""
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def enum_values(kind: str) -> tuple[str, ...] | None:
    """The values of an ENUM, None for another type."""
    if not kind.lower().startswith("enum("):
        return None
    return tuple(value.replace("''", "'") for value in re.findall(r"'((?:[^']|'')*)'", kind))

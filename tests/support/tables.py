"""Tables to watch, in a database of a test's own, whatever its kind."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rounds.databases.databases import Databases
from rounds.databases.session import Row, Session
from rounds.tables.dialects import dialect_for
from rounds.tables.dialects.dialect import Column, Dialect, Plan
from rounds.tables.layout import Layout
from support.databases import SqliteFiles, databases_for


class Files(SqliteFiles):
    """A folder of SQLite files as a server of databases."""

    def executemany(self, statement: str, rows: Sequence[Sequence[object]], database: str) -> None:
        """Run one statement for many rows."""
        with contextlib.closing(sqlite3.connect(self._folder / database)) as connection:
            connection.executemany(statement, rows)
            connection.commit()


@dataclass
class Lab:
    """A database in which a test makes tables.

    Attributes:
        kind: the kind of its source.
        database: the database's name.
        databases: what opens sessions with it, under the name ``lab``.
    """

    kind: str
    server: Any
    database: str
    databases: Databases

    @property
    def mark(self) -> str:
        """The driver's placeholder."""
        return "?" if self.kind in ("sqlite", "snowflake") else "%s"

    def quote(self, name: str) -> str:
        """A name, quoted."""
        mark = "`" if self.kind == "mariadb" else '"'
        return mark + name.replace(mark, 2 * mark) + mark

    def name(self, table: str) -> str:
        """A table's name as it stands in a statement, and in a configuration where that quotes the same."""
        schema = f'"{self.database.upper()}"."PUBLIC".' if self.kind == "snowflake" else ""
        return schema + self.quote(table)

    def sql(self, *statements: str) -> list[Any]:
        """Run statements."""
        schema = ("USE SCHEMA PUBLIC",) if self.kind == "snowflake" else ()
        found: list[Any] = self.server.sql(*schema, *statements, database=self.database)
        return found

    def create(self, table: str, columns: Sequence[tuple[str, str]]) -> None:
        """Make a table."""
        declared = ", ".join(f"{self.quote(column)} {type_}" for column, type_ in columns)
        self.sql(f"CREATE TABLE {self.name(table)} ({declared})")

    def fill(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        """Let these be a table's rows."""
        self.sql(f"DELETE FROM {self.name(table)}")
        self.insert(table, rows)

    def insert(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        """Add rows."""
        if not rows:
            return
        if self.kind == "snowflake":  # whose connector takes a column's type from the first row, which may have NULL
            self.sql(f"INSERT INTO {self.name(table)} VALUES " + ", ".join(map(_literals, rows)))
            return
        marks = ", ".join([self.mark] * len(rows[0]))
        name = self.name(table).replace("%", "%%" if self.mark == "%s" else "%")
        self.server.executemany(f"INSERT INTO {name} VALUES ({marks})", rows, self.database)

    @contextlib.contextmanager
    def open(self, table: str, salt: str = "a salt") -> Iterator[Dialect]:
        """Change detection of a table, prepared."""
        with self.databases.open("lab") as session:
            dialect = dialect_for(session, self.configured(table), salt)
            dialect.prepare()
            yield dialect

    def configured(self, table: str) -> str:
        """A table's name as a configuration has it."""
        schema = f"{self.database}.public." if self.kind == "snowflake" else ""
        return schema + '"' + table.replace('"', '""') + '"'


def _literals(row: Sequence[object]) -> str:
    """Numbers and texts as Snowflake's SQL has them."""
    texts = (str(value).replace("\\", "\\\\").replace("'", "''") for value in row)
    values = (
        "NULL" if value is None else f"'{text}'" if isinstance(value, str) else text
        for value, text in zip(row, texts, strict=True)
    )
    return f"({', '.join(values)})"


def lab_in(kind: str, server: Any) -> Lab:
    """A lab in a new database of a server."""
    database = server.create_database("tables")
    return Lab(kind, server, database, databases_for({"lab": server.source(database)}))


def plan(columns: Sequence[Column], layout: Layout, *, keys: int = 1, key_max: bool = False) -> Plan:
    """A plan whose key is the first columns."""
    return Plan(tuple(columns[:keys]), tuple(columns[keys:]), layout, key_max)


class Overheard(Session):
    """A session that remembers every row that arrived."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.kind = session.kind
        self.timeout = session.timeout
        self.rows: list[Row] = []
        self.statements: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Pass on."""
        self.statements.append(sql)
        rows = self._session.all(sql, parameters)
        self.rows += rows
        return rows

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[Row]:
        """Pass on."""
        self.statements.append(sql)
        for row in self._session.stream(sql, parameters):
            self.rows.append(row)
            yield row

    def cancel(self) -> None:
        """Pass on."""
        self._session.cancel()

    def close(self) -> None:
        """Pass on."""
        self._session.close()

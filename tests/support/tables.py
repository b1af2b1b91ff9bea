"""Tables to watch, in a database of a test's own, whatever its kind."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rounds.databases.databases import Databases
from rounds.databases.session import Row, Session
from rounds.sources import Source
from rounds.tables.dialects import dialect_for
from rounds.tables.dialects.dialect import Column, Dialect, Plan
from rounds.tables.layout import Layout
from support.databases import databases_for, sqlite_source


class Server(Protocol):
    """What the servers of tests have in common."""

    def create_database(self, prefix: str = "test") -> str:
        """A new, empty database."""

    def sql(self, *statements: str, database: str) -> list[Any]:
        """Run statements."""

    def executemany(self, statement: str, rows: Sequence[Sequence[object]], database: str) -> None:
        """Run one statement for many rows."""

    def source(self, database: str) -> Source:
        """A configured source."""


class SqliteFiles:
    """A folder of SQLite files as a server of databases."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    def create_database(self, prefix: str = "test") -> str:
        """A new file."""
        self._made += 1
        return str(self._folder / f"{prefix}_{self._made}.db")

    def sql(self, *statements: str, database: str) -> list[Any]:
        """Run statements."""
        with contextlib.closing(sqlite3.connect(database)) as connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            connection.commit()
            return rows

    def executemany(self, statement: str, rows: Sequence[Sequence[object]], database: str) -> None:
        """Run one statement for many rows."""
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.executemany(statement, rows)
            connection.commit()

    def source(self, database: str) -> Source:
        """A configured source."""
        return sqlite_source(Path(database))


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

    def sql(self, *statements: str) -> list[Any]:
        """Run statements."""
        found: list[Any] = self.server.sql(*statements, database=self.database)
        return found

    def create(self, name: str, columns: Sequence[tuple[str, str]]) -> None:
        """Make a table."""
        declared = ", ".join(f"{self.quote(column)} {type_}" for column, type_ in columns)
        self.sql(f"CREATE TABLE {self.quote(name)} ({declared})")

    def fill(self, name: str, rows: Sequence[Sequence[object]]) -> None:
        """Let these be a table's rows."""
        self.sql(f"DELETE FROM {self.quote(name)}")
        self.insert(name, rows)

    def insert(self, name: str, rows: Sequence[Sequence[object]]) -> None:
        """Add rows."""
        if rows:
            marks = ", ".join([self.mark] * len(rows[0]))
            quoted = self.quote(name).replace("%", "%%" if self.mark == "%s" else "%")
            self.server.executemany(f"INSERT INTO {quoted} VALUES ({marks})", rows, self.database)

    @contextlib.contextmanager
    def open(self, name: str, salt: str = "a salt") -> Iterator[Dialect]:
        """Change detection of a table, prepared."""
        with self.databases.open("lab") as session:
            dialect = dialect_for(
                session, f'"{name}"' if '"' not in name else f'"{name.replace(chr(34), 2 * chr(34))}"', salt
            )
            dialect.prepare()
            yield dialect


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

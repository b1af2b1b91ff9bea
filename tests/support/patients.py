"""A small watched table in a real database, changed at will, and the truth about every change of it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rounds.databases.databases import Databases
from rounds.databases.session import Session
from rounds.ledger.ledger import Ledger
from rounds.sources import MariadbSource, PostgresqlSource, SnowflakeSource, SqliteSource
from rounds.tables import journal
from rounds.tables.check import check
from rounds.tables.config import WatchedTable
from rounds.tables.journal import Entry
from rounds.tables.record import CHANGES, Change, Record
from support.fakesnow import FakesnowServer

#: Key and name. Keys may be missing or there twice.
Patient: TypeAlias = tuple[int | None, str | None]
Truth: TypeAlias = dict[Change, Counter[int | None]]


def truth(before: Sequence[Patient], after: Sequence[Patient]) -> Truth:
    """How often each key was inserted, deleted and modified, by going through the rows one by one."""
    found: Truth = {change: Counter() for change in CHANGES}
    lost, came = list(before), []
    for row in after:
        if row in lost:
            lost.remove(row)
        else:
            came.append(row)
    for row in came:
        former = next((each for each in lost if each[0] == row[0]), None)
        if former is None:
            found["inserted"][row[0]] += 1
        else:
            lost.remove(former)
            found["modified"][row[0]] += 1
    found["deleted"].update(key for key, _ in lost)
    return found


class PatientsTable(ABC):
    """The table ``patients`` with the columns ID and NAME, without a primary key, in a database of its own."""

    #: How the table is called in the configuration.
    table = "patients"
    source: MariadbSource | PostgresqlSource | SqliteSource | SnowflakeSource

    def beside(self, table: str) -> str:
        """How another table in the same place is called in the configuration."""
        return f"{self.table.rpartition('.')[0]}.{table}".lstrip(".")

    @abstractmethod
    def sql(self, *statements: str) -> None:
        """Run statements, as who owns the table."""

    @abstractmethod
    def replace(self, rows: Sequence[Patient]) -> None:
        """Make these the table's rows."""


class Watch:
    """A watched table with the ledger that knows it: checks, as the exporter makes them, and what they found."""

    def __init__(self, patients: PatientsTable, ledger: Ledger, **keys: Any) -> None:
        self.patients = patients
        self.ledger = ledger
        given = {"name": "patients", "source": "clinic", "table": patients.table, **keys}
        self.watched = WatchedTable.model_validate(given)
        self.databases = Databases()
        self.databases.configure({"clinic": patients.source})
        self.now = 1_800_000_000.0

    def open(self) -> Session:
        """A session with the source."""
        return self.databases.open("clinic")

    def check(self, session: Session | None = None) -> Record:
        """One check, an hour after the one before; over a session of its own unless one is given."""
        self.now += 3600
        if session is not None:
            return check(self.watched, session, self.ledger, self.now)
        with self.open() as own:
            return check(self.watched, own, self.ledger, self.now)

    def journal(self, since: float = 0) -> list[Entry]:
        """The journal of the table, whole or since a time."""
        with self.ledger.reading() as connection:
            return list(journal.entries(connection, table=self.watched.name, since=since))


class ServerPatients(PatientsTable):
    """In a database of a MariaDB or a PostgreSQL server of the tests."""

    def __init__(self, server: Any) -> None:
        database = server.create_database()
        self.source = server.source(database)
        # One for all changes; closed with the test, when nothing refers to it any more.
        self._connection = server.connect(database)
        weakref.finalize(self, self._connection.close)
        # PostgreSQL's statistics come late; a check right after a change would find out one check later.
        self._flush = ["SELECT pg_stat_force_next_flush()"] if self.source.kind == "postgresql" else []
        self.sql("CREATE TABLE patients (id BIGINT, name TEXT)")

    def sql(self, *statements: str) -> None:
        with self._connection.cursor() as cursor:
            for statement in [*statements, *self._flush]:
                cursor.execute(statement)

    def replace(self, rows: Sequence[Patient]) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("DELETE FROM patients")
            if rows:
                cursor.executemany("INSERT INTO patients VALUES (%s, %s)", rows)
            for statement in self._flush:
                cursor.execute(statement)


class SnowflakePatients(PatientsTable):
    """In a database of the stand-in for Snowflake, through the connector."""

    def __init__(self, server: FakesnowServer) -> None:
        database = server.create_database()
        self.source = server.source(database)
        self.table = f"{database}.public.patients"
        self._connection = server.connect(database)
        weakref.finalize(self, self._connection.close)
        self.sql("CREATE TABLE patients (id NUMBER(38,0), name VARCHAR)")

    def sql(self, *statements: str) -> None:
        with contextlib.closing(self._connection.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)

    def replace(self, rows: Sequence[Patient]) -> None:
        self.sql("BEGIN", "DELETE FROM patients")
        if rows:
            # As one value: the stand-in reads a placeholder for each in some milliseconds.
            given = "SELECT f.value[0]::NUMBER(38,0), f.value[1]::VARCHAR FROM TABLE(FLATTEN(PARSE_JSON(?))) f"
            with contextlib.closing(self._connection.cursor()) as cursor:
                cursor.execute(f"INSERT INTO patients {given}", [json.dumps(rows)])
        self.sql("COMMIT")


class SqlitePatients(PatientsTable):
    """In a SQLite file."""

    def __init__(self, folder: Path) -> None:
        file = folder / "clinic.db"
        self._connection = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
        self.source = SqliteSource.model_validate({"kind": "sqlite", "path": str(file)})
        self.sql("PRAGMA journal_mode = WAL", "CREATE TABLE patients (id INTEGER, name TEXT)")

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self._connection.execute(statement)

    def replace(self, rows: Sequence[Patient]) -> None:
        self.sql("BEGIN", "DELETE FROM patients")
        self._connection.executemany("INSERT INTO patients VALUES (?, ?)", rows)
        self.sql("COMMIT")

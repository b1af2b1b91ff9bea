"""The table ``sync_logs`` in the shapes that installations have, in each kind of database. All names are made up."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

Kind = Literal["postgresql", "mariadb", "sqlite"]
Shape = Literal["seed", "real"]

KINDS: tuple[Kind, ...] = ("postgresql", "mariadb", "sqlite")
SHAPES: tuple[Shape, ...] = ("seed", "real")
TIMES = ("started_at", "completed_at", "updated_at")

#: Types by what stands for them in the shapes below.
_TYPES: Mapping[str, Mapping[str, str]] = {
    "postgresql": {
        "SERIAL": "SERIAL PRIMARY KEY",
        "UUID": "uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY",
        "NAIVE": "timestamp",
        "AWARE": "timestamptz",
        "JSON": "jsonb",
    },
    "mariadb": {
        "SERIAL": "INT AUTO_INCREMENT PRIMARY KEY",
        "UUID": "CHAR(36) NOT NULL DEFAULT (UUID()) PRIMARY KEY",
        "NAIVE": "DATETIME(6)",
        "AWARE": "TIMESTAMP(6) NULL",
        "JSON": "JSON",
    },
    "sqlite": {
        "SERIAL": "INTEGER PRIMARY KEY",
        "UUID": "TEXT NOT NULL PRIMARY KEY",
        "NAIVE": "TIMESTAMP",
        "AWARE": "TEXT",
        "JSON": "TEXT",
    },
}
_NUMBERS = ("BIGINT", "DOUBLE", "INTEGER", "NUMERIC", "REAL")
_COUNTS = {f"records_{name}": "INTEGER DEFAULT 0" for name in ("processed", "success", "failed")}
_COLUMNS: Mapping[Shape, Mapping[str, str]] = {
    "seed": {
        "id": "{SERIAL}",
        "organization_id": "INTEGER NOT NULL",
        "operation_type": "VARCHAR(50) NOT NULL",
        "status": "VARCHAR(20) NOT NULL",
        **_COUNTS,
        "error_details": "TEXT",
        "started_at": "{NAIVE} NOT NULL",
        "completed_at": "{NAIVE}",
        "metadata": "{JSON}",
    },
    "real": {
        "id": "{UUID}",
        "organization_id": "VARCHAR(255)",
        "source_system": "VARCHAR(50) NOT NULL",
        "operation_type": "VARCHAR(100) NOT NULL",
        "status": "VARCHAR(50) NOT NULL",
        **_COUNTS,
        "error_details": "{JSON}",
        "started_at": "{AWARE}",
        "completed_at": "{AWARE}",
        "metadata": "{JSON}",
        "updated_at": "{AWARE}",
    },
}
#: Indexes of the real table, of one column each.
_INDEXED = ("source_system", "status", "started_at", "organization_id")


@dataclass
class SyncTable:
    """A database with the table.

    Attributes:
        kind: of database.
        shape: ``seed`` has numbers as ids and organisations, and times without a zone, which are UTC here; ``real`` has
            UUIDs, texts, and times with a zone, and the column ``updated_at``.
        url: of the database, for SQLAlchemy, with every privilege.
        source: the database as a configured source.
        columns: columns and their types.
        name: the table's.
        zone: in which times without a zone are written.
    """

    kind: Kind
    shape: Shape
    url: URL
    source: Any
    columns: Mapping[str, str]
    name: str = "sync_logs"
    zone: tzinfo = UTC
    _engine: Engine | None = field(default=None, repr=False)

    @property
    def engine(self) -> Engine:
        """Connections that are not kept."""
        if self._engine is None:
            self._engine = create_engine(self.url, poolclass=NullPool)
        return self._engine

    def sql(self, *statements: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Run statements with the same parameters, written ``:name``, and commit; the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        with self.engine.begin() as connection:
            for statement in statements:
                result = connection.execute(text(statement), parameters)
                rows = [tuple(row) for row in result] if result.returns_rows else []
        return rows

    def put(self, **values: Any) -> str:
        """Insert a row: a run of ``full_patients`` of the first organisation that has just completed, but for what is
        given. Gives its id as text.

        Times are Unix seconds, or anything that the driver takes as it is; documents are dicts, lists, or texts that
        are taken as they are. Columns that this shape has not are left out.
        """
        return self.put_all([values])[0]

    def put_all(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Insert many rows in one transaction."""
        made = [self._row(each) for each in rows]
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in made:
            groups.setdefault(tuple(row), []).append(row)
        with self.engine.begin() as connection:
            for names, some in groups.items():
                marks = ", ".join(self._mark(name) for name in names)
                connection.execute(text(f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({marks})"), some)
        return [str(row["id"]) for row in made]

    def change(self, identity: str, **values: Any) -> None:
        """Change a row."""
        given = {name: self._value(name, value) for name, value in values.items() if name in self.columns}
        changes = ", ".join(f"{name} = {self._mark(name)}" for name in given)
        key = "id" if self.kind != "postgresql" else "id::text"
        self.sql(f"UPDATE {self.name} SET {changes} WHERE {key} = :key", key=identity, **given)

    def remove(self, *identities: str) -> None:
        """Delete rows."""
        key = "id" if self.kind != "postgresql" else "id::text"
        for identity in identities:
            self.sql(f"DELETE FROM {self.name} WHERE {key} = :key", key=identity)

    def _row(self, given: Mapping[str, Any]) -> dict[str, Any]:
        now = time.time()
        whole = {
            "id": next(_numbers) if self.shape == "seed" else str(uuid.uuid4()),
            "organization_id": 1 if self.shape == "seed" else "org_1",
            "operation_type": "full_patients",
            "source_system": "cliniko",
            "status": "completed",
            "started_at": now,
            **given,
        }
        return {name: self._value(name, value) for name, value in whole.items() if name in self.columns}

    def _value(self, name: str, value: Any) -> Any:
        if name in TIMES and isinstance(value, int | float) and self.columns[name].upper() not in _NUMBERS:
            moment = datetime.fromtimestamp(value, UTC)
            if self.kind == "sqlite":
                return (
                    moment.astimezone(self.zone).replace(tzinfo=None) if self.shape == "seed" else moment
                ).isoformat(" ")
            if self.shape == "seed":
                return moment.astimezone(self.zone).replace(tzinfo=None)
            return moment if self.kind == "postgresql" else moment.replace(tzinfo=None)
        return json.dumps(value) if isinstance(value, dict | list) else value

    def _mark(self, name: str) -> str:
        kind = self.columns[name]
        return f"CAST(:{name} AS {kind})" if kind in ("json", "jsonb") else f":{name}"


_numbers: Iterator[int] = iter(range(1, 2**31))


def sync_table(
    kind: Kind,
    server: Any,
    shape: Shape = "real",
    *,
    index: bool = True,
    without: Iterable[str] = (),
    types: Mapping[str, str] | None = None,
    zone: tzinfo = UTC,
) -> SyncTable:
    """Make the table in a new database.

    Args:
        kind: of database.
        server: of the tests' servers, or :class:`support.databases.SqliteFiles`.
        shape: which of the two.
        index: whether it has the real table's indexes.
        without: columns that it has not.
        types: other types, by column.
        zone: in which times without a zone are written.
    """
    given = types or {}
    columns = {
        name: given.get(name, kind_.format_map(_TYPES[kind]))
        for name, kind_ in _COLUMNS[shape].items()
        if name not in set(without)
    }
    database = server.create_database("syncs")
    source = server.source(database)
    url = URL.create("sqlite", database=str(source.path)) if kind == "sqlite" else make_url(server.url(database))
    if kind == "mariadb":
        url = url.update_query_dict({"init_command": "SET time_zone = '+00:00'"})
    table = SyncTable(kind, shape, url, source, {name: each.split()[0] for name, each in columns.items()}, zone=zone)
    table.sql(f"CREATE TABLE sync_logs ({', '.join(f'{name} {each}' for name, each in columns.items())})")
    for column in _INDEXED if index else ():
        if column in columns:
            table.sql(f"CREATE INDEX idx_sync_logs_{column} ON sync_logs ({column})")
    return table

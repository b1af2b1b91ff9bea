"""Sessions with real servers: what they read, how they are pinned, what they leave behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rounds.databases.databases import Databases
from rounds.errors import CollectorError
from rounds.sources import Source
from support.databases import databases_for, sqlite_source
from support.mariadb import MariadbServer
from support.postgresql import PostgresqlServer

KINDS = ("mariadb", "postgresql", "sqlite")


@dataclass(frozen=True)
class Place:
    """A database with a table ``t (id, name)`` of three rows, as a source.

    ``run`` runs a statement in it as somebody who may write; ``sessions`` counts the sessions of Rounds.
    """

    kind: str
    source: Source
    databases: Databases
    run: Callable[[str], Any]
    sessions: Callable[[], int]
    mark: str


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    kind: str = request.param
    source: Source
    if kind == "mariadb":
        mariadb: MariadbServer = request.getfixturevalue("mariadb")
        name = mariadb.create_database("sessions")
        source = mariadb.source(name)
        count = f"SELECT count(*) FROM information_schema.processlist WHERE db = '{name}'"

        def run(sql: str) -> Any:
            return mariadb.sql(sql, database=name)

        def sessions() -> int:
            return int(mariadb.sql(count)[0][0])

    elif kind == "postgresql":
        postgresql: PostgresqlServer = request.getfixturevalue("postgresql")
        name = postgresql.create_database("sessions")
        source = postgresql.source(name)
        count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"

        def run(sql: str) -> Any:
            return postgresql.sql(sql, database=name)

        def sessions() -> int:
            return int(postgresql.sql(count)[0][0])

    else:
        path = tmp_path / "a b?#%.db"
        source = sqlite_source(path)

        def run(sql: str) -> Any:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                return connection.execute(sql).fetchall()

        def sessions() -> int:
            return 0

    run("CREATE TABLE t (id bigint PRIMARY KEY, name varchar(50))")
    run("INSERT INTO t VALUES (1, 'Zoë'), (2, NULL), (3, '日本 😀 100%')")
    return Place(kind, source, databases_for({"s": source}), run, sessions, "?" if kind == "sqlite" else "%s")


def test_rows_come_as_they_are_with_and_without_parameters(place: Place) -> None:
    with place.databases.open("s") as session:
        assert session.kind == place.kind
        assert session.all("SELECT id, name FROM t ORDER BY id") == [(1, "Zoë"), (2, None), (3, "日本 😀 100%")]
        assert list(session.stream("SELECT id FROM t ORDER BY id")) == [(1,), (2,), (3,)]
        found = f"SELECT id FROM t WHERE name = {place.mark}"
        assert session.all(found, ("Zoë",)) == list(session.stream(found, ("Zoë",))) == [(1,)]
        percent = "%" if place.kind == "sqlite" else "%%"
        like = f"SELECT id FROM t WHERE name LIKE '{percent}ë'"
        assert session.all(like) == list(session.stream(like)) == [(1,)]
    assert place.databases.health["s"].queries == 6
    assert place.databases.health["s"].up is True


@pytest.mark.parametrize("how", ["all", "stream"])
def test_a_session_cannot_write(place: Place, how: str) -> None:
    with place.databases.open("s") as session:
        for statement in ("INSERT INTO t VALUES (4, 'x')", "DROP TABLE t", "CREATE TABLE u (a int)"):
            with pytest.raises(CollectorError) as caught:
                list(getattr(session, how)(statement))
            assert caught.value.reason == "query"
            assert "only read" in str(caught.value), statement
        assert session.all("SELECT count(*) FROM t") == [(3,)]

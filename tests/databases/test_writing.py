"""Connections that may write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from rounds.databases.writing import writing
from rounds.errors import CollectorError
from support.databases import SqliteFiles


@pytest.fixture(params=["mariadb", "postgresql", "sqlite"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return SqliteFiles(tmp_path) if request.param == "sqlite" else request.getfixturevalue(request.param)


@pytest.fixture
def database(server: Any) -> str:
    name = str(server.create_database())
    server.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)", database=name)
    return name


def test_what_is_committed_stays(server: Any, database: str) -> None:
    with writing("s", server.source(database)) as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
        assert [*server.sql("SELECT * FROM t", database=database)] == []
        connection.commit()
        connection.execute(text("INSERT INTO t VALUES (2)"))
    assert [*server.sql("SELECT * FROM t", database=database)] == [(1,)]
    assert server.open_sessions(database) == 0


def test_what_goes_wrong_is_told_without_values(server: Any, database: str) -> None:
    server.sql("CREATE TABLE names (name VARCHAR(50) PRIMARY KEY)", database=database)
    insert = text("INSERT INTO names VALUES ('Jane Citizen')")
    with pytest.raises(CollectorError) as caught, writing("s", server.source(database)) as connection:  # noqa: PT012
        connection.execute(insert)
        connection.execute(insert)
    assert caught.value.reason == "query"
    assert "Jane" not in str(caught.value)
    assert "source 's'" in str(caught.value)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_servers_refuse_who_may_not_enter(request: pytest.FixtureRequest, kind: str) -> None:
    server = request.getfixturevalue(kind)
    refused = server.source(server.create_database(), password="wrong"), server.source("none_such")
    for source, reason in zip(refused, ("auth", "connect"), strict=True):
        with pytest.raises(CollectorError) as caught, writing("s", source):
            pass
        assert caught.value.reason == reason
        assert "wrong" not in str(caught.value).replace("wrong user", "")


def test_postgresql_is_in_utc_and_ends_slow_statements(postgresql: Any) -> None:
    source = postgresql.source(postgresql.create_database(), timeout="200ms")
    with writing("s", source) as connection:
        assert connection.execute(text("SHOW TimeZone")).scalar() == "UTC"
        assert connection.execute(text("SHOW default_transaction_read_only")).scalar() == "off"
        connection.rollback()
    with pytest.raises(CollectorError) as caught, writing("s", source) as connection:
        connection.execute(text("SELECT pg_sleep(10)"))
    assert caught.value.reason == "timeout"

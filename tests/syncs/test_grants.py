"""The documented privileges are enough to read a log, and to write it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from rounds.syncs import SyncRun
from rounds.syncs.config import Sync
from rounds.syncs.reading import Reading
from support.databases import databases_for
from support.syncs import SyncTable

PAGE = (Path(__file__).parents[2] / "docs/syncs.md").read_text(encoding="utf-8")
STATEMENTS = re.findall(r"\b((?:GRANT|CREATE (?:ROLE|USER)) [^;`]*);", PAGE)
WRITER = "CREATE ROLE syncing LOGIN PASSWORD '...'"


@pytest.fixture(params=[("postgresql", "real"), ("postgresql", "seed"), ("mariadb", "seed")], ids="-".join)
def table(request: pytest.FixtureRequest, make_table: Any) -> SyncTable:
    made: SyncTable = make_table(*request.param)
    return made


@pytest.fixture
def server(request: pytest.FixtureRequest, table: SyncTable) -> Any:
    """The server that has the table."""
    return request.getfixturevalue(table.kind)


def admit(server: Any, table: SyncTable, user: str) -> str:
    """Make a user of the table's as the page says; its name, which no other test uses."""
    where = "@'10.0.0.%'" if table.kind == "mariadb" else "(?!@)"
    statements = [each for each in (WRITER, *STATEMENTS) if re.search(rf"\b{user}\b{where}", each)]
    assert len(statements) >= 2
    name = f"{user}_{table.source.database}"
    for statement in statements:
        if "SEQUENCE" in statement and table.shape == "real":
            continue
        given = re.sub(rf"\b{user}\b", name, statement).replace("'...'", "'pass'").replace("10.0.0.%", "127.0.0.1")
        given = re.sub(r"\bclinic\b", table.source.database, given)
        server.sql(given, database=table.source.database)
    return name


def test_what_is_documented_is_enough_to_read(server: Any, table: SyncTable) -> None:
    identity = table.put()
    source = server.source(table.source.database, user=admit(server, table, "rounds"), password="pass")
    sync = Sync.model_validate({"name": "a", "source": "a"})
    with Reading(sync, databases_for({"a": source})).open() as log:
        assert log.problems <= {"no index on id"}
        assert [each.id for each in log.recent(time.time() - 60, 10)] == [identity]
        assert [each.id for each in log.records([identity])] == [identity]


@pytest.mark.parametrize("table", [("postgresql", "real"), ("postgresql", "seed")], ids="-".join, indirect=True)
def test_what_is_documented_is_enough_to_write(server: Any, table: SyncTable) -> None:
    url = table.url.set(username=admit(server, table, "syncing"), password="pass")
    with SyncRun(url.render_as_string(hide_password=False), organization=7, operation="full_patients") as run:
        run.found(3)
        run.stored(3)
    assert table.sql("SELECT status, records_success FROM sync_logs") == [("completed", 3)]

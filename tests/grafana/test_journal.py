"""The journal's dashboard: its queries run in the databases that it is for, as the user that the docs make."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import yaml
from grafana.src import journal, kit
from sqlalchemy import create_engine, insert

from bundle.rules import ROOT
from grafana.lint import Json, panels_of
from rounds.tables.schema import CHANGE, CHANGED_KEY, SCHEMA
from support.mariadb import MariadbServer
from support.postgresql import PostgresqlServer

KINDS = sorted(journal.KINDS)
FOLDER = ROOT / "grafana" / "journal"
NOW = 1_800_000_000
#: A name that must be quoted.
ODD = "o'hara"
PASSWORD = "a password of its own"

Ask = Callable[[str], list[tuple[Any, ...]]]


def load(kind: str) -> Json:
    loaded: Json = json.loads((FOLDER / kind / "Rounds" / "tables-journal.json").read_text(encoding="utf-8"))
    return loaded


def documented(kind: str) -> list[str]:
    """The statements that make the user who may read the journal."""
    text = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    (block,) = (found for found in re.findall(r"```sql\n\s*-- (\w+)\n(.*?)```", text, re.DOTALL) if found[0] == kind)
    return [statement.strip() for statement in block[1].split(";") if statement.strip()]


def as_grafana_asks(sql: str, tables: list[str], since: int = NOW - 3600, until: int = NOW) -> str:
    """A statement without macros and variables."""
    sql = re.sub(r"\$__unixEpochFilter\(([^)]*)\)", rf"\1 >= {since} AND \1 <= {until}", sql)
    sql = sql.replace("${table:sqlstring}", ",".join("'" + name.replace("'", "''") + "'" for name in tables))
    assert "$" not in sql
    return sql


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of ledger."""
    return str(request.param)


@pytest.fixture
def ask(kind: str, request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Asks a ledger with a few entries, as the documented user."""
    server: MariadbServer | PostgresqlServer = request.getfixturevalue(kind)
    database = server.create_database("journal")
    engine = create_engine(server.url(database))
    with engine.begin() as connection:
        SCHEMA.metadata.create_all(connection)
        entries = [
            {"table_name": table, "check_id": 7, "at": at + 0.25, "change": change, "row_count": rows, "unlisted": 1}
            for table, at, change, rows in (
                ("patients", NOW - 60, "inserted", 3),
                ("patients", NOW - 60, "deleted", 2),
                (ODD, NOW - 30, "modified", 1),
                ("patients", NOW - 7200, "inserted", 9),
            )
        ]
        for entry in entries:
            made = connection.execute(insert(CHANGE).values(entry)).inserted_primary_key
            assert made
            connection.execute(insert(CHANGED_KEY).values(change_id=made.id, label=f"key {made.id}"))
    engine.dispose()
    user = f"reader_{database}"
    statements = [re.sub(r"\brounds\b", database, each).replace("rounds_journal", user) for each in documented(kind)]
    server.sql(*statements, database=database)
    with closing(server.connect(database, user=user, password=PASSWORD)) as connected:

        def answer(sql: str) -> list[tuple[Any, ...]]:
            with connected.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())

        yield answer


def test_the_user_reads_the_journal_and_nothing_else(ask: Ask) -> None:
    assert ask("SELECT count(*) FROM tables_change") == [(4,)]
    for forbidden in (
        "SELECT * FROM tables_bucket",
        "SELECT * FROM tables_watched",
        "DELETE FROM tables_change",
        "UPDATE tables_changed_key SET label = ''",
    ):
        with pytest.raises(Exception, match=r"denied"):
            ask(forbidden)


def test_the_queries_of_its_panels(ask: Ask, kind: str) -> None:
    changes, keys = (panel["targets"][0]["rawSql"] for panel in panels_of(load(kind)) if panel["type"] == "table")
    found = ask(as_grafana_asks(changes, ["patients", ODD]))
    assert [(row[0] // 1000, *row[1:]) for row in found] == [
        (NOW - 30, ODD, "modified", 1, 1, 7),
        (NOW - 60, "patients", "inserted", 3, 1, 7),
        (NOW - 60, "patients", "deleted", 2, 1, 7),
    ]
    assert len(ask(as_grafana_asks(changes, ["patients"]))) == 2
    found = ask(as_grafana_asks(keys, ["patients", ODD], until=NOW - 45))
    assert [(row[0] // 1000, *row[1:3]) for row in found] == [
        (NOW - 60, "patients", "inserted"),
        (NOW - 60, "patients", "deleted"),
    ]
    assert all(row[3].startswith("key ") for row in found)


def test_its_variable(ask: Ask, kind: str) -> None:
    (variable,) = (each for each in load(kind)["templating"]["list"] if each["name"] == "table")
    assert sorted(ask(variable["query"])) == [(ODD,), ("patients",)]


def test_columns_are_those_of_the_queries(kind: str) -> None:
    for panel in panels_of(load(kind)):
        if panel["type"] == "table":
            selected = panel["targets"][0]["rawSql"].partition("SELECT ")[2].partition("\nFROM")[0]
            names = {re.split(r" AS |\.", column)[-1] for column in selected.split(", ")}
            (organize,) = panel["transformations"]
            assert set(organize["options"]["renameByName"]) == names
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["noValue"]


def test_its_data_source(kind: str) -> None:
    (source,) = yaml.safe_load((FOLDER / kind / "datasource.yml").read_text(encoding="utf-8"))["datasources"]
    assert (source["type"], source["uid"], source["editable"]) == (kit.DATABASES[kind], kit.JOURNAL_UID, False)
    assert "${" not in (FOLDER / kind / "datasource.yml").read_text(encoding="utf-8"), "a $ in a password would be lost"
    wanted = {"type": source["type"], "uid": source["uid"]}
    dashboard = load(kind)
    for panel in panels_of(dashboard):
        if panel["type"] == "table":
            assert panel["datasource"] == panel["targets"][0]["datasource"] == wanted
    assert dashboard["uid"] == "tables-journal"
    assert dashboard["editable"] is False


def test_without_a_kind_there_is_nothing() -> None:
    assert sorted(folder.name for folder in FOLDER.iterdir()) == sorted([*KINDS, "none"])
    assert [file.name for file in (FOLDER / "none").rglob("*") if file.is_file()] == ["datasource.yml"]
    for file in (FOLDER / "none" / "datasource.yml", ROOT / "grafana/provisioning/datasources/journal.yml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8")) == {"apiVersion": 1, "datasources": []}

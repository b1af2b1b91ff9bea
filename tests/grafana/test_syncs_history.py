"""The dashboard of single runs: its queries run in both databases and both shapes, as the user that the docs make."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
import yaml
from grafana.src import kit, syncs_history

from bundle.rules import ROOT
from grafana.lint import Json, panels_of
from rounds.syncs.states import STATES
from support.mariadb import MariadbServer
from support.postgresql import PostgresqlServer

KINDS = sorted(syncs_history.KINDS)
FOLDER = ROOT / "grafana" / "syncs"
PASSWORD = "a password of its own"
NOW = 1_800_000_000
#: An organisation that must be quoted.
ODD = "org_O'Hara"
#: A patient's name, as the existing program puts it into texts.
SECRET = "Bruna Test"

#: As the seed document has the table, and as existing installations do.
SHAPES = {
    ("postgresql", "seed"): "id SERIAL PRIMARY KEY, organization_id INTEGER NOT NULL, started_at TIMESTAMP NOT NULL,"
    " completed_at TIMESTAMP, error_details TEXT, metadata JSONB",
    ("postgresql", "real"): "id UUID PRIMARY KEY DEFAULT gen_random_uuid(), organization_id TEXT,"
    " source_system VARCHAR NOT NULL DEFAULT 'cliniko', started_at TIMESTAMPTZ, completed_at TIMESTAMPTZ,"
    " error_details JSONB DEFAULT '{}', metadata JSONB DEFAULT '{}', updated_at TIMESTAMPTZ DEFAULT now()",
    ("mariadb", "seed"): "id INT AUTO_INCREMENT PRIMARY KEY, organization_id INT NOT NULL,"
    " started_at TIMESTAMP NULL, completed_at TIMESTAMP NULL, error_details TEXT, metadata LONGTEXT",
    ("mariadb", "real"): "id CHAR(36) PRIMARY KEY DEFAULT uuid(), organization_id TEXT,"
    " source_system VARCHAR(32) NOT NULL DEFAULT 'cliniko', started_at DATETIME(6), completed_at DATETIME(6),"
    " error_details LONGTEXT, metadata LONGTEXT, updated_at DATETIME(6)",
}
COMMON = (
    "operation_type VARCHAR(50) NOT NULL, status VARCHAR(20) NOT NULL, records_processed INT DEFAULT 0,"
    " records_success INT DEFAULT 0, records_failed INT DEFAULT 0"
)
#: Began so many seconds ago, took, status, processed, stored, failed.
ROWS: list[tuple[int, int | None, str, str, int, int, int]] = [
    (10, None, "full_patients", "running", 648, 0, 648),
    (60, 20, "full_patients", "completed", 648, 648, 0),
    (120, 30, "full_patients", "completed", 648, 640, 8),
    (180, 5, "full_patients", "failed", 0, 0, 0),
    (240, -3600, "full_patients", "success", 10, 10, 0),
    (300, None, "full_patients", "skipped", 0, 0, 0),
    (360, 40, "comprehensive_sync", "completed", 99_999, 99_999, 0),
    (420, 1, "full_patients", SECRET, 0, 0, 0),
    (90_000, None, "full_patients", "running", 5, 5, 0),
]

Answer = list[dict[str, Any]]


class Log(NamedTuple):
    """A log as Grafana's user has it."""

    kind: str
    shape: str
    ask: Callable[[str], Answer]

    @property
    def organization(self) -> str:
        """Whose the rows are."""
        return "7" if self.shape == "seed" else ODD

    def panel(self, title: str, **typed: str) -> Answer:
        """What a panel gets."""
        return self.ask(as_grafana_asks(self.kind, tables(self.kind)[title]["targets"][0]["rawSql"], **typed))


def load(kind: str) -> Json:
    loaded: Json = json.loads((FOLDER / kind / "Rounds" / "syncs-history.json").read_text(encoding="utf-8"))
    return loaded


def tables(kind: str) -> dict[str, Json]:
    """The panels with queries, by title."""
    return {panel["title"]: panel for panel in panels_of(load(kind)) if panel.get("targets")}


def documented(kind: str) -> list[str]:
    """The statements that make the user who may read the log."""
    text = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"```sql\n\s*-- syncs_{kind}\n(.*?)```", text, re.DOTALL)
    return [statement.strip() for statement in block.split(";") if statement.strip()]


def time(kind: str, at: int, shape: str = "real") -> str:
    """A time as the database has it; without a zone it is in UTC."""
    if kind == "mariadb":
        return f"FROM_UNIXTIME({at})"
    return f"to_timestamp({at})" + ("" if shape == "real" else " AT TIME ZONE 'UTC'")


def as_grafana_asks(kind: str, sql: str, *, organization: str = "", operation: str = "") -> str:
    """A statement without macros and variables."""
    if kind == "mariadb":
        first, last = f"FROM_UNIXTIME({NOW - 3600})", f"FROM_UNIXTIME({NOW})"
    else:
        first, last = (f"'{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}'" for at in (NOW - 3600, NOW))
    sql = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN {first} AND {last}", sql)
    for name, typed in (("organization", organization), ("operation", operation)):
        quoted = typed.replace("'", "''")
        sql = sql.replace(f"${{{name}:sqlstring}}", f"'{quoted}'")
    assert "$" not in sql
    return sql


@pytest.fixture(scope="module", params=SHAPES, ids="-".join)
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """A log with a few rows, asked as the documented user."""
    kind, shape = request.param
    server: MariadbServer | PostgresqlServer = request.getfixturevalue(kind)
    database = server.create_database("syncs")
    organization = "7" if shape == "seed" else "'" + ODD.replace("'", "''") + "'"
    statements = [f"CREATE TABLE sync_logs ({SHAPES[request.param]}, {COMMON})"]
    for ago, took, operation, status, processed, stored, failed in ROWS:
        began = NOW - ago
        ended = "NULL" if took is None else time(kind, began + took, shape)
        statements.append(
            "INSERT INTO sync_logs (organization_id, operation_type, status, started_at, completed_at,"
            " records_processed, records_success, records_failed, error_details, metadata) VALUES"
            f" ({organization}, '{operation}', '{status}', {time(kind, began, shape)}, {ended}, {processed}, {stored},"
            f""" {failed}, '{{"error": "{SECRET}"}}', '{{"deactivated_patients": ["{SECRET}"]}}')"""
        )
    server.sql(*statements, database=database)
    user = f"g_{database}"
    made = [re.sub(r"\bclinic\b", database, each).replace("grafana_syncs", user) for each in documented(kind)]
    server.sql(*made, database=database)
    with closing(server.connect(database, user=user, password=PASSWORD)) as connected:

        def answer(sql: str) -> Answer:
            with connected.cursor() as cursor:
                cursor.execute(sql)
                names = [column[0] for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        yield Log(kind, shape, answer)


def test_runs(log: Log) -> None:
    found = [(int(row["began"]) // 1000 - NOW, row["operation_type"], row["state"]) for row in log.panel("Runs")]
    assert found == [
        (-10, "full_patients", "running"),
        (-60, "full_patients", "completed"),
        (-120, "full_patients", "partial"),
        (-180, "full_patients", "failed"),
        (-240, "full_patients", "completed"),
        (-300, "full_patients", "skipped"),
        (-360, "comprehensive_sync", "completed"),
        (-420, "full_patients", "other"),
    ]
    assert {str(row["organization_id"]) for row in log.panel("Runs")} == {log.organization}


def test_durations_that_make_no_sense_are_left_out(log: Log) -> None:
    took = [None if row["took"] is None else int(row["took"]) for row in log.panel("Runs")]
    assert took == [None, 20, 30, 5, None, None, 40, 1]


def test_a_running_row_has_no_failures_and_running_totals_are_not_shown(log: Log) -> None:
    rows = log.panel("Runs")
    assert (rows[0]["processed"], rows[0]["stored"], rows[0]["failed"]) == (648, 0, None)
    assert (rows[2]["processed"], rows[2]["stored"], rows[2]["failed"]) == (648, 640, 8)
    assert (rows[6]["processed"], rows[6]["stored"], rows[6]["failed"]) == (None, None, None)


def test_what_has_not_ended_is_shown_however_old(log: Log) -> None:
    assert [int(row["began"]) // 1000 - NOW for row in log.panel("Not ended")] == [-10, -90_000]


def test_totals(log: Log) -> None:
    patients, comprehensive = log.panel("Totals")
    assert patients["operation_type"] == "full_patients"
    counts = {name: int(patients[name]) for name in ("runs", "completed", "partial", "failed", "timeout", "skipped")}
    assert counts == {"runs": 7, "completed": 2, "partial": 1, "failed": 1, "timeout": 0, "skipped": 1}
    assert (float(patients["average"]), float(patients["longest"])) == (14, 30)
    assert int(patients["latest"]) // 1000 == NOW - 10
    assert int(comprehensive["runs"]) == 1


def test_what_is_typed_is_part_of_a_name(log: Log) -> None:
    assert len(log.panel("Runs", operation="COMPREHENSIVE")) == 1
    assert len(log.panel("Runs", organization="o'hara")) == (8 if log.shape == "real" else 0)
    assert len(log.panel("Runs", organization=log.organization)) == 8
    assert log.panel("Runs", operation="%") == []
    assert log.panel("Totals", organization="nobody") == log.panel("Not ended", organization="nobody") == []


def test_the_user_reads_no_texts_and_writes_nothing(log: Log) -> None:
    for forbidden in (
        "SELECT metadata FROM sync_logs",
        "SELECT error_details FROM sync_logs",
        "SELECT * FROM sync_logs",
        "DELETE FROM sync_logs",
        "UPDATE sync_logs SET status = 'completed'",
    ):
        with pytest.raises(Exception, match=r"denied"):
            log.ask(forbidden)
    assert SECRET not in repr([log.panel(title) for title in tables(log.kind)])


def test_columns_are_those_of_the_queries(log: Log) -> None:
    for title, panel in tables(log.kind).items():
        (organize,) = panel["transformations"]
        assert set(organize["options"]["renameByName"]) == log.panel(title)[0].keys(), title
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["noValue"]
        assert "LIMIT" in panel["targets"][0]["rawSql"]


@pytest.mark.parametrize("kind", KINDS)
def test_its_words_are_the_states_of_the_exporter(kind: str) -> None:
    override = next(
        each for each in tables(kind)["Runs"]["fieldConfig"]["overrides"] if each["matcher"]["options"] == "State"
    )
    (words,) = (entry["value"] for entry in override["properties"] if entry["id"] == "mappings")
    assert set(words[0]["options"]) == set(STATES)


@pytest.mark.parametrize("kind", KINDS)
def test_its_data_source(kind: str) -> None:
    text = (FOLDER / kind / "datasource.yml").read_text(encoding="utf-8")
    (source,) = yaml.safe_load(text)["datasources"]
    assert (source["type"], source["uid"], source["editable"]) == (kit.DATABASES[kind], kit.SYNCS_UID, False)
    assert "${" not in text, "a $ in a password would be lost"
    wanted = {"type": source["type"], "uid": source["uid"]}
    for panel in tables(kind).values():
        assert panel["datasource"] == panel["targets"][0]["datasource"] == wanted
    dashboard = load(kind)
    assert dashboard["uid"] == syncs_history.UID == "syncs-history"
    assert dashboard["editable"] is False


def test_without_a_kind_there_is_nothing() -> None:
    assert sorted(folder.name for folder in FOLDER.iterdir()) == sorted([*KINDS, "none"])
    assert [file.name for file in (FOLDER / "none").rglob("*") if file.is_file()] == ["datasource.yml"]
    for file in (FOLDER / "none" / "datasource.yml", ROOT / "grafana/provisioning/datasources/syncs.yml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8")) == {"apiVersion": 1, "datasources": []}

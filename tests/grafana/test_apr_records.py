"""The dashboard of the pipeline's rows: its queries run in MariaDB, as the user that the docs make."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from itertools import pairwise
from typing import Any

import pymysql
import pytest
import yaml
from grafana.src import apr_records, kit

from bundle.rules import ROOT
from grafana.lint import Json, panels_of
from rounds.apr.config import AprSection
from support.apr import Installation, mariadb_installation
from support.mariadb import MariadbServer

FOLDER = ROOT / "grafana" / "apr"
PASSWORD = "a password of its own"
#: Long past, as at the end of a long weekend.
FRIDAY, THURSDAY = date(2026, 3, 6), date(2026, 3, 5)
NOON = 1_772_798_400
#: A name that must be quoted.
ODD = "O'Hara Têxtil"

Answer = list[tuple[Any, ...]]
Ask = Callable[..., Answer]


def load() -> Json:
    loaded: Json = json.loads((FOLDER / "mariadb" / "Rounds" / "apr-records.json").read_text(encoding="utf-8"))
    return loaded


def tables() -> dict[str, Json]:
    """The panels with queries, by title."""
    return {panel["title"]: panel for panel in panels_of(load()) if panel.get("targets")}


def documented() -> list[str]:
    """The statements that make the user who may read the tables."""
    text = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sql\n\s*-- apr\n(.*?)```", text, re.DOTALL)
    return [statement.strip() for statement in block.split(";") if statement.strip()]


def as_grafana_asks(
    sql: str, *, day: str = "latest", client: str = "", since: int = NOON - 86_400, until: int = NOON
) -> str:
    """A statement without macros and variables."""
    sql = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN FROM_UNIXTIME({since}) AND FROM_UNIXTIME({until})", sql)
    quoted = client.replace("'", "''")
    sql = sql.replace("${cedente:sqlstring}", f"'{quoted}'").replace("${date}", day)
    assert "$" not in sql
    return sql


def fill(installation: Installation) -> None:
    """A Friday, and a little of the day before."""
    for number, (status, client) in enumerate((("Assinado", ODD), ("Finalizado", "Beta")), 1):
        installation.sight(number, status, day=FRIDAY, client=client)
    installation.sight(3, "Aguardando Analista", day=THURSDAY, client="Beta")
    installation.sql(
        "UPDATE apr_valid_records SET is_processado = 1, is_bot_processed = 1, rating_selecionado = 'A',"
        " usuario_processar = 'op', is_confirmado = (PROPOSTA = 2), last_updated = FROM_UNIXTIME(:at)",
        at=NOON - 60,
    )
    invalid = "INSERT INTO apr_invalid_records (DATA, PROPOSTA, CEDENTE, PRODUTO, VALIDATION_TYPE, is_resolved"
    for resolved, kind, product, client in (
        (0, "NFECHAVE", "NOTA", ODD),
        (1, "SEUNO", None, "Beta"),
        (1, "SEUNO", None, "Beta"),
    ):
        installation.sql(
            f"{invalid}, detected_at, resolved_at) VALUES (:day, 1, :client, :product, :kind, :resolved,"
            " FROM_UNIXTIME(:at), IF(:resolved, FROM_UNIXTIME(:at + 60), NULL))",
            day=FRIDAY,
            client=client,
            product=product,
            kind=kind,
            resolved=resolved,
            at=NOON - 600,
        )
    # The database's own comparison takes the third for none.
    steps = (None, "Em análise", "Assinado", "assinado ", "assinado ")
    for number, (old, new) in enumerate(pairwise(steps), 1):
        installation.sql(
            "INSERT INTO apr_status_history (DATA, PROPOSTA, CEDENTE, OLD_STATUS, NEW_STATUS, changed_at)"
            " VALUES (:day, 1, :client, :old, :new, FROM_UNIXTIME(:at))",
            day=FRIDAY,
            client=ODD,
            old=old,
            new=new,
            at=NOON - 600 + number,
        )
    installation.sql(
        "INSERT INTO apr_status_history (DATA, PROPOSTA, CEDENTE, NEW_STATUS, changed_at)"
        " VALUES (:day, 2, 'Beta', 'FINALIZADO ', FROM_UNIXTIME(:at))",
        day=FRIDAY,
        at=NOON - 300,
    )
    for error, took in ((None, 2), ("broken", None)):
        installation.sql(
            "INSERT INTO apr_processing_log (run_timestamp, target_date, total_records_queried, valid_records,"
            " invalid_nfechave, invalid_seuno, records_stored, execution_time_seconds, error_message)"
            " VALUES (FROM_UNIXTIME(:at), :day, 10, 7, 1, 2, 5, :took, :error)",
            at=NOON - 30,
            day=FRIDAY,
            took=took,
            error=error,
        )
    installation.sql(
        "INSERT INTO apr_proposal_products (DATA, PROPOSTA, CEDENTE, PRODUTO, QTD_TITULOS, VALOR_TITULOS)"
        " VALUES (:friday, 1, :odd, 'NOTA', 2, 100), (:friday, 2, 'Beta', 'NOTA', 3, 50),"
        " (:thursday, 3, 'Beta', 'CHEQUE', 9, 900)",
        friday=FRIDAY,
        thursday=THURSDAY,
        odd=ODD,
    )
    installation.sql("INSERT INTO apr_daily_summary (DATA, total_proposals) VALUES (:day, 2)", day=FRIDAY)


@pytest.fixture(scope="module")
def reader(mariadb: MariadbServer) -> Iterator[Callable[[str], Answer]]:
    """Asks a filled database, as the documented user."""
    installation = mariadb_installation(mariadb)
    fill(installation)
    database = str(installation.url.database)
    statements = [re.sub(r"\bBMA\b", database, each).replace("grafana_apr", f"r_{database}") for each in documented()]
    mariadb.sql(*statements, database=database)
    with closing(mariadb.connect(database, user=f"r_{database}", password=PASSWORD)) as connected:

        def answer(sql: str) -> Answer:
            with connected.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())

        yield answer


@pytest.fixture
def ask(reader: Callable[[str], Answer]) -> Ask:
    """Asks what a panel asks."""
    return lambda title, **chosen: reader(as_grafana_asks(tables()[title]["targets"][0]["rawSql"], **chosen))


def test_the_user_reads_and_does_nothing_else(reader: Callable[[str], Answer]) -> None:
    assert reader("SELECT count(*) FROM apr_valid_records") == [(3,)]
    for forbidden in (
        "DELETE FROM apr_valid_records",
        "UPDATE apr_invalid_records SET is_resolved = 1",
        "CREATE TABLE own (id INT)",
        "SELECT * FROM mysql.global_priv",
    ):
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            reader(forbidden)


@pytest.mark.parametrize("title", sorted(tables()))
def test_every_query_finds_rows(ask: Ask, title: str) -> None:
    """None depends on the day on which it is asked: the rows are of a day long past."""
    assert ask(title)


def test_no_query_asks_for_today() -> None:
    for panel in tables().values():
        assert not re.search(
            r"CURDATE|CURRENT_DATE|NOW\(|CURRENT_TIMESTAMP|SYSDATE", panel["targets"][0]["rawSql"], re.IGNORECASE
        )


def test_the_latest_date_and_another_one(ask: Ask) -> None:
    assert sorted(row[0] for row in ask("Proposals")) == [1, 2]
    assert [row[0] for row in ask("Proposals", day="2026-03-05")] == [3]
    assert ask("Proposals", day="2026-03-04") == []
    assert [(*row[:3], int(row[3])) for row in ask("Product distribution")] == [("NOTA", 2, 5, 150)]
    assert [row[0] for row in ask("Product distribution", day="2026-03-05")] == ["CHEQUE"]


def test_a_client_is_part_of_a_name(ask: Ask) -> None:
    assert [row[1] for row in ask("Proposals", client="o'hara")] == [ODD]
    assert [row[0] for row in ask("Top issues by client", client="eta")] == ["Beta"]
    assert ask("Proposals", client="%") == []


def test_issues_by_client_and_by_product(ask: Ask) -> None:
    assert [(row[0], *map(int, row[1:])) for row in ask("Top issues by client")] == [("Beta", 2, 0, 1), (ODD, 1, 1, 1)]
    found = [(row[0], *map(int, row[1:])) for row in ask("Invalid records by product")]
    assert found == [("SEM PRODUTO", 2, 0), ("NOTA", 1, 1)]
    assert ask("Top issues by client", since=NOON, until=NOON + 60) == []


def test_kinds_of_changes(ask: Ask) -> None:
    rows = ask("Recent status changes", client=ODD)
    assert [row[4] for row in rows] == ["values", "status", "status", "first"]
    assert [int(row[0]) // 1000 for row in rows] == [NOON - 596, NOON - 597, NOON - 598, NOON - 599]


def test_what_is_stuck_is_not_final(ask: Ask) -> None:
    assert [(row[0], row[1], row[2], int(row[4]) // 1000) for row in ask("Stuck proposals")] == [
        ("2026-03-06", 1, ODD, NOON - 596)
    ]
    section = AprSection.model_validate({"source": "apr"})
    assert f"UNIX_TIMESTAMP() - {section.stuck_after:.0f} " in tables()["Stuck proposals"]["targets"][0]["rawSql"]


def test_runs_flapping_and_the_bot(ask: Ask) -> None:
    assert [(row[3], row[4], row[7], row[9]) for row in ask("Runs")] == [
        ("failed", None, 3, "broken"),
        ("succeeded", 2, 3, None),
    ]
    assert [(row[0], row[1], row[2], row[3]) for row in ask("Flapping proposals")] == [(1, "Beta", "SEUNO", 2)]
    assert sorted((row[2], row[5]) for row in ask("Bot activity")) == [
        (1, "processed"),
        (2, "confirmed"),
        (3, "processed"),
    ]


def test_an_older_database_loses_one_panel(mariadb: MariadbServer) -> None:
    installation = mariadb_installation(mariadb, late=False, cheque=False)
    failing = []
    for title, panel in tables().items():
        try:
            mariadb.sql(as_grafana_asks(panel["targets"][0]["rawSql"]), database=str(installation.url.database))
        except pymysql.err.OperationalError:
            failing.append(title)
    assert failing == ["Bot activity"]


def test_its_variables(reader: Callable[[str], Answer]) -> None:
    variables = {each["name"]: each for each in load()["templating"]["list"]}
    assert set(variables) == {"datasource", "date", "cedente"}
    assert reader(variables["date"]["query"]) == [("latest",), ("2026-03-06",), ("2026-03-05",)]
    assert not variables["date"].get("multi")
    assert variables["cedente"]["type"] == "textbox"


def test_columns_are_those_of_the_queries(reader: Callable[[str], Answer], mariadb: MariadbServer) -> None:
    database = mariadb_installation(mariadb).url.database
    for title, panel in tables().items():
        with closing(mariadb.connect(str(database))) as connected, connected.cursor() as cursor:
            cursor.execute(as_grafana_asks(panel["targets"][0]["rawSql"]))
            names = [column[0] for column in cursor.description]
        (organize,) = panel["transformations"]
        assert set(organize["options"]["renameByName"]) == set(names), title
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["noValue"]


def test_its_data_source() -> None:
    text = (FOLDER / "mariadb" / "datasource.yml").read_text(encoding="utf-8")
    (source,) = yaml.safe_load(text)["datasources"]
    assert (source["type"], source["uid"], source["editable"]) == ("mysql", kit.APR_UID, False)
    assert "${" not in text, "a $ in a password would be lost"
    wanted = {"type": source["type"], "uid": source["uid"]}
    for panel in tables().values():
        assert panel["datasource"] == panel["targets"][0]["datasource"] == wanted
    dashboard = load()
    assert dashboard["uid"] == apr_records.UID == "apr-records"
    assert dashboard["editable"] is False


def test_without_a_kind_there_is_nothing() -> None:
    assert sorted(folder.name for folder in FOLDER.iterdir()) == ["mariadb", "none"]
    assert [file.name for file in (FOLDER / "none").rglob("*") if file.is_file()] == ["datasource.yml"]
    for file in (FOLDER / "none" / "datasource.yml", ROOT / "grafana/provisioning/datasources/apr.yml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8")) == {"apiVersion": 1, "datasources": []}

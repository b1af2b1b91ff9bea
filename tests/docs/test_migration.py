"""What the pages on migration ask databases and Prometheus for can be asked, and has the names of what there is."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml

from docs.pages import ROOT, blocks, commands
from rounds.domains import all_domains
from rounds.exporter import catalogue
from support.apr import mariadb_installation
from support.mariadb import MariadbServer
from support.postgresql import PostgresqlServer
from support.syncs import sync_table

PAGES = sorted((ROOT / "docs/migration").glob("*.md"))
#: Columns that hold names or texts. What is compared for a week is pasted somewhere.
CONFIDENTIAL = re.compile(r"CEDENTE|GERENTE|PRODUTO|MOTIVO|usuario_|metadata|error_d|message|stack_trace|\bNAME\b")


def statements(page: Path) -> list[str]:
    found = [block.text for block in blocks(page) if block.language == "sql"]
    return [statement.strip() for text in found for statement in text.split(";") if statement.strip()]


def test_there_is_a_page_for_each_domain() -> None:
    assert {page.stem for page in PAGES} == {domain.name for domain in all_domains()}


def test_the_nine_checks_are_those_of_the_default_configuration() -> None:
    example = next(block.text for block in blocks(ROOT / "docs/migration/services.md") if block.language == "yaml")
    default = (
        (ROOT / "exporter/rounds.yml").read_text(encoding="utf-8").replace("${SERVICES_HOST:-localhost}", "localhost")
    )
    assert yaml.safe_load(example)["services"] == yaml.safe_load(default)["services"]


def test_statements_on_the_pipeline_s_tables_run(mariadb: MariadbServer) -> None:
    installation = mariadb_installation(mariadb)
    installation.sight(1)
    installation.sql(
        "INSERT INTO apr_processing_log (target_date, total_records_queried, records_stored) VALUES (CURDATE(), 3, 1)",
        "INSERT INTO apr_daily_summary (DATA) VALUES (CURDATE())",
        "INSERT INTO apr_invalid_records (DATA, PROPOSTA, CEDENTE, VALIDATION_TYPE) VALUES (NOW(), 1, 'c', 'SEUNO')",
        "INSERT INTO apr_status_history (DATA, PROPOSTA, CEDENTE, NEW_STATUS) VALUES (CURDATE(), 1, 'c', 'Assinado')",
    )
    found = [installation.sql(statement) for statement in statements(ROOT / "docs/migration/apr.md")]
    assert len(found) == 4
    assert all(found), "each has something to compare"
    assert found[1] == [(1, 3, 1)]


@pytest.mark.parametrize("shape", ["real", "seed"])
def test_statements_on_the_log_of_syncs_run(postgresql: PostgresqlServer, shape: str) -> None:
    log = sync_table("postgresql", postgresql, "real" if shape == "real" else "seed")
    log.put(organization_id="7", started_at=time.time() - 60)
    log.put(organization_id="7", started_at=time.time() - 3600, status="running", completed_at=None)
    asked = statements(ROOT / "docs/migration/syncs.md")
    assert len(asked) == 4
    for statement in asked:
        # The older shape has no such column, and only one system.
        text = statement if shape == "real" else re.sub(r"source_system = 'cliniko' AND ", "", statement)
        assert log.sql(re.sub(r":(?!:)", r"\\:", text)), statement


def test_the_statement_on_the_table_of_patients_runs(postgresql: PostgresqlServer) -> None:
    postgresql.sql("CREATE DATABASE development")
    made = "CREATE TABLE patients.patients AS SELECT 7 AS id"
    postgresql.sql("CREATE SCHEMA patients", made, database="development")
    (statement,) = statements(ROOT / "docs/migration/tables.md")
    assert postgresql.sql(statement, database="development") == [(1, 7)]


def test_what_is_compared_shows_no_name_and_no_text() -> None:
    asked = [statement for page in PAGES for statement in statements(page)]
    asked += [each.text for page in PAGES for each in commands(page) if each.text.startswith("sqlite3 ")]
    assert len(asked) >= 10
    assert not [each for each in asked if CONFIDENTIAL.search(each) or re.search(r"SELECT \*|\.\*", each)]


def test_metrics_that_are_compared_are_exported() -> None:
    known = {metric.name for metric in catalogue(all_domains())}
    asked = {
        name
        for page in PAGES
        for command in commands(page)
        if command.text.startswith("promtool query")
        for name in re.findall(r"rounds_\w+(?![\w(])", command.text.replace("_(current|valid|invalid)", "_current"))
    }
    assert len(asked) >= 10
    assert {re.sub(r"_(count|sum|bucket)$", "", name) for name in asked} <= known

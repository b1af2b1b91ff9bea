"""The tables as Rounds makes them, against those of existing installations."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, inspect, select
from sqlalchemy.dialects import mysql

from rounds.apr import tables
from rounds.apr.metrics import TABLES
from support.apr import Installation, mariadb_installation
from support.mariadb import MariadbServer


def definitions(server: MariadbServer, database: str) -> dict[str, str]:
    return {name: server.sql(f"SHOW CREATE TABLE {name}", database=database)[0][1] for name in TABLES}


def test_tables_in_mariadb_are_those_of_existing_installations_to_the_byte(
    mariadb: MariadbServer, on_mariadb: Installation
) -> None:
    own = mariadb.create_database("own")
    for table in tables.METADATA.tables.values():
        mariadb.sql(*tables.statements(table, mysql.dialect()), database=own)
    assert definitions(mariadb, own) == definitions(mariadb, on_mariadb.source.database)


def test_what_is_missing_is_told(mariadb: MariadbServer) -> None:
    older = mariadb_installation(mariadb, products=False)
    with older.engine.connect() as connection:
        assert tables.missing_tables(connection) == [tables.PROPOSAL_PRODUCTS, tables.MARKS]


def test_the_late_columns_are_those_that_an_older_installation_lacks(mariadb: MariadbServer) -> None:
    older = mariadb_installation(mariadb, late=False)
    present = {column["name"] for column in inspect(older.engine).get_columns("apr_valid_records")}
    assert {column.name for column in tables.VALID_RECORDS.columns} - present == set(tables.LATE_COLUMNS)


def test_a_time_of_the_last_change_is_no_text(installation: Installation) -> None:
    installation.sight(1)
    assert installation.one("SELECT last_updated FROM apr_valid_records") is not None
    assert "CURRENT" not in str(installation.one("SELECT last_updated FROM apr_valid_records"))


@pytest.mark.parametrize("written", ["CHEQUE", "NFECHAVE"])
def test_every_type_of_validation_can_be_read(installation: Installation, written: str) -> None:
    installation.sql(
        "INSERT INTO apr_invalid_records (DATA, PROPOSTA, CEDENTE, VALIDATION_TYPE)"
        f" VALUES ('2026-03-06', 1, 'Cliente Um', '{written}')"
    )
    with create_engine(installation.url).connect() as connection:
        assert connection.execute(select(tables.INVALID_RECORDS.c.VALIDATION_TYPE)).scalar_one() == written

"""The documented privileges are enough, and nothing of them is for nothing."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Session

from rounds import apr
from rounds.apr import tables
from rounds.apr.writing.history import backfill_history
from support.apr import DAY, Installation
from support.mariadb import MariadbServer

PAGE = Path(__file__).parents[2] / "docs/apr.md"
GRANTS = re.findall(r"\nGRANT (.*) ON BMA\.(\w+) TO pipeline@'10\.0\.0\.%';", PAGE.read_text(encoding="utf-8"))


def work(installation: Installation, user: str, password: str) -> None:
    """Everything that a program may do."""
    record = {"DATA": DAY, "PROPOSTA": 1, "CEDENTE": "Cliente Um", "PRODUTO": "A"}
    with Session(create_engine(installation.url.set(username=user, password=password))) as session:
        for _ in range(2):
            apr.log_invalid_records(session, [record], "SEUNO")
            if not apr.track_proposal_products(session, [record]):
                raise apr.WriteFailed("products were not written")
            apr.update_daily_summary(session, DAY)
        backfill_history(session, DAY)
        apr.track_status_changes(session, DAY)
        installation.sight(1)
        if not apr.auto_resolve_invalid_records(session, DAY):
            raise apr.WriteFailed("nothing was resolved")
        apr.log_program_execution(session, DAY, {}, 1)
        apr.cleanup_old_monitoring_data(session, 30 if date.today() > DAY else 0)  # noqa: DTZ011


@pytest.fixture
def user(mariadb: MariadbServer, on_mariadb: Installation) -> str:
    on_mariadb.sql(*tables.statements(tables.MARKS, mysql.dialect()))
    for _ in range(2):
        on_mariadb.sight(1)
    name = on_mariadb.source.database
    mariadb.sql(f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'pass'")
    for privileges, table in GRANTS:
        mariadb.sql(f"GRANT {privileges} ON `{name}`.{table} TO {name}@'127.0.0.1'")
    return str(name)


def test_the_documented_privileges_are_enough(on_mariadb: Installation, user: str) -> None:
    assert len(GRANTS) == 7
    work(on_mariadb, user, "pass")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("privilege", "table"),
    [(privilege, table) for privileges, table in GRANTS for privilege in privileges.split(", ")],
)
def test_no_documented_privilege_is_for_nothing(
    mariadb: MariadbServer, on_mariadb: Installation, user: str, privilege: str, table: str
) -> None:
    mariadb.sql(f"REVOKE {privilege} ON `{user}`.{table} FROM {user}@'127.0.0.1'")
    with pytest.raises(apr.WriteFailed):
        work(on_mariadb, user, "pass")

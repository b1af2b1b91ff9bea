"""What the writers write. Names of tests say what the program that they replace does wrong."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rounds import apr
from rounds.apr import tables
from rounds.apr.metrics import TABLES
from rounds.apr.writing.history import backfill_history, proposals_without_history
from support.apr import DAY, Installation, mariadb_installation
from support.mariadb import MariadbServer
from support.waiting import eventually

#: By the function that is replaced. What shows progress is new.
PARAMETERS = {
    "log_invalid_records": ["session", "records", "validation_type", "alerted_count"],
    "auto_resolve_invalid_records": ["session", "target_date"],
    "track_status_changes": ["session", "target_date", "source"],
    "track_proposal_products": ["session", "valid_records"],
    "log_program_execution": ["session", "target_date", "stats", "execution_time", "run_mode", "error_message"],
    "update_daily_summary": ["session", "date"],
    "cleanup_old_monitoring_data": ["session", "retention_days", "progress"],
}
OPEN = "SELECT COUNT(*) FROM apr_invalid_records WHERE is_resolved = 0"
ALL = "SELECT COUNT(*) FROM apr_invalid_records"


def failing(proposal: object, **values: object) -> dict[str, object]:
    return {"DATA": DAY, "PROPOSTA": proposal, "CEDENTE": "Cliente Um", "RAMO": "Centro", "DUPLICATA": "1", **values}


@pytest.fixture
def session(installation: Installation) -> Iterator[Session]:
    with Session(installation.engine) as opened:
        yield opened


@pytest.fixture
def marked(installation: Installation, session: Session) -> Session:
    """A session with a database that has Rounds' own table too."""
    dialect = installation.engine.dialect
    installation.sql("DROP TABLE IF EXISTS rounds_apr_marks", *tables.statements(tables.MARKS, dialect))
    return session


@pytest.fixture(params=[True, False], ids=["marks", "times"])
def with_or_without_marks(request: pytest.FixtureRequest, installation: Installation, session: Session) -> Session:
    installation.sql("DROP TABLE IF EXISTS rounds_apr_marks")
    if request.param:
        installation.sql(*tables.statements(tables.MARKS, installation.engine.dialect))
    return session


def statements_of(installation: Installation, work: Any) -> int:
    """How many statements, and ends of transactions, a call sends."""
    sent: list[str] = []
    event.listen(installation.engine, "before_cursor_execute", lambda *call: sent.append(call[2]))
    event.listen(installation.engine, "commit", lambda _: sent.append("COMMIT"))
    work()
    return len(sent)


# Logging invalid records


def test_a_proposal_has_one_open_row_of_a_type(installation: Installation, session: Session) -> None:
    titles = [failing(1, DUPLICATA="1"), failing(1, DUPLICATA="2"), failing(2)]
    assert apr.log_invalid_records(session, titles, "DUPLICATA") == 2
    assert apr.log_invalid_records(session, [failing(1, DUPLICATA="3")], "DUPLICATA") == 0
    assert apr.log_invalid_records(session, [failing(1)], "SEUNO") == 1
    rows = installation.sql("SELECT PROPOSTA, VALIDATION_TYPE, DUPLICATA FROM apr_invalid_records ORDER BY id")
    assert rows == [(1, "DUPLICATA", "1"), (2, "DUPLICATA", "1"), (1, "SEUNO", "1")]


def test_a_database_may_have_been_made_with_another_character_set(on_mariadb: Installation) -> None:
    on_mariadb.sql(f"ALTER DATABASE {on_mariadb.source.database} CHARACTER SET latin1")
    record = failing(1, CEDENTE="Łódź Ficção", PRODUTO="Convencional")
    with Session(on_mariadb.engine) as session:
        assert apr.log_invalid_records(session, [record], "SEUNO") == 1
        assert apr.log_invalid_records(session, [record], "SEUNO") == 0
        assert apr.track_proposal_products(session, [record]) == 1
    for table in ("apr_invalid_records", "apr_proposal_products"):
        assert on_mariadb.sql(f"SELECT CEDENTE, PRODUTO FROM {table}") == [("Łódź Ficção", "Convencional")]


def test_every_column_is_filled(installation: Installation, session: Session) -> None:
    record = {
        "DATA": datetime(2026, 3, 6, 12, 0),  # noqa: DTZ001  # as drivers give it
        "PROPOSTA": "7",
        "CEDENTE": "Açúcar \"A\" 'B' \\ 😀",
        "RAMO": "r",
        "GERENTE": "g",
        "EMPRESA": float("nan"),
        "STATUS": "s",
        "PRODUTO": "p" * 150,
        "MOTIVO_INVALIDO": "m",
        "NFEChave": "n",
        "DUPLICATA": "d",
        "SEUNO": 12,
    }
    assert apr.log_invalid_records(session, [record], "SEUNO", alerted_count=1) == 1
    row = installation.sql(
        "SELECT CAST(DATA AS CHAR), PROPOSTA, CEDENTE, RAMO, GERENTE, EMPRESA, STATUS, PRODUTO, VALIDATION_TYPE,"
        " MOTIVO, NFE_CHAVE, DUPLICATA, SEUNO, is_resolved, detected_at = alerted_at, resolved_at"
        " FROM apr_invalid_records"
    )[0]
    client = record["CEDENTE"]
    expected = ("2026-03-06", 7, client, "r", "g", None, "s", "p" * 100, "SEUNO", "m", "n", "d", "12", 0, 1, None)
    assert row == expected


def test_only_new_rows_of_alerted_records_have_a_time_of_alert(installation: Installation, session: Session) -> None:
    apr.log_invalid_records(session, [failing(1)], "SEUNO")
    apr.log_invalid_records(session, [failing(1), failing(2)], "SEUNO", alerted_count=2)
    rows = installation.sql("SELECT PROPOSTA, alerted_at IS NULL FROM apr_invalid_records ORDER BY PROPOSTA")
    assert rows == [(1, 1), (2, 0)]


def test_a_resolved_record_that_fails_again_has_a_new_row(installation: Installation, session: Session) -> None:
    apr.log_invalid_records(session, [failing(1)], "SEUNO")
    installation.sql("UPDATE apr_invalid_records SET is_resolved = 1")
    assert apr.log_invalid_records(session, [failing(1)], "SEUNO") == 1


def test_clients_are_the_same_as_the_database_has_it(on_mariadb: Installation) -> None:
    with Session(on_mariadb.engine) as session:
        assert apr.log_invalid_records(session, [failing(1), failing(1, CEDENTE="CLIENTE UM ")], "SEUNO") == 1
        assert apr.log_invalid_records(session, [failing(1, CEDENTE="cliente úm")], "SEUNO") == 0


def test_records_of_no_proposal_are_left_out_and_told(
    installation: Installation, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    records = [failing(1), failing(2, DATA=None), failing(3, CEDENTE=None), failing("x"), failing(10**12)]
    assert apr.log_invalid_records(session, records, "SEUNO") == 1
    assert "left out: 4" in caplog.text
    assert "Cliente" not in caplog.text


def test_many_records_are_several_statements_and_lose_none(
    installation: Installation, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rounds.apr.writing.work._DOCUMENT", 1000)
    assert apr.log_invalid_records(session, [failing(number) for number in range(100)], "SEUNO") == 100
    assert installation.one(OPEN) == 100


def test_an_unknown_type_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="NFECHAVE, DUPLICATA, SEUNO, CHEQUE"):
        apr.log_invalid_records(session, [failing(1)], "OTHER")


def test_cheque_does_not_break_the_run(installation: Installation, session: Session) -> None:
    for _ in range(2):
        apr.log_invalid_records(session, [failing(1)], "CHEQUE")
        apr.auto_resolve_invalid_records(session, DAY)
        apr.cleanup_old_monitoring_data(session, 30_000)
    assert installation.one(OPEN) == 1


def test_cheque_without_its_value_in_the_enum_is_told(mariadb: MariadbServer, caplog: pytest.LogCaptureFixture) -> None:
    older = mariadb_installation(mariadb, cheque=False)
    with Session(older.engine) as session:
        assert apr.log_invalid_records(session, [failing(1)], "CHEQUE") == 0
        assert "lacks CHEQUE" in caplog.text
        assert apr.log_invalid_records(session, [failing(1)], "SEUNO") == 1
    assert older.one("SELECT IS_FREE_LOCK(CONCAT('rounds-apr-', SHA1(DATABASE())))") == 1


# Resolving


def test_a_proposal_that_was_valid_before_does_not_flap(
    installation: Installation, with_or_without_marks: Session
) -> None:
    session = with_or_without_marks
    installation.sight(1)
    installation.age("apr_valid_records", "last_updated", 3600)
    for _ in range(3):
        apr.log_invalid_records(session, [failing(1)], "NFECHAVE")
        assert apr.auto_resolve_invalid_records(session, DAY) == 0
    assert installation.sql(ALL, OPEN) == [(1,)]
    assert installation.one(ALL) == 1


def test_a_proposal_that_became_valid_is_resolved(installation: Installation, with_or_without_marks: Session) -> None:
    session = with_or_without_marks
    for validation_type in ("NFECHAVE", "SEUNO"):
        apr.log_invalid_records(session, [failing(1), failing(2)], validation_type)
    installation.age("apr_invalid_records", "detected_at", 60)
    installation.sight(1)
    assert apr.auto_resolve_invalid_records(session, DAY + timedelta(days=1)) == 0
    assert apr.auto_resolve_invalid_records(session, DAY) == 2
    rows = installation.sql("SELECT PROPOSTA, is_resolved, resolved_at IS NULL FROM apr_invalid_records ORDER BY id")
    assert rows == [(1, 1, 0), (2, 0, 1), (1, 1, 0), (2, 0, 1)]
    assert apr.auto_resolve_invalid_records(session, DAY) == 0


def test_a_proposal_that_becomes_valid_within_the_second_is_resolved(
    installation: Installation, marked: Session
) -> None:
    installation.sight(1)
    apr.log_invalid_records(marked, [failing(1)], "SEUNO")
    installation.sight(1)
    assert apr.auto_resolve_invalid_records(marked, DAY) == 1


def test_work_of_the_bot_does_not_resolve(installation: Installation, marked: Session) -> None:
    installation.sight(1)
    apr.log_invalid_records(marked, [failing(1)], "SEUNO")
    installation.age("apr_invalid_records", "detected_at", 60)
    installation.sql("UPDATE apr_valid_records SET is_bot_processed = 1, last_updated = CURRENT_TIMESTAMP")
    installation.sql("UPDATE rounds_apr_marks SET marked_at = CURRENT_TIMESTAMP")
    assert apr.auto_resolve_invalid_records(marked, DAY) == 0
    installation.sight(1)
    assert apr.auto_resolve_invalid_records(marked, DAY) == 1


def test_cheque_that_the_same_run_stores_as_valid_does_not_flap(installation: Installation, marked: Session) -> None:
    for _ in range(3):
        apr.log_invalid_records(marked, [failing(1)], "CHEQUE")
        installation.sight(1)
        assert apr.auto_resolve_invalid_records(marked, DAY) == 0
    installation.sight(1)
    assert apr.auto_resolve_invalid_records(marked, DAY) == 1
    assert installation.one(ALL) == 1


def test_a_mark_of_an_earlier_record_does_not_resolve_one_of_another_program(
    installation: Installation, marked: Session
) -> None:
    apr.log_invalid_records(marked, [failing(1)], "SEUNO")
    installation.sight(1)
    assert apr.auto_resolve_invalid_records(marked, DAY) == 1
    installation.age("rounds_apr_marks", "marked_at", 60)
    installation.age("apr_valid_records", "last_updated", 60)
    installation.sql(
        "INSERT INTO apr_invalid_records (DATA, PROPOSTA, CEDENTE, VALIDATION_TYPE)"
        " VALUES ('2026-03-06', 1, 'Cliente Um', 'SEUNO')"
    )
    assert apr.auto_resolve_invalid_records(marked, DAY) == 0


def test_the_summary_is_no_staler_than_the_resolution(installation: Installation, session: Session) -> None:
    apr.log_invalid_records(session, [failing(1), failing(2)], "SEUNO")
    installation.age("apr_invalid_records", "detected_at", 60)
    installation.sight(1)
    assert apr.update_daily_summary(session, DAY)["invalid_proposals"] == 2
    apr.auto_resolve_invalid_records(session, DAY)
    assert installation.one("SELECT invalid_proposals FROM apr_daily_summary") == installation.one(OPEN) == 1


# The history of statuses


def history(installation: Installation) -> list[tuple[Any, ...]]:
    return installation.sql("SELECT PROPOSTA, OLD_STATUS, NEW_STATUS FROM apr_status_history ORDER BY id")


def test_changes_of_status_become_history(installation: Installation, session: Session) -> None:
    installation.sight(1, "Aprovado")
    assert apr.track_status_changes(session, DAY, "SYSTEM") == 0, "it was seen once"
    installation.sight(1, "Aprovado", approved=10, titles=3)
    assert apr.track_status_changes(session, DAY, "SYSTEM") == 1
    assert apr.track_status_changes(session, DAY, "SYSTEM") == 0
    installation.sight(1, "Assinado", approved=20, titles=4)
    assert apr.track_status_changes(session, DAY, "BOT") == 1
    rows = installation.sql(
        "SELECT CAST(DATA AS CHAR), PROPOSTA, CEDENTE, RAMO, OLD_STATUS, NEW_STATUS, OLD_VLR_APROVADOS,"
        " NEW_VLR_APROVADOS, OLD_QTD_TITULOS, NEW_QTD_TITULOS, CHANGE_SOURCE FROM apr_status_history ORDER BY id"
    )
    proposal = ("2026-03-06", 1, "Cliente Um", "Centro")
    assert rows == [
        (*proposal, None, "Aprovado", None, 10, None, 3, "SYSTEM"),
        (*proposal, "Aprovado", "Assinado", 10, 20, 3, 4, "BOT"),
    ]


def test_case_and_blanks_are_a_change(installation: Installation, session: Session) -> None:
    for status in ("Assinado", "Assinado", "assinado", "assinado ", "assinadó "):
        installation.sight(1, status)
        apr.track_status_changes(session, DAY)
    assert [row[2] for row in history(installation)] == ["Assinado", "assinado", "assinado ", "assinadó "]


def test_the_last_status_is_the_one_with_the_highest_id(installation: Installation, session: Session) -> None:
    """Times have a resolution of a second, so several rows may have the same one, or a clock went back."""
    installation.sight(1, "Assinado")
    installation.sight(1, "Assinado")
    for status, at in (("Aprovado", "2026-03-06 10:00:01"), ("Assinado", "2026-03-06 10:00:00")):
        installation.sql(
            "INSERT INTO apr_status_history (DATA, PROPOSTA, CEDENTE, RAMO, NEW_STATUS, changed_at)"
            f" VALUES ('2026-03-06', 1, 'Cliente Um', 'Centro', '{status}', '{at}')"
        )
    assert apr.track_status_changes(session, DAY) == 0


def test_branches_of_a_proposal_do_not_change_each_other(installation: Installation, session: Session) -> None:
    for _ in range(3):
        installation.sight(1, "Aprovado", branch="Centro")
        installation.sight(1, "Assinado", branch="Norte")
        apr.track_status_changes(session, DAY)
    assert len(history(installation)) == 2


def test_a_missing_status_loses_nothing_else(
    installation: Installation, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    for proposal, status in ((1, "Aprovado"), (2, None), (3, "Pago")):
        installation.sight(proposal, status)
        installation.sight(proposal, status)
    assert apr.track_status_changes(session, DAY) == 2
    assert "left out of the history: 1" in caplog.text


def test_backfill_writes_what_has_no_history(installation: Installation, session: Session) -> None:
    for proposal, status in ((1, "Aprovado"), (2, "Pago"), (3, None)):
        installation.sight(proposal, status)
    installation.sight(1, "Aprovado")
    apr.track_status_changes(session, DAY)
    assert proposals_without_history(session, DAY) == 1
    assert backfill_history(session, DAY) == 1
    assert history(installation) == [(1, None, "Aprovado"), (2, None, "Pago")]
    assert installation.one("SELECT CHANGE_SOURCE FROM apr_status_history WHERE PROPOSTA = 2") == "BACKFILL"
    assert backfill_history(session, DAY) == 0


# Products


def product(proposal: int, name: object, **values: object) -> dict[str, object]:
    return {"DATA": DAY, "PROPOSTA": proposal, "CEDENTE": "Cliente Um", "PRODUTO": name, **values}


def test_products_are_added_up_and_written_over(installation: Installation, session: Session) -> None:
    records = [
        product(1, "A", QTD_TITULOS=2, VALOR_TITULOS=Decimal("10.10")),
        product(1, "a", QTD_TITULOS=1, VALOR_TITULOS=0.2),
        product(1, None),
        product(2, "A", VALOR_TITULOS="5"),
    ]
    assert apr.track_proposal_products(session, records) == 3
    assert apr.track_proposal_products(session, [product(2, "A", QTD_TITULOS=9), product(3, "B")]) == 2
    rows = installation.sql(
        "SELECT PROPOSTA, PRODUTO, QTD_TITULOS, VALOR_TITULOS FROM apr_proposal_products ORDER BY PROPOSTA, PRODUTO"
    )
    assert [(*row[:3], float(row[3])) for row in rows] == [
        (1, "A", 3, 10.3),
        (1, "SEM PRODUTO", 1, 0),
        (2, "A", 9, 0),
        (3, "B", 1, 0),
    ]


def test_an_older_installation_has_no_products(mariadb: MariadbServer, caplog: pytest.LogCaptureFixture) -> None:
    older = mariadb_installation(mariadb, products=False, late=False)
    with Session(older.engine) as session:
        assert apr.track_proposal_products(session, [product(1, "A")]) == 0
        assert "no table apr_proposal_products" in caplog.text
        older.sight(1)
        apr.log_invalid_records(session, [failing(1)], "SEUNO")
        assert apr.auto_resolve_invalid_records(session, DAY) == 0
        apr.update_daily_summary(session, DAY)
        assert apr.cleanup_old_monitoring_data(session)["apr_proposal_products"] == 0


def test_products_that_are_refused_do_not_end_the_run(
    installation: Installation, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    installation.sql("DROP TABLE apr_proposal_products", "CREATE TABLE apr_proposal_products (id INT)")
    assert apr.track_proposal_products(session, [product(1, "Segredo")]) == 0
    assert "products not written" in caplog.text
    assert "Segredo" not in caplog.text


# Runs


def runs(installation: Installation) -> list[tuple[Any, ...]]:
    return installation.sql(
        "SELECT run_mode, execution_time_seconds, error_message, total_records_queried, invalid_cheque"
        " FROM apr_processing_log ORDER BY id"
    )


def test_a_run_is_logged(installation: Installation, session: Session) -> None:
    stats = {"total_records_queried": 68, "invalid_cheque": float("nan"), "other": 1}
    first = apr.log_program_execution(session, DAY, stats, 1.6)
    second = apr.log_program_execution(session, DAY, {}, 0.2, "DRY_RUN", "no answer from 'Cliente Um' 1234567\nmore")
    assert second > first
    assert runs(installation) == [
        ("PRODUCTION", 2, None, 68, 0),
        ("DRY_RUN", 0, "no answer from ? ?", 0, 0),
    ]
    with pytest.raises(ValueError, match="run_mode"):
        apr.log_program_execution(session, DAY, {}, 1, "TEST")


def test_a_run_that_fails_leaves_a_row(installation: Installation, session: Session) -> None:
    def fail() -> None:
        with apr.track_run(session, DAY, "DRY_RUN") as run:
            run.stats["total_records_queried"] = 5
            raise KeyError("Cliente Um")

    with pytest.raises(KeyError):
        fail()
    assert runs(installation) == [("DRY_RUN", 0, "KeyError", 5, 0)]


def test_an_error_of_the_database_is_logged_without_values(installation: Installation, session: Session) -> None:
    def fail() -> None:
        with apr.track_run(session, DAY):
            session.execute(text("SELECT 'Segredo' FROM missing"))

    with pytest.raises(SQLAlchemyError):
        fail()
    expected = "ProgrammingError (1146)" if installation.kind == "mariadb" else "OperationalError (SQLITE_ERROR)"
    assert runs(installation)[0][2] == expected


def test_a_run_that_ends_well_is_logged_once(installation: Installation, session: Session) -> None:
    with apr.track_run(session, DAY):
        apr.log_program_execution(session, DAY, {}, 1)
    with apr.track_run(session, DAY) as run:
        run.stats["total_records_queried"] = 5
    assert [row[3] for row in runs(installation)] == [0, 5]
    assert {row[2] for row in runs(installation)} == {None}


# The summary


def test_every_proposal_is_in_one_bucket(installation: Installation, session: Session) -> None:
    statuses = [
        "Aguardando Analista", "Aguardando análise", "Em análise", "Aguardando Aprovação", "Aprovado",
        "Enviado para Assinar", "Assinado", "Liberado", "Finalizado", "Pago", "assinado ", None,
    ]  # fmt: skip
    for number, status in enumerate(statuses):
        installation.sight(number, status, approved=1.5, value=2)
    installation.sight(3, "Assinado", branch="Norte", approved=1.5, value=2)
    found = apr.update_daily_summary(session, DAY)
    assert found.pop("total_vlr_aprovados") == pytest.approx(Decimal("19.5"))
    assert found.pop("total_valor_titulos") == 26
    assert found == {
        "total_proposals": 12, "valid_proposals": 12, "invalid_proposals": 0, "proposals_aguardando": 3,
        "em_analise": 1, "aprovado": 1, "proposals_enviado": 1, "proposals_assinado": 2, "proposals_liberado": 1,
        "proposals_finalizado": 1, "pago": 1, "other": 1,
    }  # fmt: skip
    row = installation.sql(
        "SELECT total_proposals, proposals_aguardando + proposals_enviado + proposals_assinado + proposals_liberado"
        " + proposals_finalizado, total_vlr_aprovados FROM apr_daily_summary"
    )[0]
    assert row[:2] == (12, 8)
    assert float(row[2]) == 19.5


def test_a_summary_that_says_the_same_again_is_recent(installation: Installation, session: Session) -> None:
    installation.sight(1)
    apr.update_daily_summary(session, DAY)
    installation.sql("UPDATE apr_daily_summary SET last_updated = '2026-01-01 00:00:00'")
    apr.update_daily_summary(session, DAY)
    assert installation.one("SELECT COUNT(*) FROM apr_daily_summary WHERE last_updated > '2026-01-02'") == 1


def test_a_day_without_proposals_has_a_summary(installation: Installation, session: Session) -> None:
    assert set(apr.update_daily_summary(session, DAY).values()) == {0}
    assert installation.one("SELECT total_proposals FROM apr_daily_summary") == 0


# Cleaning


def test_only_what_is_older_than_the_retention_is_deleted(
    installation: Installation, marked: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rounds.apr.writing.cleaning._BATCH", 2)
    today = date.fromisoformat(str(installation.one("SELECT CURRENT_DATE")))
    for age in (29, 30, 31, 31, 31, 400):
        day = (today - timedelta(days=age)).isoformat()
        key = {"DATA": day, "PROPOSTA": age, "CEDENTE": "c"}
        installation.many("apr_invalid_records", [{**key, "VALIDATION_TYPE": "SEUNO"}])
        installation.many("apr_status_history", [{**key, "NEW_STATUS": "Pago"}])
        installation.many("apr_processing_log", [{"target_date": day}])
        if age != 31 or not installation.one("SELECT COUNT(*) FROM apr_daily_summary WHERE DATA = :day", day=day):
            installation.many("apr_daily_summary", [{"DATA": day}])
            installation.many("apr_proposal_products", [{**key, "PRODUTO": "p"}])
            installation.many("apr_valid_records", [{**key, "RAMO": "r"}])
            installation.many("rounds_apr_marks", [{**key, "VALIDATION_TYPE": "SEUNO", "sightings": 1}])
    told: list[tuple[str, int]] = []
    assert apr.cleanup_old_monitoring_data(marked, 30, lambda *seen: told.append(seen)) == {
        "apr_invalid_records": 4,
        "apr_status_history": 4,
        "apr_daily_summary": 2,
        "apr_proposal_products": 2,
        "apr_processing_log": 4,
    }
    assert told[:3] == [("apr_invalid_records", 2), ("apr_invalid_records", 4), ("apr_invalid_records", 4)]
    left = {name: installation.one(f"SELECT COUNT(*) FROM {name}") for name in (*TABLES, "rounds_apr_marks")}
    assert left == {**dict.fromkeys(left, 2), "apr_valid_records": 4}


def test_a_negative_retention_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="negative"):
        apr.cleanup_old_monitoring_data(session, -1)


# Transactions


def test_what_was_written_before_is_committed_with_it(installation: Installation, session: Session) -> None:
    session.execute(text("INSERT INTO apr_processing_log (target_date) VALUES ('2026-03-06')"))
    apr.log_invalid_records(session, [failing(1)], "SEUNO")
    session.rollback()
    assert installation.one("SELECT COUNT(*) FROM apr_processing_log") == installation.one(OPEN) == 1


def test_a_connection_is_taken_too(installation: Installation) -> None:
    with installation.engine.connect() as connection:
        assert apr.log_invalid_records(connection, [failing(1)], "SEUNO") == 1
        assert apr.update_daily_summary(connection, DAY)["invalid_proposals"] == 1
        assert not any(apr.cleanup_old_monitoring_data(connection, 30_000).values())
    assert installation.one(OPEN) == 1


def test_a_refusal_quotes_no_value_and_lets_go_of_the_lock(on_mariadb: Installation) -> None:
    on_mariadb.sql("ALTER TABLE apr_invalid_records ADD COLUMN must INT NOT NULL CHECK (must > 1)")
    with Session(on_mariadb.engine) as session:
        with pytest.raises(apr.WriteFailed) as failure:
            apr.log_invalid_records(session, [failing(1, CEDENTE="Segredo")], "SEUNO")
        assert "Segredo" not in repr(failure.value)
        assert failure.value.__suppress_context__
        assert on_mariadb.one("SELECT IS_FREE_LOCK(CONCAT('rounds-apr-', SHA1(DATABASE())))") == 1
        on_mariadb.sql("ALTER TABLE apr_invalid_records DROP COLUMN must")
        assert apr.log_invalid_records(session, [failing(1)], "SEUNO") == 1


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "READ COMMITTED"])
def test_parallel_runs_double_nothing(on_mariadb: Installation, isolation: str) -> None:
    on_mariadb.sql(*tables.statements(tables.MARKS, mysql.dialect()))
    for proposal in range(50):
        for _ in range(2):
            on_mariadb.sight(proposal)
    start = threading.Barrier(4)
    logged, tracked = [], []

    def run() -> None:
        engine = on_mariadb.engine.execution_options(isolation_level=isolation)
        with Session(engine) as session:
            session.execute(text("SELECT COUNT(*) FROM apr_invalid_records")).all()  # a snapshot from before the others
            start.wait()
            logged.append(apr.log_invalid_records(session, [failing(number) for number in range(50)], "SEUNO"))
            start.wait()
            tracked.append(apr.track_status_changes(session, DAY))
            apr.track_proposal_products(session, [product(number, "A") for number in range(50)])
            apr.update_daily_summary(session, DAY)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(logged), sum(tracked)) == (50, 50)
    assert on_mariadb.one(ALL) == 50
    assert len(history(on_mariadb)) == 50


def test_a_run_waits_for_another_that_writes(on_mariadb: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = "CONCAT('rounds-apr-', SHA1(DATABASE()))"
    counts: list[int] = []

    def run() -> None:
        with Session(on_mariadb.engine) as session:
            counts.append(apr.log_invalid_records(session, [failing(1)], "SEUNO"))

    thread = threading.Thread(target=run)
    with on_mariadb.engine.connect() as other:
        other.execute(text(f"SELECT GET_LOCK({lock}, 0)"))
        thread.start()
        waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User lock'"
        assert eventually(lambda: on_mariadb.one(waiting) == 1)
        monkeypatch.setattr("rounds.apr.writing.work._LOCK_WITHIN", 0)
        with Session(on_mariadb.engine) as session, pytest.raises(apr.WriteFailed, match="another run"):
            apr.track_status_changes(session, DAY)
        assert counts == []
        other.execute(text(f"DO RELEASE_LOCK({lock})"))
    thread.join()
    assert counts == [1]


# InnoDB's tables in information_schema are renewed only once nobody has read them for 0.1 s, so that a loop that asks
# without a pause sees the same for ever.
BEYOND_THE_CACHE = 0.15


def transactions(installation: Installation, state: str | None = None) -> int:
    where = f" WHERE trx_state = '{state}'" if state else ""
    return int(installation.one(f"SELECT COUNT(*) FROM information_schema.INNODB_TRX{where}"))


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "READ COMMITTED"])
@pytest.mark.parametrize("function", ["log_invalid_records", "track_status_changes"])
def test_rows_that_are_about_to_be_committed_are_waited_for(
    on_mariadb: Installation, isolation: str, function: str
) -> None:
    """The lock is let go before the commit, so that it ends with the same connection whatever pool it is from."""
    for _ in range(2):
        on_mariadb.sight(1)
    engine = on_mariadb.engine.execution_options(isolation_level=isolation)
    with Session(engine) as first, Session(engine) as second:
        commits = threading.Event()
        commit = first.commit
        first.commit = lambda: (commits.wait(), commit())[1]  # type: ignore[method-assign]
        counts: list[int] = []

        def write_by(session: Session) -> None:
            if function == "log_invalid_records":
                counts.append(apr.log_invalid_records(session, [failing(1)], "SEUNO"))
            else:
                counts.append(apr.track_status_changes(session, DAY))

        threads = [threading.Thread(target=write_by, args=[session]) for session in (first, second)]
        threads[0].start()
        free = "SELECT IS_FREE_LOCK(CONCAT('rounds-apr-', SHA1(DATABASE())))"
        assert eventually(lambda: transactions(on_mariadb) == 1 and on_mariadb.one(free) == 1, every=BEYOND_THE_CACHE)
        threads[1].start()
        assert eventually(lambda: transactions(on_mariadb, "LOCK WAIT") == 1, every=BEYOND_THE_CACHE)
        commits.set()
        for thread in threads:
            thread.join()
    assert sorted(counts) == [0, 1]


@pytest.mark.parametrize("idle", [True, False])
def test_a_lost_deadlock_is_tried_again_unless_more_was_lost(on_mariadb: Installation, idle: bool) -> None:
    for proposal in range(3):
        for _ in range(2):
            on_mariadb.sight(proposal)
    for proposal in range(50):
        on_mariadb.sight(proposal, day=DAY + timedelta(days=9))
    deadlocks = "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"
    before = int(on_mariadb.sql(deadlocks)[0][1])
    outcome: list[object] = []

    def track() -> None:
        with Session(on_mariadb.engine) as session:
            if not idle:
                session.execute(text("SELECT 1"))
            try:
                outcome.append(apr.track_status_changes(session, DAY))
            except apr.WriteFailed as failure:
                outcome.append(str(failure))

    thread = threading.Thread(target=track)
    with on_mariadb.engine.connect() as bot:
        # The server ends the transaction that has changed less.
        bot.execute(text("UPDATE apr_valid_records SET is_processado = 1 WHERE DATA > '2026-03-10'"))
        bot.execute(text("UPDATE apr_valid_records SET is_processado = 1 WHERE DATA = '2026-03-06' AND PROPOSTA = 2"))
        thread.start()
        assert eventually(lambda: transactions(on_mariadb, "LOCK WAIT") == 1, every=BEYOND_THE_CACHE)
        bot.execute(text("UPDATE apr_valid_records SET is_processado = 1 WHERE DATA = '2026-03-06' AND PROPOSTA = 0"))
        bot.commit()
    thread.join()
    assert int(on_mariadb.sql(deadlocks)[0][1]) == before + 1
    assert outcome == ([3] if idle else ["the tables could not be written: OperationalError (1213)"])


@pytest.mark.parametrize("count", [1, 300])
def test_a_call_is_five_statements_however_many_records(
    installation: Installation, marked: Session, count: int
) -> None:
    numbers = range(count)
    installation.many(
        "apr_valid_records",
        [
            {"DATA": DAY.isoformat(), "PROPOSTA": number, "CEDENTE": "Cliente Um", "RAMO": "r", "update_count": 1}
            for number in numbers
        ],
    )
    calls = {
        "log": lambda: apr.log_invalid_records(marked, [failing(number) for number in numbers], "SEUNO"),
        "log again": lambda: apr.log_invalid_records(marked, [failing(number) for number in numbers], "SEUNO"),
        "resolve": lambda: apr.auto_resolve_invalid_records(marked, DAY),
        "history": lambda: apr.track_status_changes(marked, DAY),
        "products": lambda: apr.track_proposal_products(marked, [product(number, "A") for number in numbers]),
        "summary": lambda: apr.update_daily_summary(marked, DAY),
        "run": lambda: apr.log_program_execution(marked, DAY, {}, 1),
    }
    sent = {name: statements_of(installation, call) for name, call in calls.items()}
    assert max(sent.values()) <= 5, sent


# What comes along


def test_a_program_that_writes_loads_neither_the_exporter_nor_drivers() -> None:
    code = (
        "import sys; from rounds.apr import *; import rounds.apr.tables; heavy = {'snowflake', 'httpx', 'starlette',"
        " 'uvicorn', 'pydantic', 'pymysql', 'structlog', 'prometheus_client'} & set(sys.modules);"
        " assert callable(log_invalid_records); sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_functions_take_what_those_that_they_replace_take() -> None:
    assert {name: list(inspect.signature(getattr(apr, name)).parameters) for name in PARAMETERS} == PARAMETERS


def test_arguments_may_be_named(session: Session) -> None:
    assert apr.log_invalid_records(session=session, records=[], validation_type="SEUNO") == 0
    assert apr.auto_resolve_invalid_records(session=session, target_date=DAY) == 0
    assert apr.track_status_changes(session=session, target_date=DAY, source="BOT") == 0
    assert apr.update_daily_summary(session=session, date=DAY)["total_proposals"] == 0


def test_what_is_exported_is_there() -> None:
    assert all(getattr(apr, name) for name in apr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = apr.other


def test_logs_are_told_to_the_programs_own(caplog: pytest.LogCaptureFixture, session: Session) -> None:
    with caplog.at_level(logging.WARNING, "rounds.apr"):
        apr.track_proposal_products(session, [{}])
    assert caplog.records[0].name == "rounds.apr"

"""What a run tells of the tables as they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from rounds.apr.calendar import is_working_day, midnight
from rounds.apr.config import AprSection
from rounds.apr.metrics import STATUSES, VALIDATION_TYPES
from rounds.apr.tables import LATE_COLUMNS
from rounds.errors import CollectorError
from support.apr import DAY, Installation, mariadb_installation
from support.apr_reading import Reading, put
from support.mariadb import MariadbServer

HOUR = 3600
Start = Callable[..., Reading]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts collectors and closes their ledgers."""
    made: list[Reading] = []

    def begin(installation: Installation, **keys: Any) -> Reading:
        made.append(Reading(installation.source, tmp_path, **keys))
        return made[-1]

    yield begin
    for reading in made:
        reading.ledger.close()


def invalid(proposal: int, kind: str = "NFECHAVE", client: str = "Cliente Um", **more: Any) -> dict[str, object]:
    """A row of apr_invalid_records."""
    return {"DATA": DAY.isoformat(), "PROPOSTA": proposal, "CEDENTE": client, "VALIDATION_TYPE": kind, **more}


def change(
    proposal: int, new: str, old: str | None = None, source: str | None = "SYSTEM", **more: object
) -> dict[str, object]:
    """A row of apr_status_history."""
    row = {"DATA": DAY.isoformat(), "PROPOSTA": proposal, "CEDENTE": "Cliente Um", "OLD_STATUS": old}
    return {**row, "NEW_STATUS": new, "CHANGE_SOURCE": source, **more}


def ago(seconds: float) -> str:
    """A time as both databases take it, in UTC. MariaDB's server of the tests is in UTC too."""
    return f"{datetime.now(UTC) - timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"


def test_empty_tables_are_zeros_and_no_error(installation: Installation, start: Start) -> None:
    found = start(installation).run()
    assert found.families["invalid_records"] == {(kind,): 0 for kind in VALIDATION_TYPES}
    assert found.families["proposals"] == {(status,): 0 for status in STATUSES}
    assert found.families["invalid_records_detected_total"] == {(kind,): 0 for kind in VALIDATION_TYPES}
    assert len(found.families["status_changes_total"]) == 6 * len(STATUSES)
    assert found.families["runs_total"] == dict.fromkeys(
        [(mode, outcome) for mode in ("PRODUCTION", "DRY_RUN") for outcome in ("succeeded", "failed")], 0
    )
    assert found.observations("run_duration_seconds") == 0
    assert found["proposals_current"] == found["proposals_invalid"] == found["proposals_unconfirmed"] == 0
    for absent in (
        "last_run_timestamp_seconds",
        "summary_updated_timestamp_seconds",
        "business_date_timestamp_seconds",
    ):
        assert not found.families.get(absent)
    assert found.families["schema_problem"] == {}
    assert found["threshold_seconds", "stuck_after"] == 48 * HOUR


def test_proposals_of_the_current_date(installation: Installation, start: Start) -> None:
    statuses = ["Aguardando Analista", "Aguardando análise", "em analise ", "EM ANÁLISE", "Aprovado", "assinado ", "?"]
    for number, status in enumerate(statuses):
        installation.sight(number, status, approved=10, value=20.5)
    installation.sight(100, None)
    # Two branches: one proposal, with the status of the one that is less advanced.
    installation.sight(200, "Assinado", branch="A")
    installation.sight(200, "Pago", branch="B")
    # The same number, of another client, and of another date.
    installation.sight(0, "Liberado", client="Cliente Dois")
    installation.sight(0, "Finalizado", day=DAY - timedelta(days=1))
    put(
        installation, "apr_invalid_records", *[invalid(1), invalid(1, "SEUNO"), invalid(300), invalid(2, is_resolved=1)]
    )

    found = start(installation).run()
    assert found.all("proposals") == {
        ("aguardando",): 2,
        ("em_analise",): 2,
        ("aprovado",): 1,
        ("assinado",): 2,
        ("liberado",): 1,
        ("other",): 2,
    }
    assert found["proposals_invalid"] == 2
    assert found["proposals_valid"] == 9
    assert found["proposals_current"] == 11
    assert found["approved_value_brl"] == 7 * 10 + 4 * 100
    assert found["title_value_brl"] == pytest.approx(7 * 20.5 + 4 * 200)
    assert (
        found["business_date_timestamp_seconds"]
        == datetime(2026, 3, 6, tzinfo=ZoneInfo("America/Sao_Paulo")).timestamp()
    )
    assert found["table_rows", "apr_valid_records"] is not None
    assert found["table_oldest_timestamp_seconds", "apr_valid_records"] == midnight(
        DAY - timedelta(days=1), AprSection(source="apr")
    )


def test_invalid_records(installation: Installation, start: Start) -> None:
    rows = [invalid(number, kind, detected_at=ago(number * HOUR)) for number in (1, 2) for kind in ("SEUNO", "CHEQUE")]
    rows += [invalid(3, "CHEQUE", detected_at=ago(9 * HOUR), DATA="2026-01-01")]
    put(installation, "apr_invalid_records", *rows)
    resolved: dict[str, Any] = {"is_resolved": 1, "detected_at": ago(HOUR), "resolved_at": ago(0)}
    put(installation, "apr_invalid_records", *[invalid(7, "SEUNO", **resolved)] * 3 + [invalid(8, "SEUNO", **resolved)])
    found = start(installation).run()
    assert found.all("invalid_records") == {("SEUNO",): 2, ("CHEQUE",): 3}
    oldest = found.all("invalid_record_oldest_timestamp_seconds")
    assert oldest.keys() == {("SEUNO",), ("CHEQUE",)}
    assert time.time() - oldest["SEUNO",] == pytest.approx(2 * HOUR, abs=10)
    assert time.time() - oldest["CHEQUE",] == pytest.approx(9 * HOUR, abs=10)
    assert found.all("invalid_records_flapping") == {("SEUNO",): 1}
    assert found.all("invalid_records_detected_total") == {("SEUNO",): 6, ("CHEQUE",): 3}
    assert found.all("invalid_records_resolved_total") == {("SEUNO",): 4}
    histogram = found.histogram("invalid_record_resolution_seconds", "SEUNO")
    assert sum(histogram.counts) == 4
    assert histogram.sum == pytest.approx(4 * HOUR, abs=10)


def test_a_type_that_is_not_known_is_other(installation: Installation, start: Start) -> None:
    if installation.kind == "mariadb":
        types = ", ".join(f"'{kind}'" for kind in (*VALIDATION_TYPES, "BOLETO", "CONTRATO"))
        installation.sql(f"ALTER TABLE apr_invalid_records MODIFY VALIDATION_TYPE ENUM({types}) NOT NULL")
    put(installation, "apr_invalid_records", invalid(1, "BOLETO"), invalid(2, "CONTRATO"), invalid(3, "SEUNO"))
    reading = start(installation)
    found = reading.run()
    assert found.all("invalid_records") == {("other",): 2, ("SEUNO",): 1}
    assert found.all("invalid_record_oldest_timestamp_seconds").keys() == {("other",), ("SEUNO",)}
    installation.sql("UPDATE apr_invalid_records SET is_resolved = 1, resolved_at = CURRENT_TIMESTAMP")
    found = reading.run()
    assert found.all("invalid_records_resolved_total") == {("other",): 2, ("SEUNO",): 1}
    assert found.observations("invalid_record_resolution_seconds", "other") == 2


def test_runs(installation: Installation, start: Start) -> None:
    columns = ["run_timestamp", "run_mode", "error_message", "execution_time_seconds", "total_records_queried"]
    columns += ["valid_records", "invalid_seuno", "invalid_cheque", "records_stored", "alerts_sent_seuno"]
    rows = [
        (ago(300), "PRODUCTION", None, 2, 68, 60, 5, 3, 50, 5),
        (ago(200), "PRODUCTION", "", None, None, None, None, None, None, None),
        (ago(100), "PRODUCTION", "it broke", 4, 10, 4, 4, 2, 4, 1),
        (ago(50), "DRY_RUN", None, 900, 99, 99, 0, 0, 99, 7),
    ]
    put(
        installation,
        "apr_processing_log",
        *[{"target_date": DAY.isoformat(), **dict(zip(columns, row, strict=True))} for row in rows],
    )
    found = start(installation).run()
    assert found.all("runs_total") == {
        ("PRODUCTION", "succeeded"): 2,
        ("PRODUCTION", "failed"): 1,
        ("DRY_RUN", "succeeded"): 1,
    }
    assert found["last_run_failed"] == 1
    assert found["last_run_duration_seconds"] == 4
    assert found.families["last_run_records"] == {("queried",): 10, ("valid",): 4, ("invalid",): 6, ("stored",): 4}
    assert time.time() - (found["last_run_timestamp_seconds", "PRODUCTION"] or 0) == pytest.approx(100, abs=10)
    assert time.time() - (found["last_run_timestamp_seconds", "DRY_RUN"] or 0) == pytest.approx(50, abs=10)
    assert found.all("records_processed_total") == {
        ("queried",): 78,
        ("valid",): 64,
        ("invalid",): 14,
        ("stored",): 54,
    }
    assert found.all("alerts_sent_total") == {("SEUNO",): 6}
    assert found.observations("run_duration_seconds") == 2, "of production runs that say how long they took"
    assert found.histogram("run_duration_seconds").sum == 6


def test_status_changes(installation: Installation, start: Start) -> None:
    rows = [
        change(1, "Aguardando Analista", source="BACKFILL"),
        change(1, "em análise", "Aguardando Analista", "bot "),
        change(1, "em análise", "em análise"),  # only values have changed
        change(1, "Pago", "em análise", "A script of somebody's"),
        change(2, "Devolvido", "Pago", None),
        change(2, "assinado ", "Assinado"),
    ]
    put(installation, "apr_status_history", *rows)
    found = start(installation).run()
    assert found.all("status_changes_total") == {
        ("BACKFILL", "aguardando"): 1,
        ("BOT", "em_analise"): 1,
        ("other", "pago"): 1,
        ("other", "other"): 1,
        ("SYSTEM", "assinado"): 1,
    }


def test_stuck_proposals(installation: Installation, start: Start) -> None:
    day = datetime.now(ZoneInfo("America/Sao_Paulo")).date()
    old, recent = {"DATA": day.isoformat(), "changed_at": ago(49 * HOUR)}, {"changed_at": ago(47 * HOUR)}
    rows = [
        change(1, "Aprovado", **old),
        # Proposal numbers restart with each date: this one is another, and the first is stuck all the same.
        change(1, "Aprovado", **{**old, "DATA": (day - timedelta(days=3)).isoformat()}),
        change(2, "Aprovado", **{**old, **recent}),
        change(3, "Aprovado", **old),
        change(3, "Pago", **old),
        change(4, "Pago", **old),
        change(4, "Assinado", **old),  # in the same second: the id tells which came last
        change(5, "?", **old),
        change(5, "?", **{**old, "CEDENTE": "Cliente Dois"}),
        change(6, "Aprovado", **{**old, "DATA": (day - timedelta(days=31)).isoformat()}),
    ]
    put(installation, "apr_status_history", *rows)
    reading = start(installation)
    found = reading.run()
    assert found.all("proposals_stuck") == {("aprovado",): 2, ("assinado",): 1, ("other",): 2}
    assert found["proposals_stuck", "enviado"] == 0
    assert found["proposals_stuck", "pago"] is None, "who is paid is not stuck"
    put(installation, "apr_status_history", *[change(1, "Enviado para Assinar", "Aprovado", DATA=day.isoformat())])
    assert reading.run().all("proposals_stuck") == {("aprovado",): 1, ("assinado",): 1, ("other",): 2}
    installation.sql("DELETE FROM apr_status_history WHERE DATA < :day", day=day.isoformat())
    assert reading.run().all("proposals_stuck") == {("assinado",): 1, ("other",): 2}
    installation.sql("DELETE FROM apr_status_history")
    assert reading.run().all("proposals_stuck") == {}


def test_work_of_the_bot_that_is_not_confirmed(installation: Installation, start: Start) -> None:
    day = datetime.now(ZoneInfo("America/Sao_Paulo")).date()
    for number in range(4):
        installation.sight(number, day=day)
    installation.sight(1, day=day, branch="B")
    installation.sight(9, day=day - timedelta(days=60))
    installation.sql("UPDATE apr_valid_records SET is_bot_processed = 1 WHERE PROPOSTA > 0")
    installation.sql("UPDATE apr_valid_records SET is_confirmado = 1 WHERE PROPOSTA = 3")
    installation.age("apr_valid_records", "last_updated", HOUR, "PROPOSTA = 2")
    found = start(installation).run()
    assert found["proposals_unconfirmed"] == 2
    oldest = found["proposal_unconfirmed_oldest_timestamp_seconds"]
    assert oldest
    assert time.time() - oldest == pytest.approx(HOUR, abs=10)


def test_summary_and_products(installation: Installation, start: Start) -> None:
    key = {"DATA": DAY.isoformat(), "CEDENTE": "Cliente Um"}
    products = [{**key, "PROPOSTA": number, "PRODUTO": f"P{index}"} for number in (1, 2) for index in range(2 * number)]
    put(installation, "apr_proposal_products", *[*products, *({**p, "DATA": "2026-01-01"} for p in products)])
    put(installation, "apr_daily_summary", *[{"DATA": DAY.isoformat(), "last_updated": ago(HOUR)}])
    found = start(installation).run()
    histogram = found.histogram("proposal_products")
    assert dict(zip((*histogram.bounds, "more"), histogram.counts, strict=True)) == {
        1: 0,
        2: 1,
        3: 0,
        5: 1,
        10: 0,
        "more": 0,
    }
    assert histogram.sum == 6
    assert time.time() - (found["summary_updated_timestamp_seconds"] or 0) == pytest.approx(HOUR, abs=10)


def test_names_are_labels_only_where_asked_for(installation: Installation, start: Start) -> None:
    clients = ["Zeta", "Zeta", "Zeta", "Alfa", "Alfa", "Beta", "_other"]
    put(installation, "apr_invalid_records", *[invalid(n, client=name, GERENTE=None) for n, name in enumerate(clients)])
    key = {"DATA": DAY.isoformat(), "CEDENTE": "Zeta"}
    put(
        installation,
        "apr_proposal_products",
        *[{**key, "PROPOSTA": n, "PRODUTO": p} for n, p in enumerate(["X", "X", "Y"])],
    )
    reading = start(installation)
    plain = reading.run()
    assert not {name for name in plain.families if "_by_" in name}
    reading.configure(labels={"cedente": 2, "gerente": 1, "produto": 5})
    found = reading.run()
    assert found.families["invalid_records_by_cedente"] == {("Zeta",): 3, ("Alfa",): 2, ("_other",): 2}
    assert found.families["invalid_records_by_gerente"] == {("",): 7, ("_other",): 0}
    assert found.families["proposals_by_produto"] == {("X",): 2, ("Y",): 1, ("_other",): 0}


def test_weekends_and_mornings_are_not_empty(installation: Installation, start: Start) -> None:
    """What is current does not depend on today: the tables' latest date is a Friday of long ago."""
    installation.sight(1)
    assert start(installation).run()["proposals_current"] == 1


@pytest.mark.parametrize(
    ("at", "working"),
    [
        ("2026-03-06T23:30:00-03:00", True),  # a Friday there, Saturday in UTC
        ("2026-03-07T00:30:00-03:00", False),
        ("2026-03-08T23:30:00-03:00", False),
        ("2026-03-09T00:30:00-03:00", True),
        ("2026-04-21T12:00:00-03:00", False),  # a holiday
    ],
)
def test_working_days(at: str, working: bool) -> None:
    section = AprSection(source="apr", holidays=[date(2026, 4, 21)])
    assert is_working_day(datetime.fromisoformat(at).timestamp(), section) is working


@pytest.mark.parametrize(
    ("variant", "problems", "lost"),
    [
        (
            {"products": False},
            {("apr_proposal_products", "no table")},
            {"proposal_products"},
        ),
        (
            {"late": False},
            {("apr_valid_records", f"no column {name}") for name in LATE_COLUMNS},
            {"proposals_unconfirmed", "proposal_unconfirmed_oldest_timestamp_seconds"},
        ),
        ({"cheque": False}, {("apr_invalid_records", "no value CHEQUE")}, set()),
    ],
)
def test_older_databases_lose_only_what_they_lack(  # fixtures and parameters
    mariadb: MariadbServer,
    start: Start,
    variant: dict[str, bool],
    problems: set[tuple[str, str]],
    lost: set[str],
) -> None:
    whole = set(start(mariadb_installation(mariadb)).run().families)
    reading = start(mariadb_installation(mariadb, **variant))
    with capture_logs() as logs:
        found = reading.run()
    assert whole - set(found.families) == lost
    assert set(found.families["schema_problem"]) == problems
    assert (("CHEQUE",) in found.families["invalid_records"]) is variant.get("cheque", True)
    assert {(each["table"], each["problem"]) for each in logs if each["log_level"] == "warning"} == problems
    with capture_logs() as logs:
        reading.run()
    assert not logs, "it is told once"


def test_a_table_that_comes_and_goes(on_mariadb: Installation, start: Start) -> None:
    on_mariadb.many("apr_status_history", [change(1, "Pago")])
    reading = start(on_mariadb)
    assert reading.run()["status_changes_total", "SYSTEM", "pago"] == 1
    on_mariadb.sql("RENAME TABLE apr_status_history TO elsewhere")
    found = reading.run()
    assert "status_changes_total" not in found.families
    assert "proposals_stuck" not in found.families
    assert found["invalid_records", "SEUNO"] == 0
    assert found.families["schema_problem"] == {("apr_status_history", "no table"): 1}
    on_mariadb.sql("RENAME TABLE elsewhere TO apr_status_history")
    with capture_logs() as logs:
        found = reading.run()
    assert found["status_changes_total", "SYSTEM", "pago"] == 1
    assert found.families["schema_problem"] == {}
    assert [each["event"] for each in logs] == ["the database has it now"]


def test_no_table_at_all(mariadb: MariadbServer, tmp_path: Path) -> None:
    reading = Reading(mariadb.source(mariadb.create_database("apr")), tmp_path)
    found = reading.run()
    assert len(found.families["schema_problem"]) == 6
    reading.ledger.close()


def test_select_is_enough(on_mariadb: Installation, mariadb: MariadbServer, tmp_path: Path) -> None:
    """The privileges that the documentation names, and a table without: it is treated as missing."""
    database = on_mariadb.url.database
    tables = ("invalid_records", "status_history", "processing_log", "proposal_products", "daily_summary")
    mariadb.sql(
        f"CREATE OR REPLACE USER reader_{database}@'127.0.0.1' IDENTIFIED BY 'read'",
        *(f"GRANT SELECT ON {database}.apr_{table} TO reader_{database}@'127.0.0.1'" for table in tables),
    )
    source = mariadb.source(str(database), user=f"reader_{database}", password="read")
    reading = Reading(source, tmp_path)
    found = reading.run()
    assert found.families["schema_problem"] == {("apr_valid_records", "no table"): 1}
    reading.ledger.close()


def test_a_failing_statement_counts_nothing(on_mariadb: Installation, start: Start, monkeypatch: Any) -> None:
    on_mariadb.many("apr_status_history", [change(1, "Pago")])
    reading = start(on_mariadb)
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise CollectorError("query", "no")

        patch.setattr("rounds.apr.gauges.Gauges.families", fail)
        with pytest.raises(CollectorError):
            reading.run()
    assert reading.run()["status_changes_total", "SYSTEM", "pago"] == 1

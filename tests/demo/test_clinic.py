"""The simulated clinics: what their syncs leave in real databases."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from rounds.demo.clinic import BAD_RECORDS, LOST_PAGE, PAGE, Trouble, make_clinics, synchronise
from rounds.demo.clinic_log import PAST_DAYS, Log
from rounds.demo.clinic_script import SCRIPT, SCRIPT_SECONDS, Clinics
from rounds.demo.clinic_writer import DATABASE, PASSWORD, USER
from rounds.demo.pacing import follow, use_wal
from support.postgresql import PostgresqlServer

ROOT = Path(__file__).parents[2]
#: Runs of each clinic that are there from the start.
PAST = 24 * PAST_DAYS


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Engine]:
    use_wal(folder / "syncs.db")
    engine = create_engine(URL.create("sqlite", database=str(folder / "syncs.db")))
    yield engine
    engine.dispose()


@contextmanager
def on_postgresql(server: PostgresqlServer) -> Iterator[Engine]:
    """As docker-compose.demo.yml has it: the database, and the users of demo-postgresql.sql."""
    file = (ROOT / "exporter" / "demo-postgresql.sql").read_text(encoding="utf-8")
    server.sql(f"CREATE DATABASE {DATABASE} STRATEGY file_copy")
    server.sql(
        *(each for each in re.sub(r"^--.*$", "", file, flags=re.MULTILINE).split(";") if each.strip()),
        database=DATABASE,
    )
    engine = create_engine(URL.create("postgresql+psycopg", USER, PASSWORD, "127.0.0.1", server.port, DATABASE))
    try:
        yield engine
    finally:
        engine.dispose()
        server.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)", f"DROP ROLE rounds, grafana, {USER}")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Of who synchronises, with no more rights than in the demo."""
    on_server = request.param == "postgresql"
    with on_postgresql(request.getfixturevalue("postgresql")) if on_server else on_sqlite(tmp_path) as engine:
        yield engine


def rows(engine: Engine, query: str, **parameters: object) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), parameters)]


def prepared(engine: Engine) -> Clinics:
    clinics = Clinics(Log(engine))
    clinics.prepare()
    return clinics


def runs(engine: Engine, clinics: Clinics, name: str) -> list[tuple[str, str, int, int, int]]:
    """Those of a clinic that are not of the past: operation, status and counts, the oldest first."""
    query = (
        "SELECT operation_type, status, records_processed, records_success, records_failed FROM sync_logs"
        " WHERE organization_id = :organization ORDER BY started_at"
    )
    return rows(engine, query, organization=clinics[name].organization)[PAST:]


def last_document(engine: Engine) -> dict[str, Any]:
    (found,) = rows(engine, "SELECT metadata FROM sync_logs ORDER BY started_at DESC LIMIT 1")[0]
    document: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
    return document


def run(clinics: Clinics, trouble: Trouble = Trouble.NONE) -> float:
    """Synchronise the largest clinic once. Gives the seconds that it would have taken."""
    return sum(synchronise(clinics["harbour"], clinics.log, trouble))


def test_there_is_a_past_that_has_just_ended(engine: Engine) -> None:
    clinics = prepared(engine)
    statuses = dict(rows(engine, "SELECT status, COUNT(*) FROM sync_logs GROUP BY status"))
    assert set(statuses) == {"completed", "failed"}
    assert sum(statuses.values()) == 3 * PAST
    assert statuses["failed"] < 12
    newest = "SELECT organization_id, MAX(started_at) FROM sync_logs WHERE status = 'completed' GROUP BY 1"
    assert set(dict(rows(engine, newest))) == {each.organization for each in make_clinics().values()}
    assert runs(engine, clinics, "harbour") == []
    # A program that begins anew finds a table, and makes it anew.
    prepared(engine)
    assert rows(engine, "SELECT COUNT(*) FROM sync_logs") == [(3 * PAST,)]


def test_a_round_shows_each_thing_that_is_watched(engine: Engine) -> None:
    clinics = prepared(engine)
    follow(SCRIPT, lambda scene: scene.do(clinics), lambda _: None, SCRIPT_SECONDS, 1.0)

    lost = (LOST_PAGE - 1) * PAGE
    harbour = runs(engine, clinics, "harbour")
    assert [(operation, status) for operation, status, *_ in harbour] == [
        ("full_patients", "completed"),
        ("incremental_sync", "skipped"),
        ("full_patients", "failed"),
        ("full_patients", "failed"),
        *[("full_patients", "completed")] * 4,
    ]
    assert [counts for _, status, *counts in harbour if status == "completed"] == [
        [648, 648, 0],
        [648, 648 - len(BAD_RECORDS), len(BAD_RECORDS)],
        [lost, lost, 0],
        [648, 648, 0],
        [648, 648, 0],
    ]
    assert harbour[3][3] == 648 // 2 + 1
    assert [status for _, status, *_ in runs(engine, clinics, "river")] == ["completed", "failed", *["completed"] * 4]
    valley = runs(engine, clinics, "valley")
    # One was never closed by its program, but by the clean-up; counts are those of all runs together.
    assert [(status, processed) for _, status, processed, *_ in valley] == [
        ("completed", 210),
        ("completed", 420),
        ("failed", 0),
        ("timeout", 0),
        ("completed", 630),
    ]
    assert rows(engine, "SELECT COUNT(*) FROM sync_logs WHERE status = 'running'") == [(0,)]
    assert rows(engine, "SELECT COUNT(*) FROM sync_logs WHERE status = 'timeout' AND completed_at IS NULL") == [(1,)]


def test_each_failure_says_what_it_is(tmp_path: Path) -> None:
    with on_sqlite(tmp_path) as engine:
        clinics = prepared(engine)
        classes = []
        for trouble in (Trouble.REFUSED, Trouble.CONSTRAINT, Trouble.TOO_MANY_REQUESTS):
            run(clinics, trouble)
            classes.append(last_document(engine)["error_type"])
        assert classes == ["auth", "constraint", "rate_limit"]


def test_a_lost_page_deletes_patients_whom_the_next_run_brings_back(tmp_path: Path) -> None:
    with on_sqlite(tmp_path) as engine:
        clinics = prepared(engine)
        run(clinics, Trouble.LOST_PAGE)
        assert (last_document(engine)["patients_found"], last_document(engine)["patients_deleted"]) == (300, 348)
        run(clinics)
        assert last_document(engine)["patients_found"] == 648
        assert not last_document(engine).get("patients_deleted")


def test_a_run_is_as_long_as_the_limits_of_the_demo_suppose(tmp_path: Path) -> None:
    with on_sqlite(tmp_path) as engine:
        clinics = prepared(engine)
        assert 25 < run(clinics) < 45
        # The limits are 20 s without progress and a minute in all.
        assert run(clinics, Trouble.STANDSTILL) > 70


def test_a_table_that_is_gone_is_noticed(engine: Engine) -> None:
    clinics = prepared(engine)
    clinics.log.check()
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE sync_logs"))
    with pytest.raises(SQLAlchemyError):
        clinics.log.check()


@pytest.mark.parametrize("user", ["rounds", "grafana"])
def test_who_only_looks_may_read_the_log_and_nothing_more(postgresql: PostgresqlServer, user: str) -> None:
    with on_postgresql(postgresql) as engine:
        prepared(engine)
        with postgresql.connect(DATABASE, user=user, password="synthetic") as connection:
            assert connection.execute("SELECT COUNT(*) FROM sync_logs").fetchone()
            for statement in (
                "DELETE FROM sync_logs",
                "UPDATE sync_logs SET status = 'completed'",
                "INSERT INTO sync_logs (source_system, operation_type, status) VALUES ('a', 'b', 'c')",
                "CREATE TABLE mine (id integer)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


def test_the_script_is_in_order_and_says_what_it_does() -> None:
    times = [scene.at for scene in SCRIPT]
    assert times == sorted(times)
    assert times[-1] < SCRIPT_SECONDS
    assert all(scene.text for scene in SCRIPT)
    # Something moves and something fails soon after the start.
    assert times[0] < 10
    assert next(scene.at for scene in SCRIPT if "refused" in scene.text) < 60

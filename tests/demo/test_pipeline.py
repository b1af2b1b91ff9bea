"""The synthetic pipeline: what it stores in real databases, and that a collector finds there what the script says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from rounds.databases.writing import writing
from rounds.demo.bundle import PIPELINE
from rounds.demo.main import SPEEDS
from rounds.demo.pipeline import PAST_DAYS, Pipeline
from rounds.demo.pipeline_script import SCRIPT, SCRIPT_SECONDS, Run, Scene, perform
from rounds.demo.pipeline_writer import DATABASE, PASSWORD, USER
from rounds.demo.proposals import REASONS, STATUSES
from rounds.fields import parse_duration
from rounds.sources import SqliteSource
from support.mariadb import MariadbServer

ROOT = Path(__file__).parents[2]
TABLES = ("apr_valid_records", "apr_invalid_records", "apr_status_history", "apr_processing_log", "apr_daily_summary")


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Connection]:
    file = folder / "apr.db"
    file.touch()
    with writing("apr", SqliteSource(kind="sqlite", path=file)) as connection:
        connection.execute(text("PRAGMA synchronous = OFF"))
        yield connection


@contextmanager
def on_mariadb(server: MariadbServer) -> Iterator[Connection]:
    """As docker-compose.demo.yml has it: the database, and the users of demo.sql."""
    users = (ROOT / "exporter" / "demo.sql").read_text(encoding="utf-8")
    statements = [each for each in re.sub(r"^--.*$", "", users, flags=re.MULTILINE).split(";") if each.strip()]
    server.sql(f"CREATE DATABASE {DATABASE}", *statements)
    try:
        with writing("apr", server.source(DATABASE, user=USER, password=PASSWORD)) as connection:
            yield connection
    finally:
        server.sql(f"DROP DATABASE {DATABASE}", *(f"DROP USER {user}@'%'" for user in ("rounds", "grafana", USER)))


def rows(connection: Connection, query: str, **parameters: object) -> list[tuple[Any, ...]]:
    found = [tuple(row) for row in connection.execute(text(query), parameters)]
    connection.rollback()
    return found


def play(pipeline: Pipeline, until: float = SCRIPT_SECONDS) -> None:
    pipeline.begin_round()
    for line in SCRIPT:
        if line.at < until:
            perform(line, pipeline, lambda _: None, 1.0)


def of_today(pipeline: Pipeline, connection: Connection, query: str) -> dict[str, int]:
    return dict(rows(connection, query, day=pipeline.date.isoformat()))


OPEN = (
    "SELECT VALIDATION_TYPE, COUNT(*) FROM apr_invalid_records WHERE DATA = :day AND is_resolved = 0"
    " GROUP BY VALIDATION_TYPE"
)
UNCONFIRMED = "SELECT COUNT(*) FROM apr_valid_records WHERE is_bot_processed = 1 AND is_confirmado = 0"


@pytest.fixture(params=["sqlite", "mariadb"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """Of who runs the pipeline, with no more rights than in the demo."""
    on_server = request.param == "mariadb"
    with on_mariadb(request.getfixturevalue("mariadb")) if on_server else on_sqlite(tmp_path) as connection:
        yield connection


def test_there_is_a_past_and_nothing_in_it_is_left_undone(connection: Connection) -> None:
    pipeline = Pipeline(connection)
    pipeline.prepare()
    for table, day in {**dict.fromkeys(TABLES, "DATA"), "apr_processing_log": "target_date"}.items():
        assert rows(connection, f"SELECT COUNT(DISTINCT {day}) FROM {table}") == [(PAST_DAYS + 1,)], table
    assert rows(connection, "SELECT DISTINCT STATUS FROM apr_valid_records") == [(STATUSES[-1],)]
    kinds = rows(connection, "SELECT VALIDATION_TYPE, MIN(is_resolved) FROM apr_invalid_records GROUP BY 1")
    assert dict(kinds) == dict.fromkeys(REASONS, 1)
    assert rows(connection, "SELECT COUNT(*) FROM apr_invalid_records WHERE resolved_at <= detected_at") == [(0,)]
    assert rows(connection, UNCONFIRMED) == [(0,)]
    sources = rows(connection, "SELECT DISTINCT CHANGE_SOURCE FROM apr_status_history")
    assert {source for (source,) in sources} == {"SYSTEM", "BOT", "BACKFILL"}
    # No run was slow, at whatever speed the script is played.
    ((longest,),) = rows(connection, "SELECT MAX(execution_time_seconds) FROM apr_processing_log")
    assert float(longest) < parse_duration(PIPELINE["slow_run_after"]) / SPEEDS[1]
    # Each row is in its own time, which is before the program began.
    for table, column in {"apr_status_history": "changed_at", "apr_processing_log": "run_timestamp"}.items():
        ordered = rows(connection, f"SELECT {column} FROM {table} WHERE DATE({column}) < CURRENT_DATE ORDER BY id")
        assert ordered == sorted(ordered)
        assert len(set(ordered)) > PAST_DAYS * 10


def test_a_round_shows_each_thing_that_is_watched(connection: Connection) -> None:
    pipeline = Pipeline(connection)
    pipeline.prepare()
    (last,) = rows(connection, "SELECT MAX(id) FROM apr_processing_log")[0]

    play(pipeline, until=60)
    assert of_today(pipeline, connection, OPEN) == {"NFECHAVE": 1, "CHEQUE": 1}
    assert rows(connection, UNCONFIRMED) == [(1,)]
    play_on = [line for line in SCRIPT if 60 <= line.at < 160]
    for line in play_on:
        perform(line, pipeline, lambda _: None, 1.0)
    assert of_today(pipeline, connection, OPEN) == {"NFECHAVE": 1, "DUPLICATA": 6}
    again = (
        "SELECT VALIDATION_TYPE, COUNT(*) FROM apr_invalid_records WHERE DATA = :day AND is_resolved = 1"
        " GROUP BY VALIDATION_TYPE, PROPOSTA, CEDENTE HAVING COUNT(*) > 1"
    )
    assert of_today(pipeline, connection, again) == {"DUPLICATA": 2}
    assert len({each.status for each in pipeline.day.proposals if not each.done}) >= 4
    (sleeper,) = pipeline.day.of("sleeper")
    changes = rows(
        connection,
        "SELECT NEW_STATUS FROM apr_status_history WHERE DATA = :day AND PROPOSTA = :number",
        day=pipeline.date.isoformat(),
        number=sleeper.number,
    )
    assert len(changes) == 1

    for line in SCRIPT:
        if line.at >= 160:
            perform(line, pipeline, lambda _: None, 1.0)
    assert of_today(pipeline, connection, OPEN) == {}
    assert rows(connection, UNCONFIRMED) == [(0,)]
    runs = rows(connection, "SELECT run_mode, error_message FROM apr_processing_log WHERE id > :last", last=last)
    wanted = [line for line in SCRIPT if isinstance(line, Run)]
    failed = sum(line.fails for line in wanted)
    assert Counter(runs) == {
        ("PRODUCTION", None): len(wanted) - failed - 1,
        ("PRODUCTION", "SourceUnavailable"): failed,
        ("DRY_RUN", None): 1,
    }


def test_it_can_be_played_again_and_again(tmp_path: Path) -> None:
    with on_sqlite(tmp_path) as connection:
        pipeline = Pipeline(connection)
        pipeline.prepare()
        counted = []
        for _ in range(4):
            play(pipeline)
            counted.append([rows(connection, f"SELECT COUNT(*) FROM {table}")[0][0] for table in TABLES[:3]])
        # It does not grow: what came in two rounds before is forgotten.
        assert counted[-1] == pytest.approx(counted[-2], abs=60)
        # A program that begins anew, as after a database that was gone, finds no tables or makes them empty.
        Pipeline(connection).prepare()
        assert rows(connection, UNCONFIRMED) == [(0,)]


def test_a_day_ends_with_nothing_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_sqlite(tmp_path) as connection:
        pipeline = Pipeline(connection)
        pipeline.prepare()
        play(pipeline, until=170)
        before = pipeline.date
        assert of_today(pipeline, connection, OPEN)
        monkeypatch.setattr("rounds.demo.pipeline._business_date", lambda _: before.replace(year=before.year + 1))
        pipeline.begin_round()
        assert pipeline.date != before
        assert pipeline.day.proposals == []
        unfinished = (
            "SELECT NEW_STATUS FROM apr_status_history WHERE id IN"
            " (SELECT MAX(id) FROM apr_status_history GROUP BY DATA, PROPOSTA) AND NEW_STATUS NOT IN"
            " ('Pago', 'Finalizado')"
        )
        assert rows(connection, unfinished) == []
        assert rows(connection, "SELECT COUNT(*) FROM apr_invalid_records WHERE is_resolved = 0") == [(0,)]
        assert rows(connection, UNCONFIRMED) == [(0,)]


def test_the_script_is_in_order_and_says_what_it_does() -> None:
    times = [line.at for line in SCRIPT]
    assert times == sorted(times)
    assert times[-1] < SCRIPT_SECONDS
    assert all(line.text for line in SCRIPT if isinstance(line, Scene))

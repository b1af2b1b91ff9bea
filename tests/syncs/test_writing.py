"""What SyncRun writes into logs of all shapes, and that the sync never notices."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

from rounds.syncs import SyncRun
from rounds.syncs.config import Sync
from rounds.syncs.log import Record
from rounds.syncs.reading import Reading
from rounds.syncs.states import STEPS, ErrorClass
from rounds.syncs.writing import run as running
from rounds.syncs.writing import scribe
from rounds.syncs.writing.failures import error_class
from support.databases import databases_for
from support.gate import Gate
from support.mariadb import MariadbServer
from support.postgresql import PostgresqlServer
from support.syncs import SyncTable
from support.waiting import eventually

MakeTable = Callable[..., SyncTable]

ORGANIZATION = 123
PATIENT = "Jane Citizen"


class Log:
    """A log as its reader sees it.

    Attributes:
        engine: what a sync would use, of which ``sent`` are the statements.
    """

    def __init__(self, table: SyncTable) -> None:
        self.table = table
        self.engine = create_engine(table.url, poolclass=NullPool)
        self.sent: list[tuple[float, str]] = []
        event.listen(
            self.engine, "before_cursor_execute", lambda *call: self.sent.append((time.monotonic(), str(call[2])))
        )
        self._reading = Reading(Sync.model_validate({"name": "t", "source": "s"}), databases_for({"s": table.source}))

    def run(self, **keys: Any) -> SyncRun:
        """A run of the first organisation."""
        return SyncRun(keys.pop("engine", self.engine), organization=ORGANIZATION, operation="full_patients", **keys)

    def rows(self) -> list[Record]:
        """All rows, the newest first."""
        with self._reading.open() as log:
            return list(log.recent(0, 100))

    def row(self) -> Record:
        """The only row."""
        [row] = self.rows()
        return row

    def says(self, **metadata: object) -> bool:
        """Whether the only row's document holds these values."""
        rows = self.rows()
        return len(rows) == 1 and metadata.items() <= rows[0].metadata.items()


@pytest.fixture
def log(table: SyncTable) -> Iterator[Log]:
    """Each shape in each kind of database."""
    yield from _log(table)


@pytest.fixture
def real(make_table: MakeTable) -> Iterator[Log]:
    """The real shape in PostgreSQL."""
    yield from _log(make_table("postgresql", "real"))


@pytest.fixture
def file(make_table: MakeTable) -> Iterator[Log]:
    """A SQLite file, for what does not depend on the database."""
    yield from _log(make_table("sqlite", "real"))


@pytest.fixture
def of_kind(kind: Any, make_table: MakeTable) -> Iterator[Log]:
    """The real shape in each kind of database."""
    yield from _log(make_table(kind, "real"))


def _log(table: SyncTable) -> Iterator[Log]:
    found = Log(table)
    yield found
    assert eventually(lambda: not running._open)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put off to spare statements."""
    monkeypatch.setattr(scribe, "PAUSE", 0.0)


# What is written


def test_a_run_is_in_the_log_from_its_beginning_to_its_end(log: Log, at_once: None) -> None:
    before = time.time()
    with log.run() as run:
        first = log.row()
        assert (first.organization, first.operation, first.status) == ("123", "full_patients", "running")
        assert (first.processed, first.succeeded, first.failed, first.completed) == (0, 0, 0, None)
        assert first.details in ({}, None)
        assert first.metadata["step"] == "initializing"
        assert first.metadata["writer"] == "rounds"
        run.step("fetching_patients")
        run.page(1, of=7, loaded=100)
        assert eventually(lambda: log.says(current_page=1, total_pages=7, patients_loaded=100))
        run.found(648)
        run.step("storing_patients")
        run.stored(640)
        for error in ("constraint", "constraint", "network"):
            run.failed(error)
        assert eventually(lambda: log.says(patients_stored=640, total_patients=648))
        assert log.row().status == "running"
        run.stored(5)
        run.deleted(3)
    row = log.row()
    assert row.id == first.id
    assert (row.started, row.problems) == (first.started, frozenset())
    assert before - 1e-5 <= (row.started or 0) <= (row.completed or 0) <= time.time()
    assert (row.status, row.processed, row.succeeded, row.failed) == ("completed", 648, 645, 3)
    errors = [{"error_type": "constraint", "count": 2}, {"error_type": "network", "count": 1}]
    assert row.details == {"errors": errors}
    timestamp = row.metadata["timestamp"]
    assert row.metadata == {
        "writer": "rounds",
        "sync_type": "full_patients",
        "step": "completed",
        "progress_percent": 100,
        "timestamp": timestamp,
        "current_page": 1,
        "total_pages": 7,
        "patients_loaded": 100,
        "patients_found": 648,
        "total_patients": 648,
        "patients_processed": 648,
        "patients_stored": 645,
        "patients_deleted": 3,
        "success_rate": 99.54,
        "errors": errors,
    }
    assert datetime.fromisoformat(timestamp).utcoffset() is not None
    if log.table.shape == "real":
        assert row.updated == pytest.approx(datetime.fromisoformat(timestamp).timestamp(), abs=1e-5)
        assert log.table.sql("SELECT source_system FROM sync_logs") == [("cliniko",)]


@pytest.mark.parametrize("missing", ["updated_at", "source_system", "metadata", "error_details", "completed_at"])
def test_columns_that_a_table_has_not_are_done_without(kind: Any, make_table: MakeTable, missing: str) -> None:
    log = Log(make_table(kind, "real", without=[missing]))
    with log.run() as run:
        run.stored(3)
    row = log.row()
    assert (row.status, row.succeeded) == ("completed", 3)
    assert (row.completed is None) == (missing == "completed_at")


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("postgresql", {"id": "text PRIMARY KEY", "metadata": "json", "error_details": "text", "started_at": "text"}),
        ("postgresql", {"id": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "organization_id": "bigint"}),
        ("postgresql", {"metadata": "text", "started_at": "timestamp", "completed_at": "timestamp"}),
        (
            "mariadb",
            {"id": "UUID PRIMARY KEY", "metadata": "TEXT", "started_at": "DATETIME", "completed_at": "DATETIME"},
        ),
        ("mariadb", {"id": "BIGINT AUTO_INCREMENT PRIMARY KEY", "started_at": "VARCHAR(40)"}),
        ("sqlite", {"id": "INTEGER PRIMARY KEY AUTOINCREMENT", "started_at": "DATETIME", "organization_id": "INT"}),
    ],
)
def test_columns_have_many_types(make_table: MakeTable, kind: Any, types: dict[str, str]) -> None:
    log = Log(make_table(kind, "real", types=types))
    before = time.time()
    with log.run() as run:
        run.found(1)
        run.stored()
    row = log.row()
    assert (row.organization, row.status, row.succeeded, row.problems) == ("123", "completed", 1, frozenset())
    assert before - 1.1 <= (row.started or 0) <= time.time()
    assert row.metadata["patients_found"] == 1


def test_a_table_may_have_another_name_and_schema(postgresql: PostgresqlServer, real: Log) -> None:
    real.table.sql('CREATE SCHEMA "My ""Schema"', 'ALTER TABLE sync_logs SET SCHEMA "My ""Schema"')
    real.table.sql('ALTER TABLE "My ""Schema".sync_logs RENAME TO "runs\\:of %s.x"')
    with real.run(table='"My ""Schema"."runs:of %s.x"'):
        pass
    assert real.table.sql('SELECT status FROM "My ""Schema"."runs\\:of %s.x"') == [("completed",)]


def test_times_do_not_depend_on_the_zone_of_the_session(mariadb: MariadbServer, make_table: MakeTable) -> None:
    """Nor does MariaDB move the start with each change, as it does with the first TIMESTAMP of a table."""
    moving = "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"
    log = Log(make_table("mariadb", "real", types={"started_at": moving}))
    engine = create_engine(log.table.url.set(query={"init_command": "SET time_zone = '+11:00'"}), poolclass=NullPool)
    before = time.time()
    with log.run(engine=engine) as run:
        time.sleep(0.1)
        between = time.time()
        run.found(1)
    row = log.row()
    assert before - 1e-5 <= (row.started or 0) < between < (row.completed or 0) <= time.time()


def test_hostile_names_are_values(log: Log) -> None:
    if log.table.shape == "real":
        for organization in ("org_'; DROP TABLE sync_logs; --", 'Ö"%s:x\\', "1" * 255):
            with SyncRun(log.engine, organization=organization, operation=":op %s '"):
                pass
            assert organization in {row.organization for row in log.rows()}


def test_counts_of_any_size_fit(real: Log) -> None:
    with real.run() as run:
        run.found(10**12)
        run.stored(10**12)
    assert (real.row().status, real.row().succeeded) == ("completed", 2**31 - 1)
    assert real.row().metadata["patients_stored"] == 10**12


def test_progress_never_falls(of_kind: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a reader sees it who looks all the time."""
    monkeypatch.setattr(scribe, "PAUSE", 0.02)
    seen: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.extend(row.metadata["progress_percent"] for row in of_kind.rows())

    def shown(above: float) -> float:
        """What is seen once it is more than this."""
        assert eventually(lambda: bool(seen) and seen[-1] > above)
        return seen[-1]

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            with of_kind.run() as run:
                run.step("fetching_patients")
                percent = 5.0
                for page in range(1, 14):
                    run.page(page, of=13, loaded=page * 50)
                    if page in (5, 10):
                        percent = shown(percent)
                run.found(648)
                percent = 50.0
                for number in range(648):
                    run.stored()
                    if number == 300:
                        run.found(700)  # a later count
                        run.step("fetching_patients")
                        run.step("storing_patients")
                    if number in (149, 299, 449, 599):
                        percent = shown(percent)
        finally:
            over.set()
        looking.result()
    seen.extend(row.metadata["progress_percent"] for row in of_kind.rows())
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert len({each for each in seen if 5 < each < 30}) >= 2
    assert len({each for each in seen if 50 < each < 100}) >= 4


def test_steps_are_told_by_what_is_called(file: Log, at_once: None) -> None:
    with file.run() as run:
        run.page(1)
        assert eventually(lambda: file.says(step="fetching_patients"))
        run.found(10)
        assert eventually(lambda: file.says(step="patients_fetched"))
        run.stored()
        assert eventually(lambda: file.says(step="storing_patients"))
        run.page(6)
        run.step("a text of its own")  # type: ignore[arg-type]
        assert eventually(lambda: file.says(step="other"))


# How often


def test_a_run_of_648_patients_has_at_most_20_statements(of_kind: Log, at_once: None) -> None:
    """However slow it is, so that nothing can be put together."""
    with of_kind.run() as run:
        for step in STEPS[1:4]:
            run.step(step)
            _written(of_kind, step=step)
        for page in range(1, 14):
            run.page(page, of=13, loaded=page * 50)
            if page in (1, 5, 10):
                _written(of_kind, current_page=page)
        run.found(648)
        _written(of_kind, patients_found=648)
        for step in STEPS[5:7]:
            run.step(step)
            _written(of_kind, step=step)
        before = len(of_kind.sent)
        for number in range(1, 649):
            run.stored()
            if number > 1 and run._left == math.ceil(648 / run._parts):  # a statement is due
                _written(of_kind, patients_stored=number)
        _written(of_kind, patients_stored=648)
        assert len(of_kind.sent) - before >= 4
        run.deleted(1)
        for step in STEPS[7:9]:
            run.step(step)
            _written(of_kind, step=step)
    assert of_kind.row().status == "completed"
    assert len(of_kind.sent) <= 20, of_kind.sent


def _written(log: Log, **metadata: object) -> None:
    assert eventually(lambda: log.says(**metadata), every=0.002)


def test_a_quick_run_has_few_statements(of_kind: Log) -> None:
    with of_kind.run() as run:
        run.found(648)
        for _ in range(648):
            run.stored()
    kinds = [statement.split()[0] for _, statement in of_kind.sent]
    assert kinds == ["SELECT", "INSERT", "UPDATE"]


def test_statements_are_apart(file: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scribe, "PAUSE", 0.2)
    with file.run() as run:
        end = time.monotonic() + 0.9
        while time.monotonic() < end:
            run.stored(50)
            time.sleep(0.001)
    times = [moment for moment, statement in file.sent if not statement.startswith("SELECT")]
    gaps = [later - earlier for earlier, later in pairwise(times[:-1])]
    assert 3 <= len(gaps) <= 5
    assert min(gaps) >= 0.19


def test_every_fifty_records_or_tenth_of_them_are_written(file: Log, at_once: None) -> None:
    for found, expected in ((None, 50), (120, 50), (1000, 100)):
        with file.run() as run:
            if found:
                run.found(found)
                assert eventually(lambda run=run: run._scribe.statements >= 3)  # type: ignore[misc]
            run.stored()
            assert run._left == expected


def test_a_run_that_says_nothing_still_runs(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scribe, "HEARTBEAT", 0.05)
    with log.run() as run:
        run.page(2)
        first = log.row()
        assert eventually(lambda: log.row().metadata["timestamp"] > first.metadata["timestamp"])
        last = log.row()
        assert log.table.shape == "seed" or (last.updated or 0) > (first.updated or 0)
        assert last.status == "running"
        assert last.metadata["current_page"] == 2


def test_records_cost_next_to_nothing(file: Log) -> None:
    with file.run() as run:
        run.found(1_000_000)
        best = min(_seconds(run, 20_000) for _ in range(5))
    assert best < 5e-6


def _seconds(run: SyncRun, records: int) -> float:
    begin = time.perf_counter()
    for _ in range(records):
        run.stored()
    return (time.perf_counter() - begin) / records


# How a run ends


class ApiError(Exception):
    """As HTTP clients have them."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status} for {PATIENT}")
        self.response = type("Response", (), {"status_code": status})()


class TokenExpiredAuthenticationError(Exception):
    pass


class RateLimitError(Exception):
    pass


class ReadTimeout(Exception):  # noqa: N818
    """As requests and httpx call theirs."""


class ConfigurationError(Exception):
    pass


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


ENDINGS: list[tuple[BaseException, str, ErrorClass | None]] = [
    (ApiError(401), "failed", "auth"),
    (ApiError(403), "failed", "auth"),
    (ApiError(429), "failed", "rate_limit"),
    (ApiError(503), "failed", "network"),
    (ApiError(504), "failed", "timeout"),
    (ApiError(500), "failed", "other"),
    (ValueError(PATIENT), "failed", "other"),
    (TimeoutError(PATIENT), "timeout", "timeout"),
    (ReadTimeout(PATIENT), "failed", "timeout"),
    (ConnectionRefusedError(111, PATIENT), "failed", "network"),
    (TokenExpiredAuthenticationError(PATIENT), "failed", "auth"),
    (RateLimitError(PATIENT), "failed", "rate_limit"),
    (ConfigurationError(PATIENT), "failed", "config"),
    (IntegrityError(f"INSERT '{PATIENT}'", {}, Exception(PATIENT)), "failed", "constraint"),
    (OperationalError("", {}, Exception(), connection_invalidated=True), "failed", "network"),
    (caused(RuntimeError(PATIENT), ApiError(401)), "failed", "auth"),
    (ExceptionGroup(PATIENT, [ValueError(PATIENT), ApiError(429)]), "failed", "rate_limit"),
    (SystemExit(3), "failed", "other"),
    (SystemExit(0), "completed", None),
    (SystemExit(), "completed", None),
    (KeyboardInterrupt(), "cancelled", None),
    (GeneratorExit(), "cancelled", None),
    (asyncio.CancelledError(PATIENT), "cancelled", None),
]


@pytest.mark.parametrize(("error", "status", "kind"), ENDINGS, ids=lambda each: repr(each)[:30])
def test_an_exception_ends_the_run_and_goes_on_unchanged(
    file: Log, caplog: pytest.LogCaptureFixture, error: BaseException, status: str, kind: str | None
) -> None:
    with pytest.raises(type(error)) as caught, file.run() as run:  # noqa: PT012
        run.step("processing_patients")
        raise error
    assert caught.value is error
    row = file.row()
    assert (row.status, row.metadata.get("error_type")) == (status, kind)
    assert row.completed
    assert row.metadata["step"] == ("completed" if status == "completed" else "processing_patients")
    assert PATIENT not in str(file.table.sql("SELECT * FROM sync_logs")) + caplog.text


def test_classes_of_drivers_errors(postgresql: PostgresqlServer) -> None:
    found = {}
    engine = create_engine(postgresql.url("postgres"), poolclass=NullPool)
    for name, statement in (
        ("slow", "SET statement_timeout = 1; SELECT pg_sleep(1)"),
        ("violation", "CREATE TEMP TABLE t (i int CHECK (i > 0)); INSERT INTO t VALUES (0)"),
    ):
        with pytest.raises(DBAPIError) as caught, engine.connect() as connection:
            connection.execute(text(statement))
        found[name] = error_class(caught.value)
    assert found == {"slow": "timeout", "violation": "constraint"}
    with pytest.raises(OperationalError) as refused:
        create_engine("mysql+pymysql://u@127.0.0.1:1/x").connect()
    assert error_class(refused.value) == "network"


def test_a_chain_of_causes_may_be_a_ring() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert error_class(first) == "other"


def test_a_run_can_fail_or_be_skipped_without_an_exception(file: Log) -> None:
    with file.run() as run:
        run.fail("auth")
        run.skip()
    assert (file.row().status, file.row().metadata["error_type"]) == ("failed", "auth")
    with file.run() as run:
        run.skip()
    assert file.rows()[0].status == "skipped"
    assert file.rows()[0].completed
    with pytest.raises(ValueError), file.run() as run:  # noqa: PT011, PT012
        run.fail("config")
        raise ValueError
    assert (file.rows()[0].status, file.rows()[0].metadata["error_type"]) == ("failed", "config")


def test_what_is_told_after_the_end_changes_nothing(file: Log) -> None:
    with file.run() as run:
        run.stored(2)
    row = file.row()
    run.stored(100)
    run.failed("auth", 60)
    run.step("storing_patients")
    run.page(1)
    run.found(3)
    time.sleep(0.05)
    assert file.row() == row


def test_a_run_is_one_run(file: Log) -> None:
    run = file.run()
    with run, pytest.raises(RuntimeError, match="entered before"), run:
        pass
    with pytest.raises(RuntimeError, match="entered before"), run:
        pass
    assert file.row().status == "completed"


# What makes no sense


def test_odd_values_do_not_reach_the_sync(file: Log, caplog: pytest.LogCaptureFixture) -> None:
    with file.run() as run:
        run.found(10)
        for value in (-1, None, "three", float("nan"), float("inf"), object()):
            run.stored(value)  # type: ignore[arg-type]
            run.failed(PATIENT, value)  # type: ignore[arg-type]
            run.page(value, of=value, loaded=value)  # type: ignore[arg-type]
            run.found(value)  # type: ignore[arg-type]
            run.deleted(value)  # type: ignore[arg-type]
        run.stored(True)
        run.stored(2.0)  # type: ignore[arg-type]
        run.stored(0)
    row = file.row()
    assert (row.status, row.succeeded, row.failed) == ("completed", 3, 0)
    assert row.metadata["patients_found"] == 10
    assert not {"current_page", "total_pages", "patients_loaded", "patients_deleted"} & row.metadata.keys()
    assert [record.getMessage() for record in caplog.records] == [
        "a count that a sync tells is no number, or below 0, and is left out"
    ]
    assert PATIENT not in str(file.table.sql("SELECT * FROM sync_logs"))


@pytest.mark.usefixtures("_given_up")
def test_what_no_database_can_hold_does_not_reach_the_sync(of_kind: Log, caplog: pytest.LogCaptureFixture) -> None:
    with SyncRun(of_kind.engine, organization="a\0b\ud800", operation="full_patients") as run:
        run.stored()
    assert len(caplog.records) <= 1


def test_an_engine_must_be_one(file: Log) -> None:
    with pytest.raises(TypeError, match="an Engine or a URL, not object"):
        file.run(engine=object())


# A log that fails


@pytest.fixture
def _given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that fails is not tried for minutes."""
    monkeypatch.setattr(scribe, "GIVE_UP_AFTER", 0.1)


@pytest.mark.usefixtures("_given_up")
@pytest.mark.parametrize("url", ["postgresql://", "nonsense", f"mysql+nosuchdriver://u:{PATIENT}@127.0.0.1/x"])
def test_a_log_that_cannot_be_opened_is_told_once(file: Log, caplog: pytest.LogCaptureFixture, url: str) -> None:
    begin = time.monotonic()
    with file.run(engine=url) as run:
        run.stored(1000)
    assert time.monotonic() - begin < 1
    assert eventually(lambda: not running._open)
    assert len(caplog.records) == 1
    assert PATIENT not in caplog.text


@pytest.mark.usefixtures("_given_up")
def test_a_server_that_is_not_there_costs_nothing(of_kind: Log, caplog: pytest.LogCaptureFixture) -> None:
    if of_kind.table.kind == "sqlite":
        of_kind.table.sql("DROP TABLE sync_logs")
        url = of_kind.table.url
    else:
        url = of_kind.table.url.set(port=1)
    begin = time.monotonic()
    for _ in range(3):
        with of_kind.run(engine=url.render_as_string(hide_password=False)) as run:
            run.stored(1000)
    assert time.monotonic() - begin < 1.5
    assert len(caplog.records) == 3
    assert all(record.name == "rounds.syncs" for record in caplog.records)
    assert "tests" not in caplog.text.replace("test_", "")


@pytest.mark.usefixtures("_given_up")
def test_a_server_that_hangs_is_not_waited_for(
    postgresql: PostgresqlServer, real: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "START_WITHIN", 0.2)
    monkeypatch.setattr(running, "END_WITHIN_IF_DOWN", 0.2)
    with Gate(postgresql.port) as gate:
        gate.silent = True
        begin = time.monotonic()
        with real.run(engine=_through(gate, real)) as run:
            entered = time.monotonic() - begin
            for _ in range(1000):
                run.stored()
            assert time.monotonic() - begin - entered < 0.1
        assert 0.2 <= entered < 0.5
        assert time.monotonic() - begin < 1
        gate.shut()
        assert eventually(lambda: not running._open)


def _through(gate: Gate, log: Log) -> str:
    return log.table.url.set(port=gate.port).render_as_string(hide_password=False)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_server_that_goes_away_and_comes_back(
    request: pytest.FixtureRequest, of_kind: Log, at_once: None, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    server = request.getfixturevalue(kind)
    with Gate(server.port) as gate:
        with of_kind.run(engine=_through(gate, of_kind)) as run:
            run.found(648)
            run.stored(100)
            assert eventually(lambda: of_kind.says(patients_stored=100))
            gate.shut()
            begin = time.monotonic()
            run.stored(100)
            run.failed("network", 60)
            assert time.monotonic() - begin < 0.1
            assert eventually(lambda: bool(caplog.records))
            gate.open()
            assert eventually(lambda: of_kind.says(patients_stored=200))
            gate.shut()
            threading.Timer(0.3, gate.open).start()
        row = of_kind.row()
    assert (row.status, row.processed, row.failed) == ("completed", 260, 60)
    assert len(caplog.records) == 1


def test_the_row_is_inserted_later_with_its_true_start(log: Log, at_once: None) -> None:
    log.table.sql("ALTER TABLE sync_logs RENAME TO gone")
    before = time.time()
    with log.run() as run:
        began = time.time()
        run.stored(7)
        time.sleep(0.1)
        log.table.sql("ALTER TABLE gone RENAME TO sync_logs")
        assert eventually(lambda: len(log.rows()) == 1)
    row = log.row()
    assert (row.status, row.succeeded) == ("completed", 7)
    assert before - 1e-5 <= (row.started or 0) <= began


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "lost"])
def test_a_commit_without_an_answer_makes_one_row(log: Log, nth: int, kept: bool) -> None:
    """Whether it was done or not. Nor is a row of another run taken for it that began with it."""
    dialect, commits = log.engine.dialect, 0
    commit = dialect.do_commit

    def lose(connection: Any) -> None:
        nonlocal commits
        commits += 1
        if kept or commits != nth:
            commit(connection)
        if commits == nth:
            raise ConnectionError

    dialect.do_commit = lose  # type: ignore[assignment,method-assign]
    with log.run() as first, log.run() as second:
        first.stored(1)
        second.stored(2)
        assert eventually(lambda: len(log.rows()) == 2)
    assert {(row.status, row.succeeded) for row in log.rows()} == {("completed", 1), ("completed", 2)}


def test_a_locked_table_holds_nothing_up(
    real: Log, monkeypatch: pytest.MonkeyPatch, postgresql: PostgresqlServer
) -> None:
    monkeypatch.setattr(running, "END_WITHIN", 0.2)
    with closing(postgresql.connect(str(real.table.url.database))) as locker, locker.transaction():
        begin = time.monotonic()
        with real.run() as run:
            locker.execute("LOCK TABLE sync_logs IN EXCLUSIVE MODE")
            for _ in range(1000):
                run.stored()
        assert time.monotonic() - begin < 1
        assert real.row().status == "running"
    assert eventually(lambda: real.row().status == "completed")
    assert real.row().succeeded == 1000


def test_a_sync_that_has_the_only_file_locked(file: Log) -> None:
    """Its own transaction is neither ended nor held up, and the log gets the rest when it is over."""
    file.table.sql("CREATE TABLE patients (id INTEGER)")
    engine = create_engine(file.table.url.update_query_dict({"timeout": "0.1"}))
    with file.run(engine=engine) as run, engine.begin() as connection:
        connection.execute(text("INSERT INTO patients VALUES (1)"))
        run.stored(1)
        run.stored(60)
        time.sleep(0.3)
        assert file.table.sql("SELECT * FROM patients") == []
        connection.rollback()
    assert file.table.sql("SELECT * FROM patients") == []
    assert file.row().succeeded == 61
    engine.dispose()


@pytest.mark.usefixtures("_given_up")
def test_a_connection_that_the_sync_uses_is_left_alone(file: Log, caplog: pytest.LogCaptureFixture) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE sync_logs (id INTEGER PRIMARY KEY, started_at, status)"))
        connection.execute(text("INSERT INTO sync_logs VALUES (1, 2, 3)"))
        with file.run(engine=engine):
            pass
        connection.rollback()
        assert connection.execute(text("SELECT count(*) FROM sync_logs")).scalar() == 0
    engine.dispose()
    assert "ConnectionShared" in caplog.text


def test_a_row_that_others_closed_tells_the_truth_again(of_kind: Log, at_once: None) -> None:
    with of_kind.run() as run:
        of_kind.table.change(of_kind.row().id, status="failed", completed_at=time.time())
        run.found(5)
        assert eventually(lambda: of_kind.says(patients_found=5))
        assert (of_kind.row().status, of_kind.row().completed) == ("running", None)


def test_a_row_that_others_deleted_is_not_made_again(file: Log, at_once: None) -> None:
    with file.run() as run:
        file.table.remove(file.row().id)
        run.found(5)
    assert file.rows() == []


# Programs of all kinds


async def test_an_event_loop_is_never_held_up(real: Log, postgresql: PostgresqlServer) -> None:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            begin = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - begin)

    ticking = asyncio.create_task(tick())
    with Gate(postgresql.port) as gate:
        gate.silent = True
        threading.Timer(0.3, gate.shut).start()
        async with real.run(engine=_through(gate, real)) as run:
            gate.silent = False
            gate.open()
            run.stored(5)
    ticking.cancel()
    assert longest < 0.2
    assert real.row().succeeded == 5


async def test_many_runs_at_a_time(file: Log) -> None:
    async def sync(number: int) -> None:
        async with file.run() as run:
            for _ in range(number):
                run.stored()
                await asyncio.sleep(0)

    await asyncio.gather(*(sync(number) for number in range(1, 9)))
    assert sorted(row.succeeded or 0 for row in file.rows()) == list(range(1, 9))
    assert {row.status for row in file.rows()} == {"completed"}


@pytest.mark.parametrize(("limit", "status"), [("outside", "cancelled"), ("inside", "timeout")])
async def test_tasks_are_cancelled_and_limited(file: Log, limit: str, status: str) -> None:
    async def sync() -> None:
        async with file.run():
            if limit == "inside":
                async with asyncio.timeout(0.05):
                    await asyncio.sleep(60)
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await sync()
    assert file.row().status == status


def test_counts_come_from_many_threads(file: Log) -> None:
    with file.run() as run, ThreadPoolExecutor(8) as pool:

        def repeat(call: Callable[[], None], times: int) -> None:
            for _ in range(times):
                call()

        for _ in range(8):
            pool.submit(repeat, run.stored, 20_000)
            pool.submit(repeat, run.failed, 1000)
    row = file.row()
    assert (row.succeeded, row.failed) == (160_000, 8000)


def test_a_handler_of_signals_may_come_in_between(file: Log) -> None:
    with file.run() as run:
        former = signal.signal(signal.SIGVTALRM, lambda *_: run.failed("timeout"))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
        try:
            for _ in range(200_000):
                run.stored()
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, former)
    row = file.row()
    assert row.succeeded == 200_000
    assert (row.failed or 0) > 0


START = """
import os, sys, time
from rounds.syncs import SyncRun
run = SyncRun(sys.argv[1], organization="123", operation="full_patients")
run.__enter__()
run.found(10)
run.stored(4)
"""


def program(log: Log, code: str, *, ends: int = 0) -> subprocess.CompletedProcess[bytes]:
    url = log.table.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", START + code, url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ends, done.stderr.decode()
    return done


@pytest.mark.parametrize("code", ["", "sys.exit()", "1 / 0"])
def test_a_run_that_never_leaves_its_block_has_failed(of_kind: Log, code: str) -> None:
    program(of_kind, code, ends=1 if "/" in code else 0)
    row = of_kind.row()
    assert (row.status, row.succeeded, row.metadata["error_type"]) == ("failed", 4, "other")
    assert row.completed


def test_a_program_that_is_killed_leaves_its_row_running(file: Log) -> None:
    program(file, "os.kill(os.getpid(), 9)", ends=-9)
    assert (file.row().status, file.row().completed) == ("running", None)


def test_what_ends_in_the_background_is_written_before_the_program_is_gone(real: Log) -> None:
    """The table is locked for longer than the block waits."""
    code = """
from rounds.syncs.writing import run as running
from sqlalchemy import create_engine, text
running.END_WITHIN = 0.1
engine = create_engine(sys.argv[1])
import threading
connection = engine.connect()
connection.execute(text("LOCK TABLE sync_logs IN EXCLUSIVE MODE"))
run.__exit__(None, None, None)
threading.Thread(target=lambda: (time.sleep(0.3), connection.rollback()), daemon=True).start()
running.END_WITHIN = 5
"""
    program(real, code)
    assert real.row().status == "completed"


def test_a_fork_does_not_touch_the_row(of_kind: Log) -> None:
    code = """
import warnings
warnings.simplefilter("ignore")
import signal
signal.alarm(30)
for ends in (False, True):
    begin = time.monotonic()
    child = os.fork()
    if not child:
        run.stored(6)
        run.found(1000)
        run.failed("auth", 60)
        run.__exit__(ValueError, ValueError(), None)
        if ends:
            sys.exit(0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert time.monotonic() - begin < 4  # it waits for nobody
run.stored(1)
run.__exit__(None, None, None)
"""
    program(of_kind, code)
    row = of_kind.row()
    assert (row.status, row.succeeded, row.failed) == ("completed", 5, 0)


def test_a_program_that_writes_loads_neither_the_exporter_nor_drivers() -> None:
    code = (
        "import sys; from rounds.syncs import SyncRun; SyncRun('sqlite://', organization=1, operation='x');"
        " heavy = {'snowflake', 'httpx', 'starlette', 'uvicorn', 'pydantic', 'pymysql', 'psycopg', 'structlog',"
        " 'prometheus_client', 'rounds.metrics', 'rounds.syncs.config'} & set(sys.modules);"
        " sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})

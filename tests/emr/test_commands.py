"""``rounds emr``: what it reports, what it removes, and what it leaves alone."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rounds.domain import Domain, Job
from rounds.emr.app import retention
from rounds.emr.app.retention import remove_older
from rounds.emr.commands import COMMANDS
from rounds.emr.config import EmrSection
from rounds.resources import Resources
from support.commands import Cli, command_line
from support.databases import sources_yaml
from support.emr import ExistingStore, LibraryStore
from support.waiting import eventually

HOUR, DAY = 3600.0, 86_400.0
PATIENT = "Jane Citizen"
SECTION = "emr: [{name: clinic, source: s, operations: {slow_after: 2s}}]\n"


class Emr(Domain):
    """The section and the commands alone."""

    name = "emr"
    section = EmrSection
    catalogue = ()
    commands = COMMANDS

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        return []


@pytest.fixture
def cli_of(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cli]:
    """The command line, of sources: its exit code and output, and where it failed its errors."""
    monkeypatch.setattr("rounds.cli.all_domains", lambda: [Emr()])

    def of(sources: Any, section: str = SECTION) -> Cli:
        return command_line("emr", sources_yaml(sources) + section, tmp_path, capfd)

    return of


@pytest.fixture
def store(tmp_path: Path) -> ExistingStore:
    return ExistingStore(tmp_path / "monitoring.db")


@pytest.fixture
def cli(store: ExistingStore, cli_of: Callable[..., Cli]) -> Cli:
    return cli_of({"s": store.source})


def rows(store: ExistingStore | LibraryStore, table: str) -> int:
    return int(store.sql(f"SELECT count(*) FROM {table}")[0][0])


# Reporting


def test_the_report_as_text(store: ExistingStore, cli: Cli) -> None:
    store.error("KeyError", time.time() - 2 * HOUR, error_message=PATIENT)
    store.timing("llm_response_ms", 1500, time.time() - 60)
    code, said = cli("report")
    assert code == 0
    assert said.startswith("MONITORING REPORT: clinic\n")
    assert "Total: 1, different: 1\n" in said
    assert "Operations: 1, slow: 0\n" in said
    assert PATIENT not in said
    assert "Total: 0, different: 0\n" in cli("report", "--period=1h")[1]


def test_the_report_as_json(store: ExistingStore, tmp_path: Path, cli_of: Callable[..., Cli]) -> None:
    own = LibraryStore(tmp_path / "own.db")
    own.operation("llm_response", 3)
    section = "emr: [{name: one, source: s}, {name: two, source: t, operations: {slow: {llm_response: 4s}}}]\n"
    cli = cli_of({"s": store.source, "t": own.source}, section)
    code, said = cli("report", "--format=json", "--period=7d")
    assert code == 0
    found = json.loads(said)
    keys = ["timestamp", "health", "errors", "performance", "metrics", "alerts", "crashes", "system"]
    assert [list(report) for report in found.values()] == [keys, keys]
    assert found["two"]["performance"]["slow_operations"] == 0
    code, said = cli("report", "--format=json", "--app=two")
    assert json.loads(said)["performance"]["total_operations"] == 1


def test_checks_are_made_for_the_report(store: ExistingStore, tmp_path: Path, cli_of: Callable[..., Cli]) -> None:
    checks = f"""checks:
      database: {{path: {tmp_path / "clinic.db"}}}
      disk: {{path: {tmp_path}, unhealthy_free_bytes: 0, degraded_free_bytes: 0, degraded_used_ratio: 1}}
      backup: {{folder: {tmp_path}}}
"""
    cli = cli_of({"s": store.source}, f"emr:\n  - name: clinic\n    source: s\n    {checks}")
    health = json.loads(cli("report", "--format=json", "--app=clinic")[1])["health"]
    states = {service["service"]: service["status"] for service in health["services"]}
    assert states == {"database": "unhealthy", "disk": "healthy", "backup": "degraded"}
    assert health["overall_status"] == "unhealthy"
    assert "  database: unhealthy (the file is not there)\n" in cli("report")[1]


@pytest.mark.parametrize("command", ["report", "cleanup"])
def test_a_store_that_cannot_be_had(command: str, store: ExistingStore, cli: Cli) -> None:
    code, said = cli(command, "--app=other")
    assert (code, said) == (2, "--app: unknown app other; known: clinic\n")
    store.path.write_bytes(b"garbage" * 1000)
    code, said = cli(command)
    assert code == 1
    assert said.startswith("rounds: source 's': the file is no SQLite database")
    store.path.unlink()
    code, said = cli(command)
    assert (code, said) == (1, "rounds: source 's': there is no such file; check path\n")
    assert not store.path.exists()


def test_nothing_is_configured(cli_of: Callable[..., Cli]) -> None:
    code, said = cli_of({}, "")("report")
    assert (code, said) == (2, "emr: there is no such section in the configuration\n")


@pytest.mark.parametrize(
    "wrong", [("report", "--period=1y"), ("cleanup", "--days=0"), ("cleanup", "--days=-1"), ("cleanup", "--days=x")]
)
def test_wrong_use(wrong: tuple[str, ...], cli: Cli) -> None:
    assert cli(*wrong)[0] == 2


# Removing


def fill(store: ExistingStore) -> None:
    now = time.time()
    for age in (29, 31, 89, 91, 181):
        at = now - age * DAY
        store.error(at=at)
        store.message(at=at)
        store.transaction("save_visit", at=at)
        store.timing("search_latency_ms", 1, at)
        store.put("metrics_hourly", at, name=f"m{age}")
        store.alert(at=at)
        store.crash(at)


def counts(store: ExistingStore) -> dict[str, int]:
    tables = ("errors", "messages", "transactions", "metrics", "crash_reports", "alerts", "metrics_hourly")
    return {table: rows(store, table) for table in tables}


def test_what_is_old_is_removed(store: ExistingStore, cli: Cli) -> None:
    fill(store)
    whole = counts(store)
    code, said = cli("cleanup", "--dry-run")
    removed = "errors 2, messages 2, transactions 2, metrics 2, metrics_hourly 1, alerts 4, crash_reports 2"
    assert (code, said) == (0, f"clinic: would remove 15 rows: {removed}\n")
    assert counts(store) == whole
    code, said = cli("cleanup")
    assert code == 0
    assert said.startswith(f"clinic: removed 15 rows: {removed}; the file shrank by ")
    left = dict.fromkeys(whole, 3) | {"alerts": 1, "metrics_hourly": 4}
    assert counts(store) == left
    assert cli("cleanup") == (0, "clinic: nothing is older than 90 days\n")
    assert cli("cleanup", "--days=30")[1].startswith("clinic: removed 13 rows: ")
    assert counts(store) == dict.fromkeys(whole, 1) | {"alerts": 0, "metrics_hourly": 2}


def test_space_is_given_back(store: ExistingStore, cli: Cli) -> None:
    """More rows than one transaction removes, between others that stay."""
    now = time.time()
    store.put_all(
        "errors",
        ({"at": now - (100 if number % 4 else 1) * DAY, "stack_trace": "x" * 300} for number in range(14_000)),
    )
    before = store.path.stat().st_size
    assert cli("cleanup")[0] == 0
    assert rows(store, "errors") == 3_500
    assert store.path.stat().st_size < before / 3
    # Numbers are not given a second time, so that who follows them misses nothing.
    store.sql("DELETE FROM errors")
    cli("cleanup")
    assert store.error() == 14_001


def own_store(path: Path) -> LibraryStore:
    """As the library makes it: what is freed is given back a piece at a time."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
    return LibraryStore(path)


def test_the_librarys_tables(tmp_path: Path, cli_of: Callable[..., Cli]) -> None:
    store = own_store(tmp_path / "own.db")
    now = time.time()
    for age in (1, 29, 31, 91):
        at = now - age * DAY
        store.operation("llm_response", 1, at=at)
        store.error(fingerprint=f"{age:016}", at=at)
        store.alert(at=at)
        store.crash(at=at)
        store.run(at, ended=at, ending="clean")
        slot = int(at // 300)
        store.insert("rounds_sample", slot=slot, kind="count", name="visits_saved", count=1, sum=1, min=1, max=1)
    running = store.run(now - 100 * DAY)
    counters = store.sql("SELECT * FROM rounds_counter")
    cli = cli_of({"s": store.source})
    assert cli("cleanup")[0] == 0
    tables = ("timing", "sample", "error_slot", "error_group", "crash", "run")
    assert {table: rows(store, f"rounds_{table}") for table in tables} == dict.fromkeys(tables, 3) | {"run": 4}
    assert rows(store, "rounds_alert") == 2
    assert store.sql("SELECT ended FROM rounds_run WHERE id = ?", (running,)) == [(None,)]
    assert store.sql("SELECT * FROM rounds_counter") == counters


def test_the_librarys_file_shrinks(tmp_path: Path) -> None:
    store = own_store(tmp_path / "own.db")
    old = time.time() - 100 * DAY
    with store.writing() as connection:
        connection.executemany(
            "INSERT INTO rounds_timing (at, operation, seconds, outcome) VALUES (?, 'llm_response', 1, 'ok')",
            ((old,) for _ in range(60_000)),
        )
    before = store.path.stat().st_size
    assert remove_older(store.path)["rounds_timing"] == 60_000
    assert store.path.stat().st_size < before / 10


def test_an_application_goes_on_writing_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ExistingStore(tmp_path / "monitoring.db", wal=True)
    store.put_all("messages", ({"at": time.time() - 100 * DAY} for _ in range(200)))
    monkeypatch.setattr(retention, "PIECE", 50)
    written, stop = [], threading.Event()

    def write() -> None:
        while not stop.wait(0.02):
            written.append(store.message())

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert eventually(lambda: bool(written))
        assert remove_older(store.path)["messages"] == 200
    finally:
        stop.set()
        thread.join()
    assert rows(store, "messages") == len(written)


def test_who_may_not_write_is_told(store: ExistingStore, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    monkeypatch.setattr(retention, "_CLEANUP_BUSY_SECONDS", 0.1)
    with store.writing():
        code, said = cli("cleanup")
    assert code == 1
    assert said.startswith("rounds: source 's': another program keeps the file locked")
    assert rows(store, "errors") == 5


def test_rows_without_a_time_of_writing_are_told_by_their_own(tmp_path: Path) -> None:
    store = ExistingStore(tmp_path / "monitoring.db")
    store.error(at=time.time() - 100 * DAY, created_at=None)
    store.error(at=time.time() - DAY, created_at=None)
    assert remove_older(store.path)["errors"] == 1

"""The faults of the existing program, one by one: each test is one that it fails.

The numbers are those of the list of measured faults; behind them are some that were only read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rounds.emr import (
    MonitoringSystem,
    alert_on_failure,
    capture_errors,
    init_monitoring,
    monitor_all,
    retry_with_monitoring,
)
from rounds.emr.app import notification
from rounds.emr.app.retention import remove_older
from rounds.emr.health.result import Health
from support.emr import ExistingStore
from support.emr_app import App
from support.waiting import eventually

Ask = Callable[..., list[tuple[Any, ...]]]
Counted = Callable[..., float]

PATIENT = "Jane Citizen"
DAY, HOUR = 86_400.0, 3600.0


class VisitError(Exception):
    pass


def fail(*said: str) -> None:
    raise VisitError(*said)


# --- measured ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["application", "command"])
def test_1_retention_removes_rows_and_the_file_shrinks(tmp_path: Path, by: str) -> None:
    """There, VACUUM within the transaction of DELETE fails, and all rows come back."""
    store = ExistingStore(tmp_path / "monitoring.db")
    tables = ("errors", "messages", "transactions", "metrics", "alerts")
    for table in tables:
        rows = ({"at": time.time() - age * DAY} for age in (1, *(100,) * 500))
        store.put_all(table, rows)
    before = store.path.stat().st_size
    if by == "application":
        with init_monitoring(store.path, None, auto_start=False) as system:
            removed = system.cleanup(days=90)
    else:
        removed = remove_older(store.path, 90)
    assert {table: removed[table] for table in tables} == dict.fromkeys(tables, 500)
    for table in tables:
        assert store.sql(f"SELECT count(*) FROM {table}") == [(1,)]
    assert store.path.stat().st_size < before


#: An application, of which each line of ``save`` may fail, far below where it is entered.
DEEP = """
def enter(which): return one(which)
def one(which): return two(which)
def two(which): return three(which)
def three(which): return four(which)
def four(which): return five(which)
def five(which): return save(which)
def save(which):
    if which == "visit":
        raise ValueError(which)
    if which == "bill":
        raise ValueError(which)
"""


def fingerprint(system: MonitoringSystem, which: str, *, file: str = "app.py", above: str = "") -> str:
    names: dict[str, Any] = {"__name__": "clinic.visits"}
    exec(compile(above + DEEP, file, "exec"), names)
    try:
        names["enter"](which)
    except ValueError as error:
        return system.error_tracker.capture_exception(error)
    raise AssertionError("it should have failed")


def test_2_faults_below_one_entry_are_told_apart(system: MonitoringSystem) -> None:
    """There, only the five outermost lines of the trace count, with their numbers and paths."""
    visit, bill = fingerprint(system, "visit"), fingerprint(system, "bill")
    assert visit != bill
    assert fingerprint(system, "visit", file="/opt/clinic/app.py") == visit
    assert fingerprint(system, "visit", above="import json\n\n\n") == visit
    assert system.error_tracker.get_error_summary()["unique_errors"] == 2


def test_3_no_alert_is_lost(system: MonitoringSystem, ask: Ask, counted: Counted) -> None:
    """There, ten of any severity in an hour keep out a critical one."""
    for number in range(12):
        system.alerting.alert("error", f"alert {number}", "text")
    system.alerting.alert("critical", "the last one", "text")
    stored = ask("SELECT severity FROM rounds_alert ORDER BY id")
    assert stored == [("error",)] * 12 + [("critical",)]
    assert counted("alerts_total", "error", "none") == 12
    assert counted("alerts_total", "critical", "none") == 1


def test_4_delivery_is_said_only_of_what_was_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, e-mail without a server counts as sent, and a failed message suppresses the next one for an hour."""
    shown: list[str] = []
    works = [False]

    def show(app: str, severity: str, title: str, message: str) -> bool:
        shown.append(title)
        return works[0]

    monkeypatch.setattr(notification, "show", show)
    config = {"email_enabled": True, "slack_webhook": "http://127.0.0.1:9/"}
    system = init_monitoring(tmp_path / "monitoring.db", None, alert_config=config, auto_start=False)
    for number in range(3):
        works[0] = number == 1
        system.alerting.alert("error", f"alert {number}", "text", dedupe_key="disk:full")
        assert eventually(lambda: _stored(system) == number + 1)  # noqa: B023 - asked at once
    system.stop()
    with closing(sqlite3.connect(system.db_path)) as connection:
        channels = [json.loads(row[0]) for row in connection.execute("SELECT channels FROM rounds_alert ORDER BY id")]
    assert channels == [[], ["notification"], []]
    assert shown == ["alert 0", "alert 1"], "what was shown is not shown again, what was not is tried again"


def _stored(system: MonitoringSystem) -> int:
    system.monitor.flush()
    with closing(sqlite3.connect(system.db_path)) as connection:
        return int(connection.execute("SELECT count(*) FROM rounds_alert").fetchone()[0])


def test_5_check_alerts_raises_the_alerts(system: MonitoringSystem, ask: Ask) -> None:
    """There, it raises AttributeError at the first one."""
    full = {"memory_size_bytes": 100.0, "memory_available_bytes": 5.0}
    for name, result in (
        ("database", Health.unhealthy("gone")),
        ("llm", Health.degraded("slow")),
        ("disk", Health.ok()),
        ("memory", Health.ok("", **full)),
    ):
        system.monitor.check(name, interval=3600)(lambda result=result: result)
    for _ in range(21):
        system.metrics.record_timing("search_latency_ms", 1500)
    raised = system.dashboard.check_alerts()
    assert raised == ["service:database", "service:llm", "memory:high", "performance:slow_ops"]
    assert sorted(ask("SELECT key, severity FROM rounds_alert")) == [
        ("memory:high", "warning"),
        ("performance:slow_ops", "warning"),
        ("service:database", "error"),
        ("service:llm", "warning"),
    ]


@pytest.mark.parametrize("text", ['{"error": {"code": 5}}', "{", "}", "{0}", "{error}", "%s %d"])
def test_6_braces_in_a_message_hide_no_exception(system: MonitoringSystem, ask: Ask, text: str) -> None:
    """There, the exception that comes out is KeyError, of the template."""

    @alert_on_failure
    def save() -> None:
        fail(text)

    @alert_on_failure(title_template="{function_name} {", message_template="{error} {unknown}")
    def send() -> None:
        fail(text)

    for function in (save, send):
        with pytest.raises(VisitError) as raised:
            function()
        assert raised.value.args == (text,)
        assert raised.value.__context__ is None
    assert [key.rpartition(".")[2] for (key,) in ask("SELECT key FROM rounds_alert")] == ["save", "send"]


def test_7_a_locked_store_harms_nobody(system: MonitoringSystem, counted: Counted) -> None:
    """There, OperationalError comes out after five seconds, instead of the application's error."""

    @monitor_all("save_visit")
    def save() -> None:
        fail()

    assert system.monitor.flush(10)
    with closing(sqlite3.connect(system.db_path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        for _ in range(200):
            with pytest.raises(VisitError):
                save()
        assert time.monotonic() - begun < 2
        other.execute("ROLLBACK")
    assert counted("operations_total", "save_visit", "error") == 200
    assert counted("errors_total", "VisitError", "captured") == 200


def test_8_a_handler_of_slow_operations_may_use_the_monitor(
    system: MonitoringSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, it runs with a lock held that it needs."""
    monkeypatch.setattr("rounds.emr.app.facade.SLOW_SECONDS", 0.005)
    seen: list[int] = []

    @monitor_all("search")
    def search() -> None:
        time.sleep(0.01)

    def handler(operation: str, ms: float) -> None:
        search()  # slow too, which must not end in a circle
        seen.append(system.performance.get_report("1h")["total_operations"])
        system.get_summary()

    system.performance.add_slow_handler(handler)
    thread = threading.Thread(target=search, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits for itself"
    assert seen == [2]


def test_9_two_crashes_in_one_second_are_two(tmp_path: Path) -> None:
    """There, both have the same primary key, and the second one is lost."""
    app = App(tmp_path / "app")
    code = """
    import time
    time.time = lambda: 1_800_000_000.0
    for number in range(2):
        monitor._lookout.crash(ValueError(number))
    """
    app.run(code)
    assert app.crashes == {("python",): 2}
    assert app.rows("SELECT count(DISTINCT id) FROM rounds_crash") == [(2,)]
    assert len(app.reported()) == 2


def test_10_no_name_is_in_a_crash_report(tmp_path: Path) -> None:
    """There, the message and the trace's last line go out as they are, called anonymised."""
    app = App(tmp_path / "app")
    code = f"""
    def save(patient):
        visit = {{"patient": patient, "notes": [patient]}}
        raise ValueError(f"no phone for {{patient}}: {{visit}}")
    save("{PATIENT}")
    """
    done = app.run(code)
    assert PATIENT in done.stderr, "the application's own output is its own"
    assert app.crashes == {("python",): 1}
    assert len(app.reported()) == 1
    for file in (tmp_path / "app/data").rglob("*"):
        assert not file.is_file() or PATIENT.encode() not in file.read_bytes(), file
        assert not file.is_file() or b"no phone for" not in file.read_bytes(), file


@pytest.mark.parametrize(("interval", "buckets"), [("1h", 12), ("6h", {2, 3}), ("1d", {1, 2})])
def test_11_wide_buckets_are_wide(tmp_path: Path, interval: str, buckets: Any) -> None:
    """There, those of 6 hours and of a day are of one hour."""
    store = ExistingStore(tmp_path / "monitoring.db")
    now = time.time()
    for hour in range(12):
        store.timing("search_latency_ms", 10, now - hour * HOUR - 1)
    with init_monitoring(store.path, None, auto_start=False) as system:
        found = system.metrics.get_timeseries("search_latency_ms", "24h", interval)
    assert len(found) in (buckets if isinstance(buckets, set) else {buckets})
    assert sum(bucket["count"] for bucket in found) == 12


@pytest.mark.parametrize("kept_by", ["library", "existing"])
def test_12_a_count_and_a_gauge_of_one_name_are_not_added_up(tmp_path: Path, kept_by: str) -> None:
    """There, the summary of 3 and 97 is 100."""
    store = ExistingStore(tmp_path / "monitoring.db")
    with init_monitoring(store.path, None, auto_start=False) as system:
        if kept_by == "library":
            system.metrics.record_count("queue", 3)
            system.metrics.record_gauge("queue", 97)
        else:
            store.count("queue", 3)
            store.gauge("queue", 97)
        assert system.metrics.get_summary("queue")["sum"] == 3
        assert system.metrics.get_summary("queue", metric_type="gauge")["sum"] == 97
        [bucket] = system.metrics.get_timeseries("queue", interval="1d", metric_type="gauge")
        assert bucket["sum"] == 97
        metrics = system.dashboard.get_dashboard_data()["metrics"]
        assert (metrics["queue"]["sum"], metrics["queue:gauge"]["sum"]) == (3, 97)


async def test_13_async_functions_are_measured_to_their_end(
    system: MonitoringSystem, ask: Ask, counted: Counted
) -> None:
    """There, only the making of the coroutine is, and one that raises counts as a success."""

    @monitor_all("search")
    async def search(*, works: bool) -> None:
        await asyncio.sleep(0.05)
        if not works:
            fail()

    await search(works=True)
    with pytest.raises(VisitError):
        await search(works=False)
    (ok, _), (error, _) = sorted(ask("SELECT outcome, seconds FROM rounds_timing"), reverse=True)
    assert (ok, error) == ("ok", "error")
    assert all(seconds >= 0.05 for (seconds,) in ask("SELECT seconds FROM rounds_timing"))
    assert counted("errors_total", "VisitError", "captured") == 1


def test_14_decorators_need_no_parentheses(system: MonitoringSystem, counted: Counted) -> None:
    """There, ``@capture_errors`` replaces the function by a decorator, without a word."""

    @capture_errors
    def save(visit: int) -> int:
        if visit < 0:
            fail()
        return visit

    assert save(3) == 3
    with pytest.raises(VisitError):
        save(-1)
    assert counted("errors_total", "VisitError", "captured") == 1


@pytest.mark.parametrize("attempts", [0, -1])
def test_14_no_attempts_are_one(system: MonitoringSystem, attempts: int) -> None:
    """There, nothing is called, and None is raised, which is a TypeError."""

    @retry_with_monitoring(max_attempts=attempts)
    def save(visit: int) -> int:
        if visit < 0:
            fail()
        return visit

    assert save(3) == 3
    with pytest.raises(VisitError):
        save(-1)


@pytest.mark.parametrize("path", ["monitoring.db", "new/folders/monitoring.db"])
def test_14_a_store_needs_no_folder_in_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """There, FileNotFoundError."""
    monkeypatch.chdir(tmp_path)
    with init_monitoring(path, None, auto_start=False) as system:
        system.metrics.record_count("visits_saved")
        assert system.metrics.get_summary("visits_saved")["sum"] == 1
    assert (tmp_path / path).is_file()


def test_15_processor_time_is_told(system: MonitoringSystem) -> None:
    """There, it is 0 always, as each call asks for the time since itself."""
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    first = system.get_summary()["current_cpu_percent"]
    assert 0 < first < 100 * (os.cpu_count() or 1) + 1
    assert system.get_summary()["current_cpu_percent"] > 0


# --- read -------------------------------------------------------------------------------------------------------------


def test_what_was_recorded_before_a_crash_is_kept(tmp_path: Path) -> None:
    """There, up to 99 metrics are lost."""
    app = App(tmp_path / "app")
    app.run("for _ in range(99): monitor.count('visits_saved')\nraise ValueError")
    assert app.counter("events_total") == {("visits_saved",): 99}


def test_failed_calls_leave_a_timing(system: MonitoringSystem) -> None:
    @monitor_all("search")
    def search() -> None:
        time.sleep(0.01)
        fail()

    with pytest.raises(VisitError):
        search()
    assert system.metrics.get_summary("search")["max"] >= 10


def test_the_trend_of_errors_is_one(tmp_path: Path) -> None:
    """There, it is zeros."""
    store = ExistingStore(tmp_path / "monitoring.db")
    now = time.time()
    for age in (0, 0, 2 * DAY, 8 * DAY):
        store.error(at=now - age)
    with init_monitoring(store.path, None, auto_start=False) as system:
        trend = system.error_tracker.get_error_trend(days=7)
    assert len(trend) == 7
    assert [day["count"] for day in trend][-1] in (1, 2), "the other one may be of yesterday by now"
    assert sum(day["count"] for day in trend) == 3


def test_hooks_are_put_back(tmp_path: Path) -> None:
    """There, that of threads stays."""
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    with init_monitoring(tmp_path / "monitoring.db", None, "1.0", {"enable_notifications": False}):
        assert threading.excepthook is not before[1]
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == before


def test_an_application_can_be_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, the check of backups asks a database that nobody makes."""
    clinic = tmp_path / "clinic.db"
    with closing(sqlite3.connect(clinic)) as connection:
        connection.execute("CREATE TABLE patients (id)")
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(time.time() - 60))
    backup = tmp_path / f"backups/backup_{stamp}"
    backup.mkdir(parents=True)
    (backup / "backup_manifest.json").write_text(json.dumps({"version": "1.0", "encrypted": False}))
    (backup / "clinic.db").write_bytes(clinic.read_bytes())
    for name in ("disk", "memory"):  # of the computer that the test runs on
        monkeypatch.setattr(f"rounds.emr.app.dashboard.{name}", lambda *_: Health.ok())
    monkeypatch.setattr("rounds.emr.health.llm.Llm.run", lambda _: Health.ok())
    with init_monitoring(tmp_path / "monitoring.db", clinic, "1.0", {"enable_notifications": False}) as system:
        assert system.is_healthy(), system.health.check_all()


def test_the_score_reflects_the_computers_memory(system: MonitoringSystem) -> None:
    """There, it is the process' share, which never is so large."""
    full = Health.degraded("full", reason="used", memory_size_bytes=100, memory_available_bytes=5)
    system.monitor.check("memory", interval=3600)(lambda: full)
    assert system.get_summary()["health_score"] == 100 - 20 - 10


def test_the_hour_that_autumn_repeats_is_counted_once(tmp_path: Path) -> None:
    """There, times are compared as local texts, and so is what was an hour ago."""
    store = ExistingStore(tmp_path / "monitoring.db")
    now = time.time()
    # A clock that was three hours ahead of this computer's zone wrote these.
    for age in (60.0, 2 * HOUR):
        at = now - age
        store.error(at=at, timestamp=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at + 3 * HOUR)))
    with init_monitoring(store.path, None, auto_start=False) as system:
        assert system.error_tracker.get_error_summary("1h")["total_errors"] == 1

"""What an existing store becomes, row by row, and what does not make sense of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rounds.emr import existing_store, gauges, marks
from rounds.emr.moments import moment
from rounds.errors import CollectorError
from rounds.ledger.settings import State
from rounds.metrics import Histogram
from support.emr import ExistingStore, LibraryStore, local, utc
from support.emr_looking import Watch

HOUR, DAY = 3600, 86_400
PATIENT = "Zzyzx Planted"


@pytest.fixture(autouse=True)
def _sparing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is kept, however slow this machine is."""
    monkeypatch.setattr(gauges, "_SHARE", 0)


@pytest.fixture
def store(tmp_path: Path) -> ExistingStore:
    return ExistingStore(tmp_path / "monitoring.db")


@pytest.fixture
def watch(store: ExistingStore, tmp_path: Path) -> Watch:
    return Watch(store.path, tmp_path)


# --- what rows become -------------------------------------------------------------------------------------------------


def test_timings_become_a_histogram_in_seconds(store: ExistingStore, watch: Watch) -> None:
    for ms in (0.5, 1, 2.4, 999, 1000, 1001, 61_000):
        store.timing("search_latency_ms", ms)
    store.timing("save_visit", 3)
    found = watch.look()
    took = found.one("operation_duration_seconds", operation="search_latency")
    assert isinstance(took, Histogram)
    assert dict(zip((*took.bounds, float("inf")), took.counts, strict=True)) == {
        **dict.fromkeys(took.bounds, 0),
        0.001: 2,
        0.0025: 1,
        1.0: 2,
        2.5: 1,
        float("inf"): 1,
    }
    assert took.sum == pytest.approx(64.0039)
    assert found.total("operation_duration_seconds", operation="save_visit") == 1
    assert found.counted("slow_operations_total") == {"search_latency": 2}, "strictly longer than one second"
    assert found.counted("operations_total") == {}, "a timing alone does not say what came of it"
    assert found.one("operation_slow_threshold_seconds", operation="search_latency") == 1


def test_thresholds_are_the_operations(store: ExistingStore, tmp_path: Path) -> None:
    watch = Watch(store.path, tmp_path, operations={"slow_after": "2s", "slow": {"llm_response": "30s"}})
    for name in ("llm_response_ms", "search_latency_ms"):
        for ms in (1500, 20_000, 31_000):
            store.timing(name, ms)
    found = watch.look()
    assert found.counted("slow_operations_total") == {"search_latency": 2, "llm_response": 1}
    assert found.one("operation_slow_threshold_seconds", operation="llm_response") == 30
    assert found.one("operation_slow_threshold_seconds", operation="_other") == 2


def test_counts_become_operations_retries_and_events(store: ExistingStore, watch: Watch) -> None:
    for name, value in (
        ("save_visit_success", 3),
        ("save_visit_error", 2),
        ("send_retry_attempt", 2),
        ("send_retry_success", 1),
        ("send_retry_failed", 4),
        ("patients_created", 5),
        ("logins", 0.5),
        ("logins", 0.25),
        ("_success", 1),
    ):
        store.count(name, value)
    found = watch.look()
    assert found.counted("operations_total") == {("save_visit", "ok"): 3, ("save_visit", "error"): 2}
    assert found.all("operations_total", operation="save_visit").keys() == {
        ("ok",),
        ("error",),
        ("cancelled",),
        ("skipped",),
    }
    assert found.counted("retries_total") == {("send", "attempt"): 2, ("send", "success"): 1, ("send", "failed"): 4}
    assert found.counted("events_total") == {"patients_created": 5, "logins": 0.75, "_success": 1}
    assert found.one("events_total", event="visits_saved") == 0, "what is known is there from 0 on"


def test_transactions_errors_messages_alerts_and_crashes(store: ExistingStore, watch: Watch) -> None:
    store.transaction("checkout", 20)
    store.transaction("checkout", 1500, ok=False)
    for kind, group in (("ValueError", "a"), ("ValueError", "b"), ("KeyError", "a")):
        store.error(kind, error_hash=group)
    for level in ("debug", "info", "info", "WARNING", "error"):
        store.message(level)
    store.alert("critical", channels_sent=["notification", "email", "email"])
    store.alert("critical", channels_sent=None)
    store.alert("info", channels_sent=[])
    store.crash()
    store.crash(submitted=1)
    found = watch.look()
    assert found.counted("operations_total") == {("checkout", "ok"): 1, ("checkout", "error"): 1}
    assert found.total("operation_duration_seconds", operation="checkout") == 2
    assert found.counted("slow_operations_total") == {"checkout": 1}
    assert found.counted("errors_total") == {("ValueError", "captured"): 2, ("KeyError", "captured"): 1}
    assert found.one("error_groups") == 2
    assert found.one("error_groups_seen_total") == 2
    assert found.counted("messages_total") == {"debug": 1, "info": 2, "warning": 1, "error": 1}
    assert found.counted("alerts_total") == {
        ("critical", "notification"): 1,
        ("critical", "email"): 1,
        ("critical", "none"): 1,
        ("info", "none"): 1,
    }
    assert len(found.all("alerts_total")) == 24, "all of them are there from 0 on"
    assert found.counted("crashes_total") == {"python": 2}
    assert found.one("crash_reports_unsubmitted") == 1
    store.sql("UPDATE crash_reports SET submitted = 1")
    store.sql("UPDATE errors SET resolved = 1")
    found = watch.look()
    assert found.one("crash_reports_unsubmitted") == 0
    assert found.counted("crashes_total") == {"python": 2}, "what changes in a row makes no new one of it"
    assert found.total("errors_total") == 3
    assert found.one("store_replaced_total") == 0


def test_gauges_are_those_that_are_allowed_as_of_their_newest_row(store: ExistingStore, tmp_path: Path) -> None:
    watch = Watch(store.path, tmp_path)
    assert watch.look().all("gauge") == {}
    store.gauge("active_consultations", 3, at=time.time() - 60)
    store.gauge("active_consultations", 2, at=time.time() - HOUR / 2)  # the clock was put back
    store.gauge("memory_usage_mb", -1.5)
    store.gauge("patients_in_debt", 7)
    assert watch.look().all("gauge") == {("active_consultations",): 2, ("memory_usage_mb",): -1.5}
    store.remove("metrics", "name = 'active_consultations'")
    assert watch.look().one("gauge", name="active_consultations") == 2, "though retention took its row"
    watch.clock = HOUR + 60
    assert watch.look().all("gauge") == {}, "nothing has been measured for an hour"
    watch.clock = 0
    watch.configure(gauges=["patients_in_debt", "a b"])
    assert watch.look().all("gauge") == {}
    store.gauge("patients_in_debt", 8)
    assert watch.look().all("gauge") == {("patients_in_debt",): 8}


def test_what_makes_no_sense_is_left_out_and_counted(store: ExistingStore, watch: Watch) -> None:
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("DROP TABLE metrics")
        connection.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp, name, metric_type, value, tags)")
    rows: list[dict[str, Any]] = [
        {"value": value, "metric_type": kind}
        for kind in ("timing", "count")
        for value in (None, "NaN", float("inf"), -1, b"\xff", 1e300)
    ]
    rows += [{"metric_type": "gauge", "name": "memory_usage_mb", "value": value} for value in (None, "x", 9e999)]
    rows += [{"metric_type": "summary"}]
    store.put_all("metrics", rows)
    store.put_all("transactions", [{"duration_ms": -1}, {"success": 7}, {"duration_ms": "x", "success": "y"}])
    store.put_all("messages", [{"level": "loud"}])
    store.put_all("alerts", [{"severity": "fatal"}, {"channels_sent": ["pigeon", 5]}])
    found = watch.look()
    assert found.one("rows_rejected_total", reason="value") == len(rows) + 3 + 1 + 2
    assert found.counted("operations_total") == {("save_visit", "ok"): 1}
    assert found.total("operation_duration_seconds") == 1
    assert found.counted("alerts_total") == {("warning", "none"): 1}
    assert found.all("gauge") == {}
    tags = ['{"a": ', "[]", "3", "[" * 100_000, "x" * 20_000, b"\xff\xfe"]
    store.put_all("metrics", [{"tags": each} for each in [*tags, {"a": "b"}, None]])
    store.put_all("alerts", [{"channels_sent": "notification"}, {"channels_sent": "{}"}])
    found = watch.look()
    assert found.one("rows_rejected_total", reason="tags") == len(tags) + 2
    assert found.total("operation_duration_seconds", operation="search_latency") == len(tags) + 2, "they count"
    times = ["yesterday", "", "2026-02-30T10:00:00", b"\xff", "31/12/2025 10:00"]
    store.put_all("messages", [{"timestamp": each} for each in times])
    found = watch.look()
    assert found.one("rows_rejected_total", reason="time") == len(times)
    assert found.counted("messages_total") == {"info": len(times)}
    assert watch.look().total("rows_rejected_total") == found.total("rows_rejected_total")


def test_no_text_of_a_row_is_told(store: ExistingStore, watch: Watch, tmp_path: Path) -> None:
    planted: dict[str, Any] = dict.fromkeys(
        ("error_message", "stack_trace", "context", "user_id", "user_data", "tags"), PATIENT
    )
    store.error(f"Error of {PATIENT}", error_hash=PATIENT, environment_info=PATIENT, app_version=PATIENT, **planted)
    store.message(PATIENT, message=PATIENT, context=PATIENT)
    store.timing(f"{PATIENT}_ms", 1, tags={"patient": PATIENT})
    for name in (PATIENT, f"{PATIENT}_success", f"{PATIENT}_retry_failed"):
        store.count(name)
    store.gauge(PATIENT, 1)
    store.transaction(PATIENT)
    store.alert(PATIENT, title=PATIENT, message=PATIENT, dedupe_key=PATIENT)
    store.alert(title=PATIENT, channels_sent=[PATIENT])
    store.crash(exception_type=PATIENT, crash_hash=PATIENT, report_path=PATIENT, id=PATIENT)
    found = watch.look()
    assert found.counted("errors_total") == {("_other", "captured"): 1}
    assert found.counted("operations_total") == {("_other", "ok"): 2}
    assert found.counted("events_total") == {"_other": 1}
    told = repr([family.samples for family in found.families.values()]) + watch.collector.found()
    told += "".join(each.read_bytes().decode("latin-1") for each in tmp_path.glob("state.db*"))
    assert "Zzyzx" not in told


# --- names ------------------------------------------------------------------------------------------------------------


def test_the_first_names_keep_their_places(store: ExistingStore, tmp_path: Path) -> None:
    watch = Watch(
        store.path, tmp_path, events={"max": 4}, error_types={"max": 1}, operations={"only": ["a", "llm_response"]}
    )
    for name in ("one", "two", "three"):
        store.count(name)
    for kind in ("KeyError", "ValueError", "OSError"):
        store.error(kind)
    for name in ("a_success", "b_success", "c_success"):
        store.count(name)
    found = watch.look()
    assert found.counted("events_total") == {"one": 1, "two": 1, "_other": 1}
    assert found.counted("errors_total") == {("KeyError", "captured"): 1, ("_other", "captured"): 2}
    assert found.counted("operations_total") == {("a", "ok"): 1, ("_other", "ok"): 2}
    assert set(found.all("operations_total", outcome="error")) == {("a",), ("llm_response",), ("_other",)}
    store.count("three")
    store.count("one")
    watch.configure(events={"max": 5}, error_types={"max": 0})
    store.error("KeyError")
    found = watch.look()
    assert found.counted("events_total") == {"one": 2, "two": 1, "three": 1, "_other": 1}, "a place has become free"
    assert found.counted("errors_total") == {("_other", "captured"): 3}, "what was counted before stays in the ledger"
    watch.configure(events={"max": 4}, error_types={"max": 1})
    found = watch.look()
    assert found.counted("events_total") == {"one": 2, "two": 1, "_other": 1}
    assert found.counted("errors_total") == {("KeyError", "captured"): 1, ("_other", "captured"): 3}


def test_series_are_bounded(store: ExistingStore, watch: Watch) -> None:
    rows = [{"metric_type": kind, "name": f"name_{n}{end}", "value": 1} for n in range(300) for kind, end in (
        ("timing", ""), ("count", "_success"), ("count", "_retry_failed"), ("count", ""))]  # fmt: skip
    store.put_all("metrics", rows)
    store.put_all("errors", [{"error_type": f"Error{n}"} for n in range(300)])
    assert watch.look().series < 3000


# --- what happens to the file -----------------------------------------------------------------------------------------


def refill(store: ExistingStore, rows: int) -> None:
    """Empty the file in place, as if it had never had a row, and write as many rows as before."""
    for table in ("errors", "messages"):
        store.remove(table)
    store.sql("DELETE FROM sqlite_sequence")
    store.put_all("errors", [{"at": time.time() - 0.001 * n} for n in range(rows)])


@pytest.mark.parametrize("rows", [5, 10, 20])
def test_a_file_that_is_emptied_and_filled_again(store: ExistingStore, watch: Watch, rows: int) -> None:
    store.put_all("errors", [{"at": time.time() - DAY - n} for n in range(10)])
    assert watch.look().total("errors_total") == 10
    refill(store, rows)
    found = watch.look()
    assert found.total("errors_total") == 10 + rows
    assert found.one("store_replaced_total") == 1
    assert watch.look().one("store_replaced_total") == 1


def test_rows_that_were_deleted_before_anybody_looked_come_back(
    store: ExistingStore, watch: Watch, tmp_path: Path
) -> None:
    store.put_all("errors", [{"at": time.time() - n} for n in range(10)])
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy, closing(sqlite3.connect(store.path)) as file:
        file.backup(copy)
        store.remove("errors", "id <= 4")
        assert watch.look().total("errors_total") == 6
        copy.backup(file)
    assert watch.look().total("errors_total") == 10, "the newest row and the highest id ever are as they were"


def test_an_older_copy_that_goes_on_in_place(store: ExistingStore, watch: Watch, tmp_path: Path) -> None:
    """The oldest row is known, and the highest id is no lower."""
    store.put_all("errors", [{"at": time.time() - n} for n in range(10)])
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy, closing(sqlite3.connect(store.path)) as file:
        file.backup(copy)
        store.put_all("errors", [{"at": time.time() - n} for n in range(10)])
        assert watch.look().total("errors_total") == 20
        copy.backup(file)
    store.put_all("errors", [{} for n in range(12)])
    assert watch.look().total("errors_total") == 32


def test_a_row_between_others_comes_back(store: ExistingStore, watch: Watch, tmp_path: Path) -> None:
    """Both ends are known, but the highest id ever is lower."""
    store.put_all("errors", [{"at": time.time() - n} for n in range(10)])
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy, closing(sqlite3.connect(store.path)) as file:
        file.backup(copy)
        store.remove("errors", "id = 5")
        store.error()
        assert watch.look().total("errors_total") == 10
        copy.backup(file)
    assert watch.look().total("errors_total") == 11


def test_deleting_the_newest_rows_is_no_replacement(store: ExistingStore, watch: Watch) -> None:
    store.put_all("errors", [{}] * 10)
    watch.look()
    store.remove("errors", "id > 5")
    store.vacuum()
    assert watch.look().one("store_replaced_total") == 0
    store.error()
    found = watch.look()
    assert found.total("errors_total") == 11
    assert found.one("store_replaced_total") == 0


def test_more_files_than_layers(store: ExistingStore, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "LAYERS", 3)
    for number in range(6):
        refill(store, 10)
        assert watch.look().total("errors_total") == 10 * (number + 1)
    assert watch.look().total("errors_total") == 60


def test_marks_of_the_oldest_rows_are_forgotten(
    store: ExistingStore, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "PIECE", 8)
    monkeypatch.setattr(marks, "PIECES", 4)
    began = time.time() - DAY
    for part in range(10):
        store.put_all("errors", [{"at": began + 20 * part + n} for n in range(20)])
        assert watch.look().total("errors_total") == 20 * (part + 1)
    with watch.ledger.reading() as connection:
        pieces = connection.exec_driver_sql("SELECT count(*) FROM emr_marks").scalar_one()
        position = connection.exec_driver_sql("SELECT pieces, forgotten_id FROM emr_tables WHERE name = 'errors'").one()
    assert pieces == position[0] <= 4
    assert 160 < position[1] < 200
    store.path.rename(store.path.with_name("away.db"))
    again = ExistingStore(store.path)
    again.put_all("errors", [{}] * 50)
    assert watch.look().total("errors_total") == 250, "rows that are newer than what was forgotten are new"
    store.path.with_name("away.db").rename(store.path)
    store.error()
    assert watch.look().total("errors_total") == 251, "what was forgotten counts as read"


def test_a_long_table_is_read_in_parts(store: ExistingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(existing_store, "BATCH", 10)
    monkeypatch.setattr(existing_store.ExistingStore, "late", lambda _: True)
    store.put_all("messages", [{}] * 35)
    watch = Watch(store.path, tmp_path)
    for total in (10, 20, 30):
        found = watch.look()
        assert found.total("messages_total") == total
        assert watch.collector.pace() == 1, "the next look comes soon"
        assert "still being read" in watch.collector.found()
        watch.configure()  # as after a restart
    assert watch.look().total("messages_total") == 35
    assert watch.collector.pace() == 15
    assert watch.look().total("messages_total") == 35


def test_another_exporter_with_the_same_ledger(
    store: ExistingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Watch(store.path, tmp_path), Watch(store.path, tmp_path)
    store.error()
    assert one.look().total("errors_total") == other.look().total("errors_total") == 1
    store.error()
    assert other.look().total("errors_total") == 2
    store.error()
    assert one.look().total("errors_total") == 3
    load = type(one.collector)._known

    def late(collector: Any) -> Any:
        known = load(collector)
        store.error()
        other.look()
        return known

    monkeypatch.setattr(one.collector, "_known", late.__get__(one.collector))
    with pytest.raises(CollectorError, match="another exporter"):
        one.look()
    monkeypatch.undo()
    assert one.look().total("errors_total") == 4


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_ledger_on_a_server(store: ExistingStore, tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(kind)
    source = server.source(server.create_database("ledger"))
    url = f"{kind}://{source.host}:{source.port}/{source.database}"
    state = State.model_validate(
        {"url": url, "user": source.user, "password": source.password, "salt_file": tmp_path / "salt"}
    )
    watch = Watch(store.path, tmp_path, state=state)
    store.put_all("errors", [{"at": time.time() - n} for n in range(3000)])
    store.gauge("memory_usage_mb", 5)
    store.crash()
    own = LibraryStore(store.path).counter("events_total", "saved")
    own.run()
    assert watch.look().total("errors_total") == 3000
    own.counter("events_total", "saved")
    refill(store, 2000)
    watch.configure()
    found = watch.look()
    assert found.total("errors_total") == 5000
    assert found.one("gauge", name="memory_usage_mb") == 5
    assert found.counted("events_total") == {"saved": 2}
    watch.configure()
    assert watch.look().counted("errors_total") == {("ValueError", "captured"): 5000}
    watch.ledger.close()


# --- what the file lacks ----------------------------------------------------------------------------------------------


def test_missing_tables_and_columns_are_told(tmp_path: Path) -> None:
    without = ["alerts", "crash_reports.submitted", "metrics.value", "errors.error_hash", "messages.created_at"]
    store = ExistingStore(tmp_path / "m.db", without=without)
    watch = Watch(store.path, tmp_path)
    store.error()
    store.message()
    store.crash()
    found = watch.look()
    problems = {"no table alerts", *(f"no column {each}" for each in without[1:])}
    assert found.all("schema_problem") == {(each,): 1 for each in problems}
    assert found.total("errors_total") == found.total("messages_total") == found.total("crashes_total") == 1
    assert found.one("error_groups_seen_total") == 0
    store.sql("ALTER TABLE metrics ADD COLUMN value REAL")
    store.sql("ALTER TABLE messages ADD COLUMN created_at TIMESTAMP")
    store.count("logins", 2)
    found = watch.look()
    assert found.counted("events_total") == {"logins": 2}
    assert found.total("messages_total") == 1, "a new column does not make old rows new"
    assert ("no column metrics.value",) not in found.all("schema_problem")


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "clinic.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    with pytest.raises(CollectorError, match="no table of a store") as caught:
        Watch(path, tmp_path).look()
    assert caught.value.reason == "query"
    with pytest.raises(CollectorError) as caught:
        Watch(tmp_path / "missing.db", tmp_path).look()
    assert caught.value.reason == "connect"


def test_a_damaged_table_does_not_hide_the_others(store: ExistingStore, watch: Watch) -> None:
    store.put_all("errors", [{"error_message": "x" * 500} for _ in range(2000)])
    store.message()
    watch.look()
    store.put_all("errors", [{"error_message": "x" * 500} for _ in range(2000)])
    store.message()
    with closing(sqlite3.connect(store.path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        sql = "SELECT pageno FROM dbstat WHERE name = 'errors' AND pagetype = 'leaf' ORDER BY pageno DESC LIMIT 1"
        try:
            (page,) = connection.execute(sql).fetchone()
        except sqlite3.OperationalError:
            pytest.skip("this SQLite cannot tell which pages are a table's")
    with store.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    found = watch.look()
    assert found.total("messages_total") == 2
    assert 2000 <= found.total("errors_total") < 4000
    assert found.one("store_integrity_ok") == 0
    assert ("cannot read errors",) in found.all("schema_problem")
    checked = found.one("store_integrity_check_timestamp_seconds")
    assert watch.look().one("store_integrity_check_timestamp_seconds") == checked, "once is enough"


def test_all_pages_are_looked_at_once_a_day(store: ExistingStore, watch: Watch) -> None:
    first = watch.look()
    assert first.one("store_integrity_ok") == 1
    checked = first.one("store_integrity_check_timestamp_seconds")
    watch.configure()
    watch.clock = DAY - 60
    assert watch.look().one("store_integrity_check_timestamp_seconds") == checked, "though it was started again"
    watch.clock = DAY + 60
    assert watch.look().one("store_integrity_check_timestamp_seconds") > checked + DAY - 60


# --- times ------------------------------------------------------------------------------------------------------------


def test_the_first_look_tells_when_it_happened_and_the_next_ones_when_it_was_noticed(
    store: ExistingStore, watch: Watch
) -> None:
    then = time.time() - 5 * DAY
    store.alert("error", at=then - 60)
    store.alert("error", at=then)
    store.error(at=then, error_hash="a")
    store.crash(at=then)
    found = watch.look()
    for metric in (
        "last_alert_timestamp_seconds",
        "last_crash_timestamp_seconds",
        "last_new_error_group_timestamp_seconds",
    ):
        assert list(found.all(metric).values()) == [pytest.approx(then)], metric
    watch.clock = 1000
    store.alert("critical", at=then)
    store.error(at=then, error_hash="a")
    store.crash(at=then)
    found = watch.look()
    assert found.one("last_alert_timestamp_seconds", severity="error") == pytest.approx(then)
    assert found.one("last_alert_timestamp_seconds", severity="critical") == pytest.approx(time.time() + 1000, abs=60)
    assert found.one("last_crash_timestamp_seconds", kind="python") == pytest.approx(time.time() + 1000, abs=60)
    assert found.one("last_new_error_group_timestamp_seconds") == pytest.approx(then), "the group is not new"


def test_times_are_found_without_and_with_a_zone(tmp_path: Path) -> None:
    then = time.time() - 2 * DAY
    zones: list[tuple[Any, dict[str, Any]]] = [
        (ZoneInfo("Asia/Kathmandu"), {}),
        (ZoneInfo("Europe/Berlin"), {"time_zone": "Europe/Berlin"}),
        (UTC, {}),
    ]
    for number, (zone, keys) in enumerate(zones):
        folder = tmp_path / str(number)
        folder.mkdir()
        store = ExistingStore(folder / "m.db", zone=zone)
        store.alert("info", at=then)
        found = Watch(store.path, folder, **keys).look()
        assert found.one("last_alert_timestamp_seconds", severity="info") == pytest.approx(then), zone


def test_the_hour_that_comes_twice() -> None:
    zone = ZoneInfo("Europe/Berlin")
    for at in (1_761_437_400.0, 1_761_437_400.0 + HOUR):  # 2025-10-26, 02:10, twice
        assert moment(local(at, zone), utc(at), zone) == at
        assert moment(local(at, zone), utc(at), None) == at
    assert moment("2025-10-26T02:10:00", "", zone) == 1_761_437_400.0
    assert moment("2025-10-26T02:10:00", "", None) is None
    assert moment("0001-01-01T00:00:00", "2025-10-26 00:10:00", zone) is None
    assert moment("2025-10-26T02:10:00+02:00", "", None) == datetime(2025, 10, 26, 0, 10, tzinfo=UTC).timestamp()


def test_windows_of_an_hour_and_a_day(store: ExistingStore, tmp_path: Path) -> None:
    now = time.time()
    for at, group in ((now - 23 * HOUR, "a"), (now - 60, "b"), (now - 25 * HOUR, "c"), (now - 120, "b")):
        store.error(at=at, error_hash=group)
    store.put_all("errors", [{"at": now - 30, "error_hash": "d"}] * 22)
    for minutes in range(1, 13):
        store.timing("llm_response_ms", 5000, at=now - 60 * minutes)
        store.timing("llm_response_ms", 5000, at=now - 60 * minutes - HOUR)
    zones: list[dict[str, Any]] = [{}, {"time_zone": "America/Sao_Paulo"}]
    for keys in zones:
        found = Watch(store.path, tmp_path, **keys).look()
        assert found.one("error_groups") == 3
        assert found.one("health_score_deduction", reason="errors") == 10, "25 errors are more than one an hour"
        assert found.one("health_score_deduction", reason="slow_operations") == 10, "12 operations in the last hour"
        assert found.one("health_score") == 80
    milder: dict[str, Any] = {"operations": {"slow": {"llm_response": "30s"}}, "score": {"errors_per_hour": 2}}
    assert Watch(store.path, tmp_path, **milder).look().one("health_score") == 100


# --- the file ---------------------------------------------------------------------------------------------------------


def test_sizes_and_rows(tmp_path: Path) -> None:
    store = ExistingStore(tmp_path / "m.db", wal=True)
    watch = Watch(store.path, tmp_path)
    store.put_all("messages", [{}] * 7)
    with closing(sqlite3.connect(store.path)) as held:
        held.execute("INSERT INTO messages (timestamp, level, message) VALUES ('x', 'info', 'x')")
        held.commit()
        found = watch.look()
        assert found.one("store_bytes") == store.path.stat().st_size
        assert found.one("store_wal_bytes") == Path(f"{store.path}-wal").stat().st_size > 0
    assert found.one("store_rows", table="messages") == 8
    assert found.one("store_rows", table="metrics_hourly") == 0
    assert watch.look().one("store_wal_bytes") == 0


@pytest.fixture
def open_files() -> Callable[[Path], int]:
    """How many handles this process has on a file."""

    def count(path: Path) -> int:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(link.exists() and link.readlink() == path for link in links)

    return count


def test_no_reader_stays_open(
    tmp_path: Path, open_files: Callable[[Path], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ExistingStore(tmp_path / "m.db", wal=True)
    watch = Watch(store.path, tmp_path)
    watch.look()
    assert open_files(store.path) == 0
    monkeypatch.setattr("rounds.emr.gauges.Gauges.families", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        watch.look()
    assert open_files(store.path) == 0


def test_a_look_sees_one_state(store: ExistingStore, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written while it reads is for the next one, so that counters and what is asked besides agree."""
    store.sql("PRAGMA user_version = 1")
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    store.error()
    read = existing_store.ExistingStore.read

    def write_after(self: Any, **keys: Any) -> None:
        read(self, **keys)
        store.error(error_hash="new")

    monkeypatch.setattr(existing_store.ExistingStore, "read", write_after)
    found = watch.look()
    assert found.total("errors_total") == found.one("error_groups") == found.one("store_rows", table="errors") == 1
    monkeypatch.setattr(existing_store.ExistingStore, "read", read)
    assert watch.look().one("error_groups") == 2


def test_what_the_ledger_has_is_told_before_the_first_look(store: ExistingStore, watch: Watch) -> None:
    store.error()
    watch.look()
    watch.configure()
    assert watch.initial().total("errors_total") == 1

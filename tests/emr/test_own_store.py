"""The library's store: counters by what they have grown, processes, gauges, and two stores in one file."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from rounds.emr import gauges, layout
from rounds.emr.names import DURATION_BOUNDS
from rounds.metrics import Histogram
from support.emr import ExistingStore, LibraryStore
from support.emr_looking import Watch

DAY = 86_400
PATIENT = "Zzyzx Planted"


@pytest.fixture(autouse=True)
def _sparing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is kept, however slow this machine is."""
    monkeypatch.setattr(gauges, "_SHARE", 0)


@pytest.fixture
def store(tmp_path: Path) -> LibraryStore:
    return LibraryStore(tmp_path / "events.db")


@pytest.fixture
def watch(store: LibraryStore, tmp_path: Path) -> Watch:
    return Watch(store.path, tmp_path)


def test_every_counter_is_told_and_grows_with_the_stores(store: LibraryStore, watch: Watch) -> None:
    for twice in (1, 2):
        store.operation("llm_response", 12.5).operation("llm_response", 0.3, "error").operation("search", 0.001)
        store.counter("operations_total", "search", "cancelled").counter("operations_total", "search", "skipped")
        store.counter("slow_operations_total", "llm_response", by=2)
        for outcome in ("attempt", "success", "failed"):
            store.counter("retries_total", "send", outcome)
        store.counter("events_total", "patients_created", by=3).counter("messages_total", "warning")
        store.error("KeyError").counter("errors_total", "OSError", "thread")
        store.alert("critical", ["notification"]).alert("info").crash("unclean").crash()
        store.counter("telemetry_dropped_total", "queue_full", by=7).counter("store_corruptions_total")
        store.counter("process_cpu_seconds_total", by=0.25)
        found = watch.look()
        assert found.counted("operations_total") == {
            ("llm_response", "ok"): twice,
            ("llm_response", "error"): twice,
            ("search", "ok"): twice,
            ("search", "cancelled"): twice,
            ("search", "skipped"): twice,
        }
        took = found.one("operation_duration_seconds", operation="llm_response")
        assert isinstance(took, Histogram)
        assert dict(zip((*DURATION_BOUNDS, float("inf")), took.counts, strict=True)) == {
            **dict.fromkeys((*DURATION_BOUNDS, float("inf")), 0),
            0.5: twice,
            30.0: twice,
        }
        assert took.sum == pytest.approx(12.8 * twice)
        assert found.counted("slow_operations_total") == {"llm_response": 2 * twice}
        assert found.counted("retries_total") == {("send", each): twice for each in ("attempt", "success", "failed")}
        assert found.counted("events_total") == {"patients_created": 3 * twice}
        assert found.counted("messages_total") == {"warning": twice}
        assert found.counted("errors_total") == {("KeyError", "captured"): twice, ("OSError", "thread"): twice}
        assert found.one("error_groups_seen_total") == found.one("error_groups") == 1
        assert found.counted("alerts_total") == {("critical", "notification"): twice, ("info", "none"): twice}
        assert found.counted("crashes_total") == {"unclean": twice, "python": twice}
        assert found.counted("telemetry_dropped_total") == {"queue_full": 7 * twice}
        assert found.one("store_corruptions_total") == twice
        assert found.one("process_cpu_seconds_total") == 0.25 * twice
        assert found.one("crash_reports_unsubmitted") == 2, "of those whose rows are there"
        watch.configure()  # as after a restart
        assert watch.look().counted("operations_total") == found.counted("operations_total")
        for table in ("rounds_timing", "rounds_error_group", "rounds_alert", "rounds_crash"):
            store.sql(f"DELETE FROM {table}")  # retention takes rows, never counters
        store.sql("DELETE FROM rounds_counter WHERE name = 'error_groups_seen_total'")
    assert watch.look().total("operations_total") == 10
    assert watch.look().all("schema_problem") == {}


def test_another_store_begins_anew_and_one_that_returns_goes_on(store: LibraryStore, watch: Watch) -> None:
    away = store.path.with_name("away.db")
    store.counter("events_total", "saved", by=10)
    assert watch.look().counted("events_total") == {"saved": 10}
    store.path.rename(away)
    other = LibraryStore(store.path)
    other.counter("events_total", "saved", by=4)
    found = watch.look()
    assert found.counted("events_total") == {"saved": 14}
    assert found.one("store_replaced_total") == 1
    other.counter("events_total", "saved", by=20)
    assert watch.look().counted("events_total") == {"saved": 34}
    away.rename(store.path)
    store.counter("events_total", "saved")
    found = watch.look()
    assert found.counted("events_total") == {"saved": 35}
    assert found.one("store_replaced_total") == 2
    assert watch.look().one("store_replaced_total") == 2


@pytest.mark.parametrize(("more", "alive"), [(5, 15), (50, 15), (50, 0)])
def test_a_store_that_was_restored_from_an_older_copy(
    store: LibraryStore, watch: Watch, more: int, alive: float
) -> None:
    """It may come to say more than the newer one did, or less; its last sign of life may be the same."""
    copy, newer = store.path.with_name("copy.db"), store.path.with_name("newer.db")
    run = store.run(time.time() - 100)
    store.counter("events_total", "saved", by=10).counter("crashes_total", "python")
    watch.look()
    shutil.copy(store.path, copy)
    store.sql("UPDATE rounds_run SET heartbeat = heartbeat + ? WHERE id = ?", (alive, run))
    store.counter("events_total", "saved", by=more)
    store.counter("crashes_total", "python")
    watch.look()
    store.path.rename(newer)
    copy.rename(store.path)
    assert watch.look().counted("events_total") == {"saved": 10 + more}, "counters never fall"
    for total in (12 + more, 14 + more, 16 + more):
        store.counter("events_total", "saved", by=2)
        assert watch.look().counted("events_total") == {"saved": total}
    store.counter("crashes_total", "python")
    assert watch.look().counted("crashes_total") == {"python": 3}, "though it says no more than the newer one did"
    newer.replace(store.path)
    assert watch.look().counted("events_total") == {"saved": 16 + more}, "what was counted of it is not counted again"
    store.counter("events_total", "saved").counter("crashes_total", "python")
    found = watch.look()
    assert found.counted("events_total") == {"saved": 17 + more}
    assert found.counted("crashes_total") == {"python": 4}


def test_a_counter_is_told_from_0_on(store: LibraryStore, watch: Watch) -> None:
    """What the library has at 0 has its series, so that its first event is an increase for Prometheus."""
    store.counter("operations_total", "save_visit", "error", by=0).counter("events_total", "saved", by=0)
    found = watch.look()
    assert found.one("operations_total", operation="save_visit", outcome="error") == 0
    assert found.one("events_total", event="saved") == 0
    assert found.total("operation_duration_seconds", operation="save_visit") == 0
    watch.configure()
    assert watch.look().one("events_total", event="saved") == 0


def test_many_stores_after_each_other(store: LibraryStore, watch: Watch) -> None:
    for number in range(20):
        store.path.unlink()
        store = LibraryStore(store.path)
        store.counter("events_total", "saved").counter("messages_total", "info")
        assert watch.look().counted("events_total") == {"saved": number + 1}
    with watch.ledger.reading() as connection:
        for table, rows in (("emr_stores", 16), ("emr_said", 32)):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == rows
    watch.configure()
    assert watch.look().counted("events_total") == {"saved": 20}


def test_a_store_that_is_being_made(store: LibraryStore, watch: Watch) -> None:
    """Without its id nothing is counted, as it would be counted again under its id."""
    store.counter("events_total", "saved")
    rows = store.sql("SELECT key, value FROM rounds_store")
    store.sql("DELETE FROM rounds_store")
    assert watch.look().counted("events_total") == {}
    for key, value in rows:
        store.insert("rounds_store", key=key, value=value)
    assert watch.look().counted("events_total") == {"saved": 1}
    store.sql("ALTER TABLE rounds_store RENAME TO away")
    store.counter("events_total", "saved")
    found = watch.look()
    assert found.counted("events_total") == {"saved": 1}
    assert found.all("schema_problem") == {("no table rounds_store",): 1}
    store.sql("ALTER TABLE away RENAME TO rounds_store")
    found = watch.look()
    assert found.counted("events_total") == {"saved": 2}
    assert found.one("store_replaced_total") == 0


def test_names_become_labels_only_if_they_can_be(store: LibraryStore, tmp_path: Path) -> None:
    watch = Watch(store.path, tmp_path, events={"max": 3})
    store.operation(PATIENT, 1, "ok").counter("events_total", PATIENT).counter("errors_total", PATIENT, "main")
    store.counter("operations_total", "save", PATIENT).counter("messages_total", PATIENT)
    store.counter("alerts_total", PATIENT, PATIENT).counter("alerts_total", "error").counter(PATIENT, PATIENT)
    store.counter("operation_duration_seconds_bucket", "save", PATIENT).counter("events_total").crash(PATIENT)
    for number in range(5):
        store.counter("events_total", f"event_{number}")
    for labels in ("", "{}", "[1]", "[" * 100_000, '["a", null]', json.dumps(["x"] * 100)):
        store.insert("rounds_counter", name="events_total", labels=labels, value=1)
    store.insert("rounds_counter", name="events_total", labels='["text"]', value=PATIENT)
    store.gauge(PATIENT, 1)
    store.run(version=PATIENT, python=PATIENT * 10, os="Linux 6.1 (64-bit)")
    found = watch.look()
    assert found.counted("events_total") == {"event_0": 1, "event_1": 1, "event_2": 1, "_other": 3}
    assert found.counted("operations_total") == {("_other", "ok"): 1}
    assert found.counted("errors_total") == {("_other", "main"): 1}
    assert found.counted("alerts_total") == found.counted("crashes_total") == found.counted("messages_total") == {}
    assert found.all("app_info") == {("_other", "_other", "Linux 6.1 (64-bit)"): 1}
    told = repr([family.samples for family in found.families.values()]) + watch.collector.found()
    told += "".join(each.read_bytes().decode("latin-1") for each in tmp_path.glob("state.db*"))
    assert "Zzyzx" not in told


def test_processes(store: LibraryStore, watch: Watch) -> None:
    assert watch.look().all("app_info") == {}
    assert watch.look().one("app_running") == 0
    now = time.time()
    store.run(now - 500, heartbeat=now - 400, ended=now - 400, ending="clean", version="1.0")
    store.run(now - 300, heartbeat=now - 200, version="1.1")  # killed, and nobody has started since
    store.run(now - 100, heartbeat=now - 5, resident_bytes=1000)
    store.run(now - 50, heartbeat=now - 10, resident_bytes=500, version="2.0")
    found = watch.look()
    assert found.all("app_info") == {("2.0", "3.11.7", "Linux 6.1"): 1}
    assert found.one("app_running") == 2
    assert found.one("process_resident_memory_bytes") == 1500
    assert found.one("app_start_timestamp_seconds") == pytest.approx(now - 50)
    assert found.one("app_heartbeat_timestamp_seconds") == pytest.approx(now - 5)
    assert watch.collector.found() == "2 running, 0 errors in 24 h"
    watch.clock = 120
    found = watch.look()
    assert found.one("app_running") == 0
    assert found.all("process_resident_memory_bytes") == {}
    assert found.one("app_start_timestamp_seconds") == pytest.approx(now - 50), "what was, stays"


def test_gauges_are_those_of_an_application_that_runs(store: LibraryStore, watch: Watch) -> None:
    store.gauge("active_consultations", 3).gauge("queue", 5)
    assert watch.look().all("gauge") == {}
    store.run()
    assert watch.look().all("gauge") == {("active_consultations",): 3}
    watch.clock = 120
    assert watch.look().all("gauge") == {}


def test_the_first_look_tells_when_it_happened_and_the_next_ones_when_it_was_noticed(
    store: LibraryStore, watch: Watch
) -> None:
    then = time.time() - 5 * DAY
    store.alert("error", at=then).crash("unclean", at=then).error(at=then)
    found = watch.look()
    metrics = ("last_alert", "last_crash", "last_new_error_group")
    for name in metrics:
        assert list(found.all(f"{name}_timestamp_seconds").values()) == [pytest.approx(then)], name
    watch.clock = 1000
    assert watch.look().all("last_crash_timestamp_seconds") == found.all("last_crash_timestamp_seconds")
    store.alert("error", at=then).crash("unclean", at=then).error(at=then, fingerprint="8899aabbccddeeff")
    found = watch.look()
    for name in metrics:
        (at,) = found.all(f"{name}_timestamp_seconds").values()
        assert at == pytest.approx(time.time() + 1000, abs=60), name


def test_windows_of_an_hour_and_a_day(store: LibraryStore, watch: Watch) -> None:
    now = time.time()
    for hours in (0, 23, 25):
        for number in range(13):
            store.error(fingerprint=f"{hours}", at=now - 3600 * hours - number)
    for number in range(11):
        store.operation("llm", 3, at=now - number)
        store.operation("llm", 3, at=now - 4000)
        store.operation("llm", 0.5, at=now)
    found = watch.look()
    assert found.one("error_groups") == 2
    assert found.one("health_score_deduction", reason="errors") == 10
    assert found.one("health_score_deduction", reason="slow_operations") == 10


def test_both_in_one_file_are_added_up(tmp_path: Path) -> None:
    existing = ExistingStore(tmp_path / "monitoring.db")
    watch = Watch(existing.path, tmp_path)
    now = time.time()
    existing.error(error_hash="a")
    existing.count("patients_created", 2)
    existing.crash(at=now - 100)
    existing.alert("error", at=now - 100)
    existing.timing("search_latency_ms", 2000)
    existing.gauge("active_consultations", 1)
    existing.gauge("memory_usage_mb", 100)
    watch.look()
    own = LibraryStore(existing.path)
    own.error(fingerprint="b").counter("events_total", "patients_created").crash(at=now).alert("error", at=now)
    own.operation("search_latency", 2).counter("slow_operations_total", "search_latency")
    own.gauge("active_consultations", 4).run()
    existing.error(error_hash="a")
    found = watch.look()
    assert found.counted("errors_total") == {("ValueError", "captured"): 3}
    assert found.one("error_groups") == found.one("error_groups_seen_total") == 2
    assert found.counted("events_total") == {"patients_created": 3}
    assert found.one("crashes_total", kind="python") == found.one("crash_reports_unsubmitted") == 2
    assert found.total("alerts_total") == 2
    assert found.total("operation_duration_seconds", operation="search_latency") == 2
    assert found.one("slow_operations_total", operation="search_latency") == 2
    assert found.all("gauge") == {("active_consultations",): 4, ("memory_usage_mb",): 100}
    assert found.one("store_replaced_total") == 0, "an application that goes over to the library keeps its file"
    assert found.one("store_rows", table="errors") == 2
    assert found.one("store_rows", table="rounds_error_group") == 1


def test_what_a_store_lacks_is_told(store: LibraryStore, watch: Watch) -> None:
    store.error().run()
    for table in ("rounds_gauge", "rounds_error_slot", "rounds_timing", "rounds_alert", "rounds_crash"):
        store.sql(f"DROP TABLE {table}")
    found = watch.look()
    assert found.counted("errors_total") == {("ValueError", "captured"): 1}
    assert ("no table rounds_gauge",) in found.all("schema_problem")
    assert len(found.all("schema_problem")) == 5
    store.sql("DROP TABLE rounds_run")
    store.sql("DROP TABLE rounds_counter")
    assert watch.look().counted("errors_total") == {("ValueError", "captured"): 1}
    store.sql("UPDATE rounds_store SET value = ? WHERE key = 'version'", (str(layout.VERSION + 1),))
    assert ("newer version",) in watch.look().all("schema_problem")


def test_a_damaged_page_is_told_and_the_rest_goes_on(store: LibraryStore, watch: Watch) -> None:
    store.counter("events_total", "saved").run()
    for number in range(300):
        store.insert("rounds_timing", at=1.0, operation="x" * 500, seconds=number, outcome="ok")
    watch.look()
    ((root,),) = store.sql("SELECT rootpage FROM sqlite_schema WHERE name = 'rounds_timing'")
    ((size,),) = store.sql("PRAGMA page_size")
    store.counter("events_total", "saved")
    with store.path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    found = watch.look()
    assert found.counted("events_total") == {"saved": 2}
    assert found.one("app_running") == 1
    watch.clock = DAY + 60
    assert watch.look().one("store_integrity_ok") == 0

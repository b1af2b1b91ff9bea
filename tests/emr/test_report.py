"""The report: what it says of existing stores, of the library's, and of both in one file."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rounds.emr.health.result import Health
from rounds.emr.names import EVENTS, GAUGES, OPERATIONS
from rounds.emr.report.build import Slow, build, since
from rounds.emr.report.figures import percentile, percentiles, series, single, summary
from rounds.emr.report.read import read
from rounds.emr.report.text import text
from rounds.emr.report.times import LocalTimes
from support.emr import ZONE, ExistingStore, LibraryStore, local, utc

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC).timestamp()
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
BERLIN = ZoneInfo("Europe/Berlin")
PATIENT = "Jane Citizen"


@pytest.fixture
def existing(tmp_path: Path) -> ExistingStore:
    return ExistingStore(tmp_path / "monitoring.db")


def report(path: Path, period: str = "24h", **more: Any) -> dict[str, Any]:
    zone = more.pop("zone", None)
    return build(read(path, since(period, NOW), zone), period, NOW, health=more.pop("health", {}), zone=ZONE, **more)


# Figures


def test_percentiles_lie_between_the_values_next_to_their_rank() -> None:
    assert percentiles(range(1, 101)) == pytest.approx({"p50": 50.5, "p90": 90.1, "p95": 95.05, "p99": 99.01})
    assert percentile([7.0], 99) == 7.0
    assert percentile([], 50) == 0.0
    assert summary([]) == {"count": 0, "sum": 0.0, "mean": 0.0, "min": 0.0, "max": 0.0}


def moment(text: str, zone: tzinfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("interval", "starts"),
    [
        ("6h", ["2026-05-01T00:00", "2026-05-01T06:00", "2026-05-01T12:00"]),
        ("1d", ["2026-05-01T00:00"]),
        ("1h", [f"2026-05-01T{hour:02}:00" for hour in range(2, 14)]),
    ],
)
def test_buckets_are_as_wide_as_they_say(interval: str, starts: list[str]) -> None:
    points = [single(moment(f"2026-05-01T{hour:02}:17"), 1) for hour in range(2, 14)]
    assert [bucket.at for bucket in series(points, interval, BERLIN)] == [moment(start) for start in starts]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_is_a_day_of_the_zone(day: str, hours: int) -> None:
    start = moment(f"{day}T00:00")
    points = [single(start + hour * HOUR, 1) for hour in range(-1, hours + 1)]
    assert [bucket.times for bucket in series(points, "1d", BERLIN)] == [1, hours, 1]
    assert len(series(points, "1h", BERLIN)) == hours + 2
    quarters = series(points[1:-1], "6h", BERLIN)
    assert [bucket.times for bucket in quarters] == [hours - 18, 6, 6, 6]


def test_buckets_where_zones_differ_by_half_an_hour() -> None:
    zone = ZoneInfo("Asia/Kolkata")
    [bucket] = series([single(moment("2026-05-01T10:59", zone), 1)], "1h", zone)
    assert bucket.at == moment("2026-05-01T10:00", zone)


def test_an_unknown_width_is_refused() -> None:
    with pytest.raises(ValueError, match="5m, 15m, 1h, 6h, 1d"):
        series([], "2h")


# Times of existing stores


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "Asia/Kathmandu", "Europe/Berlin", "Pacific/Kiritimati", "UTC"])
@pytest.mark.parametrize("late", [0, 0.6, 5 * MINUTE])
def test_the_zone_is_found_from_each_row(zone: str, late: float) -> None:
    """Also in summer and winter, and where rows were written some minutes late."""
    times = LocalTimes()
    for at in (NOW + 0.25, NOW + 150 * DAY + 0.25):
        assert times.seconds(local(at, ZoneInfo(zone)), utc(at + late)) == pytest.approx(at)


def test_a_row_that_was_written_hours_late_counts_as_of_then() -> None:
    at, written = NOW, NOW + 3.1 * HOUR
    found = LocalTimes().seconds(local(at, BERLIN), utc(written))
    assert found is not None
    assert at <= found <= written
    assert LocalTimes(BERLIN).seconds(local(at, BERLIN), utc(written)) == at


@pytest.mark.parametrize("fold", [0, 1])
def test_the_hour_that_autumn_repeats(fold: int) -> None:
    at = moment("2026-10-25T02:30", fold=fold)
    assert LocalTimes(BERLIN).seconds("2026-10-25T02:30:00", utc(at)) == at
    assert LocalTimes().seconds("2026-10-25T02:30:00", utc(at)) == at


def test_times_that_make_no_sense() -> None:
    times = LocalTimes()
    assert [times.seconds(text, utc(NOW)) for text in (None, "", "yesterday", 5, b"x")] == [None] * 5
    assert times.seconds("2026-03-04T15:00:00+00:00", None) == NOW
    assert times.seconds("2026-03-04T15:00:00", None) == datetime(2026, 3, 4, 15).timestamp()  # noqa: DTZ001
    assert times.seconds("1999-03-04T15:00:00", utc(NOW)) == NOW


# What is reported


def test_an_existing_store(existing: ExistingStore) -> None:
    for number in range(100):
        existing.timing("llm_response_ms", number + 1, NOW - number * MINUTE)
    existing.timing("llm_response_ms", 9e9, NOW - 25 * HOUR)
    existing.transaction("save_visit", 1500, ok=False, at=NOW - HOUR)
    for _ in range(3):
        existing.error("KeyError", NOW - 2 * HOUR, error_hash="a" * 16, error_message=PATIENT)
    existing.error("KeyError", NOW - HOUR, error_hash="b" * 16, error_message=PATIENT)
    existing.error("OSError", NOW - 3 * DAY)
    existing.count("patients_created", 2, NOW - HOUR)
    existing.count("patients_created", 1, NOW - HOUR)
    existing.gauge("active_consultations", 4, NOW - HOUR)
    for number in range(12):
        existing.alert("error", NOW - number * DAY, title=PATIENT, dedupe_key=f"failure:step_{number}")
    existing.alert("critical", NOW - 2 * MINUTE, dedupe_key=PATIENT)
    for number in range(6):
        existing.crash(NOW - number * 5 * HOUR - HOUR, exception_message=PATIENT, submitted=number % 2)
    found = report(existing.path)
    assert found["errors"] == {
        "period": "24h",
        "total_errors": 4,
        "unique_errors": 2,
        "error_rate": pytest.approx(4 / 24),
        "top_errors": [
            {
                "error_type": "KeyError",
                "fingerprint": "a" * 16,
                "count": 3,
                "last_seen": "2026-03-04T10:00:00-03:00",
            },
            {
                "error_type": "KeyError",
                "fingerprint": "b" * 16,
                "count": 1,
                "last_seen": "2026-03-04T11:00:00-03:00",
            },
        ],
        "by_day": [{"date": "2026-03-04", "count": 4}],
    }
    performance = found["performance"]
    assert performance["total_operations"] == 101
    assert performance["slow_operations"] == 1
    assert performance["avg_duration_ms"] == pytest.approx((5050 + 1500) / 101)
    assert performance["p50_ms"] == pytest.approx(51)
    assert performance["slowest_operations"][0] == {
        "operation": "save_visit",
        "duration_ms": 1500,
        "outcome": "error",
        "timestamp": "2026-03-04T11:00:00-03:00",
    }
    assert [each["duration_ms"] for each in performance["slowest_operations"]] == pytest.approx([1500, 100, 99, 98, 97])
    metrics = found["metrics"]
    assert list(metrics)[:8] == [*(f"{name}_ms" for name in OPERATIONS), *EVENTS, *GAUGES]
    assert metrics["llm_response_ms"] == pytest.approx(
        {
            "type": "timing",
            "count": 100,
            "sum": 5050,
            "mean": 50.5,
            "min": 1,
            "max": 100,
            "p50": 50.5,
            "p90": 90.1,
            "p95": 95.05,
            "p99": 99.01,
        }
    )
    assert metrics["patients_created"] == {"type": "count", "count": 2, "sum": 3, "mean": 1.5, "min": 1, "max": 2}
    assert metrics["visits_saved"]["count"] == 0
    assert metrics["active_consultations"]["max"] == 4
    assert metrics["save_visit_ms"]["count"] == 1
    assert len(found["alerts"]) == 10
    assert [alert["key"] for alert in found["alerts"]][:3] == ["failure:step_0", "_other", "failure:step_1"]
    assert found["crashes"]["total"] == 6
    assert found["crashes"]["in_period"] == 5
    assert [crash["submitted"] for crash in found["crashes"]["recent"]] == [False, True, False, True, False]
    assert PATIENT not in json.dumps(found) + text(found)


@pytest.mark.parametrize(("period", "total"), [("1h", 1), ("24h", 2), ("7d", 3), ("30d", 4), ("1y", 2)])
def test_periods(existing: ExistingStore, period: str, total: int) -> None:
    for age in (0.5 * HOUR, 20 * HOUR, 6 * DAY, 29 * DAY, 31 * DAY):
        existing.error(at=NOW - age)
    existing.error(at=NOW - 60, timestamp="no time")
    found = report(existing.path, period)["errors"]
    assert found["total_errors"] == total
    hours = {"1h": 1, "7d": 168, "30d": 720}.get(period, 24)
    assert found["error_rate"] == pytest.approx(total / hours)
    assert sum(day["count"] for day in found["by_day"]) == total


def test_count_and_gauge_of_one_name_are_two_things(existing: ExistingStore) -> None:
    existing.count("queue", 3, NOW - MINUTE)
    existing.gauge("queue", 97, NOW - MINUTE)
    existing.timing("queue", 50, NOW - MINUTE)
    metrics = report(existing.path)["metrics"]
    assert (metrics["queue"]["type"], metrics["queue"]["sum"]) == ("count", 3)
    assert (metrics["queue:gauge"]["type"], metrics["queue:gauge"]["max"]) == ("gauge", 97)
    assert metrics["queue_ms"]["mean"] == 50


@pytest.fixture
def own(tmp_path: Path) -> LibraryStore:
    return LibraryStore(tmp_path / "monitoring.db")


def test_the_librarys_store(own: LibraryStore) -> None:
    for seconds in (0.1, 0.2, 0.3):
        own.operation("llm_response", seconds, at=NOW - HOUR)
    own.operation("save_visit", 2, "error", at=NOW - MINUTE)
    own.operation("save_visit", 1.5, "cancelled", at=NOW - MINUTE)
    own.operation("old", 5, at=NOW - 2 * DAY)
    own.error("KeyError", "a" * 16, NOW - 2 * HOUR)
    own.error("KeyError", "a" * 16, NOW - HOUR)
    own.error("OSError", "b" * 16, NOW - 2 * DAY)
    slot = int((NOW - HOUR) // 300)
    own.insert("rounds_sample", slot=slot, kind="count", name="visits_saved", count=2, sum=5, min=1, max=4)
    own.insert("rounds_sample", slot=slot, kind="gauge", name="memory_usage_mb", count=2, sum=300, min=100, max=200)
    own.alert("critical", at=NOW - 2 * DAY)
    own.crash("unclean", NOW - DAY / 2)
    own.run(NOW - 3 * DAY, heartbeat=NOW - 2 * DAY, ended=NOW - 2 * DAY, ending="clean", cpu_seconds=9e9)
    own.run(NOW - 200, heartbeat=NOW - 100, cpu_seconds=25)
    slow = Slow(after=1, own={"save_visit": 1.8})
    found = report(own.path, slow=slow, health={"llm": Health.degraded("no model", reason="no_models", llm_up=1)})
    performance = found["performance"]
    assert (performance["total_operations"], performance["slow_operations"]) == (5, 1)
    assert performance["cpu_usage_avg"] == pytest.approx(25)
    assert performance["memory_usage_avg_mb"] == pytest.approx(150)
    assert found["metrics"]["llm_response_ms"]["p50"] == pytest.approx(200)
    assert found["metrics"]["visits_saved"] == {"type": "count", "count": 2, "sum": 5, "mean": 2.5, "min": 1, "max": 4}
    assert (found["errors"]["total_errors"], found["errors"]["unique_errors"]) == (2, 1)
    assert found["errors"]["top_errors"][0]["last_seen"] == "2026-03-04T11:00:00-03:00"
    assert found["crashes"]["recent"][0] | {"timestamp": ""} == {
        "timestamp": "",
        "exception_type": "unclean",
        "kind": "unclean",
        "submitted": False,
    }
    assert found["alerts"] == [{"timestamp": "2026-03-02T12:00:00-03:00", "severity": "critical", "key": ""}]
    assert found["system"]["running"] is True
    assert found["system"]["cpu_percent"] == pytest.approx(25)
    assert found["health"]["overall_status"] == "degraded"
    assert found["health"]["services"] == [
        {
            "service": "llm",
            "status": "degraded",
            "reason": "no_models",
            "message": "no model",
            "details": {"llm_up": 1},
        }
    ]


def test_both_in_one_file_are_added_up(own: LibraryStore) -> None:
    existing = ExistingStore(own.path)
    existing.timing("search_latency_ms", 100, NOW - MINUTE)
    own.operation("search_latency", 0.3, at=NOW - MINUTE)
    existing.error("KeyError", NOW - MINUTE)
    own.error("OSError", "b" * 16, NOW - MINUTE)
    existing.crash(NOW - HOUR)
    own.crash(at=NOW - MINUTE)
    existing.alert(at=NOW - MINUTE)
    own.alert(at=NOW - 2 * MINUTE)
    found = report(own.path)
    assert found["metrics"]["search_latency_ms"]["mean"] == pytest.approx(200)
    assert found["errors"]["total_errors"] == 2
    assert found["crashes"]["total"] == 2
    assert [alert["severity"] for alert in found["alerts"]] == ["warning", "error"]


def test_the_text_has_the_existing_sections(own: LibraryStore) -> None:
    own.operation("llm_response", 2.5, at=NOW - MINUTE)
    own.error("KeyError", at=NOW - MINUTE)
    own.alert("critical", at=NOW - MINUTE)
    own.crash(at=NOW - MINUTE)
    own.run(NOW - 200, heartbeat=NOW)
    said = text(report(own.path, health={"disk": Health.ok("")}), "docassist")
    lines = said.splitlines()
    assert lines[0] == "MONITORING REPORT: docassist"
    titles = ["HEALTH STATUS", "ERRORS", "PERFORMANCE", "SYSTEM", "ALERTS", "CRASHES"]
    assert [line for line in lines if line in titles] == titles
    for expected in (
        "Overall: healthy",
        "  disk: healthy",
        "Total: 1, different: 1",
        "In an hour: 0.04",
        "Operations: 1, slow: 1",
        "  llm_response: 2500.00 ms, 2026-03-04T11:59:00-03:00",
        "  patients_created: nothing",
        "  2026-03-04T11:59:00-03:00 critical",
        "  2026-03-04T11:59:00-03:00 ValueError, not submitted",
        "Total: 1, of these in the last 24h: 1",
    ):
        assert expected in lines, expected
    assert not [line for line in lines if line != line.rstrip()]


def test_an_empty_store_and_one_without_anything(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    for found in (report(empty), report(ExistingStore(tmp_path / "monitoring.db").path)):
        assert found["performance"]["p99_ms"] == 0
        assert found["health"]["overall_status"] == "unknown"
        assert found["system"] == {}
        assert "None" in text(found)


@pytest.mark.parametrize("without", ["created_at", "error_type", "error_hash"])
def test_columns_that_a_store_lacks(tmp_path: Path, without: str) -> None:
    store = ExistingStore(tmp_path / "monitoring.db", without=[f"errors.{without}", "metrics", "crash_reports"])
    store.error("KeyError", NOW - HOUR)
    found = report(store.path, zone=ZONE)["errors"]
    assert found["total_errors"] == 1
    assert found["top_errors"][0]["error_type"] == ("_other" if without == "error_type" else "KeyError")


def test_rows_that_make_no_sense(existing: ExistingStore) -> None:
    existing.timing("search_latency_ms", 100, NOW - MINUTE)
    for value in ("text", b"\xff", -5, float("inf")):
        existing.put("metrics", NOW - MINUTE, name="search_latency_ms", value=value)
    existing.put("metrics", NOW - MINUTE, name=b"\xff", metric_type="count", value=1)
    existing.put("metrics", NOW - MINUTE, name=PATIENT, metric_type="count", value=1)
    existing.sql("UPDATE metrics SET tags = CAST(x'ff' AS TEXT)")
    existing.error(PATIENT, NOW - MINUTE)
    found = report(existing.path)
    assert found["performance"]["total_operations"] == 1
    assert found["metrics"]["_other"]["sum"] == 2
    assert found["errors"]["top_errors"][0]["error_type"] == "_other"


# Opening


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.db", 0)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "no.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        read(tmp_path / "no.db", 0)


def test_a_store_that_is_written_meanwhile(own: LibraryStore) -> None:
    own.operation("a", 1, at=NOW)
    with own.writing() as connection:
        connection.execute("DELETE FROM rounds_timing")
        assert len(read(own.path, 0).timings) == 1


@contextmanager
def sealed(path: Path) -> Iterator[None]:
    """Nobody may write to this store's folder, not even root."""
    folder = path.parent
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="permissions of folders are those of POSIX")
def test_a_store_in_a_folder_that_cannot_be_written() -> None:
    """In WAL mode a second file is needed to open one; where there is a log, what it holds must not be missed."""
    with TemporaryDirectory() as name:  # pytest's own folders are for their owner alone
        Path(name).chmod(0o755)
        own = LibraryStore(Path(name) / "monitoring.db")
        own.operation("a", 1, at=NOW)
        assert not own.path.with_name("monitoring.db-wal").exists()
        with sealed(own.path):
            assert len(read(own.path, 0).timings) == 1
        with closing(sqlite3.connect(own.path)) as connection:
            connection.execute("UPDATE rounds_timing SET seconds = 2")
            connection.commit()
            with sealed(own.path):
                assert [timing.seconds for timing in read(own.path, 0).timings] == [2]
            wal = own.path.with_name("monitoring.db-wal").read_bytes()
        own.path.with_name("monitoring.db-wal").write_bytes(wal)
        with sealed(own.path), pytest.raises(sqlite3.OperationalError):
            read(own.path, 0)


@pytest.mark.parametrize("wal", [False, True])
def test_reading_leaves_no_file_changed_or_made(tmp_path: Path, wal: bool) -> None:
    store = ExistingStore(tmp_path / "monitoring.db", wal=wal)
    store.error(at=NOW)
    before = store.path.read_bytes()
    assert len(read(store.path, 0).errors) == 1
    assert store.path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["monitoring.db"]


def test_operations_may_be_asked_for_from_a_later_time_on(existing: ExistingStore, own: LibraryStore) -> None:
    for age in (0.5 * HOUR, 2 * HOUR):
        existing.timing("search_latency_ms", 10, NOW - age)
        existing.transaction("save_visit", at=NOW - age)
        existing.error(at=NOW - age)
        own.operation("llm_response", 1, at=NOW - age)
    facts = read(own.path, NOW - DAY, operations_since=NOW - HOUR)
    assert sorted(facts.timings.operations) == ["llm_response", "save_visit", "search_latency"]
    assert len(facts.timings) == 3
    assert sum(group.count for group in facts.errors.values()) == 2


def test_a_hundred_thousand_rows_are_read_in_a_moment(existing: ExistingStore) -> None:
    with existing.writing() as connection:
        connection.executemany(
            "INSERT INTO metrics (timestamp, name, metric_type, value, created_at) VALUES (?, 'x_ms', 'timing', ?, ?)",
            ((local(NOW - number / 10), number, utc(NOW - number / 10)) for number in range(100_000)),
        )
    begun = time.process_time()
    assert report(existing.path)["performance"]["total_operations"] == 100_000
    assert time.process_time() - begun < 10

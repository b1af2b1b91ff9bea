"""Stores of applications in a real exporter: what it tells, what it never tells, and how it bears stores that are not
well."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from rounds.cli import main
from rounds.sources import SqliteSource
from support.databases import sources_yaml
from support.emr import ExistingStore, LibraryStore
from support.exporter import RunningExporter, running_exporter, until

PATIENT = "Zzyzx Planted"
APP = {"app": "docassist"}


def config(folder: Path, stores: dict[str, Path], **keys: object) -> str:
    """A configuration that looks at stores once a second."""
    state = f"state: {{url: 'sqlite:///{folder / 'state.db'}'}}\n"
    sources = sources_yaml(
        {name: SqliteSource.model_validate({"kind": "sqlite", "path": path}) for name, path in stores.items()}
    )
    apps = [{"name": name, "source": name, "interval": "1s", **keys} for name in stores]
    return f"{state}{sources}{yaml.safe_dump({'emr': apps})}"


async def becomes(exporter: RunningExporter, wanted: float | None, name: str, **labels: str) -> None:
    """Wait for a value."""

    async def is_so() -> bool:
        return await exporter.value(name, **labels) == wanted

    await until(is_so, within=30)


async def test_both_kinds_of_store_are_followed(tmp_path: Path) -> None:
    existing = ExistingStore(tmp_path / "monitoring.db")
    own = LibraryStore(tmp_path / "events.db")
    existing.error()
    existing.timing("search_latency_ms", 20)
    own.operation("search", 0.2).run()
    stores = {"docassist": existing.path, "other": own.path}
    async with running_exporter(tmp_path, config(tmp_path, stores)) as exporter:
        await exporter.ready()
        error = {**APP, "error_type": "ValueError", "source": "captured"}
        assert await exporter.value("rounds_emr_errors_total", **error) == 1
        assert await exporter.value("rounds_emr_alerts_total", **APP, severity="critical", channel="none") == 0
        assert await exporter.value("rounds_emr_store_integrity_ok", **APP) == 1
        assert await exporter.value("rounds_emr_app_running", app="other") == 1
        bucket = {"app": "other", "operation": "search", "le": "0.25"}
        assert await exporter.value("rounds_emr_operation_duration_seconds_bucket", **bucket) == 1
        assert await exporter.value("rounds_emr_health_score", **APP) == 100
        page = (await exporter.get("/")).text
        assert "1 running, 0 errors in 24 h" in page
        existing.alert("critical")
        existing.error()
        await becomes(exporter, 1, "rounds_emr_alerts_total", **APP, severity="critical", channel="notification")
        noticed = await exporter.value("rounds_emr_last_alert_timestamp_seconds", **APP, severity="critical")
        assert noticed == pytest.approx(time.time(), abs=60)
        before = await exporter.samples()
        assert await exporter.stop() == 0
    existing.error()
    async with running_exporter(tmp_path, config(tmp_path, stores)) as exporter:
        await exporter.ready()
        assert await exporter.value("rounds_emr_errors_total", **error) == 3
        after = await exporter.samples()
        fell = [key for key, value in before.items() if key[0].endswith("_total") and key[0].startswith("rounds_emr")]
        assert fell
        assert all(after[key] >= before[key] for key in fell)


async def test_a_store_that_goes_is_damaged_and_comes_back_harms_no_other(tmp_path: Path) -> None:
    existing, own = ExistingStore(tmp_path / "monitoring.db"), LibraryStore(tmp_path / "events.db")
    existing.error()
    own.counter("events_total", "saved")
    stores = {"docassist": existing.path, "other": own.path}
    good = {"name": "rounds_collector_success", "collector": "emr/docassist"}
    event = {"app": "other", "event": "saved"}
    error = {**APP, "error_type": "ValueError", "source": "captured"}
    async with running_exporter(tmp_path, config(tmp_path, stores)) as exporter:
        await exporter.ready()
        away = existing.path.with_name("away.db")
        existing.path.rename(away)
        await becomes(exporter, 0, **good)
        own.counter("events_total", "saved")
        await becomes(exporter, 2, "rounds_emr_events_total", **event)
        existing.path.write_bytes(b"no database" * 1000)
        failures = {"collector": "emr/docassist", "reason": "connect"}
        before = await exporter.value("rounds_collector_failures_total", **failures) or 0
        own.counter("events_total", "saved")
        await becomes(exporter, 3, "rounds_emr_events_total", **event)

        async def failed_again() -> bool:
            return (await exporter.value("rounds_collector_failures_total", **failures) or 0) > before

        await until(failed_again, within=30)
        assert await exporter.value("rounds_source_up", source="docassist") == 0
        away.replace(existing.path)
        existing.error()
        await becomes(exporter, 2, "rounds_emr_errors_total", **error)
        await becomes(exporter, 1, **good)
        assert await exporter.stop() == 0


async def test_no_name_is_found_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ExistingStore(tmp_path / "monitoring.db")
    own = LibraryStore(store.path)
    store.error(PATIENT, error_hash=PATIENT, error_message=PATIENT, stack_trace=PATIENT, user_data=PATIENT)
    store.message(PATIENT, message=PATIENT)
    store.count(PATIENT, tags={PATIENT: PATIENT})
    store.timing(f"{PATIENT}_ms", 5, tags=f"{{{PATIENT}")
    store.alert(PATIENT, title=PATIENT, channels_sent=[PATIENT], timestamp=PATIENT)
    store.crash(id=PATIENT, exception_message=PATIENT, report_path=PATIENT)
    own.counter("events_total", PATIENT).counter(PATIENT).gauge(PATIENT, 1).run(version=PATIENT)
    text = config(tmp_path, {"docassist": store.path})
    async with running_exporter(tmp_path, text, "--log.level=debug") as exporter:
        await exporter.ready()
        await becomes(exporter, 2, "rounds_emr_events_total", **APP, event="_other")
        told = [(await exporter.get(path)).text for path in ("/metrics", "/", "/config", "/api/v1/status")]
        store.sql("DROP TABLE rounds_counter")
        store.sql("CREATE TABLE rounds_counter (name)")
        store.sql("INSERT INTO rounds_counter VALUES (?)", (PATIENT,))
        problem = {**APP, "problem": "cannot read rounds_counter"}
        await becomes(exporter, 1, "rounds_emr_schema_problem", **problem)
        told += [(await exporter.get(path)).text for path in ("/metrics", "/")]
        await exporter.stop()
        told.append(exporter.log)
    for command in (["ledger", "export"], ["ledger", "check"]):
        assert main([*command, f"--config.file={exporter.file}"]) == 0, command
        out = capsys.readouterr()
        told += [out.out + out.err]
    everything = "\n".join(told) + b"".join(f.read_bytes() for f in tmp_path.glob("state.db*")).decode("latin-1")
    assert "Zzyzx" not in everything
    assert "zzyzx" not in everything


async def test_names_do_not_become_too_many_series(tmp_path: Path) -> None:
    own = LibraryStore(tmp_path / "events.db")
    rows = [(json.dumps([f"name_{number}", "ok"]),) for number in range(5000)]
    with own.writing() as connection:
        connection.executemany("INSERT INTO rounds_counter VALUES ('operations_total', ?, 1)", rows)
    async with running_exporter(tmp_path, config(tmp_path, {"docassist": own.path})) as exporter:
        await exporter.ready()
        assert await exporter.value("rounds_collector_success", collector="emr/docassist") == 1
        other = {**APP, "operation": "_other", "outcome": "ok"}
        assert await exporter.value("rounds_emr_operations_total", **other) == 4950
    text = config(tmp_path, {"docassist": own.path}, operations={"max": 500})
    async with running_exporter(tmp_path, f"max_series: 300\n{text}") as exporter:
        await becomes(exporter, 0, "rounds_collector_success", collector="emr/docassist")
        assert await exporter.value("rounds_collector_failures_total", collector="emr/docassist", reason="limit")


async def test_an_application_is_not_held_up(tmp_path: Path) -> None:
    """What it writes while the exporter looks again and again never waits, and its log does not grow beyond measure."""
    own = LibraryStore(tmp_path / "events.db")
    async with running_exporter(tmp_path, config(tmp_path, {"docassist": own.path})) as exporter:
        await exporter.ready()
        with closing(sqlite3.connect(own.path, isolation_level=None, timeout=0)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 100")
            for number in range(3000):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT OR REPLACE INTO rounds_gauge VALUES (?, ?, ?)", (f"g{number % 50}", 1, 1))
                connection.execute("COMMIT")
            assert Path(f"{own.path}-wal").stat().st_size < 8 * 2**20
        assert await exporter.stop() == 0

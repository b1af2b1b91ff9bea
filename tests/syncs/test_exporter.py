"""A log of runs in a real exporter: what it tells, what it never tells, and how it bears a log that is not well."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from rounds.cli import main
from rounds.sources import HttpSource
from support.binaries import require_binary
from support.databases import sources_yaml
from support.exporter import RunningExporter, running_exporter, until
from support.servers import HttpServer, Request, reply
from support.syncs import Kind, SyncTable

PATIENT = "Zzyzx Planted"
#: Both shapes, and each kind of database; tests of reading have all of them.
TABLES = [("postgresql", "real"), ("mariadb", "seed"), ("sqlite", "real")]
KEY = {"sync": "clinic", "operation": "full_patients"}


def config(source: Any, folder: Path, **keys: Any) -> str:
    """A configuration that looks at a log once a second, and more often while a run is active."""
    section = {"name": "clinic", "source": "clinic", "interval": "1s", "active_interval": "100ms", **keys}
    state = f"state: {{url: 'sqlite:///{folder / 'state.db'}'}}\n"
    return f"{state}{sources_yaml({'clinic': source})}{yaml.safe_dump({'syncs': [section]})}"


def organization(table: SyncTable) -> str:
    return "1" if table.shape == "seed" else "org_1"


async def becomes(exporter: RunningExporter, wanted: float | None, name: str, **labels: str) -> None:
    """Wait for a value."""

    async def is_so() -> bool:
        return await exporter.value(name, **labels) == wanted

    await until(is_so, within=30)


@pytest.mark.parametrize(("kind", "shape"), TABLES)
async def test_a_run_is_seen_from_its_beginning_to_its_end(
    make_table: Callable[..., SyncTable], kind: Kind, shape: str, tmp_path: Path
) -> None:
    table = make_table(kind, shape)
    key = {**KEY, "organization": organization(table)}
    old = table.put(started_at=time.time() - 500, completed_at=time.time() - 450)
    async with running_exporter(tmp_path, config(table.source, tmp_path)) as exporter:
        await exporter.ready()
        assert await exporter.value("rounds_sync_runs_total", **key, state="completed") == 0
        assert await exporter.value("rounds_sync_last_run_state", **key, state="completed") == 1
        run = table.put(status="running", metadata={"step": "initializing"})
        await becomes(exporter, 1, "rounds_sync_runs_active", **key)
        for stored, ratio in ((65, 0.55), (325, 0.75), (650, 1.0)):
            step = {"step": "storing_patients", "patients_processed": stored, "total_patients": 650}
            table.change(run, metadata={**step, "progress_percent": 99.4}, records_failed=650 - stored)
            await becomes(exporter, ratio, "rounds_sync_run_progress_ratio", **key)
            assert await exporter.value("rounds_sync_run_processed_records", **key) == stored
            assert await exporter.value("rounds_sync_last_run_records", **key, result="failed") == 0
        page = (await exporter.get("/")).text
        assert "1 running, 1 organisation, last success 8 min ago" in page
        done = {"step": "completed", "patients_found": 650, "patients_deleted": 3}
        ended: dict[str, Any] = {"status": "completed", "completed_at": time.time(), "metadata": done}
        table.change(run, records_processed=650, records_success=649, records_failed=1, **ended)
        await becomes(exporter, 1, "rounds_sync_runs_total", **key, state="partial")
        samples = await exporter.samples()
        assert not [name for name, _ in samples if name.startswith("rounds_sync_run_") and "duration" not in name]
        assert await exporter.value("rounds_sync_patients_found", **key) == 650
        assert await exporter.value("rounds_sync_run_duration_seconds_count", **KEY) == 1
        table.remove(old, run)
        assert await exporter.stop() == 0


@pytest.mark.parametrize(("kind", "shape"), TABLES)
async def test_no_name_is_found_anywhere(
    make_table: Callable[..., SyncTable],
    kind: Kind,
    shape: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = make_table(kind, shape)
    key = {**KEY, "organization": organization(table)}
    planted = {
        "deactivated_patients": [PATIENT],
        "step": PATIENT,
        "error_type": PATIENT,
        "timestamp": PATIENT,
        "patients_found": PATIENT,
        PATIENT: PATIENT,
    }
    details: Any = {"errors": [{"message": PATIENT}]}
    run = table.put(status="running", metadata=planted, error_details=details)
    async with running_exporter(tmp_path, config(table.source, tmp_path), "--log.level=debug") as exporter:
        await exporter.ready()
        await becomes(exporter, 1, "rounds_sync_run_step", **key, step="other")
        failed = {**planted, "error": f"duplicate key: ({PATIENT}) exists"}
        table.change(run, status="failed", completed_at=time.time(), metadata=failed)
        table.put(status=PATIENT, operation_type=PATIENT, completed_at=time.time(), metadata=planted)
        await becomes(exporter, 1, "rounds_sync_failures_total", **KEY, error_class="constraint")
        told = [(await exporter.get(path)).text for path in ("/metrics", "/", "/config", "/api/v1/status")]
        # A failure of the log, too.
        table.sql("DROP TABLE sync_logs")
        await becomes(exporter, 0, "rounds_collector_success", collector="syncs/clinic")
        told.append((await exporter.get("/")).text)
        await exporter.stop()
        told.append(exporter.log)
    for command in (["ledger", "export"], ["ledger", "check"]):
        assert main([*command, f"--config.file={exporter.file}"]) == 0, command
        out = capsys.readouterr()
        told += [out.out + out.err]
    everything = "\n".join(told) + b"".join(f.read_bytes() for f in tmp_path.glob("state.db*")).decode("latin-1")
    assert "Zzyzx" not in everything
    assert "zzyzx" not in everything


@pytest.mark.slow
async def test_a_log_that_goes_and_comes_back(make_table: Callable[..., SyncTable], kind: Kind, tmp_path: Path) -> None:
    table = make_table(kind, "real")
    key = {**KEY, "organization": "org_1"}
    run = table.put(status="running")
    text = config(table.source, tmp_path).replace(
        "syncs:\n", "syncs:\n- {name: other, source: clinic, interval: 1s, active_interval: 1s}\n"
    )
    async with running_exporter(tmp_path, text) as exporter:
        await exporter.ready()
        await becomes(exporter, 1, "rounds_sync_runs_active", **key)
        table.sql("ALTER TABLE sync_logs RENAME TO away")
        good = {"name": "rounds_collector_success", "collector": "syncs/clinic"}
        await becomes(exporter, 0, **good)
        await becomes(exporter, None, "rounds_sync_runs_active", **key)
        table.sql("ALTER TABLE away RENAME TO sync_logs")
        table.change(run, status="completed", completed_at=time.time())
        await becomes(exporter, 1, **good)
        await becomes(exporter, 1, "rounds_sync_runs_total", **key, state="completed")
        await becomes(exporter, 1, "rounds_sync_runs_total", **{**key, "sync": "other"}, state="completed")


async def test_an_exporter_that_is_killed_amid_a_run(make_table: Callable[..., SyncTable], tmp_path: Path) -> None:
    table = make_table("sqlite", "real")
    key = {**KEY, "organization": "org_1"}
    async with running_exporter(tmp_path, config(table.source, tmp_path)) as exporter:
        await exporter.ready()
        run = table.put(status="running", metadata={"step": "fetching_patients", "current_page": 1})
        await becomes(exporter, 1, "rounds_sync_runs_active", **key)
        await exporter.stop(signal.SIGKILL)
    table.change(run, status="timeout", metadata={"error": "Request timed out"})
    table.put(status="failed", metadata={"error": "Sync disabled"}, started_at=time.time() - 30)
    async with running_exporter(tmp_path, config(table.source, tmp_path)) as exporter:
        await exporter.ready()
        await becomes(exporter, 1, "rounds_sync_runs_total", **key, state="timeout")
        assert await exporter.value("rounds_sync_runs_total", **key, state="failed") == 1
        for kind in ("timeout", "config"):
            assert await exporter.value("rounds_sync_failures_total", **KEY, error_class=kind) == 1


class Api:
    """The API of the system that is replaced, with rows of one organisation."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def put(self, number: int, **values: Any) -> dict[str, Any]:
        """A row, the newest."""
        row = {
            "id": f"00000000-0000-0000-0000-{number:012}",
            "organization_id": "org_1",
            "source_system": "cliniko",
            "operation_type": "full_patients",
            "status": "running",
            "started_at": datetime.now(UTC).isoformat(),
            "completed_at": None,
            "metadata": {"step": "initializing"},
            **values,
        }
        self.rows.insert(0, row)
        return row

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """The newest rows, as many as are asked for, but never more than three."""
        kind = "logs" if "/sync-logs/" in request.target else "sync_logs"
        writer.write(reply(body=json.dumps({kind: self.rows[:3], "total_patients": 3}).encode()))


@pytest.mark.slow
@pytest.mark.parametrize("api", ["logs", "status"])
async def test_a_log_behind_an_api_is_followed(tmp_path: Path, api: str) -> None:
    key = {**KEY, "organization": "org_1"}
    rows = Api()
    rows.put(0, status="completed", started_at="2020-01-01T00:00:00Z", completed_at="2020-01-01T00:01:00Z")
    async with HttpServer(rows.answer) as server:
        source = HttpSource.model_validate({"kind": "http", "url": server.url, "token": "secret"})
        text = config(source, tmp_path, api=api, organizations={"only": ["org_1"]})
        async with running_exporter(tmp_path, text) as exporter:
            await exporter.ready()
            for number in range(1, 6):
                row = rows.put(number)
                await becomes(exporter, 1, "rounds_sync_runs_active", **key)
                row |= {"status": "completed", "completed_at": datetime.now(UTC).isoformat()}
                await becomes(exporter, number, "rounds_sync_runs_total", **key, state="completed")
                await becomes(exporter, 0, "rounds_sync_runs_active", **key)
            await exporter.stop(signal.SIGKILL)
        rows.put(8, status="failed", error_details={"errors": ["HTTP 401"]})
        async with running_exporter(tmp_path, text) as exporter:
            await becomes(exporter, 1, "rounds_sync_failures_total", **KEY, error_class="auth")
            assert await exporter.value("rounds_sync_runs_total", **key, state="completed") == 5


def test_once(make_table: Callable[..., SyncTable], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = make_table("sqlite", "real")
    table.put(completed_at=time.time(), records_processed=5)
    table.put(status="running", metadata={"step": "storing_patients", "patients_processed": 1, "total_patients": 2})
    table.put(status="failed", organization_id='a"\\\n')
    file = tmp_path / "rounds.yml"
    file.write_text(config(table.source, tmp_path), encoding="utf-8")
    assert main(["once", "--collector=syncs/clinic", f"--config.file={file}"]) == 0
    out = capsys.readouterr().out
    assert 'rounds_sync_runs_active{sync="clinic",organization="org_1",operation="full_patients"} 1' in out
    assert 'rounds_sync_run_progress_ratio{sync="clinic",organization="org_1",operation="full_patients"} 0.75' in out
    command = [str(require_binary("promtool")), "check", "metrics"]
    checked = subprocess.run(command, input=out, capture_output=True, text=True, check=False)
    # What it has against the process' metrics is the client library's.
    complaints = [line for line in (checked.stdout + checked.stderr).splitlines() if "rounds_sync" in line]
    assert not complaints


def test_a_missing_index_is_told_with_its_remedy(
    make_table: Callable[..., SyncTable], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table("sqlite", "real", index=False)
    file = tmp_path / "rounds.yml"
    file.write_text(config(table.source, tmp_path), encoding="utf-8")
    assert main(["once", "--collector=syncs/clinic", f"--config.file={file}"]) == 0
    told = capsys.readouterr()
    assert 'rounds_sync_schema_problem{sync="clinic",problem="no index on started_at"} 1' in told.out
    assert told.err.count("CREATE INDEX") == 1

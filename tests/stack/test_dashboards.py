"""Every query of every dashboard finds data in a real Prometheus that scrapes a real exporter."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from bundle.rules import alerts
from grafana.lint import VARIABLE, panels_of
from rounds.apr.metrics import VALIDATION_TYPES
from rounds.demo.catchers import SlackCatcher
from rounds.demo.ollama import Ollama
from rounds.demo.scaling import Scale
from rounds.emr.names import CRASHES, EVENTS, GAUGES, OPERATIONS, RETRIES
from support.apr import DAY, Installation, sqlite_installation
from support.certificates import Authority
from support.databases import SqliteFiles
from support.emr import ExistingStore, LibraryStore
from support.exporter import until
from support.patients import Patient, SqlitePatients
from support.servers import HttpServer, Request, reply
from support.stack import REPOSITORY, processes
from support.syncs import SyncTable, sync_table

#: As fast as Prometheus' shortest interval, a second, lets most times be.
FACTOR = 30
#: What Grafana would put in place of these, at a scrape each second.
WINDOWS = {"__rate_interval": "30s", "__interval": "2s", "__interval_ms": "2000", "__range": "5m"}
SECONDS = 150


@dataclass(frozen=True)
class Asked:
    """A query and where it stands."""

    where: str
    expr: str


def asked() -> list[Asked]:
    """Every query of every panel, and the series behind every variable.

    Without those that find the alerts of a component of which there are none.
    """
    found = []
    components = {str(rule.body["labels"]["component"]) for rule in alerts()}
    for file in sorted((REPOSITORY / "grafana" / "dashboards").rglob("*.json")):
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        for panel in panels_of(dashboard):
            found += [
                Asked(f"{dashboard['uid']}: {panel['title']} {target['refId']}", target["expr"])
                for target in panel.get("targets", [])
            ]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                series = variable["query"]["query"].removeprefix("label_values(").rpartition(",")[0]
                found.append(Asked(f"{dashboard['uid']}: variable {variable['name']}", series))
    named = [(each, set(re.findall(r'ALERTS\{[^}]*component="(\w+)"', each.expr))) for each in found]
    return [each for each, components_asked in named if components_asked <= components or "vector(0)" in each.expr]


def as_grafana_asks(expr: str) -> str:
    """The expression with everything selected."""
    return VARIABLE.sub(lambda found: WINDOWS.get(found[1] or found[2], ".*"), expr)


class Endpoint:
    """Answers well, badly or late."""

    def __init__(self, status: int = 200, delay: float = 0.0) -> None:
        self.status = status
        self.delay = delay

    async def answer(self, _: Request, writer: asyncio.StreamWriter) -> None:
        """One answer."""
        await asyncio.sleep(self.delay)
        writer.write(reply(self.status))


def rows_after(changes: int) -> list[Patient]:
    """The rows of a table after so many changes, each of which inserts, modifies and deletes some."""
    return [(1000 + number, f"patient {number} of {changes // 2}") for number in range(changes, changes + 20)]


def pipeline(folder: Path) -> Installation:
    """The tables of a proposal pipeline, of which one lacks a column that nothing needs."""
    folder.mkdir()
    installation = sqlite_installation(SqliteFiles(folder))
    installation.sql("ALTER TABLE apr_valid_records DROP COLUMN rating_selecionado")
    installation.sight(1)
    day = DAY.isoformat()
    installation.sql(
        "INSERT INTO apr_proposal_products (DATA, PROPOSTA, CEDENTE, PRODUTO) VALUES (:day, 1, 'Cliente Um', 'Nota')",
        day=day,
    )
    installation.sql("INSERT INTO apr_daily_summary (DATA) VALUES (:day)", day=day)
    installation.sql("UPDATE apr_valid_records SET is_bot_processed = 1")
    return installation


def run_of_the_pipeline(installation: Installation) -> None:
    """A run resolves what the one before found, and finds more."""
    day = DAY.isoformat()
    installation.sql(
        "UPDATE apr_invalid_records SET is_resolved = 1, resolved_at = CURRENT_TIMESTAMP WHERE is_resolved = 0"
    )
    for kind in VALIDATION_TYPES:
        installation.sql(
            "INSERT INTO apr_invalid_records (DATA, PROPOSTA, CEDENTE, GERENTE, VALIDATION_TYPE, is_resolved)"
            " VALUES (:day, 1, 'Cliente Um', 'Gerente Um', :kind, 0)",
            day=day,
            kind=kind,
        )
    installation.sql(
        "INSERT INTO apr_status_history (DATA, PROPOSTA, CEDENTE, NEW_STATUS, CHANGE_SOURCE)"
        " VALUES (:day, 1, 'Cliente Um', 'Assinado', 'BOT')",
        day=day,
    )
    installation.sql(
        "INSERT INTO apr_processing_log (target_date, run_mode, execution_time_seconds) VALUES (:day, 'PRODUCTION', 2)",
        day=day,
    )


def written(at: float) -> str:
    """A time as the program writes it into metadata."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


class Clinics:
    """A log of syncs in which a run fetches, one stores, one says nothing any more, and others end."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.log: SyncTable = sync_table("sqlite", SqliteFiles(folder), without=["error_details"])
        began = time.time()
        # Its successes end here, so it is overdue after a while.
        self.log.put(organization_id="org_1", started_at=began - 2, completed_at=began - 1)
        self.log.put(organization_id="org_2", status="failed", started_at=began - 2, completed_at=began - 1)
        silent = {"step": "storing_patients", "timestamp": written(began - 60)}
        self.log.put(organization_id="org_3", status="running", started_at=began - 60, metadata=silent)
        self.active = {
            step: self.log.put(organization_id=organization, status="running", started_at=began)
            for step, organization in (("fetching_patients", "org_1"), ("storing_patients", "org_2"))
        }
        self.stored = 0

    def go_on(self) -> None:
        """Two runs say how far they are; another one has ended."""
        self.stored += 10
        numbers: dict[str, dict[str, float]] = {
            "fetching_patients": {"current_page": 3, "total_pages": 7},
            "storing_patients": {
                "patients_processed": self.stored,
                "total_patients": 100_000,
                "progress_percent": 98.5,
            },
        }
        now = time.time()
        for step, identity in self.active.items():
            self.log.change(identity, metadata={"step": step, "timestamp": written(now), **numbers[step]})
        self.log.put(
            organization_id="org_4",
            started_at=now - 3,
            completed_at=now,
            records_processed=100,
            records_success=100,
            metadata={"step": "completed", "patients_found": 100, "patients_deleted": 2},
        )


class Application:
    """An application whose store is the library's and the existing program's; it has crashed, and has an old backup."""

    def __init__(self, folder: Path, models: Ollama) -> None:
        folder.mkdir()
        ExistingStore(folder / "monitoring.db", without=["messages.level"])
        self.store = LibraryStore(folder / "monitoring.db")
        self.store.run()
        for kind in CRASHES:
            self.store.crash(kind)
        for name in ("fresh", "old"):
            (folder / name).mkdir()
            (folder / name / "backup_1").write_bytes(b"backup")
        hours_ago = time.time() - 7200
        os.utime(folder / "old" / "backup_1", (hours_ago, hours_ago))
        with contextlib.closing(sqlite3.connect(folder / "clinic.db")) as connection:
            connection.execute("CREATE TABLE patients (id INTEGER PRIMARY KEY)")
        backups: list[dict[str, object]] = [
            {"name": name, "folder": str(folder / name), "max_age": "1h"} for name in ("fresh", "old")
        ]
        llm: dict[str, object] = {"url": models.url, "model": models.models[0], "generate_every": "1s"}
        checks: dict[str, dict[str, object]] = {
            "database": {"path": str(folder / "clinic.db")},
            "llm": llm,
            "disk": {"path": str(folder)},
            "memory": {},
        }
        often: dict[str, object] = {"interval": "1s", "timeout": "900ms"}
        self.config: dict[str, object] = {
            "name": "desk",
            "source": "desk",
            # As long as the operations here take.
            "operations": {"slow_after": "500ms"},
            "checks": {
                **{name: check | often for name, check in checks.items()},
                "backup": [backup | often for backup in backups],
            },
            **often,
        }

    def go_on(self) -> None:
        """It does each thing once."""
        for operation in (*OPERATIONS, "save_visit"):
            self.store.operation(operation, 0.4)
        self.store.operation("save_visit", 0.6, "error").counter("slow_operations_total", "save_visit")
        self.store.error().alert()
        for event in EVENTS:
            self.store.counter("events_total", event)
        for gauge in GAUGES:
            self.store.gauge(gauge, 3)
        for outcome in RETRIES:
            self.store.counter("retries_total", "save_visit", outcome)
        self.store.sql("UPDATE rounds_run SET heartbeat = ?, cpu_seconds = cpu_seconds + 0.1", (time.time(),))


@contextlib.asynccontextmanager
async def monitored(
    folder: Path, patients: SqlitePatients, proposals: Installation, clinics: Clinics, application: Application
) -> AsyncIterator[tuple[str, Endpoint]]:
    """The stack with services in each state, over HTTP and TLS, watched tables, a pipeline, syncs and an application;
    gives Prometheus and the endpoint that may change.
    """
    authority = Authority()
    ca_file, _ = authority.write(folder, "authority")
    changing = Endpoint()
    endpoints = {"well": Endpoint(), "failing": Endpoint(503), "slow": Endpoint(delay=0.4), "changing": changing}
    async with contextlib.AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(HttpServer({"*": endpoint.answer}))
            for name, endpoint in endpoints.items()
        }
        tls = authority.issue("127.0.0.1").server_context()
        servers["secure"] = await stack.enter_async_context(HttpServer(reply(), tls=tls))
        slack = stack.enter_context(SlackCatcher())
        checks: list[dict[str, object]] = [{"name": name, "url": f"{server.url}/"} for name, server in servers.items()]
        checks[-1]["tls"] = {"ca_file": str(ca_file)}
        checks.append({"name": "gone", "url": "http://localhost:1/", "tier": "frontend"})
        times = {"interval": "1s", "timeout": "900ms", "degraded_after": "200ms", "down_after": "800ms"}
        tables = [
            {"name": name, "source": source, "table": patients.table, "interval": "1s"}
            for name, source in (("patients", "clinic"), ("invoices", "gone"))
        ]
        sources = {
            "clinic": patients.source.model_dump(mode="json", exclude_none=True),
            "gone": {"kind": "sqlite", "path": str(folder / "gone.db")},
            "proposals": proposals.source.model_dump(mode="json", exclude_none=True),
            "syncs": clinics.log.source.model_dump(mode="json", exclude_none=True),
            "desk": application.store.source.model_dump(mode="json", exclude_none=True),
        }
        syncs = {
            "name": "clinics",
            "source": "syncs",
            "interval": "1s",
            "active_interval": "1s",
            "timeout": "900ms",
            "stale_after": "20s",
            "expect_every": "30s",
            "limits": {"slow_after": "3s"},
        }
        config = json.dumps(
            {
                "state": {"url": f"sqlite:///{folder / 'state.db'}"},
                "sources": sources,
                "tables": tables,
                "apr": {
                    "source": "proposals",
                    "interval": "1s",
                    "timeout": "900ms",
                    "labels": {"cedente": 1, "gerente": 1, "produto": 1},
                },
                "syncs": [syncs],
                "emr": [application.config],
                "services": {"defaults": times, "checks": checks},
            }
        )
        running = await stack.enter_async_context(processes(folder, Scale(FACTOR), config, slack.url, None))
        yield running.prometheus, changing


@pytest.mark.slow
async def test_every_query_finds_data(tmp_path: Path) -> None:
    queries = asked()
    assert len(queries) > 60
    patients = SqlitePatients(tmp_path)
    # Of no other key does SQLite promise that it holds integers alone.
    patients.sql("DROP TABLE patients", "CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT)")
    patients.replace(rows_after(0))
    numbers = itertools.count(1)
    proposals = pipeline(tmp_path / "pipeline")
    run_of_the_pipeline(proposals)
    clinics = Clinics(tmp_path / "clinics")
    async with contextlib.AsyncExitStack() as stack:
        application = Application(tmp_path / "application", stack.enter_context(Ollama()))
        running = monitored(tmp_path, patients, proposals, clinics, application)
        prometheus, changing = await stack.enter_async_context(running)
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))

        async def finds(each: Asked) -> bool:
            answer = await client.post(f"{prometheus}/api/v1/query", data={"query": as_grafana_asks(each.expr)})
            assert answer.status_code == 200, f"{each.where}: {answer.text}"
            return any(not math.isnan(float(series["value"][1])) for series in answer.json()["data"]["result"])

        async def known() -> bool:
            return await finds(Asked("", 'rounds_check_state{check="changing",state="up"} == 1'))

        await until(known, within=30)
        changing.status = 503

        missing = queries

        async def none_is_missing() -> bool:
            nonlocal missing
            patients.replace(rows_after(next(numbers)))
            run_of_the_pipeline(proposals)
            clinics.go_on()
            application.go_on()
            missing = [each for each in missing if not await finds(each)]
            return not missing

        with contextlib.suppress(TimeoutError):
            await until(none_is_missing, within=SECONDS)
        assert missing == []

"""From a program that syncs to Prometheus: a run as everybody sees it who looks at the dashboard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.demo.catchers import SlackCatcher
from rounds.demo.scaling import Scale
from rounds.syncs import SyncRun
from support.exporter import until
from support.postgresql import PostgresqlServer
from support.stack import processes
from support.syncs import sync_table
from syncs.test_exporter import config

PATIENTS, PAGES = 648, 13
KEY = 'sync="clinic",organization="org_1",operation="full_patients"'
RATIO = f"rounds_sync_run_progress_ratio{{{KEY}}}"


@pytest.mark.slow
async def test_a_run_rises_to_its_end_and_is_gone(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    table = sync_table("postgresql", postgresql, "real")
    table.put(started_at=time.time() - 500, completed_at=time.time() - 450, metadata={"patients_found": PATIENTS})
    with SlackCatcher() as slack:
        text = config(table.source, tmp_path)
        async with processes(tmp_path, Scale(15), text, slack.url, None) as ran, httpx.AsyncClient() as client:

            async def ask(path: str, **parameters: Any) -> list[Any]:
                answer = await client.get(f"{ran.prometheus}/api/v1/{path}", params=parameters)
                found: list[Any] = answer.json()["data"]["result"]
                return found

            async def holds(query: str) -> None:
                """Wait until a query has a result."""
                await until(lambda: ask("query", query=query), within=30)

            await holds(f"rounds_sync_runs_active{{{KEY}}} == 0")
            began = time.time()
            async with SyncRun(table.url, organization="org_1", operation="full_patients") as run:
                await holds(f"{RATIO} == 0")
                run.step("fetching_patients")
                for page in range(1, PAGES + 1):
                    run.page(page, of=PAGES, loaded=min(PATIENTS, page * 50))
                await holds(f"rounds_sync_run_page{{{KEY}}} >= 10 and on () {RATIO} > 0.2")
                run.found(PATIENTS)
                run.step("storing_patients")
                for part in range(1, 5):
                    run.stored(PATIENTS // 4)
                    await holds(f"{RATIO} == {0.5 + part / 8}")
                run.deleted(3)
            await holds(f"absent({RATIO})")  # the series ends with the run
            seen = await ask("query_range", query=RATIO, start=began, end=time.time(), step=0.5)
            await holds(f'rounds_sync_runs_total{{{KEY},state="completed"}} == 1')
            await holds(f"rounds_sync_patients_deleted_total{{{KEY}}} == 3")
            await holds(f'rounds_sync_last_run_records{{{KEY},result="succeeded"}} == {PATIENTS}')
    [series] = seen
    ratios = [float(value) for _, value in series["values"]]
    assert ratios == sorted(ratios)
    assert (ratios[0], ratios[-1]) == (0, 1)
    assert len(set(ratios)) >= 6
    assert len(table.sql("SELECT 1 FROM sync_logs")) == 2

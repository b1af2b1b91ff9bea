"""Within ten minutes ``rounds demo`` shows every state, and an alert of each domain that comes and goes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.demo.ports import pick_port
from rounds.demo.seen import STATES
from support.binaries import require_binary
from support.demo import Demo
from support.fakesnow import require_fakesnow
from support.postgresql import require_postgresql

TEN_MINUTES = 600.0


def _highest(metric: str) -> str:
    return f"max(max_over_time({metric}[15m])) > 0"


def _grown(metric: str) -> str:
    return f"max(max_over_time({metric}[15m]) - min_over_time({metric}[15m])) > 0"


def _older(metric: str, limit: str) -> str:
    return f"max(max_over_time((time() - {metric})[15m:1s])) > scalar({limit})"


#: Each has an answer in Prometheus once the state has been seen.
QUERIES = {
    **{("services", each): _highest(f'rounds_check_state{{state="{each}"}}') for each in STATES["services"]},
    **{("tables", each): _grown(f'rounds_table_changes_total{{change="{each}"}}') for each in STATES["tables"][:3]},
    ("tables", "mass deletion"): """
        max_over_time(
          (
            rounds_table_last_change_rows{change="deleted"} / ignoring (change) rounds_table_previous_rows
              > ignoring (change) rounds_table_mass_deletion_ratio
          )[15m:1s]
        )
    """,
    ("apr", "invalid"): _highest("rounds_apr_invalid_records"),
    ("apr", "resolved"): _grown("rounds_apr_invalid_records_resolved_total"),
    ("apr", "failed run"): _highest("rounds_apr_last_run_failed"),
    ("apr", "slow run"): """
        max(max_over_time(rounds_apr_last_run_duration_seconds[15m]))
          > scalar(rounds_apr_threshold_seconds{threshold="slow_run_after"})
    """,
    ("apr", "missing run"): _older(
        'rounds_apr_last_run_timestamp_seconds{run_mode="PRODUCTION"}',
        'rounds_apr_threshold_seconds{threshold="run_every"}',
    ),
    ("syncs", "running"): _highest("rounds_sync_runs_active"),
    **{("syncs", each): _grown(f'rounds_sync_runs_total{{state="{each}"}}') for each in STATES["syncs"][1:4]},
    ("syncs", "stuck"): _older(
        "rounds_sync_run_last_progress_timestamp_seconds", 'rounds_sync_threshold_seconds{threshold="stuck_after"}'
    ),
    ("syncs", "stale"): _highest("rounds_sync_runs_stale"),
    **{("emr", each): _highest(f'rounds_emr_health_state{{state="{each}"}}') for each in STATES["emr"][:3]},
    ("emr", "crash"): _grown("rounds_emr_crashes_total"),
}


class Watch:
    """What Prometheus and Alertmanager have said so far, and when they first said it, in seconds."""

    def __init__(self, prometheus: str, alertmanager: str) -> None:
        self._client = httpx.AsyncClient(trust_env=False)
        self._prometheus = prometheus
        self._alertmanager = alertmanager
        self._begin = time.monotonic()
        self._notified: dict[str, str] = {}
        self._fired: dict[str, str] = {}
        self.states: dict[tuple[str, str], float] = {}
        self.fired: dict[str, float] = {}
        self.over: dict[str, float] = {}
        self.notified: dict[str, float] = {}
        self.resolved: dict[str, float] = {}

    async def until(self, complete: Callable[[], bool]) -> None:
        async with asyncio.timeout(TEN_MINUTES), self._client:
            while not complete():
                await self._look()
                await asyncio.sleep(1)

    @property
    def complete(self) -> bool:
        """States by Prometheus; alerts that came and went by both."""
        seen = (self.fired, self.over, self.notified, self.resolved)
        return self.states.keys() == QUERIES.keys() and all(each.keys() >= STATES.keys() for each in seen)

    async def _look(self) -> None:
        now = time.monotonic() - self._begin
        for state in QUERIES.keys() - self.states.keys():
            if await self._query(QUERIES[state]):
                self.states[state] = now
        holding = await self._query('ALERTS{alertstate="firing",kind!="event"}')
        fired = {json.dumps(each["metric"], sort_keys=True): each["metric"]["component"] for each in holding}
        self._compare(fired, self._fired, self.fired, self.over, now)
        answer = await self._client.get(f"{self._alertmanager}api/v2/alerts")
        told = {
            each["fingerprint"]: each["labels"]["component"]
            for each in answer.json()
            if each["labels"].get("kind") != "event"
        }
        self._compare(told, self._notified, self.notified, self.resolved, now)

    @staticmethod
    def _compare(
        holding: dict[str, str], before: dict[str, str], began: dict[str, float], ended: dict[str, float], now: float
    ) -> None:
        """When an alert of a domain is first seen, and when one is first seen no more."""
        for key, domain in holding.items():
            began.setdefault(domain, now)
            before[key] = domain
        for key in before.keys() - holding.keys():
            ended.setdefault(before.pop(key), now)

    async def _query(self, query: str) -> list[dict[str, Any]]:
        answer = await self._client.get(f"{self._prometheus}api/v1/query", params={"query": query})
        document = answer.json()
        assert document["status"] == "success", document
        result: list[dict[str, Any]] = document["data"]["result"]
        return result

    def table(self) -> str:
        """For people who look at a failure, or at times."""
        lines = [f"{domain}: " + ", ".join(self._of(domain)) for domain in STATES]
        lines += [f"{domain}: {state} {self.states.get((domain, state))}" for domain, state in QUERIES]
        return "\n".join(lines)

    def _of(self, domain: str) -> list[str]:
        named = {"fired": self.fired, "over": self.over, "notified": self.notified, "resolved": self.resolved}
        return [f"{name} {times.get(domain)}" for name, times in named.items()]


async def journal(demo: Demo) -> list[tuple[str, str, list[str]]]:
    """What the first two checks that found other rows found, by the command that the demo names."""
    config = (await demo.says(r"rounds changes --config\.file=(\S+)$"))[1]
    asking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rounds", "changes", f"--config.file={config}", "--format=json"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asking.communicate()
    entries = [json.loads(line) for line in output.decode().splitlines()]
    return [(each["table"], each["change"], each["keys"]) for each in entries if each["change"] != "modified"][:2]


async def messages(demo: Demo) -> None:
    """Those of the first round, as the catchers of Slack and mail show them."""
    await demo.says(r"services +script +api-gateway now answers 503$")
    await demo.says(r"services +exporter +api-gateway: up -> down$")
    await demo.says(r"services +prometheus +ServiceDown fires \(critical, api-gateway\)$")
    for channel in (r"slack +(#\S+: )?", r"e-mail +To operations@example.org: \[Rounds\] "):
        await demo.says(rf"services +{channel}CRITICAL: api-gateway is down$")
        await demo.says(rf"services +{channel}RECOVERED: api-gateway .*$")
        await demo.says(rf"tables +{channel}INFO: 2 rows inserted in patients \(240 -> 242\)$")
        await demo.says(rf"tables +{channel}INFO: 3 rows modified in patients$")
        await demo.says(rf"tables +{channel}WARNING: 1 row deleted in patients \(242 -> 241\)$")
        await demo.says(rf"tables +{channel}INFO: 3 rows inserted in appointments \(60 -> 63\)$")
        await demo.says(rf"tables +{channel}CRITICAL: 39.02% of the rows of patients were deleted$")
        await demo.says(rf"tables +{channel}INFO: 96 rows inserted in patients \(150 -> 246\)$")
        await demo.says(rf"tables +{channel}RECOVERED: The mass deletion in patients .*$")
        await demo.says(rf"emr +{channel}INFO: An error that was not seen before in docassist$")
        await demo.says(rf"emr +{channel}CRITICAL: docassist crashed by an exception$")
        await demo.says(rf"emr +{channel}CRITICAL: docassist: the check llm is unhealthy$")
        await demo.says(rf"emr +{channel}WARNING: The language model qwen2.5:7b of docassist is not installed$")
        await demo.says(rf"emr +{channel}RECOVERED: docassist: the check llm is no longer unhealthy$")
        for domain in STATES:
            await demo.says(rf"{domain} +{channel}RECOVERED: ")


@pytest.mark.slow
@pytest.mark.long
async def test_every_state_is_shown_and_alerts_of_each_domain_come_and_go() -> None:
    require_binary("prometheus")
    require_binary("alertmanager", "prometheus-alertmanager")
    require_binary("mariadbd")
    require_postgresql()
    require_fakesnow()
    async with Demo(pick_port()) as demo:
        async with asyncio.timeout(120):
            prometheus = (await demo.says(r"alerts +(http://.+/), page Alerts$"))[1]
            alertmanager = (await demo.says(r"notified +(http://.+/)api/v2/alerts$"))[1]
            folder = Path((await demo.says(r"files in (/.+)\.$"))[1])
            await demo.says("Ctrl-C ends the demo")
        watch = Watch(prometheus, alertmanager)
        try:
            await watch.until(lambda: watch.complete)
        except TimeoutError:
            pytest.fail(watch.table())
        finally:
            print(watch.table())
        async with asyncio.timeout(60):
            await messages(demo)
            await demo.says("Each domain has shown all of its states")
        # The same check muted it.
        assert "96 rows deleted" not in demo.output
        assert await journal(demo) == [
            ("patients", "inserted", ["241", "242"]),
            ("patients", "deleted", ["242"]),
        ]
        children = demo.children()
        demo.process.send_signal(signal.SIGTERM)
        assert await demo.ends() == 0
        assert not any(child.is_running() for child in children)
        assert not folder.exists()

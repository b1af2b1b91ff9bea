"""A failover of two exporters on one ledger as Prometheus, Alertmanager and Slack see it: they hardly do."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rounds.demo.catchers import SlackCatcher
from rounds.demo.scaling import Scale
from support.exporter import until
from support.failover import Member, pair
from support.stack import REPOSITORY, watchers

INSERTED = "INFO: 2 rows inserted in patients (200 -> 202)"
DELETED = "WARNING: 1 row deleted in patients (202 -> 201)"
MODIFIED = "INFO: 3 rows modified in patients"


def documented_job() -> dict[str, Any]:
    """The job of two exporters, as the page on high availability has it."""
    text = (REPOSITORY / "docs" / "high-availability.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n( *- job_name: rounds\n.*?)```", text, re.DOTALL)
    assert found is not None
    (job,) = yaml.safe_load(found[1])
    assert isinstance(job, dict)
    return job


def bundle_for_two(folder: Path) -> Path:
    """A copy of the bundle whose job for the exporter is that of two."""
    for name in ("prometheus", "alertmanager"):
        shutil.copytree(REPOSITORY / name, folder / name)
    file = folder / "prometheus" / "prometheus.yml"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    others = [job for job in tree["scrape_configs"] if job["job_name"] != "rounds"]
    tree["scrape_configs"] = [documented_job(), *others]
    file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return folder


def address(member: Member) -> str:
    return member.exporter.url.removeprefix("http://")


@pytest.mark.slow
async def test_series_go_on_and_each_change_is_told_once(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The holder is stopped, a change comes while nobody counts, and it is woken; then the second one is killed."""
    postgresql = request.getfixturevalue("postgresql")

    def stage(_: Member, second: Member) -> None:
        del second.environ["STAGED_CLOCK"]  # Prometheus compares what it counts with its own clock

    async with pair(postgresql, "postgresql", rows=200, quiet=True, stage=stage) as both:
        first, second = both.members
        targets = {"exporter-a:12780": address(first), "exporter-b:12780": address(second)}
        with SlackCatcher() as slack:
            root = bundle_for_two(tmp_path / "bundle")
            async with watchers(tmp_path, Scale(3), targets, slack.url, None, root=root) as ran:

                async def query(text: str) -> list[dict[str, Any]]:
                    async with httpx.AsyncClient(trust_env=False) as client:
                        answer = await client.get(f"{ran.prometheus}/api/v1/query", params={"query": text})
                    found = answer.json()["data"]["result"]
                    assert isinstance(found, list)
                    return found

                async def told(title: str) -> None:
                    async def heard() -> bool:
                        return any(title in html.unescape(message.title) for message in slack.messages)

                    await until(heard, within=90)

                patients = both.writer.patients
                await until(lambda: query('rounds_table_rows{instance="rounds",member=""} == 200'), within=60)
                patients.sql("INSERT INTO patients VALUES (1001, 'a'), (1002, 'b')")
                await told(INSERTED)
                first.stop()
                patients.sql("DELETE FROM patients WHERE id = 7")
                await both.taken_over(first)
                first.go_on()
                await told(DELETED)
                await both.stands_by(first)
                await second.kill()
                patients.sql("UPDATE patients SET name = 'Edit' WHERE id < 3")
                await both.taken_over(second)
                await told(MODIFIED)

                (held,) = await query('sum by (instance) (rounds_ledger_lease_held{instance="rounds"})')
                assert held["value"][1] == "1"
                for change, truth in (("inserted", 2), ("deleted", 1), ("modified", 3)):
                    series = f'rounds_table_changes_total{{change="{change}"}}'
                    (found,) = await query(f"{series}[15m]")
                    assert "member" not in found["metric"]
                    values = [float(value) for _, value in found["values"]]
                    assert values == sorted(values)
                    assert (values[0], values[-1]) == (0, truth)
                    (resets,) = await query(f"resets({series}[15m])")
                    assert resets["value"][1] == "0"
                    (increase,) = await query(f"increase({series}[15m])")
                    assert round(float(increase["value"][1])) == truth
                fired = {each["metric"]["alertname"] for each in await query('ALERTS{alertstate="firing"}[15m]')}
                assert fired == {"Watchdog", "TableRowsInserted", "TableRowsDeleted", "TableRowsModified"}
        titles = sorted(html.unescape(message.title) for message in slack.messages)
        assert titles == sorted([INSERTED, DELETED, MODIFIED])

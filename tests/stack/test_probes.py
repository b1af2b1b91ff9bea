"""Checks that Prometheus spreads over two exporters, as deploy/prometheus/probes.yml configures it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rounds.demo.scaling import Scale
from support import cluster
from support.exporter import running_exporter, until
from support.servers import HttpServer, reply

CHECKS = ("one", "two", "three", "four", "failing")


@pytest.mark.slow
async def test_each_check_is_probed_by_one_exporter_and_rules_work_on_it(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("prober-1", "prober-2", "prometheus")]
    for folder in folders:
        folder.mkdir()
    async with HttpServer(reply()) as well, HttpServer(reply(503)) as ill:
        checks = [{"name": name, "url": (ill if name == "failing" else well).url} for name in CHECKS]
        config = yaml.safe_dump({"services": {"scheduled": False, "checks": checks}})
        async with running_exporter(folders[0], config) as one, running_exporter(folders[1], config) as other:
            assert "rounds_check_" not in (await one.get("/metrics")).text
            assert (await one.get("/-/ready")).status_code == 200
            address = cluster.addresses("prometheus")["prometheus"]
            moved = {f"prober-{number}:12780": each.url[7:] for number, each in ((1, one), (2, other))}
            targets = folders[2] / "checks.yml"
            targets.write_text(yaml.safe_dump([{"targets": [*CHECKS, "unknown"]}]), encoding="utf-8")
            moved |= {str(cluster.FRAGMENTS / "checks" / "*.yml"): str(targets), "127.0.0.1:9090": address}
            rules = cluster.write_prometheus(folders[2], Scale(10), moved, "probes")
            prometheus = cluster.prometheus(folders[2], "prometheus", rules, address)
            async with cluster.running(prometheus):

                async def firing() -> list[dict[str, str]]:
                    alerts = (await prometheus.get("/api/v1/alerts")).json()["data"]["alerts"]
                    return [each["labels"] for each in alerts if each["state"] == "firing"]

                async def down() -> list[dict[str, str]]:
                    return [labels for labels in await firing() if labels["alertname"] == "ServiceDown"]

                (alert,) = await until(down, 40)
                assert alert["check"] == "failing"
                assert alert["instance"] in (one.url[7:], other.url[7:])

                probers = await owners(prometheus)
                assert {check: len(instances) for check, instances in probers.items()} == dict.fromkeys(CHECKS, 1)
                assert set().union(*probers.values()) == {one.url[7:], other.url[7:]}
                # Labels and metrics are those of a check on a schedule, the counters too.
                (series,) = await prometheus.query('rounds_check_state{check="one",state="up"} == 1')
                assert set(series["metric"]) == {"__name__", "check", "tier", "state", "instance", "job"}
                for name in ("rounds_check_probes_total", "rounds_check_duration_seconds_count"):
                    assert len(await prometheus.query(f"{name} > 1")) == len(CHECKS)

                async def recorded() -> bool:
                    return len(await prometheus.query("check:rounds_check_probes_total:sum > 1")) == len(CHECKS)

                await until(recorded, 30)

                # One that no exporter knows is missing, and none else.
                (rule,) = yaml.safe_load((cluster.FRAGMENTS / "rules" / "probes.yml").read_text("utf-8"))["groups"][0][
                    "rules"
                ]
                (series,) = await prometheus.query(rule["expr"])
                assert series["metric"]["check"] == "unknown"

                # Somebody who looks is not counted.
                prober = one if probers["one"] == {one.url[7:]} else other
                before = await counted(prober.url)
                assert "one is up" in (await prober.get("/probe?check=one&debug=true")).text
                assert await counted(prober.url) - before == 1


async def owners(prometheus: cluster.Member) -> dict[str, set[str]]:
    """Which exporters have probed each check."""
    found: dict[str, set[str]] = {}
    for series in await prometheus.query("rounds_check_probes_total"):
        labels: dict[str, Any] = series["metric"]
        found.setdefault(labels["check"], set()).add(labels["instance"])
    return found


async def counted(url: str) -> float:
    """How many probes of a check there were, with the one that this is."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{url}/probe", params={"check": "one"})).text
    (line,) = (line for line in text.splitlines() if line.startswith("rounds_check_probes_total{"))
    return float(line.rpartition(" ")[2])

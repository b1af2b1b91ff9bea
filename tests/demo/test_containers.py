"""The demo's parts as docker-compose.demo.yml runs them."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from rounds.demo.containers import PORTS, main, run_services
from rounds.demo.display import Display
from rounds.demo.ports import pick_port
from rounds.demo.synthetic import ENDPOINTS, SCRIPT

ROOT = Path(__file__).parents[2]


@contextmanager
def part(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A part as a process that has said its first line. It must end with code 0 when it is told to."""
    command = [sys.executable, "-m", "rounds.demo.containers", *arguments]
    with subprocess.Popen(command, cwd=ROOT / "exporter", stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(4) == 0
        finally:
            process.kill()


def test_services_are_where_the_default_configuration_looks() -> None:
    checks = yaml.safe_load((ROOT / "exporter" / "rounds.yml").read_text(encoding="utf-8"))["services"]["checks"]
    wanted = {(check["name"], check["url"].partition("}")[2], check.get("tier", "core")) for check in checks}
    assert {(each.check, f":{PORTS[each.service]}{each.path}", each.tier) for each in ENDPOINTS} == wanted


def test_services_that_health_is_read_from_never_fail() -> None:
    assert "airtable-gateway" not in {step.service for step in SCRIPT}
    text = (ROOT / "docker-compose.demo.yml").read_text(encoding="utf-8")
    assert f"HTTPConnection('127.0.0.1', {PORTS['airtable-gateway']}," in text


def test_the_slack_catcher_shows_what_came_and_ends_when_told() -> None:
    port = pick_port()
    message = {"attachments": [{"title": "CRITICAL: it is down", "text": "since now", "color": "danger"}]}
    with part("slack", "--host=127.0.0.1", f"--port={port}") as process:
        url = f"http://127.0.0.1:{port}/"
        assert httpx.get(url, trust_env=False).json() == []
        assert httpx.post(url, json=message, trust_env=False).status_code == 200
        assert httpx.get(url, trust_env=False).json() == [message]
        assert process.stdout
        assert "CRITICAL: it is down" in process.stdout.readline()


async def test_services_listen_until_told_to_end() -> None:
    ports = {name: pick_port() for name in PORTS}
    out = io.StringIO()
    running = asyncio.create_task(run_services("127.0.0.1", ports, Display(out)))
    while "listen" not in out.getvalue():
        await asyncio.sleep(0)
    async with httpx.AsyncClient(trust_env=False) as client:
        for endpoint in ENDPOINTS:
            answer = await client.get(f"http://127.0.0.1:{ports[endpoint.service]}{endpoint.path}")
            assert answer.status_code == 200
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(4):
        await running


def test_configuration_is_written_for_the_catchers(tmp_path: Path) -> None:
    addresses = ["--slack=http://slack:8080/", "--mail=mailpit:1025", "--grafana=http://127.0.0.1:3001"]
    assert main(["config", f"--bundle={ROOT}", f"--output={tmp_path}", *addresses]) == 0

    prometheus = yaml.safe_load((tmp_path / "prometheus.yml").read_text(encoding="utf-8"))
    production = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert prometheus["scrape_configs"] == production["scrape_configs"]
    assert prometheus["alerting"] == production["alerting"]
    assert prometheus["global"]["scrape_interval"] == "1s"
    assert all(Path(file).is_relative_to(tmp_path) and Path(file).exists() for file in prometheus["rule_files"])
    config = yaml.safe_load((tmp_path / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    assert config["global"]["smtp_smarthost"] == "mailpit:1025"
    secret = Path(config["global"]["slack_api_url_file"])
    assert secret == tmp_path / "alertmanager" / "secrets" / "slack_webhook_url"
    assert secret.read_text(encoding="utf-8") == "http://slack:8080/"
    links = (tmp_path / "alertmanager" / "templates" / "links.tmpl").read_text(encoding="utf-8")
    assert re.search(r'"http://127\.0\.0\.1:3001"', links)


def test_a_bundle_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    addresses = ["--slack=http://slack:8080/", "--mail=mailpit:1025", "--grafana=http://127.0.0.1:3001"]
    assert main(["config", f"--bundle={tmp_path}", f"--output={tmp_path / 'x'}", *addresses]) == 1
    assert "render.py" in capsys.readouterr().err

"""``/probe`` and secrets, on a real exporter. Numbered behaviours are those that any prober is held to."""

from __future__ import annotations

import asyncio
import base64
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from rounds.services.handler import BadRequest, probe_timeout
from support.exporter import RunningExporter, running_exporter, until
from support.probing import make_check
from support.servers import Answer, HttpServer, Request, reply

#: Every odd character, and one that would open a mapping in YAML.
PASSWORD = "{p@:/?#%\"'$\\ {}[]é&=+;,!"
TOKEN = "tok$en:${NOT_A_VARIABLE}"
SCRAPE_TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"


@pytest.fixture
async def target() -> AsyncIterator[HttpServer]:
    async def protected(request: Request, writer: asyncio.StreamWriter) -> None:
        given = request.header("Authorization")
        expected = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()
        writer.write(reply(200 if given == expected else 401, b"secret body content"))

    async def hang(_: Request, writer: asyncio.StreamWriter) -> None:
        await writer.drain()
        await asyncio.Event().wait()

    pages: dict[str, bytes | Answer] = {
        "/protected": protected,
        "/hang": hang,
        "/health": reply(),
        "/broken": reply(503),
    }
    async with HttpServer(pages) as server:
        yield server


@pytest.fixture
async def exporter(tmp_path: Path, target: HttpServer) -> AsyncIterator[RunningExporter]:
    (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    (tmp_path / "key").write_text(TOKEN, encoding="utf-8")
    config = f"""
services:
  defaults: {{interval: 500ms, timeout: 400ms}}
  checks:
    - {{name: healthy, url: "{target.url}/health"}}
    - {{name: broken, url: "{target.url}/broken?api_key={urllib.parse.quote(PASSWORD)}"}}
    - {{name: hung, url: "{target.url}/hang", interval: 10s, timeout: 10s}}
    - name: by-variable
      url: {target.url}/protected
      basic_auth: {{username: user, password: "${{PROBE_PASSWORD}}"}}
    - name: by-file
      url: {target.url}/protected
      basic_auth: {{username: user, password_file: password}}
      header_files: {{X-Api-Key: key}}
    - name: wrong
      url: {target.url}/protected
      bearer_token: "${{PROBE_PASSWORD}}"
    - name: refused
      url: http://127.0.0.1:1/
      headers: {{X-Api-Key: "${{PROBE_PASSWORD}}"}}
"""
    async with running_exporter(
        tmp_path, config, "--log.level=debug", "--web.enable-lifecycle", environ={"PROBE_PASSWORD": PASSWORD}
    ) as running:
        yield running


async def test_answers_200_with_the_state_whatever_the_probe_finds(exporter: RunningExporter) -> None:
    """Behaviour 21: the scrape itself must not fail."""
    for name, state in (("healthy", "up"), ("broken", "down"), ("refused", "down")):
        answer = await exporter.get(f"/probe?check={name}")
        assert answer.status_code == 200
        assert f'rounds_check_state{{check="{name}",tier="core",state="{state}"}} 1' in answer.text
    assert "rounds_check_probes_total" not in (await exporter.get("/probe?check=healthy")).text


async def test_openmetrics_on_demand(exporter: RunningExporter) -> None:
    answer = await exporter.get("/probe?check=healthy", Accept="application/openmetrics-text;version=1.0.0")
    families = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
    assert any(family.name == "rounds_check_state" for family in families)


async def test_a_slow_target_is_given_up_before_prometheus_gives_up(exporter: RunningExporter) -> None:
    """Behaviours 20 and 21."""
    answer = await exporter.get("/probe?check=hung", **{SCRAPE_TIMEOUT: "0.8"})
    assert answer.status_code == 200
    lines = answer.text.splitlines()
    seconds = next(float(line.split()[-1]) for line in lines if line.startswith("rounds_check_response_seconds"))
    assert 0.25 < seconds < 0.7


@pytest.mark.parametrize(
    ("configured", "header", "expected"),
    [("10s", None, 10), ("5s", "15", 5), ("10s", "10", 9.5), ("10s", "3", 2.5), ("10s", "0.1", 0.001)],
)
def test_timeout_is_the_smaller_of_the_checks_and_the_scrapes(
    configured: str, header: str | None, expected: float
) -> None:
    """Behaviour 20."""
    check = make_check(url="http://127.0.0.1/", timeout=configured, interval="15s")
    assert probe_timeout(check, header) == expected


def test_a_timeout_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadRequest):
        probe_timeout(make_check(url="http://127.0.0.1/"), "soon")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?check=",
        "?check=unknown",
        "?target=http://127.0.0.1/",
        "?check=healthy&hostname=other",
        "?check=healthy&target=http%253A%252F%252Fevil",
        "?check=http%3A%2F%2F127.0.0.1%2F",
        "?check=healthy&module=http_2xx",
    ],
)
async def test_only_configured_names_are_probed(exporter: RunningExporter, target: HttpServer, query: str) -> None:
    """Behaviours 22, 23 and 24: no target, host name or module comes from a parameter, encoded once or twice."""
    before = await exporter.value("rounds_http_requests_total", handler="/probe", code="400") or 0
    answer = await exporter.get(f"/probe{query}")
    assert answer.status_code == 400
    assert "evil" not in answer.text
    assert await exporter.value("rounds_http_requests_total", handler="/probe", code="400") == before + 1
    assert "hostname" not in (await exporter.get("/config")).text


async def test_debug_explains_itself_without_secrets(exporter: RunningExporter) -> None:
    """Behaviours 19 and 27."""
    await exporter.ready_of("by-file")
    text = (await exporter.get("/probe?check=by-file&debug=true")).text
    assert text.startswith("by-file is up in ")
    assert "GET http://127.0.0.1" in text
    assert "X-Api-Key" in text
    assert "password_file: <secret>" in text
    assert "Last probes" in text
    assert " up in " in text.partition("Last probes")[2]
    assert not leaked(text)
    assert "secret body content" not in text


async def test_passwords_with_every_odd_character_work_and_appear_nowhere(
    exporter: RunningExporter, target: HttpServer
) -> None:
    for name, state in (("by-variable", "up"), ("by-file", "up"), ("wrong", "down"), ("broken", "down")):
        await exporter.ready_of(name)
        assert await exporter.value("rounds_check_state", check=name, tier="core", state=state) == 1, name
    keys = {request.header("X-Api-Key") for request in target.requests if request.header("X-Api-Key")}
    assert keys == {TOKEN}
    assert (await exporter.client.post(exporter.url + "/-/reload")).status_code == 200
    exporter.file.write_text(exporter.file.read_text() + "    - {name: bad, url: 'http://x/', timout: 1s}\n")
    assert (await exporter.client.post(exporter.url + "/-/reload")).status_code == 500
    pages = [
        (await exporter.get(path)).text
        for path in (
            "/",
            "/config",
            "/metrics",
            "/health",
            "/api/v1/status",
            *(f"/probe?check={name}&debug=true" for name in ("by-variable", "by-file", "wrong", "broken", "refused")),
        )
    ]
    processes = " ".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    assert await exporter.stop() == 0
    for text in (*pages, exporter.log, processes):
        assert not leaked(text)
        assert "secret body content" not in text


def leaked(text: str) -> list[str]:
    """Which secrets, or encodings of them, a text holds."""
    spellings = {
        spelling
        for secret in (PASSWORD, TOKEN)
        for spelling in (
            secret,
            urllib.parse.quote(secret),
            urllib.parse.quote_plus(secret),
            repr(secret)[1:-1],
            base64.b64encode(f"user:{secret}".encode()).decode(),
        )
    }
    return [spelling for spelling in spellings if spelling in text]


def test_the_search_for_leaks_finds_them() -> None:
    assert leaked(f"... {PASSWORD} ...")
    assert leaked("Authorization: Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode())


async def test_one_check_as_a_scrape_target_of_its_own(exporter: RunningExporter) -> None:
    """What `file_sd` and `/probe` give a Prometheus that spreads probes over several exporters."""
    answers = await asyncio.gather(*(exporter.get("/probe?check=healthy") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert await until(lambda: asyncio.sleep(0, True))

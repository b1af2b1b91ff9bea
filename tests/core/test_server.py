"""The HTTP surface of a real exporter that probes real servers."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from rounds.cli import main
from support.binaries import require_binary
from support.exporter import RunningExporter, running_exporter, until
from support.servers import HttpServer, Listener, Request, reply

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def config(*checks: str, interval: str = "200ms") -> str:
    listed = "\n".join(f"    - {check}" for check in checks)
    return f"services:\n  defaults: {{interval: {interval}, timeout: {interval}}}\n  checks:\n{listed}\n"


def check(name: str, url: str, more: str = "") -> str:
    return f"{{name: {name}, url: '{url}/health'{', ' if more else ''}{more}}}"


@pytest.fixture
async def target() -> AsyncIterator[HttpServer]:
    async with HttpServer(reply(200, b'{"status": "ok"}')) as server:
        yield server


@pytest.fixture
async def exporter(tmp_path: Path, target: HttpServer) -> AsyncIterator[RunningExporter]:
    async with running_exporter(tmp_path, config(check("api", target.url)), "--web.enable-lifecycle") as running:
        await running.ready()
        yield running


class TestMetrics:
    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    @pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS])
    async def test_official_parsers_read_every_format(
        self, exporter: RunningExporter, accept: str, encoding: str
    ) -> None:
        answer = await exporter.get("/metrics", Accept=accept, **{"Accept-Encoding": encoding})
        assert answer.status_code == 200
        assert answer.headers.get("Content-Encoding", "identity") == encoding
        openmetrics = accept == OPENMETRICS
        expected = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain; version=0.0.4"
        assert answer.headers["Content-Type"] == f"{expected}; charset=utf-8"
        families = {family.name for family in (parse_openmetrics if openmetrics else parse_text)(answer.text)}
        assert {"rounds_check_state", "rounds_build_info", "rounds_collector_runs", "process_cpu_seconds"} <= families

    async def test_promtool_has_nothing_to_say(self, exporter: RunningExporter) -> None:
        promtool = require_binary("promtool")
        body = (await exporter.get("/metrics")).content
        process = await asyncio.create_subprocess_exec(
            promtool,
            "check",
            "metrics",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert await process.communicate(body) == (b"", b"")
        assert process.returncode == 0

    async def test_every_metric_is_in_the_catalogue(
        self, exporter: RunningExporter, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["metrics", "--format=json"]) == 0
        known = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
        for family in parse_text((await exporter.get("/metrics")).text):
            name = family.name + ("_total" if family.type == "counter" else "")
            assert family.type == known[name]["type"]
            assert family.documentation == known[name]["help"]
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(known[name]["labels"])

    async def test_what_the_probe_found_and_known_values_at_zero(self, exporter: RunningExporter) -> None:
        labels = {"check": "api", "tier": "core"}
        assert await exporter.value("rounds_check_state", state="up", **labels) == 1
        assert await exporter.value("rounds_check_state", state="down", **labels) == 0
        assert await exporter.value("rounds_check_http_status_code", **labels) == 200
        assert await exporter.value("rounds_check_failures_total", reason="timeout", **labels) == 0
        assert await exporter.value("rounds_collector_failures_total", collector="services", reason="internal") == 0
        assert await exporter.value("rounds_collector_success", collector="services") == 1

    async def test_collect_chooses_and_an_unknown_name_is_refused(self, exporter: RunningExporter) -> None:
        chosen = (await exporter.get("/metrics?collect[]=services")).text
        assert "rounds_check_state" in chosen
        assert "process_" not in chosen
        refused = await exporter.get("/metrics?collect[]=services&collect[]=servces")
        assert refused.status_code == 400
        assert "servces" in refused.text

    async def test_every_target_down_is_still_200(self, tmp_path: Path) -> None:
        async with running_exporter(tmp_path, config(check("gone", "http://127.0.0.1:1"))) as exporter:
            await exporter.ready()
            assert (await exporter.get("/metrics")).status_code == 200
            assert await exporter.value("rounds_check_state", check="gone", tier="core", state="down") == 1
            assert await exporter.value("rounds_check_response_seconds", check="gone", tier="core") is None
            assert await exporter.value("rounds_collector_success", collector="services") == 1


class TestSurface:
    @pytest.mark.parametrize(
        "path", ["/", "/metrics", "/config", "/api/v1/status", "/-/healthy", "/-/ready", "/health"]
    )
    async def test_paths_answer(self, exporter: RunningExporter, path: str) -> None:
        assert (await exporter.get(path)).status_code == 200

    @pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/-/", "/static/x"])
    async def test_other_paths_are_404(self, exporter: RunningExporter, path: str) -> None:
        assert (await exporter.get(path)).status_code == 404

    async def test_wrong_verbs_are_405(self, exporter: RunningExporter) -> None:
        assert (await exporter.get("/-/reload")).status_code == 405
        assert (await exporter.client.post(exporter.url + "/metrics")).status_code == 405
        assert (await exporter.client.delete(exporter.url + "/config")).status_code == 405

    async def test_reload_over_http_is_off_unless_it_is_enabled(self, tmp_path: Path, target: HttpServer) -> None:
        async with running_exporter(tmp_path, config(check("api", target.url))) as exporter:
            assert (await exporter.client.post(exporter.url + "/-/reload")).status_code == 403

    async def test_ready_only_once_every_job_has_run(self, tmp_path: Path) -> None:
        release = asyncio.Event()

        async def hold(_: Request, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            writer.write(reply())

        async with (
            HttpServer({"*": hold}) as target,
            running_exporter(tmp_path, config(check("slow", target.url), interval="10s")) as exporter,
        ):
            await until(lambda: asyncio.sleep(0, target.accepted), within=15)
            answer = await exporter.get("/-/ready")
            assert answer.status_code == 503
            assert "services/slow" in answer.text
            assert (await exporter.get("/health")).status_code == 503
            assert (await exporter.get("/-/healthy")).status_code == 200
            release.set()
            await exporter.ready()

    async def test_the_landing_page_and_status_tell_of_each_job(
        self, exporter: RunningExporter, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page = (await exporter.get("/")).text
        assert "services/api" in page
        assert "up in" in page
        code = await asyncio.to_thread(main, ["status", f"--url={exporter.url}"])
        table = capsys.readouterr().out
        assert code == 0
        assert table.startswith("JOB ")
        assert "services/api  ok" in table
        off = "The configuration has no section for: tables, apr, syncs, emr."
        assert off in page
        assert table.endswith(f"{off}\n")
        said = re.findall(r'event="domain is off" domain=(\w+)', exporter.log)
        assert said == ["tables", "apr", "syncs", "emr"]

    async def test_status_of_an_exporter_that_is_not_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert await asyncio.to_thread(main, ["status", "--url=http://127.0.0.1:1"]) == 1
        assert "gives no status" in capsys.readouterr().err

    async def test_an_address_that_is_taken(self, tmp_path: Path, exporter: RunningExporter) -> None:
        code = await asyncio.to_thread(
            main,
            ["run", f"--config.file={exporter.file}", f"--web.listen-address={exporter.url.removeprefix('http://')}"],
        )
        assert code == 1

    async def test_small_answers_are_not_held_up(self, exporter: RunningExporter) -> None:
        """Nagle's algorithm would make each wait for the acknowledgement that the client delays by 40 ms."""
        times = []
        for _ in range(20):
            begin = time.monotonic()
            await exporter.get("/-/healthy")
            times.append(time.monotonic() - begin)
        assert min(times) < 0.03

    async def test_old_consumers_get_their_health(self, exporter: RunningExporter, target: HttpServer) -> None:
        health = (await exporter.get("/health")).json()
        assert list(health) == [
            "timestamp",
            "total_services",
            "healthy_services",
            "degraded_services",
            "failed_services",
            "services",
        ]
        service = health["services"][0]
        assert list(service) == [
            "name",
            "url",
            "status",
            "response_time_ms",
            "last_check",
            "error_message",
            "status_code",
        ]
        assert (service["name"], service["status"], service["status_code"]) == ("api", "UP", 200)
        assert service["url"] == f"{target.url}/health"
        assert service["error_message"] is None
        assert 0 < service["response_time_ms"] < 1000


class TestReload:
    async def test_counts_survive_and_checks_come_and_go(self, exporter: RunningExporter, target: HttpServer) -> None:
        async def probes(name: str) -> float | None:
            return await exporter.value("rounds_check_probes_total", check=name, tier="core")

        async def several() -> bool:
            return (await probes("api") or 0) >= 3

        await until(several)
        before = await probes("api") or 0
        exporter.file.write_text(config(check("api", target.url), check("new", target.url)))
        assert (await exporter.client.post(exporter.url + "/-/reload")).status_code == 200
        after = await probes("api")
        assert after is not None
        assert after >= before
        await exporter.ready()
        exporter.file.write_text(config(check("new", target.url)))
        exporter.process.send_signal(signal.SIGHUP)

        async def gone() -> bool:
            return await probes("api") is None

        await until(gone)
        assert await probes("new")

    async def test_a_refused_configuration_keeps_the_old_one_running_and_says_so(
        self, exporter: RunningExporter, target: HttpServer
    ) -> None:
        loaded = await exporter.value("rounds_config_last_reload_success_timestamp_seconds")
        exporter.file.write_text(config(check("api", target.url, "timout: 3s")))
        answer = await exporter.client.post(exporter.url + "/-/reload")
        assert answer.status_code == 500
        assert "services.checks[0].timout: unknown key; did you mean 'timeout'?" in answer.text
        assert await exporter.value("rounds_config_last_reload_successful") == 0
        assert await exporter.value("rounds_config_last_reload_success_timestamp_seconds") == loaded
        accepted = target.accepted

        async def probed_again() -> bool:
            return target.accepted > accepted

        await until(probed_again)
        assert "timout" not in (await exporter.get("/config")).text
        assert "refused" in (await exporter.get("/")).text
        assert "unknown key" in exporter.log
        exporter.file.write_text(config(check("api", target.url)))
        assert (await exporter.client.post(exporter.url + "/-/reload")).status_code == 200
        assert await exporter.value("rounds_config_last_reload_successful") == 1

    async def test_reloads_leak_no_files(self, exporter: RunningExporter, target: HttpServer) -> None:
        exporter.file.write_text(config(check("api", target.url, "connection: reuse")))

        async def reload_and_probe() -> int:
            accepted = target.accepted
            assert (await exporter.client.post(exporter.url + "/-/reload")).status_code == 200

            async def probed() -> bool:
                return target.accepted > accepted

            await until(probed)
            return len(list(Path(f"/proc/{exporter.process.pid}/fd").iterdir()))

        counts = [await reload_and_probe() for _ in range(15)]
        assert max(counts[5:]) <= max(counts[:5]) + 1


class TestShutdown:
    async def test_sigterm_during_probes_and_a_scrape(self, tmp_path: Path) -> None:
        """The scrape under way is answered, probes are given up, and the process ends with 0 within 10 s."""

        async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        async with Listener(hang) as target:
            text = config(*(check(f"hung-{number}", target.url) for number in range(20)), interval="30s")
            async with running_exporter(tmp_path, text) as exporter:
                await until(lambda: asyncio.sleep(0, target.open >= 15), within=15)
                scrape = asyncio.create_task(
                    exporter.get("/probe?check=hung-0", **{"X-Prometheus-Scrape-Timeout-Seconds": "2.5"})
                )
                before = target.accepted
                await until(lambda: asyncio.sleep(0, target.accepted > before))
                async with asyncio.timeout(10):
                    assert await exporter.stop() == 0
                answer = await scrape
                assert answer.status_code == 200
                assert "reason" not in answer.text
                assert 'rounds_check_state{check="hung-0",tier="core",state="down"} 1' in answer.text
                assert "event=stopped" in exporter.log

    async def test_sigint_ends_it_as_well(self, exporter: RunningExporter) -> None:
        assert await exporter.stop(signal.SIGINT) == 0


class TestOnce:
    async def test_prints_the_exposition(self, tmp_path: Path, target: HttpServer) -> None:
        file = tmp_path / "rounds.yml"
        file.write_text(config(check("api", target.url)))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rounds", "once", f"--config.file={file}", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        assert b'rounds_check_state{check="api",tier="core",state="up"} 1' in output
        assert list(parse_text(output.decode()))

    async def test_an_unknown_collector_is_wrong_use(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "rounds.yml"
        file.write_text(config(check("api", "http://127.0.0.1:1")))
        code = await asyncio.to_thread(main, ["once", f"--config.file={file}", "--collector=nothing"])
        assert code == 2
        assert "known: services, services/api" in capsys.readouterr().err

"""Faults of the exporter, Prometheus, Alertmanager and Grafana, which run; and an installation without any."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.demo.ports import pick_port
from rounds.doctor.ledger import file_system
from rounds.doctor.prometheus import seconds
from support import processes
from support.binaries import require_binary
from support.doctor import PASSWORD, REPOSITORY, Diagnosis, Installation
from support.waiting import eventually


def get(url: str) -> httpx.Response:
    """An answer."""
    return httpx.get(url, trust_env=False)


@contextlib.contextmanager
def running(folder: Path, name: str, port: int, *command: str | Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server with an HTTP address, until left."""
    url = f"http://127.0.0.1:{port}"
    probe: Callable[[], object] = lambda: get(f"{url}/-/healthy").raise_for_status()  # noqa: E731
    with processes.server([str(each) for each in command], folder / f"{name}.log", probe) as process:
        yield url, process


@contextlib.contextmanager
def exporter(folder: Path, file: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = pick_port()
    words = ["run", f"--config.file={file}", f"--web.listen-address=127.0.0.1:{port}"]
    with running(folder, "exporter", port, sys.executable, "-m", "rounds", *words) as found:
        yield found


@contextlib.contextmanager
def prometheus(folder: Path, config: dict[str, Any], *flags: str, rules: Path | None = None) -> Iterator[str]:
    port, place = pick_port(), folder / "prometheus"
    place.mkdir()
    if rules is not None:
        shutil.copytree(rules, place / "rules")
    file = place / "prometheus.yml"
    file.write_text(json.dumps(config), encoding="utf-8")
    words = [f"--config.file={file}", f"--storage.tsdb.path={place / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with running(folder, "prometheus", port, require_binary("prometheus"), *words, *flags) as (url, _):
        yield url


@contextlib.contextmanager
def alertmanager(folder: Path, **settings: str) -> Iterator[str]:
    """With what render.py makes of these settings."""
    port, place = pick_port(), folder / "alertmanager"
    command = [sys.executable, str(REPOSITORY / "alertmanager/render.py"), f"--output={place}"]
    subprocess.run(command, env=settings, check=True, capture_output=True)
    words = [f"--config.file={place / 'alertmanager.yml'}", f"--storage.path={place / 'data'}"]
    words += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    program = require_binary("alertmanager", "prometheus-alertmanager")
    with running(folder, "alertmanager", port, program, *words) as (url, _):
        yield url


def scraping(target: str, manager: str | None, **more: Any) -> dict[str, Any]:
    """A configuration of Prometheus that sees one exporter every 100 ms."""
    config: dict[str, Any] = {
        "global": {"scrape_interval": "100ms", "scrape_timeout": "100ms", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "rounds", "static_configs": [{"targets": [target]}], **more}],
    }
    if manager:
        static = {"static_configs": [{"targets": [manager.removeprefix("http://")]}]}
        config["alerting"] = {"alertmanagers": [static]}
    return config


@dataclass
class FakeGrafana:
    """Answers as Grafana's API is documented.

    Attributes:
        sources: data sources by uid.
        broken: uids of those that cannot be read.
        dashboards: uids.
        token: what must be shown; everybody may ask where it is empty.
    """

    sources: dict[str, str]
    broken: tuple[str, ...] = ()
    dashboards: tuple[str, ...] = ("apr", "emr", "exporter", "overview", "services", "syncs", "tables")
    token: str = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, body = fake.answer(self.path.partition("?")[0], self.headers.get("Authorization", ""))
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()
            thread.join()

    def answer(self, path: str, authorization: str) -> tuple[int, Any]:
        if path == "/api/health":
            return 200, {"version": "13.0.1"}
        if self.token and authorization != f"Bearer {self.token}":
            return 401, {}
        if path == "/api/datasources":
            return 200, [{"uid": uid, "type": kind} for uid, kind in self.sources.items()]
        if path == "/api/search":
            return 200, [{"uid": uid} for uid in self.dashboards]
        uid = path.split("/")[-2]
        return (400 if uid in self.broken else 200), {}


GRAFANA = {"prometheus": "prometheus", "alertmanager": "alertmanager"}


def found(  # noqa: PLR0917  # the parts of a finding, in its order
    diagnosis: Diagnosis, level: str, group: str, subject: str, words: str, remedy: str
) -> None:
    """There is such a finding."""
    those = diagnosis.about(level, group, subject, words)
    assert those, diagnosis.findings
    assert remedy in "\n".join(those[0]["remedy"]), those


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with processes.folder("rounds-doctor-") as folder:
        yield folder


class TestExporter:
    """Of a running exporter."""

    def test_nobody_is_there(self, installation: Installation) -> None:
        installation.probe()
        url = f"http://127.0.0.1:{pick_port()}"
        found(installation.doctor(f"--exporter={url}"), "error", "exporter", url, "does not answer", "rounds run")
        assert installation.doctor().code == 0  # not asked for

    def test_something_else_is_there(self, installation: Installation) -> None:
        installation.probe()
        with FakeGrafana(GRAFANA).running() as url:
            found(installation.doctor(f"--exporter={url}"), "error", "exporter", url, "no exporter", "--exporter=URL")

    def test_of_a_running_one(self, installation: Installation) -> None:
        """What fails in it, what it did not take over, and what it was not told yet."""
        installation.watch_sqlite()
        (installation.folder / "clinic.db").unlink()
        installation.write()
        with exporter(installation.folder, installation.file) as (url, process):
            flag = f"--exporter={url}"

            def tried() -> bool:
                return bool(installation.doctor(flag).about("error", "exporter", "tables/file", "its last run failed"))

            assert eventually(tried)
            diagnosis = installation.doctor(flag)
            found(diagnosis, "error", "exporter", "tables/file", "its last run failed (connect)", "rounds once --coll")
            assert diagnosis.about("ok", "exporter", url, "is that of these files")

            installation.config["services"] = {"checks": [{"name": "web", "url": "http://127.0.0.1:1/"}]}
            installation.file.unlink()
            found(installation.doctor(flag), "warning", "exporter", url, "services differ", "reload: kill -HUP")

            installation.file.write_text("nonsense: 1", encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            status = f"{url}/api/v1/status"
            assert eventually(lambda: not get(status).json()["config"]["last_reload_successful"])
            found(installation.doctor(flag), "error", "exporter", url, "reload was refused", "rounds check-config")

    def test_it_asks_for_a_password(self, installation: Installation) -> None:
        installation.probe()
        with FakeGrafana(GRAFANA, token="x").running() as url:
            found(
                installation.doctor(f"--exporter={url}"), "error", "exporter", url, "a password", "--password-file=FILE"
            )


class TestPrometheus:
    """Of a running Prometheus and Alertmanager."""

    def test_one_that_sees_nothing(self, installation: Installation) -> None:
        with prometheus(installation.folder, {"global": {"evaluation_interval": "1s"}}) as url:
            diagnosis = installation.doctor(f"--prometheus={url}", f"--bundle={REPOSITORY}")
        found(diagnosis, "error", "prometheus", url, "no target of the job rounds", "job_name: rounds")
        found(diagnosis, "error", "prometheus", "rounds_build_info", "no metric", "/targets")
        found(diagnosis, "error", "prometheus", "services.yml", "are not loaded", "rule_files: [rules/*.yml]")
        found(diagnosis, "warning", "prometheus", "retention", "keeps 15d", "--storage.tsdb.retention.time=31d")
        found(diagnosis, "error", "prometheus", "alerting", "no Alertmanager", "alertmanagers:")

    @pytest.mark.slow
    def test_one_that_sees_wrongly(self, installation: Installation) -> None:
        """Its target is down, its rule fails, its Alertmanager tells nobody."""
        rules = installation.folder / "rules"
        rules.mkdir()
        rule = {"record": "broken", "expr": "up", "labels": {"job": "a", "instance": "a"}}
        (rules / "own.yml").write_text(json.dumps({"groups": [{"name": "own", "rules": [rule]}]}), encoding="utf-8")
        with alertmanager(installation.folder) as manager:
            config = scraping(f"127.0.0.1:{pick_port()}", manager)
            targets = [f"127.0.0.1:{pick_port()}" for _ in range(2)]
            config["scrape_configs"].append({"job_name": "other", "static_configs": [{"targets": targets}]})
            slow = {"job_name": "slow", "scrape_interval": "2m", "static_configs": [{"targets": targets[:1]}]}
            slow["relabel_configs"] = [{"target_label": "job", "replacement": "rounds"}]
            config["scrape_configs"].append(slow)
            config["rule_files"] = ["rules/*.yml"]
            with prometheus(installation.folder, config, rules=rules) as url:
                flag = f"--prometheus={url}"
                assert eventually(lambda: bool(installation.doctor(flag).about("error", "prometheus", "broken")))
                diagnosis = installation.doctor(flag)
        found(diagnosis, "error", "prometheus", "broken", "the rule fails", "promtool check rules")
        found(diagnosis, "error", "prometheus", "target", "cannot be scraped", "curl http://127.0.0.1")
        found(diagnosis, "warning", "prometheus", "target", "scraped every 2m", "scrape_interval: 15s")
        found(diagnosis, "warning", "alertmanager", manager, "sends anything to anybody", "SLACK_WEBHOOK_URL")

    def test_nobody_is_there(self, installation: Installation) -> None:
        url = f"http://127.0.0.1:{pick_port()}"
        diagnosis = installation.doctor(f"--prometheus={url}", f"--alertmanager={url}")
        found(diagnosis, "error", "prometheus", url, "does not answer", "--prometheus=URL")
        found(diagnosis, "error", "alertmanager", url, "does not answer", "--alertmanager=URL")


class TestGrafana:
    """Of its files, and of a running one."""

    @pytest.fixture
    def bundle(self, installation: Installation) -> Path:
        """A copy of the bundle, which may be broken."""
        installation.probe()
        folder = installation.folder / "bundle"
        shutil.copytree(REPOSITORY / "grafana", folder / "grafana", ignore=shutil.ignore_patterns("src", "*.py"))
        installation.flags.append(f"--bundle={folder}")
        return folder / "grafana"

    @staticmethod
    def change(file: Path, change: Callable[[Any], Any]) -> None:
        """Change what a dashboard's file says."""
        tree = json.loads(file.read_text(encoding="utf-8"))
        change(tree)
        file.write_text(json.dumps(tree), encoding="utf-8")

    def test_the_bundle_itself_is_in_order(self, installation: Installation, bundle: Path) -> None:
        diagnosis = installation.doctor()
        assert diagnosis.problems == []
        assert diagnosis.about("ok", "grafana", str(bundle))

    def test_a_data_source_that_is_not_provisioned(self, installation: Installation, bundle: Path) -> None:
        file = bundle / "provisioning/datasources/prometheus.yml"
        file.write_text(file.read_text(encoding="utf-8").replace("uid: prometheus", "uid: other"), encoding="utf-8")
        self.change(
            bundle / "dashboards/Rounds/tables.json",
            lambda tree: tree["panels"][1].update(datasource={"type": "prometheus", "uid": "prometheus"}),
        )
        remedy = "datasources: uid: prometheus"
        found(installation.doctor(), "error", "grafana", "dashboard tables", "is not provisioned", remedy)

    def test_a_data_source_of_another_type(self, installation: Installation, bundle: Path) -> None:
        file = bundle / "journal/mariadb/datasource.yml"
        file.write_text(file.read_text(encoding="utf-8").replace("type: mysql", "type: mssql"), encoding="utf-8")
        found(installation.doctor(), "error", "grafana", "tables-journal", "provisioned as mssql", "type: mysql")

    def test_a_data_source_without_a_uid(self, installation: Installation, bundle: Path) -> None:
        file = bundle / "provisioning/datasources/alertmanager.yml"
        file.write_text(file.read_text(encoding="utf-8").replace("    uid: alertmanager\n", ""), encoding="utf-8")
        found(installation.doctor(), "error", "grafana", "alertmanager.yml", "has no uid", "uid: alertmanager")

    def test_two_dashboards_of_one_uid(self, installation: Installation, bundle: Path) -> None:
        shutil.copy(bundle / "dashboards/Rounds/syncs.json", bundle / "dashboards/Rounds/zz.json")
        found(installation.doctor(), "error", "grafana", "dashboard syncs", "2 dashboards", "zz.json")

    def test_a_dashboard_that_is_cut_short(self, installation: Installation, bundle: Path) -> None:
        file = bundle / "dashboards/Rounds/emr.json"
        file.write_bytes(file.read_bytes()[:1000])
        found(installation.doctor(), "error", "grafana", "emr.json", "is no JSON", "make dashboards")

    def test_a_running_one(self, installation: Installation, bundle: Path) -> None:
        self.change(
            bundle / "dashboards/Rounds/tables.json",
            lambda tree: tree["panels"][1].update(datasource={"type": "prometheus", "uid": "prometheus"}),
        )
        token = installation.secret("token", "glsa_synthetic\n")
        fake = FakeGrafana({"made-up": "prometheus"}, ("made-up",), ("tables",), token="glsa_synthetic")
        with fake.running() as url:
            flags = (f"--grafana-url={url}", f"--grafana-token-file={installation.folder / token}")
            diagnosis = installation.doctor(*flags)
        found(diagnosis, "error", "grafana", "dashboard tables", "is not provisioned", "uid: prometheus")
        found(diagnosis, "warning", "grafana", "data source made-up", "cannot reach", "Data sources in Grafana")
        found(diagnosis, "warning", "grafana", "dashboard syncs", "does not show", "mount grafana/provisioning")
        assert "glsa_synthetic" not in diagnosis.output


@pytest.mark.slow
def test_a_healthy_installation_has_no_fault(installation: Installation, place: Path) -> None:
    """All domains and kinds of sources that there are, with everything around them."""
    installation.watch_mariadb()
    installation.watch_postgresql()
    installation.watch_sqlite()
    checks = installation.servers("mariadb").port
    service = {
        "name": "database",
        "kind": "tcp",
        "host": "127.0.0.1",
        "port": checks,
        "interval": "6s",
        "timeout": "6s",
    }
    installation.config["services"] = {"checks": [service]}
    installation.write()
    hook = {"ALERT_WEBHOOK_URL": "http://127.0.0.1:1/", "DEADMAN_WEBHOOK_URL": "http://127.0.0.1:1/"}
    with (
        exporter(place, installation.file) as (ours, _),
        alertmanager(place, **hook) as manager,
        prometheus(
            place,
            {**scraping(ours.removeprefix("http://"), manager), "rule_files": ["rules/*.yml"]},
            "--storage.tsdb.retention.time=31d",
            rules=REPOSITORY / "prometheus/rules",
        ) as url,
        FakeGrafana(GRAFANA).running() as grafana,
    ):
        installation.flags += [f"--exporter={ours}", f"--prometheus={url}", f"--grafana-url={grafana}"]
        installation.flags.append(f"--bundle={REPOSITORY}")

        before = sorted(installation.folder.iterdir())
        query = f"{url}/api/v1/query?query=rounds_build_info"
        assert eventually(lambda: get(f"{ours}/-/ready").is_success and bool(get(query).json()["data"]["result"]), 90)
        diagnosis = installation.doctor()
        assert diagnosis.problems == []
        assert diagnosis.code == 0
        assert sorted(installation.folder.iterdir()) == before
        groups = {each["group"] for each in diagnosis.findings if each["level"] == "ok"}
        assert groups >= {"configuration", "files", "sources", "grants", "clocks", "ledger", "addresses"}
        assert groups >= {"exporter", "prometheus", "alertmanager", "grafana"}
        assert PASSWORD not in installation.text()


def test_nothing_is_written(installation: Installation) -> None:
    """Not even what SQLite keeps beside a file that it reads."""
    installation.make_ledger()
    installation.write()
    before = [(file.name, file.stat().st_mtime_ns) for file in sorted(installation.folder.iterdir())]
    assert installation.doctor().code == 0
    assert [(file.name, file.stat().st_mtime_ns) for file in sorted(installation.folder.iterdir())] == before


@pytest.mark.parametrize(
    ("text", "expected"), [("31d", 31 * 86_400), ("4w3d", 31 * 86_400), ("1m30s", 90), ("10GB", 0)]
)
def test_durations_of_prometheus(text: str, expected: float) -> None:
    assert seconds(text) == expected


def test_a_network_file_system_is_told(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    lines = ["1 0 0:1 / / rw - ext4 /dev/a rw", f"2 1 0:2 / {tmp_path} rw shared:1 - nfs4 host:/x rw"]
    mounts.write_text("\n".join(lines), encoding="utf-8")
    assert file_system(tmp_path / "a", mounts) == "nfs4"
    assert file_system(Path("/"), mounts) == "ext4"

"""The files that the demo derives are accepted by the programs that read them, and differ in times alone."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from rounds.apr.config import AprSection
from rounds.config import load_config
from rounds.demo import bundle, servers, warehouse
from rounds.demo.certificate import make_certificate
from rounds.demo.desk_room import Clinic
from rounds.demo.scaling import TIMES, Scale
from rounds.demo.synthetic import Service, make_services
from rounds.emr.config import EmrSection
from rounds.services.config import ServicesSection
from rounds.syncs.config import SyncsSection
from rounds.tables.config import TablesSection
from support.binaries import require_binary

SECTIONS = {
    "services": ServicesSection,
    "tables": TablesSection,
    "apr": AprSection,
    "syncs": SyncsSection,
    "emr": EmrSection,
}
TARGETS = {"exporter:12780": "127.0.0.1:1", "alertmanager:9093": "127.0.0.1:2", "127.0.0.1:9090": "127.0.0.1:3"}


def databases(folder: Path, warehouse: Mapping[str, Any] | None = None) -> bundle.Databases:
    apr, syncs = (bundle.sqlite(folder / f"{name}.db") for name in ("apr", "syncs"))
    emr = folder / "docassist" / "monitoring.db"
    return bundle.Databases(folder / "clinic.db", warehouse or {}, apr, syncs, emr, "localhost:1")


def listening() -> dict[str, Service]:
    services = make_services()
    for port, service in enumerate(services.values(), 1000):
        service.port = port
    return services


@pytest.fixture
def production() -> Path:
    found = bundle.find_bundle()
    assert found is not None
    return found


def test_the_exporter_takes_its_configuration(tmp_path: Path) -> None:
    services = listening()
    services["frontend"].certificate = make_certificate(tmp_path)
    file = bundle.write_exporter(tmp_path, services, databases(tmp_path))
    section = load_config([file], SECTIONS)
    checks = {check.name: check for check in section.services.checks}  # type: ignore[attr-defined]
    assert len(checks) == 9
    assert checks["frontend-ready"].tier == "frontend"
    assert checks["saga-orchestrator"].url == "http://127.0.0.1:1006/health/"
    assert {name for name, check in checks.items() if check.url.startswith("https:")} == {"frontend", "frontend-ready"}
    assert {(check.degraded_after, check.down_after) for check in checks.values()} == {(1.0, 5.0)}


@pytest.mark.parametrize("there", [True, False])
def test_patients_are_in_the_warehouse_where_there_is_one(there: bool, tmp_path: Path) -> None:
    source = warehouse.source("127.0.0.1:12791", "rounds") if there else {}
    file = bundle.write_exporter(tmp_path, listening(), databases(tmp_path, source))
    config = load_config([file], SECTIONS)
    tables = {table.name: table for table in config.tables}  # type: ignore[attr-defined]
    kinds = {name: config.sources[table.source].kind for name, table in tables.items()}
    assert kinds == {"patients": "snowflake" if there else "sqlite", "appointments": "sqlite"}
    assert {name: table.keys for name, table in tables.items()} == {"patients": "raw", "appointments": "hashed"}


def test_the_pipeline_is_read_where_it_is_written(tmp_path: Path) -> None:
    file = bundle.write_exporter(tmp_path, listening(), databases(tmp_path))
    config = load_config([file], SECTIONS)
    section = config.apr  # type: ignore[attr-defined]
    source = config.sources[section.source]
    assert (source.kind, source.path) == ("sqlite", tmp_path / "apr.db")  # type: ignore[union-attr]
    assert len(section.working_days) == 7


def test_the_log_of_syncs_is_read_where_it_is_written(tmp_path: Path) -> None:
    file = bundle.write_exporter(tmp_path, listening(), databases(tmp_path))
    config = load_config([file], SECTIONS)
    (sync,) = config.syncs  # type: ignore[attr-defined]
    source = config.sources[sync.source]
    assert (source.kind, source.path) == ("sqlite", tmp_path / "syncs.db")  # type: ignore[union-attr]
    assert sync.organizations.names["org_demo_harbour"] == "harbour"


def test_the_desktop_program_is_looked_at_where_it_is(tmp_path: Path) -> None:
    given = databases(tmp_path)
    config = load_config([bundle.write_exporter(tmp_path, listening(), given)], SECTIONS)
    (app,) = config.emr  # type: ignore[attr-defined]
    assert config.sources[app.source].path == given.emr  # type: ignore[union-attr]
    clinic = Clinic(given.emr.parent)
    clinic.prepare()
    assert app.checks.database.path == clinic.file
    assert list(app.checks.backup.folder.glob(app.checks.backup.pattern))
    assert app.checks.llm.url == "http://localhost:1/"


@pytest.mark.parametrize(("domain", "kind"), [("apr", "mariadb"), ("syncs", "postgresql")])
def test_sources_on_servers_are_read_with_the_password_of_a_file(domain: str, kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("only here")
    place = servers.Place(kind, 12793, "clinic", "writer", {"rounds": secret})
    there: dict[str, Any] = {domain: place.source()}
    given = dataclasses.replace(databases(tmp_path), **there)
    file = bundle.write_exporter(tmp_path, listening(), given)
    source = load_config([file], SECTIONS).sources[domain]
    assert (source.kind, source.user, source.port) == (kind, "rounds", 12793)  # type: ignore[union-attr]
    assert "only here" not in file.read_text()


@pytest.mark.parametrize(("speed", "run_every", "max_age"), [(1.0, 25.0, 45.0), (2.0, 12.5, 22.5), (0.1, 250.0, 450.0)])
def test_limits_follow_the_speed_of_the_script(speed: float, run_every: float, max_age: float, tmp_path: Path) -> None:
    """Else a slow script would pass all of them all the time, and a quick one none."""
    config = load_config([bundle.write_exporter(tmp_path, listening(), databases(tmp_path), speed=speed)], SECTIONS)
    apr, (sync,), (app,) = config.apr, config.syncs, config.emr  # type: ignore[attr-defined]
    assert (apr.run_every, apr.slow_run_after, apr.interval) == (run_every, run_every / 5, 5.0)
    assert (sync.expect_every, sync.limits.stuck_after) == (2 * run_every, 0.8 * run_every)
    assert (app.checks.backup.max_age, app.checks.backup.interval) == (max_age, 5.0)


def test_prometheus_takes_the_scaled_rules_and_only_times_differ(production: Path, tmp_path: Path) -> None:
    promtool = require_binary("promtool")
    config = bundle.write_prometheus(production, tmp_path, Scale(6), TARGETS)

    subprocess.run([promtool, "check", "config", config], check=True, capture_output=True)
    tree = yaml.safe_load(config.read_text())
    assert len(tree["rule_files"]) == len(list((production / "prometheus" / "rules").glob("*.yml")))
    for scaled in tree["rule_files"]:
        original = production / "prometheus" / "rules" / Path(scaled).name.removeprefix("rules-")
        assert _without_times(Path(scaled)) == _without_times(original)


def test_every_production_target_has_its_counterpart(production: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(bundle.write_prometheus(production, tmp_path, Scale(6), TARGETS).read_text())
    original = yaml.safe_load((production / "prometheus" / "prometheus.yml").read_text())
    assert [job["job_name"] for job in tree["scrape_configs"]] == [
        job["job_name"] for job in original["scrape_configs"]
    ]
    assert tree["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["127.0.0.1:2"]}]}]


@pytest.mark.parametrize("mail", ["127.0.0.1:2525", None])
def test_alertmanager_takes_the_scaled_routes(
    production: Path, tmp_path: Path, mail: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    amtool = require_binary("amtool")
    monkeypatch.setenv("DEADMAN_WEBHOOK_URL", "http://real.example.org/")
    config = bundle.write_alertmanager(production, tmp_path, Scale(6), "http://127.0.0.1:1/", mail)

    subprocess.run([amtool, "check-config", config], check=True, capture_output=True)
    tree = yaml.safe_load(config.read_text())
    critical = next(each for each in tree["receivers"] if each["name"] == "critical")
    assert "slack_configs" in critical
    assert ("email_configs" in critical) == (mail is not None)
    assert tree["route"]["group_interval"] == "2s"
    assert "real.example.org" not in config.read_text()
    # So that the chronicle can say whose a message is.
    assert all(each["footer"] == "{{ .CommonLabels.component }}" for each in critical["slack_configs"])
    assert all("X-Rounds-Component" in each["headers"] for each in critical.get("email_configs", ()))


def test_events_end_sooner_where_that_is_wanted(production: Path, tmp_path: Path) -> None:
    """Else they would pile up, and the mass deletion of one round of the script would last into the next."""
    promtool = require_binary("promtool")
    scale = Scale(6, events=True)
    subprocess.run(
        [promtool, "check", "config", bundle.write_prometheus(production, tmp_path, scale, TARGETS)],
        check=True,
        capture_output=True,
    )
    rules = (tmp_path / "rules-tables.yml").read_text()
    tree = yaml.safe_load(rules)
    expressions = {
        rule.get("alert", rule.get("record")): rule["expr"] for group in tree["groups"] for rule in group["rules"]
    }
    for name in ("table:rounds_table_deleted:ratio", "TableRowsDeleted", "TableRowsInserted", "TableRowsModified"):
        assert "> time() - 50" in expressions[name], name
    assert "ratio[1m]" in expressions["TableMassDeletion"]
    assert "deleted:ratio[1h]" not in expressions["TableMassDeletion"]
    assert any(line.startswith("age of events") and "5m -> 50s" in line for line in scale.described())


def _without_times(file: Path) -> object:
    def strip(tree: object) -> object:
        if isinstance(tree, dict):
            return {key: strip(value) for key, value in tree.items() if key not in TIMES}
        return [strip(item) for item in tree] if isinstance(tree, list) else tree

    return strip(yaml.safe_load(file.read_text()))

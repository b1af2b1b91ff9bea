"""From YAML to a typed configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rounds.cli import main
from rounds.config import load_config
from rounds.documents import load
from rounds.domains import all_domains
from rounds.fields import Secret, format_duration, parse_duration
from rounds.services.config import ServicesSection

ODD = "@:/?#%\"'$\\ {}[]`~!^&*()<>|;,\té "
REPOSITORY = Path(__file__).parents[2]


def write(folder: Path, text: str, name: str = "rounds.yml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_variable_is_put_in_as_text_and_never_read_as_yaml(tmp_path: Path) -> None:
    file = write(tmp_path, "a: ${A}\nb: 'x-${A}-y'\nc: {d: '${B:-fallback}'}\n")
    tree = load([file], {"A": "{e: 1} # no comment ${B}"}).tree
    assert tree == {"a": "{e: 1} # no comment ${B}", "b": "x-{e: 1} # no comment ${B}-y", "c": {"d": "fallback"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("'$${A}'", "${A}"), ("'$A'", "$A"), ("'100%$'", "100%$"), ("'${EMPTY}'", ""), ("'${EMPTY:-d}'", "d")],
)
def test_dollars(tmp_path: Path, text: str, value: str) -> None:
    assert load([write(tmp_path, f"a: {text}\n")], {"A": "x", "EMPTY": ""}).tree == {"a": value}


def test_files_merge(tmp_path: Path) -> None:
    one = write(tmp_path, "services:\n  labels: [team]\n  checks:\n    - {name: a, url: 'http://x/'}\n", "one.yml")
    two = write(tmp_path, "max_series: 7\nservices:\n  checks:\n    - {name: b, url: 'http://y/'}\n", "two.yml")
    document = load([one, two])
    assert [check["name"] for check in document.tree["services"]["checks"]] == ["a", "b"]
    assert str(document.place(("services", "checks", 1, "name"))) == f"{two}:4"


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = "x: &base {interval: 3s}\ny: {<<: *base, timeout: 2s}\n"
    assert load([write(tmp_path, text)]).tree["y"] == {"interval": "3s", "timeout": "2s"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("15s", 15), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600), ("7d", 604800), ("1.5s", 1.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


def services(tmp_path: Path, text: str, **environ: str) -> ServicesSection:
    config = load_config([write(tmp_path, text)], {"services": ServicesSection}, environ)
    section = config.services  # type: ignore[attr-defined]
    assert isinstance(section, ServicesSection)
    return section


def test_defaults_reach_checks_that_do_not_say_otherwise(tmp_path: Path) -> None:
    section = services(
        tmp_path,
        """
services:
  defaults: {interval: 30s, tier: edge, bearer_token: t, expect_status: [2xx, 404]}
  checks:
    - {name: a, url: "http://x/"}
    - {name: b, url: "x:81", interval: 1m, basic_auth: {username: u, password: p}}
    - {name: c, kind: tcp, host: db, port: "5432"}
""",
    )
    a, b, c = section.checks
    assert (a.interval, a.tier, b.interval, c.interval, c.tier) == (30, "edge", 60, 30, "edge")
    assert a.kind == b.kind == "http"
    assert a.bearer_token == Secret("t")
    assert b.bearer_token is None, "its own way to log in replaces the default one"
    assert b.url == "http://x:81".replace("x", "x") + "/"
    assert list(a.expect_status) == [range(200, 300), range(404, 405)]
    assert c.kind == "tcp"
    assert c.port == 5432


def test_secrets_with_every_odd_character_from_variable_and_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{{{ODD}\n", encoding="utf-8")
    section = services(
        tmp_path,
        """
services:
  checks:
    - {name: a, url: "http://x/", basic_auth: {username: u, password: "${PASSWORD}"}}
    - {name: b, url: "http://x/", basic_auth: {username: u, password_file: secret}}
""",
        PASSWORD="{" + ODD,
    )
    by_variable, by_file = (check.basic_auth for check in section.checks if check.kind == "http")
    assert by_variable is not None
    assert by_variable.password is not None
    assert by_variable.password.reveal() == "{" + ODD
    assert by_file is not None
    assert by_file.password_file is not None
    assert by_file.password_file.reveal() == "{" + ODD
    shown = f"{section!r} {section} {section.model_dump()} {section.model_dump_json()}"
    assert ODD not in shown
    assert ODD not in json.loads(json.dumps(shown))
    assert "<secret>" in shown


def test_the_default_configuration_is_the_nine_checks_of_the_system_it_replaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SERVICES_HOST", raising=False)
    sections = {domain.name: domain.section for domain in all_domains()}
    config = load_config([REPOSITORY / "exporter/rounds.yml"], sections)
    checks = config.services.checks  # type: ignore[attr-defined]
    assert {(check.name, check.url, check.tier) for check in checks} == {
        ("api-gateway", "http://localhost:8000/api/health", "core"),
        ("llm-orchestrator", "http://localhost:8003/health", "core"),
        ("mcp-server", "http://localhost:8001/health", "core"),
        ("airtable-gateway", "http://localhost:8002/health", "core"),
        ("platform-services", "http://localhost:8007/health", "core"),
        ("automation-services", "http://localhost:8006/health", "core"),
        ("saga-orchestrator", "http://localhost:8008/health/", "core"),
        ("frontend", "http://localhost:3000/api/health", "frontend"),
        ("frontend-ready", "http://localhost:3000/health/ready", "frontend"),
    }
    assert {(c.interval, c.timeout, c.degraded_after, c.down_after) for c in checks} == {(15, 10, 1, 5)}


def test_the_schema_is_json_schema_and_knows_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config-schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    sections = {"apr", "emr", "services", "syncs", "tables"}
    assert set(schema["properties"]) == {"max_series", "sources", "state"} | sections
    assert schema["additionalProperties"] is False


def test_sources_are_typed_and_keep_their_secrets(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(ODD + "\n", encoding="utf-8")
    text = """
sources:
  apr: {kind: mariadb, host: db, user: u, password_file: pw, database: BMA}
  clinic: {kind: postgresql, host: db, user: u, password: "${PW}", database: clinic, port: 5433}
  app: {kind: sqlite, path: data/monitoring.db}
  warehouse: {kind: snowflake, account: a, user: u, token: "${PW}", authenticator: oauth}
  api: {kind: http, url: "https://api.example/v1", token: "${PW}"}
"""
    config = load_config([write(tmp_path, text)], {}, {"PW": ODD})
    assert [source.kind for source in config.sources.values()] == [
        "mariadb",
        "postgresql",
        "sqlite",
        "snowflake",
        "http",
    ]
    apr = config.sources["apr"]
    assert apr.kind == "mariadb"
    assert apr.secret is not None
    assert apr.secret.reveal() == ODD
    app = config.sources["app"]
    assert app.kind == "sqlite"
    assert app.path == tmp_path / "data/monitoring.db"
    assert ODD not in f"{config!r}{config.model_dump()}{config.model_dump_json()}"

"""What deploy/ adds to Prometheus: the fragments go with our configuration, rules do what they say, samples arrive."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rounds.demo.scaling import Scale
from support import cluster
from support.binaries import require_binary
from support.exporter import running_exporter, until
from support.servers import HttpServer, reply

FRAGMENTS = sorted(file.stem for file in cluster.FRAGMENTS.glob("*.yml"))
COMPOSE = cluster.REPOSITORY / "deploy" / "compose"
HISTORIES = {"victoriametrics", "mimir"}
#: Each alone, and all that go together.
SETS = [(name,) for name in FRAGMENTS] + [
    tuple(name for name in FRAGMENTS if name not in HISTORIES - {history}) for history in sorted(HISTORIES)
]
RULES = sorted((cluster.FRAGMENTS / "rules").glob("*.yml"))


def merge(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(cluster.FRAGMENTS / "merge.py"),
        f"--output={folder / 'merged.yml'}",
        *map(str, files),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write(folder: Path, *trees: dict[str, Any]) -> list[Path]:
    files = [folder / f"{number}.yml" for number in range(len(trees))]
    for file, tree in zip(files, trees, strict=True):
        file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return files


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_prometheus_takes_our_configuration_with_fragments(names: tuple[str, ...], tmp_path: Path) -> None:
    file = cluster.merged(tmp_path, *names)
    done = subprocess.run(
        [require_binary("promtool"), "check", "config", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    base = yaml.safe_load((cluster.REPOSITORY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert tree["global"].items() >= base["global"].items()
    jobs = [job["job_name"] for job in tree["scrape_configs"]]
    assert len(set(jobs)) == len(jobs)
    assert {job["job_name"] for job in base["scrape_configs"]} <= set(jobs)


@pytest.mark.parametrize("name", sorted(file.stem for file in COMPOSE.glob("*.yml")))
def test_a_fragment_asks_services_of_its_overlay(name: str) -> None:
    fragment = cluster.FRAGMENTS / f"{name}.yml"
    if not fragment.exists():
        pytest.skip("it adds nothing to Prometheus' configuration")
    text = (COMPOSE / f"{name}.yml").read_text(encoding="utf-8")
    assert f"target: /fragments/{name}.yml" in text
    known = set(re.findall(r"^  ([a-z0-9-]+):$", text, re.MULTILINE)) | {"alertmanager", "prometheus", "exporter"}
    asked = re.findall(r'["/]([a-z0-9-]+):\d+', fragment.read_text(encoding="utf-8"))
    assert asked
    assert set(asked) <= known


def test_alertmanagers_are_told_the_same_by_both_of_a_pair(tmp_path: Path) -> None:
    """Whatever label tells the two apart is dropped before an alert leaves."""
    tree = yaml.safe_load(cluster.merged(tmp_path, "prometheus-pair").read_text(encoding="utf-8"))
    (label,) = tree["global"]["external_labels"]
    assert {"action": "labeldrop", "regex": label} in tree["alerting"]["alert_relabel_configs"]


def test_a_merge_adds_and_keeps(tmp_path: Path) -> None:
    files = write(
        tmp_path,
        {
            "a": {"x": 1},
            "scrape_configs": [{"job_name": "j", "static_configs": [{"targets": ["a"]}]}],
            "rule_files": ["r"],
        },
        {
            "a": {"y": 2},
            "scrape_configs": [{"job_name": "j", "static_configs": [{"targets": ["b"]}]}, {"job_name": "k"}],
        },
        {"a": {"x": 1}, "rule_files": ["r", "s"]},
    )
    assert merge(tmp_path, *files).returncode == 0
    assert yaml.safe_load((tmp_path / "merged.yml").read_text(encoding="utf-8")) == {
        "a": {"x": 1, "y": 2},
        "scrape_configs": [
            {"job_name": "j", "static_configs": [{"targets": ["a"]}, {"targets": ["b"]}]},
            {"job_name": "k"},
        ],
        "rule_files": [str(tmp_path / "r"), str(tmp_path / "s")],
    }


@pytest.mark.parametrize(
    ("tree", "said"), [({"a": {"x": 2}}, "1.yml: a.x: is already set to 1"), ([], "1.yml: should hold a mapping")]
)
def test_what_does_not_go_together_is_refused_and_nothing_written(tree: Any, said: str, tmp_path: Path) -> None:
    done = merge(tmp_path, *write(tmp_path, {"a": {"x": 1}}, tree))
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "merged.yml").exists()


@pytest.mark.parametrize("rules", RULES, ids=lambda file: file.stem)
def test_rules_do_what_their_tests_say_and_have_their_runbooks(rules: Path, tmp_path: Path) -> None:
    test = cluster.FRAGMENTS / "tests" / f"{rules.stem}_test.yml"
    promtool = require_binary("promtool")
    done = subprocess.run([promtool, "test", "rules", test], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = rules.read_text(encoding="utf-8")
    for alert in (rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]):
        runbook = cluster.REPOSITORY / alert["annotations"]["runbook_url"].removeprefix("/")
        assert runbook.read_text(encoding="utf-8").startswith(f"# {alert['alert']}\n")
    # They notice what is broken.
    for folder in ("rules", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tests" / test.name).write_text(test.read_text(encoding="utf-8"), encoding="utf-8")
    for old, new in (("== 0", "== 1"), ("for: ", "keep_firing_for: 1h # ")):
        assert old in text
        (tmp_path / "rules" / rules.name).write_text(text.replace(old, new, 1), encoding="utf-8")
        command = [str(promtool), "test", "rules", str(tmp_path / "tests" / test.name)]
        assert subprocess.run(command, capture_output=True, check=False).returncode, old


def test_the_names_of_the_example_are_checks_of_the_default_configuration() -> None:
    checks = yaml.safe_load((cluster.REPOSITORY / "exporter" / "rounds.yml").read_text(encoding="utf-8"))["services"]
    (group,) = yaml.safe_load((cluster.FRAGMENTS / "checks" / "checks.yml").read_text(encoding="utf-8"))
    assert group["targets"] == [each["name"] for each in checks["checks"]]


def test_a_pair_of_exporters_is_relabelled_as_its_page_tells() -> None:
    (job,) = yaml.safe_load((cluster.FRAGMENTS / "exporter-pair.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (rule,) = job["metric_relabel_configs"]
    page = (cluster.REPOSITORY / "docs" / "high-availability.md").read_text(encoding="utf-8")
    told = yaml.safe_load(re.findall(r"```yaml\n(   - job_name: rounds\n.*?)```", page, re.DOTALL)[0])
    assert told[0]["metric_relabel_configs"] == [rule]


def test_grafana_gets_each_history_by_the_same_uid() -> None:
    """A dashboard's link names it."""
    sources = {}
    for name in ("victoriametrics", "mimir", "prometheus-2"):
        file = cluster.REPOSITORY / "deploy" / "grafana" / f"{name}.yml"
        (sources[name],) = yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    assert {name: each["uid"] for name, each in sources.items()} == {
        "victoriametrics": "history",
        "mimir": "history",
        "prometheus-2": "prometheus-2",
    }
    assert {each["type"] for each in sources.values()} == {"prometheus"}


@pytest.mark.slow
async def test_samples_and_recorded_series_arrive_where_they_are_written_to(tmp_path: Path) -> None:
    """A second Prometheus takes them, with the same protocol as VictoriaMetrics and Mimir."""
    folders = {name: tmp_path / name for name in ("prometheus", "history", "exporter")}
    for folder in folders.values():
        folder.mkdir()
    places = cluster.addresses("prometheus", "history")
    empty = folders["history"] / "empty.yml"
    empty.write_text("{}", encoding="utf-8")
    history = cluster.prometheus(
        folders["history"], "history", empty, places["history"], "--web.enable-remote-write-receiver"
    )
    async with HttpServer(reply()) as target:
        defaults = {"interval": "1s", "timeout": "900ms", "degraded_after": "500ms", "down_after": "800ms"}
        config = {"services": {"defaults": defaults, "checks": [{"name": "api", "url": target.url}]}}
        async with running_exporter(folders["exporter"], json.dumps(config)) as exporter:
            moved = {
                "exporter:12780": exporter.url[7:],
                "127.0.0.1:9090": places["prometheus"],
                "http://victoriametrics:8428": f"http://{places['history']}",
            }
            rules = cluster.write_prometheus(
                folders["prometheus"], Scale(6), moved, "victoriametrics", "prometheus-pair"
            )
            sender = cluster.prometheus(
                folders["prometheus"], "prometheus", rules, places["prometheus"], replica="first"
            )
            async with cluster.running(history, sender):
                for name in ("rounds_build_info", "check:rounds_check_state:code"):
                    found = await until(functools.partial(history.query, name), 30)
                    # Two servers write the same series.
                    assert "replica" not in found[0]["metric"]

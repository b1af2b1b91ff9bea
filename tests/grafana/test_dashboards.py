"""The dashboards: generated, sound by every rule of `lint`, and the rules notice what they are for."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grafana.src import build, cards, emr_queries, kit, limits, syncs, tables

from bundle.promql import known_metrics
from bundle.rules import ROOT, alerts
from grafana.lint import Json, Known, findings, panels_of, variables_of

FILES = sorted((ROOT / "grafana" / "dashboards").rglob("*.json"))
#: Never to be renamed: alerts, bookmarks and the dashboards themselves lead to them.
UIDS = ["apr", "emr", "exporter", "overview", "services", "syncs", "tables"]


def name_of(file: Path) -> str:
    return file.stem


def load(name: str) -> Json:
    loaded: Json = json.loads(next(file for file in FILES if file.stem == name).read_text(encoding="utf-8"))
    return loaded


def known() -> Known:
    dashboards = {each.stem: variables_of(json.loads(each.read_text(encoding="utf-8"))) for each in FILES}
    return Known(known_metrics(), kit.known_units(), dashboards)


def test_the_dashboards_are_these() -> None:
    assert sorted(json.loads(file.read_text(encoding="utf-8"))["uid"] for file in FILES) == UIDS
    assert [file.stem for file in FILES] == UIDS, "a file is called like its uid"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_is_what_the_code_makes(file: Path) -> None:
    assert file.read_text(encoding="utf-8") == build.generated()[file]


def test_one_module_knows_the_library() -> None:
    files = (ROOT / "grafana").rglob("*.py")
    knowing = [file.name for file in files if "from grafana_foundation_sdk" in file.read_text(encoding="utf-8")]
    assert sorted(knowing) == ["kit.py"]


def test_the_script_compares() -> None:
    done = subprocess.run(
        [sys.executable, "grafana/src/build.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_library_knows_every_key(file: Path) -> None:
    """What it does not know is lost on the way through its models."""
    text = file.read_text(encoding="utf-8")
    assert kit.encode(kit.decode(text)) == text


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_dashboard_is_sound(file: Path) -> None:
    assert findings(json.loads(file.read_text(encoding="utf-8")), known()) == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_state_has_one_colour(file: Path) -> None:
    """Words for states are coloured alike wherever they stand."""
    colours = {
        "up": kit.UP,
        "works": kit.UP,
        "loaded": kit.UP,
        "degraded": kit.DEGRADED,
        "error": kit.DEGRADED,
        "down": kit.DOWN,
        "fails": kit.DOWN,
        "refused": kit.DOWN,
        "critical": kit.DOWN,
        "warning": kit.WARNING,
        "overdue": kit.DEGRADED,
        "info": kit.NEUTRAL,
        "stale": kit.DEGRADED,
        "running": kit.NEUTRAL,
        "runs": kit.NEUTRAL,
        "closed": kit.UNKNOWN,
        "installed": kit.UP,
        "timed out": kit.DEGRADED,
        "not installed": kit.DEGRADED,
        "no answer": kit.DOWN,
        "sound": kit.UP,
        "damaged": kit.DOWN,
        "no": kit.UP,
        "locked": kit.DEGRADED,
        **emr_queries.STATE_COLOURS,
        **tables.CHANGE_COLOURS,
        **syncs.STATE_COLOURS,
        kit.NO_DATA: kit.UNKNOWN,
        **cards.COLOURS,
    }
    for panel in panels_of(load(file.stem)):
        mappings = list(panel.get("fieldConfig", {}).get("defaults", {}).get("mappings") or ())
        for override in panel.get("fieldConfig", {}).get("overrides", []):
            mappings += [
                each for entry in override["properties"] if entry["id"] == "mappings" for each in entry["value"]
            ]
        for mapping in mappings:
            if mapping["type"] == "value":
                for result in mapping["options"].values():
                    assert result["color"] == colours[result["text"]], panel["title"]


def test_limits_are_those_of_the_rules() -> None:
    assert limits.objective() == 0.995
    assert (limits.burn_fast(), limits.burn_slow()) == (14.4, 3)
    assert (limits.certificate_warning(), limits.certificate_critical()) == (21 * 86_400, 7 * 86_400)
    stale = next(rule for rule in alerts() if rule.name == "CollectorStale")
    assert limits.collector_stale() in stale.expr
    overdue = next(rule for rule in alerts() if rule.name == "TableCheckOverdue")
    assert limits.table_overdue() in overdue.expr
    assert (limits.sync_overdue(), limits.sync_rest()) == (2, "2 * 86400")
    assert (limits.sync_ratio(), limits.sync_ratio_window()) == (0.95, "6h")
    assert (limits.emr_error_ratio(), limits.emr_window()) == (0.05, "5m")
    assert (limits.emr_memory(), limits.emr_disk(), limits.emr_backup_slack()) == (0.1, 0.15, 7200)
    assert limits.table_overdue() == limits.collector_stale(), "tables are among the stale collectors with one limit"


def _panel(dashboard: Json, kind: str = "timeseries") -> Json:
    found: Json = next(panel for panel in dashboard["panels"] if panel["type"] == kind)
    return found


def _misspelt_metric(dashboard: Json) -> None:
    target = _panel(dashboard)["targets"][0]
    target["expr"] = target["expr"].replace("rounds_check_response_seconds", "rounds_check_respone_seconds")


def _missing_unit(dashboard: Json) -> None:
    del _panel(dashboard)["fieldConfig"]["defaults"]["unit"]


def _overlap(dashboard: Json) -> None:
    _panel(dashboard)["gridPos"]["y"] -= 1


def _dead_link(dashboard: Json) -> None:
    link = _panel(dashboard, "stat")["fieldConfig"]["defaults"]["links"][0]
    link["url"] = link["url"].replace("/d/services", "/d/service-health")


def _dead_link_variable(dashboard: Json) -> None:
    link = _panel(dashboard, "stat")["fieldConfig"]["defaults"]["links"][0]
    link["url"] = link["url"].replace("var-check", "var-service")


def _wrong_uid(dashboard: Json) -> None:
    dashboard["uid"] = "service"


def _empty_text(dashboard: Json) -> None:
    panel = _panel(dashboard)
    panel["type"] = "text"
    panel["options"] = {"mode": "markdown", "content": ""}


def _empty_panel(dashboard: Json) -> None:
    _panel(dashboard)["targets"] = []


def _fixed_range(dashboard: Json) -> None:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            target["expr"] = target["expr"].replace("[$__rate_interval]", "[5m]")


def _duplicate_id(dashboard: Json) -> None:
    dashboard["panels"][2]["id"] = dashboard["panels"][1]["id"]


def _unknown_variable(dashboard: Json) -> None:
    target = _panel(dashboard)["targets"][0]
    target["expr"] = target["expr"].replace("$check", "$service")


def _no_description(dashboard: Json) -> None:
    _panel(dashboard)["description"] = ""


def _no_value(dashboard: Json) -> None:
    del _panel(dashboard, "stat")["fieldConfig"]["defaults"]["noValue"]


def _broken_query(dashboard: Json) -> None:
    _panel(dashboard)["targets"][0]["expr"] += ")"


def _fixed_datasource(dashboard: Json) -> None:
    _panel(dashboard)["targets"][0]["datasource"] = {"type": "prometheus", "uid": "prometheus"}


def _raw_counter(dashboard: Json) -> None:
    _panel(dashboard)["targets"][0]["expr"] = "sum(rounds_check_probes_total)"


def _raw_counter_with_another_before(dashboard: Json) -> None:
    """A difference is one only with the same counter."""
    before = "rounds_check_failures_total offset $__interval"
    _panel(dashboard)["targets"][0]["expr"] = f"sum(rounds_check_probes_total) - sum({before})"


def _rate_of_a_gauge(dashboard: Json) -> None:
    _panel(dashboard)["targets"][0]["expr"] = "rate(rounds_check_response_seconds[$__rate_interval])"


def _inputs(dashboard: Json) -> None:
    dashboard["__inputs"] = []


def _editable(dashboard: Json) -> None:
    dashboard["editable"] = True


def _lost_overview(dashboard: Json) -> None:
    dashboard["links"] = dashboard["links"][1:]


def _no_alerts(dashboard: Json) -> None:
    dashboard["annotations"]["list"] = []


def _raw_legend(dashboard: Json) -> None:
    _panel(dashboard)["targets"][0]["legendFormat"] = "__auto"


def _lost_column(dashboard: Json) -> None:
    _panel(dashboard, "table")["fieldConfig"]["overrides"][0]["matcher"]["options"] = "Chek"


def _green_unknown(dashboard: Json) -> None:
    _panel(dashboard, "stat")["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["color"] = kit.UP


FAULTS: list[tuple[str, Callable[[Json], None]]] = [
    ("metric", _misspelt_metric),
    ("unit", _missing_unit),
    ("overlap", _overlap),
    ("link", _dead_link),
    ("link", _dead_link_variable),
    ("uid", _wrong_uid),
    ("targets", _empty_panel),
    ("text", _empty_text),
    ("rate", _fixed_range),
    ("id", _duplicate_id),
    ("variable", _unknown_variable),
    ("description", _no_description),
    ("noValue", _no_value),
    ("promql", _broken_query),
    ("datasource", _fixed_datasource),
    ("counter", _raw_counter),
    ("counter", _raw_counter_with_another_before),
    ("rate", _rate_of_a_gauge),
    ("inputs", _inputs),
    ("editable", _editable),
    ("annotations", _no_alerts),
    ("links", _lost_overview),
    ("legend", _raw_legend),
    ("columns", _lost_column),
    ("thresholds", _green_unknown),
]


@pytest.mark.parametrize(("rule", "plant"), FAULTS, ids=[plant.__name__ for _, plant in FAULTS])
def test_a_planted_fault_is_found(rule: str, plant: Callable[[Json], None]) -> None:
    sound = load("services")
    broken = copy.deepcopy(sound)
    plant(broken)
    assert broken != sound, "the fault was planted"
    assert {found.partition(":")[0] for found in findings(broken, known())} & {rule}


def test_edited_json_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, text in build.generated().items():
        copied = tmp_path / file.relative_to(build.GRAFANA)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_text(text, encoding="utf-8")
    monkeypatch.setattr(build, "GRAFANA", tmp_path)
    assert build.differing() == []
    edited = next(tmp_path.rglob("services.json"))
    edited.write_text(edited.read_text(encoding="utf-8").replace('"now-1h"', '"now-6h"'), encoding="utf-8")
    stranger = tmp_path / "dashboards" / "Rounds" / "mine.json"
    stranger.write_text("{}", encoding="utf-8")
    assert build.differing() == [stranger, edited]


def test_an_unknown_key_is_found() -> None:
    broken: dict[str, Any] = load("services")
    _panel(broken)["fieldConfig"]["defaults"]["unitt"] = "s"
    text = json.dumps(broken, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    assert kit.encode(kit.decode(text)) != text

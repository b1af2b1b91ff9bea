"""What every rule must keep to, read from the files alone."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import promql_parser
import pytest
import yaml

from bundle.promql import known_metrics, selectors, unknown_metrics
from bundle.rules import ROOT, RULE_TESTS, Rule, alerts, all_rules
from rounds.domains import all_domains
from rounds.emr.names import SEVERITIES as SEVERITIES_OF_APPS
from rounds.exporter import catalogue

SEVERITIES = {"critical", "error", "warning", "info"}
ANNOTATIONS = {"summary", "resolved_summary", "description", "runbook_url", "dashboard_url"}
COMPONENTS = {"services", "tables", "apr", "syncs", "emr", "exporter"}
SCRAPE_INTERVAL = 5
RUNBOOK_SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]

EVENTS = {
    "TableRowsInserted",
    "TableRowsDeleted",
    "TableRowsModified",
    "TableBaselineLost",
    "TableSchemaChanged",
    "SyncMassDeletion",
    "EmrNewErrorGroup",
    "EmrCrashed",
    "EmrUncleanShutdown",
    "EmrAppAlert",
}
#: Alerts whose severity is a label of the series: whoever raised them said it, a word of the closed set.
SEVERITY_OF_SERIES = {"EmrAppAlert": "rounds_emr_last_alert_timestamp_seconds"}
#: Labels besides those that say what an alert is about.
OWN_LABELS = {
    **dict.fromkeys(("TableRowsInserted", "TableRowsDeleted", "TableRowsModified"), ("change", "changed_at")),
    "TableBaselineLost": ("reason",),
    **dict.fromkeys(("AprInvalidOpenTooLong", "AprFlapping"), ("validation_type",)),
    "AprSchemaProblem": ("problem",),
    **dict.fromkeys(
        (
            "SyncOverdue",
            "SyncNeverSucceeded",
            "SyncLastRunFailed",
            "SyncPartial",
            "SyncFoundShrink",
            "SyncStuck",
            "SyncRunTooLong",
            "SyncRunStale",
        ),
        ("sync", "organization", "operation"),
    ),
    "SyncMassDeletion": ("sync", "organization", "operation", "changed_at"),
    **dict.fromkeys(("SyncAuthFailed", "SyncSuccessRatioLow"), ("sync", "operation")),
    "SyncRunOrphaned": ("sync",),
    "SyncSchemaProblem": ("sync", "problem"),
    **dict.fromkeys(
        (
            "EmrCheckUnhealthy",
            "EmrCheckDegraded",
            "EmrCheckStale",
            "EmrCrashLoop",
            "EmrDiskWillFill",
            "EmrMemoryLow",
            "EmrNewErrorGroup",
            "EmrStoreCorrupt",
            "EmrTelemetryLost",
            "EmrUncleanShutdown",
        ),
        ("app",),
    ),
    **dict.fromkeys(("EmrErrorRatioHigh", "EmrOperationSlow"), ("app", "operation")),
    "EmrCrashed": ("app", "crash", "changed_at"),
    "EmrAppAlert": ("app", "severity"),
    **dict.fromkeys(("EmrBackupStale", "EmrBackupMissing"), ("app", "backup")),
    "EmrModelMissing": ("app", "model"),
}

ALL = list(all_rules())
ALERTS = alerts()


def name_of(rule: Rule) -> str:
    return rule.name


@pytest.mark.parametrize("rule", ALL, ids=name_of)
def test_an_expression_parses_and_names_known_metrics(rule: Rule) -> None:
    assert not unknown_metrics(rule.expr, known_metrics())


def test_metrics_are_found_in_every_part_of_an_expression() -> None:
    expression = 'sum by (a) (rate(x_total{b="c"}[5m])) / (y > 0) unless on (a) max_over_time(z[1h:1m]) and -(w)'
    assert {each.name for each in selectors(promql_parser.parse(expression))} == {"x_total", "y", "z", "w"}


@pytest.mark.parametrize("rule", ALERTS, ids=name_of)
def test_an_alert_has_its_labels_and_annotations(rule: Rule) -> None:
    labels, annotations = rule.body["labels"], rule.body["annotations"]
    if rule.name in SEVERITY_OF_SERIES:
        assert "severity" not in labels, "it would be put in the place of the series'"
    else:
        assert labels["severity"] in SEVERITIES
    assert labels["component"] in COMPONENTS
    assert rule.file.stem == labels["component"]
    assert set(annotations) == ANNOTATIONS
    assert all(text.strip() for text in annotations.values())
    assert not any("{{" in str(value) for value in labels.values()), "a value in a label makes each one a new alert"
    assert not any(
        text.rstrip().endswith((".", "!")) for text in (annotations["summary"], annotations["resolved_summary"])
    )
    assert annotations["description"].rstrip().endswith(".")


def test_a_severity_of_a_series_reaches_the_alert() -> None:
    """Without one the alert would go to nobody who waits for its severity."""
    metrics = {metric.name: metric for metric in catalogue(all_domains())}
    for name, series in SEVERITY_OF_SERIES.items():
        rule = next(each for each in ALERTS if each.name == name)
        assert {each.name for each in selectors(promql_parser.parse(rule.expr))} == {series}
        assert dict(metrics[series].values).get("severity", SEVERITIES_OF_APPS) == SEVERITIES_OF_APPS
        assert set(SEVERITIES_OF_APPS) == SEVERITIES
        assert not re.search(r"\bby\b|without \([^)]*severity", rule.expr)


@pytest.mark.parametrize("rule", ALERTS, ids=name_of)
def test_an_alert_has_its_runbook(rule: Rule) -> None:
    path = rule.body["annotations"]["runbook_url"]
    assert path == f"/docs/runbooks/{rule.name}.md"
    text = (ROOT / path.removeprefix("/")).read_text(encoding="utf-8")
    assert text.startswith(f"# {rule.name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == RUNBOOK_SECTIONS


def test_every_runbook_has_its_alert() -> None:
    runbooks = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    # Those of the set-ups in deploy/ are tested in tests/stack/test_deploy.py.
    further = {
        rule["alert"]
        for file in (ROOT / "deploy" / "prometheus" / "rules").glob("*.yml")
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }
    assert runbooks == {rule.name for rule in ALERTS} | further


@pytest.mark.parametrize("rule", ALERTS, ids=name_of)
def test_an_alert_links_to_a_dashboard_that_exists(rule: Rule) -> None:
    found = re.fullmatch(
        r"/d/([a-z-]+)(?:\?var-([a-z]+)=\{\{ \$labels\.([a-z]+) \}\})?", rule.body["annotations"]["dashboard_url"]
    )
    assert found
    uid, variable, label = found.groups()
    dashboards = [json.loads(file.read_text(encoding="utf-8")) for file in (ROOT / "grafana").rglob("*.json")]
    variables = {each["uid"]: {item["name"] for item in each["templating"]["list"]} for each in dashboards}
    assert uid in variables
    assert variable == label
    assert variable is None or variable in variables[uid]


@pytest.mark.parametrize("rule", ALERTS, ids=name_of)
def test_text_uses_no_label_that_the_alert_lacks(rule: Rule) -> None:
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule.body["annotations"].values())))
    exporter = {"job", "instance", "member"}  # the last one where two exporters share a ledger
    assert used <= exporter | {"check", "collector", "source", "table", "integration", "rule_group"} | set(
        OWN_LABELS.get(rule.name, ())
    )
    assert "state" not in used


@pytest.mark.parametrize("rule", ALL, ids=name_of)
def test_a_selector_by_state_drops_the_label(rule: Rule) -> None:
    for selector in selectors(promql_parser.parse(rule.expr)):
        if selector.name == "rounds_check_state":
            assert re.search(r"without \(state\)", rule.expr)


def test_events_are_told_as_such_and_survive_a_restart() -> None:
    """An event whose series ends with the exporter would be told again when it is back."""
    assert {rule.name for rule in ALERTS if rule.body["labels"].get("kind") == "event"} == EVENTS
    for rule in ALERTS:
        if rule.name in EVENTS:
            assert "for" not in rule.body
            assert "increase(" not in rule.expr
            assert "changed_at" in rule.expr or rule.name in {"TableBaselineLost", "TableSchemaChanged"}
            for line in rule.expr.splitlines():
                assert "rounds_" not in line or "last_over_time(" in line, rule.name


def test_a_collector_of_a_table_is_told_of_by_one_alert() -> None:
    for name, matcher in {
        "CollectorFailing": 'collector!~"tables/.+"',
        "CollectorStale": 'collector!~"tables/.+"',
        "TableCheckFailing": 'collector=~"tables/.+"',
        "TableCheckOverdue": 'collector=~"tables/.+"',
    }.items():
        rule = next(each for each in ALERTS if each.name == name)
        assert rule.expr.count(matcher) == (2 if name in {"CollectorStale", "TableCheckOverdue"} else 1)


@pytest.mark.parametrize("rule", ALL, ids=name_of)
def test_ranges_hold_at_least_two_scrapes(rule: Rule) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    for number, unit in re.findall(r"\[(\d+)([smhd])\]", rule.expr):
        assert int(number) * seconds[unit] >= 2 * SCRAPE_INTERVAL


def test_rules_on_the_pipeline_repeat_no_configured_limit() -> None:
    """A number of seconds that an alert compares with would be another one than the configured."""
    limits = {
        "AprRunMissing": "run_every",
        "AprRunSlow": "slow_run_after",
        "AprInvalidOpenTooLong": "open_for",
        "AprUnconfirmed": "unconfirmed_after",
    }
    for rule in ALERTS:
        if rule.file.stem == "apr":
            found = re.findall(r'rounds_apr_threshold_seconds\{threshold="(\w+)"\}', rule.expr)
            assert found == ([limits[rule.name]] if rule.name in limits else []), rule.name


def test_rules_on_syncs_repeat_no_configured_limit() -> None:
    limits = {
        "SyncOverdue": ["rounds_sync_expected_interval_seconds"],
        "SyncNeverSucceeded": ["rounds_sync_expected_interval_seconds"] * 3,
        "SyncPartial": ['rounds_sync_threshold_ratio{threshold="failed"}'],
        "SyncFoundShrink": ['rounds_sync_threshold_ratio{threshold="found_drop"}'],
        "SyncMassDeletion": [
            "rounds_sync_threshold_deleted_patients",
            'rounds_sync_threshold_ratio{threshold="deleted"}',
        ],
        "SyncStuck": ['rounds_sync_threshold_seconds{threshold="stuck_after"}'],
        "SyncRunTooLong": ['rounds_sync_threshold_seconds{threshold="slow_after"}'],
    }
    for rule in ALERTS:
        if rule.file.stem == "syncs":
            found = re.findall(r"rounds_sync_(?:threshold|expected)\w+(?:\{.+?\})?", rule.expr)
            assert found == limits.get(rule.name, []), rule.name


def test_rules_on_applications_repeat_no_configured_limit_and_use_no_score() -> None:
    limits = {
        "EmrOperationSlow": ["rounds_emr_operation_slow_threshold_seconds"],
        "EmrCheckStale": ["rounds_emr_health_interval_seconds"] * 2,
        "EmrBackupStale": ["rounds_emr_backup_max_age_seconds"],
        "EmrBackupMissing": ["rounds_emr_backup_max_age_seconds"],
    }
    for rule in ALL:
        if rule.file.stem == "emr":
            found = re.findall(r"rounds_emr_\w+_(?:threshold|interval|max_age)_seconds", rule.expr)
            assert found == limits.get(rule.name, []), rule.name
            assert "rounds_emr_health_score" not in str(rule.body), rule.name


def test_what_ends_with_a_run_is_not_bridged_alone() -> None:
    """The bridge would hold an alert up for 15 minutes after the run has ended."""
    for rule in ALERTS:
        if re.search(r"sync:rounds_sync_run(_progress)?:|rounds_sync_run_", rule.expr):
            assert "last_over_time(rounds_sync_runs_active[15m]) > 0" in rule.expr, rule.name


def test_no_alert_on_the_pipeline_carries_a_name() -> None:
    """Clients, managers and products are labels of these metrics where somebody asked for them."""
    for rule in ALL:
        if rule.file.stem == "apr":
            text = str(rule.body)
            assert not re.search(r"_by_(cedente|gerente|produto)|\$labels\.(cedente|gerente|produto)", text), rule.name


def test_the_frontend_is_never_critical() -> None:
    critical = [rule for rule in ALERTS if rule.body["labels"] == {"severity": "critical", "component": "services"}]
    assert len(critical) >= 3
    for rule in critical:
        for branch in re.split(r"^\s*or\s*$", rule.expr, flags=re.MULTILINE):
            assert 'tier!="frontend"' in branch, rule.name


def test_the_objective_stands_in_one_place() -> None:
    constants = [rule for rule in ALL if re.search(r"\b0\.99\d*\b", rule.expr)]
    assert [rule.name for rule in constants] == ["rounds:slo_objective:ratio"]


def test_no_name_is_given_twice() -> None:
    places: defaultdict[str, list[Rule]] = defaultdict(list)
    for rule in ALL:
        places[rule.name].append(rule)
    assert [name for name, rules in places.items() if len(rules) > 1] == []


def test_recorded_series_are_named_by_level_metric_and_operation() -> None:
    for rule in ALL:
        if not rule.is_alert:
            assert re.fullmatch(r"(check|table|apr|sync|app|rounds):[a-z_]+:[a-z0-9_]+", rule.name), rule.name


@pytest.mark.parametrize("rule", ALERTS, ids=name_of)
def test_an_alert_has_a_case_that_fires_it_and_one_that_does_not(rule: Rule) -> None:
    cases = []
    for file in sorted(RULE_TESTS.glob("*_test.yml")):
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            cases += [case for case in test.get("alert_rule_test", ()) if case["alertname"] == rule.name]
    assert any(case["exp_alerts"] for case in cases)
    if rule.name != "Watchdog":
        assert any(not case["exp_alerts"] for case in cases)
    for case in cases:
        for alert in case["exp_alerts"]:
            assert set(alert["exp_annotations"]) == ANNOTATIONS


def test_prometheus_asks_often_enough_for_75_seconds() -> None:
    """From the service's end to the message: probe, scrape, evaluation, `for` and Alertmanager's group_wait."""
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["global"]
    routes = yaml.safe_load((ROOT / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))["route"]["routes"]
    critical = next(route for route in routes if route["matchers"] == ['severity="critical"'])
    down = next(rule for rule in ALERTS if rule.name == "ServiceDown")
    probe_interval, probe_timeout = 15, 10
    parts = (config["scrape_interval"], config["evaluation_interval"], down.body["for"], critical["group_wait"])
    worst = probe_interval + probe_timeout + sum(int(text.removesuffix("s")) for text in parts)
    assert worst == 70
    assert f"{worst} s" in (ROOT / "docs" / "alerting.md").read_text(encoding="utf-8")
    assert int(config["scrape_timeout"].removesuffix("s")) < int(config["scrape_interval"].removesuffix("s"))

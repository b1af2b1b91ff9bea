"""Prometheus' own tool accepts the files, and its unit tests fail for rules that are broken."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle.rules import ROOT, RULE_TESTS, RULES
from support.binaries import require_binary

TESTS = sorted(RULE_TESTS.glob("*_test.yml"))
#: The groups that a test file is about. Only these are evaluated for a mutant, for speed.
GROUPS = {
    "services_test.yml": ("services-states", "services-probes"),
    "services_hours_test.yml": ("services-states", "services-certificates"),
    "services_budget_test.yml": ("services-budget",),
    "services_days_test.yml": ("services-budget", "services-budget-long"),
    "exporter_test.yml": ("exporter", "delivery"),
}


@dataclass(frozen=True)
class Mutant:
    """A broken rule, and the test file that must notice."""

    test: str
    rule: str
    change: Callable[[dict[str, Any]], None]
    what: str


def replace(old: str, new: str, body: dict[str, Any]) -> None:
    assert old in body["expr"], "the mutation does not fit the rule any more"
    body["expr"] = body["expr"].replace(old, new)


def drop(key: str, body: dict[str, Any]) -> None:
    del body[key]


def put(key: str, value: str, body: dict[str, Any]) -> None:
    assert body[key] != value
    body[key] = value


def put_label(key: str, value: str, body: dict[str, Any]) -> None:
    body["labels"][key] = value


def unbridge(body: dict[str, Any]) -> None:
    assert "last_over_time(" in body["expr"]
    for window in ("[15m]", "[1h]"):
        body["expr"] = body["expr"].replace("last_over_time(", "(").replace(window, "")


STATES, HOURS, BUDGET, DAYS, EXPORTER = GROUPS
MUTANTS = [
    Mutant(STATES, "ServiceDown", partial(drop, "for"), "fires at once"),
    Mutant(STATES, "ServiceDown", partial(put, "for", "40s"), "fires later"),
    Mutant(STATES, "ServiceDown", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(STATES, "ServiceDown", partial(put, "keep_firing_for", "5m"), "recovers later"),
    Mutant(STATES, "ServiceDown", unbridge, "recovers with the exporter's end"),
    Mutant(STATES, "ServiceDown", partial(replace, ',tier!="frontend"', ""), "pages for the frontend"),
    Mutant(STATES, "ServiceDown", partial(replace, '"down"', '"degraded"'), "another state"),
    Mutant(STATES, "ServiceDown", partial(replace, "max without (state) ", ""), "the state becomes part of it"),
    Mutant(STATES, "ServiceDown", partial(replace, "max without (state)", "max by (check, tier)"), "loses the team"),
    Mutant(STATES, "ServiceDown", partial(replace, "[15m]", "[2h]"), "remembers what was removed"),
    Mutant(STATES, "ServiceDown", partial(put_label, "severity", "warning"), "another severity"),
    Mutant(STATES, "FrontendDown", partial(put, "for", "1m"), "fires earlier"),
    Mutant(STATES, "FrontendDown", partial(put_label, "severity", "critical"), "pages for the frontend"),
    Mutant(STATES, "FrontendDown", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(STATES, "FrontendDown", unbridge, "recovers with the exporter's end"),
    Mutant(STATES, "ServiceDegraded", partial(drop, "for"), "fires at once"),
    Mutant(STATES, "ServiceDegraded", unbridge, "recovers with the exporter's end"),
    Mutant(STATES, "ServiceDegraded", partial(replace, 'state="degraded"', 'state="none"'), "no frontend"),
    Mutant(STATES, "ServiceDegraded", partial(replace, ',tier!="frontend"', ""), "a frontend's 2 minutes become 1"),
    Mutant(STATES, "ServiceDegraded", partial(put, "keep_firing_for", "2m"), "two recoveries at once"),
    Mutant(STATES, "ServiceSlow", partial(drop, "for"), "fires at once"),
    Mutant(STATES, "ServiceSlow", partial(replace, 'level="down"', 'level="degraded"'), "the wrong threshold"),
    Mutant(STATES, "ServiceSlow", unbridge, "recovers with the exporter's end"),
    Mutant(STATES, "CheckStale", partial(replace, "3 *", "30 *"), "much later"),
    Mutant(STATES, "CheckStale", unbridge, "blind to what the exporter dropped"),
    Mutant(
        STATES, "CheckStale", partial(replace, "unless on (job, instance, check)", "and on (job, instance, check)"), "-"
    ),
    Mutant(
        STATES,
        "CheckStale",
        partial(replace, "> on (job, instance) group_left () ", "> 0 * on (job, instance) group_left () "),
        "removed",
    ),
    Mutant(STATES, "check:rounds_check_state:code", partial(replace, "2 *", "3 *"), "another code"),
    Mutant(HOURS, "ServiceFlapping", partial(replace, "> 12", "> 11"), "fires earlier"),
    Mutant(HOURS, "ServiceFlapping", partial(replace, "> 12", "> 13"), "fires later"),
    Mutant(HOURS, "ServiceFlapping", partial(replace, "/ 2", ""), "counts twice"),
    Mutant(HOURS, "CertificateExpiresSoon", partial(replace, "21 *", "7 *"), "too late"),
    Mutant(HOURS, "CertificateExpiresSoon", partial(put, "keep_firing_for", "20m"), "two recoveries at once"),
    Mutant(HOURS, "CertificateExpiresVerySoon", partial(replace, '{tier!="frontend"}', ""), "pages for the frontend"),
    Mutant(HOURS, "CertificateExpiresVerySoon", partial(replace, "7 *", "21 *"), "too early"),
    Mutant(BUDGET, "ErrorBudgetBurnFast", partial(replace, "rate5m{tier!=", "rate30m{tier!="), "goes on after the end"),
    Mutant(BUDGET, "ErrorBudgetBurnFast", partial(replace, '{tier!="frontend"}', ""), "pages for the frontend"),
    Mutant(BUDGET, "ErrorBudgetBurnFast", partial(replace, ">= 5", ">= 0"), "no guard for few probes"),
    Mutant(BUDGET, "ErrorBudgetBurnFast", partial(replace, "[30m] offset 30m", "[30m]"), "no guard for a short past"),
    Mutant(BUDGET, "ErrorBudgetBurnFast", partial(replace, "[3h] offset 3h", "[3h]"), "no guard for a short past"),
    Mutant(
        BUDGET, "ErrorBudgetBurnFast", partial(replace, "and check:rounds_check_burn:rate1h > 14.4", ""), "one window"
    ),
    Mutant(BUDGET, "ErrorBudgetBurnFast", partial(replace, "> 6", "> 14.4"), "no second pair"),
    Mutant(BUDGET, "rounds:slo_objective:ratio", partial(replace, "0.995", "0.999"), "another objective"),
    Mutant(DAYS, "ErrorBudgetBurnSlow", partial(replace, "> 1\n", "> 2\n"), "no second pair"),
    Mutant(DAYS, "ErrorBudgetBurnSlow", partial(replace, ">= 5", ">= 0"), "no guard for few probes"),
    Mutant(DAYS, "ErrorBudgetBurnSlow", partial(replace, "[36h] offset 36h", "[36h]"), "no guard for a short past"),
    Mutant(DAYS, "check:rounds_check_error_budget_remaining:ratio30d", partial(replace, "30d", "7d"), "another window"),
    Mutant(EXPORTER, "ExporterDown", partial(replace, " == 0", " == 1"), "the other way round"),
    Mutant(EXPORTER, "ExporterDown", partial(replace, 'or absent(up{job="rounds"})', ""), "no target"),
    Mutant(EXPORTER, "ExporterDown", partial(drop, "for"), "fires at each restart"),
    Mutant(EXPORTER, "CollectorFailing", unbridge, "recovers with the exporter's end"),
    Mutant(EXPORTER, "CollectorFailing", partial(put, "for", "1m"), "fires earlier"),
    Mutant(EXPORTER, "CollectorStale", partial(replace, "2 *", "0 *"), "no interval"),
    Mutant(EXPORTER, "CollectorStale", partial(replace, "unless on", "and on"), "blind to what never succeeded"),
    Mutant(EXPORTER, "ConfigReloadFailed", partial(drop, "for"), "fires at once"),
    Mutant(EXPORTER, "NotificationsFailing", partial(replace, "increase(", "("), "a counter's value"),
    Mutant(EXPORTER, "RuleEvaluationFailing", partial(replace, "> 0", "> 100"), "never"),
    Mutant(EXPORTER, "Watchdog", partial(replace, "vector(1)", "vector(1) == 0"), "never"),
]


@pytest.fixture(scope="module")
def promtool() -> Path:
    return require_binary("promtool")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_configuration_is_valid(promtool: Path) -> None:
    done = run(promtool, "check", "config", ROOT / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid_and_not_twice_there(promtool: Path) -> None:
    done = run(promtool, "check", "rules", "--lint-fatal", *sorted(RULES.glob("*.yml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_test_file_is_known_here() -> None:
    assert {file.name for file in TESTS} == set(GROUPS)


@pytest.mark.parametrize("file", TESTS, ids=lambda file: str(file.stem))
def test_the_unit_tests_pass(promtool: Path, file: Path) -> None:
    done = run(promtool, "test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def write_rules(folder: Path, test: str, mutant: Mutant | None) -> Path:
    """The groups that a test file is about, with one rule changed, and the cases that name that rule.

    Only what these cases speak of is evaluated: most of the time goes into that.
    """
    source = RULES / ("exporter.yml" if test == EXPORTER else "services.yml")
    tree = yaml.safe_load(source.read_text(encoding="utf-8"))
    cases = yaml.safe_load((RULE_TESTS / test).read_text(encoding="utf-8"))
    tree["groups"] = [group for group in tree["groups"] if group["name"] in GROUPS[test]]
    if mutant:
        bodies = [body for group in tree["groups"] for body in group["rules"]]
        body = next(each for each in bodies if mutant.rule in (each.get("alert"), each.get("record")))
        before = copy.deepcopy(body)
        mutant.change(body)
        assert body != before, f"{mutant.rule}: {mutant.what}: nothing was changed"
        cases["tests"] = [case for case in cases["tests"] if mutant.rule in str(case)]
        for group in tree["groups"]:
            group["rules"] = [each for each in group["rules"] if "record" in each or each["alert"] in str(cases)]
    (folder / "rules").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "rules" / source.name).write_text(yaml.safe_dump(tree), encoding="utf-8")
    copied = folder / "tests" / test
    copied.write_text(yaml.safe_dump(cases), encoding="utf-8")
    return copied


def test_each_broken_rule_fails_a_unit_test(promtool: Path, tmp_path: Path) -> None:
    runs: list[tuple[str, Mutant | None]] = [(test, None) for test in GROUPS]
    runs += [(mutant.test, mutant) for mutant in MUTANTS]
    files = [write_rules(tmp_path / str(number), test, mutant) for number, (test, mutant) in enumerate(runs)]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda file: run(promtool, "test", "rules", file), files))
    for (test, mutant), result in zip(runs, done, strict=True):
        if mutant is None:
            assert result.returncode == 0, f"{test} fails without a mutation: {result.stdout}{result.stderr}"
    survivors = [
        f"{mutant.rule}: {mutant.what}"
        for (_, mutant), result in zip(runs, done, strict=True)
        if mutant and result.returncode == 0
    ]
    assert survivors == []
    broken = [result.stderr for result in done if "yaml" in result.stderr or "unmarshal" in result.stderr]
    assert broken == [], "a mutant must be a rule, or its failure says nothing"

"""What the cards of the overview say of given series, as Prometheus' own tool evaluates their queries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana.src import cards, kit, overview

from bundle.rules import ROOT, alerts
from grafana.evaluating import AT, evaluated
from grafana.lint import panels_of

#: A card as people see it: its words, their colour, and the line above them.
Card = tuple[str, str, str]
Series = dict[str, str]

DOMAINS = {domain.name: domain for domain in cards.DOMAINS}
#: How many samples a series has.
SAMPLES = AT // 15


def always(metric: str, value: float = 1, **labels: str) -> Series:
    """A series with one value at all times."""
    return {"series": named(metric, labels), "values": f"{value:g}x{SAMPLES}"}


def until(seconds: int, series: Series) -> Series:
    """The same, but it ended so many seconds ago."""
    value = series["values"].partition("x")[0]
    return {**series, "values": f"{value}x{(AT - seconds) // 15} stale"}


def named(metric: str, labels: dict[str, str]) -> str:
    chosen = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
    return f"{metric}{{{chosen}}}"


def fires(alertname: str, severity: str, component: str, **labels: str) -> Series:
    own = {"alertname": alertname, "alertstate": "firing", "severity": severity, "component": component}
    return {"series": named("ALERTS", own | labels), "values": f"1x{SAMPLES}"}


WATCHDOG = fires("Watchdog", "info", "exporter")


def answers(instance: str = "a", value: float = 1) -> Series:
    return always("up", value, job="rounds", instance=instance)


def collector(
    name: str, *, success: float | None = 1, age: float | None = 5, interval: float = 15, instance: str = "a"
) -> list[Series]:
    """A collector; without success where it has not run, without age where it has never succeeded."""
    labels = {"collector": name, "job": "rounds", "instance": instance}
    series = [always("rounds_collector_interval_seconds", interval, **labels)]
    if success is not None:
        series.append(always("rounds_collector_success", success, **labels))
    if age is not None:
        series.append(always("rounds_collector_last_success_timestamp_seconds", AT - age, **labels))
    return series


def services(instance: str = "a") -> list[Series]:
    """Two services that are watched and well."""
    checks = [
        always("rounds_check_state", check=name, state=state) for name in ("web", "api") for state in ("up", "down")
    ]
    return [*collector("services", instance=instance), *checks]


def drawn(tmp_path: Path, series: list[Series], domain: str = "services") -> Card:
    """The one card."""
    said = evaluated(tmp_path, series, {cards.card(DOMAINS[domain]): [({"none": "of them"}, 0.0)]})
    found = re.findall(r"\{([^}]*)\} ([\d.E+-]+)", said.partition("got:")[2])
    assert len(found) == 1, said
    ((labels, value),) = found
    said_of = {name: json.loads(f'"{text}"') for name, text in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)}
    word, colour = cards.texts(domain)[int(float(value))]
    return word, colour, f"{said_of.get('about', '')} {said_of.get('more', '')}".strip()


HERE = [answers(), WATCHDOG]


@pytest.mark.parametrize(
    ("series", "card"),
    [
        pytest.param([*HERE, *services()], ("no alerts", kit.UP, "2 services"), id="well"),
        pytest.param(
            [*HERE, *services(), fires("ServiceSlow", "warning", "services", check="web")],
            ("very slow", kit.WARNING, "web"),
            id="warning",
        ),
        pytest.param(
            [*HERE, *services(), fires("CheckStale", "error", "services", check="web")],
            ("not checked", kit.DEGRADED, "web"),
            id="error",
        ),
        pytest.param(
            [
                *HERE,
                *services(),
                fires("ServiceDown", "critical", "services", check="web"),
                fires("ServiceDown", "critical", "services", check="api"),
                fires("ServiceDown", "critical", "services", check="api", instance="b"),
                fires("ServiceDegraded", "warning", "services", check="web"),
                fires("ServiceSlow", "warning", "services", check="web"),
            ],
            ("down", kit.DOWN, "2 services + 2 more"),
            id="critical, of two, seen by two exporters, with others that are less grave",
        ),
        pytest.param(
            [*HERE, *services(), fires("TheirOwn", "critical", "services"), fires("Odd", "page", "services")],
            ("critical alert", kit.DOWN, "services + 1 more"),
            id="an alert that somebody added",
        ),
        pytest.param(
            [*HERE, *services(), fires("Odd", "page", "services", check="web")],
            ("alert", kit.WARNING, "web"),
            id="an alert of a severity that somebody added",
        ),
        pytest.param(
            [*HERE, *services(), fires("ServiceNews", "info", "services", check="web")],
            ("no alerts", kit.UP, "2 services"),
            id="only told",
        ),
        pytest.param(
            [
                *HERE,
                *services(),
                {
                    **fires("ServiceDown", "critical", "services"),
                    "series": named(
                        "ALERTS",
                        {
                            "alertname": "ServiceDown",
                            "alertstate": "pending",
                            "severity": "critical",
                            "component": "services",
                        },
                    ),
                },
            ],
            ("no alerts", kit.UP, "2 services"),
            id="pending",
        ),
        pytest.param([*HERE], ("not configured", kit.QUIET, "nothing is watched"), id="not configured"),
        pytest.param(
            [*HERE, *collector("tables/web", success=0)],
            ("not configured", kit.QUIET, "nothing is watched"),
            id="another domain",
        ),
        pytest.param(
            [WATCHDOG, answers(value=0), *(until(60, each) for each in services())],
            (kit.NO_DATA, kit.UNKNOWN, "exporter down"),
            id="exporter down",
        ),
        pytest.param(
            [WATCHDOG, *services()], (kit.NO_DATA, kit.UNKNOWN, "exporter down"), id="exporter not even asked"
        ),
        pytest.param(
            [
                WATCHDOG,
                answers(value=0),
                *(until(60, each) for each in services()),
                fires("ServiceDown", "critical", "services", check="web"),
            ],
            ("down", kit.DOWN, "web"),
            id="exporter down, and an alert that outlives it",
        ),
        pytest.param(
            [WATCHDOG, answers(value=0), answers("b"), *(until(60, each) for each in services())],
            (kit.NO_DATA, kit.UNKNOWN, "exporter down"),
            id="the one of two exporters that had it is down",
        ),
        pytest.param(
            [WATCHDOG, answers(value=0), answers("b"), *(until(60, each) for each in services()), *services("b")],
            ("no alerts", kit.UP, "2 services"),
            id="another exporter took it over",
        ),
        pytest.param(
            [answers(), *services()],
            (kit.NO_DATA, kit.UNKNOWN, "rules not evaluated"),
            id="no rules: no alert means nothing",
        ),
        pytest.param(
            [
                *HERE,
                answers("b"),
                *(always("rounds_ledger_lease_held", 0, job="rounds", instance=name) for name in "ab"),
            ],
            (kit.NO_DATA, kit.UNKNOWN, "no exporter reads"),
            id="two exporters, and neither holds the lease",
        ),
        pytest.param([], (kit.NO_DATA, kit.UNKNOWN, "exporter down"), id="nothing at all"),
        pytest.param(
            [*HERE, *collector("services", success=0)],
            ("reading fails", kit.DEGRADED, "services"),
            id="collector fails",
        ),
        pytest.param(
            [*HERE, *collector("services", age=91)], ("reading overdue", kit.DEGRADED, "services"), id="collector stale"
        ),
        pytest.param(
            [*HERE, *collector("services", age=None, success=None)],
            ("starting", kit.UNKNOWN, "services"),
            id="no run yet",
        ),
    ],
)
def test_a_card(tmp_path: Path, series: list[Series], card: Card) -> None:
    assert drawn(tmp_path, series) == card


def test_collectors_of_one_domain_are_counted(tmp_path: Path) -> None:
    two = [*collector("tables/patients", success=0), *collector("tables/visits", success=0)]
    assert drawn(tmp_path, [*HERE, *two, *services()], "tables") == ("reading fails", kit.DEGRADED, "2 collectors")
    one = [*collector("tables/patients", success=0), *collector("tables/visits")]
    assert drawn(tmp_path, [*HERE, *one], "tables") == ("reading fails", kit.DEGRADED, "patients")
    assert drawn(tmp_path, [*HERE, *one], "exporter") == ("reading fails", kit.DEGRADED, "tables/patients")
    well = [*collector("tables/patients"), always("rounds_table_rows", 3, table="patients")]
    assert drawn(tmp_path, [*HERE, *well], "tables") == ("no alerts", kit.UP, "1 table")
    # Its collectors work, and it says nothing of what it watches.
    assert drawn(tmp_path, [*HERE, *well[:-1]], "tables") == ("no alerts", kit.UP, "watched")


def test_an_alert_takes_the_severity_of_its_series(tmp_path: Path) -> None:
    emr = [*HERE, *collector("emr/docassist"), fires("EmrAppAlert", "critical", "emr", app="docassist")]
    assert drawn(tmp_path, emr, "emr") == ("reports: critical", kit.DOWN, "docassist")
    less = [*emr[:-1], fires("EmrAppAlert", "warning", "emr", app="docassist")]
    assert drawn(tmp_path, less, "emr") == ("reports: warning", kit.WARNING, "docassist")


def test_the_exporter_has_a_card_too(tmp_path: Path) -> None:
    down = [WATCHDOG, answers(value=0)]
    assert drawn(tmp_path, down, "exporter") == (kit.NO_DATA, kit.UNKNOWN, "exporter down")
    told = [*down, fires("ExporterDown", "critical", "exporter", instance="a")]
    assert drawn(tmp_path, told, "exporter") == ("no answer", kit.DOWN, "exporter")
    assert drawn(tmp_path, [*HERE, *services()], "exporter") == ("no alerts", kit.UP, "1 collector")


def test_every_alert_that_calls_for_somebody_has_words() -> None:
    wanted: dict[str, set[str]] = {}
    for rule in alerts():
        if rule.body["labels"].get("severity") != "info":
            wanted.setdefault(rule.body["labels"]["component"], set()).add(rule.name)
    assert {name: set(phrases) for name, phrases in cards.PHRASES.items()} == wanted
    assert max(len(word) for words in cards.PHRASES.values() for word in words.values()) <= 22


@pytest.mark.parametrize("domain", cards.DOMAINS, ids=lambda domain: domain.name)
def test_only_one_word_is_green(domain: cards.Domain) -> None:
    assert [word for word, colour in cards.texts(domain.name).values() if colour == kit.UP] == ["no alerts"]


def test_there_is_a_card_for_each_domain_first_of_all() -> None:
    panels = [panel for panel in panels_of(dashboard()) if panel["type"] == "stat"][: len(cards.DOMAINS)]
    assert [panel["title"] for panel in panels] == [domain.title for domain in cards.DOMAINS]
    for panel, domain in zip(panels, cards.DOMAINS, strict=True):
        (link,) = panel["fieldConfig"]["defaults"]["links"]
        assert link["url"].startswith(f"/d/{domain.name}?")
        title = json.loads((ROOT / f"grafana/dashboards/Rounds/{domain.name}.json").read_text(encoding="utf-8"))[
            "title"
        ]
        assert domain.title in {title, "Rounds itself"}


def test_where_an_alert_leads(tmp_path: Path) -> None:
    """Its runbook is there, and its dashboard, narrowed to what it is about, knows the variable."""
    known = {
        file.stem: {each["name"] for each in json.loads(file.read_text(encoding="utf-8"))["templating"]["list"]}
        for file in (ROOT / "grafana/dashboards/Rounds").glob("*.json")
    }
    for label, uid in overview.NARROWED.items():
        assert label in known[uid]
    for rule in alerts():
        assert (ROOT / "docs" / "runbooks" / f"{rule.name}.md").is_file()
    about = {"alertname": "ServiceDown", "severity": "critical", "component": "services", "check": "web"}
    series = [
        fires("ServiceDown", "critical", "services", check="web"),
        {"series": named("ALERTS_FOR_STATE", about), "values": f"{AT - 90}x{SAMPLES}"},
    ]
    (panel,) = (panel for panel in panels_of(dashboard()) if panel["title"] == "Which alerts fire")
    row = {
        "part": "Services",
        "alertname": "ServiceDown",
        "severity": "critical",
        "about": "web",
        "goto": "services?var-check=web",
    }
    assert evaluated(tmp_path, series, {panel["targets"][0]["expr"]: [(row, 90.0)]}) == ""


def test_ages(tmp_path: Path) -> None:
    """One that has never succeeded is as old as the configuration; a source as old as the oldest of its collectors."""
    series = [
        always("rounds_config_last_reload_success_timestamp_seconds", AT - 600, job="rounds", instance="a"),
        *collector("services", age=10, interval=20),
        *collector("tables/a", age=45, interval=15),
        *collector("tables/b", age=None, success=0, interval=120),
        always("rounds_collector_info", collector="tables/a", source="clinic"),
        always("rounds_collector_info", collector="tables/b", source="clinic"),
    ]
    series = [
        {**each, "series": each["series"].replace("{", '{job="rounds",')} if "info" in each["series"] else each
        for each in series
    ]
    ratios: dict[str, Any] = {
        overview.RATIO: [
            ({"collector": "services"}, 0.1),
            ({"collector": "tables/a"}, 0.5),
            ({"collector": "tables/b"}, 2.0),
        ],
        overview.of_source(overview.RATIO): [({"source": "clinic"}, 2.0)],
    }
    assert evaluated(tmp_path, series, ratios) == ""


def test_deployments_are_versions_that_were_not_there(tmp_path: Path) -> None:
    """An hour ago there was only the first; it is new too, as the store of samples is."""
    began = AT - 600
    series = [
        always("up", job="rounds", instance="a"),
        always("rounds_emr_app_info", app="docassist", version="1"),
        {
            "series": 'rounds_emr_app_info{app="docassist",version="2"}',
            "values": f"_x{began // 15} 1x{SAMPLES - began // 15}",
        },
    ]
    assert (
        evaluated(tmp_path, series, {overview.deployed("1h"): [({}, 1.0)], overview.deployed("1d"): [({}, 2.0)]}) == ""
    )


def dashboard() -> dict[str, Any]:
    file = ROOT / "grafana" / "dashboards" / "Rounds" / "overview.json"
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded

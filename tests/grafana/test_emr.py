"""What the dashboard of applications says of given series, as Prometheus' own tool evaluates its queries."""

from __future__ import annotations

from pathlib import Path

import pytest
from grafana.src import emr, emr_queries
from grafana.src.emr_queries import CHECKED_CODES, MODEL

from grafana.evaluating import AT, Row, evaluated
from rounds.emr.names import STATES

#: Samples of a series up to then.
SAMPLES = AT // 15

Series = dict[str, str]


def given(metric: str, values: str, app: str = "desk", **labels: str) -> Series:
    """A series of an application."""
    chosen = ",".join(f'{name}="{value}"' for name, value in {"app": app, **labels}.items())
    return {"series": f"rounds_emr_{metric}{{{chosen}}}", "values": values}


def always(metric: str, value: float, app: str = "desk", **labels: str) -> Series:
    """One that has one value at all times."""
    return given(metric, f"{value:g}x{SAMPLES}", app, **labels)


def check(name: str, found: str, app: str = "desk") -> list[Series]:
    """A check that found this."""
    return [always("health_state", float(state == found), app, check=name, state=state) for state in STATES]


def row(value: float, **labels: str) -> Row:
    return ({"app": "desk", **labels}, value)


def test_what_checks_found_and_the_worst_of_it(tmp_path: Path) -> None:
    series = [each for name in STATES for each in check(f"a-{name}", name)]
    series += check("other", "healthy", "second")
    states = [row(CHECKED_CODES[name], check=f"a-{name}") for name in STATES]
    wanted: dict[str, list[Row]] = {
        emr_queries.checked(): [*states, ({"app": "second", "check": "other"}, CHECKED_CODES["healthy"])],
        f"max by (app) ({emr_queries.checked()})": [
            row(CHECKED_CODES["unhealthy"]),
            ({"app": "second"}, CHECKED_CODES["healthy"]),
        ],
    }
    assert evaluated(tmp_path, series, wanted) == ""
    # What has not run is better than what is not well, and worse than what is.
    assert sorted(CHECKED_CODES, key=CHECKED_CODES.__getitem__) == ["healthy", "unknown", "degraded", "unhealthy"]


@pytest.mark.parametrize(
    ("up", "installed", "loaded", "word"),
    [
        (1, "1", "1", "loaded"),
        (1, "1", "0", "installed"),
        (1, "0", "0", "not installed"),
        (0, None, None, "no answer"),
    ],
)
def test_how_the_model_stands(tmp_path: Path, up: int, installed: str | None, loaded: str | None, word: str) -> None:
    """Of a server that does not answer nothing else is known: which model is wanted was known before."""

    def values(now: str | None) -> str:
        return f"{now}x{SAMPLES}" if now else f"1x{SAMPLES - 20} stale"

    series = [
        always("llm_up", up),
        given("llm_model_installed", values(installed), model="a:7b"),
        given("llm_model_loaded", values(loaded), model="a:7b"),
    ]
    code = {text: code for code, (text, _) in MODEL.items()}[word]
    assert evaluated(tmp_path, series, {emr_queries.model(): [row(code, model="a:7b")]}) == ""


def test_backups_that_are_too_old(tmp_path: Path) -> None:
    series = [
        each
        for name, age in (("new", 100), ("aged", 3700))
        for each in (
            always("backup_last_success_timestamp_seconds", AT - age, backup=name),
            always("backup_max_age_seconds", 3600, backup=name),
        )
    ]
    wanted: dict[str, list[Row]] = {
        emr_queries.old(): [row(3700, backup="aged")],
        emr_queries.backup_limits(): [row(3600, check="aged"), row(3600, check="new")],
    }
    assert evaluated(tmp_path, series, wanted) == ""


def test_an_error_of_a_new_kind_counts_from_nothing(tmp_path: Path) -> None:
    """Its series begins with 1. An application of which nothing was known brings what it has counted before."""
    late = SAMPLES - 40
    series = [
        always("store_bytes", 4096),
        given("errors_total", f"7x{SAMPLES}", error_type="Old", source="captured"),
        given("errors_total", f"_x{late} 3x100", error_type="New", source="captured"),
        given("store_bytes", f"_x{late} 4096x100", "second"),
        given("errors_total", f"_x{late} 900x9 902x100", "second", error_type="Old", source="captured"),
    ]
    labels = "app, error_type, source"
    old, new = ({"error_type": kind, "source": "captured"} for kind in ("Old", "New"))
    wanted: dict[str, list[Row]] = {
        emr_queries.risen_in_range("errors_total", labels): [
            row(0, **old),
            row(3, **new),
            ({"app": "second", **old}, 2),
        ],
        # Within the last slice nothing happened.
        emr_queries.since("errors_total", labels, "$__interval"): [
            row(0, **old),
            row(0, **new),
            ({"app": "second", **old}, 0),
        ],
    }
    assert evaluated(tmp_path, series, wanted) == ""


def test_a_crash_is_marked_with_the_version_that_had_it(tmp_path: Path) -> None:
    """An old crash is not marked anew when a version comes that did not have it."""
    (crashes,) = (mark for mark in emr.marks() if mark.name == "Crashes")
    labels = {"python": "3.11.7", "os": "Linux 6.1"}
    series = [
        always("app_info", 1, version="2.0.0", **labels),
        always("last_crash_timestamp_seconds", AT - 200, kind="python"),
        always("last_crash_timestamp_seconds", AT - 400, kind="unclean"),
    ]
    wanted: dict[str, list[Row]] = {crashes.expr: [row(1000 * (AT - 200), kind="python", version="2.0.0")]}
    assert evaluated(tmp_path, series, wanted) == ""


def test_an_alert_is_told_by_what_it_is_about(tmp_path: Path) -> None:
    labels = {"alertstate": "firing", "component": "emr", "app": "desk", "severity": "warning"}
    told = {"EmrCheckDegraded": {"check": "llm"}, "EmrOperationSlow": {"operation": "search"}, "EmrCrashLoop": {}}
    series = []
    for name, about in told.items():
        for metric, value, more in (("ALERTS", 1, labels), ("ALERTS_FOR_STATE", AT - 60, dict(labels))):
            if metric == "ALERTS_FOR_STATE":
                del more["alertstate"]
            text = ",".join(f'{key}="{word}"' for key, word in {**more, "alertname": name, **about}.items())
            series.append({"series": f"{metric}{{{text}}}", "values": f"{value}x{SAMPLES}"})
    subjects = {"EmrCheckDegraded": "llm", "EmrOperationSlow": "search"}
    rows = [
        (
            {"app": "desk", "alertname": name, "severity": "warning"}
            | ({"subject": subjects[name]} if name in subjects else {}),
            1000.0 * (AT - 60),
        )
        for name in told
    ]
    assert evaluated(tmp_path, series, {emr.alerting(): rows}) == ""

"""What the dashboard of syncs says of given series, as Prometheus' own tool evaluates its queries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana.src import syncs

from bundle.rules import ROOT
from grafana.evaluating import AT, Row, evaluated
from grafana.lint import panels_of

FULL = "full_patients"


def always(metric: str, value: float, **labels: str) -> dict[str, str]:
    """A series with one value at all times."""
    return {"series": _series(metric, labels), "values": f"{value:g}x{AT // 15}"}


def _series(metric: str, labels: dict[str, str]) -> str:
    chosen = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"rounds_sync_{metric}{{{chosen}}}"


def run(metric: str, value: float, organization: str, operation: str = FULL, **labels: str) -> dict[str, str]:
    """A series of an organisation's operation."""
    return always(metric, value, sync="cliniko", organization=organization, operation=operation, **labels)


def codes(states: dict[str, str]) -> list[Row]:
    """Organisations and how they stand, as rows of an answer."""
    found = {word: code for code, (word, _) in syncs.STANDING.items()}
    return [({"sync": "cliniko", "organization": name}, found[word]) for name, word in states.items()]


def known(organization: str, success: float | None, *, operation: str = FULL, stale: int = 0) -> list[dict[str, str]]:
    """An organisation's operation that has run."""
    given = [
        run("runs_active", 0, organization, operation),
        run("runs_stale", stale, organization, operation),
        run("last_start_timestamp_seconds", AT - 60, organization, operation),
        run("first_seen_timestamp_seconds", 0, organization, operation),
    ]
    if success is not None:
        given.append(run("last_success_timestamp_seconds", success, organization, operation))
    return given


def test_how_organisations_stand(tmp_path: Path) -> None:
    series = [
        # The youngest success of any operation counts.
        *known("well", AT - 1000),
        *known("well", None, operation="other_one"),
        *known("late", AT - 2001),
        *known("never", None),
        *known("silent", AT - 1000, stale=1),
        *known("broken", AT - 5000, stale=1),
        run("last_run_state", 1, "broken", state="timeout"),
        # Two days old: let rest.
        *known("resting", AT - 1000),
        run("last_run_state", 1, "resting", operation="old_one", state="failed"),
        run("last_start_timestamp_seconds", AT - 2 * 86_400 - 1, "resting", operation="old_one"),
        # Expected of an operation that has never run.
        *known("lacking", AT - 10),
        run("expected_interval_seconds", 1000, "lacking", "wanted"),
        *(run("expected_interval_seconds", 1000, name, "") for name in ("well", "late", "never", "silent", "broken")),
        run("expected_interval_seconds", 1000, "unseen", ""),
        run("runs_active", 3, "_other"),
        run("runs_stale", 2, "_other"),
    ]
    wanted: dict[str, list[Row]] = {
        syncs.standing(): codes(
            {
                "well": "works",
                "late": "overdue",
                "never": "overdue",
                "silent": "stale",
                "broken": "fails",
                "resting": "works",
                "lacking": "overdue",
                "unseen": "no data",
            }
        ),
        syncs.count_of("fails"): [({}, 1.0)],
        syncs.count_of("overdue"): [({}, 4.0)],
        syncs.count_of("stale"): [({}, 2.0)],
        syncs.count_of("works"): [({}, 2.0)],
        syncs.count_of("no data"): [({}, 1.0)],
    }
    assert evaluated(tmp_path, series, wanted) == ""


def test_nothing_known_is_not_nothing_wrong(tmp_path: Path) -> None:
    assert evaluated(tmp_path, [], {syncs.count_of("fails"): [], syncs.count_of("works"): []}) == ""


def active(organization: str, operation: str, step: str, progress: float, *, since: int) -> list[dict[str, str]]:
    """A run that has not ended."""
    return [
        run("runs_active", 1, organization, operation),
        run("runs_stale", 0, organization, operation),
        run("run_step", 1, organization, operation, step=step),
        run("run_step", 0, organization, operation, step="completed"),
        run("run_progress_ratio", progress, organization, operation),
        run("run_oldest_start_timestamp_seconds", AT - since, organization, operation),
    ]


def stored(organization: str, *, each: int, total: int) -> list[dict[str, str]]:
    """Patients stored by a run in the last minute, so many in 15 s, and so many in all."""
    labels = {"sync": "cliniko", "organization": organization, "operation": FULL}
    zeros = AT // 15 - 4
    since = [run("run_storing_timestamp_seconds", AT - 60, organization)] if each else []
    return [
        run("run_total_records", total, organization),
        {"series": _series("run_processed_records", labels), "values": f"0x{zeros - 1} 0+{each}x4"},
        *since,
    ]


def drawn(tmp_path: Path, series: list[dict[str, str]], *, stale: bool = False) -> dict[str, float]:
    """The bars and their values, as promtool tells them for an expectation that is wrong."""
    wrong: list[Row] = [({"run": "none of them"}, 0.0)]
    said = evaluated(tmp_path, series, {syncs.progress(stale=stale).expr: wrong})
    found = re.findall(r'run="([^"]*)"[^}]*} ([\d.E+-]+)', said.partition("got:")[2])
    return {name: float(value) for name, value in found}


@pytest.mark.parametrize(
    ("step", "series", "text"),
    [
        ("initializing", [], " · initializing · for 75 s"),
        ("validating_credentials", [], " · validating credentials · for 75 s"),
        (
            "fetching_patients",
            [run("run_page", 4, "A"), run("run_pages", 13, "A"), *stored("A", each=0, total=648)],
            " · fetching patients · page 4 of 13 · for 75 s",
        ),
        ("fetching_patients", [run("run_page", 4, "A")], " · fetching patients · page 4 · for 75 s"),
        (
            "storing_patients",
            [*stored("A", each=60, total=648), run("run_page", 7, "A"), run("run_pages", 7, "A")],
            " · storing patients · 240 of 648 · 4/s · 2 min left",
        ),
    ],
)
def test_the_name_of_a_bar(tmp_path: Path, step: str, series: list[dict[str, str]], text: str) -> None:
    series = [*active("A", FULL, step, 0.5, since=75), *series]
    assert drawn(tmp_path, series) == {f"A · {FULL}{text}": 0.5}
    assert drawn(tmp_path, series, stale=True) == {}


def test_a_row_without_metadata_has_a_bar_too(tmp_path: Path) -> None:
    """Neither step nor page is known of it; several exporters make one bar."""
    series = [
        *stored("A", each=60, total=300),
        *active("A", FULL, "other", 0.8, since=3600)[4:],
        run("runs_active", 1, "A"),
    ]
    twice = [{**each, "series": each["series"].replace("{", '{instance="b",')} for each in series]
    assert drawn(tmp_path, [*series, *twice]) == {f"A · {FULL} · 240 of 300 · 4/s · 15 s left": 0.8}


def test_a_stale_run_is_a_bar_of_its_own_kind(tmp_path: Path) -> None:
    series = [
        each for each in active("A", FULL, "storing_patients", 0.7, since=1860) if "runs_stale" not in each["series"]
    ]
    series += [run("runs_stale", 1, "A"), *active("B", "incremental_sync", "initializing", 0, since=5)]
    assert drawn(tmp_path, series) == {"B · incremental_sync · initializing · for 5 s": 0}
    assert drawn(tmp_path, series, stale=True) == {f"A · {FULL} · storing patients · for 31 min · stale": 0.7}


def test_without_a_run_nothing_is_active(tmp_path: Path) -> None:
    series = known("A", AT - 10)
    nothing: dict[str, list[Row]] = {syncs.progress(stale=stale).expr: [] for stale in (False, True)}
    assert evaluated(tmp_path, series, nothing) == ""
    panels = {panel["id"]: panel for panel in panels_of(_dashboard())}
    assert panels[105]["fieldConfig"]["defaults"]["noValue"] == "No run is active"


def test_speed_is_of_this_run_alone_and_not_known_after_its_end(tmp_path: Path) -> None:
    """Four patients in a second."""
    series = [*stored("A", each=60, total=648), *stored("B", each=0, total=648)]
    labels = {"sync": "cliniko", "organization": "A", "operation": FULL}
    assert evaluated(tmp_path, series, {syncs.speed(syncs.SYNC): [(labels, 4.0)]}) == ""
    ended = [{**each, "values": f"{AT - 100}x{AT // 15 - 3} stale"} for each in series[1:3]]
    assert evaluated(tmp_path, ended, {syncs.speed(syncs.SYNC): [], syncs.remaining(syncs.SYNC): []}) == ""


def _dashboard() -> dict[str, Any]:
    file = ROOT / "grafana" / "dashboards" / "Rounds" / "syncs.json"
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded

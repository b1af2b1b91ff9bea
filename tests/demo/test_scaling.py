"""The demo's configuration is the production one on shorter times and other addresses."""

from __future__ import annotations

from typing import Any

import pytest

from bundle.rules import all_rules
from rounds.demo.scaling import _TOLD, Scale, redirect

RULES: dict[str, Any] = {
    "groups": [
        {
            "name": "services",
            "interval": "15s",
            "rules": [
                {
                    "alert": "Down",
                    "expr": 'last_over_time(state{state="down"}[15m]) == 1',
                    "for": "30s",
                    "keep_firing_for": "2m",
                    "labels": {"severity": "critical", "interval": "30s"},
                    "annotations": {"for": "1m", "summary": "down"},
                },
                {"alert": "Event", "expr": "time() - t < 300", "for": "0s"},
            ],
        }
    ]
}


def test_the_times_of_rules_shrink_and_nothing_else_changes() -> None:
    scaled = Scale(6).apply(RULES)

    group = scaled["groups"][0]
    down, event = group["rules"]
    assert (group["name"], group["interval"]) == ("services", "2s")
    assert (down["for"], down["keep_firing_for"], event["for"]) == ("5s", "20s", "0s")
    for rule, original in zip((down, event), RULES["groups"][0]["rules"], strict=True):
        assert {key for key in original if rule[key] != original[key]} <= {"for", "keep_firing_for"}


def test_ages_of_events_shrink_if_wanted() -> None:
    expression = "last_over_time(t[15m]) > time() - 300 and time() - u > 300 unless b > time() - 86400"
    assert Scale(6).apply({"expr": expression}) == {"expr": expression}
    scaled = "last_over_time(t[15m]) > time() - 50 and time() - u > 300 unless b > time() - 14400"
    assert Scale(6, events=True).apply({"expr": expression}) == {"expr": scaled}
    days = {"expr": "last_over_time(t[15m]) > time() - 2 * 86400"}
    assert Scale(6, events=True).apply(days) == days


def test_a_refused_key_is_over_before_the_script_is() -> None:
    expression = 'increase(rounds_sync_failures_total{error_class="auth"}[2h]) > 0'
    scaled = 'increase(rounds_sync_failures_total{error_class="auth"}[1m]) > 0'
    assert Scale(6, events=True).apply({"expr": expression}) == {"expr": scaled}


def test_a_mass_deletion_is_over_before_the_script_is() -> None:
    expression = "max_over_time(table:rounds_table_deleted:ratio[1h]) > last_over_time(other[1h])"
    scaled = "max_over_time(table:rounds_table_deleted:ratio[1m]) > last_over_time(other[1h])"
    assert Scale(6, events=True).apply({"expr": expression}) == {"expr": scaled}


def test_how_late_a_backup_may_be_follows_the_speed() -> None:
    expression = "time() - t > last_over_time(rounds_emr_backup_max_age_seconds[15m]) + 7200"
    for factor, seconds in ((6, 5), (12, 2), (0.6, 50)):
        scaled = Scale(factor, events=True).apply({"expr": expression})["expr"]
        assert scaled == expression.replace("7200", str(seconds))


def test_the_original_stays_as_it_was() -> None:
    before = repr(RULES)
    Scale(6).apply(RULES)
    assert repr(RULES) == before


def test_the_times_of_nested_routes_shrink() -> None:
    route = {"receiver": "a", "group_wait": "0s", "routes": [{"receiver": "b", "repeat_interval": "4h"}]}
    assert Scale(6).apply({"route": route})["route"] == {
        "receiver": "a",
        "group_wait": "0s",
        "routes": [{"receiver": "b", "repeat_interval": "40m"}],
    }


@pytest.mark.parametrize(
    ("text", "factor", "scaled"),
    [("30s", 6, "5s"), ("15s", 6, "2s"), ("1m30s", 6, "15s"), ("2s", 6, "1s"), ("0s", 6, "0s"), ("1h", 0.5, "2h")],
)
def test_a_duration_is_whole_seconds_at_least_one_unless_zero(text: str, factor: float, scaled: str) -> None:
    assert Scale(factor).duration(text) == scaled


def test_expressions_that_are_shortened_are_those_of_the_rules() -> None:
    """Else a rule that has changed would go on for longer than a script."""
    expressions = [rule.expr for rule in all_rules()]
    for production in _TOLD:
        assert any(production in each for each in expressions), production
        assert not any(production in Scale(6, events=True).apply({"expr": each})["expr"] for each in expressions)


def test_what_was_scaled_is_told_shortest_first() -> None:
    scale = Scale(6)
    scale.apply([{"for": "2m"}, {"for": "30s"}, {"for": "30s"}, {"group_wait": "0s"}])
    assert [line.split(maxsplit=1) for line in scale.described()] == [
        ["for", "30s -> 5s, 2m -> 20s"],
        ["group_wait", "0s -> 0s"],
    ]


def test_known_targets_move_and_unknown_ones_are_left_out() -> None:
    production = {
        "global": {"external_labels": {"site": "clinic"}},
        "rule_files": ["rules/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]},
        "scrape_configs": [
            {"job_name": "rounds", "static_configs": [{"targets": ["exporter:12780", "second:12780"]}]},
            {"job_name": "node", "static_configs": [{"targets": ["node:9100"]}]},
            {"job_name": "discovered", "file_sd_configs": [{"files": ["targets/*.json"]}]},
        ],
    }

    moved = redirect(production, {"exporter:12780": "127.0.0.1:1", "alertmanager:9093": "127.0.0.1:2"}, ["/demo/a.yml"])

    assert moved == {
        "global": {"external_labels": {"site": "clinic"}},
        "rule_files": ["/demo/a.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:2"]}]}]},
        "scrape_configs": [{"job_name": "rounds", "static_configs": [{"targets": ["127.0.0.1:1"]}]}],
    }

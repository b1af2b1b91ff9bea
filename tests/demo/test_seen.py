"""What has been seen of each domain, from expositions and alerts."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rounds.demo.seen import SIGHTS, STATES, Look, Seen

WELL = """\
# TYPE rounds_check_state gauge
rounds_check_state{check="a",tier="core",state="up"} 1
rounds_check_state{check="a",tier="core",state="degraded"} 0
rounds_check_state{check="a",tier="core",state="down"} 0
# TYPE rounds_table_changes counter
rounds_table_changes_total{table="patients",change="inserted"} 4
rounds_table_changes_total{table="patients",change="modified"} 4
rounds_table_changes_total{table="patients",change="deleted"} 4
# TYPE rounds_table_last_change_rows gauge
rounds_table_last_change_rows{table="patients",change="deleted"} 4
# TYPE rounds_table_previous_rows gauge
rounds_table_previous_rows{table="patients"} 240
# TYPE rounds_table_mass_deletion_ratio gauge
rounds_table_mass_deletion_ratio{table="patients"} 0.1
# TYPE rounds_apr_invalid_records gauge
rounds_apr_invalid_records{validation_type="SEUNO"} 0
# TYPE rounds_apr_invalid_records_resolved counter
rounds_apr_invalid_records_resolved_total{validation_type="SEUNO"} 7
# TYPE rounds_apr_last_run_failed gauge
rounds_apr_last_run_failed 0
# TYPE rounds_apr_last_run_duration_seconds gauge
rounds_apr_last_run_duration_seconds 1
# TYPE rounds_apr_last_run_timestamp_seconds gauge
rounds_apr_last_run_timestamp_seconds{run_mode="PRODUCTION"} 990
# TYPE rounds_apr_threshold_seconds gauge
rounds_apr_threshold_seconds{threshold="slow_run_after"} 5
rounds_apr_threshold_seconds{threshold="run_every"} 25
# TYPE rounds_sync_runs_active gauge
rounds_sync_runs_active{sync="s",organization="o",operation="p"} 0
# TYPE rounds_sync_runs counter
rounds_sync_runs_total{sync="s",organization="o",operation="p",state="completed"} 3
rounds_sync_runs_total{sync="s",organization="o",operation="p",state="partial"} 3
rounds_sync_runs_total{sync="s",organization="o",operation="p",state="failed"} 3
# TYPE rounds_sync_run_last_progress_timestamp_seconds gauge
rounds_sync_run_last_progress_timestamp_seconds{sync="s",organization="o",operation="p"} 990
# TYPE rounds_sync_threshold_seconds gauge
rounds_sync_threshold_seconds{sync="s",threshold="stuck_after"} 20
# TYPE rounds_sync_runs_stale gauge
rounds_sync_runs_stale{sync="s",organization="o",operation="p"} 0
# TYPE rounds_emr_health_state gauge
rounds_emr_health_state{app="d",check="llm",state="healthy"} 1
rounds_emr_health_state{app="d",check="llm",state="degraded"} 0
rounds_emr_health_state{app="d",check="llm",state="unhealthy"} 0
# TYPE rounds_emr_crashes counter
rounds_emr_crashes_total{app="d",kind="python"} 1
"""
#: What the exporter says otherwise where a state is entered.
ENTERED = {
    ("services", "degraded"): ('tier="core",state="degraded"} 0', 'tier="core",state="degraded"} 1'),
    ("services", "down"): ('tier="core",state="down"} 0', 'tier="core",state="down"} 1'),
    ("tables", "inserted"): ('change="inserted"} 4', 'change="inserted"} 5'),
    ("tables", "modified"): ('change="modified"} 4', 'change="modified"} 5'),
    ("tables", "deleted"): (
        'changes_total{table="patients",change="deleted"} 4',
        'changes_total{table="patients",change="deleted"} 5',
    ),
    ("apr", "invalid"): ('invalid_records{validation_type="SEUNO"} 0', 'invalid_records{validation_type="SEUNO"} 2'),
    ("apr", "resolved"): ('"SEUNO"} 7', '"SEUNO"} 8'),
    ("apr", "failed run"): ("failed 0", "failed 1"),
    ("apr", "slow run"): ("duration_seconds 1", "duration_seconds 12"),
    ("apr", "missing run"): ('"PRODUCTION"} 990', '"PRODUCTION"} 970'),
    ("syncs", "running"): ('active{sync="s",organization="o",operation="p"} 0', 'active{sync="s"} 1'),
    ("syncs", "completed"): ('state="completed"} 3', 'state="completed"} 4'),
    ("syncs", "partial"): ('state="partial"} 3', 'state="partial"} 4'),
    ("syncs", "failed"): ('state="failed"} 3', 'state="failed"} 4'),
    ("syncs", "stuck"): ('operation="p"} 990', 'operation="p"} 970'),
    ("syncs", "stale"): ('stale{sync="s",organization="o",operation="p"} 0', 'stale{sync="s"} 1'),
    ("emr", "degraded"): ('check="llm",state="degraded"} 0', 'check="llm",state="degraded"} 1'),
    ("emr", "unhealthy"): ('state="unhealthy"} 0', 'state="unhealthy"} 1'),
    ("emr", "crash"): ('kind="python"} 1', 'kind="python"} 2'),
}


def look(text: str, before: Look | None = None) -> Look:
    return Look(text_string_to_metric_families(text), 1000.0, before)


def test_every_state_has_a_sight() -> None:
    assert [(each.domain, each.state) for each in SIGHTS] == [
        (domain, state) for domain, states in STATES.items() for state in states
    ]


def test_at_first_all_is_well_and_what_was_counted_before_is_not_seen() -> None:
    assert Seen().look(look(WELL)) == [("services", "up"), ("emr", "healthy")]


@pytest.mark.parametrize(("entered", "change"), ENTERED.items(), ids="-".join)
def test_a_state_is_seen_when_it_begins(entered: tuple[str, str], change: tuple[str, str]) -> None:
    seen, first = Seen(), look(WELL)
    seen.look(first)
    assert WELL.count(change[0]) == 1
    second = look(WELL.replace(*change), first)
    assert seen.look(second) == [entered]
    # As long as it lasts, or where nothing more is counted, it is told no more.
    assert seen.look(look(WELL.replace(*change), second)) == []


def test_a_deletion_of_many_rows_is_a_mass_deletion() -> None:
    seen, first = Seen(), look(WELL)
    seen.look(first)
    text = WELL.replace('total{table="patients",change="deleted"} 4', 'total{table="patients",change="deleted"} 40')
    text = text.replace('rows{table="patients",change="deleted"} 4', 'rows{table="patients",change="deleted"} 36')
    assert seen.look(look(text, first)) == [("tables", "deleted"), ("tables", "mass deletion")]


def test_all_has_been_seen_when_each_state_and_an_alert_of_each_domain_was() -> None:
    seen, before = Seen(), look(WELL)
    seen.look(before)
    for change in ENTERED.values():
        seen.look(look(WELL.replace(*change), before))
    assert "(mass deletion)" in seen.lines()[1]
    text = WELL.replace('total{table="patients",change="deleted"} 4', 'total{table="patients",change="deleted"} 40')
    seen.look(look(text.replace('change="deleted"} 4\n', 'change="deleted"} 36\n'), before))
    # What concerns the watcher itself is no domain's.
    for domain in ("exporter", *STATES):
        assert not seen.complete
        seen.alert(domain, firing=True)
        seen.alert(domain, firing=False)
    assert seen.complete
    assert seen.lines()[0] == "services  alerts:   1 fired,   1 over   states: up, degraded, down"


def test_without_alerting_states_are_all_there_is_to_see() -> None:
    seen, before = Seen(alerting=False), look(WELL)
    seen.look(before)
    assert not seen.complete
    assert seen.lines()[0] == "services  states: up, (degraded), (down)"

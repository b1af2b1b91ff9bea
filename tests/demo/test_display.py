"""What is printed, and what it is printed from."""

from __future__ import annotations

import io
import json
from email.message import EmailMessage
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rounds.demo.catchers import Mail, SlackMessage
from rounds.demo.display import Display
from rounds.demo.observe import Alert, Sync, Table, check_states, firing_alerts, watched_syncs, watched_tables


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


MESSAGE = SlackMessage(
    "#alerts", "CRITICAL: a -&gt; down", "a &amp; b\n<more>", "danger", ("http://runbook/",), {}, "emr"
)


def test_a_slack_message_is_told_by_its_title_and_first_line() -> None:
    stream = io.StringIO()
    Display(stream).slack(MESSAGE)
    head, detail = stream.getvalue().splitlines()
    assert head.split() == ["00:00", "emr", "slack", "#alerts:", "CRITICAL:", "a", "->", "down"]
    assert detail.strip() == "a & b"


def test_a_message_of_several_domains_is_nobodys() -> None:
    stream = io.StringIO()
    message = EmailMessage()
    message["To"], message["Subject"] = "operations@example.org", "[Rounds] 3 alerts"
    Display(stream).mail(Mail("rounds@example.org", ("operations@example.org",), message))
    assert stream.getvalue() == "00:00  -         e-mail      To operations@example.org: [Rounds] 3 alerts\n"


def test_only_a_terminal_is_coloured_and_only_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, coloured, unwanted = io.StringIO(), Terminal(), Terminal()
    Display(plain).check("services", "a", "up", "down")
    Display(coloured).check("services", "a", "up", "down")
    monkeypatch.setenv("NO_COLOR", "1")
    Display(unwanted).check("services", "a", "up", "down")
    assert "\x1b[31ma: up -> down\x1b[0m" in coloured.getvalue()
    assert "\x1b[36mservices  \x1b[0m" in coloured.getvalue()
    assert "\x1b" not in plain.getvalue() + unwanted.getvalue()


def test_the_state_that_holds_is_read_from_the_metrics() -> None:
    exposition = """\
# TYPE rounds_check_state gauge
rounds_check_state{check="a",tier="core",state="up"} 0
rounds_check_state{check="a",tier="core",state="down"} 1
rounds_check_state{check="b",tier="core",state="up"} 1
other 1
"""
    assert check_states(text_string_to_metric_families(exposition)) == {"a": "down", "b": "up"}
    assert check_states([]) == {}


def test_the_state_of_what_an_application_needs_is_read_from_the_metrics() -> None:
    """One that has not run yet has none."""
    exposition = """\
# TYPE rounds_emr_health_state gauge
rounds_emr_health_state{app="desk",check="llm",state="healthy"} 0
rounds_emr_health_state{app="desk",check="llm",state="unhealthy"} 1
rounds_emr_health_state{app="desk",check="disk",state="unknown"} 1
"""
    families = list(text_string_to_metric_families(exposition))
    assert check_states(families, "rounds_emr_health_state") == {"desk/llm": "unhealthy"}
    assert check_states(families) == {}


def test_changes_of_tables_are_read_from_the_metrics() -> None:
    exposition = """\
# TYPE rounds_table_rows gauge
rounds_table_rows{table="patients"} 206
# TYPE rounds_table_previous_rows gauge
rounds_table_previous_rows{table="patients"} 204
# TYPE rounds_table_changes_total counter
rounds_table_changes_total{table="patients",change="inserted"} 12
rounds_table_changes_total{table="patients",change="deleted"} 3
rounds_table_changes_total{table="unchecked",change="deleted"} 0
"""
    table = Table(206, 204, {"inserted": 12, "deleted": 3})
    assert watched_tables(text_string_to_metric_families(exposition)) == {"patients": table}
    changes = table.since(Table(204, 204, {"inserted": 10, "deleted": 3}))
    assert changes == {"inserted": 2}
    stream = io.StringIO()
    Display(stream).table("patients", changes, table.before, table.rows)
    assert stream.getvalue() == "00:00  tables    exporter    patients: 2 inserted (204 -> 206)\n"


def test_how_far_syncs_are_is_read_from_the_metrics() -> None:
    exposition = """\
# TYPE rounds_sync_run_progress_ratio gauge
rounds_sync_run_progress_ratio{sync="cliniko",organization="harbour",operation="full_patients"} 0.62
# TYPE rounds_sync_runs counter
rounds_sync_runs_total{sync="cliniko",organization="harbour",operation="full_patients",state="failed"} 3
rounds_sync_runs_total{sync="cliniko",organization="river",operation="active_patients",state="partial"} 1
"""
    now = watched_syncs(text_string_to_metric_families(exposition))
    assert now == {
        "harbour/full_patients": Sync(0.62, {"failed": 3}),
        "river/active_patients": Sync(0.0, {"partial": 1}),
    }
    full = now["harbour/full_patients"]
    assert full.since(full) == full.since(Sync(0.5, {"failed": 3})) == full.since(Sync(0.7, {"failed": 3})) == []
    assert full.since(Sync(0.49, {"failed": 3})) == ["running"]
    # Since the last look one has ended, and the next is as far already.
    assert full.since(Sync(0.9, {"failed": 2})) == ["failed", "running"]
    stream = io.StringIO()
    Display(stream).sync("harbour/full_patients", "running", 0.62)
    Display(stream).sync("river/active_patients", "partial", 0.0)
    assert stream.getvalue().splitlines() == [
        "00:00  syncs     exporter    harbour/full_patients: [############........] 62%",
        "00:00  syncs     exporter    river/active_patients: partial",
    ]


def test_only_alerts_that_fire_are_told_with_what_they_are_about() -> None:
    labels = {
        "alertname": "ServiceDown",
        "severity": "critical",
        "check": "a",
        "instance": "x",
        "component": "services",
    }
    event = {"alertname": "TableRowsInserted", "kind": "event", "table": "patients"}
    alerts: list[dict[str, Any]] = [
        {"state": "firing", "labels": labels},
        {"state": "pending", "labels": {"alertname": "ServiceSlow"}},
        {"state": "firing", "labels": {"alertname": "Watchdog"}},
        {"state": "firing", "labels": {"alertname": "SyncStale", "sync": "cliniko", "organization": "river"}},
        {"state": "firing", "labels": {"alertname": "AprFlapping", "validation_type": "SEUNO", "instance": "x"}},
        *({"state": "firing", "labels": {**event, "changed_at": at}} for at in ("1", "2")),
    ]
    assert firing_alerts(json.dumps({"data": {"alerts": alerts}})) == {
        Alert("ServiceDown", " (critical, a)", "", "services"),
        Alert("Watchdog", "", ""),
        Alert("SyncStale", " (river)", ""),
        Alert("AprFlapping", " (SEUNO)", ""),
        Alert("TableRowsInserted", " (patients)", "1"),
        Alert("TableRowsInserted", " (patients)", "2"),
    }

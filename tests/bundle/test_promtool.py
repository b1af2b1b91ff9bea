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
    "tables_test.yml": ("tables-changes", "tables-past", "tables-checks"),
    "tables_days_test.yml": ("tables-changes", "tables-past"),
    "apr_test.yml": ("apr", "apr-past"),
    "apr_days_test.yml": ("apr-past",),
    "syncs_test.yml": ("syncs", "syncs-past"),
    "syncs_hours_test.yml": ("syncs", "syncs-past"),
    "syncs_days_test.yml": ("syncs", "syncs-ratio"),
    "emr_test.yml": ("emr",),
    "emr_hours_test.yml": ("emr", "emr-past"),
    "emr_days_test.yml": ("emr-past",),
}


#: Where a case says what it expects.
EXPECTED = ("alert_rule_test", "promql_expr_test")


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


def annotate(key: str, old: str, new: str, body: dict[str, Any]) -> None:
    assert old in body["annotations"][key], "the mutation does not fit the text any more"
    body["annotations"] = body["annotations"] | {key: body["annotations"][key].replace(old, new)}


def ageing(age: str, gauge: str, body: dict[str, Any]) -> None:
    """As if the age were that of now, and not the one that was last known."""
    old = f"last_over_time(sync:rounds_sync_{age}:age_seconds[15m])"
    replace(old, f"(time() - last_over_time(rounds_sync_{gauge}_timestamp_seconds[15m]))", body)


def merge_changes(body: dict[str, Any]) -> None:
    """As if the time of the change were not part of the alert."""
    body["expr"] = f"sum without (changed_at) ({body['expr']})"


(
    STATES,
    HOURS,
    BUDGET,
    DAYS,
    EXPORTER,
    TABLES,
    TABLE_DAYS,
    APR,
    APR_DAYS,
    SYNCS,
    SYNC_HOURS,
    SYNC_DAYS,
    EMR,
    EMR_HOURS,
    EMR_DAYS,
) = GROUPS
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
    Mutant(EXPORTER, "ExporterDown", partial(replace, "unless on (job, instance)", "unless on (job)"), "any lease"),
    Mutant(
        EXPORTER,
        "ExporterDown",
        partial(replace, "unless on (job, instance) rounds_ledger_lease_held == 1", ""),
        "pages for one of two",
    ),
    Mutant(EXPORTER, "ExporterDown", partial(replace, "lease_held == 1", "lease_held == 0"), "mute while nobody acts"),
    Mutant(EXPORTER, "ExporterRedundancyLost", partial(replace, "== 0", "== 1"), "the other way round"),
    Mutant(EXPORTER, "ExporterRedundancyLost", partial(replace, "held == 1", "held >= 0"), "without a holder too"),
    Mutant(EXPORTER, "ExporterRedundancyLost", partial(replace, "on (job, instance)", "on (job)"), "any lease"),
    Mutant(EXPORTER, "ExporterRedundancyLost", partial(drop, "for"), "fires at each restart"),
    Mutant(EXPORTER, "ExporterRedundancyLost", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(EXPORTER, "ExporterRedundancyLost", partial(put_label, "severity", "critical"), "pages for one of two"),
    Mutant(EXPORTER, "LeaseNotHeld", partial(replace, "max by", "min by"), "each standby"),
    Mutant(EXPORTER, "LeaseNotHeld", partial(replace, "== 0", "== 1"), "the other way round"),
    Mutant(EXPORTER, "LeaseNotHeld", partial(replace, "(job, instance)", "(job)"), "loses the instance"),
    Mutant(
        EXPORTER,
        "LeaseNotHeld",
        partial(replace, "(rounds_ledger_lease_held)", "(last_over_time(rounds_ledger_lease_held[15m]))"),
        "the last word of a dead holder hides it",
    ),
    Mutant(EXPORTER, "LeaseNotHeld", partial(drop, "for"), "fires at each failover"),
    Mutant(EXPORTER, "LeaseNotHeld", partial(put, "for", "2m"), "fires later"),
    Mutant(EXPORTER, "LeaseNotHeld", partial(put_label, "severity", "error"), "another severity"),
    Mutant(EXPORTER, "CollectorFailing", unbridge, "recovers with the exporter's end"),
    Mutant(EXPORTER, "CollectorFailing", partial(put, "for", "1m"), "fires earlier"),
    Mutant(EXPORTER, "CollectorStale", partial(replace, "2 *", "0 *"), "no interval"),
    Mutant(EXPORTER, "CollectorStale", partial(replace, "unless on", "and on"), "blind to what never succeeded"),
    Mutant(EXPORTER, "CollectorFailing", partial(replace, '{collector!~"tables/.+"}', ""), "told twice"),
    Mutant(
        EXPORTER, "CollectorStale", partial(replace, 'seconds{collector!~"tables/.+"}\n', "seconds\n"), "told twice"
    ),
    Mutant(EXPORTER, "CollectorStale", partial(replace, 'seconds{collector!~"tables/.+"} + 60)', "seconds + 60)"), "-"),
    Mutant(EXPORTER, "ConfigReloadFailed", partial(drop, "for"), "fires at once"),
    Mutant(EXPORTER, "SourceDown", partial(drop, "for"), "fires for a moment"),
    Mutant(EXPORTER, "SourceDown", partial(put, "for", "4m"), "fires later"),
    Mutant(EXPORTER, "SourceDown", unbridge, "recovers with the exporter's end"),
    Mutant(EXPORTER, "SourceDown", partial(put_label, "severity", "warning"), "another severity"),
    Mutant(EXPORTER, "LedgerDown", partial(drop, "for"), "fires for a moment"),
    Mutant(EXPORTER, "LedgerDown", unbridge, "recovers with the exporter's end"),
    Mutant(EXPORTER, "LedgerDown", partial(put_label, "severity", "error"), "another severity"),
    Mutant(EXPORTER, "LedgerQuarantined", unbridge, "recovers with the exporter's end"),
    Mutant(EXPORTER, "LedgerQuarantined", partial(replace, "> 0", "> 1"), "blind to the first"),
    Mutant(EXPORTER, "NotificationsFailing", partial(replace, "increase(", "("), "a counter's value"),
    Mutant(EXPORTER, "RuleEvaluationFailing", partial(replace, "> 0", "> 100"), "never"),
    Mutant(EXPORTER, "Watchdog", partial(replace, "vector(1)", "vector(1) == 0"), "never"),
    *(
        mutant
        for name, change in (("Inserted", "inserted"), ("Deleted", "deleted"), ("Modified", "modified"))
        for mutant in (
            Mutant(TABLES, f"TableRows{name}", partial(replace, f'"{change}"', '"renamed"'), "another change"),
            Mutant(TABLES, f"TableRows{name}", partial(replace, '"changed_at"', '"at"'), "another identity"),
            Mutant(TABLES, f"TableRows{name}", partial(annotate, "summary", "ne $rows 1.0", "true"), "one rows"),
        )
    ),
    Mutant(TABLES, "TableRowsDeleted", partial(annotate, "summary", "previous_rows", "rows"), "wrong numbers"),
    Mutant(TABLES, "TableRowsInserted", partial(annotate, "summary", "previous_rows", "rows"), "wrong numbers"),
    Mutant(TABLES, "TableRowsInserted", partial(replace, "- 300", "- 295"), "ends early"),
    Mutant(TABLES, "TableRowsInserted", partial(replace, "- 300", "- 305"), "ends late"),
    Mutant(TABLES, "TableRowsInserted", unbridge, "told again after a restart"),
    Mutant(TABLES, "TableRowsInserted", partial(replace, "count_values without ()", "count_values by (table)"), "-"),
    Mutant(TABLES, "TableRowsInserted", merge_changes, "the next check's changes are not told"),
    Mutant(TABLES, "TableRowsInserted", partial(annotate, "summary", " == %s", " < 2 * %s"), "another check's numbers"),
    Mutant(TABLES, "TableRowsModified", partial(annotate, "summary", '"modified"', '"none"'), "rows before and after"),
    Mutant(TABLES, "TableRowsModified", partial(annotate, "description", "sortByLabel", "len | print"), "-"),
    Mutant(TABLES, "TableRowsDeleted", partial(put_label, "severity", "info"), "another severity"),
    Mutant(TABLES, "TableRowsDeleted", partial(put_label, "kind", "state"), "no event"),
    Mutant(TABLE_DAYS, "table:rounds_table_deleted:ratio", partial(replace, "- 300", "- 3600"), "lasts longer"),
    Mutant(TABLES, "table:rounds_table_deleted:ratio", partial(replace, "== max", "<= max"), "another check's rows"),
    Mutant(TABLES, "table:rounds_table_deleted:ratio", partial(replace, "previous_rows", "rows"), "of the rows after"),
    Mutant(TABLES, "table:rounds_table_deleted:ratio", partial(replace, '"changed_at"', '"at"'), "mutes nothing"),
    Mutant(TABLE_DAYS, "TableMassDeletion", partial(replace, "[1h])\n  > on", "[30m])\n  > on"), "shorter"),
    Mutant(TABLES, "TableMassDeletion", partial(replace, "> on", ">= on"), "at the limit"),
    Mutant(
        TABLES,
        "TableMassDeletion",
        partial(replace, "last_over_time(rounds_table_mass_deletion_ratio[1h])", "0 * up"),
        "-",
    ),
    Mutant(TABLES, "TableMassDeletion", partial(replace, "== 1", "== 2"), "blind to the whole table with the limit 1"),
    Mutant(TABLES, "TableMassDeletion", partial(replace, "deletion_ratio[1h]", "deletion_ratio[1s]"), "-"),
    Mutant(TABLES, "TableMassDeletion", partial(put_label, "severity", "error"), "another severity"),
    Mutant(TABLE_DAYS, "TableShrinking", partial(replace, "> last", ">= last"), "at the limit"),
    Mutant(TABLE_DAYS, "TableShrinking", partial(replace, "[1d])\n", "[1h])\n"), "no day"),
    Mutant(TABLE_DAYS, "TableShrinking", unbridge, "ends with the exporter"),
    Mutant(TABLE_DAYS, "TableShrinking", partial(replace, "- 3600", "- 7200"), "lasts longer"),
    Mutant(TABLE_DAYS, "TableShrinking", partial(replace, "- 86400", "- 3600"), "compares with another table"),
    Mutant(TABLE_DAYS, "TableShrinking", partial(replace, "deleted:ratio[1d]", "deleted:ratio[1h]"), "told twice"),
    Mutant(TABLES, "TableBaselineLost", partial(replace, "lost|hashes", "lost"), "blind to other hashes"),
    Mutant(TABLES, "TableBaselineLost", partial(replace, "lost|hashes", ".+"), "tells what was configured"),
    Mutant(TABLES, "TableBaselineLost", partial(replace, "- 300", "- 240"), "ends early"),
    Mutant(TABLES, "TableBaselineLost", partial(replace, "[15m]", "[1s]"), "told again after a restart"),
    Mutant(TABLES, "TableBaselineLost", partial(replace, "unless", "and"), "the other way round"),
    Mutant(TABLES, "TableBaselineLost", partial(replace, " offset 5m", " offset 1m"), "ends early"),
    Mutant(TABLES, "TableBaselineLost", partial(replace, "[6h] offset 5m", "[30s] offset 5m"), "forgets what was"),
    Mutant(TABLES, "TableSchemaChanged", partial(replace, "schema", "lost"), "another reason"),
    Mutant(TABLES, "TableSchemaChanged", partial(replace, "[15m]", "[1s]"), "told again after a restart"),
    Mutant(TABLES, "TableSchemaChanged", partial(replace, "unless", "and"), "the other way round"),
    Mutant(TABLES, "TableCheckFailing", partial(put, "for", "4m"), "fires earlier"),
    Mutant(TABLES, "TableCheckFailing", unbridge, "recovers with the exporter's end"),
    Mutant(TABLES, "TableCheckFailing", partial(replace, '{collector=~"tables/.+"}', ""), "told twice"),
    Mutant(TABLES, "TableCheckFailing", partial(replace, '"table", "$1"', '"table", "$0"'), "another name"),
    Mutant(TABLES, "TableCheckFailing", partial(annotate, "description", "[1h]) > 0", "[1h]) > 99"), "more reasons"),
    Mutant(TABLES, "TableCheckFailing", partial(annotate, "description", "or on (collector)", "unless"), "no reason"),
    Mutant(TABLES, "TableCheckOverdue", partial(replace, "> 2 * rounds", "> 1 * rounds"), "earlier"),
    Mutant(TABLES, "TableCheckOverdue", partial(replace, "unless on", "and on"), "blind to what never succeeded"),
    Mutant(TABLES, "TableCheckOverdue", partial(replace, 'seconds{collector=~"tables/.+"}\n', "seconds\n"), "-"),
    Mutant(
        TABLES, "TableCheckOverdue", partial(replace, 'seconds{collector=~"tables/.+"} + 60)', "seconds + 60)"), "-"
    ),
    Mutant(TABLES, "TableCheckOverdue", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(APR, "AprRunFailed", unbridge, "recovers with the exporter's end"),
    Mutant(APR, "AprRunFailed", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(APR, "AprRunFailed", partial(put_label, "severity", "warning"), "another severity"),
    Mutant(APR, "AprRunFailed", partial(annotate, "description", "PRODUCTION", "DRY_RUN"), "another run's time"),
    Mutant(APR, "AprRunSlow", partial(replace, "> on", ">= on"), "at the limit"),
    Mutant(APR, "AprRunSlow", partial(replace, "slow_run_after", "open_for"), "another limit"),
    Mutant(APR, "AprRunSlow", partial(replace, "group_left ()", ""), "loses a label"),
    Mutant(APR, "AprRunSlow", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(APR, "AprInvalidOpenTooLong", unbridge, "recovers with the exporter's end"),
    Mutant(APR, "AprInvalidOpenTooLong", partial(replace, "> on", ">= on"), "at the limit"),
    Mutant(APR, "AprInvalidOpenTooLong", partial(replace, "open_for", "slow_run_after"), "another limit"),
    Mutant(APR, "AprInvalidOpenTooLong", partial(replace, "[15m]) > 0", "[15m]) >= 0"), "recovers late"),
    Mutant(APR, "AprInvalidOpenTooLong", partial(replace, ", validation_type)", ")"), "another type's records"),
    Mutant(APR, "AprInvalidOpenTooLong", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(APR, "AprProposalsStuck", unbridge, "a restart makes it wait anew"),
    Mutant(APR, "AprProposalsStuck", partial(replace, "sum without (status)", ""), "an alert for each status"),
    Mutant(APR, "AprProposalsStuck", partial(replace, "> 0", "> 1"), "blind to one"),
    Mutant(APR, "AprProposalsStuck", partial(drop, "for"), "fires at once"),
    Mutant(APR, "AprProposalsStuck", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(APR, "AprProposalsStuck", partial(annotate, "summary", "ne $value 1.0", "true"), "one proposals"),
    Mutant(APR, "AprUnconfirmed", unbridge, "recovers with the exporter's end"),
    Mutant(APR, "AprUnconfirmed", partial(replace, "> on", ">= on"), "at the limit"),
    Mutant(APR, "AprUnconfirmed", partial(replace, "unconfirmed_after", "slow_run_after"), "another limit"),
    Mutant(APR, "AprUnconfirmed", partial(replace, "[15m]) > 0", "[15m]) >= 0"), "recovers late"),
    Mutant(APR, "AprUnconfirmed", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(APR, "AprFlapping", partial(replace, "> 0", "> 2"), "blind to two"),
    Mutant(APR, "AprFlapping", partial(replace, "> 0", ">= 0"), "always"),
    Mutant(APR, "AprFlapping", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(APR, "AprSchemaProblem", unbridge, "a restart makes it wait anew"),
    Mutant(APR, "AprSchemaProblem", partial(drop, "for"), "fires at once"),
    Mutant(APR, "AprSchemaProblem", partial(replace, "== 1", "== 0"), "never"),
    Mutant(APR, "AprSummaryStale", unbridge, "a restart makes it wait anew"),
    Mutant(APR, "AprSummaryStale", partial(replace, "!= last", "== last"), "the other way round"),
    Mutant(APR, "AprSummaryStale", partial(replace, "2 * last", "0 * last"), "takes for new what was seen late"),
    Mutant(APR, "AprSummaryStale", partial(replace, '{collector="apr"}', ""), "another collector's interval"),
    Mutant(
        APR,
        "AprSummaryStale",
        partial(replace, "rounds_apr_business_date_timestamp_seconds[15m]", "rounds_apr_table_rows[15m]"),
        "before the first run of a date",
    ),
    Mutant(APR, "AprSummaryStale", partial(replace, '_rows{table="apr_daily_summary"}', "_rows"), "without the table"),
    Mutant(APR, "AprSummaryStale", partial(replace, 'm{table="apr_daily_summary"}', 'm{table=""}'), "unread"),
    Mutant(APR, "AprSummaryStale", partial(replace, "max without (run_mode)", ""), "the mode becomes part of it"),
    Mutant(APR, "AprSummaryStale", partial(drop, "for"), "fires while a run writes"),
    Mutant(APR, "AprSummaryStale", partial(drop, "keep_firing_for"), "flaps"),
    Mutant(APR_DAYS, "AprRunMissing", partial(replace, "_working_day == 1", "_working_day"), "days off"),
    Mutant(APR_DAYS, "AprRunMissing", partial(replace, "PRODUCTION", "DRY_RUN"), "a dry run counts"),
    Mutant(APR_DAYS, "AprRunMissing", partial(replace, "> on", ">= on"), "at the limit"),
    Mutant(APR_DAYS, "AprRunMissing", partial(replace, '"run_every"', '"slow_run_after"'), "another limit"),
    Mutant(APR_DAYS, "AprRunMissing", partial(replace, "1800 *", "3600 *"), "another step"),
    Mutant(APR_DAYS, "AprRunMissing", partial(replace, "[14d:30m]", "[1d:30m]"), "too short a past"),
    Mutant(APR_DAYS, "AprRunMissing", partial(replace, "[15m] @ end()", "[15m]"), "runs before the last"),
    Mutant(APR_DAYS, "AprRunMissing", partial(replace, 'm{table="apr_processing_log"}', 'm{table=""}'), "unread"),
    Mutant(APR_DAYS, "AprRunMissing", partial(replace, 's{table="apr_processing_log"}', 's{table=""}'), "never ran"),
    Mutant(APR_DAYS, "AprRunMissing", partial(drop, "for"), "fires at once"),
    Mutant(APR_DAYS, "AprRunMissing", partial(put_label, "severity", "warning"), "another severity"),
    Mutant(APR_DAYS, "apr:rounds_apr_proposals_invalid:ratio", partial(replace, ">= 20", ">= 19"), "too few"),
    Mutant(APR_DAYS, "AprInvalidRatioJumped", partial(replace, "+ 0.2", "+ 0.19"), "earlier"),
    Mutant(APR_DAYS, "AprInvalidRatioJumped", partial(replace, "+ 0.2", "+ 0.22"), "later"),
    Mutant(APR_DAYS, "AprInvalidRatioJumped", partial(drop, "for"), "fires at once"),
    *(
        Mutant(APR_DAYS, "apr:rounds_apr_proposals_invalid:usual14d", partial(replace, old, new), what)
        for old, new, what in (
            ("0.8", "0.95", "two days are usual"),
            (" and on (job, instance) rounds_apr_working_day == 1", "", "weekends count"),
            (" offset 1d", "", "today is usual"),
            ("[7d] offset 8d", "[7d] offset 1d", "no guard for a short past"),
        )
    ),
    *(
        Mutant(test, rule, partial(replace, old, new), what)
        for test, rule, old, new, what in (
            (SYNC_HOURS, "SyncOverdue", "> 2 *", "> 1 *", "earlier"),
            (SYNC_HOURS, "SyncOverdue", "> 2 *", ">= 2 *", "at the limit"),
            (SYNC_HOURS, "SyncOverdue", "min without", "max without", "the oldest success of all"),
            (SYNC_HOURS, "SyncOverdue", "min without (operation)", "min by (sync, organization)", "loses labels"),
            (SYNC_HOURS, "SyncOverdue", "(\n  min", "(\n  0 * min", "blind where any operation will do"),
            (SYNC_HOURS, "SyncOverdue", "or\n  last", "or\n  0 * last", "blind where each has its own"),
            (SYNC_HOURS, "SyncOverdue", "[15m]", "[1h]", "remembers for longer"),
            (SYNC_HOURS, "SyncNeverSucceeded", "  2 * last", "  1 * last", "earlier"),
            (SYNC_HOURS, "SyncNeverSucceeded", "> 2 *", "> 1 *", "earlier where there is no run"),
            (SYNC_HOURS, "SyncNeverSucceeded", "  2 * last", "  4 * last", "later"),
            (SYNC_HOURS, "SyncNeverSucceeded", "min without", "max without", "the youngest operation"),
            (SYNC_HOURS, "SyncNeverSucceeded", "max without (operation) (", "(", "any operation's success will do"),
            (SYNC_HOURS, "SyncNeverSucceeded", "3600 *", "0 *", "blind without a run"),
            (SYNC_HOURS, "SyncNeverSucceeded", "[8d:1h]", "[1h:1h]", "blind without a run"),
            (SYNC_HOURS, "SyncNeverSucceeded", "unless ignoring (operation)", "or", "what has runs"),
            (SYNC_HOURS, "SyncNeverSucceeded", "syncs/(.+)", ".+(unread)", "another log"),
            (SYNC_HOURS, "SyncNeverSucceeded", "and on (job, instance, sync)", "or", "before a first look"),
            (SYNC_HOURS, "SyncAuthFailed", "[2h]", "[1h]", "shorter"),
            (SYNC_HOURS, "SyncAuthFailed", '{error_class="auth"}[2h]', "[2h]", "other failures"),
            (SYNC_HOURS, "SyncAuthFailed", "[1d] offset 2h", "[1h] offset 2h", "blind to what was counted late"),
            (SYNC_HOURS, "SyncAuthFailed", " > last_over_time(", " >= last_over_time(", "always"),
            (SYNC_HOURS, "SyncAuthFailed", "increase(", "changes(", "a new ledger"),
            (SYNC_HOURS, "SyncAuthFailed", "[15m]) > 0", "[15m]) > 1", "blind to what a counter begins with"),
            (SYNC_HOURS, "SyncAuthFailed", "min without", "max without", "an old ledger and a new organisation"),
            (SYNC_HOURS, "SyncAuthFailed", "7200", "3600", "shorter"),
            (SYNCS, "SyncLastRunFailed", "failed|timeout", "failed", "blind to time-outs"),
            (SYNCS, "SyncLastRunFailed", "failed|timeout", "failed|timeout|partial", "tells what went through"),
            (SYNCS, "SyncLastRunFailed", "max without (state)", "", "the state becomes part of it"),
            (SYNCS, "SyncLastRunFailed", "max without (state)", "max by (organization)", "loses labels"),
            (SYNC_DAYS, "SyncLastRunFailed", "2 * 86400", "3 * 86400", "goes on for ever"),
            (SYNC_DAYS, "SyncLastRunFailed", "2 * 86400", "86400", "is over early"),
            (SYNC_DAYS, "SyncPartial", "2 * 86400", "3 * 86400", "goes on for ever"),
            (SYNC_DAYS, "SyncFoundShrink", "2 * 86400", "3 * 86400", "goes on for ever"),
            (SYNCS, "SyncPartial", "> on", ">= on", "at the limit"),
            (SYNCS, "SyncPartial", '{threshold="failed"}', '{threshold="deleted"}', "another limit"),
            (SYNCS, "SyncPartial", 'state="partial"', 'state="failed"', "what failed as a whole"),
            (SYNCS, "SyncPartial", "on (job, instance, sync)", "on (job, instance)", "another log's limit"),
            (SYNCS, "SyncFoundShrink", "> on", ">= on", "at the limit"),
            (SYNCS, "SyncFoundShrink", '{threshold="found_drop"}', '{threshold="failed"}', "another limit"),
            (SYNCS, "SyncMassDeletion", "- 300", "- 240", "ends early"),
            (SYNCS, "SyncMassDeletion", "- 300", "- 315", "ends late"),
            (SYNCS, "SyncMassDeletion", "_patients[15m])\n      > on", "_patients[15m])\n      >= on", "the limit"),
            (SYNCS, "SyncMassDeletion", "_ratio[15m])\n      > on", "_ratio[15m])\n      >= on", "the limit"),
            (SYNCS, "SyncMassDeletion", 'threshold="deleted"', 'threshold="failed"', "another limit"),
            (SYNCS, "SyncMassDeletion", '"changed_at"', '"at"', "another identity"),
            (SYNCS, "SyncMassDeletion", "count_values without ()", "count_values by (sync)", "loses labels"),
            (SYNCS, "SyncStuck", "> on", ">= on", "at the limit"),
            (SYNCS, "SyncStuck", '"stuck_after"', '"slow_after"', "another limit"),
            (SYNCS, "SyncStuck", "on (job, instance, sync)", "on (job, instance)", "another log's limit"),
            (SYNCS, "SyncStuck", "> 0", ">= 0", "a run that has ended"),
            (SYNCS, "SyncRunTooLong", "> on", ">= on", "at the limit"),
            (SYNCS, "SyncRunTooLong", '"slow_after"', '"stuck_after"', "another limit"),
            (SYNCS, "SyncRunTooLong", "> 0", ">= 0", "a run that has ended"),
            (SYNCS, "SyncRunStale", "> 0", "> 1", "blind to one"),
            (SYNCS, "SyncRunOrphaned", "(organization, operation)", "(operation)", "told for each organisation"),
            (SYNCS, "SyncSchemaProblem", "== 1", "== 0", "never"),
            (SYNC_DAYS, "SyncSuccessRatioLow", "< 0.95", "<= 0.95", "at the limit"),
            (SYNC_DAYS, "SyncSuccessRatioLow", "< 0.95", "< 0.9", "later"),
            (SYNC_DAYS, "sync:rounds_sync_runs_succeeded:ratio6h", ">= 10", ">= 9", "too few"),
            (SYNC_DAYS, "sync:rounds_sync_runs_succeeded:ratio6h", ">= 10", "> 10", "ten are enough"),
            (SYNC_DAYS, "sync:rounds_sync_runs_succeeded:ratio6h", "[6h]", "[2h]", "shorter"),
            (SYNC_DAYS, "sync:rounds_sync_runs_succeeded:sum5m", "completed|partial", "completed", "not partial ones"),
            (SYNC_DAYS, "sync:rounds_sync_runs_judged:sum5m", '"completed|partial|failed|timeout"', '".+"', "skipped"),
            (SYNC_DAYS, "sync:rounds_sync_runs_judged:sum5m", "|timeout", "", "blind to time-outs"),
            (
                SYNC_DAYS,
                "sync:rounds_sync_runs_judged:sum5m",
                "sum without (state)",
                "sum without (state, organization)",
                "a forgotten organisation looks like a restart",
            ),
            (SYNC_DAYS, "sync:rounds_sync_runs_judged:increase6h", "round(", "(", "runs that are not whole"),
            (SYNCS, "sync:rounds_sync_run_remaining:seconds", "> 0", ">= 0", "infinite while it stands still"),
            (SYNCS, "sync:rounds_sync_run_remaining:seconds", "clamp_min", "clamp_max", "negative"),
            (SYNCS, "sync:rounds_sync_run_processed_records:deriv3m", "resets(", "0 * resets(", "over two runs"),
            (SYNCS, "sync:rounds_sync_run_processed_records:deriv3m", "  and\n", "  or\n", "after its end"),
            (SYNCS, "sync:rounds_sync_run_processed_records:deriv3m", "[3m]", "[30s]", "another window"),
        )
    ),
    *(
        Mutant(test, name, unbridge, "ends or begins with the exporter")
        for test, name in (
            (SYNC_HOURS, "SyncOverdue"),
            (SYNC_HOURS, "SyncNeverSucceeded"),
            (SYNCS, "SyncLastRunFailed"),
            (SYNCS, "SyncPartial"),
            (SYNCS, "SyncFoundShrink"),
            (SYNCS, "SyncMassDeletion"),
            (SYNCS, "SyncStuck"),
            (SYNCS, "SyncRunTooLong"),
            (SYNCS, "SyncRunStale"),
            (SYNCS, "SyncRunOrphaned"),
            (SYNCS, "SyncSchemaProblem"),
        )
    ),
    *(
        Mutant(test, name, partial(drop, key), "fires or ends for a moment")
        for test, name, key in (
            (SYNC_HOURS, "SyncOverdue", "for"),
            (SYNC_HOURS, "SyncNeverSucceeded", "for"),
            (SYNCS, "SyncRunOrphaned", "for"),
            (SYNCS, "SyncSchemaProblem", "for"),
            (SYNCS, "SyncRunStale", "keep_firing_for"),
            (SYNCS, "SyncStuck", "keep_firing_for"),
            (SYNC_DAYS, "SyncSuccessRatioLow", "keep_firing_for"),
        )
    ),
    *(
        Mutant(SYNCS, name, partial(ageing, age, gauge), "goes on while the exporter is away")
        for name, age, gauge in (
            ("SyncStuck", "run_progress", "run_last_progress"),
            ("SyncRunTooLong", "run", "run_oldest_start"),
        )
    ),
    Mutant(SYNC_HOURS, "SyncOverdue", partial(ageing, "last_success", "last_success"), "goes on without the exporter"),
    Mutant(SYNCS, "SyncStuck", partial(put, "keep_firing_for", "6m"), "two recoveries at once"),
    Mutant(SYNCS, "SyncRunTooLong", partial(put, "keep_firing_for", "6m"), "two recoveries at once"),
    Mutant(SYNCS, "SyncMassDeletion", merge_changes, "the next run's deletion is not told"),
    Mutant(SYNCS, "SyncMassDeletion", partial(put_label, "kind", "state"), "no event"),
    Mutant(SYNCS, "SyncMassDeletion", partial(annotate, "summary", "ne $patients 1.0", "true"), "one patients"),
    Mutant(SYNCS, "SyncLastRunFailed", partial(annotate, "description", '"timeout"', '"failed"'), "another state"),
    Mutant(SYNCS, "SyncRunStale", partial(annotate, "summary", '"_other"', '"none"'), "not for a reader"),
    Mutant(SYNC_HOURS, "SyncAuthFailed", partial(annotate, "description", "lt $index 10", "true"), "a long list"),
    Mutant(SYNC_HOURS, "SyncAuthFailed", partial(put_label, "severity", "warning"), "another severity"),
    Mutant(SYNC_HOURS, "SyncAuthFailed", partial(annotate, "description", " == 1", ""), "others' organisations"),
    *(
        Mutant(test, rule, partial(replace, old, new), what)
        for test, rule, old, new, what in (
            (EMR, "app:rounds_emr_operations_failed:increase5m", "round(", "(", "calls that are not whole"),
            (EMR, "app:rounds_emr_operations_failed:increase5m", "[5m]", "[2m]", "another window"),
            (EMR, "app:rounds_emr_operations_failed:increase5m", '"error"', '"ok"', "what succeeded"),
            (EMR, "app:rounds_emr_operations_failed:ratio5m", '"ok|error"', '".+"', "cancelled ones count"),
            (EMR, "app:rounds_emr_operations_failed:ratio5m", ", 1\n", ", 0\n", "nothing while nothing is called"),
            (EMR, "app:rounds_emr_operations_failed:ratio5m", "round(", "(", "at the limit"),
            (EMR, "app:rounds_emr_operation_calls:increase5m", "[5m]", "[10m]", "another window"),
            (EMR, "app:rounds_emr_operation_calls:increase5m", "round(", "1.2 * (", "calls that are not whole"),
            (EMR, "app:rounds_emr_operation_duration_seconds:p95_5m", "0.95", "0.5", "another percentile"),
            (EMR, "app:rounds_emr_operation_duration_seconds:p95_5m", "[5m]", "[1h]", "another window"),
            (EMR, "EmrErrorRatioHigh", "> 0.05", ">= 0.05", "at the limit"),
            (EMR, "EmrErrorRatioHigh", "> 0.05", "> 0.1", "later"),
            (EMR, "EmrErrorRatioHigh", ">= 5", ">= 4", "too few"),
            (EMR, "EmrErrorRatioHigh", ">= 5", "> 5", "five are enough"),
            (EMR, "EmrOperationSlow", ">= 10", ">= 9", "too few"),
            (EMR, "EmrOperationSlow", "  > last", "  > 2 * last", "later"),
            (EMR, "EmrOperationSlow", "  > last", "  > 0.9 * last", "earlier"),
            (EMR, "EmrNewErrorGroup", "- 300", "- 240", "ends early"),
            (EMR, "EmrNewErrorGroup", "- 300", "- 315", "ends late"),
            (EMR, "EmrNewErrorGroup", '"changed_at"', '"at"', "another identity"),
            (EMR, "EmrNewErrorGroup", "count_values without ()", "count_values by (app)", "loses labels"),
            (EMR, "EmrCrashed", "- 300", "- 240", "ends early"),
            (EMR, "EmrCrashed", "- 300", "- 360", "ends late"),
            (EMR, "EmrCrashed", "python|fatal_signal", "python", "blind to signals"),
            (EMR, "EmrCrashed", "python|fatal_signal", ".+", "tells what was killed"),
            (EMR, "EmrCrashed", '"crash", "$1"', '"crash", "x"', "kinds are not told apart"),
            (EMR, "EmrCrashed", "without (kind)", "by (app, crash)", "loses labels"),
            (EMR, "EmrUncleanShutdown", "- 300", "- 240", "ends early"),
            (EMR, "EmrUncleanShutdown", "- 300", "- 315", "ends late"),
            (EMR, "EmrUncleanShutdown", '{kind="unclean"}', "", "every crash"),
            (EMR, "EmrUncleanShutdown", "without (kind)", "by (app)", "loses labels"),
            (EMR, "EmrAppAlert", "- 300", "- 240", "ends early"),
            (EMR, "EmrAppAlert", "- 300", "- 405", "ends late"),
            (EMR, "EmrAppAlert", "without ()", "without (severity)", "loses its severity"),
            (EMR_HOURS, "EmrCrashLoop", ">= 3", ">= 2", "too few"),
            (EMR_HOURS, "EmrCrashLoop", ">= 3", "> 3", "three are enough"),
            (EMR_HOURS, "EmrCrashLoop", "[1h]", "[2h]", "another window"),
            (EMR_HOURS, "EmrCrashLoop", "sum without (kind) ", "", "each kind by itself"),
            (EMR_HOURS, "EmrCrashLoop", "increase(", "changes(", "two between two scrapes"),
            (EMR, "EmrCheckUnhealthy", '"unhealthy"', '"degraded"', "another state"),
            (EMR, "EmrCheckUnhealthy", "max without (state)", "", "the state becomes part of it"),
            (EMR, "EmrCheckUnhealthy", "max without (state)", "max by (app, check)", "loses labels"),
            (EMR, "EmrCheckDegraded", "degraded|unhealthy", "degraded", "blind to what comes and goes"),
            (EMR, "EmrCheckDegraded", "max without (state)", "max by (app, check)", "loses labels"),
            (EMR, "EmrCheckStale", "3 * last", "30 * last", "later"),
            (EMR, "EmrCheckStale", "> 3 * last", "> 1 * last", "earlier"),
            (EMR, "EmrCheckStale", "> on (job, instance) group_left () ", "> 0 * on (job, instance) ", "removed ones"),
            (EMR, "EmrCheckStale", "unless on", "and on", "blind to what never ran"),
            (EMR, "EmrCheckStale", "group_right () (3 *", "group_right () (30 *", "later"),
            (EMR, "EmrModelMissing", "== 0", "== 1", "the other way round"),
            (
                EMR,
                "EmrModelMissing",
                "rounds_emr_llm_up[15m]) == 1",
                "rounds_emr_llm_up[15m]) >= 0",
                "without a server",
            ),
            (EMR, "EmrMemoryLow", "< 0.1", "<= 0.1", "at the limit"),
            (EMR, "EmrMemoryLow", "< 0.1", "< 0.04", "later"),
            (EMR_HOURS, "EmrTelemetryLost", "increase(rounds_emr_telemetry_dropped_total[15m]) > 0", "up == 7", "once"),
            (EMR_HOURS, "EmrTelemetryLost", "[1d] offset 15m", "[30m] offset 15m", "blind to what was counted late"),
            (EMR_HOURS, "EmrTelemetryLost", "[1d] offset 15m)\n    > 0", "[1d] offset 15m)\n", "always"),
            (EMR_HOURS, "EmrTelemetryLost", "sum without (reason)", "sum by (reason)", "loses labels"),
            (EMR_HOURS, "EmrStoreCorrupt", "== 0", "== 1", "the other way round"),
            (EMR_HOURS, "EmrStoreCorrupt", "[1h]) > 0", "[1h]) > 1", "blind to one"),
            (EMR_HOURS, "EmrStoreCorrupt", "[15m])\n  >", "[15m])\n  >=", "always"),
            (EMR_HOURS, "EmrStoreCorrupt", "[1d] offset 1h", "[30m] offset 1h", "blind to what was counted late"),
            (EMR_HOURS, "EmrBackupStale", "+ 7200", "+ 3600", "earlier"),
            (EMR_HOURS, "EmrBackupStale", "+ 7200", "+ 10800", "later"),
            (
                EMR_HOURS,
                "EmrBackupStale",
                "last_over_time(rounds_emr_backup_max_age_seconds[15m])",
                "86400",
                "one limit",
            ),
            (EMR_DAYS, "EmrBackupMissing", "[8d:1h]", "[1d:1h]", "blind where nights are off"),
            (EMR_DAYS, "EmrBackupMissing", "+ 7200", "+ 0", "earlier"),
            (EMR_DAYS, "EmrBackupMissing", "48 * 3600", "480 * 3600", "a weekly one is waited for a week"),
            (EMR_DAYS, "EmrBackupMissing", "48 * 3600", "20 * 3600", "earlier"),
            (EMR_DAYS, "EmrBackupMissing", "  unless", "  or", "what is there"),
            (EMR_DAYS, "EmrBackupMissing", "max_age_seconds[15m]", "max_age_seconds[2d]", "what is not configured"),
            (EMR_HOURS, "EmrDiskWillFill", "< 0.15", "< 0.5", "a large disk"),
            (EMR_HOURS, "EmrDiskWillFill", "< 0.15", "< 0.1", "later"),
            (EMR_HOURS, "EmrDiskWillFill", "24 * 3600", "240 * 3600", "within ten days"),
            (EMR_HOURS, "EmrDiskWillFill", ">= 24", ">= 1", "no guard for a short past"),
            (EMR_HOURS, "EmrDiskWillFill", "[6h], 24", "[30m], 24", "one download"),
        )
    ),
    *(
        Mutant(test, name, unbridge, "ends or begins with the exporter")
        for test, name in (
            (EMR, "EmrErrorRatioHigh"),
            (EMR, "EmrOperationSlow"),
            (EMR, "EmrNewErrorGroup"),
            (EMR, "EmrCrashed"),
            (EMR, "EmrUncleanShutdown"),
            (EMR, "EmrAppAlert"),
            (EMR, "EmrCheckUnhealthy"),
            (EMR, "EmrCheckDegraded"),
            (EMR, "EmrCheckStale"),
            (EMR, "EmrModelMissing"),
            (EMR, "EmrMemoryLow"),
            (EMR_HOURS, "EmrStoreCorrupt"),
            (EMR_HOURS, "EmrBackupStale"),
            (EMR_DAYS, "EmrBackupMissing"),
            (EMR_HOURS, "EmrDiskWillFill"),
        )
    ),
    *(
        Mutant(test, name, partial(drop, key), "fires or ends for a moment")
        for test, name, key in (
            (EMR, "EmrErrorRatioHigh", "for"),
            (EMR, "EmrErrorRatioHigh", "keep_firing_for"),
            (EMR, "EmrOperationSlow", "for"),
            (EMR, "EmrOperationSlow", "keep_firing_for"),
            (EMR_HOURS, "EmrCrashLoop", "keep_firing_for"),
            (EMR, "EmrCheckUnhealthy", "for"),
            (EMR, "EmrCheckUnhealthy", "keep_firing_for"),
            (EMR, "EmrCheckDegraded", "for"),
            (EMR, "EmrCheckStale", "for"),
            (EMR, "EmrModelMissing", "for"),
            (EMR, "EmrMemoryLow", "for"),
            (EMR, "EmrMemoryLow", "keep_firing_for"),
            (EMR_HOURS, "EmrBackupStale", "for"),
            (EMR_HOURS, "EmrDiskWillFill", "for"),
        )
    ),
    *(
        Mutant(EMR, name, merge_changes, "the next one is not told")
        for name in ("EmrNewErrorGroup", "EmrCrashed", "EmrUncleanShutdown", "EmrAppAlert")
    ),
    *(
        Mutant(EMR, name, partial(put_label, "kind", "state"), "no event")
        for name in ("EmrNewErrorGroup", "EmrCrashed", "EmrUncleanShutdown", "EmrAppAlert")
    ),
    Mutant(EMR, "EmrAppAlert", partial(put_label, "severity", "error"), "another severity than the application's"),
    Mutant(EMR, "EmrCheckDegraded", partial(put, "keep_firing_for", "3m"), "two recoveries at once"),
    Mutant(EMR, "EmrNewErrorGroup", partial(annotate, "description", "or 0 * %s", "or %s"), "blind to the first"),
    Mutant(EMR, "EmrNewErrorGroup", partial(annotate, "description", "lt $index 10", "true"), "a long list"),
    Mutant(EMR, "EmrCheckDegraded", partial(annotate, "description", "%s} == 1", "%s}[15m]"), "an old reason"),
    Mutant(EMR_HOURS, "EmrTelemetryLost", partial(annotate, "description", " > (last", " >= (last"), "every reason"),
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


def keep_needed(groups: list[dict[str, Any]], cases: dict[str, Any]) -> None:
    """Keep the rules that the cases speak of, and those whose series they read."""
    bodies = [body for group in groups for body in group["rules"]]
    text = str([[case.get(key) for key in EXPECTED] for case in cases["tests"]])
    kept: list[dict[str, Any]] = []
    while more := [each for each in bodies if each not in kept and str(each.get("alert") or each["record"]) in text]:
        kept += more
        text += str(more)
    for group in groups:
        group["rules"] = [each for each in group["rules"] if each in kept]


def write_rules(folder: Path, test: str, mutant: Mutant | None) -> Path:
    """The groups that a test file is about, with one rule changed, and the cases that name that rule.

    Only what these cases speak of is evaluated: most of the time goes into that.
    """
    source = RULES / f"{test.partition('_')[0]}.yml"
    tree = yaml.safe_load(source.read_text(encoding="utf-8"))
    cases = yaml.safe_load((RULE_TESTS / test).read_text(encoding="utf-8"))
    tree["groups"] = [group for group in tree["groups"] if group["name"] in GROUPS[test]]
    if mutant:
        bodies = [body for group in tree["groups"] for body in group["rules"]]
        body = next(each for each in bodies if mutant.rule in (each.get("alert"), each.get("record")))
        before = copy.deepcopy(body)
        mutant.change(body)
        assert body != before, f"{mutant.rule}: {mutant.what}: nothing was changed"
        if "alert" in body:
            for case in cases["tests"]:
                told = [each for each in case.get("alert_rule_test", ()) if each["alertname"] == mutant.rule]
                case["alert_rule_test"] = told
        cases["tests"] = [case for case in cases["tests"] if mutant.rule in str([case.get(key) for key in EXPECTED])]
        keep_needed(tree["groups"], cases)
    (folder / "rules").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "rules" / source.name).write_text(yaml.safe_dump(tree), encoding="utf-8")
    copied = folder / "tests" / test
    copied.write_text(yaml.safe_dump(cases), encoding="utf-8")
    return copied


@pytest.mark.parametrize("share", [pytest.param(1, marks=pytest.mark.long), 5], ids=["all", "every fifth"])
def test_each_broken_rule_fails_a_unit_test(promtool: Path, tmp_path: Path, share: int) -> None:
    runs: list[tuple[str, Mutant | None]] = [(test, None) for test in GROUPS]
    runs += [(mutant.test, mutant) for mutant in MUTANTS[::share]]
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

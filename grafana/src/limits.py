"""The numbers at which colours change, read from the rules that alert on them, so that they stand in one place."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[2] / "prometheus" / "rules"


@cache
def _rules() -> dict[str, dict[str, Any]]:
    files = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(RULES.glob("*.yml")))
    rules = (rule for file in files for group in file["groups"] for rule in group["rules"])
    return {str(rule.get("alert") or rule["record"]): rule for rule in rules}


def _found(rule: str, pattern: str) -> list[str]:
    found = re.findall(pattern, str(_rules()[rule]["expr"]))
    if not found:
        raise LookupError(f"the rule {rule} does not contain {pattern}; limits.py must follow it")
    return [str(each) for each in found]


def severity(alert: str) -> str | None:
    """An alert's severity; None where that of its series is passed on."""
    said = _rules()[alert]["labels"].get("severity")
    return str(said) if said else None


def objective() -> float:
    """The share of probes that must not find a service down."""
    return float(_found("rounds:slo_objective:ratio", r"vector\(([\d.]+)\)")[0])


def burn_fast() -> float:
    """The burn rate over an hour that is alerted on at once."""
    return float(_found("ErrorBudgetBurnFast", r":rate1h > ([\d.]+)")[0])


def burn_slow() -> float:
    """The burn rate over a day that is alerted on."""
    return float(_found("ErrorBudgetBurnSlow", r":rate1d > ([\d.]+)")[0])


def certificate_warning() -> int:
    """Seconds before a certificate's end from which there is a warning."""
    return int(_found("CertificateExpiresSoon", r"< (\d+) \* 86400")[0]) * 86_400


def certificate_critical() -> int:
    """Seconds before a certificate's end from which it is critical."""
    return int(_found("CertificateExpiresVerySoon", r"< (\d+) \* 86400")[0]) * 86_400


def collector_stale() -> str:
    """PromQL: the seconds after which a collector without a success is stale."""
    return _found("CollectorStale", r"_success_timestamp_seconds\{[^}]*\}\s+> (.+)")[0].strip()


def bridge() -> str:
    """How far back rules look for a state, so that it outlives an exporter that does not answer."""
    return _found("ServiceDown", r"\[(\w+)\]")[0]


def table_overdue() -> str:
    """PromQL: the seconds after which a table without a successful check is overdue."""
    return _found("TableCheckOverdue", r"_success_timestamp_seconds\{[^}]*\}\s+> (.+)")[0].strip()


def sync_overdue() -> float:
    """How many of its expected intervals an organisation may be without a success."""
    return float(_found("SyncOverdue", r"> ([\d.]+) \* last_over_time\(rounds_sync_expected")[0])


def sync_rest() -> str:
    """PromQL: the seconds after which a failed run that nobody repeats is let rest."""
    return _found("SyncLastRunFailed", r"start_timestamp_seconds\[\w+\]\) \+ (.+) > time\(\)")[0]


def sync_ratio() -> float:
    """The part of the runs that must succeed."""
    return float(_found("SyncSuccessRatioLow", r"< ([\d.]+)")[0])


def sync_ratio_window() -> str:
    """Over how long that part is taken."""
    return _found("sync:rounds_sync_runs_judged:increase6h", r"\[(\w+)\]")[0]


def emr_error_ratio() -> float:
    """The part of an operation's calls that may fail."""
    return float(_found("EmrErrorRatioHigh", r":ratio\w+\[\w+\]\) > ([\d.]+)")[0])


def emr_window() -> str:
    """Over how long that part, and how long operations take, is taken."""
    (window,) = {
        *_found("app:rounds_emr_operations_failed:ratio5m", r"\[(\w+)\]"),
        *_found("app:rounds_emr_operation_duration_seconds:p95_5m", r"\[(\w+)\]"),
    }
    return window


def emr_memory() -> float:
    """The part of the memory that must be left."""
    return float(_found("EmrMemoryLow", r"< ([\d.]+)")[0])


def emr_disk() -> float:
    """The part of the disk that must be left, where it gets less."""
    return float(_found("EmrDiskWillFill", r"_size_bytes\[\w+\]\) < ([\d.]+)")[0])


def emr_backup_slack() -> int:
    """Seconds for which a backup may be older than configured."""
    return int(_found("EmrBackupStale", r"max_age_seconds\[\w+\]\) \+ (\d+)")[0])

"""Production YAML to demo YAML: the same rules and routes on shorter times and other addresses."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from rounds.fields import format_duration, parse_duration

#: The keys of Prometheus, its rule files and Alertmanager that hold the times of alerting.
TIMES = frozenset(
    (
        "scrape_interval",
        "scrape_timeout",
        "evaluation_interval",
        "interval",
        "for",
        "keep_firing_for",
        "group_wait",
        "group_interval",
        "repeat_interval",
    )
)

#: How young an event must be, in the expressions of rules. Not so many days, as it may be since then.
_AGE = re.compile(r"(?<=> time\(\) - )\d+\b(?! \*)")
#: How long a mass deletion and a refused key are told, over how long operations of an application are looked at, for
#: how long its crashes are remembered, and how late a backup may be: what ends an expression, and the time that is
#: divided instead. Divided themselves, some of these would still be longer than a script.
_TOLD = {
    "deleted:ratio[1h]": "6m",
    '_failures_total{error_class="auth"}[2h]': "6m",
    'rounds_emr_operations_total{outcome="error"}[5m]': "6m",
    'rounds_emr_operations_total{outcome=~"ok|error"}[5m]': "6m",
    "rounds_emr_operation_duration_seconds_count[5m]": "6m",
    "rounds_emr_operation_duration_seconds_bucket[5m]": "6m",
    "rounds_emr_crashes_total[1h]": "18m",
    "rounds_emr_backup_max_age_seconds[15m]) + 7200": "30s",
}
#: A range, or a number of seconds.
_END = re.compile(r"\[\w+\]$|\d+$")

#: Mappings of free names: a label called "interval" is none of ours.
_FREE = frozenset(("labels", "annotations", "external_labels"))


class Scale:
    """Divides times by a factor and remembers what became of them.

    Attributes:
        factor: a time becomes this many times shorter, in whole seconds and at least one.
        events: whether alerts on what happened once end sooner too. The times of these stand in expressions.
        changes: by key, each production time and what it is now.
    """

    def __init__(self, factor: float, *, events: bool = False) -> None:
        self.factor = factor
        self.events = events
        self.changes: dict[str, dict[str, str]] = {}

    def apply(self, tree: Any) -> Any:
        """A copy of a tree in which every time is scaled. Expressions, names, labels and texts stay."""
        if isinstance(tree, dict):
            return {key: self._value(key, value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.apply(item) for item in tree]
        return tree

    def duration(self, text: str) -> str:
        """One time, scaled. Zero stays zero, since it means "at once"."""
        seconds = parse_duration(text)
        return format_duration(max(1, round(seconds / self.factor)) if seconds else 0)

    def described(self) -> list[str]:
        """Lines for people: each kind of time, as it is in production and here, shortest first."""
        lines = []
        for key in sorted(self.changes):
            pairs = sorted(self.changes[key].items(), key=lambda pair: parse_duration(pair[0]))
            lines.append(f"{key:<20}" + ", ".join(f"{old} -> {new}" for old, new in pairs))
        return lines

    def _value(self, key: str, value: Any) -> Any:
        if key in _FREE:
            return value
        if key in TIMES and isinstance(value, str):
            scaled = self.duration(value)
            self.changes.setdefault(key, {})[value] = scaled
            return scaled
        if key == "expr" and self.events:
            return functools.reduce(self._told, _TOLD, _AGE.sub(self._age, value))
        return self.apply(value)

    def _told(self, expression: str, production: str) -> str:
        scaled = self.duration(_TOLD[production])
        end = f"[{scaled}]" if production.endswith("]") else f"{parse_duration(scaled):.0f}"
        return expression.replace(production, _END.sub(end, production))

    def _age(self, found: re.Match[str]) -> str:
        old = format_duration(float(found[0]))
        scaled = self.duration(old)
        self.changes.setdefault("age of events", {})[old] = scaled
        return f"{parse_duration(scaled):.0f}"


def redirect(tree: dict[str, Any], addresses: Mapping[str, str], rule_files: list[str]) -> dict[str, Any]:
    """A Prometheus configuration whose targets are at other addresses.

    Args:
        tree: the production configuration.
        addresses: ``host:port`` in production to ``host:port`` here. A target that is not among them has no
            counterpart and is left out, with its job where that was the job's last one.
        rule_files: the paths of the rule files to load instead.
    """
    jobs = [_moved(job, addresses) for job in tree.get("scrape_configs", [])]
    managers = [_moved(each, addresses) for each in tree.get("alerting", {}).get("alertmanagers", [])]
    return {
        **tree,
        "rule_files": rule_files,
        "scrape_configs": [job for job in jobs if job["static_configs"]],
        "alerting": {
            **tree.get("alerting", {}),
            "alertmanagers": [each for each in managers if each["static_configs"]],
        },
    }


def _moved(job: dict[str, Any], addresses: Mapping[str, str]) -> dict[str, Any]:
    groups = []
    for group in job.get("static_configs", []):
        targets = [addresses[target] for target in group["targets"] if target in addresses]
        if targets:
            groups.append({**group, "targets": targets})
    return {**job, "static_configs": groups}

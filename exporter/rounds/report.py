"""What the command line prints for people: the catalogue of metrics and the table of collectors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from rounds.fields import format_duration
from rounds.metrics import Metric
from rounds.pages import ago, lease_line, off_line

_INTRODUCTION = """\
Generated from the catalogue, which `rounds metrics` prints, and grouped by what exports them. Units are base units:
seconds, bytes, ratios from 0 to 1; a timestamp is in Unix seconds. Where a label's values are a closed set, they stand
behind it. Checks of `services` may carry further labels, declared in `services.labels`. A histogram is the series
`_bucket`, with the label `le`, `_sum` and `_count`.
"""


Catalogue: TypeAlias = Mapping[str, Sequence[Metric]]


def catalogue_json(catalogue: Catalogue) -> str:
    """The catalogue as a JSON list; ``component`` is the domain, or ``exporter``."""
    entries = [
        {
            "name": metric.name,
            "component": component,
            "type": metric.kind,
            "unit": metric.unit,
            "labels": list(metric.labels),
            "values": {label: list(values) for label, values in metric.values},
            "help": metric.help,
        }
        for component, metrics in catalogue.items()
        for metric in metrics
    ]
    return json.dumps(entries, indent=2) + "\n"


def catalogue_markdown(catalogue: Catalogue, uses: Mapping[str, Sequence[str]] = MappingProxyType({})) -> str:
    """The catalogue as a page of documentation.

    Args:
        catalogue: metrics by component.
        uses: what uses a metric, by its name, as Markdown; without any there is no such column.
    """
    used = ["Used by"] if uses else []
    heads = ["Name", "Type", "Unit", "Labels", "Meaning", *used]
    lines = ["# Metrics", "", _INTRODUCTION]
    for component, metrics in catalogue.items():
        lines.append(f"- [{component}](#{component}): {len(metrics)} metrics")
    for component, metrics in catalogue.items():
        lines += ["", f"## {component}", "", _line(heads), _line(["---"] * len(heads))]
        for metric in metrics:
            users = [", ".join(uses.get(metric.name, ()))] if uses else []
            lines.append(_line([f"`{metric.name}`", metric.kind, metric.unit, _labels(metric), metric.help, *users]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _labels(metric: Metric) -> str:
    known = dict(metric.values)
    return ", ".join(
        f"`{label}`" + (f" ({', '.join(known[label])})" if label in known else "") for label in metric.labels
    )


CATALOGUE_FORMATS: dict[str, Callable[[Catalogue], str]] = {
    "json": catalogue_json,
    "markdown": catalogue_markdown,
}


def status_table(status: dict[str, Any]) -> str:
    """The status of :func:`rounds.status.status_of` as a table, failures below it."""
    now = time.time()
    heads = ("JOB", "STATE", "LAST RUN", "LAST SUCCESS", "DURATION", "NEXT RUN", "INTERVAL", "FAILED", "FOUND")
    jobs = [job for collector in status["collectors"] for job in collector["jobs"]]
    rows = [heads, *(_row(job, now) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    errors = [f"{job['name']}: {job['reason']}: {job['error']}" for job in jobs if job["error"]]
    if not status["config"]["last_reload_successful"]:
        errors.append("the last reload of the configuration was refused; the one before stays in use")
    # An exporter of an older version says neither.
    off = [off_line(status["off"])] if status.get("off") else []
    lease = [lease_line(status["lease"], now), ""] if status.get("lease") else []
    return "\n".join([*lease, *table, *([""] if errors or off else []), *errors, *off]) + "\n"


def _row(job: dict[str, Any], now: float) -> tuple[str, ...]:
    return (
        job["name"],
        job["state"],
        ago(job["last_run"], now),
        ago(job["last_success"], now),
        "" if job["duration"] is None else f"{job['duration']:.3f} s",
        "running"
        if job["running"]
        else ""
        if job["next_run"] is None
        else f"in {format_duration(max(0, round(job['next_run'] - now)))}",
        format_duration(job["interval"]),
        f"{job['failures']} of {job['runs']}",
        job["found"],
    )

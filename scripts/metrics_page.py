"""Prints docs/metrics.md: the catalogue of metrics, with the alerts and dashboards that use each of them."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from rounds.domains import all_domains
from rounds.exporter import catalogues
from rounds.report import catalogue_markdown

ROOT = Path(__file__).parents[1]
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
#: What a histogram's series are called besides its name.
_SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def page() -> str:
    """The page."""
    return catalogue_markdown(catalogues(all_domains()), uses())


def uses() -> dict[str, list[str]]:
    """What uses a metric, by its name: links to alerts' runbooks, then dashboards."""
    rules = [rule for file in sorted((ROOT / "prometheus/rules").glob("*.yml")) for rule in _rules(file)]
    recorded = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for rule in rules:
        for name in _metrics(rule["expr"], recorded) if "alert" in rule else ():
            found[name][f"[{rule['alert']}](runbooks/{rule['alert']}.md)"] = None
    for file in sorted((ROOT / "grafana/dashboards").rglob("*.json")):
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        for text in _queries(dashboard):
            for name in _metrics(text, recorded):
                found[name][f"dashboard `{dashboard['uid']}`"] = None
    return {name: list(users) for name, users in found.items()}


def _rules(file: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _metrics(text: str, recorded: Mapping[str, str]) -> set[str]:
    """The names in an expression, and those that its recorded series are made of."""
    names = set(_NAME.findall(text))
    below = {name for each in names & recorded.keys() for name in _metrics(recorded[each], recorded)}
    return names | {_SUFFIXES.sub("", name) for name in names} | below


def _queries(node: Any) -> Iterator[str]:
    """Every text in a dashboard that asks Prometheus: those of panels, variables and annotations."""
    if isinstance(node, list):
        for each in node:
            yield from _queries(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "query", "definition") and isinstance(value, str):
                yield value
            else:
                yield from _queries(value)


if __name__ == "__main__":
    sys.stdout.write(page())

"""What PromQL names, and which names there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser

from bundle.rules import all_rules
from rounds.domains import all_domains
from rounds.exporter import catalogue

#: Programs that are scraped besides, and what Prometheus makes itself.
FOREIGN = re.compile(
    r"(up|ALERTS|ALERTS_FOR_STATE|scrape_(duration_seconds|samples_scraped)|(alertmanager|prometheus)_\w+)"
)
#: How the name of a series ends that only rises.
COUNTER = re.compile(r"_(total|bucket|count|sum)(:\w+)?$")


def known_metrics() -> set[str]:
    """The names of all series that the exporter exports and the rules record."""
    recorded = {rule.name for rule in all_rules() if not rule.is_alert}
    metrics = catalogue(all_domains())
    histograms = {metric.name for metric in metrics if metric.kind == "histogram"}
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    return recorded | parts | {metric.name for metric in metrics} - histograms


def unknown_metrics(expression: str, known: set[str]) -> set[str]:
    """The names in an expression that nothing exports or records.

    Raises:
        ValueError: it does not parse.
    """
    names = {selector.name or "" for selector in selectors(promql_parser.parse(expression))}
    return {name for name in names if name not in known and not FOREIGN.fullmatch(name)}


def selectors(node: Any) -> Iterator[Any]:
    """Every vector selector below a node of a parsed expression."""
    return (found for found in nodes(node) if isinstance(found, promql_parser.VectorSelector))


def nodes(node: Any) -> Iterator[Any]:
    """A node of a parsed expression and every node below it."""
    yield node
    if isinstance(node, promql_parser.VectorSelector):
        return
    for attribute in ("vector_selector", "expr", "lhs", "rhs"):
        child = getattr(node, attribute, None)
        if child is not None:
            yield from nodes(child)
    for argument in getattr(node, "args", None) or ():
        yield from nodes(argument)

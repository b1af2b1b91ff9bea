"""What every dashboard must keep to, read from its JSON alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import promql_parser
from grafana.src.kit import RUNBOOKS, UNKNOWN

from bundle.promql import COUNTER, nodes, unknown_metrics

Json = dict[str, Any]

COLUMNS = 24
TAG = "rounds"
SISTERS = "rounds-detail"
HOME = "overview"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: What Grafana itself replaces in queries and links, with values for the parser.
BUILT_IN = {"__rate_interval": "2m", "__interval": "15s", "__interval_ms": "15000", "__range": "1h"}
LINK_ONLY = {"__url_time_range", "__field", "__data"}
#: Not `$1`, which is a group of `label_replace`.
VARIABLE = re.compile(r"\$(?:\{(\w+)[^}]*\}|([A-Za-z_]\w*))")
#: A table's column, in links.
COLUMN = re.compile(r"\$\{__data\.fields\.([^}]+)\}")
SERIES_TYPES = ("timeseries", "state-timeline", "bargauge")
BIG_VALUE_TYPES = ("stat", "bargauge", "gauge")
RATES = ("rate", "irate", "increase")


@dataclass(frozen=True)
class Known:
    """What exists: series, units, and dashboards with their variables."""

    metrics: set[str]
    units: set[str]
    dashboards: Mapping[str, set[str]]


def variables_of(dashboard: Json) -> set[str]:
    """The names of its variables."""
    return {variable["name"] for variable in dashboard.get("templating", {}).get("list", [])}


def panels_of(dashboard: Json) -> Iterator[Json]:
    """Every panel, rows and those in collapsed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels") or ()


def findings(dashboard: Json, known: Known) -> list[str]:
    """Everything that is wrong with a dashboard, as sentences that begin with the rule's name."""
    return [
        *_dashboard_findings(dashboard, known),
        *_variable_findings(dashboard, known),
        *_grid_findings(dashboard),
        *(found for panel in panels_of(dashboard) for found in _panel_findings(panel, dashboard, known)),
    ]


def _dashboard_findings(dashboard: Json, known: Known) -> Iterator[str]:
    annotations = dashboard.get("annotations", {}).get("list", [])
    links = dashboard.get("links", [])
    sisters = (link for link in links if link.get("type") == "dashboards" and link.get("tags") == [SISTERS])
    first = dashboard.get("uid") == HOME
    wrong = {
        f"uid: {dashboard.get('uid')} is not one of {', '.join(sorted(known.dashboards))}": (
            dashboard.get("uid") not in known.dashboards
        ),
        "description: the dashboard has no title or description": (
            not dashboard.get("title") or not dashboard.get("description")
        ),
        "inputs: made for import by hand, which files in a folder are not": (
            bool({"__inputs", "__requires"} & dashboard.keys())
        ),
        "editable: changes in the browser would be lost": dashboard.get("editable") is not False,
        "id: a number belongs to one Grafana": dashboard.get("id") is not None,
        "refresh: is missing": not dashboard.get("refresh"),
        "timezone: is not the browser's": dashboard.get("timezone") != "browser",
        "schema: its version is missing": not dashboard.get("schemaVersion"),
        f"tags: are not {TAG} and, of all but the first screen, {SISTERS}": (
            dashboard.get("tags") != ([TAG] if first else [TAG, SISTERS])
        ),
        "links: the first of them does not lead to the first screen": (
            not first and (links or [{}])[0].get("url") != f"/d/{HOME}"
        ),
        "links: there are none to the sister dashboards, by tag": next(sisters, None) is None,
        "annotations: alerts are not marked": not any("ALERTS" in each.get("expr", "") for each in annotations),
        "placement: hides links and annotations in a menu": any("placement" in each for each in annotations + links),
    }
    yield from (text for text, holds in wrong.items() if holds)
    for annotation in annotations:
        yield from _query_findings(annotation["expr"], f"annotation {annotation['name']}", dashboard, known)


def _variable_findings(dashboard: Json, known: Known) -> Iterator[str]:
    variables = dashboard.get("templating", {}).get("list", [])
    if not any(each["type"] == "datasource" and each["name"] == "datasource" for each in variables):
        yield "datasource: no variable for the data source"
    for variable in variables:
        name = variable["name"]
        if not variable.get("label"):
            yield f"variable {name}: no label"
        if variable["type"] != "query":
            continue
        if variable.get("datasource") != DATASOURCE:
            yield f"datasource: variable {name} does not use the variable for it"
        if variable.get("refresh") != 2:
            yield f"variable {name}: does not follow the time range"
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        if not found:
            yield f"variable {name}: is not label_values(series, label)"
        else:
            yield from _query_findings(found[1], f"variable {name}", dashboard, known)


def _grid_findings(dashboard: Json) -> Iterator[str]:
    for number, times in Counter(panel.get("id") for panel in panels_of(dashboard)).items():
        if times > 1 or not number:
            yield f"id: {number} is given {times} times"
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        if place["x"] < 0 or place["w"] < 1 or place["h"] < 1 or place["x"] + place["w"] > COLUMNS:
            yield f"grid: {panel['title']} does not fit into {COLUMNS} columns"
    for one, other in combinations(dashboard["panels"], 2):
        if _overlap(one["gridPos"], other["gridPos"]):
            yield f"overlap: {one['title']} and {other['title']}"


def _overlap(one: Json, other: Json) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not beside and not above


def _panel_findings(panel: Json, dashboard: Json, known: Known) -> Iterator[str]:
    where = f"panel {panel.get('id')} ({panel.get('title')})"
    if not panel.get("title") or "rounds_" in panel["title"]:
        yield f"title: {where} has none, or that of a metric"
    yield from _variable_uses(panel.get("title", ""), where, dashboard)
    if panel["type"] == "row":
        return
    description = panel.get("description", "").strip()
    if not description.endswith((".", "?")):
        yield f"description: {where} has none, or no whole sentence"
    if panel["type"] == "text":
        if not panel["options"].get("content"):
            yield f"text: {where} says nothing"
        return
    if panel.get("datasource") != DATASOURCE:
        yield f"datasource: {where} does not use the variable for it"
    yield from _look_findings(panel, where, known)
    yield from _link_findings(panel, where, dashboard, known)
    yield from _target_findings(panel, where, dashboard, known)


def _target_findings(panel: Json, where: str, dashboard: Json, known: Known) -> Iterator[str]:
    targets = panel.get("targets") or []
    if not targets:
        yield f"targets: {where} has no query"
    if len({target["refId"] for target in targets}) < len(targets):
        yield f"targets: {where} has two queries of one name"
    for target in targets:
        if target.get("datasource") != DATASOURCE:
            yield f"datasource: a query of {where} does not use the variable for it"
        legend = target.get("legendFormat", "")
        if panel["type"] in SERIES_TYPES and (legend in {"", "__auto"} or "rounds_" in legend):
            yield f"legend: {where} has series without a name for people"
        wrong = list(_query_findings(target["expr"], where, dashboard, known))
        yield from wrong
        if not wrong and panel["type"] in {"timeseries", "state-timeline"}:
            yield from _raw_counter_findings(target["expr"], where)


def _look_findings(panel: Json, where: str, known: Known) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    overrides = panel["fieldConfig"].get("overrides", [])
    properties = [entry for override in overrides for entry in override["properties"]]
    units = [defaults.get("unit"), *(entry["value"] for entry in properties if entry["id"] == "unit")]
    for unit in units:
        if unit not in known.units:
            yield f"unit: {where} has {unit}, which Grafana does not know"
    if not defaults.get("noValue"):
        yield f"noValue: {where} does not say what it means that there is nothing"
    if panel["type"] in BIG_VALUE_TYPES and not defaults.get("thresholds", {}).get("steps"):
        yield f"thresholds: {where} has none"
    elif panel["type"] in BIG_VALUE_TYPES and defaults["thresholds"]["steps"][0] != {"color": UNKNOWN, "value": None}:
        yield f"thresholds: {where} colours what is not known as if it were"
    if panel["type"] == "stat" and not defaults.get("links"):
        yield f"link: {where} is a card that leads nowhere"
    if panel["type"] == "table":
        renamed = {
            title for each in panel["transformations"] for title in each["options"].get("renameByName", {}).values()
        }
        named = {override["matcher"]["options"] for override in overrides}
        if renamed != named:
            yield f"columns: {where} has settings for {sorted(renamed ^ named)}, which are not among its columns"


def _link_findings(panel: Json, where: str, dashboard: Json, known: Known) -> Iterator[str]:
    config = panel["fieldConfig"]
    links = [*(panel.get("links") or ()), *(config["defaults"].get("links") or ())]
    for override in config.get("overrides", []):
        links += [link for entry in override["properties"] if entry["id"] == "links" for link in entry["value"]]
    titles = {override["matcher"]["options"] for override in config.get("overrides", [])}
    for link in links:
        if not link.get("title"):
            yield f"link: {where} has one without a title"
        yield from _address_findings(link, where, known)
        yield from _variable_uses(link["url"], where, dashboard, LINK_ONLY | {"__all"})
        for column in COLUMN.findall(link["url"]):
            if column not in titles:
                yield f"link: {where} uses its column {column}, which it does not have"


def _address_findings(link: Json, where: str, known: Known) -> Iterator[str]:
    url = link["url"]
    parts = urlsplit(COLUMN.sub("COLUMN", url))
    found = re.fullmatch(r"/d/([\w-]+)", parts.path)
    if parts.path == f"{RUNBOOKS}COLUMN.md":
        if not link.get("targetBlank"):
            yield f"link: {where} opens {url} in Grafana's own window, where it is taken for one of its pages"
    elif parts.path.partition("&")[0] == "/d/COLUMN":
        return  # to the dashboard that the row names, with a query of its own
    elif not found or found[1] not in known.dashboards:
        yield f"link: {where} leads to {url}, which does not exist"
    else:
        for name, _ in parse_qsl(parts.query, keep_blank_values=True):
            if name.startswith("var-") and name.removeprefix("var-") not in known.dashboards[found[1]]:
                yield f"link: {where} sets {name}, which {found[1]} does not have"


def _variable_uses(text: str, where: str, dashboard: Json, besides: set[str] | None = None) -> Iterator[str]:
    for braced, plain in VARIABLE.findall(text):
        name = braced or plain
        if name not in variables_of(dashboard) | BUILT_IN.keys() | (besides or set()):
            yield f"variable: {where} uses {name}, which does not exist"


def _query_findings(expression: str, where: str, dashboard: Json, known: Known) -> Iterator[str]:
    yield from _variable_uses(expression, where, dashboard)
    plain = expanded(expression)
    try:
        unknown = unknown_metrics(plain, known.metrics)
    except ValueError as error:
        yield f"promql: {where}: {error}: {plain}"
        return
    if unknown:
        yield f"metric: {where} names {', '.join(sorted(unknown))}, which nothing exports or records"
    for ranges in re.findall(r"\bi?rate\([^\[\]]*\[([^\]]+)\]", expression):
        if ranges != "$__rate_interval":
            yield f"rate: {where} has a rate over {ranges} and not over $__rate_interval"
    for call in nodes(promql_parser.parse(plain)):
        if isinstance(call, promql_parser.Call) and call.func.name in RATES:
            names = {each.name for each in nodes(call) if isinstance(each, promql_parser.VectorSelector)}
            if not all(COUNTER.search(name or "") for name in names):
                yield f"rate: {where} has one of {', '.join(map(str, names))}, which is no counter"


def _raw_counter_findings(expression: str, where: str) -> Iterator[str]:
    parsed = promql_parser.parse(expanded(expression))
    rated = set(re.findall(r"[\w:]+", " ".join(re.findall(r"(?:rate|increase)\(([^\[\]]*)\[", expression))))
    compared = {name for each in nodes(parsed) for name in _compared_with_before(each)}
    for each in nodes(parsed):
        name = getattr(each, "name", None) or ""
        if isinstance(each, promql_parser.VectorSelector) and COUNTER.search(name) and name not in rated | compared:
            yield f"counter: {where} draws {name} as it is, which says nothing"


def _compared_with_before(node: Any) -> set[str]:
    """The counters of a difference whose right side is what they were before, or at least in a window."""
    if not isinstance(node, promql_parser.BinaryExpr) or str(node.op) != "-":
        return set()
    calls = [getattr(getattr(side, "func", None), "name", "") for side in (node.lhs, node.rhs)]
    if (
        calls == ["max_over_time", "min_over_time"]
        and str(node.lhs).partition("(")[2] == str(node.rhs).partition("(")[2]
    ):
        return {str(each.name) for each in nodes(node) if isinstance(each, promql_parser.VectorSelector)}
    now, before = (
        {(str(each.name), str(each.offset)) for each in nodes(side) if isinstance(each, promql_parser.VectorSelector)}
        for side in (node.lhs, node.rhs)
    )
    return {name for name, offset in now if offset == "None" for then, at in before if then == name and at != "None"}


def expanded(expression: str) -> str:
    """An expression with values in place of variables, as all of them selected."""
    return VARIABLE.sub(lambda found: BUILT_IN.get(found[1] or found[2], ".*"), expression)

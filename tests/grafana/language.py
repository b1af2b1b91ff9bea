"""The visual language of `docs/dashboards.md`, as far as a machine can read it from the dashboards' JSON."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from grafana.src import kit

from grafana.lint import COLUMNS, Json, panels_of

#: In this order; the dashboards of single rows may lack some, and the overview alone tells how fresh all is.
ROWS = ("Now", "Freshness", "History", "Detail")
CARDS = {kit.TALL_CARDS, kit.SMALL_CARD, kit.CARD, kit.WIDE_CARD, kit.CARDS}
REGULAR = {kit.THIRD, kit.HALF, kit.TWO_THIRDS, kit.WHOLE}
LONG = {kit.LONG_THIRD, kit.LONG_HALF, kit.LONG_TWO_THIRDS, kit.LONG_WHOLE}
#: A wall of cards is as large as a graph.
SIZES = {"stat": CARDS | {kit.THIRD, kit.HALF}, "text": REGULAR | LONG | {kit.WIDE_NOTE, kit.NOTE}}
#: How many letters of a title there is room for in a column, on a screen of 1,600 pixels.
LETTERS = 5.6
#: What is said on a card without a value.
NOTHING_ON_CARDS = {kit.NO_DATA, kit.NOT_CONFIGURED, kit.NONE}
#: How what is said in another panel without a value begins: not known, not wanted, or known that there is none.
NOTHING = re.compile(r"(No data: |Not configured: |No |Nothing )\S.*[^.]")

#: Between two sentences and a paragraph that nobody reads.
SHORTEST, LONGEST = 40, 320
#: Words for those who made Prometheus, not for those who look at a dashboard; and what is said instead.
JARGON = {
    "series": "values",
    "scrape": "ask",
    "scrapes": "asks",
    "scraped": "asked",
    "label": "name",
    "labels": "names",
    "cardinality": "how many values",
    "histogram": "how they are spread",
    "percentile": "half of them, 95 of 100",
    "quantile": "half of them, 95 of 100",
    "p50": "half of them",
    "p90": "90 of 100",
    "p95": "95 of 100",
    "p99": "99 of 100",
    "gauge": "value",
    "counter": "count",
    "metric": "value",
    "metrics": "values",
    "hysteresis": "a few in a row",
    "timestamp": "time",
    "latency": "how long it takes",
    "threshold": "limit",
    "thresholds": "limits",
    "stderr": "log",
    "regex": "pattern",
    "enum": "list",
    "5xx": "500 and more",
    "cpu": "processor",
    "ram": "memory",
    "fd": "open file",
    "uid": "name",
    "llm": "language model",
    "wal": "write-ahead log",
}
QUOTED = re.compile(r"`[^`]*`|\$\w+")
#: A name of code or of a metric, outside of backticks.
RAW = re.compile(r"\w+_\w+|\b[a-z]+[A-Z]\w*|\b(?:[A-Z][a-z]+){2,}\b")
#: Written like names of code, and none.
PROPER = {"PostgreSQL", "MariaDB", "SQLite", "GitHub"}
COLOUR = re.compile(
    r"#[0-9a-fA-F]{3,8}|text|transparent|(?:(?:super-|semi-)?(?:light|dark)-)?(?:green|yellow|red|orange|blue|purple)"
)


def findings(dashboard: Json) -> list[str]:
    """Everything in which a dashboard differs from the language, as sentences that begin with the rule's name."""
    return [*_row_findings(dashboard), *_line_findings(dashboard), *_title_findings(dashboard)] + [
        found
        for panel in panels_of(dashboard)
        if panel["type"] != "row"
        for found in (*_size_findings(panel), *_word_findings(panel), *_colour_findings(panel))
    ]


def _row_findings(dashboard: Json) -> Iterator[str]:
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    names = [title.partition(": $")[0] for title in rows]
    if names != [name for name in ROWS if name in names]:
        yield f"rows: {', '.join(rows)} are not {', '.join(ROWS)}, each alone or with a variable"
    if dashboard["panels"][0]["type"] != "row":
        yield "rows: the first panel stands in none"


def _line_findings(dashboard: Json) -> Iterator[str]:
    """Panels beside each other have one height and fill the columns, so that there is no hole."""
    lines: defaultdict[int, list[Json]] = defaultdict(list)
    for panel in dashboard["panels"]:
        lines[panel["gridPos"]["y"]].append(panel)
    for line in lines.values():
        titles = ", ".join(panel["title"] for panel in line)
        if sum(panel["gridPos"]["w"] for panel in line) != COLUMNS:
            yield f"line: {titles} do not fill {COLUMNS} columns"
        if len({panel["gridPos"]["h"] for panel in line}) > 1:
            yield f"line: {titles} differ in height"


def _title_findings(dashboard: Json) -> Iterator[str]:
    titles = [panel["title"] for panel in panels_of(dashboard)]
    for title in sorted({title for title in titles if titles.count(title) > 1}):
        yield f"title: {title} is that of two panels"
    places = [panel["gridPos"] for panel in panels_of(dashboard) if panel["title"] == "Firing alerts"]
    if any((place["y"], place["x"] + place["w"]) != (1, COLUMNS) for place in places):
        yield "title: Firing alerts is not the last card of the first line"


def _size_findings(panel: Json) -> Iterator[str]:
    size = (panel["gridPos"]["w"], panel["gridPos"]["h"])
    if len(panel["title"]) > LETTERS * size[0]:
        yield f"size: {panel['title']} is cut, as there is room for {LETTERS * size[0]:.0f} letters"
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if panel["type"] == "timeseries" and defaults.get("unit") == "percentunit" and defaults.get("decimals") == 0:
        yield f"size: the scale of {panel['title']} knows 0 % and 100 % alone, as decimals are those of the share"
    if size not in SIZES.get(panel["type"], REGULAR | LONG):
        yield f"size: {panel['title']} is {size[0]} wide and {size[1]} high, which no {panel['type']} is"


def _word_findings(panel: Json) -> Iterator[str]:
    text, title = panel["description"], panel["title"]
    if not SHORTEST <= len(text) <= LONGEST:
        yield f"words: the description of {title} has {len(text)} characters, not {SHORTEST} to {LONGEST}"
    for spoken, where in ((title, "title"), (text, "description"), *((each, "name") for each in _names(panel))):
        plain = QUOTED.sub("", re.sub(r"\{\{[^}]*\}\}", "", spoken))
        for word in re.findall(r"[\w-]+", plain):
            if word.lower() in JARGON:
                yield f"words: the {where} of {title} says {word}; say {JARGON[word.lower()]}"
        for word in set(RAW.findall(plain)) - PROPER:
            yield f"words: the {where} of {title} says {word}, a name of code; put it into words or backticks"
    nothing = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "")
    if panel["type"] == "stat" and nothing not in NOTHING_ON_CARDS:
        yield f"words: {title} says {nothing} where there is nothing, not one of {', '.join(sorted(NOTHING_ON_CARDS))}"
    if panel["type"] not in {"stat", "text"} and not NOTHING.fullmatch(nothing):
        yield f"words: {title} says {nothing} where there is nothing, which tells not why"


def _names(panel: Json) -> Iterator[str]:
    """What people read besides the title: names of series and of columns."""
    for target in panel.get("targets") or ():
        legend = target.get("legendFormat", "")
        if legend != "__auto":
            yield legend
    for override in panel.get("fieldConfig", {}).get("overrides", []) if panel["type"] == "table" else ():
        yield override["matcher"]["options"]


def _colour_findings(panel: Json) -> Iterator[str]:
    for colour in sorted(colours_of(panel) - palette()):
        yield f"colour: {panel['title']} has {colour}, which means nothing"


def palette() -> set[str]:
    """Every colour that has a meaning."""
    named = {value for name, value in vars(kit).items() if name.isupper() and isinstance(value, str)}
    return {value for value in named if COLOUR.fullmatch(value)} | set(kit.PARTS)


def colours_of(node: Any) -> set[str]:
    """Every colour in a tree of JSON."""
    if isinstance(node, list):
        return {colour for child in node for colour in colours_of(child)}
    if not isinstance(node, dict):
        return set()
    own = {value for name, value in node.items() if name in {"color", "fixedColor"} and isinstance(value, str)}
    return own | {colour for child in node.values() for colour in colours_of(child)}


def colour_literals(folder: Path) -> list[str]:
    """Colours that stand in code outside of `kit`, as ``file:line: colour``."""
    return [
        f"{file.name}:{node.lineno}: {node.value}"
        for file in sorted(folder.glob("*.py"))
        if file.name != "kit.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and COLOUR.fullmatch(node.value)
    ]


def contradictions(dashboards: Iterable[Json]) -> list[str]:
    """What is called alike on two dashboards, or on one, and differs in unit, decimals or colour."""
    units: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    colours: defaultdict[str, set[str]] = defaultdict(set)
    for dashboard in dashboards:
        for panel in panels_of(dashboard):
            if panel["type"] in {"row", "text"}:
                continue
            defaults = panel["fieldConfig"]["defaults"]
            if panel["type"] not in {"table", "state-timeline"}:
                units[panel["title"]].add(_unit(defaults))
            for override in panel["fieldConfig"].get("overrides", []):
                looks = {entry["id"]: entry["value"] for entry in override["properties"]}
                name = override["matcher"]["options"]
                if panel["type"] == "table":
                    # Numbers that are shown as words have no unit of theirs.
                    units[f"column {name}"] |= set() if "mappings" in looks else {_unit(looks)}
                elif override["matcher"]["id"] == "byName":
                    colours[name.lower()] |= _own_colours(looks)
            for text, colour in _states(panel):
                colours[text].add(colour)
    return [
        *(f"unit: {title} has {sorted(found)}" for title, found in sorted(units.items()) if len(found) > 1),
        *(f"colour: {name} is {sorted(found)}" for name, found in sorted(colours.items()) if len(found) > 1),
    ]


def _unit(looks: Mapping[str, Any]) -> tuple[str, str]:
    return str(looks.get("unit")), str(looks.get("decimals", ""))


def _own_colours(looks: Mapping[str, Any]) -> set[str]:
    if "thresholds" in looks:
        return {looks["thresholds"]["steps"][-1]["color"]}
    return {looks["color"]["fixedColor"]} if "color" in looks else set()


def _states(panel: Json) -> Iterator[tuple[str, str]]:
    """Words that stand for numbers or names, and their colours."""
    config = panel["fieldConfig"]
    mappings = [*(config["defaults"].get("mappings") or ())]
    for override in config.get("overrides", []):
        mappings += [each for entry in override["properties"] if entry["id"] == "mappings" for each in entry["value"]]
    for mapping in mappings:
        if mapping["type"] == "value":
            yield from ((result["text"], result["color"]) for result in mapping["options"].values())

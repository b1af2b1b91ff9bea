"""Grafana: whether its dashboards and data sources fit each other, in the files and in a running one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from rounds.doctor.finding import Finding
from rounds.doctor.web import NoAnswer, Site

#: Data sources that Grafana has of its own.
_BUILT_IN = ("grafana", "-- Grafana --", "-- Mixed --", "-- Dashboard --", "__expr__", "-100")


@dataclass(frozen=True)
class Dashboard:
    """What a dashboard's file says.

    Attributes:
        file: the file.
        uid: its uid.
        wanted: the uids of data sources that it names, with the kind of each where it says so.
        kinds: the kinds of data sources that it lets people choose from.
    """

    file: Path
    uid: str
    wanted: frozenset[tuple[str, str]]
    kinds: frozenset[str]


def examine_files(folder: Path) -> Iterator[Finding]:
    """The dashboards that are always there, and each of those that are mounted over an empty folder."""
    sources, broken = _provisioned(sorted((folder / "provisioning/datasources").glob("*.y*ml")))
    yield from broken
    uids = defaultdict[str, list[Path]](list)
    sets = [(folder / "dashboards", sources)]
    for file in sorted(folder.glob("*/*/datasource.yml")):
        more, broken = _provisioned([file])
        yield from broken
        sets.append((file.parent, {**sources, **more}))
    count = 0
    for number, (place, known) in enumerate(sets):
        for file in sorted(place.rglob("*.json")):
            dashboard = _read(file)
            if isinstance(dashboard, Finding):
                yield dashboard
                continue
            count += 1
            if number == 0:
                uids[dashboard.uid].append(file)
            yield from _examine_wanted(dashboard, known, folder)
    for uid, files in uids.items():
        if len(files) > 1:
            found = f"{len(files)} dashboards have this uid, of which Grafana shows one: {', '.join(map(str, files))}"
            yield Finding(
                "error", "grafana", f"dashboard {uid}", found, (f"give one of them another uid: {files[-1]}",)
            )
    shown = ", ".join(sources) or "none"
    yield Finding("ok", "grafana", str(folder), f"{count} dashboards were read; uids of data sources: {shown}")


def examine_site(site: Site, folder: Path | None) -> Iterator[Finding]:
    """A running Grafana.

    Args:
        site: where it listens.
        folder: the files that it should have; None where there are none.
    """
    try:
        version = site.json("/api/health").get("version", "unknown")
        sources = {str(each["uid"]): str(each["type"]) for each in site.json("/api/datasources")}
        there = {str(each["uid"]) for each in site.json("/api/search", {"type": "dash-db", "limit": "5000"})}
    except NoAnswer as error:
        refused = error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        remedies = (
            "make a service account with the role Admin in Grafana, and give its token: --grafana-token-file=FILE",
        )
        told = "does not tell its data sources without a token" if refused else str(error)
        yield Finding("error", "grafana", site.url, told, remedies if refused else ("check --grafana-url",))
        return
    yield Finding("ok", "grafana", site.url, f"answers, version {version}, with {len(sources)} data sources")
    for uid in sources:
        yield from _examine_health(site, uid)
    if folder is None:
        return
    found = [_read(file) for file in sorted((folder / "dashboards").rglob("*.json"))]
    for dashboard in (each for each in found if isinstance(each, Dashboard)):
        if dashboard.uid not in there:
            told = "Grafana does not show the dashboard"
            remedy = "mount grafana/provisioning and grafana/dashboards (docs/dashboards.md), and restart it"
            yield Finding("warning", "grafana", f"dashboard {dashboard.uid}", told, (remedy,))
        yield from _examine_wanted(dashboard, sources, folder)


def _provisioned(files: Sequence[Path]) -> tuple[dict[str, str], list[Finding]]:
    """The kinds of the data sources in these files by their uids, and what is wrong with the files."""
    sources: dict[str, str] = {}
    broken = []
    for file in files:
        try:
            tree = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            for each in tree.get("datasources") or []:
                if "uid" not in each:
                    found = (
                        f"the data source {each['name']} has no uid, so Grafana makes one up that no dashboard knows"
                    )
                    broken.append(Finding("error", "grafana", str(file), found, (f"uid: {each['type']}",)))
                    continue
                sources[str(each["uid"])] = str(each["type"])
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
            remedy = "correct it; Grafana does not start with it"
            broken.append(Finding("error", "grafana", str(file), "is no file of data sources", (remedy,)))
    return sources, broken


def _read(file: Path) -> Dashboard | Finding:
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        uid = tree["uid"]
    except (OSError, ValueError):
        return Finding("error", "grafana", str(file), "is no JSON, so Grafana leaves it out", ("make dashboards",))
    except (KeyError, TypeError):
        return Finding("error", "grafana", str(file), "has no uid, so its address changes", ("make dashboards",))
    variables = (tree.get("templating") or {}).get("list") or []
    kinds = frozenset(str(each.get("query")) for each in variables if each.get("type") == "datasource")
    return Dashboard(file, str(uid), frozenset(_wanted(tree)), kinds)


def _wanted(tree: Any) -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict):
        named = tree.get("datasource")
        if isinstance(named, dict) and "uid" in named:
            yield str(named["uid"]), str(named.get("type", ""))
        for below in tree.values():
            yield from _wanted(below)
    elif isinstance(tree, list):
        for below in tree:
            yield from _wanted(below)


def _examine_wanted(dashboard: Dashboard, known: dict[str, str], folder: Path) -> Iterator[Finding]:
    place = folder / "provisioning/datasources"
    for uid, kind in sorted(dashboard.wanted):
        if uid.startswith("$") or uid in _BUILT_IN:
            continue
        if uid not in known:
            found = f"{dashboard.file.name} reads a data source with the uid {uid}, which is not provisioned"
            remedy = f"in {place}: uid: {uid}"
            yield Finding("error", "grafana", f"dashboard {dashboard.uid}", found, (remedy, "then restart Grafana"))
        elif kind and kind != known[uid]:
            found = f"{dashboard.file.name} reads {uid} as {kind}, but it is provisioned as {known[uid]}"
            remedy = f"in {place}, at the uid {uid}: type: {kind}"
            yield Finding("error", "grafana", f"dashboard {dashboard.uid}", found, (remedy,))
    for kind in sorted(dashboard.kinds - set(known.values())):
        found = f"{dashboard.file.name} lets choose a data source of the type {kind}, of which there is none"
        remedy = f"in {place}: a data source with type: {kind}"
        yield Finding("error", "grafana", f"dashboard {dashboard.uid}", found, (remedy,))


def _examine_health(site: Site, uid: str) -> Iterator[Finding]:
    try:
        site.get(f"/api/datasources/uid/{uid}/health")
    except NoAnswer as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return  # it has no such check
        remedy = "its address is in grafana/provisioning/datasources; look at Connections, Data sources in Grafana"
        yield Finding("warning", "grafana", f"data source {uid}", "Grafana cannot reach it", (remedy,))
    else:
        yield Finding("ok", "grafana", f"data source {uid}", "Grafana can read it")

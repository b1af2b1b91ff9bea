"""Tells what the exporter and Prometheus think, by asking them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from rounds.demo.seen import Look, Seen

_PAUSE = 0.5

_ROWS, _BEFORE = "rounds_table_rows", "rounds_table_previous_rows"
#: Labels that tell what an alert is about, the first that it has.
_SUBJECTS = ("check", "table", "validation_type", "organization", "sync", "app", "collector", "instance")
_PROGRESS, _ENDED = "rounds_sync_run_progress_ratio", "rounds_sync_runs_total"
#: What a sync passes is told, its end apart.
_MARKS = (0.25, 0.5, 0.75)
#: What tells states of checks, of which domain they are, and the state in which they begin.
_STATES = {"rounds_check_state": ("services", "up"), "rounds_emr_health_state": ("emr", "healthy")}
#: States that are told when they begin. The others are told with more about them.
_TOLD = {
    ("apr", "invalid"): "invalid records are open",
    ("apr", "resolved"): "invalid records are resolved",
    ("apr", "failed run"): "the last run failed",
    ("apr", "slow run"): "the last run was slow",
    ("apr", "missing run"): "there should have been a run",
    ("syncs", "stuck"): "a run makes no progress",
    ("syncs", "stale"): "a run says nothing any more",
    ("emr", "crash"): "the application has crashed",
    ("tables", "mass deletion"): "a mass deletion",
}
_OF_TABLES = {_ROWS, _BEFORE, "rounds_table_changes_total"}


class OnAlert(Protocol):
    """Told of each alert that begins or ceases to fire."""

    def __call__(self, alert: Alert, *, firing: bool) -> None: ...


class Alert(NamedTuple):
    """An alert that fires.

    Attributes:
        name: its name.
        about: its severity and subject, as shown.
        event: when what it tells happened, where it happened once; that it ends means nothing then.
        domain: whose it is, or ``exporter``.
    """

    name: str
    about: str
    event: str
    domain: str = ""


@dataclass(frozen=True)
class Table:
    """What the exporter's metrics say of a table.

    Attributes:
        rows: how many it has.
        before: how many it had before its last changes.
        changes: rows changed so far, by kind of change.
    """

    rows: int
    before: int
    changes: Mapping[str, int]

    def since(self, earlier: Table) -> dict[str, int]:
        """Rows changed since then, by kind of change, without those of which there are none."""
        differences = {change: rows - earlier.changes.get(change, 0) for change, rows in self.changes.items()}
        return {change: rows for change, rows in differences.items() if rows}


@dataclass(frozen=True)
class Sync:
    """What the exporter's metrics say of an organisation's operation.

    Attributes:
        progress: of the run under way; 0 where there is none.
        ended: runs so far, by state.
    """

    progress: float
    ended: Mapping[str, int]

    def since(self, earlier: Sync) -> list[str]:
        """States to tell of: those in which runs have ended since then, and ``running`` where one has passed a mark."""
        ended = [state for state, runs in self.ended.items() if runs > earlier.ended.get(state, 0)]
        before = 0.0 if ended else earlier.progress
        further = any(before < mark <= self.progress for mark in _MARKS)
        return [*ended, *(["running"] if further else [])]


class Teller(Protocol):
    """Tells what the exporter's metrics say has changed."""

    def check(self, domain: str, name: str, old: str, new: str) -> None:
        """A check's state."""

    def table(self, name: str, changes: Mapping[str, int], before: int, after: int) -> None:
        """A table: rows by kind of change, and its rows before and after."""

    def sync(self, name: str, state: str, progress: float) -> None:
        """A sync: whose and which, its state, and how far it is while it runs."""

    def state(self, domain: str, state: str) -> None:
        """Another state that began, as a sentence."""


async def watch_exporter(base: str, teller: Teller, seen: Seen) -> None:
    """Report what changes in the exporter's metrics, until cancelled. Checks begin as well."""
    watcher = _Watcher(teller, seen)
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        while True:
            if exposition := await _get(client, "/metrics"):
                watcher.look(list(text_string_to_metric_families(exposition)))
            await asyncio.sleep(_PAUSE)


class _Watcher:
    """Tells how what the exporter says now differs from what it said before."""

    def __init__(self, teller: Teller, seen: Seen) -> None:
        self._teller = teller
        self._seen = seen
        self._states: dict[str, str] = {}
        self._tables: dict[str, Table] = {}
        self._syncs: dict[str, Sync] = {}
        self._look: Look | None = None

    def look(self, families: Sequence[Metric]) -> None:
        """At an exposition."""
        for metric, (domain, well) in _STATES.items():
            for check, state in check_states(families, metric).items():
                before = self._states.get(check, well)
                self._states[check] = state
                if state != before:
                    self._teller.check(domain, check, before, state)
        for name, table in watched_tables(families).items():
            if changes := table.since(self._tables.get(name, table)):
                self._teller.table(name, changes, table.before, table.rows)
            self._tables[name] = table
        for name, sync in watched_syncs(families).items():
            for state in sync.since(self._syncs.get(name, sync)):
                self._teller.sync(name, state, sync.progress)
            self._syncs[name] = sync
        self._look = Look(families, time.time(), self._look)
        for entered in self._seen.look(self._look):
            if entered in _TOLD:
                self._teller.state(entered[0], _TOLD[entered])


async def watch_alerts(base: str, on_change: OnAlert) -> None:
    """Report each alert that begins or ceases to fire in Prometheus, until cancelled."""
    firing: set[Alert] = set()
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        while True:
            if text := await _get(client, "/api/v1/alerts"):
                now = firing_alerts(text)
                for alert in sorted(now ^ firing):
                    on_change(alert, firing=alert in now)
                firing = now
            await asyncio.sleep(_PAUSE)


def check_states(families: Iterable[Metric], metric: str = "rounds_check_state") -> dict[str, str]:
    """The state of each check in an exposition. Those of applications are called ``APP/CHECK``."""
    return {
        "/".join(filter(None, (sample.labels.get("app"), sample.labels["check"]))): sample.labels["state"]
        for family in families
        for sample in family.samples
        if sample.name == metric and sample.value == 1 and sample.labels["state"] != "unknown"
    }


def watched_tables(families: Iterable[Metric]) -> dict[str, Table]:
    """Each table in an exposition that has been checked."""
    found: dict[str, dict[str, int]] = {}
    for family in families:
        for sample in family.samples:
            if sample.name in _OF_TABLES:
                what = sample.labels.get("change", sample.name)
                found.setdefault(sample.labels["table"], {})[what] = int(sample.value)
    return {name: Table(said.pop(_ROWS), said.pop(_BEFORE, 0), said) for name, said in found.items() if _ROWS in said}


def watched_syncs(families: Iterable[Metric]) -> dict[str, Sync]:
    """Each organisation's operations in an exposition."""
    progress: dict[str, float] = {}
    ended: dict[str, dict[str, int]] = {}
    for family in families:
        for sample in family.samples:
            if sample.name in (_PROGRESS, _ENDED):
                name = f"{sample.labels['organization']}/{sample.labels['operation']}"
                if sample.name == _PROGRESS:
                    progress[name] = sample.value
                else:
                    ended.setdefault(name, {})[sample.labels["state"]] = int(sample.value)
    return {name: Sync(progress.get(name, 0.0), ended.get(name, {})) for name in ended | progress}


def firing_alerts(answer: str) -> set[Alert]:
    """The alerts that fire, of Prometheus' answer."""
    alerts = [each for each in json.loads(answer)["data"]["alerts"] if each["state"] == "firing"]
    return {
        Alert(
            labels["alertname"],
            _about(labels),
            labels.get("changed_at", "") if labels.get("kind") == "event" else "",
            labels.get("component", ""),
        )
        for labels in (alert["labels"] for alert in alerts)
    }


def _about(labels: dict[str, str]) -> str:
    severity = labels.get("severity", "")
    subject = next((labels[name] for name in _SUBJECTS if labels.get(name)), "")
    parts = ", ".join(part for part in (severity, subject) if part)
    return f" ({parts})" if parts else ""


async def _get(client: httpx.AsyncClient, path: str) -> str:
    """The answer's text; empty where there is none, since a restart is no reason to end the demo."""
    try:
        response = await client.get(path)
    except httpx.HTTPError:
        return ""
    return response.text if response.is_success else ""

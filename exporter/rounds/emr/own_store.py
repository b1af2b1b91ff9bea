"""The library's store: what its counters say more than they said last is new.

Its counters only grow, and are kept with what they count, so nothing depends on how long rows are kept. Each file has
an id of its own: another one in its place begins at 0, and one that comes back goes on where it was.

A store that was restored from an older copy of itself says less than before. It goes on from what it says then; what it
counted between the restoring and the next look is not known. If the newer one comes back, which is told by the newest
process that it knew, what was counted of it is not counted again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from rounds.emr import layout, metrics
from rounds.emr.findings import Findings
from rounds.emr.knowledge import hashed
from rounds.emr.names import CRASHES, DURATION_BUCKETS, SEVERITIES
from rounds.emr.reading import Store
from rounds.metrics import Metric

#: Counters whose labels are all closed, by their names in the store.
_CLOSED: Mapping[str, Metric] = {
    metric.name.removeprefix("rounds_emr_"): metric
    for metric in (
        metrics.MESSAGES,
        metrics.GROUPS_SEEN,
        metrics.ALERTS,
        metrics.CRASH_TOTAL,
        metrics.DROPPED,
        metrics.CORRUPTIONS,
        metrics.CPU,
    )
}
#: Less than a counter can say.
_UNSAID = -1.0
#: Stores that are remembered.
_STORES = 16
#: Newest processes that are looked at.
_RUNS = 1000
#: A process that none is, of stores that have none.
_UNKNOWN = -1
#: More labels than any counter has.
_NONE = ("",) * 5


class OwnStore:
    """One look at the library's tables.

    Args:
        store: the store.
        findings: gets what is new.
    """

    def __init__(self, store: Store, findings: Findings) -> None:
        self._store = store
        self._findings = findings
        self._known = findings.known
        #: Whether another store is in the place of the one that was there.
        self.replaced = False

    def read(self) -> int:
        """Count what is new.

        Returns:
            a hash of the store's id; what it was before where the store has none yet.

        Raises:
            CollectorError: the store failed; nothing must be kept then.
        """
        before, store = self._known.look.store_hash, self._identity()
        if store is None:
            return before
        identity = hashed(store)
        self.replaced = before not in (0, identity)
        if identity != before:
            self._remember(identity)
        grown = self._count(identity)
        if not before:
            self._notice_past()
        else:
            self._notice(grown)
        return identity

    def _identity(self) -> str | None:
        """The store's id, without which nobody knows what was counted of it."""
        if "rounds_store" not in self._store.layout.own:
            return None
        rows = self._store.all("SELECT value FROM rounds_store WHERE key = 'id'")
        return str(rows[0][0]) if rows else None

    def _remember(self, identity: int) -> None:
        """A store is in the place, new or again; of many, that which came longest ago is forgotten."""
        stores, said = self._known.stores, self._known.said
        _, *rest = stores.items.get((identity,), (0, 0, 0.0, 0, 0.0))
        stores.put((identity,), (self._known.version, *rest))
        if len(stores.items) > _STORES:
            (oldest,) = min(stores.items.keys() - {(identity,)}, key=lambda key: stores.items[key][0])
            stores.drop((oldest,))
            for key in [key for key in said.items if key[0] == oldest]:
                said.drop(key)

    def _count(self, identity: int) -> set[tuple[str, tuple[str, ...]]]:
        """Count; gives counters that have grown."""
        grown: set[tuple[str, tuple[str, ...]]] = set()
        if "rounds_counter" not in self._store.layout.own:
            return grown
        said = self._known.said
        values: dict[tuple[int, int], tuple[str, str, float]] = {}
        for name, labels, value in self._store.stream("SELECT name, labels, value FROM rounds_counter"):
            if isinstance(value, int | float) and math.isfinite(value):
                values[identity, hashed(str(name), str(labels))] = str(name), str(labels), float(value)
        returned, diverged = self._compare(identity, values)
        for key, (name, document, value) in values.items():
            before, most = said.items.get(key, (_UNSAID, 0.0))
            said.put(key, (value, most if diverged else value))
            new = value - (most if returned else max(before, 0.0))
            if new <= 0 and before != _UNSAID:
                continue
            # A counter that is known from 0 on gets its series before there is something to count.
            labels = _labels(document)
            self._grow(name, labels, max(new, 0.0))
            if new > 0:
                grown.add((name, labels))
        return grown

    def _compare(self, identity: int, values: Mapping[tuple[int, int], tuple[str, str, float]]) -> tuple[bool, bool]:
        """Whether an older copy was in the store's place, and the newest one has come back; whether one is there."""
        said, stores = self._known.said.items, self._known.stores
        runs: list[tuple[int, float]] = []
        if "rounds_run" in self._store.layout.own:
            sql = f"SELECT id, pid, started, heartbeat FROM rounds_run ORDER BY id DESC LIMIT {_RUNS}"
            runs = [
                (hashed(repr(run)), float(heartbeat))
                for *run, heartbeat in self._store.all(sql)
                if isinstance(heartbeat, int | float)
            ]
        since, run, beat, newest, newest_beat = stores.items[(identity,)]
        returned = newest != 0 and any(each == newest and at >= newest_beat for each, at in runs)
        returned = returned and all(value >= said.get(key, (0.0, 0.0))[1] for key, (_, _, value) in values.items())
        if returned:
            newest, newest_beat = 0, 0.0
        elif not newest and any(value < said.get(key, (0.0,))[0] for key, (_, _, value) in values.items()):
            newest, newest_beat = run or _UNKNOWN, beat
        run, beat = runs[0] if runs else (0, 0.0)
        stores.put((identity,), (since, run, beat, newest, newest_beat))
        return returned, newest != 0

    def _grow(self, name: str, labels: tuple[str, ...], by: float) -> None:
        """A counter has grown. What this version does not know, or what makes no sense, is not exported."""
        findings = self._findings
        match name, labels:
            case "operations_total", (operation, outcome):
                findings.operation(operation, outcome, by)
            case "operation_duration_seconds_bucket", (operation, bound) if bound in DURATION_BUCKETS:
                findings.sorted_durations(operation, bound, by)
            case "operation_duration_seconds_sum", (operation,):
                findings.summed_durations(operation, by)
            case "slow_operations_total", (operation,):
                findings.slow(operation, by)
            case "retries_total", (operation, outcome):
                findings.retry(operation, outcome, by)
            case "events_total", (event,):
                findings.event(event, by)
            case "errors_total", (error_type, source):
                findings.error(error_type, source, by)
            case _ if name in _CLOSED:
                findings.counted(_CLOSED[name], labels, by)

    # --- events ---------------------------------------------------------------------------------------------------

    def _notice(self, grown: set[tuple[str, tuple[str, ...]]]) -> None:
        """What has grown happened now."""
        for name, labels in grown:
            if name == "alerts_total" and labels and labels[0] in SEVERITIES:
                self._findings.notice(metrics.LAST_ALERT, labels[0], None, past=False)
            elif name == "crashes_total" and labels and labels[0] in CRASHES:
                self._findings.notice(metrics.LAST_CRASH, labels[0], None, past=False)
            elif name == "error_groups_seen_total":
                self._findings.notice(metrics.LAST_NEW_GROUP, "", None, past=False)

    def _notice_past(self) -> None:
        """What was there before anybody looked happened when it says."""
        self._last(metrics.LAST_ALERT, "rounds_alert", "severity, max(at)", "GROUP BY severity", SEVERITIES)
        self._last(metrics.LAST_CRASH, "rounds_crash", "kind, max(at)", "GROUP BY kind", CRASHES)
        self._last(metrics.LAST_NEW_GROUP, "rounds_error_group", "'', max(first_seen)", "", ("",))

    def _last(self, metric: Metric, table: str, what: str, group: str, labels: tuple[str, ...]) -> None:
        if table not in self._store.layout.own:
            return
        for label, at in self._store.all(f"SELECT {what} FROM {table} {group}"):
            if label in labels and isinstance(at, int | float):
                self._findings.notice(metric, label, at, past=True)


def _labels(document: object) -> tuple[str, ...]:
    """A counter's labels; too many for any where they make no sense."""
    try:
        found = json.loads(str(document))
    except (ValueError, RecursionError):
        return _NONE
    fits = isinstance(found, list) and len(found) < len(_NONE) and all(isinstance(each, str) for each in found)
    return tuple(found) if fits else _NONE


def newer(store: Store) -> bool:
    """Whether the store was made by a version of the library that says more than can be read."""
    if "rounds_store" not in store.layout.own:
        return False
    rows = store.all("SELECT value FROM rounds_store WHERE key = 'version'")
    return bool(rows) and str(rows[0][0]).isdecimal() and int(rows[0][0]) > layout.VERSION

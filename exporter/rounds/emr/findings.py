"""What one look finds, by the names that stores give it, on its way to counters and to what is remembered."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rounds.emr import metrics
from rounds.emr.config import App
from rounds.emr.knowledge import Knowledge, hashed
from rounds.emr.labels import Labels
from rounds.emr.names import CRASHES, LEVELS, OUTCOMES, RETRIES, SEVERITIES, SOURCES
from rounds.ledger.tally import Tally
from rounds.metrics import Metric

#: Groups of errors and crash reports that were seen, among what the ledger keeps.
_GROUP, _CRASH = "group", "crash"


class Findings:
    """What one look counts and notices. Values that are not among those that a label can have are refused.

    Args:
        app: the configuration.
        known: what the ledger knows; changed to what is found.
        labels: the application's.
        tally: gets what is counted.
        now: this machine's clock, in Unix seconds.
    """

    def __init__(self, app: App, known: Knowledge, labels: Labels, tally: Tally, now: float) -> None:
        self.now = now
        self.known = known
        self.tally = tally
        self._app = app
        self.labels = labels

    # --- operations -----------------------------------------------------------------------------------------------

    def operation(self, name: object, outcome: str, by: float = 1) -> bool:
        """Operations that came to something."""
        return self._closed(metrics.OPERATIONS, OUTCOMES, outcome, self.labels.of("operation", name), by=by)

    def took(self, name: object, seconds: float) -> None:
        """An operation took so long; it may be slow."""
        label = self.labels.of("operation", name)
        self.tally.observe(metrics.DURATION, seconds, label)
        if seconds > slow_after(self._app, label):
            self.tally.count(metrics.SLOW, label)

    def sorted_durations(self, name: object, bound: str, number: float) -> None:
        """So many operations took as long as a bucket says."""
        self.tally.observed(metrics.DURATION, bound, number, self.labels.of("operation", name))

    def summed_durations(self, name: object, seconds: float) -> None:
        """Together they took so long."""
        self.tally.summed(metrics.DURATION, seconds, self.labels.of("operation", name))

    def slow(self, name: object, by: float) -> None:
        """Operations that were slow, as the application says."""
        self.tally.count(metrics.SLOW, self.labels.of("operation", name), by=by)

    def retry(self, name: object, outcome: str, by: float = 1) -> bool:
        """Attempts that failed, successes behind one, and last failures."""
        return self._closed(metrics.RETRIES_TOTAL, RETRIES, outcome, self.labels.of("operation", name), by=by)

    # --- what happened --------------------------------------------------------------------------------------------

    def event(self, name: object, by: float) -> None:
        """Events that the application counts."""
        self.tally.count(metrics.EVENTS, self.labels.of("event", name), by=by)

    def message(self, level: str, by: float = 1) -> bool:
        """Messages."""
        return self._closed(metrics.MESSAGES, LEVELS, level, by=by)

    def error(self, error_type: object, source: str, by: float = 1) -> bool:
        """Errors."""
        return self._closed(metrics.ERRORS, SOURCES, source, self.labels.of("error_type", error_type), by=by)

    def group(self, identity: str, first_seen: float | None, *, past: bool) -> None:
        """A group of errors, which may be new; ``past`` as in :meth:`notice`."""
        if self._is_new(_GROUP, identity):
            self.tally.count(metrics.GROUPS_SEEN)
            self.notice(metrics.LAST_NEW_GROUP, "", first_seen, past=past)

    def alert(self, severity: str, channels: Iterable[str]) -> bool:
        """An alert and the channels that took it, of those that are known; ``none`` where there was none."""
        if severity not in SEVERITIES:
            return False
        for channel in dict.fromkeys(channels) or ("none",):
            self.tally.count(metrics.ALERTS, severity, channel)
        return True

    def crash(self, identity: str, at: float | None, *, past: bool) -> bool:
        """A crash report, which may be new; whether it is."""
        new = self._is_new(_CRASH, identity)
        if new:
            self.tally.count(metrics.CRASH_TOTAL, CRASHES[0])
            self.notice(metrics.LAST_CRASH, CRASHES[0], at, past=past)
        return new

    # --- the rest -------------------------------------------------------------------------------------------------

    def counted(self, metric: Metric, values: tuple[str, ...], by: float) -> bool:
        """What the application has counted, under labels that must be among those that the metric can have."""
        closed = [each for _, each in metric.values]
        fits = len(values) == len(closed) and all(value in each for value, each in zip(values, closed, strict=True))
        if fits:
            self.tally.count(metric, *values, by=by)
        return fits

    def reject(self, problem: str) -> None:
        """Something of a row makes no sense: one of :data:`rounds.emr.metrics.PROBLEMS`."""
        self.tally.count(metrics.REJECTED, problem)

    def notice(self, metric: Metric, label: str, at: float | None, *, past: bool) -> None:
        """Something happened.

        Args:
            metric: what tells when.
            label: its label, "" where it has none.
            at: when it happened, None where that is not known.
            past: whether nobody had looked before: then it is that time which is told, else the present.
        """
        key = (metric.name.removeprefix("rounds_emr_"), label)
        told = min(at, self.now) if past and at is not None else None if past else self.now
        before = self.known.noticed.items.get(key)
        if told is not None and (before is None or told > before[0]):
            self.known.noticed.put(key, (told,))

    def noticed(self, metric: Metric, label: str = "") -> float | None:
        """When that was last; None where it has not been."""
        found = self.known.noticed.items.get((metric.name.removeprefix("rounds_emr_"), label))
        return None if found is None else float(found[0])

    def _is_new(self, kind: str, identity: str) -> bool:
        key = (kind, hashed(identity))
        if key in self.known.seen.items:
            return False
        self.known.seen.put(key)
        return True

    def _closed(self, metric: Metric, values: tuple[str, ...], value: str, *labels: str, by: float = 1) -> bool:
        if value not in values:
            return False
        self.tally.count(metric, *labels, value, by=by)
        return True


def slow_after(app: App, operation: str) -> float:
    """Seconds after which an operation is slow."""
    return app.operations.slow.get(operation, app.operations.slow_after)


def number(value: object, most: float) -> float | None:
    """A number from 0 to a most; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 <= value <= most else None

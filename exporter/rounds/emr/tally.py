"""Counters and histogram of one application, as the ledger has them: under the labels that are exported, but for its
name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from sqlalchemy import Connection

from rounds.emr import metrics
from rounds.emr.labels import Kind, Labels
from rounds.emr.names import DURATION_BOUNDS, OTHER
from rounds.ledger.tally import Book
from rounds.ledger.tally import Labels as Values
from rounds.metrics import Family, Histogram, Metric

#: Counters whose first label is a name that code gives, and of which kind.
_NAMED: Mapping[Metric, Kind] = {
    metrics.OPERATIONS: "operation",
    metrics.SLOW: "operation",
    metrics.RETRIES_TOTAL: "operation",
    metrics.EVENTS: "event",
    metrics.ERRORS: "error_type",
}
#: Counters whose labels are all closed.
CLOSED = (
    metrics.MESSAGES,
    metrics.GROUPS_SEEN,
    metrics.ALERTS,
    metrics.CRASH_TOTAL,
    metrics.CPU,
    metrics.DROPPED,
    metrics.CORRUPTIONS,
    metrics.REPLACED,
    metrics.REJECTED,
)


def book_of(app: str) -> Book:
    """Where an application's counters are."""
    return Book(f"emr/{app}", "rounds_emr_", {metrics.DURATION: DURATION_BOUNDS})


@dataclass(frozen=True)
class Counted:
    """What was counted of one application so far."""

    app: str
    counters: Mapping[Metric, Mapping[Values, float]]
    durations: Mapping[Values, Histogram]
    none: Histogram

    @classmethod
    def load(cls, connection: Connection, app: str) -> Counted:
        """What the ledger has."""
        book = book_of(app)
        return cls(
            app,
            {metric: book.counter(connection, metric) for metric in (*_NAMED, *CLOSED)},
            book.histogram(connection, metrics.DURATION),
            book.empty(metrics.DURATION),
        )

    def families(self, labels: Labels) -> list[Family]:
        """Counters of all names that have series, from 0 on; what was counted under others stays in the ledger."""
        operations = self._with_other(labels.exported("operation"), self.durations)
        durations = (((self.app, name), self.durations.get((name,), self.none)) for name in operations)
        return [
            metrics.DURATION.family(durations),
            *(self._named(metric, labels) for metric in _NAMED),
            *(self._counter(metric, [()]) for metric in CLOSED),
        ]

    def _named(self, metric: Metric, labels: Labels) -> Family:
        names = self._with_other(labels.exported(_NAMED[metric]), self.counters[metric])
        if metric is metrics.RETRIES_TOTAL:  # most operations are never tried again
            tried = {each[0] for each in self.counters[metric]}
            names = [name for name in names if name in tried]
        return self._counter(metric, [(name,) for name in names])

    def _counter(self, metric: Metric, known: Iterable[Values]) -> Family:
        values = self.counters[metric]
        closed = [each for _, each in metric.values]
        return metric.family(
            ((self.app, *labels, *more), values.get((*labels, *more), 0.0))
            for labels in known
            for more in product(*closed)
        )

    @staticmethod
    def _with_other(names: list[str], counted: Iterable[Values]) -> list[str]:
        return [*names, OTHER] if any(each[0] == OTHER for each in counted) else names

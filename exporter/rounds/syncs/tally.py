"""Counters and histogram of one log, as the ledger has them: under the labels that are exported, but for the log's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from sqlalchemy import Connection

from rounds.ledger.tally import Book, Labels
from rounds.metrics import Family, Histogram, Metric
from rounds.syncs import metrics

#: Those with the labels organization and operation.
_BY_KEY = (metrics.RUNS, metrics.RECORDS, metrics.DELETED)


def book_of(sync: str) -> Book:
    """Where a log's counters are."""
    return Book(f"syncs/{sync}", "rounds_sync_", {metrics.DURATION: metrics.DURATION_BOUNDS})


@dataclass(frozen=True)
class Counted:
    """What was counted of one log so far."""

    sync: str
    counters: Mapping[Metric, Mapping[Labels, float]]
    durations: Mapping[Labels, Histogram]
    none: Histogram

    @classmethod
    def load(cls, connection: Connection, sync: str) -> Counted:
        """What the ledger has."""
        book = book_of(sync)
        names = (*_BY_KEY, metrics.FAILURES, metrics.REJECTED)
        return cls(
            sync,
            {metric: book.counter(connection, metric) for metric in names},
            book.histogram(connection, metrics.DURATION),
            book.empty(metrics.DURATION),
        )

    def families(self, keys: Iterable[Labels], operations: Iterable[str]) -> list[Family]:
        """Counters of what is known, from 0 on; what was counted under other labels stays in the ledger.

        Args:
            keys: labels of organisation and operation.
            operations: those whose failures are counted from 0 on though they have not been seen, so that a counter
                is there before the first one.
        """
        known = sorted(set(keys))
        seen = sorted({(operation,) for _, operation in known})
        return [
            *(self._counter(metric, known) for metric in _BY_KEY),
            self._counter(metrics.FAILURES, sorted({(operation,) for operation in operations})),
            self._counter(metrics.REJECTED, [()]),
            metrics.DURATION.family(((self.sync, *labels), self.durations.get(labels, self.none)) for labels in seen),
        ]

    def _counter(self, metric: Metric, known: Iterable[Labels]) -> Family:
        values = self.counters[metric]
        closed = [each for _, each in metric.values]
        return metric.family(
            ((self.sync, *labels, *more), values.get((*labels, *more), 0.0))
            for labels in known
            for more in product(*closed)
        )

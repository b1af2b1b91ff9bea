"""Counters and histograms that last: gathered during a run, added to the ledger with what they were counted from."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

from sqlalchemy import Connection

from rounds.ledger import counters
from rounds.metrics import Histogram, Metric

Labels: TypeAlias = tuple[str, ...]


class Book:
    """Where a domain's counters are in the ledger, and what buckets its histograms have.

    Args:
        prefix: what their names in the ledger begin with, such as ``apr``.
        stem: what the metrics' names begin with, which the ledger's leave out.
        bounds: the upper bounds of each histogram.
    """

    def __init__(self, prefix: str, stem: str, bounds: Mapping[Metric, tuple[float, ...]]) -> None:
        self.bounds = bounds
        self._prefix = prefix
        self._stem = stem

    def name(self, metric: Metric) -> str:
        """A metric's name in the ledger."""
        return f"{self._prefix}/{metric.name.removeprefix(self._stem)}"

    def counter(self, connection: Connection, metric: Metric) -> dict[Labels, float]:
        """A counter's values by their labels."""
        return counters.load(connection, self.name(metric))

    def histogram(self, connection: Connection, metric: Metric) -> dict[Labels, Histogram]:
        """A histogram's values by their labels."""
        buckets = counters.load(connection, self.buckets(metric))
        sums = counters.load(connection, self.sums(metric))
        return {
            labels: self._histogram(metric, labels, buckets, sums.get(labels, 0.0))
            for labels in {key[:-1] for key in buckets}
        }

    def empty(self, metric: Metric) -> Histogram:
        """A histogram without observations."""
        return self._histogram(metric, (), {}, 0.0)

    def buckets(self, metric: Metric) -> str:
        """What counts a histogram's observations by bucket."""
        return f"{self.name(metric)}/bucket"

    def sums(self, metric: Metric) -> str:
        """What sums them up."""
        return f"{self.name(metric)}/sum"

    def bound(self, metric: Metric, index: int) -> str:
        """How a bucket is called: by its bound, so that other bounds can come one day."""
        bounds = self.bounds[metric]
        return f"{bounds[index]:g}" if index < len(bounds) else "+Inf"

    def _histogram(self, metric: Metric, labels: Labels, buckets: Mapping[Labels, float], total: float) -> Histogram:
        bounds = self.bounds[metric]
        counts = (buckets.get((*labels, self.bound(metric, index)), 0) for index in range(len(bounds) + 1))
        return Histogram(bounds, tuple(map(int, counts)), total)


class Tally:
    """What a run counted."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._counted: Counter[tuple[str, Labels]] = Counter()
        self._sums: Counter[tuple[str, Labels]] = Counter()

    def __bool__(self) -> bool:
        return bool(self._counted or self._sums)

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Count events."""
        if by:
            self._counted[self._book.name(metric), labels] += by  # type: ignore[assignment]  # Counter takes any number

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Put an observation, not below 0, into a histogram."""
        book = self._book
        bound = book.bound(metric, bisect_left(book.bounds[metric], value))
        self._counted[book.buckets(metric), (*labels, bound)] += 1
        self._sums[book.sums(metric), labels] += value  # type: ignore[assignment]  # Counter takes any number

    def observed(self, metric: Metric, bound: str, number: float, *labels: str) -> None:
        """Put observations into a histogram that somebody else has sorted into its buckets."""
        if number:
            self._counted[self._book.buckets(metric), (*labels, bound)] += number  # type: ignore[assignment]

    def summed(self, metric: Metric, total: float, *labels: str) -> None:
        """Add the sum of such observations."""
        if total:
            self._sums[self._book.sums(metric), labels] += total  # type: ignore[assignment]

    def store(self, connection: Connection) -> None:
        """Add all of it to the ledger, in the writing transaction that keeps what it was counted from."""
        for (name, labels), value in itertools.chain(self._counted.items(), self._sums.items()):
            if value:
                counters.add(connection, name, labels, value)

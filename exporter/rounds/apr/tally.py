"""Counters and histograms of ``apr``: gathered during a run, added to the ledger with what they were counted from."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from rounds.apr import metrics
from rounds.ledger import counters
from rounds.metrics import Family, Histogram, Metric

#: Upper bounds of the histograms that last.
BOUNDS: Mapping[Metric, tuple[float, ...]] = {
    metrics.RESOLUTION: metrics.RESOLUTION_BOUNDS,
    metrics.RUN_DURATION: metrics.RUN_BOUNDS,
}
#: Counters, each with the label values that it begins with at 0.
_COUNTERS = (
    metrics.DETECTED,
    metrics.RESOLVED,
    metrics.STATUS_CHANGES,
    metrics.RUNS,
    metrics.RECORDS,
    metrics.ALERTS_SENT,
)


class Tally:
    """What a run counted."""

    def __init__(self) -> None:
        self._counted: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._sums: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def count(self, metric: Metric, *labels: str, by: int = 1) -> None:
        """Count events."""
        self._counted[_name(metric), labels] += by

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Put an observation, not below 0, into a histogram."""
        bounds = BOUNDS[metric]
        self._counted[_buckets(metric), (*labels, _bound(bounds, bisect_left(bounds, value)))] += 1
        self._sums[_sum(metric), labels] += value  # type: ignore[assignment]  # Counter takes any number

    def store(self, connection: Connection) -> None:
        """Add all of it to the ledger, in the writing transaction that moves the cursors."""
        for (name, labels), value in itertools.chain(self._counted.items(), self._sums.items()):
            if value:
                counters.add(connection, name, labels, value)


def families(connection: Connection) -> dict[Metric, Family]:
    """Counters and histograms as the ledger has them, by their metric."""
    found = {metric: metric.family(_counter(connection, metric)) for metric in _COUNTERS}
    return found | {metric: metric.family(_histogram(connection, metric)) for metric in BOUNDS}


def _counter(connection: Connection, metric: Metric) -> Iterable[tuple[tuple[str, ...], float]]:
    zeros = dict.fromkeys(_known(metric), 0.0)
    return (zeros | counters.load(connection, _name(metric))).items()


def _histogram(connection: Connection, metric: Metric) -> Iterable[tuple[tuple[str, ...], Histogram]]:
    bounds = BOUNDS[metric]
    buckets = counters.load(connection, _buckets(metric))
    sums = counters.load(connection, _sum(metric))
    for labels in {*_known(metric), *(key[:-1] for key in buckets)}:
        counts = tuple(int(buckets.get((*labels, _bound(bounds, index)), 0)) for index in range(len(bounds) + 1))
        yield labels, Histogram(bounds, counts, sums.get(labels, 0.0))


def _known(metric: Metric) -> Iterable[tuple[str, ...]]:
    return itertools.product(*(values for _, values in metric.values))


def _bound(bounds: tuple[float, ...], index: int) -> str:
    """How a bucket is called in the ledger: by its bound, so that other bounds can come one day."""
    return f"{bounds[index]:g}" if index < len(bounds) else "+Inf"


def _name(metric: Metric) -> str:
    return f"apr/{metric.name.removeprefix('rounds_apr_')}"


def _buckets(metric: Metric) -> str:
    return f"{_name(metric)}/bucket"


def _sum(metric: Metric) -> str:
    return f"{_name(metric)}/sum"

"""Counters and histograms of ``apr``, as the ledger has them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from sqlalchemy import Connection

from rounds.apr import metrics
from rounds.ledger.tally import Book
from rounds.metrics import Family, Metric

BOOK = Book(
    "apr",
    "rounds_apr_",
    {metrics.RESOLUTION: metrics.RESOLUTION_BOUNDS, metrics.RUN_DURATION: metrics.RUN_BOUNDS},
)
#: Counters, each with the label values that it begins with at 0.
_COUNTERS = (
    metrics.DETECTED,
    metrics.RESOLVED,
    metrics.STATUS_CHANGES,
    metrics.RUNS,
    metrics.RECORDS,
    metrics.ALERTS_SENT,
)


def families(connection: Connection) -> dict[Metric, Family]:
    """Counters and histograms by their metric."""
    found = {
        metric: metric.family({**dict.fromkeys(_known(metric), 0.0), **BOOK.counter(connection, metric)}.items())
        for metric in _COUNTERS
    }
    return found | {
        metric: metric.family(
            {**dict.fromkeys(_known(metric), BOOK.empty(metric)), **BOOK.histogram(connection, metric)}.items()
        )
        for metric in BOOK.bounds
    }


def _known(metric: Metric) -> Iterable[tuple[str, ...]]:
    return itertools.product(*(values for _, values in metric.values))

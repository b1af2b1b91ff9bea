"""Counters that last, for domains that have no tables of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from rounds.ledger.schema import COUNTERS


def add(connection: Connection, name: str, labels: Sequence[str], value: float) -> None:
    """Add to a counter, in the writing transaction that also moves what it counts.

    Args:
        connection: of a writing transaction.
        name: the counter's, of at most 128 characters.
        labels: values of its labels in the order of the metric's; as JSON at most 512 characters. Nothing of a patient.
        value: how much it grows; not negative, as 0 begins it.

    Raises:
        ValueError: a counter does not fall.
    """
    if value < 0:
        raise ValueError("a counter does not fall")
    key = json.dumps(list(labels), ensure_ascii=False)
    where = (COUNTERS.c.name == name) & (COUNTERS.c.labels == key)
    grown = connection.execute(update(COUNTERS).where(where).values(value=COUNTERS.c.value + value))
    if grown.rowcount == 0:
        connection.execute(insert(COUNTERS).values(name=name, labels=key, value=value))


def load(connection: Connection, name: str) -> dict[tuple[str, ...], float]:
    """A counter's values by those of its labels, as :meth:`rounds.metrics.Metric.family` takes them."""
    rows = connection.execute(select(COUNTERS.c.labels, COUNTERS.c.value).where(COUNTERS.c.name == name))
    return {tuple(json.loads(labels)): value for labels, value in rows}

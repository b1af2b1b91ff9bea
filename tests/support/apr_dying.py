"""A process that reads a pipeline again and again until it is killed, by others or by itself."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from support.apr_reading import Found, Reading
from support.killing import die_before

#: What is told of each run.
TOTALS = ("status_changes_total", "invalid_records_detected_total", "invalid_records_resolved_total", "runs_total")


def totals(found: Found) -> list[float]:
    """Sums of the counters over their labels."""
    return [sum(found.all(name).values()) for name in TOTALS]


def read_forever(folder: Path, source: Any, published: Connection, die_at: int | None) -> None:
    """Read the source with the ledger in ``state.db`` and tell the totals after each run.

    Args:
        folder: where the ledger is.
        source: a configured source.
        published: takes a list of totals for each run.
        die_at: the process kills itself before this statement of the ledger, and is done after one run where there are
            fewer; None means that it goes on.
    """
    reading = Reading(source, folder)
    if die_at is not None:
        die_before(die_at)
    while True:
        published.send(totals(reading.run()))
        if die_at is not None:
            return

"""A process that follows a store again and again until it is killed, by others or by itself."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

from support.emr_looking import Found, Watch
from support.killing import commit_twice, die_before

#: What was counted, by the metric's name and its labels, but for what is 0.
Totals: TypeAlias = dict[tuple[str, ...], float]

_COUNTERS = ("operations_total", "events_total", "errors_total", "alerts_total", "crashes_total")


def totals(found: Found) -> Totals:
    """What is counted."""
    told = {(name, *labels): value for name in _COUNTERS for labels, value in found.all(name).items() if value}
    durations = found.total("operation_duration_seconds")
    return {**told, ("durations",): durations} if durations else told


def follow_forever(
    folder: Path, path: Path, published: Connection, die_at: int | None, *, mistaken: bool = False
) -> None:
    """Follow a store with the ledger in ``state.db`` and tell the totals after each look.

    Args:
        folder: where the ledger is.
        path: the store.
        published: takes the totals of each look.
        die_at: the process kills itself before this statement of the ledger, and is done after one look where there
            are fewer; None means that it goes on.
        mistaken: whether it commits in two transactions.
    """
    watch = Watch(path, folder)
    if mistaken:
        commit_twice(watch.ledger)
    if die_at is not None:
        die_before(die_at)
    while True:
        published.send(totals(watch.look()))
        if die_at is not None:
            return

"""A process that follows a log again and again until it is killed, by others or by itself."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from rounds.ledger.ledger import open_ledger
from rounds.ledger.settings import State
from rounds.metrics import Histogram
from rounds.resources import Resources
from rounds.syncs.collector import Collector
from rounds.syncs.config import Sync
from rounds.syncs.schema import SCHEMA
from support.databases import databases_for
from support.killing import commit_twice, die_before
from support.syncs_memory import Found

#: Runs by organisation, operation and state, those that are not 0; the histogram's observations; deleted patients.
Totals: TypeAlias = tuple[dict[tuple[str, ...], float], float, float]


class Following:
    """A collector of a real source, with a ledger in a folder."""

    def __init__(self, folder: Path, source: Any, **keys: Any) -> None:
        self.ledger = open_ledger(State.model_validate({"url": f"sqlite:///{folder / 'state.db'}"}), [SCHEMA])
        sync = Sync.model_validate({"name": "clinic", "source": "clinic", **keys})
        self.collector = Collector(sync, Resources(databases_for({"clinic": source}), lambda: self.ledger), self.ledger)

    def look(self) -> Found:
        """One look."""
        return Found(self.collector.collect())


def totals(found: Found) -> Totals:
    """What is counted."""
    durations = found.all("run_duration_seconds").values()
    return (
        {key: value for key, value in found.all("runs_total").items() if value},
        sum(sum(each.counts) for each in durations if isinstance(each, Histogram)),
        found.total("patients_deleted_total"),
    )


def follow_forever(
    folder: Path, source: Any, published: Connection, die_at: int | None, *, mistaken: bool = False
) -> None:
    """Follow the source with the ledger in ``state.db`` and tell the totals after each look.

    Args:
        folder: where the ledger is.
        source: a configured source.
        published: takes the totals of each look.
        die_at: the process kills itself before this statement of the ledger, and is done after one look where there
            are fewer; None means that it goes on.
        mistaken: whether it commits in two transactions.
    """
    following = Following(folder, source)
    if mistaken:
        commit_twice(following.ledger)
    if die_at is not None:
        die_before(die_at)
    while True:
        published.send(totals(following.look()))
        if die_at is not None:
            return

"""A log of runs in memory, with a clock of its own, and a collector that follows it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rounds.ledger.ledger import Ledger, open_ledger
from rounds.ledger.settings import State
from rounds.metrics import Family, Histogram
from rounds.resources import Resources
from rounds.sources import SqliteSource
from rounds.syncs.collector import Collector
from rounds.syncs.config import Sync
from rounds.syncs.log import Glimpse, Log, Record
from rounds.syncs.rows import record
from rounds.syncs.schema import SCHEMA
from support.databases import databases_for

#: When tests begin, in Unix seconds.
NOON = 1_700_000_000.0


class MemoryLog(Log):
    """Rows and the clock of a source. ``failing`` is raised by every method while it is set."""

    def __init__(self) -> None:
        self.clock = NOON
        self.rows: dict[str, Record] = {}
        self.failing: Exception | None = None
        self.asked: list[str] = []
        #: Only so many rows are shown, the newest, as an API does.
        self.newest: int | None = None
        self._ids = itertools.count(1)

    def put(self, **values: Any) -> str:
        """A row: a run that has just begun, but for what is given. Gives its id."""
        identity = str(values.pop("id", next(self._ids)))
        defaults = {"organization": "1", "operation": "full_patients", "status": "running", "started": self.clock}
        self.rows[identity] = Record(id=identity, **{**defaults, **values})
        return identity

    def change(self, identity: str, **values: Any) -> None:
        """Change a row."""
        self.rows[identity] = replace(self.rows[identity], **values)

    def complete(self, identity: str, **values: Any) -> None:
        """A run ends now."""
        self.change(identity, **{"status": "completed", "completed": self.clock, **values})

    def now(self) -> float:
        self._maybe_fail()
        return self.clock

    def recent(self, since: float, limit: int) -> Iterator[Record]:
        self._maybe_fail()
        found = [row for row in self._shown() if row.started is not None and row.started >= since]
        yield from sorted(found, key=_start, reverse=True)[:limit]

    def glimpses(self, since: float, limit: int = 100_000) -> Iterator[Glimpse]:
        self._maybe_fail()
        timeless = [row for row in self._shown() if row.started is None]
        # As conservative as it may be.
        timed = [row for row in self._shown() if row.started is not None and row.started >= since - 86_400]
        ordered = sorted(timed, key=_start)
        old = sum(_start(row) < since for row in ordered)
        for row in [*timeless, *ordered[: old + limit]]:
            yield Glimpse(row.id, row.started, row.status)

    def records(self, ids: Sequence[str]) -> Iterator[Record]:
        self._maybe_fail()
        self.asked = list(ids)
        shown = {row.id for row in self._shown()}
        yield from (self.rows[each] for each in ids if each in shown)

    def _shown(self) -> list[Record]:
        rows = list(self.rows.values())
        return rows if self.newest is None else sorted(rows, key=_start)[-self.newest :]

    def _maybe_fail(self) -> None:
        if self.failing is not None:
            raise self.failing


class _MemoryReading:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    @contextmanager
    def open(self) -> Iterator[Log]:
        yield self._log

    def cancel(self) -> None:
        return


class Found:
    """What a look found. Samples are asked for by the metric's name without ``rounds_sync_``, and by labels."""

    def __init__(self, families: Sequence[Family]) -> None:
        assert len({family.metric for family in families}) == len(families), "no metric comes twice"
        self.families = {family.metric.name.removeprefix("rounds_sync_"): family for family in families}

    def all(self, metric: str, **labels: str) -> dict[tuple[str, ...], Any]:
        """Samples with these labels, by their other labels, but for the sync's."""
        family = self.families[metric]
        names = [name for name in family.metric.labels if name not in labels and name != "sync"]
        found = {}
        for values, value in family.samples:
            pairs = dict(zip(family.metric.labels, values, strict=True))
            if all(pairs[name] == wanted for name, wanted in labels.items()):
                found[tuple(pairs[name] for name in names)] = value
        return found

    def one(self, metric: str, **labels: str) -> Any:
        """The only sample; None where there is none."""
        found = self.all(metric, **labels)
        assert len(found) <= 1, found
        return next(iter(found.values()), None)

    def total(self, metric: str, **labels: str) -> float:
        """A counter's sum; a histogram's observations."""
        values = self.all(metric, **labels).values()
        return sum(sum(each.counts) if isinstance(each, Histogram) else each for each in values)

    @property
    def series(self) -> int:
        """How many there are."""
        return sum(family.series for family in self.families.values())


class Watch:
    """A collector with a ledger of its own, run at will.

    Args:
        log: what it follows.
        folder: where the ledger is.
        state: another place for it.
        keys: of the section.
    """

    def __init__(self, log: MemoryLog, folder: Path, *, state: State | None = None, **keys: Any) -> None:
        self.log = log
        in_folder = State.model_validate({"url": f"sqlite:///{folder / 'state.db'}"})
        self.ledger: Ledger = open_ledger(state or in_folder, [SCHEMA])
        self.configure(**keys)

    def configure(self, **keys: Any) -> None:
        """Begin anew, as after a restart or a reload."""
        source = SqliteSource.model_validate({"kind": "sqlite", "path": "unused.db"})
        resources = Resources(databases_for({"clinic": source}), lambda: self.ledger)
        self.collector = Collector(sync_of(**keys), resources, self.ledger)
        self.collector._reading = _MemoryReading(self.log)  # type: ignore[assignment]

    def look(self, after: float = 15) -> Found:
        """A look, so many seconds after the last one."""
        self.log.clock += after
        return Found(self.collector.collect())

    @property
    def version(self) -> int:
        """Writes to the ledger so far."""
        return self.ledger.commits


def sync_of(**keys: Any) -> Sync:
    """A section."""
    return Sync.model_validate({"name": "clinic", "source": "clinic", **keys})


def plain(**values: Any) -> Record:
    """A row as columns give it."""
    return record({"id": 1, "organization_id": "1", "operation_type": "full_patients", **values}, sync_of().zone)


def _start(row: Record) -> float:
    return row.started or 0.0

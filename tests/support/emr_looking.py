"""An exporter's look at an application's store, made at will."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds.emr.collector import Collector
from rounds.emr.config import App
from rounds.emr.schema import SCHEMA
from rounds.emr.score import Board
from rounds.ledger.ledger import Ledger, open_ledger
from rounds.ledger.settings import State
from rounds.metrics import Family, Histogram
from rounds.resources import Resources
from rounds.sources import SqliteSource
from support.databases import databases_for


class Found:
    """What a look found. Samples are asked for by the metric's name without ``rounds_emr_``, and by labels."""

    def __init__(self, families: Sequence[Family]) -> None:
        assert len({family.metric for family in families}) == len(families), "no metric comes twice"
        self.families = {family.metric.name.removeprefix("rounds_emr_"): family for family in families}

    def all(self, metric: str, **labels: str) -> dict[tuple[str, ...], Any]:
        """Samples with these labels, by their other labels, but for the application's."""
        family = self.families.get(metric)
        if family is None:
            return {}
        names = [name for name in family.metric.labels if name not in labels and name != "app"]
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

    def counted(self, metric: str, **labels: str) -> dict[Any, float]:
        """A counter's samples that are not 0; those of one label by its value itself."""
        found = {key: value for key, value in self.all(metric, **labels).items() if value}
        return {key[0] if len(key) == 1 else key: value for key, value in found.items()}

    @property
    def series(self) -> int:
        """How many there are."""
        return sum(family.series for family in self.families.values())


class Watch:
    """A collector of a real store, with a ledger in a folder.

    Args:
        path: the store.
        folder: where the ledger is.
        state: another place for it.
        keys: of the application.

    Attributes:
        clock: seconds by which the exporter's clock is ahead.
    """

    def __init__(self, path: Path, folder: Path, *, state: State | None = None, **keys: Any) -> None:
        self.path = path
        in_folder = State.model_validate({"url": f"sqlite:///{folder / 'state.db'}"})
        self.ledger: Ledger = open_ledger(state or in_folder, [SCHEMA])
        self.clock = 0.0
        self.board = Board({})
        self.configure(**keys)

    def configure(self, **keys: Any) -> None:
        """Begin anew, as after a restart or a reload."""
        source = SqliteSource.model_validate({"kind": "sqlite", "path": self.path})
        resources = Resources(databases_for({"store": source}), lambda: self.ledger)
        app = App.model_validate({"name": "docassist", "source": "store", **keys})
        clock = lambda: time.time() + self.clock  # noqa: E731  # short
        self.collector = Collector(app, resources, self.ledger, self.board, clock=clock)

    def look(self) -> Found:
        """One look."""
        return Found(self.collector.collect())

    def initial(self) -> Found:
        """What is told before the first look."""
        return Found(self.collector.initial())

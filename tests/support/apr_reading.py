"""A collector of ``apr`` with a ledger of its own, run at will."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from rounds.apr.collector import Collector
from rounds.apr.config import AprSection
from rounds.apr.schema import SCHEMA
from rounds.databases.databases import Databases
from rounds.ledger.ledger import Ledger, open_ledger
from rounds.ledger.settings import State
from rounds.metrics import Family, Histogram
from rounds.resources import Resources
from support.apr import Installation
from support.databases import databases_for

Labels: TypeAlias = tuple[str, ...]


class Found:
    """What a run found."""

    def __init__(self, families: list[Family]) -> None:
        self.families = {family.metric.name.removeprefix("rounds_apr_"): dict(family.samples) for family in families}
        assert len(self.families) == len(families), "no metric comes twice"

    def all(self, metric: str) -> dict[Labels, float]:
        """Samples that are not 0, by labels."""
        return {key: value for key, value in self.families[metric].items() if isinstance(value, int | float) and value}

    def __getitem__(self, key: Any) -> float | None:
        """A sample by the metric's name and its labels; None where it is absent."""
        name, *labels = (key,) if isinstance(key, str) else key
        value = self.families.get(name, {}).get(tuple(labels))
        return value if isinstance(value, int | float) else None

    def histogram(self, metric: str, *labels: str) -> Histogram:
        """A histogram."""
        value = self.families[metric][labels]
        assert isinstance(value, Histogram)
        return value

    def observations(self, metric: str, *labels: str) -> int:
        """How many observations a histogram has."""
        return sum(self.histogram(metric, *labels).counts)


class Reading:
    """The collector.

    Args:
        source: a configured source with the tables.
        folder: where the ledger is.
        state: another place for it.
        keys: of the section.
    """

    def __init__(self, source: Any, folder: Path, *, state: State | None = None, **keys: Any) -> None:
        in_folder = State.model_validate({"url": f"sqlite:///{folder / 'state.db'}"})
        self.ledger = open_ledger(state or in_folder, [SCHEMA])
        self.databases: Databases = databases_for({"apr": source})
        self.configure(**keys)

    def configure(self, **keys: Any) -> None:
        """Begin anew, as after a restart or a reload."""
        self.section = AprSection.model_validate({"source": "apr", **keys})
        self.collector = Collector(self.section, Resources(self.databases, self._ledger), self.ledger)

    def run(self) -> Found:
        """One run."""
        return Found(list(self.collector.collect()))

    @property
    def queries(self) -> int:
        """Statements that the source was sent."""
        return self.databases.health["apr"].queries

    def _ledger(self) -> Ledger:
        return self.ledger


def put(installation: Installation, table: str, *rows: Mapping[str, object]) -> None:
    """Insert rows in this order, whichever columns each of them names."""
    for _, group in itertools.groupby(rows, key=tuple):
        installation.many(table, [dict(row) for row in group])

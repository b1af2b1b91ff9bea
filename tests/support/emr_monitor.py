"""A monitor in this process, and what its store says."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rounds.emr import Monitor


class Monitored:
    """A monitor with a store in a folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.store = folder / "monitoring.db"
        self.monitor = Monitor("docassist", "1.4.2", store=self.store, **settings)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the store answers, once all that was said is in it."""
        assert self.monitor.flush(30)
        return self.stored(statement)

    def stored(self, statement: str) -> list[tuple[Any, ...]]:
        """What the store answers now."""
        with closing(sqlite3.connect(self.store)) as connection:
            return connection.execute(statement).fetchall()

    def counter(self, name: str) -> dict[tuple[str, ...], float]:
        """A counter by its labels, those of 0 too."""
        rows = self.rows(f"SELECT labels, value FROM rounds_counter WHERE name = '{name}'")
        return {tuple(json.loads(labels)): value for labels, value in rows}

    def grown(self, name: str) -> dict[tuple[str, ...], float]:
        """A counter by its labels, without those that are 0."""
        return {labels: value for labels, value in self.counter(name).items() if value}

    @property
    def outcomes(self) -> dict[tuple[str, ...], float]:
        """Operations by name and outcome."""
        return self.grown("operations_total")

    @property
    def errors(self) -> dict[tuple[str, ...], float]:
        """Errors by type and source."""
        return self.grown("errors_total")

    def groups(self) -> list[tuple[str, str, str, str, int]]:
        """Fingerprint, type, culprit, trace and count of each group of errors."""
        rows = self.rows("SELECT fingerprint, error_type, culprit, trace, count FROM rounds_error_group ORDER BY 1")
        return [
            (str(mark), str(kind), str(culprit), str(trace), int(count)) for mark, kind, culprit, trace, count in rows
        ]


@contextmanager
def monitored(folder: Path, **settings: Any) -> Iterator[Monitored]:
    """A monitor that is closed in the end."""
    made = Monitored(folder, **settings)
    try:
        yield made
    finally:
        made.monitor.close(10)

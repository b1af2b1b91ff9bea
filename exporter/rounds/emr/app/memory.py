"""What a writer writes to where there is no store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rounds.emr.app.batch import Batch
from rounds.emr.app.runs import Ending, Run
from rounds.emr.app.store import Store, StoreUnavailable

T = TypeVar("T")


class NoStore(Store):
    """Takes everything and keeps nothing."""

    def __init__(self, app: str) -> None:
        super().__init__(Path(), app)

    def open(self) -> bool:
        """There is nothing to open."""
        return True

    def write(self, batch: Batch) -> bool:  # noqa: ARG002
        """It was seen on its way here."""
        return True

    def transaction(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:  # noqa: ARG002
        """There is no file.

        Raises:
            StoreUnavailable: always.
        """
        raise StoreUnavailable

    def maintain(self) -> bool:
        """Nothing is too old."""
        return False


class NoRun(Run):
    """Leaves no mark."""

    def beat(self) -> None:
        """Nobody looks."""

    def end(self, ending: Ending) -> None:
        """Nobody looks."""

"""One look at an application's store: what is new is counted, what holds is said."""

from __future__ import annotations

from collections.abc import Sequence

from rounds.emr.config import App
from rounds.emr.score import Board
from rounds.ledger.ledger import Ledger
from rounds.metrics import Family
from rounds.resources import Resources


class Collector:
    """Follows one store. ``collect`` runs in a thread; ``cancel`` may come from another."""

    def __init__(self, app: App, resources: Resources, ledger: Ledger, board: Board) -> None:
        self.app = app
        self._databases = resources.databases
        self._ledger = ledger
        self._board = board

    def collect(self) -> Sequence[Family]:
        """Look at the store, and keep what was counted.

        Raises:
            CollectorError: nothing was counted; the next look finds the same.
        """
        return []

    def cancel(self) -> None:
        """Make a look under way end early."""

    def initial(self) -> list[Family]:
        """What can be said before the first look: limits, and counters as the ledger has them."""
        return []

    def found(self) -> str:
        """What the last look found, in a few words."""
        return ""

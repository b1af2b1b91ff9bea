"""One look at a log: what is new is counted, what holds is said."""

from __future__ import annotations

from collections.abc import Sequence

from rounds.ledger.ledger import Ledger
from rounds.metrics import Family
from rounds.resources import Resources
from rounds.syncs.config import Sync


class Collector:
    """Follows one log. ``collect`` runs in a thread; ``cancel`` may come from another."""

    def __init__(self, sync: Sync, resources: Resources, ledger: Ledger) -> None:
        self.sync = sync
        self._databases = resources.databases
        self._ledger = ledger
        self._active = False

    def collect(self) -> Sequence[Family]:
        """Look at the log, and keep what was counted.

        Raises:
            CollectorError: nothing was counted; the next look finds the same.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """Make a look under way end early."""
        raise NotImplementedError

    def pace(self) -> float:
        """Seconds from this look to the next: fewer while a run is active."""
        return self.sync.active_interval if self._active else self.sync.interval

    def initial(self) -> list[Family]:
        """What can be said before the first look: limits, and counters as the ledger has them."""
        return []

    def found(self) -> str:
        """What the last look found, in a few words."""
        return ""

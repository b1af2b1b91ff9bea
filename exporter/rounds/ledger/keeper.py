"""Opens the ledger when it is first asked for, and again when the configuration names another one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rounds.ledger import metrics
from rounds.ledger.lease import Lease
from rounds.ledger.ledger import Ledger, open_ledger
from rounds.ledger.schema import Schema
from rounds.ledger.settings import State
from rounds.metrics import Family


class Keeper:
    """Keeps one ledger for everybody. Thread-safe.

    Args:
        schemas: the tables of all components.
    """

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._schemas = schemas
        self._settings = State()
        self._ledger: Ledger | None = None
        self._lock = threading.Lock()

    def configure(self, settings: State) -> None:
        """Go over to this ledger: the one before is closed if it is another."""
        with self._lock:
            if settings != self._settings and self._ledger is not None:
                self._ledger.close()
                self._ledger = None
            self._settings = settings

    def ledger(self) -> Ledger:
        """The ledger.

        Raises:
            ConfigError: it cannot be opened.
        """
        with self._lock:
            if self._ledger is None:
                self._ledger = open_ledger(self._settings, self._schemas)
            return self._ledger

    @property
    def lease(self) -> Lease | None:
        """This exporter's part in the lease, None where none is configured or the ledger is not in use."""
        ledger = self._ledger
        return ledger.lease if ledger else None

    def families(self) -> list[Family]:
        """Metrics of the ledger; none where it is not in use."""
        ledger = self._ledger
        return metrics.families(ledger) if ledger else []

    def close(self) -> None:
        """Let go of it, at the end. What it was like can still be told."""
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()

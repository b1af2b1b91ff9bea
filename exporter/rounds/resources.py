"""What the core lends to domains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rounds.databases.databases import Databases
from rounds.ledger.ledger import Ledger


@dataclass(frozen=True)
class Resources:
    """Shared means of all domains.

    Attributes:
        databases: opens sessions with the configured sources.
        ledger: gives the ledger, opened at its first use, so that a configuration which keeps nothing needs none.
            Raises ConfigError where it cannot be opened.
    """

    databases: Databases
    ledger: Callable[[], Ledger]

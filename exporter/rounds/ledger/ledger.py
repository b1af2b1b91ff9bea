"""Opens the ledger and gives transactions on it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection

from rounds.ledger.schema import Schema


class Ledger:
    """The open ledger. Thread-safe.

    Attributes:
        salt: the installation's salt, which keyed hashes are made with; never in the ledger itself.
        folder: where large intermediate results may be spooled, None for the system's own place.
    """

    salt: str
    folder: Path | None

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that changes something: all of it, or nothing if the block raises. Keep it short.

        Raises:
            CollectorError: ``internal`` when the ledger cannot be written, with what is wrong.
        """
        raise NotImplementedError

    def reading(self) -> AbstractContextManager[Connection]:
        """A consistent view of what was committed.

        Raises:
            CollectorError: ``internal`` when the ledger cannot be read.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let go of it."""
        raise NotImplementedError


def open_ledger(settings: object, schemas: Sequence[Schema]) -> Ledger:
    """Open, check and migrate.

    Raises:
        ConfigError: it cannot be opened; says why and what to do.
    """
    raise NotImplementedError

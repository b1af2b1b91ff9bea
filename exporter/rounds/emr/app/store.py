"""The store: one SQLite file, or a way to do without when it cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rounds.emr.app.batch import Batch


@dataclass(frozen=True)
class Limits:
    """How much is kept."""

    max_bytes: int = 50 * 1024 * 1024
    retention_days: float = 90.0


class Store:
    """One application's store. Used by one thread, but for the constructor.

    Nothing here raises into the application: what cannot be written is counted as dropped, and told once by the
    logger ``rounds.emr``.

    Args:
        path: the file; folders above it are made.
        app: the application's name.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path, app: str, limits: Limits, *, clock: Callable[[], float]) -> None:
        raise NotImplementedError

    def open(self) -> None:
        """Open or make the file, check it, set it aside if it is damaged, and make the tables."""
        raise NotImplementedError

    def write(self, batch: Batch) -> bool:
        """Add a batch in one transaction; False where it could not be written now and should be tried again."""
        raise NotImplementedError

    def maintain(self) -> None:
        """Remove what is too old or too much, a bounded piece at a time, and give free pages back."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file."""
        raise NotImplementedError

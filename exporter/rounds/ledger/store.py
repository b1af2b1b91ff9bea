"""Where the ledger is kept: what differs between a SQLite file and a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, Engine

from rounds.ledger.schema import CORE, Schema

#: Seconds that a transaction waits for another one to end.
LOCK_WITHIN = 30


class Store(ABC):
    """A place for a ledger.

    Attributes:
        engine: holds the connections.
        writer: an engine whose transactions change something, and follow one another.
        reader: an engine whose transactions see one state.
        folder: where large intermediate results may be spooled, None for the system's own place.
        slow_size: whether :meth:`size` asks a server.
        schemas: the tables that every ledger in such a place has.
        now: an expression for the server's clock, as Unix seconds; None where no lease can be kept.
        leasing: an engine for the lease, where one was asked for.
    """

    engine: Engine
    writer: Engine
    reader: Engine
    folder: Path | None = None
    slow_size: bool = False
    schemas: tuple[Schema, ...] = (CORE,)
    now: str | None = None
    leasing: Engine | None = None

    def prepare(self) -> None:  # noqa: B027  # a server needs nothing
        """Make the place ready to be connected to.

        Raises:
            ConfigError: it cannot be, until somebody does something about it.
        """

    @abstractmethod
    def migrating(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction that no other exporter's migration runs beside."""

    @abstractmethod
    def looking(self) -> AbstractContextManager[Connection]:
        """A connection for somebody who only looks: nothing is prepared, made or changed."""

    def damaged(self) -> bool:
        """Whether what lies there is no sound database. Takes long; servers look after that themselves."""
        return False

    def begin(self, connection: Connection) -> None:  # noqa: B027
        """Called at the start of every writing transaction, to wait for other writers."""

    def check(self) -> None:  # noqa: B027
        """Called before every transaction.

        Raises:
            CollectorError: the place is not what it was when it was prepared.
        """

    @abstractmethod
    def size(self, tables: Sequence[str]) -> int | None:
        """Bytes that the ledger takes; None where that is not known."""

    def quarantined(self) -> Sequence[Path]:
        """Damaged files that were moved aside."""
        return ()

    def close(self) -> None:
        """Close what is not in use, and the rest once it no longer is."""
        self.engine.dispose()

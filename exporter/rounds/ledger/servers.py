"""The ledger in a database of a MariaDB or PostgreSQL server."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, bindparam, create_engine, select, text

from rounds.errors import CollectorError
from rounds.ledger.lease import RENEWALS
from rounds.ledger.lease import SCHEMA as LEASE
from rounds.ledger.schema import CORE, VERSIONS
from rounds.ledger.store import LOCK_WITHIN, Store

#: Seconds for a connection to come about.
_CONNECT_WITHIN = 10
#: Seconds that one statement may take.
_STATEMENT_WITHIN = 60
#: Connections that are kept open; more are opened as needed.
_POOL = 2
#: Connections are replaced after so many seconds, before firewalls forget them.
_RECYCLE = 1800


class ServerStore(Store):
    """A database of a server. Writers follow one another, in whatever process they are, by the lock of one row."""

    #: Of transactions that write, and of those that only read.
    isolation: ClassVar[tuple[str, str]]
    #: Gives the bytes of the tables named by ``:tables``.
    size_of: ClassVar[str]
    now: str
    slow_size = True
    schemas = (CORE, LEASE)

    def __init__(self, url: URL, lease: float | None = None) -> None:
        """With a lease of so many seconds, or none."""
        writing, reading = self.isolation

        def engine(arguments: dict[str, Any]) -> Engine:
            return create_engine(
                url,
                connect_args=arguments,
                hide_parameters=True,
                isolation_level=writing,
                max_overflow=-1,
                pool_pre_ping=True,
                pool_recycle=_RECYCLE,
                pool_size=_POOL,
            )

        self.engine = self.writer = engine(self.arguments(LOCK_WITHIN, _STATEMENT_WITHIN))
        self.reader = self.engine.execution_options(isolation_level=reading)
        if lease is not None:
            # Not for those that read: they may wait for a source for minutes, and lock nothing.
            self.writer = engine(self.arguments(LOCK_WITHIN, _STATEMENT_WITHIN, lease))
            within = max(1, math.ceil(lease / RENEWALS))
            self.leasing = engine(self.arguments(within, within, lease) | {"connect_timeout": within})

    @abstractmethod
    def arguments(self, lock_within: int, within: int, lease: float | None = None) -> dict[str, Any]:
        """What the driver connects with.

        Args:
            lock_within: seconds that a statement waits for locks.
            within: seconds that a statement may take.
            lease: seconds after which the server ends a transaction whose exporter does nothing any more, and with it
                the lock that others wait for; None for never.
        """

    def close(self) -> None:
        """All engines."""
        for engine in (self.engine, self.writer, self.leasing):
            if engine is not None:
                engine.dispose()

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """With a lock of the server: at first there is no row to lock, and MariaDB unlocks rows at each step."""
        with self.writer.connect() as connection:
            try:
                self.lock_out(connection)
                yield connection
                connection.commit()
            finally:
                connection.invalidate()  # whatever happened, the lock ends with the connection

    def looking(self) -> AbstractContextManager[Connection]:
        """One that reads."""
        return self.reader.connect()

    @abstractmethod
    def lock_out(self, connection: Connection) -> None:
        """Wait for other exporters that migrate, and make others wait until the connection ends."""

    def begin(self, connection: Connection) -> None:
        """Lock the row that every writer locks first."""
        row = select(VERSIONS.c.version).where(VERSIONS.c.component == CORE.component)
        connection.execute(row.with_for_update())

    def size(self, tables: Sequence[str]) -> int | None:
        """The tables and their indexes, as far as the server knows."""
        query = text(self.size_of).bindparams(bindparam("tables", expanding=True))
        with self.reader.connect() as connection:
            found = connection.execute(query, {"tables": list(tables)}).scalar()
        return None if found is None else int(found)


class MariadbStore(ServerStore):
    """A database of a MariaDB or MySQL server."""

    # What a transaction sees is fixed by its first plain SELECT, which comes behind the one that locks.
    isolation = ("REPEATABLE READ", "REPEATABLE READ")
    # Of UTC: a session's own zone may have an hour twice.
    now = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6"
    size_of = (
        "SELECT SUM(data_length + index_length) FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name IN :tables"
    )

    def arguments(self, lock_within: int, within: int, lease: float | None = None) -> dict[str, Any]:
        """Those of PyMySQL."""
        settings = {
            "innodb_lock_wait_timeout": str(lock_within),
            # As elsewhere: a value that does not fit is refused, not cut, and 0 is a number as any other.
            "sql_mode": "CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO')",
        }
        if lease is not None:
            # Between two statements, in the middle of one that comes, and of an answer that nobody takes.
            stopped = ("idle_transaction_timeout", "net_read_timeout", "net_write_timeout")
            settings |= dict.fromkeys(stopped, str(math.ceil(lease)))
        assigned = ", ".join(f"SESSION {name} = {value}" for name, value in settings.items())
        return {
            "charset": "utf8mb4",
            "connect_timeout": _CONNECT_WITHIN,
            "init_command": f"SET {assigned}",
            "read_timeout": within,
            "write_timeout": within,
        }

    def lock_out(self, connection: Connection) -> None:
        """By a named lock, whose name is the whole server's: it is made of the database's."""
        lock = text("SELECT GET_LOCK(CONCAT('rounds-', SHA1(DATABASE())), :seconds)")
        if connection.execute(lock, {"seconds": LOCK_WITHIN}).scalar() != 1:
            raise CollectorError("internal", "the ledger is being migrated by another exporter for too long")


class PostgresqlStore(ServerStore):
    """A database of a PostgreSQL server."""

    # A writer waits for its lock in its first statement and must see what was committed meanwhile.
    isolation = ("READ COMMITTED", "REPEATABLE READ")
    # Not that of the transaction's beginning, which is before it waited for its lock.
    now = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"
    size_of = (
        "SELECT SUM(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relkind = 'r' AND pg_table_is_visible(oid) AND relname IN :tables"
    )

    def arguments(self, lock_within: int, within: int, lease: float | None = None) -> dict[str, Any]:
        """Those of psycopg."""
        settings = {
            "lock_timeout": f"{lock_within}s",
            "statement_timeout": f"{within}s",
        }
        if lease is not None:
            # Between two statements, and while nobody takes an answer.
            stopped = ("idle_in_transaction_session_timeout", "tcp_user_timeout")
            settings |= dict.fromkeys(stopped, f"{math.ceil(lease)}s")
        return {
            "connect_timeout": _CONNECT_WITHIN,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "application_name": "rounds",
            # A server that vanished is noticed, whatever the system's defaults are.
            "keepalives_idle": 30,
            "tcp_user_timeout": 1000 * within,
        }

    def lock_out(self, connection: Connection) -> None:
        """By an advisory lock, whose number is "rounds" in ASCII."""
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": int.from_bytes(b"rounds", "big")})

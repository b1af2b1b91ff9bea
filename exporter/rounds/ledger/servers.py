"""The ledger in a database of a MariaDB or PostgreSQL server."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, bindparam, create_engine, select, text

from rounds.errors import CollectorError
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
    slow_size = True

    def __init__(self, url: URL, connect_args: dict[str, Any]) -> None:
        writing, reading = self.isolation
        self.engine = self.writer = create_engine(
            url,
            connect_args={"connect_timeout": _CONNECT_WITHIN, **connect_args},
            hide_parameters=True,
            isolation_level=writing,
            max_overflow=-1,
            pool_pre_ping=True,
            pool_recycle=_RECYCLE,
            pool_size=_POOL,
        )
        self.reader = self.engine.execution_options(isolation_level=reading)

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
    size_of = (
        "SELECT SUM(data_length + index_length) FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name IN :tables"
    )

    def __init__(self, url: URL) -> None:
        settings = {
            "innodb_lock_wait_timeout": str(LOCK_WITHIN),
            # As elsewhere: a value that does not fit is refused, not cut, and 0 is a number as any other.
            "sql_mode": "CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO')",
        }
        assigned = ", ".join(f"SESSION {name} = {value}" for name, value in settings.items())
        super().__init__(
            url.update_query_dict({"charset": "utf8mb4"}),
            {
                "init_command": f"SET {assigned}",
                "read_timeout": _STATEMENT_WITHIN,
                "write_timeout": _STATEMENT_WITHIN,
            },
        )

    def lock_out(self, connection: Connection) -> None:
        """By a named lock, whose name is the whole server's: it is made of the database's."""
        lock = text("SELECT GET_LOCK(CONCAT('rounds-', SHA1(DATABASE())), :seconds)")
        if connection.execute(lock, {"seconds": LOCK_WITHIN}).scalar() != 1:
            raise CollectorError("internal", "the ledger is being migrated by another exporter for too long")


class PostgresqlStore(ServerStore):
    """A database of a PostgreSQL server."""

    # A writer waits for its lock in its first statement and must see what was committed meanwhile.
    isolation = ("READ COMMITTED", "REPEATABLE READ")
    size_of = (
        "SELECT SUM(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relkind = 'r' AND pg_table_is_visible(oid) AND relname IN :tables"
    )

    def __init__(self, url: URL) -> None:
        settings = {
            "lock_timeout": f"{LOCK_WITHIN}s",
            "statement_timeout": f"{_STATEMENT_WITHIN}s",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        super().__init__(
            url,
            {
                "options": options,
                "application_name": "rounds",
                # A server that vanished is noticed, whatever the system's defaults are.
                "keepalives_idle": 30,
                "tcp_user_timeout": 1000 * _STATEMENT_WITHIN,
            },
        )

    def lock_out(self, connection: Connection) -> None:
        """By an advisory lock, whose number is "rounds" in ASCII."""
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": int.from_bytes(b"rounds", "big")})

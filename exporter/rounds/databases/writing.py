"""Connections that may write to a source: for commands that somebody runs, never for collectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from rounds.databases.session import CONNECT_WITHIN, PATIENCE
from rounds.errors import CollectorError
from rounds.sources import MariadbSource, PostgresqlSource, Source, SqliteSource

#: Seconds to wait for another program's lock on a SQLite file.
_LOCK_WITHIN = 10.0

Explain = Callable[[str, Exception], CollectorError]


@contextmanager
def writing(name: str, source: Source) -> Iterator[Connection]:
    """A connection, in whose transactions all is done; what is not committed is rolled back. Times are in UTC.

    Args:
        name: the source's name in the configuration.
        source: a MariaDB or PostgreSQL server, or a SQLite file, which must be there.

    Raises:
        CollectorError: ``connect``, ``auth``, ``timeout`` or ``query``.
    """
    dialect, connect, explain = _way_to(name, source)
    engine = create_engine(URL.create(dialect), creator=connect, poolclass=StaticPool, hide_parameters=True)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise explain(name, error.orig if isinstance(error.orig, Exception) else error) from None
    except (OSError, sqlite3.Error) as error:
        raise explain(name, error) from None
    finally:
        engine.dispose()


def _way_to(name: str, source: Source) -> tuple[str, Callable[[], Any], Explain]:
    match source:
        case MariadbSource():
            from rounds.databases import mariadb  # noqa: PLC0415  # drivers take long to import

            return "mysql+pymysql", lambda: _mariadb(source), mariadb.fault
        case PostgresqlSource():
            from rounds.databases import postgresql  # noqa: PLC0415

            return "postgresql+psycopg", lambda: _postgresql(name, source), postgresql.fault
        case SqliteSource():
            from rounds.databases import sqlite  # noqa: PLC0415

            return "sqlite+pysqlite", lambda: _sqlite(source), sqlite.fault
        case _:
            raise TypeError(f"nothing is written to a source of the kind {source.kind}")


def _mariadb(source: MariadbSource) -> Any:
    from rounds.databases import mariadb  # noqa: PLC0415

    connection, line = mariadb.dial(source, CONNECT_WITHIN)
    line.close()
    try:
        with connection.cursor() as cursor:
            for statement in mariadb.settings(connection.get_server_info(), source.timeout, read_only=False):
                cursor.execute(statement)
        connection.autocommit(False)
    except BaseException:
        connection.close()
        raise
    connection._read_timeout = source.timeout + PATIENCE  # noqa: SLF001  # logging in has another one
    return connection


def _postgresql(name: str, source: PostgresqlSource) -> Any:
    from rounds.databases import postgresql  # noqa: PLC0415

    connection = postgresql.dial(name, source, source.timeout)
    try:
        postgresql.pin(connection, postgresql.settings(source.timeout, read_only=False))
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    return connection


def _sqlite(source: SqliteSource) -> sqlite3.Connection:
    return sqlite3.connect(f"{source.path.absolute().as_uri()}?mode=rw", uri=True, timeout=_LOCK_WITHIN)

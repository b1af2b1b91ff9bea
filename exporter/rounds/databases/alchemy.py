"""Sessions over SQLAlchemy: one connection, closed with the session, every statement a transaction of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from rounds.databases.faults import GIVEN_UP, LOST
from rounds.databases.health import Health
from rounds.databases.session import Row, Session
from rounds.errors import CollectorError


class AlchemySession(Session):
    """A session whose connection SQLAlchemy holds.

    Args:
        source: the source's name in the configuration.
        timeout: seconds that a statement may take.
        health: where statements are counted.
        dialect: SQLAlchemy's name of database and driver.
        connect: makes the driver's connection, ready for use.

    Raises:
        CollectorError: ``connect``, ``auth`` or ``timeout``.
    """

    def __init__(self, source: str, timeout: float, health: Health, dialect: str, connect: Callable[[], Any]) -> None:
        self.source = source
        self.timeout = timeout
        self._health = health
        self._rows: Generator[Row, None, None] | None = None
        self._cancelled = False
        self._usable = True
        made: list[Any] = []

        def creator() -> Any:
            made.append(connect())
            return made[-1]

        engine = create_engine(
            URL.create(dialect),
            creator=creator,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
        )
        try:
            with self._told():
                self._connection = engine.connect()
        except BaseException:
            # SQLAlchemy asks a new connection for the server's version, and forgets it when that fails.
            for connection in made:
                with suppress(Exception):
                    connection.close()
            self._let_go()
            raise

    def all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows of a statement whose result is small."""
        self._begin()
        with self._told():
            result = self._connection.exec_driver_sql(sql, tuple(parameters))
            return [tuple(row) for row in result] if result.returns_rows else []

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[Row]:
        """The rows of a statement, fetched as they are taken."""
        self._begin()
        self._rows = self._stream(sql, tuple(parameters))
        return self._rows

    def close(self) -> None:
        """End the session."""
        with suppress(Exception):
            self._end_stream()
        with suppress(Exception):
            if self._usable:
                self._connection.close()
            else:
                self._connection.invalidate()
                self._connection.close()
        self._let_go()

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection."""
        return self._connection.connection.driver_connection

    @abstractmethod
    def _fetch(self, sql: str, parameters: tuple[object, ...]) -> Generator[Row, None, None]:
        """Send a statement and take its rows as they come. Closed early, it leaves the connection fit to be closed."""

    @abstractmethod
    def _explain(self, error: Exception) -> CollectorError:
        """A driver's error in words of our own."""

    def _let_go(self) -> None:
        """Let go of what the session holds besides its connection."""
        return

    def _begin(self) -> None:
        self._end_stream()
        self._health.sent()
        if self._cancelled or not self._usable:
            raise (GIVEN_UP if self._cancelled else LOST).error(self.source)

    def _end_stream(self) -> None:
        rows, self._rows = self._rows, None
        if rows is not None:
            rows.close()

    def _stream(self, sql: str, parameters: tuple[object, ...]) -> Generator[Row, None, None]:
        with self._told():
            yield from self._fetch(sql, parameters)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn errors of SQLAlchemy and of the driver into ours."""
        try:
            yield
        except CollectorError:
            raise
        except Exception as error:  # noqa: BLE001  # drivers also raise what is no database error
            told = self._explained(error)
            if told.reason == "connect":
                self._usable = False
                self._health.up = False
            raise told from None
        else:
            self._health.up = True

    def _explained(self, error: Exception) -> CollectorError:
        if self._cancelled:
            return GIVEN_UP.error(self.source)
        if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
            error = error.orig
        return self._explain(error)
